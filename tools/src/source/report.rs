//! What a verification says of one file. The same for our files and Apache's.

use std::fmt;
use std::path::PathBuf;

use ringkeeper_engine::id::Zxid;

/// What a file is to the server that would start in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of the log, or a snapshot that counts.
    Live,
    /// Cut off, or from before the snapshot that counts: nothing in it means anything any more.
    Dead,
    /// Prepared or recycled, not yet part of the log.
    Unused,
    /// A file of slots: `marks`, `epochs`.
    Slots,
    /// It must be there and is not. The path says where it was looked for.
    Missing,
}

impl Role {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Role::Live => "live",
            Role::Dead => "dead",
            Role::Unused => "unused",
            Role::Slots => "slots",
            Role::Missing => "missing",
        }
    }
}

/// A run of bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind its last byte; may lie behind the end of a file that was cut short.
    pub end: u64,
    /// What stood there: "segment header", "batch header", "records", "snapshot piece", ...
    pub what: &'static str,
    /// More about it, for people.
    pub detail: String,
    /// Nobody was told that this is durable: what a crash leaves of writes that were in flight. No damage.
    pub torn: bool,
    /// The transactions in it, as far as is known.
    pub lost: Option<Lost>,
}

/// Transactions that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The last transaction before them.
    pub after: Zxid,
    /// The last of them, if that is known.
    pub through: Option<Zxid>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.through {
            Some(through) => write!(f, "transactions behind {} up to {through} are lost", self.after),
            None => write!(f, "transactions behind {} are lost", self.after),
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What it is for.
    pub role: Role,
    /// First sound live transaction in it.
    pub first: Option<Zxid>,
    /// Last sound live transaction in it; of a snapshot, its zxid.
    pub last: Option<Zxid>,
    /// Sound live transactions in it; of a snapshot, 0.
    pub txns: u64,
    /// Batches that hold them, where there are such; else 0.
    pub batches: u64,
    /// Bytes of these transactions, without any header.
    pub txn_bytes: u64,
    /// Bytes that they take in the file, headers and padding included.
    pub batch_bytes: u64,
    /// Damaged ranges, in order, not overlapping.
    pub ranges: Vec<DamagedRange>,
    /// Of a snapshot that was written while the state changed: the log up to this transaction is needed to make a state
    /// of it.
    pub needs_through: Option<Zxid>,
    /// What else is to be said: why it is dead, that it ends in a torn tail.
    pub notes: Vec<String>,
}

impl FileReport {
    /// A file of which nothing is known yet.
    pub fn new(file: PathBuf, bytes: u64, role: Role) -> FileReport {
        FileReport {
            file,
            bytes,
            role,
            first: None,
            last: None,
            txns: 0,
            batches: 0,
            txn_bytes: 0,
            batch_bytes: 0,
            ranges: Vec::new(),
            needs_through: None,
            notes: Vec::new(),
        }
    }

    /// Whether something is damaged or missing. A torn tail is neither.
    pub fn is_damaged(&self) -> bool {
        self.ranges.iter().any(|range| !range.torn)
    }
}
