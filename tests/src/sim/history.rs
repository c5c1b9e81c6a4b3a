//! What was proposed, what is committed, and the state after each committed transaction.
//!
//! The state is kept by a tree of the product that applies every committed transaction once, in order, and never fails
//! or forgets: what any server shows at a zxid must be what this one showed there.

use std::collections::BTreeMap;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::tree::{DigestCheck, OpResult, Tree};
use ringkeeper_engine::txn::{self, TxnHeader, kind};
use ringkeeper_net::zab::history::History;

/// A node at some time: data, mzxid and version; `None` where there is none.
pub type NodeState = Option<(Vec<u8>, Zxid, i32)>;

/// A committed transaction.
#[derive(Debug, Clone)]
pub struct Committed {
    pub header: TxnHeader,
    /// It is the record of a failure.
    pub error: bool,
    /// Digest of the tree behind it.
    pub digest: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Record {
    /// All that was ever given a zxid.
    proposed: BTreeMap<Zxid, Vec<u8>>,
    committed: BTreeMap<Zxid, Committed>,
    /// The zxids of `committed`.
    pub agreed: History,
    tree: Tree,
    sessions: BTreeMap<SessionId, i32>,
    nodes: BTreeMap<String, Vec<(Zxid, NodeState)>>,
    /// The number of the last request of each session.
    last_cxid: BTreeMap<SessionId, i32>,
}

impl Record {
    pub fn new() -> Record {
        let tree = Tree::new(0);
        Record {
            proposed: BTreeMap::new(),
            committed: BTreeMap::new(),
            agreed: History::new(Zxid::ZERO),
            tree,
            sessions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last_cxid: BTreeMap::new(),
        }
    }

    pub fn committed(&self) -> usize {
        self.committed.len()
    }

    pub fn last(&self) -> Zxid {
        self.agreed.last()
    }

    pub fn get(&self, zxid: Zxid) -> Option<&Committed> {
        self.committed.get(&zxid)
    }

    /// Digest of the tree at a zxid.
    pub fn digest(&self, zxid: Zxid) -> Option<u64> {
        match zxid {
            Zxid::ZERO => Some(Tree::new(0).digest()),
            _ => self.committed.get(&zxid).map(|it| it.digest),
        }
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn sessions(&self) -> Vec<(SessionId, i32)> {
        self.sessions.iter().map(|(&id, &timeout)| (id, timeout)).collect()
    }

    /// A log holds this under this zxid: all logs must, always.
    pub fn logged(&mut self, zxid: Zxid, payload: &[u8], by: i64) {
        if let Some(known) = self.proposed.get(&zxid) {
            assert!(known == payload, "Integrity: server {by} holds another transaction under {zxid}");
            return;
        }
        self.proposed.insert(zxid, payload.to_vec());
    }

    pub fn was_proposed(&self, zxid: Zxid) -> bool {
        self.proposed.contains_key(&zxid)
    }

    /// The next transaction is committed.
    pub fn commit(&mut self, zxid: Zxid) {
        assert!(
            self.agreed.continues_with(zxid),
            "ZxidContiguous: {zxid} is committed behind {}",
            self.last()
        );
        let payload = &self.proposed[&zxid];
        let (header, txn, digest) = txn::decode(payload).expect("what was proposed decodes");
        assert!(header.zxid == zxid, "{zxid} says that it is {}", header.zxid);
        let mut changed = Vec::new();
        let applied =
            self.tree.apply(&header, &txn, digest, &mut |event| changed.push(event.path.to_owned()));
        if let DigestCheck::Mismatch { expected, actual } = applied.digest {
            panic!("the leader predicted digest {expected:x} behind {zxid}, it is {actual:x}");
        }
        match applied.result {
            OpResult::SessionCreated { timeout } => drop(self.sessions.insert(header.client_id, timeout)),
            OpResult::SessionClosed => drop(self.sessions.remove(&header.client_id)),
            _ => {}
        }
        for path in changed {
            let state = node_state(&self.tree, &path);
            self.nodes.entry(path).or_default().push((zxid, state));
        }
        let error = header.kind == kind::ERROR;
        // Whoever has asked for the end of a session may have changed its mind, and gets it all the same.
        let asked = !error && header.cxid > 0 && header.kind != kind::CLOSE_SESSION;
        if asked {
            let last = self.last_cxid.insert(header.client_id, header.cxid);
            assert!(
                last.is_none_or(|last| last < header.cxid),
                "FIFO: request {} of session {} is committed behind {last:?} of it",
                header.cxid,
                header.client_id
            );
        }
        self.agreed.push(zxid);
        let digest = self.tree.digest();
        self.committed.insert(zxid, Committed { header, error, digest });
    }

    /// A node as it was behind a transaction.
    pub fn node_at(&self, path: &str, zxid: Zxid) -> NodeState {
        let states = self.nodes.get(path)?;
        let at = states.partition_point(|state| state.0 <= zxid);
        states.get(at.checked_sub(1)?)?.1.clone()
    }
}

fn node_state(tree: &Tree, path: &str) -> NodeState {
    let node = tree.node(tree.find(path)?);
    let stat = node.stat();
    Some((node.data().unwrap_or_default().to_vec(), stat.mzxid, stat.version))
}
