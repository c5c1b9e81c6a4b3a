mod review;

use super::action::{Flow, ToLearner};
use super::event::{FromLeader, FromLearner, Link};
use super::fault::Fault;
use super::sync_leader::Source;
use super::view::LearnerView;
use super::*;
use crate::wire::quorum::payload::LearnerInfo;

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

fn epochs(accepted: u32, current: u32, nonvoting: bool) -> Epochs {
    Epochs { accepted: Epoch(accepted), current: Epoch(current), nonvoting }
}

struct Node {
    zab: Zab,
    now: u64,
}

impl Node {
    /// One of three voters; observer 9 watches. It has accepted epoch 1 and logged 1:1 to 1:`counter`.
    fn new(me: i64, counter: u32) -> Node {
        Node::of(me, counter, 3, epochs(1, 1, false)).0
    }

    /// And what it does first. One that must not vote is empty.
    fn of(me: i64, counter: u32, voters: i64, promised: Epochs) -> (Node, Vec<Action>) {
        let mut history = History::new(Zxid::ZERO);
        if counter > 0 {
            history.extend(z(1, 1), z(1, counter));
        }
        let durable = Durable::assumed(history.last());
        let config = Config {
            me: Sid(me),
            members: Membership::majority((1..=voters).map(Sid), [Sid(9)]).unwrap(),
            config_version: 0,
            tick_ms: 100,
            init_limit: 10,
            connect_limit: 10,
            sync_limit: 5,
            announce_ms: 20,
            announce_max_ms: 160,
            finalize_ms: 20,
            force_snapshot: false,
        };
        let birth = Birth {
            epochs: Durable::assumed(promised),
            durable,
            history,
            snapshot: Zxid::ZERO,
            applied: Zxid::ZERO,
            fresh: promised.nonvoting,
            seed: 1,
        };
        let mut out = Vec::new();
        (Node { zab: Zab::new(config, birth, 0, &mut out), now: 0 }, out)
    }

    /// Member 1, which serves clients under leader 3 in epoch 2 and has logged 2:1 and 2:2.
    fn serving() -> Node {
        let mut node = Node::follower(9);
        node.leader(FromLeader::Diff(z(1, 9)));
        node.leader(FromLeader::NewLeader(Epoch(2)));
        node.promised(epochs(2, 2, false));
        node.leader(FromLeader::UpToDate);
        node.leader(FromLeader::Proposal(z(2, 1)));
        node.leader(FromLeader::Proposal(z(2, 2)));
        node.durable(z(2, 2));
        node
    }

    /// The same over a new connection, up to the head of the synchronisation.
    fn again(&mut self) {
        self.feed(Event::Closed(Link(1)));
        let vote = Vote { leader: Sid(3), zxid: z(1, 9), round: 9, peer_epoch: 2 };
        self.hears(2, State::Following, vote);
        assert_eq!(self.hears(3, State::Leading, vote), [Action::Connect(Sid(3))]);
        self.feed(Event::Connected(Link(1)));
        self.leader(FromLeader::LeaderInfo(Epoch(2), true));
    }

    fn feed(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.zab.handle(self.now, event, &mut out);
        out
    }

    fn leader(&mut self, packet: FromLeader) -> Vec<Action> {
        self.feed(Event::Leader(Link(1), packet))
    }

    fn learner(&mut self, link: u64, packet: FromLearner) -> Vec<Action> {
        self.feed(Event::Learner(Link(link), packet))
    }

    fn durable(&mut self, zxid: Zxid) -> Vec<Action> {
        self.feed(Event::Durable(Durable::assumed(zxid)))
    }

    fn promised(&mut self, epochs: Epochs) -> Vec<Action> {
        self.feed(Event::EpochsDurable(Durable::assumed(epochs)))
    }

    fn hears(&mut self, from: i64, state: State, vote: Vote) -> Vec<Action> {
        self.feed(Event::Notified { from: Sid(from), notification: vote.said_in(state) })
    }

