//! Frames in, frames out.

mod acls;
mod ensemble;
mod errors;
mod handshake;
mod hostile;
mod moves;
mod multis;
mod order;
mod roles;
mod sessions;
mod state;
mod watches;
mod world;
