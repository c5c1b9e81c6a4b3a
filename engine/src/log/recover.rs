//! Reads the log back: what of the directory is the log, and where it ends.
//!
//! First a look at all files (`inventory`), then the walk from batch to batch (`walk`), whose decisions are a table
//! (`table`). The evidence of what was acknowledged is the highest `durable_seq` in any sound header of the live
//! generation, and the durable mark. Nothing is written here but the flush at the end and what a new directory
//! needs; a cut is made by the caller, in a segment of its own. Called by `Log::open` only.

use super::aside;
use super::epochs::{EpochFile, Epochs};
use super::error::{Corruption, Damage, Evidence, LogError, ReplayError};
use super::files::Files;
use super::format::Point;
use super::inventory::Inventory;
use super::marks::Mark;
use super::name::SegmentName;
use super::options::LogOptions;
use super::runs::Runs;
use super::slots::{SlotValue, Slots};
use super::stock::{Free, Stock, next_id};
use super::walk::Walk;
use super::{RecoveryReport, Segment};
use crate::id::Zxid;
use crate::snapshot::{Published, SnapshotName, Snapshots, file as snapshot};

/// Called with each transaction of the log in order, as its bytes and its zxid.
pub type Replay<'a> = dyn FnMut(&[u8], Zxid) -> Result<(), ReplayError> + 'a;

/// What was read back.
pub(super) struct Recovered {
    pub generation: u32,
    /// Oldest first. The last one is the one to go on in, unless the tail is torn.
    pub segments: Vec<Segment>,
    /// Offset behind the last batch, in the last segment.
    pub offset: u64,
    pub tip: Point,
    pub purged: Point,
    /// Those behind which the log goes on, oldest first.
    pub snapshots: Vec<Published>,
    /// Names of those that are damaged.
    pub damaged: Vec<SnapshotName>,
    pub slots: Slots<Mark>,
    pub epochs: EpochFile,
    pub stock: Stock,
    pub report: RecoveryReport,
}

/// Whether a directory without any log may be one that lost it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anew {
    /// Only one in which nothing was ever promised is new.
    IfNew,
    /// Also one whose server must not vote: its log may have been set aside.
    IfNonvoting,
}

/// What the transactions are to be replayed into.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behind {
    /// Nothing: all transactions are needed.
    Beginning,
    /// What this snapshot holds.
    Snapshot(Published),
    /// No state at all: wherever the log begins will do.
    Anything,
}

/// Reads the directory; a new one is given what it needs.
pub(super) fn recover(
    files: &mut Files<'_>,
    snapshots: &Snapshots,
    behind: Behind,
    anew: Anew,
    options: &LogOptions,
    replay: &mut Replay<'_>,
) -> Result<Recovered, LogError> {
    let inventory = Inventory::take(files, snapshots)?;
    let mut epochs = EpochFile::load(files)?;
    let slots = match Slots::<Mark>::load(files)? {
        Some(slots) => slots,
        None => return create(files, inventory, epochs, anew, options),
    };
    let of_database = |found, name: &str| match found == slots.database {
        true => Ok(()),
        false => Err(LogError::Foreign { path: files.path(name), found, expected: slots.database }),
    };
    epochs.as_ref().map_or(Ok(()), |e| of_database(e.database(), EpochFile::NAME))?;
    inventory.used.iter().try_for_each(|u| of_database(u.header.database, &u.name.to_string()))?;
    snapshots.headers.iter().try_for_each(|s| of_database(s.database, &s.file()))?;

    let mut walk = Walk::new(files, &inventory, slots.value(), snapshots, behind)?;
    let end = walk.run(replay)?;
    walk.check_end(&end)?;
    // Versions that looked too late have made their own files in such a directory.
    if walk.tip.seq == 0 {
        refuse_foreign(files, &inventory)?;
    }
    let Walk { segments, tip, owed, records, generation, purged, gap, runs, .. } = walk;
    // What came back after the end of a process may still be in the device's cache only, and soon somebody is
    // told of it. Batches at or below the evidence were flushed by those who wrote them.
    for (i, segment) in segments.iter().enumerate() {
        if segment.last.seq > owed.seq || i + 1 == segments.len() {
            files.sync(&segment.name.to_string())?;
        }
    }
    snapshot::remove_all_unfinished(files.volume())?;
    files.sync(Mark::FILE)?;
    if let Some(epochs) = &mut epochs {
        epochs.repair(files.volume())?;
        files.sync(EpochFile::NAME)?;
    }
    files.sync_dir()?;

    let epochs_lost = epochs.is_none();
    let epochs = match epochs {
        Some(epochs) => epochs,
        None => {
            let seen = tip.zxid.epoch();
            let untrusted = Epochs { accepted: seen, current: seen, nonvoting: true };
            EpochFile::create(files, slots.database, untrusted)?
        }
    };
    let report = RecoveryReport {
        created: false,
        database: slots.database,
        generation,
        segments: segments.len(),
        records,
        last: tip.zxid,
        torn: end.torn,
        ignored: inventory.ignored.clone(),
        epochs_lost,
        set_aside: None,
        damaged_snapshots: Vec::new(),
        gap,
        runs,
    };
    let offset = end.offset;
    let mut stock = stock(&inventory, &segments, options);
    // The log does not reach back to those before what was purged.
    let is_alive = |s: &&Published| s.point().at() >= purged.at();
    let alive: Vec<Published> = snapshots.sound().filter(is_alive).copied().collect();
    let damaged = snapshots.damaged.iter().map(|(name, _)| *name).filter(|name| name.zxid >= purged.zxid);
    let damaged: Vec<SnapshotName> = damaged.collect();
    let names = files.iter().filter_map(|(file, _)| SnapshotName::parse(file));
    let is_used = |name: SnapshotName| damaged.contains(&name) || alive.iter().any(|s| s.name == name);
    for dead in names.filter(|name| !is_used(*name)) {
        stock.add_free(Free { file: dead.to_string(), len: 0 });
    }
    let snapshots = alive;
    Ok(Recovered {
        generation,
        segments,
        offset,
        tip,
        purged,
        snapshots,
        damaged,
        slots,
        epochs,
        stock,
        report,
    })
}

