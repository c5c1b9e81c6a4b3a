//! Batches in memory: the one being filled, those waiting, those being written, those not yet applied.
//!
//! A transaction is encoded once into the buffer that goes to the disk, and read from there when it is applied.
//! Buffers come from a pool that grows to what the load needs, so that the steady state allocates nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use super::format::{BATCH_HEADER, RECORD_HEADER, padded, record_crc};
use crate::id::Zxid;
use crate::io::{AlignedBuf, Disk};

/// Where a transaction is in memory. Valid until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
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

/// Batches by index, which only grows: `first..` are in memory, `..durable` are durable, `..sealed` were
/// submitted.
#[derive(Debug)]
pub(super) struct Batches {
    list: VecDeque<Batch>,
    first: u64,
    sealed: u64,
    durable: u64,
    /// The next record that `next_durable` returns.
    cursor: Pos,
    batch_bytes: usize,
    pool: Vec<Arc<AlignedBuf>>,
    /// Buffers that belong to the pool, in it or not.
    made: usize,
    most: usize,
}

const START: u32 = BATCH_HEADER as u32;

impl Batches {
    /// `most` is how many buffers to keep for good.
    pub fn new(batch_bytes: usize, most: usize) -> Batches {
        Batches {
            list: VecDeque::new(),
            first: 0,
            sealed: 0,
            durable: 0,
            cursor: Pos { batch: 0, offset: START },
            batch_bytes,
            pool: Vec::new(),
            made: 0,
            most,
        }
    }

    /// Forgets all batches.
    pub fn clear(&mut self) {
        let end = self.first + self.list.len() as u64;
        while let Some(batch) = self.list.pop_front() {
            self.recycle(batch);
        }
        (self.first, self.sealed, self.durable) = (end, end, end);
        self.cursor = Pos { batch: end, offset: START };
    }

    /// Sees to it that a buffer is at hand when the open batch is full, while the pool may grow.
    pub fn stock_up<D: Disk + ?Sized>(&mut self, disk: &mut D) {
        if self.pool.is_empty() && self.made < self.most {
            self.pool.push(disk.alloc(self.batch_bytes));
            self.made += 1;
        }
    }

    /// Adds a transaction to the open batch, or opens one.
    pub fn push(&mut self, zxid: Zxid, txn: &[u8]) -> Pos {
        let need = RECORD_HEADER + txn.len();
        let open = self.list.len() as u64 + self.first > self.sealed;
        let fits = |b: &Batch| b.end + need <= b.buf.len();
        if !(open && self.list.back().is_some_and(fits)) {
            let (buf, pooled) = self.take(padded(BATCH_HEADER + need).max(self.batch_bytes));
            self.list.push_back(Batch { buf, pooled, end: BATCH_HEADER, count: 0, first: zxid, last: zxid });
        }
        let index = self.first + self.list.len() as u64 - 1;
        let batch = self.list.back_mut().expect("an open batch was pushed if there was none");
        let buf = Arc::get_mut(&mut batch.buf).expect("nobody else holds the buffer of an open batch");
        let at = batch.end;
        buf[at..at + 4].copy_from_slice(&(txn.len() as u32).to_le_bytes());
        buf[at + 4..at + RECORD_HEADER].copy_from_slice(&record_crc(txn).to_le_bytes());
        buf[at + RECORD_HEADER..at + need].copy_from_slice(txn);
        batch.end += need;
        batch.count += 1;
        batch.last = zxid;
        Pos { batch: index, offset: at as u32 }
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

    /// The transaction at `pos`.
    pub fn txn(&self, pos: Pos) -> &[u8] {
        let index = pos.batch.checked_sub(self.first).expect("the transaction was released");
        let batch = &self.list[index as usize];
        let at = pos.offset as usize;
        let len = record_len(batch, at);
        &batch.buf[at + RECORD_HEADER..at + RECORD_HEADER + len]
    }

    /// Position of the next durable transaction that was not returned before.
    pub fn next_durable(&mut self) -> Option<Pos> {
        while self.cursor.batch < self.durable {
            let batch = &self.list[(self.cursor.batch - self.first) as usize];
            let at = self.cursor.offset as usize;
            if at < batch.end {
                let pos = self.cursor;
                self.cursor.offset += (RECORD_HEADER + record_len(batch, at)) as u32;
                return Some(pos);
            }
            self.cursor = Pos { batch: self.cursor.batch + 1, offset: START };
        }
        None
    }

    /// Gives back the buffers of durable batches whose last transaction is at or below `zxid`.
    pub fn release(&mut self, zxid: Zxid) {
        while self.first < self.durable && self.list.front().is_some_and(|b| b.last <= zxid) {
            let batch = self.list.pop_front().expect("there is a front, seen above");
            self.recycle(batch);
            self.first += 1;
        }
        if self.cursor.batch < self.first {
            self.cursor = Pos { batch: self.first, offset: START };
        }
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

fn record_len(batch: &Batch, at: usize) -> usize {
    let bytes = batch.buf[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes) as usize
}
