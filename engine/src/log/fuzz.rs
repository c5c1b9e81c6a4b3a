//! A way in for fuzzers: hostile bytes as the files of a log directory.
//!
//! Checksums would stop a fuzzer at the first header, so it is let in at three depths: whole files of its own;
//! edits of a sound directory; and such edits with the checksums put right again, which reach the code behind
//! them.

use super::format::{self, BATCH_HEADER, BatchHeader, RECORD_HEADER, SegmentHeader};
use super::name::SegmentName;
use super::{Log, LogError, LogOptions, RecoveryReport, Transactions};
use crate::id::Zxid;
use crate::io::sim::SimDisk;
use crate::io::{BLOCK, Disk, Volume};
use crate::snapshot::file::{self, Place};
use crate::snapshot::{Limits, Loader, Origin, Snapshots, write_stream};
use crate::tree::Tree;

/// Recovers a directory that is made of, or damaged by, `bytes`, twice. Panics only if the log is at fault: on a
/// panic within, or if a second recovery does not find what the first one found.
///
/// The first byte chooses the depth. With 0 the rest is the content of three segment files and of `marks`, in four
/// equal parts. Otherwise the rest is edits of 8 bytes each, to a small sound directory: file (1), position in
/// it (3, scaled), what to do (1), value (3); checksums are put right where the depth is odd, the log goes on behind a
/// received snapshot where its second bit is set, and two snapshots were made of it where its third bit is.
pub fn fuzz_recover(bytes: &[u8]) {
    let Some((&depth, rest)) = bytes.split_first() else { return };
    let disk = SimDisk::new(1);
    if depth == 0 {
        plant_files(&disk, rest);
    } else {
        make_sound(&disk, depth & 2 != 0, depth & 4 != 0);
        for edit in rest.chunks_exact(8).take(64) {
            apply(&disk, edit);
        }
        if depth % 2 == 1 {
            put_checksums_right(&disk);
        }
    }
    let Ok((report, first)) = recover(&disk) else { return };
    let (again, second) = recover(&disk).expect("what was recovered once is recovered again");
    assert!(first == second, "two recoveries differ");
    assert_eq!((again.last, again.torn), (report.last, None));
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 6 * BLOCK as u64, batch_bytes: 2 * BLOCK, ..LogOptions::new(7) }
}

fn recover(disk: &SimDisk) -> Result<(RecoveryReport, Transactions), LogError> {
    Snapshots::list(disk)?.load_newest(disk, 1)?;
    let mut found = Transactions::new();
    let opened = Log::open(disk, options(), &mut |txn, zxid| {
        found.push((zxid, txn.to_vec()));
        Ok(())
    });
    opened.map(|(_, report)| (report, found))
}

fn plant_files(disk: &SimDisk, bytes: &[u8]) {
    let part = bytes.len().div_ceil(4).max(1);
    for (i, content) in bytes.chunks(part).enumerate() {
        let name = match i {
            3 => "marks".to_owned(),
            _ => SegmentName { number: i as u64 + 1, id: 7 }.to_string(),
        };
        disk.plant(&name, content);
    }
}

/// Four segments, a cut and a torn tail; with a snapshot in the place of the first transactions, or made of them.
fn make_sound(disk: &SimDisk, received: bool, made: bool) {
    let (mut log, _) = Log::open(disk, options(), &mut |_, _| Ok(())).expect("an empty directory opens");
    let mut own = disk.clone();
    let mut commit = |log: &mut Log, wait: bool| {
        log.prepare(disk).expect("there is space");
        for _ in 0..2 {
            let zxid = Zxid::from_raw(log.appended().raw() + 1);
            let mut txn = vec![zxid.raw() as u8; 700];
            txn[12..20].copy_from_slice(&zxid.raw().to_be_bytes());
            log.append(zxid, |out| out.extend_from_slice(&txn)).expect("it fits");
        }
        log.seal(&mut own).expect("the disk is well");
        while wait && !log.is_idle() {
            let mut done = Vec::new();
            own.reap(&mut done);
            for done in done {
                log.on_done(done).expect("the disk is well");
            }
        }
    };
    for i in 0..9 {
        commit(&mut log, true);
        if i == 1 && received {
            log.restart_behind(disk, &Tree::new(1), &[]).expect("there is space");
        }
        if i == 6 {
            let last = log.durable().get().raw();
            log.truncate(disk, Zxid::from_raw(last - 3)).expect("there is space");
        }
        if made && [3, 7].contains(&i) {
            make_snapshot(disk, &mut log);
        }
    }
    commit(&mut log, false);
    disk.kill(crate::io::sim::Pick::Bits(0b10));
}

