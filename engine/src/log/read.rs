//! Transactions read back from their segments, for those who come late.
//!
//! Blocking reads of what is durable; the batches in memory are not looked at. A piece begins where the last one
//! ended, or at the nearest place in the segment's index, and ends where a batch does: so that reading a log in
//! pieces costs little more than its bytes. Nothing is handed out that was not judged like at a recovery.

use super::cursor::Cursor;
use super::cut::unreadable;
use super::error::LogError;
use super::index::Place;
use super::scan::{SegmentReader, records};
use super::table::Found;
use super::{Log, Segment};
use crate::id::Zxid;
use crate::io::Volume;

/// Transactions in order, each with its zxid.
pub type Transactions = Vec<(Zxid, Vec<u8>)>;

impl Log {
    /// Reads on from disk: durable transactions behind the cursor up to `upto`, at most `max_bytes` of them, at least
    /// one if there is one, and moves the cursor behind the last. None means that there are no more. Blocking.
    ///
    /// A piece ends early, at the end of a batch, if the next batch does not fit as a whole: `max_bytes` should be
    /// several times [`LogOptions::batch_bytes`](super::LogOptions::batch_bytes). A batch that is longer than that is
    /// read anew for each piece of it.
    ///
    /// Fails with [`LogError::Purged`] if transactions behind the cursor are no longer in the log, with
    /// [`LogError::CutOff`] if the cursor itself is not, with [`LogError::Corrupt`] if what was durable cannot be
    /// read back. The cursor stays where it was then.
    pub fn read_on(
        &self,
        vol: &dyn Volume,
        cursor: &mut Cursor,
        upto: Zxid,
        max_bytes: usize,
    ) -> Result<Transactions, LogError> {
        self.check_readable(cursor)?;
        let mut reading = Reading { after: cursor.after(), upto, left: max_bytes, out: Vec::new(), at: None };
        let first = self.segments.partition_point(|s| s.last.zxid <= reading.after);
        for segment in &self.segments[first..] {
            if !self.read_segment(vol, segment, cursor.place_in(segment), &mut reading)? {
                break;
            }
        }
        let Reading { after, out, at, .. } = reading;
        cursor.moved(out.last().map_or(after, |(zxid, _)| *zxid), at);
        Ok(out)
    }

    /// False if the piece is complete.
    fn read_segment(
        &self,
        vol: &dyn Volume,
        segment: &Segment,
        mut place: Place,
        reading: &mut Reading,
    ) -> Result<bool, LogError> {
        let end = segment.last.seq.min(self.durable.seq);
        let mut reader = SegmentReader::new(vol, segment.name, segment.index.end());
        while place.from.seq < end {
            if place.from.zxid >= reading.upto || reading.is_full() {
                return Ok(false);
            }
            reader.read_ahead(reading.left);
            if !reading.out.is_empty()
                && reader.header(place.offset)?.is_some_and(|batch| batch.txn_bytes() > reading.left)
            {
                return Ok(false);
            }
            let (Found::Whole, Some(batch)) = reader.judge(place.offset, place.from, segment.generation)?
            else {
                return Err(unreadable(vol, segment.name, place.offset, place.from));
            };
            // The last batch may be cut in its middle.
            let live = if batch.seq == segment.last.seq { segment.last.zxid } else { batch.end().zxid };
            reading.at = Some((segment.name.number, place));
            for (zxid, txn) in records(reader.payload(place.offset, &batch)?).take_while(|(z, _)| *z <= live)
            {
                if !reading.take(zxid, txn) {
                    return Ok(false);
                }
            }
            place = place.behind(&batch);
            reading.at = Some((segment.name.number, place));
        }
        Ok(true)
    }
}

/// A piece being read.
struct Reading {
    after: Zxid,
    upto: Zxid,
    left: usize,
    out: Transactions,
    /// Number of the segment and the batch in it from which to go on.
    at: Option<(u64, Place)>,
}

impl Reading {
    fn is_full(&self) -> bool {
        self.left == 0 && !self.out.is_empty()
    }

    /// False if it is not part of the piece, nor is anything behind it.
    fn take(&mut self, zxid: Zxid, txn: &[u8]) -> bool {
        if zxid <= self.after {
            return true;
        }
        if zxid > self.upto || self.is_full() || (txn.len() > self.left && !self.out.is_empty()) {
            return false;
        }
        self.left = self.left.saturating_sub(txn.len());
        self.out.push((zxid, txn.to_vec()));
        true
    }
}
