//! Looking for a leader: FastLeaderElection (quorum reference 2.6 to 2.8).
//!
//! Everybody announces the best vote it has heard of, until a quorum announces the same one; or it finds that a
//! quorum already has a leader, and joins. Those who must not help to elect (observers, and members that may have
//! forgotten something) vote for nobody and can only join. Only `Zab` calls this.
//!
//! A member whose directory is empty cannot know whether it is new or wiped. If every other voter shows itself as
//! empty too, the ensemble is new and it may vote. One word is not enough: a peer may send an old one when a
//! connection is made anew, before it answers. (A word said with data is the last one there is of a member that has
//! data: each says how it votes when its role is established.)
//!
//! A round ends as soon as all voters agree that can be expected to speak: nobody else could still object. The leader
//! whose connection just broke is not waited for, so that the others need no pause to replace it.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::log::Epochs;
use ringkeeper_engine::mutant::{Mutant, planted};

use super::action::Action;
use super::event::Event;
use super::quorum::Membership;
use super::timer::Timer;
use super::vote::Vote;
use super::{Core, Next};
use crate::wire::election::{Notification, State};

/// So often a voter must have shown that it is empty.
const SHOWN_OFTEN: u32 = 2;

/// Those who can only join ask at least so often, in milliseconds: nobody tells them that there is a leader.
const JOIN_POLL_MS: u64 = 1000;

/// After so many announcements in vain (200, 400, 800 ms as a rule) the operator is told.
const PATIENCE: u64 = 8;

/// A vote as heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    vote: Vote,
    state: State,
    version: i32,
}

impl Heard {
    /// The rules for counting supporters; the zxid and the round of members of an established ensemble may differ.
    fn supports(&self, other: &Heard) -> bool {
        if self.state == State::Looking || other.state == State::Looking {
            self.vote == other.vote
        } else if (self.version == 0) != (other.version == 0) {
            self.vote.leader == other.vote.leader
        } else {
            (self.vote.leader, self.vote.peer_epoch) == (other.vote.leader, other.vote.peer_epoch)
        }
    }
}

/// A server that looks for a leader.
#[derive(Debug)]
pub(super) struct Looking {
    proposal: Vote,
    /// Votes of this round.
    recv: BTreeMap<Sid, Heard>,
    /// Words of those who have a leader.
    settled: BTreeMap<Sid, Heard>,
    wait_ms: u64,
    /// How often a voter has shown itself as empty.
    empty: BTreeMap<Sid, u32>,
    /// Voters that have said anything.
    heard: BTreeSet<Sid>,
}

impl Looking {
    /// A new round.
    pub fn begin(core: &mut Core, out: &mut Vec<Action>) -> (Looking, Next) {
        core.round = core.round.saturating_add(1);
        let proposal = own_vote(core);
        core.vote = proposal;
        let wait_ms = core.config.announce_ms;
        let mut looking = Looking {
            proposal,
            recv: BTreeMap::new(),
            settled: BTreeMap::new(),
            wait_ms,
            empty: BTreeMap::new(),
            heard: BTreeSet::new(),
        };
        core.timers.set(Timer::Announce, core.now + wait_ms);
        looking.announce(core, out);
        looking.trust_if_all_are_empty(core, out);
        let next = looking.decide(core);
        (looking, next)
    }

    /// What this server announces.
    pub fn proposal(&self) -> Vote {
        self.proposal
    }

