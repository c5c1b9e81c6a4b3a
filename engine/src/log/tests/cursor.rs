//! Cursors: next and read_on see what was appended, from memory and from disk, wherever they stand.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::format::padded;
use super::*;
use crate::id::Epoch;
use crate::io::FileEntry;

const FAR: Zxid = Zxid::from_raw(i64::MAX);

/// A volume that counts what is read.
#[derive(Debug)]
struct Counting<'d> {
    disk: &'d SimDisk,
    bytes: AtomicU64,
    reads: AtomicU64,
}

impl<'d> Counting<'d> {
    fn new(disk: &'d SimDisk) -> Counting<'d> {
        Counting { disk, bytes: AtomicU64::new(0), reads: AtomicU64::new(0) }
    }
}

impl Volume for Counting<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        self.disk.list()
    }
    fn read_at(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let bytes = self.disk.read_at(name, offset, len)?;
        self.bytes.fetch_add(bytes.len() as u64, Relaxed);
        self.reads.fetch_add(1, Relaxed);
        Ok(bytes)
    }
    fn append(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.append(name, offset, data)
    }

    fn write_at(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write_at(name, offset, data)
    }
    fn create_zeroed(&self, name: &str, len: u64) -> io::Result<()> {
        self.disk.create_zeroed(name, len)
    }
    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.disk.sync_file(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

/// All that memory gives behind the cursor, and what it ended with.
fn all<'l>(log: &'l Log, cursor: &mut Cursor, upto: Zxid) -> (Txns, Next<'l>) {
    let mut txns = Txns::new();
    loop {
        match log.next(cursor, upto) {
            Next::Txn(z, bytes) => txns.push((z, bytes.to_vec())),
            other => return (txns, other),
        }
    }
}

fn behind(history: &Txns, z: Zxid) -> Txns {
    history.iter().filter(|(x, _)| *x > z).cloned().collect()
}

/// Feeds completions back.
fn absorb(log: &mut Log, disk: &mut SimDisk) {
    let mut done = Vec::new();
    disk.reap(&mut done);
    for done in done {
        log.on_done(done).unwrap();
    }
}

/// A log of about twelve short segments with nothing in memory.
fn long(seed: u64) -> Rig {
    let mut rig = Rig::new(seed);
    for i in 0..30 {
        rig.batch(1 + i % 4, 50 + 90 * i);
        rig.housekeep();
        rig.settle();
    }
    assert!(rig.log.segments.len() > 8);
    rig.reopen().0
}

#[test]
fn pieces_from_the_disk_join_without_gap_or_overlap_across_segments() {
    let rig = long(1);
    let history = rig.history();
    for from in 0..=history.len() as i64 {
        for max in [0, 1, 700, 5000, 1 << 20] {
            let mut cursor = rig.log.cursor(zxid(from));
            let mut read = Txns::new();
            loop {
                let piece = rig.log.read_on(&rig.disk, &mut cursor, FAR, max).unwrap();
                let bytes: usize = piece.iter().map(|(_, t)| t.len()).sum();
                assert!(piece.len() <= 1 || bytes <= max, "{bytes} bytes where {max} were wanted");
                let Some((last, _)) = piece.last() else { break };
                assert_eq!(cursor.after(), *last);
                read.extend(piece);
            }
            assert_eq!(read, behind(history, zxid(from)), "behind {from} in pieces of {max}");
        }
    }
}

#[test]
fn nothing_is_read_above_the_bound() {
    let rig = long(1);
    let last = rig.history().len() as i64;
    for (from, upto) in (0..last).zip(3..).chain([(5, 5), (7, 2), (last, last + 9)]) {
        let mut cursor = rig.log.cursor(zxid(from));
        let piece = rig.log.read_on(&rig.disk, &mut cursor, zxid(upto), usize::MAX).unwrap();
        assert_eq!(zxids(&piece), (from + 1..=upto.min(last)).collect::<Vec<_>>());
    }
}

