//! The transactions since the previous snapshot, applied to what was loaded of it.

use std::collections::BTreeMap;

use super::MakeError;
use super::touched::Touched;
use crate::id::{SessionId, Zxid};
use crate::io::Volume;
use crate::log::{LogError, Reading, ReplayError, View};
use crate::tree::{DigestCheck, OpResult, Tree};
use crate::txn::{self, Txn, TxnDigest, TxnError, TxnHeader};

/// A transaction in the log that is whole and makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("it does not decode: {0}")]
struct Undecodable(#[from] TxnError);

/// Tree and sessions on their way to a later transaction.
#[derive(Debug)]
pub(super) struct State {
    pub tree: Tree,
    pub sessions: BTreeMap<SessionId, i32>,
}

impl State {
    /// Applies the next piece of the log; the number of its bytes, or `None` at the end. A digest that differs is an
    /// error unless that is said to be `tolerated`.
    pub fn apply(
        &mut self,
        (view, reading): (&View, &mut Reading),
        vol: &dyn Volume,
        tolerated: bool,
    ) -> Result<Option<u64>, MakeError> {
        let mut differs = None;
        let read = reading.next(view, vol, &mut |payload, zxid| {
            let (header, txn, digest) = txn::decode(payload).map_err(Undecodable)?;
            if let DigestCheck::Mismatch { expected, actual } = self.apply_one(&header, &txn, digest) {
                differs.get_or_insert(MakeError::Digest { zxid, expected, actual });
            }
            Ok(())
        })?;
        match differs {
            Some(error) if !tolerated => Err(error),
            _ => Ok(read),
        }
    }

    /// Applies one transaction.
    pub fn apply_one(&mut self, header: &TxnHeader, txn: &Txn<'_>, digest: Option<TxnDigest>) -> DigestCheck {
        let applied = self.tree.apply(header, txn, digest, &mut |_| ());
        match applied.result {
            OpResult::SessionCreated { timeout } => drop(self.sessions.insert(header.client_id, timeout)),
            OpResult::SessionClosed => drop(self.sessions.remove(&header.client_id)),
            _ => {}
        }
        applied.digest
    }
}

/// Takes down what the next piece of the log touches; the number of its bytes, or `None` at the end.
pub(super) fn note(
    touched: &mut Touched,
    (view, reading): (&View, &mut Reading),
    vol: &dyn Volume,
) -> Result<Option<u64>, LogError> {
    reading.next(view, vol, &mut |payload: &[u8], _: Zxid| -> Result<(), ReplayError> {
        let (header, txn, _) = txn::decode(payload).map_err(Undecodable)?;
        touched.note(&header, &txn);
        Ok(())
    })
}