    pub fn handle(&mut self, core: &mut Core, event: &Event, out: &mut Vec<Action>) -> Next {
        match event {
            Event::Tick => {
                if core.timers.take_due(Timer::Announce, core.now) {
                    let only_joins = !core.trusted_voter();
                    let most = if only_joins { JOIN_POLL_MS } else { u64::MAX };
                    self.wait_ms = (self.wait_ms * 2).min(core.config.announce_max_ms).min(most);
                    core.timers.set(Timer::Announce, core.now + self.wait_ms);
                    self.announce(core, out);
                    if self.wait_ms >= (core.config.announce_ms * PATIENCE).min(most) {
                        let silent = self.silent(core);
                        out.push(Action::Waiting { untrusted: only_joins && !core.observes(), silent });
                    }
                }
                if core.timers.take_due(Timer::Finalize, core.now) {
                    return finish(core, self.proposal);
                }
                Next::Stay
            }
            // Now it may vote.
            Event::EpochsDurable(_) => Next::Look,
            // Learners of a leader that we have ceased to be, or not become; a leader that we do not follow.
            Event::Learner(link, _) | Event::Connected(link) => {
                out.push(Action::Disconnect(*link));
                Next::Stay
            }
            Event::Submitted(_) => panic!("no leader, yet {event:?}"),
            _ => Next::Stay,
        }
    }

    /// A voter of the ensemble says something.
    pub fn notified(
        &mut self,
        core: &mut Core,
        from: Sid,
        said: &Notification,
        out: &mut Vec<Action>,
    ) -> Next {
        let first = self.heard.insert(from);
        core.gone.take_if(|gone| *gone == from);
        let mut answer = said.state == State::Looking && said.round < core.round;
        if said.state == State::Looking && said.zxid <= Zxid::ZERO && said.peer_epoch == 0 {
            let shown = self.empty.entry(from).or_default();
            *shown = shown.saturating_add(1);
            // So that two empty ones need not wait for their announcements, and are silent soon.
            answer |= core.fresh && !core.trusted_voter() && *shown <= SHOWN_OFTEN;
            self.trust_if_all_are_empty(core, out);
        } else {
            self.empty.remove(&from);
        }
        // It may have come after our last announcement, or have missed it: with the same round nothing else tells it.
        answer |= said.state == State::Looking && said.round == core.round && first && core.trusted_voter();
        let before = self.proposal;
        let next = self.count(core, from, said, out);
        // A better proposal was announced to all.
        if answer && next == Next::Stay && self.proposal == before {
            out.push(Action::Notify(from, self.proposal.said_in(State::Looking)));
        }
        next
    }

    fn count(&mut self, core: &mut Core, from: Sid, said: &Notification, out: &mut Vec<Action>) -> Next {
        if !core.config.members.votes(said.leader) {
            return Next::Stay;
        }
        match said.state {
            State::Looking => self.looking(core, from, said, out),
            State::Following | State::Leading => self.settled(core, from, said),
            State::Observing => Next::Stay,
        }
    }

    fn looking(&mut self, core: &mut Core, from: Sid, said: &Notification, out: &mut Vec<Action>) -> Next {
        let untrusted_and_empty = Zxid::from_raw(-1);
        if !core.trusted_voter() || said.zxid == untrusted_and_empty || said.round < core.round {
            return Next::Stay;
        }
        let vote = Vote::of(said);
        let members = &core.config.members;
        if said.round > core.round {
            core.round = said.round;
            self.recv.clear();
            let own = own_vote(core);
            self.proposal = if vote.better_than(&own, members) { vote } else { own };
            core.timers.clear(Timer::Finalize);
            self.announce(core, out);
        } else if vote.better_than(&self.proposal, members) {
            self.proposal = vote;
            core.timers.clear(Timer::Finalize);
            self.announce(core, out);
        }
        self.recv.insert(from, Heard { vote, state: State::Looking, version: said.version });
        self.decide(core)
    }

    /// Ends the round if all voters agree that may speak; starts or stops the wait for objections if a quorum does.
    fn decide(&mut self, core: &mut Core) -> Next {
        if !core.trusted_voter() {
            return Next::Stay;
        }
        let own = Heard { vote: self.proposal, state: State::Looking, version: 2 };
        let agrees =
            |sid: Sid| sid == core.config.me || self.recv.get(&sid).is_some_and(|heard| heard.supports(&own));
        let members = &core.config.members;
        if !members.may_lead(self.proposal.leader) || !members.is_quorum(agrees) {
            core.timers.clear(Timer::Finalize);
        } else if members.voters().all(|sid| agrees(sid) || core.gone == Some(sid)) {
            return finish(core, self.proposal);
        } else if !core.timers.is_set(Timer::Finalize) {
            core.timers.set(Timer::Finalize, core.now + core.config.finalize_ms);
        }
        Next::Stay
    }

