//! Offline and administration tools of Ringkeeper, and the checks on its own sources.
//!
//! So far only the latter: [`tidy`] reads what is in the repository and says what does not look like ours.

pub mod tidy;
