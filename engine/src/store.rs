//! Opens what a node keeps: snapshot and log, and the tree and the session table that these make.
//!
//! The state is the newest snapshot that is sound, if there is one, and the log behind it, replayed. Called once at
//! start, and by members of an ensemble whenever the tree must go back to an earlier transaction.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::id::{SessionId, Zxid};
use crate::io::Volume;
use crate::log::{Anew, Behind, Log, LogError, LogOptions, RecoveryReport, ReplayError, Runs, aside};
use crate::snapshot::{Loaded, SnapshotFault, Snapshots, file as snapshot};
use crate::tree::{DigestCheck, OpResult, Tree};
use crate::txn::{self, TxnError};

/// Between two lines about the progress of a long replay.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// The clock is looked at every so many transactions.
const LOOK_EVERY: u64 = 4096;

/// Why a store could not be opened, or a state not built.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Log or snapshot are damaged or cannot be read; the message has file, offset and zxids.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state that was asked for is not in the store any more: it begins with a later snapshot.
    #[error("the state after {upto} cannot be built: the store begins with the state after {first}")]
    BeforeSnapshot {
        /// What was asked for.
        upto: Zxid,
        /// What there is.
        first: Zxid,
    },
}

/// A transaction in the log that is whole and makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("transaction {zxid} does not decode: {source}")]
struct Undecodable {
    zxid: Zxid,
    source: TxnError,
}

/// What to do where something acknowledged is damaged or missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Change nothing and say what is lost: for a node of its own.
    Refuse,
    /// Make it durable that this server must not vote, set the damaged files aside, and begin anew: for a member of an
    /// ensemble, which can fetch everything from the others.
    SetAside,
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
    /// The last transaction of the snapshot that the state began with; [`Zxid::ZERO`] if there is none.
    pub snapshot: Zxid,
    /// A transaction at or before that, behind which it is known what the log has. The log may reach further back.
    pub base: Zxid,
    /// The transactions that the log has behind the base, as first and last of runs: within one there is no gap and
    /// one epoch.
    pub runs: Vec<(Zxid, Zxid)>,
    /// What recovery found.
    pub report: RecoveryReport,
    /// How long it took.
    pub took: Duration,
}

/// A state built from snapshot and log.
#[derive(Debug)]
pub struct Rebuilt {
    /// The tree.
    pub tree: Tree,
    /// Live sessions and their timeouts in milliseconds, in order of id.
    pub sessions: Vec<(SessionId, i32)>,
}

/// Opens the store in `volume`, or begins one if it is empty. `tree_seed` keys the tree's hashes.
///
/// Epochs that were lost beside a sound log are no damage of the log: the server goes on with what it has and must not
/// vote ([`RecoveryReport::epochs_lost`]).
pub fn open(
    volume: &dyn Volume,
    options: LogOptions,
    tree_seed: u64,
    on_damage: OnDamage,
) -> Result<Store, StoreError> {
    let anew = match on_damage {
        OnDamage::Refuse => Anew::IfNew,
        OnDamage::SetAside => Anew::IfNonvoting,
    };
    match open_sound(volume, options.clone(), tree_seed, anew) {
        Err(StoreError::Log(LogError::Corrupt(damage))) if on_damage == OnDamage::SetAside => {
            let set_aside = aside::set_aside(volume, &options, *damage)?;
            let mut store = open_sound(volume, options, tree_seed, anew)?;
            store.report.set_aside = Some(set_aside);
            Ok(store)
        }
        other => other,
    }
}

