//! A data directory of Apache's, or one file of one, as commands see it.
//!
//! The logs are one sequence of transactions. Between two that follow each other nothing may be missing, unless a
//! snapshot at or behind the place was received in between; a record that was never completed is no damage if the next
//! file goes on where it would have been. The reference notices neither.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::snapshot::{Limits, Loaded, Loader};

use super::codec::Codec;
use super::damage::{Damage, io_error};
use super::log::{self, LogEvent, LogReader};
use super::name::Name;
use super::rebuild::{self, Rebuilt};
use super::snapshot::{self, Contents};
use super::verify;
use crate::error::InspectError;
use crate::out::Progress;
use crate::source::{
    FileReport, ItemSink, Layout, Replayed, SnapshotEntry, SnapshotKind, Source, TxnAt, TxnSink,
};

/// Where the files are below a data directory.
pub const VERSION_2: &str = "version-2";
/// What ends the stream that the loader takes, and no file has.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";

/// A log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The file.
    pub file: PathBuf,
    /// Its first transaction, from the name.
    pub zxid: Zxid,
    /// Length of the file, in bytes.
    pub bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct ApacheDir {
    path: PathBuf,
    logs: Vec<LogFile>,
    snapshots: Vec<SnapshotEntry>,
    progress: Progress,
}

/// Opens a directory (dataDir, dataLogDir, version-2) or a file. `None` if there is nothing of Apache's.
pub fn open(path: &Path, progress: &Progress) -> Result<Option<ApacheDir>, InspectError> {
    let mut found = ApacheDir::empty(path, progress);
    let metadata = fs::metadata(path).map_err(io_error("looking at", path))?;
    if metadata.is_dir() {
        found.add_all(path)?;
        let below = path.join(VERSION_2);
        if below.is_dir() {
            found.add_all(&below)?;
        }
    } else {
        found.add_file(path)?;
    }
    Ok((!found.logs.is_empty() || !found.snapshots.is_empty()).then_some(found))
}

impl ApacheDir {
    fn empty(path: &Path, progress: &Progress) -> ApacheDir {
        let path = path.to_owned();
        ApacheDir { path, logs: Vec::new(), snapshots: Vec::new(), progress: progress.clone() }
    }

    /// The same with the logs of another directory: where dataLogDir is not dataDir.
    pub fn with_logs_of(mut self, path: &Path) -> Result<ApacheDir, InspectError> {
        if let Some(other) = open(path, &self.progress)? {
            self.logs.extend(other.logs);
            self.logs.sort_by_key(|log| log.zxid);
        }
        Ok(self)
    }

    fn add_all(&mut self, dir: &Path) -> Result<(), InspectError> {
        let listing = || io_error("listing", dir);
        for entry in fs::read_dir(dir).map_err(listing())? {
            let entry = entry.map_err(listing())?;
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(Name::parse) else { continue };
            let metadata = fs::metadata(entry.path()).map_err(io_error("looking at", &entry.path()))?;
            if metadata.is_file() {
                self.add(entry.path(), name, metadata.len());
            }
        }
        self.logs.sort_by_key(|log| log.zxid);
        self.snapshots.sort_by_key(|snapshot| snapshot.zxid);
        Ok(())
    }

    /// A file is known by its name, or if it was given another one, by how it begins.
    fn add_file(&mut self, path: &Path) -> Result<(), InspectError> {
        let reading = || io_error("reading", path);
        let mut file = fs::File::open(path).map_err(reading())?;
        let mut magic = [0; 4];
        let begins = file.read(&mut magic).map_err(reading())? == magic.len();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(Name::parse);
        let name = match name {
            Some(name) => name,
            None if begins && magic == log::MAGIC => Name::Log(Zxid::ZERO),
            None if begins && magic == snapshot::HEADER[..4] => Name::Snapshot(Zxid::ZERO, Codec::Plain),
            None => return Ok(()),
        };
        let bytes = file.metadata().map_err(reading())?.len();
        self.add(path.to_owned(), name, bytes);
        Ok(())
    }

