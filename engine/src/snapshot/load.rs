//! Takes a stream in pieces of any size and builds the tree, node by node.
//!
//! Every length is held against a limit and nothing is allocated for what is only announced: memory follows the bytes
//! that came. One item (a session, an ACL entry, a node) at a time is looked at, in place if all of it is in one
//! piece, else gathered first. The first error is the last: the loader gives the same one from then on.

use std::collections::{BTreeMap, HashMap};

use super::{END_OF_NODES, OPEN_ACL, SIGNATURE, SnapshotError};
use crate::id::{SessionId, Zxid};
use crate::jute::{JuteError, Reader, put_i32};
use crate::tree::{AclId, Restoring, StatPersisted, Tree};
use crate::txn::AclList;

/// The longest items that a stream may have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A path.
    pub path: usize,
    /// The data of a node.
    pub data: usize,
    /// An encoded ACL.
    pub acl: usize,
}

impl Limits {
    /// What a tree can hold at all.
    pub(super) const MOST: Limits = Limits { path: 1 << 28, data: 1 << 30, acl: 1 << 28 };
}

impl Default for Limits {
    /// Above anything that servers with usual settings of `jute.maxbuffer` let clients make.
    fn default() -> Limits {
        Limits { path: 4 << 20, data: 256 << 20, acl: 16 << 20 }
    }
}

/// What [`Loader::feed`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Bytes it took; all of them unless the stream ended before.
    pub used: usize,
    /// Whether the stream is complete, signature included.
    pub done: bool,
}

/// The state that a stream describes.
#[derive(Debug)]
pub struct Loaded {
    /// Its last transaction is the stream's.
    pub tree: Tree,
    /// Sessions and their timeouts in milliseconds, in order of id.
    pub sessions: Vec<(SessionId, i32)>,
}

/// What comes next, and how many more of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    SessionCount,
    Session { left: usize },
    AclCount,
    Acl { left: usize },
    AclEntry { left: usize, id: i64, entries: usize },
    Node,
    Signature,
    Done,
}

/// How far the bytes at hand take us.
enum Step {
    /// This many bytes were an item.
    Took(usize),
    /// An item needs at least so many bytes in all, more than there are.
    Needs(usize),
}

/// Builds a tree from a stream; see the module.
#[derive(Debug)]
pub struct Loader {
    zxid: Zxid,
    limits: Limits,
    /// The stream is one of our own files: consistent in itself, and nothing follows that could mend it.
    exact: bool,
    restoring: Restoring,
    sessions: BTreeMap<i64, i32>,
    acls: HashMap<i64, AclId>,
    /// The list being read, encoded.
    list: Vec<u8>,
    stage: Stage,
    /// Offset in the stream of the next item.
    at: u64,
    /// The beginning of an item that did not come in one piece, and how many bytes it has at least.
    held: Vec<u8>,
    needs: usize,
    failed: Option<SnapshotError>,
}

/// czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid.
pub(super) const STAT_BYTES: usize = 60;

impl Loader {
    /// For the stream of any leader, announced as the state after `zxid`. It may be ahead of that in parts; what makes
    /// up for it are the transactions behind it, applied to the tree that this makes
    /// ([`Tree::is_converging`]). `tree_seed` as for [`Tree::new`].
    pub fn new(zxid: Zxid, tree_seed: u64, limits: Limits) -> Loader {
        let Limits { path, data, acl } = limits;
        let most = Limits::MOST;
        let restoring = Restoring::new(tree_seed);
        Loader {
            zxid,
            limits: Limits { path: path.min(most.path), data: data.min(most.data), acl: acl.min(most.acl) },
            exact: false,
            sessions: BTreeMap::new(),
            acls: HashMap::from([(OPEN_ACL, restoring.open_acl())]),
            restoring,
            list: Vec::new(),
            stage: Stage::SessionCount,
            at: 0,
            held: Vec::new(),
            needs: 0,
            failed: None,
        }
    }

    /// For a stream that we wrote ourselves.
    pub(super) fn of_file(zxid: Zxid, tree_seed: u64) -> Loader {
        Loader { exact: true, ..Loader::new(zxid, tree_seed, Limits::MOST) }
    }

