//! The state after any transaction, from snapshots and logs: what a server would have, with every digest compared.
//!
//! A snapshot is written while transactions are applied. It is certain to hold what came before the zxid in its name,
//! and may hold a part of what came until the zxid in its trailer; applying the log from the name on makes up for
//! that. So a state between the two cannot be had from it, and an older snapshot is taken if there is one.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::txn::TxnDigest;

use super::directory::{ApacheDir, follows};
use crate::error::InspectError;
use crate::source::{Replayed, SnapshotEntry, Source};

/// What the digests say about a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what its writer had after this transaction, and what was applied since carries no digest.
    Agrees {
        /// The last transaction that told.
        zxid: Zxid,
        /// The digest.
        digest: u64,
    },
    /// It is not what its writer had.
    Differs {
        /// The first transaction that told.
        zxid: Zxid,
        /// What its writer had.
        theirs: u64,
        /// What is here.
        ours: u64,
    },
    /// Neither snapshot nor log carry one.
    Untold,
}

/// A state and where it is from.
#[derive(Debug)]
pub struct Rebuilt {
    /// The state.
    pub state: Replayed,
    /// The snapshot it begins with.
    pub from: Option<SnapshotEntry>,
    /// Snapshots that could not be used, and why.
    pub passed_over: Vec<String>,
    /// What the digests say.
    pub verdict: Verdict,
}

/// The state after the last transaction that is not above `upto`.
pub fn rebuild(dir: &ApacheDir, upto: Zxid, seed: u64) -> Result<Rebuilt, InspectError> {
    let mut passed_over = Vec::new();
    // The newest one that would do if there is none that is certain.
    let mut doubtful = None;
    for entry in dir.snapshot_files().iter().rev().filter(|entry| entry.zxid <= upto) {
        let (loaded, contents) = match dir.load_with_contents(entry, seed) {
            Ok(loaded) => loaded,
            Err(error @ (InspectError::Damaged { .. } | InspectError::Snapshot { .. })) => {
                passed_over.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        let target = contents.trailer.digest.filter(|&(at, _)| at >= entry.zxid && at != Zxid::ZERO);
        if let Some((until, _)) = target.filter(|&(until, _)| until > upto) {
            passed_over.push(format!("{}: holds a part of what came until {until}", entry.file.display()));
            doubtful.get_or_insert_with(|| entry.clone());
            continue;
        }
        return Replay::begin(Replayed::behind(loaded), Some(entry.clone()), target).run(
            dir,
            upto,
            passed_over,
        );
    }
    // A log that has everything from the beginning needs no snapshot.
    if dir.logs().first().is_some_and(|log| FIRST.contains(&log.zxid.raw()) && log.zxid <= upto) {
        return Replay::begin(Replayed::empty(seed), None, None).run(dir, upto, passed_over);
    }
    if let Some(entry) = doubtful {
        let (loaded, _) = dir.load_with_contents(&entry, seed)?;
        return Replay::begin(Replayed::behind(loaded), Some(entry), None).run(dir, upto, passed_over);
    }
    let path = dir.path().display();
    let mut what =
        format!("{path} has no snapshot that is whole and not above {upto}, and no log from the beginning");
    passed_over.iter().for_each(|why| what.extend(["; ", why]));
    Err(InspectError::NotThere { what })
}

/// The first transaction of a server alone, and of an ensemble.
const FIRST: [i64; 2] = [1, 0x1_0000_0001];

struct Replay {
    state: Replayed,
    from: Option<SnapshotEntry>,
    /// From here on the tree is exactly its writer's, with this digest.
    target: Option<(Zxid, u64)>,
    last: Zxid,
    /// The last digest that was told, and after which transaction.
    told: Option<(Zxid, u64)>,
}

impl Replay {
    fn begin(state: Replayed, from: Option<SnapshotEntry>, target: Option<(Zxid, u64)>) -> Replay {
        let last = state.base;
        let told = target.filter(|&(at, _)| at == last);
        Replay { state, from, target, last, told }
    }

    fn run(
        mut self,
        dir: &ApacheDir,
        upto: Zxid,
        mut passed_over: Vec<String>,
    ) -> Result<Rebuilt, InspectError> {
        let base = self.state.base;
        let behind = Zxid::from_raw(base.raw().saturating_add(1));
        dir.txns(behind, upto, &mut |txn| {
            // A later snapshot does not help here: it is damaged, or not to be used.
            if !follows(self.last, txn.zxid) {
                let mut what = format!("the transactions between {} and {} are missing", self.last, txn.zxid);
                for why in passed_over.drain(..) {
                    what.push_str("; ");
                    what.push_str(&why);
                }
                let (path, offset) = (txn.file.to_owned(), txn.offset);
                return Err(InspectError::Damaged { path, offset, what });
            }
            self.last = txn.zxid;
            if self.target.is_some_and(|(at, _)| at == txn.zxid) {
                self.state.tree.converged();
            }
            if let Some(TxnDigest { version: TxnDigest::VERSION, tree }) = txn.decode()?.digest {
                self.told = Some((txn.zxid, tree));
            }
            self.state.apply(txn)
        })?;
        let verdict = self.verdict();
        Ok(Rebuilt { state: self.state, from: self.from, passed_over, verdict })
    }

    fn verdict(&self) -> Verdict {
        match (self.state.mismatch, self.told) {
            (Some((zxid, theirs, ours)), _) => Verdict::Differs { zxid, theirs, ours },
            (None, None) => Verdict::Untold,
            (None, Some((zxid, theirs))) if self.state.tree.is_converging() => {
                Verdict::Differs { zxid, theirs, ours: self.state.tree.digest() }
            }
            (None, Some((zxid, digest))) => Verdict::Agrees { zxid, digest },
        }
    }
}
