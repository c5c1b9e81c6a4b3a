//! What goes wrong, and when: drawn from the seed, never beyond what an ensemble must survive.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::io::sim::SimOp;
use ringkeeper_engine::log::Epochs;
use ringkeeper_net::wire::election::State;

use super::net::{Cut, Side};
use super::{Event, MS, World};

impl World {
    /// Something goes wrong, and the next time is set.
    pub fn fault(&mut self) {
        if self.calm {
            return;
        }
        let pause = self.rng.u64(1..2 * self.plan.fault_every);
        self.after(pause, Event::Fault);
        let machine = self.victim();
        match self.rng.u8(0..26) {
            0..=3 => {
                let power = self.rng.bool();
                self.stop(machine, power);
            }
            4 if self.rng.u8(0..3) == 0 => {
                for machine in 0..self.machines.len() {
                    let power = self.rng.bool();
                    self.stop(machine, power);
                }
            }
            4..=6 => self.isolate(machine),
            7..=9 => self.cut_one_way(machine),
            10..=12 => self.break_connection(),
            13..=14 => self.stall(),
            15..=16 => {
                let pause = self.rng.u64(20..1500) * MS;
                self.machines[machine].paused_until = self.now + pause;
                self.note(|| format!("server {} pauses", machine + 1));
            }
            17..=18 => {
                let slow = self.rng.u64(10..200);
                self.machines[machine].slow = slow;
            }
            19 => {
                let other = self.rng.usize(0..self.machines.len());
                self.reconnect_election(machine, other);
            }
            20 if self.machines[machine].process.is_some() => {
                let nth = self.rng.u64(0..30);
                self.machines[machine].disk.fail(SimOp::Write, nth, 5);
                self.machines[machine].faulty_disk = true;
            }
            21 if self.plan.wipes => self.wipe_if_survivable(machine),
            24 if self.plan.wipes => self.forget_if_survivable(machine),
            22..=23 => {
                // What it has proposed to nobody is in its log when it comes back.
                self.isolate(machine);
                let incarnation = self.machines[machine].incarnation;
                let delay = self.rng.u64(1..500) * MS;
                self.after(delay, Event::Stop { machine, incarnation, wipe: false });
            }
            _ => {
                self.machines.iter_mut().for_each(|machine| machine.slow = 1);
            }
        }
    }

    /// Somebody, more often the leader than another.
    fn victim(&mut self) -> usize {
        let leader =
            self.machines.iter().position(|it| it.status().is_some_and(|it| it.state == State::Leading));
        match leader {
            Some(leader) if self.rng.u8(0..3) == 0 => leader,
            _ => self.rng.usize(0..self.machines.len()),
        }
    }

    /// A server goes down and comes back.
    pub fn stop(&mut self, machine: usize, power: bool) {
        self.crash(machine, power);
        self.comes_back(machine);
    }

    fn comes_back(&mut self, machine: usize) {
        let long = self.rng.u8(0..3) == 0;
        let away = self.rng.u64(5..if long { 3000 } else { 400 }) * MS;
        self.after(away, Event::Start(machine));
    }

    /// A server goes down right behind a word of a synchronisation.
    pub fn stop_at_a_bad_moment(&mut self, machine: usize, incarnation: u32, wipe: bool) {
        if self.calm
            || self.machines[machine].incarnation != incarnation
            || self.machines[machine].process.is_none()
        {
            return;
        }
        self.coverage.interrupted += 1;
        if wipe {
            self.wipe_if_survivable(machine);
        } else {
            let power = self.rng.bool();
            self.stop(machine, power);
        }
    }

    /// A server loses its data, if there are enough others that have not: an ensemble survives as many as it can
    /// spare, until they have caught up.
    fn wipe_if_survivable(&mut self, machine: usize) {
        if self.can_spare(machine) {
            self.wipe(machine);
            self.coverage.wiped += 1;
            self.comes_back(machine);
        }
    }

    /// A server loses its epochs, and with them what it has promised.
    fn forget_if_survivable(&mut self, machine: usize) {
        if self.can_spare(machine) {
            self.crash(machine, true);
            let it = &mut self.machines[machine];
            it.disk.lose("epochs");
            it.witness.epochs = Epochs { nonvoting: true, ..Epochs::default() };
            self.coverage.forgetful += 1;
            self.comes_back(machine);
        }
    }

    /// Whether a quorum of others can be relied on.
    fn can_spare(&self, machine: usize) -> bool {
        let reliable = |index: usize| {
            let witness = &self.machines[index].witness;
            index != machine && !witness.epochs.nonvoting && witness.durable > Zxid::ZERO
        };
        let there = self.machines[machine].process.is_some();
        there && self.plan.membership().is_quorum(|sid| reliable(sid.0 as usize - 1))
    }

    fn isolate(&mut self, machine: usize) {
        let others = (0..self.machines.len()).filter(|&other| other != machine);
        let mut ways: Vec<_> = others.flat_map(|other| [(machine, other), (other, machine)]).collect();
        if self.rng.u8(0..3) == 0 {
            // A bridge: one other can still be reached.
            let kept = self.rng.usize(0..self.machines.len());
            ways.retain(|&(from, to)| from != kept && to != kept);
        }
        self.part(ways);
    }

    fn cut_one_way(&mut self, machine: usize) {
        let other = self.rng.usize(0..self.machines.len());
        let mut ways = vec![(machine, other)];
        if self.rng.bool() {
            ways.push((other, machine));
        }
        ways.retain(|&(from, to)| from != to);
        self.part(ways);
    }

    fn part(&mut self, ways: Vec<(usize, usize)>) {
        let number = self.net.number();
        let cut = Cut { number, ways };
        self.net.cut(cut.clone());
        let long = self.rng.u64(30..2500) * MS;
        self.after(long, Event::Mend(cut));
    }

    fn some_connection(&mut self) -> Option<u64> {
        let count = self.net.conns.len();
        if count == 0 {
            return None;
        }
        let at = self.rng.usize(0..count);
        self.net.conns.keys().nth(at).copied()
    }

    fn break_connection(&mut self) {
        if let Some(conn) = self.some_connection() {
            self.cut_off(conn);
        }
    }

    fn stall(&mut self) {
        let Some(conn) = self.some_connection() else { return };
        let side = if self.rng.bool() { Side::Learner } else { Side::Leader };
        let until = self.now + self.rng.u64(10..1500) * MS;
        if let Some(it) = self.net.conns.get_mut(&conn) {
            let end = it.end(side);
            end.stalled_until = end.stalled_until.max(until);
        }
    }

    /// Everything works again.
    pub fn heal(&mut self) {
        self.calm = true;
        self.note(|| "everything works again".into());
        for cut in self.net.cuts.clone() {
            self.mend(cut);
        }
        for machine in 0..self.machines.len() {
            self.machines[machine].slow = 1;
            self.machines[machine].disk.heal();
            self.machines[machine].paused_until = 0;
            self.start(machine);
            self.wake(machine);
        }
    }
}
