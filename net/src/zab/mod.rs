//! The protocol core of an ensemble: election, discovery, synchronisation, broadcast, in ZooKeeper's own protocols.
//!
//! [`Zab::handle`] takes one [`Event`] and the time, and appends [`Action`]s. It opens no socket, writes no file,
//! reads no clock and starts no thread; what must be durable before something is said is asked for, and said when
//! the proof comes back. So a simulator runs exactly this code.
//!
//! Where to read: `election` finds a leader, `leading` and `following` are the two roles; the leader fixes the
//! epoch in `discovery`, chooses how each learner is synchronised in [`sync_leader`], and commits in `broadcast`; a
//! learner takes the leader's history over in `sync_learner` and lives on with it in `following`. `check` asserts
//! after every event what must hold within one server, [`view`] is for operators. `paper.rs` tests the guarantees
//! (`RINGKEEPER_ZAB_SEEDS` says over how many seeds), `tests` single events.
//!
//! `net::member` drives it and does what it wishes.

pub mod action;
mod broadcast;
mod check;
mod discovery;
mod election;
pub mod event;
pub mod fault;
mod following;
pub mod history;
mod leading;
pub mod marks;
mod observer;
pub mod packet;
#[cfg(test)]
mod paper;
pub mod quorum;
#[cfg(test)]
mod sim;
pub mod sync_leader;
mod sync_learner;
#[cfg(test)]
mod tests;
pub mod timer;
pub mod view;
mod vote;

use std::collections::BTreeMap;

use ringkeeper_engine::id::{Epoch, Sid, Zxid};
use ringkeeper_engine::log::{Durable, Epochs};
use ringkeeper_engine::mutant::{Mutant, planted};

use crate::wire::election::{Notification, State};
use action::Action;
use election::Looking;
use event::{Birth, Event};
use fault::Fault;
use following::Following;
use history::History;
use leading::Leading;
use marks::Marks;
use quorum::Membership;
use timer::{Timer, Timers};
use vote::Vote;

/// What never changes while a core lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Own id, one of the members.
    pub me: Sid,
    /// All of them.
    pub members: Membership,
    /// Version of the configuration; 0 for static files.
    pub config_version: i64,
    /// The unit of the two limits, in milliseconds.
    pub tick_ms: u64,
    /// Ticks for discovery and synchronisation.
    pub init_limit: u64,
    /// Ticks for connecting to a leader.
    pub connect_limit: u64,
    /// Ticks for a sign of life.
    pub sync_limit: u64,
    /// A vote is announced again after this many milliseconds, then after twice as many, and so on.
    pub announce_ms: u64,
    /// But at least so often.
    pub announce_max_ms: u64,
    /// A quorum for a vote counts when nothing better came for so many milliseconds.
    pub finalize_ms: u64,
    /// Learners get snapshots whatever they have.
    pub force_snapshot: bool,
}

/// What all roles share.
#[derive(Debug)]
struct Core {
    config: Config,
    now: u64,
    timers: Timers,
    epochs: Durable<Epochs>,
    durable: Durable<Zxid>,
    history: History,
    marks: Marks,
    window: Zxid,
    cheap_from: Zxid,
    sendable: Zxid,
    /// The current vote, told to everybody who asks.
    vote: Vote,
    /// The logical clock of elections.
    round: i64,
    fresh: bool,
    rng: fastrand::Rng,
    /// Wishes whose fulfilment has not been told yet.
    persisting: bool,
    cutting: bool,
    receiving: bool,
    /// The trust in our own data was withdrawn for a snapshot that has not come yet.
    lent_trust: bool,
    /// The leader whose connection broke and of which nothing was heard since.
    gone: Option<Sid>,
    /// So many leaders were followed in vain, one after the other.
    failures: u32,
    /// The newest word of each member that spoke while we could not vote.
    unheard: BTreeMap<Sid, Notification>,
}