#[test]
fn a_cursor_goes_from_disk_to_memory_and_sees_what_is_not_durable_yet() {
    let mut rig = long(1);
    let old = rig.log.durable().get();
    assert_eq!(rig.log.window(), old);
    rig.housekeep();
    rig.batch(3, 200);
    rig.disk.set_completion(Completion::Manual);
    rig.batch(2, 300);
    rig.append(40);
    let mut cursor = rig.log.cursor(zxid(4));
    assert_eq!(rig.log.next(&mut cursor, FAR), Next::OnDisk);
    assert_eq!(rig.log.next(&mut cursor, zxid(4)), Next::End, "there is nothing to fetch");
    let mut read = rig.log.read_on(&rig.disk, &mut cursor, FAR, usize::MAX).unwrap();
    assert_eq!(cursor.after(), old);
    let (more, end) = all(&rig.log, &mut cursor, FAR);
    assert_eq!((more.len(), end), (6, Next::End));
    read.extend(more);
    let last = rig.append(50);
    let (more, _) = all(&rig.log, &mut cursor, zxid(last.raw() - 1));
    assert!(more.is_empty(), "above the bound");
    read.extend(all(&rig.log, &mut cursor, last).0);
    assert_eq!(read, behind(rig.history(), zxid(4)));
    rig.settle();
}

#[test]
fn a_record_longer_than_a_batch_is_read_like_any_other() {
    let mut rig = Rig::with(SimDisk::new(1), LogOptions { window_bytes: 9000, ..small() });
    for len in [100, 15_000, 40, 3 * BLOCK, 200] {
        rig.batch(1, len);
        rig.housekeep();
        rig.settle();
    }
    assert_eq!(rig.log.window(), zxid(4), "what does not fit into the window empties it");
    assert_eq!(rig.read_back(Zxid::ZERO).unwrap(), *rig.history());
    let mut cursor = rig.log.cursor(zxid(1));
    for z in 2..=5 {
        let piece = rig.log.read_on(&rig.disk, &mut cursor, FAR, 10).unwrap();
        assert_eq!(zxids(&piece), [z]);
    }
    rig.batch(1, 15_000);
    assert_eq!(all(&rig.log, &mut cursor, FAR).0, behind(rig.history(), zxid(5)));
}

#[test]
fn behind_a_zxid_that_never_was_comes_the_first_one_above() {
    let mut rig = Rig::new(1);
    rig.housekeep();
    let raw = |epoch, counter| Zxid::new(Epoch(epoch), counter);
    let given = [raw(1, 1), raw(1, 2), raw(3, 1), raw(3, 2), raw(7, 1)];
    for z in given {
        rig.log.append(z, |out| out.extend_from_slice(&txn(z, 60, 0))).unwrap();
    }
    rig.seal();
    rig.disk.complete_all();
    while !rig.log.is_idle() {
        absorb(&mut rig.log, &mut rig.disk);
        rig.seal();
    }
    for z in [Zxid::ZERO, raw(1, 1), raw(1, 9), raw(2, 0), raw(3, 1), raw(6, 1), raw(7, 1), raw(9, 0)] {
        let wanted: Vec<Zxid> = given.into_iter().filter(|g| *g > z).collect();
        let found = |txns: Txns| txns.into_iter().map(|(z, _)| z).collect::<Vec<_>>();
        assert_eq!(found(all(&rig.log, &mut rig.log.cursor(z), FAR).0), wanted, "{z} in memory");
        assert_eq!(found(rig.read_back(z).unwrap()), wanted, "{z} on disk");
    }
}

