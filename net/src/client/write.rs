//! From a write request to a proposal.
//!
//! Every write that is taken becomes exactly one transaction with a zxid of its own: the change, or the error that
//! it is. So failures keep their place in the order, and nothing about them has to be remembered until they are
//! answered.

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::txn::{MultiBuilder, PathList, Txn, TxnDigest, TxnHeader, encode_into, kind};

use super::auth::Identity;
use super::conn::Waiting;
use super::flight::{Awaits, InFlight, Request, Ticket};
use super::prep::{Emit, Prep};
use super::{Admission, ConnKey, Now, Outbox, Proposer, Service};
use crate::wire::multi::{Multi, MultiKind, MultiOp};
use crate::wire::request::{Create, PathVersion, SetAcl, SetData};
use crate::wire::{Code, WireError, op};

/// Whether an operation becomes a transaction.
pub(super) fn is_write(op: i32) -> bool {
    matches!(
        op,
        op::CREATE
            | op::CREATE2
            | op::CREATE_CONTAINER
            | op::CREATE_TTL
            | op::DELETE
            | op::SET_DATA
            | op::SET_ACL
            | op::MULTI
            | op::RECONFIG
            | op::CLOSE_SESSION
    )
}

/// A write as it was asked for, by a client here or through a learner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The connection to be answered; `None` for what the server does by itself or for a learner.
    pub conn: Option<(u32, ConnKey)>,
    /// What is asked.
    pub request: Request,
    /// Bytes of the request.
    pub bytes: u32,
}

impl Service {
    /// The zxid of the next proposal. A node that stands alone just counts, over the border of 32 bits too: its
    /// epochs mean nothing. A leader asks [`Service::can_propose`] first.
    fn next_zxid(&self) -> Zxid {
        Zxid::from_raw(self.proposed.raw() + 1)
    }

    /// Takes in a write request.
    #[expect(clippy::too_many_arguments, reason = "all of them are what a request is")]
    pub(super) fn write(
        &mut self,
        now: Now,
        at: u32,
        session: u32,
        request: Request,
        mut body: Reader<'_>,
        bytes: usize,
        out: &mut impl Outbox,
        log: &mut impl Proposer,
    ) {
        let admitted = match self.admission {
            Admission::Open => true,
            Admission::SessionsOnly => request.op == op::CLOSE_SESSION,
            Admission::Closed => false,
        };
        if !admitted {
            return self.refuse(now, at, request, Code::SystemError, out);
        }
        if !self.can_propose() {
            return self.close_conn(at, out);
        }
        let key = self.conns.get(at).key;
        // Bytes of a frame came in a four-byte length.
        let asked = Asked { conn: Some((at, key)), request, bytes: bytes as u32 };
        let mut entries = std::mem::take(&mut self.multi);
        let ticket = self.try_prepare(now, session, asked, &[], log, |prep, emit| {
            judge(prep, request.op, &mut body, &mut entries, emit)
        });
        self.multi = entries;
        let conn = self.conns.get_mut(at);
        conn.barrier = ticket;
        if request.op == op::CLOSE_SESSION {
            conn.end();
            self.sessions.close(session);
        }
        self.count_unanswered(at, bytes, out);
    }

    /// Answers a request that takes no zxid with an error, in its turn.
    pub(super) fn refuse(&mut self, now: Now, at: u32, request: Request, code: Code, out: &mut impl Outbox) {
        let Request { xid, op, received_us } = request;
        if self.conns.get(at).must_hold(self.flights.settled()) {
            self.hold(at, received_us, Waiting::Refused { xid, op, code }, out);
        } else {
            self.answer_header(now, at, request, self.tree.last_zxid(), code.raw(), out);
        }
    }

    /// Proposes the end of a session that nobody asked for.
    pub(super) fn propose_close(&mut self, now: Now, session: u32, log: &mut impl Proposer) {
        let request = Request { xid: 0, op: op::CLOSE_SESSION, received_us: now.mono_us };
        let asked = Asked { conn: None, request, bytes: 0 };
        self.prepare(now, session, asked, log, |prep, emit| prep.close_session(emit));
        self.sessions.close(session);
    }

    /// Proposes what `judge` makes of a request that cannot fail.
    pub(super) fn prepare(
        &mut self,
        now: Now,
        session: u32,
        asked: Asked,
        log: &mut impl Proposer,
        judge: impl FnOnce(&mut Prep<'_>, Emit<'_>),
    ) -> Ticket {
        self.try_prepare(now, session, asked, &[], log, |prep, emit| {
            judge(prep, emit);
            Ok(())
        })
    }