    /// Member 1, which follows 3 and has accepted epoch 2.
    fn follower(counter: u32) -> Node {
        let mut node = Node::new(1, counter);
        let vote = Vote { leader: Sid(3), zxid: z(1, 9), round: 7, peer_epoch: 1 };
        assert_eq!(node.hears(2, State::Following, vote), []);
        assert_eq!(node.hears(3, State::Leading, vote), [Action::Connect(Sid(3))]);
        let out = node.feed(Event::Connected(Link(1)));
        let info =
            LearnerInfo { sid: Sid(1), accepted: Epoch(1), config_version: 0, observer: false, ours: true };
        assert_eq!(out, [Action::Introduce(Link(1), info)]);
        let out = node.leader(FromLeader::LeaderInfo(Epoch(2), true));
        assert_eq!(out, [Action::Persist(epochs(2, 1, false))], "first the promise");
        let promised = Durable::assumed(epochs(2, 1, false));
        let (last, current) = (z(1, counter), Some(Epoch(1)));
        let out = node.promised(epochs(2, 1, false));
        assert_eq!(out, [Action::AckEpoch { link: Link(1), promised, last, current }]);
        node
    }

    /// Member 3, which leads epoch 2 with follower 1 on link 1.
    fn established() -> Node {
        let mut node = Node::new(3, 9);
        let vote = Vote { leader: Sid(3), zxid: z(1, 9), round: 1, peer_epoch: 1 };
        node.hears(1, State::Looking, vote);
        assert_eq!(node.hears(2, State::Looking, vote), [], "all voters agree: nothing to wait for");
        assert_eq!(node.zab.state(), State::Leading);
        assert_eq!(node.learner(1, info(1, true)), [Action::Persist(epochs(2, 1, false))]);
        let invitation = Action::Send(Link(1), ToLearner::LeaderInfo(Epoch(2)));
        assert_eq!(node.promised(epochs(2, 1, false)), [invitation]);
        let out = node.learner(1, FromLearner::AckEpoch(z(1, 7), Some(Epoch(1))));
        assert_eq!(out, [Action::Persist(epochs(2, 2, false))]);
        let link = Link(1);
        let want = [
            Action::Send(link, ToLearner::Diff(z(1, 9))),
            Action::Stream { link, flow: Flow::History(Source::Disk), after: z(1, 7), upto: z(1, 9) },
            Action::Send(link, ToLearner::NewLeader(Epoch(2))),
        ];
        assert_eq!(node.promised(epochs(2, 2, false)), want);
        assert_eq!(node.zab.next_zxid(), None, "no write before a quorum has the history");
        let out = node.learner(1, FromLearner::Ack(z(2, 0)));
        let want = [Action::Commit(z(1, 9)), Action::Lead(Epoch(2)), Action::Send(link, ToLearner::UpToDate)];
        assert_eq!(without_words(out, State::Leading), want);
        node
    }
}

/// Everybody hears of an established role; what else is to be done?
fn without_words(mut out: Vec<Action>, state: State) -> Vec<Action> {
    let words = out.extract_if(
        ..,
        |action| matches!(action, Action::Notify(_, said) if (said.state, said.peer_epoch) == (state, 2)),
    );
    assert_eq!(words.count(), 3, "two voters and an observer");
    out
}

fn info(sid: i64, ours: bool) -> FromLearner {
    let observer = sid == 9;
    FromLearner::Info(LearnerInfo { sid: Sid(sid), accepted: Epoch(1), config_version: 0, observer, ours })
}

fn leaves(out: &[Action], why: Fault) {
    assert_eq!(out[..3], [Action::Report(why), Action::Disconnect(Link(1)), Action::Retire]);
}

#[test]
fn history_then_epoch_then_acknowledgement() {
    let mut node = Node::follower(7);
    assert_eq!(node.leader(FromLeader::Diff(z(1, 8))), []);
    assert_eq!(node.leader(FromLeader::Proposal(z(1, 8))), [Action::Append(z(1, 8))]);
    assert_eq!(node.leader(FromLeader::Commit(z(1, 8))), [], "nothing is applied before UPTODATE");
    assert_eq!(node.leader(FromLeader::Proposal(z(2, 1))), [Action::Append(z(2, 1))]);
    assert_eq!(node.leader(FromLeader::NewLeader(Epoch(2))), []);
    assert_eq!(node.durable(z(1, 8)), []);
    assert_eq!(node.durable(z(2, 1)), [Action::Persist(epochs(2, 2, false))]);
    let (link, proof) = (Link(1), Durable::assumed(epochs(2, 2, false)));
    let ack = |history| Action::AckNewLeader { link, history: Durable::assumed(history), epochs: proof };
    let want =
        [ack(z(2, 1)), Action::Ack { link, after: z(1, 8), upto: Durable::assumed(z(2, 1)), ours: true }];
    assert_eq!(node.promised(epochs(2, 2, false)), want);
    assert_eq!(node.leader(FromLeader::Commit(z(2, 1))), []);
    assert_eq!(node.leader(FromLeader::Proposal(z(2, 2))), [Action::Append(z(2, 2))]);
    let want = [ack(z(2, 1)), Action::Commit(z(2, 1)), Action::Serve(Sid(3), Epoch(2))];
    assert_eq!(without_words(node.leader(FromLeader::UpToDate), State::Following), want);
    let want = [Action::Ack { link, after: z(2, 1), upto: Durable::assumed(z(2, 2)), ours: true }];
    assert_eq!(node.durable(z(2, 2)), want);
    assert_eq!(node.leader(FromLeader::Commit(z(2, 2))), [Action::Commit(z(2, 2))]);
    assert_eq!(node.leader(FromLeader::Ping(z(2, 2))), [Action::Pong(link, z(2, 2))]);
}

