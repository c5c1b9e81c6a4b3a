//! Loads of the previous snapshot what a piece of log touches: the second pass of a merge.
//!
//! What is loaded is a tree by itself, of all nodes that transactions may change or delete and of the ancestors of
//! these. Memory follows what was touched, and the ACLs; of all other nodes it is only counted which lists they have.

use std::collections::{BTreeMap, HashMap};

use super::super::{OPEN_ACL, SnapshotError};
use super::old::{Old, Record};
use super::order::{behind_prefix, common_prefix};
use super::touched::{Fate, Touched};
use crate::id::SessionId;
use crate::io::Volume;
use crate::log::LogError;
use crate::tree::{AclId, RestoreError, Restoring, Tree};

/// See the module.
#[derive(Debug)]
pub(super) struct Loading {
    old: Old,
    touched: Touched,
    restoring: Restoring,
    sessions: BTreeMap<SessionId, i32>,
    lists: Lists,
    stage: Stage,
    /// Path of the node that came last.
    path: Vec<u8>,
    /// That node and its ancestors, from the root; behind these `depth` levels there are only buffers.
    trail: Vec<Level>,
    depth: usize,
    /// Length of the ancestor's path below which everything may be deleted.
    doomed: Option<usize>,
    nodes_at: u64,
    loaded: Vec<u64>,
}

/// What of the previous snapshot can change, and what else is to be known of it.
#[derive(Debug)]
pub(super) struct Part {
    pub tree: Tree,
    pub sessions: BTreeMap<SessionId, i32>,
    pub untouched: Untouched,
}

/// The nodes that are not in the tree.
#[derive(Debug)]
pub(super) struct Untouched {
    /// The body of the previous snapshot, from its first node on.
    pub old: Old,
    /// Offsets in it of the nodes that are in the tree, ascending.
    pub loaded: Vec<u64>,
    pub lists: Lists,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    SessionCount,
    Sessions { left: usize },
    AclCount,
    Acls { left: usize },
    Nodes,
    Done,
}

/// A node that may turn out to be an ancestor of a touched one. All of it is kept: a child's deletion may change it.
#[derive(Debug, Default)]
struct Level {
    path_len: usize,
    at: u64,
    /// As it stands in the stream.
    bytes: Vec<u8>,
    loaded: bool,
}

/// Buffers of nodes that are longer than this are given back.
const KEPT: usize = 64 << 10;

impl Loading {
    /// Before the first byte of a snapshot that is not converging.
    pub fn new(old: Old, touched: Touched, tree_seed: u64) -> Loading {
        let restoring = Restoring::new(tree_seed);
        Loading {
            old,
            touched,
            sessions: BTreeMap::new(),
            lists: Lists::new(restoring.open_acl()),
            restoring,
            stage: Stage::SessionCount,
            path: Vec::new(),
            trail: Vec::new(),
            depth: 0,
            doomed: None,
            nodes_at: 0,
            loaded: Vec::new(),
        }
    }

    /// Takes in the next piece of the body; the number of its bytes, or `None` if all nodes have come.
    pub fn next(&mut self, vol: &dyn Volume) -> Result<Option<u64>, LogError> {
        if matches!(self.stage, Stage::Done) {
            return Ok(None);
        }
        let read = self.old.read_on(vol)?;
        self.take().map_err(|source| self.old.wrong(vol, source))?;
        Ok(Some(read))
    }

    /// What was loaded. Panics unless all nodes have come.
    pub fn finish(self) -> Part {
        assert!(matches!(self.stage, Stage::Done), "all nodes have come");
        let published = self.old.published();
        let tree = self.restoring.finish_part(published.zxid(), published.digest());
        let old = self.old.again_from(self.nodes_at);
        let untouched = Untouched { old, loaded: self.loaded, lists: self.lists };
        Part { tree, sessions: self.sessions, untouched }
    }

