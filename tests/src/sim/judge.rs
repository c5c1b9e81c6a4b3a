//! What must be true whatever happens, looked at after every turn of a server and at every answer to a client.
//!
//! The names are those of the quorum reference, section 9. What a core can check of itself it checks itself, in
//! production too; here stands what shows only to somebody who sees all servers and remembers.

use std::collections::BTreeMap;

use ringkeeper_engine::id::{Epoch, SessionId, Sid, Zxid};
use ringkeeper_engine::log::{Cursor, Epochs, Log, Next};
use ringkeeper_engine::snapshot::write_stream;
use ringkeeper_engine::store::Store;
use ringkeeper_engine::tree::Tree;
use ringkeeper_net::member::{Member, Status};
use ringkeeper_net::wire::election::State;
use ringkeeper_net::zab::history::History;
use ringkeeper_net::zab::view::Stretch;

use super::World;
use super::history::Record;
use super::machine::Machine;
use super::net::Side;
use super::plan::Plan;
use super::tap::{Spoken, Tap};

/// Bytes that are read from a log at once.
const READ: usize = 64 << 10;

/// What is remembered of a machine, whatever becomes of its process.
#[derive(Debug, Default)]
pub struct Witness {
    pub epochs: Epochs,
    /// Durable when it was seen last.
    pub durable: Zxid,
}

impl Witness {
    /// Its disk was replaced.
    pub fn wiped(&mut self) {
        *self = Witness::default();
    }
}

