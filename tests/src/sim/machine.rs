//! A server: a disk that outlives it, a process that may end at any time, and a clock that goes wrong.
//!
//! A turn of the process is what the replica loop of the product does in one, step by step.

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::io::Volume;
use ringkeeper_engine::io::sim::{Completion, Crash, Pick, SimDisk};
use ringkeeper_engine::log::Space;
use ringkeeper_engine::snapshot::{Origin, Published};
use ringkeeper_engine::store::{self, OnDamage};
use ringkeeper_net::client::{ConnKey, FromFront, Now, Options, Outbox, Service};
use ringkeeper_net::member::{Counts, EnsembleParts, Fatal, Member, Parts, Request, Status, WorkDone};
use ringkeeper_net::node::ensemble::{self, Trust};
use ringkeeper_net::wire::election::Notification;
use ringkeeper_net::zab::event::Link;

use super::client::Sent;
use super::judge::{Seen, Witness};
use super::plan::Plan;
use super::work::{LANES, Lane};
use super::{Event, MS, World};

/// Milliseconds since 1970 at the beginning of every run.
const WALL_MS: i64 = 1_795_285_959_208;
/// After an overload no session expires for so many milliseconds, as in the product.
const EXPIRY_GRACE_MS: u64 = 2000;

/// A server.
#[derive(Debug)]
pub struct Machine {
    pub sid: Sid,
    pub disk: SimDisk,
    pub process: Option<Process>,
    /// Counts processes.
    pub incarnation: u32,
    /// How wrong its clock goes, in parts per million.
    drift_ppm: i64,
    /// Its writes take so many times as long as they should.
    pub slow: u64,
    /// It takes no turn before this time.
    pub paused_until: u64,
    /// The disk holds nothing yet, or nothing any more.
    pub blank: bool,
    /// It has lost its data in this run.
    pub wiped: bool,
    /// One of its next writes fails.
    pub faulty_disk: bool,
    /// What the judge remembers of it, whatever becomes of its process.
    pub witness: Witness,
}

/// A running server.
#[derive(Debug)]
pub struct Process {
    pub member: Member,
    /// When it was started, in microseconds of the world.
    started: u64,
    /// What its clock showed then, in microseconds.
    base_us: u64,
    drift_ppm: i64,
    /// When it takes its next turn.
    pub turn_at: u64,
    pub inbox: VecDeque<Input>,
    pub outputs: Outputs,
    /// Its quorum port is open.
    pub listening: bool,
    /// What is done for it beside its loop.
    pub lanes: [Lane; LANES],
    /// Writes of which the completion is planned.
    pub in_flight: BTreeSet<u64>,
    log_deadline: Option<u64>,
    expiry_from: u64,
    /// The attempt to connect that counts.
    pub dial: u64,
    pub seen: Seen,
    /// How it has synchronised learners so far.
    pub counts: Counts,
}

/// What waits for a turn.
#[derive(Debug)]
pub enum Input {
    Word(Sid, Notification),
    Connected(Link),
    ConnectFailed,
    Client(ConnKey, Sent),
    Done(WorkDone),
}

/// What a server sends to clients.
#[derive(Debug, Default)]
pub struct Outputs(pub Vec<(ConnKey, Option<Vec<u8>>)>);

impl Outbox for Outputs {
    fn send(&mut self, conn: ConnKey, frame: &[u8]) {
        self.0.push((conn, Some(frame.to_vec())));
    }

    fn close(&mut self, conn: ConnKey) {
        self.0.push((conn, None));
    }
}

impl Machine {
    pub fn new(plan: &Plan, index: usize, rng: &mut fastrand::Rng) -> Machine {
        Machine {
            sid: plan.sid(index),
            disk: new_disk(rng),
            process: None,
            incarnation: 0,
            drift_ppm: if plan.drift_ppm == 0 { 0 } else { rng.i64(-plan.drift_ppm..=plan.drift_ppm) },
            slow: 1,
            paused_until: 0,
            blank: true,
            wiped: false,
            faulty_disk: false,
            witness: Witness::default(),
        }
    }

