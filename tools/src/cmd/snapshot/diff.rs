//! `rkinspect snapshot diff`: what two snapshots do not have in common.
//!
//! Both are read in canonical order and merged, so that memory does not grow with them but for the access control
//! lists, which are shared by many nodes.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;

use ringkeeper_engine::inspect::{Item, NodeItem};
use ringkeeper_engine::tree::StatPersisted;
use serde_json::{Value, json};

use super::pick;
use crate::error::{FINE, FOUND, InspectError};
use crate::out::{Out, Progress};
use crate::show;
use crate::source::Ordered;

/// Shows what there is only in `a` (-), only in `b` (+), and in both but different (~).
pub fn diff(
    a: &Path,
    b: &Path,
    top: Option<&str>,
    out: &mut Out<'_>,
    progress: &Progress,
) -> Result<u8, InspectError> {
    let (a, b) = (pick(a, None, progress)?, pick(b, None, progress)?);
    let mut differ = Differ::new(top);
    differ.compare(a.0.ordered(&a.1)?, b.0.ordered(&b.1)?, out)?;
    progress.clear();
    let Differ { only_a, only_b, changed, .. } = differ;
    out.text(format_args!("{only_a} only in the first, {only_b} only in the second, {changed} changed"))?;
    Ok(if only_a + only_b + changed > 0 { FOUND } else { FINE })
}

/// Compares states, and counts.
#[derive(Debug, Default)]
pub struct Differ<'t> {
    top: Option<&'t str>,
    /// Sessions and nodes that only the first one has.
    pub only_a: u64,
    /// That only the second one has.
    pub only_b: u64,
    /// That both have, with differences.
    pub changed: u64,
}

/// A session or a node, held.
#[derive(Debug)]
enum Held {
    Session { id: i64, timeout: i32 },
    Node { path: String, data: Option<Vec<u8>>, acl: String, stat: StatPersisted },
}

/// One of the two states.
struct Side<'s> {
    items: Ordered<'s>,
    acls: HashMap<i64, String>,
    held: Option<Held>,
}

impl Side<'_> {
    fn begin(items: Ordered<'_>) -> Result<Side<'_>, InspectError> {
        let mut side = Side { items, acls: HashMap::new(), held: None };
        side.advance()?;
        Ok(side)
    }

    fn advance(&mut self) -> Result<(), InspectError> {
        loop {
            self.held = match self.items.next()? {
                None => None,
                Some(Item::Acl { number, list }) => {
                    self.acls.insert(number, show::acl_text(&list));
                    continue;
                }
                Some(Item::Session { id, timeout }) => Some(Held::Session { id: id.0, timeout }),
                Some(Item::Node(NodeItem { path, data, acl, stat })) => Some(Held::Node {
                    path: path.to_owned(),
                    data: data.map(<[u8]>::to_vec),
                    acl: self.acls.get(&acl).cloned().unwrap_or_else(|| "open".to_owned()),
                    stat,
                }),
            };
            return Ok(());
        }
    }
}

impl<'t> Differ<'t> {
    /// Looks only at `top` and below, if that is given.
    pub fn new(top: Option<&'t str>) -> Differ<'t> {
        Differ { top, ..Differ::default() }
    }

    /// Merges two states and shows where they differ.
    pub fn compare(&mut self, a: Ordered<'_>, b: Ordered<'_>, out: &mut Out<'_>) -> Result<(), InspectError> {
        let (mut a, mut b) = (Side::begin(a)?, Side::begin(b)?);
        loop {
            let order = match (&a.held, &b.held) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => order(a, b),
            };
            match order {
                Ordering::Less => self.one('-', a.held.as_ref(), out)?,
                Ordering::Greater => self.one('+', b.held.as_ref(), out)?,
                Ordering::Equal => self.both(a.held.as_ref(), b.held.as_ref(), out)?,
            }
            if order.is_le() {
                a.advance()?;
            }
            if order.is_ge() {
                b.advance()?;
            }
        }
    }

    fn wants(&self, held: &Held) -> bool {
        match (self.top, held) {
            (None, _) => true,
            (Some(top), Held::Node { path, .. }) => show::is_within(path, top),
            (Some(_), Held::Session { .. }) => false,
        }
    }

