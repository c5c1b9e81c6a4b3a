//! Building a tree from nodes as they are, instead of from the transactions that made them: for snapshots.
//!
//! Statistics are taken over untouched, all 60 bytes; what follows from the nodes (children, owner lists, digest,
//! sizes, quota counts) is computed, never believed. What does not fit together is an error, so that no stream can
//! make a tree that the rest of this module holds to be impossible. Called by the loader of snapshots, and by the merge,
//! which restores a part of a tree.

use super::apply::split;
use super::nodes::Spot;
use super::slab::NIL;
use super::{AclId, NodeId, StatPersisted, Tree};
use crate::id::Zxid;
use crate::txn::AclList;

/// Why a node cannot be part of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// No node can be called so, or the root comes later than first.
    #[error("no node can be called so")]
    Path,
    /// Its parent was not there before it.
    #[error("its parent has not come before it")]
    NoParent,
    /// A node of this path was there before.
    #[error("it comes twice")]
    Duplicate,
}

/// A tree in the making.
#[derive(Debug)]
pub struct Restoring {
    tree: Tree,
    /// References that keep lists alive until nodes use them.
    held: Vec<AclId>,
    /// The path that came last, and its ancestors from the top with the lengths of their paths: streams come in the
    /// order of a walk, so that the next parent is nearly always among them.
    path: String,
    trail: Vec<(usize, u32)>,
    /// Whether each node came where a walk would meet it that takes children by the bytes of their names.
    is_ordered: bool,
}

impl Restoring {
    /// Nothing yet; `seed` as for [`Tree::new`].
    pub fn new(seed: u64) -> Restoring {
        let tree = Tree::bare(seed);
        Restoring { tree, held: Vec::new(), path: String::new(), trail: Vec::new(), is_ordered: true }
    }

    /// An ACL that nodes will have. Lists that none uses are gone at the end.
    pub fn acl(&mut self, list: AclList<'_>) -> AclId {
        let id = self.tree.acls.intern(list);
        self.held.push(id);
        id
    }

    /// The ACL of nodes without one: everybody may do everything.
    pub fn open_acl(&self) -> AclId {
        AclId::OPEN
    }

    /// Adds a node behind its parent. The first one is the root, whose path is `""`. On an error nothing was added.
    /// Name and data together must stay below 2 GiB.
    pub fn insert(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
    ) -> Result<(), RestoreError> {
        if path.is_empty() {
            if self.has_root() {
                return Err(RestoreError::Duplicate);
            }
            self.tree.acls.share(acl);
            let spot = Spot { parent: NIL, name: "", path: "", hash: 0 };
            self.tree.root = self.tree.insert_node(spot, data, acl, stat);
            self.trail.push((0, self.tree.root));
            return Ok(());
        }
        let (parent_path, name) = split(path).ok_or(RestoreError::Path)?;
        if !self.has_root() {
            return Err(RestoreError::NoParent);
        }
        let parent = self.parent(parent_path, name).ok_or(RestoreError::NoParent)?;
        let hash = self.tree.index.hash(parent, name.as_bytes());
        let spot = Spot { parent, name, path, hash };
        let id = if self.is_ordered {
            // Greater than all of its siblings, so none of them.
            let id = self.tree.insert_unindexed(spot, data, acl, stat);
            self.tree.index.insert_later(hash, id);
            id
        } else if self.tree.child_with_hash(parent, name.as_bytes(), hash).is_none() {
            self.tree.insert_node(spot, data, acl, stat)
        } else {
            return Err(RestoreError::Duplicate);
        };
        self.tree.acls.share(acl);
        self.path.clear();
        self.path.push_str(path);
        self.trail.push((path.len(), id));
        Ok(())
    }

    /// Leaves the trail at the node of this path, the parent of one of this name, and notes whether that comes in order.
    fn parent(&mut self, path: &str, name: &str) -> Option<u32> {
        let on_trail = |&(len, _): &(usize, u32)| len == path.len() && self.path.get(..len) == Some(path);
        if let Some(at) = self.trail.iter().rposition(on_trail) {
            let sibling = self.trail.get(at + 1).map(|&(end, _)| &self.path.as_bytes()[path.len() + 1..end]);
            if sibling.is_some_and(|sibling| sibling >= name.as_bytes()) {
                self.end_order();
            }
            self.trail.truncate(at + 1);
        } else {
            self.end_order();
            let NodeId(id) = self.tree.find(path)?;
            self.trail.clear();
            self.trail.push((path.len(), id));
        }
        self.trail.last().map(|&(_, id)| id)
    }

    /// From now on every node is looked for before it is added.
    fn end_order(&mut self) {
        if std::mem::take(&mut self.is_ordered) {
            self.tree.index.settle();
        }
    }

    /// Whether the first node has come.
    pub fn has_root(&self) -> bool {
        self.tree.root != NIL
    }

    /// The tree after `zxid`. Built-in nodes that did not come are added as a fresh tree has them, like the reference
    /// does for streams of old servers. Digests are not compared yet: see [`Tree::is_converging`]. Panics without a
    /// root.
    pub fn finish(self, zxid: Zxid) -> Tree {
        let mut tree = self.finish_nodes(zxid);
        tree.recount_quotas();
        tree.converging = true;
        tree
    }

    /// The same for a part of a tree, in which transactions are to have the effects that they have in the whole, on
    /// the nodes that are here. `digest` is that of the whole and stays so: it only ever changes by differences.
    ///
    /// Whatever a transaction changes must be here, with the ancestors of that, and all that is below `/zookeeper`.
    /// Numbers of children and quota counts are those of the part.
    pub fn finish_part(self, zxid: Zxid, digest: u64) -> Tree {
        let mut tree = self.finish_nodes(zxid);
        tree.digest = digest;
        tree
    }

    fn finish_nodes(mut self, zxid: Zxid) -> Tree {
        assert!(self.has_root(), "a tree has a root");
        for id in self.held {
            self.tree.acls.release(id);
        }
        self.tree.index.settle();
        self.tree.add_built_in();
        self.tree.last_zxid = zxid;
        self.tree
    }
}
