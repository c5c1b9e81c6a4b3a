//! The connections between members, on the ring of the loop that owns the member: sockets below, votes and bytes above.
//!
//! [`Peers`] keeps one election connection with every other member that has something to say, opens the quorum port
//! while this member leads, and reaches the leader's quorum port when asked to. It decodes hellos and notifications;
//! what goes over a quorum connection it only carries. It decides nothing about elections or leaders, blocks never
//! (names are resolved on a thread of their own), and holds bounded memory whatever anybody sends or does not read.
//!
//! The owner hands every completion of its ring to [`Peers::completion`] first, and ends its turn with
//! [`Peers::turn`]. Requests ([`Peers::notify`] and its like) may be made at any time between the two and take effect
//! in `turn`. The handler is told of events and never called from within a request.
//!
//! Where to read: `election` and `quorum` are the two kinds of connections, `dial` is an attempt to make one,
//! `strangers` limits those who connect and do not say who they are.

mod chunk;
mod dial;
mod election;
mod port;
mod quorum;
mod resolve;
mod sockets;
mod sources;
mod strangers;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use ringkeeper_engine::id::Sid;
use ringkeeper_engine::io::{Completion, Ring, SendFileError, SocketId, Waker};

use crate::wire::election::Notification;
use crate::zab::event::Link;
use election::Election;
use port::Port;
use quorum::Quorum;
use resolve::Resolver;
use sockets::{Role, Sockets};

pub use chunk::{Chunk, FileChunk};

/// Milliseconds between two attempts to open the election port, as the reference has it.
const ELECTION_BIND_MS: u64 = 1000;
/// Milliseconds between two attempts to open the quorum port.
const QUORUM_BIND_MS: u64 = 50;
/// Failures to open the quorum port after which the log says so: a port just given up may be taken for a moment.
const QUORUM_BIND_WARNING: u32 = 3;

/// Where a member can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Who.
    pub sid: Sid,
    /// A name or a literal address; an IPv6 address may stand in brackets.
    pub host: String,
    /// Open while it leads.
    pub quorum_port: u16,
    /// Always open.
    pub election_port: u16,
}

/// What never changes while the connections live.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// Own id, one of the members.
    pub me: Sid,
    /// All members, this one included.
    pub members: Vec<PeerAddress>,
    /// The configuration as text, sent with every notification (quorum reference 2.5).
    pub config: Vec<u8>,
    /// Listen on all interfaces instead of the own address (`quorumListenOnAllIPs`).
    pub listen_on_all: bool,
    /// Milliseconds that an attempt to connect to one address may take (`cnxTimeout`).
    pub connect_timeout_ms: u64,
    /// Milliseconds in which whoever connects must say who it is.
    pub hello_timeout_ms: u64,
    /// How often opening the election port may fail before the node ends, 0 for no limit (`electionPortBindRetry`).
    pub election_bind_tries: u32,
}

/// Why there can be no connections.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Own id is not among the members.
    #[error("server {0} is not among the members it is to talk to")]
    NotAMember(Sid),
    /// Without an election port nobody can reach this member.
    #[error("opening the election port {host}:{port}, {tries} times: {source}")]
    ElectionPort {
        /// The own address.
        host: String,
        /// The port.
        port: u16,
        /// How often it failed.
        tries: u32,
        /// The last failure.
        source: io::Error,
    },
}

/// Who is told. None of the calls comes from within a request to [`Peers`].
pub trait PeerHandler {
    /// A member says how it votes.
    fn notified(&mut self, from: Sid, notification: &Notification);
    /// The connection to the leader that was asked for stands.
    fn connected(&mut self, link: Link);
    /// It could not be made.
    fn connect_failed(&mut self, leader: Sid);
    /// Bytes have come. The first of an accepted connection announce it. A few may still come after
    /// [`PeerHandler::reads`] said no.
    fn received(&mut self, link: Link, bytes: &[u8]);
    /// A connection is gone that was connected or from which bytes came, unless [`Peers::close`] closed it.
    fn closed(&mut self, link: Link);
    /// A file of which a chunk was to be sent cannot be opened or read, or is damaged. Nothing of that chunk was sent;
    /// the connection is closed, which [`PeerHandler::closed`] says next.
    fn unreadable(&mut self, link: Link, path: &Path, error: &SendFileError);
    /// More to send; `None`: nothing now. Asked in every [`Peers::turn`] while less than 512 KiB of the connection's
    /// bytes in memory are unsent and less than two of its chunks of files, so that one is read while one leaves.
    fn next_chunk(&mut self, link: Link) -> Option<Chunk>;
    /// Whether to receive from the connection; asked in every turn.
    fn reads(&self, link: Link) -> bool;
    /// Whether an accepted connection has said who it is. Until then it is one of few and has little time.
    fn is_introduced(&self, link: Link) -> bool;
}

