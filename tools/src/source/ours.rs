//! Our own directories and files, through [`ringkeeper_engine::inspect`].

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::inspect::{
    self, Finding, ReadOnly, Standing, Survey, TxnHere, Wanted, What, check_snapshot, load_snapshot,
    snapshot_header, survey,
};
use ringkeeper_engine::io::Volume;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::snapshot::{Loaded, Published, piece_checksums, read_piece};

use super::ordered::{BodyError, Ordered};
use super::report::Lost;
use super::{
    DamagedRange, FileReport, ItemSink, Layout, Replayed, Role, SnapshotEntry, SnapshotKind, Source, TxnAt,
    TxnSink,
};
use crate::error::InspectError;
use crate::out::Progress;

/// A log that is being written to is looked at again so often before it is called damaged.
const LOOKS: usize = 4;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A directory of ours, or one file of one.
#[derive(Debug)]
pub struct Ours {
    path: PathBuf,
    vol: ReadOnly,
    progress: Progress,
}

/// Opens what is at `path`; `None` if it is none of ours.
pub fn open(path: &Path, progress: &Progress) -> Result<Option<Ours>, InspectError> {
    let metadata = std::fs::metadata(path).map_err(|source| io_error("opening", path, source))?;
    let vol = if metadata.is_dir() { Some(ReadOnly::directory(path)) } else { ReadOnly::file(path) };
    let Some(vol) = vol else { return Ok(None) };
    let names = vol.list().map_err(|source| io_error("listing", path, source))?;
    let ours = |name: &str| match metadata.is_dir() {
        true => matches!(name, "marks" | "epochs") || has_our_form(name),
        false => has_our_form(name),
    };
    if !names.iter().any(|entry| ours(&entry.name)) {
        return Ok(None);
    }
    let told = progress.clone();
    let vol = vol.telling(move |bytes| told.advance(bytes));
    Ok(Some(Ours { path: path.to_owned(), vol, progress: progress.clone() }))
}

/// Why a snapshot was passed over, in a few words: what to do about it is for others to say.
fn fault(entry: &SnapshotEntry, error: &InspectError) -> String {
    match error {
        InspectError::Log(LogError::Corrupt(damage)) => {
            format!("{} is damaged at offset {}: {}", entry.file.display(), damage.offset, damage.damage)
        }
        other => other.to_string(),
    }
}

/// `log.<16 digits>-<16 digits>`, `snapshot.<16>-<8>`, also where it was set aside.
pub fn has_our_form(name: &str) -> bool {
    let hex = |digits: &str, n| digits.len() == n && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = |prefix, second| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.split_once('-'))
            .is_some_and(|(a, b)| hex(a, 16) && hex(b, second))
    };
    parts("log.", 16) || parts("snapshot.", 8)
}

fn io_error(doing: &'static str, path: &Path, source: std::io::Error) -> InspectError {
    InspectError::Io { doing, path: path.to_owned(), source }
}

impl Ours {
    fn file_len(&self, prefix: &str) -> Result<u64, InspectError> {
        let list = self.vol.list().map_err(|source| io_error("listing", &self.path, source))?;
        Ok(list.iter().filter(|entry| entry.name.starts_with(prefix)).map(|entry| entry.len).sum())
    }

    fn name<'e>(&self, entry: &'e SnapshotEntry) -> &'e str {
        entry.file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn header(&self, entry: &SnapshotEntry) -> Result<Published, InspectError> {
        Ok(snapshot_header(&self.vol, self.name(entry))?)
    }

    /// Surveys the log, and hands out what is wanted of it.
    fn survey(&self, wanted: Wanted, sink: &mut TxnSink<'_>) -> Result<Survey, InspectError> {
        let (mut name, mut path) = (String::new(), PathBuf::new());
        let mut failed = None;
        let survey = survey(&self.vol, wanted, self.vol.is_alone(), &mut |here: TxnHere<'_>| {
            if name != here.file {
                here.file.clone_into(&mut name);
                path = self.vol.path(here.file);
            }
            let TxnHere { offset, zxid, txn: payload, .. } = here;
            match sink(&TxnAt { zxid, file: &path, offset, payload }) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(survey), Err)
    }

    fn report(&self, survey: Survey) -> Vec<FileReport> {
        let of = |file: inspect::FileSurvey| {
            let (role, note) = match file.standing {
                Standing::Live => (Role::Live, None),
                Standing::Dead(why) => (Role::Dead, Some(why.to_owned())),
                Standing::Unused => (Role::Unused, None),
                Standing::Slots => (Role::Slots, None),
                Standing::Missing => (Role::Missing, None),
            };
            let mut report = FileReport::new(self.vol.path(&file.name), file.len, role);
            (report.first, report.last, report.txns) = (file.first, file.last, file.txns);
            (report.batches, report.txn_bytes, report.batch_bytes) =
                (file.batches, file.txn_bytes, file.batch_bytes);
            report.ranges = file.findings.iter().map(range).collect();
            report.notes.extend(note);
            report
        };
        survey.files.into_iter().map(of).collect()
    }
}

