//! `rkinspect snapshot stats`: what a snapshot consists of, in one pass.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::Path;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::inspect::{Item, NodeItem};
use serde_json::json;

use super::pick;
use crate::error::{FINE, InspectError};
use crate::out::{Out, Progress};
use crate::show;
use crate::source::{Layout, SnapshotEntry};

/// Nodes that are named.
const TOP: usize = 10;

/// Nodes, ephemerals, sessions, ACLs, bytes, depth, the biggest nodes and those with most children.
pub fn stats(
    path: &Path,
    zxid: Option<Zxid>,
    out: &mut Out<'_>,
    progress: &Progress,
) -> Result<u8, InspectError> {
    let (source, entry) = pick(path, zxid, progress)?;
    let mut stats = Stats::new(source.layout());
    source.items(&entry, &mut |item| {
        stats.take(&item);
        Ok(())
    })?;
    progress.clear();
    stats.children.finish(&mut stats.most_children);
    stats.show(&entry, out)?;
    Ok(FINE)
}

struct Stats {
    sessions: u64,
    acls: u64,
    nodes: u64,
    ephemerals: u64,
    path_bytes: u64,
    data_bytes: u64,
    depth: usize,
    biggest: Top,
    most_children: Top,
    children: Children,
}

impl Stats {
    fn new(layout: Layout) -> Stats {
        Stats {
            sessions: 0,
            acls: 0,
            nodes: 0,
            ephemerals: 0,
            path_bytes: 0,
            data_bytes: 0,
            depth: 0,
            biggest: Top::default(),
            most_children: Top::default(),
            children: match layout {
                Layout::Ours => Children::InOrder(Vec::new()),
                Layout::Apache => Children::Any(HashMap::new()),
            },
        }
    }

    fn take(&mut self, item: &Item<'_>) {
        match item {
            Item::Session { .. } => self.sessions += 1,
            Item::Acl { .. } => self.acls += 1,
            Item::Node(node) => self.node(node),
        }
    }

    fn node(&mut self, node: &NodeItem<'_>) {
        let bytes = node.data.map_or(0, <[u8]>::len) as u64;
        self.nodes += 1;
        // The highest bits say that it is no session: a container, or a node with a time to live.
        let owner = node.stat.ephemeral_owner;
        self.ephemerals += u64::from(owner != 0 && owner != i64::MIN && (owner as u64) >> 56 != 0xff);
        self.path_bytes += node.path.len() as u64;
        self.data_bytes += bytes;
        self.depth = self.depth.max(node.path.matches('/').count());
        self.biggest.offer(bytes, node.path);
        self.children.node(node.path, &mut self.most_children);
    }

    fn show(&self, entry: &SnapshotEntry, out: &mut Out<'_>) -> Result<(), InspectError> {
        let numbers = [
            ("nodes", self.nodes),
            ("ephemerals", self.ephemerals),
            ("sessions", self.sessions),
            ("acls", self.acls),
            ("data_bytes", self.data_bytes),
            ("path_bytes", self.path_bytes),
            ("depth", self.depth as u64),
        ];
        let (biggest, most) = (self.biggest.sorted(), self.most_children.sorted());
        if out.is_json() {
            return out.line(String::new, || {
                let list = |top: &[(u64, String)], key: &str| -> serde_json::Value {
                    top.iter().map(|(n, path)| json!({"path": show::escaped_path(path), key: n})).collect()
                };
                let mut object = json!({
                    "file": entry.file, "zxid": entry.zxid.to_string(), "bytes": entry.bytes,
                    "biggest": list(&biggest, "bytes"), "most_children": list(&most, "children"),
                });
                numbers.iter().for_each(|(name, number)| object[*name] = json!(number));
                object
            });
        }
        out.text(format_args!("{}: state after {}", entry.file.display(), entry.zxid))?;
        for (name, number) in numbers {
            out.text(format_args!("{:<12} {number}", name.replace('_', " ")))?;
        }
        for (title, top) in [("biggest data, bytes", biggest), ("most children", most)] {
            out.text(title)?;
            for (number, path) in top {
                out.text(format_args!("  {number:>12} {}", show::escaped_path(&path)))?;
            }
        }
        Ok(())
    }
}

/// The paths with the highest numbers.
#[derive(Default)]
struct Top(BinaryHeap<Reverse<(u64, String)>>);

impl Top {
    fn offer(&mut self, number: u64, path: &str) {
        let full = self.0.len() == TOP;
        if number == 0 || full && self.0.peek().is_some_and(|Reverse((least, _))| *least >= number) {
            return;
        }
        if full {
            self.0.pop();
        }
        self.0.push(Reverse((number, path.to_owned())));
    }

    fn sorted(&self) -> Vec<(u64, String)> {
        let mut all: Vec<_> = self.0.iter().map(|Reverse(entry)| entry.clone()).collect();
        all.sort_unstable_by(|(a, p), (b, q)| (b, p).cmp(&(a, q)));
        all
    }
}

/// Counts children: in canonical order along the path to the node at hand, else of all parents at once.
enum Children {
    /// The ancestors of the last node and that itself, with the children met so far.
    InOrder(Vec<(String, u64)>),
    Any(HashMap<String, u64>),
}

impl Children {
    fn node(&mut self, path: &str, top: &mut Top) {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        match self {
            Children::InOrder(line) => {
                while line.last().is_some_and(|(last, _)| Some(last.as_str()) != parent) {
                    let (path, children) = line.pop().expect("there is a last one");
                    top.offer(children, &path);
                }
                if let Some((_, children)) = line.last_mut() {
                    *children += 1;
                }
                line.push((path.to_owned(), 0));
            }
            Children::Any(counts) => {
                let Some(parent) = parent else { return };
                match counts.get_mut(parent) {
                    Some(children) => *children += 1,
                    None => drop(counts.insert(parent.to_owned(), 1)),
                }
            }
        }
    }

    fn finish(&mut self, top: &mut Top) {
        match self {
            Children::InOrder(line) => line.drain(..).for_each(|(path, children)| top.offer(children, &path)),
            Children::Any(counts) => counts.drain().for_each(|(path, children)| top.offer(children, &path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_counted_alike_in_any_order() {
        let paths = ["", "/a", "/a/b", "/a/b/c", "/a/b/d", "/a/c", "/b", "/c", "/c/x", "/d"];
        let count = |mut children: Children| {
            let mut top = Top::default();
            paths.iter().for_each(|path| children.node(path, &mut top));
            children.finish(&mut top);
            top.sorted()
        };
        let found = count(Children::InOrder(Vec::new()));
        let expected = [(4, ""), (2, "/a"), (2, "/a/b"), (1, "/c")];
        assert_eq!(found, expected.map(|(n, path): (u64, &str)| (n, path.to_owned())));
        assert_eq!(found, count(Children::Any(HashMap::new())));
    }
}
