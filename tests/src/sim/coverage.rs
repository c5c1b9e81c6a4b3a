//! Which ways of synchronisation were taken: a batch of seeds that never took one proves nothing about it.

use std::ops::AddAssign;

use ringkeeper_net::member::Counts;

use super::World;

/// How often each was taken, in all and while clients wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Synchronisations: DIFF from memory, DIFF from disk, TRUNC, TRUNC and DIFF, SNAP.
    pub all: [u64; 5],
    /// Those of a leader that had writes under way.
    pub under_load: [u64; 5],
    /// Servers that lost their data.
    pub wiped: u64,
    /// Servers that went down between two words of a synchronisation.
    pub interrupted: u64,
    /// Sessions that were resumed at another server.
    pub moved: u64,
    /// Servers that lost their epochs and nothing else.
    pub forgetful: u64,
    /// Snapshots that servers made of their own state.
    pub snapshots: u64,
    /// Starts from a snapshot that was made here, with log behind it.
    pub restarts: u64,
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, other: Coverage) {
        for way in 0..self.all.len() {
            self.all[way] += other.all[way];
            self.under_load[way] += other.under_load[way];
        }
        self.wiped += other.wiped;
        self.interrupted += other.interrupted;
        self.moved += other.moved;
        self.forgetful += other.forgetful;
        self.snapshots += other.snapshots;
        self.restarts += other.restarts;
    }
}

impl Coverage {
    /// The ways that were never taken while clients wrote.
    pub fn missing(&self) -> Vec<&'static str> {
        let [diff_memory, diff_disk, trunc, trunc_diff, snap] = self.under_load;
        let ways = [
            ("DIFF from memory", diff_memory),
            ("DIFF from disk", diff_disk),
            ("TRUNC", trunc),
            ("TRUNC and DIFF", trunc_diff),
            ("SNAP", snap),
            ("a wiped member", self.wiped),
            ("a member that lost its epochs", self.forgetful),
            ("a snapshot of the own state", self.snapshots),
            ("a start from one", self.restarts),
            ("a crash within a synchronisation", self.interrupted),
            ("a session that moved", self.moved),
        ];
        ways.into_iter().filter(|way| way.1 == 0).map(|way| way.0).collect()
    }
}

impl World {
    /// Notes how a leader has synchronised learners in its last turn.
    pub fn cover(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return };
        let now = process.member.status().expect("a member").counts;
        let before = std::mem::replace(&mut process.counts, now);
        if now == before {
            return;
        }
        let service = process.member.service();
        let busy = process.member.log().appended() > service.tree().last_zxid()
            || self.clients.iter().any(|client| client.is_writing());
        let each = |counts: Counts| {
            [counts.diff_memory, counts.diff_disk, counts.trunc, counts.trunc_diff, counts.snap]
        };
        for (way, (now, before)) in each(now).into_iter().zip(each(before)).enumerate() {
            self.coverage.all[way] += now - before;
            self.coverage.under_load[way] += if busy { now - before } else { 0 };
        }
    }
}
