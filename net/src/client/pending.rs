//! What nodes will be once everything proposed is applied.
//!
//! Requests are judged against this and not against the tree, which lags behind the proposals. A node that has a
//! change under way has an entry here; all others are as the tree says. The entries hold no data: what is judged
//! is existence, versions, children and ACLs, and the digest is predicted from the checksum over path and data.
//!
//! The root has one key, `""`, so that the digest stays right when `/` is written while a child of it is being
//! made (the reference has two and stamps wrong digests then).

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::tree::digest::{excluded, node_hash, path_data_crc};
use ringkeeper_engine::tree::{NodeKind, StatPersisted, Tree};
use ringkeeper_engine::txn::Acl;
use slab::Slab;

use super::path;

/// A node as it will be.
#[derive(Debug, Clone)]
pub struct Future {
    /// Its statistics as they will be stored.
    pub stat: StatPersisted,
    /// How many children it will have.
    pub children: u32,
    /// Its ACL.
    pub acl: Arc<[Acl]>,
    /// The checksum over path and data that the digest continues.
    pub path_data_crc: u32,
    /// What it contributes to the digest.
    hash: u64,
    /// Where its entry is or belongs, so that a path is hashed and looked for once.
    place: Place,
}

/// Where a path stands in the table of entries.
#[derive(Debug, Clone, Copy)]
struct Place {
    key_hash: u64,
    entry: Option<u32>,
}

impl Future {
    /// What makes it go away by itself.
    pub fn kind(&self) -> NodeKind {
        NodeKind::of_owner(self.stat.ephemeral_owner)
    }
}

#[derive(Debug)]
struct Entry {
    path: String,
    key_hash: u64,
    /// How many changes in `order` are of this entry; it goes with the last one.
    changes: u32,
    /// `None`: it will not be there.
    future: Option<Future>,
}

/// The nodes with changes under way.
#[derive(Debug, Default)]
pub struct Pending {
    entries: Slab<Entry>,
    index: HashTable<u32>,
    /// Entries by the transactions that change them, in the order of proposal.
    order: VecDeque<(Zxid, u32)>,
    hasher: RandomState,
    /// The digest of the tree once everything is applied; of no meaning while `order` is empty.
    digest: u64,
    /// Changes that can still be taken back, with what was there before.
    undo: Vec<(u32, Option<Future>)>,
    undo_digest: u64,
    recording: bool,
    /// Strings of entries that are gone, so that steady traffic allocates none.
    spare: Vec<String>,
}

/// How many strings are kept for later, and up to which size in bytes.
const SPARE: usize = 1024;
const SPARE_LEN: usize = 256;

impl Pending {
    /// The node at `path` as it will be.
    pub fn get(&self, tree: &Tree, path: &str) -> Option<Future> {
        let key = path::key(path);
        let place = self.place(key);
        if let Some(at) = place.entry {
            return Some(Future { place, ..self.entries[at as usize].future.clone()? });
        }
        let node = tree.node(tree.find(key)?);
        let (stat, path_data_crc) = (node.persisted(), node.path_data_crc());
        Some(Future {
            stat,
            children: node.child_count(),
            acl: Arc::clone(node.acl()),
            path_data_crc,
            hash: if excluded(key) { 0 } else { node_hash(path_data_crc, &stat) },
            place,
        })
    }

    /// Records that transaction `zxid` creates a node at `path`, where [`get`](Pending::get) finds none.
    pub fn create(
        &mut self,
        tree: &Tree,
        zxid: Zxid,
        path: &str,
        data: Option<&[u8]>,
        acl: Arc<[Acl]>,
        stat: StatPersisted,
    ) {
        let place = self.place(path::key(path));
        let path_data_crc = path_data_crc(path, data);
        self.set(tree, zxid, path, Future { stat, children: 0, acl, path_data_crc, hash: 0, place });
    }

