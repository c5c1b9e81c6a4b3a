//! Keeps what came back: one HDR histogram per operation for the whole run, and one small histogram per window
//! of 100 ms for the time series.
//!
//! Two different questions, two rules. *Latency*: every request whose start (in an open loop: its due time) lies
//! in the measured interval, even if its answer came after it, so that a stall at the end is not left out.
//! *Throughput*: every answer that came within the interval.

use std::time::Instant;

use hdrhistogram::Histogram;

use crate::trace::Trace;
use crate::workload::Op;

/// Length of a window of the time series, in nanoseconds.
pub const WINDOW_NS: u64 = 100_000_000;

/// Longest latency that is told apart, in nanoseconds; longer ones count as this.
const MAX_NS: u64 = 600_000_000_000;

/// A histogram of nanoseconds that keeps `digits` significant decimal digits.
pub fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, digits).expect("constant bounds are valid")
}

/// One window of the time series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Answers without an error that came in this window.
    pub ops: u64,
    /// Median latency of those answers in nanoseconds (two significant digits); 0 if there were none.
    pub p50_ns: u64,
    /// 99th percentile of the same.
    pub p99_ns: u64,
    /// Longest of the same.
    pub max_ns: u64,
}

/// Collects the answers of a run. Times are nanoseconds of the generator's clock.
#[derive(Debug)]
pub struct Recorder {
    from_ns: u64,
    to_ns: u64,
    by_op: [Histogram<u64>; 4],
    ops: [u64; 4],
    window: Histogram<u64>,
    windows: Vec<Window>,
    trace: Option<Trace>,
}

impl Recorder {
    /// A recorder for the measured interval `from_ns..to_ns`.
    pub fn new(from_ns: u64, to_ns: u64) -> Recorder {
        assert!(from_ns < to_ns, "the measured interval is not empty");
        let expected = (to_ns - from_ns).div_ceil(WINDOW_NS);
        Recorder {
            from_ns,
            to_ns,
            by_op: std::array::from_fn(|_| histogram(3)),
            ops: [0; 4],
            window: histogram(2),
            windows: Vec::with_capacity(usize::try_from(expected).unwrap_or(0).min(1 << 20)),
            trace: None,
        }
    }

    /// Keeps every answer besides, as many as are expected; nothing changes if that is `None`. `clock` is where the
    /// generator's clock has its zero.
    pub fn tracing(mut self, clock: Instant, expected: Option<usize>) -> Recorder {
        self.trace = expected.map(|answers| Trace::new(clock, self.from_ns..self.to_ns, answers));
        self
    }

    /// An answer without an error to a request that began at `start_ns` came at `end_ns`. `end_ns` does not
    /// decrease from call to call.
    #[inline]
    pub fn answered(&mut self, op: Op, start_ns: u64, end_ns: u64) {
        let latency = end_ns.saturating_sub(start_ns).max(1);
        if (self.from_ns..self.to_ns).contains(&start_ns) {
            self.by_op[op.index()].saturating_record(latency);
        }
        if (self.from_ns..self.to_ns).contains(&end_ns) {
            self.ops[op.index()] += 1;
            self.close_windows_before(end_ns);
            self.window.saturating_record(latency);
        }
        if let Some(trace) = &mut self.trace {
            trace.answered(start_ns, end_ns);
        }
    }

    /// A request never got an answer: its age when the run was given up is the least its latency can have been.
    pub fn unanswered(&mut self, op: Op, start_ns: u64, end_ns: u64) {
        if (self.from_ns..self.to_ns).contains(&start_ns) {
            self.by_op[op.index()].saturating_record(end_ns.saturating_sub(start_ns).max(1));
        }
        if let Some(trace) = &mut self.trace {
            trace.unanswered(start_ns, end_ns);
        }
    }

    /// Pushes every window that ended at or before `now_ns`, those without an answer too.
    fn close_windows_before(&mut self, now_ns: u64) {
        let current = (now_ns - self.from_ns) / WINDOW_NS;
        while (self.windows.len() as u64) < current {
            let w = &self.window;
            let closed = if w.is_empty() {
                Window::default()
            } else {
                Window {
                    ops: w.len(),
                    p50_ns: w.value_at_quantile(0.5),
                    p99_ns: w.value_at_quantile(0.99),
                    max_ns: w.max(),
                }
            };
            self.windows.push(closed);
            self.window.reset();
        }
    }

