//! `rkbench ensemble`: an ensemble of each make under the same loads, in turn.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;

use super::{Ensemble, MEMBERS};
use crate::cli::LoadArgs;
use crate::compare::{Case, CaseError, Contestant, Figures, measure, ratio, table};
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make};
use crate::process::Home;

/// Settings of `rkbench ensemble`.
#[derive(Clone, Debug, Args)]
pub struct EnsembleArgs {
    /// Who takes part. Ratios are the first to each other.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Make::Ringkeeper, Make::Apache])]
    pub with: Vec<Make>,
    /// `WORKLOAD:CONNECTIONSxWINDOW[@RATE]`, spread over the members, or behind `/leader` or `/follower`.
    #[arg(long, default_values = ["set:99x10", "set:1x1/leader", "get:99x10"])]
    pub case: Vec<PlacedCase>,
    /// How often each ensemble is measured under each load.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Where the servers come from.
    #[command(flatten)]
    pub launch: LaunchArgs,
    /// What all runs share.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Which members the connections go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All, in turn.
    Spread,
    /// Whoever leads when a round begins.
    Leader,
    /// One of the others.
    Follower,
}

/// A load and its place. Written `set:99x10`, `set:1x1/leader`, `get:32x16/follower`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedCase {
    case: Case,
    place: Place,
}

impl FromStr for PlacedCase {
    type Err = CaseError;

    fn from_str(text: &str) -> Result<PlacedCase, CaseError> {
        let (case, place) = match text.split_once('/') {
            None => (text, Place::Spread),
            Some((case, "leader")) => (case, Place::Leader),
            Some((case, "follower")) => (case, Place::Follower),
            Some(_) => return Err(CaseError::Form(text.into())),
        };
        Ok(PlacedCase { case: case.parse()?, place })
    }
}

impl PlacedCase {
    fn label(&self) -> String {
        let place = match self.place {
            Place::Spread => "over all members",
            Place::Leader => "at the leader",
            Place::Follower => "at a follower",
        };
        format!("{} {place}", self.case.label())
    }

    /// Where its connections go.
    fn servers(&self, ensemble: &Ensemble, leader: usize) -> Vec<SocketAddr> {
        match self.place {
            Place::Spread => (0..MEMBERS).map(|n| ensemble.client(n)).collect(),
            Place::Leader => vec![ensemble.client(leader)],
            Place::Follower => vec![ensemble.client((leader + 1) % MEMBERS)],
        }
    }

    /// What ringkeeper wants to reach against Apache ZooKeeper under this load: figure, its name, the ratio's limit.
    fn goals(&self) -> &'static [Goal] {
        match (self.case.label().as_str(), self.place) {
            ("set 99x10", Place::Spread) => &[
                Goal { name: "ops/s", figure: |f| f.ops_per_s, limit: Limit::AtLeast(6.0) },
                Goal { name: "p99", figure: |f| f.p99_ns, limit: Limit::Below(1.0) },
            ],
            ("set 1x1", Place::Leader) => {
                &[Goal { name: "p50", figure: |f| f.p50_ns, limit: Limit::AtMost(0.6) }]
            }
            _ => &[],
        }
    }
}

/// A ratio that ringkeeper wants to reach.
#[derive(Clone, Copy)]
struct Goal {
    name: &'static str,
    figure: fn(&Figures) -> f64,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Goal {
    /// What came of it, as a line.
    fn line(&self, ours: &[Figures], theirs: &[Figures]) -> String {
        let column = |runs: &[Figures]| runs.iter().map(self.figure).collect::<Vec<f64>>();
        let Some(ratio) = ratio(&column(ours), &column(theirs)) else {
            return format!("wanted: {} (no ratio)", self.name);
        };
        let (words, limit, met) = match self.limit {
            Limit::AtLeast(limit) => ("at least", limit, ratio >= limit),
            Limit::AtMost(limit) => ("at most", limit, ratio <= limit),
            Limit::Below(limit) => ("below", limit, ratio < limit),
        };
        let verdict = if met { "met" } else { "missed" };
        format!("wanted: {} {words} {limit:.2} times Apache's, is {ratio:.2}: {verdict}", self.name)
    }
}

/// Starts, compares, prints, stops.
pub fn run(args: &EnsembleArgs) -> Result<(), BenchError> {
    let home = Home::new(&args.launch.dir)?;
    let mut ensembles = start_all(&args.with, &args.launch, &home)?;
    let base = args.load.options();
    for placed in &args.case {
        let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); ensembles.len()];
        for round in 1..=args.rounds {
            for (ensemble, figures) in ensembles.iter_mut().zip(&mut runs) {
                // A load can cost an ensemble its leader; the next round goes to the new one.
                let leader = ensemble.await_serving(None)?;
                let contestant = Contestant {
                    name: ensemble.name().into(),
                    servers: placed.servers(ensemble, leader),
                    pids: ensemble.pids(),
                };
                let progress = |line: &str| eprintln!("{line}");
                figures.push(measure(&contestant, &placed.case, round as usize, &base, progress)?);
            }
        }
        println!("{}", case_text(placed, &args.with, &runs));
    }
    Ok(())
}

