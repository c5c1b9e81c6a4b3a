//! Walks a stream to its end: lengths and counts are believed within limits, data are skipped, nothing is built.

use super::super::items::{self, Head, STAT_BYTES, TakeItems, Taken};
use super::super::{Limits, SnapshotError};
use super::canonical::Judge;
use crate::jute::put_i32;

/// What comes next, and how many more of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    SessionCount,
    Session {
        left: usize,
    },
    AclCount,
    Acl {
        left: usize,
    },
    AclEntry {
        left: usize,
        number: i64,
        entries: usize,
    },
    /// A node up to the length of its data.
    Head,
    Data {
        left: usize,
    },
    /// What is behind the data of a node.
    Tail,
    Signature,
    Done,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Walk {
    limits: Limits,
    stage: Stage,
    /// The list being read, encoded.
    list: Vec<u8>,
    has_root: bool,
    pub judge: Judge,
}

impl Walk {
    pub fn new(limits: Limits) -> Walk {
        Walk {
            limits: limits.possible(),
            stage: Stage::SessionCount,
            list: Vec::new(),
            has_root: false,
            judge: Judge::default(),
        }
    }

    fn go_to(&mut self, stage: Stage, took: usize) -> Result<Taken, SnapshotError> {
        self.stage = stage;
        Ok(Taken::Took(took))
    }

    fn count(
        &mut self,
        at: u64,
        bytes: &[u8],
        what: &'static str,
        stage: impl Fn(usize) -> Stage,
    ) -> Result<Taken, SnapshotError> {
        match items::count(at, what, bytes)? {
            Some(count) => self.go_to(stage(count), 4),
            None => Ok(Taken::Needs(4)),
        }
    }

    fn session(&mut self, bytes: &[u8], left: usize) -> Result<Taken, SnapshotError> {
        let Some((id, _)) = items::pair(bytes) else { return Ok(Taken::Needs(12)) };
        self.judge.session(id);
        self.go_to(Stage::Session { left: left - 1 }, 12)
    }

    fn acl(&mut self, at: u64, bytes: &[u8], left: usize) -> Result<Taken, SnapshotError> {
        let Some((number, entries)) = items::pair(bytes) else { return Ok(Taken::Needs(12)) };
        let count = items::acl_entries(at, entries, &self.limits)?;
        self.list.clear();
        put_i32(&mut self.list, entries);
        self.go_to(Stage::AclEntry { left, number, entries: count }, 12)
    }

    fn acl_entry(
        &mut self,
        at: u64,
        bytes: &[u8],
        (left, number, entries): (usize, i64, usize),
    ) -> Result<Taken, SnapshotError> {
        let taken = items::acl_entry(at, bytes, self.list.len(), &self.limits)?;
        if let Taken::Took(end) = taken {
            self.list.extend_from_slice(&bytes[..end]);
            self.stage = Stage::AclEntry { left, number, entries: entries - 1 };
        }
        Ok(taken)
    }

    fn head(&mut self, at: u64, bytes: &[u8]) -> Result<Taken, SnapshotError> {
        match items::head(at, bytes, &self.limits)? {
            Head::Needs(needs) => Ok(Taken::Needs(needs)),
            Head::End(end) if self.has_root => self.go_to(Stage::Signature, end),
            Head::End(_) => Err(SnapshotError::NoRoot),
            Head::Node { path, data_at, data } => {
                self.has_root |= path.is_empty();
                self.judge.node(path, data);
                self.go_to(Stage::Data { left: data.unwrap_or(0) }, data_at)
            }
        }
    }

    /// Data are the one item that is never gathered.
    fn data(&mut self, bytes: &[u8], left: usize) -> Result<Taken, SnapshotError> {
        match bytes.len().min(left) {
            0 => Ok(Taken::Needs(1)),
            skipped => self.go_to(Stage::Data { left: left - skipped }, skipped),
        }
    }

    fn tail(&mut self, bytes: &[u8]) -> Result<Taken, SnapshotError> {
        let end = 8 + STAT_BYTES;
        match items::read_i64(bytes, 0) {
            Some(acl) if bytes.len() >= end => {
                self.judge.node_acl(acl);
                self.go_to(Stage::Head, end)
            }
            _ => Ok(Taken::Needs(end)),
        }
    }
}

impl TakeItems for Walk {
    fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    fn take(&mut self, at: u64, bytes: &[u8]) -> Result<Taken, SnapshotError> {
        match self.stage {
            Stage::SessionCount => {
                self.count(at, bytes, "the number of sessions", |left| Stage::Session { left })
            }
            Stage::Session { left: 0 } => self.go_to(Stage::AclCount, 0),
            Stage::Session { left } => self.session(bytes, left),
            Stage::AclCount => self.count(at, bytes, "the number of ACLs", |left| Stage::Acl { left }),
            Stage::Acl { left: 0 } => self.go_to(Stage::Head, 0),
            Stage::Acl { left } => self.acl(at, bytes, left),
            Stage::AclEntry { left, number, entries: 0 } => {
                self.judge.acl(number, &self.list);
                self.go_to(Stage::Acl { left: left - 1 }, 0)
            }
            Stage::AclEntry { left, number, entries } => self.acl_entry(at, bytes, (left, number, entries)),
            Stage::Head => self.head(at, bytes),
            Stage::Data { left: 0 } => self.go_to(Stage::Tail, 0),
            Stage::Data { left } => self.data(bytes, left),
            Stage::Tail => self.tail(bytes),
            Stage::Signature => {
                let taken = items::signature(at, bytes)?;
                if matches!(taken, Taken::Took(_)) {
                    self.stage = Stage::Done;
                }
                Ok(taken)
            }
            Stage::Done => Ok(Taken::Took(0)),
        }
    }
}
