//! `rkbench stopped-follower`: what a follower that is stopped, but not dead, costs the others.
//!
//! Its connections stay open and take nothing, so a leader that waits for it, or keeps too much for it, is slower than
//! one whose follower is gone. Both are measured in each round, and how the follower is brought up to date afterwards.

use std::fmt;
use std::time::Instant;

use clap::Args;
use rustix::process::Signal;

use super::versus::start_all;
use super::{Ensemble, MEMBERS, Syncs};
use crate::cli::LoadArgs;
use crate::compare::{Case, Contestant, Figures, measure, ratio, table};
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make};
use crate::load::LoadOptions;
use crate::process::Home;

/// The least share of the throughput with the follower killed that is wanted with the follower stopped.
const GOAL: f64 = 0.9;

/// Settings of `rkbench stopped-follower`.
///
/// The load begins right after the follower was hurt, and there is no warm-up: the time in which the leader still waits
/// for the follower belongs to what is measured.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("seconds", |a| a.default_value("60")), mut_arg("warmup", |a| a.default_value("0")))]
pub struct StoppedArgs {
    /// Who takes part.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Make::Ringkeeper])]
    pub with: Vec<Make>,
    /// `WORKLOAD:CONNECTIONSxWINDOW[@RATE]`, spread over the two members that run.
    #[arg(long, default_value = "set:99x10")]
    pub case: Case,
    /// How often each way is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Where the servers come from.
    #[command(flatten)]
    pub launch: LaunchArgs,
    /// What all runs share.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// What is done to the follower; the numbers are the columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hurt {
    Stopped,
    Killed,
}

/// Both ways, each first in every other round: the first run of all finds a server that is not warm.
fn order(round: usize) -> [Hurt; 2] {
    if round.is_multiple_of(2) { [Hurt::Stopped, Hurt::Killed] } else { [Hurt::Killed, Hurt::Stopped] }
}

impl Hurt {
    fn name(self) -> &'static str {
        match self {
            Hurt::Killed => "killed",
            Hurt::Stopped => "stopped",
        }
    }
}

/// How a follower came back.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Back {
    /// From SIGCONT, or from being started, until it was synchronised, in seconds.
    seconds: f64,
    /// What the leader counted meanwhile; none if another one leads.
    syncs: Option<Syncs>,
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.syncs {
            None => "in a way nobody counted: another member leads",
            Some(Syncs { diff: 0, snap: 0 }) => "without synchronisation: the leader had not given it up",
            Some(Syncs { snap: 0, .. }) => "by DIFF",
            Some(Syncs { diff: 0, .. }) => "by SNAP",
            Some(_) => "by DIFF and SNAP",
        };
        write!(f, "{way}, after {:.1} s", self.seconds)
    }
}

/// Starts, measures both ways in turn, prints, stops.
pub fn run(args: &StoppedArgs) -> Result<(), BenchError> {
    let home = Home::new(&args.launch.dir)?;
    let base = args.load.options();
    for ensemble in &mut start_all(&args.with, &args.launch, &home)? {
        let mut runs: [Vec<Figures>; 2] = Default::default();
        for round in 1..=args.rounds as usize {
            for hurt in order(round) {
                runs[hurt as usize].push(one(ensemble, hurt, &args.case, round, &base)?);
            }
        }
        print!("{}", text(ensemble.make, &args.case, &runs));
    }
    Ok(())
}

/// Measures with a follower hurt, and brings it back.
fn one(
    ensemble: &mut Ensemble,
    hurt: Hurt,
    case: &Case,
    round: usize,
    base: &LoadOptions,
) -> Result<Figures, BenchError> {
    let leader = ensemble.await_serving(None)?;
    let third = (leader + 1) % MEMBERS;
    let before = ensemble.syncs(leader)?;
    match hurt {
        Hurt::Killed => ensemble.kill(third),
        Hurt::Stopped => ensemble.signal(third, Signal::STOP),
    }
    let others = (0..MEMBERS).filter(|n| *n != third);
    let contestant = Contestant {
        name: format!("{}, follower {}", ensemble.name(), hurt.name()),
        servers: others.map(|n| ensemble.client(n)).collect(),
        // The third is one of them where it is stopped, and uses nothing.
        pids: ensemble.pids(),
    };
    let figures = measure(&contestant, case, round, base, |line| eprintln!("{line}"))?;
    let start = Instant::now();
    match hurt {
        Hurt::Killed => ensemble.restart(third)?,
        Hurt::Stopped => ensemble.signal(third, Signal::CONT),
    }
    let leads = ensemble.await_serving(None)?;
    let seconds = start.elapsed().as_secs_f64();
    let syncs = if leads == leader { Some(ensemble.syncs(leader)?.since(before)) } else { None };
    eprintln!("  it came back {}", Back { seconds, syncs });
    Ok(figures)
}

impl Syncs {
    /// What was added to `before`.
    pub(super) fn since(self, before: Syncs) -> Syncs {
        Syncs { diff: self.diff.saturating_sub(before.diff), snap: self.snap.saturating_sub(before.snap) }
    }
}

/// The table of a make, stopped beside killed, and what ringkeeper was wanted to reach.
fn text(make: Make, case: &Case, runs: &[Vec<Figures>; 2]) -> String {
    let label = format!("{}, {}, a follower", make.name(), case.label());
    let mut text = table(&label, &[Hurt::Stopped.name(), Hurt::Killed.name()], runs);
    let [stopped, killed] = runs.each_ref().map(|run| run.iter().map(|f| f.ops_per_s).collect::<Vec<f64>>());
    if let (Make::Ringkeeper, Some(ratio)) = (make, ratio(&stopped, &killed)) {
        let verdict = if ratio >= GOAL { "met" } else { "missed" };
        text.push_str(&format!("wanted: ops/s at least {GOAL:.2} times, is {ratio:.2}: {verdict}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::figures;

    #[test]
    fn both_ways_take_turns_in_being_first() {
        assert_eq!([order(1)[0], order(2)[0], order(3)[0]], [Hurt::Killed, Hurt::Stopped, Hurt::Killed]);
        assert!((1..3).all(|round| order(round)[0] != order(round)[1]));
    }

    #[test]
    fn a_stopped_follower_may_cost_a_tenth() {
        let case: Case = "set:99x10".parse().unwrap();
        let told = |make, stopped| {
            text(make, &case, &[vec![figures(stopped, 1.0, 1.0)], vec![figures(1000.0, 1.0, 1.0)]])
        };
        assert!(told(Make::Ringkeeper, 900.0).ends_with("is 0.90: met\n"));
        assert!(told(Make::Ringkeeper, 890.0).ends_with("is 0.89: missed\n"));
        let theirs = told(Make::Apache, 890.0);
        assert!(theirs.contains("0.89") && !theirs.contains("wanted"), "{theirs}");
    }

    #[test]
    fn the_way_back_is_told_by_what_the_leader_counted() {
        let before = Syncs { diff: 3, snap: 1 };
        let back = |diff, snap| {
            let syncs = Some(Syncs { diff, snap }.since(before));
            Back { seconds: 1.25, syncs }.to_string()
        };
        assert_eq!(back(4, 1), "by DIFF, after 1.2 s");
        assert_eq!(back(3, 2), "by SNAP, after 1.2 s");
        assert_eq!(back(4, 2), "by DIFF and SNAP, after 1.2 s");
        assert!(back(3, 1).starts_with("without synchronisation"));
        assert!(Back { seconds: 1.0, syncs: None }.to_string().contains("another member leads"));
    }
}
