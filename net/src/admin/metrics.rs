//! The numbers behind `mntr`: counters, and summaries of what was observed.
//!
//! Every loop owns one [`Metrics`] and adds to it without locks; whoever renders merges them. Adding is a few
//! instructions, because it happens for every request. Times are taken in microseconds and shown in milliseconds:
//! the reference measures in milliseconds, where most of our figures would be zero.

use hdrhistogram::Histogram;

/// Counters that this version moves. The discriminant is the row in `COUNTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Counter {
    /// Bytes received from clients, length prefixes included.
    BytesReceived,
    /// Bytes of replies.
    ResponseBytes,
    /// Bytes of watch events.
    WatchBytes,
    /// Session handshakes.
    ConnectionRequests,
    /// Connections closed, by either side.
    ConnectionDrops,
    /// Connections refused by a limit.
    ConnectionsRejected,
    /// Sessions that moved to another connection.
    ConnectionsRevalidated,
    /// Sessions that expired.
    SessionsExpired,
    /// Connections closed because they never opened a session.
    SessionlessExpired,
    /// Requests refused for their size.
    LargeRequestsRejected,
    /// Tree digests that differ from the log's.
    DigestMismatches,
    /// Snapshots that could not be made.
    SnapshotErrors,
}

/// Names of [`Counter`] in mntr, without `zk_`.
const COUNTERS: [&str; 12] = [
    "bytes_received_count",
    "response_bytes",
    "watch_bytes",
    "connection_request_count",
    "connection_drop_count",
    "connection_rejected",
    "connection_revalidate_count",
    "stale_sessions_expired",
    "sessionless_connections_expired",
    "large_requests_rejected",
    "digest_mismatches_count",
    "snapshot_error_count",
];

/// Observations that this version makes. The discriminant is the row in `OBSERVATIONS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Observed {
    /// Microseconds from receipt to reply of a read.
    ReadLatency,
    /// Microseconds from receipt to reply of a write.
    UpdateLatency,
    /// Microseconds from handing a log batch to the disk until it is durable.
    FsyncTime,
    /// Transactions in one log batch.
    BatchSize,
    /// Microseconds from the time in a transaction's header to its application.
    PropagationLatency,
    /// Microseconds to open the store at start.
    DbInitTime,
    /// Microseconds to replay the log at start.
    ReplayTime,
    /// Transactions replayed at start.
    ReplayedTxns,
    /// Watches fired by one creation.
    CreatedWatches,
    /// Watches fired by one deletion.
    DeletedWatches,
    /// Watches fired by one change of data.
    ChangedWatches,
    /// Watches fired by one change of children.
    ChildrenWatches,
    /// Microseconds to make a snapshot of the own state.
    SnapshotTime,
}

/// What is known of an observation: its name in mntr, whether it is a time, whether quantiles are kept.
struct Kind {
    name: &'static str,
    unit: Unit,
    quantiles: bool,
}

/// How observed numbers become shown ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Observed in microseconds, shown in milliseconds.
    Time,
    Plain,
}

const fn time(name: &'static str, quantiles: bool) -> Kind {
    Kind { name, unit: Unit::Time, quantiles }
}

const fn plain(name: &'static str) -> Kind {
    Kind { name, unit: Unit::Plain, quantiles: false }
}

const OBSERVATIONS: [Kind; 13] = [
    time("readlatency", true),
    time("updatelatency", true),
    time("fsynctime", false),
    plain("sync_processor_batch_size"),
    time("propagation_latency", true),
    time("dbinittime", false),
    time("startup_txns_load_time", false),
    plain("startup_txns_loaded"),
    plain("node_created_watch_count"),
    plain("node_deleted_watch_count"),
    plain("node_changed_watch_count"),
    plain("node_children_watch_count"),
    time("snapshottime", false),
];

