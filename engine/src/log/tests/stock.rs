//! Segment files: prepared, recycled, removed, and no name used twice.

use super::*;
use crate::io::sim::Event;

#[test]
fn no_name_is_ever_used_twice() {
    let mut rig = Rig::new(1);
    for _ in 0..6 {
        for _ in 0..8 {
            rig.batch(1, 3000);
            rig.housekeep();
            rig.settle();
        }
        rig.purge(zxid(rig.log.durable().get().raw() - 3));
        rig.settle();
        rig.truncate(zxid(rig.log.durable().get().raw() - 1));
        (rig, _) = rig.reopen();
    }
    let named = rig.disk.trace().into_iter().filter_map(|e| match e {
        Event::Create(name, _) | Event::Rename(_, name) => Some(name),
        _ => None,
    });
    let mut names: Vec<String> = named.filter(|n| n.starts_with("log.")).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    let mut ids: Vec<u64> = names.iter().map(|n| SegmentName::parse(n).unwrap().id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn purged_segments_are_recycled_after_two_marks_and_their_number_is_bounded() {
    let mut rig = Rig::new(1);
    rig.housekeep();
    for _ in 0..30 {
        rig.batch(1, 3000);
        rig.settle();
        let before = rig.disk.trace().len();
        rig.log.purge(rig.log.durable().get());
        assert!(rig.log.removal_wanted().is_none());
        let purging = rig.log.purging.is_some();
        rig.seal();
        rig.settle();
        let marks = rig.disk.trace()[before..]
            .iter()
            .filter(|e| matches!(e, Event::Submit { file, .. } if file == "marks"))
            .count();
        assert!(!purging || marks >= 2, "{marks}");
        assert!(rig.log.purging.is_none());
        rig.housekeep();
        assert!(rig.disk.list().unwrap().len() <= 2 + 2 + 2 + 2, "{:?}", rig.disk.list());
    }
    let trace = rig.disk.trace();
    let renames = trace.iter().filter(|e| matches!(e, Event::Rename(..))).count();
    let created = trace.iter().filter(|e| matches!(e, Event::Create(n, _) if n.starts_with("log."))).count();
    assert!(renames >= 4 && created <= 5, "{renames} renames, {created} creations");
}

#[test]
fn one_request_is_out_at_a_time_and_a_failed_one_is_followed_by_another() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk).unwrap();
    let first = log.segment_wanted().unwrap();
    assert_eq!(log.segment_wanted(), None);
    log.segment_failed(&first.name);
    let second = log.segment_wanted().unwrap();
    assert_ne!(first.name, second.name);
    assert_eq!(log.removal_wanted(), Some(first.name.clone()), "it may have left something behind");
    log.segment_prepared(&first.name);
    assert_eq!(log.space(), Space::None, "that one was given up");
    second.perform(&disk).unwrap();
    log.segment_prepared(&second.name);
    assert_eq!(log.space(), Space::Ok);
}

#[test]
fn a_segment_overtaken_by_a_cut_is_not_used_out_of_order() {
    let mut rig = Rig::new(1);
    rig.batch(3, 100);
    rig.settle();
    while rig.log.stock.take().is_some() {}
    let request = rig.log.segment_wanted().unwrap();
    rig.truncate(zxid(2));
    request.perform(&rig.disk).unwrap();
    rig.log.segment_prepared(&request.name);
    for _ in 0..12 {
        rig.batch(1, 3000);
        rig.housekeep();
        rig.settle();
    }
    let numbers: Vec<u64> = rig.log.segments.iter().map(|s| s.name.number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    rig.reopen();
}

#[test]
fn segments_of_another_length_stay_readable_and_are_not_used_anew() {
    let mut rig = Rig::new(1);
    for _ in 0..6 {
        rig.batch(1, 3000);
        rig.housekeep();
        rig.settle();
    }
    let Rig { log, disk, now, .. } = rig;
    log.close(&disk).unwrap();
    let (history, acked) = now.histories[0].clone();
    let options = LogOptions { segment_bytes: 9 * BLOCK as u64, ..small() };
    let mut rig = Rig::with(disk, options);
    assert_eq!((rig.history(), rig.acked()), (&history, acked));
    let max = rig.log.max_record();
    rig.batch(1, max);
    rig.housekeep();
    rig.settle();
    assert_eq!(rig.log.segments.last().unwrap().len, 9 * BLOCK as u64);
    rig.reopen();
}

#[test]
fn a_segment_is_kept_until_the_next_one_has_a_durable_batch() {
    let mut rig = Rig::new(1);
    for _ in 0..5 {
        rig.batch(1, 3000);
        rig.settle();
    }
    rig.disk.set_completion(Completion::Manual);
    rig.batch(1, 3000);
    assert_eq!((rig.log.segments.len(), rig.writes().len()), (2, 2), "header and batch are in flight");
    assert_eq!(rig.log.purge(zxid(100)), 0);
    rig.disk.complete(rig.writes()[0]);
    rig.reap();
    assert_eq!(rig.log.purge(zxid(100)), 0, "a header alone is not enough");
    rig.settle();
    assert_eq!(rig.log.purge(zxid(100)), 1);
}
