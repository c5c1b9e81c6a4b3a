//! Making, changing and removing single nodes, with everything that must stay in step: lookup table, sibling
//! lists, blocks, ACL references, owner lists, digest and sizes.
//!
//! Nothing here knows transactions; [`super::apply`] decides what changes.

use super::record::{self, Record, Side};
use super::slab::{NIL, Place};
use super::{AclId, NodeId, StatPersisted, Tree, digest, quota};

/// Where a node is to be.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    /// [`NIL`] for the root.
    pub(super) parent: u32,
    pub(super) name: &'a str,
    /// The root's is `""`.
    pub(super) path: &'a str,
    /// Of parent and name, for the lookup table.
    pub(super) hash: u64,
}

/// An id that may be "none".
pub(super) fn some(id: u32) -> Option<NodeId> {
    (id != NIL).then_some(NodeId(id))
}

impl Tree {
    /// The record of a live node; another id is a bug of the caller.
    #[inline]
    pub(super) fn record_of(&self, id: u32) -> &Record {
        let record = &self.nodes[id];
        assert!(record.next_free().is_none(), "node {id} was deleted");
        record
    }

    #[inline]
    pub(super) fn side_of(&self, id: u32) -> Option<&Side> {
        if id == NIL {
            return None;
        }
        let side = self.nodes[id].side;
        (side != NIL).then(|| &self.sides[side])
    }

    /// The side record of a node, made if it has none.
    pub(super) fn side_mut(&mut self, id: u32) -> &mut Side {
        let record = &mut self.nodes[id];
        if record.side == NIL {
            record.side = self.sides.insert(record.new_side());
        }
        &mut self.sides[record.side]
    }

    #[inline]
    pub(super) fn persisted_of(&self, id: u32) -> StatPersisted {
        record::persisted(&self.nodes[id], self.side_of(id))
    }

    #[inline]
    fn name_of(&self, id: u32) -> &[u8] {
        let record = &self.nodes[id];
        record::split_block(self.blocks.get(record.block, record.block_len())).0
    }

    #[inline]
    pub(super) fn data_of(&self, id: u32) -> Option<&[u8]> {
        let record = &self.nodes[id];
        let data = record::split_block(self.blocks.get(record.block, record.block_len())).1;
        (!record.data_is_null()).then_some(data)
    }

    #[inline]
    pub(super) fn child_of(&self, parent: u32, name: &[u8]) -> Option<u32> {
        self.child_with_hash(parent, name, self.index.hash(parent, name))
    }

    #[inline]
    pub(super) fn child_with_hash(&self, parent: u32, name: &[u8], hash: u64) -> Option<u32> {
        self.index.find(hash, |id| self.nodes[id].parent == parent && self.name_of(id) == name)
    }

    /// Adds a node that is not there yet; a reference to `acl` goes over to it.
    pub(super) fn insert_node(
        &mut self,
        at: Spot<'_>,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
    ) -> u32 {
        let id = self.insert_unindexed(at, data, acl, stat);
        if at.parent != NIL {
            self.index.insert(at.hash, id);
        }
        id
    }

    /// The same, but for the lookup table.
    pub(super) fn insert_unindexed(
        &mut self,
        at: Spot<'_>,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
    ) -> u32 {
        let Spot { parent, path, .. } = at;
        let name = at.name.as_bytes();
        let bytes = data.unwrap_or_default();
        let name_end = record::name_end(name);
        let block_len = name_end + bytes.len();
        let block = self.blocks.alloc(block_len);
        let contents = self.blocks.get_mut(block, block_len);
        record::write_name(contents, name);
        contents[name_end..].copy_from_slice(bytes);

        let mut record = Record::new(stat.czxid, parent);
        record.set_block(block, block_len, data.is_none());
        record.mzxid = stat.mzxid;
        record.version = stat.version;
        record.acl = acl.0;
        record.set_ctime_low(stat.ctime);
        record.set_mtime_low(stat.mtime);
        let id = self.nodes.insert(record);
        if stat.ephemeral_owner != 0
            || stat.cversion != 0
            || stat.aversion != 0
            || stat.pzxid != stat.czxid
            || record::needs_high(stat.ctime)
            || record::needs_high(stat.mtime)
        {
            let side = self.side_mut(id);
            side.owner = stat.ephemeral_owner;
            side.pzxid = stat.pzxid;
            side.cversion = stat.cversion;
            side.aversion = stat.aversion;
            side.set_ctime_high(stat.ctime);
            side.set_mtime_high(stat.mtime);
        }
        self.own(id, stat.ephemeral_owner);

        if parent != NIL {
            self.link_child(parent, id);
        }
        if !digest::excluded(path) {
            let crc = digest::path_data_crc(path, data);
            self.nodes[id].path_data_crc = crc;
            self.digest = self.digest.wrapping_add(digest::node_hash(crc, stat));
        }
        self.data_size += (path.len() + bytes.len()) as u64;
        self.quotas += u32::from(self.is_quota_limits(path));
        id
    }

