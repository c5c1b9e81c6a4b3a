//! Several servers measured in turn (A, B, A, B, ...), so that what the machine does at the moment hits all of
//! them alike, and their medians side by side.
//!
//! On a shared machine absolute figures wander by tens of per cent within minutes. A ratio is therefore taken
//! within each round first, and the median of those ratios is shown.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;

use crate::error::BenchError;
use crate::load::{LoadOptions, LoadReport, case_label, run};
use crate::report::{nice_ns, nice_rate, three_digits};
use crate::workload::{Mix, MixError};

/// A server, or an ensemble, under a name.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Shown in the table.
    pub name: String,
    /// Where it listens.
    pub servers: Vec<SocketAddr>,
    /// Its processes, if they run on this machine; their CPU time is shown.
    pub pids: Vec<u32>,
}

/// One load to compare under. Written `set:100x10`, `get=90,set=10:32x16`, `set:32x1@20000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is sent.
    pub mix: Mix,
    /// Connections.
    pub connections: usize,
    /// Most requests in flight on each.
    pub window: usize,
    /// Requests per second of an open loop.
    pub rate: Option<u64>,
}

/// A case that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CaseError {
    /// Not of the form of a case.
    #[error(
        "`{0}` is not of the form WORKLOAD:CONNECTIONSxWINDOW[@RATE], such as set:100x10 or get:32x1@20000"
    )]
    Form(String),
    /// The workload in it is wrong.
    #[error(transparent)]
    Mix(#[from] MixError),
}

impl FromStr for Case {
    type Err = CaseError;

    fn from_str(text: &str) -> Result<Case, CaseError> {
        let form = || CaseError::Form(text.to_string());
        let (mix, load) = text.split_once(':').ok_or_else(form)?;
        let (shape, rate) = match load.split_once('@') {
            Some((shape, rate)) => (shape, Some(rate)),
            None => (load, None),
        };
        let (connections, window) = shape.split_once('x').ok_or_else(form)?;
        let positive = |s: &str| s.parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(form);
        let rate = rate.map(positive).transpose()?.map(|n| n as u64);
        Ok(Case { mix: mix.parse()?, connections: positive(connections)?, window: positive(window)?, rate })
    }
}

impl Case {
    /// The case as shown above its table.
    pub fn label(&self) -> String {
        case_label(&self.mix, self.connections, self.window, self.rate)
    }
}

/// The figures of one run that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Good answers per second.
    pub ops_per_s: f64,
    /// Median latency in nanoseconds.
    pub p50_ns: f64,
    /// 99th percentile of the latencies in nanoseconds.
    pub p99_ns: f64,
    /// 99.9th percentile of the same.
    pub p999_ns: f64,
    /// Answers in the quietest 100 ms, per second.
    pub worst_window: f64,
    /// Requests without a good answer.
    pub errors: f64,
    /// Share of a core that the generator used.
    pub generator_cpu: f64,
    /// CPU time of the servers per answer in microseconds.
    pub server_us_per_op: Option<f64>,
    /// Resident memory of the servers in bytes.
    pub server_rss: Option<f64>,
}

impl Figures {
    fn of(report: &LoadReport) -> Figures {
        let all = report.recorded.all();
        let q = |q: f64| all.value_at_quantile(q) as f64;
        Figures {
            ops_per_s: report.recorded.throughput(),
            p50_ns: q(0.5),
            p99_ns: q(0.99),
            p999_ns: q(0.999),
            worst_window: report.recorded.quietest_window().map_or(0.0, |(_, w)| w.ops as f64 * 10.0),
            errors: report.errors() as f64,
            generator_cpu: report.generator_cpu,
            server_us_per_op: report.server_us_per_op(),
            server_rss: report.server_rss.map(|v| v as f64),
        }
    }
}

/// Runs every case against every contestant `rounds` times in turn and returns the tables. `base` holds
/// everything a case does not say. `progress` is told what each run came to.
pub fn compare(
    contestants: &[Contestant],
    cases: &[Case],
    rounds: usize,
    base: &LoadOptions,
    mut progress: impl FnMut(&str),
) -> Result<String, BenchError> {
    let names: Vec<&str> = contestants.iter().map(|c| c.name.as_str()).collect();
    let mut out = String::new();
    for case in cases {
        let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); contestants.len()];
        for round in 1..=rounds {
            for (contestant, figures) in contestants.iter().zip(&mut runs) {
                figures.push(measure(contestant, case, round, base, &mut progress)?);
            }
        }
        let _ = writeln!(out, "{}", table(&case.label(), &names, &runs));
    }
    Ok(out)
}

/// Runs a case against a contestant once. `round` is for `progress`, which is told what the run came to.
pub fn measure(
    contestant: &Contestant,
    case: &Case,
    round: usize,
    base: &LoadOptions,
    mut progress: impl FnMut(&str),
) -> Result<Figures, BenchError> {
    let mut options = base.clone();
    options.servers = contestant.servers.clone();
    options.watch_pids = contestant.pids.clone();
    options.connections = case.connections;
    options.window = case.window;
    options.rate = case.rate;
    options.workload.mix = case.mix.clone();
    let report = run(&options)?;
    let f = Figures::of(&report);
    progress(&format!(
        "{}, round {round}, {}: {} ops/s, p50 {}, p99 {}, errors {}",
        case.label(),
        contestant.name,
        nice_rate(f.ops_per_s),
        nice_ns(f.p50_ns as u64),
        nice_ns(f.p99_ns as u64),
        f.errors
    ));
    Ok(f)
}

