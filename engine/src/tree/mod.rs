//! The znodes: what every transaction changes and every read looks at.
//!
//! [`Tree::apply`] gives a transaction exactly the effects it has in the reference, so that replicas stay equal
//! (their digests are compared on every transaction) and a replay over a state that is already ahead converges to
//! the same tree. The tree judges nothing: permissions, versions and emptiness were checked by whoever wrote the
//! transaction. It has no clock and no randomness, does no I/O and never fails: what does not fit is a result.
//!
//! Built for memory and for even cost: a leaf takes about 90 bytes over its name and data (`record`, `blocks`,
//! `index` draw the layout), and no change depends on how deep a node lies or how many siblings it has.
//!
//! Callers: the store at replay and the replica loop (apply), the client service (reads, request preparation).

mod acls;
mod apply;
mod blocks;
mod crc32;
pub mod digest;
mod event;
mod index;
mod kind;
mod node;
mod nodes;
mod owned;
mod quota;
mod record;
mod restore;
mod slab;
mod stat;
#[cfg(test)]
pub(crate) mod tests;

pub use event::{Applied, DigestCheck, EventKind, OpResult, TreeEvent};
pub use kind::NodeKind;
pub use node::Node;
pub use quota::{Quota, StatsTrack, is_quota_statistics};
pub use restore::{RestoreError, Restoring};
pub use stat::{Stat, StatPersisted};

use crate::id::Zxid;
use crate::txn::{Acl, AclList};
use std::sync::Arc;

/// A znode's place in memory: valid until the node is deleted, then given to another. Not to be kept across
/// [`Tree::apply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// An interned ACL, private to this tree; valid as long as a node uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AclId(u32);

/// The nodes that exist from the beginning and cannot be deleted.
pub const BUILT_IN: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// See the module.
#[derive(Debug)]
pub struct Tree {
    nodes: slab::Slab<record::Record>,
    sides: slab::Slab<record::Side>,
    blocks: blocks::Blocks,
    index: index::Index,
    acls: acls::Acls,
    owned: owned::Owned,
    root: u32,
    quota_root: u32,
    /// Nodes that make their parent a quota; 0 spares every change the search for its quota.
    quotas: u32,
    data_size: u64,
    digest: u64,
    digest_history: digest::History,
    digest_mismatches: u64,
    /// Whether digests are not compared yet, see [`Tree::is_converging`].
    converging: bool,
    last_zxid: Zxid,
    multi_results: Vec<OpResult>,
}

impl Tree {
    /// The tree before the first transaction: the [`BUILT_IN`] nodes with empty data and all numbers 0, but for
    /// `/zookeeper/config` with aversion -1 because its ACL lets the world only read.
    ///
    /// `seed` keys the hashes of the lookup tables, against names that are chosen to collide; nothing that can be
    /// seen from outside depends on it.
    pub fn new(seed: u64) -> Tree {
        let mut tree = Tree::bare(seed);
        let root = nodes::Spot { parent: slab::NIL, name: "", path: "", hash: 0 };
        tree.root = tree.insert_node(root, Some(b""), AclId::OPEN, &StatPersisted::default());
        tree.add_built_in();
        tree
    }

    /// A tree without any node, not even the root.
    fn bare(seed: u64) -> Tree {
        Tree {
            nodes: slab::Slab::new(),
            sides: slab::Slab::new(),
            blocks: blocks::Blocks::new(),
            index: index::Index::new(seed),
            acls: acls::Acls::new(seed),
            owned: owned::Owned::new(seed),
            root: slab::NIL,
            quota_root: slab::NIL,
            quotas: 0,
            data_size: 1, // the root's second name, "/"
            digest: 0,
            digest_history: digest::History::default(),
            digest_mismatches: 0,
            converging: false,
            last_zxid: Zxid::ZERO,
            multi_results: Vec::new(),
        }
    }

    /// Adds those of the [`BUILT_IN`] nodes below the root that are not there.
    fn add_built_in(&mut self) {
        let fresh = StatPersisted::default();
        let system = self.add_if_missing(self.root, "/zookeeper", AclList::NULL, &fresh);
        self.quota_root = self.add_if_missing(system, "/zookeeper/quota", AclList::NULL, &fresh);
        let mut encoded = Vec::new();
        let read_only = AclList::encode(&[Acl::world(Acl::READ)], &mut encoded);
        let config = StatPersisted { aversion: -1, ..fresh };
        self.add_if_missing(system, "/zookeeper/config", read_only, &config);
    }

