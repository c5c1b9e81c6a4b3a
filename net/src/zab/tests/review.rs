//! What makes an ensemble wait without need, or forget, if it is wrong in one place: one event at a time.

use super::*;

fn vote(leader: i64, zxid: Zxid, round: i64, peer_epoch: i64) -> Vote {
    Vote { leader: Sid(leader), zxid, round, peer_epoch }
}

fn told(out: &[Action], to: i64) -> Option<Sid> {
    let mut words = out.iter().rev().filter_map(|action| match action {
        Action::Notify(sid, said) if *sid == Sid(to) => Some(said.leader),
        _ => None,
    });
    words.next()
}

fn reports(out: &[Action], fault: Fault) -> bool {
    out.contains(&Action::Report(fault)) && out.contains(&Action::Retire)
}

#[test]
fn the_own_vote_makes_a_quorum_with_those_who_have_decided() {
    let (mut node, _) = Node::of(1, 9, 5, epochs(1, 1, false));
    let best = vote(5, z(1, 9), 1, 1);
    node.hears(2, State::Looking, best);
    assert_eq!(node.hears(5, State::Leading, best), [Action::Connect(Sid(5))]);
}

#[test]
fn words_that_come_while_the_disk_settles_are_not_lost() {
    let mut node = Node::serving();
    node.leader(FromLeader::Proposal(z(2, 3)));
    node.feed(Event::Closed(Link(1)));
    assert_eq!(node.hears(2, State::Looking, vote(2, z(2, 4), 8, 2)), []);
    assert_eq!(told(&node.durable(z(2, 3)), 2), Some(Sid(2)));
}

#[test]
fn whoever_speaks_first_in_a_round_hears_our_vote() {
    let mut node = Node::new(3, 9);
    let worse = vote(1, z(1, 9), 1, 1);
    assert_eq!(told(&node.hears(1, State::Looking, worse), 1), Some(Sid(3)));
    assert_eq!(node.hears(1, State::Looking, worse), [], "once");
}

#[test]
fn a_leader_whose_connection_broke_is_not_waited_for_unless_it_speaks() {
    let next = vote(2, z(2, 2), 8, 2);
    let mut node = Node::serving();
    node.feed(Event::Closed(Link(1)));
    assert!(node.hears(2, State::Looking, next).contains(&Action::Connect(Sid(2))));
    let mut node = Node::serving();
    node.feed(Event::Closed(Link(1)));
    node.hears(3, State::Looking, vote(3, z(1, 9), 8, 1));
    node.hears(2, State::Looking, next);
    assert_eq!(node.zab.state(), State::Looking);
    node.now += 20;
    assert!(node.feed(Event::Tick).contains(&Action::Connect(Sid(2))));
}

#[test]
fn a_leader_that_is_deserted_before_it_is_established_looks_again() {
    let mut node = Node::new(3, 9);
    let best = vote(3, z(1, 9), 1, 1);
    node.hears(1, State::Looking, best);
    node.hears(2, State::Looking, best);
    node.hears(1, State::Looking, best);
    assert_eq!(node.hears(2, State::Looking, vote(2, z(1, 9), 1, 1)).len(), 1, "one may go");
    node.learner(2, info(2, true));
    let out = node.hears(1, State::Looking, vote(1, z(1, 9), 2, 1));
    assert_eq!(out.len(), 1, "and has come back before the next one goes");
    assert!(reports(&node.hears(2, State::Looking, vote(2, z(1, 9), 2, 1)), Fault::Deserted));
}

#[test]
fn a_leader_steps_down_when_the_connection_breaks_that_makes_its_quorum() {
    let mut node = Node::established();
    assert!(reports(&node.feed(Event::Closed(Link(1))), Fault::NoQuorum));
}

#[test]
fn refused_connections_end_an_election_that_was_void_and_are_tried_more_slowly() {
    let mut node = Node::new(1, 9);
    let led = vote(3, z(1, 9), 7, 1);
    node.hears(2, State::Following, led);
    node.hears(3, State::Leading, led);
    node.now = 999;
    assert_eq!(node.feed(Event::ConnectFailed), []);
    node.now = 1000;
    assert!(reports(&node.feed(Event::ConnectFailed), Fault::Unreachable(Sid(3))));
    node.hears(2, State::Following, led);
    assert_eq!(node.hears(3, State::Leading, led), [], "not at once");
    node.now = node.zab.deadline().unwrap();
    assert_eq!(node.feed(Event::Tick), [Action::Connect(Sid(3))]);
}

