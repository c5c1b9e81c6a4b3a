//! A small deterministic world for several cores: ordered connections, disks that flush when they like, crashes,
//! partitions. One seed decides everything. After every commit the world checks what must never be wrong.

mod checks;
mod member;
mod perform;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringkeeper_engine::id::{Epoch, Sid, Zxid};

use super::Config;
use super::event::{Event, FromLeader, FromLearner, Link};
use super::quorum::Membership;
use crate::wire::election::Notification;
use checks::Checks;
pub use member::{Io, Member};

/// A transaction: its zxid, and a value that no other has.
pub type Txn = (Zxid, u64);

/// What is under way on a connection.
#[derive(Debug, Clone)]
pub enum Packet {
    Leader(FromLeader, Option<u64>),
    Snapshot(Vec<Txn>),
    Learner(FromLearner),
    Closed,
}

/// A quorum connection.
#[derive(Debug)]
pub struct Conn {
    pub leader: Sid,
    pub learner: Sid,
    pub to_leader: VecDeque<Packet>,
    pub to_learner: VecDeque<Packet>,
    pub closed_by: Option<Sid>,
}

/// Synchronisations seen, by their first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    Empty,
    Diff,
    DiskDiff,
    Trunc,
    TruncDiff,
    Snap,
    Merged,
    SnapAndMore,
}

pub struct World {
    pub rng: fastrand::Rng,
    pub now: u64,
    pub members: BTreeMap<Sid, Member>,
    pub membership: Membership,
    pub conns: BTreeMap<Link, Conn>,
    next_link: u64,
    next_value: u64,
    /// The newest unsent word of one member to another.
    words: BTreeMap<(Sid, Sid), Notification>,
    /// The last word, sent again over a new connection.
    last_words: BTreeMap<(Sid, Sid), Notification>,
    /// Pairs that cannot talk now.
    pub cut: BTreeSet<(Sid, Sid)>,
    /// What somebody has delivered.
    pub agreed: Vec<Txn>,
    pub leaders: BTreeMap<Epoch, Sid>,
    pub paths: BTreeSet<Path>,
    /// Members that are taken for Apache servers by their leader.
    pub apache: BTreeSet<Sid>,
    pub checks: Checks,
    /// The pauses of elections: announcement, longest one, wait for objections.
    pub pauses: (u64, u64, u64),
    /// Clients write all the time.
    busy: bool,
}

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Word(Sid, Sid),
    ToLeader(Link),
    ToLearner(Link),
    Io(Sid),
    Tick(Sid),
    Propose(Sid),
}

impl World {
    /// Voters 1 to `voters`, observers from 101 on.
    pub fn new(seed: u64, voters: i64, observers: i64) -> World {
        let all = (1..=voters).chain(101..101 + observers).map(Sid);
        let membership =
            Membership::majority((1..=voters).map(Sid), (101..101 + observers).map(Sid)).unwrap();
        World {
            rng: fastrand::Rng::with_seed(seed),
            now: 0,
            members: all.map(|sid| (sid, Member::default())).collect(),
            membership,
            conns: BTreeMap::new(),
            next_link: 0,
            next_value: 0,
            words: BTreeMap::new(),
            last_words: BTreeMap::new(),
            cut: BTreeSet::new(),
            agreed: Vec::new(),
            leaders: BTreeMap::new(),
            paths: BTreeSet::new(),
            apache: BTreeSet::new(),
            checks: Checks::default(),
            pauses: (20, 160, 20),
            busy: true,
        }
    }

    /// Six or seven voters in three groups, of random weights, and an observer.
    pub fn grouped(seed: u64) -> World {
        let mut world = World::new(seed, 6 + (seed % 2) as i64, 1);
        let rng = &mut world.rng;
        let weights = world.membership.voters().map(|sid| {
            let weight = if sid.0 <= 3 { rng.u64(1..3) } else { rng.u64(0..4) };
            (sid, (sid.0 % 3, weight))
        });
        let weights = weights.collect();
        world.membership = Membership::hierarchical(world.membership.voters(), [Sid(101)], weights).unwrap();
        world
    }

    pub fn sids(&self) -> Vec<Sid> {
        self.members.keys().copied().collect()
    }

    pub fn config(&self, me: Sid) -> Config {
        Config {
            me,
            members: self.membership.clone(),
            config_version: 0,
            tick_ms: 100,
            init_limit: 10,
            connect_limit: 10,
            sync_limit: 5,
            announce_ms: self.pauses.0,
            announce_max_ms: self.pauses.1,
            finalize_ms: self.pauses.2,
            force_snapshot: false,
        }
    }

