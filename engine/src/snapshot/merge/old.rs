//! The previous snapshot, read once more from front to back, item by item.
//!
//! One piece of the file is at hand at a time, its checksum compared. Items are looked at where they lie: copying a
//! node on must cost no more than moving its bytes. That the file was written by us is no reason to believe a length
//! in it.

use super::super::file::{piece_checksums, read_piece};
use super::super::format::{PIECE, Published};
use super::super::items::STAT_BYTES;
use super::super::load::{Limits, acl_and_stat};
use super::super::{END_OF_NODES, OPEN_ACL, SnapshotError};
use crate::id::SessionId;
use crate::io::Volume;
use crate::jute::Reader;
use crate::log::LogError;
use crate::tree::StatPersisted;
use crate::txn::AclList;

/// See the module.
#[derive(Debug)]
pub(super) struct Old {
    published: Published,
    crcs: Vec<u32>,
    /// The piece to be read next.
    piece: u64,
    /// Bytes of the body that were read and not yet used, from `at` on.
    buf: Vec<u8>,
    /// Where in `buf` the next item begins.
    at: usize,
    /// Offset in the body of the first byte of `buf`.
    begin: u64,
}

/// A node as it stands in the stream.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    path_len: usize,
}

impl Old {
    /// Before the first item. Nothing but the checksums is read yet.
    pub fn open(vol: &dyn Volume, published: Published) -> Result<Old, LogError> {
        let crcs = piece_checksums(vol, &published)?;
        Ok(Old { published, crcs, piece: 0, buf: Vec::new(), at: 0, begin: 0 })
    }

    /// The same body, to be read again from an offset.
    pub fn again_from(self, offset: u64) -> Old {
        let piece = offset / PIECE as u64;
        let begin = piece * PIECE as u64;
        Old { piece, buf: Vec::new(), at: (offset - begin) as usize, begin, ..self }
    }

    /// The header of the file.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Offset in the body of the next item.
    pub fn position(&self) -> u64 {
        self.begin + self.at as u64
    }

    /// Reads one piece more; the number of its bytes. That the body has no more is an error, since this is asked where
    /// more must come.
    pub fn read_on(&mut self, vol: &dyn Volume) -> Result<u64, LogError> {
        if self.piece == self.published.pieces() {
            return Err(self.wrong(vol, SnapshotError::Unfinished { at: self.published.body_len }));
        }
        let piece = read_piece(vol, &self.published, &self.crcs, self.piece)?;
        let len = piece.len() as u64;
        self.piece += 1;
        if self.buf.is_empty() {
            self.buf = piece;
        } else {
            self.buf.drain(..self.at);
            (self.begin, self.at) = (self.position(), 0);
            self.buf.extend_from_slice(&piece);
        }
        Ok(len)
    }

    /// Says to which file an error belongs.
    pub fn wrong(&self, vol: &dyn Volume, source: SnapshotError) -> LogError {
        LogError::Snapshot { path: vol.path(&self.published.file()), source }
    }

    fn rest(&self) -> &[u8] {
        self.buf.get(self.at..).unwrap_or_default()
    }

    /// The bytes at hand between two offsets of the body.
    pub fn bytes(&self, from: u64, to: u64) -> &[u8] {
        &self.buf[(from - self.begin) as usize..(to - self.begin) as usize]
    }

    /// The next item begins at this offset of the body.
    pub fn skip_to(&mut self, offset: u64) {
        self.at = (offset - self.begin) as usize;
    }

    /// The next item is behind so many bytes.
    pub fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// A number of sessions or ACLs; `None` here and below if it is not all at hand.
    pub fn count(&mut self, what: &'static str) -> Result<Option<usize>, SnapshotError> {
        let Ok(value) = Reader::new(self.rest()).i32() else { return Ok(None) };
        let count = length(self.position(), what, value, i32::MAX as usize)?;
        self.skip(4);
        Ok(Some(count))
    }

    /// A session and its timeout.
    pub fn session(&mut self) -> Option<(SessionId, i32)> {
        let mut reader = Reader::new(self.rest());
        let session = (SessionId(reader.i64().ok()?), reader.i32().ok()?);
        self.skip(12);
        Some(session)
    }

