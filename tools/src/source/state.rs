//! A state that goes forward: a snapshot's, or the first, with transactions applied.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::snapshot::Loaded;
use ringkeeper_engine::tree::{DigestCheck, OpResult, Tree};

use super::TxnAt;
use crate::error::InspectError;

/// Tree and sessions, and what was noticed on the way.
#[derive(Debug)]
pub struct Replayed {
    /// The znodes.
    pub tree: Tree,
    /// Live sessions and their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The snapshot it began with; [`Zxid::ZERO`] for none.
    pub base: Zxid,
    /// The file of that snapshot.
    pub from: Option<PathBuf>,
    /// Newer snapshots that could not be used, and why.
    pub passed_over: Vec<String>,
    /// Transactions applied.
    pub applied: u64,
    /// The first transaction after which the tree was another than its writer's, with both digests (theirs, ours).
    pub mismatch: Option<(Zxid, u64, u64)>,
}

impl Replayed {
    /// The state before the first transaction.
    pub fn empty(seed: u64) -> Replayed {
        Replayed::of(Tree::new(seed), BTreeMap::new(), Zxid::ZERO)
    }

    /// The state of a snapshot.
    pub fn behind(loaded: Loaded) -> Replayed {
        let base = loaded.tree.last_zxid();
        let sessions = loaded.sessions.into_iter().collect();
        Replayed::of(loaded.tree, sessions, base)
    }

    fn of(tree: Tree, sessions: BTreeMap<SessionId, i32>, base: Zxid) -> Replayed {
        Replayed { tree, sessions, base, from: None, passed_over: Vec::new(), applied: 0, mismatch: None }
    }

    /// Applies the next transaction.
    pub fn apply(&mut self, txn: &TxnAt<'_>) -> Result<(), InspectError> {
        let decoded = txn.decode()?;
        let applied = self.tree.apply(&decoded.header, &decoded.txn, decoded.digest, &mut |_| ());
        if let DigestCheck::Mismatch { expected, actual } = applied.digest {
            self.mismatch.get_or_insert((txn.zxid, expected, actual));
        }
        match applied.result {
            OpResult::SessionCreated { timeout } => {
                self.sessions.insert(decoded.header.client_id, timeout);
            }
            OpResult::SessionClosed => {
                self.sessions.remove(&decoded.header.client_id);
            }
            _ => {}
        }
        self.applied += 1;
        Ok(())
    }
}