    fn one(&mut self, sign: char, held: Option<&Held>, out: &mut Out<'_>) -> Result<(), InspectError> {
        let Some(held) = held.filter(|held| self.wants(held)) else { return Ok(()) };
        let count = if sign == '-' { &mut self.only_a } else { &mut self.only_b };
        *count += 1;
        let side = if sign == '-' { "first" } else { "second" };
        match held {
            Held::Session { id, timeout } => out.line(
                || format!("{sign} session {id:#x} timeout {timeout} ms"),
                || json!({"only_in": side, "session": format!("{id:#x}")}),
            ),
            Held::Node { path, data, stat, .. } => out.line(
                || {
                    let path = show::escaped_path(path);
                    format!("{sign} {path} {}, czxid {}, mzxid {}", size(data), stat.czxid, stat.mzxid)
                },
                || json!({"only_in": side, "path": show::escaped_path(path)}),
            ),
        }
    }

    fn both(&mut self, a: Option<&Held>, b: Option<&Held>, out: &mut Out<'_>) -> Result<(), InspectError> {
        let (Some(a), Some(b)) = (a, b) else { return Ok(()) };
        let fields = changes(a, b);
        if fields.is_empty() || !self.wants(a) {
            return Ok(());
        }
        self.changed += 1;
        let name = match a {
            Held::Session { id, .. } => format!("session {id:#x}"),
            Held::Node { path, .. } => show::escaped_path(path),
        };
        out.line(
            || {
                let fields: Vec<String> =
                    fields.iter().map(|(field, a, b)| format!("{field} {a} -> {b}")).collect();
                format!("~ {name} {}", fields.join(", "))
            },
            || {
                let of = |(field, a, b): &(&str, String, String)| -> (String, Value) {
                    ((*field).to_owned(), json!([a, b]))
                };
                json!({"changed": name, "fields": fields.iter().map(of).collect::<serde_json::Map<_, _>>()})
            },
        )
    }
}

/// The canonical order: sessions before nodes, by id; nodes as a walk meets them.
fn order(a: &Held, b: &Held) -> Ordering {
    match (a, b) {
        (Held::Session { id: a, .. }, Held::Session { id: b, .. }) => a.cmp(b),
        (Held::Session { .. }, Held::Node { .. }) => Ordering::Less,
        (Held::Node { .. }, Held::Session { .. }) => Ordering::Greater,
        (Held::Node { path: a, .. }, Held::Node { path: b, .. }) => {
            a.split('/').map(str::as_bytes).cmp(b.split('/').map(str::as_bytes))
        }
    }
}

fn size(data: &Option<Vec<u8>>) -> String {
    data.as_ref().map_or_else(|| "null".to_owned(), |data| format!("{} bytes", data.len()))
}

/// Field, first value, second value of what differs.
fn changes(a: &Held, b: &Held) -> Vec<(&'static str, String, String)> {
    let mut fields = Vec::new();
    let mut note = |field, a: String, b: String| {
        if a != b {
            fields.push((field, a, b));
        }
    };
    match (a, b) {
        (Held::Session { timeout: a, .. }, Held::Session { timeout: b, .. }) => {
            note("timeout", a.to_string(), b.to_string());
        }
        (Held::Node { data: da, acl: aa, stat: sa, .. }, Held::Node { data: db, acl: ab, stat: sb, .. }) => {
            if da != db {
                let of = |data: &Option<Vec<u8>>| {
                    let bytes = data.as_deref().unwrap_or_default();
                    format!("{} (fnv {:016x})", size(data), fnv(bytes))
                };
                note("data", of(da), of(db));
            }
            note("acl", aa.clone(), ab.clone());
            let zxids =
                [("czxid", sa.czxid, sb.czxid), ("mzxid", sa.mzxid, sb.mzxid), ("pzxid", sa.pzxid, sb.pzxid)];
            zxids.into_iter().for_each(|(field, a, b)| note(field, a.to_string(), b.to_string()));
            let versions = [
                ("version", sa.version, sb.version),
                ("cversion", sa.cversion, sb.cversion),
                ("aversion", sa.aversion, sb.aversion),
            ];
            versions.into_iter().for_each(|(field, a, b)| note(field, a.to_string(), b.to_string()));
            note("ctime", show::time(sa.ctime), show::time(sb.ctime));
            note("mtime", show::time(sa.mtime), show::time(sb.mtime));
            note("owner", format!("{:#x}", sa.ephemeral_owner), format!("{:#x}", sb.ephemeral_owner));
        }
        _ => {}
    }
    fields
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
