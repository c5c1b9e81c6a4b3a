//! Opens what a node keeps: snapshot and log, and the tree and the session table that these make.
//!
//! The state is the snapshot that counts, if there is one, and the log behind it, replayed. Called once at start, and
//! by members of an ensemble whenever the tree must go back to an earlier transaction.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::id::{SessionId, Zxid};
use crate::io::Volume;
use crate::log::{
    Anew, Corruption, Damage, Evidence, Log, LogError, LogOptions, RecoveryReport, ReplayError,
};
use crate::log::{aside, files};
use crate::snapshot::{Loaded, Published, file as snapshot};
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
    /// The last transaction of the snapshot; [`Zxid::ZERO`] if there is none.
    pub snapshot: Zxid,
    /// The transaction before the first that the log has: the snapshot's last, or [`Zxid::ZERO`].
    pub base: Zxid,
    /// The transactions that the log has behind its base, as first and last of runs: within one there is no gap and
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
    let published = snapshot::newest(volume)?;
    let mut state = State::load(volume, published.as_ref(), tree_seed)?;
    let mut runs = Runs::default();
    let (log, report) = Log::open_behind(volume, options, published, anew, &mut |payload, zxid| {
        runs.push(zxid);
        state.replay(payload, zxid)
    })?;
    let base = log.begins_behind();
    let snapshot = published.map_or(Zxid::ZERO, |s| s.name.zxid);
    if base > snapshot {
        return Err(gap(volume, base).into());
    }
    let last_zxid = log.durable().get();
    let Rebuilt { tree, sessions } = state.finish();
    let took = start.elapsed();
    Ok(Store { log, tree, sessions, last_zxid, snapshot, base, runs: runs.0, report, took })
}

/// Builds the state after the last durable transaction that is not above `upto`, from the snapshot and the log behind
/// it. Blocking.
pub fn rebuild(volume: &dyn Volume, log: &Log, tree_seed: u64, upto: Zxid) -> Result<Rebuilt, StoreError> {
    let first = log.begins_behind();
    if upto < first {
        return Err(StoreError::BeforeSnapshot { upto, first });
    }
    let mut state = State::load(volume, log.snapshot(), tree_seed)?;
    if state.tree.last_zxid() < first {
        return Err(gap(volume, first).into());
    }
    log.replay(volume, upto, &mut |payload, zxid| state.replay(payload, zxid))?;
    Ok(state.finish())
}

/// The error for a log that does not begin where the snapshot ends.
fn gap(volume: &dyn Volume, base: Zxid) -> LogError {
    Corruption {
        path: files::directory(volume),
        offset: 0,
        damage: Damage::MissingSnapshot { zxid: base },
        lost_after: Zxid::ZERO,
        lost_through: Some(base),
        evidence: Evidence::Mark,
    }
    .into()
}

/// The zxids of a log, see [`Store::runs`].
#[derive(Default)]
struct Runs(Vec<(Zxid, Zxid)>);

impl Runs {
    fn push(&mut self, zxid: Zxid) {
        match self.0.last_mut() {
            Some((_, last)) if *last == zxid => {}
            Some((_, last)) if last.successor() == Some(zxid) => *last = zxid,
            _ => self.0.push((zxid, zxid)),
        }
    }
}

/// Tree and sessions while transactions are replayed into them.
struct State {
    tree: Tree,
    sessions: HashMap<SessionId, i32>,
    replayed: u64,
    told: Instant,
}

impl State {
    /// What the snapshot holds, or the state before the first transaction.
    fn load(volume: &dyn Volume, published: Option<&Published>, tree_seed: u64) -> Result<State, LogError> {
        let Loaded { tree, sessions } = match published {
            Some(published) => snapshot::load(volume, published, tree_seed)?,
            None => Loaded { tree: Tree::new(tree_seed), sessions: Vec::new() },
        };
        Ok(State { tree, sessions: sessions.into_iter().collect(), replayed: 0, told: Instant::now() })
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
