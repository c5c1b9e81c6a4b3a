//! A member as one deterministic state machine: the protocol core, the log, the tree with its clients, and the bytes
//! that go between members.
//!
//! [`Member`] is everything a server *is*, without what carries it: no socket, no thread, no clock. The core loop
//! (`node`) feeds it with clients' frames, bytes from quorum connections, votes, disk completions and time, and
//! performs what it asks for ([`Member::take_requests`], [`Member::next_chunk`]); the simulator does the same with
//! simulated ones. A standalone node is a member without a protocol core: what is durable is committed.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the state, the entry points |
//! | `perform` | what the protocol core wishes, done in order |
//! | `packets` | what other members send |
//! | `apply` | from the log to the tree |
//! | `making`, `policy` | snapshots of the own state, and when old ones are given up |
//! | `sending` | SNAP to learners |
//! | `receiving` | SNAP from the leader; what waits for the log to be at rest |
//! | `work` | what others do for it, off the loop |
//! | `links`, `queue` | one FIFO queue per connection |
//! | `ledger` | the log as the service sees it |
//! | `ending` | what is over: connections, and all of it |
//!
//! What it must never do: apply what is not committed, acknowledge what is not durable (the proofs are typed), or wait.
//! In this form epochs and cuts are written on the caller's thread.

mod apply;
mod ending;
mod fatal;
mod ledger;
mod links;
mod making;
mod packets;
mod perform;
pub mod policy;
mod queue;
mod receiving;
mod sending;
mod status;
#[cfg(test)]
mod tests;
pub mod work;

use std::collections::VecDeque;

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::io::{Disk, Volume, WriteDone};
use ringkeeper_engine::log::{Cursor, Durable, Log, Space};

use crate::client::{Admission, ConnKey, FromFront, Now, Outbox, Service};
use crate::peer::Chunk;
use crate::wire::election::{Notification, State};
use crate::zab::action::Action;
use crate::zab::event::{Birth, Event, Link};
use crate::zab::{self, Zab};
use ledger::Ledger;
use links::Links;
use making::Making;
use policy::SnapshotPolicy;
use receiving::Job;

pub use fatal::Fatal;
pub use making::MakingStatus;
pub use status::{Counts, Status, Transfers};
pub use work::{Doing, Work, WorkDone, image};

/// Transactions that wait to be applied above which no more requests are read, in bytes.
const BACKLOG: usize = 8 << 20;
/// Bytes that wait for the disk above which nothing more is read from the leader: the disk may be full.
const WAITING: u64 = 32 << 20;
/// Bytes that wait to be sent to the leader above which no more requests are read.
const FORWARDING: usize = 4 << 20;

/// What a member wants of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Tell this member how we vote.
    Notify(Sid, Notification),
    /// Connect to the quorum port of this member; answered by [`Member::connected`] or [`Member::connect_failed`].
    Connect(Sid),
    /// Close this connection; nothing of it is reported any more.
    Close(Link),
}

/// What a member is made of.
#[derive(Debug)]
pub struct Parts {
    /// Clients, and the tree as far as the log was replayed.
    pub service: Service,
    /// Recovered.
    pub log: Log,
    /// Where the log lives.
    pub volume: Box<dyn Volume>,
    /// Keys the hashes of trees that are made anew.
    pub tree_seed: u64,
    /// When snapshots are made, and how many are kept.
    pub snapshots: SnapshotPolicy,
    /// Transactions behind the newest snapshot that were read back from the log.
    pub replayed: u64,
}

/// What a member of an ensemble is made of besides.
#[derive(Debug)]
pub struct EnsembleParts {
    /// The protocol.
    pub zab: zab::Config,
    /// What the log holds.
    pub birth: Birth,
    /// The configuration as text, for NEWLEADER.
    pub config_text: String,
    /// Longest packet that is taken from other members, in bytes of data.
    pub max_packet: usize,
    /// A learner that misses more than this share of the tree's size gets a snapshot.
    pub snapshot_size_factor: f64,
}

/// The clients of a member that has just begun: there are none.
struct Nobody;

