//! What applying a transaction tells the outside: results for the one who asked, events for those who watch.

use super::stat::Stat;
use crate::id::Zxid;
use crate::txn::Acl;

/// What happened to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was created.
    Created,
    /// It was deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
    /// A child of it was created or deleted.
    ChildrenChanged,
}

/// One change, told while it is applied. For each node [`EventKind::Created`] or [`EventKind::Deleted`] comes before
/// its parent's [`EventKind::ChildrenChanged`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeEvent<'a> {
    /// What happened.
    pub kind: EventKind,
    /// The node it happened to; the root is `"/"`.
    pub path: &'a str,
    /// That node's ACL; for a deleted node the one it had.
    pub acl: &'a [Acl],
    /// The transaction.
    pub zxid: Zxid,
}

/// The outcome of one operation, with what its reply needs beside the path, which stands in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpResult {
    /// A node was created, with this Stat.
    Created(Stat),
    /// A node was deleted.
    Deleted,
    /// Data or ACL were set; the Stat afterwards.
    Set(Stat),
    /// A check that the leader had made.
    Checked,
    /// A session began; its timeout in milliseconds.
    SessionCreated {
        /// The negotiated timeout, milliseconds.
        timeout: i32,
    },
    /// A session ended and its ephemeral nodes are gone.
    SessionClosed,
    /// A multi; the outcome of each operation is in [`super::Tree::multi_results`].
    Multi,
    /// It failed: the leader had refused it, or it did not fit the tree (which replay over a newer state brings
    /// about). In a failed multi 0 stands for operations that were rolled back.
    Error(i32),
}

/// How the digest that a transaction carries compares with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestCheck {
    /// It carries none, or one of another definition, or the tree is [converging](super::Tree::is_converging).
    Absent,
    /// They are equal.
    Match,
    /// They differ: this replica's tree is not the leader's.
    Mismatch {
        /// The digest the transaction carries.
        expected: u64,
        /// Ours.
        actual: u64,
    },
}

/// What applying a transaction brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The outcome.
    pub result: OpResult,
    /// The comparison of the digests.
    pub digest: DigestCheck,
}
