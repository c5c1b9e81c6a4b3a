//! `rkinspect log`: transactions of logs.

mod dump;
mod range;
mod repair;
mod stats;

pub use dump::{DumpArgs, dump};
pub use range::range;
pub use repair::repair;
pub use stats::stats;

use std::path::PathBuf;

use super::verdict;
use crate::error::InspectError;
use crate::out::{Out, Progress};
use crate::source;

/// Every byte of the logs checked.
pub fn verify(paths: &[PathBuf], out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let mut reports = Vec::new();
    for path in paths {
        let found = source::open(path, progress)?.verify_log()?;
        if found.is_empty() {
            let what = format!("there is no log in {}", path.display());
            return Err(InspectError::NotThere { what });
        }
        reports.extend(found);
    }
    progress.clear();
    verdict::show(&reports, out)
}
