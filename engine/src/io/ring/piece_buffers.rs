//! The memory that pieces of files pass through: a few buffers, made when the first is needed, the first of them registered.
//!
//! Registered memory counts against the little that an ordinary user may lock for all his processes together, so only
//! as many buffers are registered as one transfer needs to read while it sends. What is beyond that, or refused, works
//! unregistered. All of it is given up when nobody sends files any more.

use super::files::BUFFER_TABLE;
use super::queue::Queue;
use crate::io::AlignedBuf;

/// Bytes of one buffer, and most of one piece.
pub const PIECE: usize = 1 << 20;
/// Most buffers.
pub(super) const MOST: usize = 8;
/// How many of them are registered: they have the last places in the table of registered buffers.
pub(super) const REGISTERED: usize = 3;

/// The buffers of one ring.
pub(super) struct PieceBuffers {
    /// Whether there is a table of registered buffers.
    table: bool,
    free: Vec<PieceBuffer>,
    /// How many there are, those in use included.
    made: usize,
}

pub(super) struct PieceBuffer {
    pub(super) memory: AlignedBuf,
    /// Its place in the table of registered buffers.
    pub(super) registered: Option<u16>,
}

impl PieceBuffers {
    pub(super) fn new(table: bool) -> PieceBuffers {
        PieceBuffers { table, free: Vec::new(), made: 0 }
    }

    /// Whether [`PieceBuffers::take`] would give one.
    pub(super) fn has_some(&self) -> bool {
        !self.free.is_empty() || self.made < MOST
    }

    /// A buffer with any content, a registered one if there is one; `None` when all are in use.
    pub(super) fn take(&mut self, queue: &Queue) -> Option<PieceBuffer> {
        let registered = self.free.iter().position(|buffer| buffer.registered.is_some());
        if let Some(at) = registered.or(self.free.len().checked_sub(1)) {
            return Some(self.free.swap_remove(at));
        }
        if self.made >= MOST {
            return None;
        }
        let mut buffer = PieceBuffer { memory: AlignedBuf::zeroed(PIECE), registered: None };
        if self.table && self.made < REGISTERED {
            let index = BUFFER_TABLE + self.made as u16;
            let vector = libc::iovec { iov_base: buffer.memory.as_mut_ptr().cast(), iov_len: PIECE };
            buffer.registered = set_table(queue, index, vector).then_some(index);
        }
        self.made += 1;
        Some(buffer)
    }

    pub(super) fn give_back(&mut self, buffer: PieceBuffer) {
        self.free.push(buffer);
    }

    /// Frees all that is not in use; the next transfer makes them anew when nothing was.
    pub(super) fn release(&mut self, queue: &Queue) {
        if self.free.len() < self.made {
            return;
        }
        for buffer in self.free.drain(..) {
            let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
            if let Some(index) = buffer.registered
                && !set_table(queue, index, nothing)
            {
                // The pages stay locked until the next buffer takes the place.
                tracing::warn!(index, "a buffer stays in the ring's table");
            }
        }
        self.made = 0;
    }

    /// How many there are, and how many of those that are free are registered.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        (self.made, self.free.iter().filter(|buffer| buffer.registered.is_some()).count())
    }
}

/// Puts memory into the table of registered buffers. False if the kernel refuses.
fn set_table(queue: &Queue, index: u16, vector: libc::iovec) -> bool {
    // SAFETY: the memory is valid now, which is when the kernel pins its pages, and nothing names the place any more
    // when its buffer is freed.
    unsafe { queue.ring().submitter().register_buffers_update(index.into(), &[vector], None) }.is_ok()
}
