//! Snapshots made by walking a tree, for tests of what the log does with them.

use super::*;
use crate::id::SessionId;
use crate::snapshot::publish_state;
use crate::tree::Tree;

/// Writes a snapshot of this state, which is the one after a durable transaction of the log, and publishes it.
pub(crate) fn publish(vol: &dyn Volume, log: &Log, tree: &Tree, sessions: &[(SessionId, i32)]) -> Published {
    let (_, point) = log.find(vol, tree.last_zxid()).unwrap();
    assert_eq!(point.zxid, tree.last_zxid(), "the log has the transaction");
    let made = Published::made(log.database, log.root(), point);
    publish_state(vol, made, tree, sessions).unwrap()
}
