//! When a snapshot is due, and when old ones go.
//!
//! Arithmetic on what it is told: transactions and bytes of log since the last snapshot, milliseconds of a monotonic
//! clock, and a seed that spreads the members of an ensemble, so that they do not all write at once. It knows neither
//! log nor disk and never decides *which* state a snapshot is of. `Member` asks it at the end of a turn.

use std::time::Duration;

/// The fewest transactions between two snapshots that can be asked for.
pub const LEAST_COUNT: u32 = 2;

/// How often longer than the last one took there is none, unless the log has grown to its limit. They are made unnoticed,
/// but each costs a flush of the disk; and with long rests a full load would fill the log faster than snapshots catch up.
const REST: u64 = 1;
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

/// Keeps account of what is due.
#[derive(Clone, Debug)]
pub struct Due {
    policy: SnapshotPolicy,
    random: fastrand::Rng,
    /// So many transactions are enough for the next snapshot.
    enough: u64,
    /// So many bytes of log are enough.
    enough_bytes: Option<u64>,
    /// Transactions since the last one was begun.
    applied: u64,
    /// Transactions that are in the one that is being made, and count again if it fails.
    in_hand: u64,
    /// None is begun by count before this millisecond.
    rests_until: u64,
    /// None is begun at all before this millisecond.
    paused_until: u64,
    /// Failures since the last success.
    failures: u32,
    /// Old snapshots go by the clock at this millisecond.
    purge_at: Option<u64>,
}

impl Due {
    /// Equal seeds make equal decisions.
    pub fn new(policy: SnapshotPolicy, seed: u64, now_ms: u64) -> Due {
        let mut due = Due {
            policy,
            random: fastrand::Rng::with_seed(seed),
            enough: 0,
            enough_bytes: None,
            applied: 0,
            in_hand: 0,
            rests_until: 0,
            paused_until: 0,
            failures: 0,
            purge_at: matches!(policy.purge, PurgeEvery::Interval(_)).then_some(now_ms),
        };
        due.draw();
        due
    }

    fn draw(&mut self) {
        self.enough = half_or_more(self.policy.count.into(), &mut self.random);
        self.enough_bytes = self.policy.bytes.map(|most| half_or_more(most, &mut self.random));
    }

    /// A transaction was applied.
    #[inline]
    pub fn applied(&mut self) {
        self.applied += 1;
    }

    /// So many transactions behind the newest snapshot were read back from the log at the start.
    pub fn replayed(&mut self, transactions: u64) {
        self.applied += transactions;
    }

    /// Whether one should be begun, with `behind` bytes of log behind the newest snapshot, which has `snapshot` bytes; 0
    /// if there is none.
    ///
    /// A count of transactions means nothing at hundreds of thousands a second, so by count alone one is only made when
    /// the log has grown to half the size of the last: then making them costs a fixed share of what is logged.
    /// Enough bytes are a reason at once, however long the last one took: under a load that fills the log faster than
    /// that much time is enough for, each would take longer than the last, the rest behind it too, and the log would
    /// grow without end.
    pub fn is_due(&self, now_ms: u64, behind: u64, snapshot: u64) -> bool {
        let by_count = self.applied >= self.enough && behind >= snapshot / 2 && now_ms >= self.rests_until;
        let by_bytes = self.enough_bytes.is_some_and(|enough| behind >= enough);
        (by_count || by_bytes) && self.applied > 0 && now_ms >= self.paused_until
    }

    /// When to ask again at the latest if nothing happens, in milliseconds: one is wanted and has to wait, or old ones go.
    pub fn next_look(&self, behind: u64, snapshot: u64) -> Option<u64> {
        let mut ends = [self.paused_until, self.paused_until.max(self.rests_until)].into_iter();
        let waits = ends.find(|&end| self.is_due(end, behind, snapshot));
        waits.into_iter().chain(self.purge_at).min()
    }

    /// One was begun, or found to have nothing new in it.
    pub fn begun(&mut self) {
        self.in_hand += std::mem::take(&mut self.applied);
        self.draw();
    }

