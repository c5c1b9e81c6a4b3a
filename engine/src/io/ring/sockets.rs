//! Connected sockets: multishot receive with back-pressure, sends in order, and a close that is an end.
//!
//! A socket's slot holds everything the kernel may touch on its behalf (the descriptor and the bytes being
//! sent) and is freed only when nothing is in flight for it. [`Completion::Closed`] is the last thing said about
//! a socket, and until then its number is not used again.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::{cqueue, opcode, types};

use super::buffers::GROUP;
use super::multishot::Multishot;
use super::queue::{Cqe, Kind, user_data};
use super::slots::Key;
use super::{Completion, Outcome, Ring};

/// Most bytes of one send operation; the length of a queue entry is 32 bits wide.
const MAX_SEND: usize = 1 << 30;

/// A connected socket in the care of a ring. A plain number: to drop it does nothing, and a number whose
/// socket was closed is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub(super) Key);

impl SocketId {
    /// A small number, unique among the open sockets of one ring: an index for the caller's own table.
    #[inline]
    pub fn index(self) -> usize {
        self.0.index as usize
    }

    /// Tells apart the sockets that have had the same [`SocketId::index`] one after the other.
    #[inline]
    pub fn generation(self) -> u32 {
        self.0.generation
    }
}

pub(super) struct Socket {
    pub(super) stream: TcpStream,
    receiving: Multishot,
    /// The send in the kernel's hands, and how many of its bytes are out.
    sending: Option<(Outgoing, usize)>,
    queued: VecDeque<Outgoing>,
    /// What broke the outgoing stream: after a part of a send nothing else may follow it.
    broken: Option<i32>,
    after_sends: AfterSends,
    closing: bool,
}

struct Outgoing {
    buf: Vec<u8>,
    user: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AfterSends {
    Nothing,
    ShutDown,
    Close,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket {
            stream,
            receiving: Multishot::default(),
            sending: None,
            queued: VecDeque::new(),
            broken: None,
            after_sends: AfterSends::Nothing,
            closing: false,
        }
    }

    fn in_flight(&self) -> bool {
        self.receiving.in_flight() || self.sending.is_some()
    }
}