    pub fn start_all(&mut self) {
        for sid in self.sids() {
            self.start(sid);
        }
    }

    /// Old words to it are said again: the connections are new.
    pub fn start(&mut self, sid: Sid) {
        if self.members[&sid].zab.is_some() {
            return;
        }
        let (config, seed) = (self.config(sid), self.rng.u64(..));
        let mut out = Vec::new();
        self.members.get_mut(&sid).unwrap().start(config, seed, self.now, &mut out);
        for (&pair, &said) in self.last_words.iter().filter(|((_, to), _)| *to == sid) {
            self.words.insert(pair, said);
        }
        self.perform(sid, out, None);
    }

    /// It loses everything but what is durable, and perhaps a part of the rest.
    pub fn crash(&mut self, sid: Sid) {
        let rng = &mut self.rng;
        self.members.get_mut(&sid).unwrap().crash(rng);
        self.words.retain(|&(from, to), _| from != sid && to != sid);
        self.last_words.retain(|&(from, _), _| from != sid);
        let of = |conn: &Conn| conn.leader == sid || conn.learner == sid;
        let links: Vec<Link> =
            self.conns.iter().filter(|(_, conn)| of(conn)).map(|(&link, _)| link).collect();
        for link in links {
            self.close(link, sid);
        }
    }

    /// `by` closes its end. What it had sent may arrive or not.
    pub fn close(&mut self, link: Link, by: Sid) {
        let lossy = self.rng.bool();
        let Some(conn) = self.conns.get_mut(&link) else { return };
        let (mine, theirs) = if conn.leader == by {
            (&mut conn.to_leader, &mut conn.to_learner)
        } else {
            (&mut conn.to_learner, &mut conn.to_leader)
        };
        mine.clear();
        if conn.closed_by.is_some_and(|other| other != by) {
            self.conns.remove(&link);
        } else if conn.closed_by.is_none() {
            conn.closed_by = Some(by);
            if lossy {
                theirs.clear();
            }
            theirs.push_back(Packet::Closed);
        }
    }

