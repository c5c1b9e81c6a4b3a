//! Opens what a node keeps: the log, and the tree and the session table that its transactions make.
//!
//! In this version the log is all there is; a restart replays it from its beginning. Called once, at start.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::id::{SessionId, Zxid};
use crate::io::Volume;
use crate::log::{Log, LogError, LogOptions, RecoveryReport};
use crate::tree::{DigestCheck, OpResult, Tree};
use crate::txn::{self, TxnError};

/// Between two lines about the progress of a long replay.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// The clock is looked at every so many transactions.
const LOOK_EVERY: u64 = 4096;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The log is damaged or cannot be read; the message has file, offset and zxids.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A transaction in the log that is whole and makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("transaction {zxid} does not decode: {source}")]
struct Undecodable {
    zxid: Zxid,
    source: TxnError,
}

/// A store, recovered.
#[derive(Debug)]
pub struct Store {
    /// Ready to be appended to.
    pub log: Log,
    /// After the last transaction of the log.
    pub tree: Tree,
    /// Live sessions and their timeouts in milliseconds, in order of id.
    pub sessions: Vec<(SessionId, i32)>,
    /// The last transaction.
    pub last_zxid: Zxid,
    /// What recovery found.
    pub report: RecoveryReport,
    /// How long it took.
    pub took: Duration,
}

/// Opens the store in `volume`, or begins one if it is empty. `tree_seed` keys the tree's hashes.
pub fn open(volume: &dyn Volume, options: LogOptions, tree_seed: u64) -> Result<Store, StoreError> {
    let start = Instant::now();
    let mut told = start;
    let mut tree = Tree::new(tree_seed);
    let mut sessions: HashMap<SessionId, i32> = HashMap::new();
    let mut replayed = 0_u64;
    let mut last_zxid = Zxid::ZERO;
    let (log, report) = Log::open(volume, options, &mut |payload, zxid| {
        let (header, txn, digest) = txn::decode(payload).map_err(|source| Undecodable { zxid, source })?;
        let applied = tree.apply(&header, &txn, digest, &mut |_| ());
        if let DigestCheck::Mismatch { expected, actual } = applied.digest
            && tree.digest_mismatches() == 1
        {
            // Like the reference: said loudly, counted, and not a reason to deny service.
            tracing::error!(%zxid, expected, actual, "replaying the log makes another tree than its writer had");
        }
        match applied.result {
            OpResult::SessionCreated { timeout } => {
                sessions.insert(header.client_id, timeout);
            }
            OpResult::SessionClosed => {
                sessions.remove(&header.client_id);
            }
            _ => {}
        }
        last_zxid = last_zxid.max(zxid);
        replayed += 1;
        if replayed.is_multiple_of(LOOK_EVERY) && told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            tracing::info!(transactions = replayed, zxid = %zxid, "replaying the log");
        }
        Ok(())
    })?;
    let mut sessions: Vec<_> = sessions.into_iter().collect();
    sessions.sort_unstable();
    Ok(Store { log, tree, sessions, last_zxid, report, took: start.elapsed() })
}