    pub fn status(&self) -> Option<Status> {
        self.process.as_ref()?.member.status()
    }

    /// For the message of a failure.
    pub fn picture(&self) -> String {
        let Some(process) = &self.process else { return format!("server {} is down", self.sid) };
        let log = process.member.log();
        format!(
            "server {}: tree {} durable {} appended {} {:?} {:?}",
            self.sid,
            process.member.service().tree().last_zxid(),
            log.durable().get(),
            log.appended(),
            log.epochs().get(),
            process.member.status(),
        )
    }
}

fn new_disk(rng: &mut fastrand::Rng) -> SimDisk {
    let disk = SimDisk::new(rng.u64(..));
    disk.set_completion(Completion::Manual);
    disk
}

impl Process {
    pub fn now(&self, world_us: u64) -> Now {
        let run = world_us - self.started;
        let mono_us = self.base_us + run.saturating_add_signed((run as i64 / 1000) * self.drift_ppm / 1000);
        Now { mono_ms: mono_us / MS, wall_ms: WALL_MS + (world_us / MS) as i64, mono_us }
    }

    /// The world's time at which its clock has reached this millisecond.
    fn when(&self, mono_ms: u64) -> u64 {
        let run = (mono_ms * MS).saturating_sub(self.base_us);
        let world = i128::from(run) * 1_000_000 / i128::from(1_000_000 + self.drift_ppm);
        self.started + world as u64 + MS
    }

    fn wakes_at(&self) -> Option<u64> {
        let service = self.member.service().next_deadline().map(|at| at.max(self.expiry_from));
        let deadline =
            [self.member.next_deadline(), service, self.log_deadline].into_iter().flatten().min()?;
        Some(self.when(deadline))
    }
}

impl World {
    /// Starts a server on what its disk holds.
    pub fn start(&mut self, index: usize) {
        if self.machines[index].process.is_some() {
            return;
        }
        let plan = &self.plan;
        let rng = &mut self.rng;
        let machine = &mut self.machines[index];
        let (log_seed, tree_seed) = (rng.u64(..), rng.u64(..));
        let disk = machine.disk.clone();
        let mut store = store::open(&disk, plan.log(log_seed), tree_seed, OnDamage::SetAside)
            .unwrap_or_else(|error| panic!("server {} does not start: {error}", machine.sid));
        store.log.prepare(&disk).expect("a simulated disk has room");
        let trust =
            if machine.blank && !machine.wiped && plan.autocreate { Trust::AutoCreate } else { Trust::No };
        ensemble::settle_trust(&mut store, &disk, &trust).expect("the epochs can be written");
        machine.blank = false;
        self.judge.recovered(machine.sid, &machine.witness, &store);
        let made = |p: &Published| matches!(p.origin(), Origin::Made { .. });
        self.coverage.restarts += u64::from(store.log.newest_snapshot().is_some_and(made));
        let options = Options {
            server_id: machine.sid.0 as u8,
            tick_ms: plan.tick_ms as u32,
            min_session_timeout_ms: 2 * plan.tick_ms as u32,
            max_session_timeout_ms: 60_000,
            max_txn_bytes: store.log.max_record(),
            ..Options::default()
        };
        let birth = ensemble::birth(&store, rng.u64(..));
        machine.incarnation += 1;
        let base_us = rng.u64(0..1 << 40);
        let process = Process {
            started: self.now,
            base_us,
            drift_ppm: machine.drift_ppm,
            turn_at: u64::MAX,
            inbox: VecDeque::new(),
            outputs: Outputs::default(),
            listening: false,
            lanes: Default::default(),
            in_flight: BTreeSet::new(),
            log_deadline: None,
            expiry_from: 0,
            dial: 0,
            seen: Seen::default(),
            counts: Counts::default(),
            member: {
                let now = Now {
                    mono_ms: base_us / MS,
                    wall_ms: WALL_MS + (self.now / MS) as i64,
                    mono_us: base_us,
                };
                let service = Service::new(store.tree, store.sessions, store.last_zxid, options, now);
                let parts = Parts {
                    service,
                    log: store.log,
                    volume: Box::new(disk),
                    tree_seed,
                    snapshots: plan.snapshots(),
                    replayed: store.report.records,
                };
                let parts_of_ensemble = EnsembleParts {
                    zab: plan.zab(machine.sid),
                    birth,
                    config_text: "version=0".into(),
                    max_packet: 1 << 20,
                    snapshot_size_factor: plan.snapshot_size_factor,
                };
                Member::in_ensemble(parts, parts_of_ensemble, now)
                    .unwrap_or_else(|error| panic!("server {} does not begin: {error}", machine.sid))
            },
        };
        machine.process = Some(process);
        self.note(|| format!("server {} starts", index + 1));
        self.observe(index);
        self.wake(index);
        self.greet(index);
    }

