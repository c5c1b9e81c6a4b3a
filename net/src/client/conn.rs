//! One client connection: where it stands, who it is, and which of its requests still wait.
//!
//! Replies leave in the order of requests. Writes are proposed at once and answered when they commit, in order
//! among themselves; everything else that arrives behind an uncommitted write of the connection waits here with
//! its bytes until that write is applied. So only the newest own write matters, and a connection that only
//! writes, or only reads, never waits and keeps no bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use slab::Slab;

use super::ConnKey;
use super::auth::Identity;
use super::flight::Ticket;
use super::stats::ConnStats;
use crate::wire::Code;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its first frame has not come.
    Fresh,
    /// It asked for a session that exists, and the leader has not yet said all that is needed to confirm it. What
    /// arrives meanwhile waits.
    Resuming {
        /// Slot of the session, once the leader has called it alive.
        granted: Option<u32>,
    },
    /// It has a session, perhaps not committed or not yet confirmed to it.
    Open {
        /// Slot of the session.
        session: u32,
    },
    /// A reply that ends it is on its way: nothing is read any more.
    Ending {
        /// Slot of the session, if there is one.
        session: Option<u32>,
    },
}

/// Something that waits for an own write.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// It may go once this is settled.
    pub after: Ticket,
    /// When it arrived, microseconds of the monotonic clock.
    pub received_us: u64,
    /// What it is.
    pub what: Waiting,
}

/// What waits.
#[derive(Debug, Clone, Copy)]
pub enum Waiting {
    /// A request that is looked at when its turn comes; its bytes are the next ones of the backlog.
    Frame {
        /// How many.
        len: u32,
        /// How many identities the connection had when it was read: later ones do not count for it.
        identities: u32,
    },
    /// The outcome of an auth packet, which took effect when it was read.
    Auth {
        /// Its number.
        xid: i32,
        /// Whether it was taken; if not, the connection closes.
        accepted: bool,
    },
    /// A write that was refused before it became a transaction.
    Refused {
        /// Its number.
        xid: i32,
        /// What it was.
        op: i32,
        /// The error.
        code: Code,
    },
    /// The answer to a ConnectRequest that resumes a session.
    Connect,
}

impl Waiting {
    /// Bytes of the backlog that it takes.
    pub fn bytes(&self) -> usize {
        match *self {
            Waiting::Frame { len, .. } => len as usize,
            Waiting::Auth { .. } | Waiting::Refused { .. } | Waiting::Connect => 0,
        }
    }
}

/// A client connection.
#[derive(Debug)]
pub struct Conn {
    /// How the front loops know it.
    pub key: ConnKey,
    /// The other end.
    pub peer: SocketAddr,
    /// Where it stands.
    pub phase: Phase,
    /// Whether its ConnectRequest had the read-only flag, so that the answer must have it.
    pub wants_flag: bool,
    /// Who it is; only ever grows.
    pub identities: Vec<Identity>,
    /// The place of its last write or sync.
    pub barrier: Ticket,
    /// What waits, oldest first.
    pub held: VecDeque<Held>,
    /// Frames of `held`, one behind the other.
    backlog: Vec<u8>,
    /// Where the first of them begins.
    backlog_start: usize,
    /// Bytes of requests that are not answered.
    pub unanswered_bytes: usize,
    /// Requests that are not answered.
    pub unanswered: u32,
    /// Whether the front was asked to stop reading.
    pub paused: bool,
    /// Numbers for the monitoring words.
    pub stats: ConnStats,
}

impl Conn {
    /// A connection that has just been accepted.
    pub fn new(key: ConnKey, peer: SocketAddr, wall_ms: i64) -> Conn {
        Conn {
            key,
            peer,
            phase: Phase::Fresh,
            wants_flag: false,
            identities: vec![Identity::of_peer(peer.ip())],
            barrier: Ticket::default(),
            held: VecDeque::new(),
            backlog: Vec::new(),
            backlog_start: 0,
            unanswered_bytes: 0,
            unanswered: 0,
            paused: false,
            stats: ConnStats::new(wall_ms),
        }
    }

    /// The slot of its session.
    pub fn session(&self) -> Option<u32> {
        match self.phase {
            Phase::Fresh => None,
            Phase::Open { session } => Some(session),
            Phase::Resuming { granted } => granted,
            Phase::Ending { session } => session,
        }
    }

    /// No further request is read.
    pub fn end(&mut self) {
        self.phase = Phase::Ending { session: self.session() };
    }

