//! Where the batches of a segment begin, for some of them: so that nobody reads a segment from its beginning who
//! wants its end.
//!
//! One place per [`EVERY`] bytes, noted while batches are appended or walked over by recovery. It is in memory only
//! and only a hint of where to begin: what is read from a place is judged like anything else that is read. At 32
//! bytes a place it takes 1/8192 of what the log takes on the disk.

use super::format::{BatchHeader, Point};
use crate::id::Zxid;
use crate::io::BLOCK;

/// Least distance between two places, in bytes. Segments that are too short for sixteen of it have them closer.
const EVERY: u64 = 256 << 10;

/// Where a batch begins, and what it continues: enough to read on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u64,
    pub from: Point,
}

impl Place {
    /// The first batch of a segment that continues `from`.
    pub fn first(from: Point) -> Place {
        Place { offset: BLOCK as u64, from }
    }

    /// The place behind the batch that stands at this one.
    pub fn behind(self, batch: &BatchHeader) -> Place {
        Place { offset: self.offset + batch.padded(), from: batch.end() }
    }
}

/// Some places of one segment, in order.
#[derive(Clone, Debug)]
pub(super) struct Index {
    places: Vec<Place>,
    every: u64,
    end: u64,
}

impl Index {
    /// For a segment of this length without batches.
    pub fn new(segment_bytes: u64) -> Index {
        Index { places: Vec::new(), every: EVERY.min(segment_bytes / 16), end: BLOCK as u64 }
    }

    /// For a segment of this length whose batches nobody looked at, and which may have some up to `end`.
    pub fn unread(segment_bytes: u64, end: u64) -> Index {
        Index { end, ..Index::new(segment_bytes) }
    }

    /// A batch of `len` bytes, padding included, stands at `place`, which lies behind all noted before.
    pub fn note(&mut self, place: Place, len: u64) {
        if self.places.last().is_none_or(|last| place.offset - last.offset >= self.every) {
            self.places.push(place);
        }
        self.end = place.offset + len;
    }

    /// What lies behind `point` is cut off.
    pub fn cut(&mut self, point: Point) {
        let kept = self.places.partition_point(|p| p.from.seq < point.seq);
        self.end = self.places.get(kept).map_or(self.end, |p| p.offset);
        self.places.truncate(kept);
    }

    /// Offset behind the last batch. After a cut it may lie behind some dead ones too, within the distance of two places.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The last place with no transaction above `zxid` before it.
    pub fn up_to(&self, zxid: Zxid) -> Option<Place> {
        let behind = self.places.partition_point(|p| p.from.zxid <= zxid);
        self.places[..behind].last().copied()
    }

    /// Bytes of all batches.
    pub fn bytes(&self) -> u64 {
        self.end - BLOCK as u64
    }

    /// The first place with at most `bytes` behind it.
    pub fn with_behind(&self, bytes: u64) -> Option<Place> {
        let before = self.places.partition_point(|p| self.end - p.offset > bytes);
        self.places.get(before).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(seq: u64) -> Point {
        Point { seq, zxid: Zxid::from_raw(10 * seq as i64), crc: seq as u32 }
    }

    /// Batches of 100 KiB in a segment of 64 MiB.
    fn noted(batches: u64) -> Index {
        let mut index = Index::new(64 << 20);
        let len = 100 << 10;
        (0..batches).for_each(|i| index.note(Place { offset: BLOCK as u64 + i * len, from: point(i) }, len));
        index
    }

    #[test]
    fn one_batch_in_three_has_a_place_and_a_gigabyte_takes_little() {
        let index = noted(300);
        let seqs: Vec<u64> = index.places.iter().map(|p| p.from.seq).collect();
        assert_eq!(seqs, (0..300).step_by(3).collect::<Vec<_>>());
        assert!((1 << 30) / EVERY * size_of::<Place>() as u64 <= 128 << 10);
        assert_eq!(Index::new(6 * BLOCK as u64).every, 1536, "short segments have a place at each batch");
    }

    #[test]
    fn a_place_is_never_behind_what_is_looked_for() {
        let index = noted(300);
        for (zxid, seq) in [(0, 0), (29, 0), (30, 3), (31, 3), (59, 3), (60, 6), (1 << 40, 297)] {
            assert_eq!(index.up_to(Zxid::from_raw(zxid)).map(|p| p.from.seq), Some(seq), "{zxid}");
        }
        assert_eq!(index.up_to(Zxid::from_raw(-1)), None);
    }

    #[test]
    fn bytes_are_counted_from_the_end() {
        let index = noted(30);
        assert_eq!(index.bytes(), 3000 << 10);
        for (kib, seq) in [(3000, Some(0)), (2999, Some(3)), (300, Some(27)), (299, None), (0, None)] {
            assert_eq!(index.with_behind(kib << 10).map(|p| p.from.seq), seq, "{kib}");
        }
    }

    #[test]
    fn a_cut_takes_the_places_behind_it() {
        let mut index = noted(30);
        index.cut(point(13));
        assert_eq!(index.places.last().map(|p| p.from.seq), Some(12));
        assert_eq!(index.end(), BLOCK as u64 + 15 * (100 << 10), "no more than one distance behind the cut");
        index.cut(point(13));
        assert_eq!(index.places.len(), 5);
        index.cut(point(12));
        assert_eq!((index.places.len(), index.bytes()), (4, 1200 << 10));
    }
}