    fn add(&mut self, file: PathBuf, name: Name, bytes: u64) {
        match name {
            Name::Log(zxid) => self.logs.push(LogFile { file, zxid, bytes }),
            Name::Snapshot(zxid, codec) => {
                let kind = match codec {
                    Codec::Plain => SnapshotKind::Plain,
                    Codec::Gzip => SnapshotKind::Gzip,
                    Codec::Snappy => SnapshotKind::Snappy,
                };
                self.snapshots.push(SnapshotEntry { file, zxid, bytes, kind });
            }
        }
    }

    /// The logs, oldest first.
    pub fn logs(&self) -> &[LogFile] {
        &self.logs
    }

    /// The snapshots, oldest first.
    pub fn snapshot_files(&self) -> &[SnapshotEntry] {
        &self.snapshots
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether the transactions between a place in the log and `next` are in a snapshot.
    pub(super) fn is_covered(&self, next: Zxid) -> bool {
        self.snapshots.iter().any(|snapshot| snapshot.zxid.raw() >= next.raw() - 1)
    }

    /// Reads a snapshot; with what is damaged in the result.
    pub(super) fn read_snapshot(
        &self,
        entry: &SnapshotEntry,
        items: &mut ItemSink<'_>,
        raw: &mut snapshot::RawSink<'_>,
    ) -> Result<Contents, InspectError> {
        self.progress.expect(entry.bytes);
        snapshot::read(&entry.file, codec_of(entry), &self.progress, items, raw)
    }

    /// Loads a snapshot that must be whole. The tree is taken to be exact where the snapshot proves it.
    pub(super) fn load_with_contents(
        &self,
        entry: &SnapshotEntry,
        seed: u64,
    ) -> Result<(Loaded, Contents), InspectError> {
        let mut loader = Loader::new(entry.zxid, seed, Limits::default());
        let mut failed = None;
        let contents = self.read_snapshot(entry, &mut |_| Ok(()), &mut |bytes| {
            if failed.is_none() {
                failed = loader.feed(bytes).err();
            }
            Ok(())
        })?;
        if let Some(damage) = contents.damage.first() {
            return Err(damage.error(&entry.file));
        }
        let fed = match failed {
            None => loader.feed(SIGNATURE).map(|_| ()),
            Some(error) => Err(error),
        };
        fed.map_err(|source| InspectError::Snapshot { path: entry.file.clone(), source })?;
        let mut loaded = loader.finish();
        if contents.is_exact(entry.zxid) {
            loaded.tree.converged();
        }
        Ok((loaded, contents))
    }

    /// Hands out all transactions from `from` to `upto`.
    fn read_logs(&self, from: Zxid, upto: Zxid, sink: &mut TxnSink<'_>) -> Result<(), InspectError> {
        let first = self.logs.iter().rposition(|log| log.zxid <= from).unwrap_or(0);
        let mut run = Run { dir: self, from, upto, last: None, pending: None };
        for log in &self.logs[first.min(self.logs.len())..] {
            if !run.file(log, sink)? {
                return Ok(());
            }
        }
        run.end()
    }
}

/// How a snapshot is compressed.
pub(super) fn codec_of(entry: &SnapshotEntry) -> Codec {
    match entry.kind {
        SnapshotKind::Gzip => Codec::Gzip,
        SnapshotKind::Snappy => Codec::Snappy,
        SnapshotKind::Plain | SnapshotKind::Ours { .. } => Codec::Plain,
    }
}

/// Whether no transaction can be missing between these two.
pub(crate) fn follows(last: Zxid, next: Zxid) -> bool {
    next == last || last.successor() == Some(next) || next.epoch() > last.epoch() && next.counter() <= 1
}

/// Reading the logs as one sequence.
struct Run<'d> {
    dir: &'d ApacheDir,
    from: Zxid,
    upto: Zxid,
    last: Option<Zxid>,
    /// Damage at the end of a file: what it means is for the next transaction to say.
    pending: Option<(PathBuf, Damage)>,
}

