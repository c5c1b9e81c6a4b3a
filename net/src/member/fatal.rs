//! What ends a member, and with it the process.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::store::StoreError;
use ringkeeper_engine::txn::TxnError;

use crate::peer::PeerError;

/// What ends a member.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log can no longer be trusted to keep what it is given.
    #[error("the log has failed, nothing more will be acknowledged: {0}")]
    Log(#[from] LogError),
    /// What was logged cannot be read back.
    #[error("reading the data back: {0}")]
    Store(#[from] StoreError),
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
    /// Other members cannot reach this one.
    #[error(transparent)]
    Peers(#[from] PeerError),
}
