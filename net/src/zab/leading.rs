//! The role of a leader: its learners, from their first packet to the end of their synchronisation.
//!
//! Epoch first (durable, then LEADERINFO), then the promises of a quorum, then the own current epoch, then the
//! learners get the history; `broadcast` goes on from there. Every phase has to be over within the initial limit.
//! Only `Zab` calls this.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper_engine::id::{Epoch, Sid, Zxid};
use ringkeeper_engine::log::Epochs;
use ringkeeper_engine::mutant::{Mutant, planted};

use super::action::{Action, Flow, ToLearner};
use super::discovery::{Accepted, Discovery};
use super::event::{Event, FromLearner, Link};
use super::fault::Fault;
use super::sync_leader::{Choice, Facts, Head, choose};
use super::timer::Timer;
use super::view::Stretch;
use super::{Core, Next};
use crate::wire::election::Notification;
use crate::wire::quorum::payload::LearnerInfo;

/// How far the leader is, in the order of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Who is there?
    Discovering,
    /// The new epoch is being promised by ourselves.
    Promising,
    /// Who accepts it?
    Electing,
    /// It becomes our current one.
    Adopting,
    /// Who has our history?
    Synchronizing,
    /// A quorum has.
    Established,
}

/// How far a learner is. The order is that of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has said who it is.
    Introduced,
    /// It was told the epoch.
    Invited,
    /// It has accepted it.
    Accepted,
    /// Everything up to NEWLEADER is on its way.
    Syncing,
    /// It has acknowledged that.
    Synced,
    /// It was told that it may serve.
    Serving,
}

/// What is known about a learner.
#[derive(Debug)]
pub(super) struct Learner {
    pub info: LearnerInfo,
    /// Its acknowledgements count.
    pub voter: bool,
    pub stage: Stage,
    /// When its last packet came.
    pub heard: u64,
    /// Its last transaction when it accepted the epoch.
    pub last: Zxid,
    /// Proposals were sent up to here.
    pub sent: Zxid,
    /// COMMITs, or INFORMs, were sent up to here.
    pub told: Zxid,
    /// It has said that it holds everything up to here.
    pub acked: Zxid,
    /// Since when it has acknowledged nothing although there is something.
    pub owing_since: Option<u64>,
}

/// A server that leads, or tries to.
#[derive(Debug)]
pub(super) struct Leading {
    pub phase: Phase,
    pub epoch: Epoch,
    /// Last transaction of the history that the epoch begins with.
    pub initial: Zxid,
    pub learners: BTreeMap<Link, Learner>,
    discovery: Discovery,
    /// Voters that look for a leader elsewhere than here, as far as is known.
    away: BTreeSet<Sid>,
}

impl Leading {
    pub fn begin(core: &mut Core, out: &mut Vec<Action>) -> (Leading, Next) {
        let epochs = core.epochs.get();
        let initial = core.history.last();
        let discovery = Discovery::new(core.config.me, epochs.accepted, (epochs.current, initial));
        let mut leading = Leading {
            phase: Phase::Discovering,
            epoch: epochs.current,
            initial,
            learners: BTreeMap::new(),
            discovery,
            away: BTreeSet::new(),
        };
        leading.phase_begins(core);
        core.timers.set(Timer::Ping, core.now + core.config.tick_ms / 2);
        let next = leading.try_promise(core, out);
        (leading, next)
    }

    /// Closes everything.
    pub fn leave(&self, out: &mut Vec<Action>) {
        out.extend(self.learners.keys().map(|&link| Action::Disconnect(link)));
    }

    pub fn established(&self) -> Option<Epoch> {
        (self.phase == Phase::Established).then_some(self.epoch)
    }

    pub fn handle(&mut self, core: &mut Core, event: Event, out: &mut Vec<Action>) -> Next {
        match event {
            Event::Tick => self.tick(core, out),
            Event::Learner(link, packet) => self.packet(core, link, packet, out),
            Event::Closed(link) => {
                self.learners.remove(&link);
                self.outvoted(core, out)
            }
            Event::Flowing(link) => self.flowing(core, link),
            Event::EpochsDurable(_) => self.promised(core, out),
            Event::Submitted(upto) => self.submitted(core, upto, out),
            Event::Durable(_) => self.advance(core, out),
            Event::Leader(link, _) | Event::Connected(link) => {
                out.push(Action::Disconnect(link));
                Next::Stay
            }
            _ => Next::Stay,
        }
    }

    /// A voter looks for a leader, although an election made this server lead. Without a quorum of the others none of
    /// those who look can join, so that to wait for them would be in vain.
    pub fn deserted(&mut self, core: &Core, from: Sid, said: &Notification, out: &mut Vec<Action>) -> Next {
        let still_ours = (said.leader, said.round) == (core.config.me, core.vote.round);
        if self.phase == Phase::Established || still_ours {
            return Next::Stay;
        }
        self.away.insert(from);
        if core.config.members.is_quorum(|sid| !self.away.contains(&sid)) {
            return Next::Stay;
        }
        out.push(Action::Report(Fault::Deserted));
        Next::Look
    }

