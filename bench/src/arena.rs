//! Starts the contestants on free loopback ports in one temporary directory, compares them and stops them.
//!
//! All of them keep their data on the same disk and force every write to it. The servers run at the same time, so
//! that they can be measured in turn; an idle one is expected to use no CPU.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::cli::LoadArgs;
use crate::compare::{Case, Contestant, compare};
use crate::error::BenchError;
use crate::session::Session;

/// How long a server may take to serve, in seconds.
const START_S: u64 = 60;
/// How long a server may take to end after SIGTERM before it is killed, in seconds.
const STOP_S: u64 = 10;

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
    /// Directory on the disk to measure; a temporary directory is made in it and removed at the end.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// The ringkeeper binary [default: beside rkbench].
    #[arg(long)]
    pub ringkeeper: Option<PathBuf>,
    /// Another line for ringkeeper's zoo.cfg, such as ringkeeper.cores=0,1.
    #[arg(long, value_name = "KEY=VALUE")]
    pub ringkeeper_setting: Vec<String>,
    /// The bare-ring-server binary [default: beside rkbench].
    #[arg(long)]
    pub bare: Option<PathBuf>,
    /// The java binary.
    #[arg(long, default_value = "java")]
    pub java: PathBuf,
    /// Option for the Java machine, such as -Xmx4g; none means the machine's defaults.
    #[arg(long, allow_hyphen_values = true)]
    pub java_option: Vec<String>,
    /// Class path of Apache ZooKeeper (the default is where Debian's package keeps it).
    #[arg(long, default_value = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar")]
    pub classpath: String,
    /// What all runs share.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// A server that was started; stopped when dropped.
#[derive(Debug)]
struct Server {
    kind: Kind,
    addr: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ringkeeper => "ringkeeper",
            Kind::Apache => "apache",
            Kind::Bare => "bare",
        }
    }

    /// The command that serves on `addr` and keeps its data in `dir`, which exists.
    fn command(self, args: &ArenaArgs, addr: SocketAddr, dir: &Path) -> Result<Command, BenchError> {
        match self {
            Kind::Ringkeeper => {
                let config = write_config(dir, addr, &args.ringkeeper_setting)?;
                let mut command = Command::new(beside(args.ringkeeper.as_ref(), "ringkeeper"));
                command.arg("serve").arg(config);
                Ok(command)
            }
            Kind::Apache => {
                // Nothing but what is needed to run; the admin server would take a fixed port.
                let config = write_config(dir, addr, &["admin.enableServer=false".into()])?;
                let mut command = Command::new(&args.java);
                command.args(&args.java_option).arg("-cp").arg(&args.classpath);
                command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(config);
                Ok(command)
            }
            Kind::Bare => {
                let mut command = Command::new(beside(args.bare.as_ref(), "bare-ring-server"));
                command.arg("--listen").arg(addr.to_string()).arg("--durable").arg(dir.join("batches"));
                command.arg("--size").arg(args.load.size.to_string());
                Ok(command)
            }
        }
    }
}

/// The path given, or the binary of that name in the directory of this one.
fn beside(given: Option<&PathBuf>, name: &str) -> PathBuf {
    match given {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_or_else(|_| name.into(), |own| own.with_file_name(name)),
    }
}

/// A minimal zoo.cfg. `maxClientCnxns=0` because all connections come from one address (the default is 60).
fn write_config(dir: &Path, addr: SocketAddr, extra: &[String]) -> Result<PathBuf, BenchError> {
    let data = dir.join("data");
    let path = dir.join("zoo.cfg");
    let mut text = format!(
        "tickTime=2000\ndataDir={}\nclientPortAddress={}\nclientPort={}\nmaxClientCnxns=0\n",
        data.display(),
        addr.ip(),
        addr.port()
    );
    for line in extra {
        text.push_str(line);
        text.push('\n');
    }
    let file = |source| BenchError::File { doing: "writing", path: path.clone(), source };
    fs::create_dir_all(&data).and_then(|()| fs::write(&path, text)).map_err(file)?;
    Ok(path)
}

/// A loopback port that nobody listens on at the moment.
fn free_addr() -> Result<SocketAddr, BenchError> {
    let os = |source| BenchError::Os { doing: "looking for a free port", source };
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).map_err(os)
}

impl Server {
    fn start(kind: Kind, args: &ArenaArgs, home: &Path) -> Result<Server, BenchError> {
        let dir = home.join(kind.name());
        let file = |path: &Path, source| BenchError::File { doing: "preparing", path: path.into(), source };
        fs::create_dir_all(&dir).map_err(|e| file(&dir, e))?;
        let log = dir.join("output.txt");
        let output = File::create(&log).map_err(|e| file(&log, e))?;
        let errors = output.try_clone().map_err(|e| file(&log, e))?;
        let addr = free_addr()?;
        let mut command = kind.command(args, addr, &dir)?;
        command.current_dir(&dir).stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|source| BenchError::File {
            doing: "starting",
            path: command.get_program().into(),
            source,
        })?;
        Ok(Server { kind, addr, child, log })
    }

    /// The end of what it printed.
    fn output(&self) -> String {
        let output = fs::read_to_string(&self.log).unwrap_or_default();
        let skip = output.len().saturating_sub(2000);
        output.get(skip..).unwrap_or(&output).trim_end().to_string()
    }

    /// Waits until a session can be opened.
    fn wait(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + Duration::from_secs(START_S);
        loop {
            if Session::probe(self.addr).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(BenchError::ServerEnded {
                    name: self.kind.name(),
                    status,
                    output: self.output(),
                });
            }
            if Instant::now() > deadline {
                let what = format!("{} did not serve on {} ({})", self.kind.name(), self.addr, self.output());
                return Err(BenchError::Timeout { what, seconds: START_S });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself; then there is nothing to do.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(STOP_S);
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts, compares, prints, stops.
pub fn run(args: &ArenaArgs) -> Result<(), BenchError> {
    let file = |source| BenchError::File {
        doing: "making a temporary directory in",
        path: args.dir.clone(),
        source,
    };
    let dir = fs::canonicalize(&args.dir).map_err(file)?;
    let home = tempfile::Builder::new().prefix("rkbench-arena-").tempdir_in(dir).map_err(file)?;
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
            pids: vec![server.child.id()],
        });
    }
    let options = args.load.options();
    let tables = compare(&contestants, &args.case, args.rounds, &options, |line| eprintln!("{line}"))?;
    print!("{tables}");
    Ok(())
}