    /// Plans a turn as soon as the server's core may be free.
    pub fn wake(&mut self, index: usize) {
        let delay = self.rng.u64(5..150);
        self.plan_turn(index, self.now + delay);
    }

    fn plan_turn(&mut self, index: usize, at: u64) {
        let machine = &mut self.machines[index];
        let at = at.max(machine.paused_until).max(self.now);
        if let Some(process) = &mut machine.process
            && at < process.turn_at
        {
            process.turn_at = at;
            self.at(at, Event::Turn(index));
        }
    }

    /// A turn, if one is due now.
    pub fn turn(&mut self, index: usize) {
        let now = self.now;
        let machine = &mut self.machines[index];
        let Some(process) = machine.process.as_mut().filter(|process| process.turn_at == now) else { return };
        process.turn_at = u64::MAX;
        if machine.paused_until > now {
            return self.plan_turn(index, now);
        }
        let time = process.now(now);
        self.note(|| format!("turn of {} at {}", index + 1, time.mono_us));
        self.machines[index].process.as_mut().expect("alive").member.begin(time);
        self.receive(index);
        self.take_inbox(index);
        if let Err(error) = self.settle_and_seal(index) {
            let machine = &mut self.machines[index];
            assert!(machine.faulty_disk, "server {} ends: {error}", machine.sid);
            if machine.status().is_none_or(|status| !status.serving) {
                // Its log may have been cut, or replaced by a snapshot, in this very turn.
                machine.witness.durable = Zxid::ZERO;
            }
            self.note(|| format!("server {} ends: {error}", index + 1));
            return self.stop(index, false);
        }
        self.observe(index);
        self.cover(index);
        self.talk(index);
        self.take_work(index);
        self.plan_disk(index);
        self.deliver_outputs(index);
        let process = self.machines[index].process.as_ref().expect("alive");
        if let Some(at) = process.wakes_at() {
            self.plan_turn(index, at);
        }
    }

    fn take_inbox(&mut self, index: usize) {
        let process = self.machines[index].process.as_mut().expect("alive");
        let Process { member, inbox, outputs, .. } = process;
        let mut later = VecDeque::new();
        for input in inbox.drain(..) {
            match input {
                Input::Word(from, said) => member.notified(from, said, outputs),
                Input::Connected(link) => member.connected(link, outputs),
                Input::ConnectFailed => member.connect_failed(outputs),
                Input::Done(done) => member.work_done(done, outputs),
                Input::Client(..) if member.is_overloaded() => later.push_back(input),
                Input::Client(conn, what) => {
                    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
                    let event = match &what {
                        Sent::Open => FromFront::Open { conn, peer },
                        Sent::Frame(frame) => FromFront::Frame { conn, bytes: &frame.0 },
                        Sent::Gone => FromFront::Gone { conn },
                    };
                    member.client(event, outputs);
                }
            }
        }
        *inbox = later;
    }

