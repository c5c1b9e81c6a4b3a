//! Log and snapshots together: with which state the server begins, whether the log goes on behind it, and what each
//! damaged range costs.
//!
//! What lies before the newest snapshot that is sound costs no state: only followers who come late would have wanted
//! it.

use std::path::Path;

use ringkeeper_engine::id::Zxid;

use super::finding::{Finding, Severity};
use crate::error::InspectError;
use crate::source::{DamagedRange, FileReport, Role, Source};

/// Transactions that take so long to replay that snapshots cannot be made as they should.
const LONG_TXNS: u64 = 1_000_000;
/// The same in bytes: the default of snapSizeLimitInKb.
const LONG_BYTES: u64 = 4 << 30;
/// With so many transactions behind the only snapshot there should have been another one: the default of snapCount.
const SNAPSHOT_EVERY: u64 = 100_000;

/// What there is.
#[derive(Debug)]
pub(super) struct History {
    pub log: Vec<FileReport>,
    pub snapshots: Vec<FileReport>,
    /// Behind which the state begins; zero: with nothing. `None` if there is no way to any state.
    pub base: Option<Zxid>,
    /// Snapshots from which the end can be reached as far as snapshots go.
    pub usable: Vec<Zxid>,
    /// Transactions of the log, and bytes of them, behind the base.
    pub behind: (u64, u64),
    /// The last transaction that is known.
    pub last: Zxid,
    /// The transaction behind which the log begins, if there is a log.
    pub begins: Option<Zxid>,
}

/// For each snapshot the first transaction of the log behind it.
type Next = (Zxid, Option<Zxid>);

impl History {
    /// Reads everything. `leads_on` says whether the log can be used behind a snapshot, from where it begins and the
    /// first transaction that it has behind that.
    pub fn read(
        source: &dyn Source,
        leads_on: &dyn Fn(Zxid, Option<Zxid>, Option<Zxid>) -> bool,
    ) -> Result<History, InspectError> {
        let snapshots = source.verify_snapshots()?;
        let sound = |report: &&FileReport| report.role == Role::Live && !report.is_damaged();
        // With what each holds: behind it, behind the one before it, ...
        let mut next: Vec<Next> =
            snapshots.iter().filter(sound).filter_map(|r| Some((r.last?, None))).collect();
        next.push((Zxid::ZERO, None));
        next.sort_unstable();
        next.dedup();
        let mut sizes: Vec<(u64, u64)> = vec![(0, 0); next.len()];
        let mut last = Zxid::ZERO;
        let log = source.scan_log(&mut |txn| {
            let after = next.partition_point(|(zxid, _)| *zxid < txn.zxid);
            for (_, first) in next[..after].iter_mut().rev().take_while(|(_, first)| first.is_none()) {
                *first = Some(txn.zxid);
            }
            if let Some((txns, bytes)) = after.checked_sub(1).map(|index| &mut sizes[index]) {
                (*txns, *bytes) = (*txns + 1, *bytes + txn.payload.len() as u64);
            }
            last = last.max(txn.zxid);
            Ok(())
        })?;
        let begins = source.begins_behind()?;
        let has_snapshot = |zxid: Zxid| snapshots.iter().filter(sound).any(|r| r.last == Some(zxid));
        let leads = |&&(zxid, first): &&Next| leads_on(zxid, begins, first);
        let usable: Vec<Zxid> =
            next.iter().filter(leads).map(|(zxid, _)| *zxid).filter(|&zxid| has_snapshot(zxid)).collect();
        let from_nothing = next.first().filter(leads).map(|_| Zxid::ZERO);
        let base = usable.last().copied().or(from_nothing);
        let of_base = base.map_or(next.len(), |base| next.partition_point(|(zxid, _)| *zxid < base));
        let behind = sizes[of_base..].iter().fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
        let named = next.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        Ok(History { log, snapshots, base, usable, behind, last: last.max(named), begins })
    }

    /// Whether there is anything at all.
    pub fn is_empty(&self) -> bool {
        let is_log = |report: &FileReport| matches!(report.role, Role::Live | Role::Missing);
        self.snapshots.is_empty() && !self.log.iter().any(is_log)
    }

    /// Whether the state can be built without the log file at this place: all of it is in the base, and another one goes
    /// on behind it.
    pub fn is_past(&self, index: usize) -> bool {
        let report = &self.log[index];
        let lost = report.ranges.iter().filter_map(|range| range.lost?.through);
        let Some((top, base)) = report.last.into_iter().chain(lost).max().zip(self.base) else {
            return false;
        };
        let goes_on =
            |other: &FileReport| other.role == Role::Live && other.first.is_some_and(|first| first > top);
        top <= base && (report.role == Role::Missing || self.log.iter().any(goes_on))
    }

