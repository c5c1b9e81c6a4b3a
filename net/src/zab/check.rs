//! What must be true of one core after every event, in release builds too: a few comparisons.
//!
//! Each is one of the invariants of the quorum reference (section 9), named in its message. Going on with one of them
//! broken could lose what was acknowledged; only our own bugs can break them, whatever peers say.

use ringkeeper_engine::id::Zxid;

use super::leading::{Leading, Phase, Stage};
use super::{Core, Role, Zab};

impl Zab {
    /// # Panics
    /// When one of them does not hold.
    pub(super) fn check(&self) {
        let core = &self.core;
        core.marks.check();
        let epochs = core.epochs.get();
        assert!(epochs.current <= epochs.accepted, "EpochOrder: {epochs:?}");
        assert!(core.history.last() == core.marks.submitted, "the history ends at {:?}", core.history);
        assert!(core.durable.get() == core.marks.durable, "AckDurable: {:?}", core.marks);
        match &self.role {
            Role::Settling => {}
            Role::Looking(_) => {
                assert!(core.marks.durable == core.marks.submitted, "a vote for what is not durable");
                assert!(!core.trusted_voter() || ends_in_current(core), "HistoryEpoch: {:?}", core.marks);
            }
            Role::Following(role) => {
                assert!(role.acked <= core.marks.durable, "AckDurable: {role:?}");
                assert!(!role.served() || core.marks.committed == role.committed, "CommitOrder: {role:?}");
                assert!(!role.accepted() || epochs.accepted == role.epoch, "Promise: {epochs:?} in {role:?}");
                assert!(!role.adopted() || epochs.current == role.epoch, "Promise: {epochs:?} in {role:?}");
            }
            Role::Leading(role) => check_leading(core, role),
        }
    }
}

fn ends_in_current(core: &Core) -> bool {
    let last = core.history.last();
    last <= Zxid::ZERO || last.epoch() <= core.epochs.get().current
}

fn check_leading(core: &Core, role: &Leading) {
    let epochs = core.epochs.get();
    if role.phase >= Phase::Electing {
        assert!(epochs.accepted == role.epoch, "Promise: {epochs:?}");
    }
    if role.phase >= Phase::Synchronizing {
        assert!(epochs.current == role.epoch && epochs.accepted == role.epoch, "Leadership: {epochs:?}");
    }
    let last = core.marks.submitted;
    let own = last == role.initial || (last.epoch() == role.epoch && last > role.initial);
    assert!(own, "ZxidContiguous: {last} behind {}", role.initial);
    let begun = role.phase == Phase::Established;
    assert!(begun || last == role.initial, "a proposal before a quorum has the history");
    assert!(!begun || core.marks.committed >= role.initial, "LeaderCompleteness: {:?}", core.marks);
    for learner in role.learners.values().filter(|learner| learner.stage >= Stage::Syncing) {
        assert!(learner.sent <= last && learner.acked <= learner.sent, "AckOrder: {learner:?}");
        let known = core.marks.committed.max(role.initial);
        assert!(learner.told <= known, "CommitQuorum: {learner:?}");
        assert!(begun || learner.stage < Stage::Serving, "UpToDateMeaning: {learner:?}");
    }
}
