//! What a Ringkeeper node says to its clients: the wire format and the sessions behind it.

pub mod client;
pub mod wire;
