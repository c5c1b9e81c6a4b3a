//! Data directories of ours, made to be looked at: small segments, a bit of every kind of transaction, snapshots in
//! between, and a record of what must be found in them.
//!
//! The log is written by the engine. Snapshots that a node makes beside its log are put together here from the bytes of
//! one that was received and the drawing in `docs/disk.md`, so that whoever reads them agrees with the page.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_engine::log::{Epochs, LogOptions};
use ringkeeper_engine::tree::{NodeKind, OpResult, Tree};
use ringkeeper_engine::txn::{
    self, Acl, AclList, MultiBuilder, PathList, Txn, TxnDigest, TxnHeader, code, kind,
};
use ringkeeper_tools::build::Builder;

/// Bytes of a block, and of the header of segments and snapshots.
pub const BLOCK: usize = 4096;
/// The first transaction's time: 2026-11-05T12:20:17Z, and a second more with each.
pub const FIRST_MS: i64 = 1_793_881_217_000;

/// Sessions with their timeouts.
pub type Sessions = BTreeMap<SessionId, i32>;

/// A transaction, as it went into the log.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its zxid.
    pub zxid: Zxid,
    /// What a PROPOSAL carries.
    pub payload: Vec<u8>,
}

/// A directory in the making, and what was put into it.
#[derive(Debug)]
pub struct Maker {
    dir: PathBuf,
    builder: Builder,
    rng: Rng,
    epoch: Epoch,
    counter: u32,
    /// The state after the last transaction.
    pub tree: Tree,
    /// The live sessions.
    pub sessions: Sessions,
    /// Everything that was appended.
    pub history: Vec<Made>,
}

/// Measures of its log: as small as tests like it.
pub fn options(seed: u64) -> LogOptions {
    LogOptions {
        segment_bytes: 16 * BLOCK as u64,
        batch_bytes: 2 * BLOCK,
        prepare_ahead: 1,
        reserve_bytes: 0,
        ..LogOptions::new(seed)
    }
}

impl Maker {
    /// Begins with nothing.
    pub fn begin(dir: &Path, seed: u64) -> Maker {
        let builder = Builder::create_with(dir, options(seed)).expect("making a directory");
        let (tree, sessions) = (Tree::new(seed), Sessions::new());
        let (dir, rng) = (dir.to_owned(), Rng::with_seed(seed));
        Maker { dir, builder, rng, epoch: Epoch(1), counter: 0, tree, sessions, history: Vec::new() }
    }

    /// Begins with the state of another one, as if a leader had sent it.
    pub fn begin_behind(dir: &Path, seed: u64, other: &Maker) -> Maker {
        let mut maker = Maker::begin(dir, seed);
        let sessions: Vec<_> = other.sessions.iter().map(|(&id, &timeout)| (id, timeout)).collect();
        maker.builder.begin_behind(&other.tree, &sessions).expect("beginning behind a snapshot");
        (maker.tree, maker.sessions) = replay(&other.history);
        (maker.epoch, maker.counter) = (other.epoch, other.counter);
        maker
    }

    /// The last transaction.
    pub fn last(&self) -> Zxid {
        self.history.last().map_or(self.tree.last_zxid(), |made| made.zxid)
    }

    /// The next transactions are another leader's.
    pub fn next_epoch(&mut self) {
        (self.epoch, self.counter) = (Epoch(self.epoch.0 + 1), 0);
    }

    /// Appends one transaction of `session`; its digest is added.
    pub fn append(&mut self, session: SessionId, kind: i32, txn: &Txn<'_>) -> Zxid {
        self.counter += 1;
        let zxid = Zxid::new(self.epoch, self.counter);
        let time = FIRST_MS + 1000 * self.history.len() as i64;
        let header = TxnHeader { client_id: session, cxid: self.counter as i32, zxid, time, kind };
        apply(&mut self.tree, &mut self.sessions, &header, txn);
        let digest = (kind != kind::ERROR).then(|| TxnDigest::new(self.tree.digest()));
        let mut payload = Vec::new();
        txn::encode_into(&header, txn, digest, &mut payload);
        self.builder.append(zxid, &payload).expect("appending");
        self.history.push(Made { zxid, payload });
        zxid
    }

