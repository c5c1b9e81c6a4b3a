//! The invariants of the quorum reference (section 9) that need more than one server to be seen.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper_engine::id::{Epoch, Sid, Zxid};

use super::{Txn, World};
use crate::zab::event::{FromLeader, FromLearner, Link};

/// What one connection has carried.
#[derive(Debug, Default)]
pub struct Said {
    /// The epoch that the leader proposed on it.
    epoch: Option<Epoch>,
    proposed: Zxid,
    committed: Zxid,
    acked: Option<Zxid>,
}

/// What has been seen since the world began.
#[derive(Debug, Default)]
pub struct Checks {
    said: BTreeMap<Link, Said>,
    /// Counted promises.
    promises: BTreeSet<(Sid, Epoch)>,
    /// The history that an epoch began with, and whose it was.
    initial: BTreeMap<Epoch, (Sid, Vec<Txn>)>,
    /// Who acknowledged it.
    took_over: BTreeMap<Epoch, BTreeSet<Sid>>,
    /// What the leader of an epoch proposed.
    broadcast: BTreeMap<Epoch, Vec<Txn>>,
    /// A member lost its disk: what depends on memory of its promises is not checked any more.
    pub wiped: bool,
}

impl World {
    /// A learner speaks.
    pub fn check_learner(&mut self, link: Link, packet: FromLearner) {
        let Some(conn) = self.conns.get(&link) else { return };
        let (sid, member) = (conn.learner, &self.members[&conn.learner]);
        let said = self.checks.said.entry(link).or_default();
        let promised = said.epoch.is_none_or(|epoch| epoch >= member.epochs.accepted);
        match packet {
            FromLearner::AckEpoch(_, current) => {
                assert!(promised, "Promise: {sid} accepts an older epoch");
                let fresh = current.is_none() || self.checks.promises.insert((sid, said.epoch.unwrap()));
                assert!(fresh || self.checks.wiped, "SingleCountedAckEpoch: {sid}");
            }
            FromLearner::Ack(zxid) if Some(zxid) == said.epoch.map(|epoch| Zxid::new(epoch, 0)) => {
                assert!(promised, "Promise: {sid} takes the history of an older epoch over");
                if said.acked.replace(said.acked.unwrap_or(zxid)).is_some() {
                    return;
                }
                let epoch = zxid.epoch();
                assert_eq!(member.epochs.current, epoch, "NewLeaderAckMeaning: {sid}");
                let durable: Vec<Txn> =
                    member.base.1.iter().chain(&member.log[..member.flushed]).copied().collect();
                let (old, new): (Vec<Txn>, Vec<Txn>) = durable.iter().partition(|txn| txn.0 < zxid);
                assert_eq!(old, self.checks.initial[&epoch].1, "NewLeaderAckMeaning: {sid} in {epoch}");
                let proposed = self.checks.broadcast.get(&epoch).map_or(&[][..], Vec::as_slice);
                assert!(proposed.starts_with(&new), "NewLeaderAckMeaning: {sid} has {new:?} of {proposed:?}");
                self.checks.took_over.entry(epoch).or_default().insert(sid);
            }
            FromLearner::Ack(zxid) => {
                assert!(promised, "Promise: {sid} acknowledges for an older epoch");
                let before = said.acked.expect("AckAfterNewLeaderAck");
                assert!(zxid > before, "AckOrder: {sid} says {zxid} after {before}");
                said.acked = Some(zxid);
            }
            _ => {}
        }
    }

    /// A leader speaks.
    pub fn check_leader(&mut self, link: Link, packet: FromLeader) {
        let Some(conn) = self.conns.get(&link) else { return };
        let leader = conn.leader;
        let content = self.members[&leader].content();
        let said = self.checks.said.entry(link).or_default();
        match packet {
            FromLeader::LeaderInfo(epoch, _) => said.epoch = Some(epoch),
            FromLeader::Diff(zxid) | FromLeader::Snap(zxid) => said.committed = zxid.min(said.proposed),
            FromLeader::Proposal(zxid) => {
                assert!(zxid > said.proposed, "ProposalOrder: {zxid} after {}", said.proposed);
                said.proposed = zxid;
            }
            FromLeader::Commit(zxid) => {
                assert!(zxid > said.committed, "CommitOrder: {zxid} after {}", said.committed);
                said.committed = zxid;
            }
            FromLeader::NewLeader(epoch) => {
                let begin = || content.into_iter().filter(|txn| txn.0 < Zxid::new(epoch, 0)).collect();
                let (first, _) = self.checks.initial.entry(epoch).or_insert_with(|| (leader, begin()));
                assert_eq!(*first, leader, "Leadership2: epoch {epoch}");
            }
            FromLeader::UpToDate => {
                let epoch = said.epoch.expect("an epoch comes first");
                let quorum = self.membership.is_quorum(|sid| {
                    sid == leader || self.checks.took_over.get(&epoch).is_some_and(|who| who.contains(&sid))
                });
                assert!(quorum, "UpToDateMeaning: {epoch} of {leader}");
            }
            _ => {}
        }
    }

    /// A leader proposes.
    pub fn check_proposed(&mut self, txn: Txn) {
        let of_epoch = self.checks.broadcast.entry(txn.0.epoch()).or_default();
        of_epoch.push(txn);
        let count = u32::try_from(of_epoch.len()).unwrap();
        assert_eq!(txn.0.counter(), count, "ZxidContiguous");
    }

    /// A leader commits.
    pub fn check_committed(&self, leader: Sid, upto: Zxid) {
        let Some(&last) = self.members[&leader].upto(upto).last() else { return };
        let durable = |sid: Sid| {
            let member = &self.members[&sid];
            member.base.1.iter().chain(&member.log[..member.flushed]).any(|txn| *txn == last)
        };
        assert!(
            self.checks.wiped || self.membership.is_quorum(durable),
            "CommitQuorum: {last:?} of {leader}"
        );
    }
}
