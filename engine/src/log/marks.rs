//! The durable mark: how far the log is known to be durable, said outside of the log.
//!
//! Recovery believes nobody who claims that the log ends before it: without the mark a file that vanished, or a
//! zeroed last page, would look like a log that ends there. It is written lazily and delays no
//! acknowledgement; what was acknowledged since the last writing is vouched for by `durable_seq` in later headers.
//! It may never be ahead of the truth.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::error::LogError;
use super::format::{COUNTS, Point};
use super::slots::{SlotValue, Slots};
use crate::id::Zxid;
use crate::io::{AlignedBuf, BLOCK, Disk, FileId, Volume, WriteOp};

/// The mark is written when nothing became durable for so long, in milliseconds.
const QUIET_MS: u64 = 10;
/// Or when the oldest unmarked progress is so old, in milliseconds.
const AT_LEAST_EVERY_MS: u64 = 100;

/// Tags of mark writes have this bit, those of segment writes do not.
pub(super) const MARK_TAG: u64 = 1 << 63;

/// What a slot holds (40 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Mark {
    pub generation: u32,
    crc: u32,
    seq: u64,
    zxid: i64,
    purged_seq: u64,
    purged_zxid: i64,
}

const _: () = assert!(size_of::<Mark>() == 40);

impl SlotValue for Mark {
    const FILE: &'static str = "marks";
    const MAGIC: [u8; 8] = *b"RKMARKS\0";
    const WRITING: &'static str = "writing the durable mark,";

    fn is_possible(&self) -> bool {
        // Nothing is purged that was not durable first.
        self.seq < COUNTS && self.purged_seq <= self.seq
    }
}

impl Mark {
    /// `durable` is on the medium, and of what is at or below `purged` nothing is needed any more.
    pub fn new(generation: u32, durable: Point, purged: Point) -> Mark {
        Mark {
            generation,
            crc: durable.crc,
            seq: durable.seq,
            zxid: durable.zxid.raw(),
            purged_seq: purged.seq,
            purged_zxid: purged.zxid.raw(),
        }
    }

    pub fn durable(&self) -> Point {
        Point { seq: self.seq, zxid: Zxid::from_raw(self.zxid), crc: self.crc }
    }

    /// The last batch that may be missing at the beginning of the log. Its crc is not kept.
    pub fn purged(&self) -> Point {
        Point { seq: self.purged_seq, zxid: Zxid::from_raw(self.purged_zxid), crc: 0 }
    }
}

/// Writes the mark, in the background through the disk and at a stop through the volume.
#[derive(Debug)]
pub(super) struct Marks {
    slots: Slots<Mark>,
    file: Option<FileId>,
    buf: Option<Arc<AlignedBuf>>,
    in_flight: Option<Mark>,
    /// To be written without waiting for quiet.
    wanted: bool,
    seen: Point,
    changed_ms: u64,
    unmarked_since_ms: Option<u64>,
}

impl Marks {
    pub fn new(slots: Slots<Mark>) -> Marks {
        let seen = slots.value().durable();
        Marks {
            slots,
            file: None,
            buf: None,
            in_flight: None,
            wanted: false,
            seen,
            changed_ms: 0,
            unmarked_since_ms: None,
        }
    }

    pub fn idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Asks for a write at the next chance.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Looks at the clock: asks for a write when `durable` has waited long enough. Returns when to look again, in
    /// milliseconds of the same clock.
    pub fn tick(&mut self, now_ms: u64, durable: Point) -> Option<u64> {
        if durable == self.slots.value().durable() {
            self.unmarked_since_ms = None;
            self.seen = durable;
            return None;
        }
        if self.seen != durable {
            self.seen = durable;
            self.changed_ms = now_ms;
        }
        let since = *self.unmarked_since_ms.get_or_insert(now_ms);
        let due = (self.changed_ms + QUIET_MS).min(since + AT_LEAST_EVERY_MS);
        if now_ms < due {
            return Some(due);
        }
        self.wanted = true;
        self.unmarked_since_ms = None;
        self.changed_ms = now_ms;
        Some(now_ms + QUIET_MS)
    }

    /// Submits a wanted write.
    pub fn submit<D: Disk + ?Sized>(
        &mut self,
        disk: &mut D,
        mark: Mark,
        path: impl FnOnce() -> std::path::PathBuf,
    ) -> Result<(), LogError> {
        if !self.wanted || self.in_flight.is_some() {
            return Ok(());
        }
        let file = match self.file {
            Some(file) => file,
            None => {
                let path = path();
                let attached = disk.attach(&path);
                *self.file.insert(attached.map_err(|source| LogError::File {
                    doing: "opening",
                    path,
                    source,
                })?)
            }
        };
        self.wanted = false;
        let buf = self.buf.get_or_insert_with(|| disk.alloc(BLOCK));
        if Arc::get_mut(buf).is_none() {
            *buf = disk.alloc(BLOCK);
        }
        let block = Arc::get_mut(buf).expect("nobody else holds it, seen above");
        let offset = self.slots.encode_next(&mark, block);
        self.in_flight = Some(mark);
        let buf = buf.clone();
        disk.submit(WriteOp { file, offset, buf, len: BLOCK, sync: true, tag: MARK_TAG });
        Ok(())
    }

    /// Where in the file the write in flight goes.
    pub fn offset_in_flight(&self) -> u64 {
        self.slots.next_offset()
    }

    /// The write in flight is durable. Returns what it wrote.
    pub fn done(&mut self) -> Mark {
        let mark = self.in_flight.take().expect("a mark write was in flight");
        self.slots.written(mark);
        mark
    }

    /// Writes the mark now, unless the newest slot says the same.
    pub fn write(&mut self, vol: &dyn Volume, mark: Mark) -> Result<(), LogError> {
        if self.slots.value() == mark { Ok(()) } else { self.slots.write(vol, mark) }
    }

    /// Whether both slots say this.
    pub fn say_twice(&self, mark: &Mark) -> bool {
        self.slots.in_both() && self.slots.value() == *mark
    }

    /// Writes the mark into both slots now.
    pub fn write_both(&mut self, vol: &dyn Volume, mark: Mark) -> Result<(), LogError> {
        self.slots.write_both(vol, mark)
    }
}
