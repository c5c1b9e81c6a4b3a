//! From a committed transaction to the tree, to those who watch, and to the one who asked: in this order, so that
//! a client has an event before any reply that shows the change.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::tree::{DigestCheck, EventKind, OpResult, Stat, TreeEvent};
use ringkeeper_engine::txn::{Multi, Txn, TxnError, decode, kind};

use super::acl::{self, perm};
use super::flight::{Awaits, InFlight, Request};
use super::watch::Change;
use super::{Now, Outbox, Role, Service};
use crate::admin::{Counter, Observed};
use crate::wire::reply::{self, EventType};
use crate::wire::{Code, op};

impl Service {
    /// Applies transaction `zxid`, which is committed and comes right behind the one before. `payload` is what was
    /// proposed.
    pub fn committed(
        &mut self,
        now: Now,
        zxid: Zxid,
        payload: &[u8],
        out: &mut impl Outbox,
    ) -> Result<(), TxnError> {
        let (header, txn, digest) = decode(payload)?;
        debug_assert_eq!(header.zxid, zxid);
        let Service { tree, watches, conns, options, event, counters, metrics, .. } = self;
        let applied = tree.apply(&header, &txn, digest, &mut |change: TreeEvent<'_>| {
            let (kind, change_kind) = match change.kind {
                EventKind::Created => (EventType::NodeCreated, Change::Data),
                EventKind::Deleted => (EventType::NodeDeleted, Change::Deleted),
                EventKind::DataChanged => (EventType::NodeDataChanged, Change::Data),
                EventKind::ChildrenChanged => (EventType::NodeChildrenChanged, Change::Children),
            };
            let mut written = false;
            let mut fired = 0;
            watches.fire(change.path, change_kind, |at| {
                let conn = conns.get_mut(at);
                if !acl::allows(&options.auth, change.acl, perm::READ, &conn.identities) {
                    return;
                }
                if !written {
                    reply::event(event, zxid, kind, change.path);
                    written = true;
                }
                out.send(conn.key, event);
                conn.stats.sent += 1;
                counters.sent += 1;
                metrics.add(Counter::WatchBytes, event.len() as u64);
                fired += 1;
            });
            if fired > 0 {
                let observed = match change.kind {
                    EventKind::Created => Observed::CreatedWatches,
                    EventKind::Deleted => Observed::DeletedWatches,
                    EventKind::DataChanged => Observed::ChangedWatches,
                    EventKind::ChildrenChanged => Observed::ChildrenWatches,
                };
                metrics.record(observed, fired);
            }
        });
        if let DigestCheck::Mismatch { expected, actual } = applied.digest
            && {
                self.metrics.add(Counter::DigestMismatches, 1);
                !std::mem::replace(&mut self.told_of_mismatch, true)
            }
        {
            tracing::error!(%zxid, expected, actual, "the tree is not what it was meant to be after a transaction");
        }
        let age_ms = now.wall_ms.saturating_sub(header.time);
        if let Ok(age_ms) = u64::try_from(age_ms) {
            self.metrics.record(Observed::PropagationLatency, age_ms.saturating_mul(1000));
        }
        self.pending.applied(zxid);
        let flight = if self.role == Role::Learner {
            self.settle(&header, &txn)
        } else if self.flights.head().is_some_and(|head| head.awaits == Awaits::Commit(zxid)) {
            self.flights.pop()
        } else {
            None
        };
        let with_stats = if flight.is_some() { self.flights.parts_with_stats() } else { Vec::new() };
        assert!(zxid < self.proposed || self.pending.is_empty(), "changes are left without a proposal");
        let asked = flight.and_then(|InFlight { conn, request, bytes, .. }| {
            let (at, key) = conn?;
            (self.conns.find(key) == Some(at)).then_some((at, key, request, bytes))
        });
        if let Some((at, _, request, bytes)) = asked {
            self.count_answered(at, bytes as usize, out);
            self.answer_write(now, at, request, zxid, (&txn, &with_stats), applied.result, out);
        }
        match applied.result {
            OpResult::SessionCreated { timeout } => {
                let slot = self.session_created(header.client_id, timeout);
                if matches!(self.role, Role::Alone | Role::Leader) && self.sessions.get(slot).due().is_none()
                {
                    self.sessions.touch(slot, now.mono_ms);
                }
            }
            OpResult::SessionClosed => self.session_closed(header.client_id, out),
            // It never came to be.
            OpResult::Error(_)
                if self.role == Role::Learner
                    && flight.is_some_and(|it| it.request.op == op::CREATE_SESSION) =>
            {
                self.session_closed(header.client_id, out);
            }
            _ => {}
        }
        if let Some((at, key, ..)) = asked {
            self.serve_held(now, at, key, out);
        }
        self.serve_resumes(now, out);
        Ok(())
    }

    /// Serves connections that waited for the last writes of the session they took over.
    fn serve_resumes(&mut self, now: Now, out: &mut impl Outbox) {
        let mut at = 0;
        while at < self.resumes.len() {
            let (after, key) = self.resumes[at];
            if after > self.flights.settled() {
                at += 1;
                continue;
            }
            self.resumes.swap_remove(at);
            if let Some(conn) = self.conns.find(key) {
                self.serve_held(now, conn, key, out);
            }
        }
    }

    /// A session has ended: it is forgotten, and its connection closed.
    pub(super) fn session_closed(&mut self, id: ringkeeper_engine::id::SessionId, out: &mut impl Outbox) {
        let Some(slot) = self.sessions.find(id) else { return };
        if let Some(at) = self.sessions.get(slot).conn.and_then(|key| self.conns.find(key)) {
            self.close_conn(at, out);
        }
        // The session of a server without a leader goes with its connection.
        if self.sessions.find(id).is_some() {
            self.sessions.remove(slot);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all of them are what an answer is")]
    fn answer_write(
        &mut self,
        now: Now,
        at: u32,
        request: Request,
        zxid: Zxid,
        (txn, with_stats): (&Txn<'_>, &[usize]),
        result: OpResult,
        out: &mut impl Outbox,
    ) {
        if request.op == op::CREATE_SESSION {
            if let OpResult::SessionCreated { .. } = result {
                self.answer_connect(now, at, request.received_us, out);
            }
            return;
        }
        if self.is_moved(result) {
            return self.close_conn(at, out);
        }
        let err = if let OpResult::Error(err) = result { err } else { 0 };
        let frame = &mut self.frame;
        reply::begin(frame, request.xid, zxid, err);
        match (result, txn) {
            (OpResult::Created(stat), _) => put_created(frame, request.op, txn.path(), &stat),
            (OpResult::Set(stat), _) => stat.encode_into(frame),
            (OpResult::Multi, Txn::Multi(multi)) => {
                put_multi(frame, multi, self.tree.multi_results(), with_stats);
            }
            _ => {}
        }
        if self.frame.len() > self.options.max_reply_bytes {
            reply::begin(&mut self.frame, request.xid, zxid, Code::MarshallingError.raw());
        }
        self.send_frame(now, at, request, zxid, out);
    }
}

impl Service {
    /// Whether a request failed because its client has turned to another server: then nobody waits for an answer, and
    /// the reference sends none.
    fn is_moved(&self, result: OpResult) -> bool {
        let moved = OpResult::Error(Code::SessionMoved.raw());
        match result {
            OpResult::Error(_) => result == moved,
            OpResult::Multi => self.role == Role::Learner && self.tree.multi_results().contains(&moved),
            _ => false,
        }
    }
}

/// The path, and for all but the plain create the Stat.
fn put_created(frame: &mut Vec<u8>, op: i32, path: Option<&str>, stat: &Stat) {
    ringkeeper_engine::jute::put_ustring(frame, path.unwrap_or_default());
    if op != op::CREATE {
        stat.encode_into(frame);
    }
}

/// One result per operation; of creates, those at the places `with_stats` were asked for with a Stat. Clients know the types 1, 2, 5, 13, 15 and -1 only, so every create with a Stat is a 15.
fn put_multi(frame: &mut Vec<u8>, multi: &Multi<'_>, results: &[OpResult], with_stats: &[usize]) {
    for (place, (sub, result)) in multi.iter().zip(results).enumerate() {
        match *result {
            OpResult::Created(stat) => {
                let bare = sub.kind == kind::CREATE && !with_stats.contains(&place);
                let kind = if bare { op::CREATE } else { op::CREATE2 };
                reply::multi_header(frame, kind, false, 0);
                put_created(frame, kind, sub.txn.path(), &stat);
            }
            OpResult::Set(stat) => {
                reply::multi_header(frame, op::SET_DATA, false, 0);
                stat.encode_into(frame);
            }
            OpResult::Error(err) => reply::multi_error(frame, err),
            _ => reply::multi_header(frame, sub.kind, false, 0),
        }
    }
    reply::multi_end(frame);
}
