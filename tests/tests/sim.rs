//! Whole ensembles in simulated time.

use ringkeeper_tests::sim::plan::Plan;
use ringkeeper_tests::sim::run;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn seeds() {
    if let Some(seed) = number("RINGKEEPER_SIM_SEED") {
        let (trace, outcome) = run::traced(Plan::new(seed));
        if let Some(path) = std::env::var_os("RINGKEEPER_SIM_TRACE") {
            std::fs::write(path, trace).expect("the trace can be written");
        }
        println!("{outcome:?}");
        return;
    }
    let count = number("RINGKEEPER_SIM_SEEDS").unwrap_or(20);
    let batch = run::batch(0..count, 5, || ());
    println!(
        "{} runs, {} simulated s in {:.1} s, {} committed, {:?}",
        batch.runs,
        batch.simulated_us / 1_000_000,
        batch.took,
        batch.committed,
        batch.coverage
    );
    for (seed, why) in &batch.failures {
        println!("seed {seed}: {why}");
    }
    assert!(batch.failures.is_empty());
}