#[test]
fn nothing_of_the_leaders_own_epoch_is_cut() {
    let mut node = Node::serving();
    node.again();
    assert_eq!(node.leader(FromLeader::Trunc(z(2, 1))), [], "2:2 may be counted on");
    assert_eq!(node.leader(FromLeader::Proposal(z(2, 2))), [], "it is there");
    assert_eq!(node.leader(FromLeader::NewLeader(Epoch(2))), [Action::Persist(epochs(2, 2, false))]);
    let out = node.promised(epochs(2, 2, false));
    let upto = Durable::assumed(z(2, 2));
    assert_eq!(out[1], Action::Ack { link: Link(1), after: z(2, 1), upto, ours: true });
}

#[test]
fn what_the_disk_still_owes_is_not_taken_for_a_promise_to_a_leader() {
    let (mut node, _) = Node::of(1, 0, 3, epochs(0, 0, true));
    let empty = Vote { peer_epoch: 0, ..Vote::nobody(1) };
    for from in [2, 3, 2] {
        node.hears(from, State::Looking, empty);
    }
    let out = node.hears(3, State::Looking, empty);
    assert!(out.contains(&Action::Persist(epochs(0, 0, false))));
    let led = vote(3, z(0, 0), 7, 0);
    node.hears(2, State::Following, led);
    assert_eq!(node.hears(3, State::Leading, led), [], "first things first");
    node.promised(epochs(0, 0, false));
    node.hears(2, State::Following, led);
    assert_eq!(node.hears(3, State::Leading, led), [Action::Connect(Sid(3))]);
}

#[test]
fn empty_members_answer_each_other_and_fall_silent() {
    let (mut node, _) = Node::of(1, 0, 3, epochs(0, 0, true));
    let empty = Vote { peer_epoch: 0, ..Vote::nobody(1) };
    let answers = (0..5).filter(|_| told(&node.hears(2, State::Looking, empty), 2).is_some());
    assert_eq!(answers.count(), 2);
}

#[test]
fn a_log_that_ends_in_a_later_epoch_raises_the_own_one_before_the_first_vote() {
    let (mut node, out) = Node::of(1, 9, 3, epochs(0, 0, false));
    let raised = Fault::EpochRaised { current: Epoch(0), last: Epoch(1) };
    assert_eq!(out, [Action::Report(raised), Action::Persist(epochs(1, 1, false))]);
    let out = node.promised(epochs(1, 1, false));
    assert!(matches!(out[0], Action::Notify(Sid(2), Notification { peer_epoch: 1, .. })));
}

#[test]
fn a_member_without_a_leader_says_whom_it_waits_for() {
    let waits = |mut node: Node| {
        node.hears(2, State::Looking, vote(2, z(1, 9), 1, 1));
        for _ in 0..40 {
            node.now = node.zab.deadline().unwrap();
            let out = node.feed(Event::Tick);
            if let Some(Action::Waiting { untrusted, silent }) = out.last() {
                return (*untrusted, silent.clone());
            }
        }
        panic!("never");
    };
    let of = |epochs| Node::of(1, 0, 5, epochs).0;
    assert_eq!(waits(of(epochs(1, 1, false))), (false, vec![Sid(3), Sid(4), Sid(5)]));
    assert_eq!(waits(of(epochs(1, 1, true))), (true, vec![Sid(3), Sid(4), Sid(5)]));
}

#[test]
fn proposals_belong_to_the_epoch_and_begin_with_its_first() {
    let ready = || {
        let mut node = Node::follower(9);
        node.leader(FromLeader::Diff(z(1, 9)));
        node.leader(FromLeader::NewLeader(Epoch(2)));
        node
    };
    for wrong in [z(1, 10), z(2, 2), z(3, 1)] {
        leaves(&ready().leader(FromLeader::Proposal(wrong)), Fault::Gap { got: wrong, last: z(1, 9) });
    }
    let mut node = ready();
    node.leader(FromLeader::Proposal(z(2, 1)));
    assert_eq!(node.leader(FromLeader::Proposal(z(2, 1))), [], "twice around NEWLEADER");
}

#[test]
fn what_others_have_committed_is_acknowledged_only_when_it_is_durable_here() {
    let mut node = Node::follower(9);
    node.leader(FromLeader::Diff(z(1, 9)));
    node.leader(FromLeader::Proposal(z(2, 1)));
    node.leader(FromLeader::NewLeader(Epoch(2)));
    node.leader(FromLeader::Proposal(z(2, 2)));
    node.leader(FromLeader::Commit(z(2, 1)));
    node.leader(FromLeader::Commit(z(2, 2)));
    assert_eq!(node.durable(z(2, 1)), [Action::Persist(epochs(2, 2, false))]);
    node.promised(epochs(2, 2, false));
    let upto = Durable::assumed(z(2, 2));
    assert_eq!(node.durable(z(2, 2)), [Action::Ack { link: Link(1), after: z(2, 1), upto, ours: true }]);
}