    /// Makes durable what was appended, in batches of its own.
    pub fn settle(&mut self) {
        self.builder.settle().expect("writing the log");
    }

    /// Appends so many transactions of all kinds, in batches of a few.
    pub fn fill(&mut self, txns: usize) {
        for _ in 0..txns {
            self.any();
            if self.rng.u8(..4) == 0 {
                self.settle();
            }
        }
        self.settle();
    }

    fn any(&mut self) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        let session = match self.rng.choice(&ids) {
            Some(&id) if ids.len() > 3 || self.rng.u8(..8) > 0 => id,
            _ => {
                let id = SessionId(0x1000_0000_0000_0000 + self.rng.i64(1..1 << 40));
                self.append(id, kind::CREATE_SESSION, &Txn::CreateSession { timeout: 30_000 });
                return;
            }
        };
        match self.rng.u8(..20) {
            0 => self.close(session),
            1 => drop(self.append(session, kind::ERROR, &Txn::Error { err: code::NODE_EXISTS })),
            2 => self.multi(session),
            3..=5 => self.delete(session),
            6..=11 => self.set(session),
            12 => self.set_acl(session),
            _ => self.create(session),
        }
    }

    fn close(&mut self, session: SessionId) {
        let mut paths = Vec::new();
        for id in self.tree.ephemerals_of(session) {
            let mut path = String::new();
            self.tree.path_of(id, &mut path);
            paths.push(path);
        }
        let mut encoded = Vec::new();
        let list = PathList::encode(paths.iter().map(String::as_str), &mut encoded);
        // Old servers do not list them.
        let paths = self.rng.bool().then_some(list);
        self.append(session, kind::CLOSE_SESSION, &Txn::CloseSession { paths });
    }

    fn data(&mut self) -> Vec<u8> {
        let len = if self.rng.u8(..10) == 0 { self.rng.usize(..3000) } else { self.rng.usize(..60) };
        let text = self.rng.bool();
        (0..len).map(|_| if text { self.rng.lowercase() as u8 } else { self.rng.u8(..) }).collect()
    }

    /// The nodes of clients, in some order that depends on the seed alone.
    fn nodes(&self) -> Vec<String> {
        let mut paths = paths(&self.tree);
        paths.retain(|path| !path.starts_with("/zookeeper"));
        paths
    }

    fn create(&mut self, session: SessionId) {
        let may_have_children = |path: &String| {
            let id = self.tree.find(path).expect("it was listed");
            !matches!(self.tree.node(id).kind(), NodeKind::Ephemeral(_))
        };
        let parents: Vec<String> = self.nodes().into_iter().filter(may_have_children).collect();
        let parent = self.rng.choice(&parents).cloned().unwrap_or_default();
        let path = format!("{}/{}", parent.trim_end_matches('/'), name(&mut self.rng));
        if self.tree.find(&path).is_some() {
            return;
        }
        let id = self.tree.find(&parent).expect("it was chosen among those that are there");
        let parent_cversion = self.tree.node(id).persisted().cversion + 1;
        let data = self.data();
        let data = (self.rng.u8(..10) > 0).then_some(&data[..]);
        let (list, mut encoded) = (acl(&mut self.rng), Vec::new());
        let acl = AclList::encode(&list, &mut encoded);
        let (kind, txn) = match self.rng.u8(..10) {
            0 => (kind::CREATE_CONTAINER, Txn::CreateContainer { path: &path, data, acl, parent_cversion }),
            1 => (kind::CREATE_TTL, Txn::CreateTtl { path: &path, data, acl, parent_cversion, ttl: 60_000 }),
            n => {
                let ephemeral = n < 5;
                (kind::CREATE2, Txn::Create { path: &path, data, acl, ephemeral, parent_cversion })
            }
        };
        self.append(session, kind, &txn);
    }

    fn delete(&mut self, session: SessionId) {
        let is_leaf = |path: &String| {
            let id = self.tree.find(path).expect("it was listed");
            path != "/" && self.tree.node(id).child_count() == 0
        };
        let leaves: Vec<String> = self.nodes().into_iter().filter(is_leaf).collect();
        if let Some(path) = self.rng.choice(&leaves).cloned() {
            self.append(session, kind::DELETE, &Txn::Delete { path: &path });
        }
    }

    fn pick(&mut self) -> (String, i32, i32) {
        let nodes = self.nodes();
        let path = self.rng.choice(&nodes).cloned().expect("there is the root");
        let stat = self.tree.node(self.tree.find(&path).expect("it was listed")).persisted();
        (path, stat.version + 1, stat.aversion + 1)
    }

    fn set(&mut self, session: SessionId) {
        let ((path, version, _), data) = (self.pick(), self.data());
        self.append(session, kind::SET_DATA, &Txn::SetData { path: &path, data: Some(&data), version });
    }

    fn set_acl(&mut self, session: SessionId) {
        let (path, _, version) = self.pick();
        let (list, mut encoded) = (acl(&mut self.rng), Vec::new());
        let acl = AclList::encode(&list, &mut encoded);
        self.append(session, kind::SET_ACL, &Txn::SetAcl { path: &path, acl, version });
    }

    /// One that sets two nodes and checks a third, or one that failed.
    fn multi(&mut self, session: SessionId) {
        let mut multi = MultiBuilder::new();
        if self.rng.u8(..4) == 0 {
            multi.push(kind::ERROR, &Txn::Error { err: 0 });
            multi.push(kind::ERROR, &Txn::Error { err: code::NO_NODE });
        } else {
            let ((first, version, _), data) = (self.pick(), self.data());
            multi.push(kind::SET_DATA, &Txn::SetData { path: &first, data: Some(&data), version });
            let ((second, mut version, _), data) = (self.pick(), self.data());
            version += i32::from(first == second);
            multi.push(kind::SET_DATA, &Txn::SetData { path: &second, data: Some(&data), version });
            multi.push(kind::CHECK, &Txn::Check { path: &second, version: version + 1 });
        }
        self.append(session, kind::MULTI, &Txn::Multi(multi.multi()));
    }

    /// Puts a snapshot of the state after the last transaction beside the log, as a node makes it.
    pub fn snapshot(&mut self) -> PathBuf {
        self.settle();
        let home = tempfile::tempdir_in(self.dir.parent().expect("a directory above")).expect("a directory");
        let received = home.path().join("received");
        drop(Maker::begin_behind(&received, 1, self));
        let zxid = self.tree.last_zxid().raw();
        let mut bytes = fs::read(received.join(format!("snapshot.{zxid:016x}-00000002"))).expect("reading");
        let (seq, batch_crc) = batch_of(&self.dir, zxid).expect("its transaction is in the log");
        let database = fs::read(self.dir.join("marks")).expect("reading")[16..24].to_vec();
        bytes[16..24].copy_from_slice(&database);
        bytes[32..40].copy_from_slice(&seq.to_le_bytes());
        bytes[56..60].copy_from_slice(&0u32.to_le_bytes());
        bytes[64..68].copy_from_slice(&2u32.to_le_bytes());
        bytes[68..72].copy_from_slice(&batch_crc.to_le_bytes());
        let crc = block_crc(&bytes[..BLOCK]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let path = self.dir.join(format!("snapshot.{zxid:016x}-00000000"));
        fs::write(&path, bytes).expect("writing");
        path
    }

    /// Ends the directory in order.
    pub fn finish(mut self) -> (PathBuf, Vec<Made>) {
        self.settle();
        let epochs = Epochs { accepted: self.epoch, current: self.epoch, nonvoting: false };
        self.builder.finish(epochs).expect("finishing");
        (self.dir, self.history)
    }
}

