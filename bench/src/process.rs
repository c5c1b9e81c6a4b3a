//! Servers as child processes, none of which outlives us.
//!
//! A binary that aborts when it panics runs no destructors, and neither does one that a signal ends. So every child and
//! every temporary directory is also kept in a list, which a panic hook and a thread that waits for signals clear.
//! Nothing else may wait for a child: a process id is only sure to be ours while its owner has not been told of its end.

use std::fs::{self, File};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::error::BenchError;

/// Where the output of a server goes, behind that of those before it in the same directory.
pub const OUTPUT: &str = "output.txt";
/// How long a server may take to end after SIGTERM before it is killed.
const STOP: Duration = Duration::from_secs(10);
/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(2);

/// What has to go when we go.
#[derive(Debug)]
struct Ours {
    /// Children that were started and whose end was not taken note of.
    children: Vec<Pid>,
    /// Temporary directories.
    homes: Vec<PathBuf>,
}

static OURS: Mutex<Ours> = Mutex::new(Ours { children: Vec::new(), homes: Vec::new() });

fn ours() -> MutexGuard<'static, Ours> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills every child and removes every directory. As long as the guard is held, no child can be started.
fn clear() -> MutexGuard<'static, Ours> {
    let mut ours = ours();
    for pid in &ours.children {
        let _ = kill_process(*pid, Signal::KILL);
    }
    for pid in ours.children.drain(..) {
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
    for home in ours.homes.drain(..) {
        let _ = fs::remove_dir_all(home);
    }
    ours
}

/// Sees to it, once, that nothing is left by a signal or a panic.
fn leave_nothing() -> Result<(), BenchError> {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.set(()).is_err() {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|source| BenchError::Os { doing: "preparing for signals", source })?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _ours = clear();
            std::process::exit(128 + signal);
        }
    });
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        drop(clear());
    }));
    Ok(())
}

/// A temporary directory for the servers of a run, removed at the end.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// Makes one in `parent`.
    pub fn new(parent: &Path) -> Result<Home, BenchError> {
        leave_nothing()?;
        let doing = "making a temporary directory in";
        let file = |source| BenchError::File { doing, path: parent.into(), source };
        let parent = fs::canonicalize(parent).map_err(file)?;
        let mut ours = ours();
        let dir = tempfile::Builder::new().prefix("rkbench-").tempdir_in(parent).map_err(file)?;
        ours.homes.push(dir.path().into());
        Ok(Home { dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        ours().homes.retain(|home| home != self.dir.path());
    }
}

/// A server that was started; ended when dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    output: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in `dir`, where its output goes to a file.
    pub fn start(name: &'static str, command: &mut Command, dir: &Path) -> Result<Process, BenchError> {
        leave_nothing()?;
        let path = dir.join(OUTPUT);
        let file = |source| BenchError::File { doing: "preparing", path: path.clone(), source };
        let out = File::options().create(true).append(true).open(&path).map_err(file)?;
        let err = out.try_clone().map_err(file)?;
        command.current_dir(dir).stdin(Stdio::null()).stdout(out).stderr(err);
        let mut ours = ours();
        let child = command.spawn().map_err(|source| BenchError::File {
            doing: "starting",
            path: command.get_program().into(),
            source,
        })?;
        ours.children.push(Pid::from_child(&child));
        Ok(Process { name, child, output: path, ended: None })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // It may have ended in between; until it is waited for, the id stays its own.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            let mut ours = ours();
            if let Ok(Some(status)) = self.child.try_wait() {
                let pid = Pid::from_child(&self.child);
                ours.children.retain(|child| *child != pid);
                self.ended = Some(status);
            }
        }
        self.ended
    }

    /// An error if it has ended, with the end of what it printed.
    pub fn check(&mut self) -> Result<(), BenchError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(BenchError::ServerEnded { name: self.name, status, output: self.output() }),
        }
    }

    /// The end of what it printed.
    pub fn output(&self) -> String {
        let output = fs::read(&self.output).unwrap_or_default();
        let skip = output.len().saturating_sub(2000);
        String::from_utf8_lossy(&output[skip..]).trim_end().to_string()
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        while self.ended().is_none() {
            thread::sleep(POLL);
        }
    }

    /// Asks it to end, even if it is stopped, and does not wait.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// SIGTERM; returns when the process is gone, and kills it if that takes longer than `patience`.
    pub fn stop(&mut self, patience: Duration) {
        self.terminate();
        let deadline = Instant::now() + patience;
        while self.ended().is_none() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        self.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(STOP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str, home: &Home) -> Process {
        Process::start("script", Command::new("sh").args(["-c", script]), home.path()).unwrap()
    }

    fn exists(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_process_that_is_stopped_and_deaf_is_ended_all_the_same() {
        let home = Home::new(&std::env::temp_dir()).unwrap();
        let mut process = started("while :; do sleep 1; done", &home);
        let pid = process.id();
        process.signal(Signal::STOP);
        process.check().unwrap();
        assert!(exists(pid));
        drop(process);
        assert!(!exists(pid));
        let path = home.path().to_path_buf();
        drop(home);
        assert!(!path.exists());
    }

    #[test]
    fn the_end_of_a_process_is_told_with_its_last_words() {
        let home = Home::new(&std::env::temp_dir()).unwrap();
        let mut process = started("echo no such thing; exit 3", &home);
        while process.ended().is_none() {
            thread::sleep(POLL);
        }
        let error = process.check().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
        assert!(!ours().children.contains(&Pid::from_child(&process.child)));
    }
}
