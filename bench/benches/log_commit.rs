//! Commits per second of the log beside those of a bare ring that writes as many bytes, in turn in one run. The log
//! has to reach 90 % of the ring: group commit, checksums and books must cost next to nothing.
//!
//! Both write into blocks that were written before, with O_DIRECT and `RWF_DSYNC`, on the disk that holds the target
//! directory. The log encodes its transactions while earlier batches are being written, as in a node. Preparing segments and purging happen between the measured parts, as the housekeeper would do them
//! beside.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, io};

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::io::{AlignedBuf, Disk, FileId, FsVolume, UringDisk, Volume, WriteDone, WriteOp};
use ringkeeper_engine::log::{Log, LogOptions};
use ringkeeper_engine::txn::{Txn, TxnDigest, TxnHeader, encode_into, kind};

/// The ratio that the log has to reach.
const WANTED: f64 = 0.9;
/// Bytes of the file that the bare ring writes in a circle; as long as a segment.
const FILE: u64 = 64 << 20;

struct Case {
    /// Transactions in each batch: setData of 100 bytes.
    records: u32,
    in_flight: usize,
    /// Commits in one measured part.
    commits: u32,
}

fn main() {
    let quick = env::args().any(|a| a == "--quick");
    let rounds = if quick { 3 } else { 7 };
    let cases = [(1, 1, 2000), (1, 4, 6000), (250, 1, 1000), (250, 4, 2000)];
    let cases = cases.map(|(records, in_flight, commits)| Case {
        records,
        in_flight,
        commits: if quick { commits / 4 } else { commits },
    });
    println!(
        "{:>9} {:>9} {:>9} {:>12} {:>12} {:>7}",
        "records", "in flight", "bytes", "bare /s", "log /s", "ratio"
    );
    for case in &cases {
        measure(case, rounds);
    }
}

