//! What a Ringkeeper node says: the client protocol, the protocols between servers, its configuration, its core loops.
//!
//! Start reading at [`node`], which owns the loops, at [`client`], which answers requests, and at [`member`], which is a
//! server of an ensemble without what carries it.

// The doorbell is compiled a second time, against loom's atomics.
#![cfg_attr(test, allow(clippy::duplicate_mod))]

pub mod admin;
pub mod cli;
pub mod client;
pub mod config;
pub mod ensemble;
pub mod member;
pub mod node;
pub mod peer;
pub mod pipeline;
pub mod wire;
pub mod zab;
