//! Snapshots made by walking a tree, for tests of what the log does with them.

use super::*;
use crate::id::SessionId;
use crate::snapshot::Origin;
use crate::snapshot::file::{self, Place};
use crate::tree::Tree;

/// Writes a snapshot of this state, which is the one after a durable transaction of the log, and publishes it.
pub(crate) fn publish(vol: &dyn Volume, log: &Log, tree: &Tree, sessions: &[(SessionId, i32)]) -> Published {
    let (_, point) = log.find(vol, tree.last_zxid()).unwrap();
    assert_eq!(point.zxid, tree.last_zxid(), "the log has the transaction");
    let (database, generation, seq) = (log.database, log.root(), point.seq);
    let place = Place { database, generation, seq, origin: Origin::Made { batch_crc: point.crc } };
    let published = file::write(vol, place, tree, sessions).unwrap();
    file::publish(vol, &published).unwrap();
    published
}
