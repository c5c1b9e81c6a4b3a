//! The only door to disk, ring and sockets, and the only room with `unsafe`.
//!
//! Two seams let the simulator stand in for the machine: [`Disk`] for writes on the hot path (submitted, later
//! reaped) and [`Volume`] for the blocking work of start-up, preparation and recovery.

mod aligned;
mod disk;
pub mod sim;

pub use aligned::AlignedBuf;
pub use disk::{BLOCK, Disk, FileEntry, FileId, Volume, WriteDone, WriteOp};
