//! The way in: batches, order, rolling, marks.

use super::*;
use crate::io::sim::Event;

#[test]
fn what_was_logged_is_replayed_in_order_with_its_bytes() {
    let mut rig = Rig::new(1);
    for i in 0..40 {
        rig.batch(1 + i % 3, 32 + 97 * i);
        rig.housekeep();
        rig.reap();
    }
    rig.settle();
    let history = rig.history().clone();
    assert!(rig.log.segments.len() > 3);
    let (rig, report) = rig.reopen();
    assert_eq!((rig.history(), report.torn, report.created), (&history, None, false));
    assert_eq!(report.records, history.len() as u64);
}

#[test]
fn nothing_is_durable_before_all_before_it_are() {
    let mut rig = Rig::new(1);
    rig.housekeep();
    rig.disk.set_completion(Completion::Manual);
    for _ in 0..3 {
        rig.batch(1, 100);
    }
    let tags = rig.writes();
    assert_eq!(tags, [0, 1, 2, 3], "the header of the segment is in flight with the first batches");
    for (tag, acked) in [(3, 0), (1, 0), (0, 1), (2, 3)] {
        rig.disk.complete(tag);
        rig.reap();
        assert_eq!(rig.acked(), acked, "after {tag}");
    }
}

#[test]
fn no_more_than_k_writes_are_in_flight_and_the_waiting_batch_grows() {
    let mut rig = Rig::new(1);
    rig.housekeep();
    rig.disk.set_completion(Completion::Manual);
    for _ in 0..9 {
        rig.batch(1, 100);
    }
    assert_eq!(rig.writes().len(), 4);
    rig.disk.complete_all();
    rig.reap();
    rig.seal();
    assert_eq!(rig.writes().len(), 1, "six transactions went into one batch");
    rig.settle();
}

#[test]
fn a_header_and_its_batches_go_out_one_by_one_with_k_of_one() {
    let options = LogOptions { in_flight: 1, ..small() };
    let mut rig = Rig::with(SimDisk::new(1), options);
    rig.housekeep();
    rig.disk.set_completion(Completion::Manual);
    rig.batch(1, 100);
    assert_eq!(rig.writes(), [0]);
    rig.disk.complete_all();
    rig.reap();
    assert_eq!(rig.acked(), 0);
    rig.seal();
    rig.settle();
}

#[test]
fn full_batches_wait_and_go_out_in_order() {
    let mut rig = Rig::new(1);
    for _ in 0..30 {
        rig.append(1500);
    }
    rig.settle();
    let history = rig.history().clone();
    assert_eq!(rig.reopen().0.history(), &history);
}

#[test]
fn a_record_may_be_larger_than_a_batch_and_not_than_a_segment() {
    let mut rig = Rig::new(1);
    let max = rig.log.max_record();
    assert_eq!(max, 5 * BLOCK - 64 - 8);
    rig.batch(1, 50);
    rig.batch(1, max);
    rig.batch(1, 50);
    rig.settle();
    let history = rig.history().clone();
    let next = zxid(rig.log.appended().raw() + 1);
    let long = txn(next, max + 1, 0);
    let error = rig.log.append(next, |out| out.extend_from_slice(&long)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "a transaction of {} bytes does not fit into a log segment, which takes at most {max}",
            max + 1
        )
    );
    assert_eq!(rig.log.appended(), zxid(3), "the refusal took no zxid");
    assert_eq!(rig.reopen().0.history(), &history);
}

#[test]
fn the_memory_of_a_long_transaction_is_given_back() {
    let mut rig = Rig::with(SimDisk::new(1), LogOptions { segment_bytes: 8 << 20, ..small() });
    rig.batch(1, 5 << 20);
    rig.housekeep();
    rig.settle();
    assert!(rig.log.scratch.capacity() >= 5 << 20);
    rig.batch(1, 100);
    rig.settle();
    assert!(rig.log.scratch.capacity() <= 1 << 20);
}

#[test]
fn what_is_not_the_transaction_is_refused_and_takes_no_place() {
    let mut rig = Rig::new(1);
    rig.batch(2, 40);
    let wrong = txn(zxid(9), 40, 0);
    let append = |rig: &mut Rig, z, bytes: &[u8]| rig.log.append(zxid(z), |out| out.extend_from_slice(bytes));
    assert!(matches!(append(&mut rig, 3, &wrong), Err(LogError::NotTheTransaction { .. })));
    assert!(matches!(
        append(&mut rig, 3, &wrong[..31]),
        Err(LogError::NotTheTransaction { found: None, .. })
    ));
    let low = txn(zxid(1), 40, 0);
    assert!(matches!(append(&mut rig, 1, &low), Err(LogError::Order { .. })));
    rig.batch(1, 40);
    rig.settle();
    rig.reopen();
}

#[test]
fn equal_zxids_in_a_row_are_kept() {
    let mut rig = Rig::new(1);
    rig.batch(1, 40);
    let again = txn(zxid(1), 60, 9);
    rig.now.histories[0].0.push((zxid(1), again.clone()));
    rig.log.append(zxid(1), |out| out.extend_from_slice(&again)).unwrap();
    rig.batch(1, 40);
    rig.settle();
    assert_eq!(rig.history().len(), 3);
    rig.reopen();
}

