//! How a member that missed something, or has something nobody else has, is brought up to date: in every way that
//! there is, and the way that was meant.
//!
//! In every script of three members the third leads first, the first is the learner that misses things. The kinds may
//! be mixed: what the leader should choose then depends on who leads whom.

use std::time::{Duration, Instant};

use ringkeeper_tests::client::{Client, Failure, PATIENCE};
use ringkeeper_tests::cluster::load::verify_at;
use ringkeeper_tests::cluster::sync::{Method, Source, Sync};
use ringkeeper_tests::cluster::{Cluster, Plan, Sid};
use ringkeeper_tests::node::Server;
use ringkeeper_tests::wire::{Body, op};
use ringkeeper_tests::{on_ensembles, on_mixed_ensembles};

/// Sets `path` this often to values of this length, many requests in flight.
fn set_often(client: &mut Client, path: &str, times: usize, len: usize) {
    let body = Body::new().string(path).buffer(&vec![b'x'; len]).int(-1);
    let mut behind = 0;
    for sent in 1..=times {
        client.queue(op::SET_DATA, &body);
        if sent - behind == 200 || sent == times {
            client.flush().expect("sending");
            while behind < sent {
                let reply = client.recv().expect("a reply");
                assert_eq!(reply.err, 0, "setting {path}");
                behind += 1;
            }
        }
    }
}

/// Fills the tree with `ballast` half megabytes, stops the first member while the rest carry out `times` writes of `len`
/// bytes, and hands to `judge` how it was brought up to date.
fn missed(plan: Plan, ballast: usize, times: usize, len: usize, judge: impl FnOnce(Sync)) {
    let mut cluster = plan.start_led_by_the_last();
    let (leader, learner) = (3, 1);
    let mut client = cluster.client(leader);
    client.create("/register", b"", 0).expect("creating");
    for n in 0..ballast {
        client.create(&format!("/ballast-{n}"), &vec![b'b'; 500_000], 0).expect("creating");
    }
    let load = cluster.load("before", &cluster.sids(), 2, 8);
    load.gets_on(20);
    let before = load.finish();
    cluster.kill(learner);
    set_often(&mut client, "/register", times, len);
    let mark = cluster.mark();
    cluster.launch(learner);
    judge(cluster.sync_since(&mark, leader, learner));
    let load = cluster.load("after", &cluster.sids(), 3, 8);
    load.gets_on(20);
    load.finish_unharmed(&cluster.awake_addrs());
    verify_at(&before, &cluster.awake_addrs());
    client.close().expect("closing");
    // What the learner got is on its disk, in the right order.
    cluster.kill(learner);
    cluster.launch(learner);
    cluster.assert_sound();
}

fn ten_missed_come_as_a_diff_from_memory(kinds: &[Server]) {
    missed(Plan::of(kinds), 0, 10, 100, |sync| {
        assert_eq!(sync, Sync { method: Method::Diff, source: Source::Memory });
    });
}

/// More bytes than any leader keeps in memory, and yet less than the state.
fn ten_thousand_missed_come_as_a_diff_from_disk(kinds: &[Server]) {
    let plan = Plan::of(kinds).with_line("snapshotSizeFactor=1");
    missed(plan, 60, 10_000, 2000, |sync| {
        assert_eq!(sync, Sync { method: Method::Diff, source: Source::Disk });
    });
}

/// Twenty megabytes of history, a few kilobytes of state. (Apache counts only whole log files behind the first, and
/// begins a new one with every snapshot.)
fn too_many_missed_come_as_a_snapshot(kinds: &[Server]) {
    // Of what counts for a tree at least, so little is less than what was missed.
    let plan = Plan::of(kinds).with_line("snapCount=2000").with_line("snapshotSizeFactor=0.005");
    missed(plan, 0, 10_000, 2000, |sync| assert_eq!(sync.method, Method::Snap));
}

fn observer_that_missed_ten_gets_a_diff(kinds: &[Server]) {
    let mut cluster = Plan::of(kinds).with_observer(kinds[0]).start();
    let (leader, observer) = (cluster.leader(), *cluster.sids().last().expect("an observer"));
    let mut client = cluster.client(leader);
    client.create("/register", b"", 0).expect("creating");
    cluster.kill(observer);
    set_often(&mut client, "/register", 10, 100);
    client.close().expect("closing");
    let mark = cluster.mark();
    cluster.launch(observer);
    assert_eq!(cluster.sync_since(&mark, leader, observer).method, Method::Diff);
    cluster.kill(observer);
    cluster.wipe(observer);
    let mark = cluster.mark();
    cluster.launch(observer);
    assert_eq!(cluster.sync_since(&mark, leader, observer).method, Method::Snap);
    cluster.assert_sound();
}

/// Bytes that no log holds by chance.
fn stray(n: usize) -> String {
    format!("stray-transaction-{n}")
}

const STRAYS: usize = 5;

