//! Brings bytes, votes and attempts to connect from one server to another.

use ringkeeper_engine::id::Sid;
use ringkeeper_net::wire::election::Notification;
use ringkeeper_net::zab::event::Link;

use super::machine::{Input, Process};
use super::net::{Conn, Cut, Side};
use super::tap::Spoken;
use super::{Event, MS, World};

/// Bytes on their way above which a server is not asked for more.
const UNSENT: usize = 48 << 10;

impl World {
    /// What has arrived is handed to the member.
    pub fn receive(&mut self, index: usize) {
        for (conn, side) in self.net.ends_of(index) {
            let Some(it) = self.net.conns.get_mut(&conn) else { continue };
            let end = it.end(side);
            let process = self.machines[index].process.as_mut().expect("alive");
            let Process { member, outputs, .. } = process;
            if !end.open {
                continue;
            }
            if !end.arrived.is_empty() && (!end.known || member.reads(end.link)) {
                end.known = true;
                let bytes = std::mem::take(&mut end.arrived);
                member.received(end.link, &bytes, outputs);
            }
            if end.ended && end.arrived.is_empty() {
                end.open = false;
                if end.known {
                    member.closed(end.link, outputs);
                }
                self.net.tidy(conn);
            }
        }
    }

    /// Takes from the member what its connections can carry.
    pub fn send(&mut self, index: usize) {
        for (conn, side) in self.net.ends_of(index) {
            let it = self.net.conns.get_mut(&conn).expect("just listed");
            if !it.peek(side).known {
                continue;
            }
            let link = it.peek(side).link;
            let to = side.other();
            let (mut spoken, mut broken) = (Vec::new(), false);
            while it.end(to).coming.len() < UNSENT
                && let Some(chunk) =
                    self.machines[index].process.as_mut().expect("alive").member.next_chunk(link)
            {
                let machine = &self.machines[index];
                let Ok(bytes) = chunk.bytes(&machine.disk) else {
                    broken = true;
                    break;
                };
                let speaker = (machine.sid, &machine.process.as_ref().expect("alive").member);
                self.judge.overhears(&mut it.tap, side, &bytes, speaker, &mut spoken);
                if it.end(to).open {
                    it.end(to).coming.extend(&*bytes);
                }
            }
            self.plan_pipe(conn, to);
            self.hear(conn, side, &spoken);
            if broken {
                // What should have followed cannot be read: the connection is of no use any more.
                self.close(index, link);
                let Process { member, outputs, .. } = self.machines[index].process.as_mut().expect("alive");
                member.closed(link, outputs);
                self.wake(index);
            }
        }
    }

    fn plan_pipe(&mut self, conn: u64, to: Side) {
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        let from = it.peek(to.other()).machine;
        let end = it.end(to);
        if end.planned || !end.open || (end.coming.is_empty() && !end.closing) {
            return;
        }
        let target = end.machine;
        let stalled = end.stalled_until;
        if self.net.blocks(from, target) {
            return;
        }
        let end = self.net.conns.get_mut(&conn).expect("just looked up").end(to);
        end.planned = true;
        let delay = if self.rng.u8(..) < 8 { self.rng.u64(1..40) * MS } else { self.rng.u64(50..800) };
        self.at((self.now + delay).max(stalled), Event::Pipe { conn, to });
    }

    /// Some bytes arrive at one end.
    pub fn pipe(&mut self, conn: u64, to: Side) {
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        let from = it.peek(to.other()).machine;
        let end = it.end(to);
        end.planned = false;
        let (target, stalled) = (end.machine, end.stalled_until > self.now);
        if stalled || self.net.blocks(from, target) {
            return self.plan_pipe(conn, to);
        }
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        let end = it.end(to);
        let full = end.coming.len() >= UNSENT;
        let all = end.coming.len();
        let count = if all == 0 || self.rng.u8(..) < 200 { all } else { self.rng.usize(1..=all) };
        end.arrived.extend(end.coming.drain(..count));
        if end.coming.is_empty() && end.closing {
            end.ended = true;
        }
        self.plan_pipe(conn, to);
        self.wake(target);
        if full {
            self.wake(from);
        }
    }

    /// A server closes its end; what it has sent may still arrive.
    pub fn close(&mut self, index: usize, link: Link) {
        let Some((conn, side)) = self.net.find(index, link) else { return };
        let lost = self.rng.u8(0..3) == 0;
        let it = self.net.conns.get_mut(&conn).expect("just found");
        let end = it.end(side);
        (end.open, end.arrived) = (false, Vec::new());
        end.coming.clear();
        let other = it.end(side.other());
        other.closing = true;
        if lost {
            other.coming.clear();
        }
        self.plan_pipe(conn, side.other());
        self.net.tidy(conn);
    }

    /// A connection breaks: what is under way is lost, and both ends notice, each at its time.
    pub fn cut_off(&mut self, conn: u64) {
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        for end in &mut it.ends {
            end.coming.clear();
            end.stalled_until = u64::MAX;
        }
        for at in Side::BOTH {
            let delay =
                if self.rng.u8(0..4) == 0 { self.rng.u64(0..2000) * MS } else { self.rng.u64(0..20) * MS };
            self.after(delay, Event::Broken { conn, at });
        }
    }

    /// One end notices that its connection is broken.
    pub fn broken(&mut self, conn: u64, at: Side) {
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        let end = it.end(at);
        end.coming.clear();
        end.ended = true;
        let machine = end.machine;
        if end.open {
            self.wake(machine);
        }
    }

