//! The power goes while the log rolls, while snapshots are made, published and given up, while one is received and while
//! a log is cut: everything acknowledged is there afterwards, and nothing half done is left.
//!
//! On a file system that is shut down without flushing its journal, many times, and on a volume that forgets all that
//! was not flushed, a few times. In an ensemble any of the members lose their power, or all of them at once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringkeeper_tests::cluster::{Cluster, Plan, Sid};
use ringkeeper_tests::dir;
use ringkeeper_tests::ext4::Ext4;
use ringkeeper_tests::load::{Record, write_during};
use ringkeeper_tests::medium::Survivors;
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::script::{rng, rounds, wait_for};
use ringkeeper_tests::tool::{Tool, requires};
use ringkeeper_tests::volume::Volume;
use ringkeeper_tests::wire::{Body, op};

/// A log that rolls and snapshots that are made, published and purged all the time.
const BUSY: [&str; 5] = [
    // So that segments may be as small as this.
    "jute.maxbuffer=65536",
    "jute.maxbuffer.extrasize=0",
    "ringkeeper.logSegmentBytes=1048576",
    "snapCount=40",
    "snapSizeLimitInKb=512",
];

/// Segments that may be there when all is given up that can be: those that hold what is behind the oldest of three
/// snapshots, those that are prepared, and those that are free.
const SEGMENTS: usize = 16;

/// What a node says of each.
const MADE: &str = "a snapshot is made";

/// Where the data lies.
trait Power {
    fn dir(&self) -> PathBuf;
    fn cut(&self, rng: &mut Rng);
    fn restore(&mut self);
    /// Whether this process may look at the files: not if it is the disk.
    fn can_be_seen(&self) -> bool;
}

impl Power for Ext4 {
    fn dir(&self) -> PathBuf {
        Ext4::dir(self)
    }

    fn cut(&self, _: &mut Rng) {
        Ext4::cut(self);
    }

    fn restore(&mut self) {
        Ext4::restore(self);
    }

    fn can_be_seen(&self) -> bool {
        true
    }
}

impl Power for Volume {
    fn dir(&self) -> PathBuf {
        Volume::dir(self)
    }

    fn cut(&self, rng: &mut Rng) {
        Volume::cut(self, if rng.bool() { Survivors::None } else { Survivors::Some(rng.u64(..)) });
    }

    fn restore(&mut self) {
        Volume::restore(self);
    }

    fn can_be_seen(&self) -> bool {
        false
    }
}

/// A moment that hits every phase of what has just begun.
fn a_moment(rng: &mut Rng) {
    let longest = if rng.bool() { 5_000 } else { 80_000 };
    std::thread::sleep(Duration::from_micros(rng.u64(..longest)));
}

/// What a node says it has found damaged. That nothing can be read while there is no power is no damage.
fn damages(log: &str) -> Vec<&str> {
    let words = ["damaged at offset", "set aside as", "is damaged and"];
    log.lines().filter(|line| words.iter().any(|words| line.contains(words))).collect()
}

fn everything_acknowledged_survives(mut power: impl Power, rounds: usize) {
    let mut rng = rng();
    let mut node = Node::prepare_in(Server::Ringkeeper, &power.dir().join("data"), &BUSY);
    node.launch();
    let mut records: Vec<Record> = Vec::new();
    let made = |node: &Node| node.stderr_text().matches(MADE).count();
    for round in 0..rounds {
        let written = write_during(node.addr(), &format!("r{round}"), 2, 6, |acked| {
            wait_for("a hundred operations", || acked() >= 100);
            // Now and then right behind a snapshot, when the one before may be about to go.
            let before = made(&node);
            wait_for("a snapshot", || round % 3 == 2 || made(&node) > before);
            a_moment(&mut rng);
            power.cut(&mut rng);
            node.kill();
        });
        power.restore();
        node.launch();
        let mut client = node.client();
        for record in &written {
            record.verify(&mut client).unwrap_or_else(|e| panic!("round {round}: {e}"));
        }
        client.close().expect("closing");
        records.extend(written);
    }
    let mut client = node.client();
    for record in &records {
        record.verify(&mut client).unwrap_or_else(|e| panic!("after all rounds: {e}"));
    }
    client.close().expect("closing");
    write_during(node.addr(), "more", 1, 4, |_| {
        wait_for("snapshots to be given up", || node.stderr_text().contains("purged"));
        if power.can_be_seen() {
            dir::wait_until_tidy(node.data(), SEGMENTS);
        }
        node.kill();
    });
    println!("{} snapshots over {rounds} cuts", made(&node));
    assert_eq!(damages(&node.stderr_text()), [""; 0], "a cut damages nothing");
}