    /// Records that transaction `zxid` makes the node at `path` what `future` says: what [`get`](Pending::get) gave
    /// for this path, changed. The path must not have been written since.
    pub fn set(&mut self, tree: &Tree, zxid: Zxid, path: &str, mut future: Future) {
        let key = path::key(path);
        let old = future.hash;
        future.hash = if excluded(key) { 0 } else { node_hash(future.path_data_crc, &future.stat) };
        let (place, new) = (future.place, future.hash);
        self.change(tree, zxid, key, place, Some(future), (old, new));
    }

    /// Records that transaction `zxid` deletes the node at `path`, which is now `future`.
    pub fn delete(&mut self, tree: &Tree, zxid: Zxid, path: &str, future: &Future) {
        self.change(tree, zxid, path::key(path), future.place, None, (future.hash, 0));
    }

    /// The digest that the tree will have.
    pub fn digest(&self, tree: &Tree) -> u64 {
        if self.order.is_empty() { tree.digest() } else { self.digest }
    }

    /// From here on changes can be taken back.
    pub fn begin(&mut self, tree: &Tree) {
        debug_assert!(self.undo.is_empty());
        self.undo_digest = self.digest(tree);
        self.recording = true;
    }

    /// Everything since [`Pending::begin`] stays.
    pub fn keep(&mut self) {
        self.undo.clear();
        self.recording = false;
    }

    /// Takes back everything since [`Pending::begin`].
    pub fn roll_back(&mut self) {
        while let Some((at, before)) = self.undo.pop() {
            self.order.pop_back();
            self.entries[at as usize].future = before;
            self.release(at);
        }
        self.digest = self.undo_digest;
        self.recording = false;
    }

    /// Forgets what transactions up to `zxid` brought: the tree has it now.
    pub fn applied(&mut self, zxid: Zxid) {
        while let Some(&(changed_by, at)) = self.order.front()
            && changed_by <= zxid
        {
            self.order.pop_front();
            self.release(at);
        }
    }

    /// Whether the tree has everything.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.entries.is_empty()
    }

    fn place(&self, key: &str) -> Place {
        let key_hash = self.hasher.hash_one(key);
        let is_it = |&at: &u32| {
            let entry = &self.entries[at as usize];
            entry.key_hash == key_hash && entry.path == key
        };
        Place { key_hash, entry: self.index.find(key_hash, is_it).copied() }
    }

    /// Notes a change of the entry at `place`; its share of the digest goes from the first to the second number.
    fn change(
        &mut self,
        tree: &Tree,
        zxid: Zxid,
        key: &str,
        place: Place,
        future: Option<Future>,
        (old, new): (u64, u64),
    ) {
        self.digest = self.digest(tree).wrapping_sub(old).wrapping_add(new);
        let at = match place.entry {
            Some(at) => at,
            None => self.insert(key, place.key_hash),
        };
        let entry = &mut self.entries[at as usize];
        debug_assert_eq!(entry.path, key);
        let before = std::mem::replace(&mut entry.future, future);
        entry.changes += 1;
        self.order.push_back((zxid, at));
        if self.recording {
            self.undo.push((at, before));
        }
    }

    fn insert(&mut self, key: &str, key_hash: u64) -> u32 {
        let mut path = self.spare.pop().unwrap_or_default();
        path.push_str(key);
        let at = self.entries.insert(Entry { path, key_hash, changes: 0, future: None }) as u32;
        let entries = &self.entries;
        self.index.insert_unique(key_hash, at, |&at| entries[at as usize].key_hash);
        at
    }

    fn release(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        entry.changes -= 1;
        if entry.changes > 0 {
            return;
        }
        let Entry { mut path, key_hash, .. } = self.entries.remove(at as usize);
        if let Ok(found) = self.index.find_entry(key_hash, |&it| it == at) {
            found.remove();
        }
        if self.spare.len() < SPARE && path.capacity() <= SPARE_LEN {
            path.clear();
            self.spare.push(path);
        }
    }
}