fn range(finding: &Finding) -> DamagedRange {
    let batches = match finding.batches {
        Some((first, last)) if first == last => format!("batch {first}"),
        Some((first, last)) => format!("batches {first} to {last}"),
        None => String::new(),
    };
    let detail = match finding.what {
        What::Slot => "the other slot has the value, if it is sound".to_owned(),
        What::OtherBatch => format!("{batches} should be here"),
        _ => batches,
    };
    let lost = finding.lost_after.map(|after| Lost { after, through: finding.lost_through });
    let Finding { start, end, what, torn, .. } = *finding;
    DamagedRange { start, end, what: what.words(), detail, torn, lost }
}

impl Source for Ours {
    fn layout(&self) -> Layout {
        Layout::Ours
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn txns(&self, from: Zxid, upto: Zxid, sink: &mut TxnSink<'_>) -> Result<(), InspectError> {
        self.progress.expect(self.file_len("log.")?);
        let survey = self.survey(Wanted::Within(from, upto), sink)?;
        let Some((file, finding)) = survey.interrupted else { return Ok(()) };
        let DamagedRange { start, what, detail, lost, .. } = range(&finding);
        let lost = lost.map(|lost| format!("; {lost}")).unwrap_or_default();
        let what = if detail.is_empty() { what.to_owned() } else { format!("{what}, {detail}") };
        let path = self.vol.path(&survey.files[file].name);
        Err(InspectError::Damaged { path, offset: start, what: format!("{what}{lost}") })
    }

    fn begins_behind(&self) -> Result<Option<Zxid>, InspectError> {
        let before_all = Zxid::from_raw(i64::MIN);
        Ok(self.survey(Wanted::Within(before_all, before_all), &mut |_| Ok(()))?.begins_behind)
    }

    fn snapshots(&self) -> Result<Vec<SnapshotEntry>, InspectError> {
        let of = |found: inspect::SnapshotFile| SnapshotEntry {
            file: self.vol.path(&found.file),
            zxid: found.zxid,
            bytes: found.len,
            kind: SnapshotKind::Ours { generation: found.generation, dead: found.dead },
        };
        Ok(inspect::snapshots(&self.vol)?.into_iter().map(of).collect())
    }

    fn items(&self, entry: &SnapshotEntry, sink: &mut ItemSink<'_>) -> Result<(), InspectError> {
        let published = self.header(entry)?;
        let mut ordered = self.body(entry, published)?;
        while let Some(item) = ordered.next()? {
            sink(item)?;
        }
        Ok(())
    }

    fn ordered(&self, entry: &SnapshotEntry) -> Result<Ordered<'_>, InspectError> {
        self.body(entry, self.header(entry)?)
    }

    fn load(&self, entry: &SnapshotEntry, seed: u64) -> Result<Loaded, InspectError> {
        let published = self.header(entry)?;
        self.progress.expect(published.body_len());
        Ok(load_snapshot(&self.vol, &published, seed)?)
    }

