//! Snapshots of the own state: when one is made, for whom, and what is given up for it.
//!
//! They are made off the loop, from files alone; the member only says of which state, one at a time, and hears what
//! came of it. Never is one published of what is not both durable here and known to be committed, and never is log
//! given up that a learner still has to be sent.

use std::collections::VecDeque;
use std::path::Path;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::snapshot::merge::{MakeError, SnapshotRequest};
use ringkeeper_engine::snapshot::{Published, damaged_file};

use super::Member;
use super::policy::{Due, SnapshotPolicy};
use super::work::Work;
use crate::admin::{Counter, Observed};
use crate::client::Outbox;
use crate::zab::event::Event;

/// Log behind a snapshot that is sent with it, however small the snapshot is, rather than made into a new one: bytes.
const LITTLE: u64 = 64 << 20;
/// Milliseconds between two looks at whether one is due.
const LOOK_EVERY_MS: u64 = 10;

/// What a member knows of its snapshots beside what its log knows.
#[derive(Debug)]
pub(super) struct Making {
    pub due: Due,
    /// The state of which one is being made.
    now: Option<Zxid>,
    /// When that began, in milliseconds.
    since_ms: u64,
    /// A learner waits for the snapshot of this state.
    wanted: Option<Zxid>,
    /// Not before this millisecond is it looked at whether one is due.
    look_at_ms: u64,
    /// Old snapshots are to be given up as soon as no learner needs what is behind them.
    purge: bool,
    /// For others to do.
    pub work: VecDeque<Work>,
    pub status: MakingStatus,
}

/// The making of snapshots, as it is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MakingStatus {
    /// Snapshots that were made since the start.
    pub made: u64,
    /// Attempts that came to nothing.
    pub failed: u64,
    /// Milliseconds that the last one took.
    pub last_took_ms: u64,
    /// One is being made: bytes so far, and of how many, as far as is known.
    pub under_way: Option<(u64, u64)>,
}

impl Making {
    pub fn new(policy: SnapshotPolicy, seed: u64, replayed: u64, now_ms: u64) -> Making {
        let mut due = Due::new(policy, seed, now_ms);
        due.replayed(replayed);
        Making {
            due,
            now: None,
            since_ms: 0,
            wanted: None,
            look_at_ms: 0,
            purge: false,
            work: VecDeque::new(),
            status: MakingStatus::default(),
        }
    }

    /// A learner waits for the snapshot of this state.
    pub fn want(&mut self, upto: Zxid) {
        if self.now != Some(upto) {
            self.wanted = Some(upto);
        }
    }

    /// Whether one is being made of a state behind `zxid`.
    pub fn makes_above(&self, zxid: Zxid) -> bool {
        self.now.is_some_and(|upto| upto > zxid)
    }

    /// The history that snapshots were wanted of is no more.
    pub fn forget(&mut self) {
        self.wanted = None;
    }
}

impl Member {
    /// Of which state a learner is sent a snapshot now, if it needs one: the newest one that there is, or where much
    /// has happened since, one that is made for it. Before clients are served nothing is known to be committed beyond
    /// what snapshots hold, so that only these, or else all that the tree has, can be sent.
    pub(super) fn sendable(&self, serving: bool) -> Zxid {
        let applied = self.service.tree().last_zxid();
        let log = &self.ledger.log;
        let near = |p: &&Published| !serving || log.bytes_behind(p.zxid()) <= p.body_len().max(LITTLE);
        // Whoever is sent a canonical stream may take it for exact.
        if let Some(newest) = log.newest_snapshot().filter(near).filter(|p| !p.is_converging()) {
            return newest.zxid();
        }
        let coming = [self.making.wanted, self.making.now].into_iter().flatten();
        coming.filter(|&upto| upto <= applied).max().unwrap_or(applied)
    }

    /// Has a snapshot made if one is due or wanted, and old ones given up.
    pub(super) fn look_after_snapshots(&mut self, out: &mut impl Outbox) {
        let now_ms = self.now.mono_ms;
        if self.making.wanted.is_none() && now_ms < self.making.look_at_ms {
            return;
        }
        self.making.look_at_ms = now_ms + LOOK_EVERY_MS;
        if self.making.purge {
            self.purge(out);
        }
        let serving = self.ensemble.as_ref().is_none_or(|e| e.serving && !e.ending);
        let log = &self.ledger.log;
        let durable = log.durable().get();
        if self.making.due.purge_is_due(now_ms) {
            self.making.purge = true;
        }
        if self.making.now.is_some() {
            return;
        }
        let (upto, hurry) = match self.making.wanted {
            Some(wanted) if wanted <= durable => (wanted, true),
            Some(_) => return,
            None => {
                let (behind, size) = self.grown();
                if !serving || !self.making.due.is_due(now_ms, behind, size) {
                    return;
                }
                (self.service.tree().last_zxid().min(durable), false)
            }
        };
        self.making.wanted = None;
        // Without anything behind the newest one there is nothing to make.
        if let Some(request) = self.request_snapshot(upto) {
            (self.making.now, self.making.since_ms) = (Some(upto), now_ms);
            self.making.status.under_way = Some((0, 0));
            self.making.due.begun();
            tracing::debug!(%upto, hurry, "making a snapshot");
            self.making.work.push_back(Work::MakeSnapshot { request, hurry });
        } else if hurry {
            self.snapshot_missing(upto, out);
        } else {
            self.making.due.begun();
        }
    }