/// Count, sum and extremes of what was observed, and its distribution where quantiles are shown.
#[derive(Clone, Debug)]
pub struct Summary {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
    unit: Unit,
    distribution: Option<Histogram<u64>>,
}

impl Summary {
    fn new(unit: Unit, quantiles: bool) -> Summary {
        // Two digits up to one hour of microseconds: 26 KiB. Larger values count as the largest.
        const LARGEST: u64 = 3_600_000_000;
        let distribution = quantiles.then(|| {
            Histogram::new_with_bounds(1, LARGEST, 2).expect("constant bounds that the crate allows")
        });
        Summary { count: 0, sum: 0, min: u64::MAX, max: 0, unit, distribution }
    }

    fn record(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if let Some(distribution) = &mut self.distribution {
            distribution.saturating_record(value);
        }
    }

    fn merge(&mut self, other: &Summary) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if let (Some(mine), Some(theirs)) = (&mut self.distribution, &other.distribution) {
            mine.add(theirs).expect("all distributions have the same bounds");
        }
    }

    fn shown(&self, value: u64) -> u64 {
        match self.unit {
            Unit::Time => value / 1000,
            Unit::Plain => value,
        }
    }

    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum, in the unit shown.
    pub fn sum(&self) -> u64 {
        self.shown(self.sum)
    }

    /// Smallest, in the unit shown; 0 when nothing was observed.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.shown(self.min) }
    }

    /// Largest, in the unit shown; 0 when nothing was observed.
    pub fn max(&self) -> u64 {
        self.shown(self.max)
    }

    /// Average in ten-thousandths of the unit shown, rounded half up; 0 when nothing was observed.
    pub fn average_e4(&self) -> u64 {
        let divisor = u128::from(self.count) * if self.unit == Unit::Time { 1000 } else { 1 };
        let rounded = (u128::from(self.sum) * 20_000 + divisor).checked_div(divisor * 2).unwrap_or(0);
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }

    /// The value below which the share `quantile` (0 to 1) lies, in the unit shown; `None` where no
    /// distribution is kept.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        self.distribution.as_ref().map(|d| self.shown(d.value_at_quantile(quantile).min(self.max)))
    }
}

/// All counters and summaries of one loop, or of a whole node after merging.
#[derive(Clone, Debug)]
pub struct Metrics {
    counters: [u64; COUNTERS.len()],
    summaries: [Summary; OBSERVATIONS.len()],
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            counters: [0; COUNTERS.len()],
            summaries: OBSERVATIONS.map(|kind| Summary::new(kind.unit, kind.quantiles)),
        }
    }
}

impl Metrics {
    /// Adds to a counter.
    #[inline]
    pub fn add(&mut self, counter: Counter, amount: u64) {
        let total = &mut self.counters[counter as usize];
        *total = total.wrapping_add(amount);
    }

    /// Adds one observation, in the unit that [`Observed`] names.
    #[inline]
    pub fn record(&mut self, observed: Observed, value: u64) {
        self.summaries[observed as usize].record(value);
    }

    /// Adds everything another loop has counted.
    pub fn merge(&mut self, other: &Metrics) {
        for (mine, theirs) in self.counters.iter_mut().zip(other.counters) {
            *mine = mine.wrapping_add(theirs);
        }
        for (mine, theirs) in self.summaries.iter_mut().zip(&other.summaries) {
            mine.merge(theirs);
        }
    }

    /// Starts again from zero, as the word `srst` asks for.
    pub fn reset(&mut self) {
        *self = Metrics::default();
    }

    /// The value of a counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// The summary of an observation.
    pub fn summary(&self, observed: Observed) -> &Summary {
        &self.summaries[observed as usize]
    }

    /// Reads and writes together: what `srvr` calls latency. Without quantiles.
    pub fn request_latency(&self) -> Summary {
        let mut all = Summary::new(Unit::Time, false);
        all.merge(self.summary(Observed::ReadLatency));
        all.merge(self.summary(Observed::UpdateLatency));
        all
    }