    fn state_at(&self, zxid: Zxid, seed: u64) -> Result<Replayed, InspectError> {
        let usable = |entry: &SnapshotEntry| {
            entry.zxid <= zxid && !matches!(entry.kind, SnapshotKind::Ours { dead: true, .. })
        };
        let mut passed_over = Vec::new();
        let mut state = None;
        for entry in self.snapshots()?.iter().rev().filter(|entry| usable(entry)) {
            match self.load(entry, seed) {
                Ok(loaded) => {
                    state = Some(Replayed { from: Some(entry.file.clone()), ..Replayed::behind(loaded) });
                    break;
                }
                // An older one may do.
                Err(error) if error.exit_code() == crate::error::FOUND => {
                    passed_over.push(fault(entry, &error))
                }
                Err(error) => return Err(error),
            }
        }
        let base = state.as_ref().map_or(Zxid::ZERO, |state| state.base);
        if let Some(begins) = self.begins_behind()?.filter(|&begins| begins > base) {
            let snapshot = match state {
                Some(_) => format!("the newest usable snapshot before that is of {base}"),
                None => "there is no usable snapshot before that".to_owned(),
            };
            let mut what = format!(
                "{}: the log begins behind {begins}, and {snapshot}, so there is no way to the state that was asked for",
                self.path.display()
            );
            passed_over.iter().for_each(|why| what.extend(["; ", why]));
            return Err(InspectError::NotThere { what });
        }
        let mut state = state.unwrap_or_else(|| Replayed::empty(seed));
        state.passed_over = passed_over;
        let behind = Zxid::from_raw(base.raw().saturating_add(1));
        self.txns(behind, zxid, &mut |txn| state.apply(txn))?;
        Ok(state)
    }

    fn verify_log(&self) -> Result<Vec<FileReport>, InspectError> {
        self.scan_log(&mut |_| Ok(()))
    }

    fn scan_log(&self, sink: &mut TxnSink<'_>) -> Result<Vec<FileReport>, InspectError> {
        self.progress.expect(self.file_len("log.")?);
        let mut reports = self.report(self.survey(Wanted::Everything, sink)?);
        let Some(process) = self.holder() else { return Ok(reports) };
        // What was on its way to the disk while it was read is there when it is looked at again.
        for _ in 1..LOOKS {
            if !reports.iter().any(FileReport::is_damaged) {
                break;
            }
            thread::sleep(PAUSE);
            reports = self.report(self.survey(Wanted::Everything, &mut |_| Ok(()))?);
        }
        let note = format!("process {process} is using the directory: its newest bytes may be on their way");
        if let Some(last) = reports.iter_mut().rfind(|report| report.role == Role::Live) {
            last.notes.push(note);
        }
        Ok(reports)
    }

    fn verify_snapshots(&self) -> Result<Vec<FileReport>, InspectError> {
        let entries = self.snapshots()?;
        self.progress.expect(entries.iter().map(|entry| entry.bytes).sum());
        entries.iter().map(|entry| self.verify_snapshot(entry)).collect()
    }
}

impl Ours {
    fn holder(&self) -> Option<u32> {
        if self.vol.is_alone() { None } else { inspect::holder(&self.path) }
    }

    /// The body of a snapshot, each piece checked before it is handed on.
    fn body(&self, entry: &SnapshotEntry, published: Published) -> Result<Ordered<'_>, InspectError> {
        self.progress.expect(published.body_len());
        let crcs = piece_checksums(&self.vol, &published)?;
        let mut index = 0;
        let more = move |held: &mut Vec<u8>| {
            if index == crcs.len() as u64 {
                return Ok(false);
            }
            let piece = read_piece(&self.vol, &published, &crcs, index).map_err(BodyError::Log)?;
            index += 1;
            held.extend_from_slice(&piece);
            Ok(true)
        };
        Ok(Ordered::new(&entry.file, Box::new(more)))
    }

    fn verify_snapshot(&self, entry: &SnapshotEntry) -> Result<FileReport, InspectError> {
        let dead = matches!(entry.kind, SnapshotKind::Ours { dead: true, .. });
        let role = if dead { Role::Dead } else { Role::Live };
        let mut report = FileReport::new(entry.file.clone(), entry.bytes, role);
        report.last = Some(entry.zxid);
        if dead {
            report.notes.push("a snapshot of a higher generation took its place".to_owned());
        }
        if let Some(check) = check_snapshot(&self.vol, self.name(entry), &mut |_| ())? {
            report.ranges = check.findings.iter().map(range).collect();
        }
        Ok(report)
    }
}
