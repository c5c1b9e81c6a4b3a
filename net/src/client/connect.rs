//! The handshake: the first frame of a connection opens a session, resumes one, or ends the connection.
//!
//! Order of checks: client-protocol reference 2.3 to 2.6. Unlike the reference, the password is looked at before a
//! living connection of the session is taken over, and a resumed session is confirmed only once everything it had
//! under way is applied, so that a client that comes back sees what it did.

use ringkeeper_engine::id::SessionId;

use super::conn::{Phase, Waiting};
use super::service::{InFlight, Request};
use super::{Admission, Now, Outbox, Proposer, Service, password};
use crate::admin::Counter;
use crate::wire::request::ConnectRequest;
use crate::wire::{op, reply};

impl Service {
    /// Takes in the first frame of a connection.
    pub(super) fn connect(
        &mut self,
        now: Now,
        at: u32,
        bytes: &[u8],
        out: &mut impl Outbox,
        log: &mut impl Proposer,
    ) {
        let Ok(request) = ConnectRequest::decode(bytes) else {
            return self.close_conn(at, out);
        };
        // The client has seen a newer state than this server has: it must look for another. Never "expired".
        if request.last_zxid_seen > self.tree.last_zxid() {
            return self.close_conn(at, out);
        }
        self.conns.get_mut(at).wants_flag = request.read_only.is_some();
        let (min, max) = (self.options.min_session_timeout_ms, self.options.max_session_timeout_ms);
        let timeout_ms = request.timeout_ms.max(0).cast_unsigned().min(max).max(min);
        if request.session == SessionId::NONE {
            self.open_session(now, at, timeout_ms, bytes.len(), out, log);
        } else {
            self.resume_session(now, at, &request, timeout_ms, out);
        }
    }

    fn open_session(
        &mut self,
        now: Now,
        at: u32,
        timeout_ms: u32,
        bytes: usize,
        out: &mut impl Outbox,
        log: &mut impl Proposer,
    ) {
        if self.admission == Admission::Closed {
            return self.close_conn(at, out);
        }
        let id = self.sessions.allocate_id();
        let slot = self.sessions.insert(id, timeout_ms, now.mono_ms);
        let conn = self.conns.get_mut(at);
        conn.phase = Phase::Open { session: slot };
        let key = conn.key;
        self.sessions.get_mut(slot).conn = Some(key);
        let request = Request { xid: 0, op: op::CREATE_SESSION, received_us: now.mono_us };
        let flight = InFlight { zxid: self.next_zxid(), conn: Some((at, key)), request, bytes: bytes as u32 };
        self.prepare(now, slot, flight, log, |prep, emit| prep.create_session(emit));
        self.count_unanswered(at, bytes, out);
    }

    fn resume_session(
        &mut self,
        now: Now,
        at: u32,
        request: &ConnectRequest<'_>,
        timeout_ms: u32,
        out: &mut impl Outbox,
    ) {
        let slot = self.sessions.find(request.session).filter(|&slot| {
            !self.sessions.get(slot).closing && password::matches(request.session, request.password)
        });
        let Some(slot) = slot else {
            let conn = self.conns.get_mut(at);
            reply::connect(&mut self.frame, None, conn.wants_flag);
            out.send(conn.key, &self.frame);
            self.counters.count_response(self.frame.len());
            return self.close_conn(at, out);
        };
        let key = self.conns.get(at).key;
        if let Some(before) = self.sessions.get_mut(slot).conn.take()
            && let Some(before) = self.conns.find(before)
        {
            self.close_conn(before, out);
        }
        self.metrics.add(Counter::ConnectionsRevalidated, 1);
        let session = self.sessions.get_mut(slot);
        session.conn = Some(key);
        session.timeout_ms = timeout_ms;
        let last_write = session.last_write;
        self.sessions.touch(slot, now.mono_ms);
        let conn = self.conns.get_mut(at);
        conn.phase = Phase::Open { session: slot };
        if last_write > self.tree.last_zxid() {
            conn.barrier = last_write;
            self.resumes.push((last_write, key));
            self.hold(at, now.mono_us, Waiting::Connect, out);
        } else {
            self.answer_connect(now, at, now.mono_us, out);
        }
    }

    /// Confirms the session of a connection.
    pub(super) fn answer_connect(&mut self, now: Now, at: u32, received_us: u64, out: &mut impl Outbox) {
        let conn = self.conns.get(at);
        let Some(slot) = conn.session() else { return };
        let session = self.sessions.get(slot);
        let granted = (session.timeout_ms, session.id, password::of(session.id));
        reply::connect(&mut self.frame, Some(granted), conn.wants_flag);
        let request = Request { xid: 0, op: op::CREATE_SESSION, received_us };
        self.send_frame(now, at, request, self.tree.last_zxid(), out);
    }
}
