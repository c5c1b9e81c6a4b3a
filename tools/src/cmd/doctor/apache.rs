//! Examines directories of Apache's. The measure is what its server does at its start, and what ours wants of it.

use std::fs;
use std::path::Path;

use ringkeeper_engine::id::{Epoch, Zxid};

use super::finding::{Finding, Severity};
use super::history::History;
use super::place::{self, Needs, list, name};
use crate::error::InspectError;
use crate::source::apache::{Name, VERSION_2, follows, myid, read_epochs};
use crate::source::{DamagedRange, FileReport, Role, Source};

/// `preAllocSize` if nothing is configured.
const LOG_FILE: u64 = 64 << 20;
const PROMISES: [&str; 2] = ["acceptedEpoch", "currentEpoch"];
const FROM_ELSEWHERE: &str = "put it back from a copy; a member of an ensemble can begin with an empty directory and fetch \
                              everything from the others. rkinspect import --at takes over what lies before it";

/// Says what is wrong.
pub(super) fn examine(
    dir: &Path,
    source: &dyn Source,
    found: &mut Vec<Finding>,
) -> Result<History, InspectError> {
    let below = dir.join(VERSION_2);
    let files = if below.is_dir() { &below } else { dir };
    let is_file = |name: &str| Name::parse(name).is_some() || PROMISES.contains(&name);
    place::access(files, &is_file, found)?;
    stray(files, found)?;
    // Its logs do not say what is before them: behind a snapshot the next transaction must follow.
    let leads_on = |zxid, _, first: Option<Zxid>| first.is_none_or(|first| follows(zxid, first));
    let mut history = History::read(source, &leads_on)?;
    let first = history.log.iter().find_map(|report| report.first);
    history.begins = first.map(|first| Zxid::from_raw(first.raw() - 1));
    if history.usable.is_empty() && !history.log.is_empty() {
        history.base = None;
    }
    let newest = history.log.len().saturating_sub(1);
    for (index, report) in history.log.iter().enumerate() {
        for range in &report.ranges {
            found.push(log_range(&history, index, index == newest, range));
        }
    }
    history.snapshot_findings(found);
    snapshots(files, &history, found);
    if !history.snapshots.is_empty() {
        history.relations(files, found);
    }
    promises(dir, files, &history, found);
    let snapshot = history.snapshots.last().map_or(0, |report| report.bytes);
    place::space(files, Needs { log_file: LOG_FILE, prepared: 0, snapshot }, found)?;
    Ok(history)
}

/// Names that mislead.
fn stray(files: &Path, found: &mut Vec<Finding>) -> Result<(), InspectError> {
    for path in list(files)?.iter().filter(|path| path.is_file()) {
        let name = name(path);
        let is_like = name.starts_with("log.") || name.starts_with("snapshot.");
        if is_like && Name::parse(name).is_none() {
            found.push(
                Finding::new(Severity::Warning, "stray-name", path, "is named almost like a log or snapshot")
                    .means("Apache's server may take it for one, and its purge removes it; neither ours nor this command looks at it")
                    .advise("move it away"),
            );
        } else if PROMISES.iter().any(|promise| name.strip_suffix(".tmp") == Some(*promise)) {
            found.push(
                Finding::new(Severity::Info, "unfinished", path, "was being written when the server ended")
                    .means("it counts only where the log is ahead of the epoch that is in force"),
            );
        }
    }
    Ok(())
}

fn log_range(history: &History, index: usize, newest: bool, range: &DamagedRange) -> Finding {
    let report = &history.log[index];
    let of = |severity, code| History::finding(report, range, severity, code);
    if range.torn {
        let finding = of(Severity::Info, "torn-tail")
            .means("a write was in flight when the server ended; nothing behind it is missing")
            .advise("nothing; the server reads up to there and goes on in another file");
        return Finding { lost: None, ..finding };
    }
    if report.bytes == 0 && report.role == Role::Live && newest {
        return of(Severity::Warning, "empty-log")
            .means("nothing is lost; servers before 3.9.3 do not start with it")
            .advise("remove the file");
    }
    if history.is_past(index) {
        let code = if report.role == Role::Missing { "missing-file" } else { "damaged-log" };
        return of(Severity::Warning, code)
            .means("no state is lost, since a snapshot has all of it")
            .advise("nothing at once; look at the device, or see who removed it");
    }
    match report.role {
        Role::Missing => of(Severity::Error, "missing-file")
            .means("Apache's server does not notice and serves a state that never was")
            .advise(FROM_ELSEWHERE),
        _ => of(Severity::Error, "damaged-log")
            .means("Apache's server does not start, or ends the log there without a word")
            .advise(FROM_ELSEWHERE),
    }
}

/// What must be beside snapshots.
fn snapshots(files: &Path, history: &History, found: &mut Vec<Finding>) {
    let is_sound = |report: &&FileReport| !report.is_damaged();
    if history.snapshots.is_empty() {
        found.push(
            Finding::new(Severity::Error, "no-snapshot", files, "there are logs and there is no snapshot")
                .means("Apache's server refuses to start (snapshot.trust.empty); a first start always leaves snapshot.0")
                .advise("put the snapshots back; if logs and snapshots have directories of their own, examine dataDir"),
        );
    }
    let Some(newest) = history.snapshots.iter().rfind(is_sound) else { return };
    let Some(through) = newest.needs_through.filter(|&through| through > last_of_log(history)) else {
        return;
    };
    let what = format!(
        "was written while transactions up to {through} were applied, and the log ends with {}",
        last_of_log(history)
    );
    found.push(
        Finding::new(Severity::Error, "fuzzy-snapshot", &newest.file, what)
            .means("it holds a part of what came behind it, and the log that would complete it is not there: the state is none that ever was")
            .advise("put the log back; if logs have a directory of their own, examine the two together, in one directory"),
    );
}

fn last_of_log(history: &History) -> Zxid {
    history.log.iter().filter_map(|report| report.last).max().unwrap_or(Zxid::ZERO)
}

/// Promises against the log, and who the member is.
fn promises(dir: &Path, files: &Path, history: &History, found: &mut Vec<Finding>) {
    let there = PROMISES.map(|name| fs::metadata(files.join(name)).is_ok());
    if let Err(error) = read_epochs(dir, history.last) {
        found.push(
            Finding::new(Severity::Error, "epochs-contradict", files, error.to_string())
                .means("the server does not start")
                .advise("put back the files that belong to this log; the epochs are in the upper half of the zxids"),
        );
    }
    let is_member = there.contains(&true);
    for (name, there) in PROMISES.iter().zip(there) {
        if there || !is_member && history.last.epoch() == Epoch(0) {
            continue;
        }
        found.push(
            Finding::new(Severity::Warning, "missing-promise", &files.join(name), "is not there")
                .means(format!(
                    "a member takes {} for it, and may break what it promised since",
                    history.last.epoch()
                ))
                .advise(
                    "put it back if there is a copy; else start the member only beside a quorum of others",
                ),
        );
    }
    if is_member && myid(dir).is_none() {
        found.push(
            Finding::new(
                Severity::Warning,
                "missing-myid",
                dir,
                "there are promises of a member and no myid",
            )
            .means("no member of an ensemble starts without it")
            .advise("write the number of its server.N line into it"),
        );
    }
}
