//! Sockets: multishot receive with back-pressure, and a close that is an end.
//!
//! A socket's slot holds everything the kernel may touch on its behalf (the descriptor, the bytes being sent, the
//! address being connected to) and is freed only when nothing is in flight for it. [`Completion::Closed`] is the last thing said about
//! a socket, and until then its number is not used again.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{cqueue, opcode, types};

use super::buffers::GROUP;
use super::connecting::Connecting;
use super::multishot::Multishot;
use super::queue::{Cqe, Kind, user_data};
use super::sending::Sending;
use super::slots::Key;
use super::{Completion, Outcome, Ring};

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
    pub(super) connecting: Option<Connecting>,
    pub(super) sending: Sending,
    after_sends: AfterSends,
    pub(super) closing: bool,
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
            connecting: None,
            sending: Sending::default(),
            after_sends: AfterSends::Nothing,
            closing: false,
        }
    }

    fn in_flight(&self) -> bool {
        self.receiving.in_flight() || self.sending.in_flight() || self.connecting.is_some()
    }

    /// Whether what is sent now has to wait behind something.
    pub(super) fn is_busy(&self) -> bool {
        self.sending.is_busy() || self.connecting.is_some()
    }
}

impl Ring {
    /// Takes a connected stream over, as if it had been accepted.
    pub fn adopt(&mut self, stream: TcpStream) -> io::Result<SocketId> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        Ok(SocketId(self.sockets.insert(Socket::new(stream))))
    }

    /// Receives from the socket: at first, or again after [`Ring::pause_receive`]. Ignored before
    /// [`Completion::Connected`].
    pub fn resume_receive(&mut self, socket: SocketId) {
        assert!(self.buffers.is_some(), "this ring was made without receive buffers");
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        if !entry.closing && entry.connecting.is_none() && entry.receiving.start() {
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
        let Some(entry) = self.sockets.get(socket.0) else { return };
        if !entry.closing && self.pieces.lends_to(socket.0) {
            // Without this the kernel would go on sending for as long as the peer likes, from memory that is needed.
            // It fails only if the peer is gone, and then there is nothing to be sent.
            let _ = rustix::net::sockopt::set_socket_linger(&entry.stream, Some(Duration::ZERO));
        }
        self.end_socket(socket);
    }

    fn end_socket(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        if entry.closing {
            return;
        }
        entry.closing = true;
        let (stop_receive, stop_send) = (entry.receiving.stop(), entry.sending.operation(socket.0));
        let stop_connect = entry.connecting.is_some();
        self.forget_unsent(socket.0);
        if stop_receive {
            self.queue.cancel(Kind::Receive, socket.0);
        }
        if let Some((kind, key)) = stop_send {
            self.queue.cancel(kind, key);
        }
        if stop_connect {
            self.queue.cancel(Kind::Connect, socket.0);
        }
        if !stop_receive && stop_send.is_none() && !stop_connect {
            // Nothing to cancel, but a receive that was being cancelled already may still be in flight.
            if let Some(closed) = self.finish_close(socket.0) {
                self.ready.push_back(closed);
            }
        }
    }

    /// Breaks the connection when the peer's machine acknowledges nothing sent to it for `limit`, where TCP alone
    /// would go on for a quarter of an hour (TCP_USER_TIMEOUT).
    pub fn give_up_after(&mut self, socket: SocketId, limit: Duration) {
        if let Some(entry) = self.sockets.get(socket.0) {
            let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            // It fails only if the peer is gone, which receiving reports.
            let _ = rustix::net::sockopt::set_tcp_user_timeout(&entry.stream, millis);
        }
    }

    /// How many sockets the ring has, those being closed included.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    fn after_sends(&mut self, socket: SocketId, what: AfterSends) {
        if let Some(entry) = self.sockets.get_mut(socket.0) {
            entry.after_sends = entry.after_sends.max(what);
            if !entry.is_busy() {
                self.sends_are_out(socket);
            }
        }
    }

    /// Nothing is queued or in flight in the outgoing direction: does what waited for that.
    pub(super) fn sends_are_out(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        match entry.after_sends {
            AfterSends::Nothing => {}
            AfterSends::ShutDown => {
                // It fails only if the peer is gone, which receiving reports.
                let _ = entry.stream.shutdown(Shutdown::Write);
            }
            AfterSends::Close => self.end_socket(socket),
        }
    }

    pub(super) fn finish_close(&mut self, key: Key) -> Option<Completion<'static>> {
        if self.sockets.get(key)?.in_flight() {
            return None;
        }
        self.sockets.remove(key);
        Some(Completion::Closed { socket: SocketId(key) })
    }

    /// A cancellation found nothing to cancel: true if that is still to be cancelled.
    pub(super) fn socket_still_waits(&self, cqe: &Cqe) -> bool {
        let socket = match cqe.kind {
            Kind::Piece => self.pieces.leaves_through(cqe.key),
            _ => Some(cqe.key),
        };
        socket.and_then(|key| self.sockets.get(key)).is_some_and(|entry| match cqe.kind {
            Kind::Receive => entry.receiving.is_cancelling(),
            Kind::Connect => entry.closing && entry.connecting.is_some(),
            _ => entry.closing && entry.sending.in_flight(),
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
}
