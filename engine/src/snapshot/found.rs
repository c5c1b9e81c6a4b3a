//! The snapshots of a directory that may count, and what is wrong with those that do not.
//!
//! Those of the highest generation belong to the live log; a state can begin with any of them, so that damage of one
//! costs no more than a longer replay. Which of them the log reaches back to is the log's to say (`log::recover`).
//! Blocking reads; nothing is changed here.

use std::fmt;
use std::path::PathBuf;

use super::file::{load, names, read_header};
use super::format::{Origin, Published, SnapshotName};
use super::{Loaded, SnapshotError};
use crate::id::Zxid;
use crate::io::Volume;
use crate::log::{Corruption, Damage, LogError};

/// A medium says so where it cannot read what was written.
const EIO: i32 = 5;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// Generation of all that follow: that of the received snapshot with which the live log began. 0 if it began with
    /// nothing, or there is no snapshot.
    pub root: u32,
    /// Those with a sound header, oldest first.
    pub headers: Vec<Published>,
    /// Those with damage, whether their header is sound or not, and what is wrong with each.
    pub damaged: Vec<(SnapshotName, LogError)>,
}

impl Snapshots {
    /// Reads the headers. Snapshots of lower generations than the highest are dead and not looked at.
    pub fn list(vol: &dyn Volume) -> Result<Snapshots, LogError> {
        let names = names(vol)?;
        let root = names.last().map_or(0, |newest| newest.generation);
        let mut found = Snapshots { root, ..Snapshots::default() };
        for name in names.into_iter().filter(|name| name.generation == root) {
            match read_header(vol, name) {
                Ok(published) => found.headers.push(published),
                Err(error) => found.note_damage(name, error)?,
            }
        }
        Ok(found)
    }

    /// Reads the newest snapshot that is sound to its last byte; older ones are not looked into.
    pub fn load_newest(
        &mut self,
        vol: &dyn Volume,
        tree_seed: u64,
    ) -> Result<Option<(Published, Loaded)>, LogError> {
        for i in (0..self.headers.len()).rev() {
            let published = self.headers[i];
            match load(vol, &published, tree_seed) {
                Ok(loaded) => return Ok(Some((published, loaded))),
                Err(error) => self.note_damage(published.name, error)?,
            }
        }
        Ok(None)
    }

    /// Fails with the error itself if it says nothing about the content of the file.
    fn note_damage(&mut self, name: SnapshotName, error: LogError) -> Result<(), LogError> {
        if SnapshotFault::of(&error).is_none() {
            return Err(error);
        }
        self.damaged.push((name, error));
        Ok(())
    }

    /// Those of which no damage is known, oldest first.
    pub fn sound(&self) -> impl DoubleEndedIterator<Item = &Published> {
        self.headers.iter().filter(|header| self.damaged.iter().all(|(name, _)| *name != header.name))
    }

    /// The one that the live log began with, if it is still there.
    pub fn received(&self) -> Option<&Published> {
        self.headers.iter().find(|header| header.origin == Origin::Received)
    }

    /// All names, in no order.
    pub fn names(&self) -> impl Iterator<Item = SnapshotName> {
        self.headers.iter().map(|header| header.name).chain(self.damaged.iter().map(|(name, _)| *name))
    }

    /// What is to be said if the log cannot be opened behind `from`, the zxid of a snapshot or zero: that a newer
    /// snapshot is damaged, where it is for want of that.
    pub fn blame(&mut self, error: LogError, from: Zxid) -> LogError {
        let LogError::Corrupt(log) = error else { return error };
        let missed = self.damaged.iter().enumerate().max_by_key(|(_, (name, _))| name.zxid);
        let missed = missed.filter(|(_, (name, _))| name.zxid > from && name.zxid > log.lost_after);
        let Some((i, _)) = missed else { return LogError::Corrupt(log) };
        match self.damaged.swap_remove(i).1 {
            LogError::Corrupt(damage) => {
                let lost_after = log.lost_after.max(from);
                Corruption { lost_after, instead: Some(log), ..*damage }.into()
            }
            other => other,
        }
    }
}

/// A snapshot that could not be used. An older one took its place, or the beginning of the log, and nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedSnapshot {
    /// The file under the name it had.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: SnapshotFault,
    /// Where it is now.
    pub aside: PathBuf,
}

impl fmt::Display for DamagedSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DamagedSnapshot { path, fault, aside } = self;
        write!(f, "{} {fault}; set aside as {}", path.display(), aside.display())
    }
}

/// Why a snapshot could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotFault {
    /// The file is not what it was.
    Damaged {
        /// Byte offset in the file.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The medium cannot read it.
    Unreadable {
        /// Byte offset in the file.
        offset: u64,
        /// What the system said.
        error: String,
    },
    /// All checksums hold and the content is no state: it was written by a faulty program.
    Senseless(SnapshotError),
}

impl SnapshotFault {
    /// `None` if the error is not one of the file's content.
    pub(crate) fn of(error: &LogError) -> Option<SnapshotFault> {
        match error {
            LogError::Corrupt(corruption) => {
                let Corruption { offset, damage, .. } = **corruption;
                Some(SnapshotFault::Damaged { offset, damage })
            }
            LogError::Io { offset, source, .. } if source.raw_os_error() == Some(EIO) => {
                Some(SnapshotFault::Unreadable { offset: *offset, error: source.to_string() })
            }
            LogError::Snapshot { source, .. } => Some(SnapshotFault::Senseless(source.clone())),
            _ => None,
        }
    }
}

impl fmt::Display for SnapshotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotFault::Damaged { offset, damage } => {
                write!(f, "is damaged at offset {offset}: {damage}")
            }
            SnapshotFault::Unreadable { offset, error } => {
                write!(f, "cannot be read at offset {offset}: {error}")
            }
            SnapshotFault::Senseless(error) => {
                write!(f, "makes no sense, though its checksums hold: {error}")
            }
        }
    }
}
