//! Makes the next snapshot of the last one and the log since, beside the core loop.
//!
//! The tree that serves is never looked at. Three passes, each reading from front to back:
//!
//! 1. The log is read once for what it touches (`touched`): hashes of paths, and sessions that ended.
//! 2. The previous snapshot is read, and what was touched is loaded into a small tree (`part`). Its digest is that of
//!    the whole, so that the log, applied to it by the rules that every replica follows (`replay`), must lead to the
//!    very digests that its transactions carry.
//! 3. The previous snapshot is read once more and written anew (`writing`): what was loaded comes from the small tree,
//!    everything else is copied on, in the canonical order of both.
//!
//! So memory follows what was touched, and the bytes are those that a walk over the whole tree would write. Where there
//! is no previous snapshot, or one that transactions behind it complete, everything counts as touched (`whole`).
//!
//! Nothing here writes to the disk or knows who does: [`Making::next`] reads about one MiB at most, computes, and says
//! what is to be written ([`Step`]). It never publishes a state that it has doubts about: then there is an error, what
//! there was before still counts, and the log is as long as it was.

mod old;
mod order;
mod part;
mod replay;
#[cfg(test)]
mod tests;
mod touched;
mod whole;
mod writing;

use std::collections::{BTreeMap, VecDeque};

use super::file::remove_working;
use super::format::Published;
use super::steps::{Step, perform};
use crate::id::Zxid;
use crate::io::Volume;
use crate::log::{LogError, Reading, View};
use crate::mutant::{Mutant, planted};
use crate::tree::Tree;
use old::Old;
use part::{Loading, Part, Untouched};
use replay::State;
use touched::Touched;
use whole::Whole;
use writing::Writing;

pub use super::steps::MAKING;

/// Why a snapshot was not made. What there was before still counts.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Log or previous snapshot cannot be read, or the new one not be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The previous snapshot and the log do not lead to the digest that a transaction carries.
    #[error(
        "no snapshot is made: the tree after {zxid} has digest {actual:#x}, the transaction says {expected:#x}"
    )]
    Digest {
        /// The first such transaction.
        zxid: Zxid,
        /// What it carries.
        expected: u64,
        /// What was computed.
        actual: u64,
    },
    /// There is no transaction that the previous snapshot does not have.
    #[error("no snapshot is made: there is no transaction behind {after} up to {upto}")]
    Nothing {
        /// The previous snapshot's.
        after: Zxid,
        /// What was asked for.
        upto: Zxid,
    },
}

/// How far a snapshot is, in bytes read and written. An estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub done: u64,
    /// Of how much.
    pub of: u64,
}

/// A snapshot to be made: everything that has to be known for it, for whoever makes it. See
/// [`Log::snapshot_request`](crate::log::Log::snapshot_request).
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    pub(crate) previous: Option<Published>,
    pub(crate) view: View,
    pub(crate) upto: Zxid,
    pub(crate) database: u64,
    /// Of the received snapshot that the log began with, 0 if it began with nothing.
    pub(crate) generation: u32,
    pub(crate) tree_seed: u64,
    pub(crate) mismatches_tolerated: bool,
}

impl SnapshotRequest {
    /// The state after the last transaction that is not above this is asked for.
    pub fn upto(&self) -> Zxid {
        self.upto
    }

    /// For a log whose digests are known to differ from ours, since the tree that serves has counted such a difference
    /// in it too ([`Tree::digest_mismatches`]): they say nothing about the snapshot then, and are not compared.
    pub fn tolerate_mismatches(self) -> SnapshotRequest {
        SnapshotRequest { mismatches_tolerated: true, ..self }
    }

    /// Begins to make it. Nothing has been read or written yet.
    pub fn begin(self) -> Making {
        let after = self.previous.map_or(Zxid::ZERO, |previous| previous.zxid());
        let body = self.previous.map_or(0, |previous| previous.body_len());
        let is_merge = self.previous.is_some_and(|previous| !previous.is_converging());
        let log = self.view.bytes();
        // Each is read in two passes and the body written; what is loaded whole is read only once.
        let of = if is_merge { 2 * log + 3 * body } else { 2 * log + 2 * body };
        let pass = match self.previous {
            Some(_) if is_merge => {
                Pass::Noting(self.view.reading(after, self.upto), Touched::new(self.tree_seed))
            }
            Some(previous) => Pass::Opening(previous),
            None => {
                let state = State { tree: Tree::new(self.tree_seed), sessions: BTreeMap::new() };
                Pass::Applying(self.view.reading(after, self.upto), state, None)
            }
        };
        Making { request: self, after, pass, steps: VecDeque::new(), published: None, done: 0, of }
    }

    /// Makes it, blocking. What was begun is removed if it fails.
    pub fn perform(self, vol: &dyn Volume) -> Result<Published, MakeError> {
        let mut making = self.begin();
        let made = loop {
            match making.next(vol) {
                Ok(Some(step)) => {
                    if let Err(error) = perform(&step, MAKING, vol) {
                        break Err(error.into());
                    }
                }
                Ok(None) => break Ok(making.published()),
                Err(error) => break Err(error),
            }
        };
        made.inspect_err(|_| {
            if let Err(error) = abandon(vol) {
                tracing::warn!("half a snapshot stays until the next one: {error}");
            }
        })
    }
}

