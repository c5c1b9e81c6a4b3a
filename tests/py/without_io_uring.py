"""Runs a program with `io_uring_setup` forbidden: the system call answers EPERM, as under a container's profile.

Usage: without_io_uring.py PROGRAM [ARGUMENT ...]
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
IO_URING_SETUP = 425  # The same number on all architectures.
ALLOW = 0x7FFF0000
FAIL_WITH_EPERM = 0x00050001


def instruction(code, jump_true, jump_false, value):
    return struct.pack("=HBBI", code, jump_true, jump_false, value)


FILTER = b"".join(
    [
        instruction(0x20, 0, 0, 0),  # load the number of the system call
        instruction(0x15, 0, 1, IO_URING_SETUP),
        instruction(0x06, 0, 0, FAIL_WITH_EPERM),
        instruction(0x06, 0, 0, ALLOW),
    ]
)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(FILTER) // 8, FILTER)
for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)]:
    if libc.prctl(*arguments) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