    /// It was made in so many milliseconds, or could not be made.
    pub fn ended(&mut self, now_ms: u64, took_ms: u64, made: bool) {
        let in_hand = std::mem::take(&mut self.in_hand);
        if made {
            self.failures = 0;
            self.rests_until = now_ms + REST * took_ms;
        } else {
            self.applied += in_hand;
            self.failures += 1;
            self.paused_until = now_ms + (PAUSE_MS << (self.failures - 1).min(8)).min(LONGEST_PAUSE_MS);
        }
    }

    /// What made the last one fail is out of the way: no pause is needed.
    pub fn unhindered(&mut self, now_ms: u64) {
        self.failures = 0;
        self.paused_until = now_ms;
    }

    /// Snapshots that are kept.
    pub fn keep(&self) -> usize {
        self.policy.keep
    }

    /// Whether older ones go as soon as there is a new one.
    pub fn purges_at_once(&self) -> bool {
        self.policy.purge == PurgeEvery::Snapshot
    }

    /// Whether older ones go now because it is time; true once each time.
    pub fn purge_is_due(&mut self, now_ms: u64) -> bool {
        let PurgeEvery::Interval(every) = self.policy.purge else { return false };
        let due = self.purge_at.is_some_and(|at| at <= now_ms);
        if due {
            self.purge_at = Some(now_ms.saturating_add(every.as_millis().try_into().unwrap_or(u64::MAX)));
        }
        due
    }
}

