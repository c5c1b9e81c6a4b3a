//! What can go wrong with the log, said so that an operator can act: what was being done, to which file, where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::table::Found;
use crate::id::Zxid;
use crate::snapshot::SnapshotError;

/// What a replay callback may fail with.
pub type ReplayError = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A read or write of the device failed.
    #[error("{doing} {len} bytes at offset {offset} of {}: {source}", path.display())]
    Io {
        /// "reading", "writing the durable mark,", ...
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Byte offset in it.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// What the system said.
        source: io::Error,
    },

    /// An operation on a whole file or on the directory failed.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// "creating", "flushing", ...
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Something that was acknowledged is damaged or missing.
    #[error("{0}")]
    Corrupt(Box<Corruption>),

    /// A write or a flush failed earlier. What is on the medium is unknown, nothing is acknowledged any more, and
    /// the node must end: the next start reads the truth back.
    #[error("the log stopped after an earlier failure ({first})")]
    Poisoned {
        /// The text of that failure.
        first: String,
    },

    /// Refused before it was given a place: nothing has changed.
    #[error("a transaction of {len} bytes does not fit into a log segment, which takes at most {max}")]
    RecordTooLarge {
        /// Length of the transaction in bytes.
        len: usize,
        /// See [`Log::max_record`](super::Log::max_record).
        max: usize,
    },

    /// The bytes are not those of a transaction with this zxid. Nothing has changed.
    #[error("the transaction appended as {zxid} is {len} bytes that say {}", found.map_or("nothing".into(), |z| z.to_string()))]
    NotTheTransaction {
        /// What the caller said.
        zxid: Zxid,
        /// Length of the bytes.
        len: usize,
        /// The zxid in their header, if they are long enough to have one.
        found: Option<Zxid>,
    },

    /// Zxids never go down within a log. Nothing has changed.
    #[error("transaction {zxid} appended behind {last}")]
    Order {
        /// What was to be appended.
        zxid: Zxid,
        /// What is there.
        last: Zxid,
    },

    /// The log does not reach back that far: what was there is purged.
    #[error("the log begins behind {first}, {zxid} is no longer in it")]
    Purged {
        /// What was asked for.
        zxid: Zxid,
        /// The transaction before the first that the log has.
        first: Zxid,
    },

    /// The transaction that a cursor is behind was cut off since: what is there now does not follow it.
    #[error("transaction {zxid} was cut off, there is nothing to read behind it")]
    CutOff {
        /// The transaction.
        zxid: Zxid,
    },

    /// A cut, a stop or the like while writes are in flight or waiting.
    #[error("{doing} while log writes are in flight")]
    Busy {
        /// What was to be done.
        doing: &'static str,
    },

    /// A file made by another version of this program.
    #[error("{} has format version {version}, this program knows version {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u32,
        /// What is known.
        known: u32,
    },

    /// A file of another data directory.
    #[error("{} belongs to database {found:#x}, this directory is {expected:#x}: remove what does not belong here",
        path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u64,
        /// What the directory is.
        expected: u64,
    },

    /// There are log files of somebody else, and nothing was ever logged here. Nothing has been changed.
    #[error("{} is named like a log but is none of ours, and there is no log of ours beside it: \
        give the node a directory of its own", path.display())]
    NotOurs {
        /// The first such file.
        path: PathBuf,
    },

    /// The log was cut four billion times.
    #[error("no generation of the log is left behind {generation}")]
    NoGeneration {
        /// The last one.
        generation: u32,
    },

    /// An epoch that goes back, or a current one above the accepted one.
    #[error("epochs accepted {accepted} and current {current} refused: a promise is never taken back")]
    EpochOrder {
        /// What was to be accepted.
        accepted: u32,
        /// What was to be current.
        current: u32,
    },

    /// A snapshot whose checksums hold and whose content is no state: written by a faulty or a newer program.
    #[error("{}, whose checksums hold: {source}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with its stream, which begins at offset 4096.
        source: SnapshotError,
    },

    /// An option that no log can have.
    #[error("log option {name} = {value}: {allowed}")]
    Option {
        /// The field of [`LogOptions`](super::LogOptions).
        name: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },

    /// The one who replays refused a transaction that is sound as far as the log can tell.
    #[error("replaying transaction {zxid} from offset {offset} of {}: {source}", path.display())]
    Replay {
        /// The segment.
        path: PathBuf,
        /// Offset of its batch.
        offset: u64,
        /// The transaction.
        zxid: Zxid,
        /// Why.
        source: ReplayError,
    },
}

