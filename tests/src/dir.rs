//! What lies in a data directory of ours, judged by names and lengths alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::node::DEADLINE;

/// Names and lengths of the files of a directory at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing(pub BTreeMap<String, u64>);

/// What may lie in a directory that is in use, beside log and snapshots. The last two come and go.
const KNOWN: [&str; 6] = ["epochs", "marks", "lock", "myid", "preparing", "creating"];

impl Listing {
    /// Files that go while the list is made are not in it.
    pub fn of(dir: &Path) -> Listing {
        let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("listing {}: {e}", dir.display()));
        let named = |entry: fs::DirEntry| {
            Some((entry.file_name().to_string_lossy().into_owned(), entry.metadata().ok()?.len()))
        };
        Listing(entries.flatten().filter_map(named).collect())
    }

    /// The names that begin so, in their order, which for snapshots and segments is that of age.
    pub fn named(&self, prefix: &str) -> Vec<&str> {
        self.0.keys().filter(|name| name.starts_with(prefix)).map(String::as_str).collect()
    }

    /// The published snapshots.
    pub fn snapshots(&self) -> Vec<&str> {
        self.named("snapshot.")
    }

    /// The segments of the log, with those that are prepared or free.
    pub fn segments(&self) -> Vec<&str> {
        self.named("log.")
    }

    /// What is neither log nor snapshot, nor beside them at all times: half a snapshot, for one.
    pub fn strays(&self) -> Vec<&str> {
        let known = |name: &str| {
            KNOWN.contains(&name) || ["log.", "snapshot."].iter().any(|prefix| name.starts_with(prefix))
        };
        self.0.keys().map(String::as_str).filter(|name| !known(name)).collect()
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> u64 {
        self.0.values().sum()
    }
}

/// The transaction that a snapshot is the state after, from its name.
pub fn zxid_of(snapshot: &str) -> u64 {
    let digits = snapshot.strip_prefix("snapshot.").and_then(|rest| rest.split('-').next());
    let zxid = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    zxid.unwrap_or_else(|| panic!("{snapshot} is no name of a snapshot"))
}

/// The newest published snapshot.
pub fn newest_snapshot(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(Listing::of(dir).snapshots().last()?))
}

/// Waits until the directory meets a condition. Nothing that a running server gives up is gone at once.
pub fn wait_until(dir: &Path, what: &str, mut met: impl FnMut(&Listing) -> bool) -> Listing {
    let start = Instant::now();
    loop {
        let listing = Listing::of(dir);
        if met(&listing) {
            return listing;
        }
        assert!(
            start.elapsed() < DEADLINE * 2,
            "waited in vain until {what}: {} holds {:#?}",
            dir.display(),
            listing.0
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Waits until a running server has given up what it does not need: nothing half made is left, no more than three
/// snapshots, and no more segments than these.
pub fn wait_until_tidy(dir: &Path, segments: usize) -> Listing {
    wait_until(dir, "everything needless is gone", |listing| {
        listing.strays().is_empty() && listing.snapshots().len() <= 3 && listing.segments().len() <= segments
    })
}
