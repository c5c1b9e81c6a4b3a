//! The operations that are only about watches: setting them again after a reconnect, persistent ones, asking for
//! and removing them.
//!
//! setWatches makes up for what the client missed, by events that go out before its reply. They come from the state
//! and not from a change, so they carry no zxid (-1) and no ACL is looked at (client-protocol reference 5.6).

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::{Reader, put_i32};

use super::read::Asker;
use super::watch::mode;
use super::{Outbox, Service};
use crate::wire::reply::{self, EventType};
use crate::wire::request::{PathKind, SetWatches};
use crate::wire::{Code, op};

impl Service {
    /// Serves one of these operations; an unknown opcode is the caller's affair.
    pub(super) fn watch_op(
        &mut self,
        asker: Asker,
        op: i32,
        body: &mut Reader<'_>,
        out: &mut impl Outbox,
    ) -> Result<(), Code> {
        match op {
            op::SET_WATCHES => self.set_watches(asker, &SetWatches::decode(body)?, out),
            op::SET_WATCHES2 => self.set_watches(asker, &SetWatches::decode2(body)?, out),
            op::ADD_WATCH => {
                let PathKind { path, kind } = PathKind::decode(body)?;
                let modes = match kind {
                    0 => mode::PERSISTENT,
                    1 => mode::RECURSIVE,
                    _ => return Err(Code::MarshallingError),
                };
                self.watches.add(asker.at, &path, modes);
                put_i32(&mut self.frame, 0);
            }
            op::CHECK_WATCHES => {
                let PathKind { path, kind } = PathKind::decode(body)?;
                if self.watches.modes(asker.at, &path) & modes_of_type(kind)? == 0 {
                    return Err(Code::NoWatcher);
                }
            }
            op::REMOVE_WATCHES => {
                let PathKind { path, kind } = PathKind::decode(body)?;
                if self.watches.remove(asker.at, &path, modes_of_type(kind)?) == 0 {
                    return Err(Code::NoWatcher);
                }
            }
            _ => return Err(Code::Unimplemented),
        }
        Ok(())
    }

    fn set_watches(&mut self, asker: Asker, request: &SetWatches<'_>, out: &mut impl Outbox) {
        let since = request.relative_zxid;
        for path in request.data.iter() {
            match self.tree.find(&path).map(|node| self.tree.node(node).persisted().mzxid) {
                None => self.make_up(asker, EventType::NodeDeleted, &path, out),
                Some(mzxid) if mzxid > since => self.make_up(asker, EventType::NodeDataChanged, &path, out),
                Some(_) => self.watches.add(asker.at, &path, mode::DATA),
            }
        }
        for path in request.exist.iter() {
            match self.tree.find(&path) {
                Some(_) => self.make_up(asker, EventType::NodeCreated, &path, out),
                None => self.watches.add(asker.at, &path, mode::DATA),
            }
        }
        for path in request.child.iter() {
            match self.tree.find(&path).map(|node| self.tree.node(node).persisted().pzxid) {
                None => self.make_up(asker, EventType::NodeDeleted, &path, out),
                Some(pzxid) if pzxid > since => {
                    self.make_up(asker, EventType::NodeChildrenChanged, &path, out)
                }
                Some(_) => self.watches.add(asker.at, &path, mode::CHILD),
            }
        }
        for path in request.persistent.iter() {
            self.watches.add(asker.at, &path, mode::PERSISTENT);
        }
        for path in request.recursive.iter() {
            self.watches.add(asker.at, &path, mode::RECURSIVE);
        }
    }

    fn make_up(&mut self, asker: Asker, kind: EventType, path: &str, out: &mut impl Outbox) {
        reply::event(&mut self.event, Zxid::from_raw(-1), kind, path);
        let conn = self.conns.get_mut(asker.at);
        out.send(conn.key, &self.event);
        conn.stats.sent += 1;
        self.counters.sent += 1;
    }
}

/// What a watcher type of checkWatches and removeWatches stands for.
fn modes_of_type(kind: i32) -> Result<u8, Code> {
    match kind {
        1 => Ok(mode::CHILD),
        2 => Ok(mode::DATA),
        3 => Ok(mode::ANY),
        4 => Ok(mode::PERSISTENT),
        5 => Ok(mode::RECURSIVE),
        _ => Err(Code::MarshallingError),
    }
}
