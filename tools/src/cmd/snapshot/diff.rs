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
    let mut differ = Differ::new(top, Words::PLACES);
    differ.compare(a.0.ordered(&a.1)?, b.0.ordered(&b.1)?, out)?;
    progress.clear();
    differ.finish(out)
}

/// How the two states are called.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// In JSON.
    sides: [&'static str; 2],
    /// For people, of what only one of them has.
    only: [&'static str; 2],
}

impl Words {
    /// Two places at one time.
    pub const PLACES: Words =
        Words { sides: ["first", "second"], only: ["only in the first", "only in the second"] };
    /// One place at two times.
    pub const TIMES: Words =
        Words { sides: ["before", "after"], only: ["deleted or closed", "created or opened"] };
}

/// Compares states, and counts.
#[derive(Debug)]
pub struct Differ<'t> {
    top: Option<&'t str>,
    words: Words,
    /// Sessions and nodes that only the first one has.
    pub only_a: u64,
    /// That only the second one has.
    pub only_b: u64,
    /// That both have, with differences.
    pub changed: u64,
}

/// A session or a node, held.
#[derive(Debug)]
pub enum Held {
    /// A session.
    Session {
        /// Its id.
        id: i64,
        /// Its timeout, milliseconds.
        timeout: i32,
    },
    /// A node.
    Node {
        /// Its path; empty for the root.
        path: String,
        /// Its data.
        data: Option<Vec<u8>>,
        /// Its access control list, as text.
        acl: String,
        /// Its numbers.
        stat: StatPersisted,
    },
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
    pub fn new(top: Option<&'t str>, words: Words) -> Differ<'t> {
        Differ { top, words, only_a: 0, only_b: 0, changed: 0 }
    }

    /// Says how much was found. Returns the exit code.
    pub fn finish(self, out: &mut Out<'_>) -> Result<u8, InspectError> {
        let Differ { only_a, only_b, changed, words: Words { only: [a, b], .. }, .. } = self;
        out.text(format_args!("{only_a} {a}, {only_b} {b}, {changed} changed"))?;
        Ok(if only_a + only_b + changed > 0 { FOUND } else { FINE })
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
            let first = a.held.as_ref().filter(|_| order.is_le());
            let second = b.held.as_ref().filter(|_| order.is_ge());
            self.pair(first, second, out)?;
            if order.is_le() {
                a.advance()?;
            }
            if order.is_ge() {
                b.advance()?;
            }
        }
    }

    /// Shows how what is called alike differs; `None` where one of the two states does not have it.
    pub fn pair(
        &mut self,
        a: Option<&Held>,
        b: Option<&Held>,
        out: &mut Out<'_>,
    ) -> Result<(), InspectError> {
        match (a, b) {
            (Some(a), Some(b)) => self.both(a, b, out),
            (Some(a), None) => self.one('-', a, out),
            (None, Some(b)) => self.one('+', b, out),
            (None, None) => Ok(()),
        }
    }

    fn wants(&self, held: &Held) -> bool {
        match (self.top, held) {
            (None, _) => true,
            (Some(top), Held::Node { path, .. }) => show::is_within(path, top),
            (Some(_), Held::Session { .. }) => false,
        }
    }

    fn one(&mut self, sign: char, held: &Held, out: &mut Out<'_>) -> Result<(), InspectError> {
        if !self.wants(held) {
            return Ok(());
        }
        let (count, side) = match sign {
            '-' => (&mut self.only_a, self.words.sides[0]),
            _ => (&mut self.only_b, self.words.sides[1]),
        };
        *count += 1;
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

    fn both(&mut self, a: &Held, b: &Held, out: &mut Out<'_>) -> Result<(), InspectError> {
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
