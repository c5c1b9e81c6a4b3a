//! A snapshot in canonical order, to be pulled item by item: what two snapshots are compared through.
//!
//! Ours are in that order on disk and are streamed. Others are loaded into a tree first, which a thread then writes out
//! in order, so that whoever reads need not know the difference.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use ringkeeper_engine::inspect::{Body, Item};
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::snapshot::{Loaded, SnapshotError, write_stream};

use crate::error::InspectError;

/// Pieces of a written stream that wait to be read.
const AHEAD: usize = 16;

/// Why a body cannot be read on.
#[derive(Debug)]
pub enum BodyError {
    /// It makes no sense.
    Wrong(SnapshotError),
    /// A piece is damaged or cannot be read.
    Log(LogError),
}

impl From<SnapshotError> for BodyError {
    fn from(error: SnapshotError) -> BodyError {
        BodyError::Wrong(error)
    }
}

/// Where the bytes of a body come from: appends more, or says false.
pub type More<'s> = Box<dyn FnMut(&mut Vec<u8>) -> Result<bool, BodyError> + 's>;

/// See the module.
pub struct Ordered<'s> {
    body: Body<More<'s>>,
    file: PathBuf,
    ended: bool,
}

impl fmt::Debug for Ordered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<'s> Ordered<'s> {
    /// Reads a body that is in canonical order.
    pub fn new(file: &Path, more: More<'s>) -> Ordered<'s> {
        Ordered { body: Body::new(more), file: file.to_owned(), ended: false }
    }

    /// A state that was loaded.
    pub fn of(file: &Path, loaded: Loaded) -> Ordered<'s> {
        let (sender, pieces) = sync_channel::<Vec<u8>>(AHEAD);
        thread::spawn(move || {
            let Loaded { tree, sessions } = loaded;
            let mut wanted = true;
            write_stream(&tree, &sessions, &mut |piece| {
                wanted = wanted && sender.send(piece.to_vec()).is_ok()
            });
        });
        let more = move |held: &mut Vec<u8>| match pieces.recv() {
            Ok(piece) => {
                held.extend_from_slice(&piece);
                Ok(true)
            }
            Err(_) => Ok(false),
        };
        Ordered::new(file, Box::new(more))
    }

    /// The next session, ACL or node.
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from it")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, InspectError> {
        if self.ended {
            return Ok(None);
        }
        let file = &self.file;
        let failed = |error| match error {
            BodyError::Wrong(source) => InspectError::Snapshot { path: file.clone(), source },
            BodyError::Log(error) => error.into(),
        };
        if self.body.is_at_end().map_err(failed)? {
            self.ended = true;
            self.body.signature().map_err(failed)?;
            return Ok(None);
        }
        self.body.next().map_err(failed)
    }
}
