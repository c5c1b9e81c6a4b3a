//! Tests of the log on the simulator's disk.

mod commit;
mod crash;
mod cursor;
mod cut;
mod damage;
mod fail;
mod fuzz;
pub(crate) mod made;
mod real;
mod stock;
mod survey;
mod view;

use super::*;
use crate::io::sim::{Completion, SimDisk};
use crate::io::{Disk, WriteDone};

/// A transaction and its zxid.
type Txns = Vec<(Zxid, Vec<u8>)>;

fn zxid(counter: i64) -> Zxid {
    Zxid::from_raw(counter)
}

/// A transaction of `len` bytes whose content follows from its zxid and `version`.
fn txn(z: Zxid, len: usize, version: u8) -> Vec<u8> {
    let mut bytes = vec![0; len.max(32)];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = (z.raw() as u8).wrapping_mul(31).wrapping_add(i as u8).wrapping_add(version);
    }
    bytes[12..20].copy_from_slice(&z.raw().to_be_bytes());
    bytes
}

/// Segments of six blocks, batches of two, four in flight.
fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 6 * BLOCK as u64,
        batch_bytes: 2 * BLOCK,
        reserve_bytes: 0,
        ..LogOptions::new(7)
    }
}

fn open_with(disk: &SimDisk, options: LogOptions) -> Result<(Log, RecoveryReport, Txns), LogError> {
    let mut txns = Txns::new();
    let (log, report) = Log::open(disk, options, &mut |txn, zxid| {
        txns.push((zxid, txn.to_vec()));
        Ok(())
    })?;
    assert_eq!(report.records, txns.len() as u64);
    assert_eq!(log.durable().get(), report.last);
    Ok((log, report, txns))
}

fn open(disk: &SimDisk) -> Result<(Log, RecoveryReport, Txns), LogError> {
    open_with(disk, small())
}

/// What the log must hold after a crash at some moment.
#[derive(Clone)]
struct Expect {
    /// Transactions in order, and how many of them were acknowledged. More than one while a cut is under way.
    histories: Vec<(Txns, usize)>,
    /// How many of the first may be missing because they were purged.
    purged: usize,
}

impl fmt::Debug for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (history, acked) in &self.histories {
            write!(f, "{acked} of {:?}, ", zxids(history))?;
        }
        write!(f, "purged {}", self.purged)
    }
}

fn zxids(txns: &Txns) -> Vec<i64> {
    txns.iter().map(|(z, _)| z.raw()).collect()
}

impl Expect {
    /// Whether `found` is one of the histories from its purged part on, cut off at or behind what was acknowledged.
    fn allows(&self, found: &Txns) -> bool {
        self.histories.iter().any(|(history, acked)| {
            (0..=self.purged.min(history.len())).any(|skip| {
                let rest = &history[skip..];
                rest.starts_with(found) && found.len() + skip >= *acked
            })
        })
    }
}

/// A log at work on a simulated disk, with books kept of what it promised and when.
struct Rig {
    disk: SimDisk,
    log: Log,
    /// Behind what was taken from the log as durable.
    applied: Cursor,
    options: LogOptions,
    now: Expect,
    /// What held from which change of the disk on.
    journal: Vec<(u64, Expect)>,
    version: u8,
    clock: u64,
}

impl Rig {
    fn new(seed: u64) -> Rig {
        Rig::with(SimDisk::new(seed), small())
    }

    fn with(disk: SimDisk, options: LogOptions) -> Rig {
        let (log, _, history) = open_with(&disk, options.clone()).unwrap();
        let acked = history.len();
        let now = Expect { histories: vec![(history, acked)], purged: 0 };
        let applied = log.cursor(log.durable().get());
        let journal = vec![(disk.changes(), now.clone())];
        Rig { disk, log, applied, options, now, journal, version: 0, clock: 0 }
    }

    fn note(&mut self) {
        self.journal.push((self.disk.changes(), self.now.clone()));
    }

    /// What must hold for the disk as it was before this change.
    fn expected_at(&self, change: u64) -> &Expect {
        &self.journal.iter().rev().find(|(at, _)| *at <= change).unwrap_or(&self.journal[0]).1
    }

    fn acked(&self) -> usize {
        self.now.histories[0].1
    }