/// Publishes a snapshot after the last transaction but one, which is in the middle of a batch.
fn make_snapshot(disk: &SimDisk, log: &mut Log) {
    let last = Zxid::from_raw(log.durable().get().raw() - 1);
    let (_, point) = log.find(disk, last).expect("the log has it");
    let mut loader = Loader::new(point.zxid, 1, Limits::default());
    write_stream(&Tree::new(1), &[], &mut |piece| assert!(loader.feed(piece).is_ok()));
    let origin = Origin::Made { batch_crc: point.crc };
    let place = Place { database: log.database, generation: log.root(), seq: point.seq, origin };
    let made = file::write(disk, place, &loader.finish().tree, &[]).expect("there is space");
    file::publish(disk, &made).expect("the disk is well");
    assert!(log.snapshot_made(made));
}

fn apply(disk: &SimDisk, edit: &[u8]) {
    let files: Vec<(String, u64)> =
        disk.list().unwrap_or_default().into_iter().map(|e| (e.name, e.len)).collect();
    let Some((name, len)) = files.get(edit[0] as usize % files.len().max(1)) else { return };
    let scale = |bytes: &[u8]| bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let at = scale(&edit[1..4]) * len / (1 << 24);
    let whole = |at: u64, bytes: &[u8]| {
        // A file that an edit before has shortened may end right here.
        let fitting = bytes.len().min(len.saturating_sub(at) as usize);
        if fitting > 0 {
            disk.corrupt(name, at, &bytes[..fitting]);
        }
    };
    match edit[4] % 8 {
        0 => disk.lose(name),
        1 => disk.shorten(name, at),
        2 if at < *len => whole(at / BLOCK as u64 * BLOCK as u64, &[0; BLOCK]),
        // A field of a header: the checksums that are put right later make it believed.
        3 if at < *len => whole(at / BLOCK as u64 * BLOCK as u64 + u64::from(edit[5] % 96), &edit[6..8]),
        4 => {
            let (other, _) = &files[edit[5] as usize % files.len()];
            let content = disk.contents()[other].clone();
            disk.plant(name, &content);
        }
        _ if at < *len => whole(at, &edit[5..8]),
        _ => {}
    }
}

/// Puts the checksums of all headers and records right that look as if they had some.
fn put_checksums_right(disk: &SimDisk) {
    for (file, mut bytes) in disk.contents() {
        let Some(name) = SegmentName::parse(&file) else {
            for block in bytes.chunks_exact_mut(BLOCK) {
                let crc = format::block_crc(0, block);
                block[12..16].copy_from_slice(&crc.to_le_bytes());
            }
            disk.plant(&file, &bytes);
            continue;
        };
        let seed = format::seed_of(name.id);
        if let Some(block) = bytes.get_mut(..BLOCK) {
            let crc = format::block_crc(seed, block);
            block[12..16].copy_from_slice(&crc.to_le_bytes());
        }
        let mut prev = match bytes.get(..BLOCK).map(|block| SegmentHeader::read(name, block)) {
            Some(format::FirstBlock::Header(header)) => header.from().crc,
            _ => 0,
        };
        for at in (BLOCK..bytes.len()).step_by(BLOCK) {
            let Some(header) = bytes.get(at..at + BATCH_HEADER) else { break };
            let mut header: BatchHeader = bytemuck::pod_read_unaligned(header);
            let end = at.saturating_add(BATCH_HEADER).saturating_add(header.payload_len as usize);
            if header.segment_id == name.id && end <= bytes.len() {
                put_records_right(&mut bytes[at + BATCH_HEADER..end]);
                header.prev_crc = prev;
                prev = header.seal(seed, &mut bytes[at..]).header_crc;
            }
        }
        disk.plant(&file, &bytes);
    }
}

fn put_records_right(mut payload: &mut [u8]) {
    while let Some((header, rest)) = payload.split_at_mut_checked(RECORD_HEADER) {
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some((txn, behind)) = rest.split_at_mut_checked(len) else { return };
        header[4..].copy_from_slice(&format::record_crc(txn).to_le_bytes());
        payload = behind;
    }
}
