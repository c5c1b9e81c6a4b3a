//! Does what cores wish, and checks what must never be wrong.

use std::collections::VecDeque;

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::log::Durable;

use super::{Conn, Io, Packet, Path, Txn, World};
use crate::wire::quorum::payload::LearnerInfo;
use crate::zab::action::{Action, Flow, ToLearner};
use crate::zab::event::{Event, FromLeader, FromLearner, Link};
use crate::zab::sync_leader::Source;

impl World {
    /// `value` is what a PROPOSAL or INFORM carries.
    pub fn event(&mut self, sid: Sid, event: Event, value: Option<u64>) {
        let mut out = Vec::new();
        let now = self.now;
        let member = self.members.get_mut(&sid).unwrap();
        let ((window, cheap_from), sendable) = (member.reach, member.tree(&mut self.rng));
        let zab = member.zab.as_mut().expect("alive");
        zab.handle(now, Event::Reach { window, cheap_from, sendable }, &mut out);
        zab.handle(now, event, &mut out);
        self.perform(sid, out, value);
    }

    pub fn perform(&mut self, sid: Sid, actions: Vec<Action>, value: Option<u64>) {
        for action in actions {
            self.act(sid, action, value);
        }
    }

    fn act(&mut self, sid: Sid, action: Action, value: Option<u64>) {
        match action {
            Action::Notify(to, said) => {
                self.words.insert((sid, to), said);
                self.last_words.insert((sid, to), said);
            }
            Action::Connect(to) => self.connect(sid, to),
            Action::Disconnect(link) => self.close(link, sid),
            Action::Introduce(link, info) => {
                let info = LearnerInfo { ours: info.ours && !self.apache.contains(&sid), ..info };
                self.say(link, FromLearner::Info(info));
            }
            Action::AckEpoch { link, promised, last, current } => {
                assert_eq!(promised.get(), self.members[&sid].epochs, "a promise that is not durable");
                self.say(link, FromLearner::AckEpoch(last, current));
            }
            Action::AckNewLeader { link, history, epochs } => {
                let member = &self.members[&sid];
                assert_eq!(epochs.get(), member.epochs);
                assert!(
                    member.log[..member.flushed].last().map_or(member.base.0, |txn| txn.0) >= history.get()
                );
                self.say(link, FromLearner::Ack(Zxid::new(epochs.get().current, 0)));
            }
            Action::Ack { link, after, upto, ours } => {
                let member = &self.members[&sid];
                let upto = upto.get();
                assert!(
                    member.log[..member.flushed].iter().any(|txn| txn.0 == upto) || upto == member.base.0
                );
                for txn in self.range(sid, after, upto).into_iter().filter(|txn| !ours || txn.0 == upto) {
                    self.say(link, FromLearner::Ack(txn.0));
                }
            }
            Action::Pong(link, _) => self.say(link, FromLearner::Alive),
            Action::Send(link, packet) => self.send(link, packet),
            Action::Stream { link, flow, after, upto } => self.stream(sid, link, flow, after, upto),
            Action::SendSnapshot { link, label, upto } => {
                self.paths.insert(if label == upto { Path::Snap } else { Path::Merged });
                let txns = self.members[&sid].upto(upto);
                self.tell(link, FromLeader::Snap(label), None);
                if let Some(conn) = self.open(link) {
                    conn.to_learner.push_back(Packet::Snapshot(txns));
                }
            }
            Action::Persist(epochs) => self.member(sid).io.push_back(Io::Persist(epochs)),
            Action::Append(zxid) => {
                let value = value.expect("an append has a payload");
                self.member(sid).append((zxid, value));
            }
            Action::Truncate(to) => {
                let lost = self.members[&sid].content().into_iter().filter(|txn| txn.0 > to);
                assert!(lost.into_iter().all(|txn| !self.agreed.contains(&txn)), "{sid} cuts what is agreed");
                self.member(sid).io.push_back(Io::Truncate(to));
            }
            Action::ReceiveSnapshot(link, zxid) => self.member(sid).receiving = Some((link, zxid)),
            Action::AbandonSnapshot => {
                let member = self.member(sid);
                member.receiving = None;
                member.io.retain(|io| !matches!(io, Io::Load(..)));
                member.io.push_back(Io::Abandoned);
            }
            Action::Commit(upto) => {
                if self.members[&sid].zab.as_ref().unwrap().leads().is_some() {
                    self.check_committed(sid, upto);
                }
                self.check_delivered(sid, upto);
                self.event(sid, Event::Applied(upto), None);
            }
            Action::Lead(epoch) => {
                let other = self.leaders.insert(epoch, sid);
                assert_eq!(other, None, "epoch {epoch} has two leaders, {sid} is the second");
                let content = self.members[&sid].content();
                assert!(
                    self.agreed.iter().all(|txn| content.contains(txn)),
                    "{sid} leads without what is agreed"
                );
                self.member(sid).serving = true;
            }
            Action::Serve(..) => {
                self.member(sid).serving = true;
                let upto = self.members[&sid].zab.as_ref().unwrap().marks().committed;
                self.check_delivered(sid, upto);
            }
            Action::Retire => self.member(sid).serving = false,
            Action::Report(_) | Action::Waiting { .. } => {}
        }
    }

    fn member(&mut self, sid: Sid) -> &mut super::Member {
        self.members.get_mut(&sid).unwrap()
    }

