//! What snapshots cost and what they are good for: measured at nodes that stand alone, of each make in turn.
//!
//! - [`stall`]: what writers notice while one is made;
//! - [`restart`]: how long a node takes to serve again, and in how much memory;
//! - [`inspect`]: how fast the tools read logs and snapshots.
//!
//! [`crate::ensemble::snap`] is the fourth, a member that is sent one. [`files`] knows the directories of both makes,
//! [`watch`] sees when one is made, [`ceilings`] is what disk and loopback can do, [`single`] runs a node.

pub mod ceilings;
pub mod files;
pub mod inspect;
pub mod restart;
pub mod single;
pub mod stall;
pub mod watch;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::error::BenchError;
use crate::load::LoadOptions;
use crate::report::nice_rate;
use crate::session::Session;
use crate::workload::{Mix, Names, Naming, WorkloadOptions, data};

/// Parent of all znodes.
const ROOT: &str = "/rkbench";
/// Sessions that plant them.
const PLANTERS: u32 = 8;
/// Znodes of `--quick`.
const QUICK_NODES: u32 = 20_000;

/// The state of which snapshots are made.
#[derive(Clone, Debug, Args)]
pub struct StateArgs {
    /// Znodes. Ten million take 2 GB of memory of each ringkeeper node, and --java-option=-Xmx10g of each Apache's.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes: u32,
    /// Bytes of data in each.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// As little of everything as shows that it works, whatever the other options say. The figures mean nothing.
    #[arg(long)]
    pub quick: bool,
}

impl StateArgs {
    /// With `--quick` in force.
    pub fn effective(&self) -> StateArgs {
        let nodes = if self.quick { self.nodes.min(QUICK_NODES) } else { self.nodes };
        StateArgs { nodes, ..self.clone() }
    }

    /// Path of znode `n`.
    pub fn path(n: u32) -> String {
        names().key(u64::from(n))
    }

    /// Bytes of data of all znodes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.nodes) * self.size as u64
    }

    /// Creates all znodes at `server`.
    pub fn plant(&self, name: &str, server: SocketAddr) -> Result<(), BenchError> {
        let start = Instant::now();
        let mut session = Session::open(server)?;
        session.create_root(ROOT)?;
        session.close()?;
        let data = data(self.size);
        let planter = |part: u32| {
            let of = |part: u32| (u64::from(self.nodes) * u64::from(part) / u64::from(PLANTERS)) as u32;
            let mut session = Session::open(server)?;
            session.fill((of(part)..of(part + 1)).map(StateArgs::path), &data)?;
            session.close()
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..PLANTERS).map(|part| scope.spawn(move || planter(part))).collect();
            threads.into_iter().try_for_each(|t| t.join().expect("a planter does not panic"))
        })?;
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("{name}: {} znodes planted in {seconds:.1} s", nice_rate(f64::from(self.nodes)));
        Ok(())
    }

    /// Sets on these znodes, by 100 connections with up to 10 requests in flight each, or `rate` a second.
    pub fn sets(&self, server: SocketAddr, pids: Vec<u32>, rate: Option<u64>, measure: f64) -> LoadOptions {
        LoadOptions {
            servers: vec![server],
            connections: 100,
            window: if rate.is_some() { 1000 } else { 10 },
            rate,
            workload: WorkloadOptions {
                mix: Mix::sets(),
                keys: self.nodes,
                size: self.size,
                naming: Naming::Numbered,
                seed: fastrand::u64(..),
            },
            names: names(),
            warmup: Duration::from_secs_f64(if self.quick { 0.2 } else { 2.0 }),
            measure: Duration::from_secs_f64(measure),
            drain: Duration::from_secs(30),
            reconnect: false,
            session_timeout_ms: 30_000,
            keep: true,
            trace: rate.is_some(),
            watch_pids: pids,
        }
    }
}

fn names() -> Names {
    Names { root: ROOT.into(), run: 0 }
}

/// Half of a peak, as the rate of an open loop.
pub fn half(peak: f64) -> u64 {
    ((peak / 2.0) as u64).max(1)
}

/// `met` or `missed`.
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_is_small_whatever_else_is_said() {
        let args = StateArgs { nodes: 10_000_000, size: 100, quick: false };
        assert_eq!(args.effective().nodes, 10_000_000);
        assert_eq!(StateArgs { quick: true, ..args.clone() }.effective().nodes, QUICK_NODES);
        assert_eq!(StateArgs { quick: true, nodes: 7, ..args }.effective().nodes, 7);
    }
}
