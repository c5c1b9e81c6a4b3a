//! What the transactions of a piece of log may touch, as hashes: the first pass of a merge.
//!
//! A path that was not touched and has the hash of one that was makes one node more be loaded, which changes nothing
//! else. So eight bytes a path are enough, however long it is.

use foldhash::fast::FixedState;
use hashbrown::{HashSet, HashTable};
use std::hash::BuildHasher;

use crate::txn::{PathList, Txn, TxnHeader};

/// See the module.
#[derive(Debug)]
pub(super) struct Touched {
    hasher: FixedState,
    /// Hashes of paths; the lowest bit says whether a node of that path was deleted.
    paths: HashTable<u64>,
    /// Sessions that ended: with or without a list, what they owned is gone.
    closed: HashSet<i64, FixedState>,
}

/// What becomes of a node of the previous snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Untouched,
    /// It may change.
    Touched,
    /// It may be deleted, with everything below it.
    Doomed,
}

const DELETED: u64 = 1;

impl Touched {
    /// Nothing yet.
    pub fn new(seed: u64) -> Touched {
        let hasher = FixedState::with_seed(seed);
        let closed = HashSet::with_hasher(hasher.clone());
        Touched { hasher, paths: HashTable::new(), closed }
    }

    /// Takes down what a transaction may touch: the node it names, and that one's parent.
    pub fn note(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        match *txn {
            Txn::CloseSession { paths } => {
                self.closed.insert(header.client_id.0);
                paths.iter().flat_map(PathList::iter).for_each(|path| self.note_path(path, DELETED));
            }
            Txn::Multi(multi) if !multi.failed() => multi.iter().for_each(|sub| self.note(header, &sub.txn)),
            Txn::Delete { path } => self.note_path(path, DELETED),
            Txn::Create { path, .. } | Txn::CreateContainer { path, .. } | Txn::CreateTtl { path, .. } => {
                self.note_path(path, 0);
            }
            Txn::SetData { path, .. } | Txn::SetAcl { path, .. } => self.insert(path, 0),
            Txn::CreateSession { .. } | Txn::Error { .. } | Txn::Check { .. } | Txn::Multi(_) => {}
        }
    }

    fn note_path(&mut self, path: &str, deleted: u64) {
        self.insert(path, deleted);
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.insert(parent, 0);
        }
    }

    fn insert(&mut self, path: &str, deleted: u64) {
        let hash = self.hasher.hash_one(path.as_bytes()) & !DELETED;
        match self.paths.find_mut(hash, |entry| entry & !DELETED == hash) {
            Some(entry) => *entry |= deleted,
            None => drop(self.paths.insert_unique(hash, hash | deleted, |entry| entry & !DELETED)),
        }
    }

    /// What the transactions may do to the node of this path and owner by themselves. The root and what lies below
    /// `/zookeeper` are always touched.
    pub fn fate(&self, path: &[u8], owner: i64) -> Fate {
        if owner != 0 && self.closed.contains(&owner) {
            return Fate::Doomed;
        }
        let hash = self.hasher.hash_one(path) & !DELETED;
        match self.paths.find(hash, |entry| entry & !DELETED == hash) {
            Some(entry) if entry & DELETED != 0 => Fate::Doomed,
            Some(_) => Fate::Touched,
            None if is_built_in(path) => Fate::Touched,
            None => Fate::Untouched,
        }
    }
}

/// The nodes that a tree cannot be without, and those that it looks at to count quotas.
fn is_built_in(path: &[u8]) -> bool {
    path.is_empty()
        || path.strip_prefix(b"/zookeeper").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
