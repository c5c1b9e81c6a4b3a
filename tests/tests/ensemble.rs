//! Ensembles of real processes: they elect, serve, and survive what processes do: die, come back, lose their disks.
//!
//! Every script runs under a load of clients that move with their sessions, and ends with the same questions: is
//! every acknowledged write there, was nothing carried out twice, do all members show the same?

use std::time::{Duration, Instant};

use ringkeeper_tests::client::{Client, Failure, PATIENCE};
use ringkeeper_tests::cluster::load::{History, verify_at};
use ringkeeper_tests::cluster::member::Mode;
use ringkeeper_tests::cluster::sync::Method;
use ringkeeper_tests::cluster::{Cluster, Plan, Sid, TICK};
use ringkeeper_tests::node::Server;
use ringkeeper_tests::on_ensembles;
use ringkeeper_tests::wire::{Body, code, op};

fn sync(client: &mut Client) {
    client.call(op::SYNC, &Body::new().string("/")).expect("sync");
}

fn elect_and_serve(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let leader = cluster.leader();
    let followers = (kinds.len() - 1) as f64;
    assert_eq!(cluster.member(leader).metric("zk_synced_followers"), Some(followers));
    for sid in cluster.sids() {
        let mut client = cluster.client(sid);
        client.create(&format!("/by-{sid}"), b"x", 0).expect("creating");
        for other in cluster.sids() {
            let mut reader = cluster.client(other);
            sync(&mut reader);
            let found = reader.exists(&format!("/by-{sid}")).expect("exists");
            assert!(found.is_some(), "what member {sid} acknowledged, member {other} shows after a sync");
            reader.close().expect("closing");
        }
        client.close().expect("closing");
    }
    let load = cluster.load("w", &cluster.sids(), kinds.len(), 16);
    load.gets_on(200);
    load.finish_unharmed(&cluster.awake_addrs());
    assert_eq!(cluster.leader(), leader, "nobody had a reason to elect another");
    cluster.assert_sound();
}

fn follower_is_killed_and_comes_back(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let leader = cluster.leader();
    let load = cluster.load("w", &cluster.sids(), 3, 16);
    for _ in 0..2 {
        let follower = cluster.a_follower();
        cluster.kill(follower);
        load.gets_on(50);
        cluster.launch(follower);
        load.gets_on(50);
    }
    load.finish_unharmed(&cluster.awake_addrs());
    assert_eq!(cluster.leader(), leader, "the leader had its quorum all the time");
    cluster.assert_sound();
}

