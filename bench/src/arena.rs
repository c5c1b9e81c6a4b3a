//! Starts the contestants on free loopback ports in one temporary directory, compares them and stops them.
//!
//! All of them keep their data on the same disk and force every write to it. The servers run at the same time, so
//! that they can be measured in turn; an idle one is expected to use no CPU.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::cli::LoadArgs;
use crate::compare::{Case, Contestant, compare};
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make, beside};
use crate::process::{Home, Process};
use crate::session::Session;

/// How long a server may take to serve, in seconds.
const START_S: u64 = 60;

/// A server that the arena can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The node of this repository.
    Ringkeeper,
    /// Apache ZooKeeper, with its default settings.
    Apache,
    /// The ring server without codec and tree: the ceiling.
    Bare,
}

/// Settings of the arena.
#[derive(Clone, Debug, Args)]
pub struct ArenaArgs {
    /// Who takes part. Ratios are the first to each other.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Ringkeeper, Kind::Apache, Kind::Bare])]
    pub with: Vec<Kind>,
    /// `WORKLOAD:CONNECTIONSxWINDOW[@RATE]`, once per load.
    #[arg(long, default_values = ["set:1x1", "set:100x10", "get:32x16", "set:32x1"])]
    pub case: Vec<Case>,
    /// How often each server is measured under each load.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// The bare-ring-server binary [default: beside rkbench].
    #[arg(long)]
    pub bare: Option<PathBuf>,
    /// Where the servers come from.
    #[command(flatten)]
    pub launch: LaunchArgs,
    /// What all runs share.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// A server that was started.
#[derive(Debug)]
struct Server {
    kind: Kind,
    addr: SocketAddr,
    process: Process,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ringkeeper => Make::Ringkeeper.name(),
            Kind::Apache => Make::Apache.name(),
            Kind::Bare => "bare",
        }
    }

    /// The command that serves on `addr` and keeps its data in `dir`, which exists.
    fn command(self, args: &ArenaArgs, addr: SocketAddr, dir: &Path) -> Result<Command, BenchError> {
        match self {
            Kind::Ringkeeper => Make::Ringkeeper.command(&args.launch, dir, &settings(addr)),
            Kind::Apache => Make::Apache.command(&args.launch, dir, &settings(addr)),
            Kind::Bare => {
                let mut command = Command::new(beside(args.bare.as_ref(), "bare-ring-server"));
                command.arg("--listen").arg(addr.to_string()).arg("--durable").arg(dir.join("batches"));
                command.arg("--size").arg(args.load.size.to_string());
                Ok(command)
            }
        }
    }
}

/// The least a `zoo.cfg` needs. `maxClientCnxns=0` because all connections come from one address (the default is 60).
fn settings(addr: SocketAddr) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    format!("tickTime=2000\nclientPortAddress={ip}\nclientPort={port}\nmaxClientCnxns=0\n")
}

/// A loopback port that nobody listens on at the moment.
fn free_addr() -> Result<SocketAddr, BenchError> {
    let os = |source| BenchError::Os { doing: "looking for a free port", source };
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).map_err(os)
}

impl Server {
    fn start(kind: Kind, args: &ArenaArgs, home: &Path) -> Result<Server, BenchError> {
        let dir = home.join(kind.name());
        fs::create_dir_all(&dir).map_err(|source| BenchError::File {
            doing: "preparing",
            path: dir.clone(),
            source,
        })?;
        let addr = free_addr()?;
        let process = Process::start(kind.name(), &mut kind.command(args, addr, &dir)?, &dir)?;
        Ok(Server { kind, addr, process })
    }

    /// Waits until a session can be opened.
    fn wait(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + Duration::from_secs(START_S);
        while Session::probe(self.addr).is_err() {
            self.process.check()?;
            if Instant::now() > deadline {
                let (name, addr) = (self.kind.name(), self.addr);
                let what = format!("{name} did not serve on {addr} ({})", self.process.output());
                return Err(BenchError::Timeout { what, seconds: START_S });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Starts, compares, prints, stops.
pub fn run(args: &ArenaArgs) -> Result<(), BenchError> {
    let home = Home::new(&args.launch.dir)?;
    let mut servers = Vec::new();
    for kind in &args.with {
        servers.push(Server::start(*kind, args, home.path())?);
    }
    let mut contestants = Vec::new();
    for server in &mut servers {
        server.wait()?;
        contestants.push(Contestant {
            name: server.kind.name().into(),
            servers: vec![server.addr],
            pids: vec![server.process.id()],
        });
    }
    let options = args.load.options();
    let tables = compare(&contestants, &args.case, args.rounds, &options, |line| eprintln!("{line}"))?;
    print!("{tables}");
    Ok(())
}