    /// A synchronisation makes progress, of which the learner cannot tell us.
    fn flowing(&mut self, core: &mut Core, link: Link) -> Next {
        if let Some(learner) = self.learners.get_mut(&link)
            && learner.stage == Stage::Syncing
        {
            (learner.heard, learner.owing_since) = (core.now, Some(core.now));
            if learner.voter && self.phase == Phase::Synchronizing {
                self.phase_begins(core);
            }
        }
        Next::Stay
    }

    fn packet(&mut self, core: &mut Core, link: Link, packet: FromLearner, out: &mut Vec<Action>) -> Next {
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.heard = core.now;
        }
        match (packet, self.learners.get(&link).map(|learner| learner.stage)) {
            (FromLearner::Info(info), None) => self.introduced(core, link, info, out),
            (FromLearner::AckEpoch(last, current), Some(Stage::Invited)) => {
                self.accepted(core, link, last, current, out)
            }
            (FromLearner::Ack(zxid), Some(stage)) if stage >= Stage::Syncing => {
                self.acked(core, link, zxid, out)
            }
            (FromLearner::Alive, Some(_)) => Next::Stay,
            (_, stage) => {
                let phase = if stage.is_some() { "discovery" } else { "connection" };
                self.expel(link, Fault::OutOfPhase { phase }, out);
                Next::Stay
            }
        }
    }

    /// Ends a connection, for a reason that the operator is told.
    pub fn expel(&mut self, link: Link, fault: Fault, out: &mut Vec<Action>) {
        self.learners.remove(&link);
        out.extend([Action::Report(fault), Action::Disconnect(link)]);
    }

    fn introduced(&mut self, core: &mut Core, link: Link, info: LearnerInfo, out: &mut Vec<Action>) -> Next {
        let (sid, ours) = (info.sid, core.config.config_version);
        if !core.config.members.contains(sid) || sid == core.config.me {
            self.expel(link, Fault::Stranger(sid), out);
            return Next::Stay;
        }
        if info.config_version > ours {
            self.expel(link, Fault::NewerConfig { sid, theirs: info.config_version, ours }, out);
            return Next::Stay;
        }
        // The same member over a new connection: the old one is dead, whether we have noticed or not.
        if let Some(&old) = self.learners.iter().find(|(_, old)| old.info.sid == sid).map(|(old, _)| old) {
            self.learners.remove(&old);
            out.push(Action::Disconnect(old));
        }
        let voter = core.config.members.votes(sid) && !info.observer;
        let learner = Learner {
            info,
            voter,
            stage: Stage::Introduced,
            heard: core.now,
            last: Zxid::ZERO,
            sent: Zxid::ZERO,
            told: Zxid::ZERO,
            acked: Zxid::ZERO,
            owing_since: None,
        };
        self.learners.insert(link, learner);
        self.away.remove(&sid);
        match self.phase {
            Phase::Discovering => {
                self.discovery.introduced(sid, voter, info.accepted);
                self.try_promise(core, out)
            }
            Phase::Promising => Next::Stay,
            _ => {
                self.invite(core, link, out);
                Next::Stay
            }
        }
    }

    fn try_promise(&mut self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        match self.discovery.epoch(&core.config.members) {
            None => {}
            // Nothing can be done but to wait for the end of the phase.
            Some(None) => out.push(Action::Report(Fault::EpochsSpent)),
            Some(Some(epoch)) => {
                (self.epoch, self.phase) = (epoch, Phase::Promising);
                core.persist(Epochs { accepted: epoch, ..core.epochs.get() }, out);
            }
        }
        Next::Stay
    }

    fn promised(&mut self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        match self.phase {
            Phase::Promising => {
                self.phase = Phase::Electing;
                self.phase_begins(core);
                for link in self.links() {
                    self.invite(core, link, out);
                }
                self.try_adopt(core, out);
                Next::Stay
            }
            Phase::Adopting => {
                self.phase = Phase::Synchronizing;
                self.phase_begins(core);
                for link in self.links() {
                    self.try_sync(core, link, out);
                }
                self.try_establish(core, out);
                Next::Stay
            }
            _ => Next::Stay,
        }
    }

    fn invite(&mut self, core: &Core, link: Link, out: &mut Vec<Action>) {
        if let Some(learner) = self.learners.get_mut(&link) {
            (learner.stage, learner.heard) = (Stage::Invited, core.now);
            out.push(Action::Send(link, ToLearner::LeaderInfo(self.epoch)));
        }
    }

    fn accepted(
        &mut self,
        core: &mut Core,
        link: Link,
        last: Zxid,
        current: Option<Epoch>,
        out: &mut Vec<Action>,
    ) -> Next {
        let Some(learner) = self.learners.get_mut(&link) else { return Next::Stay };
        (learner.stage, learner.last) = (Stage::Accepted, last);
        let (sid, voter) = (learner.info.sid, learner.voter);
        if self.phase == Phase::Electing {
            if self.discovery.accepted(sid, voter, last, current) == Accepted::Ahead {
                let our_epoch = core.epochs.get().current;
                let their_epoch = current.unwrap_or_default();
                let fault = Fault::FollowerAhead {
                    sid,
                    their_epoch,
                    their_last: last,
                    our_epoch,
                    our_last: self.initial,
                };
                self.expel(link, fault, out);
                return Next::Stay;
            }
            self.try_adopt(core, out);
        } else if self.phase >= Phase::Synchronizing {
            self.try_sync(core, link, out);
        }
        Next::Stay
    }

    fn try_adopt(&mut self, core: &mut Core, out: &mut Vec<Action>) {
        if self.discovery.elected(&core.config.members) {
            self.phase = Phase::Adopting;
            core.persist(Epochs { current: self.epoch, ..core.epochs.get() }, out);
        }
    }

    /// Sends a learner that has accepted the epoch all that there is, if that can be done now.
    pub fn try_sync(&mut self, core: &Core, link: Link, out: &mut Vec<Action>) {
        let Some(learner) = self.learners.get_mut(&link).filter(|learner| learner.stage == Stage::Accepted)
        else {
            return;
        };
        let facts = Facts {
            peer_last: learner.last,
            ours: learner.info.ours,
            epoch: self.epoch,
            history: &core.history,
            initial: self.initial,
            committed: core.marks.committed,
            sendable: core.sendable,
            window: core.window,
            cheap_from: core.cheap_from,
            force_snapshot: core.config.force_snapshot,
        };
        let (sid, last) = (learner.info.sid, learner.last);
        let plan = match choose(&facts) {
            Choice::Go(plan) => plan,
            Choice::Later(_) => return,
            Choice::Refuse => {
                self.expel(link, Fault::Impossible { sid, last, epoch: self.epoch }, out);
                return;
            }
        };
        out.push(match plan.head {
            Head::Diff(end) => Action::Send(link, ToLearner::Diff(end)),
            Head::Trunc(cut) => Action::Send(link, ToLearner::Trunc(cut)),
            Head::Snap(file) => Action::SendSnapshot { link, label: file, upto: file },
            Head::Merged(label) => Action::SendSnapshot { link, label, upto: self.initial },
        });
        (learner.stage, learner.heard) = (Stage::Syncing, core.now);
        // Commits of what follows are held back until UPTODATE: Apache learners do not survive them earlier.
        (learner.sent, learner.told, learner.acked) = (plan.has, plan.end, plan.has);
        let mut stream = |flow, after, upto| {
            if after < upto {
                out.push(Action::Stream { link, flow, after, upto });
            }
        };
        let after = if planted(Mutant::Zk1319FirstOneMissed) { plan.after.successor() } else { None };
        stream(Flow::History(plan.source), after.unwrap_or(plan.after), plan.end);
        if !learner.info.observer {
            stream(Flow::Proposals, plan.has, core.marks.submitted);
            learner.sent = core.marks.submitted;
        }
        learner.owing_since = Some(core.now);
        if planted(Mutant::Zk3104NewLeaderFirst) {
            let streams =
                out.iter().rev().take_while(|action| matches!(action, Action::Stream { .. })).count();
            out.insert(out.len() - streams, Action::Send(link, ToLearner::NewLeader(self.epoch)));
            return;
        }
        if planted(Mutant::Zk1324NewLeaderTwice) {
            out.push(Action::Send(link, ToLearner::NewLeader(self.epoch)));
        }
        out.push(Action::Send(link, ToLearner::NewLeader(self.epoch)));
    }

    pub fn stretch(&self) -> Stretch {
        match self.phase {
            Phase::Discovering | Phase::Promising | Phase::Electing | Phase::Adopting => Stretch::Discovery,
            Phase::Synchronizing => Stretch::Synchronization,
            Phase::Established => Stretch::Broadcast,
        }
    }

    pub fn links(&self) -> Vec<Link> {
        self.learners.keys().copied().collect()
    }

    pub fn phase_begins(&self, core: &mut Core) {
        core.timers.set(Timer::Phase, core.now + core.config.init_limit * core.config.tick_ms);
    }

    pub fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Discovering | Phase::Promising => "waiting for a quorum to connect",
            Phase::Electing | Phase::Adopting => "waiting for a quorum to accept the epoch",
            Phase::Synchronizing | Phase::Established => "waiting for a quorum to take the history over",
        }
    }
}
