//! The log gone through once more while it is open: for building a state anew.
//!
//! Blocking reads of what is durable, one batch in memory at a time.

use super::error::LogError;
use super::index::Place;
use super::recover::Replay;
use super::scan::{SegmentReader, records};
use super::table::Found;
use super::{Log, Segment};
use crate::id::Zxid;
use crate::io::Volume;

impl Log {
    /// Calls `replay` with all durable transactions above `after` up to `upto`, in order.
    pub(crate) fn replay(
        &self,
        vol: &dyn Volume,
        after: Zxid,
        upto: Zxid,
        replay: &mut Replay<'_>,
    ) -> Result<(), LogError> {
        let first = self.segments.partition_point(|s| s.last.zxid <= after);
        for segment in &self.segments[first..] {
            if segment.from.zxid > upto || !self.replay_segment(vol, segment, after, upto, replay)? {
                break;
            }
        }
        Ok(())
    }

    /// False if transactions above `upto` were met.
    fn replay_segment(
        &self,
        vol: &dyn Volume,
        segment: &Segment,
        after: Zxid,
        upto: Zxid,
        replay: &mut Replay<'_>,
    ) -> Result<bool, LogError> {
        let end = segment.last.seq.min(self.durable.seq);
        let mut reader = SegmentReader::new(vol, segment.name, segment.len);
        let Place { mut offset, from: mut tip } = segment.place_up_to(after);
        while tip.seq < end {
            let (Found::Whole, Some(batch)) = reader.judge(offset, tip, segment.generation)? else {
                return Err(self.unreadable(vol, segment, offset, tip));
            };
            let last = if batch.seq == segment.last.seq { segment.last.zxid } else { batch.end().zxid };
            let live = records(reader.payload(offset, &batch)?).take_while(|(z, _)| *z <= last);
            for (zxid, txn) in live.skip_while(|(z, _)| *z <= after) {
                if zxid > upto {
                    return Ok(false);
                }
                replay(txn, zxid).map_err(|source| {
                    let path = vol.path(&segment.name.to_string());
                    LogError::Replay { path, offset, zxid, source }
                })?;
            }
            tip = batch.end();
            offset += batch.padded();
        }
        Ok(true)
    }
}
