//! The file that a snapshot is written into, step by step, with several writes in flight.
//!
//! Only writes overtake each other. Everything else waits for the writes before it, and the next step for it: see
//! [`Step`]. A failed write is reported by the next step, or by [`StepFile::settle`]; the file is then of no use.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::sync::Semaphore;
use ringkeeper_engine::io::{BLOCK, FsVolume, Volume};
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::snapshot::steps::Step;

/// Bytes of one write. Smaller than a step, so that what the log writes meanwhile waits for no more than this.
pub(super) const WRITE: usize = 256 << 10;
/// Writes in flight.
pub(super) const IN_FLIGHT: u64 = 4;

/// A file under a working name.
#[derive(Debug)]
pub(super) struct StepFile {
    volume: Arc<FsVolume>,
    /// The directory, absolute.
    dir: PathBuf,
    open: Option<Open>,
    flight: Rc<Flight>,
}

#[derive(Debug)]
struct Open {
    name: &'static str,
    file: Rc<DmaFile>,
}

/// What the writes in flight share.
#[derive(Debug)]
struct Flight {
    room: Rc<Semaphore>,
    /// Bytes written since this was asked last.
    written: Cell<u64>,
    /// The first failure, until somebody takes it.
    failure: RefCell<Option<LogError>>,
    /// Buffers of [`WRITE`] bytes for the next writes.
    spare: RefCell<Vec<DmaBuffer>>,
}

impl StepFile {
    /// No file yet; `dir` is where `volume` is, as an absolute path.
    pub fn new(volume: Arc<FsVolume>, dir: PathBuf) -> StepFile {
        let flight = Flight {
            room: Rc::new(Semaphore::new(IN_FLIGHT)),
            written: Cell::default(),
            failure: RefCell::default(),
            spare: RefCell::default(),
        };
        StepFile { volume, dir, open: None, flight: Rc::new(flight) }
    }

    /// Begins a step. When it returns the next one may be begun; an error may be that of an earlier write.
    pub async fn perform(&mut self, step: Step) -> Result<(), LogError> {
        match step {
            Step::Create(name) => self.create(name).await,
            Step::Write { offset: 0, bytes } => {
                self.settle().await?;
                self.write(0, bytes).await?;
                self.flush().await
            }
            Step::Write { offset, bytes } => self.write(offset, bytes).await,
            Step::Flush => self.flush().await,
            Step::FlushFile(name) => {
                self.settle().await?;
                self.volume.sync_file(&name).map_err(file_error("flushing", &self.volume.path(&name)))
            }
            Step::Publish(name) => self.publish(&name).await,
            Step::Read(_) => Ok(()),
        }
    }

    /// Waits until nothing is in flight.
    pub async fn settle(&self) -> Result<(), LogError> {
        let _all = self.flight.room.acquire_permit(IN_FLIGHT).await.expect("it is never closed");
        self.flight.failure.take().map_or(Ok(()), Err)
    }

    /// Bytes that were written since this was asked last.
    pub fn take_written(&self) -> u64 {
        self.flight.written.take()
    }

    /// Waits for what is in flight and closes the file, which stays under its working name.
    pub async fn close(&mut self) -> Result<(), LogError> {
        let settled = self.settle().await;
        let Some(Open { name, file }) = self.open.take() else { return settled };
        let closed = file.close_rc().await.map_err(|error| system(&error));
        settled.and(closed.map(drop).map_err(file_error("closing", &self.volume.path(name))))
    }

    /// Closes and removes the file: half of it is of no use, and the space it holds may be what was missing.
    pub async fn discard(&mut self) {
        let Some(name) = self.open.as_ref().map(|open| open.name) else { return };
        // Of a file that goes nothing else matters.
        let _ = self.close().await;
        self.remove(name).await;
    }

    async fn remove(&self, name: &str) {
        if let Err(error) = glommio::io::remove(self.dir.join(name)).await {
            let path = self.volume.path(name);
            tracing::warn!(
                "half a snapshot stays until the next start: removing {}: {error}",
                path.display()
            );
        }
    }

