//! What a Ringkeeper node keeps: identifiers, the door to disk and ring, transactions, the log and the tree.
//!
//! This crate knows no peer and no session protocol, and outside [`io`] no socket. `unsafe` lives in [`io`] and nowhere
//! else. Start reading at [`log`] for durability and at [`tree`] for state.

pub mod id;
pub mod inspect;
pub mod io;
pub mod jute;
pub mod log;
pub mod mutant;
pub mod snapshot;
pub mod store;
pub mod tree;
pub mod txn;
