//! The proof that something is on the medium.

/// A value that was on the medium when this was made. Only the log makes one, when a flush has completed, and
/// an acknowledgement cannot be built without one: "persist, then send" is checked by the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable<T>(T);

impl<T: Copy> Durable<T> {
    /// Only where a completed flush has been seen, or recovery has flushed what it read.
    pub(super) fn mint(value: T) -> Durable<T> {
        Durable(value)
    }

    /// For simulators, which are the disk themselves.
    #[cfg(feature = "simulation")]
    pub fn assumed(value: T) -> Durable<T> {
        Durable(value)
    }

    /// What is durable.
    pub fn get(self) -> T {
        self.0
    }
}
