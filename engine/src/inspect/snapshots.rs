//! The snapshots of a directory, for whoever wants to read them from outside.

use crate::id::Zxid;
use crate::io::Volume;
use crate::log::{Corruption, Damage, Evidence, LogError, files};
use crate::snapshot::check::sound_header;
use crate::snapshot::{Loaded, Published, SnapshotName, file};

/// A file with a snapshot's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name in the directory.
    pub file: String,
    /// The last transaction in it, from its name.
    pub zxid: Zxid,
    /// Generation of the received snapshot that its log began with, from its name.
    pub generation: u32,
    /// Length of the file.
    pub len: u64,
    /// A snapshot of a higher generation took the place of it and of its log.
    pub dead: bool,
}

/// All snapshots, by generation and zxid. Reads nothing but the directory.
pub fn snapshots(vol: &dyn Volume) -> Result<Vec<SnapshotFile>, LogError> {
    let files = files::Files::list(vol)?;
    let mut names: Vec<(SnapshotName, u64)> =
        files.iter().filter_map(|(name, len)| Some((SnapshotName::parse(name)?, len))).collect();
    names.sort_unstable();
    let live = names.last().map_or(0, |(newest, _)| newest.generation);
    let of = |(name, len): (SnapshotName, u64)| SnapshotFile {
        file: name.to_string(),
        zxid: name.zxid,
        generation: name.generation,
        len,
        dead: name.generation < live,
    };
    Ok(names.into_iter().map(of).collect())
}

/// The header of the snapshot `file`. Fails with [`LogError::Corrupt`] if it is damaged or the name is none of ours.
pub fn snapshot_header(vol: &dyn Volume, file: &str) -> Result<Published, LogError> {
    let name = SnapshotName::parse(file);
    let sound = name.map(|name| sound_header(vol, name)).transpose()?.flatten();
    sound.ok_or_else(|| {
        let (damage, evidence) = (Damage::SnapshotHeader, Evidence::Snapshot);
        let (lost_after, lost_through) = (Zxid::ZERO, name.map(|name| name.zxid));
        let path = vol.path(file);
        Corruption { path, offset: 0, damage, lost_after, lost_through, evidence, instead: None }.into()
    })
}

/// Reads a snapshot back as a node does at its start, with every checksum and the digest compared.
pub fn load_snapshot(vol: &dyn Volume, published: &Published, tree_seed: u64) -> Result<Loaded, LogError> {
    file::load(vol, published, tree_seed)
}
