//! `rkinspect import`: a data directory of Apache's becomes one of ours.
//!
//! The state is rebuilt as the reference would at its start, with every digest compared, and becomes a snapshot behind
//! which our log begins, with the promises of the member. It is made in a directory of its own below the new one, read
//! back, and moved to its place in an order in which no server can take half of it for all: the file without which a
//! log does not open comes last. What is imported from is never changed.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::io::{FsVolume, VolumeError};
use ringkeeper_engine::log::{Epochs, Log, LogOptions};
use ringkeeper_engine::store::{self, OnDamage, StoreError};
use ringkeeper_engine::tree::{NodeKind, Tree};
use serde_json::json;

use crate::cli::parse_zxid;
use crate::error::{FINE, FOUND, InspectError};
use crate::out::{Out, Progress};
use crate::source::apache::{self, Rebuilt, Verdict};

/// Where the directory is made, below its place.
const UNFINISHED: &str = "unfinished-import";
/// Without it the log does not open.
const LAST: &str = "marks";
/// Bytes of the first segments. Those that the server makes have the length of its settings.
const SEGMENT: u64 = 16 << 20;

/// What to import.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// dataDir (or version-2) of an Apache server that does not run.
    #[arg(value_name = "SRC")]
    pub from: PathBuf,
    /// The new directory, to be dataDir of the new server, or dataLogDir if that is set. Must not have anything in it.
    #[arg(value_name = "DST")]
    pub to: PathBuf,
    /// dataLogDir of the Apache server, if that is not its dataDir.
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
    /// The last transaction to take over; all of them if not given.
    #[arg(long = "at", value_name = "ZXID", value_parser = parse_zxid)]
    pub upto: Option<Zxid>,
}

/// Imports, and says what was found and made.
pub fn import(import: &Import, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    must_be_empty(&import.to)?;
    let not_there = || InspectError::NotOurs {
        path: import.from.clone(),
        why: "there are no files log.<zxid> or snapshot.<zxid>, nor below version-2",
    };
    let mut source = apache::open(&import.from, progress)?.ok_or_else(not_there)?;
    if let Some(logs) = &import.logs {
        source = source.with_logs_of(logs)?;
    }
    let upto = import.upto.unwrap_or(Zxid::from_raw(i64::MAX));
    let rebuilt = apache::rebuild(&source, upto, fastrand::u64(..))?;
    tell_found(&rebuilt, out)?;
    if let Verdict::Differs { .. } = rebuilt.verdict {
        out.text("nothing was imported")?;
        return Ok(FOUND);
    }
    let epochs = apache::read_epochs(&import.from, rebuilt.state.tree.last_zxid())?;
    let sessions: Vec<(SessionId, i32)> = rebuilt.state.sessions.iter().map(|(&id, &t)| (id, t)).collect();
    let unfinished = import.to.join(UNFINISHED);
    make(&unfinished, &rebuilt.state.tree, &sessions, epochs)?;
    read_back(&unfinished, &rebuilt.state.tree, &sessions)?;
    move_up(&unfinished, &import.to)?;
    let myid = apache::myid(&import.from);
    if let Some(myid) = &myid {
        let to = import.to.join("myid");
        fs::copy(myid, &to).map_err(io("copying to", &to))?;
    }
    let (zxid, digest) = (rebuilt.state.tree.last_zxid(), rebuilt.state.tree.digest());
    let nodes = rebuilt.state.tree.node_count() - 1;
    out.line(
        || {
            let Epochs { accepted, current, .. } = epochs;
            let myid = if myid.is_some() { "; myid was copied" } else { "" };
            let (to, sessions) = (import.to.display(), sessions.len());
            format!(
                "{to}: {nodes} nodes and {sessions} sessions after {zxid}, digest {digest:#x}, accepted epoch \
                 {accepted}, current epoch {current}{myid}"
            )
        },
        || {
            json!({
                "made": import.to, "zxid": zxid.to_string(), "nodes": nodes, "sessions": sessions.len(),
                "digest": format!("{digest:#x}"), "acceptedEpoch": epochs.accepted.0,
                "currentEpoch": epochs.current.0, "myid": myid.is_some(),
            })
        },
    )?;
    Ok(FINE)
}

/// Refuses a directory that has anything in it.
pub(super) fn must_be_empty(dir: &Path) -> Result<(), InspectError> {
    let is_empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(io("listing", dir)(error)),
    };
    if is_empty {
        return Ok(());
    }
    let what = format!("{} is not empty: what is made here is always new", dir.display());
    Err(InspectError::NotThere { what })
}

