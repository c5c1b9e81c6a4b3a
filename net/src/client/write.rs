//! From a write request to a proposal.
//!
//! Every write that is taken becomes exactly one transaction with a zxid of its own: the change, or the error that
//! it is. So failures keep their place in the order, and nothing about them has to be remembered until they are
//! answered.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::txn::{Txn, TxnDigest, TxnHeader, encode_into, kind};

use super::conn::Waiting;
use super::prep::{Emit, Prep};
use super::service::{InFlight, Request};
use super::{Admission, Now, Outbox, Proposer, Service};
use crate::wire::multi::{Multi, MultiKind};
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

impl Service {
    /// The zxid of the next proposal. A node that stands alone just counts, over the border of 32 bits too: its
    /// epochs mean nothing.
    pub(super) fn next_zxid(&self) -> Zxid {
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
            return self.refuse(now, at, request, out);
        }
        let key = self.conns.get(at).key;
        // Bytes of a frame came in a four-byte length.
        let flight = InFlight { zxid: self.next_zxid(), conn: Some((at, key)), request, bytes: bytes as u32 };
        let mut entries = std::mem::take(&mut self.multi);
        let body = &mut body;
        let op = request.op;
        self.try_prepare(now, session, flight, log, |prep, emit| match op {
            op::CREATE_TTL => prep.create(op, &decoded(Create::decode_ttl(body))?, emit),
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                prep.create(op, &decoded(Create::decode(body))?, emit)
            }
            op::DELETE => prep.delete(&decoded(PathVersion::decode(body))?, emit),
            op::SET_DATA => prep.set_data(&decoded(SetData::decode(body))?, emit),
            op::SET_ACL => prep.set_acl(&decoded(SetAcl::decode(body))?, emit),
            op::MULTI => {
                let multi = decoded(Multi::decode(body, MultiKind::Write))?;
                prep.multi(&multi, &mut entries, emit);
                Ok(())
            }
            op::CLOSE_SESSION => {
                prep.close_session(emit);
                Ok(())
            }
            _ => Err(Code::ReconfigDisabled),
        });
        self.multi = entries;
        if op == op::CLOSE_SESSION {
            self.sessions.close(session);
            self.conns.get_mut(at).end();
        }
        self.count_unanswered(at, bytes, out);
    }

    fn refuse(&mut self, now: Now, at: u32, request: Request, out: &mut impl Outbox) {
        let applied = self.tree.last_zxid();
        let (Request { xid, op, received_us }, code) = (request, Code::SystemError);
        if self.conns.get(at).must_hold(applied) {
            self.hold(at, received_us, Waiting::Refused { xid, op, code }, out);
        } else {
            self.answer_header(now, at, request, applied, code.raw(), out);
        }
    }

    /// Proposes the end of a session that nobody asked for.
    pub(super) fn propose_close(&mut self, now: Now, session: u32, log: &mut impl Proposer) {
        let request = Request { xid: 0, op: op::CLOSE_SESSION, received_us: now.mono_us };
        let flight = InFlight { zxid: self.next_zxid(), conn: None, request, bytes: 0 };
        self.prepare(now, session, flight, log, |prep, emit| prep.close_session(emit));
        self.sessions.close(session);
    }

    /// Proposes what `judge` makes of a request that cannot fail.
    pub(super) fn prepare(
        &mut self,
        now: Now,
        session: u32,
        flight: InFlight,
        log: &mut impl Proposer,
        judge: impl FnOnce(&mut Prep<'_>, Emit<'_>),
    ) {
        self.try_prepare(now, session, flight, log, |prep, emit| {
            judge(prep, emit);
            Ok(())
        });
    }

    /// Proposes what `judge` makes of a request: a change, or an error transaction.
    fn try_prepare(
        &mut self,
        now: Now,
        session: u32,
        flight: InFlight,
        log: &mut impl Proposer,
        judge: impl FnOnce(&mut Prep<'_>, Emit<'_>) -> Result<(), Code>,
    ) {
        let zxid = flight.zxid;
        let session = self.sessions.get_mut(session);
        session.last_write = zxid;
        let header = TxnHeader {
            client_id: session.id,
            cxid: flight.request.xid,
            zxid,
            time: now.wall_ms,
            kind: kind::ERROR,
        };
        let identities = match flight.conn {
            Some((at, _)) => {
                let conn = self.conns.get_mut(at);
                conn.barrier = zxid;
                &conn.identities[..]
            }
            None => &[],
        };
        let Some(acl_room) = self.options.acl_room(flight.bytes as usize) else {
            log.propose(zxid, &mut |out| {
                encode_into(&header, &Txn::Error { err: Code::MarshallingError.raw() }, None, out);
            });
            self.proposed = zxid;
            self.in_flight.push_back(flight);
            return;
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
        self.in_flight.push_back(flight);
    }
}

fn decoded<T, E: Into<WireError>>(result: Result<T, E>) -> Result<T, Code> {
    result.map_err(|error| {
        tracing::debug!(error = %error.into(), "a request was not understood");
        Code::MarshallingError
    })
}
