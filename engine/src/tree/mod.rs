//! The znodes: what every transaction changes and every read looks at.
#![expect(missing_docs, unused_variables, reason = "signatures first")]

pub mod digest;
mod event;
mod kind;
mod stat;

pub use event::{Applied, DigestCheck, EventKind, OpResult, TreeEvent};
pub use kind::NodeKind;
pub use stat::{Stat, StatPersisted};

use crate::id::{SessionId, Zxid};
use crate::txn::{Acl, Txn, TxnDigest, TxnHeader};
use std::sync::Arc;

/// A znode's place in memory: valid until the node is deleted, then given to another. Not to be kept across
/// [`Tree::apply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// An interned ACL, private to this tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AclId(u32);

#[derive(Debug)]
pub struct Tree {}

impl Tree {
    /// The fresh tree. `seed` keys the hash of the lookup tables (against chosen collisions); nothing that can be
    /// seen from outside depends on it.
    pub fn new(seed: u64) -> Tree {
        Tree {}
    }
    /// `""` and `"/"` are the root.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        None
    }
    pub fn child(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        None
    }
    /// Panics if `id` is not a live node.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        Node { tree: self, id }
    }
    pub fn acl(&self, id: AclId) -> &Arc<[Acl]> {
        unreachable!("stub")
    }
    /// Replaces `out` by the path of the node ("/" for the root).
    pub fn path_of(&self, id: NodeId, out: &mut String) {}
    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
        events: &mut dyn FnMut(TreeEvent<'_>),
    ) -> Applied {
        Applied { result: OpResult::Deleted, digest: DigestCheck::Absent }
    }
    /// One result per operation of the multi applied last.
    pub fn multi_results(&self) -> &[OpResult] {
        &[]
    }
    pub fn digest(&self) -> u64 {
        0
    }
    pub fn digest_mismatches(&self) -> u64 {
        0
    }
    /// (zxid, digest) of every 128th transaction, oldest first, at most 1024.
    pub fn digest_history(&self) -> impl Iterator<Item = (Zxid, u64)> {
        std::iter::empty()
    }
    pub fn last_zxid(&self) -> Zxid {
        Zxid::ZERO
    }
    /// As srvr counts: the root twice, 5 when fresh.
    pub fn node_count(&self) -> u64 {
        0
    }
    /// As mntr's approximate data size: paths plus data, 44 when fresh.
    pub fn data_size(&self) -> u64 {
        0
    }
    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::empty()
    }
    pub fn ephemeral_count(&self) -> u64 {
        0
    }
    /// Sessions that own ephemerals, ascending.
    pub fn ephemeral_owners(&self) -> Vec<SessionId> {
        Vec::new()
    }
    /// The limits and statistics nodes of the deepest quota that covers `path`.
    pub fn quota_of(&self, path: &str) -> Option<Quota> {
        None
    }
}

/// The nodes of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// `.../zookeeper_limits`
    pub limits: NodeId,
    /// `.../zookeeper_stats`
    pub stats: Option<NodeId>,
}

/// A look at one znode.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    tree: &'a Tree,
    id: NodeId,
}

impl<'a> Node<'a> {
    pub fn id(&self) -> NodeId {
        self.id
    }
    /// The last component of the path; "" for the root.
    pub fn name(&self) -> &'a str {
        ""
    }
    pub fn data(&self) -> Option<&'a [u8]> {
        None
    }
    pub fn stat(&self) -> Stat {
        Stat::default()
    }
    pub fn persisted(&self) -> StatPersisted {
        StatPersisted::default()
    }
    pub fn kind(&self) -> NodeKind {
        NodeKind::Persistent
    }
    pub fn acl_id(&self) -> AclId {
        AclId(0)
    }
    pub fn acl(&self) -> &'a Arc<[Acl]> {
        self.tree.acl(self.acl_id())
    }
    /// The encoded vector<ACL> as a getACL reply carries it.
    pub fn acl_encoded(&self) -> &'a [u8] {
        &[]
    }
    pub fn parent(&self) -> Option<NodeId> {
        None
    }
    pub fn child_count(&self) -> u32 {
        0
    }
    /// In no particular order.
    pub fn children(&self) -> impl Iterator<Item = NodeId> + use<'a> {
        std::iter::empty()
    }
    /// For [`digest::node_hash`].
    pub fn path_data_crc(&self) -> u32 {
        0
    }
}
