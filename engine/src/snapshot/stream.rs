//! Writes the stream of a state, in the one order and with the one numbering that every server would choose.
//!
//! Sessions by id; ACLs by a number that follows from the list itself; nodes as a walk meets them that takes children
//! in the order of their names' bytes. Counts that each server keeps for itself (quota statistics) are written empty. So the bytes are a function of the state and of nothing else, not even of how it was reached.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use super::{END_OF_NODES, OPEN_ACL, SIGNATURE};
use crate::id::SessionId;
use crate::jute::{put_buffer, put_i32, put_i64, put_len, put_ustring};
use crate::tree::{AclId, NodeId, StatPersisted, Tree, is_quota_statistics};

/// Bytes that are gathered before they are handed on.
const PIECE: usize = 64 << 10;

/// Hands the stream to `out` in pieces, the signature included. The sessions may come in any order.
pub fn write_stream(tree: &Tree, sessions: &[(SessionId, i32)], out: &mut dyn FnMut(&[u8])) {
    let Ok(()) = try_write_stream::<Infallible>(tree, sessions, &mut |piece| {
        out(piece);
        Ok(())
    });
}

/// The same for a receiver that can fail, which ends it.
pub(super) fn try_write_stream<E>(
    tree: &Tree,
    sessions: &[(SessionId, i32)],
    out: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut writer = Writer { tree, acls: numbered(tree), buf: Vec::with_capacity(2 * PIECE), out };
    writer.sessions(sessions)?;
    writer.acls()?;
    writer.nodes()?;
    put_end(&mut writer.buf);
    writer.flush(0)
}

struct Writer<'a, E> {
    tree: &'a Tree,
    acls: Vec<(i64, AclId, &'a [u8])>,
    buf: Vec<u8>,
    out: &'a mut dyn FnMut(&[u8]) -> Result<(), E>,
}

impl<E> Writer<'_, E> {
    /// Hands on what was gathered if it is at least so much.
    fn flush(&mut self, least: usize) -> Result<(), E> {
        if self.buf.len() >= least {
            (self.out)(&self.buf)?;
            self.buf.clear();
            self.buf.shrink_to(2 * PIECE);
        }
        Ok(())
    }

    fn sessions(&mut self, sessions: &[(SessionId, i32)]) -> Result<(), E> {
        let mut sessions = sessions.to_vec();
        sessions.sort_unstable();
        put_sessions(&mut self.buf, &sessions);
        self.flush(PIECE)
    }

    fn acls(&mut self) -> Result<(), E> {
        put_numbered_acls(&mut self.buf, &self.acls);
        self.flush(PIECE)
    }

    fn nodes(&mut self) -> Result<(), E> {
        let numbers: HashMap<AclId, i64> = self.acls.iter().map(|&(number, id, _)| (id, number)).collect();
        let mut walk = Walk::new();
        while let Some(id) = walk.next(self.tree) {
            put_tree_node(&mut self.buf, self.tree, id, walk.path(), &numbers);
            self.flush(PIECE)?;
        }
        Ok(())
    }
}

/// Goes through the nodes in the order of the stream. Holds no reference to the tree, so that a walk can be kept
/// beside it; the tree must be the same, unchanged, at every step.
#[derive(Debug)]
pub(super) struct Walk {
    path: String,
    /// Children that are still to come, level by level, with the lengths of their parents' paths.
    pending: Vec<(std::vec::IntoIter<NodeId>, usize)>,
    begun: bool,
}

impl Walk {
    /// Before the root.
    pub fn new() -> Walk {
        Walk { path: String::new(), pending: Vec::new(), begun: false }
    }

    /// The next node.
    pub fn next(&mut self, tree: &Tree) -> Option<NodeId> {
        if !self.begun {
            self.begun = true;
            let root = tree.find("").expect("every tree has a root");
            self.pending.push((children_in_order(tree, root).into_iter(), 0));
            return Some(root);
        }
        while let Some((children, parent_len)) = self.pending.last_mut() {
            let Some(id) = children.next() else {
                self.pending.pop();
                continue;
            };
            let node = tree.node(id);
            self.path.truncate(*parent_len);
            self.path.push('/');
            self.path.push_str(node.name());
            if node.child_count() > 0 {
                self.pending.push((children_in_order(tree, id).into_iter(), self.path.len()));
            }
            return Some(id);
        }
        None
    }