    /// Names and values of all counters.
    pub(super) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        COUNTERS.into_iter().zip(self.counters)
    }

    /// Names and values of all summaries.
    pub(super) fn summaries(&self) -> impl Iterator<Item = (&'static str, &Summary)> {
        OBSERVATIONS.into_iter().map(|kind| kind.name).zip(&self.summaries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_a_row_for_every_discriminant() {
        let mut metrics = Metrics::default();
        metrics.add(Counter::SnapshotErrors, 7);
        assert_eq!(metrics.counters().last(), Some(("snapshot_error_count", 7)));
        metrics.record(Observed::SnapshotTime, 3_000);
        let (name, summary) = metrics.summaries().last().unwrap();
        assert_eq!((name, summary.sum()), ("snapshottime", 3));
        metrics.record(Observed::FsyncTime, 2_000);
        assert!(metrics.summaries().any(|(name, s)| name == "fsynctime" && s.sum() == 2));
    }

    #[test]
    fn times_are_shown_in_milliseconds_with_an_exact_average() {
        let mut metrics = Metrics::default();
        for micros in [999, 1_000, 2_500, 40_000] {
            metrics.record(Observed::ReadLatency, micros);
        }
        let summary = metrics.summary(Observed::ReadLatency);
        assert_eq!((summary.count(), summary.min(), summary.max(), summary.sum()), (4, 0, 40, 44));
        assert_eq!(summary.average_e4(), 111_248, "44.499 / 4 = 11.12475, rounded half up");
        assert_eq!(summary.quantile(0.5), Some(1));
        assert_eq!(summary.quantile(0.999), Some(40));
    }

    #[test]
    fn an_unused_summary_is_all_zero() {
        let metrics = Metrics::default();
        let summary = metrics.summary(Observed::UpdateLatency);
        assert_eq!((summary.min(), summary.max(), summary.average_e4()), (0, 0, 0));
        assert_eq!(summary.quantile(0.99), Some(0));
        assert_eq!(metrics.summary(Observed::FsyncTime).quantile(0.99), None);
    }

    #[test]
    fn merging_is_the_same_as_recording_in_one_place() {
        let (mut one, mut two, mut both) = (Metrics::default(), Metrics::default(), Metrics::default());
        for value in 0..1000 {
            let part = if value % 3 == 0 { &mut one } else { &mut two };
            part.record(Observed::UpdateLatency, value * 17);
            part.add(Counter::ResponseBytes, value);
            both.record(Observed::UpdateLatency, value * 17);
            both.add(Counter::ResponseBytes, value);
        }
        one.merge(&two);
        let (merged, whole) = (one.summary(Observed::UpdateLatency), both.summary(Observed::UpdateLatency));
        assert_eq!(merged.average_e4(), whole.average_e4());
        assert_eq!((merged.min(), merged.max()), (whole.min(), whole.max()));
        assert_eq!(merged.quantile(0.95), whole.quantile(0.95));
        assert_eq!(one.counter(Counter::ResponseBytes), both.counter(Counter::ResponseBytes));
    }

    #[test]
    fn an_unused_part_does_not_spoil_the_extremes() {
        let mut used = Metrics::default();
        used.record(Observed::ReadLatency, 5_000);
        used.merge(&Metrics::default());
        assert_eq!(used.request_latency().min(), 5);
        assert_eq!(used.request_latency().max(), 5);
    }

    #[test]
    fn values_beyond_the_distribution_count_as_its_largest() {
        let mut metrics = Metrics::default();
        metrics.record(Observed::ReadLatency, u64::MAX);
        metrics.record(Observed::ReadLatency, u64::MAX);
        assert!(metrics.summary(Observed::ReadLatency).quantile(0.5) >= Some(3_600_000));
        metrics.reset();
        assert_eq!(metrics.summary(Observed::ReadLatency).count(), 0);
    }
}
