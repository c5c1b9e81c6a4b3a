//! When requests are meant to be sent in an open loop.
//!
//! Coordinated omission is the mistake of letting a slow server slow the questions down: the requests that
//! *would* have been sent during a stall are never measured. So the times are fixed before the run: request
//! number `g` is due at `start + g / rate`, belongs to connection `g % connections`, and its latency counts from
//! that time, however late the connection could take it.
//!
//! Pure arithmetic on nanoseconds; [`crate::load`] owns the clock.

/// The fixed plan of an open loop.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    start_ns: u64,
    rate: u64,
}

impl Plan {
    /// A plan of `rate` requests per second from `start_ns` on.
    pub fn new(start_ns: u64, rate: u64) -> Plan {
        assert!(rate > 0, "an open loop needs a rate");
        Plan { start_ns, rate }
    }

    /// When request number `g` is due, in nanoseconds of the generator's clock.
    pub fn due_ns(&self, g: u64) -> u64 {
        // 128 bits: g * 10^9 overflows 64 bits after 18 * 10^9 requests.
        let offset = u128::from(g) * 1_000_000_000 / u128::from(self.rate);
        self.start_ns + u64::try_from(offset).unwrap_or(u64::MAX - self.start_ns)
    }
}

/// The part of the plan that belongs to one connection: a backlog that needs no memory, because the due times
/// of unsent requests follow from their numbers.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    next: u64,
    step: u64,
    backlog: u64,
}

impl Share {
    /// The requests `conn`, `conn + connections`, `conn + 2 * connections`, ... of the plan.
    pub fn new(conn: u64, connections: u64) -> Share {
        Share { next: conn, step: connections, backlog: 0 }
    }

    /// One more request of this connection has become due.
    pub fn add_due(&mut self) {
        self.backlog += 1;
    }

    /// Requests that are due and unsent.
    pub fn backlog(&self) -> u64 {
        self.backlog
    }

    /// Takes the oldest request that is due and unsent; returns the time it was due.
    pub fn take(&mut self, plan: &Plan) -> Option<u64> {
        self.backlog = self.backlog.checked_sub(1)?;
        let due = plan.due_ns(self.next);
        self.next += self.step;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_do_not_drift() {
        let plan = Plan::new(1_000, 3);
        assert_eq!(plan.due_ns(0), 1_000);
        assert_eq!(plan.due_ns(1), 333_334_333);
        assert_eq!(plan.due_ns(3), 1_000_001_000);
        assert_eq!(plan.due_ns(3_000_000_000), 1_000_000_000_000_001_000);
    }

    #[test]
    fn the_connections_share_the_plan_without_gap_or_overlap() {
        let plan = Plan::new(0, 1_000_000_000);
        let mut shares: Vec<Share> = (0..7).map(|c| Share::new(c, 7)).collect();
        for g in 0..70usize {
            shares[g % 7].add_due();
        }
        let mut due: Vec<u64> = Vec::new();
        for share in &mut shares {
            while let Some(t) = share.take(&plan) {
                due.push(t);
            }
        }
        due.sort_unstable();
        assert_eq!(due, (0..70).collect::<Vec<u64>>());
    }

    #[test]
    fn a_backlog_keeps_the_times_at_which_its_requests_were_due() {
        let plan = Plan::new(0, 1000);
        let mut share = Share::new(0, 1);
        assert_eq!(share.take(&plan), None);
        // The server takes nothing for 5 ms, then everything at once.
        for _ in 0..5 {
            share.add_due();
        }
        let waited: Vec<u64> = std::iter::from_fn(|| share.take(&plan)).map(|due| 5_000_000 - due).collect();
        assert_eq!(waited, [5_000_000, 4_000_000, 3_000_000, 2_000_000, 1_000_000]);
        assert_eq!(share.backlog(), 0);
    }
}