#[test]
fn an_observer_is_told_to_commit_what_it_has() {
    let (mut node, _) = Node::of(9, 9, 3, epochs(2, 1, false));
    let led = vote(3, z(1, 9), 7, 1);
    node.hears(2, State::Following, led);
    node.hears(3, State::Leading, led);
    node.feed(Event::Connected(Link(1)));
    node.leader(FromLeader::LeaderInfo(Epoch(2), true));
    node.leader(FromLeader::Diff(z(1, 9)));
    node.leader(FromLeader::Proposal(z(2, 1)));
    node.leader(FromLeader::NewLeader(Epoch(2)));
    assert_eq!(node.leader(FromLeader::Commit(z(2, 7))), [], "of a proposal that only followers got");
    node.leader(FromLeader::Inform(z(2, 1)));
    assert_eq!(node.leader(FromLeader::Inform(z(2, 2))), [Action::Append(z(2, 2))]);
}

#[test]
fn a_synchronisation_that_moves_is_not_taken_for_silence() {
    let mut node = Node::established();
    node.learner(2, info(2, false));
    node.learner(2, FromLearner::AckEpoch(z(1, 9), None));
    for tick in 1..40 {
        node.now += 50;
        node.learner(1, FromLearner::Alive);
        node.feed(Event::Flowing(Link(2)));
        let out = node.feed(Event::Tick);
        assert!(!out.contains(&Action::Disconnect(Link(2))), "after {tick} pings");
    }
    let mut node = Node::follower(7);
    node.leader(FromLeader::Snap(z(1, 9)));
    for _ in 0..5 {
        node.now += 900;
        assert_eq!(node.feed(Event::Flowing(Link(1))), []);
        assert_eq!(node.feed(Event::Tick), []);
    }
    node.now += 1000;
    assert!(reports(&node.feed(Event::Tick), Fault::Silent(Sid(3))));
}

#[test]
fn a_reconfiguration_is_committed_and_ends_the_role_if_another_leads() {
    let mut node = Node::serving();
    let out = node.leader(FromLeader::CommitAndActivate(z(2, 1), Sid(3)));
    assert_eq!(out, [Action::Commit(z(2, 1))]);
    let out = node.leader(FromLeader::CommitAndActivate(z(2, 2), Sid(2)));
    assert_eq!(out[0], Action::Commit(z(2, 2)));
    assert!(reports(&out, Fault::Redesignated(Sid(2))));
}

#[test]
fn another_membership_ends_the_role_and_an_older_or_foreign_one_does_nothing() {
    let of = |voters: &[i64]| Membership::majority(voters.iter().map(|&sid| Sid(sid)), [Sid(9)]).unwrap();
    let told = |node: &mut Node, voters: &[i64], version| {
        node.feed(Event::Reconfigured { members: of(voters), version })
    };
    let mut node = Node::established();
    assert_eq!(told(&mut node, &[3, 4, 5], 0), [], "not newer");
    assert_eq!(told(&mut node, &[4, 5], 1), [Action::Report(Fault::Removed(1))]);
    assert_eq!(told(&mut node, &[1, 2, 3], 1), [], "the same members");
    let newer = FromLearner::Info(LearnerInfo {
        sid: Sid(2),
        accepted: Epoch(1),
        config_version: 1,
        observer: false,
        ours: true,
    });
    assert_eq!(node.learner(2, newer), [Action::Send(Link(2), ToLearner::LeaderInfo(Epoch(2)))]);
    let out = told(&mut node, &[3, 4, 5], 2);
    assert!(reports(&out, Fault::Reconfigured(2)));
    let asked = |sid| out.iter().any(|action| matches!(action, Action::Notify(to, _) if *to == Sid(sid)));
    assert!(asked(4) && asked(5) && !asked(1));
}

#[test]
fn a_round_without_end_is_no_reason_to_fall() {
    let mut node = Node::new(1, 9);
    node.hears(2, State::Looking, vote(2, z(1, 10), i64::MAX, 1));
    node.now = 20;
    node.feed(Event::Tick);
    node.now += 5000;
    assert!(reports(&node.feed(Event::Tick), Fault::Unreachable(Sid(2))));
}

#[test]
fn a_connection_that_closes_before_the_leader_spoke_counts_as_refused() {
    let mut node = Node::new(1, 9);
    let best = vote(3, z(1, 9), 7, 1);
    node.hears(2, State::Following, best);
    node.hears(3, State::Leading, best);
    node.feed(Event::Connected(Link(1)));
    assert_eq!(node.feed(Event::Closed(Link(1))), [], "the one we elected may not listen yet");
    node.now += 20;
    assert_eq!(node.feed(Event::Tick), [Action::Connect(Sid(3))]);
    assert!(matches!(node.feed(Event::Connected(Link(2)))[..], [Action::Introduce(Link(2), _)]));
    node.now += 1000;
    assert!(reports(&node.feed(Event::Closed(Link(2))), Fault::Unreachable(Sid(3))));
}
