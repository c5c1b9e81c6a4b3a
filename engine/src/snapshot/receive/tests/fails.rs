//! What fails on the way leaves nothing behind, and says what it was.

use super::*;
use crate::io::sim::SimOp;
use crate::snapshot::receive::abandon;

/// A stream that is not canonical: its sessions come in another order.
fn other() -> Vec<u8> {
    let mut leader = Leader::new();
    for i in 0..30 {
        leader.create(&format!("/{i}"), &"x".repeat(70_000));
    }
    let mut stream = stream_of(&leader.tree, &[(SessionId(5), 4000), (SessionId(6), 4000)]);
    stream[4..28].rotate_left(12);
    stream
}

/// Stores and loads; whoever stores removes what is left when that fails.
fn take(disk: &SimDisk, stream: &[u8]) -> Result<Arrived, LogError> {
    let mut reception = Reception::new(zxid(9), Limits::default());
    let mut steps = Vec::new();
    reception.feed(stream, &mut steps).unwrap();
    let stored = steps.iter().try_for_each(|step| perform(step, RECEIVING, disk));
    stored.inspect_err(|_| abandon(disk).unwrap())?;
    reception.finish(SEED).perform(disk, &mut |_, _| ())
}

#[test]
fn without_space_nothing_is_left_behind() {
    for stream in [large(), other()] {
        let disk = SimDisk::new(1);
        take(&disk, &stream).unwrap();
        let whole = stored(&disk).len() + BLOCK;
        // Two files at once while one is written anew.
        let twice = if stream == other() { whole - 2 * BLOCK } else { 0 };
        let least = whole + twice;
        for capacity in (0..least).step_by(37 * BLOCK).chain([least - BLOCK]) {
            let disk = SimDisk::new(1);
            disk.set_capacity(capacity as u64);
            let error = take(&disk, &stream).map(drop).unwrap_err();
            let full = matches!(&error, LogError::Io { source, .. } | LogError::File { source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull);
            assert!(full, "{capacity}: {error}");
            assert!(disk.contents().is_empty(), "{capacity}: {error}");
        }
        let disk = SimDisk::new(1);
        disk.set_capacity(least as u64);
        take(&disk, &stream).unwrap();
    }
}

#[test]
fn a_failure_anywhere_leaves_nothing_behind_and_can_be_repeated() {
    let mut failures = 0;
    for stream in [large(), other()] {
        for op in [SimOp::Create, SimOp::Write, SimOp::Sync, SimOp::Read] {
            for nth in 0.. {
                let disk = SimDisk::new(1);
                disk.fail(op, nth, 5);
                let result = take(&disk, &stream);
                disk.heal();
                let Err(error) = result else { break };
                failures += 1;
                assert!(disk.contents().is_empty(), "{op:?} {nth}: {error}");
                take(&disk, &stream).unwrap();
            }
        }
    }
    assert!(failures > 20, "{failures}");
}

#[test]
fn what_is_not_read_back_as_it_came_is_refused() {
    let stream = large();
    for at in [0, PIECE + 5, stream.len() - 1] {
        let disk = SimDisk::new(1);
        let request = receive_in(&disk, &stream, zxid(9), &[PIECE]).unwrap().finish(SEED);
        disk.corrupt(RECEIVING, (BLOCK + at) as u64, &[stream[at] ^ 1]);
        let error = request.perform(&disk, &mut |_, _| ()).map(drop).unwrap_err();
        let offset = BLOCK + at / PIECE * PIECE;
        let text = format!("sim/{RECEIVING} does not give back at offset {offset} what was written there");
        assert_eq!(error.to_string(), text);
        assert!(disk.contents().is_empty());
    }
}

#[test]
fn an_interrupted_reception_is_begun_anew_over_what_is_left() {
    let (first, second) = (other(), large());
    let disk = SimDisk::new(1);
    let mut reception = Reception::new(zxid(9), Limits::default());
    let mut steps = Vec::new();
    reception.feed(&first[..first.len() - 1], &mut steps).unwrap();
    steps.iter().for_each(|step| perform(step, RECEIVING, &disk).unwrap());
    arrive(&disk, &second, zxid(7)).unwrap();
    assert!(stored(&disk) == file_of(&second));
    abandon(&disk).unwrap();
    abandon(&disk).unwrap();
    assert!(disk.contents().is_empty());
}
