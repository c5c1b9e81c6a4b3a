//! Merges against what a walk over the whole tree writes, on the simulator's disk.

mod bounds;
mod failures;
mod history;
mod same;

use super::*;
use crate::id::SessionId;
use crate::io::sim::SimDisk;
use crate::io::{BLOCK, Disk};
use crate::log::{Log, LogOptions};
use crate::snapshot::file;
use crate::tree::tests::leader::Leader;
use crate::txn;

const SEED: u64 = 9;

/// Tree and sessions after the first transactions of a history, by the rules that every replica follows.
struct Straight {
    state: State,
    applied: usize,
}

impl Straight {
    fn new() -> Straight {
        let state = State { tree: Tree::new(3), sessions: BTreeMap::new() };
        Straight { state, applied: 0 }
    }

    /// Goes on to the state after the first `count`.
    fn go_to(&mut self, payloads: &[Vec<u8>], count: usize) -> &mut Straight {
        for payload in &payloads[self.applied..count] {
            let (header, txn, digest) = txn::decode(payload).unwrap();
            self.state.apply_one(&header, &txn, digest);
        }
        self.applied = count;
        self
    }

    /// What a walk writes.
    fn body(&self) -> Vec<u8> {
        let sessions: Vec<(SessionId, i32)> =
            self.state.sessions.iter().map(|(&id, &timeout)| (id, timeout)).collect();
        let mut body = Vec::new();
        crate::snapshot::write_stream(&self.state.tree, &sessions, &mut |piece| {
            body.extend_from_slice(piece)
        });
        body
    }
}

/// A log on a disk of its own.
struct Rig {
    disk: SimDisk,
    log: Log,
}

/// Segments of 12 blocks, batches of two.
fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 12 * BLOCK as u64,
        batch_bytes: 2 * BLOCK,
        reserve_bytes: 0,
        ..LogOptions::new(7)
    }
}

impl Rig {
    fn new(options: LogOptions) -> Rig {
        let disk = SimDisk::new(1);
        let (log, _) = Log::open(&disk, options, &mut |_, _| Ok(())).unwrap();
        Rig { disk, log }
    }

    /// Appends transactions, in batches of at most `batch` of them, and waits until they are durable.
    fn commit(&mut self, payloads: &[Vec<u8>], batch: usize) {
        for (i, payload) in payloads.iter().enumerate() {
            let (header, ..) = txn::decode(payload).unwrap();
            self.log.append(header.zxid, |out| out.extend_from_slice(payload)).unwrap();
            if (i + 1) % batch == 0 {
                self.settle();
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        while !self.log.is_idle() {
            self.log.prepare_all(&self.disk).unwrap();
            self.log.seal(&mut self.disk).unwrap();
            let mut done = Vec::new();
            self.disk.reap(&mut done);
            for done in done {
                self.log.on_done(done).unwrap();
            }
        }
        self.log.release(self.log.durable().get());
    }

    fn request(&self, previous: Option<Published>, upto: usize) -> SnapshotRequest {
        let after = previous.map_or(Zxid::ZERO, |previous| previous.zxid());
        SnapshotRequest {
            previous,
            view: self.log.view(after),
            upto: zxid(upto),
            database: 5,
            generation: 0,
            tree_seed: SEED,
            mismatches_tolerated: false,
        }
    }

    fn make(&self, previous: Option<Published>, upto: usize) -> Result<Published, MakeError> {
        self.request(previous, upto).perform(&self.disk)
    }

    fn body(&self, published: &Published) -> Vec<u8> {
        let file = &self.disk.contents()[&published.file()];
        assert_eq!(file.len() as u64, published.file_len());
        file[BLOCK..BLOCK + published.body_len() as usize].to_vec()
    }

    /// That the file is what it must be: the bytes that a walk writes, and a header that says so.
    fn check(&self, published: &Published, expected: &Straight) {
        assert!(self.body(published) == expected.body(), "the body of {}", published.file());
        assert_eq!(published.digest(), expected.state.tree.digest());
        assert_eq!(published.zxid(), expected.state.tree.last_zxid());
        assert_eq!(published.is_converging(), expected.state.tree.is_converging());
        if !published.is_converging() {
            let loaded = file::load(&self.disk, published, 1).unwrap();
            assert_eq!(loaded.tree.digest(), published.digest());
        }
        assert!(!self.disk.contents().contains_key(MAKING));
    }
}

fn zxid(raw: usize) -> Zxid {
    Zxid::from_raw(raw as i64)
}
