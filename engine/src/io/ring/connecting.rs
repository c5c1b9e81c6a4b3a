//! Connecting: one operation per socket, its address in the socket's slot.
//!
//! There is no time limit here. Whoever is tired of waiting closes the socket, which cancels the attempt.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::{opcode, types};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, socket_with, sockopt};

use super::queue::{Cqe, Kind, user_data};
use super::sockets::Socket;
use super::{Completion, Ring, SocketId};

/// An attempt in the kernel's hands.
pub(super) struct Connecting {
    /// Boxed: the kernel reads it where it lies, and slots move.
    address: Box<SocketAddrAny>,
    user: u64,
}

impl Ring {
    /// Connects to `address`, without delay (TCP_NODELAY). [`Completion::Connected`] or
    /// [`Completion::ConnectFailed`] follows with `user`, unless [`Ring::close`] comes first: then only
    /// [`Completion::Closed`]. The kernel gives up by itself only after minutes.
    ///
    /// What is sent before the connection stands waits for it, and is dropped without a word if it fails.
    ///
    /// # Errors
    /// When there is no socket to be had, usually for want of descriptors.
    pub fn connect(&mut self, address: SocketAddr, user: u64) -> io::Result<SocketId> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let stream = TcpStream::from(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?);
        sockopt::set_tcp_nodelay(&stream, true)?;
        let descriptor = stream.as_raw_fd();
        let address = Box::new(address.as_any());
        let (pointer, len) = (address.as_ptr().cast(), address.addr_len());
        let mut socket = Socket::new(stream);
        socket.connecting = Some(Connecting { address, user });
        let key = self.sockets.insert(socket);
        let connect = opcode::Connect::new(types::Fd(descriptor), pointer, len)
            .build()
            .user_data(user_data(Kind::Connect, key));
        // SAFETY: the slot keeps the boxed address and the descriptor until the completion.
        unsafe { self.queue.push(connect) }
        Ok(SocketId(key))
    }

    pub(super) fn on_connect(&mut self, cqe: Cqe) -> Option<Completion<'static>> {
        let socket = SocketId(cqe.key);
        let entry = self.sockets.get_mut(cqe.key)?;
        let Connecting { address, user } = entry.connecting.take()?;
        if entry.closing {
            return self.finish_close(cqe.key);
        }
        let connected = cqe.checked().and_then(|_| {
            // Two ends on one port can meet in the middle, and TCP calls that a connection.
            let with_itself = entry.stream.local_addr().is_ok_and(|own| own.as_any() == *address);
            if with_itself { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) } else { Ok(()) }
        });
        if let Err(error) = connected {
            self.forget_unsent(cqe.key);
            self.sockets.remove(cqe.key);
            return Some(Completion::ConnectFailed { socket, user, error });
        }
        // Whatever this puts into `ready` is told after the connection.
        self.start_queued_sends(socket);
        Some(Completion::Connected { socket, user })
    }
}
