//! Data directories and files of Apache ZooKeeper: `version-2` logs and snapshots, read, verified and written.
//!
//! What Apache's own tools and its recovery do is the measure of what is sound; what is damaged is said more exactly
//! than they do. Start reading at `directory`, which is what commands see of it.

mod codec;
mod damage;
mod directory;
mod log;
mod name;
mod promises;
mod rebuild;
mod resync;
mod seals;
mod snapshot;
#[cfg(test)]
mod tests;
mod verify;
mod window;
mod write;

pub use codec::Codec;
pub(crate) use directory::follows;
pub use directory::{ApacheDir, LogFile, VERSION_2, open};
pub use name::Name;
pub use promises::{myid, read_epochs};
pub use rebuild::{Rebuilt, Verdict, rebuild};
pub use write::{LogWriter, write_epochs, write_snapshot};
