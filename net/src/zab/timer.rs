//! Deadlines, one per purpose. Nothing here reads a clock: the caller of `Zab::handle` says what time it is.

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Election: announce the vote again.
    Announce,
    /// Election: nobody objected for long enough.
    Finalize,
    /// An observer may look for a leader again.
    Wake,
    /// Learner: try to connect again.
    Connect,
    /// Everybody waits at most so long for this phase; a learner for a sign of its leader.
    Phase,
    /// Leader: ping, and look after the learners.
    Ping,
}

const COUNT: usize = 6;

/// The deadlines that are set, in milliseconds of the caller's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timers([Option<u64>; COUNT]);

impl Timers {
    /// Sets or moves a deadline.
    pub fn set(&mut self, timer: Timer, at_ms: u64) {
        self.0[timer as usize] = Some(at_ms);
    }

    /// Removes a deadline.
    pub fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Removes all deadlines.
    pub fn clear_all(&mut self) {
        *self = Timers::default();
    }

    /// Whether a deadline is set.
    pub fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// Takes the deadline if it has come.
    pub fn take_due(&mut self, timer: Timer, now_ms: u64) -> bool {
        let due = self.0[timer as usize].is_some_and(|at| at <= now_ms);
        if due {
            self.clear(timer);
        }
        due
    }

    /// When the next one comes.
    pub fn next(&self) -> Option<u64> {
        self.0.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_taken_once_and_only_when_due() {
        let mut timers = Timers::default();
        timers.set(Timer::Phase, 10);
        timers.set(Timer::Ping, 5);
        assert_eq!(timers.next(), Some(5));
        assert!(!timers.take_due(Timer::Phase, 9));
        assert!(timers.take_due(Timer::Phase, 10));
        assert!(!timers.take_due(Timer::Phase, 10));
        timers.clear_all();
        assert_eq!(timers.next(), None);
    }
}
