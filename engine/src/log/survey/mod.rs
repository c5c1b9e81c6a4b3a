//! A look at the whole log that goes on behind damage: for tools.
//!
//! Recovery stops at the first thing that is lost, because it must not serve without it. A survey reads on, says of
//! each file which bytes are not what was written, and hands out what is sound. The formats, the look at a position
//! ([`SegmentReader::judge`](super::scan::SegmentReader::judge)) and the decision what is torn and what is damaged
//! ([`table`](super::table)) are recovery's own. It reads and never writes; a node may be running meanwhile, whose
//! newest bytes then are on their way while they are read.
//!
//! `files` takes stock of the directory, `walk` goes from batch to batch, `hole` finds out how far damage reaches,
//! `verdict` says in the end what each hole means.

mod files;
mod hole;
mod identity;
mod verdict;
mod walk;

pub use identity::databases;

use std::ops::ControlFlow;

use super::error::LogError;
use crate::id::Zxid;
use crate::io::Volume;

/// A transaction and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct TxnHere<'a> {
    /// Name of the segment.
    pub file: &'a str,
    /// Offset of its record.
    pub offset: u64,
    /// Its zxid.
    pub zxid: Zxid,
    /// What a PROPOSAL carries.
    pub txn: &'a [u8],
}

/// Which transactions are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All that are sound, also behind damage, and every file is looked at.
    Everything,
    /// Those from the first up to the second, both included, up to the first damage among them. Segments that cannot
    /// have any of them are not read.
    Within(Zxid, Zxid),
}

/// What a file is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Part of the log.
    Live,
    /// A segment that nothing needs any more, and why.
    Dead(&'static str),
    /// Prepared or recycled, not yet a segment.
    Unused,
    /// A file of slots.
    Slots,
    /// There should be such a file.
    Missing,
}

/// What should have stood where something else stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The header block of a segment.
    SegmentHeader,
    /// A batch whose header is damaged or gone, or several.
    Batch,
    /// A batch, and another one stands in its place.
    OtherBatch,
    /// Records of a batch whose header is sound.
    Records,
    /// The file ends before its last batch does.
    CutShort,
    /// A slot of `marks` or `epochs`.
    Slot,
    /// A whole file.
    File,
    /// The header block of a snapshot.
    SnapshotHeader,
    /// A MiB of the body of a snapshot, or what is left of one at its end.
    SnapshotPiece,
    /// Checksums behind the body of a snapshot.
    SnapshotTrailer,
    /// What is behind the end of a snapshot.
    Excess,
}

impl What {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            What::SegmentHeader => "segment header",
            What::Batch => "batch",
            What::OtherBatch => "another batch",
            What::Records => "records",
            What::CutShort => "cut short",
            What::Slot => "slot",
            What::File => "missing file",
            What::SnapshotHeader => "snapshot header",
            What::SnapshotPiece => "snapshot piece",
            What::SnapshotTrailer => "snapshot checksums",
            What::Excess => "bytes behind the end",
        }
    }
}

/// A run of bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last; may be behind the end of the file, if that was cut short.
    pub end: u64,
    /// What should be there.
    pub what: What,
    /// Nobody was told that it is durable: recovery takes it for a write that was in flight, and cuts it off.
    pub torn: bool,
    /// Batches that are lost, first and last, where that is known.
    pub batches: Option<(u64, u64)>,
    /// The last transaction before those that are lost; `None` if none are.
    pub lost_after: Option<Zxid>,
    /// No transaction above this one is lost, where that is known.
    pub lost_through: Option<Zxid>,
}

impl Finding {
    /// With nothing said about where and what is lost.
    pub(crate) fn of(what: What) -> Finding {
        let (start, end, torn) = (0, 0, false);
        Finding { start, end, what, torn, batches: None, lost_after: None, lost_through: None }
    }
}

/// What a survey says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSurvey {
    /// Its name in the directory.
    pub name: String,
    /// Its length.
    pub len: u64,
    /// What it is for.
    pub standing: Standing,
    /// Of a segment, if it is known.
    pub generation: Option<u32>,
    /// First sound live transaction.
    pub first: Option<Zxid>,
    /// Last sound live transaction.
    pub last: Option<Zxid>,
    /// Sound live transactions.
    pub txns: u64,
    /// Batches with any of them.
    pub batches: u64,
    /// Bytes of these transactions, without any header.
    pub txn_bytes: u64,
    /// Bytes of these batches, headers and padding included.
    pub batch_bytes: u64,
    /// What is wrong with it, in order of offset.
    pub findings: Vec<Finding>,
}

impl FileSurvey {
    fn new(name: String, len: u64, standing: Standing) -> FileSurvey {
        FileSurvey {
            name,
            len,
            standing,
            generation: None,
            first: None,
            last: None,
            txns: 0,
            batches: 0,
            txn_bytes: 0,
            batch_bytes: 0,
            findings: Vec::new(),
        }
    }
}

/// What a survey found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Segments by generation and number, then slots, then what is missing.
    pub files: Vec<FileSurvey>,
    /// With [`Wanted::Within`]: index of the file and the damage that ended the handing out.
    pub interrupted: Option<(usize, Finding)>,
    /// The last transaction before the first that the log can have; `None` if there is no log.
    pub begins_behind: Option<Zxid>,
}

/// Looks at the log in `vol`, and calls `sink` with transactions in order until it breaks. With `alone` what is in the
/// directory is one segment without its neighbours, and nothing is said of what is not there.
///
/// Fails only if something cannot be read, or is of a format that this code does not know.
pub fn survey(
    vol: &dyn Volume,
    wanted: Wanted,
    alone: bool,
    sink: &mut dyn FnMut(TxnHere<'_>) -> ControlFlow<()>,
) -> Result<Survey, LogError> {
    let stock = files::Stock::take(vol, wanted, alone)?;
    walk::Walk::new(vol, stock, wanted, alone, sink).run()
}
