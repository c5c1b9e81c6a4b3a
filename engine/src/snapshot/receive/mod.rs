//! Taking a leader's stream: onto the disk while it arrives, into a tree when all of it is there.
//!
//! 1. [`Reception`] runs on a core loop. It builds nothing: it cuts what arrives into pieces with checksums, hands them on
//!    as steps for a file under a working name, and walks the stream just far enough to find its end and to judge
//!    whether it is canonical already.
//! 2. [`LoadRequest`] runs beside it, for as long as it takes. What it builds the tree from is read back from the file, so
//!    that a state is never better than what is stored. A stream that was not canonical, as no Java server's is, is
//!    written once more, in canonical form.
//! 3. With [`Arrived`] the log goes on behind it (`log::restart`), which takes a header and a name.
//!
//! All files have working names until then, so that an interruption anywhere leaves what was before, and
//! [`abandon`] or the next start removes them. Nothing here decides what is received, or when.

mod canonical;
mod load;
#[cfg(test)]
mod tests;
mod walk;

pub use load::{Arrived, LoadRequest, abandon};

use super::body::{Body, Sums};
use super::items::Pieces;
use super::steps::Step;
use super::{Fed, Limits, SnapshotError};
use crate::id::Zxid;
use walk::Walk;

/// The working name of a snapshot that is being received.
pub const RECEIVING: &str = "unfinished-snapshot";
/// The working name of the canonical form of one that was received in another.
pub const REWRITING: &str = "unfinished-canonical-snapshot";

/// A stream on its way in; see the module.
#[derive(Debug)]
pub struct Reception {
    zxid: Zxid,
    limits: Limits,
    pieces: Pieces,
    walk: Walk,
    body: Stored,
    failed: Option<SnapshotError>,
}

#[derive(Debug)]
enum Stored {
    Nothing,
    Begun(Body),
    All(Sums),
}

impl Reception {
    /// For a stream that is announced as the state after `zxid`.
    pub fn new(zxid: Zxid, limits: Limits) -> Reception {
        let (pieces, walk) = (Pieces::default(), Walk::new(limits));
        Reception { zxid, limits, pieces, walk, body: Stored::Nothing, failed: None }
    }

    /// Takes a prefix of `bytes`, all of it unless the stream ends within, and appends what is to be done to the file
    /// [`RECEIVING`], in order: its creation first, then a write for each MiB. With the end of the stream comes the
    /// last of them.
    ///
    /// An error is final: the stream has no end that could be found. Whether what it says makes sense is not known
    /// before it is [loaded](LoadRequest::perform).
    pub fn feed(&mut self, bytes: &[u8], steps: &mut Vec<Step>) -> Result<Fed, SnapshotError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let fed = self.pieces.feed(&mut self.walk, bytes);
        let fed = fed.inspect_err(|error| self.failed = Some(error.clone()))?;
        let mut body = match std::mem::replace(&mut self.body, Stored::Nothing) {
            Stored::Nothing => Body::begin(RECEIVING, steps),
            Stored::Begun(body) => body,
            Stored::All(sums) => {
                self.body = Stored::All(sums);
                return Ok(fed);
            }
        };
        body.take(&bytes[..fed.used], steps);
        self.body = if fed.done { Stored::All(body.end(steps)) } else { Stored::Begun(body) };
        Ok(fed)
    }

    /// Bytes of the stream so far.
    pub fn received(&self) -> u64 {
        match &self.body {
            Stored::Nothing => 0,
            Stored::Begun(body) => body.len(),
            Stored::All(sums) => sums.len,
        }
    }

    /// What remains to be done once all steps were. `tree_seed` as for [`Tree::new`](crate::tree::Tree::new).
    ///
    /// # Panics
    /// Unless [`Reception::feed`] has said that the stream is complete.
    pub fn finish(self, tree_seed: u64) -> LoadRequest {
        let Stored::All(sums) = self.body else { panic!("the stream is complete") };
        let is_canonical = self.walk.judge.is_canonical();
        LoadRequest { zxid: self.zxid, limits: self.limits, tree_seed, sums, is_canonical }
    }
}
