//! `rkinspect snapshot`: what is in snapshots.

mod diff;
mod dump;
mod stats;
mod tree;

pub use diff::{Differ, Held, Words, diff};
pub use dump::{DumpArgs, dump};
pub use stats::stats;
pub use tree::{Indented, TreeArgs, tree};

pub(super) use dump::object;
pub(super) use tree::text;

use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;

use super::verdict;
use crate::error::InspectError;
use crate::out::{Out, Progress};
use crate::source::{self, SnapshotEntry, SnapshotKind, Source};

/// Every byte of the snapshots checked.
pub fn verify(paths: &[PathBuf], out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let mut reports = Vec::new();
    for path in paths {
        let found = source::open(path, progress)?.verify_snapshots()?;
        if found.is_empty() {
            let what = format!("there is no snapshot in {}", path.display());
            return Err(InspectError::NotThere { what });
        }
        reports.extend(found);
    }
    progress.clear();
    verdict::show(&reports, out)
}

/// The snapshot that is meant by a path: a file itself; of a directory the newest that counts, or the one of `zxid`.
fn pick(
    path: &Path,
    zxid: Option<Zxid>,
    progress: &Progress,
) -> Result<(Box<dyn Source>, SnapshotEntry), InspectError> {
    let source = source::open(path, progress)?;
    let counts = |entry: &SnapshotEntry| !matches!(entry.kind, SnapshotKind::Ours { dead: true, .. });
    let wanted = |entry: &SnapshotEntry| zxid.is_none_or(|zxid| zxid == entry.zxid);
    let mut entries = source.snapshots()?;
    let found = entries.iter().rposition(|entry| counts(entry) && wanted(entry));
    let found = found.or_else(|| entries.iter().rposition(wanted));
    match found {
        Some(index) => Ok((source, entries.swap_remove(index))),
        None => {
            let of = zxid.map(|zxid| format!(" of {zxid}")).unwrap_or_default();
            Err(InspectError::NotThere { what: format!("{} has no snapshot{of}", path.display()) })
        }
    }
}
