//! What a server is to its ensemble, and what changes with it.
//!
//! Nothing that is not committed outlives a role: it is forgotten here, and every client that waited for it loses its
//! connection, which means "perhaps done". What of it was decided comes back as committed transactions.

use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_engine::tree::Tree;

use super::conn::Phase;
use super::pending::Pending;
use super::{Now, Outbox, Service};

/// What a server is to its ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// There is no ensemble.
    Alone,
    /// It decides for all in which order writes happen.
    Leader,
    /// It reads by itself and sends its clients' writes to the leader. Whether it votes makes no difference here.
    Learner,
    /// It has no leader, and serves nobody but those who only read.
    Away,
}

impl Service {
    /// What this server is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether clients are served in full.
    pub fn is_serving(&self) -> bool {
        self.role != Role::Away
    }

    /// Whether clients that asked for no more may read, without a leader.
    pub fn is_read_only(&self) -> bool {
        self.role == Role::Away && self.options.read_only
    }

    /// Begins to lead `epoch`: writes get the zxids from its first on. Everything that is committed in earlier epochs
    /// must be applied. Each session gets a full lease from now on, of the timeout it was created with, and belongs to
    /// the server that asks for it first.
    pub fn lead(&mut self, now: Now, epoch: Epoch, out: &mut impl Outbox) {
        self.take_role(Role::Leader, out);
        self.begin(epoch);
        self.proposed = self.epoch_began;
        for slot in self.sessions.slots() {
            let session = self.sessions.get_mut(slot);
            session.timeout_ms = session.committed.unwrap_or_default().max(0).cast_unsigned();
            self.sessions.touch(slot, now.mono_ms);
        }
        self.find_orphans();
    }

    /// Begins to follow or observe the leader of `epoch`. Everything that is committed in earlier epochs must be applied.
    /// What commits from now on settles the requests that [`Upstream`](super::Upstream) has been given from now on.
    pub fn learn(&mut self, epoch: Epoch, out: &mut impl Outbox) {
        self.take_role(Role::Learner, out);
        self.begin(epoch);
    }

    /// Service begins. A snapshot may have been ahead of its zxid, but only by what had committed when it was taken, and
    /// that is applied now: from here on every digest counts.
    fn begin(&mut self, epoch: Epoch) {
        self.epoch_began = Zxid::new(epoch, 0);
        self.tree.converged();
    }

    /// There is no leader any more: connections are closed, and what is not committed is forgotten. Transactions that
    /// turn out to be committed may still be [`committed`](Service::committed).
    pub fn retire(&mut self, out: &mut impl Outbox) {
        if self.role != Role::Away {
            self.take_role(Role::Away, out);
        }
    }

    /// Another state takes the place of tree and sessions, with timeouts in milliseconds. Only while
    /// [`Role::Away`].
    pub fn restore(&mut self, tree: Tree, sessions: impl IntoIterator<Item = (SessionId, i32)>) {
        assert_eq!(self.role, Role::Away, "a state is replaced while nobody relies on it");
        self.proposed = tree.last_zxid();
        self.tree = tree;
        self.sessions.retain(|session| session.local);
        for (id, timeout_ms) in sessions {
            self.session_created(id, timeout_ms);
        }
    }

    /// The sessions that committed transactions have made, with the timeouts in those, in order of id: what a
    /// snapshot of this state holds.
    pub fn committed_sessions(&self) -> Vec<(SessionId, i32)> {
        let mut sessions: Vec<_> =
            self.sessions.iter().filter_map(|session| Some((session.id, session.committed?))).collect();
        sessions.sort_unstable();
        sessions
    }

    /// Ends what depends on the role and takes on the next.
    fn take_role(&mut self, next: Role, out: &mut impl Outbox) {
        let closing: Vec<u32> =
            self.conns.iter().filter(|(_, conn)| conn.phase != Phase::Fresh).map(|(at, _)| at).collect();
        for at in closing {
            self.close_conn(at, out);
        }
        self.role = next;
        self.proposed = self.tree.last_zxid();
        self.epoch_began = Zxid::ZERO;
        self.pending = Pending::default();
        self.flights.forget();
        self.resumes.clear();
        self.revalidations.clear();
        self.doubt = None;
        self.touched.forget();
        self.orphans.clear();
        self.sessions.rest();
        self.sessions.retain(|session| {
            session.closing = false;
            session.owner = None;
            session.conn = None;
            session.unapplied_ephemerals.clear();
            session.committed.is_some()
        });
    }

    /// Looks for sessions that own nodes but are not known, to end them.
    pub(super) fn find_orphans(&mut self) {
        for owner in self.tree.ephemeral_owners() {
            if self.sessions.find(owner).is_none() {
                let slot = self.sessions.insert(owner, 0);
                self.sessions.close(slot);
                self.orphans.push(slot);
            }
        }
    }

    /// A committed transaction has made a session; answers its slot.
    pub(super) fn session_created(&mut self, id: SessionId, timeout_ms: i32) -> u32 {
        let slot = self.sessions.insert(id, timeout_ms.max(0).cast_unsigned());
        self.sessions.get_mut(slot).committed = Some(timeout_ms);
        slot
    }
}
