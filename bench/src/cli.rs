//! The command line of `rkbench`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};

use crate::arena::ArenaArgs;
use crate::compare::{Case, Contestant, compare};
use crate::ensemble;
use crate::ensemble::failover::FailoverArgs;
use crate::ensemble::snap::SnapArgs;
use crate::ensemble::stopped::StoppedArgs;
use crate::ensemble::versus::EnsembleArgs;
use crate::error::BenchError;
use crate::load::{self, LoadOptions};
use crate::report;
use crate::snapshots;
use crate::snapshots::inspect::InspectArgs;
use crate::snapshots::restart::RestartArgs;
use crate::snapshots::stall::StallArgs;
use crate::workload::{Mix, Names, Naming, WorkloadOptions};

/// Most requests in flight on a connection of an open loop unless --window says otherwise.
const OPEN_LOOP_WINDOW: usize = 1000;

/// Measures any server that speaks the ZooKeeper client protocol.
///
/// Without a subcommand: runs one load and prints throughput, latencies and the worst 100 ms.
#[derive(Debug, Parser)]
#[command(name = "rkbench", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do instead of a single run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The single run.
    #[command(flatten)]
    pub run: RunArgs,
}

const EXAMPLES: &str = "\
Examples:
  rkbench                                         sets, 32 connections x 1, 10 s, against 127.0.0.1:2181
  rkbench -w get -c 32 --window 16                pipelined gets
  rkbench -w get=90,set=10 -c 100 --window 10     a mix
  rkbench -w create --naming sequential           sequential creates (removed afterwards)
  rkbench -w set -c 50 --rate 20000               open loop: 20000/s, latency from the due time
  rkbench --rate 5000 --reconnect --seconds 60 --series out.csv --server a:2181,b:2181,c:2181
                                                  through a failover, with a time series
  rkbench compare --spec ours=127.0.0.1:2181 --spec apache=127.0.0.1:2182 --case set:100x10 --case get:32x16
                                                  running servers in turn, medians and ratios
  rkbench arena                                   starts ringkeeper, Apache ZooKeeper and the bare ring
                                                  server, compares them, stops them
  rkbench ensemble                                the same with three servers of each
  rkbench failover --kills 20                     kills leaders, shows how long there are no writes
  rkbench stopped-follower                        what a stopped follower costs against a killed one
  rkbench snapshot-stall                          what writers notice of a snapshot, at a million znodes
  rkbench snap                                    an empty member is sent a snapshot of as many
  rkbench restart                                 SIGKILL or SIGTERM to the first answer of the next start
  rkbench inspect                                 rkinspect and Apache's tools on the same files";

/// What to do instead of a single run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measures several running servers in turn and prints medians and ratios.
    Compare(CompareArgs),
    /// Starts ringkeeper, Apache ZooKeeper and the bare ring server, compares them and stops them.
    Arena(ArenaArgs),
    /// Starts ensembles of three ringkeeper and three Apache ZooKeeper servers, compares them and stops them.
    Ensemble(EnsembleArgs),
    /// Kills the leaders of such ensembles again and again and shows how long there are no writes.
    Failover(FailoverArgs),
    /// Compares the throughput of an ensemble with a stopped and with a killed follower.
    StoppedFollower(StoppedArgs),
    /// Compares writes while a node makes a snapshot with writes while it makes none.
    SnapshotStall(StallArgs),
    /// Measures how an empty member is sent a snapshot, with the ensemble idle and under load.
    Snap(SnapArgs),
    /// Measures how long a node with many znodes takes to serve again, and in how much memory.
    Restart(RestartArgs),
    /// Compares how fast rkinspect and Apache's tools read logs and snapshots.
    Inspect(InspectArgs),
}

