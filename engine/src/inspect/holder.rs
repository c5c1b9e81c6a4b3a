//! Whether a node is running in a directory, found out without touching its lock.
//!
//! Trying the lock would take it for a moment, in which a node that starts is refused. The kernel lists all locks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The process that holds the lock of a data directory; `None` if nobody does, or the kernel does not say.
pub fn holder(dir: &Path) -> Option<u32> {
    let lock = fs::metadata(dir.join("lock")).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    find(&locks, lock.ino())
}

/// Lines are `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`: kind, process, and behind the last colon the inode.
/// Device numbers are not compared: on some file systems they are others than a file's metadata has.
fn find(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, process, file, ..] = fields[..] else { return None };
        let same = file.rsplit(':').next()?.parse() == Ok(inode);
        if same { process.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{FsVolume, test_directory};

    #[test]
    fn the_line_of_the_inode_is_found() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:01:99 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 1234 00:2d:99 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 5 00:2d:98 0 EOF\n";
        assert_eq!(find(locks, 99), Some(1234));
        assert_eq!(find(locks, 9), None);
        assert_eq!(find("", 99), None);
    }

    #[test]
    fn whoever_holds_a_directory_is_seen_and_not_disturbed() {
        let dir = test_directory();
        assert_eq!(holder(dir.path()), None);
        let volume = FsVolume::open(dir.path()).unwrap();
        let seen = holder(dir.path());
        // Not every kernel shows locks to everybody.
        assert!(seen.is_none() || seen == Some(std::process::id()), "{seen:?}");
        drop(volume);
        assert_eq!(holder(dir.path()), None);
        FsVolume::open(dir.path()).unwrap();
    }
}
