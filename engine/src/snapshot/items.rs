//! Takes a stream apart into its items, whatever pieces it comes in, and knows how an item is laid out.
//!
//! One item (a session, an ACL entry, a node) at a time is looked at, in place if all of it is in one piece, else
//! gathered first; nothing is allocated for what is only announced. What the items mean is for their takers to know:
//! the loader, and the reception of a leader's stream.

use super::load::{Fed, Limits};
use super::{END_OF_NODES, SIGNATURE, SnapshotError};

/// czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid.
pub(super) const STAT_BYTES: usize = 60;
/// perms and two empty strings.
const MIN_ACL_ENTRY: usize = 12;

/// How far the bytes at hand take us.
pub(super) enum Taken {
    /// This many bytes were an item.
    Took(usize),
    /// An item needs at least so many bytes in all, more than there are.
    Needs(usize),
}

/// What takes items.
pub(super) trait TakeItems {
    /// Whether the last item was taken.
    fn is_done(&self) -> bool;

    /// Takes the next item, at offset `at` of the stream, from the beginning of `bytes`, if all of it is there.
    fn take(&mut self, at: u64, bytes: &[u8]) -> Result<Taken, SnapshotError>;
}

/// Where a stream was cut into pieces.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Offset in the stream of the next item.
    at: u64,
    /// The beginning of an item that did not come in one piece, and how many bytes it has at least.
    held: Vec<u8>,
    needs: usize,
}

impl Pieces {
    /// Gives the items of a prefix of `bytes`, all of it unless the stream ends within.
    pub fn feed(&mut self, taker: &mut impl TakeItems, bytes: &[u8]) -> Result<Fed, SnapshotError> {
        let mut used = 0;
        while !taker.is_done() {
            let rest = &bytes[used..];
            if self.held.is_empty() {
                match taker.take(self.at, rest)? {
                    Taken::Took(n) => {
                        self.at += n as u64;
                        used += n;
                    }
                    Taken::Needs(needs) => {
                        self.needs = needs;
                        self.held.extend_from_slice(rest);
                        return Ok(Fed { used: bytes.len(), done: false });
                    }
                }
                continue;
            }
            let missing = self.needs - self.held.len();
            let piece = &rest[..missing.min(rest.len())];
            self.held.extend_from_slice(piece);
            used += piece.len();
            if piece.len() < missing {
                return Ok(Fed { used, done: false });
            }
            match taker.take(self.at, &self.held)? {
                Taken::Took(n) => {
                    assert_eq!(n, self.held.len(), "no more was gathered than the item has");
                    self.at += n as u64;
                    self.held.clear();
                    self.held.shrink_to(1 << 20);
                }
                Taken::Needs(needs) => self.needs = needs,
            }
        }
        Ok(Fed { used, done: true })
    }

    /// How many bytes of the stream were taken in.
    pub fn position(&self) -> u64 {
        self.at + self.held.len() as u64
    }
}

/// A length or count at offset `at`.
pub(super) fn length(at: u64, what: &'static str, value: i32, most: usize) -> Result<usize, SnapshotError> {
    let length = usize::try_from(value).ok().filter(|&length| length <= most);
    length.ok_or(SnapshotError::Length { at, what, value, most })
}

/// How many sessions or ACLs follow; `None` if the 4 bytes are not there.
pub(super) fn count(at: u64, what: &'static str, bytes: &[u8]) -> Result<Option<usize>, SnapshotError> {
    read_i32(bytes, 0).map(|count| length(at, what, count, i32::MAX as usize)).transpose()
}

/// A session and its timeout, or the number of an ACL and how many entries it claims to have; 12 bytes.
pub(super) fn pair(bytes: &[u8]) -> Option<(i64, i32)> {
    Some((read_i64(bytes, 0)?, read_i32(bytes, 8)?))
}

/// What a [`pair`] at `at` says about the length of an ACL.
pub(super) fn acl_entries(at: u64, entries: i32, limits: &Limits) -> Result<usize, SnapshotError> {
    length(at + 8, "the length of an ACL", entries, limits.acl / MIN_ACL_ENTRY)
}

/// Where an entry of an ACL ends of which `encoded` bytes came before.
pub(super) fn acl_entry(
    at: u64,
    bytes: &[u8],
    encoded: usize,
    limits: &Limits,
) -> Result<Taken, SnapshotError> {
    let most = limits.acl - encoded.min(limits.acl);
    let mut end = 4;
    for what in ["the length of an ACL's scheme", "the length of an ACL's id"] {
        let Some(len) = read_i32(bytes, end) else { return Ok(Taken::Needs(end + 4)) };
        end += 4 + if len == -1 { 0 } else { length(at + end as u64, what, len, most)? };
    }
    Ok(if bytes.len() < end { Taken::Needs(end) } else { Taken::Took(end) })
}

/// The first part of a node: all before its data.
pub(super) enum Head<'a> {
    /// It needs at least so many bytes.
    Needs(usize),
    /// It is no node but what ends them, in so many bytes.
    End(usize),
    /// Its path, where its data begin, and how many they are; `None` is null.
    Node { path: &'a [u8], data_at: usize, data: Option<usize> },
}

pub(super) fn head<'a>(at: u64, bytes: &'a [u8], limits: &Limits) -> Result<Head<'a>, SnapshotError> {
    let Some(path_len) = read_i32(bytes, 0) else { return Ok(Head::Needs(4)) };
    let path_end = 4 + length(at, "the length of a path", path_len, limits.path)?;
    let Some(path) = bytes.get(4..path_end) else { return Ok(Head::Needs(path_end)) };
    if path == END_OF_NODES.as_bytes() {
        return Ok(Head::End(path_end));
    }
    let Some(data_len) = read_i32(bytes, path_end) else { return Ok(Head::Needs(path_end + 4)) };
    let data = match data_len {
        -1 => None,
        len => Some(length(at + path_end as u64, "the length of a node's data", len, limits.data)?),
    };
    Ok(Head::Node { path, data_at: path_end + 4, data })
}

/// What ends the stream.
pub(super) fn signature(at: u64, bytes: &[u8]) -> Result<Taken, SnapshotError> {
    let wrong = SnapshotError::Signature { at };
    let Some(len) = read_i32(bytes, 0) else { return Ok(Taken::Needs(4)) };
    if len as usize != SIGNATURE.len() {
        return Err(wrong);
    }
    let end = 4 + SIGNATURE.len();
    match bytes.get(4..end) {
        None => Ok(Taken::Needs(end)),
        Some(found) if found == SIGNATURE.as_bytes() => Ok(Taken::Took(end)),
        Some(_) => Err(wrong),
    }
}

pub(super) fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|chunk| i32::from_be_bytes(*chunk))
}

pub(super) fn read_i64(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk))
}
