//! `rkinspect find`: every transaction that touched a path, in order.
//!
//! Nothing is held but the ephemeral nodes that are found and still there: the records of old servers do not say which
//! nodes the end of a session takes along.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::txn::{Txn, kind};
use serde_json::{Value, json};

use super::reach;
use crate::cli::{parse_session, parse_zxid};
use crate::error::{FINE, InspectError};
use crate::out::{Out, Progress};
use crate::show::{self, Data};
use crate::source::{self, Decoded, TxnAt};

/// What is looked for.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// The path of a node.
    #[arg(value_parser = parse_path)]
    pub node: String,
    /// Data directory or log file.
    pub dir: PathBuf,
    /// Also what touched nodes below it.
    #[arg(long)]
    pub below: bool,
    /// Also what created or deleted children of it, and so changed its numbers.
    #[arg(long)]
    pub children: bool,
    /// Only of this session, as 0x... or decimal.
    #[arg(long, value_parser = parse_session)]
    pub session: Option<SessionId>,
    /// First zxid, as 0x... or decimal.
    #[arg(long, value_parser = parse_zxid)]
    pub from: Option<Zxid>,
    /// Last zxid.
    #[arg(long, value_parser = parse_zxid)]
    pub to: Option<Zxid>,
    /// Shows data too, as text with escapes or in hexadecimal.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub data: Option<Data>,
}

fn parse_path(text: &str) -> Result<String, String> {
    match text.trim_end_matches('/') {
        path if text.starts_with('/') => Ok(path.to_owned()),
        _ => Err("the path of a node begins with /".to_owned()),
    }
}

/// Shows them.
pub fn find(args: &FindArgs, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let source = source::open(&args.dir, progress)?;
    let from = args.from.unwrap_or(Zxid::from_raw(i64::MIN));
    let mut search = Search { args, owned: HashMap::new(), hits: 0, hit: false };
    let read = source.txns(from, args.to.unwrap_or(reach::LAST), &mut |txn| search.look(txn, out));
    progress.clear();
    let Search { hits, .. } = search;
    read?;
    let begins = match source.begins_behind()? {
        Some(begins) if begins > Zxid::ZERO && args.from.is_none_or(|from| from <= begins) => {
            format!("; the log begins behind {begins}")
        }
        _ => String::new(),
    };
    out.text(format_args!("{hits} transactions{begins}"))?;
    Ok(FINE)
}

/// Why a part of a transaction is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It is about a node that is looked for.
    Node,
    /// A child of the node comes or goes.
    Child,
    /// The node goes with its session.
    SessionEnd,
}

/// A part of a transaction, or all of it.
struct Part<'t> {
    kind: i32,
    txn: Txn<'t>,
    /// Its place in a multi and the number of parts, from 1.
    place: Option<(usize, usize)>,
}

/// A transaction, or a part of it, that touched a path.
struct Hit<'h, 't> {
    at: &'h TxnAt<'t>,
    decoded: &'h Decoded<'t>,
    path: &'h str,
    why: Why,
    /// Nothing where the node goes with its session.
    part: Option<&'h Part<'t>>,
}

struct Search<'a> {
    args: &'a FindArgs,
    /// Live ephemeral nodes among those that are looked for, and their sessions.
    owned: HashMap<String, SessionId>,
    /// Transactions that were shown.
    hits: u64,
    /// Whether the one at hand was.
    hit: bool,
}