/// The checksum of a block that holds it at 12..16, as headers of snapshots and slots do.
pub fn block_crc(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[16..])
}

/// Sequence number and header crc of the batch that has this transaction as its last one.
fn batch_of(dir: &Path, zxid: i64) -> Option<(u64, u32)> {
    for place in batches(dir) {
        if place.last == zxid {
            return Some((place.seq, place.header_crc));
        }
    }
    None
}

/// Where a batch of the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub file: PathBuf,
    /// Offset of its header.
    pub offset: usize,
    /// Bytes, without padding.
    pub len: usize,
    /// Its number.
    pub seq: u64,
    /// `header_crc`.
    pub header_crc: u32,
    /// Its first transaction.
    pub first: i64,
    /// Its last one.
    pub last: i64,
}

/// All batches of a directory that was never cut, in order, as the drawing in `docs/disk.md` has them.
pub fn batches(dir: &Path) -> Vec<Place> {
    let mut found = Vec::new();
    for file in files(dir, "log.") {
        let bytes = fs::read(&file).expect("reading a segment");
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let int = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let id = long(32);
        let mut at = BLOCK;
        while at + 64 <= bytes.len() && long(at + 40) == id && id != 0 {
            let len = 64 + int(at + 48) as usize;
            let (first, last) = (long(at + 16).cast_signed(), long(at + 24).cast_signed());
            let (seq, header_crc) = (long(at + 8), int(at));
            found.push(Place { file: file.clone(), offset: at, len, seq, header_crc, first, last });
            at += len.next_multiple_of(BLOCK);
        }
    }
    found.sort_by_key(|place| place.seq);
    found
}

