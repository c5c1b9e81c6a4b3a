//! `rkbench failover`: how long an ensemble is without writes when its leader is killed.
//!
//! Measured by a client, from SIGKILL to the next acknowledgement: it comes from a write that was sent after the kill, so
//! it is the work of another leader.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::Signal;

use super::versus::start_all;
use super::writer::Writer;
use super::{Ensemble, MEMBERS};
use crate::compare::{align, median};
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make};
use crate::process::Home;
use crate::report::three_digits;
use crate::session::Session;

/// Znode that is written.
const PATH: &str = "/rkbench-failover";
/// Width of a row of the histogram, in milliseconds.
const BUCKET_MS: f64 = 50.0;
/// A kill comes at a moment that has nothing to do with the servers' ticks: so many milliseconds, at most, after the
/// writer was seen to write.
const SPREAD_MS: u64 = 500;
/// What ringkeeper wants to stay within, in milliseconds: the median, and the worst.
const GOALS_MS: (f64, f64) = (250.0, 600.0);

/// Settings of `rkbench failover`.
#[derive(Clone, Debug, Args)]
pub struct FailoverArgs {
    /// Who takes part.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Make::Ringkeeper, Make::Apache])]
    pub with: Vec<Make>,
    /// How often the leader of each ensemble is killed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub kills: u32,
    /// Where the servers come from.
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// What the kills came to for one make.
#[derive(Clone, Debug, Default)]
struct Outages {
    name: &'static str,
    /// Each in milliseconds, in the order of the kills.
    times: Vec<f64>,
    sessions_lost: u64,
}

/// Starts, kills the leaders in turn, prints, stops.
pub fn run(args: &FailoverArgs) -> Result<(), BenchError> {
    let home = Home::new(&args.launch.dir)?;
    let mut ensembles = start_all(&args.with, &args.launch, &home)?;
    let mut outages: Vec<Outages> =
        args.with.iter().map(|make| Outages { name: make.name(), ..Outages::default() }).collect();
    for ensemble in &ensembles {
        let mut session = Session::open(ensemble.client(0))?;
        session.create_root(PATH)?;
        session.close()?;
    }
    for kill in 1..=args.kills {
        for (ensemble, outages) in ensembles.iter_mut().zip(&mut outages) {
            // The writer is at the leader as often as at each follower.
            one(ensemble, kill as usize % MEMBERS, outages)?;
            let ms = outages.times.last().copied().unwrap_or_default();
            eprintln!("kill {kill}, {}: {ms:.0} ms", ensemble.name());
        }
    }
    print!("{}", text(&outages));
    Ok(())
}

/// Kills the leader under a writer and brings it back.
fn one(ensemble: &mut Ensemble, first: usize, outages: &mut Outages) -> Result<(), BenchError> {
    let leader = ensemble.await_serving(None)?;
    let members = (0..MEMBERS).map(|n| ensemble.client(n)).collect();
    let writer = Writer::start(members, (leader + first) % MEMBERS, PATH);
    writer.acknowledged_after(Instant::now())?;
    thread::sleep(Duration::from_millis(fastrand::u64(..SPREAD_MS)));
    let killed = Instant::now();
    ensemble.signal(leader, Signal::KILL);
    let acknowledged = writer.acknowledged_after(Instant::now())?;
    let written = writer.finish()?;
    ensemble.kill(leader);
    ensemble.restart(leader)?;
    // Awaited here, not at the next kill, so that nobody starts up while others are measured.
    ensemble.await_serving(None)?;
    outages.times.push(acknowledged.duration_since(killed).as_secs_f64() * 1e3);
    outages.sessions_lost += written.sessions_lost;
    Ok(())
}

/// The histogram, then every value.
fn text(all: &[Outages]) -> String {
    let mut lines = vec![row("SIGKILL of the leader to the next write", all, |o| o.name.to_string())];
    let ms = |v: f64| format!("{} ms", three_digits(v));
    lines.push(row("p50", all, |o| ms(p50(o))));
    lines.push(row("max", all, |o| ms(max(o))));
    lines.push(row("sessions lost", all, |o| o.sessions_lost.to_string()));
    let bucket = |v: &f64| (v / BUCKET_MS) as usize;
    let last = all.iter().flat_map(|o| &o.times).map(bucket).max().unwrap_or(0);
    for b in 0..=last {
        let count = |o: &Outages| o.times.iter().filter(|v| bucket(v) == b).count();
        if all.iter().any(|o| count(o) > 0) {
            let from = b as f64 * BUCKET_MS;
            let label = format!("{from:.0} to {:.0} ms", from + BUCKET_MS);
            lines.push(row(&label, all, |o| "#".repeat(count(o))));
        }
    }
    let mut out = align(&lines);
    // Writing to a String cannot fail.
    for o in all {
        let values: Vec<String> = o.times.iter().map(|v| format!("{v:.0}")).collect();
        let _ = writeln!(out, "{}, all in ms: {}", o.name, values.join(" "));
    }
    for o in all.iter().filter(|o| o.name == Make::Ringkeeper.name()) {
        let (median, worst) = GOALS_MS;
        let verdict = if p50(o) <= median && max(o) <= worst { "met" } else { "missed" };
        let _ = writeln!(out, "wanted: p50 at most {median:.0} ms, max at most {worst:.0} ms: {verdict}");
    }
    out
}

fn p50(outages: &Outages) -> f64 {
    median(&mut outages.times.clone())
}

fn max(outages: &Outages) -> f64 {
    outages.times.iter().copied().fold(0.0, f64::max)
}

fn row(label: &str, all: &[Outages], cell: impl Fn(&Outages) -> String) -> Vec<String> {
    std::iter::once(label.to_string()).chain(all.iter().map(cell)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outages(make: Make, times: &[f64]) -> Outages {
        Outages { name: make.name(), times: times.to_vec(), sessions_lost: 0 }
    }

    fn words<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
        let line = text.lines().find(|l| l.starts_with(label)).expect(label);
        line[label.len()..].split_whitespace().collect()
    }

    #[test]
    fn the_histogram_shows_every_value_once_and_no_empty_row() {
        let ours = outages(Make::Ringkeeper, &[210.0, 49.9, 50.0, 240.0]);
        let theirs = outages(Make::Apache, &[435.0, 440.0, 1210.0]);
        let text = text(&[ours, theirs]);
        assert_eq!(words(&text, "p50"), ["130", "ms", "440", "ms"], "{text}");
        assert_eq!(words(&text, "max"), ["240", "ms", "1210", "ms"]);
        assert_eq!(words(&text, "0 to 50 ms"), ["#"]);
        assert_eq!(words(&text, "200 to 250 ms"), ["##"]);
        assert_eq!(words(&text, "400 to 450 ms"), ["##"]);
        assert!(!text.contains("\n100 to 150"), "{text}");
        assert_eq!(words(&text, "ringkeeper, all in ms:"), ["210", "50", "50", "240"]);
        assert!(text.ends_with("max at most 600 ms: met\n"), "{text}");
    }

    #[test]
    fn one_slow_failover_misses_the_goal() {
        let text = text(&[outages(Make::Ringkeeper, &[100.0, 100.0, 601.0])]);
        assert!(text.ends_with(": missed\n"), "{text}");
    }
}