impl Outbox for Nobody {
    fn send(&mut self, _: ConnKey, _: &[u8]) {}

    fn close(&mut self, _: ConnKey) {}
}

/// One server.
#[derive(Debug)]
pub struct Member {
    service: Service,
    ledger: Ledger,
    volume: Box<dyn Volume>,
    tree_seed: u64,
    /// Behind the last transaction in the tree.
    cursor: Cursor,
    ensemble: Option<Box<Ensemble>>,
    making: Making,
    /// Snapshots that were begun to be received.
    receptions: u64,
    now: Now,
    done: Vec<WriteDone>,
    /// Durable and not yet told to whoever drives this.
    newly_durable: Option<Durable<Zxid>>,
    /// Why this member cannot go on.
    failed: Option<Fatal>,
}

/// What makes a member of a server.
#[derive(Debug)]
struct Ensemble {
    zab: Zab,
    links: Links,
    /// The connection to the leader.
    up: Option<Link>,
    /// Something that has to wait for the log to be at rest.
    job: Option<Job>,
    requests: Vec<Request>,
    /// What is still to be told to the core.
    events: VecDeque<Event>,
    /// Connections over which a synchronisation got on since the core was told last.
    flowing: Vec<Link>,
    /// Kept so that it needs no memory anew.
    actions: Vec<Action>,
    config_text: String,
    snapshot_size_factor: f64,
    /// Committed up to here, as far as the protocol has said.
    committed: Zxid,
    /// Clients are answered.
    serving: bool,
    /// How we were synchronised last.
    taken: links::Synchronisation,
    counts: status::Counts,
    /// What the operator was told last of a wait for a leader: untrusted or not, for whom, when.
    told_of_wait: Option<(bool, Vec<Sid>, u64)>,
    /// Since when clients are answered, or are not, in milliseconds.
    since_ms: u64,
    /// The connection that was asked for last is being made.
    dialing: bool,
    /// The process is about to end: nothing is said or heard any more.
    ending: bool,
}

impl Ensemble {
    /// An attempt to connect, asked for or under way, is void.
    fn forget_dial(&mut self) {
        self.dialing = false;
        self.requests.retain(|request| !matches!(request, Request::Connect(_)));
    }

    /// Bytes of a synchronisation get through.
    fn flows(&mut self, link: Link) {
        if !self.flowing.contains(&link) {
            self.flowing.push(link);
        }
    }
}

impl Member {
    /// A node that stands alone.
    pub fn alone(parts: Parts, now: Now) -> Member {
        let Parts { service, log, volume, tree_seed, snapshots, replayed } = parts;
        let cursor = log.cursor(service.tree().last_zxid().max(log.durable().get()));
        Member {
            service,
            ledger: Ledger::new(log),
            volume,
            tree_seed,
            cursor,
            ensemble: None,
            making: Making::new(snapshots, tree_seed, replayed, now.mono_ms),
            receptions: 0,
            now,
            done: Vec::new(),
            newly_durable: None,
            failed: None,
        }
    }

    /// A member of an ensemble; it looks for a leader at once.
    pub fn in_ensemble(parts: Parts, ensemble: EnsembleParts, now: Now) -> Result<Member, Fatal> {
        let EnsembleParts { zab, birth, config_text, max_packet, snapshot_size_factor } = ensemble;
        let mut member = Member::alone(parts, now);
        member.cursor = member.ledger.log.cursor(member.service.tree().last_zxid());
        let committed = birth.applied;
        let mut actions = Vec::new();
        let zab = Zab::new(zab, birth, now.mono_ms, &mut actions);
        member.service.retire(&mut Nobody);
        member.ensemble = Some(Box::new(Ensemble {
            zab,
            links: Links::new(max_packet),
            up: None,
            job: None,
            requests: Vec::new(),
            events: VecDeque::new(),
            flowing: Vec::new(),
            actions: Vec::new(),
            config_text,
            snapshot_size_factor,
            committed,
            serving: false,
            taken: links::Synchronisation::default(),
            counts: status::Counts::default(),
            told_of_wait: None,
            since_ms: now.mono_ms,
            dialing: false,
            ending: false,
        }));
        member.perform(actions, None, &mut Nobody)?;
        member.drain_events(&mut Nobody)?;
        Ok(member)
    }

