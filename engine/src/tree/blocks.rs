//! Byte blocks of any length, addressed by a `u32`: one per znode, holding name and data.
//!
//! A general allocator spends up to 24 bytes per block on headers and rounding, and a boxed slice 16 more on
//! pointer and length. Here blocks of up to 1 KiB lie in chunks of equal slots (a slot size every 8 bytes), so a
//! block costs its address and on average 3.5 bytes; the caller knows the length and passes it in. Chunks that
//! become empty are returned. Longer blocks are boxed, their cost no longer matters.

use super::slab::{NIL, Place, Slab};

const STEP: usize = 8;
const LONGEST_SLOT: usize = 1024;
const CHUNK_BYTES: usize = 64 * 1024;
const NO_SLOT: u16 = u16::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Blocks {
    classes: Vec<Class>,
    long: Slab<Long>,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        Blocks {
            classes: (1..=LONGEST_SLOT / STEP).map(|n| Class::new(n * STEP)).collect(),
            long: Slab::new(),
        }
    }

    /// A block of `len` bytes, at least one; what is in it is not defined.
    pub(super) fn alloc(&mut self, len: usize) -> u32 {
        match self.classes.get_mut(class_of(len)) {
            Some(class) => class.alloc(),
            None => self.long.insert(Long::Block(vec![0; len].into_boxed_slice())),
        }
    }

    /// The block that was allocated with this length.
    #[inline]
    pub(super) fn get(&self, block: u32, len: usize) -> &[u8] {
        match self.classes.get(class_of(len)) {
            Some(class) => &class.slot(block)[..len],
            None => self.long[block].bytes(),
        }
    }

    /// The block that was allocated with this length.
    #[inline]
    pub(super) fn get_mut(&mut self, block: u32, len: usize) -> &mut [u8] {
        match self.classes.get_mut(class_of(len)) {
            Some(class) => &mut class.slot_mut(block)[..len],
            None => self.long[block].bytes_mut(),
        }
    }

    pub(super) fn free(&mut self, block: u32, len: usize) {
        match self.classes.get_mut(class_of(len)) {
            Some(class) => class.free(block),
            None => drop(self.long.remove(block)),
        }
    }

    /// Makes a block of `old_len` bytes one of `new_len` whose first `keep` bytes are the same, in place where the
    /// slot allows it.
    pub(super) fn resize(&mut self, block: u32, old_len: usize, new_len: usize, keep: usize) -> u32 {
        let (old, new) = (class_of(old_len), class_of(new_len));
        if old_len == new_len || (old == new && new < self.classes.len()) {
            return block;
        }
        let moved = self.alloc(new_len);
        if let Ok([from, to]) = self.classes.get_disjoint_mut([old, new]) {
            to.slot_mut(moved)[..keep].copy_from_slice(&from.slot(block)[..keep]);
        } else {
            let kept = self.get(block, old_len)[..keep].to_vec();
            self.get_mut(moved, new_len)[..keep].copy_from_slice(&kept);
        }
        self.free(block, old_len);
        moved
    }
}

#[inline]
fn class_of(len: usize) -> usize {
    len.div_ceil(STEP) - 1
}

/// A block too long for a slot.
#[derive(Debug)]
enum Long {
    Block(Box<[u8]>),
    Free(u32),
}

impl Long {
    fn bytes(&self) -> &[u8] {
        match self {
            Long::Block(bytes) => bytes,
            Long::Free(_) => panic!("a freed block is read"),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Long::Block(bytes) => bytes,
            Long::Free(_) => panic!("a freed block is written"),
        }
    }
}

impl Place for Long {
    fn free(next: u32) -> Long {
        Long::Free(next)
    }

    fn next_free(&self) -> Option<u32> {
        match self {
            Long::Block(_) => None,
            Long::Free(next) => Some(*next),
        }
    }
}

/// All slots of one size. A slot's address is its chunk's number above `shift`, its place in the chunk below.
#[derive(Debug)]
struct Class {
    size: usize,
    shift: u32,
    chunks: Vec<Chunk>,
    /// First of the doubly linked chunks with both memory and free slots.
    open: u32,
    /// First of the singly linked chunks without memory.
    vacant: u32,
}

/// Slots that were allocated together.
#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    /// Slots in use.
    live: u16,
    /// Slots from here on were never used.
    fresh: u16,
    /// First of the freed slots; each holds the number of the next in its first two bytes.
    freed: u16,
    next: u32,
    prev: u32,
}

impl Class {
    fn new(size: usize) -> Class {
        let shift = (CHUNK_BYTES / size).ilog2();
        Class { size, shift, chunks: Vec::new(), open: NIL, vacant: NIL }
    }

    fn slots(&self) -> u16 {
        1 << self.shift
    }

    #[inline]
    fn locate(&self, slot: u32) -> (usize, usize) {
        let in_chunk = slot & ((1 << self.shift) - 1);
        ((slot >> self.shift) as usize, in_chunk as usize * self.size)
    }

    #[inline]
    fn slot(&self, slot: u32) -> &[u8] {
        let (chunk, at) = self.locate(slot);
        &self.chunks[chunk].bytes[at..at + self.size]
    }

    #[inline]
    fn slot_mut(&mut self, slot: u32) -> &mut [u8] {
        let (chunk, at) = self.locate(slot);
        &mut self.chunks[chunk].bytes[at..at + self.size]
    }