fn measure(case: &Case, rounds: usize) {
    // Beside the binary: a temporary directory elsewhere may not be on a disk.
    let own = env::current_exe().expect("this program has a path");
    let dir = tempfile::tempdir_in(own.parent().expect("it is in a directory")).expect("it is writable");
    let mut log = LogSide::new(&dir.path().join("log"), case);
    let len = log.len_of_a_batch(case);
    let mut bare = BareSide::new(&dir.path().join("bare"), case.in_flight, len);
    let (mut bares, mut logs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let per_second = |elapsed: Duration| f64::from(case.commits) / elapsed.as_secs_f64();
        let b = per_second(bare.run(case.commits));
        let l = per_second(log.run(case));
        // The first round warms up.
        if round > 0 {
            bares.push(b);
            logs.push(l);
            ratios.push(l / b);
        }
    }
    let ratio = median(&mut ratios);
    let verdict = if ratio < WANTED { "  below 0.9" } else { "" };
    println!(
        "{:>9} {:>9} {len:>9} {:>12.0} {:>12.0} {ratio:>7.2}{verdict}",
        case.records,
        case.in_flight,
        median(&mut bares),
        median(&mut logs)
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A loop that does nothing but keep writes in flight.
struct BareSide {
    disk: UringDisk,
    file: FileId,
    _volume: FsVolume,
    buffers: Vec<Arc<AlignedBuf>>,
    len: usize,
    offset: u64,
}

impl BareSide {
    fn new(dir: &Path, in_flight: usize, len: usize) -> BareSide {
        let volume = FsVolume::open(dir).expect("opening the directory of the bare ring");
        volume.create_zeroed("bare", FILE).expect("zeroing the file of the bare ring");
        let mut disk = UringDisk::new().expect("a ring");
        let file = disk.attach(&volume.path("bare")).expect("attaching the file of the bare ring");
        let buffers = (0..in_flight).map(|_| disk.alloc(len)).collect();
        BareSide { disk, file, _volume: volume, buffers, len, offset: 0 }
    }

    fn submit(&mut self, tag: usize) {
        if self.offset + self.len as u64 > FILE {
            self.offset = 0;
        }
        let (file, offset, buf) = (self.file, self.offset, self.buffers[tag].clone());
        self.disk.submit(WriteOp { file, offset, buf, len: self.len, sync: true, tag: tag as u64 });
        self.offset += self.len as u64;
    }

    fn run(&mut self, commits: u32) -> Duration {
        let start = Instant::now();
        let mut submitted = 0;
        let mut committed = 0;
        while submitted < (self.buffers.len() as u32).min(commits) {
            self.submit(submitted as usize);
            submitted += 1;
        }
        let mut done: Vec<WriteDone> = Vec::new();
        while committed < commits {
            self.disk.wait(&mut done).expect("waiting for the bare ring");
            for write in done.drain(..) {
                write.result.expect("a write of the bare ring");
                committed += 1;
                if submitted < commits {
                    self.submit(write.tag as usize);
                    submitted += 1;
                }
            }
        }
        start.elapsed()
    }
}

/// A disk that notes the longest write.
struct Spy {
    disk: UringDisk,
    longest: usize,
}

impl Disk for Spy {
    fn alloc(&mut self, len: usize) -> Arc<AlignedBuf> {
        self.disk.alloc(len)
    }

    fn attach(&mut self, path: &Path) -> io::Result<FileId> {
        self.disk.attach(path)
    }

    fn detach(&mut self, file: FileId) {
        self.disk.detach(file);
    }

    fn submit(&mut self, op: WriteOp) {
        self.longest = self.longest.max(op.len);
        self.disk.submit(op);
    }

    fn reap(&mut self, out: &mut Vec<WriteDone>) {
        self.disk.reap(out);
    }
}

/// The log, fed as the replica loop feeds it.
struct LogSide {
    disk: Spy,
    volume: FsVolume,
    log: Log,
    zxid: Zxid,
    began: Instant,
}

impl LogSide {
    fn new(dir: &Path, case: &Case) -> LogSide {
        let volume = FsVolume::open(dir).expect("opening the directory of the log");
        let mut options = LogOptions::new(1);
        options.in_flight = case.in_flight;
        options.prepare_ahead = 4;
        options.window_bytes = 0;
        let (mut log, _) = Log::open(&volume, options, &mut |_, _| Ok(())).expect("opening the log");
        log.prepare_all(&volume).expect("preparing segments");
        let disk = Spy { disk: UringDisk::new().expect("a ring"), longest: 0 };
        LogSide { disk, volume, log, zxid: Zxid::ZERO, began: Instant::now() }
    }

    /// Appends what makes a batch.
    fn append(&mut self, records: u32) {
        let data = [7; 100];
        for _ in 0..records {
            self.zxid = self.zxid.successor().expect("a bench stays below 2^32 transactions");
            let header = TxnHeader {
                client_id: SessionId(1),
                cxid: 1,
                zxid: self.zxid,
                time: 1_750_000_000_000,
                kind: kind::SET_DATA,
            };
            let txn = Txn::SetData { path: "/bench/key-0000000001", data: Some(&data), version: 1 };
            let digest = Some(TxnDigest::new(1));
            let appended = self.log.append(self.zxid, |out| encode_into(&header, &txn, digest, out));
            appended.expect("appending");
        }
    }

    /// Waits for writes and feeds their completions back.
    fn absorb(&mut self, done: &mut Vec<WriteDone>) {
        self.disk.disk.wait(done).expect("waiting for the log's writes");
        for write in done.drain(..) {
            if let Some(durable) = self.log.on_done(write).expect("a write of the log") {
                self.log.release(durable.get());
            }
        }
    }

    fn len_of_a_batch(&mut self, case: &Case) -> usize {
        let some = Case { records: case.records, in_flight: 1, commits: 8 };
        // While the segment's header is written first, more than one batch gathers.
        self.run(&some);
        self.disk.longest = 0;
        self.run(&some);
        self.disk.longest
    }

    fn run(&mut self, case: &Case) -> Duration {
        let per_batch = i64::from(case.records);
        let first = self.log.durable().get().raw();
        let target = first + per_batch * i64::from(case.commits);
        let start = Instant::now();
        let mut done = Vec::new();
        let mut durable = first;
        while durable < target {
            // As in a node: what has gathered is submitted, and the next batch gathers while it is being written.
            self.log.seal(&mut self.disk).expect("sealing");
            self.disk.disk.flush().expect("submitting");
            let unwritten = (self.zxid.raw() - durable) / per_batch;
            if self.zxid.raw() < target && unwritten <= case.in_flight as i64 {
                self.append(case.records);
                if unwritten < case.in_flight as i64 {
                    continue;
                }
            }
            self.absorb(&mut done);
            durable = self.log.durable().get().raw();
        }
        let elapsed = start.elapsed();
        self.rest();
        elapsed
    }

    /// What goes on beside in a node: marks, purging, segments for the next part.
    fn rest(&mut self) {
        self.log.purge(self.zxid);
        let mut done = Vec::new();
        // A mark is due after some quiet; purged segments are free when two are written.
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until || !self.log.is_idle() {
            let now_ms = self.began.elapsed().as_millis() as u64;
            self.log.tick(now_ms, &mut self.disk).expect("writing the mark");
            self.disk.disk.flush().expect("submitting the mark");
            self.absorb(&mut done);
            std::thread::sleep(Duration::from_millis(2));
        }
        self.log.prepare_all(&self.volume).expect("preparing segments");
    }
}
