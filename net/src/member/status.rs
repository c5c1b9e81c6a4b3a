//! What a member shows of itself, for the monitoring words.

use ringkeeper_engine::id::{Epoch, Sid};

use super::links::Synchronisation;
use super::receiving::Job;
use super::{Ensemble, MakingStatus, Member};
use crate::wire::election::State;
use crate::zab::history::History;
use crate::zab::marks::Marks;
use crate::zab::view::{LearnerView, Stretch};

/// How often what happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// A learner was sent DIFF, and nothing had to follow.
    pub diff: u64,
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
    /// Snapshots that were received and took the place of everything.
    pub snaps_taken: u64,
    /// The own log was cut.
    pub cuts: u64,
}

impl Counts {
    /// Learners that were sent transactions, as the reference counts them.
    pub fn diffs(&self) -> u64 {
        self.diff + self.diff_memory + self.diff_disk + self.trunc_diff
    }

    /// Learners that were told to cut their log.
    pub fn truncs(&self) -> u64 {
        self.trunc + self.trunc_diff
    }

    /// A learner was sent everything up to NEWLEADER.
    pub(super) fn sent(&mut self, sync: Synchronisation) {
        *match sync {
            Synchronisation { snap: true, .. } => &mut self.snap,
            Synchronisation { trunc: true, followed: Some(_), .. } => &mut self.trunc_diff,
            Synchronisation { trunc: true, .. } => &mut self.trunc,
            Synchronisation { followed: Some("disk"), .. } => &mut self.diff_disk,
            Synchronisation { followed: Some(_), .. } => &mut self.diff_memory,
            Synchronisation { followed: None, .. } => &mut self.diff,
        } += 1;
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

/// Snapshots that are on their way between members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfers {
    /// To learners: who, bytes sent, of how many.
    pub sending: Vec<(Sid, u64, u64)>,
    /// From the leader: bytes received; `None` if none is.
    pub receiving: Option<u64>,
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
    /// How learners were synchronised, and what became of the own log.
    pub counts: Counts,
    /// Snapshots under way.
    pub transfers: Transfers,
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

    /// The making of snapshots.
    pub fn making(&self) -> MakingStatus {
        self.making.status
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
            counts: ensemble.counts,
            transfers: Transfers {
                sending: ensemble
                    .links
                    .snapshots()
                    .filter_map(|(sid, sent, of)| sid.map(|sid| (sid, sent, of)))
                    .collect(),
                receiving: ensemble.job.as_ref().and_then(Job::received),
            },
            pending_syncs: ensemble.links.pending_syncs() as u64,
            proposal_sizes: self.ledger.proposal_sizes,
        })
    }
}