#[test]
fn what_is_purged_is_said_to_be_unless_memory_has_it() {
    let mut rig = Rig::new(1);
    for i in 0..18 {
        rig.batch(1 + i % 4, 300 + 80 * i);
        rig.housekeep();
        rig.settle();
    }
    let below = rig.log.segments[2].last.zxid;
    assert_eq!(rig.purge(below), 2);
    rig.settle();
    let base = rig.log.base().zxid;
    for z in 0..base.raw() {
        let mut cursor = rig.log.cursor(zxid(z));
        let error = rig.log.read_on(&rig.disk, &mut cursor, FAR, 100).unwrap_err();
        assert!(matches!(error, LogError::Purged { first, .. } if first == base), "{error}");
        assert_eq!(all(&rig.log, &mut cursor, FAR).0, behind(rig.history(), zxid(z)), "16 MiB are kept");
    }
    assert_eq!(rig.read_back(base).unwrap(), behind(rig.history(), base));
}

#[test]
fn a_cursor_whose_transaction_was_cut_off_leads_nowhere() {
    for memory in [0, 16 << 20] {
        let mut rig = Rig::with(SimDisk::new(1), LogOptions { window_bytes: memory, ..small() });
        for _ in 0..12 {
            rig.batch(1, 700);
            rig.housekeep();
            rig.settle();
        }
        let mut kept = rig.log.cursor(zxid(4));
        let mut lost = rig.log.cursor(zxid(8));
        let beyond = rig.log.cursor(zxid(20));
        // Hints of places that the cuts make dead.
        for cursor in [&mut kept, &mut lost] {
            rig.log.read_on(&rig.disk, cursor, zxid(cursor.after().raw() + 1), 1).unwrap();
            rig.log.next(cursor, zxid(cursor.after().raw() + 1));
        }
        let after = kept.after();
        for to in [9, 6, 11] {
            rig.truncate(zxid(to));
            for _ in 0..8 {
                rig.batch(1, 500);
                rig.housekeep();
                rig.settle();
            }
        }
        for mut cursor in [lost, beyond] {
            assert_eq!(rig.log.next(&mut cursor, FAR), Next::End);
            let error = rig.log.read_on(&rig.disk, &mut cursor, FAR, 100).unwrap_err();
            assert!(matches!(error, LogError::CutOff { zxid } if zxid == cursor.after()), "{error}");
        }
        let mut again = kept.clone();
        let read = rig.log.read_on(&rig.disk, &mut again, FAR, usize::MAX).unwrap();
        assert_eq!(read, behind(rig.history(), after));
        let (read, _) = all(&rig.log, &mut kept, FAR);
        assert!(read.is_empty() || read == behind(rig.history(), after));
    }
}

#[test]
fn a_cut_is_seen_by_the_index_too() {
    let mut rig = Rig::new(1);
    for _ in 0..9 {
        rig.batch(1, 700);
        rig.housekeep();
        rig.settle();
    }
    let blocks = |rig: &Rig, n: u64| rig.log.reaches_back(n * BLOCK as u64);
    assert_eq!(
        [8, 9].map(|n| blocks(&rig, n)),
        [zxid(1), Zxid::ZERO],
        "short segments are known batch by batch"
    );
    rig.truncate(zxid(3));
    assert_eq!([0, 2, 3].map(|n| blocks(&rig, n)), [zxid(3), zxid(1), Zxid::ZERO]);
    rig.append(700);
    assert_eq!(
        [0, 1, 3, 4].map(|n| blocks(&rig, n)),
        [zxid(4), zxid(3), zxid(1), Zxid::ZERO],
        "waiting, counted"
    );
    rig.settle();
}

#[test]
fn a_log_that_goes_on_further_up_is_not_taken_for_its_next_transaction() {
    let mut rig = long(1);
    rig.housekeep();
    rig.batch(1, 100);
    rig.settle();
    let mut cursor = rig.log.cursor(rig.log.window());
    all(&rig.log, &mut cursor, FAR);
    rig.log.batches.clear(zxid(5000));
    rig.log.append(zxid(5001), |out| out.extend_from_slice(&txn(zxid(5001), 50, 0))).unwrap();
    assert_eq!(rig.log.next(&mut cursor, FAR), Next::OnDisk);
}