#[test]
fn a_shut_down_file_system_keeps_everything_acknowledged() {
    if requires(&[Tool::Root, Tool::Fuse, Tool::Python]) {
        everything_acknowledged_survives(Ext4::create(1024), rounds(8, 400));
    }
}

#[test]
fn a_medium_that_forgets_keeps_everything_acknowledged() {
    if requires(&[Tool::Root, Tool::Fuse]) {
        everything_acknowledged_survives(Volume::create(512), rounds(5, 60));
    }
}

/// The power of these members goes in the same instant, as far as there is one, and comes back.
fn power_cut(cluster: &mut Cluster, disks: &mut [(Sid, Ext4)], victims: &[Sid]) {
    for (_, disk) in disks.iter().filter(|(sid, _)| victims.contains(sid)) {
        disk.cut();
    }
    for sid in victims {
        cluster.kill(*sid);
    }
    for (_, disk) in disks.iter_mut().filter(|(sid, _)| victims.contains(sid)) {
        disk.restore();
    }
}

/// All members with disks of their own hold nothing that is not needed, and never found anything damaged.
fn assert_tidy(cluster: &Cluster, disks: &[(Sid, Ext4)], segments: usize) {
    for (sid, _) in disks {
        dir::wait_until_tidy(&cluster.member(*sid).data(), segments);
        let text = cluster.member(*sid).log_text();
        assert_eq!(damages(&text), [""; 0], "a cut damages nothing at member {sid}");
    }
}

fn data_on(disk: &Ext4) -> PathBuf {
    disk.dir().join("data")
}

fn with_lines(plan: Plan, lines: &[&str]) -> Plan {
    lines.iter().fold(plan, |plan, line| plan.with_line(line))
}