impl Search<'_> {
    fn look(&mut self, at: &TxnAt<'_>, out: &mut Out<'_>) -> Result<(), InspectError> {
        let decoded = at.decode()?;
        self.hit = false;
        match &decoded.txn {
            Txn::CloseSession { .. } => self.session_end(at, &decoded, out)?,
            Txn::Multi(multi) => {
                let of = multi.len();
                for (part, place) in multi.iter().zip(1..) {
                    let part = Part { kind: part.kind, txn: part.txn, place: Some((place, of)) };
                    self.part(at, &decoded, &part, out)?;
                }
            }
            whole => {
                let part = Part { kind: decoded.header.kind, txn: *whole, place: None };
                self.part(at, &decoded, &part, out)?;
            }
        }
        self.hits += u64::from(self.hit);
        Ok(())
    }

    fn part(
        &mut self,
        at: &TxnAt<'_>,
        decoded: &Decoded<'_>,
        part: &Part<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), InspectError> {
        let Some(path) = part.txn.path() else { return Ok(()) };
        let session = decoded.header.client_id;
        let why = if self.is_wanted(path) {
            match part.txn {
                Txn::Create { ephemeral: true, .. } => drop(self.owned.insert(path.to_owned(), session)),
                Txn::Delete { .. } => drop(self.owned.remove(path)),
                _ => {}
            }
            Why::Node
        } else if comes_or_goes(part.kind) && self.is_child(path) {
            Why::Child
        } else {
            return Ok(());
        };
        self.show(&Hit { at, decoded, path, why, part: Some(part) }, out)
    }

    /// The nodes that go with a session, in the order of its record, then those that it does not list.
    fn session_end(
        &mut self,
        at: &TxnAt<'_>,
        decoded: &Decoded<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), InspectError> {
        let session = decoded.header.client_id;
        let mut paths = Vec::new();
        show::each_path(&decoded.txn, &mut |path| paths.push(path.to_owned()));
        paths.retain(|path| self.is_wanted(path) || self.is_child(path));
        for path in &paths {
            self.owned.remove(path);
        }
        let left = self.owned.iter().filter(|(_, owner)| **owner == session);
        let listed = paths.len();
        paths.extend(left.map(|(path, _)| path.clone()));
        paths[listed..].sort_unstable();
        for path in &paths {
            self.owned.remove(path);
            self.show(&Hit { at, decoded, path, why: Why::SessionEnd, part: None }, out)?;
        }
        Ok(())
    }

    fn is_wanted(&self, path: &str) -> bool {
        let node = &self.args.node;
        path.trim_end_matches('/') == node || self.args.below && show::is_within(path, node)
    }

    fn is_child(&self, path: &str) -> bool {
        self.args.children && path.rsplit_once('/').is_some_and(|(parent, _)| parent == self.args.node)
    }

    fn show(&mut self, hit: &Hit<'_, '_>, out: &mut Out<'_>) -> Result<(), InspectError> {
        if self.args.session.is_some_and(|session| session != hit.decoded.header.client_id) {
            return Ok(());
        }
        self.hit = true;
        let data = self.args.data;
        out.line(|| hit.text(data), || hit.object(data))
    }
}

/// Whether such a part changes its parent.
fn comes_or_goes(part: i32) -> bool {
    !matches!(part, kind::SET_DATA | kind::SET_ACL | kind::CHECK | kind::RECONFIG)
}

/// The data that a part carries, if it is of a type that does.
fn data_of<'t>(txn: &Txn<'t>) -> Option<Option<&'t [u8]>> {
    match *txn {
        Txn::Create { data, .. }
        | Txn::CreateContainer { data, .. }
        | Txn::CreateTtl { data, .. }
        | Txn::SetData { data, .. } => Some(data),
        _ => None,
    }
}

impl Hit<'_, '_> {
    fn text(&self, data: Option<Data>) -> String {
        let header = &self.decoded.header;
        let (zxid, time) = (self.at.zxid, show::time(header.time));
        let mut line = format!("{zxid} {time} session {} cxid {} ", header.client_id, header.cxid);
        let Some(part) = self.part else {
            return format!("{line}closeSession deletes {}", show::escaped_path(self.path));
        };
        if let Some((place, of)) = part.place {
            line.push_str(&format!("multi {place}/{of} "));
        }
        if self.why == Why::Child {
            line.push_str("child ");
        }
        line.push_str(&show::what(part.kind, &part.txn, data));
        match data_of(&part.txn) {
            Some(Some(bytes)) => line.push_str(&format!(", {} bytes", bytes.len())),
            Some(None) => line.push_str(", null"),
            None => {}
        }
        line
    }

    fn object(&self, data: Option<Data>) -> Value {
        let header = &self.decoded.header;
        let mut object = match self.part {
            Some(part) => show::what_json(part.kind, &part.txn, data),
            None => json!({"type": show::kind_name(kind::CLOSE_SESSION)}),
        };
        object["path"] = json!(self.path);
        object["as"] = json!(match self.why {
            Why::Node => "node",
            Why::Child => "child",
            Why::SessionEnd => "ephemeral",
        });
        object["zxid"] = json!(self.at.zxid.to_string());
        object["time"] = json!(show::time(header.time));
        object["session"] = json!(header.client_id.to_string());
        object["cxid"] = json!(header.cxid);
        if let Some(part) = self.part {
            object["bytes"] = json!(data_of(&part.txn).flatten().map(<[u8]>::len));
            if let Some((place, of)) = part.place {
                (object["part"], object["parts"]) = (json!(place), json!(of));
            }
        }
        object["file"] = json!(self.at.file);
        object["offset"] = json!(self.at.offset);
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_with_and_without_a_slash_at_the_end() {
        assert_eq!(parse_path("/a/b/"), Ok("/a/b".to_owned()));
        assert_eq!(parse_path("/"), Ok(String::new()));
        assert!(parse_path("a/b").is_err() && parse_path("").is_err());
    }
}
