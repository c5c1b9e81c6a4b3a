//! Group commit of the bare ring server: requests gather in a batch, a batch is one O_DIRECT write with
//! `RWF_DSYNC` into a file of zeros written before, several are in flight, and answers go out in batch order.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use ringkeeper_engine::io::{AlignedBuf, BLOCK, Disk, FileId, FsVolume, Volume, WriteDone, WriteOp};

use super::BareError;
use super::frame::{MAX_REQUEST, Shape};

/// Bytes of a batch.
const BATCH: usize = 2 * MAX_REQUEST;
/// Bytes of the file; writes wrap around in it, as recycled segments would be.
const FILE: u64 = 64 << 20;
/// Name of the file.
const NAME: &str = "batches";

/// An answer that waits for a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// The connection: its index in the table and the generation of that entry.
    pub(super) conn: (usize, u32),
    pub(super) xid: i32,
    pub(super) shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Open,
    InFlight,
    Durable,
}

#[derive(Debug)]
struct Batch {
    buf: Arc<AlignedBuf>,
    len: usize,
    waiting: Vec<Waiting>,
    progress: Progress,
}

/// The batches, oldest first: durable or in flight ones, then open ones.
#[derive(Debug)]
pub(super) struct Batches {
    file: FileId,
    /// Keeps the lock on the directory.
    _volume: FsVolume,
    offset: u64,
    queue: VecDeque<Batch>,
    /// Number of the batch at the front of the queue.
    first: u64,
    in_flight: usize,
    most_in_flight: usize,
    spare: Vec<Batch>,
    done: Vec<WriteDone>,
}

impl Batches {
    pub(super) fn open(disk: &mut impl Disk, dir: &Path, in_flight: usize) -> Result<Batches, BareError> {
        let volume = FsVolume::open(dir)?;
        let path = volume.path(NAME);
        let doing = |what: &str| BareError::io(format!("{what} {}", path.display()));
        let entries = volume.list().map_err(doing("looking for"))?;
        if !entries.iter().any(|e| e.name == NAME && e.len == FILE) {
            volume.create_zeroed(NAME, FILE).map_err(doing("zeroing"))?;
        }
        let file = disk.attach(&path).map_err(doing("attaching"))?;
        Ok(Batches {
            file,
            _volume: volume,
            offset: 0,
            queue: VecDeque::new(),
            first: 0,
            in_flight: 0,
            most_in_flight: in_flight,
            spare: Vec::new(),
            done: Vec::new(),
        })
    }

    /// Makes sure that [`Batches::add`] finds room without the disk.
    pub(super) fn reserve(&mut self, disk: &mut impl Disk) {
        if self.spare.is_empty() {
            let buf = disk.alloc(BATCH);
            self.spare.push(Batch { buf, len: 0, waiting: Vec::new(), progress: Progress::Open });
        }
    }

    /// Adds a request to the open batch; returns the number of that batch.
    pub(super) fn add(&mut self, frame: &[u8], waiting: Waiting) -> u64 {
        let fits = |b: &Batch| b.progress == Progress::Open && b.len + frame.len() <= BATCH;
        if !self.queue.back().is_some_and(fits) {
            let fresh = self.spare.pop().expect("reserved before every receive");
            self.queue.push_back(fresh);
        }
        let number = self.first + self.queue.len() as u64 - 1;
        if let Some(batch) = self.queue.back_mut() {
            let buf = Arc::get_mut(&mut batch.buf).expect("the ring gave it back with the completion");
            buf[batch.len..batch.len + frame.len()].copy_from_slice(frame);
            batch.len += frame.len();
            batch.waiting.push(waiting);
        }
        number
    }

    /// Makes an answer wait for batch `number`; gives it back if that one has been answered.
    pub(super) fn wait_for(&mut self, number: u64, waiting: Waiting) -> Result<(), Waiting> {
        let at = number.checked_sub(self.first).and_then(|n| usize::try_from(n).ok());
        match at.and_then(|n| self.queue.get_mut(n)) {
            Some(batch) => {
                batch.waiting.push(waiting);
                Ok(())
            }
            None => Err(waiting),
        }
    }

    /// Submits open batches while fewer than the limit are in flight.
    pub(super) fn seal(&mut self, disk: &mut impl Disk) {
        for (i, batch) in self.queue.iter_mut().enumerate() {
            if batch.progress != Progress::Open {
                continue;
            }
            if self.in_flight == self.most_in_flight {
                break;
            }
            let len = batch.len.next_multiple_of(BLOCK);
            if self.offset + len as u64 > FILE {
                self.offset = 0;
            }
            disk.submit(WriteOp {
                file: self.file,
                offset: self.offset,
                buf: batch.buf.clone(),
                len,
                sync: true,
                tag: self.first + i as u64,
            });
            self.offset += len as u64;
            batch.progress = Progress::InFlight;
            self.in_flight += 1;
        }
    }

    /// Takes the completions of the disk and answers what has become durable, in order.
    pub(super) fn reap(
        &mut self,
        disk: &mut impl Disk,
        mut answer: impl FnMut(Waiting),
    ) -> Result<(), BareError> {
        disk.reap(&mut self.done);
        for done in self.done.drain(..) {
            done.result.map_err(BareError::io("writing a batch"))?;
            self.in_flight -= 1;
            let at = usize::try_from(done.tag - self.first).unwrap_or(usize::MAX);
            if let Some(batch) = self.queue.get_mut(at) {
                batch.progress = Progress::Durable;
            }
        }
        while self.queue.front().is_some_and(|b| b.progress == Progress::Durable) {
            let Some(mut batch) = self.queue.pop_front() else { break };
            self.first += 1;
            batch.waiting.drain(..).for_each(&mut answer);
            batch.len = 0;
            batch.progress = Progress::Open;
            self.spare.push(batch);
        }
        Ok(())
    }
}
