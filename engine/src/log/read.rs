//! Transactions read back from their segments, for those who come late.
//!
//! Blocking reads of what is durable; the batches in memory are not looked at.

use super::error::LogError;
use super::scan::{SegmentReader, records};
use super::table::Found;
use super::{Log, Segment};
use crate::id::Zxid;
use crate::io::{BLOCK, Volume};

/// Transactions in order, each with its zxid.
pub type Transactions = Vec<(Zxid, Vec<u8>)>;

impl Log {
    /// Durable transactions from `zxid` on, until they make up `max_bytes`; at least one if there is one.
    ///
    /// Fails with [`LogError::Purged`] if transactions from `zxid` on are no longer in the log.
    pub fn read_from(
        &self,
        vol: &dyn Volume,
        zxid: Zxid,
        max_bytes: usize,
    ) -> Result<Transactions, LogError> {
        let base = self.base().zxid;
        if zxid <= base && base > Zxid::ZERO {
            return Err(LogError::Purged { zxid, first: base });
        }
        let mut reading = Reading { from: zxid, left: max_bytes, out: Vec::new() };
        for segment in self.segments.iter().filter(|s| s.last.zxid >= zxid) {
            self.read_segment(vol, segment, &mut reading)?;
            if reading.left == 0 {
                break;
            }
        }
        Ok(reading.out)
    }

    fn read_segment(
        &self,
        vol: &dyn Volume,
        segment: &Segment,
        reading: &mut Reading,
    ) -> Result<(), LogError> {
        let end = segment.last.seq.min(self.durable.seq);
        let mut reader = SegmentReader::new(vol, segment.name, segment.len);
        let (mut tip, mut offset) = (segment.from, BLOCK as u64);
        while tip.seq < end {
            let (Found::Whole, Some(batch)) = reader.judge(offset, tip, segment.generation)? else {
                return Err(self.unreadable(vol, segment, offset, tip));
            };
            let cut = if batch.seq == segment.last.seq { segment.last.zxid } else { batch.end().zxid };
            for (zxid, txn) in records(reader.payload(offset, &batch)?).take_while(|(z, _)| *z <= cut) {
                if !reading.take(zxid, txn) {
                    return Ok(());
                }
            }
            tip = batch.end();
            offset += batch.padded();
        }
        Ok(())
    }
}

struct Reading {
    from: Zxid,
    left: usize,
    out: Transactions,
}

impl Reading {
    /// False if there is no room for it; from then on there is none for anything.
    fn take(&mut self, zxid: Zxid, txn: &[u8]) -> bool {
        if zxid < self.from {
            return true;
        }
        if txn.len() > self.left && !self.out.is_empty() {
            self.left = 0;
            return false;
        }
        self.left = self.left.saturating_sub(txn.len());
        self.out.push((zxid, txn.to_vec()));
        true
    }
}