fn open_sound(
    volume: &dyn Volume,
    options: LogOptions,
    tree_seed: u64,
    anew: Anew,
) -> Result<Store, StoreError> {
    let start = Instant::now();
    let mut snapshots = Snapshots::list(volume)?;
    let (behind, mut state) = match snapshots.load_newest(volume, tree_seed)? {
        Some((published, loaded)) => (Behind::Snapshot(published), State::of(loaded)),
        None => (Behind::Beginning, State::empty(tree_seed)),
    };
    let snapshot = state.tree.last_zxid();
    for (name, error) in &snapshots.damaged {
        // Said again, in other words, when it is known what that means.
        tracing::debug!("{name} cannot be used: {error}");
    }
    let mut replay = |payload: &[u8], zxid| state.replay(payload, zxid);
    let opened = Log::open_behind(volume, options, &snapshots, behind, anew, &mut replay);
    let (log, report) = opened.map_err(|error| snapshots.blame(error, snapshot))?;
    let last_zxid = log.durable().get();
    let Rebuilt { tree, sessions } = state.finish();
    let Runs { base, runs } = report.runs.clone();
    let took = start.elapsed();
    Ok(Store { log, tree, sessions, last_zxid, snapshot, base, runs, report, took })
}

/// Builds the state after the last durable transaction that is not above `upto`, from the newest sound snapshot at or
/// below it and the log behind that. Blocking.
pub fn rebuild(volume: &dyn Volume, log: &Log, tree_seed: u64, upto: Zxid) -> Result<Rebuilt, StoreError> {
    let mut damage = None;
    let mut state = None;
    for snapshot in log.snapshots().iter().rev().filter(|s| s.zxid() <= upto) {
        match snapshot::load(volume, snapshot, tree_seed) {
            Ok(loaded) => {
                state = Some(State::of(loaded));
                break;
            }
            Err(error) => match SnapshotFault::of(&error) {
                Some(fault) => {
                    tracing::error!(
                        "{} {fault}; an older one may do",
                        volume.path(&snapshot.file()).display()
                    );
                    damage = damage.or(Some(error));
                }
                None => return Err(error.into()),
            },
        }
    }
    let mut state = match (state, damage) {
        (Some(state), _) => state,
        (None, _) if log.is_complete() => State::empty(tree_seed),
        (None, Some(damage)) => return Err(damage.into()),
        (None, None) => {
            let first = log.snapshots().first().map_or(log.begins_behind(), |s| s.zxid());
            return Err(StoreError::BeforeSnapshot { upto, first });
        }
    };
    let after = state.tree.last_zxid();
    log.replay(volume, after, upto, &mut |payload, zxid| state.replay(payload, zxid))?;
    Ok(state.finish())
}

/// Tree and sessions while transactions are replayed into them.
struct State {
    tree: Tree,
    sessions: HashMap<SessionId, i32>,
    replayed: u64,
    told: Instant,
}

impl State {
    /// Before the first transaction.
    fn empty(tree_seed: u64) -> State {
        State::of(Loaded { tree: Tree::new(tree_seed), sessions: Vec::new() })
    }

    /// What a snapshot holds.
    fn of(Loaded { tree, sessions }: Loaded) -> State {
        State { tree, sessions: sessions.into_iter().collect(), replayed: 0, told: Instant::now() }
    }

    fn replay(&mut self, payload: &[u8], zxid: Zxid) -> Result<(), ReplayError> {
        let (header, txn, digest) = txn::decode(payload).map_err(|source| Undecodable { zxid, source })?;
        let applied = self.tree.apply(&header, &txn, digest, &mut |_| ());
        if let DigestCheck::Mismatch { expected, actual } = applied.digest
            && self.tree.digest_mismatches() == 1
        {
            // Like the reference: said loudly, counted, and not a reason to deny service.
            tracing::error!(%zxid, expected, actual, "replaying the log makes another tree than its writer had");
        }
        match applied.result {
            OpResult::SessionCreated { timeout } => {
                self.sessions.insert(header.client_id, timeout);
            }
            OpResult::SessionClosed => {
                self.sessions.remove(&header.client_id);
            }
            _ => {}
        }
        self.replayed += 1;
        if self.replayed.is_multiple_of(LOOK_EVERY) && self.told.elapsed() > PROGRESS_EVERY {
            self.told = Instant::now();
            tracing::info!(transactions = self.replayed, zxid = %zxid, "replaying the log");
        }
        Ok(())
    }

    fn finish(self) -> Rebuilt {
        let mut sessions: Vec<_> = self.sessions.into_iter().collect();
        sessions.sort_unstable();
        Rebuilt { tree: self.tree, sessions }
    }
}
