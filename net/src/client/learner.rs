//! The learner's side of the ensemble: writes and syncs go to the leader, and what it makes of them comes back among
//! the transactions of everybody.
//!
//! The leader answers in the order of asking, so only the head of the queue is compared with what commits (quorum
//! reference 5.6). A leader that breaks the order would let clients wait for ever; it shows at the next answer to a
//! sync, and it is left instead.
//!
//! A session is resumed by two questions: REVALIDATE, whether it lives, and a sync behind it. From the first answer on
//! no other server can write for the session, and by the second everything is applied here that it wrote before.
//! So a client that moves sees what it did, and the outcome of a request that it sent elsewhere cannot be taken for
//! that of a new one with the same number.

use ringkeeper_engine::id::SessionId;
use ringkeeper_engine::jute::put_ustring;
use ringkeeper_engine::mutant::{Mutant, planted};
use ringkeeper_engine::txn::{Txn, TxnHeader, kind};

use super::conn::{Phase, Waiting};
use super::flight::{Awaits, InFlight, Request};
use super::{Now, Outbox, Proposer, Service, Upstream};
use crate::admin::Counter;
use crate::wire::{Code, op};

/// The leader does what no leader may do: it must be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaderFault {
    /// It answered a sync, and an older request of ours has no outcome.
    #[error("a SYNC came before the outcome of request {cxid}, which was sent to the leader earlier")]
    EarlySync {
        /// The oldest request that is not settled.
        cxid: i32,
    },
    /// It answered the sync behind a REVALIDATE, but not the REVALIDATE.
    #[error("a SYNC came before the answer to a REVALIDATE that was sent to the leader earlier")]
    NotRevalidated,
}

impl Service {
    /// Sends a write to the leader.
    #[expect(clippy::too_many_arguments, reason = "all of them are what a request is")]
    pub(super) fn forward(
        &mut self,
        at: u32,
        session: u32,
        request: Request,
        body: &[u8],
        bytes: usize,
        out: &mut impl Outbox,
        log: &mut impl Upstream,
    ) {
        let conn = self.conns.get_mut(at);
        let it = self.sessions.get_mut(session);
        // A session that begins has no identities yet.
        let identities = if request.op == op::CREATE_SESSION { &[] } else { &conn.identities[..] };
        log.forward(it.id, request.xid, request.op, body, identities);
        let flight = InFlight::new(Awaits::Outcome(it.id), Some((at, conn.key)), request, bytes as u32);
        let ticket = self.flights.push(flight);
        conn.barrier = ticket;
        it.last_write = ticket;
        if request.op == op::CLOSE_SESSION {
            conn.end();
            self.sessions.close(session);
        }
        self.count_unanswered(at, bytes, out);
    }

    /// Sends a client's sync to the leader. `frame` waits, to be answered in its turn.
    pub(super) fn forward_sync(
        &mut self,
        at: u32,
        session: u32,
        request: Request,
        frame: &[u8],
        out: &mut impl Outbox,
        log: &mut impl Upstream,
    ) {
        let conn = self.conns.get_mut(at);
        let body = &frame[crate::wire::request::RequestHeader::LEN..];
        log.forward(self.sessions.get(session).id, request.xid, op::SYNC, body, &conn.identities);
        conn.barrier = self.flights.push(InFlight::new(Awaits::Sync, Some((at, conn.key)), request, 0));
        let waiting = conn.keep_frame(frame);
        self.hold(at, request.received_us, waiting, out);
    }

    /// Asks the leader whether a session lives.
    pub(super) fn ask_to_resume(
        &mut self,
        now: Now,
        at: u32,
        session: SessionId,
        timeout_ms: u32,
        out: &mut impl Outbox,
        log: &mut impl Upstream,
    ) {
        // The question makes this server the session's owner again, also for connections that its client has given up.
        if let Some(slot) = self.sessions.find(session) {
            self.take_over(slot, out);
            self.sessions.get_mut(slot).conn = Some(self.conns.get(at).key);
        }
        let conn = self.conns.get_mut(at);
        conn.phase = Phase::Resuming { granted: None };
        self.revalidations.push_back((session, timeout_ms, conn.key));
        log.revalidate(session, timeout_ms.cast_signed());
        log.forward(session, 0, op::SYNC, &any_path(), &conn.identities);
        let request = Request { xid: 0, op: op::SYNC, received_us: now.mono_us };
        self.flights.push(InFlight::new(Awaits::Sync, Some((at, conn.key)), request, 0));
    }

    /// The leader has answered the oldest REVALIDATE of this session.
    pub fn revalidated(&mut self, now: Now, session: SessionId, valid: bool, out: &mut impl Outbox) {
        let Some(place) = self.revalidations.iter().position(|asked| asked.0 == session) else {
            return tracing::warn!(%session, "the leader revalidates a session that nobody wants to resume");
        };
        let Some((_, timeout_ms, key)) = self.revalidations.remove(place) else { return };
        let Some(at) = self.conns.find(key) else { return };
        if !valid {
            return self.deny_session(at, out);
        }
        self.metrics.add(Counter::ConnectionsRevalidated, 1);
        // The leader may know it from a transaction that is not committed. Then ours is the same, a little later.
        let slot = self.sessions.insert(session, timeout_ms);
        if self.sessions.get(slot).conn != Some(key) {
            self.take_over(slot, out);
        }
        let it = self.sessions.get_mut(slot);
        it.conn = Some(key);
        it.timeout_ms = timeout_ms;
        self.conns.get_mut(at).phase = Phase::Resuming { granted: Some(slot) };
        self.heard_of(slot, now);
    }