    /// A list and its number. Use up its bytes with [`Old::skip`].
    pub fn acl(&self) -> Result<Option<(i64, AclList<'_>)>, SnapshotError> {
        let rest = self.rest();
        let mut reader = Reader::new(rest);
        let Ok(number) = reader.i64() else { return Ok(None) };
        if number == OPEN_ACL {
            return Err(SnapshotError::ReservedAcl { at: self.position() });
        }
        let Ok(list) = AclList::read(&mut reader) else {
            let most = Limits::MOST.acl;
            return match rest.len() > most {
                true => Err(too_long(self.position(), "the length of an ACL", rest.len() as u32, most)),
                false => Ok(None),
            };
        };
        Ok(Some((number, list)))
    }

    /// The next node. One whose path is [`END_OF_NODES`] is not one, but their end.
    #[inline]
    pub fn record(&self) -> Result<Option<Record<'_>>, SnapshotError> {
        let rest = self.rest();
        let Some(path_len) = read_length(rest, 0) else { return Ok(None) };
        let most = Limits::MOST;
        if path_len as usize > most.path {
            return Err(too_long(self.position(), "the length of a path", path_len, most.path));
        }
        let path_end = 4 + path_len as usize;
        if path_len == 1 && rest.get(4..path_end) == Some(END_OF_NODES.as_bytes()) {
            return Ok(Some(Record { bytes: &rest[..path_end], path_len: 1 }));
        }
        let Some(data_len) = read_length(rest, path_end) else { return Ok(None) };
        let data_len = if data_len == u32::MAX { 0 } else { data_len };
        if data_len as usize > most.data {
            let at = self.position() + path_end as u64;
            return Err(too_long(at, "the length of a node's data", data_len, most.data));
        }
        let end = path_end + 4 + data_len as usize + 8 + STAT_BYTES;
        Ok(rest.get(..end).map(|bytes| Record { bytes, path_len: path_len as usize }))
    }
}

/// A length; negative ones come out as what is too long.
#[inline]
fn read_length(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

#[cold]
fn too_long(at: u64, what: &'static str, value: u32, most: usize) -> SnapshotError {
    SnapshotError::Length { at, what, value: value.cast_signed(), most }
}

fn length(at: u64, what: &'static str, value: i32, most: usize) -> Result<usize, SnapshotError> {
    let length = usize::try_from(value).ok().filter(|&length| length <= most);
    length.ok_or(SnapshotError::Length { at, what, value, most })
}

impl<'a> Record<'a> {
    /// A record that was read before, from all of its bytes.
    pub fn whole(bytes: &'a [u8], path_len: usize) -> Record<'a> {
        Record { bytes, path_len }
    }

    /// Whether it is no node but the end of the nodes.
    #[inline]
    pub fn is_end(&self) -> bool {
        self.bytes.len() == 4 + END_OF_NODES.len()
    }

    /// `""` for the root.
    #[inline]
    pub fn path(&self) -> &'a [u8] {
        &self.bytes[4..4 + self.path_len]
    }

    fn tail(&self) -> &'a [u8] {
        &self.bytes[self.bytes.len() - STAT_BYTES - 8..]
    }

    #[inline]
    fn acl_at(&self) -> usize {
        self.bytes.len() - STAT_BYTES - 8
    }

    /// Its bytes before and behind the number of its ACL.
    pub fn around_acl(&self) -> (&'a [u8], &'a [u8]) {
        (&self.bytes[..self.acl_at()], &self.bytes[self.acl_at() + 8..])
    }

    /// The number of its ACL.
    #[inline]
    pub fn acl(&self) -> i64 {
        read_i64(self.bytes, self.acl_at())
    }

    /// What would make it go away by itself, see [`crate::tree::NodeKind`].
    #[inline]
    pub fn owner(&self) -> i64 {
        // Only the pzxid stands behind it.
        read_i64(self.bytes, self.bytes.len() - 16)
    }

    /// Its data; null differs from empty.
    pub fn data(&self) -> Option<&'a [u8]> {
        let at = 4 + self.path_len;
        let is_null = read_length(self.bytes, at) == Some(u32::MAX);
        (!is_null).then(|| &self.bytes[at + 4..self.acl_at()])
    }

    /// Its statistics.
    pub fn stat(&self) -> StatPersisted {
        acl_and_stat(self.tail()).expect("a node has as many bytes").1
    }
}

#[inline]
fn read_i64(bytes: &[u8], at: usize) -> i64 {
    let chunk = bytes[at..].first_chunk().expect("a node has as many bytes");
    i64::from_be_bytes(*chunk)
}