fn tell_found(rebuilt: &Rebuilt, out: &mut Out<'_>) -> Result<(), InspectError> {
    for why in &rebuilt.passed_over {
        out.line(|| format!("passed over {why}"), || json!({"passedOver": why}))?;
    }
    let (from, applied) = (rebuilt.from.as_ref().map(|entry| entry.file.as_path()), rebuilt.state.applied);
    let zxid = rebuilt.state.tree.last_zxid();
    out.line(
        || match from {
            Some(file) => format!("{} and {applied} transactions behind it, up to {zxid}", file.display()),
            None => format!("no snapshot, and {applied} transactions from the beginning, up to {zxid}"),
        },
        || json!({"snapshot": from, "applied": applied, "zxid": zxid.to_string()}),
    )?;
    out.line(|| verdict_text(rebuilt.verdict), || verdict_json(rebuilt.verdict))?;
    let orphans = orphans(rebuilt);
    if orphans > 0 {
        out.line(
            || format!("{orphans} ephemeral nodes are of sessions that are not there, and stay"),
            || json!({"orphans": orphans}),
        )?;
    }
    Ok(())
}

fn verdict_text(verdict: Verdict) -> String {
    match verdict {
        Verdict::Agrees { zxid, digest } => format!("digest {digest:#x} is that of transaction {zxid}"),
        Verdict::Differs { zxid, theirs, ours } => {
            format!("after transaction {zxid} the digest must be {theirs:#x} and is {ours:#x}")
        }
        Verdict::Untold => "neither snapshot nor log say a digest: nothing to compare with".into(),
    }
}

fn verdict_json(verdict: Verdict) -> serde_json::Value {
    match verdict {
        Verdict::Agrees { zxid, digest } => {
            json!({"digest": "agrees", "zxid": zxid.to_string(), "value": format!("{digest:#x}")})
        }
        Verdict::Differs { zxid, theirs, ours } => json!({
            "digest": "differs", "zxid": zxid.to_string(), "theirs": format!("{theirs:#x}"),
            "ours": format!("{ours:#x}"),
        }),
        Verdict::Untold => json!({"digest": "untold"}),
    }
}

/// Ephemeral nodes whose sessions are not in the table. The reference deletes them when it starts.
fn orphans(rebuilt: &Rebuilt) -> usize {
    let tree = &rebuilt.state.tree;
    let mut pending: Vec<_> = tree.find("/").into_iter().collect();
    let mut found = 0;
    while let Some(id) = pending.pop() {
        let node = tree.node(id);
        if let NodeKind::Ephemeral(session) = node.kind()
            && !rebuilt.state.sessions.contains_key(&session)
        {
            found += 1;
        }
        pending.extend(node.children());
    }
    found
}

/// Makes a data directory of ours that begins with this state.
fn make(dir: &Path, tree: &Tree, sessions: &[(SessionId, i32)], epochs: Epochs) -> Result<(), InspectError> {
    let volume = open_volume(dir)?;
    let (mut log, _) = Log::open(&volume, options(), &mut |_, _| Ok(()))?;
    log.prepare(&volume)?;
    log.set_epochs(&volume, epochs)?;
    log.restart_behind(&volume, tree, sessions)?;
    log.close(&volume)?;
    Ok(())
}

/// Opens it as the server will.
fn read_back(dir: &Path, tree: &Tree, sessions: &[(SessionId, i32)]) -> Result<(), InspectError> {
    let volume = open_volume(dir)?;
    let opened = store::open(&volume, options(), fastrand::u64(..), OnDamage::Refuse);
    let store = opened.map_err(|error| match error {
        StoreError::Log(error) => InspectError::from(error),
        other => wrong(dir, other.to_string()),
    })?;
    let same = store.tree.digest() == tree.digest()
        && store.tree.last_zxid() == tree.last_zxid()
        && store.tree.node_count() == tree.node_count()
        && store.sessions == sessions;
    if !same {
        return Err(wrong(dir, "what was written is not what is read back".into()));
    }
    store.log.close(&volume)?;
    Ok(())
}

fn wrong(dir: &Path, what: String) -> InspectError {
    InspectError::Damaged { path: dir.to_owned(), offset: 0, what }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: SEGMENT, ..LogOptions::new(fastrand::u64(..)) }
}

fn open_volume(dir: &Path) -> Result<FsVolume, InspectError> {
    FsVolume::open(dir).map_err(|error| match error {
        VolumeError::Io { doing, path, source } => InspectError::Io { doing, path, source },
        locked @ VolumeError::Locked { .. } => wrong(dir, locked.to_string()),
    })
}

/// Moves the files to their place, the one without which a log does not open last.
fn move_up(from: &Path, to: &Path) -> Result<(), InspectError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(io("listing", from))? {
        names.push(entry.map_err(io("listing", from))?.file_name());
    }
    names.sort_by_key(|name| name == LAST);
    for name in names {
        if name == LAST {
            flush(to)?;
        }
        let target = to.join(&name);
        fs::rename(from.join(&name), &target).map_err(io("moving to", &target))?;
    }
    fs::remove_dir(from).map_err(io("removing", from))?;
    flush(to)
}

fn flush(dir: &Path) -> Result<(), InspectError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("flushing", dir))
}

pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> InspectError + use<> {
    let path = path.to_owned();
    move |source| InspectError::Io { doing, path, source }
}
