//! States that are asked for by their transaction, with a clear word where there is no way to them.

use ringkeeper_engine::id::Zxid;

use crate::error::InspectError;
use crate::source::{Replayed, Source};

/// Nothing that is seen depends on it.
const TREE_SEED: u64 = 1;
/// Above all transactions.
pub(super) const LAST: Zxid = Zxid::from_raw(i64::MAX);

/// The zxid behind this one, whether there is such a transaction or not.
pub(super) fn behind(zxid: Zxid) -> Zxid {
    Zxid::from_raw(zxid.raw().saturating_add(1))
}

/// The state after the last transaction that is not above `at`, or after the last of all. Fails where there is no way to
/// it, and where log and snapshots end before `at`: it is not known then what came until there.
pub(super) fn state(source: &dyn Source, at: Option<Zxid>) -> Result<Replayed, InspectError> {
    let Some(at) = at else { return source.state_at(LAST, TREE_SEED) };
    let state = source.state_at(at, TREE_SEED)?;
    must_reach(source, state.tree.last_zxid(), at)?;
    Ok(state)
}

/// Fails if log and snapshots end before `at`, with `last` as the last transaction before it.
pub(super) fn must_reach(source: &dyn Source, last: Zxid, at: Zxid) -> Result<(), InspectError> {
    if last >= at || has_later(source, at)? {
        return Ok(());
    }
    let what = format!("{} ends with {last}: it has no state after {at}", source.path().display());
    Err(InspectError::NotThere { what })
}

/// Whether anything is known from behind `zxid`.
fn has_later(source: &dyn Source, zxid: Zxid) -> Result<bool, InspectError> {
    if source.snapshots()?.iter().any(|entry| !entry.is_dead() && entry.zxid > zxid) {
        return Ok(true);
    }
    first_behind(source, zxid).map(|first| first.is_some())
}

/// The first transaction behind `zxid`.
fn first_behind(source: &dyn Source, zxid: Zxid) -> Result<Option<Zxid>, InspectError> {
    let mut first = None;
    let read = source.txns(behind(zxid), LAST, &mut |txn| {
        first = Some(txn.zxid);
        // One is enough: the error only ends the reading.
        Err(InspectError::NotThere { what: String::new() })
    });
    match read {
        Err(_) if first.is_some() => Ok(first),
        Err(error) => Err(error),
        Ok(()) => Ok(None),
    }
}

/// The last transaction that snapshots and log know.
pub(super) fn last(source: &dyn Source) -> Result<Zxid, InspectError> {
    let snapshots = source.snapshots()?;
    let newest = snapshots.iter().filter(|entry| !entry.is_dead()).map(|entry| entry.zxid).max();
    let mut last = newest.unwrap_or(Zxid::ZERO);
    source.txns(behind(last), LAST, &mut |txn| {
        last = last.max(txn.zxid);
        Ok(())
    })?;
    Ok(last)
}
