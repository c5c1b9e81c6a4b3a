//! The replica: everything with a single writer, as the loop that owns it drives it.
//!
//! It joins the client service, the log and the housekeeper's reports. What it must never do: wait for anything
//! (but its own ring), or answer a write whose transaction the log has not called durable.

use std::process::ExitCode;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::io::{Ring, WriteDone};
use ringkeeper_engine::log::{Log, LogError, Space};
use ringkeeper_engine::txn::TxnError;

use super::front::Upstream;
use super::housekeeper::{Chore, Housekeeper, Report};
use super::output::Outputs;
use super::words::Words;
use crate::admin::{Metrics, Observed};
use crate::client::{Admission, FromFront, Now, Outbox, Proposer, Service};

/// Bytes of transactions waiting for the disk above which no more requests are read.
const BACKLOG: usize = 8 << 20;

/// What ends a node.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log can no longer be trusted to keep what it is given.
    #[error("the transaction log has failed and nothing more will be acknowledged: {0}")]
    Log(#[from] LogError),
    /// A transaction came back from our own log unreadable.
    #[error("applying transaction {zxid}: {source}")]
    Apply {
        /// Which.
        zxid: Zxid,
        /// What is wrong with it.
        source: TxnError,
    },
    /// The ring is unusable.
    #[error("the io_uring of a core loop has failed: {0}")]
    Ring(std::io::Error),
}

impl From<&Fatal> for ExitCode {
    fn from(_: &Fatal) -> ExitCode {
        ExitCode::from(crate::cli::Exit::Error as u8)
    }
}