#[test]
fn what_is_not_durable_is_not_released() {
    let mut rig = Rig::new(1);
    rig.housekeep();
    let bytes = txn(zxid(1), 77, 0);
    rig.log.append(zxid(1), |out| out.extend_from_slice(&bytes)).unwrap();
    for sealed in [false, true] {
        if sealed {
            rig.seal();
        }
        rig.log.release(zxid(1));
        let found = rig.log.next(&mut rig.log.cursor(Zxid::ZERO), zxid(1));
        assert_eq!(found, Next::Txn(zxid(1), &bytes), "sealed: {sealed}");
    }
}

#[test]
fn buffers_are_used_again() {
    let mut rig = Rig::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        rig.batch(1, 100);
        rig.housekeep();
        rig.reap();
        rig.seal();
        rig.reap();
        seen.insert(rig.log.batches.unsealed().map(|b| b.buf.as_ptr() as usize));
        assert!(rig.log.batches.unsealed().is_none());
    }
    let submitted = rig.disk.trace().iter().filter(|e| matches!(e, Event::Submit { .. })).count();
    assert!(submitted > 50);
    assert!(rig.log.batches.made() <= 3, "{} buffers for one write at a time", rig.log.batches.made());
}

#[test]
fn the_mark_is_written_when_quiet_or_every_so_often_and_at_a_stop() {
    let mut rig = Rig::new(1);
    rig.settle();
    let marks = |rig: &Rig| {
        rig.disk.trace().iter().filter(|e| matches!(e, Event::Submit { file, .. } if file == "marks")).count()
    };
    assert_eq!(rig.tick(1), None, "nothing to mark");
    rig.batch(1, 40);
    rig.settle();
    let at_roll = marks(&rig);
    assert_eq!(at_roll, 1, "a new segment is marked at once");
    rig.batch(1, 40);
    rig.settle();
    let due = rig.tick(1).unwrap();
    assert_eq!(due, rig.clock + 10);
    rig.tick(10);
    rig.settle();
    assert_eq!(marks(&rig), at_roll + 1, "ten quiet milliseconds");
    assert_eq!(rig.tick(1), None);
    for _ in 0..40 {
        rig.batch(1, 40);
        rig.settle();
        rig.tick(5);
    }
    let rolls = rig.log.segments.len() - 1;
    let under_load = marks(&rig) - at_roll - 1;
    assert!((1..=2 + rolls).contains(&under_load), "{under_load} marks in 200 ms with {rolls} rolls");
    rig.settle();
    let Rig { log, disk, .. } = rig;
    let durable = log.durable;
    log.close(&disk).unwrap();
    let files = Files::list(&disk).unwrap();
    let slots = slots::Slots::<Mark>::load(&files).unwrap().unwrap();
    assert_eq!(slots.value().durable(), durable);
}

#[test]
fn a_new_directory_has_its_promises_before_any_log() {
    let disk = SimDisk::new(3);
    let (mut log, report, _) = open(&disk).unwrap();
    assert!(report.created);
    assert_eq!(log.epochs().get(), Epochs::default());
    use crate::id::Epoch;
    let promise = Epochs { accepted: Epoch(3), current: Epoch(2), nonvoting: false };
    assert_eq!(log.set_epochs(&disk, promise).unwrap().get(), promise);
    for lower in [Epochs { accepted: Epoch(2), ..promise }, Epochs { current: Epoch(1), ..promise }] {
        assert!(matches!(log.set_epochs(&disk, lower), Err(LogError::EpochOrder { .. })));
    }
    disk.crash(crate::io::sim::Crash::HARSH);
    assert_eq!(open(&disk).unwrap().0.epochs().get(), promise);
}

#[test]
fn a_file_of_another_server_is_named_and_left_alone() {
    let mut rig = Rig::new(3);
    rig.batch(3, 100);
    rig.settle();
    let disk = rig.disk.clone();
    disk.plant("log.100000001", b"ZKLG\0\0\0\x02 a Java log");
    disk.plant("log.1", b"");
    disk.plant("myid", b"1");
    let (_, report) = rig.reopen();
    assert_eq!(report.ignored, ["log.1", "log.100000001"]);
    assert_eq!(disk.contents()["log.100000001"], b"ZKLG\0\0\0\x02 a Java log");
}

#[test]
fn a_directory_of_another_server_is_refused_every_time_and_left_as_it_is() {
    let refused = |disk: &SimDisk| {
        disk.plant("log.100000001", b"ZKLG\0\0\0\x02 a Java log");
        let before = disk.contents();
        for _ in 0..2 {
            let error = open(disk).err().unwrap();
            assert!(
                matches!(&error, LogError::NotOurs { path } if *path == disk.path("log.100000001")),
                "{error}"
            );
            assert!(disk.contents() == before);
        }
    };
    refused(&SimDisk::new(3));
    // An earlier version has left its files there, with nothing in them.
    let begun = SimDisk::new(3);
    open(&begun).unwrap();
    refused(&begun);
    // Not another server's, whatever it is.
    let disk = SimDisk::new(3);
    disk.plant("log.fffffffffffffff0-0000000000000000", b"");
    assert_eq!(open(&disk).unwrap().1.ignored, ["log.fffffffffffffff0-0000000000000000"]);
}

#[test]
fn options_that_no_log_can_have_are_refused() {
    for bad in [
        LogOptions { segment_bytes: 5000, ..small() },
        LogOptions { segment_bytes: LogOptions::MAX_SEGMENT_BYTES + BLOCK as u64, ..small() },
        LogOptions { batch_bytes: 6 * BLOCK, ..small() },
        LogOptions { in_flight: 0, ..small() },
        LogOptions { prepare_ahead: 0, ..small() },
    ] {
        assert!(matches!(open_with(&SimDisk::new(1), bad), Err(LogError::Option { .. })));
    }
}
