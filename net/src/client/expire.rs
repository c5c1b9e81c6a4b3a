//! What happens because time has passed: sessions expire, and connections that never said what they want are closed.
//!
//! Only who decides for all lets sessions expire (quorum reference 5.8). A learner parts with the connection of a silent
//! session and with nothing else.

use super::conn::Phase;
use super::{Admission, Now, Outbox, Proposer, Role, Service, Upstream};
use crate::admin::Counter;

impl Service {
    /// This server did not run for so many milliseconds: what clients said meanwhile it could not hear, so that time is
    /// not held against them.
    pub fn stood_still(&mut self, ms: u64) {
        self.sessions.postpone(ms);
    }

    /// Does what time demands: ends sessions that are due, a bounded number per call, and closes connections that
    /// did not shake hands. To be called when [`Service::next_deadline`] has come.
    pub fn tick(&mut self, now: Now, out: &mut impl Outbox, log: &mut (impl Proposer + Upstream)) {
        while let Some(&(deadline, key)) = self.handshakes.front() {
            let fresh = self.conns.find(key).filter(|&at| self.conns.get(at).phase == Phase::Fresh);
            match fresh {
                Some(_) if deadline > now.mono_ms => break,
                Some(at) => {
                    self.metrics.add(Counter::SessionlessExpired, 1);
                    self.close_conn(at, out);
                }
                None => {}
            }
            self.handshakes.pop_front();
        }
        self.probe(now, log);
        if self.admission == Admission::Closed || !self.can_propose() {
            return;
        }
        for _ in 0..self.options.max_expired_per_tick {
            if let Some(slot) = self.orphans.pop() {
                self.propose_close(now, slot, log);
            } else if let Some(slot) = self.sessions.next_due(now.mono_ms) {
                if self.role == Role::Learner {
                    self.part_with(slot, out);
                    continue;
                }
                self.counters.expired += 1;
                self.metrics.add(Counter::SessionsExpired, 1);
                if self.sessions.get(slot).local {
                    self.session_closed(self.sessions.get(slot).id, out);
                } else {
                    self.propose_close(now, slot, log);
                }
            } else {
                break;
            }
        }
    }

    /// A learner's client has been silent for as long as its session may be. Whether that lives is the leader's to say: it
    /// may have moved, and left a connection behind whose end never came. That would stay for ever.
    fn part_with(&mut self, session: u32, out: &mut impl Outbox) {
        self.sessions.let_rest(session);
        if let Some(at) = self.sessions.get(session).conn.and_then(|key| self.conns.find(key)) {
            self.close_conn(at, out);
        }
    }

    /// When [`Service::tick`] has something to do, in milliseconds of the monotonic clock; perhaps in the past.
    pub fn next_deadline(&self) -> Option<u64> {
        let handshake = self.handshakes.front().map(|&(deadline, _)| deadline);
        let sessions = match self.admission {
            Admission::Closed => None,
            _ if !self.can_propose() => None,
            _ if !self.orphans.is_empty() => Some(0),
            _ => self.sessions.next_deadline(),
        };
        [self.doubt.map(|_| 0), handshake, sessions].into_iter().flatten().min()
    }
}
