//! The state of the client side and its entry points; see the module above for the map.
//!
//! It must never read a clock, touch a socket or wait. Everything it does follows from the calls below, in their
//! order.

use std::collections::VecDeque;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::tree::Tree;
use ringkeeper_engine::txn::MultiBuilder;

use super::acl::AclFixer;
use super::auth::Identity;
use super::conn::{Conn, Conns, Phase, Waiting};
use super::flight::{Flights, Request, Ticket};
use super::leader::OURSELVES;
use super::pending::Pending;
use super::session::{Sessions, Touched};
use super::watch::Watches;
use super::{ConnKey, Counters, FromFront, Now, Options, Outbox, Proposer, Role, Upstream, auth};
use crate::admin::{Counter, Metrics, Observed};
use crate::wire::request::{Auth, RequestHeader};
use crate::wire::{Code, op, reply};

/// Which writes are taken, judged by the space that the log has prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// All.
    #[default]
    Open,
    /// Only the beginning and the end of sessions. Other writes are answered [`Code::SystemError`] at once and take
    /// no zxid.
    ///
    /// That code is the oldest of all and every client knows it: a definite failure. The nearer ones would be
    /// misread: THROTTLEDOP is unknown to kazoo, CONNECTIONLOSS and OPERATIONTIMEOUT mean "perhaps done" and make
    /// recipes retry and look around, NOTREADONLY makes Java look for another server, QUOTAEXCEEDED blames the
    /// client's own limits.
    SessionsOnly,
    /// None. New sessions are turned away by closing the connection, and sessions do not expire.
    Closed,
}

/// What an unanswered request costs in bytes besides its own: many small ones must not hide.
const REQUEST_COST: usize = 64;

/// The sessions, connections, watches and pending writes of a node, and the tree they are about.
#[derive(Debug)]
pub struct Service {
    pub(super) options: Options,
    pub(super) tree: Tree,
    pub(super) pending: Pending,
    pub(super) sessions: Sessions,
    pub(super) conns: Conns,
    pub(super) watches: Watches,
    pub(super) fixer: AclFixer,
    pub(super) admission: Admission,
    /// The newest zxid that was given to a proposal.
    pub(super) proposed: Zxid,
    /// The zxid that stands for the beginning of the epoch that is being served, in an ensemble.
    pub(super) epoch_began: Zxid,
    pub(super) flights: Flights,
    /// Connections that resumed a session whose last writes are not applied, and what they wait for.
    pub(super) resumes: Vec<(Ticket, ConnKey)>,
    pub(super) role: Role,
    /// What was asked by REVALIDATE, in this order: session, timeout in milliseconds, and who wants to resume it.
    pub(super) revalidations: VecDeque<(SessionId, u32, ConnKey)>,
    /// A session for which the leader seems to have settled requests out of order.
    pub(super) doubt: Option<SessionId>,
    /// Sessions of which the leader will be told.
    pub(super) touched: Touched,
    /// The identities that came with a learner's request, kept to be used again.
    pub(super) asker: Vec<Identity>,
    /// Connections whose ConnectRequest must come before a time, in order of that time.
    pub(super) handshakes: VecDeque<(u64, ConnKey)>,
    /// Sessions that the log does not know but that own ephemeral nodes: to be ended.
    pub(super) orphans: Vec<u32>,
    /// Requests that wait in all connections.
    pub(super) held: usize,
    /// Connections that could be served if less waited to be sent to them.
    full: Vec<(u32, ConnKey)>,
    /// Whether the first transaction whose digest is not the tree's was logged; the others are only counted.
    pub(super) told_of_mismatch: bool,
    pub(super) counters: Counters,
    /// Latencies and traffic, for `srvr` and `mntr`. Whoever drives the service adds what it observes.
    pub metrics: Metrics,
    /// The reply being written, the event being sent, the waiting request being read, the multi being prepared:
    /// kept so that they need no memory anew.
    pub(super) frame: Vec<u8>,
    pub(super) event: Vec<u8>,
    held_frame: Vec<u8>,
    pub(super) multi: MultiBuilder,
}

