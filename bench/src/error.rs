//! What can go wrong while measuring.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::wire::WireError;

/// Why a measurement could not be made. Errors that servers answer with are counted in the report instead.
#[derive(Debug, Error)]
pub enum BenchError {
    /// A server's name has no address.
    #[error("looking up {name}: {source}")]
    Resolve {
        /// As given on the command line.
        name: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// A socket operation failed.
    #[error("{doing} {peer}: {source}")]
    Socket {
        /// What was being done, ending in a preposition.
        doing: &'static str,
        /// The server.
        peer: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A connection went away although reconnecting was not asked for.
    #[error(
        "connection {conn} to {peer} failed with {outstanding} requests unanswered: {reason} \
         (--reconnect carries on)"
    )]
    Lost {
        /// Number of the connection, from 0.
        conn: usize,
        /// The server.
        peer: SocketAddr,
        /// Requests without an answer.
        outstanding: usize,
        /// How it showed.
        reason: String,
    },
    /// The server sent something that is not an answer.
    #[error("{doing} {peer}: {source}")]
    Wire {
        /// What was being done, ending in a preposition.
        doing: &'static str,
        /// The server.
        peer: SocketAddr,
        /// What was wrong.
        source: WireError,
    },
    /// The server answered a request of the preparation or the cleanup with an error.
    #[error("{doing} {path} at {peer}: error {code} ({name})")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The znode.
        path: String,
        /// The server.
        peer: SocketAddr,
        /// Error code of the protocol.
        code: i32,
        /// Its name.
        name: &'static str,
    },
    /// A server did not come up, or a connection not through, in time.
    #[error("{what} within {seconds} s")]
    Timeout {
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The event loop's own system calls.
    #[error("{doing}: {source}")]
    Os {
        /// What was being done.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file could not be used.
    #[error("{doing} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// What was to be measured did not happen.
    #[error("{what}")]
    NotSeen {
        /// What was not seen, and where it was looked for.
        what: String,
    },
    /// A program that was to be measured did not end well.
    #[error("{command} ended with {status}; the end of its output:\n{output}")]
    Failed {
        /// What was run.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// An acknowledged write is gone.
    #[error(
        "{path} was set to version {version} after version {last} had been acknowledged: a write is lost"
    )]
    WriteLost {
        /// The znode.
        path: String,
        /// Version of the last acknowledged write.
        last: i32,
        /// Version of the one after it.
        version: i32,
    },
    /// A server that was started has ended.
    #[error("{name} ended by itself ({status}); the end of its output:\n{output}")]
    ServerEnded {
        /// Which one.
        name: &'static str,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it printed.
        output: String,
    },
}

impl BenchError {
    /// Turns the error of a system call of the generator itself into [`BenchError::Os`].
    pub fn os(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> BenchError {
        move |errno| BenchError::Os { doing, source: errno.into() }
    }
}

/// The name of an error code of the protocol, for reports.
pub fn code_name(code: i32) -> &'static str {
    match code {
        -1 => "SYSTEMERROR",
        -2 => "RUNTIMEINCONSISTENCY",
        -4 => "CONNECTIONLOSS",
        -5 => "MARSHALLINGERROR",
        -6 => "UNIMPLEMENTED",
        -7 => "OPERATIONTIMEOUT",
        -8 => "BADARGUMENTS",
        -100 => "APIERROR",
        -101 => "NONODE",
        -102 => "NOAUTH",
        -103 => "BADVERSION",
        -108 => "NOCHILDRENFOREPHEMERALS",
        -110 => "NODEEXISTS",
        -111 => "NOTEMPTY",
        -112 => "SESSIONEXPIRED",
        -113 => "INVALIDCALLBACK",
        -114 => "INVALIDACL",
        -115 => "AUTHFAILED",
        -118 => "SESSIONMOVED",
        -119 => "NOTREADONLY",
        -122 => "REQUESTTIMEOUT",
        -125 => "QUOTAEXCEEDED",
        -127 => "THROTTLEDOP",
        _ => "unknown",
    }
}
