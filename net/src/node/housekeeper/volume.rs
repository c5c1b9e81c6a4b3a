//! The directory as long work sees it: reads end when the work is to be dropped, and their time is measured.
//!
//! What makes a snapshot or loads one knows nothing of an end of the node: it reads on until a read fails. So that is
//! how it is told.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringkeeper_engine::io::{FileEntry, FsVolume, Volume};

/// A directory whose reads fail as soon as `is_void` says so.
pub(super) struct Watched<F> {
    volume: Arc<FsVolume>,
    is_void: F,
    /// Microseconds.
    reading: AtomicU64,
}

impl<F: Fn() -> bool + Send + Sync> Watched<F> {
    pub fn new(volume: Arc<FsVolume>, is_void: F) -> Watched<F> {
        Watched { volume, is_void, reading: AtomicU64::new(0) }
    }

    /// Whether the work is to be dropped.
    pub fn is_void(&self) -> bool {
        (self.is_void)()
    }

    /// How long reads have taken since this was asked last.
    pub fn take_reading_time(&self) -> Duration {
        Duration::from_micros(self.reading.swap(0, Ordering::Relaxed))
    }

    fn go_on(&self) -> io::Result<()> {
        if self.is_void() {
            return Err(io::Error::other("this work is not needed any more"));
        }
        Ok(())
    }
}

impl<F> std::fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.volume).finish()
    }
}

impl<F: Fn() -> bool + Send + Sync> Volume for Watched<F> {
    fn path(&self, name: &str) -> PathBuf {
        self.volume.path(name)
    }

    fn list(&self) -> io::Result<Vec<FileEntry>> {
        self.volume.list()
    }

    fn read_at(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.go_on()?;
        let began = Instant::now();
        let read = self.volume.read_at(name, offset, len);
        self.reading.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        read
    }

    fn write_at(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        self.volume.write_at(name, offset, data)
    }

    fn append(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        self.go_on()?;
        self.volume.append(name, offset, data)
    }

    fn create_zeroed(&self, name: &str, len: u64) -> io::Result<()> {
        self.volume.create_zeroed(name, len)
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.volume.sync_file(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.volume.sync_dir()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.volume.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.volume.remove(name)
    }
}