    /// Somebody has a leader: is there a quorum for it, and does it say so itself?
    fn settled(&mut self, core: &mut Core, from: Sid, said: &Notification) -> Next {
        // What was asked of the disk before must not be taken for a promise to this leader.
        if core.persisting {
            return Next::Stay;
        }
        let heard = Heard { vote: Vote::of(said), state: said.state, version: said.version };
        if said.round == core.round && core.trusted_voter() {
            // Stored without its version, so that within a round only the leader is compared.
            self.recv.insert(from, Heard { version: 0, ..heard });
            // Our own vote counts in our own round.
            let own = Heard { vote: self.proposal, state: State::Looking, version: 2 };
            if joins(core, &self.recv, &heard, Some(own)) {
                return finish(core, heard.vote);
            }
        }
        if planted(Mutant::Zk1514RoundsDiffer) {
            return Next::Stay;
        }
        self.settled.insert(from, heard);
        if joins(core, &self.settled, &heard, None) {
            core.round = heard.vote.round;
            return finish(core, heard.vote);
        }
        Next::Stay
    }

    fn announce(&self, core: &Core, out: &mut Vec<Action>) {
        let said = Vote { round: core.round, ..self.proposal }.said_in(State::Looking);
        let others = core.config.members.voters().filter(|&sid| sid != core.config.me);
        out.extend(others.map(|sid| Action::Notify(sid, said)));
    }

    fn silent(&self, core: &Core) -> Vec<Sid> {
        let others = core.config.members.voters().filter(|&sid| sid != core.config.me);
        others.filter(|sid| !self.heard.contains(sid)).collect()
    }

    fn trust_if_all_are_empty(&mut self, core: &mut Core, out: &mut Vec<Action>) {
        let members: &Membership = &core.config.members;
        let me = core.config.me;
        let shown = |sid: Sid| sid == me || self.empty.get(&sid).is_some_and(|&often| often >= SHOWN_OFTEN);
        if core.fresh
            && !core.persisting
            && !core.trusted_voter()
            && members.votes(me)
            && members.voters().all(shown)
        {
            core.persist(Epochs { nonvoting: false, ..core.epochs.get() }, out);
        }
    }
}

/// Itself; nobody, if it must not help to elect. A fresh member shows that it is empty.
fn own_vote(core: &Core) -> Vote {
    if core.trusted_voter() {
        let peer_epoch = core.epochs.get().current.0.into();
        Vote { leader: core.config.me, zxid: core.durable.get(), round: core.round, peer_epoch }
    } else if core.fresh && !core.observes() {
        Vote { peer_epoch: 0, ..Vote::nobody(core.round) }
    } else {
        Vote::nobody(core.round)
    }
}

fn joins(core: &Core, heard: &BTreeMap<Sid, Heard>, what: &Heard, own: Option<Heard>) -> bool {
    let leader = what.vote.leader;
    let supports = |sid: Sid| match own {
        Some(own) if sid == core.config.me => own.supports(what),
        _ => heard.get(&sid).is_some_and(|other| other.supports(what)),
    };
    let led = if leader == core.config.me {
        core.trusted_voter() && what.vote.round == core.round
    } else {
        heard.get(&leader).is_some_and(|leader| leader.state == State::Leading)
    };
    led && core.config.members.may_lead(leader) && core.config.members.is_quorum(supports)
}

fn finish(core: &mut Core, vote: Vote) -> Next {
    core.vote = vote;
    if vote.leader == core.config.me { Next::Lead } else { Next::Follow(vote.leader) }
}
