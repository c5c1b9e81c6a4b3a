//! The handshake: the first frame of a connection opens a session, resumes one, or ends the connection.
//!
//! Order of checks: client-protocol reference 2.3 to 2.6. Unlike the reference, the password is looked at before a
//! living connection of the session is taken over, and a resumed session is confirmed only once everything it had
//! under way is applied, so that a client that comes back sees what it did.

use ringkeeper_engine::id::SessionId;

use super::conn::{Phase, Waiting};
use super::flight::Request;
use super::leader::OURSELVES;
use super::write::Asked;
use super::{Admission, Now, Outbox, Proposer, Role, Service, Upstream, password};
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
        log: &mut (impl Proposer + Upstream),
    ) {
        let Ok(request) = ConnectRequest::decode(bytes) else {
            return self.close_conn(at, out);
        };
        // Without a leader only those are served whom old data will do.
        let reads_only = self.role == Role::Away;
        if reads_only && !(self.options.read_only && request.read_only == Some(true)) {
            return self.close_conn(at, out);
        }
        if self.role == Role::Leader && !self.options.leader_serves {
            return self.close_conn(at, out);
        }
        // The client has seen a newer state than this server has: it must look for another. Never "expired". A leader of the
        // reference shows the beginning of its epoch until something commits in it, and that is what every server of this
        // epoch or a later one has at least: else clients could return to nobody before the next write.
        if request.last_zxid_seen > self.tree.last_zxid().max(self.epoch_began) {
            return self.close_conn(at, out);
        }
        self.conns.get_mut(at).wants_flag = request.read_only.is_some();
        let (min, max) = (self.options.min_session_timeout_ms, self.options.max_session_timeout_ms);
        let timeout_ms = request.timeout_ms.max(0).cast_unsigned().min(max).max(min);
        match (self.role, request.session) {
            (Role::Away, SessionId::NONE) => self.open_local(now, at, timeout_ms, out),
            // Whether it lives is the quorum's to say.
            (Role::Away, _) => self.close_conn(at, out),
            (_, SessionId::NONE) => self.open_session(now, at, timeout_ms, bytes.len(), out, log),
            (_, session) if !password::matches(session, request.password) => self.deny_session(at, out),
            (Role::Learner, session) => self.ask_to_resume(now, at, session, timeout_ms, out, log),
            (_, session) => self.resume_session(now, at, session, timeout_ms, out),
        }
    }

    fn open_session(
        &mut self,
        now: Now,
        at: u32,
        timeout_ms: u32,
        bytes: usize,
        out: &mut impl Outbox,
        log: &mut (impl Proposer + Upstream),
    ) {
        let learner = self.role == Role::Learner;
        if !learner && (self.admission == Admission::Closed || !self.can_propose()) {
            return self.close_conn(at, out);
        }
        let id = self.sessions.allocate_id();
        let slot = self.sessions.insert(id, timeout_ms);
        self.sessions.touch(slot, now.mono_ms);
        self.give_session(at, slot);
        let request = Request { xid: 0, op: op::CREATE_SESSION, received_us: now.mono_us };
        if learner {
            self.forward(at, slot, request, &timeout_ms.to_be_bytes(), bytes, out, log);
            return;
        }
        self.sessions.get_mut(slot).owner = Some(OURSELVES);
        let asked = Asked { conn: Some((at, self.conns.get(at).key)), request, bytes: bytes as u32 };
        let ticket = self.prepare(now, slot, asked, log, |prep, emit| prep.create_session(emit));
        self.conns.get_mut(at).barrier = ticket;
        self.count_unanswered(at, bytes, out);
    }

    /// From now on this connection speaks for the session.
    pub(super) fn give_session(&mut self, at: u32, slot: u32) {
        let conn = self.conns.get_mut(at);
        conn.phase = Phase::Open { session: slot };
        self.sessions.get_mut(slot).conn = Some(conn.key);
    }

    fn resume_session(
        &mut self,
        now: Now,
        at: u32,
        session: SessionId,
        timeout_ms: u32,
        out: &mut impl Outbox,
    ) {
        let slot = self.sessions.find(session).filter(|&slot| !self.sessions.get(slot).closing);
        let Some(slot) = slot else { return self.deny_session(at, out) };
        self.take_over(slot, out);
        self.metrics.add(Counter::ConnectionsRevalidated, 1);
        self.give_session(at, slot);
        let session = self.sessions.get_mut(slot);
        session.timeout_ms = timeout_ms;
        session.owner = Some(OURSELVES);
        let last_write = session.last_write;
        self.sessions.touch(slot, now.mono_ms);
        if last_write > self.flights.settled() {
            let conn = self.conns.get_mut(at);
            conn.barrier = last_write;
            let key = conn.key;
            self.resumes.push((last_write, key));
            self.hold(at, now.mono_us, Waiting::Connect, out);
        } else {
            self.answer_connect(now, at, now.mono_us, out);
        }
    }

    /// Closes the connection that speaks for a session: another one is going to.
    pub(super) fn take_over(&mut self, slot: u32, out: &mut impl Outbox) {
        if let Some(before) = self.sessions.get_mut(slot).conn.take()
            && let Some(before) = self.conns.find(before)
        {
            self.close_conn(before, out);
        }
    }

    /// Tells a client that its session is no more.
    pub(super) fn deny_session(&mut self, at: u32, out: &mut impl Outbox) {
        let conn = self.conns.get(at);
        reply::connect(&mut self.frame, None, conn.wants_flag.then_some(false));
        out.send(conn.key, &self.frame);
        self.counters.count_response(self.frame.len());
        self.close_conn(at, out);
    }

    /// Confirms the session of a connection.
    pub(super) fn answer_connect(&mut self, now: Now, at: u32, received_us: u64, out: &mut impl Outbox) {
        let conn = self.conns.get(at);
        let Some(slot) = conn.session() else { return };
        let session = self.sessions.get(slot);
        let granted = (session.timeout_ms, session.id, password::of(session.id));
        reply::connect(&mut self.frame, Some(granted), conn.wants_flag.then_some(session.local));
        let request = Request { xid: 0, op: op::CREATE_SESSION, received_us };
        self.send_frame(now, at, request, self.tree.last_zxid(), out);
    }
}
