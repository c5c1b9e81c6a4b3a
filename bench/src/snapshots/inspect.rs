//! `rkbench inspect`: how fast `rkinspect` verifies logs and snapshots, and Apache's own tools the same files of Apache's.
//!
//! A node of each make writes the files and is ended. Every tool is a process, and its whole run is timed: a Java machine
//! that starts is part of what an operator waits for. Nobody's output is written to a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::ceilings::disk_read;
use super::files::{Listing, used};
use super::single::Single;
use super::{StateArgs, verdict};
use crate::compare::{align, median};
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make, beside};
use crate::load::run_on_what_is_there;
use crate::proc;
use crate::process::{Home, Process};
use crate::report::three_digits;

/// What ringkeeper wants: GB/s per core (or what the disk can do), and how many times faster than Apache's tools.
const GOALS: (f64, f64) = (1.0, 10.0);
/// How often it is looked whether a tool has ended.
const POLL: Duration = Duration::from_micros(500);
/// Keeps the log in one piece at Apache's, and free of recycled files at ours.
const APACHE_LINES: &str = "snapCount=2000000000\nsnapSizeLimitInKb=1000000000\n";
const OUR_LINES: &str = "autopurge.purgeInterval=0\n";

/// Settings of `rkbench inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Whose files are read.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Make::Ringkeeper, Make::Apache])]
    pub with: Vec<Make>,
    /// How often each tool is run on each file.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of sets, after the creates of all znodes, for the log.
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// The rkinspect binary [default: beside rkbench].
    #[arg(long)]
    pub rkinspect: Option<PathBuf>,
    /// What there is.
    #[command(flatten)]
    pub state: StateArgs,
    /// Where the servers come from.
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// Log or snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Log,
    Snapshot,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Snapshot => "snapshot",
        }
    }

    /// Apache's tool for it.
    fn class(self) -> &'static str {
        match self {
            Kind::Log => "org.apache.zookeeper.server.persistence.TxnLogToolkit",
            Kind::Snapshot => "org.apache.zookeeper.server.SnapshotFormatter",
        }
    }
}

/// What is read.
#[derive(Clone, Debug)]
struct Subject {
    make: Make,
    kind: Kind,
    path: PathBuf,
    /// Of log or snapshot, without what is only reserved.
    bytes: u64,
    /// Bytes per second that the disk can read of its largest file; `None` if that is too short to tell.
    disk: Option<f64>,
}

/// A run of a tool.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    seconds: f64,
    /// Of all cores, user and system; in steps of 10 ms.
    cpu_seconds: f64,
}

/// What all runs on a subject came to; empty where the tool was not run.
#[derive(Clone, Debug)]
struct Outcome {
    subject: Subject,
    ours: Vec<Run>,
    theirs: Vec<Run>,
}

/// Has the files written, runs the tools on them in turn, prints.
pub fn run(args: &InspectArgs) -> Result<(), BenchError> {
    let state = args.state.effective();
    let rounds = if state.quick { 1 } else { args.rounds };
    let home = Home::new(&args.launch.dir)?;
    let mut subjects = Vec::new();
    for make in &args.with {
        subjects.extend(written(*make, args, &state, &home)?);
    }
    let rkinspect = beside(args.rkinspect.as_ref(), "rkinspect");
    let (mut outcomes, there) = (Vec::new(), rkinspect.exists());
    for subject in subjects {
        let mut outcome = Outcome { subject, ours: Vec::new(), theirs: Vec::new() };
        for _ in 0..rounds {
            outcome.round(args, there.then_some(rkinspect.as_path()), &home)?;
        }
        eprintln!("{}", outcome.subject.label());
        outcomes.push(outcome);
    }
    print!("{}", text(&outcomes));
    let lacks =
        |make: &&Make| !outcomes.iter().any(|o| o.subject.make == **make && o.subject.kind == Kind::Snapshot);
    let mut unseen: Vec<String> =
        args.with.iter().filter(lacks).map(|make| format!("{} wrote no snapshot", make.name())).collect();
    if !there {
        unseen
            .push(format!("there is no {}, only Apache's tools were run (--rkinspect)", rkinspect.display()));
    }
    if unseen.is_empty() { Ok(()) } else { Err(BenchError::NotSeen { what: unseen.join("; ") }) }
}

