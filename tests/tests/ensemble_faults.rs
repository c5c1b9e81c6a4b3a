//! Networks that break in every way, processes that stop and go on, and strangers at the members' own ports.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringkeeper_tests::client::Client;
use ringkeeper_tests::cluster::load::Load;
use ringkeeper_tests::cluster::sync::Method;
use ringkeeper_tests::cluster::{Cluster, Plan, SILENCE, Sid};
use ringkeeper_tests::node::Server;
use ringkeeper_tests::on_ensembles;
use ringkeeper_tests::wire::{Body, op};

fn clients(cluster: &Cluster) -> Vec<Client> {
    cluster.sids().into_iter().map(|sid| cluster.client(sid)).collect()
}

fn finish(mut cluster: Cluster, load: Load) {
    cluster.wait_until_serving();
    load.gets_on(20);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

/// Takes the leader from the others with `isolate`, demands a successor and an end of service at the old one, heals,
/// demands everything.
fn leader_is_lost(kinds: &[Server], isolate: impl Fn(&Cluster, Sid)) {
    let mut cluster = Plan::of(kinds).with_links().start();
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    load.gets_on(20);
    let old = cluster.leader();
    isolate(&cluster, old);
    let others = cluster.sids_without(&[old]);
    cluster.wait_for(&[old], "the lonely leader gives up", |s| s[0].is_none());
    cluster.wait_for_leader_among(&others);
    load.gets_on(20);
    cluster.heal();
    finish(cluster, load);
}

fn leader_is_cut_off(kinds: &[Server]) {
    leader_is_lost(kinds, |cluster, leader| cluster.cut_off(leader));
}

fn leader_falls_silent_on_half_open_links(kinds: &[Server]) {
    leader_is_lost(kinds, |cluster, leader| cluster.silence(leader));
}

fn leader_is_not_heard(kinds: &[Server]) {
    leader_is_lost(kinds, |cluster, leader| {
        for other in cluster.sids_without(&[leader]) {
            cluster.links().hold(leader, other);
        }
    });
}

fn leader_hears_nobody(kinds: &[Server]) {
    leader_is_lost(kinds, |cluster, leader| {
        for other in cluster.sids_without(&[leader]) {
            cluster.links().hold(other, leader);
        }
    });
}

/// The same with a follower: the leader stays, and the follower catches up with what it missed.
fn follower_is_lost(kinds: &[Server], isolate: impl Fn(&Cluster, Sid)) {
    let mut cluster = Plan::of(kinds).with_links().start();
    let (leader, follower) = (cluster.leader(), cluster.a_follower());
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    load.gets_on(20);
    let mark = cluster.mark();
    isolate(&cluster, follower);
    cluster.wait_for(&[follower], "the lonely follower gives up", |s| s[0].is_none());
    load.gets_on(20);
    cluster.heal();
    assert_eq!(cluster.wait_until_serving(), leader, "the leader had its quorum all the time");
    assert_ne!(
        cluster.sync_since(&mark, leader, follower).method,
        Method::Trunc,
        "it has nothing of its own"
    );
    finish(cluster, load);
}

fn follower_is_cut_off(kinds: &[Server]) {
    follower_is_lost(kinds, |cluster, follower| cluster.cut_off(follower));
}

fn follower_falls_silent_on_half_open_links(kinds: &[Server]) {
    follower_is_lost(kinds, |cluster, follower| cluster.silence(follower));
}

/// Two followers do not hear each other; both hear the leader. Nothing may happen, and when the leader dies the two
/// must wait for each other.
fn followers_do_not_hear_each_other(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).with_links().start();
    let leader = cluster.leader();
    let followers = cluster.other_voters(leader);
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    cluster.links().cut(followers[0], followers[1]);
    load.gets_on(20);
    assert_eq!(cluster.leader(), leader);
    cluster.kill(leader);
    cluster.wait_for(&followers, "nobody serves without a quorum", |s| s.iter().all(Option::is_none));
    cluster.heal();
    cluster.wait_for_leader_among(&followers);
    load.gets_on(20);
    cluster.launch(leader);
    finish(cluster, load);
}

/// All links break for a moment, again and again.
fn links_flap(kinds: &[Server]) {
    let cluster = Plan::of(kinds).with_links().start();
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    for _ in 0..5 {
        for sid in cluster.sids() {
            cluster.cut_off(sid);
        }
        cluster.heal();
        load.gets_on(5);
    }
    finish(cluster, load);
}

fn leader_is_stopped_and_returns(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    load.gets_on(20);
    let old = cluster.leader();
    let mut late = cluster.client(old);
    cluster.pause(old);
    // Waits in the sockets of one who does not know yet that it leads no more.
    late.queue(op::CREATE, &Body::create("/late", b"", 0));
    late.flush().expect("sending");
    let others = cluster.sids_without(&[old]);
    cluster.wait_for_leader_among(&others);
    load.gets_on(20);
    cluster.wake(old);
    let answer = late.recv();
    assert!(
        !answer.as_ref().is_ok_and(|reply| reply.err == 0),
        "a leader of the past acknowledged a write: {answer:?}"
    );
    cluster.wait_until_serving();
    for mut client in clients(&cluster) {
        client.call(op::SYNC, &Body::new().string("/")).expect("sync");
        assert_eq!(
            client.exists("/late").expect("exists"),
            None,
            "what was not acknowledged in time is gone"
        );
        client.close().expect("closing");
    }
    finish(cluster, load);
}