    fn add_if_missing(&mut self, parent: u32, path: &str, acl: AclList<'_>, stat: &StatPersisted) -> u32 {
        let name = path.rsplit('/').next().unwrap_or_default();
        let hash = self.index.hash(parent, name.as_bytes());
        if let Some(id) = self.child_with_hash(parent, name.as_bytes(), hash) {
            return id;
        }
        let acl = self.acls.intern(acl);
        self.insert_node(nodes::Spot { parent, name, path, hash }, Some(b""), acl, stat)
    }

    /// The node at a path; `""` and `"/"` are the root. A path that is not well-formed is not found.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        if path.is_empty() || path == "/" {
            return Some(NodeId(self.root));
        }
        let mut at = self.root;
        let mut rest = path.strip_prefix('/')?.as_bytes();
        // Components are short: a plain loop finds their ends faster than a searcher that is set up for each.
        while let Some(end) = rest.iter().position(|&byte| byte == b'/') {
            at = self.child_of(at, &rest[..end])?;
            rest = &rest[end + 1..];
        }
        self.child_of(at, rest).map(NodeId)
    }

    /// The child of that name.
    pub fn child(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        self.child_of(parent.0, name.as_bytes()).map(NodeId)
    }

    /// A look at a node. Panics if there is none under this id.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        Node::new(self, id)
    }

    /// The list behind an ACL's id.
    pub fn acl(&self, id: AclId) -> &Arc<[Acl]> {
        self.acls.list(id)
    }

    /// Every list in use but the null one, as encoded bytes, in no particular order.
    pub fn acls(&self) -> impl Iterator<Item = (AclId, &[u8])> {
        self.acls.iter()
    }

    /// Distinct ACLs in use.
    pub fn acl_count(&self) -> usize {
        self.acls.len()
    }

    /// Replaces the contents of `out` by the path of a node, `"/"` for the root.
    pub fn path_of(&self, id: NodeId, out: &mut String) {
        let mut bytes = std::mem::take(out).into_bytes();
        let ancestors =
            || std::iter::successors(Some(self.node(id)), |node| node.parent().map(|id| self.node(id)));
        let below_root = || ancestors().take_while(|node| node.parent().is_some());
        let mut end: usize = below_root().map(|node| node.name_bytes().len() + 1).sum();
        bytes.clear();
        bytes.resize(end.max(1), b'/');
        for node in below_root() {
            let name = node.name_bytes();
            bytes[end - name.len()..end].copy_from_slice(name);
            end -= name.len() + 1;
        }
        *out = String::from_utf8(bytes).expect("names come from strings");
    }

    /// The digest of the whole tree, see [`digest`].
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Transactions whose digest was not ours.
    pub fn digest_mismatches(&self) -> u64 {
        self.digest_mismatches
    }

    /// Whether the tree was restored from a stream that was written while its leader's tree changed. It may contain a
    /// part of later transactions until these are applied, so digests say nothing yet: a difference is not counted.
    /// This ends with the first digest that is equal, or with [`Tree::converged`].
    pub fn is_converging(&self) -> bool {
        self.converging
    }

    /// All transactions that the stream can contain a part of are applied: from now on digests must be equal.
    pub fn converged(&mut self) {
        self.converging = false;
    }

    /// The digests after every 128th transaction, at most the latest 1024, oldest first.
    pub fn digest_history(&self) -> impl Iterator<Item = (Zxid, u64)> {
        self.digest_history.entries()
    }

    /// The newest transaction applied.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Nodes as the reference counts them: the root twice, because it has two names. 5 in a fresh tree.
    pub fn node_count(&self) -> u64 {
        u64::from(self.nodes.live()) + 1
    }

    /// Bytes of all paths and data as the reference reports them (approximately: it counts UTF-16 units of paths).
    /// 44 in a fresh tree.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    /// One outcome per operation of the multi that was applied last.
    pub fn multi_results(&self) -> &[OpResult] {
        &self.multi_results
    }
}
