//! Random histories with everything that a merge may stumble over.

use super::*;
use crate::tree::{NodeKind, is_quota_statistics};
use crate::txn::{Acl, PathList, SubTxn, Txn, kind};

/// Names whose order as bytes of whole paths is not that of a walk.
const NAMES: [&str; 7] = ["a", "a-b", "a0", "!", "b", "ü", "a b"];

/// `count` transactions and a few more, from zxid 1 on.
pub(super) fn history(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut leader = Leader::new();
    while leader.log.len() < count {
        step(&mut leader, &mut random);
    }
    leader.log
}

fn random_path(random: &mut fastrand::Rng) -> String {
    (0..random.usize(1..5)).map(|_| format!("/{}", random.choice(NAMES).unwrap())).collect()
}

/// A node that is there, below the root and not built in, for some random numbers.
fn existing(leader: &Leader, random: &mut fastrand::Rng) -> Option<String> {
    let paths: Vec<String> = std::iter::repeat_with(|| random_path(random)).take(20).collect();
    paths.into_iter().find(|path| leader.tree.find(path).is_some())
}

fn step(leader: &mut Leader, random: &mut fastrand::Rng) {
    let session = random.i64(1..6);
    let path = random_path(random);
    if random.u8(..8) == 0 {
        let acls = [Acl::world(random.i32(0..6)), Acl::world(Acl::ALL)];
        leader.set_acl_of_creates(&acls[..random.usize(1..3)]);
    }
    let other = existing(leader, random).unwrap_or_default();
    match random.u8(..26) {
        0..13 => create(leader, random, session),
        13..15 => _ = leader.set(&other, &"s".repeat(random.usize(..600))),
        15 => _ = leader.set_acl(&other, &[Acl::world(random.i32(0..32))]),
        16..18 => delete(leader, random, &other),
        18 => {
            let timeout = random.i32(..);
            leader.submit(kind::CREATE_SESSION, session, &Txn::CreateSession { timeout });
        }
        19 => close(leader, random, session),
        20 => multi(leader, random, &path, &other),
        21 => quota(leader, random),
        22 => _ = leader.submit(kind::ERROR, session, &Txn::Error { err: -110 }),
        23 => _ = leader.set("/zookeeper/config", "server.1=..."),
        24 => _ = leader.set("/", &"r".repeat(random.usize(..9))),
        _ => _ = leader.create(&path, "there already, or without parent, as it comes"),
    }
}

/// A node with children is nothing that a leader deletes, but they go with it in every replica.
fn delete(leader: &mut Leader, random: &mut fastrand::Rng, path: &str) {
    let is_leaf = leader.tree.find(path).is_some_and(|id| leader.tree.node(id).child_count() == 0);
    if is_leaf || random.u8(..8) == 0 {
        leader.delete(path);
    }
}

fn create(leader: &mut Leader, random: &mut fastrand::Rng, session: i64) {
    let parent = existing(leader, random).unwrap_or_default();
    let path = format!("{parent}/{}", random.choice(NAMES).unwrap());
    let Some(parent) = leader.tree.find(&parent) else { return };
    if matches!(leader.tree.node(parent).kind(), NodeKind::Ephemeral(_)) || leader.tree.find(&path).is_some()
    {
        return;
    }
    match random.u8(..8) {
        0..2 => leader.create_ephemeral(&path, session),
        2 => leader.create_container(&path),
        3 => leader.create_ttl(&path, random.i64(1..1000)),
        4 => leader.create_with(&path, None, None),
        _ => leader.create(&path, &"d".repeat(random.usize(..40))),
    };
}

/// The end of a session, with a list of its nodes, with a part of it, or with none as old servers logged it.
fn close(leader: &mut Leader, random: &mut fastrand::Rng, session: i64) {
    if random.bool() {
        leader.close(session, random.bool());
        return;
    }
    let mut owned = Vec::new();
    for id in leader.tree.ephemerals_of(SessionId(session)) {
        let mut path = String::new();
        leader.tree.path_of(id, &mut path);
        owned.push(path);
    }
    let mut encoded = Vec::new();
    let listed = owned.iter().skip(1).map(String::as_str);
    let paths = Some(PathList::encode(listed, &mut encoded));
    leader.submit(kind::CLOSE_SESSION, session, &Txn::CloseSession { paths });
}

fn multi(leader: &mut Leader, random: &mut fastrand::Rng, path: &str, other: &str) {
    let (data, version) = (Some(&b"multi"[..]), 3);
    let mut encoded = Vec::new();
    let acl = crate::txn::AclList::encode(&[Acl::world(random.i32(0..4))], &mut encoded);
    let create = Txn::Create { path, data, acl, ephemeral: false, parent_cversion: -1 };
    let mut subs = vec![
        SubTxn { kind: kind::CHECK, txn: Txn::Check { path: "/b/unheard-of", version } },
        SubTxn { kind: kind::SET_DATA, txn: Txn::SetData { path: other, data, version } },
        SubTxn { kind: kind::CREATE, txn: create },
        SubTxn { kind: kind::DELETE, txn: Txn::Delete { path } },
        SubTxn { kind: kind::CREATE, txn: create },
    ];
    if random.u8(..4) == 0 {
        subs.push(SubTxn { kind: kind::ERROR, txn: Txn::Error { err: -101 } });
    }
    leader.multi(&subs);
}

/// Makes, changes or removes a part of the quota for `/a`.
fn quota(leader: &mut Leader, random: &mut fastrand::Rng) {
    let parent = "/zookeeper/quota/a";
    let name = random.choice(["zookeeper_limits", "zookeeper_stats"]).unwrap();
    let path = format!("{parent}/{name}");
    if leader.tree.find(parent).is_none() {
        leader.create(parent, "");
    } else if leader.tree.find(&path).is_none() {
        leader.create(&path, "count=5,bytes=-1");
    } else if random.bool() {
        leader.delete(&path);
    } else if !is_quota_statistics(&path) {
        leader.set(&path, "count=7,bytes=-1");
    }
}