/// How many connections there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Members with whom there is an election connection.
    pub election: usize,
    /// Quorum connections.
    pub quorum: usize,
    /// Of both ports, connections of those who have not said who they are.
    pub strangers: usize,
}

/// The connections of one member.
#[derive(Debug)]
pub struct Peers {
    config: Vec<u8>,
    bind_tries: u32,
    /// Host and port, for the error.
    election_address: (String, u16),
    election_port: Port,
    quorum_port: Port,
    election: Election,
    quorum: Quorum,
    resolver: Resolver,
    sockets: Sockets,
    /// The leader to be connected to, asked for since the last turn.
    leader: Option<Sid>,
    /// Something has been asked for or has happened since the last turn.
    due: bool,
}

impl Peers {
    /// Connections of the member `options.me`, none of them open yet. `waker` wakes the ring that will be given to
    /// [`Peers::turn`].
    ///
    /// # Errors
    /// When the member itself is not among the members.
    pub fn new(options: &PeerOptions, waker: Waker) -> Result<Peers, PeerError> {
        Peers::with_resolver(options, Resolver::new(waker))
    }

    fn with_resolver(options: &PeerOptions, resolver: Resolver) -> Result<Peers, PeerError> {
        let own = options.members.iter().find(|member| member.sid == options.me);
        let own = own.ok_or(PeerError::NotAMember(options.me))?;
        let port = |what, port, retry_ms| Port::new(what, &own.host, port, options.listen_on_all, retry_ms);
        Ok(Peers {
            config: options.config.clone(),
            bind_tries: options.election_bind_tries,
            election_address: (own.host.clone(), own.election_port),
            election_port: port("election port", own.election_port, ELECTION_BIND_MS),
            quorum_port: port("quorum port", own.quorum_port, QUORUM_BIND_MS),
            election: Election::new(options),
            quorum: Quorum::new(options),
            resolver,
            sockets: Sockets::default(),
            leader: None,
            due: false,
        })
    }

    /// Opens the election port, now or in a later turn if it takes more than one attempt.
    ///
    /// # Errors
    /// As [`Peers::turn`].
    pub fn start(&mut self, ring: &mut Ring, now_ms: u64) -> Result<(), PeerError> {
        self.election_port.want(true);
        self.open_ports(ring, now_ms)
    }

    /// Closes both ports and the files that are sent; what is connected stays until [`Peers`] and ring are dropped.
    pub fn end(&mut self, ring: &mut Ring) {
        for port in [&mut self.election_port, &mut self.quorum_port] {
            port.want(false);
            port.close(ring);
        }
        self.quorum.close_sources(ring);
    }

    /// Tells a member how we vote, over the connection with it or one that is made for this. It takes the place of
    /// what the member has not been told yet. Who is no other member is told nothing.
    pub fn notify(&mut self, to: Sid, notification: &Notification) {
        self.due |= self.election.notify(to, notification.encode(&self.config));
    }

    /// Connects to the quorum port of this member, once: [`PeerHandler::connected`] or
    /// [`PeerHandler::connect_failed`] follows. An attempt under way is given up without a word.
    pub fn connect(&mut self, leader: Sid) {
        self.leader = Some(leader);
        self.due = true;
    }

    /// Closes a quorum connection and drops what was not sent. Nothing more is said of it.
    pub fn close(&mut self, link: Link) {
        self.quorum.close(link, &mut self.sockets);
        self.due = true;
    }

    /// Opens or closes the quorum port. Connections that stand are not touched.
    pub fn set_leading(&mut self, leading: bool) {
        self.quorum_port.want(leading);
        self.due = true;
    }

    /// Whether the socket is one of a peer.
    #[inline]
    pub fn owns(&self, socket: SocketId) -> bool {
        self.sockets.role(socket).is_some()
    }

