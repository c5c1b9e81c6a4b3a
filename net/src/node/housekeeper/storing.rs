//! Writes down a snapshot that is being received, in order, with several writes in flight.
//!
//! One reception after the other: what an abandoned one still does has ended before a later one creates its file. What
//! was written is reported as it gets on, because the member takes no more from the leader than the disk keeps up with.
//! After a failure the rest of that reception is dropped; it is reported once.

use std::path::PathBuf;
use std::sync::Arc;

use async_channel::{Receiver, TryRecvError};
use ringkeeper_engine::io::FsVolume;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::snapshot::receive::{self, LoadRequest};
use ringkeeper_engine::snapshot::steps::Step;

use super::file::StepFile;
use super::{Report, Reporter, Stop, loading};
use crate::member::work::WorkDone;

/// A part of a reception.
#[derive(Debug)]
pub(super) enum Task {
    Store { reception: u64, steps: Vec<Step> },
    Load { reception: u64, request: LoadRequest },
    Abandon { reception: u64 },
}

/// The receptions of a member, one at a time.
#[derive(Debug)]
pub(super) struct Storing {
    volume: Arc<FsVolume>,
    file: StepFile,
    /// The one that was written last.
    current: u64,
    /// The last one that failed.
    failed: Option<u64>,
    reporter: Reporter,
    stop: Stop,
}

impl Storing {
    /// `dir` is where `volume` is, as an absolute path.
    pub fn new(volume: Arc<FsVolume>, dir: PathBuf, reporter: Reporter, stop: Stop) -> Storing {
        let file = StepFile::new(volume.clone(), dir);
        Storing { volume, file, current: 0, failed: None, reporter, stop }
    }

    /// Until nobody can send a task any more.
    pub async fn run(mut self, inbox: Receiver<Task>) {
        loop {
            let task = match inbox.try_recv() {
                Ok(task) => Some(task),
                Err(TryRecvError::Closed) => None,
                // Nothing to do: what is in flight is waited for, so that its end is heard of.
                Err(TryRecvError::Empty) => {
                    self.settle().await;
                    inbox.recv().await.ok()
                }
            };
            match task {
                None => break,
                Some(Task::Store { reception, steps }) => self.store(reception, steps).await,
                Some(Task::Load { reception, request }) => self.load(reception, request).await,
                Some(Task::Abandon { reception }) => self.abandon(reception).await,
            }
        }
        self.file.discard().await;
    }

    fn is_void(&self, reception: u64) -> bool {
        self.failed == Some(reception) || self.stop.is_void(reception)
    }

    async fn store(&mut self, reception: u64, steps: Vec<Step>) {
        if reception != self.current {
            self.settle().await;
            self.current = reception;
        }
        for step in steps {
            if self.is_void(reception) {
                return;
            }
            let begun = self.file.perform(step).await;
            self.got_on(begun).await;
        }
    }

    async fn settle(&mut self) {
        let settled = self.file.settle().await;
        self.got_on(settled).await;
    }

    /// Tells how far the current reception is, or that it failed.
    async fn got_on(&mut self, outcome: Result<(), LogError>) {
        let reception = self.current;
        let written = self.file.take_written();
        let result = match outcome {
            Ok(()) if written == 0 => return,
            Ok(()) => Ok(written),
            Err(error) => {
                self.file.discard().await;
                // Of a reception that has failed nothing more is told.
                self.file.take_written();
                self.failed = Some(reception);
                Err(error)
            }
        };
        self.reporter.send(Report::Work(WorkDone::Stored { reception, result }));
    }

    /// Has the tree built, and waits for it: until then nobody else may touch the file.
    async fn load(&mut self, reception: u64, request: LoadRequest) {
        if self.is_void(reception) {
            return;
        }
        let closed = self.file.close().await;
        self.got_on(closed).await;
        if self.failed == Some(reception) {
            return;
        }
        let (volume, reporter, stop) = (self.volume.clone(), self.reporter.clone(), self.stop.clone());
        let name = "load";
        if let Err(error) =
            on_a_thread(name, move || loading::load(reception, request, volume, reporter, &stop)).await
        {
            let result = Box::new(Err(error));
            self.reporter.send(Report::Work(WorkDone::Loaded { reception, result }));
        }
    }

    async fn abandon(&mut self, reception: u64) {
        let _ = self.file.close().await;
        self.file.take_written();
        let volume = self.volume.clone();
        let removed = on_a_thread("abandon", move || receive::abandon(&*volume)).await;
        if let Err(error) = removed.and_then(|removed| removed) {
            tracing::warn!(reception, "half a snapshot stays until the next start: {error}");
        }
    }
}

/// Runs what blocks on a thread of its own, while others of the executor go on.
async fn on_a_thread<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LogError> {
    let (ended, end) = async_channel::bounded(1);
    let body = move || {
        let _ = ended.send_blocking(work());
    };
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map_err(|source| LogError::File { doing: "starting a thread:", path: name.into(), source })?;
    let result = end.recv().await.expect("a thread that panics ends the process");
    let _ = thread.join();
    Ok(result)
}
