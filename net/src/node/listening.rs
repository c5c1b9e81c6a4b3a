//! A loop's listener, and its patience when the system has no descriptor left.

use std::io;
use std::net::TcpListener;

use ringkeeper_engine::io::{ListenerId, Ring};

use super::bind::Bound;

/// Milliseconds until accepting is tried again after it failed.
const RETRY_MS: u64 = 100;

/// A listening socket on a ring.
#[derive(Debug)]
pub struct Listening {
    id: Option<ListenerId>,
    retry_at: Option<u64>,
}

impl Listening {
    /// Accepts on `ring` from now on.
    pub fn start(ring: &mut Ring, port: Bound) -> io::Result<Listening> {
        Listening::on(ring, port.listen()?)
    }

    /// Accepts on `ring` from a socket that listens already.
    pub fn on(ring: &mut Ring, listener: TcpListener) -> io::Result<Listening> {
        Ok(Listening { id: Some(ring.listen(listener)?), retry_at: None })
    }

    /// Accepting failed, usually for want of descriptors: clients that are connected are served on.
    pub fn failed(&mut self, now_ms: u64, error: &io::Error) {
        tracing::warn!("accepting a client connection: {error}; trying again in {RETRY_MS} ms");
        self.retry_at = Some(now_ms + RETRY_MS);
    }

    /// Tries again if it is time.
    pub fn retry(&mut self, ring: &mut Ring, now_ms: u64) {
        if let Some(id) = self.id
            && self.retry_at.take_if(|at| *at <= now_ms).is_some()
        {
            ring.resume_accept(id);
        }
    }

    /// When to call [`Listening::retry`].
    pub fn next_deadline(&self) -> Option<u64> {
        self.retry_at
    }

    /// Accepts no more.
    pub fn end(&mut self, ring: &mut Ring) {
        if let Some(id) = self.id.take() {
            ring.unlisten(id);
        }
    }
}
