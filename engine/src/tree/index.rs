//! From (parent, name) to node, in hash tables that store a node number and 32 bits of hash.
//!
//! The nodes themselves hold the keys, so an entry costs 9 bytes over its load factor, whatever the length of the
//! path. The stored hash lets a table grow without touching a node (two cache misses each, most of the cost of a
//! create otherwise). The tables are many and small, chosen by other bits of the hash: each grows on its own, so no
//! create ever pays for rehashing the whole tree. The hash is keyed, against clients that choose colliding names.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use std::hash::Hasher;

const TABLE_BITS: u32 = 12;
/// Entries that are added together when a tree is built at once.
const LATE: usize = 1 << 17;

/// See the module.
pub(super) struct Index {
    tables: Box<[HashTable<Entry>]>,
    seed: u64,
    shared: Box<SharedSeed>,
    /// Entries that were added for later, see [`Index::insert_later`].
    late: Vec<(u16, Entry)>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u32,
    hash: u32,
}

impl Index {
    pub(super) fn new(seed: u64) -> Index {
        Index {
            tables: (0..1 << TABLE_BITS).map(|_| HashTable::new()).collect(),
            seed,
            shared: Box::new(SharedSeed::from_u64(seed)),
            late: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        // The factor spreads neighbouring parents, which would otherwise cancel against neighbouring names.
        let parent = u64::from(parent).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut hasher = FoldHasher::with_seed(self.seed ^ parent, &self.shared);
        hasher.write(name);
        hasher.finish()
    }

    /// The table, and what places an entry within it.
    #[inline]
    fn place(hash: u64) -> (usize, u32) {
        ((hash >> 32) as usize & ((1 << TABLE_BITS) - 1), hash as u32)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        debug_assert!(self.late.is_empty(), "what was added for later is settled first");
        let (table, hash) = Index::place(hash);
        let found = self.tables[table].find(spread(hash), |entry| entry.hash == hash && is_it(entry.id));
        found.map(|entry| entry.id)
    }

    /// Adds a node that is not there yet.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        let (table, hash) = Index::place(hash);
        self.tables[table].insert_unique(spread(hash), Entry { id, hash }, |entry| spread(entry.hash));
    }

    /// Adds a node that is not there yet and is not found before [`Index::settle`]: for building a tree at once. One
    /// entry after the other meets another table, and so another cold part of memory, each time; many together are
    /// added table by table.
    #[inline]
    pub(super) fn insert_later(&mut self, hash: u64, id: u32) {
        let (table, hash) = Index::place(hash);
        self.late.push((table as u16, Entry { id, hash }));
        if self.late.len() == LATE {
            self.settle();
            self.late.reserve_exact(LATE);
        }
    }

    /// Makes all that was added for later be found.
    pub(super) fn settle(&mut self) {
        let mut late = std::mem::take(&mut self.late);
        late.sort_unstable_by_key(|&(table, _)| table);
        for (table, entry) in late {
            self.tables[usize::from(table)]
                .insert_unique(spread(entry.hash), entry, |entry| spread(entry.hash));
        }
    }

    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let (table, hash) = Index::place(hash);
        match self.tables[table].find_entry(spread(hash), |entry| entry.id == id) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => panic!("node {id} is not in the index"),
        }
    }
}

/// A hash as the tables want it: they take the place from the lowest bits and tell entries apart by the topmost
/// seven.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} entries)", self.tables.iter().map(HashTable::len).sum::<usize>())
    }
}