    /// Takes a completion of the ring. False if it was none of ours and nothing was done.
    pub fn completion(
        &mut self,
        completion: &Completion<'_>,
        now_ms: u64,
        handler: &mut impl PeerHandler,
    ) -> bool {
        let Peers { election, quorum, sockets, .. } = self;
        match *completion {
            Completion::Accepted { listener, socket, peer } => {
                if self.election_port.owns(listener) {
                    election.accepted(socket, peer, sockets, now_ms);
                } else if self.quorum_port.owns(listener) {
                    quorum.accepted(socket, peer, sockets, now_ms);
                } else {
                    return false;
                }
            }
            Completion::AcceptFailed { listener, ref error } => {
                let ports = [&mut self.election_port, &mut self.quorum_port];
                let Some(port) = ports.into_iter().find(|port| port.owns(listener)) else { return false };
                port.accept_failed(now_ms, error);
            }
            Completion::Received { socket, data } => {
                let Some(role) = sockets.role(socket) else { return false };
                match role {
                    Role::Stranger => election.heard_stranger(socket, data, sockets, now_ms, handler),
                    Role::Member(from) => election.heard_member(from, socket, data, sockets, handler),
                    Role::Link(link) => quorum.received(link, data, handler),
                    Role::DialMember(_) | Role::DialLeader | Role::Ended => {}
                }
            }
            Completion::ReceiveEnded { socket, ref result } => {
                let Some(role) = sockets.role(socket) else { return false };
                match role {
                    Role::Stranger => election.stranger_gone(socket, sockets),
                    Role::Member(from) => election.gone(from, socket, result, sockets, now_ms),
                    Role::Link(link) => quorum.gone(link, sockets, handler),
                    Role::DialMember(_) | Role::DialLeader | Role::Ended => {}
                }
            }
            Completion::Sent { socket, user, ref result, .. }
            | Completion::SentShared { socket, user, ref result } => {
                let Some(role) = sockets.role(socket) else { return false };
                match role {
                    // The hello is the only buffer of its own that a member is sent.
                    Role::Member(to)
                        if result.is_err() || matches!(completion, Completion::SentShared { .. }) =>
                    {
                        election.sent(to, socket, result, sockets);
                    }
                    Role::Link(link) => quorum.sent(link, user, result, sockets, handler),
                    _ => {}
                }
            }
            Completion::SentFile { socket, ref result, .. } => match sockets.role(socket) {
                Some(Role::Link(link)) => quorum.sent_file(link, result, sockets, handler),
                Some(_) => {}
                None => return false,
            },
            Completion::Connected { socket, .. } => match sockets.role(socket) {
                Some(Role::DialMember(to)) => election.connected(to, socket, sockets, now_ms),
                Some(Role::DialLeader) => quorum.connected(socket, sockets, handler),
                Some(_) => {}
                None => return false,
            },
            Completion::ConnectFailed { socket, ref error, .. } => {
                let Some(role) = sockets.role(socket) else { return false };
                sockets.remove(socket);
                let why = io::Error::new(error.kind(), error.to_string());
                match role {
                    Role::DialMember(to) => election.connect_failed(to, socket, why),
                    Role::DialLeader => quorum.connect_failed(socket, why),
                    _ => {}
                }
            }
            Completion::Closed { socket } => {
                if !self.owns(socket) {
                    return false;
                }
                self.sockets.remove(socket);
                return true;
            }
            Completion::Woken => return false,
        }
        self.due = true;
        true
    }

    /// Ends a turn of the loop: performs what was asked for, takes chunks, connects, times out. What the handler
    /// asks for meanwhile takes effect in the next turn, which [`Peers::next_deadline`] then wants at once.
    ///
    /// # Errors
    /// When the election port cannot be opened: this member cannot take part.
    pub fn turn(
        &mut self,
        ring: &mut Ring,
        now_ms: u64,
        handler: &mut impl PeerHandler,
    ) -> Result<(), PeerError> {
        self.due = false;
        self.resolver.take_answers();
        self.open_ports(ring, now_ms)?;
        let Peers { election, quorum, sockets, resolver, .. } = self;
        if let Some(leader) = self.leader.take()
            && !quorum.connect(leader, resolver, sockets, now_ms)
        {
            handler.connect_failed(leader);
        }
        election.turn(ring, resolver, sockets, now_ms);
        quorum.turn(ring, resolver, sockets, now_ms, handler);
        sockets.perform(ring);
        Ok(())
    }

    fn open_ports(&mut self, ring: &mut Ring, now_ms: u64) -> Result<(), PeerError> {
        if let Err((tries, source)) = self.election_port.turn(ring, &mut self.resolver, now_ms) {
            let (host, port) = self.election_address.clone();
            if self.bind_tries != 0 && tries >= self.bind_tries {
                return Err(PeerError::ElectionPort { host, port, tries, source });
            }
            tracing::warn!("opening the election port {host}:{port}: {source}; trying again");
        }
        if let Err((tries, error)) = self.quorum_port.turn(ring, &mut self.resolver, now_ms)
            && tries == QUORUM_BIND_WARNING
        {
            tracing::warn!("opening the quorum port: {error}; trying again while this server leads");
        }
        Ok(())
    }

    /// When the loop must turn even if nothing happens, in milliseconds of the same clock; 0 for at once.
    pub fn next_deadline(&self, now_ms: u64) -> Option<u64> {
        if self.due {
            return Some(0);
        }
        let ports = [&self.election_port, &self.quorum_port];
        let all = ports.into_iter().filter_map(Port::next_deadline);
        all.chain(self.election.next_deadline(now_ms)).chain(self.quorum.next_deadline(now_ms)).min()
    }

    /// How many connections there are.
    pub fn connections(&self) -> Connections {
        Connections {
            election: self.election.connections(),
            quorum: self.quorum.connections(),
            strangers: self.election.strangers() + self.quorum.strangers(),
        }
    }

    /// Where the quorum port is open, if it is.
    pub fn quorum_address(&self) -> Option<SocketAddr> {
        self.quorum_port.address()
    }
}
