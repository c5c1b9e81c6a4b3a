//! The quorum connections: bytes between a leader and its learners, with bounded memory in both directions.
//!
//! What the bytes mean is the member's business. It is asked for more to send when little of a connection is
//! unsent, and whether it wants to receive; who an accepted connection belongs to is what it finds out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ringkeeper_engine::id::Sid;
use ringkeeper_engine::io::{FilePiece, Ring, SendFileError, SocketId};

use super::dial::{Dial, Target};
use super::resolve::Resolver;
use super::sockets::{Role, Sockets};
use super::sources::Sources;
use super::strangers::Strangers;
use super::{Chunk, FileChunk, PeerHandler, PeerOptions};
use crate::zab::event::Link;

/// While this many bytes in memory of a connection are in the ring, no more are asked for.
const ENOUGH_UNSENT: usize = 512 << 10;
/// The same for chunks of files: one is read while one leaves.
const ENOUGH_PIECES: usize = 2;

/// All that concerns quorum connections.
#[derive(Debug)]
pub(super) struct Quorum {
    leaders: HashMap<Sid, (String, u16)>,
    connect_timeout_ms: u64,
    hello_timeout_ms: u64,
    wires: BTreeMap<Link, Wire>,
    last_link: u64,
    /// The attempt to reach the leader.
    dial: Option<(Sid, Dial)>,
    strangers: Strangers,
    /// The files that are sent.
    sources: Sources,
}

#[derive(Debug)]
struct Wire {
    socket: SocketId,
    /// The member has heard of it.
    announced: bool,
    /// Bytes in memory that the ring holds.
    unsent: usize,
    /// The files of the chunks that the ring has to send, in order.
    pieces: VecDeque<Arc<Path>>,
    receiving: bool,
}

impl Quorum {
    pub fn new(options: &PeerOptions) -> Quorum {
        let others = options.members.iter().filter(|member| member.sid != options.me);
        Quorum {
            leaders: others.map(|member| (member.sid, (member.host.clone(), member.quorum_port))).collect(),
            connect_timeout_ms: options.connect_timeout_ms,
            hello_timeout_ms: options.hello_timeout_ms,
            wires: BTreeMap::new(),
            last_link: 0,
            dial: None,
            strangers: Strangers::default(),
            sources: Sources::default(),
        }
    }

    /// Begins to reach this leader; an attempt under way is given up without a word.
    pub fn connect(
        &mut self,
        leader: Sid,
        resolver: &mut Resolver,
        sockets: &mut Sockets,
        now_ms: u64,
    ) -> bool {
        if let Some((_, dial)) = self.dial.take() {
            dial.abandon(sockets);
        }
        let Some((host, port)) = self.leaders.get(&leader).cloned() else { return false };
        let target = Target { host, port, role: Role::DialLeader, limit_ms: self.connect_timeout_ms };
        self.dial = Some((leader, Dial::begin(target, resolver, now_ms)));
        true
    }

    fn add(&mut self, socket: SocketId, announced: bool, sockets: &mut Sockets) -> Link {
        self.last_link += 1;
        let link = Link(self.last_link);
        sockets.insert(socket, Role::Link(link));
        sockets.receive(socket, true);
        self.wires
            .insert(link, Wire { socket, announced, unsent: 0, pieces: VecDeque::new(), receiving: true });
        link
    }

    /// A learner, or anybody else, has connected.
    pub fn accepted(&mut self, socket: SocketId, peer: SocketAddr, sockets: &mut Sockets, now_ms: u64) {
        self.add(socket, false, sockets);
        self.strangers.admit(socket, peer.ip(), now_ms, self.hello_timeout_ms);
    }

    /// The leader was reached.
    pub fn connected(&mut self, socket: SocketId, sockets: &mut Sockets, handler: &mut impl PeerHandler) {
        if self.dial.take_if(|(_, dial)| dial.socket() == Some(socket)).is_none() {
            return sockets.close(socket);
        }
        let link = self.add(socket, true, sockets);
        handler.connected(link);
    }

    /// An address of the leader could not be reached.
    pub fn connect_failed(&mut self, socket: SocketId, why: io::Error) {
        if let Some((_, dial)) = &mut self.dial
            && dial.socket() == Some(socket)
        {
            dial.failed(why);
        }
    }

    /// Bytes have come.
    pub fn received(&mut self, link: Link, data: &[u8], handler: &mut impl PeerHandler) {
        if let Some(wire) = self.wires.get_mut(&link) {
            wire.announced = true;
            handler.received(link, data);
        }
    }

    /// Bytes have left the ring.
    pub fn sent(
        &mut self,
        link: Link,
        bytes: u64,
        result: &io::Result<()>,
        sockets: &mut Sockets,
        handler: &mut impl PeerHandler,
    ) {
        if let Some(wire) = self.wires.get_mut(&link) {
            wire.unsent -= bytes as usize;
        }
        if result.is_err() {
            self.gone(link, sockets, handler);
        }
    }

