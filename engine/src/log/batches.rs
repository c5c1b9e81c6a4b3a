//! Batches in memory: the one being filled, those waiting, those being written, those not yet applied, and the
//! records of the last ones that were.
//!
//! A transaction is encoded once into the buffer that goes to the disk, and read from there when it is applied.
//! Buffers come from a pool that grows to what the load needs, so that the steady state allocates nothing. No buffer
//! is held for somebody who reads late: what is kept for those is copied into memory of just its size, so that what
//! it takes is what it holds, however little was in each batch.

use std::collections::VecDeque;
use std::sync::Arc;

use super::format::{BATCH_HEADER, RECORD_HEADER, padded, record_crc, split_sound_record};
use super::options::LogOptions;
use crate::id::Zxid;
use crate::io::{AlignedBuf, Disk};

/// Where a transaction is in memory. Valid until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pos {
    batch: u64,
    offset: u32,
}

/// One batch. Its buffer holds room for the header, then the records.
#[derive(Debug)]
pub(super) struct Batch {
    pub buf: Arc<AlignedBuf>,
    /// Whether the buffer goes back to the pool.
    pooled: bool,
    /// Bytes used.
    pub end: usize,
    pub count: u32,
    pub first: Zxid,
    pub last: Zxid,
}

/// The records of a batch that gave its buffer back, behind as many bytes as there were before them.
#[derive(Debug)]
struct Kept {
    bytes: Box<[u8]>,
    last: Zxid,
}

impl Kept {
    fn size(&self) -> usize {
        self.bytes.len() + size_of::<Kept>()
    }
}

/// Batches by index, which only grows: `first..` have their buffers, those right before it are kept without,
/// `..durable` are durable, `..sealed` were submitted.
#[derive(Debug)]
pub(super) struct Batches {
    list: VecDeque<Batch>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// The most that `kept_bytes` may be.
    window: usize,
    /// The last transaction before those in memory.
    below: Zxid,
    first: u64,
    sealed: u64,
    durable: u64,
    batch_bytes: usize,
    pool: Vec<Arc<AlignedBuf>>,
    /// Buffers that belong to the pool, in it or not.
    made: usize,
    most: usize,
}

const START: u32 = BATCH_HEADER as u32;

impl Batches {
    /// None, of a log whose last transaction is `below`.
    pub fn new(options: &LogOptions, below: Zxid) -> Batches {
        Batches {
            list: VecDeque::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            window: options.window_bytes,
            below,
            first: 0,
            sealed: 0,
            durable: 0,
            batch_bytes: options.batch_bytes,
            pool: Vec::new(),
            made: 0,
            most: 4 * options.in_flight + 4,
        }
    }

    /// Forgets all batches: the log goes on behind `below`. No position is held any more, not even that of the next
    /// batch.
    pub fn clear(&mut self, below: Zxid) {
        let end = self.end() + 1;
        while let Some(batch) = self.list.pop_front() {
            self.recycle(batch);
        }
        self.kept.clear();
        (self.kept_bytes, self.below) = (0, below);
        (self.first, self.sealed, self.durable) = (end, end, end);
    }

    /// Sees to it that a buffer is at hand when the open batch is full, while the pool may grow.
    pub fn stock_up<D: Disk + ?Sized>(&mut self, disk: &mut D) {
        if self.pool.is_empty() && self.made < self.most {
            self.pool.push(disk.alloc(self.batch_bytes));
            self.made += 1;
        }
    }

    /// Adds a transaction to the open batch, or opens one.
    pub fn push(&mut self, zxid: Zxid, txn: &[u8]) {
        let need = RECORD_HEADER + txn.len();
        let open = self.end() > self.sealed;
        let fits = |b: &Batch| b.end + need <= b.buf.len();
        if !(open && self.list.back().is_some_and(fits)) {
            let (buf, pooled) = self.take(padded(BATCH_HEADER + need).max(self.batch_bytes));
            self.list.push_back(Batch { buf, pooled, end: BATCH_HEADER, count: 0, first: zxid, last: zxid });
        }
        let batch = self.list.back_mut().expect("an open batch was pushed if there was none");
        let buf = Arc::get_mut(&mut batch.buf).expect("nobody else holds the buffer of an open batch");
        let at = batch.end;
        buf[at..at + 4].copy_from_slice(&(txn.len() as u32).to_le_bytes());
        buf[at + 4..at + RECORD_HEADER].copy_from_slice(&record_crc(txn).to_le_bytes());
        buf[at + RECORD_HEADER..at + need].copy_from_slice(txn);
        batch.end += need;
        batch.count += 1;
        batch.last = zxid;
    }

    /// The oldest batch that was not submitted.
    pub fn unsealed(&mut self) -> Option<&mut Batch> {
        self.list.get_mut((self.sealed - self.first) as usize)
    }

