//! Takes a stream in pieces of any size and builds the tree, node by node.
//!
//! Every length is held against a limit and nothing is allocated for what is only announced: memory follows the bytes
//! that came (`items`). The first error is the last: the loader gives the same one from then on.

use std::collections::{BTreeMap, HashMap};

use super::items::{self, Head, Pieces, STAT_BYTES, TakeItems, Taken};
use super::{OPEN_ACL, SnapshotError};
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

    /// The same, but for what no tree could hold.
    pub(super) fn possible(self) -> Limits {
        let Limits { path, data, acl } = Limits::MOST;
        Limits { path: self.path.min(path), data: self.data.min(data), acl: self.acl.min(acl) }
    }
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

/// Builds a tree from a stream; see the module.
#[derive(Debug)]
pub struct Loader {
    pieces: Pieces,
    building: Building,
    failed: Option<SnapshotError>,
}

/// What the items make.
#[derive(Debug)]
struct Building {
    zxid: Zxid,
    limits: Limits,
    /// The stream is one of our own files: consistent in itself, and nothing follows that could mend it.
    exact: bool,
    restoring: Restoring,
    sessions: BTreeMap<i64, i32>,
    acls: HashMap<i64, AclId>,
    /// The ACL asked for last: nearly always the next one too.
    latest: (i64, AclId),
    /// The list being read, encoded.
    list: Vec<u8>,
    stage: Stage,
    /// Offset in the stream of the item being taken.
    at: u64,
}

impl Loader {
    /// For the stream of any leader, announced as the state after `zxid`. It may be ahead of that in parts; what makes
    /// up for it are the transactions behind it, applied to the tree that this makes
    /// ([`Tree::is_converging`]). `tree_seed` as for [`Tree::new`].
    pub fn new(zxid: Zxid, tree_seed: u64, limits: Limits) -> Loader {
        let restoring = Restoring::new(tree_seed);
        let building = Building {
            zxid,
            limits: limits.possible(),
            exact: false,
            sessions: BTreeMap::new(),
            acls: HashMap::from([(OPEN_ACL, restoring.open_acl())]),
            latest: (OPEN_ACL, restoring.open_acl()),
            restoring,
            list: Vec::new(),
            stage: Stage::SessionCount,
            at: 0,
        };
        Loader { pieces: Pieces::default(), building, failed: None }
    }

    /// For a stream that we wrote ourselves.
    pub(super) fn of_file(zxid: Zxid, tree_seed: u64) -> Loader {
        let mut loader = Loader::new(zxid, tree_seed, Limits::MOST);
        loader.building.exact = true;
        loader
    }

    /// Takes a prefix of `bytes`, all of it unless the stream ends within. An error is final.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, SnapshotError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let fed = self.pieces.feed(&mut self.building, bytes);
        fed.inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// How many bytes of the stream were taken in.
    pub fn position(&self) -> u64 {
        self.pieces.position()
    }

    /// The state. Panics unless [`Loader::feed`] has said that the stream is complete.
    pub fn finish(self) -> Loaded {
        let Building { zxid, restoring, sessions, stage, .. } = self.building;
        assert_eq!(stage, Stage::Done, "the stream is complete");
        let sessions = sessions.into_iter().map(|(id, timeout)| (SessionId(id), timeout)).collect();
        Loaded { tree: restoring.finish(zxid), sessions }
    }
}

impl TakeItems for Building {
    fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    fn take(&mut self, at: u64, bytes: &[u8]) -> Result<Taken, SnapshotError> {
        self.at = at;
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
            Stage::Done => Ok(Taken::Took(0)),
        }
    }
}

impl Building {
    fn go_to(&mut self, stage: Stage) -> Result<Taken, SnapshotError> {
        self.stage = stage;
        Ok(Taken::Took(0))
    }

    fn count(
        &mut self,
        bytes: &[u8],
        what: &'static str,
        stage: impl Fn(usize) -> Stage,
    ) -> Result<Taken, SnapshotError> {
        let Some(count) = items::count(self.at, what, bytes)? else { return Ok(Taken::Needs(4)) };
        self.stage = stage(count);
        Ok(Taken::Took(4))
    }

