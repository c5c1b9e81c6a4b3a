//! Transaction records: what the log stores, what a proposal carries, what the tree applies.
//!
//! A payload is `TxnHeader (32 bytes) | record (may be empty) | TxnDigest (12 bytes, optional)`; nothing announces
//! the digest, its presence follows from the bytes that remain. [`decode()`] borrows everything from the payload and
//! allocates nothing: ACL lists and the parts of a multi are validated once and kept encoded. [`encode_into`]
//! writes exactly what the Apache server writes for the same transaction. This module knows no tree and judges no
//! request; it must never fail on a record that any released Apache server may have logged.
//!
//! Callers: request preparation (encodes), replay and the replica loop (decode), the tree (reads [`Txn`]).

mod acl;
mod decode;
mod encode;
mod multi;
#[cfg(test)]
pub(crate) mod tests;

pub use acl::{Acl, AclList, AclRef, put_acls};
pub use decode::{TxnError, decode};
pub use encode::encode_into;
pub use multi::{Multi, MultiBuilder, SubTxn};

use crate::id::{SessionId, Zxid};
use crate::jute::Reader;

/// The numbers that tell record types apart, in [`TxnHeader::kind`] and in the entries of a multi.
pub mod kind {
    /// End of a session, with the paths it takes along.
    pub const CLOSE_SESSION: i32 = -11;
    /// A new session and its timeout.
    pub const CREATE_SESSION: i32 = -10;
    /// A request that was refused after it had got a zxid.
    pub const ERROR: i32 = -1;
    /// A persistent or ephemeral node.
    pub const CREATE: i32 = 1;
    /// Removal of a node by a client.
    pub const DELETE: i32 = 2;
    /// New data for a node.
    pub const SET_DATA: i32 = 5;
    /// A new ACL for a node.
    pub const SET_ACL: i32 = 7;
    /// A version check: part of a multi; alone only in logs of old servers.
    pub const CHECK: i32 = 13;
    /// Several changes under one zxid.
    pub const MULTI: i32 = 14;
    /// Like [`CREATE`], asked for by a client that wants the Stat.
    pub const CREATE2: i32 = 15;
    /// New membership text for `/zookeeper/config`.
    pub const RECONFIG: i32 = 16;
    /// A container node.
    pub const CREATE_CONTAINER: i32 = 19;
    /// Removal of an empty container or an expired TTL node by the server.
    pub const DELETE_CONTAINER: i32 = 20;
    /// A node with a time to live.
    pub const CREATE_TTL: i32 = 21;
}

/// Error numbers that a transaction or its application can carry.
pub mod code {
    /// A multi was rolled back before this operation was looked at.
    pub const RUNTIME_INCONSISTENCY: i32 = -2;
    /// The path cannot be an operand of this operation.
    pub const BAD_ARGUMENTS: i32 = -8;
    /// The node, or the parent that it needs, does not exist.
    pub const NO_NODE: i32 = -101;
    /// The node exists already.
    pub const NODE_EXISTS: i32 = -110;
}

/// The 32 bytes in front of every record: `clientId(8) cxid(4) zxid(8) time(8) type(4)`, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnHeader {
    /// The session that asked; [`SessionId::NONE`] for removals that the server decided on.
    pub client_id: SessionId,
    /// The number of the request within its connection; 0 where there was none.
    pub cxid: i32,
    /// The transaction's place in the order of all.
    pub zxid: Zxid,
    /// The leader's wall clock, milliseconds since 1970. Neither monotonic nor checked.
    pub time: i64,
    /// The record's type, one of [`kind`].
    pub kind: i32,
}

/// The tree digest after a transaction: `version(4) digest(8)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnDigest {
    /// How it was computed; only [`TxnDigest::VERSION`] can be compared with ours.
    pub version: i32,
    /// The digest of the whole tree.
    pub tree: u64,
}

impl TxnDigest {
    /// The definition that [`crate::tree::digest`] implements.
    pub const VERSION: i32 = 2;

    /// A digest of the definition we implement.
    pub fn new(tree: u64) -> TxnDigest {
        TxnDigest { version: TxnDigest::VERSION, tree }
    }
}

