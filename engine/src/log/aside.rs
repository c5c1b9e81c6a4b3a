//! Damage set aside: a member of an ensemble can fetch everything from the others, so it begins anew, untrusted.
//!
//! What it may have acknowledged is gone, so it must not help to elect until it has caught up: that is made durable
//! before anything is moved. The mark goes first and its absence is durable before the rest follows: a directory with
//! log and without marks is damaged whatever else is missing, so that a start in the middle goes on here. Nothing is
//! removed: an operator may still want to look at it.

use std::fmt;
use std::path::PathBuf;

use super::epochs::{EpochFile, Epochs};
use super::error::{Corruption, LogError};
use super::files::{self, Files};
use super::inventory::Inventory;
use super::marks::Mark;
use super::options::LogOptions;
use super::slots::{SlotValue, Slots};
use super::stock::next_id;
use crate::id::{Epoch, Zxid};
use crate::io::Volume;
use crate::snapshot::{SnapshotName, Snapshots};

/// What the names of files begin with that were set aside.
pub(super) const PREFIX: &str = "damaged-";

/// What was damaged, and where everything is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The damage, with the names that the files had.
    pub damage: Corruption,
    /// The files as they are called now: the damaged one, if it was a file, and all that is of no use without it.
    pub files: Vec<PathBuf>,
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Corruption { path, offset, damage, .. } = &self.damage;
        write!(f, "{} was damaged at offset {offset}: {damage}; set aside as", path.display())?;
        self.files.iter().try_for_each(|file| write!(f, " {}", file.display()))
    }
}

/// Makes it durable that this server must not vote, then renames log, snapshots and marks. The directory is then one in
/// which nothing was ever logged.
pub(crate) fn set_aside(
    vol: &dyn Volume,
    options: &LogOptions,
    damage: Corruption,
) -> Result<SetAside, LogError> {
    let mut files = Files::list(vol)?;
    let inventory = Inventory::take(&files, &Snapshots::default())?;
    forbid_voting(&mut files, &inventory, options)?;

    let mut moved = Vec::new();
    if files.exists(Mark::FILE) {
        moved.push(rename(&files, Mark::FILE)?);
        files.sync_dir()?;
    }
    let written = inventory.headless.iter().filter(|h| !h.batches.is_empty()).map(|h| h.name);
    let segments = inventory.used.iter().map(|u| u.name).chain(written).map(|name| name.to_string());
    let snapshots =
        files.iter().filter_map(|(file, _)| SnapshotName::parse(file)).map(|name| name.to_string());
    for file in segments.chain(snapshots) {
        moved.push(rename(&files, &file)?);
    }
    files.sync_dir()?;
    Ok(SetAside { damage, files: moved })
}

/// Adds to what was promised that this server must not vote, durably.
fn forbid_voting(files: &mut Files<'_>, inventory: &Inventory, options: &LogOptions) -> Result<(), LogError> {
    if let Some(mut epochs) = EpochFile::load(files)? {
        epochs.repair(files.volume())?;
        let promised = epochs.get();
        epochs.set(files.volume(), Epochs { nonvoting: true, ..promised })?;
        files.sync(EpochFile::NAME)?;
        return files.sync_dir();
    }
    let slots = Slots::<Mark>::load(files)?;
    let header = inventory.used.first().map(|u| u.header.database);
    let database = slots.as_ref().map(|s| s.database).or(header);
    let database = database.unwrap_or_else(|| next_id(&mut { options.seed }, 0));
    let seen = newest_epoch(files, inventory, slots.as_ref());
    EpochFile::create(files, database, Epochs { accepted: seen, current: seen, nonvoting: true })?;
    Ok(())
}

/// The highest epoch that anything in the directory names.
fn newest_epoch(files: &Files<'_>, inventory: &Inventory, slots: Option<&Slots<Mark>>) -> Epoch {
    let marked = slots.map(|s| s.value().durable().zxid);
    let continued = inventory.used.iter().map(|u| u.header.from().zxid);
    let written = inventory.headless.iter().flat_map(|h| &h.batches).map(|b| b.after);
    let snapshots = files.iter().filter_map(|(file, _)| SnapshotName::parse(file)).map(|name| name.zxid);
    let newest = marked.into_iter().chain(continued).chain(written).chain(snapshots).max();
    newest.unwrap_or(Zxid::ZERO).epoch()
}

/// Renames a file and returns where it is now. Durable with a flush of the directory.
pub(super) fn rename(files: &Files<'_>, file: &str) -> Result<PathBuf, LogError> {
    let free = |name: &String| !files.exists(name);
    let numbered = (2..).map(|n| format!("{PREFIX}{file}.{n}"));
    let to = std::iter::once(format!("{PREFIX}{file}")).chain(numbered).find(free).unwrap_or_default();
    let renamed = files.volume().rename(file, &to);
    renamed.map_err(|source| files::file_error("setting aside", files.path(file), source))?;
    Ok(files.path(&to))
}
