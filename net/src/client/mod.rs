//! Sessions of clients.

pub mod password;
pub mod path;
pub mod session;
pub mod watch;

/// conn
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnKey {
    /// front
    pub front: u16,
    /// slot
    pub slot: u32,
    /// generation
    pub generation: u32,
}