/// Has a node write log and snapshots; returns what is to be read of them.
fn written(
    make: Make,
    args: &InspectArgs,
    state: &StateArgs,
    home: &Home,
) -> Result<Vec<Subject>, BenchError> {
    let lines = match make {
        Make::Ringkeeper => OUR_LINES,
        Make::Apache => APACHE_LINES,
    };
    let mut node = Single::start(make, &args.launch, home.path(), "alone", lines)?;
    state.plant(make.name(), node.addr())?;
    let seconds = if state.quick { 0.5 } else { f64::from(args.seconds) };
    run_on_what_is_there(&state.sets(node.addr(), Vec::new(), None, seconds))?;
    node.subject().rest()?;
    node.stop();
    if make == Make::Apache {
        // It writes a snapshot when it starts.
        node.restart()?;
        node.await_read(&StateArgs::path(0))?;
        node.subject().rest()?;
        node.stop();
    }
    subjects(make, &node.files(), &node.listing()?)
}

/// Of Apache's, its longest log and newest snapshot, because its tools take one file; of ours the whole log.
fn subjects(make: Make, files: &Path, listing: &Listing) -> Result<Vec<Subject>, BenchError> {
    let mut logs = Vec::new();
    for log in &listing.logs {
        let path = files.join(&log.name);
        logs.push((used(&path)?, path));
    }
    logs.retain(|(bytes, _)| *bytes > 0);
    let longest = logs.iter().max().cloned();
    let mut all = Vec::new();
    if let Some((longest, path)) = longest {
        let disk = disk_read(&path)?;
        let (path, bytes) = match make {
            Make::Ringkeeper => (files.to_path_buf(), logs.iter().map(|(bytes, _)| bytes).sum()),
            Make::Apache => (path, longest),
        };
        all.push(Subject { make, kind: Kind::Log, path, bytes, disk });
    }
    if let Some(newest) = listing.newest() {
        let path = files.join(&newest.name);
        let disk = disk_read(&path)?;
        all.push(Subject { make, kind: Kind::Snapshot, path, bytes: newest.len, disk });
    }
    Ok(all)
}

impl Subject {
    fn label(&self) -> String {
        format!("{} of {}", self.kind.name(), self.make.name())
    }
}

impl Outcome {
    /// Runs each tool once.
    fn round(&mut self, args: &InspectArgs, rkinspect: Option<&Path>, home: &Home) -> Result<(), BenchError> {
        let Subject { make, kind, path, .. } = &self.subject;
        if let Some(rkinspect) = rkinspect {
            let words = [kind.name().into(), "verify".into(), path.clone()];
            self.ours.push(timed("rkinspect", rkinspect, &words, home)?);
        }
        if *make == Make::Apache {
            let mut words: Vec<PathBuf> = args.launch.java_option.iter().map(Into::into).collect();
            words.extend(["-cp", &args.launch.classpath, kind.class()].map(Into::into));
            words.push(path.clone());
            self.theirs.push(timed(kind.class(), &args.launch.java, &words, home)?);
        }
        Ok(())
    }
}

/// Runs a program to its end, its output thrown away.
fn timed(name: &'static str, program: &Path, words: &[PathBuf], home: &Home) -> Result<Run, BenchError> {
    let dir = home.path().join("tools");
    let file = |source| BenchError::File { doing: "preparing", path: dir.clone(), source };
    fs::create_dir_all(&dir).map_err(file)?;
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" >/dev/null"]).arg(program).args(words);
    let start = Instant::now();
    let mut process = Process::start(name, &mut command, &dir)?;
    // What it has used is known until its end is taken note of.
    while !proc::has_ended(process.id()) {
        thread::sleep(POLL);
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_us = proc::cpu_us(process.id()).unwrap_or(0);
    let status = loop {
        if let Some(status) = process.ended() {
            break status;
        }
        thread::sleep(POLL);
    };
    if !status.success() {
        let command =
            format!("{} {}", program.display(), words.last().map_or("".into(), |w| w.display().to_string()));
        return Err(BenchError::Failed { command, status, output: process.output() });
    }
    Ok(Run { seconds, cpu_seconds: cpu_us as f64 / 1e6 })
}

