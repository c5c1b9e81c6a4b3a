//! The transaction log: nothing is acknowledged before it is here, and nothing that was is ever lost unnoticed.
//!
//! [`Log`] is a state machine: transactions are appended to a batch in memory, batches are submitted to a
//! [`Disk`](crate::io::Disk) and their completions fed back, and the caller is told what is durable, in order. The
//! proof is a [`Durable`], which only this module makes. What blocks (opening, cuts, preparing segments) goes
//! through a [`Volume`] and is called by the housekeeper or with the node at rest.
//!
//! The log never edits what it wrote, never retries a failed write, and never takes missing acknowledged data
//! for the end of the log. `docs/disk.md` describes the files; start reading at [`Log`], then `writer` for the
//! way in, `cursor` for the way out, `recover` and `table` for the way back, `cut` for truncation.

pub(crate) mod aside;
mod batches;
mod cursor;
mod cut;
mod durable;
mod earlier;
mod epochs;
mod error;
pub(crate) mod files;
pub(crate) mod format;
mod fuzz;
mod index;
mod inventory;
mod marks;
mod name;
mod options;
mod read;
mod recover;
mod replay;
mod restart;
mod runs;
mod scan;
mod slots;
mod snapshots;
mod stock;
pub(crate) mod survey;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod view;
mod walk;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;

pub use aside::SetAside;
pub use cursor::{Cursor, Next};
pub use durable::Durable;
pub use earlier::LogGap;
pub use epochs::{Epochs, epochs_in};
pub use error::{Corruption, Damage, Evidence, LogError, ReplayError};
pub use fuzz::fuzz_recover;
pub use options::LogOptions;
pub use read::Transactions;
pub use recover::Replay;
pub(crate) use recover::{Anew, Behind};
pub use runs::Runs;
pub use stock::SegmentRequest;
pub(crate) use view::{Reading, View};

use crate::id::Zxid;
use crate::io::{BLOCK, FileId, Volume};
use crate::snapshot::{DamagedSnapshot, Published, SnapshotFault, SnapshotName, Snapshots};
use batches::Batches;
use epochs::EpochFile;
use files::Files;
use format::{BATCH_HEADER, Point, RECORD_HEADER};
use index::{Index, Place};
use marks::{Mark, Marks};
use name::SegmentName;
use stock::{Free, Stock};
use writer::InFlight;

/// Whether writes may be given a zxid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Yes.
    Ok,
    /// The disk is full: only what the node itself must write, to close sessions for one.
    Reserve,
    /// Not even that.
    None,
}

/// A segment that is part of the log.
#[derive(Clone, Debug)]
struct Segment {
    name: SegmentName,
    /// Bytes that may be used, the header included.
    len: u64,
    generation: u32,
    /// The point it continues.
    from: Point,
    /// The point behind its last live transaction.
    last: Point,
    index: Index,
}

impl Segment {
    /// A place to begin reading at, with no transaction above `zxid` before it in this segment.
    fn place_up_to(&self, zxid: Zxid) -> Place {
        self.index.up_to(zxid).unwrap_or(Place::first(self.from))
    }
}

impl From<Segment> for Free {
    fn from(segment: Segment) -> Free {
        Free { file: segment.name.to_string(), len: segment.len }
    }
}

/// Segments to be freed once the mark that says so is in both slots.
#[derive(Debug)]
struct Purging {
    up_to: Point,
    segments: Vec<Segment>,
    writes_left: u8,
}

/// What [`Log::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The directory is new, and was not begun anew where something was set aside.
    pub created: bool,
    /// Random id of the directory, in all its files.
    pub database: u64,
    /// How often the log was cut, plus one.
    pub generation: u32,
    /// Segments that hold the log.
    pub segments: usize,
    /// Transactions replayed.
    pub records: u64,
    /// The last of them.
    pub last: Zxid,
    /// What was in flight when the writer ended, and is cut off.
    pub torn: Option<TornTail>,
    /// Files named like a log that are not ours, say a Java server's; they were left alone.
    pub ignored: Vec<String>,
    /// The epochs were lost beside a log: the server must not vote until it has caught up.
    pub epochs_lost: bool,
    /// What was damaged and is set aside: the directory was begun anew, by a server that must not vote.
    pub set_aside: Option<SetAside>,
    /// Snapshots that are damaged and were not needed, or could be done without. Nothing is lost.
    pub damaged_snapshots: Vec<DamagedSnapshot>,
    /// A hole in the log before the snapshot that the state began with. Nothing is lost but older history.
    pub gap: Option<LogGap>,
    /// The transactions of the log, as far back as they are known.
    pub runs: Runs,
}

