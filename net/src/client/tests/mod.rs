//! Frames in, frames out.

mod acls;
mod errors;
mod handshake;
mod hostile;
mod multis;
mod order;
mod sessions;
mod state;
mod watches;
mod world;