    fn history(&self) -> &Txns {
        &self.now.histories[0].0
    }

    fn append(&mut self, len: usize) -> Zxid {
        let z = zxid(self.log.appended().raw() + 1);
        let bytes = txn(z, len, self.version);
        self.now.histories[0].0.push((z, bytes.clone()));
        self.note();
        self.log.append(z, |out| out.extend_from_slice(&bytes)).unwrap();
        z
    }

    fn seal(&mut self) {
        self.log.seal(&mut self.disk).unwrap();
    }

    /// Appends and submits one batch of `count` transactions.
    fn batch(&mut self, count: usize, len: usize) {
        for _ in 0..count {
            self.append(len);
        }
        self.seal();
    }

    /// Tags of the segment writes in flight, without the mark's.
    fn writes(&self) -> Vec<u64> {
        self.disk.in_flight().into_iter().filter(|tag| tag & marks::MARK_TAG == 0).collect()
    }

    /// Feeds completions back. Checks that what became durable comes out in order, with its bytes.
    fn reap(&mut self) {
        let mut done = Vec::new();
        self.disk.reap(&mut done);
        for done in done {
            let Some(durable) = self.log.on_done(done).unwrap() else { continue };
            while let Next::Txn(z, bytes) = self.log.next(&mut self.applied, durable.get()) {
                let (history, acked) = &mut self.now.histories[0];
                assert_eq!((z, bytes), (history[*acked].0, &history[*acked].1[..]));
                *acked += 1;
            }
            assert_eq!(self.history()[self.acked() - 1].0, durable.get());
            self.note();
            self.log.release(durable.get());
        }
    }

    /// Until everything appended is durable.
    fn settle(&mut self) {
        while !self.log.is_idle() {
            self.disk.complete_all();
            self.reap();
            self.housekeep();
            self.seal();
        }
        assert_eq!(self.acked(), self.history().len());
    }

    /// Does what the housekeeper does.
    fn housekeep(&mut self) {
        while let Some(request) = self.log.segment_wanted() {
            request.perform(&self.disk).unwrap();
            self.log.segment_prepared(&request.name);
        }
        while let Some(file) = self.log.removal_wanted() {
            self.disk.remove(&file).unwrap();
        }
    }

    fn tick(&mut self, ms: u64) -> Option<u64> {
        self.clock += ms;
        self.log.tick(self.clock, &mut self.disk).unwrap()
    }

    /// Truncates to `z`; until it returns, both the old and the new history are right.
    fn truncate(&mut self, z: Zxid) {
        let kept: Txns = self.history().iter().filter(|(x, _)| *x <= z).cloned().collect();
        let acked = kept.len();
        self.now.histories.insert(0, (kept, acked));
        self.note();
        let durable = self.log.truncate(&self.disk, z).unwrap().get();
        self.now.histories.truncate(1);
        self.applied = self.log.cursor(durable);
        assert_eq!(durable, self.history().last().map_or(Zxid::ZERO, |(x, _)| *x));
        self.version = self.version.wrapping_add(101);
        self.note();
    }

    fn purge(&mut self, below: Zxid) -> usize {
        let purged = self.history().iter().filter(|(z, _)| *z < below).count();
        self.now.purged = self.now.purged.max(purged);
        self.note();
        self.log.purge(below)
    }

    /// Everything durable behind `z`, from the disk.
    fn read_back(&self, z: Zxid) -> Result<Txns, LogError> {
        self.log.read_on(&self.disk, &mut self.log.cursor(z), zxid(i64::MAX), usize::MAX)
    }

    /// Ends without a word and opens again on the same disk, as it is.
    fn reopen(self) -> (Rig, RecoveryReport) {
        drop(self.log);
        let (log, report, found) = open_with(&self.disk, self.options.clone()).unwrap();
        assert!(self.now.allows(&found), "{:?} of {:?}", zxids(&found), self.now);
        let acked = found.len();
        let now = Expect { histories: vec![(found, acked)], purged: 0 };
        let applied = log.cursor(log.durable().get());
        (Rig { log, applied, now, journal: Vec::new(), ..self }, report)
    }
}

fn ok(tag: u64) -> WriteDone {
    WriteDone { tag, result: Ok(()) }
}
