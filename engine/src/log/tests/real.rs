//! The same log on the kernel: O_DIRECT, RWF_DSYNC, a directory on a real file system.

use super::*;
use crate::io::{FsVolume, UringDisk};

type Replayed = Result<(Log, RecoveryReport, Txns), LogError>;

fn open_real(volume: &FsVolume, options: &LogOptions) -> Replayed {
    let mut txns = Txns::new();
    let (log, report) = Log::open(volume, options.clone(), &mut |txn, zxid| {
        txns.push((zxid, txn.to_vec()));
        Ok(())
    })?;
    Ok((log, report, txns))
}

fn drain(log: &mut Log, disk: &mut UringDisk, volume: &FsVolume) -> Txns {
    let mut durable = Txns::new();
    let mut applied = log.cursor(log.durable().get());
    while !log.is_idle() {
        log.prepare_all(volume).unwrap();
        log.seal(disk).unwrap();
        let mut done = Vec::new();
        disk.wait(&mut done).unwrap();
        for done in done {
            log.on_done(done).unwrap();
        }
        let upto = log.durable().get();
        while let Next::Txn(zxid, txn) = log.next(&mut applied, upto) {
            durable.push((zxid, txn.to_vec()));
        }
        log.release(log.durable().get());
    }
    durable
}

#[test]
fn a_log_on_a_real_directory_comes_back() {
    let mut disk = match UringDisk::new() {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: no io_uring: {error}"),
    };
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let volume = FsVolume::open(dir.path()).unwrap();
    let options = LogOptions { segment_bytes: 1 << 20, batch_bytes: 64 << 10, ..LogOptions::new(11) };
    let (mut log, report, _) = open_real(&volume, &options).unwrap();
    assert!(report.created);
    log.prepare(&volume).unwrap();

    let mut history = Txns::new();
    for i in 1..=600 {
        let (z, bytes) = (zxid(i), txn(zxid(i), 40 + (i as usize * 37) % 9000, 0));
        log.append(z, |out| out.extend_from_slice(&bytes)).unwrap();
        history.push((z, bytes));
        log.seal(&mut disk).unwrap();
    }
    assert!(drain(&mut log, &mut disk, &volume) == history);
    assert!(log.segments.len() >= 3);

    log.truncate(&volume, zxid(333)).unwrap();
    history.truncate(333);
    log.tick(1_000, &mut disk).unwrap();
    drain(&mut log, &mut disk, &volume);
    while let Some(file) = log.removal_wanted() {
        volume.remove(&file).unwrap();
    }
    let all = log.read_on(&volume, &mut log.cursor(Zxid::ZERO), zxid(333), usize::MAX).unwrap();
    assert!(all == history);
    drop(log);
    let (log, report, found) = open_real(&volume, &options).unwrap();
    assert_eq!((report.torn, report.generation, report.last), (None, 2, zxid(333)));
    assert!(found == history);
    log.close(&volume).unwrap();
}
