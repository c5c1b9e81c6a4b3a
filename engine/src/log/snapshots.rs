//! The snapshots behind which the log goes on: which there are, and which of them and of the log are kept.
//!
//! A snapshot that was made here joins the books when it is published, and nothing else changes: it is not needed as
//! long as the log reaches back to an older one. What is not kept goes in this order: a snapshot at any time, since those
//! behind it are durable; a segment only when the mark that says so is in both slots. What a kill leaves of either is
//! dead by that mark, or still part of the log.
//! Called by the replica loop.

use super::error::LogError;
use super::stock::Free;
use super::{Log, Segment, files};
use crate::id::Zxid;
use crate::io::Volume;
use crate::snapshot::{Origin, Published};

impl Log {
    /// The snapshots with which a state can begin, oldest first. The log goes on behind each.
    pub fn snapshots(&self) -> &[Published] {
        &self.snapshots
    }

    /// The newest of them.
    pub fn newest_snapshot(&self) -> Option<&Published> {
        self.snapshots.last()
    }

    /// A snapshot was made of this log and published. False if it belongs to a history that is dead meanwhile: its file
    /// is freed then. One that a truncation may have overtaken while it was being made must not be told.
    pub fn snapshot_made(&mut self, made: Published) -> bool {
        let point = made.point();
        let is_ours = made.database == self.database
            && made.origin != Origin::Received
            && made.generation() == self.root()
            && point.at() <= self.durable.at();
        if !is_ours {
            self.stock.add_free(Free { file: made.file(), len: 0 });
            return false;
        }
        // Who made it has flushed what it was made of, which `sync` off leaves to others.
        if point.seq > self.flushed.seq {
            self.flushed = point;
        }
        let at = self.snapshots.partition_point(|s| s.zxid() < made.zxid());
        if self.snapshots.get(at).is_none_or(|s| s.zxid() != made.zxid()) {
            self.snapshots.insert(at, made);
        }
        true
    }

    /// Frees all but the newest `keep` snapshots, at least one, and the log before the oldest that is kept. Their files
    /// go to [`Log::removal_wanted`] or are recycled, segments once the mark that says so is durable. Returns how many
    /// snapshots and how many segments.
    pub fn retain_snapshots(&mut self, keep: usize) -> (usize, usize) {
        let surplus = self.snapshots.len().saturating_sub(keep.max(1));
        for old in self.snapshots.drain(..surplus) {
            self.stock.add_free(Free { file: old.file(), len: 0 });
        }
        let Some(oldest) = self.snapshots.first().map(Published::point) else { return (0, 0) };
        (surplus, self.purge_while(|segment| segment.last.at() <= oldest.at()))
    }

    /// Bytes that the log behind `zxid` takes on the disk, as far as that is known without reading: to the length of a
    /// batch, or 256 KiB where batches are shorter, and to whole segments where they were not read since the start.
    pub fn bytes_behind(&self, zxid: Zxid) -> u64 {
        let behind = |segment: &Segment| match segment.from.zxid >= zxid {
            true => segment.index.bytes(),
            false => segment.index.end() - segment.place_up_to(zxid).offset,
        };
        self.segments.iter().rev().take_while(|s| s.last.zxid > zxid).map(behind).sum()
    }

    /// Before what they hold is cut off: a log that ends before a snapshot of it has lost something. Durable, blocking.
    pub(super) fn remove_snapshots_above(&mut self, vol: &dyn Volume, zxid: Zxid) -> Result<(), LogError> {
        let kept = self.snapshots.partition_point(|s| s.zxid() <= zxid);
        if kept == self.snapshots.len() {
            return Ok(());
        }
        for dead in self.snapshots.split_off(kept) {
            let removed = vol.remove(&dead.file());
            let error = |source| files::file_error("removing", vol.path(&dead.file()), source);
            removed.map_err(error).map_err(|error| self.fail(error))?;
        }
        files::sync_dir(vol).map_err(|error| self.fail(error))
    }

    /// Generation of the received snapshot with which the log began, 0 if it began with nothing.
    pub(super) fn root(&self) -> u32 {
        self.snapshots.first().map_or(0, Published::generation)
    }
}