    /// Begins a turn.
    pub fn begin(&mut self, now: Now) {
        self.now = now;
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Whether clients' requests should wait until the disk or the leader has caught up.
    pub fn is_overloaded(&self) -> bool {
        self.ledger.backlog > BACKLOG || self.forwarding() > FORWARDING
    }

    fn forwarding(&self) -> usize {
        let unsent = |e: &Ensemble| Some(e.links.get(e.up?)?.queue.bytes());
        self.ensemble.as_ref().and_then(|e| unsent(e)).unwrap_or(0)
    }

    /// Takes in what a front reports.
    pub fn client(&mut self, event: FromFront<'_>, out: &mut impl Outbox) {
        let (service, mut seam) = self.seam();
        let now = seam.now;
        service.handle(now, event, out, &mut seam);
    }

    /// A member says how it votes.
    pub fn notified(&mut self, from: Sid, notification: Notification, out: &mut impl Outbox) {
        self.drive(Event::Notified { from, notification }, None, out);
    }

    /// The connection asked for stands.
    pub fn connected(&mut self, link: Link, out: &mut impl Outbox) {
        let Some(ensemble) = &mut self.ensemble else { return };
        if ensemble.ending || !std::mem::take(&mut ensemble.dialing) {
            // It comes of an attempt that was given up since.
            return ensemble.requests.push(Request::Close(link));
        }
        ensemble.links.connected(link);
        ensemble.up = Some(link);
        self.drive(Event::Connected(link), None, out);
    }

    /// It could not be made.
    pub fn connect_failed(&mut self, out: &mut impl Outbox) {
        if self.ensemble.as_mut().is_some_and(|ensemble| std::mem::take(&mut ensemble.dialing)) {
            self.drive(Event::ConnectFailed, None, out);
        }
    }

    /// Whether whoever connected to the quorum port has said who it is.
    pub fn is_introduced(&self, link: Link) -> bool {
        self.ensemble.as_ref().and_then(|e| e.links.get(link)).is_some_and(links::Connection::is_introduced)
    }

    /// A quorum connection is gone.
    pub fn closed(&mut self, link: Link, out: &mut impl Outbox) {
        if self.forget(link) {
            self.drive(Event::Closed(link), None, out);
        }
    }

    /// Forgets a connection; false if it was forgotten already.
    fn forget(&mut self, link: Link) -> bool {
        let Some(ensemble) = &mut self.ensemble else { return false };
        ensemble.up = ensemble.up.filter(|&up| up != link);
        ensemble.links.remove(link).is_some()
    }

    /// The next piece to be sent over a quorum connection.
    pub fn next_chunk(&mut self, link: Link) -> Option<Chunk> {
        let ensemble = self.ensemble.as_mut()?;
        match ensemble.links.next_chunk(link, &self.ledger.log, &*self.volume) {
            Ok(chunk) => {
                if chunk.is_some() && ensemble.links.get(link).is_some_and(|c| c.syncing) {
                    ensemble.flows(link);
                }
                chunk
            }
            Err(error) => {
                self.failed.get_or_insert(error.into());
                None
            }
        }
    }

    /// Whether more should be received from a quorum connection.
    pub fn reads(&self, link: Link) -> bool {
        let Some(ensemble) = self.ensemble.as_ref().filter(|e| e.up == Some(link)) else { return true };
        ensemble.job.as_ref().is_none_or(Job::reads) && self.ledger.log.waiting_bytes() <= WAITING
    }

    /// Moves what is wanted of the network to `into`.
    pub fn take_requests(&mut self, into: &mut Vec<Request>) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.dialing |= ensemble.requests.iter().any(|it| matches!(it, Request::Connect(_)));
            into.append(&mut ensemble.requests);
        }
    }

    /// Whether the quorum port must be open.
    pub fn leads(&self) -> bool {
        self.ensemble.as_ref().is_some_and(|e| e.zab.state() == State::Leading && !e.ending)
    }

    /// Takes in what the disk and time have brought: commits, applies and answers.
    ///
    /// # Errors
    /// When the member cannot go on; the process must end.
    pub fn settle<D: Disk + ?Sized>(&mut self, disk: &mut D, out: &mut impl Outbox) -> Result<(), Fatal> {
        let mut done = std::mem::take(&mut self.done);
        disk.reap(&mut done);
        let mut durable = None;
        for write in done.drain(..) {
            durable = self.ledger.log.on_done(write)?.or(durable);
        }
        self.done = done;
        if let Some(proof) = durable {
            self.newly_durable = Some(proof);
            if let Some(ensemble) = &self.ensemble {
                if !ensemble.serving && self.ledger.backlog > BACKLOG {
                    // It is applied when serving begins, and can be read back then.
                    self.ledger.log.release(proof.get());
                }
                self.drive(Event::Durable(proof), None, out);
            } else {
                self.apply(proof.get(), out)?;
            }
        }
        self.try_job(out);
        self.look_after_snapshots(out);
        while let Some(link) = self.ensemble.as_mut().and_then(|e| e.flowing.pop()) {
            self.drive(Event::Flowing(link), None, out);
        }
        self.service.resume_held(self.now, out);
        if self.ensemble.as_ref().is_some_and(|e| e.zab.deadline().is_some_and(|at| at <= self.now.mono_ms)) {
            self.drive(Event::Tick, None, out);
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Ends sessions that are due and whatever else the clients' side does by the clock.
    pub fn tick_clients(&mut self, out: &mut impl Outbox) {
        let (service, mut seam) = self.seam();
        let now = seam.now;
        service.tick(now, out, &mut seam);
    }

    /// Hands what was proposed to the followers and to the disk, at the end of a turn. Returns when to be called again
    /// at the latest, in milliseconds.
    ///
    /// # Errors
    /// When the member cannot go on; the process must end.
    pub fn seal<D: Disk + ?Sized>(
        &mut self,
        disk: &mut D,
        out: &mut impl Outbox,
    ) -> Result<Option<u64>, Fatal> {
        self.tell_submitted(out);
        if let Some(error) = self.ledger.refused.take() {
            return Err(error.into());
        }
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.ledger.log.seal(disk)?;
        Ok(self.ledger.log.tick(self.now.mono_ms, disk)?)
    }

    /// The last transactions that became durable since the last call.
    pub fn take_durable(&mut self) -> Option<Durable<Zxid>> {
        self.newly_durable.take()
    }

    /// When a turn has something to do if nothing happens, in milliseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        let snapshots = self.next_snapshot_look();
        let Some(ensemble) = &self.ensemble else { return snapshots };
        match () {
            () if !ensemble.requests.is_empty() => Some(self.now.mono_ms),
            () if ensemble.ending => None,
            () => ensemble.zab.deadline().into_iter().chain(snapshots).min(),
        }
    }

    /// Clients, sessions and tree.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// As [`Member::service`], to be changed.
    pub fn service_mut(&mut self) -> &mut Service {
        &mut self.service
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.ledger.log
    }

    /// The log, for those who look after its segments.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.ledger.log
    }

    /// Says which writes are taken from now on, judged by the log's space.
    pub fn set_write_admission(&mut self, space: Space, no_segments: bool) {
        // Only a segment that cannot be made is a reason to refuse. One that is being made is worth a wait.
        let admission = match space {
            Space::Reserve if no_segments => Admission::SessionsOnly,
            Space::None if no_segments => Admission::Closed,
            _ => Admission::Open,
        };
        self.service.set_write_admission(admission);
    }

    /// Whether everything proposed is durable and answered.
    pub fn is_settled(&self) -> bool {
        self.ledger.log.is_idle()
    }

    /// Ends the log in good order.
    ///
    /// # Errors
    /// When the log cannot write its mark.
    pub fn close_log(self) -> Result<(), Fatal> {
        self.ledger.log.close(&*self.volume).map_err(Fatal::Log)
    }
}
