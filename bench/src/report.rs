//! Prints what came of a run: a table for people, one JSON line for machines, a CSV of the time series.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use hdrhistogram::Histogram;

use crate::error::{BenchError, code_name};
use crate::load::{LoadOptions, LoadReport};
use crate::record::{WINDOW_NS, Window};
use crate::workload::Op;

/// Share of a core above which the generator may have been the limit.
const GENERATOR_BUSY: f64 = 0.9;

/// A duration with three significant digits and its unit.
pub fn nice_ns(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A number with at least three significant digits.
pub fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// A count per second with a thousands separator.
pub fn nice_rate(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// The report as text.
pub fn text(options: &LoadOptions, report: &LoadReport) -> String {
    let mut out = String::new();
    let r = &report.recorded;
    let servers: Vec<String> = options.servers.iter().map(ToString::to_string).collect();
    let workload = &options.workload;
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{}, {} B, {} keys, {:.1} s after {:.1} s of warm-up, {}",
        options.label(),
        workload.size,
        workload.keys,
        r.seconds,
        options.warmup.as_secs_f64(),
        servers.join(",")
    );
    let _ = writeln!(out, "throughput  {} ops/s    errors {}", nice_rate(r.throughput()), report.errors());
    let _ = writeln!(
        out,
        "{:<8}{:>12}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "latency", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "max"
    );
    let used = || Op::ALL.into_iter().filter(|op| workload.mix.has(*op));
    for op in used() {
        latency_row(&mut out, op.name(), &r.by_op[op.index()]);
    }
    if used().count() > 1 {
        latency_row(&mut out, "all", &r.all());
    }
    if let (Some((qi, q)), Some((si, s))) = (r.quietest_window(), r.slowest_window()) {
        let at = |i: usize| i as f64 * WINDOW_NS as f64 / 1e9;
        let _ = writeln!(
            out,
            "worst 100 ms: fewest answers {} at {:.1} s (mean {:.0}); highest p99 {} (max {}) at {:.1} s",
            q.ops,
            at(qi),
            r.throughput() * WINDOW_NS as f64 / 1e9,
            nice_ns(s.p99_ns),
            nice_ns(s.max_ns),
            at(si),
        );
    }
    for (code, count) in &report.error_codes {
        let _ = writeln!(out, "error {code} ({}): {count}", code_name(*code));
    }
    if report.lost > 0 || report.reconnects > 0 {
        let _ = writeln!(
            out,
            "lost with a connection: {}, attempts to reconnect: {}",
            report.lost, report.reconnects
        );
    }
    if report.unanswered > 0 {
        let _ = writeln!(out, "never answered: {} (their ages are in the table)", report.unanswered);
    }
    if let Some(lag) = &report.send_lag {
        let _ = writeln!(
            out,
            "generator took up due requests late by: p50 {}, p99 {}, max {}",
            nice_ns(lag.value_at_quantile(0.5)),
            nice_ns(lag.value_at_quantile(0.99)),
            nice_ns(lag.max())
        );
    }
    let _ = write!(out, "generator used {:.0} % of a core", report.generator_cpu * 100.0);
    if report.generator_cpu > GENERATOR_BUSY {
        let _ = write!(out, ": it may have been the limit");
    }
    if let Some(cores) = report.server_cores {
        let _ = write!(out, "; servers used {cores:.2} cores");
    }
    out.push('\n');
    out
}

fn latency_row(out: &mut String, name: &str, h: &Histogram<u64>) {
    let q = |q: f64| nice_ns(h.value_at_quantile(q));
    let _ = writeln!(
        out,
        "{name:<8}{:>12}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}",
        h.len(),
        nice_ns(if h.is_empty() { 0 } else { h.min() }),
        nice_ns(h.mean() as u64),
        q(0.5),
        q(0.9),
        q(0.99),
        q(0.999),
        nice_ns(h.max())
    );
}

/// The report as one line of JSON. Latencies are in microseconds, times in seconds or as named.
pub fn json(options: &LoadOptions, report: &LoadReport) -> String {
    let r = &report.recorded;
    let workload = &options.workload;
    let servers: Vec<String> = options.servers.iter().map(|s| format!("\"{s}\"")).collect();
    let mut out = format!(
        "{{\"workload\":\"{}\",\"servers\":[{}],\"connections\":{},\"window\":{},\"rate\":{},\"size\":{},\
         \"keys\":{},\"seconds\":{:.3},\"ops\":{},\"ops_per_s\":{:.1},\"errors\":{},\"lost\":{},\
         \"unanswered\":{},\"reconnects\":{}",
        workload.mix,
        servers.join(","),
        options.connections,
        options.window,
        options.rate.map_or("null".into(), |r| r.to_string()),
        workload.size,
        workload.keys,
        r.seconds,
        r.total_ops(),
        r.throughput(),
        report.errors(),
        report.lost,
        report.unanswered,
        report.reconnects,
    );
    let codes: Vec<String> = report.error_codes.iter().map(|(c, n)| format!("\"{c}\":{n}")).collect();
    let _ = write!(out, ",\"error_codes\":{{{}}}", codes.join(","));
    latency_json(&mut out, "latency_us", &r.all());
    for op in Op::ALL.into_iter().filter(|op| workload.mix.has(*op)) {
        latency_json(&mut out, &format!("{}_us", op.name()), &r.by_op[op.index()]);
    }
    if let (Some((qi, q)), Some((si, s))) = (r.quietest_window(), r.slowest_window()) {
        let at = |i: usize| i as u64 * (WINDOW_NS / 1_000_000);
        let _ = write!(
            out,
            ",\"worst_window\":{{\"fewest_ops\":{},\"fewest_at_ms\":{},\"p99_us\":{:.1},\"p99_at_ms\":{}}}",
            q.ops,
            at(qi),
            s.p99_ns as f64 / 1e3,
            at(si)
        );
    }
    if let Some(lag) = &report.send_lag {
        latency_json(&mut out, "send_lag_us", lag);
    }
    let _ = write!(out, ",\"generator_cpu\":{:.3}", report.generator_cpu);
    let number = |v: Option<f64>| v.map_or("null".into(), |v| format!("{v:.3}"));
    let _ = write!(
        out,
        ",\"server_cores\":{},\"server_us_per_op\":{},\"server_rss_bytes\":{}}}",
        number(report.server_cores),
        number(report.server_us_per_op()),
        report.server_rss.map_or("null".into(), |v| v.to_string())
    );
    out
}

fn latency_json(out: &mut String, name: &str, h: &Histogram<u64>) {
    let us = |ns: u64| ns as f64 / 1e3;
    let q = |q: f64| us(h.value_at_quantile(q));
    let _ = write!(
        out,
        ",\"{name}\":{{\"count\":{},\"min\":{:.1},\"mean\":{:.1},\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\
         \"p99.9\":{:.1},\"max\":{:.1}}}",
        h.len(),
        us(if h.is_empty() { 0 } else { h.min() }),
        h.mean() / 1e3,
        q(0.5),
        q(0.9),
        q(0.99),
        q(0.999),
        us(h.max())
    );
}

/// The time series as CSV: a header and one line per window of 100 ms; latencies in microseconds.
pub fn series_csv(windows: &[Window]) -> String {
    let mut out = String::from("t_ms,ops,p50_us,p99_us,max_us\n");
    for (i, w) in windows.iter().enumerate() {
        let us = |ns: u64| ns as f64 / 1e3;
        let t = i as u64 * (WINDOW_NS / 1_000_000);
        let _ = writeln!(out, "{t},{},{:.1},{:.1},{:.1}", w.ops, us(w.p50_ns), us(w.p99_ns), us(w.max_ns));
    }
    out
}

/// Writes [`series_csv`] to a file.
pub fn write_series(path: &Path, windows: &[Window]) -> Result<(), BenchError> {
    let error = |source| BenchError::File { doing: "writing the time series to", path: path.into(), source };
    let mut file = BufWriter::new(File::create(path).map_err(error)?);
    file.write_all(series_csv(windows).as_bytes()).and_then(|()| file.flush()).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_rates_are_readable() {
        assert_eq!(nice_ns(999), "999 ns");
        assert_eq!(nice_ns(1_234), "1.23 us");
        assert_eq!(nice_ns(123_400_000), "123 ms");
        assert_eq!(nice_ns(12_340_000_000), "12.3 s");
        assert_eq!(nice_rate(999.4), "999");
        assert_eq!(nice_rate(1_234_567.0), "1 234 567");
    }

    #[test]
    fn the_time_series_shows_empty_windows() {
        let busy = Window { ops: 7, p50_ns: 1_500, p99_ns: 2_000, max_ns: 3_000 };
        assert_eq!(
            series_csv(&[busy, Window::default()]),
            "t_ms,ops,p50_us,p99_us,max_us\n0,7,1.5,2.0,3.0\n100,0,0.0,0.0,0.0\n"
        );
    }
}
