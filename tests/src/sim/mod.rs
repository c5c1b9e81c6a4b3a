//! A deterministic simulator of whole ensembles.
//!
//! Every server is the product's own [`Member`](ringkeeper_net::member::Member) over the product's own log, store and
//! tree on a simulated disk; only what carries it is simulated: time, connections, disks, clients. A run is a function
//! of its seed. First everything that may fail does while clients write; then all is mended, and within a bounded time
//! one leader must serve, all servers must be equal and all clients must get on.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the world, its time, the two phases |
//! | `plan` | what a seed decides before the start |
//! | `machine` | a server: disk, process, clock; one turn of it |
//! | `net` | quorum connections and election messages |
//! | `carry` | brings bytes, votes and frames from one to the other |
//! | `client` | sessions that write, read, move and give up |
//! | `judge` | what must be true whatever happens |
//! | `history` | what was proposed and committed, and the state after each transaction |
//! | `work` | file work beside a server's loop |
//! | `tap` | reads along on quorum connections |
//! | `faults` | what goes wrong, and when |
//! | `coverage` | which ways of synchronisation were taken |
//!
//! Nothing here may read a clock, iterate over a hash map or draw chance from anywhere but the seed.

mod carry;
mod client;
pub mod coverage;
mod faults;
mod history;
mod judge;
mod machine;
mod net;
pub mod plan;
pub mod run;
mod tap;
mod work;

use std::collections::BTreeMap;

use client::Client;
use coverage::Coverage;
use judge::Judge;
use machine::Machine;
use net::Net;
use plan::Plan;
use ringkeeper_net::client::ConnKey;

/// Microseconds in a millisecond.
const MS: u64 = 1000;

/// What is going to happen.
#[derive(Debug)]
enum Event {
    /// A server takes a turn.
    Turn(usize),
    /// A write of a server's disk completes.
    Disk { machine: usize, incarnation: u32, tag: u64 },
    /// A step of a server's file work is done.
    Work { machine: usize, incarnation: u32, lane: usize },
    /// Some bytes arrive at one end of a quorum connection.
    Pipe { conn: u64, to: net::Side },
    /// One end of a quorum connection notices that it is broken.
    Broken { conn: u64, at: net::Side },
    /// An election message arrives.
    Word { from: usize, to: usize, number: u64 },
    /// An attempt to connect to a leader ends.
    Dial { machine: usize, to: usize, number: u64 },
    /// A client considers what to do.
    Client(usize),
    /// Something a client has sent arrives.
    Up { machine: usize, incarnation: u32, key: ConnKey, what: client::Sent },
    /// Something a server has sent to a client arrives; `None` for the end of the connection.
    Down { client: usize, key: ConnKey, frame: Option<client::Frame> },
    /// Something goes wrong.
    Fault,
    /// A partition ends.
    Mend(net::Cut),
    /// A server that was down begins anew.
    Start(usize),
    /// A server goes down because of what it has just said.
    Stop { machine: usize, incarnation: u32, wipe: bool },
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    rng: fastrand::Rng,
    /// Microseconds since the beginning.
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    machines: Vec<Machine>,
    net: Net,
    clients: Vec<Client>,
    judge: Judge,
    coverage: Coverage,
    /// Nothing fails any more.
    calm: bool,
    /// Clients ask for nothing new.
    quiet: bool,
    /// Every event, if that was asked for.
    trace: Option<String>,
}

/// What a run was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Simulated microseconds.
    pub simulated_us: u64,
    /// Events.
    pub events: u64,
    /// Committed transactions.
    pub committed: usize,
    /// Ways of synchronisation.
    pub coverage: Coverage,
}

impl World {
    /// The world of a plan, before anything has happened.
    pub fn new(plan: Plan) -> World {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let machines = (0..plan.members()).map(|i| Machine::new(&plan, i, &mut rng)).collect();
        let clients = (0..plan.clients).map(|i| Client::new(i, &plan)).collect();
        let judge = Judge::new(&plan);
        World {
            plan,
            rng,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            machines,
            net: Net::default(),
            clients,
            judge,
            coverage: Coverage::default(),
            calm: false,
            quiet: false,
            trace: None,
        }
    }

