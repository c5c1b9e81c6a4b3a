//! `rkinspect log range`: which transactions are in which file, and which are missing.

use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;
use serde_json::json;

use crate::error::{FINE, InspectError};
use crate::out::{Out, Progress};
use crate::source::{self, TxnAt};

/// All zxids.
const EVERYTHING: (Zxid, Zxid) = (Zxid::from_raw(i64::MIN), Zxid::from_raw(i64::MAX));

/// First and last zxid per file, and gaps.
pub fn range(paths: &[PathBuf], out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    for path in paths {
        let source = source::open(path, progress)?;
        let mut ranges = Ranges { out, file: None };
        let read = source.txns(EVERYTHING.0, EVERYTHING.1, &mut |txn| ranges.take(txn));
        ranges.end()?;
        read?;
    }
    Ok(FINE)
}

/// The run of transactions being looked at.
struct Ranges<'o, 'w> {
    out: &'o mut Out<'w>,
    file: Option<FileRange>,
}

struct FileRange {
    file: PathBuf,
    first: Zxid,
    last: Zxid,
    txns: u64,
}

impl Ranges<'_, '_> {
    fn take(&mut self, txn: &TxnAt<'_>) -> Result<(), InspectError> {
        let before = self.file.as_ref().map(|range| range.last);
        if let Some(before) = before.filter(|&before| is_gap(before, txn.zxid)) {
            self.gap(before, txn.zxid, txn.file)?;
        }
        match &mut self.file {
            Some(range) if range.file == txn.file => (range.last, range.txns) = (txn.zxid, range.txns + 1),
            _ => {
                self.end()?;
                let (file, zxid) = (txn.file.to_owned(), txn.zxid);
                self.file = Some(FileRange { file, first: zxid, last: zxid, txns: 1 });
            }
        }
        Ok(())
    }

    fn gap(&mut self, after: Zxid, before: Zxid, file: &Path) -> Result<(), InspectError> {
        self.out.line(
            || format!("gap between {after} and {before} in {}", file.display()),
            || json!({"gap": {"after": after.to_string(), "before": before.to_string()}, "file": file}),
        )
    }

    fn end(&mut self) -> Result<(), InspectError> {
        let Some(FileRange { file, first, last, txns }) = self.file.take() else { return Ok(()) };
        self.out.line(
            || format!("{}: {first} to {last}, {txns} transactions", file.display()),
            || json!({"file": file, "first": first.to_string(), "last": last.to_string(), "txns": txns}),
        )
    }
}

/// Whether transactions are missing between these two. Each epoch begins anew.
fn is_gap(before: Zxid, after: Zxid) -> bool {
    before.epoch() == after.epoch() && after > before && before.successor() != Some(after)
}