/// What a role wants to become.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Stay,
    /// Back to an election, for a reason that was reported.
    Look,
    Follow(Sid),
    Lead,
}

#[derive(Debug)]
enum Role {
    /// Between two elections: what was asked of the disk must be done, because a vote names what is durable.
    Settling,
    Looking(Looking),
    Following(Box<Following>),
    Leading(Box<Leading>),
}

/// The protocol core of one server.
#[derive(Debug)]
pub struct Zab {
    core: Core,
    role: Role,
}

impl Core {
    /// A role is established. Whoever looks for a leader hears of it, and nobody is ever sent an older word again.
    fn established(&mut self, epoch: Epoch, state: State, out: &mut Vec<Action>) {
        self.vote.peer_epoch = epoch.0.into();
        (self.gone, self.failures) = (None, 0);
        let others = self.config.members.all().filter(|&sid| sid != self.config.me);
        out.extend(others.map(|sid| Action::Notify(sid, self.vote.said_in(state))));
    }

    /// Whether this server may help to elect.
    fn trusted_voter(&self) -> bool {
        let trusted = !self.epochs.get().nonvoting || planted(Mutant::Zk261EmptyServerVotes);
        self.config.members.votes(self.config.me) && trusted
    }

    fn observes(&self) -> bool {
        !self.config.members.votes(self.config.me)
    }

    fn persist(&mut self, epochs: Epochs, out: &mut Vec<Action>) {
        assert!(!self.persisting, "one promise at a time");
        self.persisting = true;
        out.push(Action::Persist(epochs));
    }

    fn commit(&mut self, upto: Zxid, out: &mut Vec<Action>) {
        if upto > self.marks.committed {
            self.marks.committed = upto;
            out.push(Action::Commit(upto));
        }
    }

    fn append(&mut self, zxid: Zxid, out: &mut Vec<Action>) {
        self.history.push(zxid);
        self.marks.submitted = zxid;
        out.push(Action::Append(zxid));
    }

    fn settled(&self) -> bool {
        !self.persisting && !self.cutting && !self.receiving && self.durable.get() == self.marks.submitted
    }

    /// What an event changes whatever the role is. What is lowered here was asked for.
    fn note(&mut self, event: &Event) {
        match *event {
            Event::Durable(proof) => {
                assert!(proof.get() <= self.marks.submitted, "{proof:?} of {:?}", self.marks);
                self.durable = self.durable.max(proof);
                self.marks.durable = self.durable.get();
            }
            Event::EpochsDurable(proof) => {
                let (old, new) = (self.epochs.get(), proof.get());
                assert!(new.accepted >= old.accepted && new.current >= old.current, "{old:?} became {new:?}");
                assert!(new.current <= new.accepted, "{new:?}");
                self.epochs = proof;
                self.persisting = false;
            }
            Event::Truncated(proof) => {
                self.cutting = false;
                self.history.truncate(proof.get());
                self.marks.truncate(proof.get());
                self.sendable = self.sendable.min(proof.get());
                self.durable = proof;
            }
            Event::TruncateImpossible => self.cutting = false,
            Event::SnapshotLoaded(proof) => {
                (self.receiving, self.lent_trust) = (false, false);
                self.history = History::new(proof.get());
                self.marks = Marks::at(proof.get());
                self.sendable = proof.get();
                self.durable = proof;
            }
            Event::SnapshotAbandoned => self.receiving = false,
            Event::Applied(upto) => self.marks.applied = self.marks.applied.max(upto),
            Event::SnapshotMade(zxid) => self.marks.snapshot = self.marks.snapshot.max(zxid),
            Event::Purged(upto) => {
                self.marks.purged = self.marks.purged.max(upto);
                self.history.purge(upto);
            }
            Event::Reach { window, cheap_from, sendable } => {
                (self.window, self.cheap_from, self.sendable) = (window, cheap_from, sendable);
            }
            _ => {}
        }
    }
}

