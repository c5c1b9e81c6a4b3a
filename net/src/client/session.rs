//! The table of sessions and the buckets in which they expire.
//!
//! Time is cut into buckets of one tick, as the reference does: a session touched at `t` with timeout `T` lies
//! in bucket `(floor((t + T) / tick) + 1) * tick` and is due when the clock reaches that value, between `T` and
//! `T + tick` later. A session is an index into a slab and a bucket is a list threaded through it, so a touch
//! that stays in its bucket is one comparison.
//!
//! It never ends a session by itself: it says which are due, and [`super::Service`] proposes their end.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringkeeper_engine::id::{SessionId, Zxid};
use slab::Slab;

use super::ConnKey;
use super::flight::Ticket;

const NIL: u32 = u32::MAX;

/// One session, from the proposal of its creation to the commit of its end.
#[derive(Debug)]
pub struct Session {
    /// Its id, never [`SessionId::NONE`].
    pub id: SessionId,
    /// The negotiated timeout in milliseconds.
    pub timeout_ms: u32,
    /// The timeout in the transaction that created it, in milliseconds; `None` before that is committed.
    pub committed: Option<i32>,
    /// It was opened while there was no leader, lives as long as its connection and is unknown to all others.
    pub local: bool,
    /// Through whom its writes come, in the eyes of a leader: 0 is the leader itself. `None`: whoever is first.
    pub owner: Option<u64>,
    /// The last round of [`Touched`] in which it was noted.
    touched: u64,
    /// The connection that speaks for it, if there is one.
    pub conn: Option<ConnKey>,
    /// Its end has been proposed: nothing more is accepted from it.
    pub closing: bool,
    /// The place of the newest write or sync that this server asked for on its behalf.
    pub last_write: Ticket,
    /// Ephemeral nodes whose creation was proposed and may not be applied yet.
    pub unapplied_ephemerals: VecDeque<(Zxid, Box<str>)>,
    /// When it is due, in milliseconds of the monotonic clock; 0 while in no bucket.
    bucket: u64,
    prev: u32,
    next: u32,
}

impl Session {
    /// When it is due, in milliseconds of the monotonic clock; `None` once it is ending.
    pub fn due(&self) -> Option<u64> {
        Some(self.bucket).filter(|&bucket| bucket != 0)
    }

    /// Remembers that transaction `zxid` creates an ephemeral node of the session, and forgets those that are
    /// applied, which the tree knows.
    pub fn note_ephemeral(&mut self, zxid: Zxid, applied: Zxid, path: &str) {
        while self.unapplied_ephemerals.front().is_some_and(|&(created_by, _)| created_by <= applied) {
            self.unapplied_ephemerals.pop_front();
        }
        self.unapplied_ephemerals.push_back((zxid, path.into()));
    }
}

/// All sessions of this server.
#[derive(Debug)]
pub struct Sessions {
    slots: Slab<Session>,
    by_id: HashMap<SessionId, u32, RandomState>,
    /// First session of each bucket, by the time at which the bucket is due.
    buckets: BTreeMap<u64, u32>,
    tick_ms: u64,
    next_id: i64,
}

/// The first id a server hands out: its number in the top byte, then the low 40 bits of the clock.
///
/// The reference takes the clock from the machine's uptime, so a reboot may repeat ids; the wall clock does not.
fn first_id(server: u8, wall_ms: i64) -> i64 {
    (i64::from(server) << 56) | ((((wall_ms as u64) << 24) >> 8) & 0x00ff_ffff_ffff_0000) as i64
}

impl Sessions {
    /// An empty table of server `server` whose buckets are `tick_ms` wide.
    pub fn new(server: u8, tick_ms: u32, wall_ms: i64) -> Sessions {
        Sessions {
            slots: Slab::new(),
            by_id: HashMap::default(),
            buckets: BTreeMap::new(),
            tick_ms: u64::from(tick_ms.max(1)),
            next_id: first_id(server, wall_ms),
        }
    }