impl Service {
    /// A service over a recovered tree, of a node that stands alone. A member of an ensemble
    /// [`retire`](Service::retire)s it at once. `sessions` is the session table of the log with timeouts in milliseconds;
    /// each gets a full lease from `now` on. `last_zxid` is the last one in the log.
    ///
    /// Sessions that own ephemeral nodes but are not in the table are ended by the first calls of
    /// [`Service::tick`], by ordinary closeSession transactions: the log then says why the nodes are gone, where the
    /// reference deletes them in memory only and so once more at each start.
    pub fn new(
        tree: Tree,
        sessions: impl IntoIterator<Item = (SessionId, i32)>,
        last_zxid: Zxid,
        options: Options,
        now: Now,
    ) -> Service {
        let mut options = options;
        options.max_reply_bytes = options.max_reply_bytes.min(reply::MAX_LEN);
        let table = Sessions::new(options.server_id, options.tick_ms, now.wall_ms);
        let mut service = Service {
            proposed: tree.last_zxid().max(last_zxid),
            epoch_began: Zxid::ZERO,
            options,
            tree,
            pending: Pending::default(),
            sessions: table,
            conns: Conns::default(),
            watches: Watches::default(),
            fixer: AclFixer::default(),
            admission: Admission::Open,
            flights: Flights::default(),
            resumes: Vec::new(),
            role: Role::Alone,
            revalidations: VecDeque::new(),
            doubt: None,
            touched: Touched::default(),
            asker: Vec::new(),
            handshakes: VecDeque::new(),
            orphans: Vec::new(),
            held: 0,
            full: Vec::new(),
            told_of_mismatch: false,
            counters: Counters::default(),
            metrics: Metrics::default(),
            frame: Vec::new(),
            event: Vec::new(),
            held_frame: Vec::new(),
            multi: MultiBuilder::new(),
        };
        for (id, timeout_ms) in sessions {
            let slot = service.session_created(id, timeout_ms);
            service.sessions.touch(slot, now.mono_ms);
        }
        service.find_orphans();
        service
    }

    /// Takes in what a front loop reports.
    pub fn handle(
        &mut self,
        now: Now,
        msg: FromFront<'_>,
        out: &mut impl Outbox,
        log: &mut (impl Proposer + Upstream),
    ) {
        match msg {
            FromFront::Open { conn, peer } => {
                if let Some(at) = self.conns.occupant(conn) {
                    self.forget_conn(at);
                }
                self.conns.insert(Conn::new(conn, peer, now.wall_ms));
                let deadline = now.mono_ms.saturating_add(u64::from(self.options.handshake_timeout_ms));
                self.handshakes.push_back((deadline, conn));
            }
            FromFront::Frame { conn, bytes } => self.frame_arrived(now, conn, bytes, out, log),
            FromFront::Word { conn, .. } => {
                self.counters.received += 1;
                if let Some(at) = self.conns.find(conn) {
                    self.conns.get_mut(at).stats.received += 1;
                }
            }
            FromFront::Gone { conn } => {
                if let Some(at) = self.conns.find(conn) {
                    self.forget_conn(at);
                }
            }
        }
    }

    /// Answers a four-letter word and closes its connection.
    pub fn answer_word(&mut self, conn: ConnKey, text: &[u8], out: &mut impl Outbox) {
        if let Some(at) = self.conns.find(conn) {
            self.counters.sent += 1;
            if !text.is_empty() {
                out.send(conn, text);
            }
            self.close_conn(at, out);
        }
    }

    /// Says which writes are taken from now on.
    pub fn set_write_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    fn frame_arrived(
        &mut self,
        now: Now,
        key: ConnKey,
        bytes: &[u8],
        out: &mut impl Outbox,
        log: &mut (impl Proposer + Upstream),
    ) {
        let Some(at) = self.conns.find(key) else { return };
        self.counters.received += 1;
        self.metrics.add(Counter::BytesReceived, bytes.len() as u64 + 4);
        let conn = self.conns.get_mut(at);
        conn.stats.received += 1;
        match conn.phase {
            Phase::Fresh => {
                self.metrics.add(Counter::ConnectionRequests, 1);
                self.connect(now, at, bytes, out, log);
            }
            Phase::Resuming { .. } => {
                let waiting = conn.keep_frame(bytes);
                self.hold(at, now.mono_us, waiting, out);
            }
            Phase::Ending { .. } => {}
            Phase::Open { session } => self.request(now, at, session, now.mono_us, bytes, out, log),
        }
    }