impl Ring {
    /// Takes a connected stream over, as if it had been accepted.
    pub fn adopt(&mut self, stream: TcpStream) -> io::Result<SocketId> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        Ok(SocketId(self.sockets.insert(Socket::new(stream))))
    }

    /// Receives from the socket: at first, or again after [`Ring::pause_receive`].
    pub fn resume_receive(&mut self, socket: SocketId) {
        assert!(self.buffers.is_some(), "this ring was made without receive buffers");
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        if !entry.closing && entry.receiving.start() {
            let receive = opcode::RecvMulti::new(types::Fd(entry.stream.as_raw_fd()), GROUP)
                .build()
                .user_data(user_data(Kind::Receive, socket.0));
            // SAFETY: the receive buffers and the descriptor live until its last completion.
            unsafe { self.queue.push(receive) }
        }
    }

    /// Stops receiving, so that the peer is slowed down by TCP. What the ring has received already still
    /// comes, at most a few receive buffers.
    pub fn pause_receive(&mut self, socket: SocketId) {
        if let Some(entry) = self.sockets.get_mut(socket.0)
            && entry.receiving.stop()
        {
            self.queue.cancel(Kind::Receive, socket.0);
        }
    }

    /// Sends all of `buf` after what was given to earlier calls. [`Completion::Sent`] gives the `Vec` back
    /// with `user`; nothing comes back for a socket that is closing or gone.
    ///
    /// The ring does not bound what a peer that reads nothing makes it hold: the caller counts what it has
    /// given and not got back.
    pub fn send(&mut self, socket: SocketId, buf: Vec<u8>, user: u64) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        if entry.closing {
            return;
        }
        let out = Outgoing { buf, user };
        if let Some(errno) = entry.broken {
            let result = Err(io::Error::from_raw_os_error(errno));
            self.ready.push_back(Completion::Sent { socket, user, buf: out.buf, result });
        } else if entry.sending.is_some() {
            entry.queued.push_back(out);
        } else if out.buf.is_empty() {
            self.ready.push_back(Completion::Sent { socket, user, buf: out.buf, result: Ok(()) });
        } else {
            entry.sending = Some((out, 0));
            self.push_send(socket.0);
        }
    }

    /// Ends the outgoing stream (FIN) after everything given to [`Ring::send`]. Receiving goes on.
    pub fn shutdown_write(&mut self, socket: SocketId) {
        self.after_sends(socket, AfterSends::ShutDown);
    }

    /// Closes after everything given to [`Ring::send`] is out, or at once if that fails. A peer that reads
    /// nothing keeps it open: [`Ring::close`] is the remedy.
    pub fn close_when_sent(&mut self, socket: SocketId) {
        self.after_sends(socket, AfterSends::Close);
    }

    /// Closes at once and drops what was not sent. [`Completion::Closed`] follows; nothing received or sent
    /// is reported any more, except sends that had failed before.
    pub fn close(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        if entry.closing {
            return;
        }
        entry.closing = true;
        entry.queued = VecDeque::new();
        let (stop_receive, stop_send) = (entry.receiving.stop(), entry.sending.is_some());
        if stop_receive {
            self.queue.cancel(Kind::Receive, socket.0);
        }
        if stop_send {
            self.queue.cancel(Kind::Send, socket.0);
        }
        if !stop_receive && !stop_send {
            // Nothing to cancel, but a receive that was being cancelled already may still be in flight.
            if let Some(closed) = self.finish_close(socket.0) {
                self.ready.push_back(closed);
            }
        }
    }

    /// How many sockets the ring has, those being closed included.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    fn after_sends(&mut self, socket: SocketId, what: AfterSends) {
        if let Some(entry) = self.sockets.get_mut(socket.0) {
            entry.after_sends = entry.after_sends.max(what);
            if entry.sending.is_none() {
                self.sends_are_out(socket);
            }
        }
    }

    /// Nothing is queued or in flight in the outgoing direction: does what waited for that.
    fn sends_are_out(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        match entry.after_sends {
            AfterSends::Nothing => {}
            AfterSends::ShutDown => {
                // It fails only if the peer is gone, which receiving reports.
                let _ = entry.stream.shutdown(Shutdown::Write);
            }
            AfterSends::Close => self.close(socket),
        }
    }

    fn finish_close(&mut self, key: Key) -> Option<Completion<'static>> {
        if self.sockets.get(key)?.in_flight() {
            return None;
        }
        self.sockets.remove(key);
        Some(Completion::Closed { socket: SocketId(key) })
    }

    /// Queues the unsent rest of the send in the slot.
    fn push_send(&mut self, key: Key) {
        let Some(entry) = self.sockets.get(key) else { return };
        let Some((out, done)) = &entry.sending else { return };
        let rest = &out.buf[*done..];
        let send = opcode::Send::new(
            types::Fd(entry.stream.as_raw_fd()),
            rest.as_ptr(),
            rest.len().min(MAX_SEND) as u32,
        )
        .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
        .build()
        .user_data(user_data(Kind::Send, key));
        // SAFETY: the slot keeps the buffer unchanged and the descriptor open until the completion.
        unsafe { self.queue.push(send) }
    }

    /// A cancellation of a receive or send found nothing to cancel: true if that is still to be cancelled.
    pub(super) fn socket_still_waits(&self, cqe: &Cqe) -> bool {
        self.sockets.get(cqe.key).is_some_and(|entry| match cqe.kind {
            Kind::Receive => entry.receiving.is_cancelling(),
            _ => entry.closing && entry.sending.is_some(),
        })
    }

    pub(super) fn on_receive(&mut self, cqe: Cqe) -> Outcome {
        let buffer = cqueue::buffer_select(cqe.flags);
        let outcome = self.received(cqe, buffer);
        if let Some(id) = buffer
            && !matches!(outcome, Outcome::Data { .. })
        {
            self.give_back(id);
        }
        outcome
    }

    fn received(&mut self, cqe: Cqe, buffer: Option<u16>) -> Outcome {
        let socket = SocketId(cqe.key);
        let Some(entry) = self.sockets.get_mut(cqe.key) else { return Outcome::Nothing };
        let wanted = if cqe.more() { false } else { entry.receiving.ended() };
        if entry.closing {
            return Outcome::from(self.finish_close(cqe.key));
        }
        let ended = match cqe.checked() {
            Ok(len) if len > 0 => {
                if wanted {
                    self.resume_receive(socket);
                }
                let Some(buffer) = buffer else { return Outcome::Nothing };
                return Outcome::Data { socket, buffer, len };
            }
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // ENOBUFS: all buffers were full of data not yet reaped; they are back by the next turn.
                Some(libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {
                    if wanted {
                        self.resume_receive(socket);
                    }
                    return Outcome::Nothing;
                }
                _ => Err(error),
            },
        };
        self.pause_receive(socket);
        Outcome::Event(Completion::ReceiveEnded { socket, result: ended })
    }

    pub(super) fn on_send(&mut self, cqe: Cqe) -> Option<Completion<'static>> {
        let socket = SocketId(cqe.key);
        let entry = self.sockets.get_mut(cqe.key)?;
        let (out, done) = entry.sending.take()?;
        if entry.closing {
            return self.finish_close(cqe.key);
        }
        let (done, result) = match cqe.checked() {
            Ok(0) => (done, Err(io::Error::from(io::ErrorKind::WriteZero))),
            Ok(sent) => (done + sent, Ok(())),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => (done, Ok(())),
            Err(error) => (done, Err(error)),
        };
        if result.is_ok() && done < out.buf.len() {
            entry.sending = Some((out, done));
            self.push_send(cqe.key);
            return None;
        }
        if let Err(error) = &result {
            let errno = error.raw_os_error().unwrap_or(libc::EPIPE);
            entry.broken = Some(errno);
            for Outgoing { buf, user } in entry.queued.drain(..) {
                let result = Err(io::Error::from_raw_os_error(errno));
                self.ready.push_back(Completion::Sent { socket, user, buf, result });
            }
        }
        self.start_next_send(socket);
        Some(Completion::Sent { socket, user: out.user, buf: out.buf, result })
    }

    fn start_next_send(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        while let Some(next) = entry.queued.pop_front() {
            if !next.buf.is_empty() {
                entry.sending = Some((next, 0));
                self.push_send(socket.0);
                return;
            }
            let Outgoing { buf, user } = next;
            self.ready.push_back(Completion::Sent { socket, user, buf, result: Ok(()) });
        }
        self.sends_are_out(socket);
    }
}