/// Any members at once, leader or not, under load, while the log rolls and snapshots come and go.
#[test]
fn any_members_of_an_ensemble_lose_their_power_at_once() {
    if !requires(&[Tool::Root, Tool::Fuse, Tool::Python]) {
        return;
    }
    let mut rng = rng();
    let mut disks: Vec<(Sid, Ext4)> = (1..=3).map(|sid| (sid, Ext4::create(512))).collect();
    let plan = with_lines(Plan::of(&[Server::Ringkeeper; 3]), &BUSY);
    let plan = disks.iter().fold(plan, |plan, (sid, disk)| plan.with_data(*sid, &data_on(disk)));
    let mut cluster = plan.start();
    let load = cluster.load("w", &cluster.sids(), 3, 6);
    for round in 0..rounds(4, 150) {
        load.gets_on(40);
        // All of them first: that must always be seen.
        let mut victims = cluster.sids();
        victims.retain(|_| round == 0 || rng.bool());
        let mark = cluster.mark();
        if let Some(watched) = victims.first() {
            wait_for("a snapshot", || round % 2 == 1 || cluster.logged_since(&mark, *watched).contains(MADE));
        }
        a_moment(&mut rng);
        println!("round {round}: {victims:?}");
        power_cut(&mut cluster, &mut disks, &victims);
        cluster.launch_some(&victims);
    }
    load.gets_on(40);
    assert_tidy(&cluster, &disks, SEGMENTS);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

/// While one is received, loaded and put in the place of everything: with an empty directory before, or a full one.
#[test]
fn a_member_loses_its_power_while_it_receives_a_snapshot() {
    if !requires(&[Tool::Root, Tool::Fuse, Tool::Python]) {
        return;
    }
    let mut rng = rng();
    let learner = 1;
    let mut disks = [(learner, Ext4::create(512))];
    let plan = Plan::of(&[Server::Ringkeeper; 3]).with_line("forceSnapshotSync=true");
    let plan = with_lines(plan, &["ringkeeper.logSegmentBytes=2162688", "snapSizeLimitInKb=4096"]);
    let mut cluster = plan.with_data(learner, &data_on(&disks[0].1)).start_led_by_the_last();
    let mut client = cluster.client(3);
    for n in 0..40 {
        client.create(&format!("/ballast-{n}"), &vec![b'b'; 500_000], 0).expect("creating");
    }
    client.close().expect("closing");
    let load = cluster.load("w", &[2, 3], 2, 6);
    // How long it takes here and now.
    let mut longest = Duration::from_millis(100);
    for round in 0..=rounds(5, 150) {
        power_cut(&mut cluster, &mut disks, &[learner]);
        if round % 2 == 0 {
            cluster.wipe(learner);
        }
        let mark = cluster.mark();
        cluster.spawn(learner);
        cluster.wait_until_said(&mark, learner, "receiving a snapshot");
        if round == 0 {
            let start = Instant::now();
            cluster.wait_until_said(&mark, learner, "synchronised by");
            longest += start.elapsed() * 3 / 2;
        } else {
            std::thread::sleep(longest.mul_f64(rng.f64()));
        }
    }
    power_cut(&mut cluster, &mut disks, &[learner]);
    cluster.launch(learner);
    load.gets_on(20);
    assert_tidy(&cluster, &disks, SEGMENTS);
    load.finish_unharmed(&cluster.awake_addrs());
    // What it has now is on its disk.
    power_cut(&mut cluster, &mut disks, &[learner]);
    cluster.launch(learner);
    cluster.assert_sound();
}

/// The third member leads, logs what reaches nobody, loses its power, and loses it again while that is cut off.
#[test]
fn a_member_loses_its_power_while_its_log_is_cut() {
    if !requires(&[Tool::Root, Tool::Fuse, Tool::Python]) {
        return;
    }
    let mut rng = rng();
    let old = 3;
    let mut disks = [(old, Ext4::create(512))];
    let plan = with_lines(Plan::of(&[Server::Ringkeeper; 3]).with_links(), &BUSY);
    let mut cluster = plan.with_data(old, &data_on(&disks[0].1)).start_led_by_the_last();
    let load = cluster.load("w", &cluster.sids(), 3, 6);
    for round in 0..rounds(1, 40) {
        // Of equals the larger sid leads; others may be ahead of it under load.
        while cluster.leader() != old {
            let leader = cluster.leader();
            cluster.kill(leader);
            cluster.wait_until_serving();
            cluster.launch(leader);
        }
        load.gets_on(20);
        let stray = format!("/stray-{round}");
        let strays = write_what_reaches_nobody(&cluster, old, &stray);
        power_cut(&mut cluster, &mut disks, &[old]);
        // What was on its way is lost with the connections, not late.
        cluster.cut_off(old);
        cluster.heal();
        cluster.wait_until_serving();
        for _ in 0..rounds(2, 4) {
            let mark = cluster.mark();
            cluster.spawn(old);
            wait_for("a leader to synchronise the member", || {
                let said = |sid| cluster.logged_since(&mark, sid);
                [1, 2].into_iter().any(|sid| said(sid).contains(&format!("synchronising sid={old} ")))
            });
            std::thread::sleep(Duration::from_micros(rng.u64(..40_000)));
            power_cut(&mut cluster, &mut disks, &[old]);
        }
        cluster.launch(old);
        drop(strays);
        for sid in cluster.sids() {
            let mut client = cluster.client(sid);
            client.call(op::SYNC, &Body::new().string("/")).expect("sync");
            assert_eq!(client.exists(&stray).expect("exists"), None, "member {sid} shows {stray}");
            client.close().expect("closing");
        }
    }
    load.gets_on(20);
    assert_tidy(&cluster, &disks, SEGMENTS);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

/// Has the leader log a transaction that no other member gets.
fn write_what_reaches_nobody(cluster: &Cluster, leader: Sid, path: &str) -> ringkeeper_tests::client::Client {
    let mut client = cluster.client(leader);
    for other in cluster.sids_without(&[leader]) {
        cluster.links().hold(leader, other);
    }
    let bytes = format!("nobody else has {path}");
    client.queue(op::CREATE, &Body::create(path, bytes.as_bytes(), 0));
    client.flush().expect("sending");
    wait_for("the isolated leader to log", || cluster.member(leader).has_logged(bytes.as_bytes()));
    client
}
