//! What a member shows of itself, for the monitoring words.

use ringkeeper_engine::id::{Epoch, Sid};

use super::links::Synchronisation;
use super::{Ensemble, Member};
use crate::wire::election::State;
use crate::zab::history::History;
use crate::zab::marks::Marks;
use crate::zab::view::{LearnerView, Stretch};

/// How often a leader has brought a learner to its history in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncCounts {
    /// DIFF and transactions that were still in memory.
    pub diff_memory: u64,
    /// DIFF and transactions, some of them read back from disk.
    pub diff_disk: u64,
    /// TRUNC alone.
    pub trunc: u64,
    /// TRUNC and transactions.
    pub trunc_diff: u64,
    /// SNAP, with transactions or not.
    pub snap: u64,
}

impl SyncCounts {
    /// All of them, in the order above.
    pub fn each(self) -> [u64; 5] {
        [self.diff_memory, self.diff_disk, self.trunc, self.trunc_diff, self.snap]
    }

    fn count(&mut self, sync: Synchronisation) {
        match sync {
            Synchronisation { snap: true, .. } => self.snap += 1,
            Synchronisation { trunc: true, followed: Some(_), .. } => self.trunc_diff += 1,
            Synchronisation { trunc: true, .. } => self.trunc += 1,
            Synchronisation { followed: Some("disk"), .. } => self.diff_disk += 1,
            Synchronisation { followed: Some(_), .. } => self.diff_memory += 1,
            Synchronisation { followed: None, .. } => {}
        }
    }
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub diffs_sent: u64,
    pub snaps_sent: u64,
    pub truncs_sent: u64,
    pub snaps_taken: u64,
    pub cuts: u64,
    pub syncs: SyncCounts,
}

impl Counts {
    /// A learner was sent everything up to NEWLEADER.
    pub fn sent(&mut self, sync: Synchronisation) {
        self.syncs.count(sync);
        self.snaps_sent += u64::from(sync.snap);
        self.truncs_sent += u64::from(sync.trunc);
        self.diffs_sent += u64::from(sync.diff || (sync.trunc && sync.followed.is_some()));
    }
}

/// How often the operator is told of the same wait, in milliseconds.
const SAY_AGAIN_MS: u64 = 30_000;

impl Ensemble {
    /// No leader is found: tells the operator for whom it waits, and what can be done about it.
    pub(super) fn waits(&mut self, untrusted: bool, silent: Vec<Sid>, now_ms: u64) {
        let again = |(was, whom, at): &(bool, Vec<Sid>, u64)| {
            (*was, whom) != (untrusted, &silent) || now_ms >= at + SAY_AGAIN_MS
        };
        if !self.told_of_wait.as_ref().is_none_or(again) {
            return;
        }
        let names: Vec<String> = silent.iter().map(Sid::to_string).collect();
        let whom = match names.is_empty() {
            true => "all voters to agree on a leader".to_owned(),
            false => format!("servers that were not heard of: {}", names.join(", ")),
        };
        match untrusted {
            true => tracing::warn!(
                "waiting for {whom}. This member may have forgotten what it acknowledged, because its directory is new \
                 or was damaged: it takes part once a leader has brought it up to date, or once all voters have shown \
                 that they are as empty. If the ensemble is new and some of them will never come, end this server and \
                 put a file named `initialize` into its data directory"
            ),
            false => tracing::warn!("no leader yet, waiting for {whom}"),
        }
        self.told_of_wait = Some((untrusted, silent, now_ms));
    }
}

/// A member at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// Clients are answered.
    pub serving: bool,
    /// Since when that is so, or not so, in milliseconds of the monotonic clock.
    pub since_ms: u64,
    /// How far its role is.
    pub stretch: Stretch,
    /// Whom it follows, or itself.
    pub leader: Option<Sid>,
    /// The epoch it lives in.
    pub epoch: Epoch,
    /// Those who follow it.
    pub learners: Vec<LearnerView>,
    /// Learners that were sent transactions only.
    pub diffs_sent: u64,
    /// Learners that were sent a snapshot.
    pub snaps_sent: u64,
    /// Learners that were told to cut their log.
    pub truncs_sent: u64,
    /// Snapshots that were received and took the place of everything.
    pub snaps_taken: u64,
    /// How often the own log was cut.
    pub cuts: u64,
    /// How learners were synchronised.
    pub syncs: SyncCounts,
    /// Syncs of learners' clients that wait for a commit.
    pub pending_syncs: u64,
    /// Bytes of the last, the smallest and the largest proposal of this server; `None` before the first.
    pub proposal_sizes: Option<[u64; 3]>,
}

impl Member {
    /// Which transactions the log holds, as the protocol core knows it; `None` for a node that stands alone.
    pub fn history(&self) -> Option<&History> {
        Some(self.ensemble.as_ref()?.zab.history())
    }

    /// How far this member is; `None` for a node that stands alone.
    pub fn marks(&self) -> Option<Marks> {
        Some(self.ensemble.as_ref()?.zab.marks())
    }

    /// What there is to show; `None` for a node that stands alone.
    pub fn status(&self) -> Option<Status> {
        let ensemble = self.ensemble.as_ref()?;
        let zab = &ensemble.zab;
        Some(Status {
            state: zab.state(),
            serving: ensemble.serving,
            since_ms: ensemble.since_ms,
            stretch: zab.stretch(),
            leader: zab.leader(),
            epoch: zab.epoch(),
            learners: zab.learners(),
            diffs_sent: ensemble.counts.diffs_sent,
            snaps_sent: ensemble.counts.snaps_sent,
            truncs_sent: ensemble.counts.truncs_sent,
            snaps_taken: ensemble.counts.snaps_taken,
            cuts: ensemble.counts.cuts,
            syncs: ensemble.counts.syncs,
            pending_syncs: ensemble.links.pending_syncs() as u64,
            proposal_sizes: self.ledger.proposal_sizes,
        })
    }
}
