//! `rkinspect export`: a state of any server becomes a data directory of Apache's.
//!
//! It is one snapshot with both trailers, so that servers of 3.8 and later read it, and the promises of the member.
//! If asked for, it is the oldest snapshot that is sound and the log behind it. What was written is read back before
//! the command says that it is done. What is exported from is never changed.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::inspect::ReadOnly;
use ringkeeper_engine::log::{Epochs, epochs_in};
use serde_json::json;

use super::import::{io, must_be_empty};
use crate::cli::parse_zxid;
use crate::error::{FINE, FOUND, InspectError};
use crate::out::{Out, Progress};
use crate::source::apache::{self, Codec, LogWriter, VERSION_2, Verdict};
use crate::source::{self, Layout, Replayed, Source};

/// What to export.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// A data directory of a server that does not run, ours or Apache's.
    #[arg(value_name = "SRC")]
    pub from: PathBuf,
    /// The new directory, to be dataDir of the new server. Must not have anything in it.
    #[arg(value_name = "DST")]
    pub to: PathBuf,
    /// The last transaction to take over; all of them if not given.
    #[arg(long = "at", value_name = "ZXID", value_parser = parse_zxid)]
    pub upto: Option<Zxid>,
    /// How to compress the snapshot. Servers of Apache read all three, whatever they write themselves.
    #[arg(long, value_enum, default_value_t = Codec::Plain)]
    pub compress: Codec,
    /// Export the log too, as far as it is there, with the snapshot that it begins with.
    #[arg(long)]
    pub with_log: bool,
}

/// Exports, and says what was made.
pub fn export(export: &Export, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    must_be_empty(&export.to)?;
    let source = source::open(&export.from, progress)?;
    let upto = export.upto.unwrap_or(Zxid::from_raw(i64::MAX));
    let state = source.state_at(upto, fastrand::u64(..))?;
    if let Some((zxid, theirs, ours)) = state.mismatch {
        out.line(
            || format!("after transaction {zxid} the digest must be {theirs:#x} and is {ours:#x}: nothing was exported"),
            || json!({"digest": "differs", "zxid": zxid.to_string()}),
        )?;
        return Ok(FOUND);
    }
    let epochs = epochs_of(&*source, state.tree.last_zxid())?;
    let dir = export.to.join(VERSION_2);
    fs::create_dir_all(&dir).map_err(io("creating", &dir))?;
    let base = if export.with_log { base(&*source, upto)? } else { None };
    let snapshot = write_snapshot(&dir, export.compress, base.as_ref().unwrap_or(&state))?;
    let mut log = None;
    if let Some(base) = &base {
        let behind = Zxid::from_raw(base.tree.last_zxid().raw() + 1);
        log = write_log(&*source, &dir, behind, upto)?;
    }
    apache::write_epochs(&dir, epochs.accepted, epochs.current)?;
    let myid = apache::myid(&export.from);
    if let Some(myid) = &myid {
        let to = export.to.join("myid");
        fs::copy(myid, &to).map_err(io("copying to", &to))?;
    }
    read_back(&export.to, &state, progress)?;
    tell(export, &state, epochs, &snapshot, log.as_deref(), out)?;
    if epochs.nonvoting {
        let what = "this server must not vote yet: what it has promised may be lost, and Apache has no way to say so";
        out.line(|| format!("WARNING: {what}"), || json!({"warning": what}))?;
    }
    Ok(FINE)
}

/// What the member has promised, never less than its log shows.
fn epochs_of(source: &dyn Source, last: Zxid) -> Result<Epochs, InspectError> {
    let said = match source.layout() {
        Layout::Apache => return apache::read_epochs(source.path(), last),
        Layout::Ours => epochs_in(&ReadOnly::directory(source.path()))?.unwrap_or_default(),
    };
    let current = said.current.max(last.epoch());
    Ok(Epochs { accepted: said.accepted.max(current), current, nonvoting: said.nonvoting })
}

/// The state of the oldest snapshot from which the log goes on to the end.
fn base(source: &dyn Source, upto: Zxid) -> Result<Option<Replayed>, InspectError> {
    for entry in source.snapshots()?.iter().filter(|entry| entry.zxid <= upto && !entry.is_dead()) {
        match source.state_at(entry.zxid, fastrand::u64(..)) {
            Ok(state) if state.tree.last_zxid() == entry.zxid && !state.tree.is_converging() => {
                return Ok(Some(state));
            }
            Ok(_)
            | Err(InspectError::Damaged { .. } | InspectError::Log(_) | InspectError::Snapshot { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // A log from the beginning continues the empty state.
    let empty = Replayed::empty(fastrand::u64(..));
    Ok(Some(empty))
}

fn write_snapshot(dir: &Path, codec: Codec, state: &Replayed) -> Result<PathBuf, InspectError> {
    let sessions: Vec<(SessionId, i32)> = state.sessions.iter().map(|(&id, &t)| (id, t)).collect();
    apache::write_snapshot(dir, codec, &state.tree, &sessions)
}

fn write_log(
    source: &dyn Source,
    dir: &Path,
    from: Zxid,
    upto: Zxid,
) -> Result<Option<PathBuf>, InspectError> {
    let mut writer: Option<LogWriter> = None;
    source.txns(from, upto, &mut |txn| {
        if writer.is_none() {
            writer = Some(LogWriter::create(dir, txn.zxid)?);
        }
        writer.as_mut().expect("it was just made").append(txn.payload)
    })?;
    writer.map(LogWriter::finish).transpose()
}

/// Rebuilds the state from what was written.
fn read_back(dir: &Path, state: &Replayed, progress: &Progress) -> Result<(), InspectError> {
    let wrong = |what: String| InspectError::Damaged { path: dir.to_owned(), offset: 0, what };
    let written = apache::open(dir, progress)?.ok_or_else(|| wrong("nothing was written".into()))?;
    let read = apache::rebuild(&written, Zxid::from_raw(i64::MAX), fastrand::u64(..))?;
    let same = read.state.tree.digest() == state.tree.digest()
        && read.state.tree.last_zxid() == state.tree.last_zxid()
        && read.state.tree.node_count() == state.tree.node_count()
        && read.state.sessions == state.sessions;
    match read.verdict {
        Verdict::Differs { zxid, .. } => Err(wrong(format!("the digest after {zxid} is another one"))),
        _ if !same => Err(wrong("what was written is not what is read back".into())),
        _ => Ok(()),
    }
}

fn tell(
    export: &Export,
    state: &Replayed,
    epochs: Epochs,
    snapshot: &Path,
    log: Option<&Path>,
    out: &mut Out<'_>,
) -> Result<(), InspectError> {
    let (zxid, digest) = (state.tree.last_zxid(), state.tree.digest());
    let (nodes, sessions) = (state.tree.node_count() - 1, state.sessions.len());
    for file in [Some(snapshot), log].into_iter().flatten() {
        out.text(file.display())?;
    }
    out.line(
        || {
            let (to, Epochs { accepted, current, .. }) = (export.to.display(), epochs);
            format!(
                "{to}: {nodes} nodes and {sessions} sessions after {zxid}, digest {digest:#x}, accepted epoch \
                 {accepted}, current epoch {current}"
            )
        },
        || {
            json!({
                "made": export.to, "snapshot": snapshot, "log": log, "zxid": zxid.to_string(), "nodes": nodes,
                "sessions": sessions, "digest": format!("{digest:#x}"), "acceptedEpoch": epochs.accepted.0,
                "currentEpoch": epochs.current.0,
            })
        },
    )
}
