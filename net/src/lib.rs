//! What a Ringkeeper node says: the client protocol, configuration, the core loops and the server binary.

pub mod admin;
pub mod cli;
pub mod config;
