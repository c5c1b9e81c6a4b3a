//! `rkinspect snapshot tree`: the nodes, indented by depth.

use std::path::PathBuf;

use clap::Args;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::inspect::{Item, NodeItem};
use serde_json::{Value, json};

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
    let mut shown = Indented::new(&args.top, args.depth);
    while let Some(item) = items.next()? {
        let Item::Node(node) = item else { continue };
        if let Some(depth) = shown.depth(node.path, out)? {
            out.line(|| text(&node, depth), || object(&node, depth))?;
        }
    }
    if shown.finish(out)? {
        return Ok(FINE);
    }
    Err(InspectError::NotThere { what: format!("{} has no node {}", entry.file.display(), args.top) })
}

/// Which nodes of a walk are shown, and how far to the right.
#[derive(Debug)]
pub struct Indented<'t> {
    top: &'t str,
    most: usize,
    /// Nodes below the last one shown that are too deep.
    hidden: u64,
    found: bool,
}

impl<'t> Indented<'t> {
    /// Those of `top` and below, no more than `depth` levels if that is given.
    pub fn new(top: &'t str, depth: Option<usize>) -> Indented<'t> {
        let (top, most) = (top.trim_end_matches('/'), depth.unwrap_or(usize::MAX));
        Indented { top, most, hidden: 0, found: false }
    }

    /// The depth of the next node of the walk, if it is to be shown.
    pub fn depth(&mut self, path: &str, out: &mut Out<'_>) -> Result<Option<usize>, InspectError> {
        if !show::is_within(path, self.top) {
            return Ok(None);
        }
        self.found = true;
        let depth = path[self.top.len()..].matches('/').count();
        if depth > self.most {
            self.hidden += 1;
            return Ok(None);
        }
        self.tell_hidden(out)?;
        Ok(Some(depth))
    }

    /// Behind the last node. Whether there was any.
    pub fn finish(mut self, out: &mut Out<'_>) -> Result<bool, InspectError> {
        self.tell_hidden(out)?;
        Ok(self.found)
    }

    fn tell_hidden(&mut self, out: &mut Out<'_>) -> Result<(), InspectError> {
        match std::mem::take(&mut self.hidden) {
            0 => Ok(()),
            n => out.text(format_args!("{}... {n} below", "  ".repeat(self.most + 1))),
        }
    }
}

/// A node on its line.
pub(in crate::cmd) fn text(node: &NodeItem<'_>, depth: usize) -> String {
    let name = match node.path.rsplit_once('/') {
        Some((_, name)) if depth > 0 => show::escaped_path(name),
        _ => show::escaped_path(node.path),
    };
    let bytes = node.data.map_or_else(|| "null".to_owned(), |data| format!("{} bytes", data.len()));
    let owner = match node.stat.ephemeral_owner {
        0 => String::new(),
        owner => format!(", owner {owner:#x}"),
    };
    format!("{}{name}  ({bytes}{owner})", "  ".repeat(depth))
}

fn object(node: &NodeItem<'_>, depth: usize) -> Value {
    json!({
        "path": show::escaped_path(node.path),
        "depth": depth,
        "bytes": node.data.map(<[u8]>::len),
        "owner": format!("{:#x}", node.stat.ephemeral_owner),
    })
}
