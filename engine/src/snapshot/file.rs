//! Snapshot files: written under a working name, flushed, and given their own name when they are whole.
//!
//! So a file that has a snapshot's name was whole once, and anything wrong with it is damage. A reader checks every
//! byte before it means anything and holds one MiB at a time. Blocking; called at start and with the node at rest.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::format::{FirstBlock, Origin, PIECE, Published, SnapshotName, VERSION};
use super::load::{Loaded, Loader};
use super::steps::MAKING;
use super::{SnapshotError, stream};
use crate::id::{SessionId, Zxid};
use crate::io::{BLOCK, Volume};
use crate::log::files;
use crate::log::{Corruption, Damage, Evidence, LogError};
use crate::mutant::{Mutant, planted};
use crate::tree::Tree;

/// The name of a snapshot that is being written. The next start removes what a kill leaves of it.
pub(crate) const UNFINISHED: &str = "unfinished-snapshot";

/// How many pieces are read ahead of what is being loaded.
const READ_AHEAD: usize = 4;

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

/// What the header of a new snapshot says beside what follows from the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub database: u64,
    pub generation: u32,
    pub seq: u64,
    pub origin: Origin,
}

/// Writes the state under the working name, durably. Nothing counts before [`publish`].
pub(crate) fn write(
    vol: &dyn Volume,
    place: Place,
    tree: &Tree,
    sessions: &[(SessionId, i32)],
) -> Result<Published, LogError> {
    remove_unfinished(vol)?;
    let block = BLOCK as u64;
    files::create(vol, UNFINISHED, block)?;
    let mut body = Body { vol, len: 0, piece: Vec::with_capacity(PIECE), crcs: Vec::new() };
    stream::try_write_stream(tree, sessions, &mut |bytes| body.take(bytes))?;
    body.flush()?;
    let Body { len, crcs, .. } = body;
    let trailer_crc = crc32c::crc32c(&crcs);
    let mut published = Published {
        name: SnapshotName { generation: place.generation, zxid: tree.last_zxid() },
        database: place.database,
        seq: place.seq,
        body_len: len,
        digest: tree.digest(),
        trailer_crc,
        converging: tree.is_converging(),
        crc: 0,
        origin: place.origin,
    };
    append(vol, published.trailer_at(), crcs)?;
    if !planted(Mutant::Zk2872SnapshotNotFlushed) {
        files::sync(vol, UNFINISHED)?;
    }
    let mut header = vec![0; BLOCK];
    published.write(&mut header);
    files::write(vol, "writing the snapshot header,", UNFINISHED, 0, &header)?;
    Ok(published)
}

/// Gives a snapshot its name, durably: from here on it counts, and older log is dead.
pub(crate) fn publish(vol: &dyn Volume, published: &Published) -> Result<(), LogError> {
    let renamed = vol.rename(UNFINISHED, &published.name.to_string());
    renamed
        .map_err(|source| files::file_error("publishing", vol.path(&published.name.to_string()), source))?;
    files::sync_dir(vol)
}

/// Removes what is left of a snapshot that was never published.
pub(crate) fn remove_unfinished(vol: &dyn Volume) -> Result<(), LogError> {
    remove_working(vol, UNFINISHED)
}

/// Removes what a process that ended left of snapshots that were never published.
pub(crate) fn remove_all_unfinished(vol: &dyn Volume) -> Result<(), LogError> {
    [UNFINISHED, MAKING].into_iter().try_for_each(|name| remove_working(vol, name))
}

/// Removes what is left of a file under this working name, if there is something.
pub(super) fn remove_working(vol: &dyn Volume, name: &str) -> Result<(), LogError> {
    if !files::Files::list(vol)?.exists(name) {
        return Ok(());
    }
    vol.remove(name).map_err(|source| files::file_error("removing", vol.path(name), source))
}

fn append(vol: &dyn Volume, offset: u64, mut bytes: Vec<u8>) -> Result<(), LogError> {
    let len = bytes.len() as u64;
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    let appended = vol.append(UNFINISHED, offset, &bytes);
    let (doing, path) = ("writing the snapshot,", vol.path(UNFINISHED));
    appended.map_err(|source| LogError::Io { doing, path, offset, len, source })
}

/// The stream on its way to the disk.
struct Body<'v> {
    vol: &'v dyn Volume,
    /// Bytes of the stream so far, those in `piece` included.
    len: u64,
    piece: Vec<u8>,
    /// Of the pieces that were written, 4 bytes each.
    crcs: Vec<u8>,
}

impl Body<'_> {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), LogError> {
        while !bytes.is_empty() {
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(fits);
            self.len += fits.len() as u64;
            bytes = rest;
            if self.piece.len() == PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let offset = BLOCK as u64 + self.len - self.piece.len() as u64;
        self.crcs.extend_from_slice(&crc32c::crc32c(&self.piece).to_le_bytes());
        append(self.vol, offset, std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE)))
    }
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
    let mut feed = |piece: Vec<u8>| {
        let fed = loader.feed(&piece).map_err(wrong)?;
        if fed.used < piece.len() {
            return Err(wrong(SnapshotError::GoesOn { at: loader.position() }));
        }
        done = fed.done;
        Ok(())
    };
    each_piece(vol, published, &crcs, &mut feed)?;
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

/// Hands out the pieces in order, checked; the next ones are read and checked meanwhile, by another thread.
fn each_piece(
    vol: &dyn Volume,
    published: &Published,
    crcs: &[u32],
    each: &mut dyn FnMut(Vec<u8>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let pieces = 0..published.pieces();
    let read = |index| read_piece(vol, published, crcs, index);
    if published.pieces() <= READ_AHEAD as u64 {
        return pieces.map(read).try_for_each(|piece| each(piece?));
    }
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(READ_AHEAD);
        let reader = move || {
            for piece in pieces.map(read) {
                let failed = piece.is_err();
                // Nobody takes it where loading has failed.
                if sender.send(piece).is_err() || failed {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("snapshot reader".into()).spawn_scoped(scope, reader);
        let path = || vol.path(&published.file());
        started.map_err(|source| files::file_error("starting a thread to read", path(), source))?;
        receiver.into_iter().try_for_each(|piece| each(piece?))
    })
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