    /// Bytes of log behind the newest snapshot, and bytes of that.
    fn grown(&self) -> (u64, u64) {
        let log = &self.ledger.log;
        let newest = log.newest_snapshot();
        let behind = log.bytes_behind(newest.map_or(Zxid::ZERO, Published::zxid));
        (behind, newest.map_or(0, Published::body_len))
    }

    /// When snapshots have to be looked after if nothing happens, in milliseconds.
    pub(super) fn next_snapshot_look(&self) -> Option<u64> {
        let serves = self.ensemble.as_ref().is_none_or(|e| e.serving && !e.ending);
        let purge = self.making.purge.then_some(0);
        let due = || {
            let (behind, size) = self.grown();
            self.making.due.next_look(behind, size)
        };
        let next = if self.making.now.is_some() || !serves { None } else { due() };
        Some(next.into_iter().chain(purge).min()?.max(self.making.look_at_ms))
    }

    /// Everything that is needed to make the snapshot of a state.
    pub(super) fn request_snapshot(&self, upto: Zxid) -> Option<SnapshotRequest> {
        let request = self.ledger.log.snapshot_request(upto, self.tree_seed)?;
        // Where the serving tree has seen digests that were not its own, the log's say nothing.
        Some(match self.service.tree().digest_mismatches() {
            0 => request,
            _ => request.tolerate_mismatches(),
        })
    }

    pub(super) fn snapshot_made(&mut self, result: Result<Published, MakeError>, out: &mut impl Outbox) {
        let now_ms = self.now.mono_ms;
        let took_ms = now_ms.saturating_sub(self.making.since_ms);
        let upto = self.making.now.take();
        self.making.status.under_way = None;
        self.making.due.ended(now_ms, took_ms, result.is_ok());
        match result {
            Ok(made) if self.ledger.log.snapshot_made(made) => {
                self.making.status.made += 1;
                self.making.status.last_took_ms = took_ms;
                self.service.metrics.record(Observed::SnapshotTime, took_ms * 1000);
                self.making.purge |= self.making.due.purges_at_once();
                self.snapshot_ready(&made, out);
                self.drive(Event::SnapshotMade(made.zxid()), None, out);
            }
            Ok(made) => {
                tracing::info!(zxid = %made.zxid(), "a snapshot of a history that is dead is given up")
            }
            Err(error) => {
                self.making.status.failed += 1;
                self.service.metrics.add(Counter::SnapshotErrors, 1);
                let upto = upto.unwrap_or_default();
                if let MakeError::Log(error) = &error
                    && let Some(path) = damaged_file(error)
                    && self.snapshot_is_damaged(path)
                {
                    self.making.due.unhindered(now_ms);
                }
                self.snapshot_missing(upto, out);
            }
        }
    }

    /// If this is one of the snapshots that count, it counts no more: the next is made of an older one. False if it counts
    /// on, for want of another.
    pub(super) fn snapshot_is_damaged(&mut self, path: &Path) -> bool {
        let log = &mut self.ledger.log;
        let is_it = |p: &&Published| self.volume.path(&p.file()) == path;
        let Some(zxid) = log.snapshots().iter().find(is_it).map(Published::zxid) else { return false };
        log.set_snapshot_aside(&*self.volume, zxid).unwrap_or_else(|error| {
            tracing::error!("a damaged snapshot stays where it is: {error}");
            false
        })
    }

    /// Gives up all but the newest snapshots, and the log before them, unless a learner needs it.
    fn purge(&mut self, out: &mut impl Outbox) {
        let keep = self.making.due.keep();
        let log = &mut self.ledger.log;
        let snapshots = log.snapshots();
        let Some(surplus) = snapshots.len().checked_sub(keep).filter(|&surplus| surplus > 0) else {
            self.making.purge = false;
            return;
        };
        let oldest = snapshots[surplus].zxid();
        if self.ensemble.as_ref().and_then(|e| e.links.reads_from()).is_some_and(|from| from < oldest) {
            return;
        }
        self.making.purge = false;
        let (snapshots, segments) = log.retain_snapshots(keep);
        let begins = log.begins_behind();
        tracing::info!(snapshots, segments, log_begins_behind = %begins, "purged");
        self.drive(Event::Purged(begins), None, out);
    }
}