    /// Ends the run. Windows after the last answer are filled in as empty; a last part of a window that is
    /// shorter than 100 ms is left out, because its count could not be compared.
    pub fn finish(mut self) -> Recorded {
        self.close_windows_before(self.to_ns);
        Recorded {
            seconds: (self.to_ns - self.from_ns) as f64 / 1e9,
            by_op: self.by_op,
            ops: self.ops,
            windows: self.windows,
            trace: self.trace,
        }
    }
}

/// The finished recording.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Length of the measured interval.
    pub seconds: f64,
    /// Latencies in nanoseconds by [`Op::index`].
    pub by_op: [Histogram<u64>; 4],
    /// Answers without an error within the interval, by [`Op::index`].
    pub ops: [u64; 4],
    /// The time series.
    pub windows: Vec<Window>,
    /// Every answer, if that was asked for.
    pub trace: Option<Trace>,
}

impl Recorded {
    /// Answers without an error within the interval.
    pub fn total_ops(&self) -> u64 {
        self.ops.iter().sum()
    }

    /// Answers per second.
    pub fn throughput(&self) -> f64 {
        self.total_ops() as f64 / self.seconds
    }

    /// Latencies of all operations together.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = histogram(3);
        for h in &self.by_op {
            all.add(h).expect("equal bounds");
        }
        all
    }

    /// The window with the fewest answers: its number and itself.
    pub fn quietest_window(&self) -> Option<(usize, Window)> {
        self.windows.iter().copied().enumerate().min_by_key(|(_, w)| w.ops)
    }

    /// The window with the highest 99th percentile: its number and itself.
    pub fn slowest_window(&self) -> Option<(usize, Window)> {
        self.windows.iter().copied().enumerate().rev().max_by_key(|(_, w)| w.p99_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn warm_up_is_left_out_and_a_late_answer_is_not() {
        let mut r = Recorder::new(100 * MS, 1100 * MS);
        r.answered(Op::Get, 10 * MS, 20 * MS); // warm-up
        r.answered(Op::Get, 90 * MS, 110 * MS); // answered within: throughput only
        r.answered(Op::Get, 200 * MS, 201 * MS); // both
        r.answered(Op::Get, 1099 * MS, 1500 * MS); // begun within: latency only
        r.answered(Op::Get, 1200 * MS, 1600 * MS); // after
        let done = r.finish();
        assert_eq!(done.total_ops(), 2);
        assert_eq!(done.all().len(), 2);
        assert!(done.all().max() >= 400 * MS);
        assert!((done.throughput() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_stall_shows_as_empty_windows() {
        let mut r = Recorder::new(0, 1000 * MS);
        for t in 1..=20 {
            r.answered(Op::Set, (10 * t - 1) * MS, 10 * t * MS - 1);
        }
        r.answered(Op::Set, 200 * MS, 750 * MS);
        let windows = r.finish().windows;
        let ops: Vec<u64> = windows.iter().map(|w| w.ops).collect();
        assert_eq!(ops, [10, 10, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(windows[2], Window::default());
        assert!(windows[7].max_ns >= 545 * MS, "two digits are kept: {:?}", windows[7]);
    }

    #[test]
    fn worst_windows_are_found() {
        let mut r = Recorder::new(0, 300 * MS);
        r.answered(Op::Get, 0, MS);
        r.answered(Op::Get, 0, 2 * MS);
        r.answered(Op::Get, 100 * MS, 190 * MS);
        r.answered(Op::Get, 200 * MS, 201 * MS);
        r.answered(Op::Get, 200 * MS, 202 * MS);
        let done = r.finish();
        assert_eq!(done.quietest_window().unwrap().0, 1);
        assert_eq!(done.slowest_window().unwrap().0, 1);
    }

    #[test]
    fn what_never_came_back_counts_with_its_age() {
        let mut r = Recorder::new(0, 1000 * MS);
        r.unanswered(Op::Set, 500 * MS, 6000 * MS);
        let done = r.finish();
        assert_eq!(done.total_ops(), 0);
        assert!(done.all().max() >= 5490 * MS);
    }
}
