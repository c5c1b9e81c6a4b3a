//! `ringkeeper ensemble`: an ensemble on this machine for trying things out, as child processes of one command.
//!
//! It makes a directory per member with an ordinary `zoo.cfg`, starts `ringkeeper serve` on each, says who leads and
//! where clients connect, and ends them together. It never serves anything itself and never touches the data of a
//! member: what it starts could as well have been started by hand.
//!
//! `plan` decides on directories and ports, `children` starts and ends processes, `status` asks members what they are,
//! `watch` waits for a leader, `tether` lets a member end with its parent. The binary calls [`run`].

mod children;
mod plan;
mod ports;
mod status;
mod tether;
mod watch;

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use ringkeeper_engine::id::Sid;
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};

use self::{
    children::Children,
    watch::{Seen, wait_for_leader},
};
pub use self::{
    plan::{Node, Options, Plan},
    tether::end_with_stdin,
};
use crate::{cli::Exit, config::ConfigError};

/// How long members may take to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// Why an ensemble was not started, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum EnsembleError {
    /// The zoo.cfg of a member that is there already cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A zoo.cfg that is there already belongs to something else.
    #[error("{}: {problem}; give another directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What is there is not what was asked for.
    #[error(
        "{} holds an ensemble of {voters} voters and {observers} observers; give these numbers, or none, or another \
         directory",
        dir.display()
    )]
    OtherSize {
        /// The directory.
        dir: PathBuf,
        /// Voters in it.
        voters: usize,
        /// Observers in it.
        observers: usize,
    },
    /// A member's directory is there, and the ensemble is not.
    #[error("{} is not empty, and there is no {}; give another directory", path.display(), expected.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// The file that would make it ours.
        expected: PathBuf,
    },
    /// A directory or file could not be made.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The ports from the given one on go beyond the last.
    #[error("--base-port {base}: {needed} ports are needed, and there are none above 65535")]
    BasePort {
        /// As given.
        base: u16,
        /// Three for each member.
        needed: usize,
    },
    /// The system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A member did not get as far as to serve.
    #[error("server.{id} ended ({status}) before there was a leader; {} ends with: {last_words}", log.display())]
    EndedEarly {
        /// Which one.
        id: Sid,
        /// How.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last line of it.
        last_words: String,
    },
    /// There is nothing left to watch.
    #[error("all servers have ended by themselves")]
    AllEnded,
}

impl EnsembleError {
    /// The exit code that says the same.
    pub fn exit(&self) -> Exit {
        use EnsembleError::{BasePort, Config, File, Foreign, Occupied, OtherSize};
        match self {
            Config(_) | Foreign { .. } | OtherSize { .. } | BasePort { .. } => Exit::Configuration,
            Occupied { .. } | File { .. } => Exit::DataDirectory,
            _ => Exit::Unexpected,
        }
    }

    fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> EnsembleError {
        let doing = doing.into();
        move |source| EnsembleError::System { doing, source }
    }

    fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> EnsembleError {
        let path = path.into();
        move |source| EnsembleError::File { doing, path, source }
    }
}

/// Runs an ensemble until SIGINT or SIGTERM. What the caller asked for is told on `out`, the rest is logged.
///
/// # Errors
/// Any [`EnsembleError`]; by then no member runs any more.
pub fn run(options: &Options, out: &mut impl Write) -> Result<(), EnsembleError> {
    // Before there is anything to end. Not SIGHUP: `nohup` must keep its meaning, and without it the members end
    // because we do.
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGCHLD]).map_err(EnsembleError::system("catching signals"))?;
    let plan = Plan::open(options)?;
    let program = env::current_exe().map_err(EnsembleError::system("finding our own executable"))?;
    run_with(&plan, &mut signals, out, |node| {
        let mut command = Command::new(&program);
        command.arg("serve").arg("--end-with-stdin").arg(node.config());
        command
    })
}

/// The same with any command for a member.
fn run_with(
    plan: &Plan,
    signals: &mut Signals,
    out: &mut impl Write,
    command: impl Fn(&Node) -> Command,
) -> Result<(), EnsembleError> {
    let mut children = Children::default();
    let outcome = start(plan, &mut children, command).and_then(|()| watch(plan, &mut children, signals, out));
    let killed = children.end(GRACE, || told_to_end(signals));
    for id in killed {
        tracing::warn!("server.{id} did not end in time and was killed");
    }
    outcome
}

/// Starts all members, each in a process group of its own: a Ctrl-C at the terminal is for us, and we pass it on.
fn start(
    plan: &Plan,
    children: &mut Children,
    command: impl Fn(&Node) -> Command,
) -> Result<(), EnsembleError> {
    for node in &plan.nodes {
        let path = node.log();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(EnsembleError::file("opening", &path))?;
        let errors = log.try_clone().map_err(EnsembleError::file("opening", &path))?;
        let mut command = command(node);
        command.stdout(Stdio::from(log)).stderr(Stdio::from(errors));
        let doing = format!("starting server.{}", node.id);
        children.start(node.id, command).map_err(EnsembleError::system(doing))?;
    }
    Ok(())
}

/// From the start to the signal that ends it all.
fn watch(
    plan: &Plan,
    children: &mut Children,
    signals: &mut Signals,
    out: &mut impl Write,
) -> Result<(), EnsembleError> {
    let Some(seen) = wait_for_leader(plan, children, || told_to_end(signals))? else { return Ok(()) };
    announce(plan, &seen, out);
    loop {
        // SIGCHLD too: then somebody has ended who was not told to.
        let told = signals.wait().any(|signal| signal != SIGCHLD);
        if told {
            return Ok(());
        }
        for (id, status) in children.newly_ended() {
            tracing::error!(
                "server.{id} has ended by itself ({status}); {} of {} go on",
                children.running(),
                plan.nodes.len()
            );
        }
        if children.running() == 0 {
            return Err(EnsembleError::AllEnded);
        }
    }
}

fn told_to_end(signals: &mut Signals) -> bool {
    signals.pending().any(|signal| signal != SIGCHLD)
}

/// One line per member, and how to connect. Nobody may be reading; that is no reason to end.
fn announce(plan: &Plan, seen: &[Seen], out: &mut impl Write) {
    for (node, seen) in plan.nodes.iter().zip(seen) {
        let _ = writeln!(
            out,
            "server.{}  {:<10}  clients {}, members {} and {}, log {}",
            node.id,
            seen.to_string(),
            node.client,
            node.quorum_port,
            node.election_port,
            node.log().display()
        );
    }
    let addresses: Vec<String> = plan.nodes.iter().map(|node| node.client.to_string()).collect();
    let _ = writeln!(out, "connect to {}; Ctrl-C ends all", addresses.join(","));
    let _ = out.flush();
}

#[cfg(test)]
mod tests;
