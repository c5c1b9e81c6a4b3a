//! The two queues shared with the kernel: entries in, completions out, and no entry ever lost.
//!
//! A full submission queue is submitted and, should the kernel take nothing just then, continued in memory; a
//! full completion queue is kept by the kernel (NODROP, present since Linux 5.5) and flushed by the next turn.
//! Only `Ring` and its parts call it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, squeue};

use super::slots::Key;

/// What a completion belongs to; 3 bits of `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The outcome interests nobody (buffers handed over).
    Ignored = 0,
    Accept = 1,
    Receive = 2,
    Send = 3,
    Write = 4,
    Wake = 5,
    Connect = 6,
    /// Reads and sends of a piece of a file.
    Piece = 7,
}

/// Marks the `user_data` of a cancellation; the rest of it names the target.
const CANCELLATION: u64 = 1 << 31;

/// `generation << 32 | kind << 28 | index`.
#[inline]
pub(super) fn user_data(kind: Kind, key: Key) -> u64 {
    u64::from(key.generation) << 32 | (kind as u64) << 28 | u64::from(key.index)
}

/// One completion, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cqe {
    /// Whether this is the outcome of an attempt to cancel what `kind` and `key` name.
    pub(super) cancellation: bool,
    pub(super) kind: Kind,
    pub(super) key: Key,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Cqe {
    #[inline]
    fn new(user_data: u64, result: i32, flags: u32) -> Cqe {
        let kind = match (user_data >> 28) & 0x7 {
            1 => Kind::Accept,
            2 => Kind::Receive,
            3 => Kind::Send,
            4 => Kind::Write,
            5 => Kind::Wake,
            6 => Kind::Connect,
            7 => Kind::Piece,
            _ => Kind::Ignored,
        };
        let key = Key { index: user_data as u32 & 0x0fff_ffff, generation: (user_data >> 32) as u32 };
        Cqe { cancellation: user_data & CANCELLATION != 0, kind, key, result, flags }
    }

    /// Whether another completion follows (multishot, or the notice of a SEND_ZC).
    #[inline]
    pub(super) fn more(&self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// The result as the operation's own kind of number, or its error.
    #[inline]
    pub(super) fn checked(&self) -> io::Result<usize> {
        if self.result < 0 {
            Err(io::Error::from_raw_os_error(-self.result))
        } else {
            Ok(self.result as usize)
        }
    }
}

/// How a turn of [`Queue::enter`] ended.
#[derive(Debug, PartialEq, Eq)]
enum Entered {
    /// The kernel took the entries it was shown.
    All,
    /// It took some and should be asked again.
    Some,
    /// It can take nothing now; completions must be reaped first.
    Busy,
}

pub(super) struct Queue {
    ring: IoUring,
    /// Entries that found the submission queue full, in order.
    backlog: VecDeque<squeue::Entry>,
    enter_flags: EnterFlags,
}

impl Queue {
    pub(super) fn new(ring: IoUring) -> Queue {
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if ring.params().is_feature_no_iowait() {
            // Accepts and receives are always pending, so that a sleeping loop would show as 100 % iowait.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        Queue { ring, backlog: VecDeque::new(), enter_flags }
    }

    /// Queues an entry. It is never refused and never lost.
    ///
    /// # Safety
    ///
    /// What the entry points to must stay valid, and must not be written by anyone else (nor read, if the
    /// kernel writes it), until the last completion with its `user_data` has been popped.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // An error that lasts shows again in `turn`, whose caller can act on it.
            let _ = self.enter(0, None);
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// Tries to cancel an operation. Success shows in the operation's own completion; a failure comes back as
    /// a `Cqe` with `cancellation` set.
    pub(super) fn cancel(&mut self, kind: Kind, key: Key) {
        let target = user_data(kind, key);
        let entry = io_uring::opcode::AsyncCancel::new(target)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(target | CANCELLATION);
        // SAFETY: the entry points to nothing.
        unsafe { self.push(entry) }
    }

    /// Submits everything and, if `block` and no completion is there, waits for one, at most `timeout`.
    pub(super) fn turn(&mut self, block: bool, timeout: Option<Duration>) -> io::Result<()> {
        while !self.backlog.is_empty() {
            self.refill();
            if self.backlog.is_empty() {
                break;
            }
            if self.enter(0, None)? == Entered::Busy {
                break;
            }
        }
        let block = block && self.backlog.is_empty() && self.ring.completion().is_empty();
        let entered = match timeout {
            _ if !block => self.enter(0, None)?,
            Some(timeout) => self.enter(1, Some(&Timespec::from(timeout)))?,
            None => self.enter(1, None)?,
        };
        if entered == Entered::Busy && self.ring.completion().is_empty() {
            // The kernel is short of memory and there is nothing to reap that would free some.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The next completion that has arrived.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Cqe> {
        let cqe = self.ring.completion().next()?;
        Some(Cqe::new(cqe.user_data(), cqe.result(), cqe.flags()))
    }

    pub(super) fn ring(&self) -> &IoUring {
        &self.ring
    }

    fn refill(&mut self) {
        let mut submission = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: promised when the entry was given to `Queue::push`.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// One `io_uring_enter`. `GETEVENTS` is always set: under DEFER_TASKRUN completions are made only then.
    fn enter(&mut self, want: u32, timeout: Option<&Timespec>) -> io::Result<Entered> {
        let queued = self.ring.submission().len();
        let args = match timeout {
            Some(timeout) => SubmitArgs::new().timespec(timeout),
            None => SubmitArgs::new(),
        };
        // SAFETY: the arguments are of the type that EXT_ARG announces and outlive the call; the entries were
        // vouched for in `push`.
        let entered =
            unsafe { self.ring.submitter().enter(queued as u32, want, self.enter_flags.bits(), Some(&args)) };
        match entered {
            Ok(taken) if taken >= queued => Ok(Entered::All),
            Ok(0) => Ok(Entered::Busy),
            Ok(_) => Ok(Entered::Some),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => Ok(Entered::All),
                Some(libc::EAGAIN | libc::EBUSY) => Ok(Entered::Busy),
                _ => Err(error),
            },
        }
    }
}
