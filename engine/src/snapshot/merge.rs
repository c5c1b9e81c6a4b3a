//! The next snapshot from the one before and the log since: the interface alone.

use super::Published;
use super::steps::{Step, perform};
use crate::id::Zxid;
use crate::io::Volume;
use crate::log::LogError;

/// Why no snapshot was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Of files.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a snapshot is to be made of.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    published: Published,
    steps: Vec<Step>,
}

impl SnapshotRequest {
    /// The last transaction in it.
    pub fn upto(&self) -> Zxid {
        self.published.zxid()
    }

    /// To be done step by step.
    pub fn begin(self) -> Making {
        let of = self.steps.len() as u64;
        Making { published: self.published, steps: self.steps.into_iter(), of }
    }

    /// All of it, blocking.
    pub fn perform(self, vol: &dyn Volume) -> Result<Published, MakeError> {
        let mut making = self.begin();
        while let Some(step) = making.next(vol)? {
            perform(&step, super::steps::MAKING, vol)?;
        }
        Ok(making.published())
    }
}

/// A snapshot that is being made.
#[derive(Debug)]
pub struct Making {
    published: Published,
    steps: std::vec::IntoIter<Step>,
    of: u64,
}

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Of so many.
    pub of: u64,
}

impl Making {
    /// The next step; `None`: done.
    pub fn next(&mut self, _: &dyn Volume) -> Result<Option<Step>, MakeError> {
        Ok(self.steps.next())
    }

    /// What was made.
    pub fn published(&self) -> Published {
        self.published
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress { done: self.of - self.steps.len() as u64, of: self.of }
    }
}
