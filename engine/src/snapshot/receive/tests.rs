//! Receptions: in pieces of any size, judged exactly, canonical in the end, and without a trace when they fail.

mod fails;
mod judged;

use super::super::tests::{SEED, history, put_node, stream_of};
use super::super::{END_OF_NODES, Loader, OPEN_ACL, PIECE, SIGNATURE};
use super::*;
use crate::id::SessionId;
use crate::io::BLOCK;
use crate::io::sim::SimDisk;
use crate::jute::{put_i32, put_i64, put_ustring};
use crate::log::LogError;
use crate::snapshot::steps::perform;
use crate::tree::tests::leader::Leader;
use crate::tree::tests::{assert_consistent, dump};
use crate::tree::{StatPersisted, Tree};

fn zxid(raw: i64) -> Zxid {
    Zxid::from_raw(raw)
}

/// Feeds a stream in pieces of these lengths, over and over, and performs what comes of it.
fn receive_in(
    disk: &SimDisk,
    stream: &[u8],
    zxid: Zxid,
    lengths: &[usize],
) -> Result<Reception, SnapshotError> {
    let mut reception = Reception::new(zxid, Limits::default());
    let mut at = 0usize;
    for len in lengths.iter().cycle() {
        let mut steps = Vec::new();
        let piece = &stream[at..at.saturating_add(*len).min(stream.len())];
        let fed = reception.feed(piece, &mut steps)?;
        at += fed.used;
        assert_eq!(reception.received(), at as u64);
        assert!(fed.used == piece.len() || fed.done);
        for step in &steps {
            perform(step, RECEIVING, disk).unwrap();
        }
        if fed.done {
            assert_eq!(at, stream.len(), "the stream ends with its signature");
            return Ok(reception);
        }
        if at == stream.len() {
            return Err(SnapshotError::Unfinished { at: at as u64 });
        }
    }
    unreachable!("the lengths have no end")
}

/// Takes a stream at once and loads it.
fn arrive(disk: &SimDisk, stream: &[u8], at: Zxid) -> Result<Arrived, LogError> {
    receive_in(disk, stream, at, &[usize::MAX]).unwrap().finish(SEED).perform(disk, &mut |_, _| ())
}

/// What the one file that an arrival leaves contains, but for the header.
fn stored(disk: &SimDisk) -> Vec<u8> {
    let mut files = disk.contents();
    assert_eq!(files.len(), 1, "{:?}", files.keys());
    let (_, mut bytes) = files.pop_first().unwrap();
    assert_eq!(bytes[..BLOCK], [0; BLOCK], "the header's place");
    bytes.split_off(BLOCK)
}

/// Body, padding, checksums, padding: drawn here once more.
fn file_of(body: &[u8]) -> Vec<u8> {
    let mut file = body.to_vec();
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    body.chunks(PIECE).for_each(|piece| file.extend(crc32c::crc32c(piece).to_le_bytes()));
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    file
}

/// A stream of a few MiB.
fn large() -> Vec<u8> {
    let mut leader = Leader::new();
    for i in 0..40 {
        leader.create(&format!("/{i}"), &"x".repeat(70_000 + i));
    }
    stream_of(&leader.tree, &[(SessionId(5), 4000)])
}

#[test]
fn every_split_of_a_stream_makes_the_same_file() {
    let (leader, sessions) = history(3, 60);
    let stream = stream_of(&leader.tree, &sessions);
    for first in 1..stream.len() {
        for rest in [usize::MAX, 1] {
            if rest == 1 && first % 97 != 0 {
                continue;
            }
            let disk = SimDisk::new(1);
            let lengths = if rest == 1 { vec![first, 1, 7] } else { vec![first, rest] };
            let request = receive_in(&disk, &stream, zxid(9), &lengths).unwrap().finish(SEED);
            assert!(request.is_canonical, "split at {first}");
            request.perform(&disk, &mut |_, _| ()).unwrap();
            assert!(stored(&disk) == file_of(&stream), "split at {first}");
        }
    }
}

#[test]
fn pieces_of_a_mib_go_out_when_they_are_full() {
    let stream = large();
    let mut expected = None;
    for len in [stream.len(), PIECE, 100_000, 4097] {
        let mut reception = Reception::new(zxid(9), Limits::default());
        let mut steps = Vec::new();
        for piece in stream.chunks(len) {
            reception.feed(piece, &mut steps).unwrap();
            let written: usize =
                steps.iter().map(|s| if let Step::Write { bytes, .. } = s { bytes.len() } else { 0 }).sum();
            assert!(reception.received() < (written + PIECE) as u64, "no more than a piece is held");
        }
        assert_eq!(steps[0], Step::Create(RECEIVING));
        let mut offset = BLOCK as u64;
        for step in &steps[1..] {
            let Step::Write { offset: at, bytes } = step else { panic!("{step:?}") };
            assert_eq!(*at, offset);
            assert!(bytes.len() == PIECE || Some(step) == steps.last() && bytes.len().is_multiple_of(BLOCK));
            offset += bytes.len() as u64;
        }
        assert_eq!(steps.len(), 1 + stream.len().div_ceil(PIECE));
        assert!(expected.get_or_insert_with(|| steps.clone()) == &steps, "in pieces of {len}");
    }
}

