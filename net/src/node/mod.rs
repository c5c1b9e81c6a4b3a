//! The core loops and the housekeeper: performs what the state machines ask for.

pub mod housekeeper;
