//! Who votes, and which sets of voters are enough.
//!
//! By majority, or by groups and weights: then more than half of the groups that weigh anything must each be there
//! with more than half of their weight (quorum reference 1.6). Observers count in no quorum.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::mutant::{Mutant, planted};

/// The members of an ensemble, and its quorum rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    voters: BTreeSet<Sid>,
    observers: BTreeSet<Sid>,
    /// Group and weight of each voter; empty where the majority decides.
    weights: BTreeMap<Sid, (i64, u64)>,
}

/// Why members and groups do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// No quorum can ever be.
    #[error("an ensemble needs a voter that weighs something")]
    NoVoter,
    /// A voter is in no group although groups are used.
    #[error("server {0} votes but is in no group")]
    NoGroup(Sid),
    /// A member both votes and observes.
    #[error("server {0} is both a voter and an observer")]
    Both(Sid),
    /// A group names somebody who does not vote.
    #[error("server {0} is in a group but does not vote")]
    Stranger(Sid),
}

impl Membership {
    /// An ensemble where the majority decides.
    ///
    /// # Errors
    /// Without a voter, or with a member in both lists.
    pub fn majority(
        voters: impl IntoIterator<Item = Sid>,
        observers: impl IntoIterator<Item = Sid>,
    ) -> Result<Membership, MembershipError> {
        let (voters, observers): (BTreeSet<_>, BTreeSet<_>) =
            (voters.into_iter().collect(), observers.into_iter().collect());
        if voters.is_empty() {
            return Err(MembershipError::NoVoter);
        }
        match voters.intersection(&observers).next() {
            Some(&sid) => Err(MembershipError::Both(sid)),
            None => Ok(Membership { voters, observers, weights: BTreeMap::new() }),
        }
    }

    /// An ensemble of groups: `weights` gives the group and the weight of every voter.
    ///
    /// # Errors
    /// When the voters and those in groups are not the same, or nothing weighs anything.
    pub fn hierarchical(
        voters: impl IntoIterator<Item = Sid>,
        observers: impl IntoIterator<Item = Sid>,
        weights: BTreeMap<Sid, (i64, u64)>,
    ) -> Result<Membership, MembershipError> {
        let members = Membership::majority(voters, observers)?;
        if let Some(&sid) = members.voters.iter().find(|sid| !weights.contains_key(sid)) {
            return Err(MembershipError::NoGroup(sid));
        }
        if let Some(&sid) = weights.keys().find(|sid| !members.voters.contains(sid)) {
            return Err(MembershipError::Stranger(sid));
        }
        if weights.values().all(|&(_, weight)| weight == 0) {
            return Err(MembershipError::NoVoter);
        }
        Ok(Membership { weights, ..members })
    }

    /// All who vote, in the order of their ids.
    pub fn voters(&self) -> impl Iterator<Item = Sid> + '_ {
        self.voters.iter().copied()
    }

    /// All members, voters first.
    pub fn all(&self) -> impl Iterator<Item = Sid> + '_ {
        self.voters.iter().chain(&self.observers).copied()
    }

    /// Whether `sid` votes.
    pub fn votes(&self, sid: Sid) -> bool {
        self.voters.contains(&sid)
    }

    /// Whether `sid` belongs to the ensemble.
    pub fn contains(&self, sid: Sid) -> bool {
        self.votes(sid) || self.observers.contains(&sid)
    }

    /// Whether `sid` may lead: it votes and weighs something.
    pub fn may_lead(&self, sid: Sid) -> bool {
        self.votes(sid) && self.weights.get(&sid).is_none_or(|&(_, weight)| weight > 0)
    }

    /// Whether those for whom `is_in` holds are enough. Only voters are asked for.
    pub fn is_quorum(&self, is_in: impl Fn(Sid) -> bool) -> bool {
        if planted(Mutant::Zk2959ObserversCount) {
            return self.all().filter(|&sid| is_in(sid)).count() > self.voters.len() / 2;
        }
        if self.weights.is_empty() {
            return self.voters().filter(|&sid| is_in(sid)).count() > self.voters.len() / 2;
        }
        let mut groups: BTreeMap<i64, (u128, u128)> = BTreeMap::new();
        for (&sid, &(group, weight)) in &self.weights {
            let (there, all) = groups.entry(group).or_default();
            *all += u128::from(weight);
            *there += if is_in(sid) { u128::from(weight) } else { 0 };
        }
        groups.retain(|_, &mut (_, all)| all > 0);
        groups.values().filter(|&&(there, all)| there > all / 2).count() > groups.len() / 2
    }

    /// The highest zxid up to which a quorum has everything, where `has` tells how far a voter is; `None` if there
    /// is no such quorum at all.
    pub fn agreed(&self, has: impl Fn(Sid) -> Option<Zxid>) -> Option<Zxid> {
        self.voters()
            .filter_map(&has)
            .filter(|&zxid| self.is_quorum(|sid| has(sid).is_some_and(|there| there >= zxid)))
            .max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sids(range: std::ops::RangeInclusive<i64>) -> impl Iterator<Item = Sid> {
        range.map(Sid)
    }

    #[test]
    fn more_than_half_is_a_majority_and_observers_never_count() {
        for (n, enough) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let members = Membership::majority(sids(1..=n), [Sid(100)]).unwrap();
            assert!(members.is_quorum(|sid| sid.0 <= enough || sid.0 == 100), "{enough} of {n}");
            assert!(!members.is_quorum(|sid| sid.0 < enough || sid.0 == 100), "fewer than {enough} of {n}");
        }
    }

    #[test]
    fn groups_count_by_weight_and_groups_without_weight_do_not_count() {
        let weights = [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 2, 5), (5, 2, 1), (6, 3, 0)];
        let weights: BTreeMap<_, _> = weights.into_iter().map(|(s, g, w)| (Sid(s), (g, w))).collect();
        let members = Membership::hierarchical(sids(1..=6), [], weights).unwrap();
        let quorum = |set: &[i64]| members.is_quorum(|sid| set.contains(&sid.0));
        assert!(quorum(&[1, 2, 4]));
        assert!(!quorum(&[1, 2, 3, 5, 6]), "group 2 is not there by weight");
        assert!(!quorum(&[1, 4, 5]), "group 1 is not there");
        assert!(members.may_lead(Sid(4)) && !members.may_lead(Sid(6)) && !members.may_lead(Sid(7)));
    }

    #[test]
    fn groups_and_voters_must_fit_together() {
        let weights = BTreeMap::from([(Sid(1), (1, 1))]);
        let error = Membership::hierarchical(sids(1..=2), [], weights.clone()).unwrap_err();
        assert_eq!(error, MembershipError::NoGroup(Sid(2)));
        let error = Membership::hierarchical([Sid(2)], [], BTreeMap::from([(Sid(2), (1, 0))])).unwrap_err();
        assert_eq!(error, MembershipError::NoVoter);
        assert_eq!(Membership::majority([Sid(1)], [Sid(1)]), Err(MembershipError::Both(Sid(1))));
        assert_eq!(Membership::majority([], [Sid(1)]), Err(MembershipError::NoVoter));
    }

    #[test]
    fn agreed_is_what_a_quorum_has() {
        let members = Membership::majority(sids(1..=5), []).unwrap();
        let has = [Some(9), Some(4), None, Some(7), Some(1)];
        let has = |sid: Sid| has[usize::try_from(sid.0).unwrap() - 1].map(Zxid::from_raw);
        assert_eq!(members.agreed(has), Some(Zxid::from_raw(4)));
        assert_eq!(members.agreed(|sid| has(sid).filter(|_| sid.0 < 3)), None);
    }
}