    /// Takes in a request that arrived at `received_us` from the connection of a session.
    #[expect(clippy::too_many_arguments, reason = "all of them are what a request is")]
    pub(super) fn request(
        &mut self,
        now: Now,
        at: u32,
        session: u32,
        received_us: u64,
        bytes: &[u8],
        out: &mut impl Outbox,
        log: &mut (impl Proposer + Upstream),
    ) {
        let mut body = Reader::new(bytes);
        let Ok(RequestHeader { xid, op }) = RequestHeader::decode(&mut body) else {
            return self.close_conn(at, out);
        };
        let request = Request { xid, op, received_us };
        if op == op::AUTH {
            return self.authenticate(now, at, request, body, out);
        }
        // A session that is ending gets no answers any more; its connection is about to be closed.
        let asking = self.sessions.get(session);
        if asking.closing {
            return;
        }
        // Its client has turned to another server, and this is from before.
        if asking.owner.is_some_and(|owner| owner != OURSELVES) {
            return self.close_conn(at, out);
        }
        if op != op::SASL {
            self.heard_of(session, now);
        }
        let is_write = super::write::is_write(op);
        let parts = super::write::parts_with_stats(op, body.rest());
        if self.role == Role::Away && (is_write || op == op::SYNC) {
            self.write_nothing(now, at, request, out);
        } else if self.role == Role::Learner && is_write {
            self.forward(at, session, request, body.rest(), bytes.len(), out, log);
            self.flights.answer_with_stats(parts);
        } else if self.role == Role::Learner && op == op::SYNC {
            self.forward_sync(at, session, request, bytes, out, log);
        } else if is_write {
            let before = self.proposed;
            self.write(now, at, session, request, body, bytes.len(), out, log);
            if self.proposed > before {
                self.flights.answer_with_stats(parts);
            }
        } else if self.conns.get(at).must_hold(self.flights.settled()) {
            let conn = self.conns.get_mut(at);
            let waiting = conn.keep_frame(bytes);
            if !super::read::is_read(op) {
                conn.end();
            }
            self.hold(at, request.received_us, waiting, out);
        } else {
            let identities = self.conns.get(at).identities.len();
            self.serve(now, at, request, body, identities, out);
        }
    }

    /// A session's client has given a sign of life.
    pub(super) fn heard_of(&mut self, session: u32, now: Now) {
        if self.role == Role::Learner {
            self.touched.note(self.sessions.get_mut(session));
        }
        self.sessions.touch(session, now.mono_ms);
    }

    fn authenticate(
        &mut self,
        now: Now,
        at: u32,
        request: Request,
        mut body: Reader<'_>,
        out: &mut impl Outbox,
    ) {
        let Ok(Auth { scheme, auth }) = Auth::decode(&mut body) else {
            return self.close_conn(at, out);
        };
        let settled = self.flights.settled();
        let conn = self.conns.get_mut(at);
        let outcome = self.options.auth.authenticate(scheme.as_deref(), auth, &mut conn.identities);
        let accepted = outcome.is_ok();
        if let Err(auth::Refused) = outcome {
            self.counters.auth_failed += 1;
            conn.end();
        }
        if conn.must_hold(settled) {
            let waiting = Waiting::Auth { xid: request.xid, accepted };
            self.hold(at, request.received_us, waiting, out);
        } else {
            self.answer_auth(now, at, request, accepted, out);
        }
    }

    fn answer_auth(&mut self, now: Now, at: u32, request: Request, accepted: bool, out: &mut impl Outbox) {
        let code = if accepted { Code::Ok } else { Code::AuthFailed };
        self.answer_header(now, at, request, Zxid::ZERO, code.raw(), out);
        if !accepted {
            self.close_conn(at, out);
        }
    }

    /// Lets something wait for the own writes before it. May close the connection.
    pub(super) fn hold(&mut self, at: u32, received_us: u64, waiting: Waiting, out: &mut impl Outbox) {
        self.conns.get_mut(at).hold(received_us, waiting);
        self.held += 1;
        self.count_unanswered(at, waiting.bytes(), out);
    }