    /// Takes all items that are at hand.
    fn take(&mut self) -> Result<(), SnapshotError> {
        loop {
            let goes_on = match self.stage {
                Stage::SessionCount => {
                    self.count("the number of sessions", |left| Stage::Sessions { left })?
                }
                Stage::Sessions { left: 0 } => self.go_to(Stage::AclCount),
                Stage::Sessions { left } => self.session(left),
                Stage::AclCount => self.count("the number of ACLs", |left| Stage::Acls { left })?,
                Stage::Acls { left: 0 } => {
                    self.nodes_at = self.old.position();
                    self.go_to(Stage::Nodes)
                }
                Stage::Acls { left } => self.acl(left)?,
                Stage::Nodes => return self.nodes(),
                Stage::Done => return Ok(()),
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn go_to(&mut self, stage: Stage) -> bool {
        self.stage = stage;
        true
    }

    fn count(&mut self, what: &'static str, stage: impl Fn(usize) -> Stage) -> Result<bool, SnapshotError> {
        Ok(self.old.count(what)?.is_some_and(|left| self.go_to(stage(left))))
    }

    fn session(&mut self, left: usize) -> bool {
        let Some((id, timeout)) = self.old.session() else { return false };
        self.sessions.insert(id, timeout);
        self.go_to(Stage::Sessions { left: left - 1 })
    }

    fn acl(&mut self, left: usize) -> Result<bool, SnapshotError> {
        let Some((number, list)) = self.old.acl()? else { return Ok(false) };
        let encoded = list.encoded();
        let used = 8 + encoded.len();
        self.lists.add(number, encoded, self.restoring.acl(list));
        self.old.skip(used);
        Ok(self.go_to(Stage::Acls { left: left - 1 }))
    }

    /// Takes all nodes that are at hand.
    fn nodes(&mut self) -> Result<(), SnapshotError> {
        let Loading { old, touched, restoring, lists, path, trail, depth, doomed, loaded, .. } = self;
        while let Some(record) = old.record()? {
            let at = old.position();
            if record.is_end() {
                if *depth == 0 {
                    return Err(SnapshotError::NoRoot);
                }
                self.stage = Stage::Done;
                return Ok(());
            }
            let common = common_prefix(path, record.path());
            let level = level_of(&trail[..*depth], path, record.path(), common);
            let level = level.map_err(|wrong| wrong.at(at, &record))?;
            if doomed.is_some_and(|len| common < len || record.path().get(len) != Some(&b'/')) {
                *doomed = None;
            }
            let fate = match doomed {
                Some(_) => Fate::Doomed,
                None => touched.fate(record.path(), record.owner()),
            };
            if fate == Fate::Doomed {
                doomed.get_or_insert(record.path().len());
            }
            lists.count(&record, 1).ok_or_else(|| unknown_acl(at, &record))?;
            if trail.len() == level {
                trail.push(Level::default());
            }
            trail[level].put(&record, at);
            *depth = level + 1;
            if fate != Fate::Untouched {
                for level in &mut trail[..=level] {
                    level.load(restoring, lists, loaded)?;
                }
            }
            path.truncate(common);
            path.extend_from_slice(&record.path()[common..]);
            let used = record.bytes.len();
            old.skip(used);
        }
        Ok(())
    }
}

impl Level {
    fn put(&mut self, record: &Record<'_>, at: u64) {
        (self.path_len, self.at, self.loaded) = (record.path().len(), at, false);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.bytes.extend_from_slice(record.bytes);
    }

    /// Sees to it that the node is in the tree.
    fn load(
        &mut self,
        restoring: &mut Restoring,
        lists: &mut Lists,
        loaded: &mut Vec<u64>,
    ) -> Result<(), SnapshotError> {
        if self.loaded {
            return Ok(());
        }
        self.loaded = true;
        let record = Record::whole(&self.bytes, self.path_len);
        let acl = lists.count(&record, -1).ok_or_else(|| unknown_acl(self.at, &record))?;
        let path = std::str::from_utf8(record.path());
        let path = path.map_err(|_| SnapshotError::NotText { at: self.at + 4 })?;
        let inserted = restoring.insert(path, record.data(), acl, &record.stat());
        inserted.map_err(|source| Misplaced::Unfit(source).at(self.at, &record))?;
        loaded.push(self.at);
        Ok(())
    }
}

/// Why a node cannot come where it comes.
enum Misplaced {
    Order,
    Unfit(RestoreError),
}

impl Misplaced {
    #[cold]
    fn at(self, at: u64, record: &Record<'_>) -> SnapshotError {
        let path = String::from_utf8_lossy(record.path()).into_owned();
        match self {
            Misplaced::Order => SnapshotError::Order { at, path },
            Misplaced::Unfit(source) => SnapshotError::Node { at, path, source },
        }
    }
}

#[cold]
fn unknown_acl(at: u64, record: &Record<'_>) -> SnapshotError {
    let path = String::from_utf8_lossy(record.path()).into_owned();
    SnapshotError::UnknownAcl { at, path, acl: record.acl() }
}

/// At which level of the trail a node comes, one below its parent, if it comes behind `previous` in the order of a
/// walk. `common` is what the two paths have in common.
fn level_of(trail: &[Level], previous: &[u8], path: &[u8], common: usize) -> Result<usize, Misplaced> {
    if trail.is_empty() {
        return if path.is_empty() { Ok(0) } else { Err(Misplaced::Unfit(RestoreError::NoParent)) };
    }
    if behind_prefix(previous, path, common).is_ge() {
        return Err(Misplaced::Order);
    }
    let Some(parent_len) = path.iter().rposition(|&byte| byte == b'/') else {
        return Err(Misplaced::Unfit(RestoreError::Path));
    };
    // The parent is the previous node or one of its ancestors, and so what the paths have in common begins with it.
    let parent = trail.iter().rposition(|level| level.path_len == parent_len);
    match parent {
        Some(parent) if common >= parent_len => Ok(parent + 1),
        _ => Err(Misplaced::Unfit(RestoreError::NoParent)),
    }
}

/// The ACLs of a snapshot, with the numbers that they have in it and with how many nodes have them that were not
/// loaded.
#[derive(Debug)]
pub(super) struct Lists {
    /// What stands for no list.
    open: AclId,
    lists: Vec<List>,
    by_number: HashMap<i64, usize>,
    /// What was looked up last: nearly always the next one too.
    latest: Option<(i64, usize)>,
}

#[derive(Debug)]
struct List {
    number: i64,
    encoded: Box<[u8]>,
    id: AclId,
    untouched: u64,
}

impl Lists {
    fn new(open: AclId) -> Lists {
        Lists { open, lists: Vec::new(), by_number: HashMap::new(), latest: None }
    }

    fn add(&mut self, number: i64, encoded: &[u8], id: AclId) {
        self.by_number.insert(number, self.lists.len());
        self.lists.push(List { number, encoded: encoded.into(), id, untouched: 0 });
    }

    /// Counts a node with its list; `None` if there is no such list.
    #[inline]
    fn count(&mut self, record: &Record<'_>, by: i64) -> Option<AclId> {
        let number = record.acl();
        if number == OPEN_ACL {
            return Some(self.open);
        }
        let index = match self.latest {
            Some((latest, index)) if latest == number => index,
            _ => *self.by_number.get(&number)?,
        };
        self.latest = Some((number, index));
        let list = &mut self.lists[index];
        list.untouched = list.untouched.wrapping_add_signed(by);
        Some(list.id)
    }

    /// Number and bytes of those that nodes have which were not loaded.
    pub fn untouched(&self) -> impl Iterator<Item = (i64, &[u8])> {
        let in_use = self.lists.iter().filter(|list| list.untouched > 0);
        in_use.map(|list| (list.number, &*list.encoded))
    }
}