/// The end of a log that was being written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file, or the directory if no segment has a header.
    pub path: PathBuf,
    /// Offset of the first batch that is not whole.
    pub offset: u64,
    /// The last transaction before it, which is kept.
    pub after: Zxid,
    /// Why it is known that nothing acknowledged is lost.
    pub reason: &'static str,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TornTail { path, offset, after, reason } = self;
        write!(f, "torn tail in {} at offset {offset}, behind {after}: {reason}", path.display())
    }
}

/// The log of one data directory. The disk it is given must not be used for anything else: it owns the tags.
#[derive(Debug)]
pub struct Log {
    options: LogOptions,
    directory: PathBuf,
    database: u64,
    generation: u32,
    /// Oldest first; the last one is written to.
    segments: Vec<Segment>,
    /// Of one root, oldest first. The log goes on behind each of them.
    snapshots: Vec<Published>,
    /// The last segment, once it is attached.
    file: Option<FileId>,
    /// Attached files that are written to no more.
    stale_files: Vec<FileId>,
    /// Offset of the next write in the last segment.
    offset: u64,
    batches: Batches,
    /// Cuts since the opening that reach back further than all later ones: generation and where it goes on.
    cuts: Vec<(u32, Zxid)>,
    in_flight: VecDeque<InFlight>,
    /// Tag of the first write in flight.
    head_tag: u64,
    appended: Zxid,
    sealed: Point,
    durable: Point,
    /// What is known to be on the medium, the only thing that marks and headers may vouch for. The same as `durable`
    /// unless [`LogOptions::sync`] is off; then only an opening, a cut or a stop, which flush, take it further.
    flushed: Point,
    purged: Point,
    purging: Option<Purging>,
    marks: Marks,
    epochs: EpochFile,
    stock: Stock,
    scratch: Vec<u8>,
    /// Text of the first failure.
    failed: Option<String>,
}

impl Log {
    /// Reads the log of a directory back, or begins one in an empty directory. Calls `replay` with all
    /// transactions in order that are behind the newest snapshot; when this returns, they are durable. A torn tail is
    /// cut off. Of snapshots only the headers are read: to have a state as well, open the [store](crate::store::open).
    ///
    /// Fails with [`LogError::Corrupt`] when something acknowledged is missing, and with [`LogError::NotOurs`] when
    /// the directory has another server's log and none of ours; nothing has been changed then.
    pub fn open(
        vol: &dyn Volume,
        options: LogOptions,
        replay: &mut Replay<'_>,
    ) -> Result<(Log, RecoveryReport), LogError> {
        let mut snapshots = Snapshots::list(vol)?;
        let newest = snapshots.sound().next_back().copied();
        let behind = match newest {
            Some(newest) => Behind::Snapshot(newest),
            None if snapshots.damaged.is_empty() => Behind::Anything,
            None => Behind::Beginning,
        };
        let opened = Log::open_behind(vol, options, &snapshots, behind, Anew::IfNew, replay);
        opened.map_err(|error| snapshots.blame(error, newest.map_or(Zxid::ZERO, |s| s.zxid())))
    }

