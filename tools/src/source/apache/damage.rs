//! What is damaged in a file of Apache's.
//!
//! Readers report damage with its exact range and go on where they can; an error ends what was being done.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;

use ringkeeper_engine::id::Zxid;

use crate::error::InspectError;
use crate::source::{DamagedRange, Lost};

/// For `map_err`: an error of the file system while doing this to that file.
pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InspectError + use<> {
    let path = path.to_owned();
    move |source| InspectError::Io { doing, path, source }
}

/// Bytes of a file that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offsets in the file; in a compressed snapshot, of the uncompressed bytes. Whole records: the smallest range of
    /// which it is known that all that is damaged lies within.
    pub range: Range<u64>,
    /// What is wrong there.
    pub what: DamageKind,
    /// The last sound transaction before, if any in this file.
    pub after: Option<Zxid>,
    /// The first sound transaction behind, if any in this file.
    pub next: Option<Zxid>,
}

/// What is wrong with a range of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// The header is not that of such a file.
    Header,
    /// The bytes do not have the checksum that is stored with them.
    Checksum {
        /// Stored.
        stored: u64,
        /// Of what is there.
        found: u32,
    },
    /// A stored checksum, and not what it covers.
    Seal,
    /// No record begins or ends where one must.
    Length {
        /// What stands where the length of a record must be.
        value: i32,
    },
    /// The byte that ends a record is another one.
    Mark {
        /// What is there.
        found: u8,
    },
    /// Zeros where records must be: others follow.
    Zeroed,
    /// A record that was begun and never completed, at the end of what was written: what a crash leaves. Nothing in it
    /// was acknowledged, unless the file was cut.
    Torn,
    /// The file ends in the middle, or is empty.
    Cut,
    /// The bytes are not what a snapshot consists of.
    Structure {
        /// Offset of the item that makes no sense.
        at: u64,
        /// Why.
        why: String,
    },
    /// The compressed file cannot be expanded.
    Compression {
        /// How far into the compressed file.
        compressed_at: u64,
        /// Why.
        why: String,
    },
    /// A transaction that is lower than the one before it.
    Order {
        /// The transaction.
        zxid: Zxid,
    },
    /// Bytes behind the end.
    GoesOn,
}

impl DamageKind {
    /// One word, for machines.
    pub fn name(&self) -> &'static str {
        match self {
            DamageKind::Header => "header",
            DamageKind::Checksum { .. } => "checksum",
            DamageKind::Seal => "seal",
            DamageKind::Length { .. } => "length",
            DamageKind::Mark { .. } => "mark",
            DamageKind::Zeroed => "zeroed",
            DamageKind::Torn => "torn",
            DamageKind::Cut => "cut",
            DamageKind::Structure { .. } => "structure",
            DamageKind::Compression { .. } => "compression",
            DamageKind::Order { .. } => "order",
            DamageKind::GoesOn => "goes_on",
        }
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DamageKind::Header => f.write_str("not the header of such a file"),
            DamageKind::Checksum { stored, found } => {
                write!(f, "the checksum is {stored:#x}, that of what is there {found:#x}")
            }
            DamageKind::Seal => f.write_str("the stored checksum is damaged, what it covers is not"),
            DamageKind::Length { value } => write!(f, "no whole record (its length would be {value})"),
            DamageKind::Mark { found } => {
                write!(f, "the end of a record is marked by {found:#04x} and not by 0x42")
            }
            DamageKind::Zeroed => f.write_str("zeros where records must be"),
            DamageKind::Torn => f.write_str("a record that was never completed"),
            DamageKind::Cut => f.write_str("the file ends here, in the middle"),
            DamageKind::Structure { at, why } => write!(f, "no snapshot: {why} at offset {at}"),
            DamageKind::Compression { compressed_at, why } => {
                write!(f, "cannot be expanded from byte {compressed_at} of the file on: {why}")
            }
            DamageKind::Order { zxid } => write!(f, "transaction {zxid} comes behind a later one"),
            DamageKind::GoesOn => f.write_str("bytes behind the end"),
        }
    }
}

impl Damage {
    /// Damage of a file that has no transactions.
    pub(super) fn of(range: Range<u64>, what: DamageKind) -> Damage {
        Damage { range, what, after: None, next: None }
    }

    /// Whether a crash leaves such a thing at the end of a log.
    pub(super) fn is_of_a_crash(&self) -> bool {
        matches!(self.what, DamageKind::Torn | DamageKind::Cut)
    }

    /// For a report. Of a log: the transactions in it are told too.
    pub fn report(&self) -> DamagedRange {
        let lost = self.after.map(|after| Lost { after, through: self.next.and_then(before) });
        DamagedRange {
            start: self.range.start,
            end: self.range.end,
            what: self.what.name(),
            detail: self.what.to_string(),
            torn: matches!(self.what, DamageKind::Torn),
            lost,
        }
    }

    /// As the end of what was being done with the file.
    pub fn error(&self, path: &Path) -> InspectError {
        InspectError::Damaged { path: path.to_owned(), offset: self.range.start, what: self.to_string() }
    }
}

/// The transaction before `zxid`, if it is certain which.
fn before(zxid: Zxid) -> Option<Zxid> {
    (zxid.counter() > 1).then(|| Zxid::from_raw(zxid.raw() - 1))
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {} to {}: {}", self.range.start, self.range.end, self.what)?;
        match (self.after, self.next) {
            (Some(after), Some(next)) => write!(f, " (between the transactions {after} and {next})"),
            (Some(after), None) => write!(f, " (behind transaction {after})"),
            (None, Some(next)) => write!(f, " (before transaction {next})"),
            (None, None) => Ok(()),
        }
    }
}
