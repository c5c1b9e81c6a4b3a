//! A znode in memory: one cache line, a second record for the few that need it, and one block for name and data.
//!
//! ```text
//! Record (64)  czxid mzxid parent prev next block block_len version acl path_data_crc side ctime mtime
//! Side   (48)  owner pzxid cversion aversion first_child children list_prev list_next time_high(2)
//! block        name length (1 byte, or 255 and 4 bytes) | name | data
//! ```
//!
//! A leaf that nobody touched since its creation has no side record: its owner, cversion and aversion are 0, its
//! pzxid is its czxid, it has no child, and its times are below 2^48 milliseconds (the year 10889).

use super::slab::{NIL, Place};
use super::stat::StatPersisted;
use crate::id::Zxid;

/// See the module.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Record {
    pub(super) czxid: Zxid,
    pub(super) mzxid: Zxid,
    /// [`NIL`] for the root, [`FREE`] for a place without node.
    pub(super) parent: u32,
    /// Siblings, in no particular order; doubly linked so that removal needs no search.
    pub(super) prev: u32,
    pub(super) next: u32,
    pub(super) block: u32,
    /// Length of the block; the top bit says that the data is null.
    block_len: u32,
    pub(super) version: i32,
    pub(super) acl: u32,
    pub(super) path_data_crc: u32,
    pub(super) side: u32,
    ctime_low: [u8; 6],
    mtime_low: [u8; 6],
}

const _: () = assert!(size_of::<Record>() == 64);

/// What a leaf rarely has.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Side {
    /// Kind and owner, see [`super::NodeKind`].
    pub(super) owner: i64,
    pub(super) pzxid: Zxid,
    pub(super) cversion: i32,
    pub(super) aversion: i32,
    pub(super) first_child: u32,
    pub(super) children: u32,
    /// Neighbours in the list of the owning session, or of containers and TTL nodes.
    pub(super) list_prev: u32,
    pub(super) list_next: u32,
    /// Bits 48 to 63 of ctime and mtime.
    time_high: [i16; 2],
    live: u32,
}

const _: () = assert!(size_of::<Side>() == 48);

/// Parent of a free place.
const FREE: u32 = NIL - 1;
const NULL_DATA: u32 = 1 << 31;

impl Place for Record {
    fn free(next: u32) -> Record {
        Record { parent: FREE, next, ..Record::new(Zxid::ZERO, NIL) }
    }

    fn next_free(&self) -> Option<u32> {
        (self.parent == FREE).then_some(self.next)
    }
}

impl Place for Side {
    fn free(next: u32) -> Side {
        Side { live: 0, first_child: next, ..Side::new(Zxid::ZERO) }
    }

    fn next_free(&self) -> Option<u32> {
        (self.live == 0).then_some(self.first_child)
    }
}

impl Side {
    fn new(pzxid: Zxid) -> Side {
        Side {
            owner: 0,
            pzxid,
            cversion: 0,
            aversion: 0,
            first_child: NIL,
            children: 0,
            list_prev: NIL,
            list_next: NIL,
            time_high: [0; 2],
            live: 1,
        }
    }
}

impl Record {
    pub(super) fn new(czxid: Zxid, parent: u32) -> Record {
        Record {
            czxid,
            mzxid: czxid,
            parent,
            prev: NIL,
            next: NIL,
            block: NIL,
            block_len: 0,
            version: 0,
            acl: 0,
            path_data_crc: 0,
            side: NIL,
            ctime_low: [0; 6],
            mtime_low: [0; 6],
        }
    }

    /// The side record that a node with this record needs first.
    pub(super) fn new_side(&self) -> Side {
        Side::new(self.czxid)
    }

    #[inline]
    pub(super) fn block_len(&self) -> usize {
        (self.block_len & !NULL_DATA) as usize
    }

    #[inline]
    pub(super) fn data_is_null(&self) -> bool {
        self.block_len & NULL_DATA != 0
    }

    pub(super) fn set_block(&mut self, block: u32, len: usize, data_is_null: bool) {
        assert!(len < NULL_DATA as usize, "name and data of a node stay below 2 GiB");
        self.block = block;
        self.block_len = len as u32 | if data_is_null { NULL_DATA } else { 0 };
    }

