//! Reads a transaction log of Apache's, record by record, and says exactly what of it is damaged.
//!
//! ```text
//! | magic "ZKLG" | version | dbid | { Adler-32 (8) | length (4) | transaction | 0x42 } ... | zeros, preallocated |
//! 0              4         8      16                                                            all big-endian
//! ```
//!
//! The checksum covers the transaction alone, and nothing says where records begin or end but the lengths. So behind
//! a record that is not whole the next whole one is searched for ([`super::resync`]): what lies between is the
//! damage. The reference takes zeros for the end and does not look further; here zeros are the end only if nothing
//! follows. Memory is constant, the file is read once and never written.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;
use simd_adler32::Adler32;

use super::damage::{Damage, DamageKind, io_error};
use super::resync;
use super::window::{self, Window};
use crate::error::InspectError;

/// First bytes of a log.
pub(super) const MAGIC: [u8; 4] = *b"ZKLG";
/// Magic, version 2, database 0.
pub(super) const FILE_HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
/// Bytes before the first record.
pub(super) const HEADER: u64 = 16;
/// Checksum and length.
pub(super) const RECORD_HEADER: usize = 12;
/// A transaction has at least its header.
pub(super) const SHORTEST: usize = 32;
/// The longest record that is believed. The reference takes 2 MiB unless told otherwise; its users go to 100 MiB.
pub(super) const LONGEST: usize = 128 << 20;
/// Ends a record.
pub(super) const MARK: u8 = 0x42;

/// A whole record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Offset of its first byte.
    pub offset: u64,
    /// Its transaction's zxid.
    pub zxid: Zxid,
    /// The transaction: header, record, digest.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes of the file that it takes.
    pub fn len(&self) -> u64 {
        (RECORD_HEADER + self.payload.len() + 1) as u64
    }
}

/// What comes next in a log.
#[derive(Debug)]
pub enum LogEvent<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// Bytes that are no whole record.
    Damage(Damage),
}

/// How a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// Offset behind the last record, or behind what is damaged at the end.
    pub at: u64,
    /// Zeros behind it: what was preallocated.
    pub zeros: u64,
}

/// A log that is being read; see the module.
pub struct LogReader {
    path: PathBuf,
    file: File,
    len: u64,
    window: Window,
    last: Option<Zxid>,
    /// Bytes of the window that belong to the record that was handed out.
    out: usize,
    begun: bool,
    end: Option<LogEnd>,
}

/// What stands where a record must begin.
enum Found {
    /// A whole one, of so many bytes of transaction.
    Whole(usize),
    /// Nothing more in this file.
    End,
    /// Something else. With where the record ends, if it can be believed.
    Bad(DamageKind, Option<u64>),
}

impl LogReader {
    /// Opens a log.
    pub fn open(path: &Path) -> Result<LogReader, InspectError> {
        let (file, len) = window::open(path)?;
        let input = file.try_clone().map_err(io_error("opening", path))?;
        let window = Window::new(input, len);
        Ok(LogReader {
            path: path.to_owned(),
            file,
            len,
            window,
            last: None,
            out: 0,
            begun: false,
            end: None,
        })
    }

    /// How far it was read.
    pub fn position(&self) -> u64 {
        self.window.offset()
    }

    /// How the log ends, once [`LogReader::next`] has said that it does.
    pub fn end(&self) -> Option<LogEnd> {
        self.end
    }

