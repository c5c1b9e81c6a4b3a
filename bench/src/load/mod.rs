//! The load generator: many connections, one thread, one epoll.
//!
//! Closed loop: every connection keeps `window` requests in flight and sends the next when an answer comes; a
//! latency counts from the moment before the write. Open loop: requests become due by [`crate::schedule`] and
//! are sent as soon as the window of their connection has room; a latency counts from the due time.
//!
//! The loop must stay faster than any server it measures: per batch of answers one read, one write and two looks
//! at the clock, nothing allocated. [`LoadReport::generator_cpu`] tells when it was the limit all the same.

mod conn;
mod engine;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::error::BenchError;
use crate::record::Recorded;
use crate::session::Session;
use crate::workload::{Mix, Names, Naming, Op, WorkloadOptions, data};

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where to connect; the connections are spread over them in turn.
    pub servers: Vec<SocketAddr>,
    /// Connections, each with its session.
    pub connections: usize,
    /// Most requests in flight on each connection.
    pub window: usize,
    /// Requests per second over all connections (open loop), or `None` for a closed loop.
    pub rate: Option<u64>,
    /// What is sent.
    pub workload: WorkloadOptions,
    /// Under which names.
    pub names: Names,
    /// Time before the measured interval.
    pub warmup: Duration,
    /// The measured interval.
    pub measure: Duration,
    /// How long the last answers are waited for after it.
    pub drain: Duration,
    /// Replace lost connections instead of giving up.
    pub reconnect: bool,
    /// Session timeout to ask for, in milliseconds.
    pub session_timeout_ms: i32,
    /// Leave the znodes behind.
    pub keep: bool,
    /// Keep every answer of an open loop ([`Recorded::trace`]).
    pub trace: bool,
    /// Processes whose CPU time is reported (the servers, if they run on this machine).
    pub watch_pids: Vec<u32>,
}

impl LoadOptions {
    /// A short description of the load, such as `set 100x10` or `get=90,set=10 32x16 at 20000/s`.
    pub fn label(&self) -> String {
        case_label(&self.workload.mix, self.connections, self.window, self.rate)
    }

    /// How many answers a trace is to have room for from the beginning; `None` if none is kept.
    fn traced_answers(&self) -> Option<usize> {
        let rate = self.rate.filter(|_| self.trace)?;
        Some((rate as f64 * self.measure.as_secs_f64()) as usize)
    }
}

/// See [`LoadOptions::label`].
pub fn case_label(mix: &Mix, connections: usize, window: usize, rate: Option<u64>) -> String {
    match rate {
        None => format!("{mix} {connections}x{window}"),
        Some(rate) => format!("{mix} {connections}x{window} at {rate}/s"),
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// Latencies, throughput and time series.
    pub recorded: Recorded,
    /// Error codes that servers answered with, and how often (warm-up included).
    pub error_codes: BTreeMap<i32, u64>,
    /// Requests lost with their connection.
    pub lost: u64,
    /// Requests that were sent or due and had no answer when the run was given up.
    pub unanswered: u64,
    /// Connections replaced.
    pub reconnects: u64,
    /// Open loop: how late the generator itself took up due requests, in nanoseconds.
    pub send_lag: Option<Histogram<u64>>,
    /// Share of one core that the generator used in the measured interval, 0 to 1.
    pub generator_cpu: f64,
    /// Cores that the watched processes used in the measured interval.
    pub server_cores: Option<f64>,
    /// Resident memory of the watched processes at its end, in bytes.
    pub server_rss: Option<u64>,
}

impl LoadReport {
    /// Requests that did not get a good answer.
    pub fn errors(&self) -> u64 {
        self.error_codes.values().sum::<u64>() + self.lost + self.unanswered
    }

    /// CPU time of the servers per answer, in microseconds.
    pub fn server_us_per_op(&self) -> Option<f64> {
        let ops = self.recorded.total_ops();
        (ops > 0).then_some(self.server_cores? * self.recorded.seconds * 1e6 / ops as f64)
    }
}

/// What the engine leaves to be removed.
#[derive(Clone, Copy, Debug, Default)]
struct Created {
    /// Numbered creates generated.
    numbered: u64,
    /// Lowest and highest suffix of sequential creates.
    sequential: Option<(u64, u64)>,
}

/// Prepares the znodes, runs the load, and removes the znodes again unless they are to be kept.
pub fn run(options: &LoadOptions) -> Result<LoadReport, BenchError> {
    let workload = &options.workload;
    if !workload.mix.is_idle() {
        let mut session = first_session(&options.servers)?;
        session.create_root(&options.names.root)?;
        if workload.mix.needs_keys() {
            let keys = (0..u64::from(workload.keys)).map(|n| options.names.key(n));
            session.fill(keys, &data(workload.size))?;
        }
        session.close()?;
    }
    let (report, created) = engine::drive(options)?;
    if !workload.mix.is_idle() && !options.keep {
        clean_up(options, created)?;
    }
    Ok(report)
}

/// Runs the load on znodes that are there, and leaves them.
pub fn run_on_what_is_there(options: &LoadOptions) -> Result<LoadReport, BenchError> {
    engine::drive(options).map(|(report, _)| report)
}

fn first_session(servers: &[SocketAddr]) -> Result<Session, BenchError> {
    let mut last = None;
    for server in servers {
        match Session::open(*server) {
            Ok(session) => return Ok(session),
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(|| BenchError::Timeout { what: "no server was named".into(), seconds: 0 }))
}

fn clean_up(options: &LoadOptions, created: Created) -> Result<(), BenchError> {
    let names = &options.names;
    let mut session = first_session(&options.servers)?;
    if options.workload.mix.needs_keys() {
        session.remove((0..u64::from(options.workload.keys)).map(|n| names.key(n)))?;
    }
    if options.workload.mix.has(Op::Create) {
        match options.workload.naming {
            Naming::Numbered => session.remove((0..created.numbered).map(|n| names.numbered(n)))?,
            Naming::Sequential => {
                if let Some((first, last)) = created.sequential {
                    let prefix = names.sequential_prefix();
                    session.remove((first..=last).map(|n| format!("{prefix}{n:010}")))?;
                }
            }
        }
    }
    session.remove_root(&names.root)?;
    session.close()
}
