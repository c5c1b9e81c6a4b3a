//! When a snapshot is due, and when old ones go.
//!
//! Arithmetic on what it is told: transactions and bytes of log behind the last snapshot, milliseconds of a monotonic
//! clock, and a seed that spreads the members of an ensemble, so that they do not all write at once. It knows neither
//! log nor disk and never decides *which* state a snapshot is of. `Member` asks it at the end of a turn.

use std::time::Duration;

/// The fewest transactions between two snapshots that can be asked for.
pub const LEAST_COUNT: u32 = 2;

/// A snapshot may take so much of the time at most: after one that took a second there is none for nine.
const REST: u64 = 9;
/// Pause after a snapshot that could not be made, in milliseconds. It doubles with every further failure, up to
/// [`LONGEST_PAUSE_MS`]: space does not come back by trying.
const PAUSE_MS: u64 = 10_000;
/// Longest pause after a failure, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 160_000;

/// What the operator wants (`snapCount`, `snapSizeLimitInKb`, `autopurge.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// A snapshot comes after `count / 2` transactions and a random part of the other half. At least [`LEAST_COUNT`].
    pub count: u32,
    /// The same in bytes of log; `None` = no limit.
    pub bytes: Option<u64>,
    /// Snapshots that are kept, with the log behind the oldest of them. At least 1.
    pub keep: usize,
    /// When older ones go.
    pub purge: PurgeEvery,
}

impl Default for SnapshotPolicy {
    fn default() -> SnapshotPolicy {
        SnapshotPolicy { count: 100_000, bytes: Some(4 << 30), keep: 3, purge: PurgeEvery::Snapshot }
    }
}

/// When old snapshots and the log before them are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeEvery {
    /// Whenever there is a new one.
    Snapshot,
    /// So often, first at the start.
    Interval(Duration),
    /// Never: the operator sees to it.
    Never,
}

/// How far the log is ahead of the last snapshot, or of nothing if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Transactions.
    pub transactions: u64,
    /// Bytes of log.
    pub bytes: u64,
    /// Bytes of that snapshot; 0 if there is none.
    pub snapshot: u64,
}

/// Keeps account of what is due.
#[derive(Clone, Debug)]
pub struct Due {
    policy: SnapshotPolicy,
    random: fastrand::Rng,
    /// Enough for the next one.
    transactions: u64,
    /// The same in bytes of log.
    bytes: Option<u64>,
    /// None is made before this millisecond.
    rests_until: u64,
    /// Failures since the last success.
    failures: u32,
    /// Old ones are to go at this millisecond.
    purge_at: Option<u64>,
}

impl Due {
    /// Equal seeds make equal decisions.
    pub fn new(policy: SnapshotPolicy, seed: u64, now_ms: u64) -> Due {
        let purge_at = matches!(policy.purge, PurgeEvery::Interval(_)).then_some(now_ms);
        let random = fastrand::Rng::with_seed(seed);
        let mut due =
            Due { policy, random, transactions: 0, bytes: None, rests_until: 0, failures: 0, purge_at };
        due.draw();
        due
    }

    fn draw(&mut self) {
        let mut draw = |most: u64| most / 2 + self.random.u64(0..(most / 2).max(1));
        self.transactions = draw(self.policy.count.into());
        self.bytes = self.policy.bytes.map(draw);
    }

    /// From which millisecond on a snapshot should be made, with the log so far ahead; `None`: more must be logged
    /// first.
    ///
    /// A count of transactions means nothing at hundreds of thousands a second, so by count alone one is only made when
    /// the log has grown to half the size of the last: then making them costs a fixed share of what is logged.
    pub fn at(&self, behind: Behind) -> Option<u64> {
        let by_count = behind.transactions >= self.transactions && behind.bytes >= behind.snapshot / 2;
        let by_bytes = self.bytes.is_some_and(|bytes| behind.bytes >= bytes);
        (behind.transactions > 0 && (by_count || by_bytes)).then_some(self.rests_until)
    }

    /// One was made, begun at `since_ms`.
    pub fn made(&mut self, since_ms: u64, now_ms: u64) {
        self.failures = 0;
        self.rests_until = now_ms + REST * now_ms.saturating_sub(since_ms);
        if self.policy.purge == PurgeEvery::Snapshot {
            self.purge_at = Some(now_ms);
        }
        self.draw();
    }

    /// One could not be made.
    pub fn failed(&mut self, now_ms: u64) {
        let pause = PAUSE_MS << self.failures.min(LONGEST_PAUSE_MS.ilog2());
        self.rests_until = now_ms + pause.min(LONGEST_PAUSE_MS);
        self.failures += 1;
    }

    /// When all but the newest [`SnapshotPolicy::keep`] snapshots are to go; `None`: not before the next is made, or
    /// never.
    pub fn purge_at(&self) -> Option<u64> {
        self.purge_at
    }

