//! What a log can be told.

use super::error::LogError;
use crate::io::BLOCK;

/// Settings of a log. [`LogOptions::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Length of segments made from now on, in bytes: a multiple of the block, at most
    /// [`LogOptions::MAX_SEGMENT_BYTES`]. Configuration
    /// should allow no less than [`LogOptions::MIN_SEGMENT_BYTES`]; tests go down to 4 blocks.
    pub segment_bytes: u64,
    /// Bytes of a batch buffer. A batch that is full waits for its turn and the next one is begun.
    pub batch_bytes: usize,
    /// K: how many writes may be in flight.
    pub in_flight: usize,
    /// How many segments to have ready beside the one in use.
    pub prepare_ahead: usize,
    /// Room in the last segment below which, with none prepared, only what the node itself needs is taken.
    pub reserve_bytes: u64,
    /// Bytes of transactions that are durable and applied to keep in memory, so that late followers need not be read
    /// to from the disk. 0 for a node without followers.
    pub window_bytes: usize,
    /// False for `forceSync=no`: a write counts as durable when the system has taken it. Unsafe: a power cut takes
    /// the end of what was acknowledged. Nothing is purged then but what an opening or a cut has flushed.
    pub sync: bool,
    /// Whether a directory that is created begins with the epochs of a server that must not vote. Says nothing to a
    /// directory that has a log.
    pub begin_nonvoting: bool,
    /// Start of the random ids of segments. Must be drawn afresh from the system at every start and be no
    /// client's to know; tests give a constant.
    pub seed: u64,
}

impl LogOptions {
    /// The least `segment_bytes` that configuration should allow.
    pub const MIN_SEGMENT_BYTES: u64 = 1 << 20;
    /// The most that `segment_bytes` may be: 1 GiB.
    pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;

    /// The defaults: segments of 64 MiB, batches of 256 KiB, four in flight, two segments ahead, a window of
    /// 16 MiB.
    pub fn new(seed: u64) -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            batch_bytes: 256 << 10,
            in_flight: 4,
            prepare_ahead: 2,
            reserve_bytes: 4 << 20,
            window_bytes: 16 << 20,
            sync: true,
            begin_nonvoting: false,
            seed,
        }
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        let block = BLOCK as u64;
        let refuse = |name, value, allowed| Err(LogError::Option { name, value, allowed });
        let segment = self.segment_bytes;
        if !segment.is_multiple_of(block) || !(4 * block..=LogOptions::MAX_SEGMENT_BYTES).contains(&segment) {
            return refuse("segment_bytes", segment, "a multiple of 4096 from 16384 to 1 GiB");
        }
        let batch = self.batch_bytes as u64;
        if !batch.is_multiple_of(block) || !(block..=segment - block).contains(&batch) {
            return refuse("batch_bytes", batch, "a multiple of 4096 that fits into a segment");
        }
        if !(1..=64).contains(&self.in_flight) {
            return refuse("in_flight", self.in_flight as u64, "1 to 64");
        }
        if !(1..=64).contains(&self.prepare_ahead) {
            return refuse("prepare_ahead", self.prepare_ahead as u64, "1 to 64");
        }
        Ok(())
    }
}
