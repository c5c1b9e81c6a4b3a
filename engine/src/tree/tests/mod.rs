//! What the tree must do, by property. `leader` writes the histories that the others apply.

pub(crate) mod leader;
mod memory;
mod model;
mod replay;
mod rules;
mod vectors;

use super::*;
use crate::id::SessionId;
use crate::txn::{self, Txn};
use std::collections::BTreeMap;

/// Everything about a node that replicas must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dumped {
    pub(crate) data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    stat: StatPersisted,
    children: u32,
}

/// Every node by path, found by walking, not by lookup.
pub(crate) fn dump(tree: &Tree) -> BTreeMap<String, Dumped> {
    let mut all = BTreeMap::new();
    let mut path = String::new();
    let mut pending = vec![tree.find("/").unwrap()];
    while let Some(id) = pending.pop() {
        let node = tree.node(id);
        let before = pending.len();
        pending.extend(node.children());
        assert_eq!(pending.len() - before, node.child_count() as usize);
        tree.path_of(id, &mut path);
        assert_eq!(tree.find(&path), Some(id), "{path} is found where it is");
        let dumped = Dumped {
            data: node.data().map(<[u8]>::to_vec),
            acl: node.acl().to_vec(),
            stat: node.persisted(),
            children: node.child_count(),
        };
        assert!(all.insert(path.clone(), dumped).is_none(), "{path} is there once");
    }
    all
}

/// The digest by its definition, from nothing but what can be read.
fn recomputed_digest(tree: &Tree) -> u64 {
    dump(tree).iter().fold(0, |sum: u64, (path, node)| {
        let crc = digest::path_data_crc(path, node.data.as_deref());
        sum.wrapping_add(if digest::excluded(path) { 0 } else { digest::node_hash(crc, &node.stat) })
    })
}

/// Checks every count and cache of the tree against what a walk finds.
pub(crate) fn assert_consistent(tree: &Tree) {
    let all = dump(tree);
    assert_eq!(tree.digest(), recomputed_digest(tree));
    assert_eq!(tree.node_count(), all.len() as u64 + 1);
    let size = |(path, node): (&String, &Dumped)| {
        (if path == "/" { 1 } else { path.len() }) + node.data.as_ref().map_or(0, Vec::len)
    };
    assert_eq!(tree.data_size(), all.iter().map(size).sum::<usize>() as u64);
    let mut owned: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for (path, node) in &all {
        if let NodeKind::Ephemeral(session) = NodeKind::of_owner(node.stat.ephemeral_owner) {
            owned.entry(session.0).or_default().push(path);
        }
        let id = tree.find(path).unwrap();
        if !digest::excluded(path) {
            let crc = digest::path_data_crc(path, node.data.as_deref());
            assert_eq!(tree.node(id).path_data_crc(), crc, "{path}");
        }
    }
    let owners: Vec<i64> = tree.ephemeral_owners().into_iter().map(|session| session.0).collect();
    assert_eq!(owners, owned.keys().copied().collect::<Vec<_>>());
    assert_eq!(tree.ephemeral_count() as usize, owned.values().map(Vec::len).sum::<usize>());
    for (session, paths) in owned {
        assert_eq!(ephemeral_paths(tree, session), paths);
    }
}

fn ephemeral_paths(tree: &Tree, session: i64) -> Vec<String> {
    let mut paths: Vec<String> = tree.ephemerals_of(SessionId(session)).map(|id| path_of(tree, id)).collect();
    paths.sort();
    paths
}

fn path_of(tree: &Tree, id: NodeId) -> String {
    let mut path = String::new();
    tree.path_of(id, &mut path);
    path
}

/// Decodes and applies; events are dropped.
fn apply(tree: &mut Tree, payload: &[u8]) -> Applied {
    let (header, txn, digest) = txn::decode(payload).unwrap();
    tree.apply(&header, &txn, digest, &mut |_| {})
}

fn data_of<'a>(tree: &'a Tree, path: &str) -> &'a [u8] {
    tree.node(tree.find(path).unwrap()).data().unwrap()
}

fn stat_of(tree: &Tree, path: &str) -> Stat {
    tree.node(tree.find(path).unwrap()).stat()
}

fn persisted_of(tree: &Tree, path: &str) -> StatPersisted {
    tree.node(tree.find(path).unwrap()).persisted()
}