/// The files whose names begin so, in order.
pub fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("listing").map(|entry| entry.expect("an entry").path());
    let has_prefix =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let mut found: Vec<PathBuf> = entries.filter(has_prefix).collect();
    found.sort();
    found
}

/// Tree and sessions after these transactions.
pub fn replay(history: &[Made]) -> (Tree, Sessions) {
    let (mut tree, mut sessions) = (Tree::new(7), Sessions::new());
    for made in history {
        let (header, txn, _) = txn::decode(&made.payload).expect("it was encoded");
        apply(&mut tree, &mut sessions, &header, &txn);
    }
    (tree, sessions)
}

fn apply(tree: &mut Tree, sessions: &mut Sessions, header: &TxnHeader, txn: &Txn<'_>) {
    match tree.apply(header, txn, None, &mut |_| ()).result {
        OpResult::SessionCreated { timeout } => drop(sessions.insert(header.client_id, timeout)),
        OpResult::SessionClosed => drop(sessions.remove(&header.client_id)),
        _ => {}
    }
}

/// The paths of all nodes, in canonical order.
pub fn paths(tree: &Tree) -> Vec<String> {
    let mut pending = vec![tree.find("/").expect("every tree has a root")];
    let mut found = Vec::new();
    while let Some(id) = pending.pop() {
        let mut path = String::new();
        tree.path_of(id, &mut path);
        found.push(path);
        pending.extend(tree.node(id).children());
    }
    found.sort_by(|a, b| a.split('/').cmp(b.split('/')));
    // The root is called "/" here, and comes first anyhow.
    found.sort_by_key(|path| path != "/");
    found
}

fn name(rng: &mut Rng) -> String {
    let names = ["a", "b", "c-1", "c", "lock", "größer", "n.0"];
    format!("{}{}", names[rng.usize(..names.len())], rng.u8(..20))
}

fn acl(rng: &mut Rng) -> Vec<Acl> {
    match rng.u8(..4) {
        0 => vec![Acl { perms: 31, scheme: "ip".into(), id: "127.0.0.1".into() }, Acl::world(Acl::READ)],
        1 => vec![Acl::world(Acl::READ)],
        _ => vec![Acl::world(Acl::ALL)],
    }
}
