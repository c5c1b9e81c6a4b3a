//! `rkinspect snapshot tree`: the nodes, indented by depth.

use std::path::PathBuf;

use clap::Args;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::inspect::{Item, NodeItem};
use serde_json::json;

use super::pick;
use crate::cli::parse_zxid;
use crate::error::{FINE, InspectError};
use crate::out::{Out, Progress};
use crate::show;

/// Which part of the tree.
#[derive(Debug, Args)]
pub struct TreeArgs {
    /// Data directory or snapshot file.
    pub path: PathBuf,
    /// The snapshot of a directory with this zxid instead of the newest.
    #[arg(long, value_parser = parse_zxid)]
    pub zxid: Option<Zxid>,
    /// Begins with this node instead of the root.
    #[arg(long = "path", default_value = "/")]
    pub top: String,
    /// No more than so many levels below that.
    #[arg(long)]
    pub depth: Option<usize>,
}

/// Shows it.
pub fn tree(args: &TreeArgs, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let (source, entry) = pick(&args.path, args.zxid, progress)?;
    let mut items = source.ordered(&entry)?;
    let top = args.top.trim_end_matches('/');
    let base = top.matches('/').count();
    let most = args.depth.unwrap_or(usize::MAX);
    let mut hidden = 0u64;
    let mut found = false;
    while let Some(item) = items.next()? {
        let Item::Node(node) = item else { continue };
        if !show::is_within(node.path, top) {
            continue;
        }
        found = true;
        let depth = node.path.matches('/').count() - base;
        if depth > most {
            hidden += 1;
            continue;
        }
        tell_hidden(&mut hidden, most, out)?;
        line(&node, depth, out)?;
    }
    tell_hidden(&mut hidden, most, out)?;
    if found {
        return Ok(FINE);
    }
    Err(InspectError::NotThere { what: format!("{} has no node {}", entry.file.display(), args.top) })
}

fn line(node: &NodeItem<'_>, depth: usize, out: &mut Out<'_>) -> Result<(), InspectError> {
    let name = match node.path.rsplit_once('/') {
        Some((_, name)) if depth > 0 => show::escaped_path(name),
        _ => show::escaped_path(node.path),
    };
    let bytes = node.data.map(<[u8]>::len);
    let owner = node.stat.ephemeral_owner;
    out.line(
        || {
            let bytes = bytes.map_or_else(|| "null".to_owned(), |bytes| format!("{bytes} bytes"));
            let owner = if owner == 0 { String::new() } else { format!(", owner {owner:#x}") };
            format!("{}{name}  ({bytes}{owner})", "  ".repeat(depth))
        },
        || json!({"path": show::escaped_path(node.path), "depth": depth, "bytes": bytes, "owner": format!("{owner:#x}")}),
    )
}

/// Says how many nodes below the last one shown were too deep.
fn tell_hidden(hidden: &mut u64, depth: usize, out: &mut Out<'_>) -> Result<(), InspectError> {
    match std::mem::take(hidden) {
        0 => Ok(()),
        n => out.text(format_args!("{}... {n} below", "  ".repeat(depth + 1))),
    }
}
