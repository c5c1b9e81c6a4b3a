//! Accepted connections that have not said who they are: bounded in number, bytes and time.
//!
//! Whoever opens connections and stays silent pushes out his own, because the place for a newcomer is taken from
//! the address that has most of them. Members write as soon as they are connected and stay a moment only.

use std::collections::HashMap;
use std::net::IpAddr;

use ringkeeper_engine::io::SocketId;

/// How many there may be on one port. Each costs a descriptor and at most a hello of 2068 bytes.
const MOST: usize = 128;

/// One of them.
#[derive(Debug)]
pub(super) struct Stranger {
    pub socket: SocketId,
    address: IpAddr,
    deadline: u64,
    /// What it has said so far.
    pub said: Vec<u8>,
}

/// All of one port, oldest first.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    all: Vec<Stranger>,
}

impl Strangers {
    /// A connection was accepted. It has `patience_ms` to say who it is.
    pub fn admit(&mut self, socket: SocketId, address: IpAddr, now_ms: u64, patience_ms: u64) {
        let deadline = now_ms + patience_ms;
        self.all.push(Stranger { socket, address, deadline, said: Vec::new() });
    }

    /// It is no stranger any more.
    pub fn take(&mut self, socket: SocketId) -> Option<Stranger> {
        let index = self.all.iter().position(|stranger| stranger.socket == socket)?;
        Some(self.all.remove(index))
    }

    /// Keeps what it has said.
    pub fn hear(&mut self, socket: SocketId, data: &[u8]) -> Option<&mut Stranger> {
        let stranger = self.all.iter_mut().find(|stranger| stranger.socket == socket)?;
        stranger.said.extend_from_slice(data);
        Some(stranger)
    }

    /// Takes out one who is too much or has taken too long.
    pub fn pop_surplus(&mut self, now_ms: u64) -> Option<SocketId> {
        let late = self.all.first().is_some_and(|oldest| oldest.deadline <= now_ms);
        let index = if late {
            0
        } else if self.all.len() > MOST {
            let mut counts: HashMap<IpAddr, usize> = HashMap::new();
            for stranger in &self.all {
                *counts.entry(stranger.address).or_default() += 1;
            }
            let most = counts.values().copied().max()?;
            self.all.iter().position(|stranger| counts[&stranger.address] == most)?
        } else {
            return None;
        };
        Some(self.all.remove(index).socket)
    }

    /// When the oldest has taken too long, in milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.all.first().map(|oldest| oldest.deadline)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The sockets, oldest first.
    pub fn sockets(&self) -> impl Iterator<Item = SocketId> + '_ {
        self.all.iter().map(|stranger| stranger.socket)
    }
}