impl Zab {
    /// A core for a server in this state; it looks for a leader at once.
    ///
    /// # Panics
    /// When the configuration does not contain the server itself.
    pub fn new(config: Config, birth: Birth, now_ms: u64, out: &mut Vec<Action>) -> Zab {
        assert!(config.members.contains(config.me), "server {} is no member", config.me);
        let last = birth.history.last();
        let marks = Marks {
            purged: birth.history.base(),
            snapshot: birth.snapshot,
            applied: birth.applied,
            committed: birth.applied,
            durable: birth.durable.get(),
            submitted: last,
        };
        let core = Core {
            config,
            now: now_ms,
            timers: Timers::default(),
            epochs: birth.epochs,
            durable: birth.durable,
            history: birth.history,
            marks,
            window: last,
            cheap_from: Zxid::ZERO,
            sendable: birth.snapshot,
            vote: Vote::nobody(0),
            round: 0,
            fresh: birth.fresh,
            rng: fastrand::Rng::with_seed(birth.seed),
            persisting: false,
            cutting: false,
            receiving: false,
            lent_trust: false,
            gone: None,
            failures: 0,
            unheard: BTreeMap::new(),
        };
        let mut zab = Zab { core, role: Role::Settling };
        zab.settle(out);
        zab.check();
        zab
    }

    /// What happens when `event` does, at `now_ms` of a clock that never goes back.
    pub fn handle(&mut self, now_ms: u64, event: Event, out: &mut Vec<Action>) {
        self.core.now = now_ms;
        self.core.note(&event);
        let next = match event {
            Event::Notified { from, notification } => self.notified(from, &notification, out),
            Event::Reconfigured { members, version } => self.reconfigured(members, version, out),
            event => match &mut self.role {
                Role::Settling => {
                    match event {
                        Event::Submitted(_) => panic!("no leader, yet {event:?}"),
                        Event::Connected(link) | Event::Learner(link, _) => {
                            out.push(Action::Disconnect(link));
                        }
                        _ => {}
                    }
                    self.settle(out);
                    Next::Stay
                }
                Role::Looking(role) => role.handle(&mut self.core, &event, out),
                Role::Following(role) => role.handle(&mut self.core, event, out),
                Role::Leading(role) => role.handle(&mut self.core, event, out),
            },
        };
        self.turn(next, out);
        self.check();
    }

    /// When `Event::Tick` is wanted, in milliseconds of the caller's clock.
    pub fn deadline(&self) -> Option<u64> {
        self.core.timers.next()
    }

    /// How far this server is.
    pub fn marks(&self) -> Marks {
        self.core.marks
    }

    /// Which transactions the log holds.
    pub fn history(&self) -> &History {
        &self.core.history
    }

    /// What this server has promised.
    pub fn epochs(&self) -> Epochs {
        self.core.epochs.get()
    }

    /// What this server is doing, as it tells others.
    pub fn state(&self) -> State {
        match self.role {
            Role::Settling | Role::Looking(_) => State::Looking,
            Role::Following(_) if self.core.observes() => State::Observing,
            Role::Following(_) => State::Following,
            Role::Leading(_) => State::Leading,
        }
    }