    /// A chunk of a file has left the ring, or could not be sent.
    pub fn sent_file(
        &mut self,
        link: Link,
        result: &Result<(), SendFileError>,
        sockets: &mut Sockets,
        handler: &mut impl PeerHandler,
    ) {
        let path = self.wires.get_mut(&link).and_then(|wire| wire.pieces.pop_front());
        match (result, path) {
            (Ok(()), _) => {}
            (Err(SendFileError::Send(_)), _) | (Err(_), None) => self.gone(link, sockets, handler),
            (Err(error), Some(path)) => self.unreadable(link, &path, error, sockets, handler),
        }
    }

    /// A file cannot be sent: the connection has lost what was to follow.
    fn unreadable(
        &mut self,
        link: Link,
        path: &Path,
        error: &SendFileError,
        sockets: &mut Sockets,
        handler: &mut impl PeerHandler,
    ) {
        self.sources.spoil(path);
        handler.unreadable(link, path, error);
        self.gone(link, sockets, handler);
    }

    /// The other side has ended the connection, or it broke.
    pub fn gone(&mut self, link: Link, sockets: &mut Sockets, handler: &mut impl PeerHandler) {
        let announced = self.wires.get(&link).is_some_and(|wire| wire.announced);
        self.close(link, sockets);
        if announced {
            handler.closed(link);
        }
    }

    /// Closes a connection and drops what was not sent.
    pub fn close(&mut self, link: Link, sockets: &mut Sockets) {
        if let Some(wire) = self.wires.remove(&link) {
            self.strangers.take(wire.socket);
            sockets.close(wire.socket);
        }
    }

    /// Does what is due: connects, sends, receives or not, hangs up on those who do not introduce themselves.
    pub fn turn(
        &mut self,
        ring: &mut Ring,
        resolver: &Resolver,
        sockets: &mut Sockets,
        now_ms: u64,
        handler: &mut impl PeerHandler,
    ) {
        if let Some((leader, dial)) = &mut self.dial
            && let Err(error) = dial.turn(ring, resolver, sockets, now_ms)
        {
            let leader = *leader;
            tracing::debug!("connecting to the quorum port of server {leader}: {error}");
            self.dial = None;
            handler.connect_failed(leader);
        }
        self.limit_strangers(sockets, now_ms, handler);
        let mut unreadable = Vec::new();
        for (&link, wire) in self.wires.iter_mut().filter(|(_, wire)| wire.announced) {
            let wanted = handler.reads(link);
            if wire.receiving != wanted {
                wire.receiving = wanted;
                sockets.receive(wire.socket, wanted);
            }
            while wire.unsent < ENOUGH_UNSENT
                && wire.pieces.len() < ENOUGH_PIECES
                && let Some(chunk) = handler.next_chunk(link)
            {
                let len = chunk.len();
                match chunk {
                    Chunk::Own(bytes) => {
                        wire.unsent += len;
                        ring.send(wire.socket, bytes, len as u64);
                    }
                    Chunk::Shared(bytes) => {
                        wire.unsent += len;
                        ring.send_shared(wire.socket, bytes, len as u64);
                    }
                    Chunk::File(FileChunk { path, offset, len, crc }) => {
                        match self.sources.get(&path, ring, now_ms) {
                            Ok(source) => {
                                ring.send_file(wire.socket, FilePiece { source, offset, len, crc }, 0);
                                wire.pieces.push_back(path);
                            }
                            Err(source) => {
                                unreadable.push((link, path, SendFileError::Read { offset, source }));
                                break;
                            }
                        }
                    }
                }
            }
        }
        for (link, path, error) in unreadable {
            self.unreadable(link, &path, &error, sockets, handler);
        }
        let wires = &self.wires;
        let in_use = |path: &Path| wires.values().flat_map(|wire| &wire.pieces).any(|used| **used == *path);
        self.sources.turn(ring, now_ms, in_use);
    }

    /// Closes the files that are sent.
    pub fn close_sources(&mut self, ring: &mut Ring) {
        self.sources.close(ring);
    }

    #[cfg(test)]
    pub fn open_sources(&self) -> usize {
        self.sources.len()
    }

    fn limit_strangers(&mut self, sockets: &mut Sockets, now_ms: u64, handler: &mut impl PeerHandler) {
        let known = |socket: &SocketId| match sockets.role(*socket) {
            Some(Role::Link(link)) => handler.is_introduced(link),
            _ => true,
        };
        let introduced: Vec<_> = self.strangers.sockets().filter(known).collect();
        for socket in introduced {
            self.strangers.take(socket);
        }
        while let Some(socket) = self.strangers.pop_surplus(now_ms) {
            if let Some(Role::Link(link)) = sockets.role(socket) {
                self.gone(link, sockets, handler);
            }
        }
    }

    /// When [`Quorum::turn`] has something to do, if nothing happens.
    pub fn next_deadline(&self, now_ms: u64) -> Option<u64> {
        let dial = self.dial.as_ref().map(|(_, dial)| dial.next_deadline(now_ms));
        dial.into_iter().chain(self.strangers.next_deadline()).chain(self.sources.next_deadline()).min()
    }

    /// Connections, those of strangers included.
    pub fn connections(&self) -> usize {
        self.wires.len()
    }

    /// Connections of those who have not said who they are.
    pub fn strangers(&self) -> usize {
        self.strangers.len()
    }
}
