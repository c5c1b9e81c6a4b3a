//! How a learner takes the leader's history over (quorum reference 4.9): the history durable, then the current epoch
//! durable, then the ACK of NEWLEADER, and no earlier acknowledgement of anything.
//!
//! Transactions are logged as they come; whatever part of them is durable when a synchronisation breaks off is a
//! part of the leader's history and does no harm in the next election. Nothing is applied before UPTODATE, so that
//! no client sees what no quorum has. Where a snapshot ends before our own log does, going on without the rest would
//! forget what was acknowledged: until NEWLEADER is, this member is not to be trusted, and says so durably first.

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::log::Epochs;
use ringkeeper_engine::mutant::{Mutant, planted};

use super::action::Action;
use super::event::{FromLeader, Link};
use super::fault::Fault;
use super::following::{Following, Phase, lost};
use super::{Core, Next};
use crate::wire::election::State;

impl Following {
    /// DIFF, TRUNC or SNAP.
    pub fn head(&mut self, core: &mut Core, link: Link, packet: FromLeader, out: &mut Vec<Action>) -> Next {
        let last = core.history.last();
        let untrusted = core.epochs.get().nonvoting && !planted(Mutant::Zk261EmptyServerVotes);
        match packet {
            // Nothing has such a zxid; a negative one counts as a very late epoch.
            FromLeader::Diff(zxid) | FromLeader::Trunc(zxid) | FromLeader::Snap(zxid)
                if zxid.epoch() > self.epoch =>
            {
                return lost(Fault::Gap { got: zxid, last }, out);
            }
            FromLeader::Snap(zxid) if zxid < last && !untrusted => {
                self.phase = Phase::Doubting(zxid);
                core.lent_trust = true;
                core.persist(Epochs { nonvoting: true, ..core.epochs.get() }, out);
            }
            FromLeader::Snap(zxid) => self.receive(core, link, zxid, out),
            _ if untrusted => return lost(Fault::NeedsSnapshot, out),
            // What we have of its own epoch is its own, and comes again if it is not committed: it may count on that
            // already, and must not lose it even for a moment.
            FromLeader::Trunc(to) if to < last && last.epoch() == self.epoch => {
                self.phase = Phase::Receiving;
                self.committed = core.marks.committed.max(to);
            }
            FromLeader::Trunc(to) if to < last => {
                self.phase = Phase::Cutting(to);
                core.cutting = true;
                out.push(Action::Truncate(to));
            }
            FromLeader::Trunc(to) if to > last => return lost(Fault::CutMissed { to, last }, out),
            FromLeader::Diff(end) => {
                self.phase = Phase::Receiving;
                self.committed = core.marks.committed.max(end.min(last));
            }
            _ => {
                self.phase = Phase::Receiving;
                self.committed = last;
            }
        }
        Next::Stay
    }

    /// The log is cut, durably. If it lacks the very transaction it was cut to, it ends earlier than the leader
    /// believes: what is left is told in another round.
    pub fn cut(&mut self, core: &Core, last: Zxid, out: &mut Vec<Action>) -> Next {
        let Phase::Cutting(to) = self.phase else { return Next::Stay };
        if last != to && !planted(Mutant::Zk1156CutsTooMuch) {
            return lost(Fault::CutMissed { to, last }, out);
        }
        self.phase = Phase::Receiving;
        self.committed = core.history.last();
        Next::Stay
    }

    /// Nothing old enough is there to cut to. Only a snapshot helps, and until then nobody may count on us.
    pub fn cannot_cut(&mut self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        core.persist(Epochs { nonvoting: true, ..core.epochs.get() }, out);
        lost(Fault::NeedsSnapshot, out)
    }

    pub fn receive(&mut self, core: &mut Core, link: Link, zxid: Zxid, out: &mut Vec<Action>) {
        self.phase = Phase::Loading;
        core.receiving = true;
        // How long a snapshot takes depends on its size: what counts is that it comes.
        self.heard(core);
        out.push(Action::ReceiveSnapshot(link, zxid));
    }

    pub fn loaded(&mut self, core: &mut Core) -> Next {
        if self.phase == Phase::Loading {
            self.phase = Phase::Receiving;
            self.heard(core);
            self.committed = core.history.last();
        }
        Next::Stay
    }

    /// A PROPOSAL before UPTODATE. A snapshot may hold it already, and around NEWLEADER one may come twice.
    pub fn history(&mut self, core: &mut Core, zxid: Zxid, out: &mut Vec<Action>) -> Next {
        if zxid <= core.history.last() {
            return Next::Stay;
        }
        self.log(core, zxid, out)
    }

    pub fn new_leader(&mut self, core: &mut Core, epoch: Epoch, out: &mut Vec<Action>) -> Next {
        if epoch != self.epoch {
            return lost(Fault::OldEpoch { proposed: epoch, accepted: self.epoch }, out);
        }
        self.phase = Phase::Flushing(core.history.last());
        if planted(Mutant::Zk4643EpochBeforeHistory) {
            core.persist(Epochs { current: self.epoch, nonvoting: false, ..core.epochs.get() }, out);
            return Next::Stay;
        }
        self.try_adopt(core, out);
        Next::Stay
    }

    /// Adopts the epoch when the history is durable.
    pub fn try_adopt(&mut self, core: &mut Core, out: &mut Vec<Action>) {
        if let Phase::Flushing(target) = self.phase
            && (core.durable.get() >= target || planted(Mutant::Zk4646AckBeforeHistory))
        {
            self.phase = Phase::Adopting;
            // Before the epoch's own transactions there is only its initial history, which needs no ACK.
            let initial = core.history.floor(Zxid::new(self.epoch, 0)).unwrap_or(core.history.base());
            self.acked = initial.max(self.committed).min(core.durable.get());
            core.persist(Epochs { current: self.epoch, nonvoting: false, ..core.epochs.get() }, out);
        }
    }

    /// A quorum has the initial history: it is committed, and clients may be served.
    pub fn up_to_date(&mut self, core: &mut Core, link: Link, out: &mut Vec<Action>) -> Next {
        self.phase = Phase::Serving;
        core.fresh = false;
        out.push(Action::AckNewLeader { link, history: core.durable, epochs: core.epochs });
        let initial = core.history.floor(Zxid::new(self.epoch, 0)).unwrap_or(core.history.base());
        self.committed = self.committed.max(initial);
        core.commit(self.committed, out);
        out.push(Action::Serve(self.leader, self.epoch));
        let state = if core.observes() { State::Observing } else { State::Following };
        core.established(self.epoch, state, out);
        Next::Stay
    }
}
