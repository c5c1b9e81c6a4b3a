//! Accepting connections: one multishot accept per listener.
//!
//! A connection that arrives for a listener which is being given up is closed here, never leaked. Running out
//! of descriptors or memory pauses the listener and is reported, since trying again at once would spin.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::{opcode, types};

use super::multishot::Multishot;
use super::queue::{Cqe, Kind, user_data};
use super::slots::Key;
use super::sockets::Socket;
use super::{Completion, Ring, SocketId};

/// A listening socket in the care of a ring. A plain number: to drop it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(super) Key);

pub(super) struct Listener {
    socket: TcpListener,
    accepting: Multishot,
    removed: bool,
}

impl Ring {
    /// Takes a listening socket over and accepts from it. Its connections are without delay (TCP_NODELAY) and
    /// do not read before [`Ring::resume_receive`].
    pub fn listen(&mut self, socket: TcpListener) -> io::Result<ListenerId> {
        // A non-blocking descriptor would answer EAGAIN instead of waiting in the ring.
        socket.set_nonblocking(false)?;
        // Linux hands the option on to accepted sockets, which saves a system call for each.
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let key = self.listeners.insert(Listener { socket, accepting: Multishot::default(), removed: false });
        self.resume_accept(ListenerId(key));
        Ok(ListenerId(key))
    }

    /// Stops accepting; the backlog of the socket fills. What was accepted already is still reported.
    pub fn pause_accept(&mut self, listener: ListenerId) {
        if let Some(entry) = self.listeners.get_mut(listener.0)
            && entry.accepting.stop()
        {
            self.queue.cancel(Kind::Accept, listener.0);
        }
    }

    /// Accepts again, after [`Ring::pause_accept`] or [`Completion::AcceptFailed`].
    pub fn resume_accept(&mut self, listener: ListenerId) {
        let Some(entry) = self.listeners.get_mut(listener.0) else { return };
        if !entry.removed && entry.accepting.start() {
            let accept = opcode::AcceptMulti::new(types::Fd(entry.socket.as_raw_fd()))
                .flags(libc::SOCK_CLOEXEC)
                .build()
                .user_data(user_data(Kind::Accept, listener.0));
            // SAFETY: the entry points to nothing; the descriptor stays open until the last completion.
            unsafe { self.queue.push(accept) }
        }
    }

    /// Gives a listening socket up and closes it. Connections that it still accepts are closed unseen.
    pub fn unlisten(&mut self, listener: ListenerId) {
        self.pause_accept(listener);
        if let Some(entry) = self.listeners.get_mut(listener.0) {
            entry.removed = true;
            if !entry.accepting.in_flight() {
                self.listeners.remove(listener.0);
            }
        }
    }

    /// As `socket_still_waits`, of an accept.
    pub(super) fn listener_still_waits(&self, cqe: &Cqe) -> bool {
        self.listeners.get(cqe.key).is_some_and(|entry| entry.accepting.is_cancelling())
    }

    pub(super) fn on_accept(&mut self, cqe: Cqe) -> Option<Completion<'static>> {
        let stream = cqe.checked().map(|fd| {
            // SAFETY: the kernel has just made this descriptor and told nobody else.
            TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd as i32) })
        });
        let listener = ListenerId(cqe.key);
        // A removed listener's slot lives until its accept has ended; `stream` is closed on every early return.
        let entry = self.listeners.get_mut(cqe.key)?;
        let wanted = if cqe.more() { false } else { entry.accepting.ended() };
        if entry.removed {
            if !entry.accepting.in_flight() {
                self.listeners.remove(cqe.key);
            }
            return None;
        }
        let completion = match stream {
            Ok(stream) => stream.peer_addr().ok().map(|peer| {
                // Without an address the peer is gone already.
                let socket = SocketId(self.sockets.insert(Socket::new(stream)));
                Completion::Accepted { listener, socket, peer }
            }),
            Err(error) => match error.raw_os_error() {
                // Cancelled, or a connection that died in the backlog.
                Some(
                    libc::ECANCELED
                    | libc::EINTR
                    | libc::EAGAIN
                    | libc::ECONNABORTED
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::EHOSTUNREACH,
                ) => None,
                _ => {
                    self.pause_accept(listener);
                    return Some(Completion::AcceptFailed { listener, error });
                }
            },
        };
        if wanted {
            self.resume_accept(listener);
        }
        completion
    }
}