/// Waits until this node is gone.
fn wait_until_gone(client: &mut Client, path: &str) {
    let start = Instant::now();
    while client.exists(path).expect("exists").is_some() {
        assert!(start.elapsed() < PATIENCE, "{path} stays");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn leader_is_killed_twice(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let load = cluster.load("w", &cluster.sids(), 3, 16);
    for round in 0..2 {
        let leader = cluster.leader();
        // One client dies with its member, one goes on elsewhere.
        let mut dead =
            Client::connect_with_timeout(cluster.member(leader).client_addr, 2000).expect("connecting");
        let dead_path = format!("/dead-{round}");
        dead.create(&dead_path, b"", 1).expect("creating an ephemeral");
        let mut mover = cluster.client(leader);
        let mover_path = format!("/mover-{round}");
        mover.create(&mover_path, b"", 1).expect("creating an ephemeral");
        let session = mover.session;
        cluster.kill(leader);
        drop(dead);
        let successor = cluster.wait_until_serving();
        load.gets_on(50);
        let mut mover = Client::resume(cluster.member(successor).client_addr, session).expect("resuming");
        assert_eq!(mover.session.id, session.id, "the session goes on elsewhere");
        let stat = mover.exists(&mover_path).expect("exists").expect("so does its ephemeral");
        assert_eq!(stat.ephemeral_owner, session.id);
        wait_until_gone(&mut mover, &dead_path);
        mover.close().expect("closing");
        cluster.launch(leader);
        load.gets_on(50);
    }
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

fn all_are_killed_at_once(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let load = cluster.load("w", &cluster.sids(), 4, 32);
    for _ in 0..2 {
        load.gets_on(200);
        for sid in cluster.sids() {
            cluster.kill(sid);
        }
        cluster.spawn_all();
        cluster.wait_until_serving();
    }
    load.gets_on(50);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

fn members_restart_one_by_one_under_load(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let load = cluster.load("w", &cluster.sids(), 3, 16);
    let leader = cluster.leader();
    let mut order = cluster.sids_without(&[leader]);
    order.push(leader);
    for sid in order {
        cluster.terminate(sid);
        cluster.wait_until_serving();
        cluster.launch(sid);
        cluster.wait_until_serving();
        load.gets_on(20);
    }
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

fn observer_serves_and_does_not_count(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).with_observer(kinds[0]).start();
    let observer = *cluster.sids().last().expect("an observer");
    assert_eq!(cluster.member(observer).status().map(|s| s.mode), Some(Mode::Observer));
    // Clients of the observer alone: their writes go through it.
    let load = cluster.load("w", &[observer], 2, 16);
    load.gets_on(100);
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.wait_until_serving();
    load.gets_on(50);
    // With it, three of four members are there; without a quorum of voters nobody serves.
    let second = cluster.leader();
    cluster.kill(second);
    let left = cluster.sids_without(&[leader, second]);
    cluster.wait_for(&left, "nobody serves without a quorum", |states| states.iter().all(Option::is_none));
    cluster.spawn(leader);
    cluster.spawn(second);
    cluster.wait_until_serving();
    load.gets_on(50);
    // The observer itself may be gone for a while.
    cluster.kill(observer);
    cluster.launch(observer);
    load.gets_on(50);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

fn wiped_member_rejoins_by_snapshot(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let load = cluster.load("w", &cluster.sids(), 3, 16);
    load.gets_on(50);
    let follower = cluster.a_follower();
    let leader = cluster.leader();
    cluster.kill(follower);
    cluster.wipe(follower);
    let mark = cluster.mark();
    cluster.launch(follower);
    assert_eq!(cluster.sync_since(&mark, leader, follower).method, Method::Snap);
    load.gets_on(50);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
    if kinds.contains(&Server::Apache) {
        // A Java leader's snapshot under load is not of one moment. When the learner is started again, it now and then
        // finds other digests than its own log says (seen with 3.8.0 alone, the trees being equal).
        return;
    }
    // What it was given is on its disk: it can do without the one who gave it.
    cluster.kill(leader);
    cluster.kill(follower);
    cluster.launch_some(&[follower]);
    cluster.launch(leader);
    cluster.assert_sound();
}

/// Acknowledges something at all three members, leaves one with everything, takes one away and wipes the third.
/// Returns the cluster with only the one running that has everything: its sid, the absent one's, the wiped one's.
fn one_whole_one_absent_one_wiped(kinds: &[Server]) -> (Cluster, [Sid; 3], Vec<History>) {
    let mut cluster = Plan::of(kinds).start_led_by_the_last();
    let load = cluster.load("w", &cluster.sids(), 3, 16);
    load.gets_on(50);
    let history = load.finish();
    let [wiped, absent, whole] = [1, 2, 3];
    cluster.kill(wiped);
    cluster.kill(absent);
    cluster.wipe(wiped);
    (cluster, [whole, absent, wiped], history)
}

/// Ours only: Apache lets the empty member vote, and so can lose what the absent one and another acknowledged.
#[test]
fn wiped_member_waits_for_an_absent_one_and_says_so() {
    let (mut cluster, [whole, absent, wiped], history) =
        one_whole_one_absent_one_wiped(&[Server::Ringkeeper; 3]);
    let mark = cluster.mark();
    cluster.spawn(wiped);
    let start = Instant::now();
    let absent_text = absent.to_string();
    let says = |text: &str| {
        // Behind the time, which is made of numbers too.
        let mut messages = text.lines().filter_map(|l| l.split_once(' ')).map(|(_time, message)| message);
        let names = |m: &str| m.split(|c: char| !c.is_alphanumeric()).any(|word| word == absent_text);
        messages.any(|m| m.contains("wait") && names(m))
    };
    while !says(&cluster.logged_since(&mark, wiped)) {
        assert!(start.elapsed() < PATIENCE, "member {wiped} does not say for whom it waits");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Two elections' worth of time changes nothing.
    std::thread::sleep(TICK * 12);
    for sid in [whole, wiped] {
        assert_eq!(cluster.member(sid).status(), None, "member {sid} must not serve");
    }
    cluster.spawn(absent);
    cluster.wait_until_serving();
    verify_at(&history, &cluster.awake_addrs());
    cluster.assert_sound();
}

fn operator_lets_an_empty_member_vote(kinds: &[Server]) {
    let (mut cluster, [whole, absent, wiped], history) = one_whole_one_absent_one_wiped(kinds);
    let word = cluster.member(wiped).data().join("initialize");
    std::fs::write(&word, b"").expect("writing the file initialize");
    cluster.launch_some(&[wiped]);
    assert_eq!(cluster.leader(), whole, "the one with the data leads");
    if kinds[0] != Server::Apache {
        assert!(!word.exists(), "the operator's word is good for one start");
    }
    verify_at(&history, &cluster.awake_addrs());
    cluster.launch(absent);
    cluster.assert_sound();
}

fn configuration_lets_an_empty_member_vote(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).with_line("db.autocreate=true").start_led_by_the_last();
    let load = cluster.load("w", &cluster.sids(), 3, 16);
    load.gets_on(50);
    let history = load.finish();
    cluster.kill(1);
    cluster.kill(2);
    cluster.wipe(1);
    cluster.launch_some(&[1]);
    assert_eq!(cluster.leader(), 3, "the one with the data leads");
    verify_at(&history, &cluster.awake_addrs());
    cluster.launch(2);
    cluster.assert_sound();
}

/// One group of three in which the first weighs as much as both others: it and any other are a quorum, the two others
/// are none.
fn weights_decide(kinds: &[Server]) {
    let weights = ["group.1=1:2:3", "weight.1=2", "weight.2=1", "weight.3=1"];
    let plan = weights.into_iter().fold(Plan::of(kinds), Plan::with_line);
    let mut cluster = plan.start();
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    cluster.kill(2);
    cluster.wait_until_serving();
    load.gets_on(20);
    cluster.launch(2);
    cluster.kill(1);
    cluster.wait_for(&[2, 3], "two light ones serve nobody", |s| s.iter().all(Option::is_none));
    cluster.launch_some(&[1]);
    cluster.kill(3);
    cluster.wait_until_serving();
    load.gets_on(20);
    cluster.launch(3);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

/// A client that is content with reading (the last field of its ConnectRequest).
fn read_only_client(cluster: &Cluster, sid: Sid) -> Client {
    let request = Body::new().int(0).long(0).int(10_000).long(0).buffer(&[0; 16]).bool(true);
    let addr = cluster.member(sid).client_addr;
    let start = Instant::now();
    loop {
        match Client::handshake_within(addr, request.clone(), Duration::from_secs(1)) {
            Ok(client) if client.session.id != 0 => return client,
            refused => assert!(start.elapsed() < PATIENCE, "no read-only session: {refused:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ours only: with global sessions, Apache answers the handshake with an error in a form no client understands.
#[test]
fn member_without_quorum_is_read_only() {
    let mut cluster = Plan::of(&[Server::Ringkeeper; 3]).with_line("readonlymode.enabled=true").start();
    let mut client = cluster.client(1);
    client.create("/a", b"before", 0).expect("creating");
    client.close().expect("closing");
    cluster.kill(2);
    cluster.kill(3);
    let mut reader = read_only_client(&cluster, 1);
    assert_eq!(reader.get("/a").expect("reading").0, b"before");
    let refused = reader.set("/a", b"during", -1).expect_err("writing without a quorum");
    assert!(matches!(refused, Failure::Code(code::NOT_READ_ONLY)), "{refused}");
    drop(reader);
    cluster.launch_some(&[2, 3]);
    let mut client = cluster.client(1);
    client.set("/a", b"after", 0).expect("writing with the quorum, nothing happened in between");
    client.close().expect("closing");
    cluster.assert_sound();
}

on_ensembles! {
    quick three_members_elect_and_serve = elect_and_serve, 3;
    long five_members_elect_and_serve = elect_and_serve, 5;
    quick follower_of_three_is_killed_and_comes_back = follower_is_killed_and_comes_back, 3;
    quick leader_of_three_is_killed_twice = leader_is_killed_twice, 3;
    quick leader_of_five_is_killed_twice = leader_is_killed_twice, 5;
    quick all_are_killed_at_once = all_are_killed_at_once, 3;
    quick members_restart_one_by_one_under_load = members_restart_one_by_one_under_load, 3;
    long five_members_restart_one_by_one_under_load = members_restart_one_by_one_under_load, 5;
    quick observer_serves_and_does_not_count = observer_serves_and_does_not_count, 3;
    quick wiped_member_rejoins_by_snapshot = wiped_member_rejoins_by_snapshot, 3;
    quick weights_decide = weights_decide, 3;
    quick operator_lets_an_empty_member_vote = operator_lets_an_empty_member_vote, 3;
    quick configuration_lets_an_empty_member_vote = configuration_lets_an_empty_member_vote, 3;
}