    /// The same where it is known already which snapshots there are, and with which of them the state begins. Damaged
    /// ones are set aside when all went well.
    pub(crate) fn open_behind(
        vol: &dyn Volume,
        options: LogOptions,
        snapshots: &Snapshots,
        behind: Behind,
        anew: Anew,
        replay: &mut Replay<'_>,
    ) -> Result<(Log, RecoveryReport), LogError> {
        options.check()?;
        let mut files = Files::list(vol)?;
        let recovered = recover::recover(&mut files, snapshots, behind, anew, &options, replay)?;
        let tip = recovered.tip;
        let mut log = Log {
            directory: files.directory(),
            database: recovered.slots.database,
            generation: recovered.generation,
            segments: recovered.segments,
            snapshots: recovered.snapshots,
            file: None,
            stale_files: Vec::new(),
            offset: recovered.offset,
            batches: Batches::new(&options, tip.zxid),
            cuts: Vec::new(),
            in_flight: VecDeque::with_capacity(options.in_flight),
            head_tag: 0,
            appended: tip.zxid,
            sealed: tip,
            durable: tip,
            flushed: tip,
            purged: recovered.purged,
            purging: None,
            marks: Marks::new(recovered.slots),
            epochs: recovered.epochs,
            stock: recovered.stock,
            scratch: Vec::new(),
            failed: None,
            options,
        };
        let mut report = recovered.report;
        if log.segments.is_empty() && !log.snapshots.is_empty() {
            log.begin_behind_snapshot(vol, None)?;
            (report.generation, report.segments) = (log.generation, 1);
        } else if report.torn.is_some() {
            log.cut(vol, log.segments.len(), tip)?;
            report.generation = log.generation;
        } else if !log.marks.say_twice(&Mark::new(log.generation, tip, log.purged)) {
            log.write_mark_twice(vol)?;
        }
        report.damaged_snapshots = set_snapshots_aside(vol, snapshots, &recovered.damaged)?;
        Ok((log, report))
    }

    /// The last durable transaction; [`Zxid::ZERO`] if there is none.
    pub fn durable(&self) -> Durable<Zxid> {
        Durable::mint(self.durable.zxid)
    }

    /// The last transaction handed to the disk.
    pub fn sealed(&self) -> Zxid {
        self.sealed.zxid
    }

    /// The last transaction appended.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    /// Longest transaction that can be logged, in bytes. To be asked before a zxid is given.
    pub fn max_record(&self) -> usize {
        self.options.segment_bytes as usize - BLOCK - BATCH_HEADER - RECORD_HEADER
    }