/// What is remembered of a process.
#[derive(Debug, Default)]
pub struct Seen {
    /// Behind what was compared of its log.
    cursor: Option<Cursor>,
    /// How often its log was cut or replaced.
    upheavals: u64,
    /// Durable transactions were noted up to here.
    marked: Zxid,
    leading: bool,
    serving: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Judge {
    pub history: Record,
    voters: i64,
    /// Who got so far as to hand out its history, in each epoch.
    leaders: BTreeMap<Epoch, Sid>,
    /// Who ever had a transaction durably.
    holders: BTreeMap<Zxid, Vec<Sid>>,
    /// Up to where a server ever took everything over from a snapshot.
    snapshots: BTreeMap<Sid, Zxid>,
    /// Who has acknowledged NEWLEADER of an epoch.
    synced: BTreeMap<Epoch, Vec<Sid>>,
    /// What the snapshots hold that were sent, by their last transaction.
    contents: BTreeMap<Zxid, Vec<(Zxid, Zxid)>>,
    /// Snapshots that servers made of their own state: the first one of each state, and whose it was.
    made: BTreeMap<Zxid, (Sid, Vec<u8>)>,
    /// The last acknowledged write of each epoch.
    acknowledged: BTreeMap<Epoch, Zxid>,
}

impl Judge {
    pub fn new(plan: &Plan) -> Judge {
        Judge {
            history: Record::new(),
            voters: plan.voters as i64,
            leaders: BTreeMap::new(),
            holders: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            synced: BTreeMap::new(),
            made: BTreeMap::new(),
            contents: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    /// A server has read its disk back.
    pub fn recovered(&self, sid: Sid, witness: &Witness, store: &Store) {
        let (epochs, before) = (store.log.epochs().get(), witness.epochs);
        assert!(store.report.set_aside.is_none(), "server {sid} finds damage: {:?}", store.report);
        assert!(
            epochs.accepted >= before.accepted && epochs.current >= before.current,
            "EpochMonotonic: server {sid} comes back with {epochs:?}, it had {before:?}"
        );
        assert!(
            store.last_zxid >= witness.durable,
            "AckDurable: server {sid} comes back with {}, it had {}",
            store.last_zxid,
            witness.durable
        );
    }

    fn look(&mut self, machine: &mut Machine) {
        let sid = machine.sid;
        let Some(process) = &mut machine.process else { return };
        let (member, seen) = (&process.member, &mut process.seen);
        let (status, history) = (member.status().expect("a member"), member.history().expect("a member"));
        let (log, epochs, before) = (member.log(), member.log().epochs().get(), machine.witness.epochs);
        assert!(epochs.current <= epochs.accepted, "EpochOrder: {epochs:?} at server {sid}");
        assert!(
            epochs.accepted >= before.accepted && epochs.current >= before.current,
            "EpochMonotonic: {before:?} became {epochs:?} at server {sid}"
        );
        let upheavals = status.counts.snaps_taken + status.counts.cuts;
        if std::mem::replace(&mut seen.upheavals, upheavals) != upheavals {
            seen.cursor = None;
            seen.marked = Zxid::ZERO;
        }
        self.compare(sid, log, history, &machine.disk, seen);
        self.mark(sid, log, history, seen);
        machine.witness.epochs = epochs;
        machine.witness.durable = log.durable().get();
        self.leader(sid, &status, epochs, history, seen);
        // It may have answered clients before it gave up within one turn.
        if std::mem::replace(&mut seen.serving, status.serving) || status.serving {
            let applied = member.marks().expect("a member").applied;
            self.delivered(sid, applied, member.service().tree(), history);
        }
    }

    /// What is new in its log is what every other log has there.
    fn compare(
        &mut self,
        sid: Sid,
        log: &Log,
        history: &History,
        disk: &ringkeeper_engine::io::sim::SimDisk,
        seen: &mut Seen,
    ) {
        let cursor = seen.cursor.get_or_insert_with(|| log.cursor(history.base()));
        loop {
            match log.next(cursor, log.appended()) {
                Next::Txn(zxid, payload) => self.history.logged(zxid, payload, sid.0),
                Next::End => break,
                Next::OnDisk => {
                    let txns = log.read_on(disk, cursor, log.durable().get(), READ);
                    let txns =
                        txns.unwrap_or_else(|error| panic!("server {sid} cannot read its log: {error}"));
                    if txns.is_empty() {
                        break;
                    }
                    txns.into_iter().for_each(|(zxid, payload)| self.history.logged(zxid, &payload, sid.0));
                }
            }
        }
        assert!(
            history.last() == log.appended(),
            "server {sid}: the log ends at {}, the core believes at {}",
            log.appended(),
            history.last()
        );
    }

    /// Notes who has what durably.
    fn mark(&mut self, sid: Sid, log: &Log, history: &History, seen: &mut Seen) {
        let durable = log.durable().get();
        let base = self.snapshots.entry(sid).or_default();
        *base = history.base().max(*base);
        let mut at = seen.marked.max(history.base());
        while let Some(next) = history.after(at).filter(|&next| next <= durable) {
            let holders = self.holders.entry(next).or_default();
            if !holders.contains(&sid) {
                holders.push(sid);
            }
            at = next;
        }
        seen.marked = at;
    }

    fn leader(&mut self, sid: Sid, status: &Status, epochs: Epochs, history: &History, seen: &mut Seen) {
        let leading = status.state == State::Leading && status.stretch >= Stretch::Synchronization;
        let established = leading && status.stretch == Stretch::Broadcast;
        if leading {
            let other = *self.leaders.entry(epochs.current).or_insert(sid);
            assert!(other == sid, "Leadership: {other} and {sid} lead in {:?}", epochs.current);
        }
        if established && !std::mem::replace(&mut seen.leading, true) {
            self.is_prefix(sid, &self.whole(sid, history, history.last()), self.history.last());
            assert!(
                history.last() >= self.history.last(),
                "LeaderCompleteness: {sid} leads with {}, committed is {}",
                history.last(),
                self.history.last()
            );
        }
        seen.leading = established;
    }

    /// It shows a state to clients.
    fn delivered(&mut self, sid: Sid, applied: Zxid, tree: &Tree, history: &History) {
        let whole = self.whole(sid, history, applied);
        while self.history.last() < applied {
            let next = whole.after(self.history.last()).filter(|&next| next <= applied);
            let next =
                next.unwrap_or_else(|| panic!("{sid} delivers {applied}, which its log does not have"));
            let has = |voter: Sid| {
                self.holders.get(&next).is_some_and(|holders| holders.contains(&voter))
                    || self.snapshots.get(&voter).is_some_and(|&base| base >= next)
            };
            assert!(
                self.is_majority(has),
                "CommitQuorum: {next} is delivered by {sid}, {:?}",
                self.holders.get(&next)
            );
            self.history.commit(next);
        }
        self.is_prefix(sid, &whole, applied);
        assert!(
            tree.last_zxid() == applied,
            "server {sid} shows {}, delivered is {applied}",
            tree.last_zxid()
        );
        let digest = self.history.digest(applied);
        assert!(
            digest == Some(tree.digest()),
            "server {sid} has digest {:x} at {applied}, it should be {digest:x?}",
            tree.digest()
        );
    }

    /// Up to a zxid its history is the committed one.
    fn is_prefix(&self, sid: Sid, history: &History, upto: Zxid) {
        let (ours, agreed) = (clip(history, upto), clip(&self.history.agreed, upto));
        assert!(ours == agreed, "PrefixConsistency: {sid} has {ours:?}, committed is {agreed:?}");
    }

    /// A history up to a zxid, and what the snapshot holds that it begins with: one that was sent, or one that a server
    /// made of what is committed.
    fn whole(&self, sid: Sid, history: &History, upto: Zxid) -> History {
        let base = history.base();
        let mut whole = History::new(Zxid::ZERO);
        if let Some(content) = self.contents.get(&base) {
            content.iter().for_each(|&(first, last)| whole.extend(first, last));
        } else {
            assert!(
                base <= self.history.last(),
                "the log of {sid} begins behind {base}, which is not committed"
            );
            clip(&self.history.agreed, base).iter().for_each(|&(first, last)| whole.extend(first, last));
        }
        clip(history, upto).into_iter().for_each(|(first, last)| whole.extend(first, last));
        whole
    }

    /// Counted here once more: the product's own way of counting may be what is wrong.
    fn is_majority(&self, has: impl Fn(Sid) -> bool) -> bool {
        let voters = || (1..=self.voters).map(Sid);
        2 * voters().filter(|&sid| has(sid)).count() > voters().count()
    }

    /// Reads along on a quorum connection. `from` is the side that speaks.
    pub fn overhears(
        &mut self,
        tap: &mut Tap,
        from: Side,
        bytes: &[u8],
        (speaker_sid, speaker): (Sid, &Member),
        spoken: &mut Vec<Spoken>,
    ) {
        let log = speaker.log();
        let (epochs, durable) = (log.epochs().get(), log.durable().get());
        let first = spoken.len();
        tap.read(from, bytes, spoken);
        for what in &spoken[first..] {
            match *what {
                Spoken::AckEpoch(invited) => {
                    assert!(epochs.accepted >= invited, "Promise: {epochs:?} acknowledges {invited:?}");
                }
                Spoken::AckNewLeader(epoch, end) => {
                    assert!(
                        epochs.current == epoch,
                        "NewLeaderAckMeaning: {epochs:?} acknowledges {epoch:?}"
                    );
                    assert!(
                        durable >= end,
                        "NewLeaderAckMeaning: {durable} is durable, the history ends at {end}"
                    );
                }
                Spoken::Ack(zxid) => {
                    assert!(durable >= zxid, "AckDurable: {zxid} is acknowledged, durable is {durable}");
                }
                Spoken::Proposal(zxid) => {
                    assert!(self.history.was_proposed(zxid), "{zxid} is proposed and in no log");
                }
                Spoken::Snap(zxid) => {
                    let whole = self.whole(speaker_sid, speaker.history().expect("a member"), zxid);
                    self.contents.insert(zxid, whole.runs().to_vec());
                }
                Spoken::Commit(zxid) => {
                    assert!(zxid <= self.history.last(), "CommitQuorum: COMMIT of {zxid}");
                }
                Spoken::UpToDate(epoch) => {
                    let synced = self.synced.get(&epoch).map_or(&[][..], Vec::as_slice);
                    let leader = self.leaders.get(&epoch);
                    let has = |sid| synced.contains(&sid) || leader == Some(&sid);
                    assert!(self.is_majority(has), "UpToDateMeaning: {epoch:?} with {synced:?}");
                }
                _ => {}
            }
        }
    }

    /// A server has acknowledged NEWLEADER.
    pub fn synced(&mut self, sid: Sid, epoch: Epoch) {
        self.synced.entry(epoch).or_default().push(sid);
    }

    /// A client was told that its write is done.
    pub fn acknowledge(&mut self, zxid: Zxid, session: SessionId, cxid: i32) {
        let committed = self.history.get(zxid);
        let known = committed.map(|it| (it.header.client_id, it.header.cxid, it.error));
        assert!(
            known == Some((session, cxid, false)),
            "request {cxid} of session {session} is answered as {zxid}, which is {known:?}"
        );
        let last = self.acknowledged.entry(zxid.epoch()).or_default();
        *last = zxid.max(*last);
    }

    /// A server has made a snapshot.
    pub fn snapshot_made(&mut self, sid: Sid, zxid: Zxid, body: Vec<u8>) {
        let (first, known) = self.made.entry(zxid).or_insert_with(|| (sid, body.clone()));
        assert!(*known == body, "servers {first} and {sid} make different snapshots of {zxid}");
    }

    /// The last write that was acknowledged, in epochs up to this one: what a sync begun now must bring, if it is
    /// answered in that epoch.
    pub fn acknowledged_before(&self) -> BTreeMap<Epoch, Zxid> {
        self.acknowledged.clone()
    }
}

/// The runs of a history up to a point.
fn clip(history: &History, upto: Zxid) -> Vec<(Zxid, Zxid)> {
    let within = history.runs().iter().filter(|run| run.0 <= upto);
    within.map(|&(first, last)| (first, last.min(upto))).collect()
}

/// A state in the one form in which equal states are equal.
fn canonical(tree: &Tree, sessions: &[(SessionId, i32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_stream(tree, sessions, &mut |piece| bytes.extend_from_slice(piece));
    bytes
}

impl World {
    /// Judges a server after a turn.
    pub fn observe(&mut self, index: usize) {
        self.judge.look(&mut self.machines[index]);
    }

    /// All is over: every server has all that was ever acknowledged, and nothing else.
    pub fn judge_the_end(&mut self) {
        let record = &self.judge.history;
        let expected = canonical(record.tree(), &record.sessions());
        for machine in &self.machines {
            let service = machine.process.as_ref().expect("all are up").member.service();
            let (last, sid) = (service.tree().last_zxid(), machine.sid);
            assert!(last == record.last(), "server {sid} ends at {last}, committed is {}", record.last());
            assert!(
                service.tree().digest_mismatches() == 0,
                "server {sid} has seen digests that were not its own"
            );
            let found = canonical(service.tree(), &service.committed_sessions());
            assert!(
                found == expected,
                "server {sid} ends in another state: sessions {:?}, expected {:?}",
                service.committed_sessions(),
                record.sessions()
            );
        }
    }
}
