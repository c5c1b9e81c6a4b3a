//! Examines directories of ours. The measure is what a node does at its start: `docs/disk.md`.

use std::fs;
use std::path::Path;

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::inspect::{self, ReadOnly};
use ringkeeper_engine::log::{Epochs, LogOptions, epochs_in};

use super::finding::{Finding, Severity};
use super::history::History;
use super::place::{self, Needs, list, name};
use crate::error::InspectError;
use crate::source::{DamagedRange, FileReport, Role, Source, has_our_form};

/// What a node removes at its start.
const WORKING: [&str; 4] = ["unfinished-snapshot", "unfinished-made-snapshot", "preparing", "creating"];
const FROM_ELSEWHERE: &str = "put it back from a copy, or save what can be kept with rkinspect log repair; a member of an \
                              ensemble can begin with an empty directory and fetch everything from the others";

/// Says what is wrong.
pub(super) fn examine(
    dir: &Path,
    source: &dyn Source,
    found: &mut Vec<Finding>,
) -> Result<History, InspectError> {
    // The kernel may hold the lock for a moment longer than the process lives.
    let holder = inspect::holder(dir).filter(|process| Path::new(&format!("/proc/{process}")).exists());
    if let Some(process) = holder {
        found.push(
            Finding::new(Severity::Info, "in-use", dir, format!("process {process} is running here"))
                .means(
                    "files change while they are looked at; what is on its way to the disk may look damaged",
                )
                .advise("nothing; to be sure of what is found, ask again when it is stopped"),
        );
    }
    let is_file = |name: &str| matches!(name, "marks" | "epochs" | "lock") || has_our_form(name);
    place::access(dir, &is_file, found)?;
    names(dir, holder.is_some(), found)?;
    databases(dir, found)?;
    let leads_on = |zxid, begins: Option<Zxid>, _| begins.is_none_or(|begins| begins <= zxid);
    let history = History::read(source, &leads_on)?;
    for (index, report) in history.log.iter().enumerate() {
        let lost_slots = report.ranges.len() > 1;
        for range in &report.ranges {
            found.push(match report.role {
                Role::Slots => slot(report, range, lost_slots),
                Role::Missing => missing(&history, index, range),
                _ => log_range(&history, index, range),
            });
        }
    }
    history.snapshot_findings(found);
    history.relations(dir, found);
    promises(dir, &history, found)?;
    let is_log = |report: &&FileReport| name(&report.file).starts_with("log.");
    let longest = history.log.iter().filter(is_log).map(|report| report.bytes).max().unwrap_or(0);
    let log_file = if longest > 0 { longest } else { LogOptions::new(0).segment_bytes };
    let prepared =
        history.log.iter().filter(|r| r.role == Role::Unused && r.bytes == log_file).count() as u64;
    let snapshot = history.snapshots.iter().rfind(|r| r.role == Role::Live).map_or(0, |r| r.bytes);
    place::space(dir, Needs { log_file, prepared, snapshot }, found)?;
    Ok(history)
}

/// Names that are none of the log's.
fn names(dir: &Path, in_use: bool, found: &mut Vec<Finding>) -> Result<(), InspectError> {
    for path in list(dir)? {
        let name = name(&path);
        if name.starts_with("damaged-") {
            found.push(
                Finding::new(Severity::Warning, "set-aside", &path, "was damaged, or of no use without what was, and was set aside")
                    .means("the server did without it, or fetched everything from the others; something changed what was written here")
                    .advise("look at the device; then remove the file, nobody looks at it"),
            );
        } else if WORKING.contains(&name) && !in_use {
            found.push(
                Finding::new(Severity::Info, "unfinished", &path, "was being written when the server ended")
                    .means("it counts for nothing")
                    .advise("nothing; the next start removes it"),
            );
        } else if name.starts_with("log.") && !has_our_form(name) {
            found.push(
                Finding::new(
                    Severity::Info,
                    "not-ours",
                    &path,
                    "is named like a log and not like one of ours",
                )
                .means("the server leaves it alone; whatever is in it is not part of the database")
                .advise("if it is of Apache ZooKeeper and its content is wanted: rkinspect import"),
            );
        } else if name == "version-2" && list(&path).is_ok_and(|below| !below.is_empty()) {
            found.push(
                Finding::new(
                    Severity::Error,
                    "apache-beside",
                    &path,
                    "is Apache ZooKeeper's, beside files of ours",
                )
                .means("it is not known which of the two is wanted, and the server does not start")
                .advise("move away the one that is not wanted; rkinspect import makes ours of Apache's"),
            );
        }
    }
    Ok(())
}