    /// What is to be said of a damaged range, but for how bad it is and what to do.
    pub fn finding(
        report: &FileReport,
        range: &DamagedRange,
        severity: Severity,
        code: &'static str,
    ) -> Finding {
        let detail = if range.detail.is_empty() { String::new() } else { format!(" ({})", range.detail) };
        let what = format!("{}{detail}", range.what);
        let bytes = (report.role != Role::Missing).then_some((range.start, range.end));
        Finding { range: bytes, lost: range.lost, ..Finding::new(severity, code, &report.file, what) }
    }

    /// What is damaged in snapshots.
    pub fn snapshot_findings(&self, found: &mut Vec<Finding>) {
        for report in &self.snapshots {
            for range in &report.ranges {
                let (severity, meaning, advice) = match (report.role, self.base) {
                    (Role::Dead, _) => {
                        (Severity::Info, "nothing: another one took its place".to_owned(), "nothing; it may be removed")
                    }
                    (_, Some(base)) => (
                        Severity::Warning,
                        format!("no state is lost: the server begins with the state after {base} and the log behind it"),
                        "nothing at once: the next start does without it; look at the device, which changed what was written",
                    ),
                    (_, None) => (
                        Severity::Error,
                        "there is no other snapshot that the log reaches back to, so that no state can be built".to_owned(),
                        "put the file back from a copy; a member of an ensemble can begin with an empty directory and \
                         fetch everything from the others",
                    ),
                };
                let finding = History::finding(report, range, severity, "damaged-snapshot");
                found.push(finding.means(meaning).advise(advice));
            }
        }
    }

    /// What is wrong between snapshots and log where both are sound.
    pub fn relations(&self, dir: &Path, found: &mut Vec<Finding>) {
        let (txns, bytes) = self.behind;
        let Some(base) = self.base else {
            // What is damaged or missing says it better.
            let said = found.iter().any(|finding| finding.severity == Severity::Error);
            if !self.is_empty() && !said {
                found.push(self.no_state(dir));
            }
            return;
        };
        // Where the log is damaged, that was said.
        let whole = !self.log.iter().any(FileReport::is_damaged);
        let sound = self.snapshots.iter().filter(|r| whole && r.role == Role::Live && !r.is_damaged());
        for report in sound.filter(|report| report.last.is_some_and(|zxid| !self.usable.contains(&zxid))) {
            let what = match self.begins.filter(|&begins| report.last < Some(begins)) {
                Some(begins) => format!("the log begins behind {begins}"),
                None => "the log does not go on behind it".to_owned(),
            };
            found.push(
                Finding::new(Severity::Info, "old-snapshot", &report.file, what)
                    .means("no state can begin with it; the server uses a later one")
                    .advise("nothing; it may be removed"),
            );
        }
        if txns > LONG_TXNS || bytes > LONG_BYTES {
            let what = format!(
                "{txns} transactions of {bytes} bytes lie behind the newest usable state, after {base}"
            );
            found.push(
                Finding::new(Severity::Warning, "long-replay", dir, what)
                    .means("a start has to replay them all, and snapshots are not made as they should be")
                    .advise("see why: low space, snapCount and snapSizeLimitInKb in the configuration, errors in the server's log"),
            );
        }
        let reaches_back = self.begins.is_none_or(|begins| begins < base);
        if self.usable.len() == 1 && !reaches_back && txns > SNAPSHOT_EVERY {
            found.push(
                Finding::new(
                    Severity::Info,
                    "only-snapshot",
                    dir,
                    format!("the snapshot after {base} is the only one, with {txns} transactions behind it"),
                )
                .means("damage of it would cost everything that this directory has")
                .advise("let the server make another one"),
            );
        }
    }

    fn no_state(&self, dir: &Path) -> Finding {
        let sound = self.snapshots.iter().filter(|r| r.role == Role::Live && !r.is_damaged());
        let newest = sound.filter_map(|report| report.last).max();
        let snapshots = match newest {
            Some(newest) => format!("the newest sound snapshot is of {newest}"),
            None => "there is no sound snapshot".to_owned(),
        };
        let log = match self.begins {
            Some(begins) => format!("the log begins behind {begins}"),
            None => "the log does not begin where it must".to_owned(),
        };
        Finding::new(Severity::Error, "no-state", dir, format!("{log}, and {snapshots}"))
            .means("what came before the log cannot be known: no state can be built, and the server does not start")
            .advise(
                "put back what is missing from a copy; a member of an ensemble can begin with an empty directory and \
                 fetch everything from the others",
            )
    }
}