    async fn create(&mut self, name: &'static str) -> Result<(), LogError> {
        self.close().await?;
        let path = self.dir.join(name);
        let shown = self.volume.path(name);
        if path.exists() {
            let removed = glommio::io::remove(&path).await.map_err(|error| system(&error));
            removed.map_err(file_error("removing", &shown))?;
        }
        // Readable too: glommio tries the device's polling by reading from the first file it opens there.
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create_new(true).dma_open(&path).await;
        let file = opened.map_err(|error| system(&error)).map_err(file_error("creating", &shown))?;
        let file = Rc::new(file);
        self.open = Some(Open { name, file: file.clone() });
        let written = file.write_rc_at(self.filled(&file, &[0; BLOCK]), 0).await;
        whole(written, BLOCK).map_err(file_error("writing the first block of", &shown))
    }

    async fn write(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), LogError> {
        let Open { name, file } = self.open.as_ref().expect("a file is created before it is written");
        let mut at = offset;
        for chunk in bytes.chunks(WRITE) {
            let permit = self.flight.room.acquire_static_permit(1).await.expect("it is never closed");
            if let Some(error) = self.flight.failure.take() {
                return Err(error);
            }
            let buffer = self.filled(file, chunk);
            let (flight, file, path) = (self.flight.clone(), file.clone(), self.volume.path(name));
            let writing = async move {
                let len = buffer.len();
                let written = whole(file.write_rc_at(buffer.clone(), at).await, len);
                match written {
                    Ok(()) => flight.written.set(flight.written.get() + len as u64),
                    Err(source) => flight.failed(LogError::Io {
                        doing: "writing the snapshot,",
                        path,
                        offset: at,
                        len: len as u64,
                        source,
                    }),
                }
                flight.take_back(buffer);
                // Whoever waits for all room may close the file.
                drop(file);
                drop(permit);
            };
            glommio::spawn_local(writing).detach();
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// A buffer with these bytes, at most [`WRITE`].
    fn filled(&self, file: &DmaFile, bytes: &[u8]) -> Rc<DmaBuffer> {
        let spare = self.flight.spare.borrow_mut().pop().filter(|_| bytes.len() == WRITE);
        let mut buffer = spare.unwrap_or_else(|| file.alloc_dma_buffer(bytes.len()));
        buffer.as_bytes_mut().copy_from_slice(bytes);
        Rc::new(buffer)
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        self.settle().await?;
        let Open { name, file } = self.open.as_ref().expect("a file is created before it is flushed");
        let flushed = file.fdatasync().await.map_err(|error| system(&error));
        flushed.map_err(file_error("flushing", &self.volume.path(name)))
    }

    /// Renames through the volume, which replaces no file.
    async fn publish(&mut self, name: &str) -> Result<(), LogError> {
        let working =
            self.open.as_ref().map(|open| open.name).expect("a file is created before it is published");
        let closed = self.close().await;
        let rename =
            || self.volume.rename(working, name).map_err(file_error("publishing", &self.volume.path(name)));
        if let Err(error) = closed.and_then(|()| rename()) {
            self.remove(working).await;
            return Err(error);
        }
        self.volume.sync_dir().map_err(file_error("flushing the directory", self.volume.dir()))
    }
}

impl Flight {
    fn failed(&self, error: LogError) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    fn take_back(&self, buffer: Rc<DmaBuffer>) {
        if buffer.len() == WRITE
            && let Ok(buffer) = Rc::try_unwrap(buffer)
        {
            self.spare.borrow_mut().push(buffer);
        }
    }
}

/// A short write is an error: its rest would not be aligned.
fn whole(written: Result<usize, GlommioError<()>>, len: usize) -> io::Result<()> {
    match written {
        Ok(written) if written == len => Ok(()),
        Ok(written) => {
            let text = format!("only {written} of {len} bytes were written");
            Err(io::Error::new(io::ErrorKind::WriteZero, text))
        }
        Err(error) => Err(system(&error)),
    }
}

/// What the system said; the name of the file and what was being done are said by whoever knows them.
fn system(error: &GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    }
}

fn file_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::File { doing, path, source }
}
