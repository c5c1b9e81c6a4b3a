//! What members say to each other on the election port, as bytes.
//!
//! The connecting side begins with a [`Hello`]; after it both directions carry frames, each an int length and that
//! many bytes of one [`Notification`]. A hello or a frame length that breaks the rules costs the connection. A frame
//! that is no notification is skipped, because old and new servers share a port (quorum reference 2.2 to 2.4).
//! Nothing here decides who leads: that is `net::zab`. `net::peer` carries it.

mod hello;
mod notification;
#[cfg(test)]
mod tests;

pub use hello::{Hello, HelloError};
pub use notification::{FrameError, Notification, Said, State, frame};

/// Bytes of a frame at most, its length not counted.
pub const MAX_FRAME: usize = 512 * 1024;

/// Walks `bytes` as a hello and, separately, as frames. For fuzzers: nothing may panic.
pub fn fuzz(bytes: &[u8]) {
    let _ = Hello::decode(bytes);
    let mut rest = bytes;
    while let Ok(Some((body, used))) = frame(rest) {
        let _ = Notification::decode(body);
        rest = &rest[used..];
    }
}