    /// Takes a prefix of `bytes`, all of it unless the stream ends within. An error is final.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, SnapshotError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.take(bytes).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Fed, SnapshotError> {
        let mut used = 0;
        while self.stage != Stage::Done {
            let rest = &bytes[used..];
            if self.held.is_empty() {
                match self.step(rest)? {
                    Step::Took(n) => {
                        self.at += n as u64;
                        used += n;
                    }
                    Step::Needs(needs) => {
                        self.needs = needs;
                        self.held.extend_from_slice(rest);
                        return Ok(Fed { used: bytes.len(), done: false });
                    }
                }
                continue;
            }
            let missing = self.needs - self.held.len();
            let piece = &rest[..missing.min(rest.len())];
            self.held.extend_from_slice(piece);
            used += piece.len();
            if piece.len() < missing {
                return Ok(Fed { used, done: false });
            }
            let mut held = std::mem::take(&mut self.held);
            match self.step(&held)? {
                Step::Took(n) => {
                    assert_eq!(n, held.len(), "no more was gathered than the item has");
                    self.at += n as u64;
                    held.clear();
                    held.shrink_to(1 << 20);
                }
                Step::Needs(needs) => self.needs = needs,
            }
            self.held = held;
        }
        Ok(Fed { used, done: true })
    }

    /// How many bytes of the stream were taken in.
    pub fn position(&self) -> u64 {
        self.at + self.held.len() as u64
    }

    /// The state. Panics unless [`Loader::feed`] has said that the stream is complete.
    pub fn finish(self) -> Loaded {
        assert_eq!(self.stage, Stage::Done, "the stream is complete");
        let sessions = self.sessions.into_iter().map(|(id, timeout)| (SessionId(id), timeout)).collect();
        Loaded { tree: self.restoring.finish(self.zxid), sessions }
    }

    /// Takes the next item from the beginning of `bytes`, if all of it is there.
    fn step(&mut self, bytes: &[u8]) -> Result<Step, SnapshotError> {
        match self.stage {
            Stage::SessionCount => {
                self.count(bytes, "the number of sessions", |left| Stage::Session { left })
            }
            Stage::Session { left: 0 } => self.go_to(Stage::AclCount),
            Stage::Session { left } => self.session(bytes, left),
            Stage::AclCount => self.count(bytes, "the number of ACLs", |left| Stage::Acl { left }),
            Stage::Acl { left: 0 } => self.go_to(Stage::Node),
            Stage::Acl { left } => self.acl(bytes, left),
            Stage::AclEntry { left, id, entries: 0 } => self.end_of_acl(left, id),
            Stage::AclEntry { left, id, entries } => self.acl_entry(bytes, left, id, entries),
            Stage::Node => self.node(bytes),
            Stage::Signature => self.signature(bytes),
            Stage::Done => Ok(Step::Took(0)),
        }
    }

    fn go_to(&mut self, stage: Stage) -> Result<Step, SnapshotError> {
        self.stage = stage;
        Ok(Step::Took(0))
    }

    fn count(
        &mut self,
        bytes: &[u8],
        what: &'static str,
        stage: impl Fn(usize) -> Stage,
    ) -> Result<Step, SnapshotError> {
        let Some(count) = read_i32(bytes, 0) else { return Ok(Step::Needs(4)) };
        self.stage = stage(self.length(0, what, count, i32::MAX as usize)?);
        Ok(Step::Took(4))
    }

    fn session(&mut self, bytes: &[u8], left: usize) -> Result<Step, SnapshotError> {
        let (Some(id), Some(timeout)) = (read_i64(bytes, 0), read_i32(bytes, 8)) else {
            return Ok(Step::Needs(12));
        };
        if self.sessions.insert(id, timeout).is_some() {
            return Err(SnapshotError::Duplicate { at: self.at, what: "session", id });
        }
        self.stage = Stage::Session { left: left - 1 };
        Ok(Step::Took(12))
    }

    fn acl(&mut self, bytes: &[u8], left: usize) -> Result<Step, SnapshotError> {
        let (Some(id), Some(entries)) = (read_i64(bytes, 0), read_i32(bytes, 8)) else {
            return Ok(Step::Needs(12));
        };
        if id == OPEN_ACL {
            return Err(SnapshotError::ReservedAcl { at: self.at });
        }
        if self.acls.contains_key(&id) {
            return Err(SnapshotError::Duplicate { at: self.at, what: "ACL", id });
        }
        let count = self.length(8, "the length of an ACL", entries, self.limits.acl / MIN_ACL_ENTRY)?;
        self.list.clear();
        put_i32(&mut self.list, entries);
        self.stage = Stage::AclEntry { left, id, entries: count };
        Ok(Step::Took(12))
    }

    fn acl_entry(
        &mut self,
        bytes: &[u8],
        left: usize,
        id: i64,
        entries: usize,
    ) -> Result<Step, SnapshotError> {
        let most = self.limits.acl - self.list.len().min(self.limits.acl);
        let mut end = 4;
        for what in ["the length of an ACL's scheme", "the length of an ACL's id"] {
            let Some(len) = read_i32(bytes, end) else { return Ok(Step::Needs(end + 4)) };
            end += 4 + if len == -1 { 0 } else { self.length(end, what, len, most)? };
        }
        let Some(entry) = bytes.get(..end) else { return Ok(Step::Needs(end)) };
        self.list.extend_from_slice(entry);
        self.stage = Stage::AclEntry { left, id, entries: entries - 1 };
        Ok(Step::Took(end))
    }

    fn end_of_acl(&mut self, left: usize, id: i64) -> Result<Step, SnapshotError> {
        let list = AclList::read(&mut Reader::new(&self.list)).expect("its entries were read one by one");
        self.acls.insert(id, self.restoring.acl(list));
        self.go_to(Stage::Acl { left: left - 1 })
    }

    fn node(&mut self, bytes: &[u8]) -> Result<Step, SnapshotError> {
        let Some(path_len) = read_i32(bytes, 0) else { return Ok(Step::Needs(4)) };
        let path_end = 4 + self.length(0, "the length of a path", path_len, self.limits.path)?;
        let Some(path) = bytes.get(4..path_end) else { return Ok(Step::Needs(path_end)) };
        if path == END_OF_NODES.as_bytes() {
            if !self.restoring.has_root() {
                return Err(SnapshotError::NoRoot);
            }
            self.stage = Stage::Signature;
            return Ok(Step::Took(path_end));
        }
        let Some(data_len) = read_i32(bytes, path_end) else { return Ok(Step::Needs(path_end + 4)) };
        let data_at = path_end + 4;
        let data_end = match data_len {
            -1 => data_at,
            len => data_at + self.length(path_end, "the length of a node's data", len, self.limits.data)?,
        };
        let end = data_end + 8 + STAT_BYTES;
        let Some(rest) = bytes.get(data_end..end) else { return Ok(Step::Needs(end)) };
        let data = (data_len != -1).then(|| &bytes[data_at..data_end]);
        let path = std::str::from_utf8(path).map_err(|_| SnapshotError::NotText { at: self.at + 4 })?;
        let (acl, stat) = acl_and_stat(rest).expect("as many bytes as these have");
        let acl = self.acl_of(path, acl, &stat)?;
        let inserted = self.restoring.insert(path, data, acl, &stat);
        inserted.map_err(|source| SnapshotError::Node { at: self.at, path: path.to_owned(), source })?;
        Ok(Step::Took(end))
    }

    /// The list under this number. A leader writes its ACLs before its nodes, so that a node can have one that is
    /// younger than the list of ACLs: if the node itself is younger than the snapshot, or its ACL was ever set. The
    /// transaction that gave it is then among those that follow and gives it again; until then nobody may do
    /// anything.
    fn acl_of(&mut self, path: &str, number: i64, stat: &StatPersisted) -> Result<AclId, SnapshotError> {
        if let Some(&id) = self.acls.get(&number) {
            return Ok(id);
        }
        let may_be_younger = stat.czxid > self.zxid || stat.aversion != 0;
        if self.exact || !may_be_younger {
            return Err(SnapshotError::UnknownAcl { at: self.at, path: path.to_owned(), acl: number });
        }
        tracing::warn!(
            path,
            acl = number,
            "a node's ACL is younger than the snapshot: it is closed until it comes"
        );
        let closed = self.restoring.acl(AclList::encode(&[], &mut Vec::new()));
        self.acls.insert(number, closed);
        Ok(closed)
    }

    fn signature(&mut self, bytes: &[u8]) -> Result<Step, SnapshotError> {
        let wrong = SnapshotError::Signature { at: self.at };
        let Some(len) = read_i32(bytes, 0) else { return Ok(Step::Needs(4)) };
        if len as usize != SIGNATURE.len() {
            return Err(wrong);
        }
        let end = 4 + SIGNATURE.len();
        match bytes.get(4..end) {
            None => Ok(Step::Needs(end)),
            Some(found) if found == SIGNATURE.as_bytes() => {
                self.stage = Stage::Done;
                Ok(Step::Took(end))
            }
            Some(_) => Err(wrong),
        }
    }

    /// A length or count, `behind` bytes behind the item's first byte.
    fn length(
        &self,
        behind: usize,
        what: &'static str,
        value: i32,
        most: usize,
    ) -> Result<usize, SnapshotError> {
        let length = usize::try_from(value).ok().filter(|&length| length <= most);
        length.ok_or(SnapshotError::Length { at: self.at + behind as u64, what, value, most })
    }
}

/// perms and two empty strings.
const MIN_ACL_ENTRY: usize = 12;

pub(super) fn acl_and_stat(bytes: &[u8]) -> Result<(i64, StatPersisted), JuteError> {
    let mut reader = Reader::new(bytes);
    let acl = reader.i64()?;
    let stat = StatPersisted {
        czxid: Zxid::from_raw(reader.i64()?),
        mzxid: Zxid::from_raw(reader.i64()?),
        ctime: reader.i64()?,
        mtime: reader.i64()?,
        version: reader.i32()?,
        cversion: reader.i32()?,
        aversion: reader.i32()?,
        ephemeral_owner: reader.i64()?,
        pzxid: Zxid::from_raw(reader.i64()?),
    };
    Ok((acl, stat))
}

fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|chunk| i32::from_be_bytes(*chunk))
}

fn read_i64(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk))
}
