//! Makes snapshots of the own state, each on a thread of its own.
//!
//! What is computed and read blocks the thread; what is written is on its way meanwhile, through a small glommio executor.
//! Unless somebody waits for the snapshot the thread has a low priority, and rests after each step as long as
//! the disk was busy with it: what is served comes first.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};
use ringkeeper_engine::io::FsVolume;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::snapshot::Published;
use ringkeeper_engine::snapshot::merge::{MakeError, Making, SnapshotRequest};

use super::file::{IN_FLIGHT, StepFile, WRITE};
use super::volume::Watched;
use super::{Report, Reporter, Stop, directory};
use crate::member::work::{self, Doing, WorkDone};
use crate::zab::event::Link;

/// Progress is not reported more often.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(100);
/// Progress is not logged more often.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How often longer than the disk was busy it is left alone.
const REST: u32 = 1;
/// Longest rest: a disk, or a processor, that is busy with others is not waited for without end, while the log grows.
const LONGEST_REST: Duration = Duration::from_millis(5);
/// A tenth of what a core loop gets where both want the same core. Lower, and under full load the log would grow faster
/// than snapshots of it are made.
const NICE: i32 = 10;

/// Starts making a snapshot; what comes of it is reported. `None` if there is no thread to be had, which is reported too.
pub(super) fn snapshot(
    request: SnapshotRequest,
    hurry: bool,
    volume: Arc<FsVolume>,
    reporter: Reporter,
    stop: &Stop,
) -> Option<JoinHandle<()>> {
    let (stop, report) = (stop.clone(), reporter.clone());
    let body = move || {
        let result = make(request, hurry, volume, &report, &stop);
        report.send(Report::Work(WorkDone::SnapshotMade(result)));
    };
    match Builder::new().name("snapshot".into()).spawn(body) {
        Ok(thread) => Some(thread),
        Err(source) => {
            let result = Err(no_thread("snapshot", source));
            reporter.send(Report::Work(WorkDone::SnapshotMade(result)));
            None
        }
    }
}

/// Starts making the body of a snapshot in memory, for a learner that waits for it.
pub(super) fn image(
    link: Link,
    request: SnapshotRequest,
    volume: Arc<FsVolume>,
    reporter: Reporter,
    stop: &Stop,
) -> Option<JoinHandle<()>> {
    let (stop, report) = (stop.clone(), reporter.clone());
    let body = move || {
        let volume = Watched::new(volume, || stop.is_ending());
        let result = work::image(request, &volume);
        report.send(Report::Work(WorkDone::ImageMade { link, result }));
    };
    match Builder::new().name("image".into()).spawn(body) {
        Ok(thread) => Some(thread),
        Err(source) => {
            let result = Err(no_thread("image", source));
            reporter.send(Report::Work(WorkDone::ImageMade { link, result }));
            None
        }
    }
}

fn no_thread(name: &str, source: std::io::Error) -> MakeError {
    LogError::File { doing: "starting a thread:", path: name.into(), source }.into()
}

fn make(
    request: SnapshotRequest,
    hurry: bool,
    volume: Arc<FsVolume>,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<Published, MakeError> {
    if !hurry && let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!("a snapshot is made at normal priority: {error}");
    }
    let began = Instant::now();
    tracing::info!(zxid = %request.upto(), paced = !hurry, "making a snapshot");
    let dir = volume.dir().to_owned();
    let no_executor =
        |source| LogError::File { doing: "starting an io_uring executor (glommio) for", path: dir, source };
    let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(IN_FLIGHT as usize * WRITE).make();
    let executor = match executor {
        Ok(executor) => executor,
        Err(error) => return Err(no_executor(std::io::Error::other(error.to_string())).into()),
    };
    let absolute = directory(&volume).map_err(no_executor)?;
    let maker = Maker {
        file: StepFile::new(volume.clone(), absolute),
        volume: Watched::new(volume, || stop.is_ending()),
        paced: !hurry,
        reporter,
        reported: began,
        logged: began,
    };
    let result = executor.run(maker.run(request.begin()));
    match &result {
        Ok(made) => {
            let took_ms = began.elapsed().as_millis() as u64;
            tracing::info!(file = made.file(), bytes = made.file_len(), took_ms, "a snapshot is made");
        }
        Err(_) if stop.is_ending() => {}
        Err(error) => tracing::error!("no snapshot: {error}"),
    }
    result
}

struct Maker<'a, F> {
    file: StepFile,
    volume: Watched<F>,
    paced: bool,
    reporter: &'a Reporter,
    reported: Instant,
    logged: Instant,
}

impl<F: Fn() -> bool + Send + Sync> Maker<'_, F> {
    async fn run(mut self, mut making: Making) -> Result<Published, MakeError> {
        let outcome = self.steps(&mut making).await;
        if outcome.is_err() {
            self.file.discard().await;
        }
        outcome.map(|()| making.published())
    }

    async fn steps(&mut self, making: &mut Making) -> Result<(), MakeError> {
        while let Some(step) = making.next(&self.volume)? {
            let begun = Instant::now();
            self.file.perform(step).await?;
            if self.paced {
                self.file.settle().await?;
                let busy = begun.elapsed() + self.volume.take_reading_time();
                glommio::timer::sleep((busy * REST).min(LONGEST_REST)).await;
            } else {
                // Lets what has been written be taken note of.
                glommio::executor().yield_now().await;
            }
            self.tell(making);
        }
        Ok(())
    }

    fn tell(&mut self, making: &Making) {
        if self.reported.elapsed() < REPORT_EVERY {
            return;
        }
        self.reported = Instant::now();
        let progress = making.progress();
        let (done, of) = (progress.done, progress.of);
        self.reporter.send(Report::Work(WorkDone::Progress { what: Doing::Making, done, of }));
        if self.logged.elapsed() >= LOG_EVERY {
            self.logged = self.reported;
            tracing::info!(done, of, "a snapshot is being made");
        }
    }
}

#[cfg(test)]
#[path = "making_tests.rs"]
mod tests;
