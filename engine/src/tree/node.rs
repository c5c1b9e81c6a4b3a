//! Reading one znode.

use super::record::{self, Record, Side};
use super::{AclId, NodeId, NodeKind, Stat, StatPersisted, Tree};
use crate::txn::Acl;
use std::sync::Arc;

/// A look at one znode, as cheap to copy as a reference.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    tree: &'a Tree,
    id: u32,
    record: &'a Record,
    side: Option<&'a Side>,
}

impl<'a> Node<'a> {
    pub(super) fn new(tree: &'a Tree, NodeId(id): NodeId) -> Node<'a> {
        let record = tree.record_of(id);
        Node { tree, id, record, side: tree.side_of(id) }
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        NodeId(self.id)
    }

    /// The last component of its path; `""` for the root.
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(self.name_bytes()).expect("names come from strings")
    }

    /// The bytes of the name, where nobody needs to know again that they are text.
    pub fn name_bytes(&self) -> &'a [u8] {
        record::split_block(self.block()).0
    }

    /// Its data; null differs from empty.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.tree.data_of(self.id)
    }

    /// Its statistics as clients see them.
    pub fn stat(&self) -> Stat {
        let data_length = record::split_block(self.block()).1.len();
        self.persisted().client_view(data_length, self.child_count())
    }

    /// Its statistics as stored.
    pub fn persisted(&self) -> StatPersisted {
        record::persisted(self.record, self.side)
    }

    /// What would make it go away by itself.
    pub fn kind(&self) -> NodeKind {
        NodeKind::of_owner(self.side.map_or(0, |side| side.owner))
    }

    /// The id of its ACL, for comparing.
    pub fn acl_id(&self) -> AclId {
        AclId(self.record.acl)
    }

    /// Its ACL.
    pub fn acl(&self) -> &'a Arc<[Acl]> {
        self.tree.acls.list(self.acl_id())
    }

    /// Its ACL as the `vector<ACL>` that a getACL reply carries.
    pub fn acl_encoded(&self) -> &'a [u8] {
        self.tree.acls.encoded(self.acl_id())
    }

    /// Its parent; `None` for the root.
    pub fn parent(&self) -> Option<NodeId> {
        super::nodes::some(self.record.parent)
    }

    /// How many children it has.
    pub fn child_count(&self) -> u32 {
        self.side.map_or(0, |side| side.children)
    }

    /// Its children in no particular order; which one comes next is asked of the tree step by step.
    pub fn children(&self) -> impl Iterator<Item = NodeId> + use<'a> {
        let tree = self.tree;
        let first = self.side.and_then(|side| super::nodes::some(side.first_child));
        std::iter::successors(first, move |&NodeId(id)| super::nodes::some(tree.nodes[id].next))
    }

    /// The CRC over path and data that [`super::digest::node_hash`] continues.
    pub fn path_data_crc(&self) -> u32 {
        self.record.path_data_crc
    }

    fn block(&self) -> &'a [u8] {
        self.tree.blocks.get(self.record.block, self.record.block_len())
    }
}