fn follower_is_stopped_and_returns(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let (leader, follower) = (cluster.leader(), cluster.a_follower());
    let load = cluster.load("w", &cluster.sids_without(&[follower]), 3, 8);
    load.gets_on(20);
    let mark = cluster.mark();
    cluster.pause(follower);
    let goal = load.acked() + 100;
    let start = Instant::now();
    // Long enough that its leader gives it up.
    while load.acked() < goal || start.elapsed() < SILENCE * 2 {
        load.gets_on(1);
    }
    cluster.wake(follower);
    assert_eq!(cluster.wait_until_serving(), leader, "a follower alone changes nothing");
    // Only the synchronisation says that it is really back and not about to find out that it is gone.
    let start = Instant::now();
    while !cluster.logged_since(&mark, leader).contains(&format!("sid: {follower} "))
        && !cluster.logged_since(&mark, leader).contains(&format!("sid={follower} "))
    {
        assert!(start.elapsed() < SILENCE * 10, "the follower does not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    cluster.wait_until_serving();
    assert_eq!(cluster.sync_since(&mark, leader, follower).method, Method::Diff);
    finish(cluster, load);
}

/// Everything that can be said to a member's own ports by somebody who is none: nothing, too little, too much, the
/// wrong thing.
fn hostile_openings(me: Sid, other: Sid) -> Vec<Vec<u8>> {
    let hello = |sid: i64, address: &str| {
        let head = [(-65536i64).to_be_bytes(), sid.to_be_bytes()].concat();
        [head, (address.len() as i32).to_be_bytes().to_vec(), address.as_bytes().to_vec()].concat()
    };
    let mut rng = fastrand::Rng::new();
    let noise =
        |len: usize, rng: &mut fastrand::Rng| std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
    let bomb = |sid: i64| [hello(sid, "127.0.0.1:1"), i32::MAX.to_be_bytes().to_vec()].concat();
    // type FOLLOWERINFO or ACK, zxid, a buffer of 2 GiB
    let packet = |kind: i32| [&kind.to_be_bytes()[..], &[0; 8], &i32::MAX.to_be_bytes()].concat();
    vec![
        Vec::new(),
        vec![0],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        noise(64, &mut rng),
        noise(100_000, &mut rng),
        vec![0xff; 4096],
        vec![0; 4096],
        // Nobody's sid, a member's own, an impossible one, in hellos of all kinds.
        hello(77, "127.0.0.1:1"),
        hello(-5, "127.0.0.1:1"),
        hello(me, "127.0.0.1:1"),
        hello(other, "127.0.0.1:1"),
        bomb(other),
        hello(0, "127.0.0.1:1"),
        hello(i64::MAX, "nobody"),
        hello(77, &"x".repeat(4000)),
        bomb(77),
        [hello(78, "127.0.0.1:1"), 8i32.to_be_bytes().to_vec(), vec![1; 8]].concat(),
        [hello(79, "127.0.0.1:1"), (-1i32).to_be_bytes().to_vec()].concat(),
        packet(11),
        packet(3),
        packet(16),
    ]
}

/// Throws an opening at a port and goes away, with or without a look at the answer.
fn throw(addr: SocketAddr, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect_timeout(&addr, Duration::from_secs(5)) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    // Refusal is a good answer.
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 64]);
}

fn strangers_change_nothing(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).start();
    let leader = cluster.leader();
    let epoch = cluster.member(leader).status().expect("the leader serves").zxid >> 32;
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    let mut slow = Vec::new();
    for sid in cluster.sids() {
        let member = cluster.member(sid);
        let other = cluster.other_voters(sid)[0];
        for addr in [member.election_addr, member.quorum_addr] {
            for opening in hostile_openings(sid, other) {
                throw(addr, &opening);
            }
            // One byte of a hello now and then, for as long as the server likes.
            slow.extend((0..3).filter_map(|_| TcpStream::connect(addr).ok()));
        }
        load.gets_on(5);
    }
    for byte in (-65536i64).to_be_bytes() {
        for stream in &mut slow {
            let _ = stream.write_all(&[byte]);
        }
        load.gets_on(5);
    }
    for sid in cluster.sids() {
        let status = cluster.member(sid).status().expect("every member serves");
        assert_eq!(status.zxid >> 32, epoch, "nobody had a reason for another epoch");
    }
    assert_eq!(cluster.leader(), leader);
    if kinds.contains(&Server::Apache) {
        // Who says nothing blocks the door of a Java server; that is known.
        slow.clear();
    }
    // The ports still do what they are for.
    cluster.kill(leader);
    cluster.wait_until_serving();
    load.gets_on(20);
    cluster.launch(leader);
    drop(slow);
    finish(cluster, load);
}

on_ensembles! {
    quick leader_is_cut_off = leader_is_cut_off, 3;
    quick leader_falls_silent_on_half_open_links = leader_falls_silent_on_half_open_links, 3;
    long leader_of_five_is_cut_off = leader_is_cut_off, 5;
    long leader_of_five_falls_silent = leader_falls_silent_on_half_open_links, 5;
    quick leader_is_not_heard = leader_is_not_heard, 3;
    quick leader_hears_nobody = leader_hears_nobody, 3;
    quick follower_is_cut_off = follower_is_cut_off, 3;
    quick follower_falls_silent_on_half_open_links = follower_falls_silent_on_half_open_links, 3;
    quick followers_do_not_hear_each_other = followers_do_not_hear_each_other, 3;
    quick links_flap = links_flap, 3;
    quick leader_is_stopped_and_returns = leader_is_stopped_and_returns, 3;
    quick follower_is_stopped_and_returns = follower_is_stopped_and_returns, 3;
    quick strangers_change_nothing = strangers_change_nothing, 3;
}
