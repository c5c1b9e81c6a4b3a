//! `rkbench restart`: how long a node with many znodes takes to serve again, and in how much memory.
//!
//! Counted is the time from starting the process to the first answer to a read, by a client that does not give up, and
//! the resident memory at that moment. Before each stop some writes are made, so that there is log behind the snapshot.

use std::fmt;
use std::time::Instant;

use clap::Args;

use super::single::Single;
use super::{StateArgs, verdict};
use crate::compare::{align, median, ratio};
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make};
use crate::load::run_on_what_is_there;
use crate::proc;
use crate::process::Home;
use crate::report::three_digits;

/// What ringkeeper wants to stay within: seconds, and MB of resident memory.
const GOALS: (f64, f64) = (1.5, 250.0);

/// Settings of `rkbench restart`.
#[derive(Clone, Debug, Args)]
pub struct RestartArgs {
    /// Who takes part.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Make::Ringkeeper, Make::Apache])]
    pub with: Vec<Make>,
    /// How often each node is ended in each way.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of sets before each end.
    #[arg(long, default_value_t = 2)]
    pub seconds: u32,
    /// What there is.
    #[command(flatten)]
    pub state: StateArgs,
    /// Where the servers come from.
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// How a node is ended; the numbers are the columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kill,
    Term,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Kill => "SIGKILL",
            End::Term => "SIGTERM",
        })
    }
}

/// What one restart came to.
#[derive(Clone, Copy, Debug, Default)]
struct Restart {
    /// To the first answer.
    seconds: f64,
    /// Resident memory then, in MB.
    resident_mb: f64,
    /// Snapshots, and bytes of log in MB, that were there.
    snapshots: usize,
    log_mb: f64,
}

/// Starts, plants, ends and starts again in turn, prints.
pub fn run(args: &RestartArgs) -> Result<(), BenchError> {
    let state = args.state.effective();
    let (rounds, seconds) = if state.quick { (1, 0.5) } else { (args.rounds, f64::from(args.seconds)) };
    let home = Home::new(&args.launch.dir)?;
    let mut nodes = Vec::new();
    for make in &args.with {
        let node = Single::start(*make, &args.launch, home.path(), "alone", "")?;
        state.plant(make.name(), node.addr())?;
        nodes.push(node);
    }
    let mut all: Vec<[Vec<Restart>; 2]> = vec![Default::default(); nodes.len()];
    for round in 1..=rounds {
        for end in [End::Kill, End::Term] {
            for (node, all) in nodes.iter_mut().zip(&mut all) {
                let restart = one(node, end, &state, seconds)?;
                let name = node.make().name();
                eprintln!("round {round}, {name}, {end}: {:.2} s", restart.seconds);
                all[end as usize].push(restart);
            }
        }
    }
    print!("{}", text(&args.with, &state, &all));
    Ok(())
}

/// Writes, ends, starts again.
fn one(node: &mut Single, end: End, state: &StateArgs, seconds: f64) -> Result<Restart, BenchError> {
    node.await_snapshot(state.bytes())?;
    run_on_what_is_there(&state.sets(node.addr(), Vec::new(), None, seconds))?;
    node.subject().rest()?;
    match end {
        End::Kill => node.kill(),
        End::Term => node.stop(),
    }
    let there = node.listing()?;
    let start = Instant::now();
    node.restart()?;
    node.await_read(&StateArgs::path(state.nodes - 1))?;
    let seconds = start.elapsed().as_secs_f64();
    let resident = proc::rss_bytes(node.pid()).unwrap_or(0);
    Ok(Restart {
        seconds,
        resident_mb: resident as f64 / 1e6,
        snapshots: there.snapshots.len(),
        log_mb: there.logs.iter().map(|log| log.len as f64 / 1e6).sum(),
    })
}

/// The table, and what ringkeeper was wanted to reach.
fn text(makes: &[Make], state: &StateArgs, all: &[[Vec<Restart>; 2]]) -> String {
    type Pick = fn(&Restart) -> f64;
    let label = format!("{} znodes x {} B", state.nodes, state.size);
    let mut head = vec![format!("{label} (median of {})", all.first().map_or(0, |a| a[0].len()))];
    let columns: Vec<&[Restart]> = all.iter().flat_map(|ends| ends.each_ref().map(Vec::as_slice)).collect();
    for make in makes {
        head.extend([End::Kill, End::Term].map(|end| format!("{}, {end}", make.name())));
    }
    let mut lines = vec![head];
    let rows: [(&str, Pick); 4] = [
        ("start to the first answer, s", |r| r.seconds),
        ("resident memory then, MB", |r| r.resident_mb),
        ("snapshots found", |r| r.snapshots as f64),
        ("files of the log found, MB", |r| r.log_mb),
    ];
    for (name, pick) in rows {
        let cells = columns.iter().map(|column| three_digits(median(&mut values(column, pick))));
        lines.push(std::iter::once(name.to_string()).chain(cells).collect());
    }
    let mut out = align(&lines);
    if let ([Make::Ringkeeper, Make::Apache], [ours, theirs]) = (makes, all) {
        let ratio = |end: End, pick: Pick| {
            let [ours, theirs] = [ours, theirs].map(|ends| values(&ends[end as usize], pick));
            ratio(&ours, &theirs).map_or("-".into(), |r| format!("{r:.3}"))
        };
        out.push_str(&format!(
            "ringkeeper / apache: time {} and {}, memory {} and {}\n",
            ratio(End::Kill, |r| r.seconds),
            ratio(End::Term, |r| r.seconds),
            ratio(End::Kill, |r| r.resident_mb),
            ratio(End::Term, |r| r.resident_mb)
        ));
    }
    for (_, ends) in makes.iter().zip(all).filter(|(make, _)| **make == Make::Ringkeeper) {
        let worst = |pick: Pick| ends.iter().map(|e| median(&mut values(e, pick))).fold(0.0, f64::max);
        let (seconds, memory) = (worst(|r| r.seconds), worst(|r| r.resident_mb));
        out.push_str(&format!(
            "wanted: at most {} s, is {seconds:.2}: {}\nwanted: at most {} MB, is {memory:.0}: {}\n",
            GOALS.0,
            verdict(seconds <= GOALS.0),
            GOALS.1,
            verdict(memory <= GOALS.1)
        ));
    }
    out
}

fn values(column: &[Restart], pick: fn(&Restart) -> f64) -> Vec<f64> {
    column.iter().map(pick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts(seconds: f64, resident_mb: f64) -> Vec<Restart> {
        vec![Restart { seconds, resident_mb, ..Restart::default() }; 3]
    }

    #[test]
    fn the_slower_way_decides_and_apache_is_only_compared() {
        let state = StateArgs { nodes: 1000, size: 100, quick: false };
        let ours = [restarts(1.0, 200.0), restarts(1.6, 240.0)];
        let theirs = [restarts(10.0, 800.0), restarts(8.0, 800.0)];
        let said = text(&[Make::Ringkeeper, Make::Apache], &state, &[ours, theirs.clone()]);
        assert!(said.contains("time 0.100 and 0.200, memory 0.250 and 0.300"), "{said}");
        assert!(said.contains("at most 1.5 s, is 1.60: missed"), "{said}");
        assert!(said.contains("at most 250 MB, is 240: met"), "{said}");
        let alone = text(&[Make::Apache], &state, &[theirs]);
        assert!(!alone.contains("wanted") && !alone.contains(" / "), "{alone}");
    }
}
