//! `rkinspect snapshot dump`: one line per session, access control list and node.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::inspect::{Item, NodeItem};
use serde_json::{Value, json};

use super::pick;
use crate::cli::parse_zxid;
use crate::error::{FINE, InspectError};
use crate::out::{Out, Progress};
use crate::show::{self, Data};

/// Which nodes, and how.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Data directory or snapshot file.
    pub path: PathBuf,
    /// The snapshot of a directory with this zxid instead of the newest.
    #[arg(long, value_parser = parse_zxid)]
    pub zxid: Option<Zxid>,
    /// Only the node of this path and those below it.
    #[arg(long = "path")]
    pub top: Option<String>,
    /// Shows data too, as text with escapes or in hexadecimal.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub data: Option<Data>,
}

/// Shows them in the order of the file.
pub fn dump(args: &DumpArgs, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let (source, entry) = pick(&args.path, args.zxid, progress)?;
    let mut acls = HashMap::new();
    source.items(&entry, &mut |item| match item {
        Item::Session { .. } if args.top.is_some() => Ok(()),
        Item::Session { id, timeout } => out.line(
            || format!("session {:#x} timeout {timeout} ms", id.0),
            || json!({"session": format!("{:#x}", id.0), "timeout": timeout}),
        ),
        Item::Acl { number, list } => {
            acls.insert(number, show::acl_text(&list));
            Ok(())
        }
        Item::Node(node) if args.top.as_ref().is_some_and(|top| !show::is_within(node.path, top)) => Ok(()),
        Item::Node(node) => {
            let acl = acls.get(&node.acl).map_or("open", String::as_str);
            out.line(|| text(&node, acl, args.data), || object(&node, acl, args.data))
        }
    })?;
    Ok(FINE)
}

fn text(node: &NodeItem<'_>, acl: &str, data: Option<Data>) -> String {
    let stat = &node.stat;
    let bytes = node.data.map_or_else(|| "null".to_owned(), |data| format!("{} bytes", data.len()));
    let owner = match stat.ephemeral_owner {
        0 => String::new(),
        owner => format!(" owner {owner:#x}"),
    };
    let shown = match (data, node.data) {
        (Some(how), Some(bytes)) => format!(" data {}", how.show(bytes)),
        _ => String::new(),
    };
    format!(
        "{} {bytes} versions {}/{}/{} czxid {} mzxid {} pzxid {} ctime {} mtime {}{owner} acl {acl}{shown}",
        show::escaped_path(node.path),
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        show::time(stat.ctime),
        show::time(stat.mtime),
    )
}

/// A node as JSON, with its data if `data` says how.
pub(in crate::cmd) fn object(node: &NodeItem<'_>, acl: &str, data: Option<Data>) -> Value {
    let stat = &node.stat;
    let mut object = json!({
        "path": if node.path.is_empty() { "/" } else { node.path },
        "bytes": node.data.map(<[u8]>::len),
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "czxid": stat.czxid.to_string(),
        "mzxid": stat.mzxid.to_string(),
        "pzxid": stat.pzxid.to_string(),
        "ctime": show::time(stat.ctime),
        "mtime": show::time(stat.mtime),
        "owner": format!("{:#x}", stat.ephemeral_owner),
        "acl": acl,
    });
    if let Some(how) = data {
        object["data"] = json!(node.data.map(|bytes| how.show(bytes)));
    }
    object
}
