//! `rkinspect log repair`: what is sound and contiguous, written to a new directory.
//!
//! Never touches what is damaged, and says what was left out. Begins with the state that reaches furthest: where the
//! log is damaged before the newest snapshot, that snapshot is worth more than the log before it.

use std::path::Path;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::Epochs;
use ringkeeper_engine::snapshot::Loaded;
use serde_json::json;

use crate::build::Builder;
use crate::error::{FINE, FOUND, InspectError};
use crate::out::{Out, Progress};
use crate::source::{self, FileReport, Layout, SnapshotEntry, SnapshotKind, Source};

/// Nothing that is seen depends on it.
const TREE_SEED: u64 = 1;
const LAST: Zxid = Zxid::from_raw(i64::MAX);

/// What the new directory begins with.
struct Base {
    zxid: Zxid,
    state: Option<Loaded>,
    /// The last transaction that can be reached from it without a gap.
    reaches: Zxid,
}

/// Writes to `to` what can be kept of `from`.
pub fn repair(from: &Path, to: &Path, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let source = source::open(from, progress)?;
    if source.layout() != Layout::Ours {
        let what =
            format!("{} is Apache's: `rkinspect import` makes a directory of ours of it", from.display());
        return Err(InspectError::NotThere { what });
    }
    let reports = source.verify_log()?;
    let base = choose(&*source)?;
    let mut builder = Builder::create(to)?;
    if let Some(Loaded { tree, sessions }) = &base.state {
        builder.begin_behind(tree, sessions)?;
    }
    let mut kept = 0u64;
    source.txns(behind(base.zxid), base.reaches, &mut |txn| {
        kept += 1;
        builder.append(txn.zxid, txn.payload)
    })?;
    // It may have forgotten what it acknowledged: as a member of an ensemble it must not vote before it has caught up.
    let epoch = base.reaches.epoch();
    builder.finish(Epochs { accepted: epoch, current: epoch, nonvoting: true })?;
    progress.clear();
    tell(&reports, &base, kept, to, out)
}

fn behind(zxid: Zxid) -> Zxid {
    Zxid::from_raw(zxid.raw().saturating_add(1))
}

/// The state from which most can be reached; of two that reach equally far, the older one, with which more of the log
/// is kept.
fn choose(source: &dyn Source) -> Result<Base, InspectError> {
    let begins = source.begins_behind()?;
    let counts = |entry: &SnapshotEntry| !matches!(entry.kind, SnapshotKind::Ours { dead: true, .. });
    let entries: Vec<SnapshotEntry> = source.snapshots()?.into_iter().filter(counts).collect();
    let newest = first_sound(source, entries.iter().rev(), begins)?;
    let oldest = match begins {
        Some(Zxid::ZERO) => {
            Some(Base { zxid: Zxid::ZERO, state: None, reaches: reach(source, Zxid::ZERO, begins)? })
        }
        _ => first_sound(source, entries.iter(), begins)?,
    };
    let best = match (oldest, newest) {
        (Some(oldest), Some(newest)) if newest.reaches > oldest.reaches => Some(newest),
        (oldest, newest) => oldest.or(newest),
    };
    best.ok_or_else(|| InspectError::NotThere {
        what: match begins {
            Some(begins) => format!(
                "the log begins behind {begins} and there is no sound snapshot: there is no state to begin with"
            ),
            None => "there is neither a log nor a sound snapshot".to_owned(),
        },
    })
}

fn first_sound<'e>(
    source: &dyn Source,
    entries: impl Iterator<Item = &'e SnapshotEntry>,
    begins: Option<Zxid>,
) -> Result<Option<Base>, InspectError> {
    for entry in entries {
        match source.load(entry, TREE_SEED) {
            Ok(loaded) => {
                let reaches = reach(source, entry.zxid, begins)?;
                return Ok(Some(Base { zxid: entry.zxid, state: Some(loaded), reaches }));
            }
            Err(error) if error.exit_code() == FOUND => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The last transaction that follows `base` without a gap.
fn reach(source: &dyn Source, base: Zxid, begins: Option<Zxid>) -> Result<Zxid, InspectError> {
    let mut last = base;
    if begins.is_none_or(|begins| begins > base) {
        return Ok(last);
    }
    let read = source.txns(behind(base), LAST, &mut |txn| {
        last = txn.zxid;
        Ok(())
    });
    match read {
        Err(InspectError::Damaged { .. }) | Ok(()) => Ok(last),
        Err(error) => Err(error),
    }
}

fn tell(
    reports: &[FileReport],
    base: &Base,
    kept: u64,
    to: &Path,
    out: &mut Out<'_>,
) -> Result<u8, InspectError> {
    let lost = reports.iter().flat_map(|r| &r.ranges).filter_map(|range| range.lost?.through);
    let known = reports.iter().filter_map(|report| report.last).chain(lost).max();
    let dropped = known.filter(|&known| known > base.reaches);
    let begins = match base.state {
        Some(_) => format!("the state after {}", base.zxid),
        None => "nothing".to_owned(),
    };
    let unknown = reports.iter().any(|r| r.is_damaged() && r.ranges.iter().any(|range| range.lost.is_some()));
    out.line(
        || format!("{}: begins with {begins}, {kept} transactions behind it, up to {}", to.display(), base.reaches),
        || {
            json!({
                "directory": to, "base": base.zxid.to_string(), "snapshot": base.state.is_some(), "kept": kept,
                "last": base.reaches.to_string(), "dropped_behind": dropped.map(|_| base.reaches.to_string()),
                "dropped_through": dropped.map(|known| known.to_string()),
            })
        },
    )?;
    for report in reports {
        for range in report.ranges.iter().filter(|range| !range.torn) {
            let lost = range.lost.map(|lost| format!(": {lost}")).unwrap_or_default();
            let file = report.file.display();
            out.text(format_args!("  damaged: {file} {}..{} {}{lost}", range.start, range.end, range.what))?;
        }
    }
    match dropped {
        Some(known) => out.text(format_args!(
            "  DROPPED: all transactions behind {} up to {known}, also those of them that are sound: they cannot \
             follow what is lost",
            base.reaches
        ))?,
        None if unknown => out.text(format_args!(
            "  what is damaged is in the snapshot with which it begins, or behind all that is sound"
        ))?,
        None => out.text("  nothing was dropped")?,
    }
    out.text("  as a member of an ensemble it does not vote before it has caught up")?;
    Ok(if dropped.is_some() || unknown { FOUND } else { FINE })
}
