//! The commands: each takes its paths, shows what it finds and returns the exit code.

pub mod export;
pub mod import;
pub mod log;
pub mod snapshot;
mod verdict;
