//! The sending half of a socket: buffers leave in the order in which they were given, each reported when it is out.
//!
//! One operation per socket is in flight. What comes meanwhile queues up behind it and then leaves together, as one
//! vectored send. The slot keeps every buffer, and the vector that names them, until the completion.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{opcode, types};

use super::queue::{Cqe, Kind, user_data};
use super::slots::Key;
use super::{Completion, Ring, SocketId};

/// Most bytes of one send operation; the length of a queue entry is 32 bits wide.
const MAX_SEND: usize = 1 << 30;
/// Most buffers of one vectored send.
const MAX_VECTOR: usize = 64;
/// A vectored send takes no further buffer once it has this many bytes, so that the caller hears of progress.
const ENOUGH: usize = 256 << 10;

/// What a socket has to send.
#[derive(Default)]
pub(super) struct Sending {
    /// The buffer whose bytes are leaving; in the kernel's hands.
    head: Option<Outgoing>,
    /// How many of the head's bytes are out.
    done: usize,
    /// What follows the head.
    queued: VecDeque<Outgoing>,
    /// How many of `queued`, from the front, are in the kernel's hands together with the head.
    along: usize,
    /// Names the head and what goes along with it. Kept for the next time.
    vector: Option<Box<Vector>>,
    /// What broke the outgoing stream: after a part of a send nothing else may follow it.
    broken: Option<i32>,
}

struct Outgoing {
    bytes: Bytes,
    user: u64,
}

enum Bytes {
    Own(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

/// What a vectored send reads: the header points to the entries, and they to the buffers.
struct Vector {
    header: libc::msghdr,
    entries: [libc::iovec; MAX_VECTOR],
}

impl Outgoing {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }

    fn ended(self, socket: SocketId, result: io::Result<()>) -> Completion<'static> {
        let user = self.user;
        match self.bytes {
            Bytes::Own(buf) => Completion::Sent { socket, user, buf, result },
            Bytes::Shared(_) => Completion::SentShared { socket, user, result },
        }
    }
}

impl Vector {
    fn new() -> Box<Vector> {
        // SAFETY: both are plain C structures, for which null pointers and zero lengths are valid.
        unsafe { Box::new(std::mem::zeroed()) }
    }

    /// Names `first` and as many of `more` as one operation may take. Returns how many of `more` those are.
    fn fill<'a>(&mut self, first: &'a [u8], more: impl Iterator<Item = &'a [u8]>) -> usize {
        let (mut count, mut total) = (0, 0);
        for bytes in std::iter::once(first).chain(more).take(MAX_VECTOR) {
            if total >= ENOUGH {
                break;
            }
            self.entries[count] = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len().min(MAX_SEND),
            };
            count += 1;
            total += bytes.len();
        }
        self.header.msg_iov = self.entries.as_mut_ptr();
        self.header.msg_iovlen = count as _;
        count - 1
    }
}

impl Sending {
    /// Whether the kernel holds any of the buffers.
    pub(super) fn in_flight(&self) -> bool {
        self.head.is_some()
    }

    /// Drops what the kernel has not been given.
    pub(super) fn forget_queued(&mut self) {
        self.queued.truncate(self.along);
    }
}

impl Ring {
    /// Sends all of `buf` after what was given to earlier calls. [`Completion::Sent`] gives the `Vec` back
    /// with `user`; nothing comes back for a socket that is closing or gone.
    ///
    /// The ring does not bound what a peer that reads nothing makes it hold: the caller counts what it has
    /// given and not got back.
    pub fn send(&mut self, socket: SocketId, buf: Vec<u8>, user: u64) {
        self.send_outgoing(socket, Outgoing { bytes: Bytes::Own(buf), user });
    }

    /// As [`Ring::send`], of bytes that others hold too: one copy serves several sockets. Reported as
    /// [`Completion::SentShared`].
    pub fn send_shared(&mut self, socket: SocketId, buf: Arc<Vec<u8>>, user: u64) {
        self.send_outgoing(socket, Outgoing { bytes: Bytes::Shared(buf), user });
    }

