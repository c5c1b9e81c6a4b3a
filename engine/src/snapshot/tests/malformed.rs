//! Streams that no server wrote: always an error that names the place, never a panic or memory for what only a number
//! announces.

use super::*;

fn refused(stream: &[u8]) -> SnapshotError {
    let error = load(stream, Zxid::ZERO).unwrap_err();
    let in_bytes = load_in(stream, Zxid::ZERO, &[1]).unwrap_err();
    assert_eq!(error, in_bytes, "the same in pieces");
    error
}

fn i32s(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

#[test]
fn nodes_must_come_once_and_behind_their_parents() {
    let node = |at, path: &str, source| SnapshotError::Node { at, path: path.into(), source };
    let of = |paths: &[&str]| {
        let nodes: Vec<_> = paths.iter().map(|path| (path.as_bytes(), -1)).collect();
        refused(&stream_with(&nodes))
    };
    assert_eq!(of(&["", "/a/b"]), node(84, "/a/b", RestoreError::NoParent));
    assert_eq!(of(&["/a", ""]), node(8, "/a", RestoreError::NoParent));
    assert_eq!(of(&["", "/a", "/a"]), node(162, "/a", RestoreError::Duplicate));
    assert_eq!(of(&["", ""]), node(84, "", RestoreError::Duplicate));
    for path in ["a", "//a", "/a/", "//"] {
        assert_eq!(of(&["", path]), node(84, path, RestoreError::Path), "{path}");
    }
    assert_eq!(of(&[]), SnapshotError::NoRoot);
    assert_eq!(refused(&stream_with(&[(b"", -1), (b"/\xff", -1)])), SnapshotError::NotText { at: 88 });
    assert_eq!(
        of(&["", "/a/b"]).to_string(),
        "node \"/a/b\" at offset 84 of the snapshot stream: its parent has not come before it"
    );
}

#[test]
fn an_acl_that_the_stream_must_have_is_missed() {
    let unknown = SnapshotError::UnknownAcl { at: 8, path: String::new(), acl: 7 };
    assert_eq!(refused(&stream_with(&[(b"", 7)])), unknown);
    // Our own files have all of them: nothing would come that gives one later.
    let mut stream = vec![0; 8];
    put_node(&mut stream, b"", None, 7, &StatPersisted { czxid: Zxid::from_raw(9), ..Default::default() });
    let mut loader = Loader::of_file(Zxid::from_raw(1), SEED);
    assert_eq!(loader.feed(&stream), Err(unknown));
}

#[test]
fn numbers_are_given_once() {
    let mut sessions = i32s(&[2]);
    (0..2).for_each(|_| sessions.extend(i32s(&[0, 5, 1000])));
    assert_eq!(refused(&sessions), SnapshotError::Duplicate { at: 16, what: "session", id: 5 });
    let acls = i32s(&[0, 2, 0, 5, 0, 0, 5, 0]);
    assert_eq!(refused(&acls), SnapshotError::Duplicate { at: 20, what: "ACL", id: 5 });
    assert_eq!(refused(&i32s(&[0, 1, -1, -1, 0])), SnapshotError::ReservedAcl { at: 8 });
}

#[test]
fn lengths_are_held_against_limits_and_cost_nothing() {
    let says = |stream: &[u8]| match refused(stream) {
        SnapshotError::Length { at, value, .. } => (at, value),
        other => panic!("{other}"),
    };
    let node = i32s(&[0, 0, 0]);
    for bad in [-1, i32::MIN] {
        assert_eq!(says(&i32s(&[bad])), (0, bad));
        assert_eq!(says(&i32s(&[0, bad])), (4, bad));
        assert_eq!(says(&i32s(&[0, 1, 0, 5, bad])), (16, bad));
        assert_eq!(says(&i32s(&[0, 0, bad])), (8, bad));
    }
    assert_eq!(says(&i32s(&[0, 1, 0, 5, 1, 31, -2])), (24, -2));
    assert_eq!(says(&i32s(&[0, 1, 0, 5, 1, 31, 0, i32::MAX])), (28, i32::MAX));
    assert_eq!(says(&i32s(&[0, 1, 0, 5, i32::MAX])), (16, i32::MAX));
    assert_eq!(says(&i32s(&[0, 0, i32::MAX])), (8, i32::MAX));
    for bad in [-2, i32::MAX] {
        assert_eq!(says(&[node.clone(), i32s(&[bad])].concat()), (12, bad));
    }
    // Possible and not true: the loader waits for the bytes and has taken no memory for them.
    for count in [i32s(&[i32::MAX]), i32s(&[0, i32::MAX]), i32s(&[0, 0, 1000]), i32s(&[0, 0, 0, 100 << 20])] {
        assert_eq!(refused(&count), SnapshotError::Unfinished { at: count.len() as u64 });
    }
}

#[test]
fn the_signature_is_asked_for() {
    let sound = stream_with(&[(b"", -1)]);
    let at = sound.len() as u64 - 14;
    for (i, byte) in [(at as usize + 3, 11), (at as usize + 5, b'x')] {
        let mut stream = sound.clone();
        stream[i] = byte;
        assert_eq!(refused(&stream), SnapshotError::Signature { at });
    }
}

#[test]
fn the_first_error_is_the_last() {
    let mut loader = Loader::new(Zxid::ZERO, SEED, Limits::default());
    let error = loader.feed(&i32s(&[-1])).unwrap_err();
    assert_eq!(loader.feed(&stream_with(&[(b"", -1)])), Err(error));
}

/// Bytes changed, cut out and doubled at random, mostly in the numbers that steer the reading.
#[test]
fn broken_streams_never_panic_and_are_judged_the_same_in_pieces() {
    let mut random = fastrand::Rng::with_seed(8);
    let streams: Vec<Vec<u8>> = (0..6)
        .map(|seed| {
            let (leader, sessions) = history(seed, 40);
            stream_of(&leader.tree, &sessions)
        })
        .collect();
    let (mut refused, mut taken) = (0, 0);
    for round in 0..3000 {
        let mut stream = streams[round % streams.len()].clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..stream.len());
            let end = (at + random.usize(1..80)).min(stream.len());
            match random.u8(..8) {
                0 => drop(stream.drain(at..end)),
                1 => {
                    let piece = stream[at..end].to_vec();
                    stream.splice(at..at, piece);
                }
                2 => stream.truncate(at.max(1)),
                3 => stream[at] = 0xff,
                4 => stream[at] = random.choice([0, 1, 4, 12, 0x7f, 0x80]).unwrap(),
                _ => stream[at] ^= 1 << random.u8(..8),
            }
        }
        let load = |pieces: &[usize]| -> Result<(usize, Option<Loaded>), SnapshotError> {
            let mut loader = Loader::new(Zxid::from_raw(20), SEED, Limits::default());
            let mut at = 0;
            for len in pieces.iter().cycle() {
                let fed = loader.feed(&stream[at..(at + len).min(stream.len())])?;
                at += fed.used;
                if fed.done || at == stream.len() {
                    return Ok((at, fed.done.then(|| loader.finish())));
                }
            }
            unreachable!("the pieces have no end")
        };
        match (load(&[1 << 20]), load(&[1 + round % 7, 100])) {
            (Ok((at, whole)), Ok((same, pieces))) => {
                assert_eq!((at, whole.is_some()), (same, pieces.is_some()));
                if let (Some(whole), Some(pieces)) = (whole, pieces) {
                    assert_consistent(&whole.tree);
                    assert_eq!(dump(&whole.tree), dump(&pieces.tree));
                    taken += 1;
                }
            }
            (Err(whole), Err(pieces)) => {
                assert_eq!(whole, pieces);
                refused += 1;
            }
            (whole, pieces) => panic!("{:?} and {:?}", whole.map(|w| w.0), pieces.map(|p| p.0)),
        }
    }
    assert!(refused > 500 && taken > 200, "{refused} refused, {taken} taken");
}