    /// Lives through both phases.
    ///
    /// # Panics
    /// When something that must hold does not.
    pub fn run(&mut self) -> Summary {
        for machine in 0..self.machines.len() {
            let delay = self.rng.u64(0..300 * MS);
            self.after(delay, Event::Start(machine));
        }
        for client in 0..self.clients.len() {
            let delay = self.rng.u64(0..200 * MS);
            self.after(delay, Event::Client(client));
        }
        self.after(self.plan.quiet_start, Event::Fault);
        self.run_until(self.plan.faults_until);
        self.heal();
        self.converge();
        Summary {
            simulated_us: self.now,
            events: self.queued,
            committed: self.judge.history.committed(),
            coverage: self.coverage,
        }
    }

    fn run_until(&mut self, end: u64) {
        while self.step(end) {}
        self.now = end;
    }

    /// The next event, if it comes before `end`.
    fn step(&mut self, end: u64) -> bool {
        let Some(entry) = self.queue.first_entry() else { return false };
        let at = entry.key().0;
        if at > end {
            return false;
        }
        let event = entry.remove();
        self.now = at;
        if !matches!(event, Event::Turn(_)) {
            self.note(|| format!("{event:?}"));
        }
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(machine) => self.turn(machine),
            Event::Disk { machine, incarnation, tag } => self.disk_done(machine, incarnation, tag),
            Event::Work { machine, incarnation, lane } => self.work(machine, incarnation, lane),
            Event::Pipe { conn, to } => self.pipe(conn, to),
            Event::Broken { conn, at } => self.broken(conn, at),
            Event::Word { from, to, number } => self.word(from, to, number),
            Event::Dial { machine, to, number } => self.dialled(machine, to, number),
            Event::Client(client) => self.client_turn(client),
            Event::Up { machine, incarnation, key, what } => {
                self.client_sent(machine, incarnation, key, what)
            }
            Event::Down { client, key, frame } => self.client_received(client, key, frame),
            Event::Fault => self.fault(),
            Event::Mend(cut) => self.mend(cut),
            Event::Start(machine) => self.start(machine),
            Event::Stop { machine, incarnation, wipe } => {
                self.stop_at_a_bad_moment(machine, incarnation, wipe)
            }
        }
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    fn at(&mut self, time: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((time.max(self.now), self.queued), event);
    }

    /// Writes a line of the trace.
    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push_str(&format!("{:>12} {}\n", self.now, line()));
        }
    }

    /// All is well again: after some time everybody serves, clients get on, and all servers are equal.
    fn converge(&mut self) {
        let start = self.now;
        let limit = start + self.plan.patience;
        let goals: Vec<u64> = self.clients.iter().map(|client| client.writes() + 3).collect();
        while !(self.all_serve()
            && self.clients.iter().zip(&goals).all(|(client, &goal)| client.writes() >= goal))
        {
            let end = self.now + 20 * MS;
            assert!(
                end < limit,
                "no service {} ms after the last fault: {}",
                (self.now - start) / MS,
                self.picture()
            );
            self.run_until(end);
        }
        self.quiet = true;
        while !self.all_equal() {
            let end = self.now + 20 * MS;
            assert!(
                end < limit + self.plan.patience,
                "not equal {} ms after the last fault: {}",
                (self.now - start) / MS,
                self.picture()
            );
            self.run_until(end);
        }
        self.judge_the_end();
    }

    /// Whether one leader serves and all others follow it, in one epoch.
    fn all_serve(&self) -> bool {
        let mut statuses = self.machines.iter().map(|machine| machine.status());
        let Some(Some(first)) = statuses.next() else { return false };
        first.serving
            && statuses.all(|other| {
                other.is_some_and(|it| it.serving && (it.leader, it.epoch) == (first.leader, first.epoch))
            })
    }

    /// Whether nothing is under way any more and all servers have applied the same.
    fn all_equal(&self) -> bool {
        let applied = |machine: &Machine| {
            let member = &machine.process.as_ref()?.member;
            let last = member.service().tree().last_zxid();
            let idle = member.log().appended() == last && member.log().durable().get() == last;
            idle.then_some(last)
        };
        let first = applied(&self.machines[0]);
        self.all_serve()
            && first.is_some()
            && self.machines.iter().all(|machine| applied(machine) == first)
            && self.clients.iter().all(Client::is_idle)
    }

    /// For the message of a failure.
    fn picture(&self) -> String {
        let mut text = String::new();
        for machine in &self.machines {
            text.push_str(&format!("\n  {}", machine.picture()));
        }
        for client in &self.clients {
            text.push_str(&format!("\n  {}", client.picture()));
        }
        text
    }
}
