//! Group commit: transactions in, batches out, durability in order.
//!
//! A state machine over [`Disk`]: nothing here blocks. Up to K writes are in flight, the header of a new segment
//! among them, and complete in any order; a batch counts as durable only when all before it are. After a failure
//! nothing is written and nothing acknowledged any more. Called by the replica loop, once per turn.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::durable::Durable;
use super::error::LogError;
use super::format::{BATCH_HEADER, BatchHeader, Point, SegmentHeader, padded, seed_of, txn_zxid};
use super::index::{Index, Place};
use super::marks::{MARK_TAG, Mark};
use super::name::SegmentName;
use super::slots::SlotValue;
use super::{Log, Segment, Space};
use crate::id::Zxid;
use crate::io::{AlignedBuf, BLOCK, Disk, WriteDone, WriteOp};
use crate::mutant::{Mutant, planted};
use crate::snapshot::Origin;

/// Bytes that are kept for encoding the next transaction; what a longer one took beyond is given back.
const SCRATCH: usize = 1 << 20;

/// A submitted write of a segment.
#[derive(Debug)]
pub(super) struct InFlight {
    name: SegmentName,
    offset: u64,
    len: usize,
    /// The point behind the batch; `None` for a segment header.
    batch: Option<Point>,
    done: bool,
}