#[test]
fn what_follows_the_signature_is_left_alone() {
    let mut stream = stream_of(&Tree::new(1), &[]);
    let len = stream.len();
    stream.extend_from_slice(b"the next packet");
    let mut reception = Reception::new(zxid(1), Limits::default());
    let mut steps = Vec::new();
    assert_eq!(reception.feed(&stream, &mut steps), Ok(Fed { used: len, done: true }));
    let before = steps.clone();
    assert_eq!(reception.feed(b"more", &mut steps), Ok(Fed { used: 0, done: true }));
    assert!(steps == before && reception.received() == len as u64);
}

#[test]
fn a_state_arrives_whole_with_progress() {
    let stream = large();
    let disk = SimDisk::new(1);
    let request = receive_in(&disk, &stream, zxid(77), &[100_000]).unwrap().finish(SEED);
    let mut told = Vec::new();
    let arrived = request.perform(&disk, &mut |done, of| told.push((done, of))).unwrap();
    let len = stream.len() as u64;
    assert!(told.is_sorted() && told.last() == Some(&(len, len)) && told.len() == 3, "{told:?}");
    assert!(stream_of(&arrived.tree, &arrived.sessions) == stream);
    assert_eq!((arrived.tree.last_zxid(), arrived.tree.is_converging()), (zxid(77), false));
    assert!(stored(&disk) == file_of(&stream));
}

/// One loop receives, another thread loads, and the first takes what has arrived.
#[test]
fn requests_and_arrivals_can_change_threads() {
    fn is_send<T: Send>(_: &T) {}
    let disk = SimDisk::new(1);
    let request = receive_in(&disk, &stream_of(&Tree::new(1), &[]), zxid(1), &[64]).unwrap().finish(SEED);
    is_send(&request);
    is_send(&request.perform(&disk, &mut |_, _| ()).unwrap());
}

/// Structure is refused as it arrives, at the place that the loader names; meaning when it is loaded.
#[test]
fn streams_are_refused_where_the_loader_refuses_them() {
    let mut random = fastrand::Rng::with_seed(8);
    let streams: Vec<Vec<u8>> = (0..6)
        .map(|seed| {
            let (leader, sessions) = history(seed, 40);
            stream_of(&leader.tree, &sessions)
        })
        .collect();
    let (mut early, mut late, mut taken) = (0, 0, 0);
    for round in 0..3000 {
        let mut stream = streams[round % streams.len()].clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..stream.len());
            match random.u8(..6) {
                0 => drop(stream.drain(at..(at + random.usize(1..80)).min(stream.len()))),
                1 => stream[at] = 0xff,
                2 => stream[at] = random.choice([0, 1, 4, 12, 0x7f, 0x80]).unwrap(),
                _ => stream[at] ^= 1 << random.u8(..8),
            }
        }
        let mut loader = Loader::new(zxid(20), SEED, Limits::default());
        let loaded = loader.feed(&stream);
        let disk = SimDisk::new(1);
        let mut reception = Reception::new(zxid(20), Limits::default());
        let mut steps = Vec::new();
        let received = stream
            .chunks(1 + random.usize(..400))
            .map(|piece| reception.feed(piece, &mut steps))
            .find(|fed| !matches!(fed, Ok(Fed { done: false, .. })));
        match (received, loaded) {
            (Some(Err(error)), loaded) => {
                // The loader may have found another fault before.
                let same = loaded.as_ref() == Err(&error);
                assert!(same || loaded.is_err(), "{error}");
                assert_eq!(reception.feed(b"more", &mut steps), Err(error), "the first error is the last");
                early += usize::from(same);
            }
            (Some(Ok(_)), loaded) => {
                steps.iter().for_each(|step| perform(step, RECEIVING, &disk).unwrap());
                match (reception.finish(SEED).perform(&disk, &mut |_, _| ()), loaded) {
                    (Ok(arrived), Ok(Fed { done: true, .. })) => {
                        let expected = loader.finish();
                        assert!(dump(&arrived.tree) == dump(&expected.tree));
                        assert_consistent(&arrived.tree);
                        assert!(stored(&disk) == file_of(&stream_of(&expected.tree, &expected.sessions)));
                        taken += 1;
                    }
                    (Err(LogError::Snapshot { source, .. }), Err(error)) => {
                        assert_eq!(source, error);
                        assert!(disk.contents().is_empty(), "nothing is left behind");
                        late += 1;
                    }
                    (arrived, loaded) => panic!("{:?} and {loaded:?}", arrived.map(|a| a.sessions)),
                }
            }
            (None, loaded) => assert!(!matches!(loaded, Ok(Fed { done: true, .. })), "its end was not seen"),
        }
    }
    assert!(early > 300 && late > 100 && taken > 300, "{early} early, {late} late, {taken} taken");
}
