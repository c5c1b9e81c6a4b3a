//! Streams written and read back, whole, in pieces, fuzzy and broken.

mod fuzzy;
mod malformed;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::id::{SessionId, Zxid};
use crate::jute::{put_buffer, put_i32, put_i64, put_ustring};
use crate::tree::tests::leader::Leader;
use crate::tree::tests::{Dumped, assert_consistent, dump};
use crate::tree::{DigestCheck, RestoreError, StatPersisted, Tree, is_quota_statistics};
use crate::txn::{self, Acl, AclList};

pub(super) const SEED: u64 = 5;

pub(super) fn stream_of(tree: &Tree, sessions: &[(SessionId, i32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_stream(tree, sessions, &mut |piece| bytes.extend_from_slice(piece));
    bytes
}

/// Loads a stream as a leader's, in pieces of these lengths, over and over.
fn load_in(bytes: &[u8], zxid: Zxid, pieces: &[usize]) -> Result<Loaded, SnapshotError> {
    let mut loader = Loader::new(zxid, SEED, Limits::default());
    let mut lengths = pieces.iter().copied().cycle();
    let mut at = 0;
    while at < bytes.len() {
        let piece = lengths.next().unwrap().clamp(1, bytes.len() - at);
        let fed = loader.feed(&bytes[at..at + piece])?;
        assert_eq!(loader.position(), (at + fed.used) as u64);
        assert!(fed.used == piece || fed.done);
        at += fed.used;
        if fed.done {
            assert_eq!(at, bytes.len(), "the stream ends with its signature");
            return Ok(loader.finish());
        }
    }
    Err(SnapshotError::Unfinished { at: at as u64 })
}

fn load(bytes: &[u8], zxid: Zxid) -> Result<Loaded, SnapshotError> {
    load_in(bytes, zxid, &[usize::MAX])
}

/// A random history and the sessions that might have led to it.
pub(super) fn history(seed: u64, steps: usize) -> (Leader, Vec<(SessionId, i32)>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut leader = Leader::new();
    leader.close_without_list = false;
    for _ in 0..steps {
        leader.random_step(&mut random);
        if random.u8(..20) == 0 {
            quota_step(&mut leader, &mut random);
        }
    }
    let sessions = (0..random.usize(..9)).map(|i| (SessionId(random.i64(..)), 1000 * i as i32)).collect();
    (leader, sessions)
}

/// Makes or removes a part of the quota for `/a`, as far as a leader would log it.
fn quota_step(leader: &mut Leader, random: &mut fastrand::Rng) {
    let parent = "/zookeeper/quota/a";
    let name = random.choice(["zookeeper_limits", "zookeeper_stats"]).unwrap();
    let path = format!("{parent}/{name}");
    if leader.tree.find(parent).is_none() {
        leader.create(parent, "");
    } else if leader.tree.find(&path).is_none() {
        leader.create(&path, "count=5,bytes=-1");
    } else if random.bool() {
        leader.delete(&path);
    }
}

/// Everything that equal states have in common: all but the counts that each server keeps for itself.
fn common(tree: &Tree) -> BTreeMap<String, Dumped> {
    let mut all = dump(tree);
    all.iter_mut().filter(|(path, _)| is_quota_statistics(path)).for_each(|(_, node)| node.data = None);
    all
}

fn apply(tree: &mut Tree, payload: &[u8]) -> DigestCheck {
    let (header, txn, digest) = txn::decode(payload).unwrap();
    tree.apply(&header, &txn, digest, &mut |_| {}).digest
}

fn apply_all<'a>(tree: &mut Tree, payloads: impl IntoIterator<Item = &'a Vec<u8>>) {
    for payload in payloads {
        apply(tree, payload);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_round_trip_keeps_everything_in_pieces_of_any_size(seed: u64, pieces in prop::collection::vec(1usize..400, 1..9)) {
        let (leader, mut sessions) = history(seed, 200);
        let bytes = stream_of(&leader.tree, &sessions);
        let zxid = leader.tree.last_zxid();
        let loaded = load_in(&bytes, zxid, &pieces).unwrap();
        sessions.sort_unstable();
        prop_assert_eq!(&loaded.sessions, &sessions);
        prop_assert!(common(&loaded.tree) == common(&leader.tree));
        prop_assert_eq!(loaded.tree.digest(), leader.tree.digest());
        prop_assert_eq!(loaded.tree.last_zxid(), zxid);
        prop_assert_eq!(loaded.tree.acl_count(), leader.tree.acl_count());
        assert_consistent(&loaded.tree);
        prop_assert!(stream_of(&loaded.tree, &sessions) == bytes);
    }

    /// One server has applied everything, another began with the stream of some state in between.
    #[test]
    fn equal_states_have_equal_bytes_however_they_were_reached(seed: u64, between in 0usize..200) {
        let (leader, _) = history(seed, 200);
        let mut early = Tree::new(77);
        let between = between.min(leader.log.len());
        apply_all(&mut early, &leader.log[..between]);
        let mut late = load(&stream_of(&early, &[]), early.last_zxid()).unwrap().tree;
        apply_all(&mut late, &leader.log[between..]);
        prop_assert_eq!(late.digest_mismatches(), 0);
        prop_assert!(stream_of(&late, &[]) == stream_of(&leader.tree, &[]));
        assert_consistent(&late);
    }
}

#[test]
fn a_stream_fed_byte_by_byte_is_the_same() {
    let (leader, sessions) = history(3, 150);
    let bytes = stream_of(&leader.tree, &sessions);
    let loaded = load_in(&bytes, leader.tree.last_zxid(), &[1]).unwrap();
    assert_eq!(stream_of(&loaded.tree, &loaded.sessions), bytes);
}

#[test]
fn what_follows_the_signature_is_left_alone() {
    let mut bytes = stream_of(&Tree::new(1), &[]);
    let len = bytes.len();
    bytes.extend_from_slice(b"the next packet");
    let mut loader = Loader::new(Zxid::ZERO, SEED, Limits::default());
    assert_eq!(loader.feed(&bytes[..len - 1]).unwrap(), Fed { used: len - 1, done: false });
    assert_eq!(loader.feed(&bytes[len - 1..]).unwrap(), Fed { used: 1, done: true });
    assert_eq!(loader.feed(b"more").unwrap(), Fed { used: 0, done: true });
}

/// Offsets by hand, from the reference's layout of the same state.
#[test]
fn the_stream_of_an_empty_tree_is_laid_out_like_the_reference_s() {
    let mut expected = Vec::new();
    put_i32(&mut expected, 2);
    for (session, timeout) in [(-9, 7), (0x0100_0000_0000_0001, 4000)] {
        put_i64(&mut expected, session);
        put_i32(&mut expected, timeout);
    }
    put_i32(&mut expected, 1);
    put_i64(&mut expected, 0x3d87_9853_28d9_ec04);
    expected.extend_from_slice(AclList::encode(&[Acl::world(Acl::READ)], &mut Vec::new()).encoded());
    for path in ["", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"] {
        put_ustring(&mut expected, path);
        put_buffer(&mut expected, Some(b""));
        let is_config = path.ends_with("config");
        put_i64(&mut expected, if is_config { 0x3d87_9853_28d9_ec04 } else { -1 });
        let mut stat = [0; 60];
        if is_config {
            stat[40..44].fill(0xff);
        }
        expected.extend_from_slice(&stat);
    }
    put_ustring(&mut expected, "/");
    put_ustring(&mut expected, "BenWasHere");
    let sessions = [(SessionId(0x0100_0000_0000_0001), 4000), (SessionId(-9), 7)];
    assert_eq!(stream_of(&Tree::new(1), &sessions), expected);
}

/// The part of a snapshot file of the main branch that goes over the wire.
#[test]
fn a_snapshot_of_the_reference_loads_and_has_its_digest() {
    let mut stream = include_bytes!("../../../testdata/apache-main.snapshot")[16..].to_vec();
    let end = stream.windows(5).position(|w| w == [0, 0, 0, 1, b'/']).unwrap() + 5;
    stream.truncate(end);
    put_ustring(&mut stream, SIGNATURE);
    let loaded = load_in(&stream, Zxid::from_raw(0xe), &[17]).unwrap();
    assert_eq!(loaded.tree.digest(), 0x2_9e4a_f1bf);
    assert_consistent(&loaded.tree);
    // Numbers of ACLs and the order of children are ours, everything else is as it came.
    let again = load(&stream_of(&loaded.tree, &[]), Zxid::from_raw(0xe)).unwrap();
    assert_eq!(dump(&again.tree), dump(&loaded.tree));
}

#[test]
fn quota_counts_are_not_written_and_counted_anew() {
    let mut leader = Leader::new();
    for path in ["/zookeeper/quota/a", "/a", "/a/b"] {
        leader.create(path, "12345");
    }
    let stats = "/zookeeper/quota/a/zookeeper_stats";
    leader.create("/zookeeper/quota/a/zookeeper_limits", "count=9,bytes=-1");
    leader.create(stats, "count=0,bytes=0");
    leader.set("/a", "1");
    let bytes = stream_of(&leader.tree, &[]);
    assert!(!bytes.windows(8).any(|w| w == b"count=2,"), "live counts are each server's own");
    let mut loaded = load(&bytes, leader.tree.last_zxid()).unwrap().tree;
    let counts = |tree: &Tree| tree.node(tree.find(stats).unwrap()).data().map(<[u8]>::to_vec);
    assert_eq!(counts(&loaded).unwrap(), b"count=2,bytes=6");
    leader.create("/a/c", "123");
    apply(&mut loaded, leader.log.last().unwrap());
    assert_eq!(counts(&loaded).unwrap(), b"count=3,bytes=9");
    // Without limits nobody counts any more; what stands there is still each server's own.
    leader.delete("/zookeeper/quota/a/zookeeper_limits");
    leader.create("/a/d", "");
    let frozen = load(&stream_of(&leader.tree, &[]), leader.tree.last_zxid()).unwrap().tree;
    assert_eq!(counts(&frozen).unwrap(), b"count=4,bytes=9");
    assert_eq!(stream_of(&frozen, &[]), stream_of(&leader.tree, &[]));
}

/// A node as a stream has it.
pub(super) fn put_node(out: &mut Vec<u8>, path: &[u8], data: Option<&[u8]>, acl: i64, stat: &StatPersisted) {
    put_buffer(out, Some(path));
    put_buffer(out, data);
    put_i64(out, acl);
    put_i64(out, stat.czxid.raw());
    put_i64(out, stat.mzxid.raw());
    put_i64(out, stat.ctime);
    put_i64(out, stat.mtime);
    put_i32(out, stat.version);
    put_i32(out, stat.cversion);
    put_i32(out, stat.aversion);
    put_i64(out, stat.ephemeral_owner);
    put_i64(out, stat.pzxid.raw());
}

/// A stream of these nodes without sessions and ACLs.
fn stream_with(nodes: &[(&[u8], i64)]) -> Vec<u8> {
    let mut out = vec![0; 8];
    nodes.iter().for_each(|(path, acl)| put_node(&mut out, path, None, *acl, &StatPersisted::default()));
    put_ustring(&mut out, END_OF_NODES);
    put_ustring(&mut out, SIGNATURE);
    out
}

/// The lookup table is filled in parts as long as nodes come in order, and one by one from the first that does not.
#[test]
fn nodes_are_found_and_missed_however_many_come_in_order() {
    let paths: Vec<String> = (0..140_000).map(|i| format!("/{i:06}")).collect();
    let mut nodes: Vec<(&[u8], i64)> = vec![(b"", -1)];
    nodes.extend(paths.iter().map(|path| (path.as_bytes(), -1)));
    nodes.push((b"/000005/below", -1));
    let tree = load(&stream_with(&nodes), Zxid::ZERO).unwrap().tree;
    assert!(paths.iter().all(|path| tree.find(path).is_some()));
    assert!(tree.find("/000005/below").is_some() && tree.find("/140000").is_none());
    for again in [0, 7, 139_000, 139_999] {
        nodes.push((paths[again].as_bytes(), -1));
        let error = load(&stream_with(&nodes), Zxid::ZERO).unwrap_err();
        assert!(
            matches!(&error, SnapshotError::Node { path, source: RestoreError::Duplicate, .. } if *path == paths[again]),
            "{error}"
        );
        nodes.pop();
    }
}

#[test]
fn built_in_nodes_that_did_not_come_are_added() {
    let bare = load(&stream_with(&[(b"", -1), (b"/a", -1)]), Zxid::from_raw(4)).unwrap().tree;
    assert_consistent(&bare);
    let (mut found, fresh) = (dump(&bare), dump(&Tree::new(1)));
    assert!(found.remove("/a").is_some() && found.len() == fresh.len());
    assert_eq!(found["/zookeeper/config"], fresh["/zookeeper/config"]);
}

#[test]
fn digests_are_compared_from_the_first_that_is_equal_on() {
    let mut leader = Leader::new();
    leader.create("/a", "");
    let bytes = stream_of(&leader.tree, &[]);
    for path in ["/b", "/c", "/d", "/e"] {
        leader.create(path, "");
    }
    let mut tree = load(&bytes, Zxid::from_raw(1)).unwrap().tree;
    assert!(tree.is_converging());
    assert_eq!(
        apply(&mut tree, &leader.log[2]),
        DigestCheck::Absent,
        "/b is missing, which nobody minds yet"
    );
    assert_eq!(apply(&mut tree, &leader.log[1]), DigestCheck::Absent);
    assert!(tree.is_converging() && tree.digest_mismatches() == 0);
    let mut tree = load(&bytes, Zxid::from_raw(1)).unwrap().tree;
    assert_eq!(apply(&mut tree, &leader.log[1]), DigestCheck::Match);
    assert!(matches!(apply(&mut tree, &leader.log[3]), DigestCheck::Mismatch { .. }));
    assert_eq!((tree.is_converging(), tree.digest_mismatches()), (false, 1));
}