    /// Proposes what `judge` makes of a request: a change, or an error transaction. A request of a connection is
    /// judged with the identities of that, any other with those given.
    pub(super) fn try_prepare(
        &mut self,
        now: Now,
        session: u32,
        asked: Asked,
        identities: &[Identity],
        log: &mut impl Proposer,
        judge: impl FnOnce(&mut Prep<'_>, Emit<'_>) -> Result<(), Code>,
    ) -> Ticket {
        let zxid = self.next_zxid();
        let id = self.sessions.get(session).id;
        let Some(acl_room) = self.options.acl_room(asked.bytes as usize) else {
            let ticket = self.propose_error(now, id, asked, Code::MarshallingError, log);
            self.sessions.get_mut(session).last_write = ticket;
            return ticket;
        };
        let session = self.sessions.get_mut(session);
        let header =
            TxnHeader { client_id: id, cxid: asked.request.xid, zxid, time: now.wall_ms, kind: kind::ERROR };
        let identities = match asked.conn {
            Some((at, _)) => &self.conns.get(at).identities[..],
            None => identities,
        };
        let mut prep = Prep {
            tree: &self.tree,
            pending: &mut self.pending,
            fixer: &mut self.fixer,
            auth: &self.options.auth,
            acl_room,
            max_txn_bytes: self.options.max_txn_bytes,
            extended_types: self.options.extended_types,
            identities,
            session,
            zxid,
            time: now.wall_ms,
        };
        let judged = judge(&mut prep, &mut |kind, txn, digest| {
            let digest = self.options.digest.then(|| TxnDigest::new(digest));
            log.propose(zxid, &mut |out| encode_into(&TxnHeader { kind, ..header }, txn, digest, out));
        });
        if let Err(code) = judged {
            log.propose(zxid, &mut |out| encode_into(&header, &Txn::Error { err: code.raw() }, None, out));
        }
        self.proposed = zxid;
        let ticket =
            self.flights.push(InFlight::new(Awaits::Commit(zxid), asked.conn, asked.request, asked.bytes));
        session.last_write = ticket;
        ticket
    }

    /// Proposes that a request of session `id` fails.
    pub(super) fn propose_error(
        &mut self,
        now: Now,
        id: SessionId,
        asked: Asked,
        code: Code,
        log: &mut impl Proposer,
    ) -> Ticket {
        self.propose_as(now, id, asked, kind::ERROR, &Txn::Error { err: code.raw() }, None, log)
    }

    /// Proposes that session `id`, of which nothing is known, ends: it owns nothing.
    pub(super) fn propose_close_of_unknown(
        &mut self,
        now: Now,
        id: SessionId,
        asked: Asked,
        log: &mut impl Proposer,
    ) {
        let digest = self.options.digest.then(|| TxnDigest::new(self.pending.digest(&self.tree)));
        let mut encoded = Vec::new();
        let txn = Txn::CloseSession { paths: Some(PathList::encode([], &mut encoded)) };
        self.propose_as(now, id, asked, kind::CLOSE_SESSION, &txn, digest, log);
    }

    #[expect(clippy::too_many_arguments, reason = "all of them are what a transaction is")]
    fn propose_as(
        &mut self,
        now: Now,
        client_id: SessionId,
        asked: Asked,
        kind: i32,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
        log: &mut impl Proposer,
    ) -> Ticket {
        let zxid = self.next_zxid();
        let header = TxnHeader { client_id, cxid: asked.request.xid, zxid, time: now.wall_ms, kind };
        log.propose(zxid, &mut |out| encode_into(&header, txn, digest, out));
        self.proposed = zxid;
        self.flights.push(InFlight::new(Awaits::Commit(zxid), asked.conn, asked.request, asked.bytes))
    }
}

/// Which parts of a multi are a create2: the transaction does not tell.
pub(super) fn parts_with_stats(op: i32, body: &[u8]) -> Vec<usize> {
    if op != op::MULTI {
        return Vec::new();
    }
    let Ok(multi) = Multi::decode(&Reader::new(body), MultiKind::Write) else { return Vec::new() };
    let wants = |part: &MultiOp<'_>| matches!(part, MultiOp::Create { op: op::CREATE2, .. });
    multi.ops().enumerate().filter(|(_, part)| wants(part)).map(|(place, _)| place).collect()
}

/// Reads the body of a write and judges it.
pub(super) fn judge(
    prep: &mut Prep<'_>,
    op: i32,
    body: &mut Reader<'_>,
    entries: &mut MultiBuilder,
    emit: Emit<'_>,
) -> Result<(), Code> {
    match op {
        op::CREATE_TTL => prep.create(op, &decoded(Create::decode_ttl(body))?, emit),
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
            prep.create(op, &decoded(Create::decode(body))?, emit)
        }
        op::DELETE => prep.delete(&decoded(PathVersion::decode(body))?, emit),
        op::SET_DATA => prep.set_data(&decoded(SetData::decode(body))?, emit),
        op::SET_ACL => prep.set_acl(&decoded(SetAcl::decode(body))?, emit),
        op::MULTI => {
            let multi = decoded(Multi::decode(body, MultiKind::Write))?;
            prep.multi(&multi, entries, emit);
            Ok(())
        }
        op::CLOSE_SESSION => {
            prep.close_session(emit);
            Ok(())
        }
        op::RECONFIG => Err(Code::ReconfigDisabled),
        _ => Err(Code::Unimplemented),
    }
}

fn decoded<T, E: Into<WireError>>(result: Result<T, E>) -> Result<T, Code> {
    result.map_err(|error| {
        tracing::debug!(error = %error.into(), "a request was not understood");
        Code::MarshallingError
    })
}
