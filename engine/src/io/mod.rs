//! The only door to disk, ring and sockets, and the only room with `unsafe`.
//!
//! Two seams let the simulator stand in for the machine: [`Disk`] for writes on the hot path (submitted, later
//! reaped) and [`Volume`] for the blocking work of start-up, preparation and recovery. In production [`Ring`]
//! is the disk and the network of a core loop in one, and [`FsVolume`] is the directory.

mod aligned;
mod disk;
mod probe;
mod ring;
pub mod sim;
mod uring_disk;
mod volume;

pub use aligned::AlignedBuf;
pub use disk::{BLOCK, Disk, FileEntry, FileId, Volume, WriteDone, WriteOp};
pub use probe::{RingError, probe};
pub use ring::{
    Completion, Features, FilePiece, ListenerId, PIECE, Ring, RingOptions, SendFileError, SocketId, SourceId,
    Waker,
};
pub use uring_disk::UringDisk;
pub use volume::{FsVolume, PREPARING, VolumeError};

/// A directory for a test's files, beside the test binary: a temporary directory is often not on a disk.
#[cfg(test)]
pub(crate) fn test_directory() -> tempfile::TempDir {
    let binary = std::env::current_exe().unwrap();
    tempfile::tempdir_in(binary.parent().unwrap()).unwrap()
}
