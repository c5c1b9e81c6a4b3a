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
    put_ustring(&mut writer.buf, END_OF_NODES);
    put_ustring(&mut writer.buf, SIGNATURE);
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
        put_len(&mut self.buf, sessions.len());
        for (session, timeout) in sessions {
            put_i64(&mut self.buf, session.0);
            put_i32(&mut self.buf, timeout);
            self.flush(PIECE)?;
        }
        Ok(())
    }

    fn acls(&mut self) -> Result<(), E> {
        put_len(&mut self.buf, self.acls.len());
        for i in 0..self.acls.len() {
            let (number, _, encoded) = self.acls[i];
            put_i64(&mut self.buf, number);
            self.buf.extend_from_slice(encoded);
            self.flush(PIECE)?;
        }
        Ok(())
    }

    fn nodes(&mut self) -> Result<(), E> {
        let numbers: HashMap<AclId, i64> = self.acls.iter().map(|&(number, id, _)| (id, number)).collect();
        let tree = self.tree;
        let root = tree.find("").expect("every tree has a root");
        let mut path = String::new();
        self.node(root, &path, &numbers)?;
        // Children that are still to be written, level by level, with the lengths of their parents' paths.
        let mut pending = vec![(children_in_order(tree, root).into_iter(), 0)];
        while let Some((children, parent_len)) = pending.last_mut() {
            let Some(id) = children.next() else {
                pending.pop();
                continue;
            };
            path.truncate(*parent_len);
            path.push('/');
            path.push_str(tree.node(id).name());
            self.node(id, &path, &numbers)?;
            if tree.node(id).child_count() > 0 {
                pending.push((children_in_order(tree, id).into_iter(), path.len()));
            }
        }
        Ok(())
    }

    fn node(&mut self, id: NodeId, path: &str, numbers: &HashMap<AclId, i64>) -> Result<(), E> {
        let node = self.tree.node(id);
        let data = match is_quota_statistics(path) {
            true => Some(&b""[..]),
            false => node.data(),
        };
        put_ustring(&mut self.buf, path);
        put_buffer(&mut self.buf, data);
        put_i64(&mut self.buf, numbers.get(&node.acl_id()).copied().unwrap_or(OPEN_ACL));
        put_stat(&mut self.buf, &node.persisted());
        self.flush(PIECE)
    }
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
    number(tree.acls().collect(), number_of)
}

/// Gives every list its number: what `preferred` says, or where two lists want the same one, the next that is free,
/// in the order of the lists' bytes. So the numbers follow from the set of the lists.
fn number(mut lists: Vec<(AclId, &[u8])>, preferred: impl Fn(&[u8]) -> i64) -> Vec<(i64, AclId, &[u8])> {
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