impl Log {
    /// Appends a transaction to the open batch: `encode` writes its bytes, which begin with a `TxnHeader` that
    /// says `zxid`. It is durable when [`Log::on_done`] says so. On an error nothing has changed.
    pub fn append(&mut self, zxid: Zxid, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), LogError> {
        self.alive()?;
        if zxid < self.appended {
            return Err(LogError::Order { zxid, last: self.appended });
        }
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH);
        encode(&mut self.scratch);
        let (len, found, max) = (self.scratch.len(), txn_zxid(&self.scratch), self.max_record());
        if len > max {
            return Err(LogError::RecordTooLarge { len, max });
        }
        if found != Some(zxid) {
            return Err(LogError::NotTheTransaction { zxid, len, found });
        }
        self.appended = zxid;
        self.batches.push(zxid, &self.scratch);
        Ok(())
    }

    /// Seals and submits what was appended, while fewer than K writes are in flight. Called at the end of each
    /// turn; a batch that has to wait goes on growing. Without a prepared segment where one is needed, batches
    /// wait for it.
    pub fn seal<D: Disk + ?Sized>(&mut self, disk: &mut D) -> Result<(), LogError> {
        self.alive()?;
        while let Some(file) = self.stale_files.pop() {
            disk.detach(file);
        }
        self.batches.stock_up(disk);
        while self.in_flight.len() < self.options.in_flight {
            let Some(batch) = self.batches.unsealed() else { break };
            let len = padded(batch.end) as u64;
            let room = self.segments.last().map_or(0, |s| s.len.saturating_sub(self.offset));
            if len > room {
                if !self.roll(disk)? {
                    break;
                }
                continue;
            }
            self.submit_batch(disk)?;
        }
        self.submit_mark(disk)
    }

    /// Looks at the clock (milliseconds of any monotonic clock, the same one at each call) and writes the durable
    /// mark when it is due. Returns when to be called again at the latest, if at all before the next commit.
    pub fn tick<D: Disk + ?Sized>(&mut self, now_ms: u64, disk: &mut D) -> Result<Option<u64>, LogError> {
        self.alive()?;
        let again = self.marks.tick(now_ms, self.flushed);
        self.submit_mark(disk)?;
        Ok(again)
    }

    /// Takes a completion of the disk this log was submitted to. Returns the last transaction that is durable
    /// now, if there are new ones; [`Log::next`] goes through them.
    pub fn on_done(&mut self, done: WriteDone) -> Result<Option<Durable<Zxid>>, LogError> {
        self.alive()?;
        if done.tag & MARK_TAG != 0 {
            return match done.result {
                Ok(()) => {
                    let mark = self.marks.done();
                    self.mark_written(&mark);
                    Ok(None)
                }
                Err(source) => {
                    let (path, offset) = (self.directory.join(Mark::FILE), self.marks.offset_in_flight());
                    Err(self.write_failed(Mark::WRITING, path, offset, BLOCK, source))
                }
            };
        }
        let index = done.tag.checked_sub(self.head_tag).map(|i| i as usize);
        let item = index.and_then(|i| self.in_flight.get_mut(i)).filter(|item| !item.done);
        if item.is_none() && planted(Mutant::Zk4785EarlierBatchInFlight) {
            return Ok(None);
        }
        let item = item.expect("a completion belongs to one write in flight");
        if let Err(source) = done.result
            && !planted(Mutant::Zk4882FailedWrite)
        {
            let (path, offset, len) = (self.directory.join(item.name.to_string()), item.offset, item.len);
            return Err(self.write_failed("appending", path, offset, len, source));
        }
        item.done = true;
        if planted(Mutant::Zk4785EarlierBatchInFlight) {
            let upto = index.map_or(0, |i| i + 1);
            self.in_flight.iter_mut().take(upto).for_each(|item| item.done = true);
        }
        let before = self.durable.seq;
        while self.in_flight.front().is_some_and(|item| item.done) {
            let item = self.in_flight.pop_front().expect("there is a front, seen above");
            self.head_tag += 1;
            if let Some(point) = item.batch {
                self.batches.durable_one();
                self.durable = point;
            }
        }
        if self.options.sync {
            self.flushed = self.durable;
        }
        Ok((self.durable.seq > before).then(|| Durable::mint(self.durable.zxid)))
    }

    /// Whether a write may be given a zxid. To be asked before.
    pub fn space(&self) -> Space {
        if self.failed.is_some() {
            return Space::None;
        }
        if self.stock.has_prepared() {
            return Space::Ok;
        }
        let room = self.segments.last().map_or(0, |s| s.len.saturating_sub(self.offset));
        match room.saturating_sub(self.batches.unsealed_bytes()) {
            left if left > self.options.reserve_bytes => Space::Ok,
            left if left > BLOCK as u64 => Space::Reserve,
            _ => Space::None,
        }
    }

    /// Whether a segment lies ready for when the one in use is full.
    pub fn has_spare(&self) -> bool {
        self.stock.has_prepared()
    }

    /// Opens the next prepared segment. Its header is in flight like a batch. False if there is none.
    fn roll<D: Disk + ?Sized>(&mut self, disk: &mut D) -> Result<bool, LogError> {
        let Some(name) = self.stock.take() else { return Ok(false) };
        let before = self.segments.last().map_or(0, |s| s.name.number);
        let header = self.segment_header(name, self.sealed, before, self.flushed.seq);
        let mut block = AlignedBuf::zeroed(BLOCK);
        header.write(&mut block);
        self.stale_files.extend(self.file.take());
        self.segments.push(self.fresh_segment(name, self.sealed));
        self.offset = 0;
        self.submit(disk, Arc::new(block), BLOCK, None)?;
        self.marks.want();
        Ok(true)
    }

    /// The header of a segment that continues `from`, which lies in segment `before`.
    pub(super) fn segment_header(
        &self,
        name: SegmentName,
        from: Point,
        before: u64,
        durable_seq: u64,
    ) -> SegmentHeader {
        let header = SegmentHeader::new(self.database, name, self.options.segment_bytes, self.generation);
        let received = self.snapshots.iter().any(|s| s.origin == Origin::Received && s.point() == from);
        match received {
            true => header.continuing_snapshot(from),
            false => header.continuing(from, before, durable_seq),
        }
    }

    pub(super) fn fresh_segment(&self, name: SegmentName, from: Point) -> Segment {
        let (len, generation) = (self.options.segment_bytes, self.generation);
        Segment { name, len, generation, from, last: from, index: Index::new(len) }
    }

    fn submit_batch<D: Disk + ?Sized>(&mut self, disk: &mut D) -> Result<(), LogError> {
        let segment = self.segments.last_mut().expect("there is room, so there is a segment");
        let batch = self.batches.unsealed().expect("the caller saw it");
        let buf = Arc::get_mut(&mut batch.buf).expect("nobody else holds the buffer of an open batch");
        let len = padded(batch.end);
        buf[batch.end..len].fill(0);
        let header = BatchHeader {
            header_crc: 0,
            payload_crc: 0,
            seq: self.sealed.seq + 1,
            first_zxid: batch.first.raw(),
            last_zxid: batch.last.raw(),
            durable_seq: self.flushed.seq,
            segment_id: segment.name.id,
            payload_len: (batch.end - BATCH_HEADER) as u32,
            record_count: batch.count,
            prev_crc: self.sealed.crc,
            generation: segment.generation,
        };
        let header = header.seal(seed_of(segment.name.id), buf);
        segment.index.note(Place { offset: self.offset, from: self.sealed }, len as u64);
        let buf = batch.buf.clone();
        self.sealed = header.end();
        segment.last = self.sealed;
        self.batches.sealed_one();
        self.submit(disk, buf, len, Some(self.sealed))
    }

    /// Submits a write at the end of the last segment.
    fn submit<D: Disk + ?Sized>(
        &mut self,
        disk: &mut D,
        buf: Arc<AlignedBuf>,
        len: usize,
        batch: Option<Point>,
    ) -> Result<(), LogError> {
        let name = self.segments.last().expect("the caller opened one").name;
        let file = match self.file {
            Some(file) => file,
            None => {
                let path = self.directory.join(name.to_string());
                match disk.attach(&path) {
                    Ok(file) => *self.file.insert(file),
                    Err(source) => {
                        return Err(self.fail(LogError::File { doing: "opening", path, source }));
                    }
                }
            }
        };
        let tag = self.head_tag + self.in_flight.len() as u64;
        let offset = self.offset;
        self.in_flight.push_back(InFlight { name, offset, len, batch, done: false });
        self.offset += len as u64;
        disk.submit(WriteOp { file, offset, buf, len, sync: self.options.sync, tag });
        Ok(())
    }

    fn submit_mark<D: Disk + ?Sized>(&mut self, disk: &mut D) -> Result<(), LogError> {
        let mark = Mark::new(self.generation, self.flushed, self.purged);
        let directory = &self.directory;
        let submitted = self.marks.submit(disk, mark, || directory.join(Mark::FILE));
        submitted.map_err(|error| self.fail(error))
    }

    fn write_failed(
        &mut self,
        doing: &'static str,
        path: PathBuf,
        offset: u64,
        len: usize,
        source: io::Error,
    ) -> LogError {
        self.fail(LogError::Io { doing, path, offset, len: len as u64, source })
    }
}
