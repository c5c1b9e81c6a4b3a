//! The leader's side of the ensemble: what learners ask for on behalf of their clients.
//!
//! Every write of a learner gets exactly one zxid, also when it fails: the learner waits for its session and cxid to
//! come back committed, in the order in which it asked (quorum reference 5.5 to 5.8). A session has one owner, the
//! server through which its writes are taken; who comes through another one has been overtaken by its client.

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::Reader;

use super::auth::Identity;
use super::flight::Request;
use super::write::{Asked, judge};
use super::{Admission, Now, Outbox, Proposer, Role, Service};
use crate::wire::quorum;
use crate::wire::quorum::payload;
use crate::wire::{Code, op};

/// The owner of sessions whose clients are connected to the leader itself.
pub const OURSELVES: u64 = 0;

/// The last counter that is given to a transaction: at the next one the reference stops leading.
const LAST_COUNTER: u32 = u32::MAX - 1;

/// What became of a learner's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// It is proposed, as a change or as an error transaction.
    Proposed(Zxid),
    /// It is a sync. The learner gets its SYNC right behind the COMMIT or INFORM of this transaction and before
    /// that of the next; at once if that has been sent already, or for `None`.
    Sync {
        /// The last transaction that was proposed when the sync came.
        behind: Option<Zxid>,
    },
}

/// A request that cannot have a zxid, so that its learner would wait for ever: the leader must give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotPropose {
    /// The counter of the epoch is used up.
    #[error("proposing a learner's request: the epoch has no zxid left behind {last}")]
    EpochSpent {
        /// The last one.
        last: Zxid,
    },
    /// The log cannot take even the end of a session.
    #[error("proposing a learner's request: the log has no space")]
    NoSpace,
}

impl Service {
    /// Whether there is a zxid for another transaction. A leader without one takes no writes and should give up.
    pub fn can_propose(&self) -> bool {
        self.role != Role::Leader || self.proposed.counter() < LAST_COUNTER
    }

    /// Takes in a request that a client has sent to `learner`, a number that names a link, is never used again and
    /// is not 0. `identities` are the client's. Only for a leader.
    ///
    /// # Errors
    /// When nothing can be proposed any more. The request is not taken.
    pub fn forwarded<'a>(
        &mut self,
        now: Now,
        learner: u64,
        request: &payload::Request<'_>,
        identities: impl Iterator<Item = quorum::Identity<'a>>,
        log: &mut impl Proposer,
    ) -> Result<Forwarded, CannotPropose> {
        assert_eq!(self.role, Role::Leader, "requests are forwarded to a leader");
        if request.op == op::SYNC {
            let idle = self.proposed.counter() == 0 || self.proposed <= self.tree.last_zxid();
            return Ok(Forwarded::Sync { behind: (!idle).then_some(self.proposed) });
        }
        if !self.can_propose() {
            return Err(CannotPropose::EpochSpent { last: self.proposed });
        }
        let bounds = matches!(request.op, op::CREATE_SESSION | op::CLOSE_SESSION);
        let admitted = match self.admission {
            Admission::Open => Ok(()),
            Admission::SessionsOnly if bounds => Ok(()),
            Admission::SessionsOnly => Err(Code::SystemError),
            Admission::Closed => return Err(CannotPropose::NoSpace),
        };
        let payload::Request { session: id, cxid, op, body } = *request;
        // Frames are far below 4 GiB: their length came in four bytes.
        let asked = Asked {
            conn: None,
            request: Request { xid: cxid, op, received_us: now.mono_us },
            bytes: body.len() as u32,
        };
        match admitted.and_then(|()| self.judge_session(now, learner, id, op, body)) {
            Err(code) => {
                self.propose_error(now, id, asked, code, log);
            }
            Ok(None) => self.propose_close_of_unknown(now, id, asked, log),
            Ok(Some(slot)) if op == op::CREATE_SESSION => {
                self.prepare(now, slot, asked, log, |prep, emit| prep.create_session(emit));
            }
            Ok(Some(slot)) => {
                let mut asker = std::mem::take(&mut self.asker);
                Identity::assign(&mut asker, identities);
                let mut entries = std::mem::take(&mut self.multi);
                let mut body = Reader::new(body);
                self.try_prepare(now, slot, asked, &asker, log, |prep, emit| {
                    judge(prep, op, &mut body, &mut entries, emit)
                });
                self.multi = entries;
                self.asker = asker;
                if op == op::CLOSE_SESSION {
                    self.sessions.close(slot);
                }
            }
        }
        Ok(Forwarded::Proposed(self.proposed))
    }

    /// The slot of the session for which a learner asks, if it may. `None`: the end of a session that is not there,
    /// which is as good as done.
    fn judge_session(
        &mut self,
        now: Now,
        learner: u64,
        id: SessionId,
        op: i32,
        body: &[u8],
    ) -> Result<Option<u32>, Code> {
        let known = self.sessions.find(id);
        let closing = known.is_some_and(|slot| self.sessions.get(slot).closing);
        match (op, known) {
            (op::CREATE_SESSION, _) => {
                let timeout_ms = Reader::new(body).i32().map_err(|_| Code::MarshallingError)?;
                if closing {
                    return Err(Code::SessionExpired);
                }
                // 0 stands for no session, and the other for a container among the owners of nodes.
                if id == SessionId::NONE || id.0 == i64::MIN {
                    return Err(Code::BadArguments);
                }
                let slot = self.sessions.insert(id, timeout_ms.max(0).cast_unsigned());
                self.sessions.get_mut(slot).owner = Some(learner);
                self.sessions.touch(slot, now.mono_ms);
                Ok(Some(slot))
            }
            // Whoever has the password may end a session, from anywhere and twice.
            (op::CLOSE_SESSION, _) => Ok(known),
            (_, Some(slot)) if !closing => {
                let session = self.sessions.get_mut(slot);
                if *session.owner.get_or_insert(learner) != learner {
                    return Err(Code::SessionMoved);
                }
                self.sessions.touch(slot, now.mono_ms);
                Ok(known)
            }
            _ => Err(Code::SessionExpired),
        }
    }

    /// Whether a session lives that a client wants to resume at `learner`, which becomes its owner. The answer must
    /// leave before those to requests that come behind.
    /// A connection that its client had to the leader itself is closed.
    pub fn revalidate(
        &mut self,
        now: Now,
        learner: u64,
        session: SessionId,
        timeout_ms: i32,
        out: &mut impl Outbox,
    ) -> bool {
        let Some(slot) = self.touched_by(now, session, timeout_ms) else { return false };
        self.take_over(slot, out);
        self.sessions.get_mut(slot).owner = Some(learner);
        true
    }

    /// A learner has heard of a session, whose timeout was negotiated there, in milliseconds.
    pub fn touch(&mut self, now: Now, session: SessionId, timeout_ms: i32) {
        self.touched_by(now, session, timeout_ms);
    }

    fn touched_by(&mut self, now: Now, session: SessionId, timeout_ms: i32) -> Option<u32> {
        let slot = self.sessions.find(session).filter(|_| self.role == Role::Leader)?;
        let session = self.sessions.get_mut(slot);
        if session.closing {
            return None;
        }
        session.timeout_ms = timeout_ms.max(0).cast_unsigned();
        self.sessions.touch(slot, now.mono_ms);
        Some(slot)
    }
}
