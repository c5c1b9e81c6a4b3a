//! The nodes that go away by themselves: ephemerals by session, containers and TTL nodes in one list.
//!
//! The lists run through the nodes' side records, so membership costs no memory of its own and leaving a list no
//! search.

use super::slab::NIL;
use super::{NodeId, NodeKind, Tree};
use crate::id::SessionId;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Heads of the lists.
#[derive(Debug)]
pub(super) struct Owned {
    sessions: HashMap<i64, u32, FixedState>,
    ephemerals: u64,
    reapable: u32,
    /// Where [`Tree::reapable`] goes on in its round ([`NIL`]: nowhere); moved along when that node leaves.
    cursor: Option<u32>,
}

impl Owned {
    pub(super) fn new(seed: u64) -> Owned {
        Owned {
            sessions: HashMap::with_hasher(FixedState::with_seed(seed)),
            ephemerals: 0,
            reapable: NIL,
            cursor: None,
        }
    }
}

impl Tree {
    /// The ephemeral nodes of a session.
    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = NodeId> + '_ {
        let mut at = self.first_ephemeral(session);
        std::iter::from_fn(move || {
            let id = at;
            at = self.side_of(id)?.list_next;
            Some(NodeId(id))
        })
    }

    /// All ephemeral nodes of all sessions.
    pub fn ephemeral_count(&self) -> u64 {
        self.owned.ephemerals
    }

    /// The sessions that own ephemeral nodes, ascending.
    pub fn ephemeral_owners(&self) -> Vec<SessionId> {
        let mut owners: Vec<SessionId> = self.owned.sessions.keys().map(|&id| SessionId(id)).collect();
        owners.sort_unstable_by_key(|session| session.0);
        owners
    }

    /// Looks for containers and TTL nodes that should be deleted now, at most `budget` nodes per call, and appends
    /// them to `out`. Goes on where the last call ended; `true` means that this call completed the round.
    ///
    /// A container is due when it has no children but had some, or never had any for `never_used_ms` (0: never due
    /// then); a TTL node when it has no children and its data was not set for its time to live. All in
    /// milliseconds, `now_ms` since 1970.
    pub fn reapable(
        &mut self,
        budget: usize,
        now_ms: i64,
        never_used_ms: i64,
        out: &mut Vec<NodeId>,
    ) -> bool {
        let mut at = self.owned.cursor.unwrap_or(self.owned.reapable);
        for _ in 0..budget {
            let Some(side) = self.side_of(at) else { break };
            let next = side.list_next;
            if self.is_due(at, now_ms, never_used_ms) {
                out.push(NodeId(at));
            }
            at = next;
        }
        self.owned.cursor = (at != NIL).then_some(at);
        at == NIL
    }

    fn is_due(&self, id: u32, now_ms: i64, never_used_ms: i64) -> bool {
        let node = self.node(NodeId(id));
        if node.child_count() > 0 {
            return false;
        }
        let stat = node.persisted();
        let idle_ms = now_ms.saturating_sub(stat.mtime);
        match node.kind() {
            NodeKind::Container => stat.cversion > 0 || (never_used_ms != 0 && idle_ms > never_used_ms),
            NodeKind::Ttl(ttl) => ttl != 0 && idle_ms > ttl,
            NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
        }
    }

    pub(super) fn first_ephemeral(&self, session: SessionId) -> u32 {
        self.owned.sessions.get(&session.0).copied().unwrap_or(NIL)
    }

    /// Enters a node with an owner into its list.
    pub(super) fn own(&mut self, id: u32, owner: i64) {
        let head = match NodeKind::of_owner(owner) {
            NodeKind::Persistent => return,
            NodeKind::Ephemeral(SessionId(session)) => {
                self.owned.ephemerals += 1;
                self.owned.sessions.insert(session, id).unwrap_or(NIL)
            }
            NodeKind::Container | NodeKind::Ttl(_) => std::mem::replace(&mut self.owned.reapable, id),
        };
        self.side_mut(id).list_next = head;
        if head != NIL {
            self.side_mut(head).list_prev = id;
        }
    }

    /// Takes a node out of its list.
    pub(super) fn disown(&mut self, id: u32, owner: i64) {
        let kind = NodeKind::of_owner(owner);
        if kind == NodeKind::Persistent {
            return;
        }
        let side = self.side_mut(id);
        let (prev, next) = (side.list_prev, side.list_next);
        if next != NIL {
            self.side_mut(next).list_prev = prev;
        }
        if prev != NIL {
            self.side_mut(prev).list_next = next;
        }
        match kind {
            NodeKind::Ephemeral(SessionId(session)) => {
                self.owned.ephemerals -= 1;
                match (prev, next) {
                    (NIL, NIL) => drop(self.owned.sessions.remove(&session)),
                    (NIL, next) => drop(self.owned.sessions.insert(session, next)),
                    _ => {}
                }
            }
            _ => {
                if prev == NIL {
                    self.owned.reapable = next;
                }
                if self.owned.cursor == Some(id) {
                    self.owned.cursor = Some(next);
                }
            }
        }
    }
}
