//! Cuts: the torn tail that recovery found, and truncation to a zxid.
//!
//! A cut never edits. It opens a segment of a higher generation that names the point it continues from; what
//! lies beyond that point is dead from the moment that header is durable, and alive until then. So an
//! interrupted cut is either not begun or complete. The mark follows before anybody is told, so that a later loss
//! of that header is not taken for a cut that never was. Blocking; called with nothing in flight.

use super::durable::Durable;
use super::error::{Corruption, Damage, Evidence, LogError};
use super::files;
use super::format::Point;
use super::index::Place;
use super::marks::Mark;
use super::name::SegmentName;
use super::scan::{SegmentReader, records};
use super::table::Found;
use super::{Log, Segment};
use crate::id::Zxid;
use crate::io::{BLOCK, Volume};
use crate::mutant::{Mutant, planted};
use crate::snapshot::Published;

impl Log {
    /// Removes all transactions above `zxid`, durably. Those in memory are forgotten too, and cursors behind a
    /// transaction that is removed find nothing any more. Snapshots of what is removed are removed before.
    ///
    /// Fails with [`LogError::Busy`] while writes are in flight or waiting, with [`LogError::Purged`] if no state at or
    /// below `zxid` is left to go back to, and, with nothing changed, if there is no space for a segment.
    pub fn truncate(&mut self, vol: &dyn Volume, zxid: Zxid) -> Result<Durable<Zxid>, LogError> {
        self.alive()?;
        if !self.is_idle() {
            return Err(LogError::Busy { doing: "truncating" });
        }
        let zxid = match zxid.raw() {
            raw if planted(Mutant::CutsTooLittle) => Zxid::from_raw(raw + 1),
            raw if planted(Mutant::Zk1156CutsTooMuch) => Zxid::from_raw(raw - 1),
            raw => Zxid::from_raw(raw),
        };
        if zxid < self.durable.zxid {
            let (kept, point) = self.find(vol, zxid)?;
            self.remove_snapshots_above(vol, zxid)?;
            self.cut(vol, kept, point)?;
        }
        Ok(Durable::mint(self.durable.zxid))
    }

    /// Goes on in a new generation from `point`, which lies in the last of the first `kept` live segments.
    pub(super) fn cut(&mut self, vol: &dyn Volume, kept: usize, point: Point) -> Result<(), LogError> {
        let generation = self.generation;
        let generation = generation.checked_add(1).ok_or(LogError::NoGeneration { generation })?;
        let name = self.stock.take_blocking(vol)?;
        // The header and the marks vouch for `point`.
        self.flush(vol)?;
        self.begin_generation(vol, name, generation, kept, point)
    }

    /// Opens the first segment of `generation` under a name that was prepared. Once its header is durable, all but the
    /// first `kept` live segments is dead, and what lies beyond `point` in these.
    pub(super) fn begin_generation(
        &mut self,
        vol: &dyn Volume,
        name: SegmentName,
        generation: u32,
        kept: usize,
        point: Point,
    ) -> Result<(), LogError> {
        let before = kept.checked_sub(1).map_or(0, |i| self.segments[i].name.number);
        self.generation = generation;
        let mut block = vec![0; BLOCK];
        self.segment_header(name, point, before, point.seq).write(&mut block);
        let written = files::write(vol, "writing the segment header,", &name.to_string(), 0, &block);
        written.map_err(|error| self.fail(error))?;

        self.stale_files.extend(self.file.take());
        self.batches.clear(point.zxid);
        self.note_cut(point.zxid);
        for dead in self.segments.split_off(kept) {
            self.stock.add_free(dead.into());
        }
        if let Some(last) = self.segments.last_mut() {
            last.last = point;
            last.index.cut(point);
        }
        self.segments.push(self.fresh_segment(name, point));
        self.offset = BLOCK as u64;
        (self.sealed, self.durable, self.flushed, self.appended) = (point, point, point, point.zxid);
        self.write_mark_twice(vol)
    }

    /// Writes the mark into both slots, and so completes what waits for that.
    pub(super) fn write_mark_twice(&mut self, vol: &dyn Volume) -> Result<(), LogError> {
        let mark = Mark::new(self.generation, self.flushed, self.purged);
        self.marks.write_both(vol, mark).map_err(|error| self.fail(error))?;
        self.mark_written(&mark);
        self.mark_written(&mark);
        Ok(())
    }

    /// How many segments hold the transactions up to `zxid`, and the point behind the last of these.
    pub(super) fn find(&self, vol: &dyn Volume, zxid: Zxid) -> Result<(usize, Point), LogError> {
        let base = self.base();
        if zxid < base.zxid {
            return Err(LogError::Purged { zxid, first: base.zxid });
        }
        if let Some(first) = self.snapshots.first().map(Published::zxid)
            && zxid < first
            && !self.is_complete()
        {
            return Err(LogError::Purged { zxid, first });
        }
        let (mut kept, mut point) = (0, base);
        for segment in &self.segments {
            if segment.last.seq == segment.from.seq {
                kept += 1;
                continue;
            }
            if segment.last.zxid > zxid {
                let found = self.find_within(vol, segment, point, zxid)?;
                return Ok(if found == point { (kept, point) } else { (kept + 1, found) });
            }
            (kept, point) = (kept + 1, segment.last);
        }
        Ok((kept, point))
    }

    /// The point behind the last transaction up to `zxid` of a segment that goes on behind it; `tip` if it has none.
    fn find_within(
        &self,
        vol: &dyn Volume,
        segment: &Segment,
        tip: Point,
        zxid: Zxid,
    ) -> Result<Point, LogError> {
        let mut reader = SegmentReader::new(vol, segment.name, segment.len);
        let Place { mut offset, from: mut tip } = segment.index.up_to(zxid).unwrap_or(Place::first(tip));
        loop {
            let (Found::Whole, Some(batch)) = reader.judge(offset, tip, segment.generation)? else {
                return Err(self.unreadable(vol, segment, offset, tip));
            };
            if batch.first_zxid > zxid.raw() {
                return Ok(tip);
            }
            if batch.last_zxid > zxid.raw() {
                let up_to =
                    records(reader.payload(offset, &batch)?).map(|(z, _)| z).take_while(|z| *z <= zxid);
                let last = up_to.last().unwrap_or(tip.zxid);
                return Ok(Point { zxid: last, ..batch.end() });
            }
            tip = batch.end();
            offset += batch.padded();
        }
    }

    /// What was durable cannot be read back.
    pub(super) fn unreadable(
        &self,
        vol: &dyn Volume,
        segment: &Segment,
        offset: u64,
        tip: Point,
    ) -> LogError {
        Corruption {
            path: vol.path(&segment.name.to_string()),
            offset,
            damage: Damage::NoBatch { seq: tip.seq.saturating_add(1) },
            lost_after: tip.zxid,
            lost_through: None,
            evidence: Evidence::Log,
            instead: None,
        }
        .into()
    }
}