    /// A fresh id: never 0, never the mark of a container, never one that is in the table.
    pub fn allocate_id(&mut self) -> SessionId {
        loop {
            let id = SessionId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if id != SessionId::NONE && id.0 != i64::MIN && !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// Takes in a session; answers its slot, also when it was known already. It is due only once it is
    /// [`touch`](Sessions::touch)ed.
    pub fn insert(&mut self, id: SessionId, timeout_ms: u32) -> u32 {
        if let Some(&slot) = self.by_id.get(&id) {
            return slot;
        }
        if (id.0 ^ self.next_id) >> 56 == 0 && id.0 >= self.next_id {
            self.next_id = id.0.wrapping_add(1);
        }
        let slot = self.slots.insert(Session {
            id,
            timeout_ms,
            committed: None,
            local: false,
            owner: None,
            touched: 0,
            conn: None,
            closing: false,
            last_write: Ticket::default(),
            unapplied_ephemerals: VecDeque::new(),
            bucket: 0,
            prev: NIL,
            next: NIL,
        }) as u32;
        self.by_id.insert(id, slot);
        slot
    }

    /// The slot of a session.
    pub fn find(&self, id: SessionId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The session in a slot that this table has given out and not yet removed.
    pub fn get(&self, slot: u32) -> &Session {
        &self.slots[slot as usize]
    }

    /// As [`Sessions::get`], to be changed.
    pub fn get_mut(&mut self, slot: u32) -> &mut Session {
        &mut self.slots[slot as usize]
    }

    /// Forgets a session.
    pub fn remove(&mut self, slot: u32) -> Session {
        self.unlink(slot);
        let session = self.slots.remove(slot as usize);
        self.by_id.remove(&session.id);
        session
    }

    /// How many there are, those that are ending included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// All sessions, in order of slot.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().map(|(_, session)| session)
    }

    /// Renews the lease of a session that is not ending.
    pub fn touch(&mut self, slot: u32, mono_ms: u64) {
        let session = &self.slots[slot as usize];
        if session.closing {
            return;
        }
        let expires = mono_ms.saturating_add(u64::from(session.timeout_ms));
        let bucket = (expires / self.tick_ms).saturating_add(1).saturating_mul(self.tick_ms);
        if bucket != session.bucket {
            self.unlink(slot);
            self.link(slot, bucket);
        }
    }

    /// Marks a session as ending: it is due no more.
    pub fn close(&mut self, slot: u32) {
        self.unlink(slot);
        self.get_mut(slot).closing = true;
    }

    /// Gives every session that has a lease so much more of it.
    pub fn postpone(&mut self, ms: u64) {
        let due: Vec<(u32, u64)> =
            (self.slots.iter()).filter_map(|(slot, session)| Some((slot as u32, session.due()?))).collect();
        let steps = ms.div_ceil(self.tick_ms);
        for (slot, bucket) in due {
            self.unlink(slot);
            self.link(slot, bucket.saturating_add(steps.saturating_mul(self.tick_ms)));
        }
    }

    /// The silence of this session does not count any more, until it is touched again.
    pub fn let_rest(&mut self, slot: u32) {
        self.unlink(slot);
    }

    /// Nobody's silence counts any more, until sessions are touched again.
    pub fn rest(&mut self) {
        self.buckets.clear();
        for (_, session) in &mut self.slots {
            (session.bucket, session.prev, session.next) = (0, NIL, NIL);
        }
    }

    /// Forgets all sessions of which `stays` does not say otherwise. Ids are not given out again.
    pub fn retain(&mut self, mut stays: impl FnMut(&mut Session) -> bool) {
        let going: Vec<u32> =
            self.slots.iter_mut().filter_map(|(slot, it)| (!stays(it)).then_some(slot as u32)).collect();
        for slot in going {
            self.remove(slot);
        }
    }

    /// All slots in use, in order.
    pub fn slots(&self) -> Vec<u32> {
        self.slots.iter().map(|(slot, _)| slot as u32).collect()
    }

    /// The next session that is due at `mono_ms`. It stays due until it is touched or [`Sessions::close`]d.
    pub fn next_due(&self, mono_ms: u64) -> Option<u32> {
        self.buckets.first_key_value().filter(|&(&bucket, _)| bucket <= mono_ms).map(|(_, &slot)| slot)
    }

    /// When the first bucket is due, in milliseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        self.buckets.first_key_value().map(|(&bucket, _)| bucket)
    }

    fn link(&mut self, slot: u32, bucket: u64) {
        let head = self.buckets.insert(bucket, slot);
        if let Some(head) = head {
            self.get_mut(head).prev = slot;
        }
        let session = self.get_mut(slot);
        session.bucket = bucket;
        session.prev = NIL;
        session.next = head.unwrap_or(NIL);
    }

    fn unlink(&mut self, slot: u32) {
        let session = self.get_mut(slot);
        let (bucket, prev, next) = (session.bucket, session.prev, session.next);
        if bucket == 0 {
            return;
        }
        (session.bucket, session.prev, session.next) = (0, NIL, NIL);
        if next != NIL {
            self.get_mut(next).prev = prev;
        }
        if prev != NIL {
            self.get_mut(prev).next = next;
        } else if next != NIL {
            self.buckets.insert(bucket, next);
        } else {
            self.buckets.remove(&bucket);
        }
    }
}

/// The sessions that a learner has heard of since it last told the leader, each once.
#[derive(Debug)]
pub struct Touched {
    list: Vec<(SessionId, i32)>,
    round: u64,
}

impl Default for Touched {
    fn default() -> Touched {
        Touched { list: Vec::new(), round: 1 }
    }
}

impl Touched {
    /// Notes a sign of life.
    pub fn note(&mut self, session: &mut Session) {
        if std::mem::replace(&mut session.touched, self.round) != self.round {
            self.list.push((session.id, session.timeout_ms.cast_signed()));
        }
    }

    /// Appends what was noted to `into` and begins the next round.
    pub fn take(&mut self, into: &mut Vec<(SessionId, i32)>) {
        into.append(&mut self.list);
        self.round += 1;
    }

