//! A [`Disk`] with a ring of its own, for benches and offline tools that have no core loop.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::ring::{Ring, RingOptions};
use super::{AlignedBuf, Disk, FileId, RingError, WriteDone, WriteOp};

/// A ring that only writes files. As [`Ring`], it belongs to the thread that made it.
#[derive(Debug)]
pub struct UringDisk {
    ring: Ring,
    in_flight: usize,
}

impl UringDisk {
    /// A disk of the calling thread's own.
    pub fn new() -> Result<UringDisk, RingError> {
        let options = RingOptions {
            submission_entries: 64,
            completion_entries: 256,
            receive_buffers: 0,
            ..RingOptions::default()
        };
        Ok(UringDisk { ring: Ring::with_options(&options)?, in_flight: 0 })
    }

    /// The ring, for its `features()`.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Submits what is queued and moves at least one completion to `out`, sleeping until there is one.
    /// Returns at once if no write is in flight.
    pub fn wait(&mut self, out: &mut Vec<WriteDone>) -> io::Result<()> {
        let before = out.len();
        self.reap(out);
        while out.len() == before && self.in_flight > 0 {
            self.ring.submit_and_wait(None)?;
            self.reap(out);
        }
        Ok(())
    }

    /// Gives the kernel what is queued, without waiting.
    pub fn flush(&mut self) -> io::Result<()> {
        self.ring.submit_and_wait(Some(std::time::Duration::ZERO))
    }
}

impl Disk for UringDisk {
    fn alloc(&mut self, len: usize) -> Arc<AlignedBuf> {
        self.ring.alloc(len)
    }

    fn attach(&mut self, path: &Path) -> io::Result<FileId> {
        self.ring.attach(path)
    }

    fn detach(&mut self, file: FileId) {
        self.ring.detach(file);
    }

    fn submit(&mut self, op: WriteOp) {
        self.in_flight += 1;
        self.ring.submit(op);
    }

    fn reap(&mut self, out: &mut Vec<WriteDone>) {
        while self.ring.next_completion().is_some() {}
        let before = out.len();
        self.ring.reap(out);
        self.in_flight -= out.len() - before;
    }
}