#[test]
fn an_epoch_is_promised_once_and_an_older_one_never() {
    let again = || {
        let mut node = Node::follower(7);
        node.feed(Event::Closed(Link(1)));
        let vote = Vote { leader: Sid(3), zxid: z(1, 9), round: 7, peer_epoch: 1 };
        node.hears(2, State::Following, vote);
        node.hears(3, State::Leading, vote);
        node.feed(Event::Connected(Link(1)));
        node
    };
    let out = again().leader(FromLeader::LeaderInfo(Epoch(2), true));
    let promised = Durable::assumed(epochs(2, 1, false));
    assert_eq!(out, [Action::AckEpoch { link: Link(1), promised, last: z(1, 7), current: None }]);
    let out = again().leader(FromLeader::LeaderInfo(Epoch(1), true));
    leaves(&out, Fault::OldEpoch { proposed: Epoch(1), accepted: Epoch(2) });
}

#[test]
fn a_snapshot_older_than_the_log_makes_a_member_untrusted_until_the_rest_is_there() {
    let mut node = Node::follower(9);
    assert_eq!(node.leader(FromLeader::Snap(z(1, 5))), [Action::Persist(epochs(2, 1, true))]);
    let out = node.promised(epochs(2, 1, true));
    assert_eq!(out, [Action::ReceiveSnapshot(Link(1), z(1, 5))]);
    let mut broken = Node::follower(9);
    broken.leader(FromLeader::Snap(z(1, 5)));
    broken.promised(epochs(2, 1, true));
    let out = broken.feed(Event::Closed(Link(1)));
    assert_eq!(out, [Action::Report(Fault::LeaderGone(Sid(3))), Action::Retire, Action::AbandonSnapshot]);
    let out = broken.feed(Event::SnapshotAbandoned);
    assert_eq!(out, [Action::Persist(epochs(2, 1, false))], "nothing was lost, so trust comes back");

    assert_eq!(node.feed(Event::SnapshotLoaded(Durable::assumed(z(1, 5)))), []);
    assert_eq!(node.leader(FromLeader::Proposal(z(1, 6))), [Action::Append(z(1, 6))]);
    node.leader(FromLeader::NewLeader(Epoch(2)));
    assert_eq!(node.durable(z(1, 6)), [Action::Persist(epochs(2, 2, false))]);
}

#[test]
fn a_cut_that_missed_is_told_in_another_round() {
    let mut node = Node::follower(9);
    assert_eq!(node.leader(FromLeader::Trunc(z(1, 5))), [Action::Truncate(z(1, 5))]);
    let out = node.feed(Event::Truncated(Durable::assumed(z(1, 4))));
    leaves(&out, Fault::CutMissed { to: z(1, 5), last: z(1, 4) });
    let mut node = Node::follower(9);
    node.leader(FromLeader::Trunc(z(1, 5)));
    let out = node.feed(Event::TruncateImpossible);
    assert_eq!(out[0], Action::Persist(epochs(2, 1, true)), "nobody may count on it any more");
}

#[test]
fn what_does_not_follow_ends_the_role() {
    let mut node = Node::follower(7);
    node.leader(FromLeader::Diff(z(1, 9)));
    leaves(&node.leader(FromLeader::Proposal(z(1, 9))), Fault::Gap { got: z(1, 9), last: z(1, 7) });
    let mut node = Node::follower(7);
    node.leader(FromLeader::Diff(z(1, 9)));
    node.leader(FromLeader::Proposal(z(1, 8)));
    let fault = Fault::CommitOrder { got: z(1, 9), committed: z(1, 7) };
    leaves(&node.leader(FromLeader::Commit(z(1, 9))), fault);
    let mut node = Node::follower(7);
    leaves(
        &node.leader(FromLeader::Snap(Zxid::from_raw(-7))),
        Fault::Gap { got: Zxid::from_raw(-7), last: z(1, 7) },
    );
}

