//! The simulator's disk: one directory in memory that forgets exactly as much as a real one may.
//!
//! [`SimDisk`] stands behind both seams of [`crate::io`], so the log runs on it byte for byte as in production.
//! It is for tests of any crate; nothing in a serving node may use it.
//!
//! The model of the medium, harsher than most real ones where they differ:
//!
//! - A sector of 512 bytes is written whole or not at all; sectors of one write, and different writes, reach
//!   the medium in any order.
//! - A write with `sync` is on the medium when it completes, and only its own sectors are. Until then, and for
//!   a write without `sync` until the file is flushed, a power cut keeps any subset of its sectors.
//! - A flush that fails loses what it should have saved for good, and the next flush says it went well.
//! - A write that fails leaves some of its sectors.
//! - Names are on the medium after a flush of the directory; before, a cut keeps any subset of the changes that
//!   is legal by itself.
//! - A created file has its zeros on the medium; a creation that fails leaves a shorter file behind.
//!
//! Everything follows from the seed and the calls: no clock, no thread, no other chance.

mod image;
mod names;
mod plan;
mod seams;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use image::SECTOR;
pub use plan::{Completion, Crash, Event, Pick, SimOp};

use super::{AlignedBuf, WriteDone};
use image::Image;
use names::{NameOp, Names};
use plan::{Fault, next_random};

/// A handle on the simulated disk; clones are the same disk. [`SimDisk::fork`] makes another one.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug)]
struct InFlight {
    inode: usize,
    offset: u64,
    data: Arc<[u8]>,
    sync: bool,
    tag: u64,
    /// Held until completion, as the kernel would. Forks do not hold it.
    buf: Option<Arc<AlignedBuf>>,
}

#[derive(Debug)]
struct State {
    images: Vec<Image>,
    names: Names,
    attached: Vec<Option<usize>>,
    in_flight: Vec<InFlight>,
    done: Vec<WriteDone>,
    completion: Completion,
    random: u64,
    faults: Vec<Fault>,
    capacity: u64,
    trace: Vec<Event>,
    /// Number of changes so far.
    changes: u64,
    /// The disk as it was before each change, while a test records.
    history: Option<Vec<(u64, SimDisk)>>,
}

impl SimDisk {
    /// An empty directory. Writes complete in order at the next reap.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::from_state(State {
            images: Vec::new(),
            names: Names::default(),
            attached: Vec::new(),
            in_flight: Vec::new(),
            done: Vec::new(),
            completion: Completion::InOrder,
            random: seed,
            faults: Vec::new(),
            capacity: u64::MAX,
            trace: Vec::new(),
            changes: 0,
            history: None,
        })
    }

    fn from_state(state: State) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An independent copy of the medium, the device's cache and the writes in flight. Attached files, planned
    /// failures, the trace and the recording stay behind.
    pub fn fork(&self) -> SimDisk {
        SimDisk::from_state(self.state().fork())
    }

    /// How submitted writes complete from now on.
    pub fn set_completion(&self, completion: Completion) {
        self.state().completion = completion;
    }

    /// Total bytes of all files above which creations fail with ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// The `nth` (from 0) operation of this kind from now on fails with `errno`, once.
    pub fn fail(&self, op: SimOp, nth: u64, errno: i32) {
        self.state().faults.push(Fault { op, after: nth, errno, sticky: false });
    }

    /// All operations of this kind fail with `errno`, after `nth` more that go well.
    pub fn fail_from(&self, op: SimOp, nth: u64, errno: i32) {
        self.state().faults.push(Fault { op, after: nth, errno, sticky: true });
    }

    /// Takes planned failures back.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Tags of the writes in flight, in order of submission.
    pub fn in_flight(&self) -> Vec<u64> {
        self.state().in_flight.iter().map(|w| w.tag).collect()
    }

    /// Completes the write with this tag. False if there is none in flight.
    pub fn complete(&self, tag: u64) -> bool {
        let mut state = self.state();
        let Some(i) = state.in_flight.iter().position(|w| w.tag == tag) else { return false };
        state.finish(i);
        true
    }

    /// Completes all writes in flight, in order.
    pub fn complete_all(&self) {
        let mut state = self.state();
        while !state.in_flight.is_empty() {
            state.finish(0);
        }
    }

    /// How many sectors a power cut now could keep or lose: the things that [`Crash::sectors`] numbers, file by
    /// file, first those in the device's cache, then those of writes in flight.
    pub fn unflushed_sectors(&self) -> usize {
        let state = self.state();
        let cached: usize = state.images.iter().flat_map(|f| f.pending.values()).map(Vec::len).sum();
        cached + state.in_flight.iter().map(|w| w.data.len().div_ceil(SECTOR)).sum::<usize>()
    }

    /// How many sectors each write in flight has, in order of submission: the last things that
    /// [`Crash::sectors`] numbers.
    pub fn in_flight_sectors(&self) -> Vec<usize> {
        self.state().in_flight.iter().map(|w| w.data.len().div_ceil(SECTOR)).collect()
    }

    /// How many changes of names a power cut now could keep or lose, in order of their making.
    pub fn unsynced_names(&self) -> usize {
        self.state().names.unsynced()
    }

    /// Cuts the power: what is not flushed is kept or lost as chosen, and attached files are gone.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state();
        state.trace.push(Event::Crash);
        let mut keep = crash.sectors.chooser();
        let mut n = 0..;
        let mut next = || keep(n.next().unwrap_or(usize::MAX));
        for image in &mut state.images {
            image.stuck.clear();
            for (sector, versions) in std::mem::take(&mut image.pending) {
                for bytes in versions {
                    if next() {
                        image.settle(sector, &bytes);
                    }
                }
            }
        }
        for write in std::mem::take(&mut state.in_flight) {
            for (i, bytes) in write.data.chunks(SECTOR).enumerate() {
                if next() {
                    state.images[write.inode].settle(write.offset / SECTOR as u64 + i as u64, bytes);
                }
            }
        }
        state.names.crash(crash.names.chooser());
        state.forget_process();
    }

    /// Ends the process and not the machine: of the writes in flight the chosen sectors are in the device's
    /// cache (not flushed), the rest never happened.
    pub fn kill(&self, sectors: Pick) {
        let mut state = self.state();
        state.trace.push(Event::Kill);
        let mut keep = sectors.chooser();
        let mut n = 0..;
        for write in std::mem::take(&mut state.in_flight) {
            for (i, bytes) in write.data.chunks(SECTOR).enumerate() {
                if keep(n.next().unwrap_or(usize::MAX)) {
                    let sector = write.offset / SECTOR as u64 + i as u64;
                    state.images[write.inode].write_sector(sector, bytes, false);
                }
            }
        }
        state.forget_process();
    }

    /// Overwrites bytes of a file on the medium, as rot would. Panics if they are not there.
    pub fn corrupt(&self, name: &str, offset: u64, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.names.live[name];
        state.images[inode].overwrite(offset as usize, bytes);
    }

    /// Cuts a file on the medium to `len` bytes. Panics if it is shorter.
    pub fn shorten(&self, name: &str, len: u64) {
        let mut state = self.state();
        let inode = state.names.live[name];
        state.images[inode].overwrite(0, &[]);
        let durable = Arc::make_mut(&mut state.images[inode].durable);
        assert!(durable.len() >= len as usize, "{name} is shorter than {len} bytes");
        durable.truncate(len as usize);
    }

    /// Takes a file away, name and all, as an outsider would. Panics if it is not there.
    pub fn lose(&self, name: &str) {
        let mut state = self.state();
        assert!(state.names.live.contains_key(name), "{name} is not there");
        state.names.apply(NameOp::Remove { name: name.to_owned() });
        state.names.sync();
    }

    /// Puts a file on the medium, as an outsider would; replaces one of that name.
    pub fn plant(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.images.len();
        state.images.push(Image { durable: Arc::new(bytes.to_vec()), ..Image::default() });
        state.names.apply(NameOp::Remove { name: name.to_owned() });
        state.names.apply(NameOp::Create { name: name.to_owned(), inode });
        state.names.sync();
    }

    /// All files as a reader sees them now.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let read = |&inode: &usize| state.images[inode].read(0, usize::MAX);
        state.names.live.iter().map(|(name, inode)| (name.clone(), read(inode))).collect()
    }

    /// What was asked so far.
    pub fn trace(&self) -> Vec<Event> {
        self.state().trace.clone()
    }

    /// Number of changes (writes submitted and completed, flushes, changes of names) so far.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// From now on keeps a [`SimDisk::fork`] from before each change.
    pub fn record(&self) {
        self.state().history = Some(Vec::new());
    }

    /// Ends a recording: the number of the change and the disk before it, in order, and last the disk now.
    pub fn recorded(&self) -> Vec<(u64, SimDisk)> {
        let mut state = self.state();
        let mut history = state.history.take().unwrap_or_default();
        let now = SimDisk::from_state(state.fork());
        history.push((state.changes, now));
        history
    }
}

