//! The FIFO queue of one quorum connection: packets, and ranges of transactions that become packets when their turn
//! comes.
//!
//! A leader encodes what it proposes in a turn once; the queues of all followers that keep up hold references to the
//! same bytes. A snapshot is a file, of which pieces are named when their turn comes. A follower that does not keep up gets ranges instead: a cursor over the log, encoded only when its
//! connection takes more, from memory or, for what is older, from the segments. So a slow or stopped follower costs
//! a few words, never holds a buffer of the log, and never slows the quorum. What is queued keeps its order; the only
//! liberty taken is that proposals may overtake the commits of earlier ones, which no receiver can tell from luck.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::io::Volume;
use ringkeeper_engine::log::{Cursor, Log, LogError, Next};
use ringkeeper_engine::snapshot;

use crate::peer::{Chunk, FileChunk};
use crate::wire::quorum::{kind, put_packet};

/// Bytes of encoded packets above which a range is encoded later.
const LIVE: usize = 4 << 20;
/// A range is encoded in pieces of about so many bytes.
const PIECE: usize = 256 << 10;

/// What is sent for each transaction of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Each {
    /// PROPOSAL and COMMIT.
    History,
    /// PROPOSAL.
    Proposal,
    /// INFORM.
    Inform,
    /// COMMIT.
    Commit,
}

/// Transactions to be sent.
#[derive(Debug)]
struct Range {
    each: Each,
    /// Behind the last one that was encoded.
    cursor: Cursor,
    /// The zxid the cursor is behind.
    after: Zxid,
    upto: Zxid,
}

/// The bytes behind SNAP.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// A snapshot file's.
    File {
        /// Where it is.
        path: Arc<Path>,
        /// Bytes of its body.
        len: u64,
        /// crc32c of each piece.
        crcs: Arc<[u32]>,
    },
    /// An image in memory.
    Image(Arc<[Arc<Vec<u8>>]>),
}

impl Body {
    /// Bytes of it.
    pub fn len(&self) -> u64 {
        match self {
            Body::File { len, .. } => *len,
            Body::Image(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
        }
    }

    /// Piece `index`, if there is one.
    fn piece(&self, index: usize) -> Option<Chunk> {
        match self {
            Body::File { path, len, crcs } => {
                let at = (index * snapshot::PIECE) as u64;
                Some(Chunk::File(FileChunk {
                    path: Arc::clone(path),
                    offset: snapshot::BODY_AT + at,
                    len: (len.checked_sub(at)?).min(snapshot::PIECE as u64) as usize,
                    crc: *crcs.get(index)?,
                }))
            }
            Body::Image(pieces) => Some(Chunk::Shared(Arc::clone(pieces.get(index)?))),
        }
    }
}

/// A snapshot in the queue.
#[derive(Debug)]
struct Snapshot {
    /// Of which state.
    upto: Zxid,
    /// What is to be sent, once it is there.
    body: Option<Body>,
    /// Pieces that were taken, and their bytes.
    taken: usize,
    sent: u64,
}

#[derive(Debug)]
enum Item {
    Packets(Vec<u8>),
    Shared(Arc<Vec<u8>>),
    Range(Range),
    Snapshot(Snapshot),
}

/// What waits to be sent over one connection.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// Bytes of what is encoded.
    bytes: usize,
}

impl Queue {
    /// Bytes that are encoded and not taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a range should be encoded now, to share it, rather than later.
    pub fn keeps_up(&self) -> bool {
        self.bytes < LIVE && !self.items.iter().any(|item| matches!(item, Item::Range(_) | Item::Snapshot(_)))
    }

    /// Transactions above this will still be read from the log.
    pub fn reads_from(&self) -> Option<Zxid> {
        let from = |item: &Item| match item {
            Item::Range(range) if range.each != Each::Commit => Some(range.after),
            Item::Snapshot(snapshot) => Some(snapshot.upto),
            _ => None,
        };
        self.items.iter().filter_map(from).min()
    }

    /// Queues the state at `upto`, which is given later.
    pub fn body(&mut self, upto: Zxid) {
        self.items.push_back(Item::Snapshot(Snapshot { upto, body: None, taken: 0, sent: 0 }));
    }

    /// Here it is.
    pub fn fill_body(&mut self, upto: Zxid, body: &Body) {
        for item in &mut self.items {
            match item {
                Item::Snapshot(snapshot) if snapshot.upto == upto && snapshot.body.is_none() => {
                    snapshot.body = Some(body.clone());
                }
                _ => {}
            }
        }
    }

    /// The state that must be given before anything behind it can be sent.
    pub fn waits_for_body(&self) -> Option<Zxid> {
        self.items.iter().find_map(|item| match item {
            Item::Snapshot(Snapshot { upto, body: None, .. }) => Some(*upto),
            _ => None,
        })
    }

    /// The snapshot that is next: how many of its bytes were taken, and of how many.
    pub fn sends_body(&self) -> Option<(u64, u64)> {
        match self.items.front() {
            Some(Item::Snapshot(Snapshot { body: Some(body), sent, .. })) => Some((*sent, body.len())),
            _ => None,
        }
    }