#[test]
fn a_vote_waits_until_everything_logged_is_durable() {
    let mut node = Node::follower(7);
    node.leader(FromLeader::Diff(z(1, 8)));
    node.leader(FromLeader::Proposal(z(1, 8)));
    let out = node.feed(Event::Closed(Link(1)));
    assert_eq!(out, [Action::Report(Fault::LeaderGone(Sid(3))), Action::Retire]);
    let out = node.durable(z(1, 8));
    let Action::Notify(_, said) = &out[0] else { panic!("{out:?}") };
    assert_eq!((said.leader, said.zxid), (Sid(1), z(1, 8)));
}

#[test]
fn a_commit_needs_a_quorum_and_goes_to_those_who_may_have_it() {
    let mut node = Node::established();
    assert_eq!(node.zab.next_zxid(), Some(z(2, 1)));
    let shown = LearnerView { link: Link(1), sid: Sid(1), synced: true, observer: false, ours: true };
    assert_eq!(node.zab.learners(), [shown]);
    assert_eq!((node.zab.leader(), node.zab.stretch().name()), (Some(Sid(3)), "broadcast"));
    let stream = |link, flow, after, upto| Action::Stream { link: Link(link), flow, after, upto };
    let out = node.feed(Event::Submitted(z(2, 3)));
    assert_eq!(out, [stream(1, Flow::Proposals, z(1, 9), z(2, 3))]);
    assert_eq!(node.learner(1, FromLearner::Ack(z(2, 2))), [], "our own disk is behind");
    let want = [Action::Commit(z(2, 2)), stream(1, Flow::Commits, z(1, 9), z(2, 2))];
    assert_eq!(node.durable(z(2, 3)), want);

    // An Apache follower comes while a proposal is outstanding: its COMMIT waits for UPTODATE.
    assert_eq!(node.learner(2, info(2, false)), [Action::Send(Link(2), ToLearner::LeaderInfo(Epoch(2)))]);
    let want = [
        Action::Send(Link(2), ToLearner::Diff(z(2, 2))),
        stream(2, Flow::History(Source::Memory), z(1, 9), z(2, 2)),
        stream(2, Flow::Proposals, z(2, 2), z(2, 3)),
        Action::Send(Link(2), ToLearner::NewLeader(Epoch(2))),
    ];
    assert_eq!(node.learner(2, FromLearner::AckEpoch(z(1, 9), None)), want);
    let out = node.learner(2, FromLearner::Ack(z(2, 3)));
    assert_eq!(out, [], "it does not count before that of NEWLEADER");
    let out = node.learner(1, FromLearner::Ack(z(2, 3)));
    assert_eq!(out, [Action::Commit(z(2, 3)), stream(1, Flow::Commits, z(2, 2), z(2, 3))]);
    let want = [Action::Send(Link(2), ToLearner::UpToDate), stream(2, Flow::Commits, z(2, 2), z(2, 3))];
    assert_eq!(node.learner(2, FromLearner::Ack(z(2, 0))), want);
}

#[test]
fn a_leader_stops_at_the_end_of_its_counter_once_the_last_write_is_committed() {
    let mut node = Node::established();
    let last = z(2, u32::MAX - 1);
    node.feed(Event::Submitted(last));
    assert_eq!(node.zab.next_zxid(), None);
    node.durable(last);
    let out = node.learner(1, FromLearner::Ack(last));
    assert_eq!(out[0], Action::Commit(last));
    leaves(&out[2..], Fault::CounterSpent(Epoch(2)));
}

#[test]
fn a_leader_without_signs_of_its_quorum_steps_down() {
    let mut node = Node::established();
    let ping = Action::Send(Link(1), ToLearner::Ping(z(2, 0)));
    for _ in 0..10 {
        node.now += 50;
        assert_eq!(node.feed(Event::Tick), std::slice::from_ref(&ping));
    }
    node.now += 50;
    let out = node.feed(Event::Tick);
    let silent = Action::Report(Fault::Silent(Sid(1)));
    assert_eq!(out[..3], [silent, Action::Disconnect(Link(1)), Action::Report(Fault::NoQuorum)]);
    assert_eq!(node.zab.state(), State::Looking);
}

