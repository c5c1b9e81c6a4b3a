//! What snapshots are for, over a long time: the log before them goes, space and the time of a restart stay bounded, and
//! members of an ensemble do not make theirs at the same moment, but make the same of the same state.

use std::collections::BTreeSet;
use std::fs;

use ringkeeper_tests::client::Client;
use ringkeeper_tests::cluster::{Cluster, Plan, Sid};
use ringkeeper_tests::dir::{self, Listing, zxid_of};
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::script::{rounds, wait_for};
use ringkeeper_tests::wire::{Body, op};

/// Small segments, and many of them.
const SMALL: [&str; 3] =
    ["jute.maxbuffer=32768", "jute.maxbuffer.extrasize=0", "ringkeeper.logSegmentBytes=1048576"];

fn small(kinds: &[Server]) -> Plan {
    SMALL.iter().fold(Plan::of(kinds), |plan, line| plan.with_line(line))
}

/// The value of `key=value` in a line of the log.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let found = line.split_ascii_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='))?;
    Some(found.trim_matches('"'))
}

fn zxid(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a zxid")
}

/// The transactions of which a server says that it has made a snapshot, in its order.
fn made(log: &str) -> Vec<u64> {
    let lines = log.lines().filter(|l| l.contains("a snapshot is made"));
    lines.filter_map(|l| Some(zxid_of(value(l, "file")?))).collect()
}

/// What the last start has read: the snapshot it began with, the transactions behind it, and the last of them.
fn read_back(log: &str) -> (u64, u64, u64) {
    let line =
        log.lines().rfind(|l| l.contains("the data is read back")).expect("a server says what it has read");
    let field = |key| value(line, key).unwrap_or_else(|| panic!("no {key} in {line}"));
    (zxid(field("snapshot")), field("transactions").parse().expect("a number"), zxid(field("last")))
}

/// Sets `path` this often, many requests in flight.
fn set_often(client: &mut Client, path: &str, times: usize) {
    let body = Body::new().string(path).buffer(&[b'x'; 10_000]).int(-1);
    for _ in 0..times {
        client.queue(op::SET_DATA, &body);
    }
    client.flush().expect("sending");
    for _ in 0..times {
        assert_eq!(client.recv().expect("a reply").err, 0, "setting {path}");
    }
}

/// As after hours under load: whatever was written, what is kept is three snapshots and the log behind them.
#[test]
fn space_and_restarts_stay_bounded() {
    const COUNT: usize = 100;
    const KEPT: usize = 4;
    let rounds = rounds(8, 200);
    let mut node = Node::prepare(Server::Ringkeeper, &SMALL);
    node.add_line(&format!("snapCount={COUNT}"));
    node.add_line(&format!("autopurge.snapRetainCount={KEPT}"));
    node.launch();
    let data = node.data().to_path_buf();
    let mut client = node.client();
    client.create("/register", b"", 0).expect("creating");
    let mut segments = BTreeSet::new();
    for round in 0..rounds {
        let before = made(&node.stderr_text()).len();
        // More than enough for one, and not one write more is needed for it.
        set_often(&mut client, "/register", COUNT);
        wait_for("a snapshot", || {
            client.ping().expect("pings are answered");
            made(&node.stderr_text()).len() > before
        });
        let listing = dir::wait_until(&data, "all that is needless is gone", |listing| {
            let few = listing.snapshots().len() <= KEPT && listing.segments().len() <= 10;
            few && listing.strays().is_empty()
        });
        assert!(round < KEPT || listing.snapshots().len() == KEPT, "round {round}: {listing:?}");
        segments.extend(listing.segments().into_iter().map(str::to_owned));
    }
    println!("{} segments have come and gone", segments.len());
    assert!(segments.len() >= rounds, "the log has rolled");
    let all = made(&node.stderr_text());
    for pair in all.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart >= COUNT as u64 / 2, "snapshots at {pair:#x?}");
    }

    set_often(&mut client, "/register", 7);
    client.close().expect("closing");
    assert!(node.terminate().success());
    let newest = zxid_of(Listing::of(&data).snapshots().last().expect("snapshots"));
    node.launch();
    let (snapshot, transactions, last) = read_back(&node.stderr_text());
    assert_eq!(snapshot, newest, "the start begins with the newest");
    assert_eq!(transactions, last - snapshot, "and reads only what is behind it");
    assert!(transactions >= 7, "which is there: {transactions}");
    let version = node.client().exists("/register").expect("exists").expect("it is there").version;
    assert_eq!(version as usize, rounds * COUNT + 7);
}

#[test]
fn members_make_snapshots_at_different_moments() {
    let mut cluster = small(&[Server::Ringkeeper; 3]).with_line("snapCount=100").start();
    let leader = cluster.leader();
    let mut client = cluster.client(leader);
    client.create("/register", b"", 0).expect("creating");
    let of = |cluster: &Cluster, sid: Sid| made(&cluster.member(sid).log_text());
    // Not so fast that all is over in the moment in which one looks.
    wait_for("four snapshots of each", || {
        client.set("/register", &[b'x'; 1000], -1).expect("setting");
        cluster.sids().into_iter().all(|sid| of(&cluster, sid).len() >= 4)
    });
    let moments: BTreeSet<Vec<u64>> =
        cluster.sids().into_iter().map(|sid| of(&cluster, sid)[..4].to_vec()).collect();
    assert_eq!(moments.len(), 3, "each has its own: {moments:x?}");
    for sid in cluster.sids() {
        let listing = dir::wait_until_tidy(&cluster.member(sid).data(), 12);
        assert_eq!(listing.snapshots().len(), 3, "of member {sid}");
    }
    client.close().expect("closing");
    cluster.assert_sound();
}

/// A snapshot is a function of the state. That two members make one of the same state is rare, and made so here: all
/// find after a start that one is due, and nobody writes.
#[test]
fn snapshots_of_the_same_state_are_the_same() {
    let mut cluster = small(&[Server::Ringkeeper; 3]).start();
    let load = cluster.load("w", &cluster.sids(), 3, 6);
    load.gets_on(100);
    load.finish_unharmed(&cluster.awake_addrs());
    for sid in cluster.sids() {
        cluster.terminate(sid);
        cluster.add_line(sid, "snapCount=50");
    }
    cluster.launch_some(&[1, 2, 3]);
    let bodies: Vec<(String, Vec<u8>)> = cluster
        .sids()
        .into_iter()
        .map(|sid| {
            let data = cluster.member(sid).data();
            let listing =
                dir::wait_until(&data, "there is a snapshot", |listing| !listing.snapshots().is_empty());
            let name = listing.snapshots()[0].to_owned();
            let bytes = fs::read(data.join(&name)).expect("reading a snapshot");
            // Behind the header, which names its directory.
            (name, bytes[4096..].to_vec())
        })
        .collect();
    for other in &bodies[1..] {
        assert_eq!(other.0, bodies[0].0, "nothing was written meanwhile");
        assert!(other.1 == bodies[0].1, "the bodies of {} differ", other.0);
    }
    assert!(bodies[0].1.len() > 10_000, "they hold something");
}
