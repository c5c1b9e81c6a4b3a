//! What Apache servers were seen to do, byte for byte.

use super::*;
use crate::txn::tests::apache_log;

/// The digest after each record of the log that Apache ZooKeeper 3.8.0 wrote.
const DIGESTS: [u64; 14] = [
    0x51c6d660,
    0x92d8f7ae,
    0x1a0ec2f4d,
    0x1f8bd400c,
    0x258615d2a,
    0x2b08809ab,
    0x3058f15fa,
    0x3433bf244,
    0x358a6e601,
    0x277a8a3e9,
    0x27acea99a,
    0x27acea99a,
    0x27acea99a,
    0x2061b7a99,
];

#[test]
fn a_fresh_tree_is_the_one_of_the_reference() {
    let tree = Tree::new(1);
    assert_eq!(tree.digest(), 0x51c6d660);
    assert_eq!((tree.node_count(), tree.data_size()), (5, 44));
    assert_eq!((tree.last_zxid(), tree.ephemeral_count()), (Zxid::ZERO, 0));
    let zero = Stat::default();
    assert_eq!(stat_of(&tree, "/"), Stat { cversion: -1, num_children: 1, ..zero });
    assert_eq!(stat_of(&tree, "/zookeeper"), Stat { cversion: -2, num_children: 2, ..zero });
    assert_eq!(stat_of(&tree, "/zookeeper/quota"), zero);
    assert_eq!(stat_of(&tree, "/zookeeper/config"), Stat { aversion: -1, ..zero });
    let acl = |path| tree.node(tree.find(path).unwrap()).acl().to_vec();
    assert_eq!(acl("/zookeeper/config"), [Acl::world(Acl::READ)]);
    for path in ["", "/", "/zookeeper", "/zookeeper/quota"] {
        assert_eq!(acl(path), [Acl::world(Acl::ALL)]);
        assert_eq!(tree.node(tree.find(path).unwrap()).data(), Some(&b""[..]));
    }
    assert_consistent(&tree);
}

#[test]
fn the_log_of_the_reference_leads_through_its_digests_to_its_tree() {
    let mut tree = Tree::new(1);
    for (payload, digest) in apache_log().into_iter().zip(DIGESTS) {
        let applied = apply(&mut tree, payload);
        let zxid = tree.last_zxid();
        assert_eq!(tree.digest(), digest, "after {zxid}");
        let expected = if zxid.raw() == 0xd { DigestCheck::Absent } else { DigestCheck::Match };
        assert_eq!(applied.digest, expected, "after {zxid}");
        assert_consistent(&tree);
    }
    assert_eq!((tree.last_zxid().raw(), tree.digest_mismatches()), (0xe, 0));

    let all = dump(&tree);
    let paths: Vec<&str> = all.keys().map(String::as_str).collect();
    let expected =
        ["/", "/a", "/cont", "/s-0000000002", "/ttl", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];
    assert_eq!(paths, expected);
    assert_eq!(data_of(&tree, "/a"), b"world!");
    assert_eq!(all["/a"].acl, [Acl::world(Acl::READ), Acl::world(Acl::ALL)]);
    assert_eq!(tree.ephemeral_count(), 0);
    let kind = |path| tree.node(tree.find(path).unwrap()).kind();
    assert_eq!(kind("/cont"), NodeKind::Container);
    assert_eq!(kind("/ttl"), NodeKind::Ttl(3_600_000));
    let a = stat_of(&tree, "/a");
    assert_eq!((a.czxid.raw(), a.mzxid.raw(), a.pzxid.raw()), (2, 8, 0xe));
    assert_eq!((a.ctime, a.mtime), (1_795_285_959_208, 1_795_285_959_246));
    assert_eq!((a.version, a.cversion, a.aversion), (1, 2, 1));
    assert_eq!((a.data_length, a.num_children, a.ephemeral_owner), (6, 0, 0));
    assert_eq!(stat_of(&tree, "/ttl").ephemeral_owner, 0);
}

fn hash(path: &str, data: &str, stat: StatPersisted) -> u64 {
    digest::node_hash(digest::path_data_crc(path, Some(data.as_bytes())), &stat)
}