    /// The path of the node that came last; `""` for the root.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Appends a node of a tree. A list without a number is the null one.
pub(super) fn put_tree_node(
    out: &mut Vec<u8>,
    tree: &Tree,
    id: NodeId,
    path: &str,
    numbers: &HashMap<AclId, i64>,
) {
    let node = tree.node(id);
    let data = match is_quota_statistics(path) {
        true => Some(&b""[..]),
        false => node.data(),
    };
    put_ustring(out, path);
    put_buffer(out, data);
    put_i64(out, numbers.get(&node.acl_id()).copied().unwrap_or(OPEN_ACL));
    put_stat(out, &node.persisted());
}

/// Appends the number of sessions and the sessions, in the order in which they come.
pub(super) fn put_sessions(out: &mut Vec<u8>, sessions: &[(SessionId, i32)]) {
    put_len(out, sessions.len());
    for (session, timeout) in sessions {
        put_i64(out, session.0);
        put_i32(out, *timeout);
    }
}

/// Appends the number of lists and the lists.
pub(super) fn put_numbered_acls<T>(out: &mut Vec<u8>, acls: &[(i64, T, &[u8])]) {
    put_len(out, acls.len());
    for (number, _, encoded) in acls {
        put_i64(out, *number);
        out.extend_from_slice(encoded);
    }
}

/// Appends what stands behind the last node.
pub(super) fn put_end(out: &mut Vec<u8>) {
    put_ustring(out, END_OF_NODES);
    put_ustring(out, SIGNATURE);
}

fn put_stat(out: &mut Vec<u8>, stat: &StatPersisted) {
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

fn children_in_order(tree: &Tree, id: NodeId) -> Vec<NodeId> {
    let mut children: Vec<NodeId> = tree.node(id).children().collect();
    children.sort_unstable_by(|&a, &b| tree.node(a).name_bytes().cmp(tree.node(b).name_bytes()));
    children
}

/// The lists in use with the numbers they have in the stream, by number.
fn numbered(tree: &Tree) -> Vec<(i64, AclId, &[u8])> {
    numbered_lists(tree.acls().collect())
}

/// The same for any lists, each of which comes once, with what is known about it.
pub(super) fn numbered_lists<T>(lists: Vec<(T, &[u8])>) -> Vec<(i64, T, &[u8])> {
    number(lists, number_of)
}

/// Gives every list its number: what `preferred` says, or where two lists want the same one, the next that is free,
/// in the order of the lists' bytes. So the numbers follow from the set of the lists.
fn number<T>(mut lists: Vec<(T, &[u8])>, preferred: impl Fn(&[u8]) -> i64) -> Vec<(i64, T, &[u8])> {
    lists.sort_unstable_by(|(_, a), (_, b)| (preferred(a), a).cmp(&(preferred(b), b)));
    let mut taken = BTreeSet::new();
    let mut numbered = Vec::with_capacity(lists.len());
    for (id, encoded) in lists {
        let mut number = preferred(encoded);
        while !taken.insert(number) {
            number += 1;
        }
        numbered.push((number, id, encoded));
    }
    numbered.sort_unstable_by_key(|&(number, ..)| number);
    numbered
}

/// A hash of 62 bits over the encoded list, at least 1 (FNV-1a, then the finish of SplitMix64). The reference counts on
/// from the highest number it has seen: the bits above are room for that.
pub(super) fn number_of(encoded: &[u8]) -> i64 {
    let fnv = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = encoded.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    ((hash >> 2).cast_signed()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::{Acl, AclList};

    /// Files and peers have these numbers: they must never change.
    #[test]
    fn the_number_of_a_list_is_fixed_and_has_62_bits() {
        let mut encoded = Vec::new();
        let of = |acls: &[Acl], encoded: &mut Vec<u8>| number_of(AclList::encode(acls, encoded).encoded());
        assert_eq!(of(&[Acl::world(Acl::ALL)], &mut encoded), 0x2099_b746_5044_dd00);
        assert_eq!(of(&[Acl::world(Acl::READ)], &mut encoded), 0x3d87_9853_28d9_ec04);
        for seed in 0u32..1000 {
            let number = number_of(&seed.to_be_bytes());
            assert!((1..1 << 62).contains(&number), "{number:#x}");
        }
    }

    #[test]
    fn lists_that_want_one_number_are_told_apart_by_their_bytes() {
        let tree = Tree::new(1);
        let id = tree.node(tree.find("/").unwrap()).acl_id();
        let lists: [&[u8]; 4] = [b"d", b"b", b"c", b"a"];
        let wanted = |list: &[u8]| if list == b"c" { 8 } else { 7 };
        let forth = number(lists.iter().map(|&list| (id, list)).collect(), wanted);
        let back = number(lists.iter().rev().map(|&list| (id, list)).collect(), wanted);
        let numbers: Vec<_> = forth.iter().map(|&(number, _, list)| (number, list)).collect();
        assert_eq!(numbers, [(7, &b"a"[..]), (8, b"b"), (9, b"d"), (10, b"c")]);
        assert_eq!(numbers, back.iter().map(|&(number, _, list)| (number, list)).collect::<Vec<_>>());
    }
}
