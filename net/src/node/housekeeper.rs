//! The housekeeper: a glommio executor on its own thread for file work that must never stall a core loop.
//!
//! It prepares log segments (zero-written or recycled, so that no acknowledged write ever waits for an extent
//! conversion) and removes what the log no longer needs. It is told what to do through a channel, answers
//! through another and rings the replica loop. It never touches a segment that the log has put to use.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use glommio::io::{Directory, OpenOptions};
use glommio::{GlommioError, LocalExecutorBuilder, Placement};
use ringkeeper_engine::io::PREPARING;

/// Bytes per zeroing write. Large enough for the disk's sequential rate, small enough to let commits pass.
const CHUNK: usize = 256 * 1024;
/// Pause after a chunk while there is no hurry, so that zeroing takes a share of the disk, not all of it.
const PACE: Duration = Duration::from_micros(500);

/// What the housekeeper is asked to do.
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

/// What became of a chore.
#[derive(Debug)]
pub enum Report {
    /// The segment of this name is durable under its name and ready.
    Prepared(String),
    /// The segment could not be made; the text says what was being done, to which file, and why not. It is not
    /// tried again under this name: after a failed flush nothing is known of what is durable.
    Failed(String, String),
    /// A file could not be removed. The next start finds it.
    Kept(String),
}