    /// Serves what waited in a connection for writes that are applied now.
    pub(super) fn serve_held(&mut self, now: Now, at: u32, key: ConnKey, out: &mut impl Outbox) {
        let settled = self.flights.settled();
        // Whatever is served may close the connection.
        while let Some(at) = self.conns.find(key).filter(|&it| it == at) {
            let conn = self.conns.get_mut(at);
            if out.is_full(key) && conn.has_ready(settled) {
                // What is read meanwhile goes behind, see `Conn::must_hold`.
                self.full.push((at, key));
                return;
            }
            let Some(held) = conn.next_ready(settled) else { return };
            self.held -= 1;
            self.count_answered(at, held.what.bytes(), out);
            let conn = self.conns.get_mut(at);
            let request = |xid, op| Request { xid, op, received_us: held.received_us };
            match held.what {
                Waiting::Frame { len, identities } => {
                    let mut frame = std::mem::take(&mut self.held_frame);
                    conn.take_frame(len, &mut frame);
                    let mut body = Reader::new(&frame);
                    if let Ok(RequestHeader { xid, op }) = RequestHeader::decode(&mut body) {
                        self.serve(now, at, request(xid, op), body, identities as usize, out);
                    }
                    self.held_frame = frame;
                }
                Waiting::Auth { xid, accepted } => {
                    self.answer_auth(now, at, request(xid, op::AUTH), accepted, out);
                }
                Waiting::Refused { xid, op, code } => {
                    let applied = self.tree.last_zxid();
                    self.answer_header(now, at, request(xid, op), applied, code.raw(), out);
                }
                Waiting::Connect => self.answer_connect(now, at, held.received_us, out),
            }
        }
    }

    /// Goes on with what was held back because too much waited to be sent. To be called in every turn.
    pub fn resume_held(&mut self, now: Now, out: &mut impl Outbox) {
        for (at, key) in std::mem::take(&mut self.full) {
            self.serve_held(now, at, key, out);
        }
    }

    /// Answers with a header alone.
    pub(super) fn answer_header(
        &mut self,
        now: Now,
        at: u32,
        request: Request,
        zxid: Zxid,
        err: i32,
        out: &mut impl Outbox,
    ) {
        reply::begin(&mut self.frame, request.xid, zxid, err);
        self.send_frame(now, at, request, zxid, out);
    }

    /// Completes the reply in `frame` and sends it.
    pub(super) fn send_frame(
        &mut self,
        now: Now,
        at: u32,
        request: Request,
        zxid: Zxid,
        out: &mut impl Outbox,
    ) {
        reply::end(&mut self.frame);
        let conn = self.conns.get_mut(at);
        out.send(conn.key, &self.frame);
        conn.stats.sent += 1;
        let latency_us = now.mono_us.saturating_sub(request.received_us);
        conn.stats.answered(request.op, request.xid, zxid, now.mono_ms, latency_us / 1000);
        let kind =
            if super::write::is_write(request.op) { Observed::UpdateLatency } else { Observed::ReadLatency };
        self.metrics.record(kind, latency_us);
        self.metrics.add(Counter::ResponseBytes, self.frame.len() as u64);
        self.counters.count_response(self.frame.len());
    }

    /// Notes that a request of this many bytes is not answered yet, and stops a connection that sends too many: it
    /// is asked to pause, and closed if it goes on.
    pub(super) fn count_unanswered(&mut self, at: u32, bytes: usize, out: &mut impl Outbox) {
        let conn = self.conns.get_mut(at);
        conn.unanswered += 1;
        conn.unanswered_bytes += bytes + REQUEST_COST;
        if conn.unanswered_bytes > self.options.max_unanswered_bytes {
            self.close_conn(at, out);
        } else if conn.unanswered_bytes > self.options.pause_bytes && !conn.paused {
            conn.paused = true;
            out.pause(conn.key, true);
        }
    }

    /// The counterpart of [`Service::count_unanswered`].
    pub(super) fn count_answered(&mut self, at: u32, bytes: usize, out: &mut impl Outbox) {
        let conn = self.conns.get_mut(at);
        conn.unanswered -= 1;
        conn.unanswered_bytes -= bytes + REQUEST_COST;
        if conn.paused && conn.unanswered_bytes <= self.options.pause_bytes / 2 {
            conn.paused = false;
            out.pause(conn.key, false);
        }
    }

    /// Closes a connection behind what was sent to it. Its session lives on.
    pub(super) fn close_conn(&mut self, at: u32, out: &mut impl Outbox) {
        out.close(self.conns.get(at).key);
        self.forget_conn(at);
    }

    /// A connection is gone, and with it its watches and what waited in it. Its proposals are not.
    fn forget_conn(&mut self, at: u32) {
        self.watches.remove_conn(at);
        self.metrics.add(Counter::ConnectionDrops, 1);
        let conn = self.conns.remove(at);
        self.held -= conn.held.len();
        if let Some(slot) = conn.session() {
            let session = self.sessions.get_mut(slot);
            if session.conn == Some(conn.key) {
                session.conn = None;
                if session.local {
                    self.sessions.remove(slot);
                }
            }
        }
    }
}
