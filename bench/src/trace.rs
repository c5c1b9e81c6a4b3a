//! Every answer of a run, so that it can be asked afterwards what a part of the run was like: when the parts lie
//! is only known while the load runs, or after it.
//!
//! Eight bytes per answer, in memory that is there from the beginning: keeping them must not stall the generator.

use std::ops::Range;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::record::{WINDOW_NS, histogram};

/// Nanoseconds in the unit of [`Answer::end`]: 32 bits of them are eleven hours.
const END_UNIT: u64 = 10_000;
/// Nanoseconds in the unit of [`Answer::latency`]: 32 bits of them are an hour.
const LATENCY_UNIT: u64 = 1_000;

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

impl Span {
    /// How long it is.
    pub fn length(&self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

/// An answer: when it came and how long it took, rounded down.
#[derive(Clone, Copy, Debug)]
struct Answer {
    end: u32,
    latency: u32,
}

impl Answer {
    fn new(start_ns: u64, end_ns: u64) -> Answer {
        let unit = |ns: u64, unit| u32::try_from(ns / unit).unwrap_or(u32::MAX);
        Answer { end: unit(end_ns, END_UNIT), latency: unit(end_ns.saturating_sub(start_ns), LATENCY_UNIT) }
    }

    fn end_ns(self) -> u64 {
        u64::from(self.end) * END_UNIT
    }

    fn latency_ns(self) -> u64 {
        u64::from(self.latency) * LATENCY_UNIT
    }
}

/// The answers of a run in the order in which they came.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The zero of all nanoseconds here.
    clock: Instant,
    measured: Range<u64>,
    answers: Vec<Answer>,
    /// Requests that never got one, with their ages.
    missing: Vec<Answer>,
}

/// What the run was like in some spans.
#[derive(Clone, Debug)]
pub struct Part {
    /// Length of the spans, as far as they were measured.
    pub seconds: f64,
    /// Answers that came in them.
    pub answers: u64,
    /// Answers in each of their whole windows of 100 ms.
    pub windows: Vec<u64>,
    /// Latencies in nanoseconds of the requests that waited at any time within them.
    pub latencies: Histogram<u64>,
}

impl Trace {
    /// An empty one of the measured time, in nanoseconds after `clock`, with room for so many answers.
    pub fn new(clock: Instant, measured: Range<u64>, expected: usize) -> Trace {
        Trace { clock, measured, answers: Vec::with_capacity(expected), missing: Vec::new() }
    }

    /// The request of `start_ns` was answered at `end_ns`, which does not decrease from call to call.
    #[inline]
    pub fn answered(&mut self, start_ns: u64, end_ns: u64) {
        if end_ns >= self.measured.start {
            self.answers.push(Answer::new(start_ns, end_ns));
        }
    }

    /// The request of `start_ns` had no answer when the run was given up.
    pub fn unanswered(&mut self, start_ns: u64, end_ns: u64) {
        self.missing.push(Answer::new(start_ns, end_ns));
    }

    /// All that was measured.
    pub fn whole(&self) -> Span {
        let at = |ns| self.clock + Duration::from_nanos(ns);
        Span { from: at(self.measured.start), to: at(self.measured.end) }
    }

    /// What it was like within `spans`, which are in order and apart. One that is shorter than a window counts as a
    /// window.
    pub fn during(&self, spans: &[Span]) -> Part {
        let ranges: Vec<Range<u64>> = spans.iter().filter_map(|span| self.range(span)).collect();
        let waited = |a: &Answer| {
            let (start, end) = (a.end_ns().saturating_sub(a.latency_ns()), a.end_ns());
            start < self.measured.end && ranges.iter().any(|r| start < r.end && end >= r.start)
        };
        let mut latencies = histogram(3);
        for answer in self.answers.iter().chain(&self.missing).filter(|a| waited(a)) {
            latencies.saturating_record(answer.latency_ns().max(1));
        }
        let mut windows = Vec::new();
        for range in &ranges {
            let whole = (range.end - range.start) / WINDOW_NS;
            let at = |w: u64| range.start + w * WINDOW_NS;
            windows.extend((0..whole).map(|w| self.count(&(at(w)..at(w + 1)))));
        }
        Part {
            seconds: ranges.iter().map(|r| (r.end - r.start) as f64 / 1e9).sum(),
            answers: ranges.iter().map(|r| self.count(r)).sum(),
            windows,
            latencies,
        }
    }