    /// Sets the low 48 bits; the caller sets the rest in the side record if there is one or
    /// [`needs_high`] says so.
    pub(super) fn set_ctime_low(&mut self, time: i64) {
        self.ctime_low = low(time);
    }

    pub(super) fn set_mtime_low(&mut self, time: i64) {
        self.mtime_low = low(time);
    }
}

impl Side {
    pub(super) fn set_ctime_high(&mut self, time: i64) {
        self.time_high[0] = (time >> 48) as i16;
    }

    pub(super) fn set_mtime_high(&mut self, time: i64) {
        self.time_high[1] = (time >> 48) as i16;
    }
}

fn low(time: i64) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = time.to_le_bytes();
    [a, b, c, d, e, f]
}

fn whole([a, b, c, d, e, f]: [u8; 6], high: i16) -> i64 {
    let [y, z] = high.to_le_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, y, z])
}

/// Whether a time does not fit into 48 bits, so that the node needs a side record.
pub(super) fn needs_high(time: i64) -> bool {
    time >> 48 != 0
}

/// A node's statistics, put together from its records.
#[inline]
pub(super) fn persisted(record: &Record, side: Option<&Side>) -> StatPersisted {
    let (ctime_high, mtime_high) = side.map_or((0, 0), |side| (side.time_high[0], side.time_high[1]));
    StatPersisted {
        czxid: record.czxid,
        mzxid: record.mzxid,
        ctime: whole(record.ctime_low, ctime_high),
        mtime: whole(record.mtime_low, mtime_high),
        version: record.version,
        cversion: side.map_or(0, |side| side.cversion),
        aversion: side.map_or(0, |side| side.aversion),
        ephemeral_owner: side.map_or(0, |side| side.owner),
        pzxid: side.map_or(record.czxid, |side| side.pzxid),
    }
}

/// Bytes in front of the data in the block of a node of this name.
pub(super) fn name_end(name: &[u8]) -> usize {
    name.len() + if name.len() < LONG_NAME as usize { 1 } else { 5 }
}

const LONG_NAME: u8 = 255;

/// Writes the name to the start of a block; what follows is the data.
pub(super) fn write_name(block: &mut [u8], name: &[u8]) {
    let end = name_end(name);
    match u8::try_from(name.len()) {
        Ok(len) if len < LONG_NAME => block[0] = len,
        _ => {
            block[0] = LONG_NAME;
            block[1..5].copy_from_slice(&(name.len() as u32).to_le_bytes());
        }
    }
    block[end - name.len()..end].copy_from_slice(name);
}

/// Where the data begins in a block.
#[inline]
pub(super) fn data_start(block: &[u8]) -> usize {
    block.len() - split_block(block).1.len()
}

/// Splits a block into name and data.
#[inline]
pub(super) fn split_block(block: &[u8]) -> (&[u8], &[u8]) {
    match *block {
        [LONG_NAME, a, b, c, d, ref rest @ ..] => rest.split_at(u32::from_le_bytes([a, b, c, d]) as usize),
        [len, ref rest @ ..] => rest.split_at(usize::from(len)),
        [] => panic!("a node's block holds at least the length of its name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_length_lie_before_the_data() {
        for len in [0, 1, 254, 255, 256, 70_000] {
            let name = vec![b'n'; len];
            let mut block = vec![0; name_end(&name) + 3];
            write_name(&mut block, &name);
            let end = block.len() - 3;
            block[end..].copy_from_slice(b"xyz");
            assert_eq!(split_block(&block), (&name[..], &b"xyz"[..]));
        }
    }

    #[test]
    fn every_time_is_kept_whole() {
        for time in [0, 1, -1, 1_795_285_959_208, (1 << 48) - 1, 1 << 48, i64::MAX, i64::MIN] {
            let mut record = Record::new(Zxid::ZERO, NIL);
            let mut side = record.new_side();
            record.set_ctime_low(time);
            record.set_mtime_low(time);
            side.set_ctime_high(time);
            side.set_mtime_high(time);
            let side = needs_high(time).then_some(&side);
            let stat = persisted(&record, side);
            assert_eq!((stat.ctime, stat.mtime), (time, time));
        }
    }
}
