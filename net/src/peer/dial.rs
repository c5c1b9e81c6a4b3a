//! One attempt to reach a host: its name is resolved, then its addresses are tried one after the other.
//!
//! Every attempt stands for itself, so a host that does not answer delays nobody else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::vec;

use ringkeeper_engine::io::{Ring, SocketId};

use super::resolve::{Found, Resolver};
use super::sockets::{Role, Sockets};

/// Milliseconds after which an older answer serves if the name server has not answered.
const PATIENCE_MS: u64 = 50;

/// Milliseconds between two attempts, doubled from the first to the second value.
const PAUSE_MS: (u64, u64) = (20, 1000);

/// When the next attempt may be made.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pause: u64,
    /// Not before this, whatever is new.
    earliest: u64,
    /// Not before this, unless something is new.
    next: u64,
}

impl Backoff {
    /// An attempt has ended. The next is not made for `at_least` milliseconds, or longer if this was not the first.
    pub fn tried(&mut self, now_ms: u64, at_least: u64) {
        self.pause = (self.pause * 2).clamp(PAUSE_MS.0, PAUSE_MS.1);
        self.earliest = now_ms + at_least.max(PAUSE_MS.0);
        self.next = now_ms + at_least.max(self.pause);
    }

    /// There is news of the peer or for it: patience begins anew.
    pub fn refresh(&mut self) {
        self.pause = 0;
        self.next = self.earliest;
    }

    /// When the next attempt may be made, in milliseconds.
    pub fn next(&self) -> u64 {
        self.next
    }
}

/// Whom to reach, and as what.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub host: String,
    pub port: u16,
    pub role: Role,
    /// Milliseconds that each address may take.
    pub limit_ms: u64,
}

/// An attempt.
#[derive(Debug)]
pub(super) struct Dial {
    target: Target,
    /// When it began, in milliseconds.
    pub began: u64,
    deadline: u64,
    stage: Stage,
    error: io::Error,
}

#[derive(Debug)]
enum Stage {
    Resolving { asked: u64, hurry_at: u64 },
    Trying { socket: Option<SocketId>, rest: vec::IntoIter<IpAddr> },
}

impl Dial {
    pub fn begin(target: Target, resolver: &mut Resolver, now_ms: u64) -> Dial {
        let asked = resolver.ask(&target.host);
        Dial {
            began: now_ms,
            deadline: now_ms + target.limit_ms,
            stage: Stage::Resolving { asked, hurry_at: now_ms + PATIENCE_MS },
            error: io::ErrorKind::TimedOut.into(),
            target,
        }
    }

    /// Goes on as far as possible without waiting.
    ///
    /// # Errors
    /// When nothing is left to try: what the last try came to.
    pub fn turn(
        &mut self,
        ring: &mut Ring,
        resolver: &Resolver,
        sockets: &mut Sockets,
        now_ms: u64,
    ) -> Result<(), io::Error> {
        loop {
            match &mut self.stage {
                Stage::Resolving { asked, hurry_at } => {
                    match resolver.found(&self.target.host, *asked, now_ms >= *hurry_at) {
                        Found::Addresses(all) => {
                            self.stage = Stage::Trying { socket: None, rest: all.into_iter() };
                        }
                        Found::Pending if now_ms < self.deadline => return Ok(()),
                        Found::Pending => return Err(io::ErrorKind::TimedOut.into()),
                        Found::Failed(error) => return Err(error),
                    }
                }
                Stage::Trying { socket: Some(_), .. } if now_ms < self.deadline => return Ok(()),
                Stage::Trying { socket: Some(tried), .. } => {
                    sockets.close(*tried);
                    self.failed(io::ErrorKind::TimedOut.into());
                }
                Stage::Trying { socket, rest } => {
                    let Some(address) = rest.next() else {
                        return Err(std::mem::replace(&mut self.error, io::ErrorKind::TimedOut.into()));
                    };
                    self.deadline = now_ms + self.target.limit_ms;
                    match ring.connect(SocketAddr::new(address, self.target.port), 0) {
                        Ok(connecting) => {
                            sockets.insert(connecting, self.target.role);
                            *socket = Some(connecting);
                        }
                        Err(error) => self.error = error,
                    }
                }
            }
        }
    }

    /// The address that is being tried could not be reached.
    pub fn failed(&mut self, why: io::Error) {
        self.error = why;
        if let Stage::Trying { socket, .. } = &mut self.stage {
            *socket = None;
        }
    }

    /// The socket that is being connected.
    pub fn socket(&self) -> Option<SocketId> {
        match self.stage {
            Stage::Trying { socket, .. } => socket,
            Stage::Resolving { .. } => None,
        }
    }

    /// Ends the attempt.
    pub fn abandon(self, sockets: &mut Sockets) {
        if let Some(socket) = self.socket() {
            sockets.close(socket);
        }
    }

    /// When [`Dial::turn`] has something to do, if nothing happens.
    pub fn next_deadline(&self, now_ms: u64) -> u64 {
        match self.stage {
            // Once patience has ended only an answer can change anything.
            Stage::Resolving { hurry_at, .. } if now_ms < hurry_at => hurry_at,
            _ => self.deadline,
        }
    }
}
