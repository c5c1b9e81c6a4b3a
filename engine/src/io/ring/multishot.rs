//! Whether an operation that repeats itself runs, and whether it should.
//!
//! The kernel may end a multishot operation at any time, and a cancellation takes effect later than it was
//! asked for. This keeps the wish and the fact apart; listeners and sockets each hold one.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Multishot {
    wanted: bool,
    armed: bool,
    cancelling: bool,
}

impl Multishot {
    /// Wishes it to run. True if the caller must queue it now.
    #[must_use]
    pub(super) fn start(&mut self) -> bool {
        self.wanted = true;
        !std::mem::replace(&mut self.armed, true)
    }

    /// Wishes it to stop. True if the caller must queue a cancellation now.
    #[must_use]
    pub(super) fn stop(&mut self) -> bool {
        self.wanted = false;
        self.armed && !std::mem::replace(&mut self.cancelling, true)
    }

    /// The kernel has ended it. True if it is still wanted: the caller starts it again, or stops it.
    pub(super) fn ended(&mut self) -> bool {
        (self.armed, self.cancelling) = (false, false);
        self.wanted
    }

    /// Whether a cancellation is under way that has not ended it yet.
    pub(super) fn is_cancelling(&self) -> bool {
        self.armed && self.cancelling
    }

    /// Whether the kernel holds the operation.
    pub(super) fn in_flight(&self) -> bool {
        self.armed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_and_start_before_the_end_is_queued_once_more_after_it() {
        let mut shot = Multishot::default();
        assert!(shot.start());
        assert!(!shot.start(), "it runs already");
        assert!(shot.stop());
        assert!(!shot.stop(), "one cancellation is enough");
        assert!(!shot.start(), "the cancelled one still runs");
        assert!(shot.ended(), "but is wanted again");
        assert!(shot.start());
    }

    #[test]
    fn a_stop_after_the_end_cancels_nothing() {
        let mut shot = Multishot::default();
        assert!(shot.start());
        assert!(shot.ended());
        assert!(!shot.in_flight());
        assert!(!shot.stop());
    }
}
