//! How much is read, written and held at a time.

use super::history::history;
use super::*;
use crate::snapshot::format::PIECE;

/// Batches and segments for nodes of any size.
fn large() -> LogOptions {
    LogOptions { segment_bytes: 16 << 20, batch_bytes: 256 << 10, reserve_bytes: 0, ..LogOptions::new(7) }
}

/// Goes through a making, performing its steps, and hands out each with the making as it is behind it.
fn watch(rig: &Rig, request: SnapshotRequest, mut each: impl FnMut(&Step, &Making)) -> Published {
    let mut making = request.begin();
    let mut done = 0;
    while let Some(step) = making.next(&rig.disk).unwrap() {
        perform(&step, MAKING, &rig.disk).unwrap();
        let progress = making.progress();
        assert!(progress.done >= done && progress.done <= progress.of);
        done = progress.done;
        each(&step, &making);
    }
    let progress = making.progress();
    assert_eq!(progress.done, progress.of);
    making.published()
}

#[test]
fn the_small_tree_holds_what_was_touched_and_its_ancestors() {
    let mut leader = Leader::new();
    for parent in 0..30 {
        leader.create(&format!("/p{parent:02}"), "");
        for child in 0..100 {
            leader.create(&format!("/p{parent:02}/c{child:02}"), "data");
        }
    }
    let before = leader.log.len();
    leader.create_ephemeral("/p03/c07/x", 4);
    let ephemeral = leader.log.len();
    leader.set("/p05/c50", "changed");
    leader.delete("/p05/c51");
    leader.create("/p05/c50-", "new");
    leader.close(4, false);
    let mut rig = Rig::new(large());
    rig.commit(&leader.log, 50);
    let first = rig.make(None, before).unwrap();
    let second = rig.make(Some(first), ephemeral).unwrap();
    let mut most = 0;
    let last = watch(&rig, rig.request(Some(second), leader.log.len()), |_, making| {
        if let Pass::Writing(writing, _) = &making.pass {
            most = most.max(writing.tree().node_count());
        }
    });
    rig.check(&last, Straight::new().go_to(&leader.log, leader.log.len()));
    // Those of an empty tree; /p03 and /p03/c07, whose ephemeral went; /p05, /p05/c50 and the new one.
    assert_eq!(most, 5 + 2 + 3);
}

#[test]
fn reads_and_writes_are_of_one_piece_at_most() {
    let mut leader = Leader::new();
    for i in 0..40 {
        leader.create(&format!("/large{i}"), &"x".repeat(100_000 + i));
    }
    leader.create("/larger", &"y".repeat(2_500_000));
    for i in 0..9 {
        leader.create(&format!("/larger/{i}"), "z");
    }
    let before = leader.log.len();
    leader.delete("/larger/3");
    leader.set("/large7", "small now");
    leader.create("/large7/below", &"w".repeat(1_200_000));
    let mut rig = Rig::new(large());
    rig.commit(&leader.log, 3);
    let mut previous = None;
    for upto in [before, leader.log.len()] {
        let (mut read, mut written) = (0, BLOCK as u64);
        let made = watch(&rig, rig.request(previous, upto), |step, _| match step {
            // A batch of one long transaction is read at once.
            Step::Read(bytes) => {
                assert!(*bytes <= 2_600_000);
                read += bytes;
            }
            Step::Write { offset: 0, bytes } => assert_eq!(bytes.len(), BLOCK),
            Step::Write { offset, bytes } => {
                assert_eq!(*offset, written);
                assert!(bytes.len() <= PIECE && bytes.len() % BLOCK == 0);
                written += bytes.len() as u64;
            }
            _ => {}
        });
        assert!(made.body_len() > 4 << 20 && read > 2 << 20);
        assert_eq!(written, made.file_len());
        rig.check(&made, Straight::new().go_to(&leader.log, upto));
        previous = Some(made);
    }
}

#[test]
fn everything_is_flushed_before_the_header_and_the_header_before_the_name() {
    let payloads = history(2, 200);
    for sync in [true, false] {
        let mut rig = Rig::new(LogOptions { sync, ..small() });
        rig.commit(&payloads, 5);
        let mut steps = Vec::new();
        let made = watch(&rig, rig.request(None, 200), |step, _| steps.push(step.clone()));
        steps.retain(|step| !matches!(step, Step::Read(_)));
        let others = steps.iter().take_while(|step| matches!(step, Step::FlushFile(_))).count();
        let segments = rig.disk.contents().keys().filter(|name| name.starts_with("log.")).count();
        assert!(if sync { others == 0 } else { (2..=segments).contains(&others) });
        let kinds: Vec<&str> = steps[others..]
            .iter()
            .map(|step| match step {
                Step::Create(name) => name,
                Step::Write { offset: 0, .. } => "header",
                Step::Write { .. } => "write",
                Step::Flush => "flush",
                Step::Publish(name) => {
                    assert_eq!(*name, made.file());
                    "publish"
                }
                Step::FlushFile(_) | Step::Read(_) => "too late",
            })
            .collect();
        assert_eq!(kinds, [MAKING, "write", "write", "flush", "header", "publish"]);
    }
}
