//! `rkinspect diff`: what changed between two transactions of one directory, or what two members do not have in common.
//!
//! Between two transactions one tree goes from the first to the second, and what a transaction is about to touch is
//! kept as it was before the first of them: beside the tree, memory grows with what changed and with nothing else. Two
//! members are compared node by node, in canonical order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::snapshot::Loaded;
use ringkeeper_engine::tree::{Tree, is_quota_statistics};
use ringkeeper_engine::txn::{AclList, Txn};
use serde_json::json;

use super::reach;
use super::snapshot::{Differ, Held, Words};
use crate::cli::parse_zxid;
use crate::error::{FOUND, InspectError};
use crate::out::{Out, Progress};
use crate::show;
use crate::source::{self, Ordered, Replayed, Source};

/// What is compared.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Data directory: with --from, what changed in it since then.
    pub dir: PathBuf,
    /// Another member's data directory, to compare the first one with.
    #[arg(conflicts_with_all = ["from", "to"], required_unless_present = "from")]
    pub other: Option<PathBuf>,
    /// The state after this transaction, as 0x... or decimal, is the first.
    #[arg(long, value_parser = parse_zxid)]
    pub from: Option<Zxid>,
    /// The state after this transaction is the second; the last one if not given.
    #[arg(long, value_parser = parse_zxid, requires = "from")]
    pub to: Option<Zxid>,
    /// Compares two directories after this transaction instead of the last one that both have.
    #[arg(long, value_parser = parse_zxid, requires = "other")]
    pub at: Option<Zxid>,
    /// Only the node of this path and those below it.
    #[arg(long = "path")]
    pub top: Option<String>,
}

/// Shows the differences.
pub fn diff(args: &DiffArgs, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let source = source::open(&args.dir, progress)?;
    match &args.other {
        Some(other) => {
            let other = source::open(other, progress)?;
            members(&*source, &*other, args, out, progress)
        }
        None => times(&*source, args, out, progress),
    }
}

fn members(
    a: &dyn Source,
    b: &dyn Source,
    args: &DiffArgs,
    out: &mut Out<'_>,
    progress: &Progress,
) -> Result<u8, InspectError> {
    let at = match args.at {
        Some(at) => at,
        None => reach::last(a)?.min(reach::last(b)?),
    };
    let (first, second) = (reach::state(a, Some(at))?, reach::state(b, Some(at))?);
    progress.clear();
    let zxids = (first.tree.last_zxid(), second.tree.last_zxid());
    heading(a.path(), zxids.0, b.path(), zxids.1, out)?;
    let mut differ = Differ::new(args.top.as_deref(), Words::PLACES);
    differ.compare(ordered(a.path(), first), ordered(b.path(), second), out)?;
    let code = differ.finish(out)?;
    if zxids.0 != zxids.1 {
        // An epoch may have begun without a transaction, but not ended with another one.
        out.text(format_args!(
            "one of them has not what the other one has: its last transaction until {at} is another"
        ))?;
        return Ok(FOUND);
    }
    Ok(code)
}

fn heading(a: &Path, at_a: Zxid, b: &Path, at_b: Zxid, out: &mut Out<'_>) -> Result<(), InspectError> {
    out.line(
        || format!("{} after {at_a}, {} after {at_b}", a.display(), b.display()),
        || json!({"first": a, "first_zxid": at_a.to_string(), "second": b, "second_zxid": at_b.to_string()}),
    )
}

fn ordered(path: &Path, state: Replayed) -> Ordered<'static> {
    let sessions = state.sessions.into_iter().collect();
    Ordered::of(path, Loaded { tree: state.tree, sessions })
}

/// What changed from one state of a directory to a later one.
fn times(
    source: &dyn Source,
    args: &DiffArgs,
    out: &mut Out<'_>,
    progress: &Progress,
) -> Result<u8, InspectError> {
    let (from, to) = (args.from.unwrap_or(Zxid::ZERO), args.to.unwrap_or(reach::LAST));
    if from > to {
        return Err(InspectError::NotThere { what: format!("--from {from} lies behind --to {to}") });
    }
    let mut state = reach::state(source, Some(from))?;
    let first = state.tree.last_zxid();
    let mut before = Before::default();
    let mut txns = 0u64;
    source.txns(reach::behind(first), to, &mut |txn| {
        let decoded = txn.decode()?;
        before.keep(decoded.header.client_id, &decoded.txn, &state);
        txns += 1;
        state.apply(txn)
    })?;
    if let Some(to) = args.to {
        reach::must_reach(source, state.tree.last_zxid(), to)?;
    }
    progress.clear();
    let last = state.tree.last_zxid();
    out.line(
        || format!("{} from {first} to {last}: {txns} transactions", source.path().display()),
        || json!({"directory": source.path(), "from": first.to_string(), "to": last.to_string(), "txns": txns}),
    )?;
    let mut differ = Differ::new(args.top.as_deref(), Words::TIMES);
    for (&id, &timeout) in &before.sessions {
        let now = state.sessions.get(&id).copied();
        let held = |timeout| Held::Session { id: id.0, timeout };
        differ.pair(timeout.map(held).as_ref(), now.map(held).as_ref(), out)?;
    }
    for (key, held) in &before.nodes {
        differ.pair(held.as_ref(), node(&state.tree, &key.0).as_ref(), out)?;
    }
    differ.finish(out)
}

/// What was touched, as it was before; `None` for what was not there.
#[derive(Debug, Default)]
struct Before {
    sessions: BTreeMap<SessionId, Option<i32>>,
    nodes: BTreeMap<InOrder, Option<Held>>,
}

/// A path, in the order in which a walk meets it.
#[derive(Debug, PartialEq, Eq)]
struct InOrder(String);

impl Ord for InOrder {
    fn cmp(&self, other: &InOrder) -> std::cmp::Ordering {
        self.0.split('/').cmp(other.0.split('/'))
    }
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &InOrder) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Before {
    /// Keeps what this transaction of `session` is about to touch.
    fn keep(&mut self, session: SessionId, txn: &Txn<'_>, state: &Replayed) {
        if matches!(txn, Txn::CreateSession { .. } | Txn::CloseSession { .. }) {
            self.sessions.entry(session).or_insert_with(|| state.sessions.get(&session).copied());
        }
        if matches!(txn, Txn::CloseSession { .. }) {
            // Old records do not list them.
            let mut path = String::new();
            for id in state.tree.ephemerals_of(session) {
                state.tree.path_of(id, &mut path);
                self.keep_node(&path, &state.tree);
            }
        }
        show::each_path(txn, &mut |path| self.keep_node(path, &state.tree));
    }

    /// Keeps a node and its parent, whose numbers change with its children.
    fn keep_node(&mut self, path: &str, tree: &Tree) {
        let path = path.trim_end_matches('/');
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        for path in [Some(path), parent].into_iter().flatten() {
            self.nodes.entry(InOrder(path.to_owned())).or_insert_with(|| node(tree, path));
        }
    }
}

/// A node, copied out of the tree. Statistics of quotas are left empty: every server counts for itself.
fn node(tree: &Tree, path: &str) -> Option<Held> {
    let node = tree.node(tree.find(path)?);
    let counts = is_quota_statistics(path);
    let data = node.data().map(|data| if counts { Vec::new() } else { data.to_vec() });
    let acl =
        AclList::read(&mut Reader::new(node.acl_encoded())).expect("the tree holds lists that were read");
    let acl = show::acl_text(&acl);
    Some(Held::Node { path: path.to_owned(), data, acl, stat: node.persisted() })
}