    /// The leader has answered our oldest sync. Everything that it committed before must have been
    /// [`committed`](Service::committed) here.
    ///
    /// # Errors
    /// When the leader has answered out of order.
    pub fn synced(
        &mut self,
        now: Now,
        out: &mut impl Outbox,
        log: &mut (impl Proposer + Upstream),
    ) -> Result<(), LeaderFault> {
        if self.flights.syncs() == 0 {
            tracing::warn!("the leader answers a sync that nobody asked for");
            return Ok(());
        }
        match self.flights.head() {
            Some(head) if head.awaits != Awaits::Sync => {
                return Err(LeaderFault::EarlySync { cxid: head.request.xid });
            }
            _ => {}
        }
        let Some(InFlight { conn: Some((at, key)), request, .. }) = self.flights.pop() else { return Ok(()) };
        if self.conns.find(key) != Some(at) {
            return Ok(());
        }
        match self.conns.get(at).phase {
            Phase::Resuming { granted: None } => Err(LeaderFault::NotRevalidated),
            Phase::Resuming { granted: Some(slot) } => {
                self.give_session(at, slot);
                self.answer_connect(now, at, request.received_us, out);
                self.go_on(now, at, out, log);
                Ok(())
            }
            _ => {
                self.serve_held(now, at, key, out);
                Ok(())
            }
        }
    }

    /// Takes in what arrived while the session of a connection was not confirmed.
    fn go_on(&mut self, now: Now, at: u32, out: &mut impl Outbox, log: &mut (impl Proposer + Upstream)) {
        let conn = self.conns.get_mut(at);
        let key = conn.key;
        let (waiting, frames) = conn.take_all();
        self.held -= waiting.len();
        let mut frames = &frames[..];
        for held in waiting {
            let Waiting::Frame { len, .. } = held.what else { continue };
            let (frame, rest) = frames.split_at(len as usize);
            frames = rest;
            // Any of them may end the connection.
            if self.conns.find(key) != Some(at) {
                return;
            }
            self.count_answered(at, frame.len(), out);
            if let Phase::Open { session } = self.conns.get(at).phase {
                self.request(now, at, session, held.received_us, frame, out, log);
            }
        }
    }

    /// Appends the sessions that were heard of since the last call, each once with its timeout in milliseconds: what
    /// the answer to the leader's PING tells.
    pub fn take_touched(&mut self, into: &mut Vec<(SessionId, i32)>) {
        self.touched.take(into);
    }

    /// The oldest request of this server, if this transaction settles it.
    pub(super) fn settle(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Option<InFlight> {
        if is_outcome(header, self.flights.head()?) {
            return self.flights.pop();
        }
        // Almost always the request of another server. If its session has asked here, on a connection that is still
        // there, then either the leader has broken the order, or the client has turned to another server and counts
        // anew there: the answer to a sync will tell. What is refused because the session has moved is from there.
        let moved = matches!(txn, Txn::Error { err } if *err == Code::SessionMoved.raw());
        let asked_here = |slot| self.sessions.get(slot).last_write > self.flights.settled();
        if !moved
            && self.sessions.find(header.client_id).is_some_and(asked_here)
            && self.flights.iter().any(|later| is_outcome(header, later) && self.is_awaited(later))
        {
            self.doubt = Some(header.client_id);
        }
        None
    }

    /// If it looks as if the leader had broken the order, makes it show by a sync.
    pub(super) fn probe(&mut self, now: Now, log: &mut impl Upstream) {
        let Some(session) = self.doubt.take() else { return };
        log.forward(session, 0, op::SYNC, &any_path(), &[]);
        let request = Request { xid: 0, op: op::SYNC, received_us: now.mono_us };
        self.flights.push(InFlight::new(Awaits::Sync, None, request, 0));
    }

    /// Whether the connection that asked is still there.
    fn is_awaited(&self, flight: &InFlight) -> bool {
        flight.conn.is_some_and(|(at, key)| self.conns.find(key) == Some(at))
    }
}

/// The body of a sync; which path it names means nothing.
fn any_path() -> Vec<u8> {
    let mut body = Vec::new();
    put_ustring(&mut body, "/");
    body
}

/// Whether a transaction is what became of a request.
fn is_outcome(header: &TxnHeader, flight: &InFlight) -> bool {
    // The leader ends sessions by itself, under a number that a client may use too.
    let same_kind = |kind, op| (header.kind == kind) == (flight.request.op == op);
    let same_session = flight.awaits == Awaits::Outcome(header.client_id)
        || (flight.awaits != Awaits::Sync && planted(Mutant::Zk1863AnswerOfAnother));
    same_session
        && flight.request.xid == header.cxid
        && (header.kind == kind::ERROR
            || (same_kind(kind::CREATE_SESSION, op::CREATE_SESSION)
                && same_kind(kind::CLOSE_SESSION, op::CLOSE_SESSION)))
}