    /// The zxid for the next write, if this server leads and the epoch has one left.
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.role {
            Role::Leading(role) => role.next_zxid(&self.core),
            _ => None,
        }
    }

    /// The epoch that this server leads with a quorum behind it.
    pub fn leads(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leading(role) => role.established(),
            _ => None,
        }
    }

    /// The answering service, alive in every state, and the election (quorum reference 2.7).
    fn notified(&mut self, from: Sid, said: &Notification, out: &mut Vec<Action>) -> Next {
        let Core { config, vote, round, .. } = &self.core;
        if from == config.me || !config.members.contains(from) {
            return Next::Stay;
        }
        match &mut self.role {
            Role::Looking(role) if config.members.votes(from) => {
                return role.notified(&mut self.core, from, said, out);
            }
            Role::Looking(role) => {
                out.push(Action::Notify(
                    from,
                    Vote { round: *round, ..role.proposal() }.said_in(State::Looking),
                ));
            }
            Role::Settling => {
                self.core.unheard.insert(from, *said);
            }
            Role::Leading(role) if said.state == State::Looking => {
                out.push(Action::Notify(from, vote.said_in(State::Leading)));
                return role.deserted(&self.core, from, said, out);
            }
            _ if said.state == State::Looking => {
                out.push(Action::Notify(from, vote.said_in(self.state())));
            }
            _ => {}
        }
        Next::Stay
    }

    /// Another established configuration. Other members are another ensemble: its leader has to be found.
    fn reconfigured(&mut self, members: Membership, version: i64, out: &mut Vec<Action>) -> Next {
        let config = &mut self.core.config;
        if version <= config.config_version {
            return Next::Stay;
        }
        if !members.contains(config.me) {
            out.push(Action::Report(Fault::Removed(version)));
            return Next::Stay;
        }
        config.config_version = version;
        if config.members == members {
            return Next::Stay;
        }
        config.members = members;
        out.push(Action::Report(Fault::Reconfigured(version)));
        if matches!(self.role, Role::Settling) { Next::Stay } else { Next::Look }
    }

    fn turn(&mut self, next: Next, out: &mut Vec<Action>) {
        match next {
            Next::Stay => {}
            Next::Look => {
                self.core.timers.clear_all();
                match &self.role {
                    Role::Following(role) => {
                        self.core.failures = if role.served() { 0 } else { self.core.failures + 1 };
                        role.leave(out);
                    }
                    Role::Leading(role) => role.leave(out),
                    _ => {}
                }
                out.push(Action::Retire);
                if self.core.receiving {
                    out.push(Action::AbandonSnapshot);
                }
                self.role = Role::Settling;
                self.settle(out);
            }
            Next::Follow(leader) => {
                self.core.timers.clear_all();
                self.role = Role::Following(Box::new(Following::begin(&mut self.core, leader, out)));
            }
            Next::Lead => {
                self.core.timers.clear_all();
                let (role, next) = Leading::begin(&mut self.core, out);
                self.role = Role::Leading(Box::new(role));
                self.turn(next, out);
            }
        }
    }

    /// From settling to looking, when nothing is under way any more.
    fn settle(&mut self, out: &mut Vec<Action>) {
        let core = &mut self.core;
        if !core.settled() {
            return;
        }
        if core.lent_trust {
            core.lent_trust = false;
            core.persist(Epochs { nonvoting: false, ..core.epochs.get() }, out);
            return;
        }
        let (last, epochs) = (core.history.last().epoch(), core.epochs.get());
        if last > epochs.current
            && core.history.last() > Zxid::ZERO
            && !planted(Mutant::Zk1653CrashBeforeEpoch)
        {
            // A history without holes that ends in an epoch contains the one that the epoch began with, so that this
            // is what adopting the epoch would have led to (quorum reference 3.5).
            out.push(Action::Report(Fault::EpochRaised { current: epochs.current, last }));
            core.persist(Epochs { current: last, accepted: epochs.accepted.max(last), ..epochs }, out);
            return;
        }
        if core.observes() && core.timers.next().is_none() && core.round > 0 {
            let delay = core.rng.u64(0..200);
            core.timers.set(Timer::Wake, core.now + delay);
            return;
        }
        if core.timers.is_set(Timer::Wake) && !core.timers.take_due(Timer::Wake, core.now) {
            return;
        }
        let (role, next) = Looking::begin(core, out);
        self.role = Role::Looking(role);
        let unheard = std::mem::take(&mut core.unheard);
        self.turn(next, out);
        for (from, said) in unheard {
            let next = self.notified(from, &said, out);
            self.turn(next, out);
        }
    }
}
