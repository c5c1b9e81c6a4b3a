//! Reads a segment file: its batches one after the other, or any batch header at all behind a hole.
//!
//! Bytes are believed in two steps: a [`BatchHeader`] exists only with a sound crc of its own, and its records
//! are handed out only after [`SegmentReader::judge`] has called the batch whole. What a header declares is held
//! against the file's length before anything is read or allocated for it. Used by recovery, cuts and cursors.

use super::error::LogError;
use super::files;
use super::format::{
    self, BATCH_HEADER, BatchHeader, MIN_TXN, Point, RECORD_HEADER, split_record, split_sound_record,
};
use super::name::SegmentName;
use super::table::Found;
use crate::id::Zxid;
use crate::io::{BLOCK, Volume};

/// Bytes read at once where a batch does not need more.
pub(super) const CHUNK: usize = 1 << 20;
/// The same where little is wanted.
const SMALL_CHUNK: usize = 64 << 10;

/// A segment file being read.
pub(super) struct SegmentReader<'v> {
    vol: &'v dyn Volume,
    file: String,
    pub name: SegmentName,
    len: u64,
    seed: u32,
    ahead: usize,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'v> SegmentReader<'v> {
    /// `len` is the length of the file, or of the part of it to be read; nothing is read yet.
    pub fn new(vol: &'v dyn Volume, name: SegmentName, len: u64) -> SegmentReader<'v> {
        let seed = format::seed_of(name.id);
        SegmentReader {
            vol,
            file: name.to_string(),
            name,
            len,
            seed,
            ahead: CHUNK,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// No more than about `bytes` will be wanted from here on.
    pub fn read_ahead(&mut self, bytes: usize) {
        self.ahead = bytes.clamp(SMALL_CHUNK, CHUNK);
    }

    /// `len` bytes at `offset`, a multiple of the block; fewer where the file ends. What is wanted next is best read
    /// forward: what is at hand of it is not read again.
    pub fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], LogError> {
        let wanted = self.len.saturating_sub(offset).min(len as u64) as usize;
        let skip = offset.checked_sub(self.chunk_at).map_or(usize::MAX, |skip| skip as usize);
        if self.chunk.len() >= skip.saturating_add(wanted) {
            return Ok(&self.chunk[skip..skip + wanted]);
        }
        self.chunk.drain(..skip.min(self.chunk.len()));
        self.chunk_at = offset;
        let rest = self.len.saturating_sub(offset).min(self.ahead as u64) as usize;
        let missing = wanted.max(rest).next_multiple_of(BLOCK).saturating_sub(self.chunk.len());
        let more = files::read(self.vol, &self.file, offset + self.chunk.len() as u64, missing)?;
        if self.chunk.is_empty() {
            self.chunk = more;
        } else {
            self.chunk.extend_from_slice(&more);
        }
        Ok(&self.chunk[..wanted.min(self.chunk.len())])
    }

    /// The sound batch header at `offset`, if there is one.
    pub fn header(&mut self, offset: u64) -> Result<Option<BatchHeader>, LogError> {
        let (id, seed) = (self.name.id, self.seed);
        Ok(BatchHeader::read(id, seed, self.bytes(offset, BLOCK)?))
    }

    /// What stands at `offset`, where the batch after `tip` must begin.
    pub fn judge(
        &mut self,
        offset: u64,
        tip: Point,
        generation: u32,
    ) -> Result<(Found, Option<BatchHeader>), LogError> {
        let Some(header) = self.header(offset)? else { return Ok((Found::Nothing, None)) };
        let follows = header.generation == generation
            && Some(header.seq) == tip.seq.checked_add(1)
            && header.prev_crc == tip.crc
            && header.durable_seq < header.seq
            && header.first_zxid >= tip.zxid.raw()
            && header.first_zxid <= header.last_zxid
            && self.fits(offset, &header);
        if !follows {
            return Ok((Found::NotTheNext, Some(header)));
        }
        let seed = self.seed;
        let payload = self.payload(offset, &header)?;
        let whole = payload.len() == header.payload_len as usize
            && crc32c::crc32c_append(seed, payload) == header.payload_crc
            && consistent(&header, payload);
        Ok((if whole { Found::Whole } else { Found::BadRecords }, Some(header)))
    }

    /// The records of a batch at `offset`; fewer bytes where the file ends.
    pub fn payload(&mut self, offset: u64, header: &BatchHeader) -> Result<&[u8], LogError> {
        let bytes = self.bytes(offset, BATCH_HEADER + header.payload_len as usize)?;
        Ok(bytes.get(BATCH_HEADER..).unwrap_or_default())
    }

    /// Whether the lengths that a header declares are possible at its offset.
    fn fits(&self, offset: u64, header: &BatchHeader) -> bool {
        let records = header.record_count as u64;
        let least = records * (RECORD_HEADER + MIN_TXN) as u64;
        let room = self.len.saturating_sub(offset).saturating_sub(BATCH_HEADER as u64);
        records > 0 && (least..=room).contains(&(header.payload_len as u64))
    }

    /// Calls `each` with offset and header of all sound batch headers from `offset` on, at whatever block.
    pub fn headers_from(
        &mut self,
        mut offset: u64,
        mut each: impl FnMut(u64, BatchHeader),
    ) -> Result<(), LogError> {
        while offset < self.len {
            if let Some(header) = self.header(offset)? {
                each(offset, header);
            }
            offset += BLOCK as u64;
        }
        Ok(())
    }
}

/// Whether the records are what the header says, in number, order and first and last zxid.
fn consistent(header: &BatchHeader, payload: &[u8]) -> bool {
    let mut rest = payload;
    let mut last = None;
    for _ in 0..header.record_count {
        let Some((zxid, _, behind)) = split_record(rest) else { return false };
        let in_order = match last {
            None => zxid.raw() == header.first_zxid,
            Some(last) => zxid >= last,
        };
        if !in_order {
            return false;
        }
        (last, rest) = (Some(zxid), behind);
    }
    rest.is_empty() && last.map(Zxid::raw) == Some(header.last_zxid)
}

/// The records of a payload that [`SegmentReader::judge`] has called whole: their checksums are not looked at again.
pub(super) fn records(payload: &[u8]) -> impl Iterator<Item = (Zxid, &[u8])> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let (zxid, txn, behind) = split_sound_record(rest)?;
        rest = behind;
        Some((zxid, txn))
    })
}