impl State {
    fn fork(&self) -> State {
        let in_flight = self.in_flight.iter().map(|w| InFlight { buf: None, ..w.clone() }).collect();
        State {
            images: self.images.clone(),
            names: self.names.clone(),
            attached: Vec::new(),
            in_flight,
            done: Vec::new(),
            completion: self.completion,
            random: self.random,
            faults: Vec::new(),
            capacity: self.capacity,
            trace: Vec::new(),
            changes: self.changes,
            history: None,
        }
    }

    fn forget_process(&mut self) {
        self.attached.clear();
        self.done.clear();
    }

    /// Called before each change.
    fn change(&mut self) {
        if self.history.is_some() {
            let before = SimDisk::from_state(self.fork());
            let at = self.changes;
            self.history.get_or_insert_default().push((at, before));
        }
        self.changes += 1;
    }

    /// Counts an operation; an error if it is to fail.
    fn attempt(&mut self, op: SimOp) -> io::Result<()> {
        let mut failure = None;
        self.faults.retain_mut(|fault| {
            if fault.op != op {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            failure = Some(fault.errno);
            fault.sticky
        });
        failure.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn finish(&mut self, i: usize) {
        self.change();
        let write = self.in_flight.remove(i);
        drop(write.buf);
        let result = self.store(write.inode, write.offset, &write.data, write.sync);
        self.trace.push(Event::Complete { tag: write.tag, ok: result.is_ok() });
        self.done.push(WriteDone { tag: write.tag, result });
    }

    /// A write takes effect. One that fails leaves some of its sectors in the cache.
    fn store(&mut self, inode: usize, offset: u64, data: &[u8], durable: bool) -> io::Result<()> {
        let result = self.attempt(SimOp::Write);
        for (i, bytes) in data.chunks(SECTOR).enumerate() {
            let sector = offset / SECTOR as u64 + i as u64;
            if result.is_ok() {
                self.images[inode].write_sector(sector, bytes, durable);
            } else if next_random(&mut self.random) & 1 == 1 {
                self.images[inode].write_sector(sector, bytes, false);
            }
        }
        result
    }

    /// Bytes of all files.
    fn used(&self) -> u64 {
        self.names.live.values().map(|&inode| self.images[inode].len() as u64).sum()
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.live.get(name).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn name_of(&self, inode: usize) -> String {
        self.names
            .live
            .iter()
            .find(|&(_, &i)| i == inode)
            .map_or_else(|| format!("#{inode}"), |(n, _)| n.clone())
    }
}