/// The middle of the values, or the mean of the two in the middle; not a number if there are none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// The median of the rounds' ratios of two columns; `None` where they do not pair.
pub fn ratio(a: &[f64], b: &[f64]) -> Option<f64> {
    let mut ratios: Vec<f64> = a.iter().zip(b).filter(|(_, b)| **b > 0.0).map(|(a, b)| a / b).collect();
    (!ratios.is_empty() && a.len() == b.len()).then(|| median(&mut ratios))
}

/// The medians of a case: one row per figure, one column per contestant, then the ratio of the first to each of
/// the others.
pub fn table(label: &str, names: &[&str], runs: &[Vec<Figures>]) -> String {
    type Pick = fn(&Figures) -> Option<f64>;
    type Show = fn(f64) -> String;
    let ns: Show = |v| nice_ns(v as u64);
    let rows: [(&str, Pick, Show, bool); 9] = [
        ("ops/s", |f| Some(f.ops_per_s), nice_rate, true),
        ("p50", |f| Some(f.p50_ns), ns, true),
        ("p99", |f| Some(f.p99_ns), ns, true),
        ("p99.9", |f| Some(f.p999_ns), ns, true),
        ("worst 100 ms, ops/s", |f| Some(f.worst_window), nice_rate, true),
        ("server CPU us/op", |f| f.server_us_per_op, three_digits, true),
        ("server RSS MiB", |f| f.server_rss, |v| three_digits(v / (1 << 20) as f64), true),
        ("generator CPU %", |f| Some(f.generator_cpu), |v| format!("{:.0}", v * 100.0), false),
        ("errors", |f| Some(f.errors), |v| format!("{v:.0}"), false),
    ];
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut head = vec![format!("{label} (median of {})", runs.first().map_or(0, Vec::len))];
    head.extend(names.iter().map(ToString::to_string));
    head.extend(names.iter().skip(1).map(|other| format!("{} / {other}", names[0])));
    lines.push(head);
    for (name, pick, show, has_ratio) in rows {
        let column = |run: &[Figures]| run.iter().filter_map(pick).collect::<Vec<f64>>();
        let mut line = vec![name.to_string()];
        for run in runs {
            let mut values = column(run);
            line.push(if values.is_empty() { "-".into() } else { show(median(&mut values)) });
        }
        for other in runs.iter().skip(1) {
            let shown = has_ratio.then(|| ratio(&column(&runs[0]), &column(other))).flatten();
            line.push(shown.map_or("-".into(), |r| format!("{r:.2}")));
        }
        if line[1..].iter().any(|cell| cell != "-") {
            lines.push(line);
        }
    }
    align(&lines)
}

/// Lines of cells with equal column widths: the first column to the left, the others to the right.
pub fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| lines.iter().filter_map(|l| l.get(c)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (c, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = if c == 0 { write!(out, "{cell:<width$}") } else { write!(out, "   {cell:>width$}") };
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a run that is no more than these came to.
    pub(crate) fn figures(ops_per_s: f64, p50_ns: f64, p99_ns: f64) -> Figures {
        Figures {
            ops_per_s,
            p50_ns,
            p99_ns,
            p999_ns: p99_ns,
            worst_window: 0.0,
            errors: 0.0,
            generator_cpu: 0.5,
            server_us_per_op: None,
            server_rss: None,
        }
    }

    #[test]
    fn cases_are_read() {
        let case: Case = "get=90,set=10:32x16@20000".parse().unwrap();
        assert_eq!((case.connections, case.window, case.rate), (32, 16, Some(20_000)));
        assert_eq!(case.label(), "get=90,set=10 32x16 at 20000/s");
        assert_eq!("set:100x10".parse::<Case>().unwrap().label(), "set 100x10");
        for bad in ["set", "set:100", "set:0x1", "set:1x1@0", "set:ax1"] {
            assert_eq!(bad.parse::<Case>(), Err(CaseError::Form(bad.into())), "{bad}");
        }
        assert!(matches!("put:1x1".parse::<Case>(), Err(CaseError::Mix(_))));
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        let figures = |ops| figures(ops, 1000.0, 1000.0);
        // The machine was three times slower in the second round; the ratio is 2 in each.
        let a = [600.0, 200.0, 500.0].map(figures).to_vec();
        let b = [300.0, 100.0, 250.0].map(figures).to_vec();
        let text = table("set 1x1", &["a", "b"], &[a, b]);
        let ops: Vec<&str> =
            text.lines().find(|l| l.starts_with("ops/s")).unwrap().split_whitespace().collect();
        assert_eq!(ops, ["ops/s", "500", "250", "2.00"]);
        assert!(!text.contains("server CPU"), "rows without a value are left out:\n{text}");
    }
}