/// Half of it, and a random part of the other half.
fn half_or_more(most: u64, random: &mut fastrand::Rng) -> u64 {
    most / 2 + random.u64(0..(most / 2).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> SnapshotPolicy {
        SnapshotPolicy { count: 1000, bytes: Some(1 << 20), ..SnapshotPolicy::default() }
    }

    fn due(policy: SnapshotPolicy, seed: u64, applied: u64) -> Due {
        let mut due = Due::new(policy, seed, 0);
        due.replayed(applied);
        due
    }

    /// The count of transactions at which the next one is due.
    fn enough(due: &Due) -> u64 {
        let mut due = due.clone();
        for count in 1..2000 {
            due.applied();
            if due.is_due(1 << 40, 0, 0) {
                return count;
            }
        }
        panic!("never due: {due:?}");
    }

    #[test]
    fn a_snapshot_comes_in_the_second_half_of_the_count_and_not_always_at_the_same() {
        let counts: Vec<u64> = (0..200).map(|seed| enough(&due(policy(), seed, 0))).collect();
        assert!(counts.iter().all(|count| (500..1000).contains(count)), "{counts:?}");
        assert!(counts.iter().max() > Some(&900) && counts.iter().min() < Some(&600), "{counts:?}");
        let (mut one, mut other) = (due(policy(), 7, 0), due(policy(), 7, 0));
        let mut drawn = Vec::new();
        for round in 0..50 {
            assert_eq!(enough(&one), enough(&other), "equal seeds, equal decisions");
            drawn.push(enough(&one));
            for due in [&mut one, &mut other] {
                due.begun();
                due.ended(round, 1, true);
            }
        }
        drawn.dedup();
        assert!(drawn.len() > 25, "drawn anew each time: {drawn:?}");
    }

    #[test]
    fn the_smallest_count_and_a_log_without_anything_new() {
        let smallest = SnapshotPolicy { count: LEAST_COUNT, ..policy() };
        assert!(!due(smallest, 1, 0).is_due(0, 1 << 40, 0), "there is nothing to make one of");
        assert!(due(smallest, 1, 1).is_due(0, 0, 0));
    }

    #[test]
    fn bytes_of_log_count_as_transactions_do() {
        for seed in 0..100 {
            let mut due = due(policy(), seed, 1);
            assert!(!due.is_due(0, (1 << 19) - 1, 0));
            assert!(due.is_due(0, 1 << 20, 0));
            due.policy.bytes = None;
            due.begun();
            due.applied();
            assert!(!due.is_due(0, 1 << 40, 0), "no limit");
        }
    }

    #[test]
    fn a_large_snapshot_waits_for_half_its_size_of_log_unless_the_limit_of_bytes_is_reached() {
        let due = due(policy(), 3, 100_000);
        assert!(!due.is_due(0, 49_999, 100_000));
        assert!(due.is_due(0, 50_000, 100_000));
        assert!(due.is_due(0, 1 << 20, 1 << 30), "more log is not kept without one");
    }

    #[test]
    fn snapshots_take_half_of_the_time_at_most_while_the_log_is_short() {
        let mut due = due(policy(), 3, 1000);
        due.begun();
        due.replayed(1000);
        due.ended(52_000, 2000, true);
        assert!(!due.is_due(53_999, (1 << 19) - 1, 0), "however many there are");
        assert!(due.is_due(53_999, 1 << 20, 0), "the log does not grow without end");
        assert_eq!(due.next_look(0, 0), Some(54_000), "even if nothing happens any more");
        assert!(due.is_due(54_000, 0, 0));
    }

    /// The log grows at a steady rate, and a snapshot takes longer the more log it is made of: as on a disk that takes
    /// thirty megabytes a second, with snapshots made of a hundred.
    #[test]
    fn the_log_stays_bounded_under_a_load_that_fills_it_faster_than_snapshots_may_be_made() {
        const FILLED: u64 = 30_000;
        const MADE: u64 = 100_000;
        let limit = 1 << 30;
        let policy = SnapshotPolicy { count: 1000, bytes: Some(limit), ..policy() };
        let mut due = Due::new(policy, 7, 0);
        let (mut behind, mut longest, mut count) = (0, 0, 0);
        let mut made_at = None;
        for now_ms in 0..1_000_000 {
            due.replayed(10);
            behind += FILLED;
            longest = longest.max(behind);
            match made_at {
                Some((at, took, left)) if at == now_ms => {
                    due.ended(now_ms, took, true);
                    // What came while it was made is behind it.
                    behind -= left;
                    count += 1;
                    made_at = None;
                }
                None if due.is_due(now_ms, behind, 0) => {
                    due.begun();
                    let took = behind / MADE + 1;
                    made_at = Some((now_ms + took, took, behind));
                }
                _ => {}
            }
        }
        assert!(longest < 2 * limit, "{longest} bytes of log");
        assert!(count > 20, "{count} snapshots");
    }

    #[test]
    fn failures_make_longer_and_longer_pauses_until_one_succeeds() {
        let mut due = due(policy(), 3, 1000);
        let mut fail = |pause: u64| {
            due.begun();
            due.ended(5, 1, false);
            assert!(!due.is_due(5 + pause - 1, 0, 0), "{pause}");
            assert!(due.is_due(5 + pause, 0, 0), "{pause}: what it should have held still counts");
        };
        for pause in [10_000, 20_000, 40_000, 80_000, 160_000] {
            fail(pause);
        }
        for _ in 0..70 {
            fail(160_000);
        }
        due.begun();
        due.ended(0, 0, true);
        due.replayed(1000);
        due.begun();
        due.ended(0, 0, false);
        assert!(!due.is_due(9_999, 0, 0) && due.is_due(10_000, 0, 0));
        due.unhindered(1);
        assert!(due.is_due(1, 0, 0), "without a pause where there is a remedy");
        due.begun();
        due.ended(1, 0, false);
        assert!(due.is_due(10_001, 0, 0), "and with the shortest again");
    }

    #[test]
    fn old_snapshots_go_after_every_new_one_or_by_the_clock_or_never() {
        let of = |purge| Due::new(SnapshotPolicy { purge, ..policy() }, 0, 100);
        let mut due = of(PurgeEvery::Snapshot);
        assert!(due.purges_at_once() && !due.purge_is_due(u64::MAX));
        let mut due = of(PurgeEvery::Never);
        assert!(!due.purges_at_once() && !due.purge_is_due(u64::MAX));
        let mut due = of(PurgeEvery::Interval(Duration::from_secs(3600)));
        assert!(!due.purges_at_once());
        assert!(due.purge_is_due(100), "at the start");
        assert!(!due.purge_is_due(101));
        assert!(!due.purge_is_due(3_600_099));
        assert!(due.purge_is_due(3_600_200));
        assert!(!due.purge_is_due(7_200_199), "an hour from then");
    }
}
