//! What is around the bytes: owner, permissions, space, names that are nobody's.
//!
//! It is looked at as the server would see it, whoever runs the command: its user is the one to whom the directory
//! belongs, whatever the command's own may read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::finding::{Finding, Severity};
use crate::error::InspectError;

/// Permission of the owner to read and to write, of everybody to write.
const OWNER_RW: u32 = 0o600;
const OWNER_RWX: u32 = 0o700;
const WORLD_WRITES: u32 = 0o002;

/// The entries of a directory, by name.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let failed = |source| InspectError::Io { doing: "listing", path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).map_err(failed)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The name of a file; empty if it is no text, as no server's file is.
pub(super) fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Looks at who may do what with the directory and those files in it that a server has.
pub(super) fn access(
    dir: &Path,
    is_file: &dyn Fn(&str) -> bool,
    found: &mut Vec<Finding>,
) -> Result<(), InspectError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InspectError::Io { doing: "looking at", path, source }
    };
    let owner = fs::metadata(dir).map_err(failed(dir))?;
    let uid = owner.uid();
    if owner.mode() & OWNER_RWX != OWNER_RWX {
        found.push(closed(dir, owner.mode(), uid));
    }
    if owner.mode() & WORLD_WRITES != 0 {
        found.push(open(dir, owner.mode()));
    }
    for path in list(dir)? {
        if !is_file(name(&path)) {
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if !metadata.is_file() {
            let kind = if metadata.is_symlink() { "a symbolic link" } else { "no file" };
            found.push(
                Finding::new(Severity::Error, "not-a-file", &path, format!("is {kind}"))
                    .means("the server does not open it")
                    .advise("put the file itself in its place"),
            );
            continue;
        }
        if metadata.uid() != uid {
            found.push(
                Finding::new(
                    Severity::Error,
                    "wrong-owner",
                    &path,
                    format!("belongs to user {}, the directory to user {uid}", metadata.uid()),
                )
                .means("a server that runs as the owner of the directory may not be able to open it")
                .advise(format!("chown {uid} {}", path.display())),
            );
        } else if metadata.mode() & OWNER_RW != OWNER_RW {
            found.push(closed(&path, metadata.mode(), uid));
        }
        if metadata.mode() & WORLD_WRITES != 0 {
            found.push(open(&path, metadata.mode()));
        }
    }
    Ok(())
}

fn closed(path: &Path, mode: u32, uid: u32) -> Finding {
    Finding::new(Severity::Error, "wrong-permissions", path, format!("has mode {:o}", mode & 0o7777))
        .means(format!("its owner, user {uid}, may not read and write it, and neither may the server"))
        .advise(format!("chmod u+rw{} {}", if path.is_dir() { "x" } else { "" }, path.display()))
}

fn open(path: &Path, mode: u32) -> Finding {
    Finding::new(Severity::Warning, "world-writable", path, format!("has mode {:o}", mode & 0o7777))
        .means("every user of this machine can change what the server relies on")
        .advise(format!("chmod o-w {}", path.display()))
}

/// What the server will want to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Bytes of a new log file.
    pub log_file: u64,
    /// Such files that are there already, not yet used.
    pub prepared: u64,
    /// Bytes of the newest snapshot: the next one will not be much smaller.
    pub snapshot: u64,
}

/// Looks at the space that is left.
pub(super) fn space(dir: &Path, needs: Needs, found: &mut Vec<Finding>) -> Result<(), InspectError> {
    let failed = |error: rustix::io::Errno| InspectError::Io {
        doing: "looking at the file system of",
        path: dir.to_owned(),
        source: error.into(),
    };
    let system = statvfs(dir).map_err(failed)?;
    if system.f_flag.contains(StatVfsMountFlags::RDONLY) {
        found.push(
            Finding::new(Severity::Error, "read-only", dir, "the file system is mounted read-only")
                .means("no server can run here; after errors of the device systems do this by themselves")
                .advise("look into the system's log before mounting it writable again"),
        );
    }
    judge_space(dir, system.f_bavail.saturating_mul(system.f_frsize), needs, found);
    Ok(())
}

fn judge_space(dir: &Path, free: u64, needs: Needs, found: &mut Vec<Finding>) {
    let files_left = free / needs.log_file.max(1) + needs.prepared;
    let what = format!("{free} bytes are free");
    if files_left == 0 {
        found.push(
            Finding::new(Severity::Error, "no-space", dir, what)
                .means(format!(
                    "there is no room for another log file of {} bytes: writes end with this one",
                    needs.log_file
                ))
                .advise("make room, or move the directory to a larger file system"),
        );
    } else if free < 2 * needs.log_file || free < needs.snapshot {
        let snapshot = match free < needs.snapshot {
            true => format!(
                ", nor for a snapshot like the newest one of {} bytes, and without one no log is given up",
                needs.snapshot
            ),
            false => String::new(),
        };
        found.push(
            Finding::new(Severity::Warning, "low-space", dir, what)
                .means(format!("there is no room for two log files of {} bytes{snapshot}", needs.log_file))
                .advise("make room"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_judged_by_what_the_server_will_write() {
        let of = |free, prepared, snapshot| {
            let mut found = Vec::new();
            let needs = Needs { log_file: 100, prepared, snapshot };
            judge_space(Path::new("/d"), free, needs, &mut found);
            found.iter().map(|finding| (finding.severity, finding.code)).collect::<Vec<_>>()
        };
        assert_eq!(of(200, 0, 200), []);
        assert_eq!(of(199, 0, 0), [(Severity::Warning, "low-space")]);
        assert_eq!(of(99, 0, 0), [(Severity::Error, "no-space")]);
        assert_eq!(of(99, 1, 0), [(Severity::Warning, "low-space")]);
        assert_eq!(of(1000, 0, 1001), [(Severity::Warning, "low-space")]);
    }
}