#[test]
fn a_hint_that_leads_astray_is_not_followed() {
    let rig = long(1);
    let segment = &rig.log.segments[2];
    let from = segment.from.zxid;
    let number = segment.name.number;
    let here = Place::first(segment.from);
    let ahead = segment.index.up_to(segment.last.zxid).unwrap();
    assert!(ahead.from.zxid > from);
    let beyond = Place { from: Point { seq: segment.last.seq, ..segment.from }, ..ahead };
    let before = Place { offset: 0, from: Point { seq: segment.from.seq - 1, ..segment.from } };
    for hint in [here, ahead, beyond, before] {
        for number in [number, number - 1, 999] {
            let mut cursor = rig.log.cursor(Zxid::ZERO);
            cursor.moved(from, Some((number, hint)));
            let read = rig.log.read_on(&rig.disk, &mut cursor, FAR, usize::MAX).unwrap();
            assert_eq!(read, behind(rig.history(), from), "{hint:?} in {number}");
        }
    }
}

#[test]
fn transactions_with_one_zxid_are_all_seen_by_a_cursor_on_its_way() {
    let mut rig = Rig::with(SimDisk::new(1), LogOptions { window_bytes: 0, ..small() });
    rig.housekeep();
    let mut cursor = rig.log.cursor(Zxid::ZERO);
    for version in 0..6 {
        let bytes = txn(zxid(1), 100, version);
        rig.log.append(zxid(1), |out| out.extend_from_slice(&bytes)).unwrap();
        while !rig.log.is_idle() {
            rig.seal();
            absorb(&mut rig.log, &mut rig.disk);
        }
        assert_eq!(rig.log.next(&mut cursor, zxid(1)), Next::Txn(zxid(1), &bytes));
        assert_eq!(rig.log.next(&mut cursor, zxid(1)), Next::End);
        rig.log.release(zxid(1));
    }
}

/// A log of `count` transactions with nothing in memory, as a leader's is: batches of up to 256 KiB.
fn tail(count: i64, len: usize, per_batch: i64) -> (SimDisk, Log) {
    let options = LogOptions { segment_bytes: 8 << 20, ..LogOptions::new(3) };
    let disk = SimDisk::new(1);
    let (mut log, ..) = open_with(&disk, options.clone()).unwrap();
    let mut own = disk.clone();
    for i in 1..=count {
        log.append(zxid(i), |out| out.extend_from_slice(&txn(zxid(i), len, 0))).unwrap();
        while i % per_batch == 0 && !log.is_idle() {
            log.prepare_all(&disk).unwrap();
            log.seal(&mut own).unwrap();
            absorb(&mut log, &mut own);
        }
    }
    assert_eq!(log.durable().get(), zxid(count));
    drop(log);
    let log = open_with(&disk, options).unwrap().0;
    (disk, log)
}

#[test]
fn a_long_tail_read_in_pieces_costs_little_more_than_its_bytes() {
    // Full batches, and batches of one transaction with most of their block empty.
    for (len, per_batch, max) in [(1000, 250, 1 << 20), (1000, 250, 256 << 10), (100, 2, 1 << 20)] {
        let (disk, log) = tail(20_000, len, per_batch);
        let from = zxid(10_000);
        // What the tail takes on the disk.
        let on_disk = (0..).map(|kib| kib << 10).find(|bytes| log.reaches_back(*bytes) <= from).unwrap();
        // One cursor that is kept, and a new one for each piece.
        for keep in [true, false] {
            let volume = Counting::new(&disk);
            let mut cursor = log.cursor(from);
            let mut count = 0;
            let mut pieces = 0;
            loop {
                let piece = log.read_on(&volume, &mut cursor, FAR, max).unwrap();
                let Some((last, _)) = piece.last() else { break };
                count += piece.len();
                pieces += 1;
                assert_eq!(last.raw(), 10_000 + count as i64);
                if !keep {
                    cursor = log.cursor(*last);
                }
            }
            assert_eq!(count, 10_000);
            let (read, reads) = (volume.bytes.load(Relaxed), volume.reads.load(Relaxed));
            let most = if keep { on_disk + on_disk / 10 } else { 2 * on_disk };
            assert!(
                read <= most,
                "{read} bytes read in {pieces} pieces of {max} for {on_disk}, kept: {keep}"
            );
            assert!(reads < 64 + 2 * pieces, "{reads} reads for {pieces} pieces");
        }
    }
}

