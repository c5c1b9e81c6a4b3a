//! The handshake by which a loop goes to sleep without missing a message.
//!
//! The sleeper raises its flag, then looks into its inboxes once more; the producer puts its message in, then
//! looks at the flag. With a sequentially consistent fence between the two steps on both sides at least one of
//! them sees the other, so either the sleeper stays up or the producer wakes it. `under_loom` walks every
//! interleaving.

use super::atomics::{AtomicBool, Ordering, fence};

/// One per sleeping loop; shared by everybody who may have to wake it.
pub struct Doorbell<W> {
    asleep: AtomicBool,
    wake: W,
}

impl<W: Fn()> Doorbell<W> {
    /// `wake` must make the loop's wait return, even when it is called just before the wait begins.
    pub fn new(wake: W) -> Doorbell<W> {
        Doorbell { asleep: AtomicBool::new(false), wake }
    }

    /// Called by a producer after its message is in the ring. Costs a fence and a load while the loop is awake.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Called by the loop before it waits. `true`: go to sleep, whoever sends from now on wakes you. `false`:
    /// something has arrived meanwhile.
    pub fn may_sleep(&self, inboxes_are_empty: impl FnOnce() -> bool) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = inboxes_are_empty();
        if !empty {
            self.asleep.store(false, Ordering::Relaxed);
        }
        empty
    }

    /// Called by the loop after its wait.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

impl<W> std::fmt::Debug for Doorbell<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").field("asleep", &self.asleep).finish_non_exhaustive()
    }
}
