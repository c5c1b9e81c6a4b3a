//! A full disk: writes are refused, reads go on, and all comes back by itself with the space. So do snapshots: made ones, and
//! those that a leader sends.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use ringkeeper_tests::client::{Client, Failure};
use ringkeeper_tests::cluster::Plan;
use ringkeeper_tests::dir;
use ringkeeper_tests::ext4::Ext4;
use ringkeeper_tests::node::{DEADLINE, Node, Server};
use ringkeeper_tests::script::wait_for;
use ringkeeper_tests::tool::{Tool, requires};
use ringkeeper_tests::volume::Volume;

/// SYSTEMERROR: what a write gets for which there is no space.
const REFUSED: i32 = -1;

/// Fills the file system to the last block.
fn fill(path: &Path) {
    let mut ballast = File::create(path).expect("creating the ballast");
    for chunk in [1 << 20, 4096, 1] {
        let bytes = vec![0x55; chunk];
        while ballast.write_all(&bytes).is_ok() {}
    }
    let _ = ballast.sync_all();
}

/// Writes until one is refused; returns how many were acknowledged.
fn write_until_refused(client: &mut Client, data: &[u8]) -> usize {
    for count in 0.. {
        assert!(count < 10_000, "writes go on although the disk is full");
        match client.create(&format!("/full/{count}"), data, 0) {
            Ok(_) => {}
            Err(Failure::Code(REFUSED)) => return count,
            Err(other) => panic!("write {count}: {other}"),
        }
    }
    unreachable!("the loop ends by itself")
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself() {
    if !requires(&[Tool::Root, Tool::Fuse]) {
        return;
    }
    let volume = Volume::create(64);
    let ballast = volume.dir().join("ballast");
    let mut node = Node::prepare_in(
        Server::Ringkeeper,
        &volume.dir().join("data"),
        &["ringkeeper.logSegmentBytes=4194304"],
    );
    node.launch();
    let mut client = node.client();
    client.create("/full", b"", 0).expect("there is space");
    fill(&ballast);
    let data = vec![7; 20_000];
    let acknowledged = write_until_refused(&mut client, &data);
    assert!(acknowledged > 0, "prepared segments take some writes on a full disk");

    // Reads, pings and other clients go on, and so do sessions while the reserve lasts.
    let last = format!("/full/{}", acknowledged - 1);
    assert_eq!(client.get(&last).expect("reads go on").0, data);
    client.ping().expect("pings go on");
    let mut other = node.client();
    assert_eq!(other.children("/full").expect("reads go on").len(), acknowledged);
    assert!(matches!(other.set("/full", b"no", -1), Err(Failure::Code(REFUSED))));
    other.close().expect("the reserve serves sessions");

    fs::remove_file(&ballast).expect("removing the ballast");
    let start = Instant::now();
    while let Err(error) = client.set("/full", b"again", -1) {
        assert!(matches!(error, Failure::Code(REFUSED)), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30), "writes do not come back with the space");
        std::thread::sleep(Duration::from_millis(50));
    }
    node.kill();
    node.launch();
    let mut client = node.client();
    assert_eq!(client.get("/full").expect("it is there").0, b"again");
    assert_eq!(client.children("/full").expect("they are there").len(), acknowledged);
}

/// The lines that tell of a snapshot that came to nothing for want of space.
fn complaints(log: &str) -> Vec<&str> {
    log.lines().filter(|l| l.contains("no snapshot") && l.contains("No space left")).collect()
}

/// Fewer than the log's segments, so that all of the first is free when the disk fills.
const BALLAST: usize = 16;

#[test]
fn a_disk_too_full_for_a_snapshot_stops_nothing_else() {
    if !requires(&[Tool::Root, Tool::Fuse, Tool::Python]) {
        return;
    }
    let volume = Ext4::create(96);
    let lines = ["ringkeeper.logSegmentBytes=4194304", "snapCount=100"];
    let mut node = Node::prepare_in(Server::Ringkeeper, &volume.dir().join("data"), &lines);
    node.launch();
    let data = node.data().to_path_buf();
    let mut client = node.client();
    for n in 0..BALLAST {
        client.create(&format!("/ballast-{n}"), &[7; 500_000], 0).expect("creating");
    }
    // Not for eight megabytes.
    let ballast = volume.fill_but(3 << 20);
    for n in 0..100 {
        client.create(&format!("/one-{n}"), b"", 0).expect("the log has room");
    }
    wait_for("a snapshot to fail", || !complaints(&node.stderr_text()).is_empty());
    // Half of it is not left, and everything else goes on, for others as well.
    let listing = dir::wait_until(&data, "nothing half made is left", |listing| listing.strays().is_empty());
    assert!(listing.snapshots().is_empty());
    let mut other = node.client();
    for n in 0..50 {
        client.create(&format!("/two-{n}"), b"", 0).expect("writes go on");
        assert_eq!(other.get("/ballast-0").expect("reads go on").0.len(), 500_000);
    }
    drop(ballast);
    let start = Instant::now();
    while dir::newest_snapshot(&data).is_none() {
        assert!(start.elapsed() < DEADLINE, "no snapshot comes back with the space\n{}", node.stderr_text());
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = node.stderr_text();
    assert!(complaints(&said).len() < 5, "complained too often\n{said}");
    node.kill();
    node.launch();
    let mut client = node.client();
    assert_eq!(client.get("/ballast-9").expect("it is there").0.len(), 500_000);
    assert_eq!(client.children("/").expect("they are there").len(), BALLAST + 150 + 1);
}

#[test]
fn a_learner_without_space_for_a_snapshot_waits_for_it_alone() {
    if !requires(&[Tool::Root, Tool::Fuse, Tool::Python]) {
        return;
    }
    let (leader, learner) = (3, 1);
    let volume = Ext4::create(96);
    let data = volume.dir().join("data");
    let plan = Plan::of(&[Server::Ringkeeper; 3]).with_line("ringkeeper.logSegmentBytes=2162688");
    let mut cluster = plan.with_data(learner, &data).start_led_by_the_last();
    let mut client = cluster.client(leader);
    for n in 0..30 {
        client.create(&format!("/ballast-{n}"), &[7; 500_000], 0).expect("creating");
    }
    client.close().expect("closing");
    cluster.kill(learner);
    cluster.wipe(learner);
    // For the log, and not for fifteen megabytes.
    let ballast = volume.fill_but(10 << 20);
    let load = cluster.load("w", &[2, leader], 2, 4);
    let mark = cluster.mark();
    cluster.spawn(learner);
    for tries in 1..=3 {
        wait_for("the learner to try it", || {
            let said = cluster.logged_since(&mark, learner);
            said.lines().filter(|l| l.contains("cannot be stored") && l.contains("No space left")).count()
                >= tries
        });
        load.gets_on(20);
    }
    assert_eq!(cluster.wait_for_leader_among(&[2, leader]), leader, "the others go on as before");
    dir::wait_until(&data, "half a snapshot is removed", |listing| listing.strays().is_empty());
    drop(ballast);
    cluster.wait_for(&[learner], "the learner serves", |s| s[0].is_some());
    load.gets_on(20);
    dir::wait_until(&data, "half a snapshot is removed", |listing| listing.strays().is_empty());
    assert_eq!(cluster.leader(), leader);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}
