//! From (parent, name) to node, in hash tables that store nothing but node numbers.
//!
//! The nodes themselves hold the keys, so an entry costs 5 bytes over its load factor. The tables are many and
//! small, chosen by bits of the hash: each grows on its own, so no single create ever pays for rehashing the whole
//! tree. The hash is keyed, against clients that choose colliding names.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use std::hash::Hasher;

const TABLE_BITS: u32 = 12;
/// Middle bits: a table uses the lowest for the place and the topmost seven to tell entries apart.
const TABLE_SHIFT: u32 = 40;

/// See the module.
pub(super) struct Index {
    tables: Box<[HashTable<u32>]>,
    seed: u64,
    shared: Box<SharedSeed>,
}

impl Index {
    pub(super) fn new(seed: u64) -> Index {
        Index {
            tables: (0..1 << TABLE_BITS).map(|_| HashTable::new()).collect(),
            seed,
            shared: Box::new(SharedSeed::from_u64(seed)),
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

    #[inline]
    fn table_of(hash: u64) -> usize {
        (hash >> TABLE_SHIFT) as usize & ((1 << TABLE_BITS) - 1)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.tables[Index::table_of(hash)].find(hash, |&id| is_it(id)).copied()
    }

    /// Adds a node that is not there yet. `rehash` tells the hash of a node that is.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, id: u32, rehash: impl Fn(&Index, u32) -> u64) {
        let number = Index::table_of(hash);
        // Taken out so that `rehash` may borrow the index; an empty table owns no memory.
        let mut table = std::mem::take(&mut self.tables[number]);
        table.insert_unique(hash, id, |&id| rehash(self, id));
        self.tables[number] = table;
    }

    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        match self.tables[Index::table_of(hash)].find_entry(hash, |&candidate| candidate == id) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => panic!("node {id} is not in the index"),
        }
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} entries)", self.tables.iter().map(HashTable::len).sum::<usize>())
    }
}
