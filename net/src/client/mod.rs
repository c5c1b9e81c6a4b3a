//! Sessions of clients: what a connection may ask, in which order it is answered, and who is told of changes.
//!
//! [`Service`] is a pure state machine: frames, commits and time go in; frames, proposals and closed connections
//! come out. It has no socket, no clock and no thread. Front loops hand it what they received ([`FromFront`]) and
//! take what it sends ([`Outbox`]); the log takes what it proposes ([`Proposer`]) and reports it committed. One
//! service owns the tree, so that nothing here is shared or locked.
//!
//! Where to find what:
//!
//! | module | holds |
//! |---|---|
//! | `service` | the state, the entry points, the order of replies |
//! | `connect` | the handshake: new, resumed and dead sessions |
//! | `expire` | what happens because time has passed |
//! | `write` | from a write request to a proposal |
//! | `prep`, `pending` | the checks of every write, against what is not applied yet |
//! | `role` | what the server is to its ensemble, and what changes with it |
//! | `leader`, `learner`, `read_only` | what is different in each role |
//! | `commit` | from a committed transaction to events and replies |
//! | `read`, `rewatch` | everything that is answered from the tree |
//! | `session`, `conn`, `watch`, `flight` | the tables |
//! | `acl`, `auth`, `path`, `password` | rules |
//! | `stats`, `monitor` | numbers for the monitoring words |

mod acl;
mod auth;
mod commit;
mod conn;
mod connect;
mod expire;
mod flight;
pub mod fuzz;
mod leader;
mod learner;
mod monitor;
mod options;
pub mod password;
mod path;
mod pending;
mod prep;
mod read;
mod read_only;
mod rewatch;
mod role;
mod service;
mod session;
mod stats;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::net::SocketAddr;

use ringkeeper_engine::id::{SessionId, Zxid};

pub use auth::{AuthOptions, Identity, digest_id};
pub use leader::{CannotPropose, Forwarded};
pub use learner::LeaderFault;
pub use options::Options;
pub use role::Role;
pub use service::{Admission, Service};
pub use session::Session;
pub use stats::{ConnStats, ConnView, Counters, Latency, ServiceStats};
pub use watch::{WatchCounts, mode};

/// The time of an event. All of one turn may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; sessions expire by it.
    pub mono_ms: u64,
    /// Milliseconds since 1970; transactions are stamped with it.
    pub wall_ms: i64,
    /// Microseconds of the clock that never goes back; latencies are measured by it.
    pub mono_us: u64,
}

/// How front loops and service name a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnKey {
    /// Which front loop has it.
    pub front: u16,
    /// Its place there; small numbers that are used again.
    pub slot: u32,
    /// Tells it from earlier connections in the same place.
    pub generation: u32,
}

/// What a front loop reports.
#[derive(Debug, Clone, Copy)]
pub enum FromFront<'a> {
    /// A connection was accepted.
    Open {
        /// Its name from now on.
        conn: ConnKey,
        /// The other end.
        peer: SocketAddr,
    },
    /// A frame arrived.
    Frame {
        /// On which connection.
        conn: ConnKey,
        /// The frame without its length; the first of a connection is the ConnectRequest.
        bytes: &'a [u8],
    },
    /// A four-letter word arrived. The service only counts it: whoever drives the service renders the answer from
    /// [`Service::stats`] and its neighbours, and hands it to [`Service::answer_word`].
    Word {
        /// On which connection.
        conn: ConnKey,
        /// The word.
        word: [u8; 4],
        /// What stands behind it.
        arg: &'a [u8],
    },
    /// A connection is no more; nothing can be sent to it.
    Gone {
        /// Which.
        conn: ConnKey,
    },
}

/// Where frames for clients go. Calls take effect in order; those for a connection that is gone have none.
pub trait Outbox {
    /// Sends a frame, its length included.
    fn send(&mut self, conn: ConnKey, frame: &[u8]);

    /// Closes a connection once everything sent to it has left. The service never names it again.
    fn close(&mut self, conn: ConnKey);

    /// Whether so much waits to be sent that nothing should be added without need. Held requests then wait on, until
    /// [`Service::resume_held`] finds room.
    fn is_full(&self, conn: ConnKey) -> bool {
        let _ = conn;
        false
    }

    /// Asks to stop reading from a connection, or to go on. What was read already may still be handed in.
    fn pause(&mut self, conn: ConnKey, paused: bool) {
        let _ = (conn, paused);
    }
}

/// Where transactions go to become durable and committed.
pub trait Proposer {
    /// Appends transaction `zxid`, whose payload `encode` appends to the buffer it gets. `encode` is called once.
    fn propose(&mut self, zxid: Zxid, encode: &mut dyn FnMut(&mut Vec<u8>));
}

/// The way from a learner to its leader, which must keep the order of the calls. Used as [`Role::Learner`] only.
pub trait Upstream {
    /// Sends a client's write or sync as a REQUEST. `body` is the request record without its header.
    fn forward(&mut self, session: SessionId, cxid: i32, op: i32, body: &[u8], identities: &[Identity]);

    /// Asks by a REVALIDATE whether a session lives.
    fn revalidate(&mut self, session: SessionId, timeout_ms: i32);
}
