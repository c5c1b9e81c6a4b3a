//! The role of a learner, follower or observer: it finds its leader, promises the epoch, takes the history over
//! (`sync_learner`), and then logs, acknowledges and applies what the leader says.
//!
//! What a leader does wrong ends the role, never the process: the next election begins with what is durable. Only
//! `Zab` calls this.

use ringkeeper_engine::id::{Epoch, Sid, Zxid};
use ringkeeper_engine::log::Epochs;
use ringkeeper_engine::mutant::{Mutant, planted};

use super::action::Action;
use super::event::{Event, FromLeader, Link};
use super::fault::Fault;
use super::timer::Timer;
use super::view::Stretch;
use super::{Core, Next};
use crate::wire::quorum::payload::LearnerInfo;

/// A refused connection is tried again after so many milliseconds: the leader opens its port only when it knows.
const RETRY_MS: u64 = 20;

/// After so many milliseconds of refused connections the election is taken to be void: somebody who leads has
/// opened its port by then.
const REFUSED_MS: u64 = 1000;

/// How far the learner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until the leader's port answers.
    Connecting,
    /// Until LEADERINFO.
    Introduced,
    /// Until the accepted epoch is durable.
    Promising,
    /// Until DIFF, TRUNC or SNAP.
    Accepted,
    /// Until it is durable that our own data is not to be trusted, because a snapshot takes its place.
    Doubting(Zxid),
    /// Until the log is cut.
    Cutting(Zxid),
    /// Until the snapshot is there.
    Loading,
    /// Until NEWLEADER.
    Receiving,
    /// Until everything up to here is durable.
    Flushing(Zxid),
    /// Until the current epoch is.
    Adopting,
    /// Until UPTODATE.
    Synced,
    /// Clients are served.
    Serving,
}

/// A server that has a leader, or hopes so.
#[derive(Debug)]
pub(super) struct Following {
    pub leader: Sid,
    pub phase: Phase,
    pub link: Option<Link>,
    /// The leader's epoch, once it is known.
    pub epoch: Epoch,
    /// The leader is of our kind.
    pub ours: bool,
    /// COMMITs have come up to here; they are passed on when serving begins.
    pub committed: Zxid,
    /// Acknowledged up to here.
    pub acked: Zxid,
    /// When it began to connect.
    began: u64,
}

impl Following {
    pub fn begin(core: &mut Core, leader: Sid, out: &mut Vec<Action>) -> Following {
        // A leader that is followed in vain again and again is not to be flooded.
        let delay = match core.failures {
            0 => 0,
            n => (RETRY_MS << n.min(6)).min(REFUSED_MS),
        };
        match delay {
            0 => out.push(Action::Connect(leader)),
            _ => core.timers.set(Timer::Connect, core.now + delay),
        }
        let following = Following {
            leader,
            phase: Phase::Connecting,
            link: None,
            epoch: Epoch(0),
            ours: false,
            committed: core.marks.committed,
            acked: Zxid::ZERO,
            began: core.now + delay,
        };
        core.timers.set(Timer::Phase, following.began + core.config.connect_limit * core.config.tick_ms);
        following
    }

    /// Whether the epoch was accepted.
    pub fn accepted(&self) -> bool {
        !matches!(self.phase, Phase::Connecting | Phase::Introduced | Phase::Promising)
    }

    /// Whether NEWLEADER was acknowledged.
    pub fn adopted(&self) -> bool {
        matches!(self.phase, Phase::Synced | Phase::Serving)
    }

