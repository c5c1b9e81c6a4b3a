//! Fixed-size records addressed by a `u32`.
//!
//! Records live in chunks that never move, so growing copies nothing and never stalls a core loop the way a
//! doubling `Vec` of a gigabyte does. Freed places are linked through themselves and given out again, last freed
//! first. Memory of freed places is kept for the next records.

use std::ops::{Index, IndexMut};

/// No record.
pub(super) const NIL: u32 = u32::MAX;

const CHUNK_SHIFT: u32 = 12;
const CHUNK: usize = 1 << CHUNK_SHIFT;

/// A record that can carry a link while its place is free.
pub(super) trait Place {
    /// What a free place holds, linking to the next free one.
    fn free(next: u32) -> Self;
    /// The link of a free place; `None` if this is a record.
    fn next_free(&self) -> Option<u32>;
}

/// See the module.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: u32,
    live: u32,
}

impl<T: Place> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { chunks: Vec::new(), free: NIL, live: 0 }
    }

    /// Records that are not free.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    pub(super) fn insert(&mut self, record: T) -> u32 {
        self.live += 1;
        if self.free != NIL {
            let id = self.free;
            let place = &mut self[id];
            let next = place.next_free().expect("the free list links free places");
            *place = record;
            self.free = next;
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk_number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[chunk_number];
        let id = (chunk_number << CHUNK_SHIFT) + chunk.len();
        chunk.push(record);
        let id = u32::try_from(id).expect("fewer than 2^32 records");
        assert_ne!(id, NIL, "fewer than 2^32 - 1 records");
        id
    }

    pub(super) fn remove(&mut self, id: u32) -> T {
        let free = T::free(self.free);
        let record = std::mem::replace(&mut self[id], free);
        assert!(record.next_free().is_none(), "record {id} is freed once");
        self.free = id;
        self.live -= 1;
        record
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        &self.chunks[(id >> CHUNK_SHIFT) as usize][id as usize & (CHUNK - 1)]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[(id >> CHUNK_SHIFT) as usize][id as usize & (CHUNK - 1)]
    }
}