    /// Queues what `write` appends.
    pub fn packets(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.items.back(), Some(Item::Packets(last)) if last.len() < PIECE) {
            self.items.push_back(Item::Packets(Vec::new()));
        }
        let Some(Item::Packets(last)) = self.items.back_mut() else { return };
        let before = last.len();
        write(last);
        self.bytes += last.len() - before;
    }

    /// Queues encoded packets that other queues hold too.
    pub fn shared(&mut self, packets: Arc<Vec<u8>>) {
        self.bytes += packets.len();
        self.items.push_back(Item::Shared(packets));
    }

    /// Queues packets for the transactions behind `after` up to `upto`, to be encoded when they are sent.
    pub fn range(&mut self, each: Each, log: &Log, after: Zxid, upto: Zxid) {
        let extends = |item: Option<&mut Item>| match item {
            Some(Item::Range(range)) if range.each == each && range.upto == after => {
                range.upto = upto;
                true
            }
            _ => false,
        };
        let len = self.items.len();
        if extends(self.items.back_mut()) {
            return;
        }
        // A proposal may overtake commits of others.
        let behind_commits =
            matches!(self.items.back(), Some(Item::Range(Range { each: Each::Commit, .. }))) && len > 1;
        if each == Each::Proposal && behind_commits && extends(self.items.get_mut(len - 2)) {
            return;
        }
        self.items.push_back(Item::Range(Range { each, cursor: log.cursor(after), after, upto }));
    }

    /// The next piece to be sent, if there is something.
    ///
    /// # Errors
    /// When a transaction cannot be read back from the log.
    pub fn next_chunk(&mut self, log: &Log, volume: &dyn Volume) -> Result<Option<Chunk>, LogError> {
        loop {
            match self.items.pop_front() {
                None => return Ok(None),
                Some(Item::Packets(packets)) => {
                    self.bytes -= packets.len();
                    return Ok(Some(Chunk::Own(packets)));
                }
                Some(Item::Shared(packets)) => {
                    self.bytes -= packets.len();
                    return Ok(Some(Chunk::Shared(packets)));
                }
                Some(Item::Snapshot(mut snapshot)) => {
                    let piece = snapshot.body.as_ref().map(|body| body.piece(snapshot.taken));
                    match piece {
                        // All of it was taken.
                        Some(None) => continue,
                        Some(Some(chunk)) => {
                            snapshot.taken += 1;
                            snapshot.sent += chunk.len() as u64;
                            self.items.push_front(Item::Snapshot(snapshot));
                            return Ok(Some(chunk));
                        }
                        None => {
                            self.items.push_front(Item::Snapshot(snapshot));
                            return Ok(None);
                        }
                    }
                }
                Some(Item::Range(mut range)) => {
                    let mut packets = Vec::with_capacity(PIECE + PIECE / 4);
                    let done = range.encode(log, volume, &mut packets)?;
                    if !done {
                        self.items.push_front(Item::Range(range));
                    }
                    if !packets.is_empty() {
                        return Ok(Some(Chunk::Own(packets)));
                    }
                }
            }
        }
    }
}

impl Range {
    /// Appends packets until there are enough; true at the end of the range.
    fn encode(&mut self, log: &Log, volume: &dyn Volume, out: &mut Vec<u8>) -> Result<bool, LogError> {
        if self.each == Each::Commit {
            for zxid in zxids(self.after, self.upto) {
                put_packet(out, kind::COMMIT, zxid, None);
                self.after = zxid;
                if out.len() >= PIECE {
                    return Ok(zxid == self.upto);
                }
            }
            return Ok(true);
        }
        while out.len() < PIECE {
            match log.next(&mut self.cursor, self.upto) {
                Next::Txn(zxid, txn) => put_txn(out, self.each, zxid, txn),
                Next::End => return Ok(true),
                Next::OnDisk => {
                    let txns = log.read_on(volume, &mut self.cursor, self.upto, PIECE)?;
                    if txns.is_empty() {
                        return Ok(true);
                    }
                    for (zxid, txn) in txns {
                        put_txn(out, self.each, zxid, &txn);
                    }
                }
            }
        }
        Ok(false)
    }
}

/// COMMIT of each transaction of a range.
pub(super) fn encode_commits(after: Zxid, upto: Zxid) -> Vec<u8> {
    let mut out = Vec::new();
    zxids(after, upto).for_each(|zxid| put_packet(&mut out, kind::COMMIT, zxid, None));
    out
}

/// Encodes the transactions of a range that memory holds; `None` if it does not hold all of them.
pub(super) fn encode_live(each: Each, log: &Log, cursor: &mut Cursor, upto: Zxid) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        match log.next(cursor, upto) {
            Next::Txn(zxid, txn) => put_txn(&mut out, each, zxid, txn),
            Next::End => return Some(out),
            Next::OnDisk => return None,
        }
    }
}

fn put_txn(out: &mut Vec<u8>, each: Each, zxid: Zxid, txn: &[u8]) {
    match each {
        Each::History => {
            put_packet(out, kind::PROPOSAL, zxid, Some(txn));
            put_packet(out, kind::COMMIT, zxid, None);
        }
        Each::Proposal => put_packet(out, kind::PROPOSAL, zxid, Some(txn)),
        Each::Inform => put_packet(out, kind::INFORM, zxid, Some(txn)),
        Each::Commit => put_packet(out, kind::COMMIT, zxid, None),
    }
}

/// The zxids of one epoch behind `after` up to `upto`: within an epoch there are no holes.
pub(super) fn zxids(after: Zxid, upto: Zxid) -> impl Iterator<Item = Zxid> {
    let epoch = upto.epoch();
    let first = if after.epoch() == epoch { after.counter().saturating_add(1) } else { 1 };
    (first..=upto.counter()).map(move |counter| Zxid::new(epoch, counter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::id::Epoch;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    #[test]
    fn a_range_begins_with_the_first_transaction_of_its_epoch() {
        let all = |after, upto| zxids(after, upto).collect::<Vec<_>>();
        assert_eq!(all(z(1, 7), z(2, 2)), [z(2, 1), z(2, 2)]);
        assert_eq!(all(z(2, 2), z(2, 4)), [z(2, 3), z(2, 4)]);
        assert_eq!(all(z(2, 4), z(2, 4)), []);
    }
}
