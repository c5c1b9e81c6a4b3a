//! The housekeeper: file work that must never stall a core loop, on threads of its own.
//!
//! One thread has a glommio executor and does two things side by side, neither waiting for the other: `segments` prepares
//! and removes files of the log, `storing` writes down a snapshot that a leader sends. A snapshot of the own state is made on
//! a thread of its own with a low priority (`making`), and the tree of one that was received is built on another
//! (`loading`). `file` performs the steps that a snapshot is written with.
//!
//! It is told what to do through channels, answers through another and rings the replica loop. It decides nothing: which
//! file is needed, and whether what is done is still of interest, is for `log` and `member` to know.

mod file;
mod loading;
mod making;
mod segments;
mod storing;
#[cfg(test)]
mod tests;
mod volume;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::{fmt, io, thread};

use glommio::{LocalExecutorBuilder, Placement};
use ringkeeper_engine::io::FsVolume;

use crate::member::work::{Work, WorkDone};
use storing::{Storing, Task};

/// Bytes of buffers that are registered with the kernel for the executor of segments and receptions.
const REGISTERED: usize = 4 << 20;

/// What the housekeeper is asked to do about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Make `name` exist with `len` bytes that have been written before: by renaming `recycle`, else by zeros.
    Prepare {
        /// File name of the new segment.
        name: String,
        /// Its length in bytes.
        len: u64,
        /// A segment of the same length that is no longer needed.
        recycle: Option<String>,
    },
    /// Remove a file.
    Remove(String),
}

/// What became of a chore or a work.
#[derive(Debug)]
pub enum Report {
    /// The segment of this name is durable under its name and ready.
    Prepared(String),
    /// The segment could not be made; the text says what was being done, to which file, and why not. It is not
    /// tried again under this name: after a failed flush nothing is known of what is durable.
    Failed(String, String),
    /// A file could not be removed. The next start finds it.
    Kept(String),
    /// For the member.
    Work(WorkDone),
}

/// Reports, and rings the replica loop after each.
#[derive(Clone)]
struct Reporter {
    outbox: mpsc::Sender<Report>,
    ring_bell: Arc<dyn Fn() + Send + Sync>,
}

impl Reporter {
    fn send(&self, report: Report) {
        // Nobody listens any more when the node ends.
        if self.outbox.send(report).is_ok() {
            (self.ring_bell)();
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// When work is to be dropped: what takes long looks here at every step.
#[derive(Clone, Debug, Default)]
struct Stop {
    /// The node ends.
    ending: Arc<AtomicBool>,
    /// Receptions up to this one are of no use any more.
    abandoned: Arc<AtomicU64>,
}

impl Stop {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Whether nothing more is to be done for this reception.
    fn is_void(&self, reception: u64) -> bool {
        self.is_ending() || reception <= self.abandoned.load(Ordering::Relaxed)
    }
}

/// The handle of the replica loop. Dropping it ends all threads: chores that were asked for are done, works are dropped at
/// their next step.
#[derive(Debug)]
pub struct Housekeeper {
    volume: Arc<FsVolume>,
    chores: Option<async_channel::Sender<Chore>>,
    tasks: Option<async_channel::Sender<Task>>,
    hurry: Arc<AtomicBool>,
    stop: Stop,
    reporter: Reporter,
    /// What has been done since the last look.
    pub reports: mpsc::Receiver<Report>,
    executor: Option<JoinHandle<()>>,
    /// Snapshots that are being made.
    making: Vec<JoinHandle<()>>,
}

impl Housekeeper {
    /// Starts the thread for the files of `volume`. `ring_bell` is called after every report.
    pub fn start(
        volume: Arc<FsVolume>,
        ring_bell: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Housekeeper> {
        let (chores, chores_inbox) = async_channel::unbounded();
        let (tasks, tasks_inbox) = async_channel::unbounded();
        let (outbox, reports) = mpsc::channel();
        let (started, is_started) = mpsc::channel();
        let reporter = Reporter { outbox, ring_bell: Arc::new(ring_bell) };
        let (hurry, stop) = (Arc::new(AtomicBool::new(false)), Stop::default());
        let dir = directory(&volume)?;
        let executor = {
            let (reporter, hurry) = (reporter.clone(), hurry.clone());
            let (volume, stop) = (volume.clone(), stop.clone());
            thread::Builder::new().name("housekeeper".into()).spawn(move || {
                let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(REGISTERED).make();
                match executor {
                    Err(error) => {
                        let text = format!("starting the housekeeper's io_uring executor (glommio): {error}");
                        let _ = started.send(Err(io::Error::other(text)));
                    }
                    Ok(executor) => {
                        let _ = started.send(Ok(()));
                        executor.run(async move {
                            let storing = Storing::new(volume, dir.clone(), reporter.clone(), stop);
                            let storing = glommio::spawn_local(storing.run(tasks_inbox));
                            segments::run(dir, chores_inbox, reporter, hurry).await;
                            storing.await;
                        });
                    }
                }
            })?
        };
        is_started.recv().map_err(|_| io::Error::other("the housekeeper ended before it began"))??;
        Ok(Housekeeper {
            volume,
            chores: Some(chores),
            tasks: Some(tasks),
            hurry,
            stop,
            reporter,
            reports,
            executor: Some(executor),
            making: Vec::new(),
        })
    }

    /// Whether to zero segments as fast as the disk allows, because the log is about to need one, or to leave the
    /// disk to the log.
    pub fn set_hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Ordering::Relaxed);
    }

    /// Queues a chore; chores are done in order.
    pub fn ask(&self, chore: Chore) {
        let chores = self.chores.as_ref().expect("chores end with the handle");
        // Unbounded and the other end lives as long as the thread: only a dead thread refuses, and then
        // the process is ending.
        let _ = chores.send_blocking(chore);
    }

    /// Begins or queues a work. What belongs to one reception is done in order; snapshots are made beside it.
    pub fn take(&mut self, work: Work) {
        let task = match work {
            Work::MakeSnapshot { request, hurry } => {
                return self.make(making::snapshot(
                    request,
                    hurry,
                    self.volume.clone(),
                    self.reporter.clone(),
                    &self.stop,
                ));
            }
            Work::MakeImage { link, request } => {
                return self.make(making::image(
                    link,
                    request,
                    self.volume.clone(),
                    self.reporter.clone(),
                    &self.stop,
                ));
            }
            Work::Store { reception, steps } => Task::Store { reception, steps },
            Work::Load { reception, request } => Task::Load { reception, request },
            Work::Abandon { reception } => {
                self.stop.abandoned.fetch_max(reception, Ordering::Relaxed);
                Task::Abandon { reception }
            }
        };
        let tasks = self.tasks.as_ref().expect("tasks end with the handle");
        // As for chores.
        let _ = tasks.send_blocking(task);
    }

    fn make(&mut self, thread: Option<JoinHandle<()>>) {
        self.making.retain(|thread| !thread.is_finished());
        self.making.extend(thread);
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.stop.ending.store(true, Ordering::Relaxed);
        (self.chores, self.tasks) = (None, None);
        for thread in self.executor.take().into_iter().chain(self.making.drain(..)) {
            let _ = thread.join();
        }
    }
}

/// Where the files are. glommio resolves a relative path against descriptor -1, which fails.
fn directory(volume: &FsVolume) -> io::Result<PathBuf> {
    std::path::absolute(volume.dir())
}
