//! How core loops talk: bounded single-producer single-consumer byte rings, and a doorbell for sleepers.
//!
//! A front loop and the replica loop share one [`pipe`] per direction. Nothing here takes a lock and nothing
//! allocates per message: a message is sixteen bytes of header and its body, copied into the ring and read in
//! place on the other side. A full ring is an answer ([`PipeWriter::push`] returns `false`), never a wait; what
//! to do then is the caller's decision (a front stops reading sockets, the replica keeps an overflow list).

mod doorbell;
mod pipe;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod under_loom;

mod atomics {
    pub use std::sync::atomic::{AtomicBool, Ordering, fence};
}

pub use doorbell::Doorbell;
pub use pipe::{Message, PipeReader, PipeWriter, pipe};