    /// Whether a read that arrives now must wait, given what is settled.
    pub fn must_hold(&self, settled: Ticket) -> bool {
        self.barrier > settled || !self.held.is_empty()
    }

    /// Whether something that waits could be served.
    pub fn has_ready(&self, settled: Ticket) -> bool {
        self.held.front().is_some_and(|held| held.after <= settled)
    }

    /// Lets something wait for the own writes before it.
    pub fn hold(&mut self, received_us: u64, what: Waiting) {
        self.held.push_back(Held { after: self.barrier, received_us, what });
    }

    /// Keeps the bytes of a frame that is going to wait. Its identities are those of now.
    pub fn keep_frame(&mut self, frame: &[u8]) -> Waiting {
        self.backlog.extend_from_slice(frame);
        // Frames are far below 4 GiB: their length came in four bytes.
        Waiting::Frame { len: frame.len() as u32, identities: self.identities.len() as u32 }
    }

    /// Everything that waits, with the bytes of its frames, one behind the other.
    pub fn take_all(&mut self) -> (VecDeque<Held>, Vec<u8>) {
        let mut frames = std::mem::take(&mut self.backlog);
        frames.drain(..std::mem::take(&mut self.backlog_start));
        (std::mem::take(&mut self.held), frames)
    }

    /// The first thing that need not wait any more, given what is settled.
    pub fn next_ready(&mut self, settled: Ticket) -> Option<Held> {
        let held = *self.held.front().filter(|held| held.after <= settled)?;
        self.held.pop_front();
        Some(held)
    }

    /// Moves the bytes of the frame at the front of the backlog into `frame`.
    pub fn take_frame(&mut self, len: u32, frame: &mut Vec<u8>) {
        let end = self.backlog_start + len as usize;
        frame.clear();
        frame.extend_from_slice(&self.backlog[self.backlog_start..end]);
        self.backlog_start = end;
        if end == self.backlog.len() {
            self.backlog.clear();
            self.backlog_start = 0;
            if self.backlog.capacity() > KEPT_BACKLOG {
                self.backlog = Vec::new();
            }
        } else if end > self.backlog.len() / 2 {
            self.backlog.drain(..end);
            self.backlog_start = 0;
        }
    }
}

/// Bytes of backlog that an idle connection may keep for later.
const KEPT_BACKLOG: usize = 16 * 1024;

const NIL: u32 = u32::MAX;

/// All connections, found by the front loops' keys without hashing.
#[derive(Debug, Default)]
pub struct Conns {
    slots: Slab<Conn>,
    /// Per front and slot of the front, the slot here.
    fronts: Vec<Vec<u32>>,
}

impl Conns {
    /// Takes in a connection; answers its slot.
    pub fn insert(&mut self, conn: Conn) -> u32 {
        let key = conn.key;
        let at = self.slots.insert(conn) as u32;
        let front = usize::from(key.front);
        if self.fronts.len() <= front {
            self.fronts.resize_with(front + 1, Vec::new);
        }
        let slots = &mut self.fronts[front];
        if slots.len() <= key.slot as usize {
            slots.resize(key.slot as usize + 1, NIL);
        }
        slots[key.slot as usize] = at;
        at
    }

    /// The slot of a connection that is still here, whatever its generation.
    pub fn occupant(&self, key: ConnKey) -> Option<u32> {
        let at = *self.fronts.get(usize::from(key.front))?.get(key.slot as usize)?;
        (at != NIL).then_some(at)
    }

    /// The slot of exactly this connection.
    pub fn find(&self, key: ConnKey) -> Option<u32> {
        self.occupant(key).filter(|&at| self.slots[at as usize].key == key)
    }

    /// The connection in a slot that was answered by `find` or `insert`.
    pub fn get(&self, at: u32) -> &Conn {
        &self.slots[at as usize]
    }

    /// As [`Conns::get`], to be changed.
    pub fn get_mut(&mut self, at: u32) -> &mut Conn {
        &mut self.slots[at as usize]
    }

    /// Forgets a connection.
    pub fn remove(&mut self, at: u32) -> Conn {
        let conn = self.slots.remove(at as usize);
        self.fronts[usize::from(conn.key.front)][conn.key.slot as usize] = NIL;
        conn
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// All of them, with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Conn)> {
        self.slots.iter().map(|(at, conn)| (at as u32, conn))
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conn> {
        self.slots.iter_mut().map(|(_, conn)| conn)
    }
}
