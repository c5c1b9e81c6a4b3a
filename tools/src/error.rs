//! What can go wrong with an inspection, and the exit code that says so.

use std::io;
use std::path::PathBuf;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::snapshot::SnapshotError;
use ringkeeper_engine::txn::TxnError;

/// Nothing is wrong, and nothing differs.
pub const FINE: u8 = 0;
/// Differences or damage were found.
pub const FOUND: u8 = 1;
/// The command line makes no sense, or asks for what is not there.
pub const USAGE: u8 = 2;
/// Something could not be read or written.
pub const FAILED: u8 = 3;

/// Why an inspection ended early.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file or directory could not be read, or a new one not written.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// "reading", "listing", "creating", ...
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The engine's own formats: cannot be read, of another version, damaged.
    #[error(transparent)]
    Log(#[from] LogError),

    /// Bytes that do not match their checksums or make no sense; what came before them was handed out.
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset of the first damaged byte, or of the unit that it is in.
        offset: u64,
        /// What is wrong.
        what: String,
    },

    /// A transaction whose checksum holds and which makes no sense.
    #[error("transaction {zxid} at offset {offset} of {}: {source}", path.display())]
    Txn {
        /// The file.
        path: PathBuf,
        /// Offset of its record.
        offset: u64,
        /// The transaction.
        zxid: Zxid,
        /// What is wrong.
        source: TxnError,
    },

    /// The body of a snapshot whose checksums hold, and which makes no sense.
    #[error("{}: {source}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong; its offsets count from the first byte of the body.
        source: SnapshotError,
    },

    /// Neither a directory nor a file that any server writes.
    #[error("{} is neither a data directory nor a log or snapshot of one: {why}", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        why: &'static str,
    },

    /// What was asked for is not there.
    #[error("{what}")]
    NotThere {
        /// The whole sentence.
        what: String,
    },

    /// Output could not be written.
    #[error("writing the output: {0}")]
    Output(#[source] io::Error),
}

impl InspectError {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            InspectError::Log(LogError::Corrupt(_) | LogError::Snapshot { .. })
            | InspectError::Damaged { .. }
            | InspectError::Txn { .. }
            | InspectError::Snapshot { .. } => FOUND,
            InspectError::NotOurs { .. } | InspectError::NotThere { .. } => USAGE,
            InspectError::Io { .. } | InspectError::Log(_) | InspectError::Output(_) => FAILED,
        }
    }

    /// Whether nobody listens to the output any more, as when it is piped into `head`.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, InspectError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