/// (czxid mzxid pzxid) (ctime mtime) (version cversion aversion) owner.
fn stat(zxids: [i64; 3], times: [i64; 2], versions: [i32; 3], owner: u64) -> StatPersisted {
    StatPersisted {
        czxid: Zxid::from_raw(zxids[0]),
        mzxid: Zxid::from_raw(zxids[1]),
        pzxid: Zxid::from_raw(zxids[2]),
        ctime: times[0],
        mtime: times[1],
        version: versions[0],
        cversion: versions[1],
        aversion: versions[2],
        ephemeral_owner: owner.cast_signed(),
    }
}

#[test]
fn the_worked_examples_of_the_digest_hold() {
    const T: i64 = 1_795_285_959_000;
    let at = |ms: i64| [T + ms, T + ms];
    assert_eq!(hash("", "", stat([0; 3], [0; 2], [0; 3], 0)), 0x04128908);
    assert_eq!(hash("/", "", stat([0; 3], [0; 2], [0; 3], 0)), 0x04128908);
    assert_eq!(hash("/zookeeper", "", stat([0; 3], [0; 2], [0; 3], 0)), 0x4db44d58);
    assert_eq!(hash("/a", "hello", stat([2; 3], at(208), [0; 3], 0)), 0x420f3164);
    assert_eq!(hash("", "", stat([0, 0, 2], [0; 2], [0, 1, 0], 0)), 0x031578f2);
    assert_eq!(hash("", "", stat([0, 0, 3], [0; 2], [0, 2, 0], 0)), 0x3e2f0323);
    assert_eq!(hash("/a", "hello", stat([2, 2, 4], at(208), [0, 1, 0], 0)), 0x2b5b9621);
    assert_eq!(hash("/a/e", "x", stat([4; 3], at(232), [0; 3], 0x0100_000d_1d0c_0000)), 0x6e84ac02);
    assert_eq!(hash("/b", "", stat([3; 3], at(229), [0; 3], 0)), 0xd2f9ad6e);
    assert_eq!(hash("/cont", "c", stat([6; 3], at(238), [0; 3], 0x8000_0000_0000_0000)), 0x3f38b389);
    assert_eq!(hash("/ttl", "t", stat([7; 3], at(242), [0; 3], 0xff00_0000_0036_ee80)), 0x986155e9);
    let set = [T + 208, T + 246];
    assert_eq!(hash("/a", "world!", stat([2, 8, 4], set, [1, 1, 0], 0)), 0x6908726b);
    assert_eq!(hash("/a", "world!", stat([2, 8, 4], set, [1, 1, 1], 0)), 0x7e736628);
}

/// The nodes of a snapshot of the main branch, read with a parser of its own, digested by definition.
#[test]
fn the_nodes_of_a_snapshot_of_the_reference_have_its_digest() {
    let file = include_bytes!("../../../testdata/apache-main.snapshot");
    let mut reader = crate::jute::Reader::new(&file[16..]);
    assert_eq!(reader.i32(), Ok(0)); // sessions
    for _ in 0..reader.i32().unwrap() {
        reader.i64().unwrap();
        txn::AclList::read(&mut reader).unwrap();
    }
    let mut hashes = BTreeMap::new();
    loop {
        let path = std::str::from_utf8(reader.ustring().unwrap().unwrap()).unwrap();
        if path == "/" {
            break;
        }
        let data = reader.buffer().unwrap();
        reader.i64().unwrap(); // ACL id
        let mut long = || reader.i64().unwrap();
        let (czxid, mzxid, ctime, mtime) = (long(), long(), long(), long());
        let mut int = || reader.i32().unwrap();
        let versions = [int(), int(), int()];
        let (owner, pzxid) = (reader.i64().unwrap(), reader.i64().unwrap());
        let stat = stat([czxid, mzxid, pzxid], [ctime, mtime], versions, owner.cast_unsigned());
        if !digest::excluded(path) {
            hashes.insert(path, digest::node_hash(digest::path_data_crc(path, data), &stat));
        }
    }
    assert_eq!((hashes["/a"], hashes["/ttl"]), (0xe9c3e1eb, 0x4da06232));
    assert_eq!(hashes.values().sum::<u64>(), 0x29e4af1bf);
}
