//! Snapshot files: written under a working name, flushed, and given their own name when they are whole.
//!
//! So a file that has a snapshot's name was whole once, and anything wrong with it is damage. A reader checks every
//! byte before it means anything and holds one MiB at a time. Blocking; called at start and with the node at rest.

use std::path::PathBuf;

use super::SnapshotError;
use super::ahead::read_ahead;
use super::format::{FirstBlock, PIECE, Published, SnapshotName, VERSION};
use super::load::{Loaded, Loader};
use super::receive::{RECEIVING, REWRITING};
use super::steps::MAKING;
use crate::id::Zxid;
use crate::io::{BLOCK, Volume};
use crate::log::files;
use crate::log::{Corruption, Damage, Evidence, LogError};

/// All snapshots by generation and zxid, the newest last.
pub(crate) fn names(vol: &dyn Volume) -> Result<Vec<SnapshotName>, LogError> {
    let files = files::Files::list(vol)?;
    let mut names: Vec<_> = files.iter().filter_map(|(name, _)| SnapshotName::parse(name)).collect();
    names.sort_unstable();
    Ok(names)
}

pub(super) fn read_header(vol: &dyn Volume, name: SnapshotName) -> Result<Published, LogError> {
    let file = name.to_string();
    match Published::read(name, &files::read(vol, &file, 0, BLOCK)?) {
        FirstBlock::Header(published) => Ok(published),
        FirstBlock::Damaged => Err(damage(vol.path(&file), 0, Damage::SnapshotHeader, name.zxid)),
        FirstBlock::Unknown { version } => {
            Err(LogError::Version { path: vol.path(&file), version, known: VERSION })
        }
    }
}

/// Removes what a process that ended left of snapshots that were never published.
pub(crate) fn remove_all_unfinished(vol: &dyn Volume) -> Result<(), LogError> {
    [RECEIVING, REWRITING, MAKING].into_iter().try_for_each(|name| remove_working(vol, name))
}

/// Removes what is left of a file under this working name, if there is something.
pub(super) fn remove_working(vol: &dyn Volume, name: &str) -> Result<(), LogError> {
    if !files::Files::list(vol)?.exists(name) {
        return Ok(());
    }
    vol.remove(name).map_err(|source| files::file_error("removing", vol.path(name), source))
}

/// The crc32c of each piece of the body, in order, after a look at the file's length, header and trailer. Blocking.
///
/// Fails with [`LogError::Corrupt`], which says where, if the file is not the one that `published` speaks of.
pub fn piece_checksums(vol: &dyn Volume, published: &Published) -> Result<Vec<u32>, LogError> {
    if read_header(vol, published.name)? != *published {
        return Err(published.damaged(vol, 0, Damage::SnapshotHeader));
    }
    let file = published.file();
    if files::Files::list(vol)?.len_of(&file) != Some(published.file_len()) {
        return Err(published.damaged(vol, 0, Damage::SnapshotLength));
    }
    let trailer_at = published.trailer_at();
    let crcs = files::read(vol, &file, trailer_at, 4 * published.pieces() as usize)?;
    if crc32c::crc32c(&crcs) != published.trailer_crc {
        return Err(published.damaged(vol, trailer_at, Damage::SnapshotTrailer));
    }
    let (crcs, _) = crcs.as_chunks();
    Ok(crcs.iter().map(|crc| u32::from_le_bytes(*crc)).collect())
}

/// Reads piece `index` of the body, from 0, and compares its checksum with what [`piece_checksums`] said. All pieces
/// but the last are of [`PIECE`] bytes. Blocking.
///
/// Fails with [`LogError::Corrupt`], which says where.
///
/// # Panics
/// If there is no such piece.
pub fn read_piece(
    vol: &dyn Volume,
    published: &Published,
    crcs: &[u32],
    index: u64,
) -> Result<Vec<u8>, LogError> {
    let at = index * PIECE as u64;
    let (offset, len) = (BLOCK as u64 + at, (published.body_len - at).min(PIECE as u64) as usize);
    let piece = files::read(vol, &published.file(), offset, len)?;
    if piece.len() != len || crc32c::crc32c(&piece) != crcs[index as usize] {
        return Err(published.damaged(vol, offset, Damage::SnapshotPiece));
    }
    Ok(piece)
}

/// Reads a snapshot back, with every checksum, and the digest of what it makes, compared.
pub(crate) fn load(vol: &dyn Volume, published: &Published, tree_seed: u64) -> Result<Loaded, LogError> {
    let wrong = |source| LogError::Snapshot { path: vol.path(&published.file()), source };
    let crcs = piece_checksums(vol, published)?;
    let mut loader = Loader::of_file(published.name.zxid, tree_seed);
    let mut done = false;
    let read = |index: usize| read_piece(vol, published, &crcs, index as u64);
    read_ahead(crcs.len(), &read, &mut |piece: Vec<u8>| {
        let fed = loader.feed(&piece).map_err(wrong)?;
        if fed.used < piece.len() {
            return Err(wrong(SnapshotError::GoesOn { at: loader.position() }));
        }
        done = fed.done;
        Ok(())
    })?;
    if !done {
        return Err(wrong(SnapshotError::Unfinished { at: published.body_len }));
    }
    let mut loaded = loader.finish();
    if !published.converging {
        loaded.tree.converged();
    }
    let found = loaded.tree.digest();
    if found != published.digest {
        return Err(wrong(SnapshotError::Digest { found, written: published.digest }));
    }
    Ok(loaded)
}

impl Published {
    fn damaged(&self, vol: &dyn Volume, offset: u64, what: Damage) -> LogError {
        damage(vol.path(&self.file()), offset, what, self.name.zxid)
    }
}

/// The error for a published snapshot that is not what it was.
fn damage(path: PathBuf, offset: u64, damage: Damage, zxid: Zxid) -> LogError {
    Corruption {
        path,
        offset,
        damage,
        lost_after: Zxid::ZERO,
        lost_through: Some(zxid),
        evidence: Evidence::Snapshot,
        instead: None,
    }
    .into()
}
