//! Turns the leader's writes into one agreed order.
//!
//! It never touches the log: the caller appends, says how far, and says when that is durable. A transaction is
//! committed when a quorum of voters has it, in zxid order. An acknowledgement speaks for everything before it, so
//! that what a quorum has is a question about one number per voter, and successors never wait for a second test
//! (quorum reference 5.5). Only `leading` calls this.

use ringkeeper_engine::id::Zxid;

use super::action::{Action, Flow, ToLearner};
use super::event::Link;
use super::fault::Fault;
use super::leading::{Leading, Phase, Stage};
use super::timer::Timer;
use super::{Core, Next};
use crate::wire::election::State;

/// The last counter that is given to a transaction: at the next one the reference stops leading.
const LAST_COUNTER: u32 = u32::MAX - 1;

impl Leading {
    /// The zxid for the next write.
    pub fn next_zxid(&self, core: &Core) -> Option<Zxid> {
        self.established()?;
        let last = core.marks.submitted.max(Zxid::new(self.epoch, 0));
        (last.counter() < LAST_COUNTER).then(|| last.successor()).flatten()
    }

    /// Our own transactions up to `upto` are in the log's hands: the followers get them.
    pub fn submitted(&mut self, core: &mut Core, upto: Zxid, out: &mut Vec<Action>) -> Next {
        let first = self.next_zxid(core).filter(|&first| first <= upto && upto.epoch() == self.epoch);
        let first =
            first.unwrap_or_else(|| panic!("{upto} was submitted in {:?} of {:?}", self.phase, core.marks));
        core.history.extend(first, upto);
        core.marks.submitted = upto;
        for (&link, learner) in &mut self.learners {
            if learner.stage >= Stage::Syncing && !learner.info.observer {
                out.push(Action::Stream { link, flow: Flow::Proposals, after: learner.sent, upto });
                learner.sent = upto;
                learner.owing_since.get_or_insert(core.now);
            }
        }
        Next::Stay
    }

    /// A learner has something durably.
    pub fn acked(&mut self, core: &mut Core, link: Link, zxid: Zxid, out: &mut Vec<Action>) -> Next {
        let Some(learner) = self.learners.get_mut(&link) else { return Next::Stay };
        if zxid == Zxid::new(self.epoch, 0) {
            if learner.stage == Stage::Syncing {
                learner.stage = Stage::Synced;
                learner.owing_since = (learner.sent > learner.acked).then_some(core.now);
                if self.phase == Phase::Established {
                    self.up_to_date(core, link, out);
                } else {
                    self.try_establish(core, out);
                }
            }
            // Otherwise the one after UPTODATE, which means nothing.
            return self.advance(core, out);
        }
        if zxid > learner.sent {
            let fault = Fault::AckAhead { sid: learner.info.sid, acked: zxid, proposed: learner.sent };
            out.push(Action::Report(fault));
            return Next::Stay;
        }
        if zxid > learner.acked {
            learner.acked = zxid;
            learner.owing_since = (learner.sent > zxid).then_some(core.now);
        }
        self.advance(core, out)
    }

    /// The initial history is committed once a quorum has it.
    pub fn try_establish(&mut self, core: &mut Core, out: &mut Vec<Action>) {
        let me = core.config.me;
        let has = |sid| sid == me || self.synced(sid).is_some();
        if self.phase != Phase::Synchronizing || !core.config.members.is_quorum(has) {
            return;
        }
        self.phase = Phase::Established;
        core.timers.clear(Timer::Phase);
        core.commit(self.initial, out);
        out.push(Action::Lead(self.epoch));
        core.established(self.epoch, State::Leading, out);
        for link in self.links() {
            self.up_to_date(core, link, out);
        }
    }

    /// Acknowledged up to here, if this voter has taken the history over.
    fn synced(&self, sid: ringkeeper_engine::id::Sid) -> Option<Zxid> {
        let learner = self.learners.values().find(|learner| learner.info.sid == sid)?;
        (learner.voter && learner.stage >= Stage::Synced).then_some(learner.acked)
    }

    /// It may serve, and hears of what was committed meanwhile.
    fn up_to_date(&mut self, core: &Core, link: Link, out: &mut Vec<Action>) {
        if let Some(learner) = self.learners.get_mut(&link)
            && learner.stage == Stage::Synced
        {
            learner.stage = Stage::Serving;
            out.push(Action::Send(link, ToLearner::UpToDate));
        }
        self.tell(core, link, out);
    }

    fn tell(&mut self, core: &Core, link: Link, out: &mut Vec<Action>) {
        let upto = core.marks.committed;
        if let Some(learner) = self.learners.get_mut(&link)
            && learner.stage == Stage::Serving
            && learner.told < upto
        {
            let flow = if learner.info.observer { Flow::Informs } else { Flow::Commits };
            out.push(Action::Stream { link, flow, after: learner.told, upto });
            learner.told = upto;
        }
    }

    /// Commits what a quorum has.
    pub fn advance(&mut self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        if self.phase != Phase::Established {
            return Next::Stay;
        }
        let (me, durable) = (core.config.me, core.marks.durable);
        let has = |sid| if sid == me { Some(durable) } else { self.synced(sid) };
        let agreed = core.config.members.agreed(has).unwrap_or(Zxid::ZERO).min(core.marks.submitted);
        if agreed > core.marks.committed && agreed.epoch() == self.epoch {
            core.commit(agreed, out);
            for link in self.links() {
                self.tell(core, link, out);
                self.try_sync(core, link, out);
            }
            if agreed.counter() == LAST_COUNTER {
                out.push(Action::Report(Fault::CounterSpent(self.epoch)));
                return Next::Look;
            }
        }
        Next::Stay
    }

    /// Pings, and parts with those that are silent; gives up without a quorum.
    pub fn tick(&mut self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        if core.timers.take_due(Timer::Phase, core.now) {
            out.push(Action::Report(Fault::TooLong { phase: self.phase_name() }));
            return Next::Look;
        }
        if !core.timers.take_due(Timer::Ping, core.now) {
            return Next::Stay;
        }
        core.timers.set(Timer::Ping, core.now + core.config.tick_ms / 2);
        let (init, sync) =
            (core.config.init_limit * core.config.tick_ms, core.config.sync_limit * core.config.tick_ms);
        let last = core.marks.submitted.max(Zxid::new(self.epoch, 0));
        for link in self.links() {
            let Some(learner) = self.learners.get(&link) else { continue };
            let limit = if learner.stage < Stage::Synced { init } else { sync };
            let owing = learner.owing_since.is_some_and(|since| core.now.saturating_sub(since) > limit);
            if core.now.saturating_sub(learner.heard) > limit {
                self.expel(link, Fault::Silent(learner.info.sid), out);
            } else if owing {
                self.expel(link, Fault::Stalled(learner.info.sid), out);
            } else if learner.stage >= Stage::Syncing {
                out.push(Action::Send(link, ToLearner::Ping(last)));
            }
        }
        self.outvoted(core, out)
    }

    /// Without a synchronised quorum nothing can be committed any more, and no learner that left could come back.
    pub fn outvoted(&self, core: &Core, out: &mut Vec<Action>) -> Next {
        let me = core.config.me;
        let alive = |sid| sid == me || self.synced(sid).is_some();
        if self.phase == Phase::Established && !core.config.members.is_quorum(alive) {
            out.push(Action::Report(Fault::NoQuorum));
            return Next::Look;
        }
        Next::Stay
    }
}