    /// They have gone.
    pub fn purged(&mut self, now_ms: u64) {
        self.purge_at = match self.policy.purge {
            PurgeEvery::Interval(every) => {
                Some(now_ms.saturating_add(every.as_millis().try_into().unwrap_or(u64::MAX)))
            }
            PurgeEvery::Snapshot | PurgeEvery::Never => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(transactions: u64, bytes: u64, snapshot: u64) -> Behind {
        Behind { transactions, bytes, snapshot }
    }

    fn policy() -> SnapshotPolicy {
        SnapshotPolicy { count: 1000, bytes: Some(1 << 20), ..SnapshotPolicy::default() }
    }

    /// The first count of transactions at which one is due.
    fn enough(due: &Due) -> u64 {
        (0..2000).find(|&n| due.at(behind(n, n, 0)).is_some()).expect("due at last")
    }

    #[test]
    fn a_snapshot_comes_in_the_second_half_of_the_count_and_not_always_at_the_same() {
        let counts: Vec<u64> = (0..200).map(|seed| enough(&Due::new(policy(), seed, 0))).collect();
        assert!(counts.iter().all(|count| (500..1000).contains(count)), "{counts:?}");
        assert!(counts.iter().max() > Some(&900) && counts.iter().min() < Some(&600), "{counts:?}");
        let (mut one, mut other) = (Due::new(policy(), 7, 0), Due::new(policy(), 7, 0));
        let mut drawn = Vec::new();
        for round in 0..50 {
            assert_eq!(enough(&one), enough(&other), "equal seeds, equal decisions");
            drawn.push(enough(&one));
            one.made(round, round);
            other.made(round, round);
        }
        drawn.dedup();
        assert!(drawn.len() > 25, "drawn anew each time: {drawn:?}");
    }

    #[test]
    fn the_smallest_count_and_a_log_without_anything_new() {
        let due = Due::new(SnapshotPolicy { count: LEAST_COUNT, ..policy() }, 1, 0);
        assert_eq!(due.at(behind(0, 0, 0)), None, "there is nothing to make one of");
        assert_eq!(due.at(behind(1, 1, 0)), Some(0));
    }

    #[test]
    fn bytes_of_log_count_as_transactions_do() {
        for seed in 0..100 {
            let due = Due::new(policy(), seed, 0);
            assert_eq!(due.at(behind(1, (1 << 19) - 1, 0)), None);
            assert_eq!(due.at(behind(1, 1 << 20, 0)), Some(0));
            let without = Due::new(SnapshotPolicy { bytes: None, ..policy() }, seed, 0);
            assert_eq!(without.at(behind(499, 1 << 40, 0)), None);
        }
    }

    #[test]
    fn a_large_snapshot_waits_for_half_its_size_of_log_unless_the_limit_of_bytes_is_reached() {
        let due = Due::new(policy(), 3, 0);
        assert_eq!(due.at(behind(100_000, 49_999, 100_000)), None);
        assert_eq!(due.at(behind(100_000, 50_000, 100_000)), Some(0));
        assert_eq!(due.at(behind(100_000, 1 << 20, 1 << 30)), Some(0), "more log is not kept without one");
    }

    #[test]
    fn snapshots_take_a_tenth_of_the_time_at_most() {
        let mut due = Due::new(policy(), 3, 0);
        due.made(50_000, 52_000);
        assert_eq!(due.at(behind(1000, 1000, 0)), Some(70_000));
        assert_eq!(due.at(behind(1000, 1 << 30, 0)), Some(70_000), "whatever there is");
    }

    #[test]
    fn failures_make_longer_and_longer_pauses_until_one_succeeds() {
        let mut due = Due::new(policy(), 3, 0);
        let full = behind(1000, 1000, 0);
        let pauses: Vec<u64> = (0..70)
            .map(|_| {
                due.failed(5);
                due.at(full).expect("due") - 5
            })
            .collect();
        assert_eq!(pauses[..6], [10_000, 20_000, 40_000, 80_000, 160_000, 160_000]);
        assert!(pauses[6..].iter().all(|&pause| pause == 160_000), "{pauses:?}");
        due.made(0, 0);
        due.failed(0);
        assert_eq!(due.at(full), Some(10_000));
    }

    #[test]
    fn old_snapshots_go_after_every_new_one_or_by_the_clock_or_never() {
        let of = |purge| Due::new(SnapshotPolicy { purge, ..policy() }, 0, 100);
        let mut due = of(PurgeEvery::Snapshot);
        assert_eq!(due.purge_at(), None);
        due.made(200, 300);
        assert_eq!(due.purge_at(), Some(300));
        due.purged(301);
        assert_eq!(due.purge_at(), None);

        let mut due = of(PurgeEvery::Interval(Duration::from_secs(3600)));
        assert_eq!(due.purge_at(), Some(100), "at the start");
        due.purged(110);
        due.made(200, 300);
        assert_eq!(due.purge_at(), Some(3_600_110));

        let mut due = of(PurgeEvery::Never);
        due.made(200, 300);
        assert_eq!(due.purge_at(), None);
    }
}
