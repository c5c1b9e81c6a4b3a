//! Waking a loop that sleeps in its ring, from another thread.
//!
//! An eventfd under a multishot poll: a wake-up is one `write`, and costs the sleeping loop nothing until it
//! comes. Several wake-ups before the loop looks are one `write` and one `Completion::Woken`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes the [`Ring`](super::Ring) it was taken from. Cheap to clone, usable from any thread, harmless after
/// the ring is gone.
///
/// The order that loses no message: the sender publishes the message, then calls [`Waker::wake`]; the loop
/// sees [`Completion::Woken`](super::Completion::Woken), then looks into its inboxes.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    event: OwnedFd,
    /// Set by a sender, cleared by the loop before it reports `Woken`.
    pending: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> io::Result<Waker> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Waker(Arc::new(Shared { event, pending: AtomicBool::new(false) })))
    }

    /// Makes the loop return from `submit_and_wait` and see `Completion::Woken`. Does nothing more than an
    /// atomic swap while an earlier wake-up has not been seen yet.
    pub fn wake(&self) {
        // AcqRel: what the sender wrote before is visible to the loop once it clears the flag, even if this
        // call finds the flag already set.
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            // The counter is never read (the poll is edge-triggered) and cannot overflow in practice. Should
            // it, the descriptor stays readable, which is all that is needed.
            let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
        }
    }

    /// Takes note that the wake-up has arrived. Inboxes are looked into after this.
    pub(super) fn clear(&self) {
        self.0.pending.swap(false, Ordering::AcqRel);
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.0.event.as_raw_fd()
    }
}