    /// The measured part of a span; `None` if nothing of it was measured.
    fn range(&self, span: &Span) -> Option<Range<u64>> {
        let ns = |at: Instant| at.saturating_duration_since(self.clock).as_nanos() as u64;
        let (from, to) = (ns(span.from), ns(span.to));
        let start = from.max(self.measured.start);
        let end = to.max(from + WINDOW_NS).min(self.measured.end);
        (start < end).then_some(start..end)
    }

    fn count(&self, range: &Range<u64>) -> u64 {
        let before = |ns: u64| self.answers.partition_point(|a| a.end_ns() < ns);
        (before(range.end) - before(range.start)) as u64
    }
}

impl Part {
    /// Answers per second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.answers as f64 / self.seconds } else { 0.0 }
    }

    /// Answers per second in the window with the fewest; `None` without a window.
    pub fn worst(&self) -> Option<f64> {
        worst(&self.windows)
    }

    /// The same where only as many windows as `windows` are looked at: the median over the stretches of that length
    /// which it can be cut into. Of more windows the worst one is worse, whatever happens in them.
    pub fn worst_of(&self, windows: usize) -> Option<f64> {
        let stretches = self.windows.chunks_exact(windows.clamp(1, self.windows.len().max(1)));
        let mut each: Vec<f64> = stretches.filter_map(worst).collect();
        (!each.is_empty()).then(|| crate::compare::median(&mut each))
    }

    /// A quantile of the latencies, in nanoseconds.
    pub fn latency(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64
    }
}

fn worst(windows: &[u64]) -> Option<f64> {
    windows.iter().min().map(|ops| *ops as f64 * (1e9 / WINDOW_NS as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Ten answers in every 100 ms of a second, each after 1 ms, but from 300 to 500 ms none: what was due then is
    /// answered at 500 ms.
    fn stalled() -> (Instant, Trace) {
        let clock = Instant::now();
        let mut trace = Trace::new(clock, 0..1000 * MS, 100);
        for due in (0..100).map(|n| n * 10 * MS) {
            let end = if (299 * MS..500 * MS).contains(&due) { 500 * MS } else { due + MS };
            trace.answered(due, end);
        }
        (clock, trace)
    }

    fn span(clock: Instant, ms: Range<u64>) -> Span {
        Span { from: clock + Duration::from_millis(ms.start), to: clock + Duration::from_millis(ms.end) }
    }

    #[test]
    fn a_stall_belongs_to_the_part_in_which_it_happened() {
        let (clock, trace) = stalled();
        let calm = trace.during(&[span(clock, 0..300), span(clock, 600..1000)]);
        assert_eq!(calm.windows, [10; 7]);
        assert_eq!((calm.answers, calm.worst()), (70, Some(100.0)));
        assert!((calm.rate() - 100.0).abs() < 1e-6);
        assert_eq!(calm.latency(1.0) as u64 / MS, 1);
        let stall = trace.during(&[span(clock, 300..500)]);
        assert_eq!((stall.windows.as_slice(), stall.worst()), (&[0, 0][..], Some(0.0)));
        // Those that waited were answered behind the span and count all the same.
        assert!(stall.latency(1.0) >= 199e6, "{}", stall.latency(1.0));
        assert_eq!(stall.latencies.len(), 20);
    }

    #[test]
    fn the_worst_of_few_windows_is_told_from_the_worst_of_all() {
        let (_, trace) = stalled();
        let all = trace.during(&[trace.whole()]);
        assert_eq!(all.windows, [10, 10, 10, 0, 0, 30, 10, 10, 10, 10]);
        assert_eq!(all.worst(), Some(0.0));
        assert_eq!(all.worst_of(2), Some(100.0));
        assert_eq!(all.worst_of(10), Some(0.0));
        assert_eq!(all.worst_of(100), Some(0.0), "there are no more than all");
    }

    #[test]
    fn a_short_span_counts_as_a_window_and_one_outside_not_at_all() {
        let (clock, trace) = stalled();
        assert_eq!(trace.during(&[span(clock, 600..601)]).windows, [10]);
        let outside = trace.during(&[span(clock, 1200..1300)]);
        assert_eq!((outside.worst(), outside.worst_of(1), outside.rate()), (None, None, 0.0));
    }

    #[test]
    fn what_never_came_back_counts_with_its_age() {
        let clock = Instant::now();
        let mut trace = Trace::new(clock, 100 * MS..300 * MS, 1);
        trace.answered(0, 50 * MS);
        trace.unanswered(150 * MS, 900 * MS);
        let part = trace.during(&[trace.whole()]);
        assert_eq!((part.answers, part.latencies.len()), (0, 1), "the warm-up does not count");
        assert!(part.latency(0.5) >= 749e6);
    }
}