    fn can_talk(&self, a: Sid, b: Sid) -> bool {
        !self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn steps(&self) -> Vec<Step> {
        let alive = |sid: &Sid| self.members.get(sid).is_some_and(|member| member.zab.is_some());
        let mut steps = Vec::new();
        steps.extend(
            self.words
                .keys()
                .filter(|&(from, to)| self.can_talk(*from, *to) && alive(to))
                .map(|&(from, to)| Step::Word(from, to)),
        );
        for (&link, conn) in &self.conns {
            if !self.can_talk(conn.leader, conn.learner) {
                continue;
            }
            if alive(&conn.leader) && !conn.to_leader.is_empty() {
                steps.push(Step::ToLeader(link));
            }
            let reads = match conn.to_learner.front() {
                Some(Packet::Snapshot(_)) => self.members[&conn.learner].receiving.is_some(),
                Some(Packet::Closed) => true,
                Some(_) => self.members[&conn.learner].reads(),
                None => false,
            };
            if alive(&conn.learner) && reads {
                steps.push(Step::ToLearner(link));
            }
        }
        for (&sid, member) in &self.members {
            let Some(zab) = &member.zab else { continue };
            if !member.io.is_empty() {
                steps.push(Step::Io(sid));
            }
            if zab.deadline().is_some_and(|at| at <= self.now) {
                steps.push(Step::Tick(sid));
            }
            if self.busy && zab.next_zxid().is_some() && self.rng.clone().u8(..) < 60 {
                steps.push(Step::Propose(sid));
            }
        }
        steps
    }

    /// One thing happens, or time passes.
    pub fn step(&mut self) {
        let steps = self.steps();
        if steps.is_empty() || self.rng.u8(..) < 20 {
            let next = self.members.values().filter_map(|member| member.zab.as_ref()?.deadline()).min();
            let soon = self.now + self.rng.u64(1..5);
            self.now = if steps.is_empty() { next.unwrap_or(soon).max(soon) } else { soon };
            return;
        }
        match steps[self.rng.usize(0..steps.len())] {
            Step::Word(from, to) => {
                let notification = self.words.remove(&(from, to)).unwrap();
                self.event(to, Event::Notified { from, notification }, None);
            }
            Step::ToLeader(link) => self.deliver(link, true),
            Step::ToLearner(link) => self.deliver(link, false),
            Step::Io(sid) => self.io(sid),
            Step::Tick(sid) => self.event(sid, Event::Tick, None),
            Step::Propose(sid) => {
                self.propose(sid);
            }
        }
    }

    /// A client writes something at `sid`, which leads.
    pub fn propose(&mut self, sid: Sid) -> Txn {
        let member = self.members.get_mut(&sid).unwrap();
        let zxid = member.zab.as_ref().unwrap().next_zxid().unwrap();
        self.next_value += 1;
        let txn = (zxid, self.next_value);
        member.append(txn);
        self.check_proposed(txn);
        self.event(sid, Event::Submitted(zxid), None);
        txn
    }

    fn deliver(&mut self, link: Link, to_leader: bool) {
        let Some(conn) = self.conns.get_mut(&link) else { return };
        let (queue, sid) = match to_leader {
            true => (&mut conn.to_leader, conn.leader),
            false => (&mut conn.to_learner, conn.learner),
        };
        let Some(packet) = queue.pop_front() else { return };
        match packet {
            Packet::Leader(packet, value) => self.event(sid, Event::Leader(link, packet), value),
            Packet::Learner(packet) => self.event(sid, Event::Learner(link, packet), None),
            Packet::Snapshot(txns) => self.members.get_mut(&sid).unwrap().snapshot_arrived(link, txns),
            Packet::Closed => {
                self.conns.remove(&link);
                self.event(sid, Event::Closed(link), None);
            }
        }
    }

    /// Random faults, then peace, then everybody must agree. Returns what was agreed.
    pub fn run(&mut self, steps: usize, faults: bool) {
        for _ in 0..steps {
            if faults && self.rng.u16(..) < 300 {
                self.fault();
            }
            self.step();
        }
        self.heal();
    }

    fn fault(&mut self) {
        let sids = self.sids();
        let sid = sids[self.rng.usize(0..sids.len())];
        match self.rng.u8(0..8) {
            0 | 1 if self.members[&sid].zab.is_some() => self.crash(sid),
            0..=2 => self.start(sid),
            3 => {
                let other = sids[self.rng.usize(0..sids.len())];
                self.cut.insert((sid.min(other), sid.max(other)));
            }
            4 => self.cut.clear(),
            5 => {
                if let Some(&link) = self.conns.keys().nth(self.rng.usize(0..4)) {
                    let by =
                        if self.rng.bool() { self.conns[&link].leader } else { self.conns[&link].learner };
                    self.close(link, by);
                    if self.members[&by].zab.is_some() {
                        self.event(by, Event::Closed(link), None);
                    }
                }
            }
            6 => self.make_snapshot(sid),
            _ => {
                let rng = &mut self.rng;
                let some = |rng: &mut fastrand::Rng, member: &Member| {
                    let all = member.content();
                    if all.is_empty() { Zxid::ZERO } else { all[rng.usize(0..all.len())].0 }
                };
                if self.members[&sid].zab.is_some() {
                    let reach = (some(rng, &self.members[&sid]), some(rng, &self.members[&sid]));
                    self.members.get_mut(&sid).unwrap().reach = reach;
                }
            }
        }
    }

    /// All are up and connected; soon they have one leader and one history.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.start_all();
        self.busy = false;
        let mut last = None;
        for _ in 0..60_000 {
            self.step();
            let leader = self.leader();
            // One that is under way may take long among many; one that an election cut off is lost.
            if let Some(sid) = leader.filter(|_| self.rng.u8(..) < 8)
                && last.is_none_or(|txn| !self.members[&sid].content().contains(&txn))
            {
                last = Some(self.propose(sid));
            }
            let done = last.is_some_and(|txn| self.agreed.contains(&txn));
            if done && self.members.values().all(|member| member.delivered() == self.agreed.len()) {
                self.busy = true;
                return;
            }
        }
        let behind = |(_, member): &(&Sid, &Member)| member.delivered() != self.agreed.len();
        let behind: Vec<_> = self.members.iter().filter(behind).collect();
        panic!("no agreement on {last:?} after the faults: {behind:?} {:?}", self.conns);
    }

    pub fn leader(&self) -> Option<Sid> {
        let mut leading = self.members.iter().filter(|(_, member)| {
            member.zab.as_ref().is_some_and(|zab| zab.leads().is_some() && zab.next_zxid().is_some())
        });
        leading.next_back().map(|(&sid, _)| sid)
    }
}
