//! The readers against files of our own making, damaged in every way. That Apache's files look like these is proved
//! with Apache's servers, in the tests of whole nodes.

mod directory;
mod log;
mod snapshot;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::tree::Tree;
use ringkeeper_engine::txn::{self, Acl, AclList, PathList, Txn, TxnDigest, TxnHeader, kind};

use super::*;

/// Transactions as a leader would have logged them, each with its digest, and what they lead to.
struct History {
    tree: Tree,
    sessions: Vec<(SessionId, i32)>,
    txns: Vec<(Zxid, Vec<u8>)>,
    next: Zxid,
}

/// The session of everything.
const SESSION: SessionId = SessionId(0x0100_0000_0000_0007);

impl History {
    fn new() -> History {
        History { tree: Tree::new(1), sessions: Vec::new(), txns: Vec::new(), next: Zxid::from_raw(1) }
    }

    fn push(&mut self, kind: i32, txn: &Txn<'_>) {
        let zxid = self.next;
        let header =
            TxnHeader { client_id: SESSION, cxid: 1, zxid, time: 1_795_000_000_000 + zxid.raw(), kind };
        self.tree.apply(&header, txn, None, &mut |_| ());
        match *txn {
            Txn::CreateSession { timeout } => self.sessions.push((SESSION, timeout)),
            Txn::CloseSession { .. } => self.sessions.clear(),
            _ => {}
        }
        let mut payload = Vec::new();
        txn::encode_into(&header, txn, Some(TxnDigest::new(self.tree.digest())), &mut payload);
        self.txns.push((zxid, payload));
        self.next = zxid.successor().unwrap();
    }

    fn create(&mut self, path: &str, data: &[u8]) {
        let mut encoded = Vec::new();
        let acl = AclList::encode(&[Acl::world(Acl::ALL)], &mut encoded);
        let ephemeral = path.contains("ephemeral");
        let parent = path.rsplit_once('/').unwrap().0;
        let parent = self.tree.node(self.tree.find(parent).unwrap());
        let parent_cversion = parent.persisted().cversion + 1;
        self.push(kind::CREATE, &Txn::Create { path, data: Some(data), acl, ephemeral, parent_cversion });
    }

    fn set(&mut self, path: &str, data: &[u8]) {
        self.push(kind::SET_DATA, &Txn::SetData { path, data: Some(data), version: 1 });
    }

    /// A bit of everything.
    fn mixed(nodes: usize) -> History {
        let mut history = History::new();
        history.push(kind::CREATE_SESSION, &Txn::CreateSession { timeout: 30_000 });
        for i in 0..nodes {
            history.create(&format!("/n{i}"), &vec![b'a' + (i % 26) as u8; 3 + i % 90]);
            if i % 3 == 0 {
                history.create(&format!("/n{i}/ephemeral"), b"");
            }
            if i % 4 == 1 {
                history.set(&format!("/n{}", i / 2), b"changed");
            }
        }
        history
    }

    fn close_session(&mut self) {
        let paths: Vec<String> = (0..self.txns.len()).map(|i| format!("/n{i}/ephemeral")).collect();
        let paths = paths.iter().map(String::as_str).filter(|path| self.tree.find(path).is_some());
        let mut encoded = Vec::new();
        let paths = Some(PathList::encode(paths.collect::<Vec<_>>(), &mut encoded));
        self.push(kind::CLOSE_SESSION, &Txn::CloseSession { paths });
    }

    fn last(&self) -> Zxid {
        self.txns.last().unwrap().0
    }

    /// Writes a part of it as a log. Returns the path.
    fn log(&self, dir: &Path, part: std::ops::Range<usize>) -> PathBuf {
        let mut writer = LogWriter::create(dir, self.txns[part.start].0).unwrap();
        self.txns[part].iter().for_each(|(_, payload)| writer.append(payload).unwrap());
        writer.finish().unwrap()
    }

    fn snapshot(&self, dir: &Path, codec: Codec) -> PathBuf {
        write_snapshot(dir, codec, &self.tree, &self.sessions).unwrap()
    }
}

/// A place for files.
fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Gives the file these bytes. Not by making it anew: file systems flush what takes the place of a file, and there are
/// thousands.
fn put(path: &Path, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}
