//! Runs batches of seeds, on all cores, and says which one failed and why.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ringkeeper_engine::mutant::{Mutant, plant};

use super::coverage::Coverage;
use super::plan::Plan;
use super::{Summary, World};

/// What a batch was.
#[derive(Debug, Default)]
pub struct Batch {
    /// Seeds that failed, with the reason.
    pub failures: Vec<(u64, String)>,
    /// Ways that were taken by all.
    pub coverage: Coverage,
    /// Runs.
    pub runs: u64,
    /// Simulated microseconds.
    pub simulated_us: u64,
    /// Real seconds.
    pub took: f64,
    /// Committed transactions.
    pub committed: usize,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Batch { runs, took, committed, coverage, .. } = self;
        let simulated = self.simulated_us as f64 / 1e6;
        write!(
            f,
            "{runs} runs, {committed} committed transactions, {simulated:.0} s simulated in {took:.1} s: "
        )?;
        write!(f, "{:.0} simulated seconds per second\n{coverage:?}", simulated / took)?;
        self.failures.iter().try_for_each(|(seed, why)| write!(f, "\nRINGKEEPER_SIM_SEED={seed}: {why}"))
    }
}

/// Runs one plan; what was wrong is the error.
pub fn run(plan: Plan) -> Result<Summary, String> {
    judged(&mut World::new(plan))
}

/// The same, with everything that happened.
pub fn traced(plan: Plan) -> (String, Result<Summary, String>) {
    let mut world = World::new(plan);
    world.trace = Some(String::new());
    let outcome = judged(&mut world);
    (world.trace.take().unwrap_or_default(), outcome)
}

fn judged(world: &mut World) -> Result<Summary, String> {
    let run = AssertUnwindSafe(|| world.run());
    catch_unwind(run).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()))
            .unwrap_or_else(|| "a panic".into())
    })
}

/// The first seed that shows a mutant, and how.
pub fn hunt(mutant: Mutant, seeds: Range<u64>) -> Option<(u64, String)> {
    let mut batch = batch(seeds, 1, || plant(Some(mutant)));
    (!batch.failures.is_empty()).then(|| batch.failures.remove(0))
}

/// Runs seeds until all are done or `enough` have failed.
pub fn batch(seeds: Range<u64>, enough: usize, before: impl Fn() + Sync) -> Batch {
    let (start, next) = (Instant::now(), AtomicU64::new(seeds.start));
    let batch = Mutex::new(Batch::default());
    let work = || {
        before();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || batch.lock().expect("no worker panics").failures.len() >= enough {
                return;
            }
            let outcome = run(Plan::new(seed));
            let mut batch = batch.lock().expect("no worker panics");
            batch.runs += 1;
            match outcome {
                Ok(summary) => {
                    batch.coverage += summary.coverage;
                    batch.simulated_us += summary.simulated_us;
                    batch.committed += summary.committed;
                }
                Err(why) => batch.failures.push((seed, why)),
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut batch = batch.into_inner().expect("no worker panics");
    batch.failures.sort();
    batch.took = start.elapsed().as_secs_f64();
    batch
}
