//! A picture of the live log at one moment, to be read elsewhere while the log goes on.
//!
//! What was durable when it was taken does not change: segments are only added to, and nothing behind the picture's
//! end is looked at. A segment that is freed meanwhile is no longer there under its name, and names are never given
//! twice: so reading on is an error then, and never the content of something else.
//!
//! Blocking reads, each piece judged like at a recovery before anything of it is handed out.

use super::cut::unreadable;
use super::error::LogError;
use super::format::Point;
use super::index::Place;
use super::name::SegmentName;
use super::recover::Replay;
use super::scan::{CHUNK, SegmentReader, records};
use super::table::Found;
use super::{Log, Segment};
use crate::id::Zxid;
use crate::io::{BLOCK, Volume};
use crate::snapshot::merge::SnapshotRequest;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct View {
    extents: Vec<Extent>,
    durable: Point,
    /// Sequence number of the last batch that is known to be on the medium.
    flushed: u64,
}

/// What a view has of one segment.
#[derive(Clone, Debug)]
struct Extent {
    name: SegmentName,
    generation: u32,
    /// Where reading begins.
    start: Place,
    /// The point behind the last live transaction. Batches behind the durable one are not looked at.
    last: Point,
    /// Offset behind the last batch.
    end: u64,
}

impl Log {
    /// What is durable now behind the transaction `after`.
    pub(crate) fn view(&self, after: Zxid) -> View {
        let first = self.segments.partition_point(|s| s.last.zxid <= after);
        let extent = |s: &Segment| Extent {
            name: s.name,
            generation: s.generation,
            start: s.place_up_to(after),
            last: s.last,
            end: s.index.end(),
        };
        View {
            extents: self.segments[first..].iter().map(extent).collect(),
            durable: self.durable,
            flushed: self.flushed.seq,
        }
    }
}

impl Log {
    /// What is needed to make a snapshot of the state after the last transaction up to `upto`, which must be known to be
    /// committed; `tree_seed` as for [`Tree::new`](crate::tree::Tree::new).
    ///
    /// `None` if not all of that is durable here yet, if nothing is behind the newest snapshot that is not above `upto`,
    /// or if the log does not reach back to one.
    pub fn snapshot_request(&self, upto: Zxid, tree_seed: u64) -> Option<SnapshotRequest> {
        let previous = self.snapshots().iter().rev().find(|s| s.zxid() <= upto).copied();
        let after = previous.map_or(Zxid::ZERO, |previous| previous.zxid());
        let reaches_back = previous.map_or(self.is_complete(), |_| self.begins_behind() <= after);
        if upto <= after || upto > self.durable.zxid || !reaches_back {
            return None;
        }
        Some(SnapshotRequest {
            previous,
            view: self.view(after),
            upto,
            database: self.database,
            generation: self.root(),
            tree_seed,
            mismatches_tolerated: false,
        })
    }
}

impl View {
    /// Calls `replay` with the transactions above `after` up to `upto`, in order. The result is the point behind the
    /// last transaction that is not above `upto`, which may lie inside of a batch.
    ///
    /// `after` must not be below what the view was taken for.
    pub fn replay(
        &self,
        vol: &dyn Volume,
        after: Zxid,
        upto: Zxid,
        replay: &mut Replay<'_>,
    ) -> Result<Point, LogError> {
        let mut reading = self.reading(after, upto);
        while reading.next(self, vol, replay)?.is_some() {}
        Ok(reading.point())
    }

    /// The same in pieces.
    pub fn reading(&self, after: Zxid, upto: Zxid) -> Reading {
        let start = self.extents.first().map(|e| e.start);
        let reached = start.map_or(self.durable, |place| place.from);
        Reading { after, upto, extent: 0, place: start, reached }
    }

    /// Bytes on the disk of what can be read, about.
    pub fn bytes(&self) -> u64 {
        self.extents.iter().map(|e| e.end.saturating_sub(e.start.offset)).sum()
    }

    /// Files with batches up to number `seq` of which it is not known that they are on the medium.
    pub fn unflushed(&self, seq: u64) -> impl Iterator<Item = String> {
        let extents =
            self.extents.iter().filter(move |e| e.last.seq > self.flushed && e.start.from.seq < seq);
        extents.map(|e| e.name.to_string())
    }
}

/// How far a view was read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    after: Zxid,
    upto: Zxid,
    /// The segment being read; those of the view are through if there is no such.
    extent: usize,
    /// The next batch; `None` before the first of the segment.
    place: Option<Place>,
    reached: Point,
}

impl Reading {
    /// The point behind the last transaction that was met; see [`View::replay`].
    pub fn point(&self) -> Point {
        self.reached
    }

    /// Reads the next piece of about one MiB, or one batch if that is longer; the number of its bytes. `None` at the
    /// end.
    pub fn next(
        &mut self,
        view: &View,
        vol: &dyn Volume,
        replay: &mut Replay<'_>,
    ) -> Result<Option<u64>, LogError> {
        while let Some(extent) = view.extents.get(self.extent) {
            let begin = *self.place.get_or_insert(extent.start);
            if begin.from.seq < extent.last.seq.min(view.durable.seq) {
                let goes_on = self.piece(extent, view.durable.seq, vol, replay)?;
                let read = self.place.map_or(0, |place| place.offset - begin.offset);
                if !goes_on {
                    self.extent = view.extents.len();
                }
                return Ok(Some(read));
            }
            (self.extent, self.place) = (self.extent + 1, None);
        }
        Ok(None)
    }

    /// False if a transaction above `upto` was met.
    fn piece(
        &mut self,
        extent: &Extent,
        durable: u64,
        vol: &dyn Volume,
        replay: &mut Replay<'_>,
    ) -> Result<bool, LogError> {
        let mut place = self.place.unwrap_or(extent.start);
        let begin = place.offset;
        let chunk_end = begin + CHUNK as u64;
        let end = extent.last.seq.min(durable);
        let mut reader = SegmentReader::new(vol, extent.name, extent.end);
        while place.from.seq < end && place.offset + BLOCK as u64 <= chunk_end {
            if let Some(batch) = reader.header(place.offset)? {
                if batch.first_zxid > self.upto.raw() {
                    return Ok(false);
                }
                if place.offset + batch.padded() > chunk_end && place.offset > begin {
                    break;
                }
            }
            let (Found::Whole, Some(batch)) = reader.judge(place.offset, place.from, extent.generation)?
            else {
                return Err(unreadable(vol, extent.name, place.offset, place.from));
            };
            // The last batch may be cut in its middle.
            let live = if batch.seq == extent.last.seq { extent.last.zxid } else { batch.end().zxid };
            for (zxid, txn) in records(reader.payload(place.offset, &batch)?).take_while(|(z, _)| *z <= live)
            {
                if zxid > self.upto {
                    return Ok(false);
                }
                if zxid > self.after {
                    replay(txn, zxid).map_err(|source| {
                        let path = vol.path(&extent.name.to_string());
                        LogError::Replay { path, offset: place.offset, zxid, source }
                    })?;
                }
                self.reached = Point { zxid, ..batch.end() };
            }
            place = place.behind(&batch);
            self.place = Some(place);
        }
        Ok(true)
    }
}