/// Removes what is left of a snapshot that was not made to its end. Blocking.
pub fn abandon(vol: &dyn Volume) -> Result<(), LogError> {
    remove_working(vol, MAKING)
}

/// A snapshot being made.
#[derive(Debug)]
pub struct Making {
    request: SnapshotRequest,
    /// The previous snapshot's last transaction.
    after: Zxid,
    pass: Pass,
    /// What is to be done before anything else is computed.
    steps: VecDeque<Step>,
    /// What the file will be once all steps are done.
    published: Option<Published>,
    done: u64,
    of: u64,
}

#[derive(Debug)]
enum Pass {
    Noting(Reading, Touched),
    Loading(Loading),
    Opening(Published),
    LoadingAll(Whole),
    Applying(Reading, State, Option<Untouched>),
    Writing(Writing, Published),
    Done,
}

impl Making {
    /// The next step, to be done before the one after it is asked for or at least [in order](Step); `None` when all are
    /// done. Reads one MiB at most, or one batch of the log or one node if that is longer. Blocking.
    ///
    /// After an error there is nothing more to be done but to [abandon] the file.
    pub fn next(&mut self, vol: &dyn Volume) -> Result<Option<Step>, MakeError> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                self.done += match &step {
                    Step::Write { bytes, .. } => bytes.len() as u64,
                    Step::Read(bytes) => *bytes,
                    _ => 0,
                };
                return Ok(Some(step));
            }
            if matches!(self.pass, Pass::Done) {
                return Ok(None);
            }
            let pass = std::mem::replace(&mut self.pass, Pass::Done);
            self.pass = self.go_on(pass, vol)?;
        }
    }

    /// What was made. Panics before [`Making::next`] has said that it is done.
    pub fn published(&self) -> Published {
        self.published.filter(|_| matches!(self.pass, Pass::Done)).expect("the snapshot is made")
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let is_done = matches!(self.pass, Pass::Done) && self.steps.is_empty();
        Progress { done: if is_done { self.of } else { self.done.min(self.of) }, of: self.of }
    }

    /// Works on a pass until there is a step, or to its end.
    fn go_on(&mut self, pass: Pass, vol: &dyn Volume) -> Result<Pass, MakeError> {
        let SnapshotRequest { view, upto, tree_seed, .. } = &self.request;
        let seed = *tree_seed;
        let (read, pass) = match pass {
            Pass::Noting(mut reading, mut touched) => {
                match replay::note(&mut touched, (view, &mut reading), vol)? {
                    Some(read) => (read, Pass::Noting(reading, touched)),
                    None => {
                        let previous = self.request.previous.expect("only then it is asked what was touched");
                        (0, Pass::Loading(Loading::new(Old::open(vol, previous)?, touched, seed)))
                    }
                }
            }
            Pass::Loading(mut loading) => match loading.next(vol)? {
                Some(read) => (read, Pass::Loading(loading)),
                None => {
                    let Part { tree, sessions, untouched } = loading.finish();
                    let reading = view.reading(self.after, *upto);
                    (0, Pass::Applying(reading, State { tree, sessions }, Some(untouched)))
                }
            },
            Pass::Opening(previous) => (0, Pass::LoadingAll(Whole::open(vol, previous, seed)?)),
            Pass::LoadingAll(mut whole) => match whole.next(vol)? {
                Some(read) => (read, Pass::LoadingAll(whole)),
                None => {
                    let loaded = whole.finish(vol)?;
                    let sessions = loaded.sessions.into_iter().collect();
                    let reading = view.reading(self.after, *upto);
                    (0, Pass::Applying(reading, State { tree: loaded.tree, sessions }, None))
                }
            },
            Pass::Applying(mut reading, mut state, untouched) => {
                let tolerated = self.request.mismatches_tolerated;
                match state.apply((view, &mut reading), vol, tolerated)? {
                    Some(read) => (read, Pass::Applying(reading, state, untouched)),
                    None => (0, self.begin_file(&reading, state, untouched)?),
                }
            }
            Pass::Writing(mut writing, published) => match writing.next(vol, &mut self.steps)? {
                Some(read) => (read, Pass::Writing(writing, published)),
                None => {
                    self.published = Some(writing.publish(published, &mut self.steps));
                    (0, Pass::Done)
                }
            },
            Pass::Done => (0, Pass::Done),
        };
        if read > 0 {
            self.steps.push_front(Step::Read(read));
        }
        Ok(pass)
    }

    /// All transactions are applied: the state is known, and what the header will say of it.
    fn begin_file(
        &mut self,
        reading: &Reading,
        state: State,
        untouched: Option<Untouched>,
    ) -> Result<Pass, MakeError> {
        let SnapshotRequest { view, upto, database, generation, .. } = &self.request;
        let point = reading.point();
        if point.zxid <= self.after {
            return Err(MakeError::Nothing { after: self.after, upto: *upto });
        }
        let published = Published {
            digest: state.tree.digest(),
            converging: state.tree.is_converging(),
            ..Published::made(*database, *generation, point)
        };
        // The log that a snapshot names must be there whenever the snapshot is.
        self.steps.extend(view.unflushed(point.seq).map(Step::FlushFile));
        let State { tree, mut sessions } = state;
        if planted(Mutant::Zk3144SessionsTooOld) {
            sessions.pop_last();
        }
        Ok(Pass::Writing(Writing::begin(tree, &sessions, untouched, &mut self.steps), published))
    }
}
