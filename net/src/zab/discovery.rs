//! The leader's two counts before it may lead: who is there, which fixes the epoch, and who has accepted it
//! (quorum reference 3.3). It sends nothing and persists nothing; `leading` does.

use std::collections::BTreeSet;

use ringkeeper_engine::id::{Epoch, Sid, Zxid};
use ringkeeper_engine::mutant::{Mutant, planted};

use super::quorum::Membership;

/// The largest epoch that can be acknowledged: the wire has a signed number.
const LAST_EPOCH: u32 = i32::MAX as u32;

/// The counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Discovery {
    me: Sid,
    highest: Epoch,
    connecting: BTreeSet<Sid>,
    electing: BTreeSet<Sid>,
    /// Own current epoch and last transaction; nobody who is counted may have more.
    summary: (Epoch, Zxid),
}

/// What an ACKEPOCH means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    /// It may be synchronised, whether it was counted or not.
    Yes,
    /// It has more than the leader.
    Ahead,
}

impl Discovery {
    /// A leader that has accepted `accepted` itself.
    pub fn new(me: Sid, accepted: Epoch, summary: (Epoch, Zxid)) -> Discovery {
        let connecting = BTreeSet::from([me]);
        Discovery { me, highest: accepted, connecting, electing: BTreeSet::from([me]), summary }
    }

    /// A learner has introduced itself. An observer raises the epoch but is not counted.
    pub fn introduced(&mut self, sid: Sid, voter: bool, accepted: Epoch) {
        self.highest = self.highest.max(accepted);
        if voter {
            self.connecting.insert(sid);
        }
    }

    /// The new epoch, once a quorum is there; `Some(None)` if no epoch is left.
    pub fn epoch(&self, members: &Membership) -> Option<Option<Epoch>> {
        let there =
            self.connecting.contains(&self.me) && members.is_quorum(|sid| self.connecting.contains(&sid));
        if there && planted(Mutant::Zk1270EpochNotRaised) {
            return Some(Some(Epoch(self.highest.0.max(1))));
        }
        there.then(|| (self.highest.0 < LAST_EPOCH).then_some(Epoch(self.highest.0.wrapping_add(1))))
    }

    /// A learner has accepted the epoch; without `current` it is not to be counted.
    pub fn accepted(&mut self, sid: Sid, voter: bool, last: Zxid, current: Option<Epoch>) -> Accepted {
        let Some(current) = current else { return Accepted::Yes };
        if (current, last) > self.summary {
            return Accepted::Ahead;
        }
        if voter && last != Zxid::from_raw(-1) {
            self.electing.insert(sid);
        }
        Accepted::Yes
    }

    /// Whether a quorum has accepted the epoch.
    pub fn elected(&self, members: &Membership) -> bool {
        members.is_quorum(|sid| self.electing.contains(&sid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Membership {
        Membership::majority([Sid(1), Sid(2), Sid(3)], [Sid(9)]).unwrap()
    }

    fn leader() -> Discovery {
        Discovery::new(Sid(3), Epoch(4), (Epoch(4), Zxid::new(Epoch(4), 7)))
    }

    #[test]
    fn the_epoch_is_above_all_that_a_quorum_has_accepted() {
        let mut discovery = leader();
        discovery.introduced(Sid(9), false, Epoch(8));
        assert_eq!(discovery.epoch(&members()), None, "an observer makes no quorum");
        discovery.introduced(Sid(1), true, Epoch(6));
        assert_eq!(discovery.epoch(&members()), Some(Some(Epoch(9))));
        discovery.introduced(Sid(2), true, Epoch(LAST_EPOCH));
        assert_eq!(discovery.epoch(&members()), Some(None));
    }

    #[test]
    fn nobody_ahead_of_the_leader_and_nobody_who_does_not_want_to_is_counted() {
        let mut discovery = leader();
        let mut accepted = |sid, last, current| discovery.accepted(Sid(sid), sid != 9, last, current);
        assert_eq!(accepted(1, Zxid::new(Epoch(4), 8), Some(Epoch(4))), Accepted::Ahead);
        assert_eq!(accepted(1, Zxid::ZERO, Some(Epoch(5))), Accepted::Ahead);
        assert_eq!(accepted(1, Zxid::new(Epoch(4), 8), None), Accepted::Yes);
        assert_eq!(accepted(2, Zxid::from_raw(-1), Some(Epoch(0))), Accepted::Yes);
        assert_eq!(accepted(9, Zxid::ZERO, Some(Epoch(4))), Accepted::Yes);
        assert!(!discovery.elected(&members()));
        assert_eq!(discovery.accepted(Sid(2), true, Zxid::new(Epoch(3), 99), Some(Epoch(4))), Accepted::Yes);
        assert!(discovery.elected(&members()));
    }
}
