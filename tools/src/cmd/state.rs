//! `rkinspect state`: sessions and nodes after any transaction that snapshots and log reach.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::inspect::{Item, NodeItem};
use ringkeeper_engine::snapshot::Loaded;
use serde_json::{Value, json};

use super::reach;
use super::snapshot::{self, Indented};
use crate::cli::parse_zxid;
use crate::error::{FINE, FOUND, InspectError};
use crate::out::{Out, Progress};
use crate::show::{self, Data};
use crate::source::{self, Ordered, Replayed};

/// Which state, and which part of it.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// Data directory.
    pub dir: PathBuf,
    /// The state after this transaction, as 0x... or decimal; the last one if not given.
    #[arg(long, value_parser = parse_zxid)]
    pub at: Option<Zxid>,
    /// Begins with this node instead of the root.
    #[arg(long = "path", default_value = "/")]
    pub top: String,
    /// No more than so many levels below that.
    #[arg(long)]
    pub depth: Option<usize>,
    /// Shows data too, as text with escapes or in hexadecimal. JSON always has them.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub data: Option<Data>,
}

/// Shows it.
pub fn state(args: &StateArgs, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let source = source::open(&args.dir, progress)?;
    let state = reach::state(&*source, args.at)?;
    progress.clear();
    let code = if state.mismatch.is_some() { FOUND } else { FINE };
    origin(&state, out)?;
    if args.top.trim_end_matches('/').is_empty() {
        sessions(&state, out)?;
    }
    let last = state.tree.last_zxid();
    let loaded = Loaded { tree: state.tree, sessions: Vec::new() };
    let mut items = Ordered::of(&args.dir, loaded);
    let mut acls = HashMap::new();
    let mut shown = Indented::new(&args.top, args.depth);
    while let Some(item) = items.next()? {
        match item {
            Item::Session { .. } => {}
            Item::Acl { number, list } => drop(acls.insert(number, show::acl_text(&list))),
            Item::Node(node) => {
                if let Some(depth) = shown.depth(node.path, out)? {
                    let acl = acls.get(&node.acl).map_or("open", String::as_str);
                    out.line(|| text(&node, depth, args.data), || object(&node, acl))?;
                }
            }
        }
    }
    if shown.finish(out)? {
        return Ok(code);
    }
    Err(InspectError::NotThere { what: format!("there is no node {} after {last}", args.top) })
}

/// Says which state it is and what it was made of.
fn origin(state: &Replayed, out: &mut Out<'_>) -> Result<(), InspectError> {
    let Replayed { tree, base, from, applied, .. } = state;
    let last = tree.last_zxid();
    out.line(
        || {
            let from = match from {
                Some(file) => format!("{} (state after {base})", file.display()),
                None => "the beginning".to_owned(),
            };
            format!("state after {last}: {from} and {applied} transactions behind it")
        },
        || {
            let mismatch = state.mismatch.map(|(zxid, theirs, ours)| {
                json!({"zxid": zxid.to_string(), "theirs": format!("{theirs:#x}"), "ours": format!("{ours:#x}")})
            });
            json!({
                "zxid": last.to_string(),
                "snapshot": from,
                "base": base.to_string(),
                "applied": applied,
                "passed_over": state.passed_over,
                // The root has two names.
                "nodes": tree.node_count() - 1,
                "sessions": state.sessions.len(),
                "digest": format!("{:#x}", tree.digest()),
                "certain": !tree.is_converging(),
                "mismatch": mismatch,
            })
        },
    )?;
    for why in &state.passed_over {
        out.text(format_args!("  not used: {why}"))?;
    }
    if let Some((zxid, theirs, ours)) = state.mismatch {
        out.text(format_args!(
            "  DIFFERS: after transaction {zxid} the digest must be {theirs:#x} and is {ours:#x}: this is not the state \
             that was served"
        ))?;
    }
    if tree.is_converging() {
        out.text(
            "  not certain: the snapshot was written while the state changed, and no digest behind it vouches for all \
             of it",
        )?;
    }
    Ok(())
}

fn sessions(state: &Replayed, out: &mut Out<'_>) -> Result<(), InspectError> {
    for (&id, &timeout) in &state.sessions {
        let ephemerals = state.tree.ephemerals_of(id).count();
        out.line(
            || format!("session {id} timeout {timeout} ms, {ephemerals} ephemerals"),
            || json!({"session": id.to_string(), "timeout": timeout, "ephemerals": ephemerals}),
        )?;
    }
    Ok(())
}

fn text(node: &NodeItem<'_>, depth: usize, data: Option<Data>) -> String {
    let line = snapshot::text(node, depth);
    match (data, node.data) {
        (Some(how), Some(bytes)) => format!("{line} {}", how.show(bytes)),
        _ => line,
    }
}

/// With all of the node: data that are text as they are, others in base 64.
fn object(node: &NodeItem<'_>, acl: &str) -> Value {
    let mut object = snapshot::object(node, acl, None);
    let Some(bytes) = node.data else { return object };
    match std::str::from_utf8(bytes) {
        Ok(text) => object["data"] = json!(text),
        Err(_) => object["data_base64"] = json!(BASE64_STANDARD.encode(bytes)),
    }
    object
}
