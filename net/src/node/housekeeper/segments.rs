//! Segments of the log: prepared before they are needed, removed when nothing needs them.
//!
//! Zero-written or recycled, so that no acknowledged write ever waits for an extent conversion. It never touches a
//! segment that the log has put to use.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use glommio::GlommioError;
use glommio::io::{Directory, OpenOptions};
use ringkeeper_engine::io::PREPARING;

use super::{Chore, Report, Reporter};

/// Bytes per zeroing write. Large enough for the disk's sequential rate, small enough to let commits pass.
pub(super) const CHUNK: usize = 256 * 1024;
/// Pause after a chunk while there is no hurry, so that zeroing takes a share of the disk, not all of it.
const PACE: Duration = Duration::from_micros(500);

/// Does chores, in order, until nobody can ask for one any more.
pub(super) async fn run(
    dir: PathBuf,
    inbox: async_channel::Receiver<Chore>,
    reporter: Reporter,
    hurry: Arc<AtomicBool>,
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
            reporter.send(report);
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