    fn alloc(&mut self) -> u32 {
        if self.open == NIL {
            self.open_chunk();
        }
        let (number, size, slots) = (self.open, self.size, self.slots());
        let chunk = &mut self.chunks[number as usize];
        let slot = if chunk.freed == NO_SLOT {
            chunk.fresh += 1;
            chunk.fresh - 1
        } else {
            let slot = chunk.freed;
            let at = usize::from(slot) * size;
            chunk.freed = u16::from_le_bytes([chunk.bytes[at], chunk.bytes[at + 1]]);
            slot
        };
        chunk.live += 1;
        if chunk.live == slots {
            self.unlink(number);
        }
        (number << self.shift) | u32::from(slot)
    }

    fn free(&mut self, slot: u32) {
        let (number, at) = self.locate(slot);
        let slots = self.slots();
        let in_chunk = (slot & (u32::from(slots) - 1)) as u16;
        let chunk = &mut self.chunks[number];
        let was_full = chunk.live == slots;
        chunk.bytes[at..at + 2].copy_from_slice(&chunk.freed.to_le_bytes());
        chunk.freed = in_chunk;
        chunk.live -= 1;
        let empty = chunk.live == 0;
        let number = number as u32;
        if was_full {
            self.link(number);
        }
        // The last open chunk stays, so that one block going and coming does not allocate 64 KiB each time.
        let only_open = self.open == number && self.chunks[number as usize].next == NIL;
        if empty && !only_open {
            self.unlink(number);
            let chunk = &mut self.chunks[number as usize];
            *chunk = Chunk { next: self.vacant, ..Chunk::default() };
            self.vacant = number;
        }
    }

    fn open_chunk(&mut self) {
        if self.vacant == NIL {
            self.vacant = u32::try_from(self.chunks.len()).expect("fewer than 2^32 chunks");
            assert!(self.vacant < NIL >> self.shift, "slot addresses have 32 bits");
            self.chunks.push(Chunk::default());
        }
        let number = self.vacant;
        let bytes = vec![0; self.size << self.shift].into_boxed_slice();
        let chunk = &mut self.chunks[number as usize];
        self.vacant = chunk.next;
        chunk.bytes = bytes;
        self.link(number);
    }

    fn link(&mut self, number: u32) {
        let next = self.open;
        if next != NIL {
            self.chunks[next as usize].prev = number;
        }
        let chunk = &mut self.chunks[number as usize];
        (chunk.next, chunk.prev) = (next, NIL);
        self.open = number;
    }

    fn unlink(&mut self, number: u32) {
        let chunk = &mut self.chunks[number as usize];
        let (next, prev) = (chunk.next, chunk.prev);
        (chunk.next, chunk.prev) = (NIL, NIL);
        if next != NIL {
            self.chunks[next as usize].prev = prev;
        }
        if prev == NIL {
            self.open = next;
        } else {
            self.chunks[prev as usize].next = next;
        }
    }
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk { bytes: Box::default(), live: 0, fresh: 0, freed: NO_SLOT, next: NIL, prev: NIL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_bytes_through_any_history() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut blocks = Blocks::new();
        let mut model: Vec<(u32, Vec<u8>)> = Vec::new();
        for round in 0..40_000u32 {
            // Growing and shrinking phases, so that chunks fill up, empty and come back.
            let grow = random.u32(..100) < if (round / 8000) % 2 == 0 { 70 } else { 30 };
            let len = if random.u32(..20) == 0 { random.usize(1..3000) } else { random.usize(1..200) };
            if grow || model.is_empty() {
                let block = blocks.alloc(len);
                let bytes: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                blocks.get_mut(block, len).copy_from_slice(&bytes);
                model.push((block, bytes));
                continue;
            }
            let victim = random.usize(..model.len());
            if random.bool() {
                let (block, bytes) = model.swap_remove(victim);
                assert_eq!(blocks.get(block, bytes.len()), bytes);
                blocks.free(block, bytes.len());
            } else {
                let (block, bytes) = &mut model[victim];
                let keep = random.usize(..=bytes.len().min(len));
                *block = blocks.resize(*block, bytes.len(), len, keep);
                bytes.resize(len, 0);
                let tail: Vec<u8> = (keep..len).map(|_| random.u8(..)).collect();
                blocks.get_mut(*block, len)[keep..].copy_from_slice(&tail);
                bytes[keep..].copy_from_slice(&tail);
            }
        }
        for (block, bytes) in &model {
            assert_eq!(blocks.get(*block, bytes.len()), *bytes);
        }
    }

    #[test]
    fn emptied_chunks_are_returned_but_for_one() {
        let mut blocks = Blocks::new();
        let all: Vec<u32> = (0..10_000).map(|_| blocks.alloc(100)).collect();
        let held = |blocks: &Blocks| {
            blocks.classes[class_of(100)].chunks.iter().filter(|chunk| !chunk.bytes.is_empty()).count()
        };
        assert_eq!(held(&blocks), 10_000usize.div_ceil(512));
        for block in all {
            blocks.free(block, 100);
        }
        assert_eq!(held(&blocks), 1);
        let again: Vec<u32> = (0..10_000).map(|_| blocks.alloc(100)).collect();
        assert_eq!(held(&blocks), 10_000usize.div_ceil(512));
        assert_eq!(again.iter().collect::<std::collections::HashSet<_>>().len(), 10_000);
    }
}