/// The handle of the replica loop. Dropping it ends the thread after the chore in hand.
#[derive(Debug)]
pub struct Housekeeper {
    chores: Option<async_channel::Sender<Chore>>,
    hurry: Arc<AtomicBool>,
    /// What has been done since the last look.
    pub reports: mpsc::Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeper {
    /// Starts the thread for the files in `dir`. `ring_bell` is called after every report.
    pub fn start(dir: &Path, ring_bell: impl Fn() + Send + 'static) -> io::Result<Housekeeper> {
        let (chores, inbox) = async_channel::unbounded();
        let (outbox, reports) = mpsc::channel();
        let (started, is_started) = mpsc::channel();
        // glommio resolves a relative path against descriptor -1, which fails.
        let dir = std::path::absolute(dir)?;
        let hurry = Arc::new(AtomicBool::new(false));
        let hurried = hurry.clone();
        let thread = thread::Builder::new().name("housekeeper".into()).spawn(move || {
            let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(256 << 10).make();
            match executor {
                Err(error) => {
                    let text = format!("starting the housekeeper's io_uring executor (glommio): {error}");
                    let _ = started.send(Err(io::Error::other(text)));
                }
                Ok(executor) => {
                    let _ = started.send(Ok(()));
                    executor.run(run(dir, inbox, outbox, hurried, ring_bell));
                }
            }
        })?;
        is_started.recv().map_err(|_| io::Error::other("the housekeeper ended before it began"))??;
        Ok(Housekeeper { chores: Some(chores), hurry, reports, thread: Some(thread) })
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
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.chores = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run(
    dir: PathBuf,
    inbox: async_channel::Receiver<Chore>,
    outbox: mpsc::Sender<Report>,
    hurry: Arc<AtomicBool>,
    ring_bell: impl Fn(),
) {
    while let Ok(chore) = inbox.recv().await {
        let report = match chore {
            Chore::Prepare { name, len, recycle } => {
                Some(match prepare(&dir, &name, len, recycle.as_deref(), &hurry).await {
                    Ok(()) => Report::Prepared(name),
                    Err(text) => Report::Failed(name, text),
                })
            }
            Chore::Remove(name) => remove(&dir, &name).await.err().map(Report::Kept),
        };
        if let Some(report) = report {
            if outbox.send(report).is_err() {
                return;
            }
            ring_bell();
        }
    }
}

type Trouble = String;

fn trouble<'a>(doing: &'a str, path: &'a Path) -> impl Fn(GlommioError<()>) -> Trouble + 'a {
    move |error| format!("{doing} {}: {error}", path.display())
}

async fn prepare(
    dir: &Path,
    name: &str,
    len: u64,
    recycle: Option<&str>,
    hurry: &AtomicBool,
) -> Result<(), Trouble> {
    let target = dir.join(name);
    let source = match recycle {
        Some(old) => dir.join(old),
        None => zeroed(dir, len, hurry).await?,
    };
    glommio::io::rename(&source, &target)
        .await
        .map_err(trouble("renaming a prepared segment to", &target))?;
    sync(dir).await
}

/// Writes `len` zeros under the working name (see [`PREPARING`]) and flushes them.
async fn zeroed(dir: &Path, len: u64, hurry: &AtomicBool) -> Result<PathBuf, Trouble> {
    let path = dir.join(PREPARING);
    // Readable too: glommio tries the device's polling by reading from the first file it opens there.
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).dma_open(&path).await;
    let file = file.map_err(trouble("creating", &path))?;
    let mut zeros = file.alloc_dma_buffer(CHUNK);
    zeros.as_bytes_mut().fill(0);
    let zeros = Rc::new(zeros);
    let mut outcome = Ok(());
    let mut at = 0;
    while at < len && outcome.is_ok() {
        // The last chunk may reach beyond the end; the length is set afterwards.
        outcome = match file.write_rc_at(zeros.clone(), at).await {
            Ok(written) if written == CHUNK => Ok(()),
            Ok(written) => {
                Err(format!("zeroing {} at offset {at}: wrote only {written} bytes", path.display()))
            }
            Err(error) => Err(trouble("zeroing", &path)(error)),
        };
        at += CHUNK as u64;
        if !hurry.load(Ordering::Relaxed) {
            glommio::timer::sleep(PACE).await;
        }
    }
    if outcome.is_ok() && at != len {
        outcome = file.truncate(len).await.map_err(trouble("setting the length of", &path));
    }
    if outcome.is_ok() {
        outcome = file.fdatasync().await.map_err(trouble("flushing", &path));
    }
    let closed = file.close().await.map_err(trouble("closing", &path));
    if let Err(text) = outcome.and(closed) {
        // Give the space back at once: somebody else may be waiting for it.
        let _ = glommio::io::remove(&path).await;
        return Err(text);
    }
    Ok(path)
}

async fn remove(dir: &Path, name: &str) -> Result<(), Trouble> {
    let path = dir.join(name);
    if path.exists() {
        glommio::io::remove(&path).await.map_err(trouble("removing", &path))?;
    }
    sync(dir).await
}

async fn sync(dir: &Path) -> Result<(), Trouble> {
    let handle = Directory::open(dir).await.map_err(trouble("opening", dir))?;
    handle.sync().await.map_err(trouble("flushing", dir))?;
    handle.close().await.map_err(trouble("closing", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn prepare(name: &str, len: u64, recycle: Option<&str>) -> Chore {
        Chore::Prepare { name: name.into(), len, recycle: recycle.map(Into::into) }
    }

    #[test]
    fn segments_are_zero_written_recycled_and_removed() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory on disk");
        let (bell, rung) = mpsc::channel();
        let keeper = Housekeeper::start(dir.path(), move || bell.send(()).expect("the test listens"))
            .expect("glommio starts here");
        let len = 3 * CHUNK as u64 + 4096;
        let prepared = |chore: Chore| {
            keeper.ask(chore);
            rung.recv().expect("the bell rings");
            match keeper.reports.try_recv().expect("a report comes before the bell") {
                Report::Prepared(name) => name,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(prepared(prepare("log.1", len, None)), "log.1");
        let meta = std::fs::metadata(dir.path().join("log.1")).expect("it is there");
        assert_eq!((meta.len(), meta.blocks() * 512 >= len), (len, true), "written, not sparse");
        assert_eq!(prepared(prepare("log.2", len, Some("log.1"))), "log.2");
        assert!(!dir.path().join("log.1").exists(), "recycled by renaming");
        assert_eq!(std::fs::metadata(dir.path().join("log.2")).expect("it is there").ino(), meta.ino());
        keeper.ask(Chore::Remove("log.2".into()));
        assert_eq!(prepared(prepare("log.3", 4096, None)), "log.3");
        let names: Vec<_> = std::fs::read_dir(dir.path()).expect("readable").flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn a_segment_that_cannot_be_made_is_reported_with_its_path_and_the_next_one_is_made() {
        let parent = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory on disk");
        let dir = parent.path().join("missing");
        let keeper = Housekeeper::start(&dir, || ()).expect("glommio starts here");
        keeper.ask(prepare("log.1", 4096, None));
        match keeper.reports.recv().expect("a report comes") {
            Report::Failed(name, text) => {
                assert_eq!(name, "log.1");
                assert!(text.contains("missing/preparing"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        std::fs::create_dir(&dir).expect("created");
        keeper.ask(Chore::Remove("nothing".into()));
        keeper.ask(prepare("log.2", 4096, None));
        match keeper.reports.recv().expect("a report comes") {
            Report::Prepared(name) => assert_eq!(name, "log.2"),
            other => panic!("{other:?}"),
        }
    }
}