    /// Begins the next round without what was noted: there is nobody to be told. Rounds are never counted anew, because
    /// sessions remember theirs.
    pub fn forget(&mut self) {
        self.list.clear();
        self.round += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Sessions {
        Sessions::new(1, 2000, 1_795_285_959_208)
    }

    fn inserted(sessions: &mut Sessions, id: i64, timeout_ms: u32, mono_ms: u64) -> u32 {
        let slot = sessions.insert(SessionId(id), timeout_ms);
        sessions.touch(slot, mono_ms);
        slot
    }

    #[test]
    fn ids_carry_the_server_in_the_top_byte_and_the_clock_below() {
        let mut sessions = table();
        let first = sessions.allocate_id();
        assert_eq!(first.0 >> 56, 1);
        assert_eq!((first.0 >> 16) & 0xff_ffff_ffff, 1_795_285_959_208 & 0xff_ffff_ffff);
        assert_eq!(first.0 & 0xffff, 0);
        assert_eq!(sessions.allocate_id().0, first.0 + 1);
    }

    #[test]
    fn ids_of_restored_sessions_are_not_handed_out_again() {
        let mut sessions = table();
        let first = first_id(1, 1_795_285_959_208);
        sessions.insert(SessionId(first + 40), 4000);
        assert_eq!(sessions.allocate_id(), SessionId(first + 41));
    }

    #[test]
    fn a_session_is_due_at_the_end_of_its_bucket_and_not_before() {
        let mut sessions = table();
        let slot = inserted(&mut sessions, 7, 4000, 1000);
        assert_eq!(sessions.next_deadline(), Some(6000));
        assert_eq!(sessions.next_due(5999), None);
        assert_eq!(sessions.next_due(6000), Some(slot));
        // On the border the reference goes one bucket further.
        sessions.touch(slot, 2000);
        assert_eq!(sessions.next_deadline(), Some(8000));
    }

    #[test]
    fn a_shorter_timeout_moves_a_session_forward() {
        let mut sessions = table();
        let slot = inserted(&mut sessions, 7, 40_000, 0);
        sessions.get_mut(slot).timeout_ms = 4000;
        sessions.touch(slot, 0);
        assert_eq!(sessions.next_deadline(), Some(6000));
    }

    #[test]
    fn closing_takes_a_session_out_of_its_bucket_for_good() {
        let mut sessions = table();
        let slots: Vec<u32> = (1..=5).map(|id| inserted(&mut sessions, id, 4000, 0)).collect();
        for &slot in &slots[1..4] {
            sessions.close(slot);
            sessions.touch(slot, 50_000);
        }
        let mut due = Vec::new();
        while let Some(slot) = sessions.next_due(6000) {
            due.push(sessions.get(slot).id.0);
            sessions.close(slot);
        }
        due.sort_unstable();
        assert_eq!(due, [1, 5]);
        assert_eq!(sessions.next_deadline(), None);
        assert_eq!(sessions.len(), 5);
        assert_eq!(sessions.remove(slots[0]).id, SessionId(1));
        assert_eq!(sessions.find(SessionId(1)), None);
    }

    #[test]
    fn a_postponed_end_comes_so_much_later_and_for_nobody_who_had_none() {
        let mut sessions = table();
        let slots: Vec<u32> = (1..=5).map(|id| inserted(&mut sessions, id, 4000, 0)).collect();
        sessions.close(slots[2]);
        let resting = sessions.insert(SessionId(6), 4000);
        sessions.postpone(2500);
        assert_eq!((sessions.next_due(9999), sessions.next_deadline()), (None, Some(10_000)));
        assert_eq!(sessions.get(resting).due(), None);
        let mut due = Vec::new();
        while let Some(slot) = sessions.next_due(10_000) {
            due.push(sessions.get(slot).id.0);
            sessions.close(slot);
        }
        due.sort_unstable();
        assert_eq!(due, [1, 2, 4, 5]);
    }

    #[test]
    fn what_was_noted_for_one_leader_hides_nothing_from_the_next() {
        let mut sessions = table();
        let slot = inserted(&mut sessions, 7, 4000, 0);
        let (mut touched, mut taken) = (Touched::default(), Vec::new());
        for _ in 0..3 {
            touched.forget();
            touched.note(sessions.get_mut(slot));
            touched.note(sessions.get_mut(slot));
        }
        touched.take(&mut taken);
        assert_eq!(taken, [(SessionId(7), 4000)]);
    }

    #[test]
    fn many_touches_leave_every_session_in_exactly_one_bucket() {
        let mut sessions = table();
        let mut random = fastrand::Rng::with_seed(11);
        let slots: Vec<u32> =
            (1..=200).map(|id| inserted(&mut sessions, id, random.u32(4000..40_000), 0)).collect();
        for step in 0..5000u64 {
            sessions.touch(slots[random.usize(..slots.len())], step * 3);
        }
        let mut seen = 0;
        while let Some(slot) = sessions.next_due(u64::MAX) {
            sessions.close(slot);
            seen += 1;
        }
        assert_eq!(seen, 200);
    }
}