    /// Removes a node without children. The reference to its ACL goes to the caller.
    pub(super) fn remove_leaf(&mut self, id: u32, path: &str) -> AclId {
        let stat = self.persisted_of(id);
        self.disown(id, stat.ephemeral_owner);
        let parent = self.nodes[id].parent;
        let hash = self.index.hash(parent, self.name_of(id));
        self.index.remove(hash, id);
        self.unlink_child(parent, id);
        let data_len = self.data_of(id).map_or(0, <[u8]>::len);
        let record = self.nodes.remove(id);
        if record.side != NIL {
            let side = self.sides.remove(record.side);
            assert_eq!(side.children, 0, "{path} is removed with children");
        }
        self.blocks.free(record.block, record.block_len());
        if !digest::excluded(path) {
            self.digest = self.digest.wrapping_sub(digest::node_hash(record.path_data_crc, &stat));
        }
        self.data_size -= (path.len() + data_len) as u64;
        self.quotas -= u32::from(self.is_quota_limits(path));
        AclId(record.acl)
    }

    fn is_quota_limits(&self, path: &str) -> bool {
        path.strip_suffix(quota::LIMITS)
            .and_then(|rest| rest.strip_suffix('/'))
            .is_some_and(quota::is_quota_parent)
    }

    fn link_child(&mut self, parent: u32, id: u32) {
        let side = self.side_mut(parent);
        let next = side.first_child;
        side.first_child = id;
        side.children += 1;
        self.nodes[id].next = next;
        if next != NIL {
            self.nodes[next].prev = id;
        }
    }

    fn unlink_child(&mut self, parent: u32, id: u32) {
        let (prev, next) = (self.nodes[id].prev, self.nodes[id].next);
        if next != NIL {
            self.nodes[next].prev = prev;
        }
        if prev != NIL {
            self.nodes[prev].next = next;
        }
        let side = self.side_mut(parent);
        side.children -= 1;
        if prev == NIL {
            side.first_child = next;
        }
    }

    /// Replaces the data and nothing else; the digest is the caller's business. The length of the old data.
    pub(super) fn store_data(&mut self, id: u32, data: Option<&[u8]>) -> usize {
        let bytes = data.unwrap_or_default();
        let record = &mut self.nodes[id];
        let old_len = record.block_len();
        let contents = self.blocks.get_mut(record.block, old_len);
        let name_end = record::data_start(contents);
        let old_data = &mut contents[name_end..];
        let old_data_len = old_data.len();
        if old_data_len == bytes.len() {
            old_data.copy_from_slice(bytes);
            record.set_block(record.block, old_len, data.is_none());
            return old_data_len;
        }
        let block_len = name_end + bytes.len();
        let block = self.blocks.resize(record.block, old_len, block_len, name_end);
        self.blocks.get_mut(block, block_len)[name_end..].copy_from_slice(bytes);
        record.set_block(block, block_len, data.is_none());
        self.data_size = self.data_size + bytes.len() as u64 - old_data_len as u64;
        old_data_len
    }

    /// Changes a node's statistics (and data) through `change`, keeps the digest in step, and returns how the
    /// statistics are afterwards.
    #[inline]
    pub(super) fn update(&mut self, id: u32, path: &str, change: impl FnOnce(&mut Tree)) -> StatPersisted {
        if digest::excluded(path) {
            change(self);
            return self.persisted_of(id);
        }
        let before = digest::node_hash(self.nodes[id].path_data_crc, &self.persisted_of(id));
        change(self);
        let stat = self.persisted_of(id);
        let after = digest::node_hash(self.nodes[id].path_data_crc, &stat);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        stat
    }
}