/// The third member leads, logs transactions that reach nobody, and dies. The second leads then. Returns the cluster
/// without the third, whole otherwise.
fn leader_dies_with_transactions_of_its_own(kinds: &[Server]) -> Cluster {
    let mut cluster = Plan::of(kinds).with_links().start_led_by_the_last();
    let mut client = cluster.client(1);
    client.create("/base", b"", 0).expect("creating");
    client.close().expect("closing");
    let mut client = cluster.client(3);
    client.create("/kept", b"", 0).expect("creating");
    for other in [1, 2] {
        cluster.links().hold(3, other);
    }
    for n in 0..STRAYS {
        client.queue(op::CREATE, &Body::create(&format!("/stray-{n}"), stray(n).as_bytes(), 0));
    }
    client.flush().expect("sending");
    let start = Instant::now();
    while !(0..STRAYS).all(|n| cluster.member(3).has_logged(stray(n).as_bytes())) {
        assert!(start.elapsed() < PATIENCE, "the isolated leader does not log its proposals");
        std::thread::sleep(Duration::from_millis(20));
    }
    cluster.kill(3);
    // What was on its way is lost with the connections, not late.
    cluster.cut_off(3);
    cluster.heal();
    let unanswered = client.recv();
    assert!(unanswered.is_err(), "nobody acknowledged a transaction of a leader alone: {unanswered:?}");
    assert_eq!(cluster.wait_until_serving(), 2, "of equals the larger sid leads");
    cluster
}

/// The strays are gone, everywhere and for good.
fn strays_are_gone(cluster: &mut Cluster) {
    for round in 0..2 {
        for sid in cluster.sids() {
            let mut client = cluster.client(sid);
            client.call(op::SYNC, &Body::new().string("/")).expect("sync");
            assert!(client.exists("/kept").expect("exists").is_some(), "what was acknowledged stays");
            for n in 0..STRAYS {
                let found: Result<_, Failure> = client.exists(&format!("/stray-{n}"));
                assert_eq!(found.expect("exists"), None, "member {sid} shows stray {n}, round {round}");
            }
            client.close().expect("closing");
        }
        // The log on the disk must not bring them back.
        cluster.kill(3);
        cluster.launch(3);
    }
    let load = cluster.load("after", &cluster.sids(), 3, 8);
    load.gets_on(20);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

/// Only members of ours cut what Java's would not cut right.
fn both_are_ours(cluster: &Cluster, leader: Sid, learner: Sid) -> bool {
    [leader, learner].iter().all(|sid| cluster.member(*sid).kind != Server::Apache)
}

fn uncommitted_tail_is_cut(kinds: &[Server]) {
    let mut cluster = leader_dies_with_transactions_of_its_own(kinds);
    let mark = cluster.mark();
    cluster.launch(3);
    let found = cluster.sync_since(&mark, 2, 3).method;
    let by_apache = cluster.member(2).kind == Server::Apache;
    let expected = if by_apache || both_are_ours(&cluster, 2, 3) { Method::Trunc } else { Method::Snap };
    assert_eq!(found, expected);
    strays_are_gone(&mut cluster);
}

fn uncommitted_tail_is_cut_and_the_rest_follows(kinds: &[Server]) {
    let mut cluster = leader_dies_with_transactions_of_its_own(kinds);
    let mut client = cluster.client(2);
    client.create("/register", b"", 0).expect("creating");
    set_often(&mut client, "/register", 10, 100);
    client.close().expect("closing");
    let mark = cluster.mark();
    cluster.launch(3);
    let found = cluster.sync_since(&mark, 2, 3).method;
    // Apache finds no common point across epochs, and sends everything.
    let expected = if both_are_ours(&cluster, 2, 3) { Method::TruncDiff } else { Method::Snap };
    assert_eq!(found, expected);
    strays_are_gone(&mut cluster);
}

on_ensembles! {
    quick ten_missed_come_as_a_diff_from_memory = ten_missed_come_as_a_diff_from_memory, 3;
    quick ten_thousand_missed_come_as_a_diff_from_disk = ten_thousand_missed_come_as_a_diff_from_disk, 3;
    quick too_many_missed_come_as_a_snapshot = too_many_missed_come_as_a_snapshot, 3;
    quick observer_that_missed_ten_gets_a_diff = observer_that_missed_ten_gets_a_diff, 3;
    quick uncommitted_tail_is_cut = uncommitted_tail_is_cut, 3;
    quick uncommitted_tail_is_cut_and_the_rest_follows = uncommitted_tail_is_cut_and_the_rest_follows, 3;
}

on_mixed_ensembles! {
    // Apache leads ours.
    long diff_from_apache = ten_missed_come_as_a_diff_from_memory, [Ringkeeper Apache Apache];
    long diff_from_apaches_disk = ten_thousand_missed_come_as_a_diff_from_disk, [Ringkeeper Ringkeeper Apache];
    quick snapshot_from_apache = too_many_missed_come_as_a_snapshot, [Ringkeeper Ringkeeper Apache];
    quick cut_by_apache = uncommitted_tail_is_cut, [Ringkeeper Apache Ringkeeper];
    long strays_of_ours_under_apache = uncommitted_tail_is_cut_and_the_rest_follows, [Apache Apache Ringkeeper];
    // Ours lead Apache.
    long diff_to_apache = ten_missed_come_as_a_diff_from_memory, [Apache Ringkeeper Ringkeeper];
    quick diff_from_disk_to_apache = ten_thousand_missed_come_as_a_diff_from_disk, [Apache Apache Ringkeeper];
    long snapshot_to_apache = too_many_missed_come_as_a_snapshot, [Apache Apache Ringkeeper];
    quick snapshot_instead_of_a_cut_to_apache = uncommitted_tail_is_cut, [Apache Ringkeeper Apache];
    long strays_of_apache_under_ours = uncommitted_tail_is_cut_and_the_rest_follows, [Ringkeeper Ringkeeper Apache];
}
