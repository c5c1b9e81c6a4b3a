//! Snapshots: the state after one transaction, as bytes.
//!
//! The bytes are those of the stream that ZooKeeper servers send each other behind SNAP. [`write_stream`] makes them
//! in one canonical order, so that equal states have equal bytes on every server; [`Loader`] takes any server's,
//! in pieces of any size, and believes nothing. A snapshot file is the canonical stream between a header and the
//! checksums of its pieces (`file`, `format`). `docs/disk.md` describes it.
//!
//! Nothing here knows transactions or decides which snapshot is needed: that is the log's (`log::restart`) and the
//! store's.

mod ahead;
mod body;
pub(crate) mod check;
mod error;
pub(crate) mod file;
mod format;
mod found;
mod items;
mod load;
pub mod merge;
pub mod receive;
pub mod steps;
mod stream;
#[cfg(test)]
mod tests;

pub use error::SnapshotError;
pub use file::{piece_checksums, read_piece};
pub use format::{BODY_AT, Origin, PIECE, Published};
pub use found::{DamagedSnapshot, SnapshotFault, damaged_file};
pub use load::{Fed, Limits, Loaded, Loader};
pub use receive::{Arrived, LoadRequest, Reception};
pub use stream::write_stream;

pub(crate) use body::publish_state;
pub(crate) use format::SnapshotName;
pub(crate) use found::Snapshots;

/// What ends a stream.
const SIGNATURE: &str = "BenWasHere";
/// The path that ends the nodes of a stream.
const END_OF_NODES: &str = "/";
/// The ACL id of nodes without an ACL.
const OPEN_ACL: i64 = -1;
