//! Loads all of the previous snapshot, where a part would not do.

use super::super::SnapshotError;
use super::super::file::{piece_checksums, read_piece};
use super::super::format::Published;
use super::super::load::{Loaded, Loader};
use crate::io::Volume;
use crate::log::LogError;

/// A snapshot being loaded, piece by piece.
#[derive(Debug)]
pub(super) struct Whole {
    published: Published,
    crcs: Vec<u32>,
    piece: u64,
    loader: Loader,
    done: bool,
}

impl Whole {
    /// Before the first byte.
    pub fn open(vol: &dyn Volume, published: Published, tree_seed: u64) -> Result<Whole, LogError> {
        let crcs = piece_checksums(vol, &published)?;
        let loader = Loader::of_file(published.zxid(), tree_seed);
        Ok(Whole { published, crcs, piece: 0, loader, done: false })
    }

    /// Takes in the next piece; the number of its bytes, or `None` if all have come.
    pub fn next(&mut self, vol: &dyn Volume) -> Result<Option<u64>, LogError> {
        if self.piece == self.published.pieces() {
            return Ok(None);
        }
        let piece = read_piece(vol, &self.published, &self.crcs, self.piece)?;
        let fed = self.loader.feed(&piece).map_err(|source| self.wrong(vol, source))?;
        if fed.used < piece.len() {
            return Err(self.wrong(vol, SnapshotError::GoesOn { at: self.loader.position() }));
        }
        (self.piece, self.done) = (self.piece + 1, fed.done);
        Ok(Some(piece.len() as u64))
    }

    /// The state, as it stands in the file.
    pub fn finish(self, vol: &dyn Volume) -> Result<Loaded, LogError> {
        if !self.done {
            return Err(self.wrong(vol, SnapshotError::Unfinished { at: self.published.body_len() }));
        }
        let (path, published) = (vol.path(&self.published.file()), self.published);
        let mut loaded = self.loader.finish();
        if !published.is_converging() {
            loaded.tree.converged();
        }
        let (found, written) = (loaded.tree.digest(), published.digest());
        match found == written {
            true => Ok(loaded),
            false => Err(LogError::Snapshot { path, source: SnapshotError::Digest { found, written } }),
        }
    }

    fn wrong(&self, vol: &dyn Volume, source: SnapshotError) -> LogError {
        LogError::Snapshot { path: vol.path(&self.published.file()), source }
    }
}
