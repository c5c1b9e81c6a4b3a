//! What a member wants done by others, off its loop: file work that takes long.
//!
//! The member only keeps the books. Whoever drives it performs the works, in order for each reception, and says what
//! came of them: in a node the housekeeper, on threads of its own; in the simulator [`Work::perform`], on the spot.
//! What comes back may be of no interest any more, and is then dropped.

use std::sync::Arc;

use ringkeeper_engine::io::Volume;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::snapshot::Published;
use ringkeeper_engine::snapshot::merge::{MakeError, SnapshotRequest};
use ringkeeper_engine::snapshot::receive::{self, Arrived, LoadRequest, RECEIVING};
use ringkeeper_engine::snapshot::steps::{self, Step};

use super::Member;
use crate::client::Outbox;
use crate::zab::event::Link;

/// Something to be done.
#[derive(Debug)]
pub enum Work {
    /// Make a snapshot. One at a time.
    MakeSnapshot {
        /// Of which state, from what.
        request: SnapshotRequest,
        /// A learner waits for it: as fast as possible instead of unnoticed.
        hurry: bool,
    },
    /// Make the body of a snapshot for one learner, in memory, and publish nothing: its end is not known to be committed.
    MakeImage {
        /// For whom.
        link: Link,
        /// Of which state, from what.
        request: SnapshotRequest,
    },
    /// Write a part of a snapshot that is being received.
    Store {
        /// Which reception.
        reception: u64,
        /// In this order.
        steps: Vec<Step>,
    },
    /// Build the tree of a snapshot that was received, after everything of it was stored.
    Load {
        /// Which reception.
        reception: u64,
        /// Of what.
        request: LoadRequest,
    },
    /// A reception came to nothing: remove what is left of it. Whatever it still does ends before anything of a later
    /// reception begins.
    Abandon {
        /// Which.
        reception: u64,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum WorkDone {
    /// The snapshot counts, durably; or why there is none, and nothing is left of it.
    SnapshotMade(Result<Published, MakeError>),
    /// The body, in pieces.
    ImageMade {
        /// For whom.
        link: Link,
        /// The pieces.
        result: Result<Vec<Arc<Vec<u8>>>, MakeError>,
    },
    /// Steps were done.
    Stored {
        /// Of which reception.
        reception: u64,
        /// Bytes that they wrote.
        result: Result<u64, LogError>,
    },
    /// The snapshot is loaded and flushed under its working name.
    Loaded {
        /// Of which reception.
        reception: u64,
        /// Tree and sessions.
        result: Box<Result<Arrived, LogError>>,
    },
    /// Something long goes on.
    Progress {
        /// What.
        what: Doing,
        /// Bytes so far.
        done: u64,
        /// Of so many, as far as is known.
        of: u64,
    },
}

/// What may take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// A snapshot of the own state.
    Making,
    /// The tree of one that was received.
    Loading,
}

impl Work {
    /// Does it, blocking, and says what came of it.
    pub fn perform(self, vol: &dyn Volume) -> Option<WorkDone> {
        match self {
            Work::MakeSnapshot { request, .. } => Some(WorkDone::SnapshotMade(request.perform(vol))),
            Work::MakeImage { link, request } => {
                Some(WorkDone::ImageMade { link, result: image(request, vol) })
            }
            Work::Store { reception, steps } => {
                let write = |step: &Step| steps::perform(step, RECEIVING, vol).map(|()| step.written());
                let result = steps.iter().map(write).sum();
                Some(WorkDone::Stored { reception, result })
            }
            Work::Load { reception, request } => {
                let result = Box::new(request.perform(vol, &mut |_, _| ()));
                Some(WorkDone::Loaded { reception, result })
            }
            Work::Abandon { .. } => {
                if let Err(error) = receive::abandon(vol) {
                    tracing::warn!("half a snapshot stays until the next start: {error}");
                }
                None
            }
        }
    }
}

impl Member {
    /// Moves what is to be done off the loop to the caller.
    pub fn take_work(&mut self) -> Option<Work> {
        self.making.work.pop_front()
    }

    /// Takes in what came of work that was taken.
    pub fn work_done(&mut self, done: WorkDone, out: &mut impl Outbox) {
        match done {
            WorkDone::SnapshotMade(result) => self.snapshot_made(result, out),
            WorkDone::ImageMade { link, result } => self.image_made(link, result, out),
            WorkDone::Stored { reception, result } => self.stored(reception, result, out),
            WorkDone::Loaded { reception, result } => self.loaded(reception, *result, out),
            WorkDone::Progress { what: Doing::Making, done, of } => self.making_goes_on(done, of),
            WorkDone::Progress { what: Doing::Loading, .. } => self.loading_goes_on(),
        }
    }
}

/// The body of a snapshot in pieces, blocking.
pub fn image(request: SnapshotRequest, vol: &dyn Volume) -> Result<Vec<Arc<Vec<u8>>>, MakeError> {
    let mut pieces = Vec::new();
    let mut making = request.begin();
    while let Some(step) = making.next(vol)? {
        match step {
            // Before the body there is the header.
            Step::Write { offset, bytes } if offset > 0 => pieces.push(bytes),
            _ => {}
        }
    }
    let mut left = making.published().body_len() as usize;
    for piece in &mut pieces {
        piece.truncate(left);
        left -= piece.len();
    }
    pieces.retain(|piece| !piece.is_empty());
    Ok(pieces.into_iter().map(Arc::new).collect())
}