/// A directory without marks: new, or robbed of them.
fn create(
    files: &mut Files<'_>,
    inventory: Inventory,
    epochs: Option<EpochFile>,
    anew: Anew,
    options: &LogOptions,
) -> Result<Recovered, LogError> {
    let found = epochs.as_ref().map(EpochFile::get).unwrap_or_default();
    let nothing = Epochs { nonvoting: found.nonvoting, ..Epochs::default() };
    let promised = found != nothing && !(found.nonvoting && anew == Anew::IfNonvoting);
    if inventory.has_log() || promised {
        let behind = inventory.used.last().map(|u| u.header.from().zxid);
        let through = behind.max(inventory.snapshot);
        return Err(Corruption {
            path: files.path(Mark::FILE),
            offset: 0,
            damage: Damage::Marks,
            lost_after: Zxid::ZERO,
            lost_through: through,
            evidence: Evidence::Log,
            instead: None,
        }
        .into());
    }
    refuse_foreign(files, &inventory)?;
    // The epochs first: a directory with marks and without epochs has lost them.
    let nonvoting = found.nonvoting || options.begin_nonvoting;
    let epochs = match epochs {
        Some(mut epochs) => {
            epochs.repair(files.volume())?;
            epochs.set(files.volume(), Epochs { nonvoting, ..found })?;
            epochs
        }
        None => {
            let begun = Epochs { nonvoting, ..Epochs::default() };
            EpochFile::create(files, next_id(&mut { options.seed }, 0), begun)?
        }
    };
    let database = epochs.database();
    let slots = Slots::create(files, database, Mark::new(1, Point::default(), Point::default()))?;
    let report = RecoveryReport {
        created: found == nothing && !files.iter().any(|(file, _)| file.starts_with(aside::PREFIX)),
        database,
        generation: 1,
        segments: 0,
        records: 0,
        last: Zxid::ZERO,
        torn: None,
        ignored: inventory.ignored.clone(),
        epochs_lost: false,
        set_aside: None,
        damaged_snapshots: Vec::new(),
        gap: None,
        runs: Runs::default(),
    };
    Ok(Recovered {
        generation: 1,
        segments: Vec::new(),
        offset: 0,
        tip: Point::default(),
        purged: Point::default(),
        snapshots: Vec::new(),
        damaged: Vec::new(),
        slots,
        epochs,
        stock: stock(&inventory, &[], options),
        report,
    })
}

/// Refuses a directory with another server's log and none of ours, before anything is written to it.
fn refuse_foreign(files: &Files<'_>, inventory: &Inventory) -> Result<(), LogError> {
    match &inventory.foreign {
        Some(file) if !inventory.has_log() => Err(LogError::NotOurs { path: files.path(file) }),
        _ => Ok(()),
    }
}

/// Sorts the files that are not the log into those ready for use and those that are free.
fn stock(inventory: &Inventory, live: &[Segment], options: &LogOptions) -> Stock {
    let highest = |names: &mut dyn Iterator<Item = SegmentName>| names.map(|n| n.number).max().unwrap_or(0);
    let used = highest(&mut inventory.used.iter().map(|u| u.name));
    // Nothing vouches for the number of a file without a header. One that would leave few to its successors is not used.
    let usable = |name: SegmentName| name.number < SegmentName::NUMBERS / 2;
    let headless = highest(&mut inventory.headless.iter().map(|h| h.name).filter(|&n| usable(n)));
    let mut stock =
        Stock::new(options.segment_bytes, options.prepare_ahead, used, used.max(headless), options.seed);
    for file in &inventory.headless {
        // Under a name that already has batches a new one could be followed by them.
        if file.batches.is_empty() && file.file_len == options.segment_bytes && usable(file.name) {
            stock.add_prepared(file.name);
        } else {
            stock.add_free(Free { file: file.name.to_string(), len: file.file_len });
        }
    }
    for used in inventory.used.iter().filter(|u| live.iter().all(|s| s.name != u.name)) {
        stock.add_free(Free { file: used.name.to_string(), len: used.file_len });
    }
    stock
}
