//! The messages between clients and this node, and between servers, as bytes.
//!
//! [`request`] and [`multi`] read what clients send: everything borrows from the frame, nothing is allocated, and
//! a length or count is believed only as far as bytes are there. [`reply`] writes what they get. A frame is an
//! int length and that many bytes; the readers get it without the length, the writers produce it with the length
//! (client-protocol reference 1 to 5). This module gives meaning to nothing: no session, no tree, no rule about
//! paths.
//!
//! [`crate::client`] is its caller, and the front loops for the handshake's limits. [`election`] and [`quorum`] hold
//! what servers say to each other, for [`crate::peer`] and [`crate::member`].

mod code;
pub mod election;
pub mod fuzz;
pub mod multi;
pub mod op;
pub mod quorum;
pub mod reply;
pub mod request;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ringkeeper_engine::jute::{JuteError, Reader};

pub use code::Code;

/// Why the body of a request is not what its opcode announces. Clients learn only [`Code::MarshallingError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end early or a length is impossible.
    #[error("decoding a request: {0}")]
    Jute(#[from] JuteError),
    /// A string that must be there is null.
    #[error("decoding a request: {field} is null")]
    Null {
        /// Which one.
        field: &'static str,
    },
    /// A multi request holds an operation that is not allowed in it.
    #[error("decoding a multi request: operation {kind} is not allowed in it")]
    ForeignOp {
        /// The opcode found.
        kind: i32,
    },
    /// A create inside a multi request carries unknown flags.
    #[error("decoding a multi request: create flags {flags} are unknown")]
    UnknownFlags {
        /// The flags found.
        flags: i32,
    },
}

/// A string as the reference reads it: what is no UTF-8 becomes U+FFFD, which no valid path contains.
fn text<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, JuteError> {
    Ok(reader.ustring()?.map(|bytes| match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }))
}

fn text_or_null_error<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Cow<'a, str>, WireError> {
    text(reader)?.ok_or(WireError::Null { field })
}