/// What is damaged, where, and what is lost with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file; the directory where a file is missing.
    pub path: PathBuf,
    /// Byte offset in the file, of a batch or of a header.
    pub offset: u64,
    /// What is wrong there.
    pub damage: Damage,
    /// The last transaction before the damage, which is sound.
    pub lost_after: Zxid,
    /// The last transaction that the damage is known to take.
    pub lost_through: Option<Zxid>,
    /// How it is known that the lost was acknowledged.
    pub evidence: Evidence,
    /// Of a damaged snapshot: what is wrong with the log behind `lost_after`, which could have taken its place.
    pub instead: Option<Box<Corruption>>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No sound batch header where this batch must begin.
    NoBatch {
        /// Sequence number of the batch.
        seq: u64,
    },
    /// Sound batch header, damaged records.
    Records {
        /// Sequence number of the batch.
        seq: u64,
    },
    /// A sound batch header, but not of the batch that must follow.
    NotTheNext {
        /// Sequence number of the batch that must be here.
        seq: u64,
    },
    /// A sound batch, but not the one that was known to be here.
    Replaced {
        /// Its sequence number.
        seq: u64,
    },
    /// The header block of a segment that was in use.
    SegmentHeader,
    /// No file has this segment number.
    MissingSegment {
        /// The number, the first half of its name.
        number: u64,
    },
    /// Segments of the generation that the durable mark names are missing.
    MissingGeneration {
        /// That generation.
        generation: u32,
    },
    /// The file of durable marks is missing or both its slots are damaged.
    Marks,
    /// The header block of a published snapshot.
    SnapshotHeader,
    /// A published snapshot has another length than its header says.
    SnapshotLength,
    /// A MiB of a snapshot, or what is left of one at its end, does not match its checksum.
    SnapshotPiece,
    /// The checksums at the end of a snapshot.
    SnapshotTrailer,
    /// There is no snapshot that the log reaches back to.
    MissingSnapshot {
        /// The transaction behind which the log begins.
        zxid: Zxid,
    },
    /// The log ends before a snapshot that was made of it.
    EndsBefore {
        /// The last transaction in the snapshot.
        zxid: Zxid,
    },
}

impl Damage {
    pub(super) fn of(found: Found, seq: u64) -> Damage {
        match found {
            Found::Nothing | Found::Whole => Damage::NoBatch { seq },
            Found::BadRecords => Damage::Records { seq },
            Found::NotTheNext => Damage::NotTheNext { seq },
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::NoBatch { seq } => write!(f, "no batch {seq} here, nor in a segment behind this one"),
            Damage::Records { seq } => write!(f, "the records of batch {seq} do not match their checksum"),
            Damage::NotTheNext { seq } => write!(f, "what stands here is not batch {seq}"),
            Damage::Replaced { seq } => write!(f, "batch {seq} is not the one that was written here"),
            Damage::SegmentHeader => write!(f, "the header of the segment is damaged"),
            Damage::MissingSegment { number } => write!(f, "no file log.{number:016x}-*"),
            Damage::MissingGeneration { generation } => write!(f, "no segment of generation {generation}"),
            Damage::Marks => write!(f, "no slot of the durable mark is sound"),
            Damage::SnapshotHeader => write!(f, "the header of the snapshot is damaged"),
            Damage::SnapshotLength => write!(f, "the snapshot does not have the length that its header says"),
            Damage::SnapshotPiece => write!(f, "this MiB of the snapshot does not match its checksum"),
            Damage::SnapshotTrailer => write!(f, "the checksums of the snapshot are damaged"),
            Damage::MissingSnapshot { zxid } => {
                write!(f, "no snapshot of the state after {zxid}, behind which the log begins")
            }
            Damage::EndsBefore { zxid } => {
                write!(f, "the log ends here, and there is a snapshot of the state after {zxid}")
            }
        }
    }
}

/// How it is known that something was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The durable mark says so.
    Mark,
    /// A batch header at this offset of this file was sealed when it was known to be durable.
    Batch {
        /// The file.
        path: PathBuf,
        /// Offset of the batch.
        offset: u64,
    },
    /// A later segment was opened when it was known to be durable.
    Segment {
        /// The file.
        path: PathBuf,
    },
    /// A snapshot has its name only when it is whole and flushed.
    Snapshot,
    /// A snapshot was made of the log up to there, when that was durable.
    Made {
        /// The file.
        path: PathBuf,
    },
    /// There is a log, so there was something to know about it.
    Log,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::Mark => write!(f, "the durable mark"),
            Evidence::Batch { path, offset } => {
                write!(f, "the batch at offset {offset} of {}", path.display())
            }
            Evidence::Segment { path } | Evidence::Made { path } => {
                write!(f, "the header of {}", path.display())
            }
            Evidence::Snapshot => write!(f, "the name of the snapshot"),
            Evidence::Log => write!(f, "the segments beside it"),
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at offset {}: {}; ", self.path.display(), self.offset, self.damage)?;
        match self.lost_through {
            Some(through) => {
                write!(f, "acknowledged transactions behind {} up to {through}", self.lost_after)?
            }
            None => write!(f, "acknowledged transactions behind {}", self.lost_after)?,
        }
        write!(f, " are lost, as {} proves. ", self.evidence)?;
        match self.instead.as_deref() {
            Some(Corruption { damage: Damage::MissingSnapshot { zxid }, .. }) => {
                write!(f, "The log would do in its place, but it begins behind {zxid}. ")?
            }
            Some(Corruption { path, offset, damage, .. }) => write!(
                f,
                "The log would do in its place, but {} is damaged at offset {offset}: {damage}. ",
                path.display()
            )?,
            None => {}
        }
        write!(
            f,
            "Nothing was changed. Put the file back from a copy if there is one; a \
             member of an ensemble can move its data directory aside and fetch everything from the others; a \
             node of its own can only return to a backup"
        )
    }
}

impl std::error::Error for Corruption {}

impl From<Corruption> for LogError {
    fn from(corruption: Corruption) -> LogError {
        LogError::Corrupt(Box::new(corruption))
    }
}
