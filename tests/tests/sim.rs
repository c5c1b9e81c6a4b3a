//! Whole ensembles in simulated time: whatever fails, nothing acknowledged is lost, and afterwards all is well.
//!
//! `RINGKEEPER_SIM_SEED=n` runs one seed, `RINGKEEPER_SIM_SEEDS=n` so many, `RINGKEEPER_LONG=1` many more.

use std::fs;

use ringkeeper_engine::mutant::Mutant;
use ringkeeper_tests::sim::plan::Plan;
use ringkeeper_tests::sim::run;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn long() -> bool {
    number("RINGKEEPER_LONG").is_some_and(|long| long != 0)
}

#[test]
fn no_seed_loses_what_was_acknowledged_and_all_recover() {
    if let Some(seed) = number("RINGKEEPER_SIM_SEED") {
        let (trace, outcome) = run::traced(Plan::new(seed));
        if let Some(path) = std::env::var_os("RINGKEEPER_SIM_TRACE") {
            fs::write(path, trace).expect("the trace can be written");
        }
        println!("seed {seed}: {outcome:?}");
        outcome.expect("nothing is wrong");
        return;
    }
    let count = number("RINGKEEPER_SIM_SEEDS").unwrap_or(if long() { 10_000 } else { 500 });
    let batch = run::batch(0..count, 5, || ());
    println!("{batch}");
    assert!(batch.failures.is_empty(), "{batch}");
    assert!(batch.coverage.missing().is_empty(), "never seen: {:?}", batch.coverage.missing());
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 4] {
        let (first, outcome) = run::traced(Plan::new(seed));
        let (second, again) = run::traced(Plan::new(seed));
        assert!(first.len() > 100_000, "something has happened");
        let differs = first.lines().zip(second.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((first.len(), outcome), (second.len(), again), "seed {seed}");
    }
}

/// Mutants that show only when several things go wrong at one moment.
const NEEDS_MANY: [Mutant; 2] = [Mutant::Zk261EmptyServerVotes, Mutant::Zk4643EpochBeforeHistory];

#[test]
fn every_historical_bug_is_found() {
    let only = std::env::var("RINGKEEPER_SIM_MUTANT").ok();
    let seeds = number("RINGKEEPER_SIM_SEEDS").unwrap_or(if long() { 20_000 } else { 300 });
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let name = format!("{mutant:?}");
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        if NEEDS_MANY.contains(&mutant) && !long() && only.is_none() {
            println!("{name}: only in the long run");
            continue;
        }
        match run::hunt(mutant, 0..seeds) {
            Some((seed, why)) => println!("{name}: seed {seed}: {}", why.lines().next().unwrap_or_default()),
            None => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "{seeds} seeds find nothing of {missed:?}");
}