#[test]
fn how_far_bytes_reach_back_is_known_from_the_index() {
    let (disk, log) = tail(20_000, 1000, 250);
    let total: u64 = log.segments.iter().map(|s| s.index.bytes()).sum();
    assert_eq!(log.reaches_back(total), Zxid::ZERO);
    assert_eq!(log.reaches_back(0), zxid(20_000));
    let mut before = zxid(20_000);
    for bytes in (0..=total).step_by(100 << 10) {
        let reached = log.reaches_back(bytes);
        assert!(reached <= before);
        before = reached;
        let txns = log.read_on(&disk, &mut log.cursor(reached), FAR, usize::MAX).unwrap();
        let batch = padded(BATCH_HEADER + 250 * 1008) as u64;
        let taken = txns.len() as u64 / 250 * batch;
        assert!(taken <= bytes, "{taken} bytes behind {reached}, {bytes} were allowed");
        assert!(taken + 2 * batch >= bytes, "only {taken} bytes behind {reached} for {bytes}");
    }
}

#[test]
fn the_window_holds_the_newest_and_takes_no_more_than_it_may() {
    let options = LogOptions { window_bytes: 20_000, ..small() };
    let mut rig = Rig::with(SimDisk::new(1), options);
    for i in 0..200 {
        rig.batch(1 + i % 5, 32 + (i * 97) % 1500);
        rig.housekeep();
        rig.settle();
        let (kept, window) = (behind(rig.history(), rig.log.window()), rig.log.window());
        let bytes: usize = kept.iter().map(|(_, t)| t.len()).sum();
        assert!(bytes <= 20_000);
        assert!(bytes > 9_000 || window == Zxid::ZERO, "only {bytes} are kept");
        assert_eq!(all(&rig.log, &mut rig.log.cursor(window), FAR).0, kept);
    }
    assert!(rig.log.batches.made() <= 5, "no buffer is held for late readers");
}

#[test]
fn what_is_not_applied_stays_in_memory_however_long() {
    let mut rig = Rig::with(SimDisk::new(1), LogOptions { window_bytes: 0, ..small() });
    let mut applied = rig.log.cursor(Zxid::ZERO);
    for _ in 0..40 {
        rig.append(900);
        rig.seal();
        rig.housekeep();
        absorb(&mut rig.log, &mut rig.disk);
        rig.log.release(zxid(7));
    }
    assert!(rig.log.durable().get() > zxid(20));
    assert!(rig.log.window() <= zxid(7));
    assert_eq!(rig.log.next(&mut applied, FAR), Next::OnDisk);
    let mut cursor = rig.log.cursor(rig.log.window());
    assert_eq!(all(&rig.log, &mut cursor, FAR).0, behind(rig.history(), rig.log.window()));
}