/// Gigabytes per unit of what `pick` takes from a run.
fn speed(outcome: &Outcome, runs: &[Run], pick: fn(&Run) -> f64) -> Option<f64> {
    let mut all: Vec<f64> = runs.iter().map(pick).filter(|v| *v > 0.0).collect();
    (!all.is_empty()).then(|| outcome.subject.bytes as f64 / 1e9 / median(&mut all))
}

/// The table, and what was wanted.
fn text(outcomes: &[Outcome]) -> String {
    let head =
        ["verify", "MB", "disk, GB/s", "rkinspect, GB/s", "per core", "Apache's tool, GB/s", "times faster"];
    let mut lines = vec![head.map(String::from).to_vec()];
    let shown =
        |v: Option<f64>| v.map_or("-".into(), |v| if v < 0.1 { format!("{v:.4}") } else { three_digits(v) });
    let mut wanted = String::new();
    for outcome in outcomes {
        let subject = &outcome.subject;
        let disk = subject.disk.map(|rate| rate / 1e9);
        let ours = speed(outcome, &outcome.ours, |r| r.seconds);
        let per_core = speed(outcome, &outcome.ours, |r| r.cpu_seconds);
        let theirs = speed(outcome, &outcome.theirs, |r| r.seconds);
        let times = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
        let mut line = vec![subject.label(), three_digits(subject.bytes as f64 / 1e6)];
        line.extend([disk, ours, per_core, theirs, times].map(shown));
        lines.push(line);
        if let Some(ours) = ours {
            let goal = disk.map_or(GOALS.0, |disk| disk.min(GOALS.0));
            let met = ours >= goal || per_core.is_some_and(|rate| rate >= GOALS.0);
            wanted += &format!(
                "wanted, {}: {goal:.2} GB/s, or {} GB/s per core: {}\n",
                subject.label(),
                GOALS.0,
                verdict(met)
            );
        }
        if let Some(times) = times {
            wanted += &format!(
                "wanted, {}: {} times as fast as Apache's tool, is {times:.1}: {}\n",
                subject.label(),
                GOALS.1,
                verdict(times >= GOALS.1)
            );
        }
    }
    align(&lines) + &wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(make: Make, ours: f64, theirs: f64) -> Outcome {
        let run =
            |seconds: f64| if seconds > 0.0 { vec![Run { seconds, cpu_seconds: seconds }] } else { vec![] };
        let subject =
            Subject { make, kind: Kind::Log, path: "x".into(), bytes: 500_000_000, disk: Some(8e8) };
        Outcome { subject, ours: run(ours), theirs: run(theirs) }
    }

    #[test]
    fn the_disk_is_an_excuse_and_apache_is_not() {
        let said = text(&[outcome(Make::Apache, 0.6, 5.0)]);
        assert!(said.contains("0.80 GB/s, or 1 GB/s per core: met"), "{said}");
        assert!(said.contains("is 8.3: missed"), "{said}");
        assert!(text(&[outcome(Make::Apache, 0.7, 7.5)]).contains("is 10.7: met"));
        assert!(text(&[outcome(Make::Ringkeeper, 0.7, 0.0)]).contains("per core: missed"));
    }

    #[test]
    fn nothing_is_claimed_of_a_tool_that_was_not_there() {
        let said = text(&[outcome(Make::Apache, 0.0, 5.0)]);
        assert!(!said.contains("wanted"), "{said}");
    }

    #[test]
    fn a_tool_is_timed_to_its_end_and_its_failure_told() {
        let home = Home::new(&std::env::temp_dir()).unwrap();
        let sh = |script: &str| timed("sh", Path::new("sh"), &["-c".into(), script.into()], &home);
        let run = sh("i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done; echo no").unwrap();
        assert!(run.seconds > 0.0 && run.cpu_seconds <= run.seconds + 0.02, "{run:?}");
        let error = sh("echo bad >&2; exit 3").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("bad"), "{error}");
    }
}
