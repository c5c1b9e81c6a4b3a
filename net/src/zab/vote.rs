//! A vote, when one is better than another, and when two are the same (quorum reference 2.6).

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::mutant::{Mutant, planted};

use super::quorum::Membership;
use crate::wire::election::{Notification, State};

/// Whom those name who vote for nobody.
pub const NOBODY: Sid = Sid(i64::MIN);

/// Whom a member wants to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The candidate.
    pub leader: Sid,
    /// Its last transaction.
    pub zxid: Zxid,
    /// The round of the vote.
    pub round: i64,
    /// The candidate's current epoch.
    pub peer_epoch: i64,
}

impl Vote {
    /// A vote for nobody: of an observer, or of a member that may have forgotten something.
    pub fn nobody(round: i64) -> Vote {
        Vote { leader: NOBODY, zxid: Zxid::from_raw(i64::MIN), round, peer_epoch: i64::MIN }
    }

    /// What a notification says.
    pub fn of(said: &Notification) -> Vote {
        Vote { leader: said.leader, zxid: said.zxid, round: said.round, peer_epoch: said.peer_epoch }
    }

    /// The notification of a member in `state`.
    pub fn said_in(self, state: State) -> Notification {
        let Vote { leader, zxid, round, peer_epoch } = self;
        Notification { state, leader, zxid, round, peer_epoch, version: 2 }
    }

    /// Whether this candidate is to be preferred; the round does not matter.
    pub fn better_than(&self, other: &Vote, members: &Membership) -> bool {
        if planted(Mutant::Zk1419VoteOrder) {
            return members.may_lead(self.leader) && self.leader > other.leader;
        }
        let key = |vote: &Vote| (vote.peer_epoch, vote.zxid, vote.leader);
        members.may_lead(self.leader) && key(self) > key(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_beats_zxid_beats_id_and_weightless_never_wins() {
        let weights = [(Sid(1), (1, 1)), (Sid(2), (1, 1)), (Sid(3), (1, 0))].into();
        let members = Membership::hierarchical([Sid(1), Sid(2), Sid(3)], [], weights).unwrap();
        let vote = |leader, zxid, peer_epoch| Vote {
            leader: Sid(leader),
            zxid: Zxid::from_raw(zxid),
            round: 1,
            peer_epoch,
        };
        assert!(vote(1, 0, 2).better_than(&vote(2, 9, 1), &members));
        assert!(vote(1, 9, 2).better_than(&vote(2, 8, 2), &members));
        assert!(vote(2, 9, 2).better_than(&vote(1, 9, 2), &members));
        assert!(!vote(2, 9, 2).better_than(&vote(2, 9, 2), &members));
        assert!(!vote(3, 99, 9).better_than(&vote(1, 0, 0), &members));
        assert!(vote(1, 0, 0).better_than(&Vote::nobody(1), &members));
    }
}
