//! Offline and administration tools of Ringkeeper, and the checks on its own sources.
//!
//! `rkinspect` looks into logs and snapshots, ours and Apache's: [`cli`] is its command line, [`cmd`] its commands,
//! [`source`] what they look through. [`tidy`] reads what is in the repository and says what does not look like ours.

pub mod build;
pub mod cli;
pub mod cmd;
pub mod error;
pub mod out;
pub mod show;
pub mod source;
pub mod tidy;
