//! Directories that are nobody's data directory: new ones, parents of one, wrong ones.

use std::path::Path;

use super::finding::{Finding, Severity};
use super::place::{list, name};
use crate::error::InspectError;
use crate::out::Progress;
use crate::source;

/// What there may be in a directory in which no server has begun anything yet.
const BEFORE_ALL: [&str; 4] = ["lock", "myid", "initialize", "lost+found"];

/// Says what it is.
pub(super) fn examine(dir: &Path, found: &mut Vec<Finding>) -> Result<&'static str, InspectError> {
    let entries = list(dir)?;
    let is_new = |path: &&std::path::PathBuf| {
        BEFORE_ALL.contains(&name(path))
            || name(path) == "version-2" && list(path).is_ok_and(|below| below.is_empty())
    };
    if entries.iter().filter(|path| !is_new(path)).count() == 0 {
        found.push(
            Finding::new(Severity::Info, "empty", dir, "there is nothing in it")
                .means("a server begins an empty database here; a member of an ensemble fetches everything from the others"),
        );
        return Ok("an empty directory");
    }
    let mut is_parent = false;
    for below in entries.iter().filter(|path| path.is_dir()) {
        if source::open(below, &Progress::none()).is_err() {
            continue;
        }
        is_parent = true;
        found.push(
            Finding::new(Severity::Error, "parent", dir, format!("the data directory is {}", below.display()))
                .means("this is the directory above it: a server that is given this one begins an empty database beside the full one")
                .advise(format!("name {} as dataDir; examine it with rkinspect doctor {0}", below.display())),
        );
    }
    if is_parent {
        return Ok("the parent of a data directory");
    }
    found.push(
        Finding::new(Severity::Error, "not-a-data-directory", dir, "no file in it is of a log, a snapshot or a promise")
            .means("no server has written here, or all that it wrote is gone; one that is started here begins an empty database")
            .advise("see whether the path is right, and whether its file system is mounted"),
    );
    Ok("no data directory")
}