/// A record, borrowed from its payload. Which of several types with one layout it is says [`TxnHeader::kind`]
/// (or [`SubTxn::kind`] in a multi).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Txn<'a> {
    /// [`kind::CREATE_SESSION`].
    CreateSession {
        /// The negotiated timeout, milliseconds.
        timeout: i32,
    },
    /// [`kind::CLOSE_SESSION`].
    CloseSession {
        /// The nodes to delete; `None` where the record has no list (3.5 and older): then whatever the session owns.
        paths: Option<PathList<'a>>,
    },
    /// [`kind::ERROR`].
    Error {
        /// The error number.
        err: i32,
    },
    /// [`kind::CREATE`] and [`kind::CREATE2`].
    Create {
        /// The final path, sequence number included.
        path: &'a str,
        /// The node's data; null differs from empty.
        data: Option<&'a [u8]>,
        /// The node's ACL, identities filled in.
        acl: AclList<'a>,
        /// Whether the node lives as long as the session in the header.
        ephemeral: bool,
        /// What the parent's stored cversion becomes; -1: one more than it is (records of servers before 3.4).
        parent_cversion: i32,
    },
    /// [`kind::CREATE_CONTAINER`].
    CreateContainer {
        /// The final path.
        path: &'a str,
        /// The node's data.
        data: Option<&'a [u8]>,
        /// The node's ACL.
        acl: AclList<'a>,
        /// What the parent's stored cversion becomes.
        parent_cversion: i32,
    },
    /// [`kind::CREATE_TTL`].
    CreateTtl {
        /// The final path.
        path: &'a str,
        /// The node's data.
        data: Option<&'a [u8]>,
        /// The node's ACL.
        acl: AclList<'a>,
        /// What the parent's stored cversion becomes.
        parent_cversion: i32,
        /// Time to live after the last setData, milliseconds.
        ttl: i64,
    },
    /// [`kind::DELETE`] and [`kind::DELETE_CONTAINER`].
    Delete {
        /// The node.
        path: &'a str,
    },
    /// [`kind::SET_DATA`] and [`kind::RECONFIG`].
    SetData {
        /// The node.
        path: &'a str,
        /// Its new data.
        data: Option<&'a [u8]>,
        /// What its version becomes.
        version: i32,
    },
    /// [`kind::SET_ACL`].
    SetAcl {
        /// The node.
        path: &'a str,
        /// Its new ACL.
        acl: AclList<'a>,
        /// What its aversion becomes.
        version: i32,
    },
    /// [`kind::CHECK`].
    Check {
        /// The node.
        path: &'a str,
        /// The node's version plus one; without meaning.
        version: i32,
    },
    /// [`kind::MULTI`].
    Multi(Multi<'a>),
}

impl<'a> Txn<'a> {
    /// The node that the record is about; `None` for sessions, errors and multis.
    pub fn path(&self) -> Option<&'a str> {
        match *self {
            Txn::Create { path, .. }
            | Txn::CreateContainer { path, .. }
            | Txn::CreateTtl { path, .. }
            | Txn::Delete { path }
            | Txn::SetData { path, .. }
            | Txn::SetAcl { path, .. }
            | Txn::Check { path, .. } => Some(path),
            Txn::CreateSession { .. } | Txn::CloseSession { .. } | Txn::Error { .. } | Txn::Multi(_) => None,
        }
    }
}

/// The encoded items of a `vector<ustring>` of paths, validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathList<'a> {
    count: usize,
    items: &'a [u8],
}

impl<'a> PathList<'a> {
    /// Encodes `paths` into `out` (cleared first) and borrows the list from there.
    pub fn encode<'p>(paths: impl IntoIterator<Item = &'p str>, out: &'a mut Vec<u8>) -> PathList<'a> {
        out.clear();
        let mut count = 0;
        for path in paths {
            crate::jute::put_ustring(out, path);
            count += 1;
        }
        PathList { count, items: out }
    }

    /// How many paths.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The paths, in the order of the record.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.items);
        (0..self.count).map_while(move |_| {
            let bytes = reader.ustring().ok()?.unwrap_or_default();
            std::str::from_utf8(bytes).ok()
        })
    }
}