    /// All connections of a server that is no more. If its machine is gone, too, nobody tells the others at once.
    pub fn hang_up(&mut self, index: usize, power: bool) {
        for (conn, side) in self.net.ends_of(index) {
            let it = self.net.conns.get_mut(&conn).expect("just listed");
            let end = it.end(side);
            (end.open, end.arrived) = (false, Vec::new());
            end.coming.clear();
            let other = it.end(side.other());
            if power {
                other.coming.clear();
                other.stalled_until = u64::MAX;
                let delay = self.rng.u64(0..1500) * MS;
                self.after(delay, Event::Broken { conn, at: side.other() });
            } else {
                other.closing = true;
                self.plan_pipe(conn, side.other());
            }
            self.net.tidy(conn);
        }
        for (&(from, to), words) in &mut self.net.words {
            if from == index {
                *words = Default::default();
            } else if to == index {
                words.again();
            }
        }
    }

    /// A server asks to be connected to a leader.
    pub fn dial(&mut self, index: usize, to: Sid) {
        let number = self.net.number();
        self.machines[index].process.as_mut().expect("alive").dial = number;
        let to = to.0 as usize - 1;
        let delay = self.rng.u64(100..1500);
        self.after(delay, Event::Dial { machine: index, to, number });
    }

    /// An attempt to connect ends.
    pub fn dialled(&mut self, index: usize, to: usize, number: u64) {
        if self.machines[index].process.as_ref().is_none_or(|it| it.dial != number) {
            return;
        }
        let blocked = self.net.blocks(index, to) || self.net.blocks(to, index);
        if blocked && self.rng.u8(0..4) > 0 {
            let delay = self.rng.u64(200..1000) * MS;
            return self.after(delay, Event::Dial { machine: index, to, number });
        }
        let listens = !blocked && self.machines[to].process.as_ref().is_some_and(|it| it.listening);
        let input = if listens {
            let id = self.net.number();
            let links = [Link(self.net.number()), Link(self.net.number())];
            self.net.conns.insert(id, Conn::new(index, to, links));
            Input::Connected(links[0])
        } else {
            Input::ConnectFailed
        };
        self.machines[index].process.as_mut().expect("alive").inbox.push_back(input);
        self.wake(index);
    }

    /// A member says how it votes, in place of what it has not said yet.
    pub fn tell(&mut self, from: usize, to: Sid, said: Notification) {
        let to = to.0 as usize - 1;
        self.net.words.entry((from, to)).or_default().unsent = Some(said);
        self.fly(from, to);
    }

    fn fly(&mut self, from: usize, to: usize) {
        let connected = !self.net.blocks(from, to) && self.machines[to].process.is_some();
        let number = self.net.number();
        let Some(words) = self.net.words.get_mut(&(from, to)) else { return };
        if !connected || words.flying.is_some() {
            return;
        }
        if let Some(said) = words.unsent.take() {
            (words.told, words.flying) = (Some(said), Some((number, said)));
            let delay = if self.rng.u8(..) < 16 { self.rng.u64(1..60) * MS } else { self.rng.u64(50..1200) };
            self.after(delay, Event::Word { from, to, number });
        }
    }

    /// An election message arrives.
    pub fn word(&mut self, from: usize, to: usize, number: u64) {
        let blocked = self.net.blocks(from, to);
        let sid = self.machines[from].sid;
        let Some(words) = self.net.words.get_mut(&(from, to)) else { return };
        let Some((_, said)) = words.flying.take_if(|flying| flying.0 == number) else { return };
        if blocked {
            words.again();
        } else if let Some(process) = &mut self.machines[to].process {
            process.inbox.push_back(Input::Word(sid, said));
            self.wake(to);
        }
        self.fly(from, to);
    }

    /// A server is there: others connect to it and tell it what they told last.
    pub fn greet(&mut self, index: usize) {
        for other in 0..self.machines.len() {
            if let Some(words) = self.net.words.get_mut(&(other, index)) {
                words.again();
                self.fly(other, index);
            }
        }
    }

    /// The connection for election messages between two servers is made anew.
    pub fn reconnect_election(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            if let Some(words) = self.net.words.get_mut(&(from, to)) {
                words.again();
                self.fly(from, to);
            }
        }
    }

    /// A partition ends; what was held up goes on.
    pub fn mend(&mut self, cut: Cut) {
        self.net.mend(cut.number);
        for (from, to) in cut.ways {
            self.reconnect_election(from, to);
        }
        let conns: Vec<u64> = self.net.conns.keys().copied().collect();
        for conn in conns {
            self.plan_pipe(conn, Side::Learner);
            self.plan_pipe(conn, Side::Leader);
        }
    }

    /// What was said over a quorum connection may be the last of its sender.
    fn hear(&mut self, conn: u64, from: Side, spoken: &[Spoken]) {
        for &what in spoken {
            if let Spoken::AckNewLeader(epoch, _) = what
                && let Some(it) = self.net.conns.get(&conn)
            {
                let sid = self.machines[it.peek(from).machine].sid;
                self.judge.synced(sid, epoch);
            }
            if !what.is_of_a_synchronisation() {
                continue;
            }
            if !self.calm && self.rng.u32(0..self.plan.stop_after_word * 8) == 0 {
                let Some(it) = self.net.conns.get(&conn) else { return };
                let machines = [it.peek(from).machine, it.peek(from.other()).machine];
                let (first, last) = [(0, 1), (1, 2), (0, 2)][self.rng.usize(0..3)];
                for &machine in &machines[first..last] {
                    let incarnation = self.machines[machine].incarnation;
                    let delay = if self.rng.bool() { 0 } else { self.rng.u64(0..3 * MS) };
                    let wipe = self.plan.wipes && self.rng.u8(0..4) == 0;
                    self.after(delay, Event::Stop { machine, incarnation, wipe });
                }
            }
        }
    }
}