impl Run<'_> {
    /// Whether there is any use in the next file.
    fn file(&mut self, log: &LogFile, sink: &mut TxnSink<'_>) -> Result<bool, InspectError> {
        let progress = self.dir.progress();
        progress.expect(log.bytes);
        let mut reader = LogReader::open(&log.file)?;
        let mut told = 0;
        loop {
            let position = reader.position();
            progress.advance(position - told);
            told = position;
            match reader.next()? {
                None => break,
                Some(LogEvent::Damage(damage)) => self.damage(&log.file, damage)?,
                Some(LogEvent::Record(record)) => {
                    let zxid = record.zxid;
                    self.check(zxid, &log.file, record.offset)?;
                    if zxid > self.upto {
                        return Ok(false);
                    }
                    self.last = Some(zxid);
                    if zxid >= self.from {
                        let (file, offset, payload) = (&*log.file, record.offset, record.payload);
                        sink(&TxnAt { zxid, file, offset, payload })?;
                    }
                }
            }
        }
        progress.advance(log.bytes.saturating_sub(told));
        Ok(true)
    }

    fn damage(&mut self, file: &Path, damage: Damage) -> Result<(), InspectError> {
        let matters = damage.next.is_some_and(|next| next > self.from)
            && damage.after.or(self.last).is_none_or(|after| after < self.upto);
        if matters {
            return Err(damage.error(file));
        }
        if damage.next.is_none() {
            self.pending.get_or_insert((file.to_owned(), damage));
        }
        Ok(())
    }

    /// Whether nothing that was asked for is missing before this transaction.
    fn check(&mut self, zxid: Zxid, file: &Path, offset: u64) -> Result<(), InspectError> {
        let pending = self.pending.take();
        let Some(last) = self.last else { return Ok(()) };
        if zxid <= self.from || last >= self.upto || follows(last, zxid) {
            return Ok(());
        }
        if let Some((file, damage)) = pending {
            return Err(damage.error(&file));
        }
        if self.dir.is_covered(zxid) {
            return Ok(());
        }
        let what = format!("the transactions between {last} and {zxid} are missing");
        Err(InspectError::Damaged { path: file.to_owned(), offset, what })
    }

    /// Behind the last file.
    fn end(self) -> Result<(), InspectError> {
        match self.pending {
            Some((file, damage))
                if !damage.is_of_a_crash() && self.last.is_none_or(|last| last < self.upto) =>
            {
                Err(damage.error(&file))
            }
            _ => Ok(()),
        }
    }
}

impl Source for ApacheDir {
    fn layout(&self) -> Layout {
        Layout::Apache
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn txns(&self, from: Zxid, upto: Zxid, sink: &mut TxnSink<'_>) -> Result<(), InspectError> {
        self.read_logs(from, upto, sink)
    }

    fn snapshots(&self) -> Result<Vec<SnapshotEntry>, InspectError> {
        Ok(self.snapshots.clone())
    }

    fn items(&self, entry: &SnapshotEntry, sink: &mut ItemSink<'_>) -> Result<(), InspectError> {
        let contents = self.read_snapshot(entry, sink, &mut |_| Ok(()))?;
        contents.damage.first().map_or(Ok(()), |damage| Err(damage.error(&entry.file)))
    }

    fn load(&self, entry: &SnapshotEntry, seed: u64) -> Result<Loaded, InspectError> {
        self.load_with_contents(entry, seed).map(|(loaded, _)| loaded)
    }

    fn state_at(&self, zxid: Zxid, seed: u64) -> Result<Replayed, InspectError> {
        let Rebuilt { state, from, passed_over, .. } = rebuild::rebuild(self, zxid, seed)?;
        Ok(Replayed { from: from.map(|entry| entry.file), passed_over, ..state })
    }

    fn verify_log(&self) -> Result<Vec<FileReport>, InspectError> {
        self.scan_log(&mut |_| Ok(()))
    }

    fn scan_log(&self, sink: &mut TxnSink<'_>) -> Result<Vec<FileReport>, InspectError> {
        verify::logs(self, sink)
    }

    fn verify_snapshots(&self) -> Result<Vec<FileReport>, InspectError> {
        self.snapshots.iter().map(|entry| verify::snapshot(self, entry)).collect()
    }
}