    fn send_outgoing(&mut self, socket: SocketId, out: Outgoing) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        if entry.closing {
            return;
        }
        if let Some(errno) = entry.sending.broken {
            self.ready.push_back(out.ended(socket, Err(io::Error::from_raw_os_error(errno))));
        } else if entry.is_busy() {
            entry.sending.queued.push_back(out);
        } else if out.bytes().is_empty() {
            self.ready.push_back(out.ended(socket, Ok(())));
        } else {
            entry.sending.head = Some(out);
            self.push_send(socket.0);
        }
    }

    /// Gives the kernel the unsent rest of the head, and what has queued up behind it.
    fn push_send(&mut self, key: Key) {
        let Some(entry) = self.sockets.get_mut(key) else { return };
        let descriptor = types::Fd(entry.stream.as_raw_fd());
        let Sending { head: Some(head), done, queued, along, vector, .. } = &mut entry.sending else {
            return;
        };
        let rest = &head.bytes()[*done..];
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let send = if queued.is_empty() || rest.len() >= ENOUGH {
            *along = 0;
            opcode::Send::new(descriptor, rest.as_ptr(), rest.len().min(MAX_SEND) as u32).flags(flags).build()
        } else {
            let vector = vector.get_or_insert_with(Vector::new);
            *along = vector.fill(rest, queued.iter().map(Outgoing::bytes));
            opcode::SendMsg::new(descriptor, &vector.header).flags(flags as u32).build()
        };
        // SAFETY: the slot keeps the buffers unchanged, the vector in its box and the descriptor open until the
        // completion; `forget_queued` spares what goes along.
        unsafe { self.queue.push(send.user_data(user_data(Kind::Send, key))) }
    }

    pub(super) fn on_send(&mut self, cqe: Cqe) -> Option<Completion<'static>> {
        let socket = SocketId(cqe.key);
        let entry = self.sockets.get_mut(cqe.key)?;
        let sending = &mut entry.sending;
        let head = sending.head.take()?;
        sending.along = 0;
        if entry.closing {
            return self.finish_close(cqe.key);
        }
        let result = match cqe.checked() {
            Ok(0) => Err(libc::EPIPE),
            Ok(sent) => Ok(sent),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => Ok(0),
                errno => Err(errno.unwrap_or(libc::EPIPE)),
            },
        };
        match result {
            Ok(sent) if sending.queued.is_empty() && sending.done + sent == head.bytes().len() => {
                sending.done = 0;
                self.sends_are_out(socket);
                Some(head.ended(socket, Ok(())))
            }
            Ok(sent) => {
                sending.done += sent;
                self.go_on_sending(socket, head);
                self.ready.pop_front()
            }
            Err(errno) => {
                sending.broken = Some(errno);
                for out in std::mem::take(&mut sending.queued) {
                    self.ready.push_back(out.ended(socket, Err(io::Error::from_raw_os_error(errno))));
                }
                self.sends_are_out(socket);
                Some(head.ended(socket, Err(io::Error::from_raw_os_error(errno))))
            }
        }
    }

    /// Reports what `sending.done` says is out, `head` first, and gives the kernel what is not.
    fn go_on_sending(&mut self, socket: SocketId, mut head: Outgoing) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        let sending = &mut entry.sending;
        loop {
            let len = head.bytes().len();
            if sending.done < len {
                sending.head = Some(head);
                return self.push_send(socket.0);
            }
            sending.done -= len;
            self.ready.push_back(head.ended(socket, Ok(())));
            match sending.queued.pop_front() {
                Some(next) => head = next,
                None => return self.sends_are_out(socket),
            }
        }
    }

    /// The connection stands: sends what was given before.
    pub(super) fn start_queued_sends(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        match entry.sending.queued.pop_front() {
            Some(head) => self.go_on_sending(socket, head),
            None => self.sends_are_out(socket),
        }
    }
}
