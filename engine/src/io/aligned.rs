//! Memory that O_DIRECT accepts.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::BLOCK;

/// Zeroed heap memory whose address and length are multiples of [`BLOCK`].
///
/// It never moves, so the kernel may be given its address for as long as the value lives.
#[derive(Debug)]
pub struct AlignedBuf {
    ptr: NonNull<u8>,
    len: usize,
    /// Where it goes when dropped, if a ring has registered it.
    home: Option<Home>,
}

/// Ties a buffer to its place in a ring's table of registered buffers. The memory must not be freed while the
/// table names it, so a dropped buffer goes back to the ring's shelf, to be handed out again.
#[derive(Clone, Debug)]
pub(super) struct Home {
    index: u16,
    shelf: Weak<Shelf>,
}

impl Home {
    pub(super) fn new(index: u16, shelf: &Arc<Shelf>) -> Home {
        Home { index, shelf: Arc::downgrade(shelf) }
    }
}

/// Registered buffers that nobody uses. It lives as long as the ring.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Vec<(Home, AlignedBuf)>>);

impl Shelf {
    /// A buffer of exactly `len` bytes, with its old content.
    pub(super) fn take(&self, len: usize) -> Option<AlignedBuf> {
        let mut bufs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = bufs.iter().position(|(_, buf)| buf.len == len)?;
        let (home, mut buf) = bufs.swap_remove(found);
        buf.home = Some(home);
        Some(buf)
    }

    fn put(&self, home: Home, buf: AlignedBuf) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((home, buf));
    }
}

// SAFETY: the buffer owns its memory exclusively, like a `Box<[u8]>`.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared references give read access only.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zero bytes; `len` is a positive multiple of [`BLOCK`].
    pub fn zeroed(len: usize) -> AlignedBuf {
        assert!(len > 0 && len.is_multiple_of(BLOCK), "length {len} is not a positive multiple of {BLOCK}");
        let layout = Layout::from_size_align(len, BLOCK).expect("buffer length fits the address space");
        // SAFETY: the layout has a non-zero size, asserted above.
        let raw = unsafe { alloc_zeroed(layout) };
        let ptr = NonNull::new(raw).unwrap_or_else(|| handle_alloc_error(layout));
        AlignedBuf { ptr, len, home: None }
    }

    pub(super) fn set_home(&mut self, home: Home) {
        self.home = Some(home);
    }

    /// Index in the table of registered buffers of the ring it came from.
    pub(super) fn registered_index(&self) -> Option<u16> {
        self.home.as_ref().map(|home| home.index)
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr` is valid for `len` initialised bytes for the life of `self`.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if let Some(home) = self.home.take()
            && let Some(shelf) = home.shelf.upgrade()
        {
            // The memory changes hands: `self` is gone after this and the new value frees it one day.
            return shelf.put(home, AlignedBuf { ptr: self.ptr, len: self.len, home: None });
        }
        let layout = Layout::from_size_align(self.len, BLOCK).expect("it was allocated with this layout");
        // SAFETY: allocated in `zeroed` with this very layout and not freed since.
        unsafe { dealloc(self.ptr.as_ptr(), layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_zeroed() {
        let mut buf = AlignedBuf::zeroed(2 * BLOCK);
        assert_eq!(buf.as_ptr() as usize % BLOCK, 0);
        assert!(buf.iter().all(|&b| b == 0));
        buf[BLOCK] = 7;
        assert_eq!(buf[BLOCK], 7);
    }
}