/// Whether all files are of one database.
fn databases(dir: &Path, found: &mut Vec<Finding>) -> Result<(), InspectError> {
    let databases = inspect::databases(&ReadOnly::directory(dir))?;
    let Some((first, expected)) = databases.first() else { return Ok(()) };
    for (file, database) in databases.iter().filter(|(_, database)| database != expected) {
        let what = format!("is of database {database:#x}, and {first} of {expected:#x}");
        found.push(
            Finding::new(Severity::Error, "foreign", &dir.join(file), what)
                .means("it was copied from another server's directory; the server does not start")
                .advise("move it away, and put back the one that belongs here; directories are copied only as a whole"),
        );
    }
    Ok(())
}

fn slot(report: &FileReport, range: &DamagedRange, all: bool) -> Finding {
    let marks = name(&report.file) == "marks";
    if !all {
        return History::finding(report, range, Severity::Warning, "damaged-slot")
            .means("the other slot has the value; it is all that is left of it")
            .advise("nothing at once: the server writes it again; look at the device");
    }
    lost_slots(History::finding(report, range, severity_of_lost(marks), "lost-slots"), marks)
}

fn severity_of_lost(marks: bool) -> Severity {
    if marks { Severity::Error } else { Severity::Warning }
}

/// What it means that none of the two values of such a file is left.
fn lost_slots(finding: Finding, marks: bool) -> Finding {
    match marks {
        true => finding
            .means("it is not known how far the log was acknowledged: the server does not start")
            .advise(FROM_ELSEWHERE),
        false => finding
            .means("what the server promised is lost: it starts as one that does not vote before it has caught up")
            .advise("nothing; a member of an ensemble needs a quorum of others for that. A node of its own is not concerned"),
    }
}

fn missing(history: &History, index: usize, range: &DamagedRange) -> Finding {
    let report = &history.log[index];
    let of = |severity| History::finding(report, range, severity, "missing-file");
    match name(&report.file) {
        slots @ ("marks" | "epochs") => lost_slots(of(severity_of_lost(slots == "marks")), slots == "marks"),
        file if file.starts_with("snapshot.") && history.base.is_some() => of(Severity::Warning)
            .means("the log began with it; a later one does in its place")
            .advise("nothing at once; see who removed it"),
        file if file.starts_with("log.") && history.is_past(index) => of(Severity::Warning)
            .means("no state is lost, but the log before the hole is of no use any more")
            .advise("nothing; followers that are far behind are sent a snapshot"),
        _ => of(Severity::Error)
            .means("what was acknowledged is gone: the server does not start")
            .advise(FROM_ELSEWHERE),
    }
}

fn log_range(history: &History, index: usize, range: &DamagedRange) -> Finding {
    let of = |severity, code| History::finding(&history.log[index], range, severity, code);
    if range.torn {
        let finding = of(Severity::Info, "torn-tail")
            .means("a write was in flight when the server ended; nobody was told that it is durable")
            .advise("nothing; the next start cuts it off");
        return Finding { lost: None, ..finding };
    }
    if history.is_past(index) {
        return of(Severity::Warning, "damaged-log")
            .means("no state is lost, since a snapshot has all of it; what is left before it cannot be sent to followers")
            .advise("nothing at once; look at the device, which changed what was written");
    }
    of(Severity::Error, "damaged-log")
        .means("what was acknowledged cannot be read: the server does not start, or as a member of an ensemble begins anew")
        .advise(FROM_ELSEWHERE)
}

/// Promises against the log.
fn promises(dir: &Path, history: &History, found: &mut Vec<Finding>) -> Result<(), InspectError> {
    let Some(epochs) = epochs_in(&ReadOnly::directory(dir))? else { return Ok(()) };
    let file = dir.join("epochs");
    let Epochs { accepted, current, nonvoting } = epochs;
    if nonvoting {
        found.push(
            Finding::new(Severity::Warning, "nonvoting", &file, "says that this member must not vote")
                .means("it may have forgotten what it acknowledged, and helps to elect nobody before it has caught up with a leader")
                .advise("start it beside a quorum of others. If it is the only one that has the data, see the operator's guide first"),
        );
    }
    let last = history.last.epoch();
    if current > accepted || current > Epoch(0) && last > current {
        let what =
            format!("accepted {accepted} and current {current}, and the log goes on to {}", history.last);
        found.push(
            Finding::new(Severity::Error, "epochs-contradict", &file, what)
                .means("it is older than the log beside it: the member could break a promise that it gave")
                .advise("put back the file that belongs to this log, or remove it: the member then votes only after it has caught up"),
        );
    }
    if accepted > Epoch(0) && !nonvoting && history.is_empty() && fs::metadata(dir.join("marks")).is_err() {
        found.push(
            Finding::new(
                Severity::Error,
                "lost-log",
                dir,
                format!("there are promises up to epoch {accepted}, and no log"),
            )
            .means("the log is lost: the server does not start")
            .advise(FROM_ELSEWHERE),
        );
    }
    Ok(())
}