    fn session(&mut self, bytes: &[u8], left: usize) -> Result<Taken, SnapshotError> {
        let Some((id, timeout)) = items::pair(bytes) else { return Ok(Taken::Needs(12)) };
        if self.sessions.insert(id, timeout).is_some() {
            return Err(SnapshotError::Duplicate { at: self.at, what: "session", id });
        }
        self.stage = Stage::Session { left: left - 1 };
        Ok(Taken::Took(12))
    }

    fn acl(&mut self, bytes: &[u8], left: usize) -> Result<Taken, SnapshotError> {
        let Some((id, entries)) = items::pair(bytes) else { return Ok(Taken::Needs(12)) };
        if id == OPEN_ACL {
            return Err(SnapshotError::ReservedAcl { at: self.at });
        }
        if self.acls.contains_key(&id) {
            return Err(SnapshotError::Duplicate { at: self.at, what: "ACL", id });
        }
        let count = items::acl_entries(self.at, entries, &self.limits)?;
        self.list.clear();
        put_i32(&mut self.list, entries);
        self.stage = Stage::AclEntry { left, id, entries: count };
        Ok(Taken::Took(12))
    }

    fn acl_entry(
        &mut self,
        bytes: &[u8],
        left: usize,
        id: i64,
        entries: usize,
    ) -> Result<Taken, SnapshotError> {
        let taken = items::acl_entry(self.at, bytes, self.list.len(), &self.limits)?;
        if let Taken::Took(end) = taken {
            self.list.extend_from_slice(&bytes[..end]);
            self.stage = Stage::AclEntry { left, id, entries: entries - 1 };
        }
        Ok(taken)
    }

    fn end_of_acl(&mut self, left: usize, id: i64) -> Result<Taken, SnapshotError> {
        let list = AclList::read(&mut Reader::new(&self.list)).expect("its entries were read one by one");
        self.acls.insert(id, self.restoring.acl(list));
        self.go_to(Stage::Acl { left: left - 1 })
    }

    fn node(&mut self, bytes: &[u8]) -> Result<Taken, SnapshotError> {
        let (path, data_at, data) = match items::head(self.at, bytes, &self.limits)? {
            Head::Needs(needs) => return Ok(Taken::Needs(needs)),
            Head::End(end) if self.restoring.has_root() => {
                self.stage = Stage::Signature;
                return Ok(Taken::Took(end));
            }
            Head::End(_) => return Err(SnapshotError::NoRoot),
            Head::Node { path, data_at, data } => (path, data_at, data),
        };
        let data_end = data_at + data.unwrap_or(0);
        let end = data_end + 8 + STAT_BYTES;
        let Some(rest) = bytes.get(data_end..end) else { return Ok(Taken::Needs(end)) };
        let data = data.map(|_| &bytes[data_at..data_end]);
        let path = std::str::from_utf8(path).map_err(|_| SnapshotError::NotText { at: self.at + 4 })?;
        let (acl, stat) = acl_and_stat(rest).expect("as many bytes as these have");
        let acl = self.acl_of(path, acl, &stat)?;
        let inserted = self.restoring.insert(path, data, acl, &stat);
        inserted.map_err(|source| SnapshotError::Node { at: self.at, path: path.to_owned(), source })?;
        Ok(Taken::Took(end))
    }

    /// The list under this number. A leader writes its ACLs before its nodes, so that a node can have one that is
    /// younger than the list of ACLs: if the node itself is younger than the snapshot, or its ACL was ever set. The
    /// transaction that gave it is then among those that follow and gives it again; until then nobody may do
    /// anything.
    fn acl_of(&mut self, path: &str, number: i64, stat: &StatPersisted) -> Result<AclId, SnapshotError> {
        if self.latest.0 == number {
            return Ok(self.latest.1);
        }
        if let Some(&id) = self.acls.get(&number) {
            self.latest = (number, id);
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

    fn signature(&mut self, bytes: &[u8]) -> Result<Taken, SnapshotError> {
        let taken = items::signature(self.at, bytes)?;
        if matches!(taken, Taken::Took(_)) {
            self.stage = Stage::Done;
        }
        Ok(taken)
    }
}

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
