//! The receive buffers: given to the kernel as one group, lent to the caller one at a time, given back.
//!
//! Memory follows arriving data, not connections: a quiet connection holds no buffer. The kernel picks a
//! buffer when bytes are there (provided buffer ring, Linux 5.19). Where the ring cannot be registered, for
//! want of memlock or because the page size differs, the same group is fed entry by entry
//! (`IORING_OP_PROVIDE_BUFFERS`), which pins nothing and costs one queue entry per buffer.

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{opcode, squeue};

use super::queue::{Kind, Queue, user_data};
use super::slots::Key;
use crate::io::{AlignedBuf, BLOCK};

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

pub(super) struct ReceiveBuffers {
    base: *mut u8,
    len: usize,
    count: u16,
    ring: Option<BufferRing>,
    /// Owns what `base` points to. Never borrowed as a whole while the kernel may write into a part.
    _memory: AlignedBuf,
}

/// The array of free buffers that the kernel takes from at the head and this side fills at the tail.
struct BufferRing {
    entries: *mut BufRingEntry,
    tail: u16,
    mask: u16,
    _memory: AlignedBuf,
}

impl ReceiveBuffers {
    /// `count` buffers (a power of two, at most 32768) of `len` bytes. `allow_ring` is false only in tests.
    pub(super) fn new(queue: &mut Queue, count: u16, len: usize, allow_ring: bool) -> ReceiveBuffers {
        assert!(count.is_power_of_two() && count <= 1 << 15, "{count} receive buffers");
        let mut memory = AlignedBuf::zeroed((usize::from(count) * len).next_multiple_of(BLOCK));
        let ring = if allow_ring { BufferRing::register(queue, count) } else { None };
        let mut buffers = ReceiveBuffers { base: memory.as_mut_ptr(), len, count, ring, _memory: memory };
        for id in 0..count {
            buffers.give_back(queue, id);
        }
        buffers
    }

    pub(super) fn is_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// The first `filled` bytes of a buffer that the kernel has handed over and not got back.
    ///
    /// # Safety
    ///
    /// `id` came with a completion, has not been given back since, and is not before `'a` ends.
    #[inline]
    pub(super) unsafe fn filled<'a>(&self, id: u16, filled: usize) -> &'a [u8] {
        assert!(id < self.count && filled <= self.len, "the kernel filled {filled} bytes of buffer {id}");
        // SAFETY: inside the memory owned by `self`, asserted above; the kernel has let go of this buffer.
        unsafe { std::slice::from_raw_parts(self.base.add(usize::from(id) * self.len), filled) }
    }

    /// Returns a buffer to the kernel.
    #[inline]
    pub(super) fn give_back(&mut self, queue: &mut Queue, id: u16) {
        assert!(id < self.count, "there is no receive buffer {id}");
        // SAFETY: inside the memory owned by `self`.
        let address = unsafe { self.base.add(usize::from(id) * self.len) };
        match &mut self.ring {
            Some(ring) => ring.offer(address, self.len, id),
            None => {
                let entry = opcode::ProvideBuffers::new(address, self.len as i32, 1, GROUP, id)
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(user_data(Kind::Ignored, Key { index: 0, generation: 0 }));
                // SAFETY: the memory lives until nothing is in flight, see `Ring::drop`.
                unsafe { queue.push(entry) }
            }
        }
    }
}

impl BufferRing {
    fn register(queue: &Queue, count: u16) -> Option<BufferRing> {
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let mut memory = AlignedBuf::zeroed(bytes.next_multiple_of(BLOCK));
        let entries: *mut BufRingEntry = memory.as_mut_ptr().cast();
        // SAFETY: the memory holds `count` entries, is page-aligned and lives as long as the ring: it is
        // dropped only after the kernel's side, or leaked, see `Ring::drop`.
        let registered =
            unsafe { queue.ring().submitter().register_buf_ring_with_flags(entries as u64, count, GROUP, 0) };
        match registered {
            Ok(()) => Some(BufferRing { entries, tail: 0, mask: count - 1, _memory: memory }),
            Err(error) => {
                tracing::debug!(%error, "no provided buffer ring, feeding receive buffers one by one");
                None
            }
        }
    }

    #[inline]
    fn offer(&mut self, address: *mut u8, len: usize, id: u16) {
        // SAFETY: the index is masked to the array; the kernel reads no entry at or past the tail.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail & self.mask)) };
        entry.set_addr(address as u64);
        entry.set_len(len as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the base of a registered ring; its tail is a naturally aligned u16 that only
        // this side writes.
        let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}
