//! The seam between what a node keeps and what keeps it: [`Disk`] and [`Volume`].
//!
//! [`Disk`] is the hot path: a write is submitted and its completion reaped later, in any order. [`Volume`] is
//! everything that may block: listing, creating, reading back, renaming. Production stands on the kernel,
//! tests on `SimDisk`, which implements both and loses what was not flushed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AlignedBuf;

/// Unit of every log write, in bytes: offset, length and memory address of a write are multiples of it.
pub const BLOCK: usize = 4096;

/// A file attached to a [`Disk`] for writing. Valid until it is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub(crate) u32);

/// One write. `offset` and `len` are multiples of [`BLOCK`] and `len <= buf.len()`.
#[derive(Debug)]
pub struct WriteOp {
    /// Where to write.
    pub file: FileId,
    /// Byte offset in the file.
    pub offset: u64,
    /// The bytes; the disk holds the reference until the write has completed.
    pub buf: Arc<AlignedBuf>,
    /// How many bytes of `buf`, from its beginning.
    pub len: usize,
    /// Whether completion must mean "on the medium" (`RWF_DSYNC`). False only under `forceSync=no`.
    pub sync: bool,
    /// Returned in [`WriteDone`].
    pub tag: u64,
}

/// A completed write. `Ok` means all `len` bytes; a short write is reported as an error.
#[derive(Debug)]
pub struct WriteDone {
    /// The tag of the [`WriteOp`].
    pub tag: u64,
    /// What came of it. After an error the bytes in the file are unknown and must never be acknowledged.
    pub result: io::Result<()>,
}

/// Writes that are submitted and complete later, in any order.
pub trait Disk {
    /// A zeroed buffer for writes, registered with the kernel where that is possible. `len` is a multiple of
    /// [`BLOCK`].
    fn alloc(&mut self, len: usize) -> Arc<AlignedBuf>;

    /// Opens an existing file for direct writing (`O_DIRECT`).
    fn attach(&mut self, path: &Path) -> io::Result<FileId>;

    /// Gives the file up. Writes still in flight complete first.
    fn detach(&mut self, file: FileId);

    /// Queues a write; it reaches the kernel at the latest with the next turn of the loop.
    fn submit(&mut self, op: WriteOp);

    /// Moves the completions that have arrived to `out`. Never blocks.
    fn reap(&mut self, out: &mut Vec<WriteDone>);
}

/// A file of a [`Volume`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Name within the directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
}

/// Blocking operations on one flat directory.
///
/// A created, renamed or removed name is durable only after [`Volume::sync_dir`]. Threads may read different files, or the
/// same one, at the same time.
pub trait Volume: std::fmt::Debug + Sync {
    /// The path under which [`Disk::attach`] finds `name`, and which error messages show.
    fn path(&self, name: &str) -> PathBuf;

    /// All regular files, in order of name.
    fn list(&self) -> io::Result<Vec<FileEntry>>;

    /// Up to `len` bytes at `offset`, fewer at the end of the file. Reads the device, not a cache of it.
    fn read_at(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// Writes into an existing file; durable when it returns `Ok`. Offset and length are multiples of [`BLOCK`].
    fn write_at(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Writes at the end of an existing file and makes it longer, for files that are written once from front to back.
    /// Durable only after [`Volume::sync_file`]. Offset and length are multiples of [`BLOCK`].
    fn append(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Creates a file of `len` zero bytes that have been written and flushed (no unwritten extents). Fails if
    /// it exists. On the file system the name appears when all of that is done, so that a kill leaves no half of it.
    fn create_zeroed(&self, name: &str, len: u64) -> io::Result<()>;

    /// Flushes what the device may still cache of the file (`fdatasync`).
    fn sync_file(&self, name: &str) -> io::Result<()>;

    /// Makes created, renamed and removed names durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Renames a file, replacing none: fails if `to` exists.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
}