    fn settle_and_seal(&mut self, index: usize) -> Result<(), Fatal> {
        let machine = &mut self.machines[index];
        let process = machine.process.as_mut().expect("alive");
        let Process { member, outputs, .. } = process;
        let disk = &mut machine.disk;
        member.settle(disk, outputs)?;
        member.take_durable();
        let now_ms = member.now().mono_ms;
        if member.is_overloaded() {
            process.expiry_from = now_ms + EXPIRY_GRACE_MS;
        }
        if member.service().next_deadline().is_some_and(|at| at.max(process.expiry_from) <= now_ms) {
            member.tick_clients(outputs);
        }
        process.log_deadline = member.seal(disk, outputs)?;
        let (space, log) = (member.log().space(), member.log_mut());
        while let Some(name) = log.removal_wanted() {
            // What an interrupted start has removed already is no more there.
            let _ = disk.remove(&name);
            disk.sync_dir().expect("a simulated disk works");
        }
        while let Some(wanted) = log.segment_wanted() {
            wanted.perform(disk).expect("a simulated disk has room");
            log.segment_prepared(&wanted.name);
        }
        let space = if space == Space::Ok { space } else { log.space() };
        member.set_write_admission(space, false);
        Ok(())
    }

    /// Plans the completion of what was handed to the disk.
    fn plan_disk(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        let process = machine.process.as_mut().expect("alive");
        let tags: Vec<u64> =
            machine.disk.in_flight().into_iter().filter(|&tag| process.in_flight.insert(tag)).collect();
        let (incarnation, slow) = (machine.incarnation, machine.slow);
        for tag in tags {
            let took = self.rng.u64(60..900) * slow;
            self.after(took, Event::Disk { machine: index, incarnation, tag });
        }
    }

    /// A write is on the medium.
    pub fn disk_done(&mut self, index: usize, incarnation: u32, tag: u64) {
        let machine = &mut self.machines[index];
        if machine.incarnation != incarnation {
            return;
        }
        if let Some(process) = &mut machine.process {
            process.in_flight.remove(&tag);
            machine.disk.complete(tag);
            self.wake(index);
        }
    }

    /// A server is no more. `power`: neither are its machine and what was not flushed.
    pub fn crash(&mut self, index: usize, power: bool) {
        let seed = self.rng.u64(..);
        let harsh = self.rng.bool();
        let machine = &mut self.machines[index];
        if machine.process.take().is_none() {
            return;
        }
        machine.incarnation += 1;
        machine.paused_until = 0;
        machine.faulty_disk = false;
        machine.disk.heal();
        match (power, harsh) {
            (true, true) => machine.disk.crash(Crash::HARSH),
            (true, false) => machine.disk.crash(Crash::seeded(seed)),
            (false, _) => machine.disk.kill(Pick::Seed(seed)),
        }
        self.hang_up(index, power);
        self.clients_lose(index, power);
    }

    /// Its disk, too, is replaced by an empty one.
    pub fn wipe(&mut self, index: usize) {
        self.crash(index, true);
        let machine = &mut self.machines[index];
        machine.disk = new_disk(&mut self.rng);
        (machine.blank, machine.wiped) = (true, true);
        machine.witness.wiped();
    }

    /// Does what a member wants of its connections.
    fn talk(&mut self, index: usize) {
        let mut requests = Vec::new();
        let process = self.machines[index].process.as_mut().expect("alive");
        process.member.take_requests(&mut requests);
        process.listening = process.member.leads();
        for request in requests {
            match request {
                Request::Notify(to, said) => self.tell(index, to, said),
                Request::Connect(to) => self.dial(index, to),
                Request::Close(link) => self.close(index, link),
            }
        }
        self.send(index);
    }
}
