//! What can be wrong with the bytes of a snapshot stream.

use crate::tree::RestoreError;

/// Why a stream is not the state of a server. Offsets count from its first byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A length or a count that cannot be, or is above what is allowed.
    #[error("{what} at offset {at} of the snapshot stream says {value}, which is not within 0 and {most}")]
    Length {
        /// Offset of the field.
        at: u64,
        /// The field.
        what: &'static str,
        /// What it says.
        value: i32,
        /// What is allowed.
        most: usize,
    },
    /// A session or an ACL id that comes twice.
    #[error("{what} {id:#x} comes again at offset {at} of the snapshot stream")]
    Duplicate {
        /// Offset of the second one.
        at: u64,
        /// "session" or "ACL".
        what: &'static str,
        /// Its number.
        id: i64,
    },
    /// A list under the number that means "no list".
    #[error("the ACL at offset {at} of the snapshot stream has the reserved number -1")]
    ReservedAcl {
        /// Offset of the number.
        at: u64,
    },
    /// A path that is not UTF-8.
    #[error("the path at offset {at} of the snapshot stream is not UTF-8")]
    NotText {
        /// Offset of its first byte.
        at: u64,
    },
    /// A node that does not fit to those before it.
    #[error("node {path:?} at offset {at} of the snapshot stream: {source}")]
    Node {
        /// Offset of the node.
        at: u64,
        /// Its path.
        path: String,
        /// Why.
        source: RestoreError,
    },
    /// A node whose ACL is not in the list of ACLs, although it had it before the snapshot began.
    #[error(
        "node {path:?} at offset {at} of the snapshot stream has ACL {acl:#x}, which the stream does not have"
    )]
    UnknownAcl {
        /// Offset of the node.
        at: u64,
        /// Its path.
        path: String,
        /// The number.
        acl: i64,
    },
    /// A node that a walk would have met before the one it comes behind, where the order must be ours.
    #[error("node {path:?} at offset {at} of the snapshot stream comes too late")]
    Order {
        /// Offset of the node.
        at: u64,
        /// Its path.
        path: String,
    },
    /// The nodes end before the root came.
    #[error("the snapshot stream has no root node")]
    NoRoot,
    /// The signature behind the nodes is another one.
    #[error("no signature at offset {at} of the snapshot stream")]
    Signature {
        /// Offset of the signature.
        at: u64,
    },
    /// The stream ends in the middle.
    #[error("the snapshot stream ends at offset {at}, before its signature")]
    Unfinished {
        /// Its length.
        at: u64,
    },
    /// There are bytes behind the signature.
    #[error("the snapshot stream goes on at offset {at}, behind its signature")]
    GoesOn {
        /// Where.
        at: u64,
    },
    /// The nodes make another digest than the tree had that was written.
    #[error("the nodes of the snapshot have digest {found:#x}, those written had {written:#x}")]
    Digest {
        /// Of the nodes that were read.
        found: u64,
        /// Of the tree that was written.
        written: u64,
    },
}
