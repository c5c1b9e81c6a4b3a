//! Views: what was durable at one moment, read in pieces while the log goes on.

use super::*;
use crate::log::scan::CHUNK;

/// Transactions above `after` up to `upto`, and the point that they end at.
fn read(rig: &Rig, view: &View, after: i64, upto: i64) -> (Vec<i64>, Point) {
    let mut found = Vec::new();
    let point = view.replay(&rig.disk, zxid(after), zxid(upto), &mut |_, zxid| {
        found.push(zxid.raw());
        Ok(())
    });
    (found, point.unwrap())
}

/// Batches of four, two to a segment.
fn fours(batches: usize) -> Rig {
    let mut rig = Rig::new(1);
    for _ in 0..batches {
        rig.batch(4, 1500);
        rig.settle();
    }
    rig
}

#[test]
fn any_stretch_is_read_and_ends_at_the_batch_of_its_last_transaction() {
    let rig = fours(15);
    assert!(rig.log.segments.len() > 4);
    let whole = rig.log.view(Zxid::ZERO);
    for after in 0..60 {
        let view = rig.log.view(zxid(after));
        for upto in after..=60 {
            let (found, point) = read(&rig, &view, after, upto);
            assert_eq!(found, (after + 1..=upto).collect::<Vec<_>>());
            assert_eq!((point.zxid, point.seq), (zxid(upto), upto.cast_unsigned().div_ceil(4)), "{after}");
            assert_eq!(read(&rig, &whole, after, upto), (found, point));
        }
    }
    assert_eq!(read(&rig, &whole, 0, 60).1, rig.log.durable);
}

#[test]
fn zxids_that_are_missing_or_come_twice_are_no_matter() {
    let mut rig = Rig::new(1);
    for raw in [1, 2, 2, 5, 1 << 32 | 1] {
        let bytes = txn(zxid(raw), 100, raw as u8);
        rig.log.append(zxid(raw), |out| out.extend_from_slice(&bytes)).unwrap();
        while !rig.log.is_idle() {
            rig.housekeep();
            rig.seal();
            rig.disk.complete_all();
            let mut done = Vec::new();
            rig.disk.reap(&mut done);
            done.into_iter().for_each(|done| _ = rig.log.on_done(done).unwrap());
        }
    }
    let view = rig.log.view(Zxid::ZERO);
    for (after, upto, found, seq) in [
        (0, 1, vec![1], 1),
        (0, 2, vec![1, 2, 2], 3),
        (1, 4, vec![2, 2], 3),
        (2, 4, vec![], 3),
        (4, 9, vec![5], 4),
    ] {
        let (read, point) = read(&rig, &view, after, upto);
        assert_eq!((read, point.seq), (found, seq), "{after} to {upto}");
    }
}

#[test]
fn what_comes_after_the_view_was_taken_is_not_in_it() {
    let mut rig = fours(2);
    let view = rig.log.view(Zxid::ZERO);
    rig.batch(3, 300);
    rig.settle();
    assert_eq!(read(&rig, &view, 0, 100).0, (1..=8).collect::<Vec<_>>());
    rig.truncate(zxid(6));
    rig.batch(2, 300);
    rig.settle();
    let view = rig.log.view(Zxid::ZERO);
    let (found, point) = read(&rig, &view, 0, 100);
    assert_eq!(found, (1..=8).collect::<Vec<_>>());
    assert_eq!(point, rig.log.durable);
    assert_eq!(read(&rig, &view, 0, 6).1.zxid, zxid(6), "the batch is cut behind its second");
}

#[test]
fn a_segment_that_is_freed_meanwhile_is_an_error() {
    let mut rig = fours(15);
    let view = rig.log.view(Zxid::ZERO);
    assert!(rig.purge(zxid(40)) > 1);
    (0..4).for_each(|_| _ = rig.tick(200));
    rig.settle();
    // What is not recycled is removed.
    while rig.log.stock.removal().is_some_and(|file| rig.disk.remove(&file).is_ok()) {}
    let replayed = view.replay(&rig.disk, Zxid::ZERO, zxid(60), &mut |_, _| Ok(()));
    let error = replayed.unwrap_err().to_string();
    assert!(error.contains("log.0000000000000001-"), "{error}");
}

#[test]
fn a_piece_is_about_a_mebibyte_and_reading_costs_little_more_than_the_bytes() {
    let options = LogOptions {
        segment_bytes: 16 << 20,
        batch_bytes: 256 << 10,
        reserve_bytes: 0,
        ..LogOptions::new(7)
    };
    let mut rig = Rig::with(SimDisk::new(1), options);
    for len in [100 << 10, 240 << 10, 3 << 20, 60 << 10, 60 << 10].into_iter().cycle().take(25) {
        rig.batch(1, len);
        rig.settle();
    }
    let view = rig.log.view(Zxid::ZERO);
    let mut reading = view.reading(Zxid::ZERO, zxid(100));
    let (mut found, mut pieces) = (0, Vec::new());
    let mut count = |_: &[u8], _: Zxid| {
        found += 1;
        Ok(())
    };
    while let Some(bytes) = reading.next(&view, &rig.disk, &mut count).unwrap() {
        pieces.push(bytes);
    }
    assert_eq!(found, 25);
    assert_eq!(pieces.iter().sum::<u64>(), view.bytes());
    assert!(
        pieces.iter().all(|&bytes| bytes <= CHUNK as u64 || bytes == (3 << 20) + BLOCK as u64),
        "{pieces:?}"
    );
}
