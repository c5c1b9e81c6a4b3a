//! What is different for an observer: committed transactions come whole, as INFORM, and none is acknowledged.
//!
//! An observer takes the history over as a follower does, and logs what it is told, so that it can come back by a
//! short DIFF. It has no vote: `election` lets it only join. Only `following` calls this.

use ringkeeper_engine::id::Zxid;

use super::action::Action;
use super::fault::Fault;
use super::following::{Following, lost};
use super::{Core, Next};

impl Following {
    /// A transaction that is committed. Around NEWLEADER one may come twice.
    pub fn inform(&mut self, core: &mut Core, zxid: Zxid, out: &mut Vec<Action>) -> Next {
        if !core.observes() {
            return lost(Fault::OutOfPhase { phase: "following" }, out);
        }
        if zxid <= core.history.last() {
            return self.commit(core, zxid, out);
        }
        match self.log(core, zxid, out) {
            Next::Stay => self.commit(core, zxid, out),
            next => next,
        }
    }
}
