//! The bare ring server: the ceiling that results are put beside.
//!
//! It has everything of a core loop that no cleverness can remove: the ring with its sockets, receive buffers and
//! flags, the framing, and (with `--durable`) a group commit that has every setData on the medium before its answer.
//! It has nothing else: no codec, no tree, no sessions. Answers are fixed bytes with the request's xid. What a real
//! node loses against it is what its own code costs.
//!
//! Answers of one connection keep their order, as a node must keep it: a read behind a write that is not yet
//! durable waits with it.

mod batch;
mod frame;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use ringkeeper_engine::io::{RingError, VolumeError};
use thiserror::Error;

pub use server::Server;

/// Settings of the bare ring server.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "bare-ring-server",
    version,
    about = "The measured ceiling: a core loop's ring without codec and tree"
)]
pub struct BareOptions {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:2182")]
    pub listen: SocketAddr,
    /// Write every setData and create into a file of zeros in this directory before answering it.
    #[arg(long, value_name = "DIR")]
    pub durable: Option<PathBuf>,
    /// Batches in flight at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    pub in_flight: u8,
    /// Bytes of data in the answer to a getData.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
}

/// Why the bare ring server stopped.
#[derive(Debug, Error)]
pub enum BareError {
    /// No usable io_uring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The directory for the batches is not usable.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A system call failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl BareError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> BareError {
        move |source| BareError::Io { doing: doing.into(), source }
    }
}

/// Serves until the process is ended.
pub fn serve(options: &BareOptions) -> Result<(), BareError> {
    let listener = TcpListener::bind(options.listen);
    let listener = listener.map_err(BareError::io(format!("listening on {}", options.listen)))?;
    let mut server = Server::new(listener, options)?;
    println!("bare-ring-server listens on {}, {}", options.listen, server.features());
    loop {
        server.turn()?;
    }
}