/// A step of a life.
#[derive(Clone, Debug)]
enum Step {
    /// So many transactions of this length, after a jump to another epoch or not.
    Append(usize, usize, bool),
    Seal,
    /// One write in flight completes.
    Complete(usize),
    /// Applied up to this part of what is durable, in percent.
    Release(usize),
    /// Cut to this part, in percent.
    Truncate(usize),
    Purge(usize),
    Reopen,
    /// A new cursor behind this part, in percent.
    Cursor(usize),
    /// A cursor takes so many transactions from memory.
    Next(usize, usize),
    /// A cursor reads so many bytes.
    Read(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let percent = 0..=100usize;
    prop_oneof![
        6 => (1..5usize, prop_oneof![4 => 32..900usize, 1 => 3000..16_000usize], prop::bool::weighted(0.1))
            .prop_map(|(count, len, jump)| Step::Append(count, len, jump)),
        6 => Just(Step::Seal),
        8 => (0..8usize).prop_map(Step::Complete),
        3 => percent.clone().prop_map(Step::Release),
        1 => percent.clone().prop_map(Step::Truncate),
        1 => percent.clone().prop_map(Step::Purge),
        1 => Just(Step::Reopen),
        3 => percent.prop_map(Step::Cursor),
        6 => (0..8usize, 1..9usize).prop_map(|(which, count)| Step::Next(which, count)),
        6 => (0..8usize, 0..9000usize).prop_map(|(which, max)| Step::Read(which, max)),
    ]
}

/// A log beside a list of all that was appended to it.
struct Model {
    disk: SimDisk,
    options: LogOptions,
    log: Log,
    txns: Txns,
    cursors: Vec<Cursor>,
    /// Another one after each cut, so that what has a zxid for the second time has other bytes.
    version: u8,
}

impl Model {
    fn new(window_bytes: usize) -> Model {
        let disk = SimDisk::new(1);
        disk.set_completion(Completion::Manual);
        let options = LogOptions { window_bytes, ..small() };
        let (log, ..) = open_with(&disk, options.clone()).unwrap();
        Model { disk, options, log, txns: Txns::new(), cursors: Vec::new(), version: 0 }
    }

    fn zxid_at(&self, percent: usize) -> Zxid {
        let durable = self.txns.iter().take_while(|(z, _)| *z <= self.log.durable().get()).count();
        let at = durable * percent / 100;
        at.checked_sub(1).map_or(Zxid::ZERO, |i| self.txns[i].0)
    }

    fn housekeep(&mut self) {
        while let Some(request) = self.log.segment_wanted() {
            request.perform(&self.disk).unwrap();
            self.log.segment_prepared(&request.name);
        }
        while let Some(file) = self.log.removal_wanted() {
            self.disk.remove(&file).unwrap();
        }
    }

    fn settle(&mut self) {
        while !self.log.is_idle() {
            self.log.seal(&mut self.disk).unwrap();
            self.disk.complete_all();
            absorb(&mut self.log, &mut self.disk);
            self.housekeep();
        }
    }

