//! One non-blocking connection of the generator: its socket, its session handshake and the requests that wait
//! for an answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::schedule::Share;
use crate::wire;
use crate::workload::Op;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No socket; a new attempt is due at this time.
    Down { retry_ns: u64 },
    /// The TCP handshake is under way.
    Connecting,
    /// The ConnectRequest was sent.
    Handshaking,
    /// The session exists.
    Up,
    /// closeSession was sent, or the connection is of no more use.
    Closing,
}

/// A request that was sent and not yet answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// When it was sent, or in an open loop when it was due.
    pub(super) start_ns: u64,
    /// What it asked for.
    pub(super) op: Op,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) state: State,
    /// Index of the server in the list.
    pub(super) server: usize,
    pub(super) fd: Option<OwnedFd>,
    /// The beginning of a reply whose end has not come.
    pub(super) partial: Vec<u8>,
    /// Requests to be written.
    pub(super) out: Vec<u8>,
    /// How much of `out` was written.
    out_at: usize,
    /// Whether epoll was asked to tell when the socket takes more.
    wants_out: bool,
    pub(super) flight: VecDeque<Pending>,
    /// The xid of the oldest request in flight.
    pub(super) oldest_xid: i32,
    /// The xid of the next request.
    pub(super) next_xid: i32,
    /// The due requests of an open loop.
    pub(super) share: Share,
    pub(super) last_sent_ns: u64,
    /// Granted by the server, in milliseconds.
    pub(super) timeout_ms: i32,
    pub(super) last_zxid: i64,
}

/// What flushing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Everything, or as much as the socket takes now.
    Ok,
    /// The connection is dead.
    Dead(Errno),
}

impl Conn {
    pub(super) fn new(server: usize, window: usize, share: Share) -> Conn {
        Conn {
            state: State::Down { retry_ns: 0 },
            server,
            fd: None,
            partial: Vec::new(),
            out: Vec::new(),
            out_at: 0,
            wants_out: false,
            flight: VecDeque::with_capacity(window.min(1 << 16)),
            oldest_xid: 1,
            next_xid: 1,
            share,
            last_sent_ns: 0,
            timeout_ms: 0,
            last_zxid: 0,
        }
    }

    /// Begins to connect; the outcome comes as an event on `epoll` with `token`.
    pub(super) fn connect(&mut self, epoll: &OwnedFd, token: usize, peer: SocketAddr) -> Result<(), Errno> {
        let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match rustix::net::connect(&fd, &peer) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => return Err(e),
        }
        epoll::add(epoll, &fd, EventData::new_u64(token as u64), EventFlags::IN | EventFlags::OUT)?;
        self.wants_out = true;
        self.fd = Some(fd);
        self.state = State::Connecting;
        Ok(())
    }

    /// The TCP handshake has ended one way or the other: sends the ConnectRequest.
    pub(super) fn begin_session(&mut self, timeout_ms: i32) -> Result<(), Errno> {
        if let Some(fd) = &self.fd {
            sockopt::socket_error(fd)??;
        }
        wire::connect(&mut self.out, self.last_zxid, timeout_ms);
        self.state = State::Handshaking;
        Ok(())
    }

    /// Forgets the socket and everything that was on its way; returns the number of requests lost with it.
    pub(super) fn drop_socket(&mut self, retry_ns: u64) -> usize {
        // Closing the only descriptor takes it out of epoll.
        self.fd = None;
        self.partial.clear();
        self.out.clear();
        self.out_at = 0;
        self.oldest_xid = 1;
        self.next_xid = 1;
        self.state = State::Down { retry_ns };
        let lost = self.flight.len();
        self.flight.clear();
        lost
    }

    /// The next xid; they count from 1 in each connection and wrap to 1.
    pub(super) fn take_xid(&mut self) -> i32 {
        let xid = self.next_xid;
        self.next_xid = xid.checked_add(1).unwrap_or(1);
        xid
    }

    /// The oldest request in flight was answered.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let pending = self.flight.pop_front()?;
        self.oldest_xid = self.oldest_xid.checked_add(1).unwrap_or(1);
        Some(pending)
    }

    /// Writes what the socket takes, and asks epoll for a call when it takes more.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, token: usize) -> Flush {
        let Some(fd) = &self.fd else { return Flush::Ok };
        while self.out_at < self.out.len() {
            match rustix::io::write(fd, &self.out[self.out_at..]) {
                Ok(n) => self.out_at += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(e) => return Flush::Dead(e),
            }
        }
        let rest = self.out_at < self.out.len();
        if !rest {
            self.out.clear();
            self.out_at = 0;
        }
        if rest != self.wants_out {
            let flags = if rest { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            if let Err(e) = epoll::modify(epoll, fd, EventData::new_u64(token as u64), flags) {
                return Flush::Dead(e);
            }
            self.wants_out = rest;
        }
        Flush::Ok
    }
}