#[test]
fn everybody_gets_an_answer_in_every_state() {
    let asks = Vote::nobody(1);
    let mut looking = Node::new(1, 9);
    let out = looking.hears(9, State::Looking, asks);
    assert!(matches!(out[..], [Action::Notify(Sid(9), Notification { state: State::Looking, .. })]));
    let mut leading = Node::established();
    for from in [2, 9] {
        let out = leading.hears(from, State::Looking, asks);
        let [Action::Notify(to, said)] = &out[..] else { panic!("{out:?}") };
        assert_eq!((*to, said.state, said.leader, said.peer_epoch), (Sid(from), State::Leading, Sid(3), 2));
    }
    assert_eq!(leading.hears(77, State::Looking, asks), [], "a stranger");
}

#[test]
fn strangers_and_learners_with_more_are_sent_away() {
    let mut node = Node::established();
    let out = node.learner(5, info(77, true));
    assert_eq!(out, [Action::Report(Fault::Stranger(Sid(77))), Action::Disconnect(Link(5))]);
    let out = node.learner(5, FromLearner::Ack(z(2, 0)));
    assert_eq!(out[1], Action::Disconnect(Link(5)), "the first packet says who it is");
    let fault = Fault::AckAhead { sid: Sid(1), acked: z(2, 9), proposed: z(1, 9) };
    assert_eq!(node.learner(1, FromLearner::Ack(z(2, 9))), [Action::Report(fault)]);
}

#[test]
fn peers_can_say_what_they_like() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut node = match rng.u8(0..3) {
            0 => Node::follower(7),
            1 => Node::established(),
            _ => Node::new(1 + i64::from(rng.u8(0..3)), 9),
        };
        for _ in 0..400 {
            node.now += rng.u64(0..60);
            let any = match rng.u8(0..8) {
                0 => Zxid::from_raw(rng.i64(..)),
                1 => Zxid::from_raw(rng.i64(-2..2)),
                _ => z(rng.u32(1..4), rng.u32(0..12)),
            };
            let (epoch, link) = (Epoch(rng.u32(0..6)), Link(rng.u64(1..4)));
            let event = match rng.u8(0..20) {
                0 => Event::Leader(link, FromLeader::LeaderInfo(epoch, rng.bool())),
                1 => Event::Leader(link, FromLeader::Diff(any)),
                2 => Event::Leader(link, FromLeader::Trunc(any)),
                3 => Event::Leader(link, FromLeader::Snap(any)),
                4 => Event::Leader(link, FromLeader::NewLeader(epoch)),
                5 => Event::Leader(link, FromLeader::UpToDate),
                6 | 7 => Event::Leader(link, FromLeader::Proposal(any)),
                8 => Event::Leader(link, FromLeader::Commit(any)),
                9 => Event::Leader(link, FromLeader::Inform(any)),
                10 => Event::Learner(link, info([1, 2, 3, 9, 77][rng.usize(0..5)], rng.bool())),
                11 => Event::Learner(link, FromLearner::AckEpoch(any, rng.bool().then_some(epoch))),
                12 | 13 => Event::Learner(link, FromLearner::Ack(any)),
                14 => Event::Connected(link),
                15 => Event::Closed(link),
                16 => Event::ConnectFailed,
                17 => Event::Tick,
                _ => {
                    let states = [State::Looking, State::Following, State::Leading, State::Observing];
                    let (leader, round) = (Sid(rng.i64(0..5)), rng.i64(0..4));
                    let vote = Vote { leader, zxid: any, round, peer_epoch: rng.i64(-1..5) };
                    let notification = vote.said_in(states[rng.usize(0..4)]);
                    Event::Notified { from: Sid(rng.i64(0..10)), notification }
                }
            };
            let mut events = std::collections::VecDeque::from([event]);
            while let Some(event) = events.pop_front() {
                for action in node.feed(event) {
                    match action {
                        Action::Persist(epochs) => {
                            events.push_back(Event::EpochsDurable(Durable::assumed(epochs)))
                        }
                        Action::Append(zxid) => events.push_back(Event::Durable(Durable::assumed(zxid))),
                        Action::Truncate(to) if to < node.zab.marks().purged => {
                            events.push_back(Event::TruncateImpossible);
                        }
                        Action::Truncate(to) => events.push_back(Event::Truncated(Durable::assumed(to))),
                        Action::ReceiveSnapshot(_, zxid) => {
                            events.push_back(Event::SnapshotLoaded(Durable::assumed(zxid)));
                        }
                        Action::AbandonSnapshot => {}
                        _ => {}
                    }
                }
            }
        }
    }
}
