//! The quorum connections of a member: what was received and is no whole packet yet, and what waits to be sent.
//!
//! A connection that was accepted is a stranger until the protocol core has taken its first packet: until then it may
//! send little. That it has little time, too, is the business of whoever owns the sockets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::io::Volume;
use ringkeeper_engine::log::{Cursor, Log, LogError};

use super::queue::{Each, Queue, encode_commits, encode_live};
use crate::peer::Chunk;
use crate::wire::quorum::{Decoder, kind, put_packet};
use crate::zab::event::Link;

/// Longest first packet of a stranger, in bytes of data.
const STRANGER_LIMIT: usize = 1024;

/// Snapshots that are sent at the same time; further learners wait for their turn.
const MAX_SNAPSHOTS: usize = 2;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Lent out while packets are taken from it.
    pub decoder: Option<Decoder>,
    pub queue: Queue,
    /// Who it is, if we lead and it has said so.
    pub learner: Option<Sid>,
    /// We connected, to a leader.
    pub to_leader: bool,
    /// How the learner is being synchronised, for the log file.
    pub sync: Synchronisation,
    /// It is being synchronised: what it takes is a sign of life, because it cannot give another one.
    pub syncing: bool,
    /// Syncs of the learner's clients, each to be answered right behind the commit of a transaction.
    syncs: VecDeque<Zxid>,
}

impl Connection {
    /// Whether it is known who is at the other end.
    pub fn is_introduced(&self) -> bool {
        self.to_leader || self.learner.is_some()
    }

    /// Answers a sync: now, or right behind the commit of `behind`, which was not sent yet.
    pub fn sync_behind(&mut self, behind: Option<Zxid>) {
        match behind {
            Some(zxid) => self.syncs.push_back(zxid),
            None => self.queue.packets(put_sync),
        }
    }
}

fn put_sync(out: &mut Vec<u8>) {
    put_packet(out, kind::SYNC, Zxid::ZERO, None);
}

/// How a learner was brought to the leader's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Synchronisation {
    pub diff: bool,
    pub trunc: bool,
    pub snap: bool,
    /// Transactions followed, from disk or not.
    pub followed: Option<&'static str>,
}

