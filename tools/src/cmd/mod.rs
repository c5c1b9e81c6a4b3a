//! The commands: each takes its paths, shows what it finds and returns the exit code.

pub mod diff;
pub mod doctor;
pub mod export;
pub mod find;
pub mod import;
pub mod log;
mod reach;
pub mod snapshot;
pub mod state;
mod verdict;
