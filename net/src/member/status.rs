//! What a member shows of itself, for the monitoring words.

use ringkeeper_engine::id::{Epoch, Sid};

use super::Member;
use super::links::Synchronisation;
use crate::wire::election::State;
use crate::zab::view::{LearnerView, Stretch};

/// How often what happened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub diffs_sent: u64,
    pub snaps_sent: u64,
    pub truncs_sent: u64,
    pub snaps_taken: u64,
}

impl Counts {
    /// A learner was sent everything up to NEWLEADER.
    pub fn sent(&mut self, sync: Synchronisation) {
        self.snaps_sent += u64::from(sync.snap);
        self.truncs_sent += u64::from(sync.trunc);
        self.diffs_sent += u64::from(sync.diff || (sync.trunc && sync.followed.is_some()));
    }
}

/// A member at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// Clients are answered.
    pub serving: bool,
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
    /// Syncs of learners' clients that wait for a commit.
    pub pending_syncs: u64,
    /// Bytes of the last, the smallest and the largest proposal of this server; `None` before the first.
    pub proposal_sizes: Option<[u64; 3]>,
}

impl Member {
    /// What there is to show; `None` for a node that stands alone.
    pub fn status(&self) -> Option<Status> {
        let ensemble = self.ensemble.as_ref()?;
        let zab = &ensemble.zab;
        Some(Status {
            state: zab.state(),
            serving: ensemble.serving,
            stretch: zab.stretch(),
            leader: zab.leader(),
            epoch: zab.epoch(),
            learners: zab.learners(),
            diffs_sent: ensemble.counts.diffs_sent,
            snaps_sent: ensemble.counts.snaps_sent,
            truncs_sent: ensemble.counts.truncs_sent,
            snaps_taken: ensemble.counts.snaps_taken,
            pending_syncs: ensemble.links.pending_syncs() as u64,
            proposal_sizes: self.ledger.proposal_sizes,
        })
    }
}