    /// Whether nothing is being written or waits to be.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.marks.idle() && self.batches.unsealed_bytes() == 0
    }

    /// Bytes that were appended and could not be handed to the disk yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.batches.unsealed_bytes()
    }

    /// What this server has promised. Durable.
    pub fn epochs(&self) -> Durable<Epochs> {
        Durable::mint(self.epochs.get())
    }

    /// Makes a promise durable, blocking.
    pub fn set_epochs(&mut self, vol: &dyn Volume, epochs: Epochs) -> Result<Durable<Epochs>, LogError> {
        self.epochs.set(vol, epochs)
    }

    /// The next segment to prepare, each once: for the housekeeper to [perform](SegmentRequest::perform).
    pub fn segment_wanted(&mut self) -> Option<SegmentRequest> {
        self.stock.request()
    }

    /// The wanted segment of this name is ready, its name durable.
    pub fn segment_prepared(&mut self, name: &str) {
        self.stock.prepared(name);
    }

    /// The wanted segment could not be made. [`Log::segment_wanted`] asks for another: wait a while before.
    pub fn segment_failed(&mut self, name: &str) {
        self.stock.failed(name);
    }

    /// A file that nothing needs any more, each once: for the housekeeper to remove. That it is not there is fine.
    pub fn removal_wanted(&mut self) -> Option<String> {
        self.stock.removal()
    }

    /// Sees to it that one segment is ready for when the one in use is full, blocking: for the start. The others are
    /// the housekeeper's to make.
    ///
    /// An error, a full disk for one, leaves a log that is as usable as before: what is in it can be read, what has
    /// room can be appended, [`Log::space`] says whether there is any, and [`Log::segment_wanted`] asks for the
    /// segment again. Only in a directory that is new ([`RecoveryReport::created`]) is there nothing to serve
    /// without it, and the caller does well to give up.
    pub fn prepare(&mut self, vol: &dyn Volume) -> Result<(), LogError> {
        if self.stock.has_prepared() { Ok(()) } else { self.stock.prepare_one(vol) }
    }

    /// Prepares all wanted segments now, blocking: for tests and benches.
    pub fn prepare_all(&mut self, vol: &dyn Volume) -> Result<(), LogError> {
        while let Some(request) = self.stock.request() {
            let made = request.perform(vol);
            made.inspect_err(|_| self.stock.failed(&request.name))?;
            self.stock.prepared(&request.name);
        }
        Ok(())
    }

    /// For a log that is kept without a state, as benches do: transactions below `below` are not needed any more, but
    /// for those behind a snapshot. With a state see [`Log::retain_snapshots`]. Frees whole segments, for recycling,
    /// once the mark that says so is durable. Returns how many.
    pub fn purge(&mut self, below: Zxid) -> usize {
        let below = self.snapshots.first().map_or(below, |oldest| below.min(oldest.zxid()));
        self.purge_while(|segment| segment.last.zxid < below)
    }

    /// Frees the segments from the oldest on of which `needless` says so.
    fn purge_while(&mut self, needless: impl Fn(&Segment) -> bool) -> usize {
        // The next segment must have a durable batch, hence a durable header: else the log would begin nowhere.
        let needless = |s: &&Segment| needless(s) && s.last.seq < self.flushed.seq;
        let within = &self.segments[..self.segments.len().saturating_sub(1)];
        let count = within.iter().take_while(needless).count();
        if count == 0 {
            return 0;
        }
        let mut segments: Vec<Segment> = self.segments.drain(..count).collect();
        let up_to = self.base();
        let earlier = self.purging.take().map(|p| p.segments).unwrap_or_default();
        segments.splice(..0, earlier);
        self.purged = up_to;
        self.purging = Some(Purging { up_to, segments, writes_left: 2 });
        self.marks.want();
        count
    }

    /// Ends the log in order, with the mark at its end.
    pub fn close(mut self, vol: &dyn Volume) -> Result<(), LogError> {
        self.alive()?;
        if !self.is_idle() {
            return Err(LogError::Busy { doing: "closing" });
        }
        self.flush(vol)?;
        self.marks.write(vol, Mark::new(self.generation, self.durable, self.purged))
    }

    /// Makes true what `durable` says, where writes did not ([`LogOptions::sync`] is off).
    fn flush(&mut self, vol: &dyn Volume) -> Result<(), LogError> {
        let unflushed = self.segments.iter().filter(|s| s.last.seq > self.flushed.seq);
        let flushed = unflushed.map(|s| s.name.to_string()).try_for_each(|name| files::sync(vol, &name));
        flushed.map_err(|error| self.fail(error))?;
        self.flushed = self.durable;
        Ok(())
    }

    /// The transaction before the first that the log has; [`Zxid::ZERO`] if it has them all.
    pub fn begins_behind(&self) -> Zxid {
        self.base().zxid
    }

    /// Whether it has all transactions from the very first on.
    pub(crate) fn is_complete(&self) -> bool {
        self.base() == Point::default()
    }

    /// The point that the first segment continues.
    fn base(&self) -> Point {
        self.segments.first().map_or(self.sealed, |s| s.from)
    }

    /// A mark is durable: it may have been waited for.
    fn mark_written(&mut self, mark: &Mark) {
        let Some(purging) = &mut self.purging else { return };
        if mark.purged().seq < purging.up_to.seq {
            return;
        }
        purging.writes_left = purging.writes_left.saturating_sub(1);
        if purging.writes_left > 0 {
            self.marks.want();
        } else if let Some(purging) = self.purging.take() {
            purging.segments.into_iter().for_each(|s| self.stock.add_free(s.into()));
        }
    }

    fn alive(&self) -> Result<(), LogError> {
        match &self.failed {
            None => Ok(()),
            Some(first) => Err(LogError::Poisoned { first: first.clone() }),
        }
    }

    /// Remembers a failure after which nothing may be acknowledged.
    fn fail(&mut self, error: LogError) -> LogError {
        self.failed.get_or_insert_with(|| error.to_string());
        error
    }
}

/// Renames the damaged snapshots, durably, and says what is wrong with them.
fn set_snapshots_aside(
    vol: &dyn Volume,
    found: &Snapshots,
    names: &[SnapshotName],
) -> Result<Vec<DamagedSnapshot>, LogError> {
    let files = Files::list(vol)?;
    let mut moved = Vec::new();
    for (name, error) in found.damaged.iter().filter(|(name, _)| names.contains(name)) {
        let file = name.to_string();
        let fault = SnapshotFault::of(error).expect("only such errors are noted");
        moved.push(DamagedSnapshot { path: files.path(&file), fault, aside: aside::rename(&files, &file)? });
    }
    if !moved.is_empty() {
        files.sync_dir()?;
    }
    Ok(moved)
}