    /// That batch was submitted.
    pub fn sealed_one(&mut self) {
        self.sealed += 1;
    }

    /// Bytes that batches not yet submitted will take in a segment.
    pub fn unsealed_bytes(&self) -> u64 {
        let waiting = self.list.range((self.sealed - self.first) as usize..);
        waiting.map(|b| padded(b.end) as u64).sum()
    }

    /// The oldest batch that was submitted and was not durable is durable.
    pub fn durable_one(&mut self) {
        assert!(self.durable < self.sealed, "a batch became durable before it was submitted");
        self.durable += 1;
    }

    /// The next transaction at or behind `pos`, which moves to it, and the position behind. `None` at the end of what
    /// was appended. `pos` must be one that is [held](Batches::holds).
    pub fn next(&self, pos: &mut Pos) -> Option<(Zxid, &[u8], Pos)> {
        loop {
            let records = self.records(pos.batch)?.get(pos.offset as usize..).unwrap_or_default();
            if let Some((zxid, txn, _)) = split_sound_record(records) {
                let behind = pos.offset + (RECORD_HEADER + txn.len()) as u32;
                return Some((zxid, txn, Pos { offset: behind, ..*pos }));
            }
            // The newest batch may grow until it is submitted.
            if pos.batch >= self.sealed && pos.batch + 1 == self.end() {
                return None;
            }
            *pos = Pos { batch: pos.batch + 1, offset: START };
        }
    }

    /// Whether everything from `pos` on is in memory.
    pub fn holds(&self, pos: Pos) -> bool {
        (self.first - self.kept.len() as u64..=self.end()).contains(&pos.batch)
    }

    /// Where the first transaction above `zxid` is, if memory has one. [`Batches::below`] says whether there may be
    /// others before it.
    pub fn behind(&self, zxid: Zxid) -> Option<Pos> {
        let kept = self.kept.partition_point(|k| k.last <= zxid);
        let batch = match self.kept.len() - kept {
            0 => self.first + self.list.partition_point(|b| b.last <= zxid) as u64,
            behind => self.first - behind as u64,
        };
        let mut pos = Pos { batch, offset: START };
        loop {
            let (found, _, behind) = self.next(&mut pos)?;
            if found > zxid {
                return Some(pos);
            }
            pos = behind;
        }
    }

    /// The last transaction before those in memory.
    pub fn below(&self) -> Zxid {
        self.below
    }

    /// Gives back the buffers of durable batches whose last transaction is at or below `zxid`; the newest of their
    /// transactions are kept without.
    pub fn release(&mut self, zxid: Zxid) {
        while self.first < self.durable && self.list.front().is_some_and(|b| b.last <= zxid) {
            let batch = self.list.pop_front().expect("there is a front, seen above");
            self.first += 1;
            self.keep(&batch);
            self.recycle(batch);
        }
    }

    /// Keeps what a released batch holds, in place of the oldest if need be.
    fn keep(&mut self, batch: &Batch) {
        let size = batch.end + size_of::<Kept>();
        let kept = size <= self.window;
        let most = if kept { self.window - size } else { 0 };
        while self.kept_bytes > most {
            let oldest = self.kept.pop_front().expect("somebody takes these bytes");
            self.kept_bytes -= oldest.size();
            self.below = oldest.last;
        }
        if kept {
            self.kept.push_back(Kept { bytes: batch.buf[..batch.end].into(), last: batch.last });
            self.kept_bytes += size;
        } else {
            self.below = batch.last;
        }
    }

    /// The bytes of a batch in memory, up to the end of its records.
    fn records(&self, batch: u64) -> Option<&[u8]> {
        match batch.checked_sub(self.first) {
            Some(i) => self.list.get(i as usize).map(|b| &b.buf[..b.end]),
            None => {
                let back = (self.first - batch) as usize;
                self.kept.len().checked_sub(back).map(|i| &self.kept[i].bytes[..])
            }
        }
    }

    /// Index of the next batch.
    fn end(&self) -> u64 {
        self.first + self.list.len() as u64
    }

    /// How many buffers the pool has grown to.
    #[cfg(test)]
    pub fn made(&self) -> usize {
        self.made
    }

    fn recycle(&mut self, batch: Batch) {
        if batch.pooled {
            self.pool.push(batch.buf);
        }
    }

    /// A buffer that nobody else holds, from the pool if it may be.
    fn take(&mut self, len: usize) -> (Arc<AlignedBuf>, bool) {
        if len == self.batch_bytes
            && let Some(i) = self.pool.iter_mut().rposition(|buf| Arc::get_mut(buf).is_some())
        {
            return (self.pool.swap_remove(i), true);
        }
        (Arc::new(AlignedBuf::zeroed(len)), false)
    }
}
