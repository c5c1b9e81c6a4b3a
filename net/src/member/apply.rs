//! From the log to the tree: what is committed is applied, in order, each once.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::Next;
use ringkeeper_engine::store;

use super::{Fatal, Member};
use crate::client::Outbox;

/// Bytes read at once where memory does not reach back far enough.
const READ: usize = 1 << 20;

impl Member {
    /// Brings the tree to `upto`, which is committed.
    pub(super) fn apply(&mut self, upto: Zxid, out: &mut impl Outbox) -> Result<(), Fatal> {
        let Member { service, ledger, volume, cursor, now, making, .. } = self;
        let mut committed = |zxid, payload: &[u8]| {
            making.due.applied();
            let applied = service.committed(*now, zxid, payload, out);
            applied.map_err(|source| Fatal::Apply { zxid, source })
        };
        loop {
            match ledger.log.next(cursor, upto) {
                Next::Txn(zxid, payload) => {
                    ledger.backlog = ledger.backlog.saturating_sub(payload.len());
                    committed(zxid, payload)?;
                }
                Next::End => break,
                Next::OnDisk => {
                    let txns = ledger.log.read_on(&**volume, cursor, upto, READ)?;
                    if txns.is_empty() {
                        break;
                    }
                    for (zxid, payload) in txns {
                        ledger.backlog = ledger.backlog.saturating_sub(payload.len());
                        committed(zxid, &payload)?;
                    }
                }
            }
        }
        ledger.log.release(upto);
        Ok(())
    }

    /// Makes the tree what it was at `upto`, from snapshot and log: it had more than is committed.
    pub(super) fn roll_back(&mut self, upto: Zxid) -> Result<(), Fatal> {
        tracing::info!(from = %self.service.tree().last_zxid(), to = %upto, "building the tree again without what is not committed");
        let rebuilt = store::rebuild(&*self.volume, &self.ledger.log, self.tree_seed, upto)?;
        self.service.restore(rebuilt.tree, rebuilt.sessions);
        self.cursor = self.ledger.log.cursor(self.service.tree().last_zxid().max(upto));
        Ok(())
    }
}
