//! The files of a server as an operator sees them: which are snapshots, which are log, and whether a snapshot is on
//! its way. Only names, lengths, and what a process has open are looked at.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::launch::{Make, data_dir};

/// What ringkeeper calls a snapshot that is being made from an older one and the log.
const MAKING: &str = "unfinished-made-snapshot";
/// What ringkeeper calls one that is being received.
const RECEIVING: &str = "unfinished-snapshot";

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Bytes that it takes, which is not more than its length: the end of Apache's log is a hole.
    pub len: u64,
}

/// What a directory has, each kind in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Snapshots under their names, but for those of an empty tree. One of Apache's may still be written.
    pub snapshots: Vec<Entry>,
    /// Files of the log.
    pub logs: Vec<Entry>,
    /// Ringkeeper makes a snapshot.
    pub making: bool,
    /// Ringkeeper is being sent a snapshot: bytes of it that are on the disk.
    pub receiving: Option<u64>,
}

impl Listing {
    /// The newest snapshot.
    pub fn newest(&self) -> Option<&Entry> {
        self.snapshots.iter().max_by_key(|entry| zxid_of(&entry.name))
    }

    /// Takes note of a file.
    fn add(&mut self, name: &str, len: u64) {
        let entry = || Entry { name: name.into(), len };
        match name {
            MAKING => self.making = true,
            RECEIVING => self.receiving = Some(len),
            _ if zxid_of(name).is_some_and(|zxid| zxid > 0) => self.snapshots.push(entry()),
            _ if name.starts_with("log.") => self.logs.push(entry()),
            _ => {}
        }
    }
}

/// The zxid in the name of a snapshot of either make: `snapshot.<zxid>` or `snapshot.<zxid>-<generation>`.
fn zxid_of(name: &str) -> Option<u64> {
    let rest = name.strip_prefix("snapshot.")?;
    u64::from_str_radix(rest.split_once('-').map_or(rest, |(zxid, _)| zxid), 16).ok()
}

/// Where a server in `dir` has its log and snapshots.
pub fn of_server(make: Make, dir: &Path) -> PathBuf {
    match make {
        Make::Ringkeeper => data_dir(dir),
        Make::Apache => data_dir(dir).join("version-2"),
    }
}

/// How long a server may take to make a snapshot of what was planted.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until there is a snapshot that can hold `bytes` of data: a server that has just been filled makes one soon, and
/// what is measured then is the state of every day. Goes on without one after a minute.
pub fn await_whole(files: &Path, bytes: u64) -> Result<(), BenchError> {
    let start = Instant::now();
    while list(files)?.snapshots.iter().all(|snapshot| snapshot.len < bytes) && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Lists them. A directory that is not there yet has nothing.
pub fn list(files: &Path) -> Result<Listing, BenchError> {
    let error = |source| BenchError::File { doing: "listing", path: files.into(), source };
    let mut listing = Listing::default();
    let entries = match fs::read_dir(files) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(listing),
        entries => entries.map_err(error)?,
    };
    for entry in entries {
        let entry = entry.map_err(error)?;
        // A file may be renamed or removed while it is looked at.
        if let (Some(name), Ok(metadata)) = (entry.file_name().to_str(), entry.metadata()) {
            listing.add(name, metadata.len().min(metadata.blocks() * 512));
        }
    }
    let by_name = |a: &Entry, b: &Entry| a.name.cmp(&b.name);
    listing.snapshots.sort_by(by_name);
    listing.logs.sort_by(by_name);
    Ok(listing)
}

/// The bytes of a file before the zeros at its end, up to a multiple of `PIECE` more: how much log there is where no
/// file was used for the second time.
pub fn used(path: &Path) -> Result<u64, BenchError> {
    const PIECE: usize = 64 << 10;
    let error = |source| BenchError::File { doing: "reading", path: path.into(), source };
    let file = fs::File::open(path).map_err(error)?;
    let len = file.metadata().map_err(error)?.len();
    let mut bytes = vec![0; PIECE];
    for piece in (0..len.div_ceil(PIECE as u64)).rev() {
        let at = piece * PIECE as u64;
        let got = file.read_at(&mut bytes, at).map_err(error)?;
        if bytes[..got].iter().any(|byte| *byte != 0) {
            return Ok(at + got as u64);
        }
    }
    Ok(0)
}

/// Whether process `pid` has the file open.
pub fn is_open(pid: u32, file: &Path) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file))
}

/// Whether process `pid` has a thread of this name.
pub fn has_thread(pid: u32, name: &str) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let named =
        |path: PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
    threads.flatten().any(|thread| named(thread.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_both_makes_are_told_apart() {
        let mut listing = Listing::default();
        for name in [
            "snapshot.0",
            "snapshot.ff",
            "snapshot.100",
            "snapshot.0000000100000002-00000001",
            "log.1",
            "log.0000000000000001-00000000deadbeef",
            "damaged-snapshot.5",
            "acceptedEpoch",
        ] {
            listing.add(name, 7);
        }
        assert_eq!((listing.snapshots.len(), listing.logs.len()), (3, 2));
        assert_eq!(listing.newest().unwrap().name, "snapshot.0000000100000002-00000001");
        assert!(!listing.making && listing.receiving.is_none());
        listing.add("unfinished-made-snapshot", 7);
        assert!(listing.making && listing.receiving.is_none());
        listing.add("unfinished-snapshot", 7);
        assert_eq!((listing.receiving, listing.snapshots.len()), (Some(7), 3));
    }

    #[test]
    fn zeros_at_the_end_are_not_used() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(used(file.path()).unwrap(), 0);
        file.as_file().set_len(1 << 20).unwrap();
        assert_eq!(used(file.path()).unwrap(), 0);
        file.as_file().write_all_at(&[1], 70_000).unwrap();
        assert_eq!(used(file.path()).unwrap(), 128 << 10);
        file.as_file().write_all_at(&[1], (1 << 20) + 9).unwrap();
        assert_eq!(used(file.path()).unwrap(), (1 << 20) + 10);
    }

    #[test]
    fn what_is_open_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap().join("snapshot.1");
        let file = fs::File::create(&path).unwrap();
        assert_eq!(list(dir.path()).unwrap().newest().unwrap().len, 0);
        assert!(is_open(std::process::id(), &path));
        let own = std::process::id();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let (up, started) = std::sync::mpsc::channel::<()>();
        let body = move || {
            up.send(()).unwrap();
            // Ends when the sender is dropped.
            gone.recv().unwrap_err();
        };
        let thread = std::thread::Builder::new().name("snapshot".into()).spawn(body).unwrap();
        started.recv().unwrap();
        assert!(has_thread(own, "snapshot") && !has_thread(own, "snap"));
        drop(go);
        thread.join().unwrap();
        drop(file);
        assert!(!is_open(std::process::id(), &path));
        assert_eq!(list(dir.path()).unwrap().newest().unwrap().name, "snapshot.1");
        assert_eq!(list(&dir.path().join("none")).unwrap(), Listing::default());
    }
}