    /// Whether clients could be served.
    pub fn served(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// Closes the connection.
    pub fn leave(&self, out: &mut Vec<Action>) {
        out.extend(self.link.map(Action::Disconnect));
    }

    pub fn handle(&mut self, core: &mut Core, event: Event, out: &mut Vec<Action>) -> Next {
        match event {
            Event::Tick => self.tick(core, out),
            Event::Connected(link) if self.phase == Phase::Connecting => self.introduce(core, link, out),
            Event::Connected(link) | Event::Learner(link, _) => {
                out.push(Action::Disconnect(link));
                Next::Stay
            }
            Event::ConnectFailed if self.phase == Phase::Connecting => self.refused(core, out),
            Event::Leader(link, packet) if self.link == Some(link) => {
                if !matches!(self.phase, Phase::Cutting(_) | Phase::Loading | Phase::Doubting(_)) {
                    self.heard(core);
                }
                self.packet(core, link, packet, out)
            }
            // Something on the way, a forwarded port for instance, accepts connections before the leader does.
            Event::Closed(link) if self.link == Some(link) && self.phase == Phase::Introduced => {
                (self.link, self.phase) = (None, Phase::Connecting);
                self.refused(core, out)
            }
            Event::Closed(link) if self.link == Some(link) => {
                self.link = None;
                core.gone = Some(self.leader);
                lost(Fault::LeaderGone(self.leader), out)
            }
            Event::Flowing(link) if self.link == Some(link) => {
                self.heard(core);
                Next::Stay
            }
            Event::EpochsDurable(_) => self.promised(core, out),
            Event::Durable(_) => self.durable(core, out),
            Event::Truncated(proof) => self.cut(core, proof.get(), out),
            Event::TruncateImpossible => self.cannot_cut(core, out),
            Event::SnapshotLoaded(_) => self.loaded(core),
            Event::SnapshotAbandoned => lost(Fault::LeaderGone(self.leader), out),
            Event::Submitted(_) => panic!("no leader, yet {event:?}"),
            _ => Next::Stay,
        }
    }

    pub fn stretch(&self) -> Stretch {
        match self.phase {
            Phase::Connecting | Phase::Introduced | Phase::Promising => Stretch::Discovery,
            Phase::Serving => Stretch::Broadcast,
            _ => Stretch::Synchronization,
        }
    }

    /// The leader shows life; the limit is the longer one until the history has been taken over.
    pub fn heard(&self, core: &mut Core) {
        let ticks = match self.phase {
            Phase::Synced | Phase::Serving => core.config.sync_limit,
            _ => core.config.init_limit,
        };
        core.timers.set(Timer::Phase, core.now + ticks * core.config.tick_ms);
    }

    fn refused(&self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        if core.now >= self.began + REFUSED_MS {
            return lost(Fault::Unreachable(self.leader), out);
        }
        core.timers.set(Timer::Connect, core.now + RETRY_MS);
        Next::Stay
    }

    fn tick(&mut self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        if core.timers.take_due(Timer::Phase, core.now) {
            let fault = match self.phase {
                Phase::Connecting => Fault::Unreachable(self.leader),
                _ => Fault::Silent(self.leader),
            };
            return lost(fault, out);
        }
        if core.timers.take_due(Timer::Connect, core.now) {
            out.push(Action::Connect(self.leader));
        }
        Next::Stay
    }

    fn introduce(&mut self, core: &mut Core, link: Link, out: &mut Vec<Action>) -> Next {
        core.timers.clear(Timer::Connect);
        (self.link, self.phase) = (Some(link), Phase::Introduced);
        self.heard(core);
        let info = LearnerInfo {
            sid: core.config.me,
            accepted: core.epochs.get().accepted,
            config_version: core.config.config_version,
            observer: core.observes(),
            ours: true,
        };
        out.push(Action::Introduce(link, info));
        Next::Stay
    }

    fn packet(&mut self, core: &mut Core, link: Link, packet: FromLeader, out: &mut Vec<Action>) -> Next {
        match (packet, self.phase) {
            (FromLeader::LeaderInfo(epoch, ours), Phase::Introduced) => {
                (self.epoch, self.ours) = (epoch, ours);
                self.invited(core, link, out)
            }
            (FromLeader::Diff(_) | FromLeader::Trunc(_) | FromLeader::Snap(_), Phase::Accepted) => {
                self.head(core, link, packet, out)
            }
            (FromLeader::Proposal(zxid), Phase::Receiving) => self.history(core, zxid, out),
            // Later an observer gets no PROPOSAL, and no COMMIT but of what it has.
            (
                FromLeader::Proposal(_),
                Phase::Flushing(_) | Phase::Adopting | Phase::Synced | Phase::Serving,
            ) if core.observes() => Next::Stay,
            (
                FromLeader::Commit(zxid),
                Phase::Flushing(_) | Phase::Adopting | Phase::Synced | Phase::Serving,
            ) if core.observes() && zxid > core.history.last() => Next::Stay,
            (FromLeader::Proposal(_), Phase::Flushing(_) | Phase::Adopting | Phase::Synced)
                if planted(Mutant::Zk1367LostBeforeUpToDate) =>
            {
                Next::Stay
            }
            (FromLeader::Proposal(zxid), Phase::Flushing(_) | Phase::Adopting | Phase::Synced) => {
                self.history(core, zxid, out)
            }
            (FromLeader::Proposal(zxid), Phase::Serving) => self.log(core, zxid, out),
            (
                FromLeader::Commit(zxid),
                Phase::Receiving | Phase::Flushing(_) | Phase::Adopting | Phase::Synced | Phase::Serving,
            ) => self.commit(core, zxid, out),
            (
                FromLeader::Inform(zxid),
                Phase::Receiving | Phase::Flushing(_) | Phase::Adopting | Phase::Synced | Phase::Serving,
            ) => self.inform(core, zxid, out),
            (FromLeader::CommitAndActivate(zxid, leader), _) => {
                let next = self.packet(core, link, FromLeader::Commit(zxid), out);
                self.redesignated(leader, next, out)
            }
            (FromLeader::InformAndActivate(zxid, leader), _) => {
                let next = self.packet(core, link, FromLeader::Inform(zxid), out);
                self.redesignated(leader, next, out)
            }
            (FromLeader::NewLeader(epoch), Phase::Receiving) => self.new_leader(core, epoch, out),
            (FromLeader::UpToDate, Phase::Synced) => self.up_to_date(core, link, out),
            (FromLeader::Ping(zxid), Phase::Serving) => {
                out.push(Action::Pong(link, zxid));
                Next::Stay
            }
            (FromLeader::Ping(_), _) => Next::Stay,
            (FromLeader::UpToDate, Phase::Serving) => {
                out.push(Action::Report(Fault::OutOfPhase { phase: "broadcast" }));
                Next::Stay
            }
            _ => lost(Fault::OutOfPhase { phase: "following" }, out),
        }
    }

    /// A reconfiguration names who leads from now on: another one has to be found like any leader.
    fn redesignated(&self, leader: Sid, next: Next, out: &mut Vec<Action>) -> Next {
        if next == Next::Stay && leader != self.leader {
            return lost(Fault::Redesignated(leader), out);
        }
        next
    }

    fn invited(&mut self, core: &mut Core, link: Link, out: &mut Vec<Action>) -> Next {
        let accepted = core.epochs.get().accepted;
        if self.epoch < accepted {
            return lost(Fault::OldEpoch { proposed: self.epoch, accepted }, out);
        }
        if self.epoch > accepted && !planted(Mutant::Zk335PromiseNotDurable) {
            self.phase = Phase::Promising;
            core.persist(Epochs { accepted: self.epoch, ..core.epochs.get() }, out);
        } else {
            // Promised before: once is enough for a quorum.
            self.accept(core, link, None, out);
        }
        Next::Stay
    }

    fn accept(&mut self, core: &Core, link: Link, current: Option<Epoch>, out: &mut Vec<Action>) {
        self.phase = Phase::Accepted;
        let untrusted = core.epochs.get().nonvoting && !planted(Mutant::Zk261EmptyServerVotes);
        out.push(Action::AckEpoch {
            link,
            promised: core.epochs,
            last: if untrusted { Zxid::from_raw(-1) } else { core.durable.get() },
            current: current.filter(|_| !untrusted),
        });
    }

    fn promised(&mut self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        let Some(link) = self.link else { return Next::Stay };
        match self.phase {
            Phase::Promising => self.accept(core, link, Some(core.epochs.get().current), out),
            Phase::Doubting(zxid) => self.receive(core, link, zxid, out),
            Phase::Flushing(_) if planted(Mutant::Zk4643EpochBeforeHistory) => self.try_adopt(core, out),
            Phase::Adopting => {
                self.phase = Phase::Synced;
                self.heard(core);
                out.push(Action::AckNewLeader { link, history: core.durable, epochs: core.epochs });
                self.acknowledge(core, out);
            }
            _ => {}
        }
        Next::Stay
    }

    /// A transaction that is not known to be committed.
    pub fn log(&mut self, core: &mut Core, zxid: Zxid, out: &mut Vec<Action>) -> Next {
        let last = core.history.last();
        if planted(Mutant::Zk1367LostBeforeUpToDate) && zxid > last {
            core.append(zxid, out);
            return Next::Stay;
        }
        let begins = zxid.epoch() > last.epoch() && zxid.counter() != 1;
        // The leader's epoch is the newest there is; what it proposes belongs to it, from the first transaction on.
        if !core.history.continues_with(zxid)
            || zxid.epoch() > self.epoch
            || (zxid.epoch() < self.epoch && self.phase != Phase::Receiving)
            || (zxid.epoch() == self.epoch && begins)
        {
            return lost(Fault::Gap { got: zxid, last }, out);
        }
        if begins {
            out.push(Action::Report(Fault::EpochStart { got: zxid, last }));
        }
        core.append(zxid, out);
        Next::Stay
    }

    /// The oldest transaction that is not committed yet is, now. It may be applied when serving has begun.
    pub fn commit(&mut self, core: &mut Core, zxid: Zxid, out: &mut Vec<Action>) -> Next {
        if zxid <= self.committed {
            return Next::Stay;
        }
        if core.history.after(self.committed) != Some(zxid) {
            return lost(Fault::CommitOrder { got: zxid, committed: self.committed }, out);
        }
        self.committed = zxid;
        if self.phase == Phase::Serving {
            core.commit(zxid, out);
        }
        Next::Stay
    }

    fn durable(&mut self, core: &mut Core, out: &mut Vec<Action>) -> Next {
        match self.phase {
            Phase::Flushing(_) => {
                if planted(Mutant::Zk4685AckBeforeNewLeader) {
                    self.acknowledge(core, out);
                }
                self.try_adopt(core, out);
            }
            Phase::Synced | Phase::Serving => self.acknowledge(core, out),
            _ => {}
        }
        Next::Stay
    }

    /// ACKs what became durable. Observers acknowledge no transaction.
    pub fn acknowledge(&mut self, core: &Core, out: &mut Vec<Action>) {
        let upto = core.durable;
        if let Some(link) = self.link
            && !core.observes()
            && upto.get() > self.acked
        {
            out.push(Action::Ack { link, after: self.acked, upto, ours: self.ours });
            self.acked = upto.get();
        }
    }
}

/// The role ends.
pub(super) fn lost(fault: Fault, out: &mut Vec<Action>) -> Next {
    out.push(Action::Report(fault));
    Next::Look
}