impl Synchronisation {
    /// In the words of the log file and the counters.
    pub fn method(self) -> &'static str {
        match self {
            Synchronisation { snap: true, .. } => "snap",
            Synchronisation { trunc: true, followed: Some(_), .. } => "trunc+diff",
            Synchronisation { trunc: true, .. } => "trunc",
            _ => "diff",
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Links {
    map: BTreeMap<Link, Connection>,
    /// Longest packet of those who are known, in bytes of data.
    limit: usize,
    /// The range that was encoded last, for the next follower that wants the same.
    last: Option<Live>,
    /// Behind the last live proposal, so that it need not be looked for.
    proposed: Option<(Zxid, Cursor)>,
}

/// An encoded range.
#[derive(Debug)]
struct Live {
    each: Each,
    after: Zxid,
    upto: Zxid,
    packets: Arc<Vec<u8>>,
}

impl Links {
    /// No connections yet. `limit` is the longest packet that is taken, in bytes of data.
    pub fn new(limit: usize) -> Links {
        Links { map: BTreeMap::new(), limit, last: None, proposed: None }
    }

    /// A connection that we made, to a leader.
    pub fn connected(&mut self, link: Link) {
        self.insert(link, self.limit, true);
    }

    /// A connection that was accepted, if it is not known yet.
    pub fn accepted(&mut self, link: Link) {
        if !self.map.contains_key(&link) {
            self.insert(link, STRANGER_LIMIT, false);
        }
    }

    fn insert(&mut self, link: Link, limit: usize, to_leader: bool) {
        let connection = Connection {
            decoder: Some(Decoder::new(limit)),
            queue: Queue::default(),
            learner: None,
            to_leader,
            sync: Synchronisation::default(),
            syncing: false,
            syncs: VecDeque::new(),
        };
        self.map.insert(link, connection);
    }

    /// It is who it says, as far as the protocol goes.
    pub fn introduced(&mut self, link: Link, sid: Sid) {
        let limit = self.limit;
        if let Some(connection) = self.map.get_mut(&link) {
            connection.learner = Some(sid);
            if let Some(decoder) = &mut connection.decoder {
                decoder.set_limit(limit);
            }
        }
    }

    /// All of them.
    pub fn names(&self) -> impl Iterator<Item = Link> + '_ {
        self.map.keys().copied()
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn get(&self, link: Link) -> Option<&Connection> {
        self.map.get(&link)
    }

    pub fn get_mut(&mut self, link: Link) -> Option<&mut Connection> {
        self.map.get_mut(&link)
    }

    pub fn remove(&mut self, link: Link) -> Option<Connection> {
        self.map.remove(&link)
    }

    /// Syncs of learners' clients that wait for a commit.
    pub fn pending_syncs(&self) -> usize {
        self.map.values().map(|connection| connection.syncs.len()).sum()
    }

    /// Transactions above this will still be read from the log, for one learner or another.
    pub fn reads_from(&self) -> Option<Zxid> {
        self.map.values().filter_map(|connection| connection.queue.reads_from()).min()
    }

    /// Connections that wait for the snapshot of this state, or of any.
    pub fn waiting_for_body(&self, upto: Option<Zxid>) -> Vec<Link> {
        let waits = |connection: &Connection| {
            connection.queue.waits_for_body().is_some_and(|waits| upto.is_none_or(|upto| upto == waits))
        };
        self.map.iter().filter(|(_, connection)| waits(connection)).map(|(link, _)| *link).collect()
    }

    /// Learners that are being sent a snapshot: who, how many bytes, and of how many.
    pub fn snapshots(&self) -> impl Iterator<Item = (Option<Sid>, u64, u64)> + '_ {
        self.map.values().filter_map(|it| it.queue.sends_body().map(|(sent, of)| (it.learner, sent, of)))
    }

    /// Queues packets.
    pub fn packets(&mut self, link: Link, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = self.map.get_mut(&link) {
            connection.queue.packets(write);
        }
    }

    /// Queues packets for a range of transactions, and the answers to syncs that belong between them.
    pub fn stream(&mut self, link: Link, each: Each, mut after: Zxid, upto: Zxid, log: &Log) {
        if matches!(each, Each::Commit | Each::Inform) {
            let due = |c: &mut Connection| c.syncs.pop_front_if(|zxid| *zxid <= upto);
            while let Some(zxid) = self.map.get_mut(&link).and_then(due) {
                if zxid > after {
                    self.range(link, each, after, zxid, log);
                    after = zxid;
                }
                self.packets(link, put_sync);
            }
        }
        if after < upto {
            self.range(link, each, after, upto, log);
        }
    }

    fn range(&mut self, link: Link, each: Each, after: Zxid, upto: Zxid, log: &Log) {
        let Some(connection) = self.map.get_mut(&link) else { return };
        if each == Each::History || !connection.queue.keeps_up() {
            return connection.queue.range(each, log, after, upto);
        }
        let same = |last: &&Live| (last.each, last.after, last.upto) == (each, after, upto);
        if let Some(last) = self.last.as_ref().filter(same) {
            return connection.queue.shared(Arc::clone(&last.packets));
        }
        let packets = match each {
            Each::Commit => Some(encode_commits(after, upto)),
            Each::Proposal => {
                let mut cursor = match self.proposed.take() {
                    Some((at, cursor)) if at == after => cursor,
                    _ => log.cursor(after),
                };
                let packets = encode_live(each, log, &mut cursor, upto);
                self.proposed = packets.is_some().then_some((upto, cursor));
                packets
            }
            Each::History | Each::Inform => encode_live(each, log, &mut log.cursor(after), upto),
        };
        let Some(packets) = packets else {
            return connection.queue.range(each, log, after, upto);
        };
        let packets = Arc::new(packets);
        connection.queue.shared(Arc::clone(&packets));
        self.last = Some(Live { each, after, upto, packets });
    }

    /// The log was cut or replaced: what was remembered of it is void.
    pub fn forget_log(&mut self) {
        (self.last, self.proposed) = (None, None);
    }

    /// The next piece to be sent.
    pub fn next_chunk(
        &mut self,
        link: Link,
        log: &Log,
        volume: &dyn Volume,
    ) -> Result<Option<Chunk>, LogError> {
        let under_way = |it: &Connection| it.queue.sends_body().is_some_and(|(sent, _)| sent > 0);
        let waits = self.get(link).is_some_and(|it| it.queue.sends_body().is_some_and(|(sent, _)| sent == 0));
        if waits && self.map.values().filter(|it| under_way(it)).count() >= MAX_SNAPSHOTS {
            return Ok(None);
        }
        match self.map.get_mut(&link) {
            Some(connection) => connection.queue.next_chunk(log, volume),
            None => Ok(None),
        }
    }
}