/// Starts an ensemble of each make and waits for all.
pub(super) fn start_all(
    makes: &[Make],
    launch: &LaunchArgs,
    home: &Home,
) -> Result<Vec<Ensemble>, BenchError> {
    let mut ensembles = Vec::new();
    for make in makes {
        ensembles.push(Ensemble::start(*make, launch, home.path())?);
    }
    for ensemble in &mut ensembles {
        ensemble.await_serving(None)?;
    }
    Ok(ensembles)
}

/// The table of a case, and what was wanted.
fn case_text(placed: &PlacedCase, makes: &[Make], runs: &[Vec<Figures>]) -> String {
    let names: Vec<&str> = makes.iter().map(|make| make.name()).collect();
    let mut text = table(&placed.label(), &names, runs);
    if let ([Make::Ringkeeper, Make::Apache], [ours, theirs]) = (makes, runs) {
        for goal in placed.goals() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", goal.line(ours, theirs));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::figures;

    fn thrice(ops_per_s: f64, p50_ns: f64, p99_ns: f64) -> Vec<Figures> {
        vec![figures(ops_per_s, p50_ns, p99_ns); 3]
    }

    #[test]
    fn places_are_read() {
        let placed: PlacedCase = "set:1x1/leader".parse().unwrap();
        assert_eq!(placed.label(), "set 1x1 at the leader");
        let placed: PlacedCase = "get=9,set=1:32x16@100/follower".parse().unwrap();
        assert_eq!((placed.place, placed.case.rate), (Place::Follower, Some(100)));
        assert_eq!("set:99x10".parse::<PlacedCase>().unwrap().place, Place::Spread);
        for bad in ["set:1x1/", "set:1x1/observer", "set/leader"] {
            assert!(bad.parse::<PlacedCase>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_wanted_is_said_with_the_ratio() {
        let placed: PlacedCase = "set:99x10".parse().unwrap();
        let makes = [Make::Ringkeeper, Make::Apache];
        let text = case_text(&placed, &makes, &[thrice(500.0, 1.0, 2e6), thrice(100.0, 2.0, 4e6)]);
        assert!(text.contains("ops/s at least 6.00 times Apache's, is 5.00: missed"), "{text}");
        assert!(text.contains("p99 below 1.00 times Apache's, is 0.50: met"), "{text}");
        let leader: PlacedCase = "set:1x1/leader".parse().unwrap();
        let text = case_text(&leader, &makes, &[thrice(1.0, 6.0, 1.0), thrice(1.0, 10.0, 1.0)]);
        assert!(text.contains("p50 at most 0.60 times Apache's, is 0.60: met"), "{text}");
    }

    #[test]
    fn nothing_is_wanted_of_other_loads_or_of_one_make() {
        let both = [Make::Ringkeeper, Make::Apache];
        let runs = [thrice(1.0, 1.0, 1.0), thrice(1.0, 1.0, 1.0)];
        let other: PlacedCase = "set:1x1".parse().unwrap();
        assert!(!case_text(&other, &both, &runs).contains("wanted"));
        let placed: PlacedCase = "set:99x10".parse().unwrap();
        assert!(!case_text(&placed, &both[1..], &runs[1..]).contains("wanted"));
    }
}
