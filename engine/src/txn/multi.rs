//! The parts of a multi: `count(4)`, then per entry `type(4) buffer`, the buffer holding a record without header
//! and digest.

use super::{Txn, decode, encode, kind};
use crate::jute::{self, Reader};

/// The entries of a multi, validated and still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multi<'a> {
    pub(super) count: usize,
    pub(super) items: &'a [u8],
}

/// One entry of a multi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubTxn<'a> {
    /// The entry's type.
    pub kind: i32,
    /// Its record.
    pub txn: Txn<'a>,
}

/// type and an empty buffer.
pub(super) const MIN_ENTRY_BYTES: usize = 8;

impl<'a> Multi<'a> {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none, which is valid.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries in order. Decodes on the way; nothing is allocated.
    pub fn iter(&self) -> impl Iterator<Item = SubTxn<'a>> + use<'a> {
        let mut reader = Reader::new(self.items);
        (0..self.count).map_while(move |_| decode::sub_txn(&mut reader).ok())
    }

    /// Whether the multi failed: it changes nothing then.
    pub fn failed(&self) -> bool {
        let mut reader = Reader::new(self.items);
        let mut kinds = (0..self.count).map_while(|_| {
            let kind = reader.i32().ok()?;
            reader.buffer().ok()?;
            Some(kind)
        });
        kinds.any(|kind| kind == kind::ERROR)
    }
}

/// Collects the entries of a multi while its operations are prepared.
#[derive(Debug, Default)]
pub struct MultiBuilder {
    count: usize,
    items: Vec<u8>,
}

impl MultiBuilder {
    /// A multi without entries.
    pub fn new() -> MultiBuilder {
        MultiBuilder::default()
    }

    /// Forgets all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.items.clear();
    }

    /// Appends an entry. A record that does not have the layout of `kind`, or a type that a multi cannot contain,
    /// is a bug of the caller.
    pub fn push(&mut self, kind: i32, txn: &Txn<'_>) {
        assert!(decode::may_be_in_multi(kind), "type {kind} inside a multi");
        jute::put_i32(&mut self.items, kind);
        let length_at = self.items.len();
        jute::put_i32(&mut self.items, 0);
        encode::record_into(kind, txn, &mut self.items);
        let length = self.items.len() - length_at - 4;
        let length = i32::try_from(length).expect("a record is far below 2 GiB");
        self.items[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        self.count += 1;
    }

    /// The record.
    pub fn multi(&self) -> Multi<'_> {
        Multi { count: self.count, items: &self.items }
    }
}
