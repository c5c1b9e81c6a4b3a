//! How far damage reaches: where the log goes on behind it, and where it ends if it does not.

use bytemuck::pod_read_unaligned;

use super::What;
use super::files::Segment;
use super::walk::{Hole, Walk, before};
use crate::io::BLOCK;
use crate::log::error::LogError;
use crate::log::format::{BATCH_HEADER, BatchHeader, Point, RECORD_HEADER, seed_of, split_record};
use crate::log::scan::SegmentReader;
use crate::log::table::Found;

impl Walk<'_> {
    /// The hole at `offset`, where the next batch must begin, as if nothing were behind it.
    pub(super) fn hole(
        &mut self,
        segment: &Segment,
        reader: &mut SegmentReader<'_>,
        offset: u64,
        found: Found,
    ) -> Result<Hole, LogError> {
        let tip = self.tip;
        let what = if found == Found::NotTheNext { What::OtherBatch } else { What::Batch };
        let first = tip.map(|tip| tip.seq.saturating_add(1));
        Ok(Hole {
            end: extent(reader, segment, offset)?,
            found,
            batches: first.map(|first| (first, first)),
            lost_after: tip.map(|tip| tip.zxid),
            ..Hole::of(what, segment.file, offset, tip.map_or(0, |tip| tip.seq))
        })
    }

    /// The next batch behind the hole at `offset`: one that can stand where it does, if each that is lost took a block
    /// at least.
    pub(super) fn resume(
        &mut self,
        segment: &Segment,
        reader: &mut SegmentReader<'_>,
        offset: u64,
        limit: Option<Point>,
    ) -> Result<Option<(u64, BatchHeader)>, LogError> {
        let mut at = offset;
        while at < segment.len {
            let header = reader.header(at)?.filter(|header| header.generation == segment.generation);
            if let Some(header) = header {
                if segment.generation == self.stock.generation {
                    self.owed = self.owed.max(header.durable_seq);
                }
                if self.can_follow(&header, at - offset, limit) {
                    let (found, _) = reader.judge(at, before(&header), segment.generation)?;
                    if found != Found::NotTheNext {
                        return Ok(Some((at, header)));
                    }
                }
            }
            at += BLOCK as u64;
        }
        Ok(None)
    }

    fn can_follow(&self, header: &BatchHeader, skipped: u64, limit: Option<Point>) -> bool {
        if limit.is_some_and(|limit| header.seq > limit.seq) {
            return false;
        }
        let Some(tip) = self.tip else { return true };
        let lost = header.seq.checked_sub(tip.seq.saturating_add(1));
        lost.is_some_and(|lost| (1..=skipped / BLOCK as u64).contains(&lost))
    }

    /// Takes back what the hole noted last says of the records, and says it of those only that do not match their own
    /// checksums, if the others can be told from them.
    pub(super) fn narrow(
        &mut self,
        reader: &mut SegmentReader<'_>,
        offset: u64,
        batch: &BatchHeader,
    ) -> Result<(), LogError> {
        let payload = reader.payload(offset, batch)?;
        let Some((start, end)) = bad_records(payload, batch) else { return Ok(()) };
        let hole = self.holes.last_mut().expect("one was noted for this batch");
        let records = offset + BATCH_HEADER as u64;
        (hole.start, hole.end) = (records + start as u64, records + end as u64);
        Ok(())
    }
}

/// From the first record that does not match its checksum to the last one. `None` if the lengths of the records do not
/// add up, or nothing is wrong with any of them.
fn bad_records(payload: &[u8], batch: &BatchHeader) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut bad: Option<(usize, usize)> = None;
    for _ in 0..batch.record_count {
        let rest = payload.get(at..)?;
        let len = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        let end = at.checked_add(RECORD_HEADER)?.checked_add(len).filter(|&end| end <= payload.len())?;
        if split_record(rest).is_none() {
            bad = Some((bad.map_or(at, |(start, _)| start), end));
        }
        at = end;
    }
    bad.filter(|_| at == payload.len())
}

/// Where the batch at `offset` ends whose header is damaged, as far as its bytes still tell.
fn extent(reader: &mut SegmentReader<'_>, segment: &Segment, offset: u64) -> Result<u64, LogError> {
    let least = offset + BLOCK as u64;
    if offset >= segment.len || segment.declared > segment.len {
        return Ok(segment.declared.max(offset));
    }
    let header = reader.bytes(offset, BATCH_HEADER)?;
    let Some(header) = header.get(..BATCH_HEADER) else { return Ok(least) };
    let header: BatchHeader = pod_read_unaligned(header);
    let room = (segment.len - offset).saturating_sub(BATCH_HEADER as u64);
    if u64::from(header.payload_len) <= room && header.payload_len > 0 {
        let payload = reader.payload(offset, &header)?;
        if crc32c::crc32c_append(seed_of(segment.name.id), payload) == header.payload_crc {
            return Ok(offset + header.padded());
        }
    }
    // Records vouch for themselves, one after the other.
    let mut end = offset + BATCH_HEADER as u64;
    loop {
        let mut bytes = reader.bytes(offset, (end - offset) as usize + RECORD_HEADER)?;
        let Some(len) = bytes.get((end - offset) as usize..).and_then(|rest| rest.first_chunk()) else {
            break;
        };
        let len = RECORD_HEADER + u32::from_le_bytes(*len) as usize;
        if len as u64 > segment.len - end {
            break;
        }
        bytes = reader.bytes(offset, (end - offset) as usize + len)?;
        if bytes.get((end - offset) as usize..).and_then(split_record).is_none() {
            break;
        }
        end += len as u64;
    }
    Ok(least.max(end.next_multiple_of(BLOCK as u64)).min(segment.len.max(least)))
}
