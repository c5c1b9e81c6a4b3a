//! A look at a data directory from outside, for tools: which files mean what, and which bytes of them are damaged.
//!
//! Nothing here writes, takes the lock or changes anything, so that it may be used beside a running node, whose
//! files then change while they are read. The formats and the rules of what is damage are those of
//! [`log`](crate::log) and [`snapshot`](crate::snapshot), by their own code. Where recovery stops at the first thing
//! that is lost, this goes on behind it, and says of every byte that recovery would check whether it is sound.

mod body;
mod holder;
mod snapshots;
mod volume;

pub use crate::log::survey::{
    FileSurvey, Finding, Standing, Survey, TxnHere, Wanted, What, databases, survey,
};
pub use crate::snapshot::check::{SnapshotCheck, check_snapshot};
pub use body::{Body, Item, NodeItem};
pub use holder::holder;
pub use snapshots::{SnapshotFile, load_snapshot, snapshot_header, snapshots};
pub use volume::ReadOnly;
