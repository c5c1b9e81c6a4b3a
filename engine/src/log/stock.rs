//! Segment files around the log: those prepared for use, those wanted, and those that are free.
//!
//! The replica loop only keeps the books; the housekeeper does what a [`SegmentRequest`] says, because zeroing
//! 64 MiB would stall everything else. A file enters the books under a new number and a new random id, each time.

use std::collections::VecDeque;

use super::error::LogError;
use super::files;
use super::name::SegmentName;
#[cfg(doc)]
use crate::io::PREPARING;
use crate::io::Volume;

/// A segment to be made ready: all its blocks written before, its name durable. How: as [`PREPARING`] says, or by
/// renaming what is to be recycled and flushing the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRequest {
    /// Name of the file to be.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// A file of this length that is free and is to be renamed instead of creating one.
    pub recycle_from: Option<String>,
}

impl SegmentRequest {
    /// Does it, blocking. Tell the log the outcome with [`Log::segment_prepared`](super::Log::segment_prepared) or
    /// [`Log::segment_failed`](super::Log::segment_failed).
    pub fn perform(&self, vol: &dyn Volume) -> Result<(), LogError> {
        match &self.recycle_from {
            Some(old) => vol
                .rename(old, &self.name)
                .map_err(|source| files::file_error("recycling", vol.path(old), source))?,
            None => files::create(vol, &self.name, self.len)?,
        }
        files::sync_dir(vol)
    }
}

/// A file that nothing needs any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub file: String,
    pub len: u64,
}

#[derive(Debug)]
pub(super) struct Stock {
    /// Length of segments to be made.
    pub segment_bytes: u64,
    /// How many to have ready.
    pub ahead: usize,
    /// By number, all above `used`.
    prepared: VecDeque<SegmentName>,
    /// Highest number of a segment that is or was in use: recovery relies on their order.
    used: u64,
    asked: Option<(SegmentName, Option<Free>)>,
    free: VecDeque<Free>,
    next_number: u64,
    random: u64,
}

impl Stock {
    /// `used` and `known` are the highest numbers of a segment that was in use and of any segment.
    pub fn new(segment_bytes: u64, ahead: usize, used: u64, known: u64, seed: u64) -> Stock {
        Stock {
            segment_bytes,
            ahead,
            prepared: VecDeque::new(),
            used,
            asked: None,
            free: VecDeque::new(),
            next_number: known.saturating_add(1), // read from names, so below `SegmentName::NUMBERS`
            random: seed,
        }
    }

    /// Whether a segment is ready for use.
    pub fn has_prepared(&self) -> bool {
        !self.prepared.is_empty()
    }

    /// Takes the segment to use next, if one is ready.
    pub fn take(&mut self) -> Option<SegmentName> {
        let name = self.prepared.pop_front()?;
        self.used = name.number;
        Some(name)
    }

    /// A file is ready for use; one that was overtaken by a later number is free instead.
    pub fn add_prepared(&mut self, name: SegmentName) {
        if name.number > self.used {
            let behind = self.prepared.partition_point(|p| p.number < name.number);
            self.prepared.insert(behind, name);
        } else {
            self.add_free(Free { file: name.to_string(), len: self.segment_bytes });
        }
    }

    pub fn add_free(&mut self, file: Free) {
        self.free.push_back(file);
    }

    /// The next thing to prepare, unless one is being prepared or there are enough.
    pub fn request(&mut self) -> Option<SegmentRequest> {
        if self.asked.is_some() || self.prepared.len() >= self.ahead { None } else { Some(self.ask()) }
    }

    fn ask(&mut self) -> SegmentRequest {
        let id = next_id(&mut self.random, self.next_number);
        let name = SegmentName { number: self.next_number, id };
        self.next_number += 1;
        let fitting = self.free.iter().position(|f| f.len == self.segment_bytes);
        let old = fitting.and_then(|i| self.free.remove(i));
        let recycle_from = old.as_ref().map(|f| f.file.clone());
        self.asked = Some((name, old));
        SegmentRequest { name: name.to_string(), len: self.segment_bytes, recycle_from }
    }

    /// The requested segment is ready. Nothing happens if `file` is not the one that was asked for.
    pub fn prepared(&mut self, file: &str) {
        if let Some((name, _)) = self.asked.take_if(|(name, _)| name.to_string() == file) {
            self.add_prepared(name);
        }
    }

    /// The request came to nothing. Whatever it left behind under either name is for removal: its length is
    /// not known, so it is recycled no more.
    pub fn failed(&mut self, file: &str) {
        if let Some((name, old)) = self.asked.take_if(|(name, _)| name.to_string() == file) {
            self.free.push_back(Free { file: name.to_string(), len: 0 });
            self.free.extend(old.map(|f| Free { len: 0, ..f }));
        }
    }

    /// A free file that will not be recycled.
    pub fn removal(&mut self) -> Option<String> {
        let fits = |f: &Free| f.len == self.segment_bytes;
        let kept = self.free.iter().filter(|f| fits(f)).count();
        let surplus = self.free.iter().position(|f| !fits(f)).or_else(|| (kept > self.ahead).then_some(0))?;
        self.free.remove(surplus).map(|f| f.file)
    }

    /// A segment to use now, prepared on the spot if there is none.
    pub fn take_blocking(&mut self, vol: &dyn Volume) -> Result<SegmentName, LogError> {
        if self.prepared.is_empty() {
            self.prepare_one(vol)?;
        }
        Ok(self.take().expect("one was prepared just now"))
    }

    /// Prepares one more, blocking. What the housekeeper is preparing meanwhile is not touched.
    pub fn prepare_one(&mut self, vol: &dyn Volume) -> Result<(), LogError> {
        let under_way = self.asked.take();
        let request = self.ask();
        let result = request.perform(vol);
        match result {
            Ok(()) => self.prepared(&request.name),
            Err(_) => self.failed(&request.name),
        }
        self.asked = under_way;
        result
    }
}

/// SplitMix64, with the number mixed in: two directories opened with one seed would differ, and so do two
/// openings of one directory.
pub(super) fn next_id(state: &mut u64, number: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