/// Settings of every kind of run.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Bytes of data in each znode.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// Znodes that are prepared first and worked on.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,
    /// How creates name their znodes.
    #[arg(long, value_enum, default_value_t = Naming::Numbered)]
    pub naming: Naming,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0, value_parser = positive_seconds)]
    pub seconds: f64,
    /// Seconds of load before that.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub warmup: f64,
    /// Seconds to wait for the last answers.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub drain: f64,
    /// Parent of the znodes. Two generators at one server need two paths.
    #[arg(long, default_value = "/rkbench", value_parser = root_path)]
    pub path: String,
    /// Leave the znodes behind.
    #[arg(long)]
    pub keep: bool,
    /// Replace lost connections instead of giving up; what they had in flight counts as errors.
    #[arg(long)]
    pub reconnect: bool,
    /// Session timeout to ask for, in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    pub session_timeout: i32,
    /// Seed of the choice of keys and operations.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A single run.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Servers (host:port); the connections are spread over them in turn.
    #[arg(short, long, value_delimiter = ',', default_value = "127.0.0.1:2181")]
    pub server: Vec<String>,
    /// get, set, create, exists, idle, or a mix such as get=90,set=10.
    #[arg(short, long, visible_alias = "mix", default_value = "set")]
    pub workload: Mix,
    /// Connections, each with its session.
    #[arg(short, long, default_value_t = 32, value_parser = positive)]
    pub connections: usize,
    /// Most requests in flight on each connection [default: 1, with --rate 1000].
    #[arg(long, value_parser = positive)]
    pub window: Option<usize>,
    /// Open loop: requests per second over all connections.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Write a time series, one line per 100 ms, as CSV.
    #[arg(long, value_name = "FILE")]
    pub series: Option<PathBuf>,
    /// Print one line of JSON instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Process of the server, if it runs on this machine: shows its CPU time.
    #[arg(long, value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// What all runs share.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Several servers in turn.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// NAME=HOST:PORT[,HOST:PORT...], once per server or ensemble. Ratios are the first to each other.
    #[arg(long, required = true)]
    pub spec: Vec<Spec>,
    /// `WORKLOAD:CONNECTIONSxWINDOW[@RATE]`, once per load.
    #[arg(long, default_values = ["set:1x1", "set:100x10", "get:32x16", "set:32x1"])]
    pub case: Vec<Case>,
    /// How often each server is measured under each load.
    #[arg(long, default_value_t = 3, value_parser = positive)]
    pub rounds: usize,
    /// What all runs share.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// A named server or ensemble, unresolved.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    servers: Vec<String>,
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Spec, String> {
        match text.split_once('=') {
            Some((name, servers)) if !name.is_empty() && !servers.is_empty() => {
                Ok(Spec { name: name.into(), servers: servers.split(',').map(Into::into).collect() })
            }
            _ => Err("expected NAME=HOST:PORT[,HOST:PORT...]".into()),
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number above 0".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    let ok = |s: &f64| (0.0..=1e7).contains(s);
    text.parse().ok().filter(ok).ok_or_else(|| "expected seconds, such as 10 or 0.5".into())
}

fn positive_seconds(text: &str) -> Result<f64, String> {
    let s = seconds(text)?;
    if s >= 0.001 { Ok(s) } else { Err("expected more than 0 seconds".into()) }
}

fn root_path(text: &str) -> Result<String, String> {
    if text.len() > 1 && text.starts_with('/') && !text.ends_with('/') && !text.contains("//") {
        Ok(text.into())
    } else {
        Err("expected an absolute path below /, such as /rkbench".into())
    }
}

/// The address of `host:port`, or of `host` with ZooKeeper's port 2181.
fn resolve(name: &str) -> Result<SocketAddr, BenchError> {
    let error = |source| BenchError::Resolve { name: name.into(), source };
    let mut found = match name.to_socket_addrs() {
        Err(_) if !name.contains(':') => (name, 2181).to_socket_addrs().map_err(error)?,
        other => other.map_err(error)?,
    };
    found.next().ok_or_else(|| error(std::io::ErrorKind::NotFound.into()))
}

fn resolve_all(names: &[String]) -> Result<Vec<SocketAddr>, BenchError> {
    names.iter().map(|name| resolve(name)).collect()
}

impl LoadArgs {
    /// The settings of a run; servers, connections and workload are filled in by the caller.
    pub fn options(&self) -> LoadOptions {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        LoadOptions {
            servers: Vec::new(),
            connections: 1,
            window: 1,
            rate: None,
            workload: WorkloadOptions {
                mix: Mix::idle(),
                keys: self.keys,
                size: self.size,
                naming: self.naming,
                seed: self.seed,
            },
            names: Names { root: self.path.clone(), run: since_1970.as_millis() as u64 },
            warmup: Duration::from_secs_f64(self.warmup),
            measure: Duration::from_secs_f64(self.seconds),
            drain: Duration::from_secs_f64(self.drain),
            reconnect: self.reconnect,
            session_timeout_ms: self.session_timeout,
            keep: self.keep,
            trace: false,
            watch_pids: Vec::new(),
        }
    }
}

/// Does what the command line says.
pub fn main(cli: Cli) -> Result<(), BenchError> {
    match cli.command {
        None => run(&cli.run),
        Some(Command::Compare(args)) => run_compare(&args),
        Some(Command::Arena(args)) => crate::arena::run(&args),
        Some(Command::Ensemble(args)) => ensemble::versus::run(&args),
        Some(Command::Failover(args)) => ensemble::failover::run(&args),
        Some(Command::StoppedFollower(args)) => ensemble::stopped::run(&args),
        Some(Command::SnapshotStall(args)) => snapshots::stall::run(&args),
        Some(Command::Snap(args)) => ensemble::snap::run(&args),
        Some(Command::Restart(args)) => snapshots::restart::run(&args),
        Some(Command::Inspect(args)) => snapshots::inspect::run(&args),
    }
}

fn run(args: &RunArgs) -> Result<(), BenchError> {
    let mut options = args.load.options();
    options.servers = resolve_all(&args.server)?;
    options.connections = args.connections;
    options.window = args.window.unwrap_or(if args.rate.is_some() { OPEN_LOOP_WINDOW } else { 1 });
    options.rate = args.rate;
    options.workload.mix = args.workload.clone();
    options.watch_pids = args.server_pid.clone();
    let report = load::run(&options)?;
    if args.json {
        println!("{}", report::json(&options, &report));
    } else {
        print!("{}", report::text(&options, &report));
    }
    match &args.series {
        Some(path) => report::write_series(path, &report.recorded.windows),
        None => Ok(()),
    }
}

fn run_compare(args: &CompareArgs) -> Result<(), BenchError> {
    let contestants = args.spec.iter().map(|spec| {
        Ok(Contestant { name: spec.name.clone(), servers: resolve_all(&spec.servers)?, pids: Vec::new() })
    });
    let contestants = contestants.collect::<Result<Vec<_>, BenchError>>()?;
    let tables =
        compare(&contestants, &args.case, args.rounds, &args.load.options(), |line| eprintln!("{line}"))?;
    print!("{tables}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn no_arguments_are_a_run_with_defaults() {
        let cli = Cli::try_parse_from(["rkbench"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.workload.to_string(), "set");
        assert_eq!(cli.run.connections, 32);
    }

    #[test]
    fn mixes_servers_and_specs_are_taken_apart() {
        let cli =
            Cli::try_parse_from(["rkbench", "--mix", "get=90,set=10", "--server", "a:1,b:2", "-c", "4"])
                .unwrap();
        assert_eq!(cli.run.server, ["a:1", "b:2"]);
        assert_eq!(cli.run.workload.to_string(), "get=90,set=10");
        let cli =
            Cli::try_parse_from(["rkbench", "compare", "--spec", "x=a:1,b:2", "--spec", "y=c:3"]).unwrap();
        let Some(Command::Compare(args)) = cli.command else { panic!("not compare") };
        assert_eq!(args.spec[0].servers, ["a:1", "b:2"]);
        assert_eq!(args.case.len(), 4);
    }

    #[test]
    fn a_stopped_follower_is_watched_for_a_minute_from_the_first_moment() {
        let parse = |args: &[&str]| match Cli::try_parse_from(args).unwrap().command {
            Some(Command::StoppedFollower(args)) => (args.load.seconds, args.load.warmup),
            _ => panic!("not stopped-follower"),
        };
        assert_eq!(parse(&["rkbench", "stopped-follower"]), (60.0, 0.0));
        assert_eq!(parse(&["rkbench", "stopped-follower", "--seconds", "5"]), (5.0, 0.0));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in
            [["--seconds", "0"], ["--rate", "0"], ["--window", "0"], ["--path", "rkbench"], ["--keys", "0"]]
        {
            assert!(Cli::try_parse_from(["rkbench", bad[0], bad[1]]).is_err(), "{bad:?}");
        }
    }
}