    /// The next record or damage; `None` at the end.
    pub fn next(&mut self) -> Result<Option<LogEvent<'_>>, InspectError> {
        self.window.advance(std::mem::take(&mut self.out));
        if self.end.is_some() {
            return Ok(None);
        }
        if !self.begun {
            self.begun = true;
            if let Some(damage) = self.header()? {
                return Ok(Some(LogEvent::Damage(damage)));
            }
        }
        let at = self.window.offset();
        match self.judge()? {
            Found::Whole(len) => self.record(at, len).map(Some),
            Found::End => {
                self.end = Some(LogEnd { at, zeros: self.len - at });
                Ok(None)
            }
            Found::Bad(what, end) => self.damage(at, what, end).map(|damage| Some(LogEvent::Damage(damage))),
        }
    }

    fn record(&mut self, at: u64, len: usize) -> Result<LogEvent<'_>, InspectError> {
        let zxid = zxid_of(&self.window.bytes()[RECORD_HEADER..]);
        let end = at + (RECORD_HEADER + len + 1) as u64;
        if let Some(after) = self.last.filter(|&last| zxid < last) {
            self.window.advance((end - at) as usize);
            let what = DamageKind::Order { zxid };
            return Ok(LogEvent::Damage(Damage { range: at..end, what, after: Some(after), next: None }));
        }
        self.last = Some(zxid);
        self.out = RECORD_HEADER + len + 1;
        let payload = &self.window.bytes()[RECORD_HEADER..RECORD_HEADER + len];
        Ok(LogEvent::Record(Record { offset: at, zxid, payload }))
    }

    /// Goes to the first record.
    fn header(&mut self) -> Result<Option<Damage>, InspectError> {
        let whole = self.fill(HEADER as usize)?;
        let damage = |range, what| Some(Damage { range, what, after: None, next: None });
        if !whole {
            self.end = Some(LogEnd { at: self.len, zeros: 0 });
            return Ok(damage(0..self.len, DamageKind::Cut));
        }
        let magic = self.window.bytes()[..4] == MAGIC;
        self.window.advance(HEADER as usize);
        // Of the rest, which nobody reads, version and database are 2 and 0; nothing depends on them.
        Ok(if magic { None } else { damage(0..HEADER, DamageKind::Header) })
    }

    /// What stands at the window's first byte.
    fn judge(&mut self) -> Result<Found, InspectError> {
        let at = self.window.offset();
        if !self.fill(RECORD_HEADER)? {
            let rest = self.window.bytes();
            let zeros = rest.iter().all(|&byte| byte == 0);
            return Ok(if zeros { Found::End } else { Found::Bad(DamageKind::Torn, None) });
        }
        let (stored, value) = record_header(self.window.bytes());
        if stored == 0 && value == 0 {
            return Ok(match resync::first_nonzero(&self.file, at, self.len).map_err(self.reading())? {
                None => Found::End,
                Some(_) => Found::Bad(DamageKind::Zeroed, None),
            });
        }
        let Some(len) = plausible(value) else { return Ok(Found::Bad(DamageKind::Length { value }, None)) };
        let end = at + (RECORD_HEADER + len + 1) as u64;
        if end > self.len || !self.fill(RECORD_HEADER + len + 1)? {
            return Ok(Found::Bad(DamageKind::Length { value }, None));
        }
        let bytes = self.window.bytes();
        let found = adler(&bytes[RECORD_HEADER..RECORD_HEADER + len]);
        let mark = bytes[RECORD_HEADER + len];
        Ok(match (stored == u64::from(found), mark == MARK) {
            (true, true) => Found::Whole(len),
            (true, false) => Found::Bad(DamageKind::Mark { found: mark }, Some(end)),
            (false, true) => Found::Bad(DamageKind::Checksum { stored, found }, Some(end)),
            (false, false) => Found::Bad(DamageKind::Length { value }, None),
        })
    }

    /// Finds where what is damaged at `at` ends, and goes there.
    fn damage(&mut self, at: u64, what: DamageKind, end: Option<u64>) -> Result<Damage, InspectError> {
        let (file, len) = (&self.file, self.len);
        let behind = resync::behind(file, at, end, len).map_err(self.reading())?;
        let mut what = what;
        let (range, next) = match behind {
            resync::Behind::Record { at: next, zxid } => (at..next, Some(zxid)),
            resync::Behind::End { data_end } => {
                let judged = resync::at_the_end(file, at, data_end, &what).map_err(self.reading())?;
                what = judged;
                (at..data_end, None)
            }
        };
        self.window.advance_to(range.end).map_err(self.reading())?;
        Ok(Damage { range, what, after: self.last, next })
    }

    fn fill(&mut self, n: usize) -> Result<bool, InspectError> {
        self.window.fill(n).map_err(io_error("reading", &self.path))
    }

    fn reading(&self) -> impl FnOnce(io::Error) -> InspectError + use<> {
        io_error("reading", &self.path)
    }
}

/// Checksum and length.
pub(super) fn record_header(bytes: &[u8]) -> (u64, i32) {
    let stored = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
    (stored, i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")))
}

/// A length that a record can have.
pub(super) fn plausible(value: i32) -> Option<usize> {
    usize::try_from(value).ok().filter(|len| (SHORTEST..=LONGEST).contains(len))
}

/// The zxid of a transaction, whose header is there.
pub(super) fn zxid_of(payload: &[u8]) -> Zxid {
    Zxid::from_raw(i64::from_be_bytes(payload[12..20].try_into().expect("eight bytes")))
}

/// Writes a record.
pub(super) fn put_record(output: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let len = i32::try_from(payload.len()).map_err(io::Error::other)?;
    output.write_all(&u64::from(adler(payload)).to_be_bytes())?;
    output.write_all(&len.to_be_bytes())?;
    output.write_all(payload)?;
    output.write_all(&[MARK])
}

fn adler(bytes: &[u8]) -> u32 {
    let mut adler = Adler32::new();
    adler.write(bytes);
    adler.finish()
}