    /// What one member has delivered is a prefix of what another has.
    fn check_delivered(&mut self, sid: Sid, upto: Zxid) {
        let delivered = self.members[&sid].upto(upto);
        let common = delivered.len().min(self.agreed.len());
        assert_eq!(delivered[..common], self.agreed[..common], "{sid} delivered something else");
        if delivered.len() > common {
            self.agreed = delivered;
        }
    }

    fn range(&self, sid: Sid, after: Zxid, upto: Zxid) -> Vec<Txn> {
        self.members[&sid].content().into_iter().filter(|txn| after < txn.0 && txn.0 <= upto).collect()
    }

    fn connect(&mut self, learner: Sid, leader: Sid) {
        let listens = self.members[&leader]
            .zab
            .as_ref()
            .is_some_and(|zab| zab.state() == crate::wire::election::State::Leading);
        if !listens || !self.can_talk(learner, leader) {
            return self.event(learner, Event::ConnectFailed, None);
        }
        self.next_link += 1;
        let link = Link(self.next_link);
        let conn = Conn {
            leader,
            learner,
            to_leader: VecDeque::new(),
            to_learner: VecDeque::new(),
            closed_by: None,
        };
        self.conns.insert(link, conn);
        self.event(learner, Event::Connected(link), None);
    }

    /// Unless one side has closed it.
    fn open(&mut self, link: Link) -> Option<&mut Conn> {
        self.conns.get_mut(&link).filter(|conn| conn.closed_by.is_none())
    }

    fn say(&mut self, link: Link, packet: FromLearner) {
        self.check_learner(link, packet);
        if let Some(conn) = self.open(link) {
            conn.to_leader.push_back(Packet::Learner(packet));
        }
    }

    fn tell(&mut self, link: Link, packet: FromLeader, value: Option<u64>) {
        self.check_leader(link, packet);
        if let Some(conn) = self.open(link) {
            conn.to_learner.push_back(Packet::Leader(packet, value));
        }
    }

    fn send(&mut self, link: Link, packet: ToLearner) {
        let packet = match packet {
            ToLearner::LeaderInfo(epoch) => {
                let apache = self.conns.get(&link).is_some_and(|conn| self.apache.contains(&conn.leader));
                FromLeader::LeaderInfo(epoch, !apache)
            }
            ToLearner::Diff(end) => {
                self.paths.insert(Path::Empty);
                FromLeader::Diff(end)
            }
            ToLearner::Trunc(cut) => {
                self.paths.insert(Path::Trunc);
                FromLeader::Trunc(cut)
            }
            ToLearner::NewLeader(epoch) => FromLeader::NewLeader(epoch),
            ToLearner::UpToDate => FromLeader::UpToDate,
            ToLearner::Ping(zxid) => FromLeader::Ping(zxid),
        };
        self.tell(link, packet, None);
    }

    fn stream(&mut self, sid: Sid, link: Link, flow: Flow, after: Zxid, upto: Zxid) {
        let head = self.conns.get(&link).and_then(|conn| conn.to_learner.back().cloned());
        if let Flow::History(_) = flow {
            self.paths.insert(match head {
                Some(Packet::Snapshot(_)) => Path::SnapAndMore,
                Some(Packet::Leader(FromLeader::Trunc(_), _)) => Path::TruncDiff,
                _ if flow == Flow::History(Source::Disk) => Path::DiskDiff,
                _ => Path::Diff,
            });
        }
        for (zxid, value) in self.range(sid, after, upto) {
            match flow {
                Flow::History(_) => {
                    self.tell(link, FromLeader::Proposal(zxid), Some(value));
                    self.tell(link, FromLeader::Commit(zxid), None);
                }
                Flow::Proposals => self.tell(link, FromLeader::Proposal(zxid), Some(value)),
                Flow::Commits => self.tell(link, FromLeader::Commit(zxid), None),
                Flow::Informs => self.tell(link, FromLeader::Inform(zxid), Some(value)),
            }
        }
    }

    /// The disk of `sid` does the next thing.
    pub fn io(&mut self, sid: Sid) {
        let member = self.member(sid);
        let Some(io) = member.io.pop_front() else { return };
        let base = member.base.0;
        member.happen(io.clone());
        let last = member.last();
        let event = match io {
            Io::Flush(zxid) => Event::Durable(Durable::assumed(zxid)),
            Io::Persist(epochs) => Event::EpochsDurable(Durable::assumed(epochs)),
            Io::Truncate(to) if to < base => Event::TruncateImpossible,
            Io::Truncate(_) => Event::Truncated(Durable::assumed(last)),
            Io::Load(zxid, _) => Event::SnapshotLoaded(Durable::assumed(zxid)),
            Io::Abandoned => Event::SnapshotAbandoned,
        };
        self.event(sid, event, None);
    }

    /// It makes a snapshot of what is applied, and purges its log up to there.
    pub fn make_snapshot(&mut self, sid: Sid) {
        let member = self.member(sid);
        let Some(zab) = &member.zab else { return };
        let (applied, durable) = (zab.marks().applied, zab.marks().durable);
        if !member.serving || applied > durable || applied <= member.base.0 {
            return;
        }
        let gone = member.log.iter().filter(|txn| txn.0 <= applied).count();
        let taken: Vec<Txn> = member.log.drain(..gone).collect();
        member.base.1.extend(taken);
        member.base.0 = applied;
        member.flushed -= gone;
        self.event(sid, Event::SnapshotMade(applied), None);
        self.event(sid, Event::Purged(applied), None);
    }
}