    /// What follows a cursor.
    fn follows(&self, cursor: &Cursor, upto: Zxid) -> impl Iterator<Item = &(Zxid, Vec<u8>)> {
        let after = cursor.after();
        self.txns.iter().filter(move |(z, _)| *z > after && *z <= upto)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(count, len, jump) => {
                for i in 0..count {
                    let last = self.log.appended();
                    let z = match jump && i == 0 {
                        true => Zxid::new(Epoch(last.epoch().0 + 2), 1),
                        false => last.successor().unwrap(),
                    };
                    let bytes = txn(z, len, self.version);
                    self.log.append(z, |out| out.extend_from_slice(&bytes)).unwrap();
                    self.txns.push((z, bytes));
                }
            }
            Step::Seal => {
                self.log.seal(&mut self.disk).unwrap();
                self.housekeep();
            }
            Step::Complete(which) => {
                let tags = self.disk.in_flight();
                if !tags.is_empty() {
                    self.disk.complete(tags[which % tags.len()]);
                    absorb(&mut self.log, &mut self.disk);
                }
            }
            Step::Release(percent) => self.log.release(self.zxid_at(percent)),
            Step::Truncate(percent) => {
                self.settle();
                let to = self.zxid_at(percent).max(self.log.base().zxid);
                self.log.truncate(&self.disk, to).unwrap();
                // Cursors behind what is gone are of no use.
                for cursor in self.cursors.iter_mut().filter(|c| c.after() > to) {
                    let cut = self.txns.last().is_some_and(|(z, _)| *z > to);
                    assert!(!cut || self.log.next(cursor, FAR) == Next::End);
                    let read = self.log.read_on(&self.disk, cursor, FAR, 100);
                    assert!(!cut || matches!(read, Err(LogError::CutOff { .. })));
                }
                self.cursors.retain(|c| c.after() <= to);
                self.txns.retain(|(z, _)| *z <= to);
                self.version = self.version.wrapping_add(101);
            }
            Step::Purge(percent) => {
                self.log.purge(self.zxid_at(percent));
            }
            Step::Reopen => {
                self.settle();
                let (log, _, found) = open_with(&self.disk, self.options.clone()).unwrap();
                assert!(self.txns.ends_with(&found));
                self.log = log;
                self.cursors.clear();
            }
            Step::Cursor(percent) => self.cursors.push(self.log.cursor(self.zxid_at(percent))),
            Step::Next(which, count) if !self.cursors.is_empty() => {
                let which = which % self.cursors.len();
                let mut cursor = self.cursors[which].clone();
                // Some cursors go no further than what is durable.
                let upto = if which.is_multiple_of(2) { FAR } else { self.log.durable().get() };
                for _ in 0..count {
                    let expected = self.follows(&cursor, upto).next();
                    match (self.log.next(&mut cursor, upto), expected) {
                        (Next::Txn(z, bytes), Some((x, expected))) => {
                            assert_eq!((z, bytes), (*x, &expected[..]))
                        }
                        (Next::End, None) => {}
                        (Next::OnDisk, _) => assert!(cursor.after() < self.log.window()),
                        (found, expected) => panic!("{found:?} instead of {expected:?}"),
                    }
                }
                self.cursors[which] = cursor;
            }
            Step::Read(which, max) if !self.cursors.is_empty() => {
                let which = which % self.cursors.len();
                let mut cursor = self.cursors[which].clone();
                let base = self.log.base().zxid;
                match self.log.read_on(&self.disk, &mut cursor, FAR, max) {
                    Err(LogError::Purged { zxid, first }) => {
                        assert_eq!((zxid, first), (self.cursors[which].after(), base));
                        assert!(zxid < base);
                    }
                    Err(error) => panic!("{error}"),
                    Ok(piece) => {
                        let before = &self.cursors[which];
                        assert!(before.after() >= base);
                        let durable: Txns = self.follows(before, self.log.durable().get()).cloned().collect();
                        assert!(durable.starts_with(&piece));
                        assert_eq!(piece.is_empty(), durable.is_empty());
                        let bytes: usize = piece.iter().map(|(_, t)| t.len()).sum();
                        assert!(piece.len() <= 1 || bytes <= max);
                        assert_eq!(cursor.after(), piece.last().map_or(before.after(), |(z, _)| *z));
                    }
                }
                self.cursors[which] = cursor;
            }
            Step::Next(..) | Step::Read(..) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn cursors_see_exactly_what_was_appended(
        steps in prop::collection::vec(step(), 1..120),
        window in prop_oneof![Just(0), 3000..30_000usize, Just(16 << 20)],
    ) {
        let mut model = Model::new(window);
        for step in steps {
            model.take(step);
        }
        model.settle();
        // Whatever was on its way, one cursor in memory and one on disk see all that is left.
        let (log, window, base) = (&model.log, model.log.window(), model.log.base().zxid);
        prop_assert_eq!(all(log, &mut log.cursor(window), FAR).0, behind(&model.txns, window));
        let read = log.read_on(&model.disk, &mut log.cursor(base), FAR, usize::MAX).unwrap();
        prop_assert_eq!(read, behind(&model.txns, base));
    }
}
