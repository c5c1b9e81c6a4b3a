//! Damage to snapshots and to the log around them, everywhere in turn: a lone node serves the complete state or refuses,
//! and says which file is damaged where; a member of an ensemble repairs itself from the others. Also while they run.
//!
//! A part of the places for every change, drawn by a seed that is printed; all of them in the long run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;
use ringkeeper_tests::client::Client;
use ringkeeper_tests::cluster::tree::{self, Tree};
use ringkeeper_tests::cluster::{Cluster, Plan};
use ringkeeper_tests::dir::{self, Listing, zxid_of};
use ringkeeper_tests::load::write_during;
use ringkeeper_tests::node::{DEADLINE, Node, Server};
use ringkeeper_tests::regions::{self, Damage, Part, Region};
use ringkeeper_tests::script::{is_long, rng, rounds, wait_for};

/// Small segments, so that the log behind three snapshots has several.
const SMALL: [&str; 3] =
    ["jute.maxbuffer=32768", "jute.maxbuffer.extrasize=0", "ringkeeper.logSegmentBytes=1048576"];

/// Snapshots all the time.
const FREQUENT: [&str; 2] = ["snapCount=60", "snapSizeLimitInKb=512"];

const MADE: &str = "a snapshot is made";

/// Writes one after the other, each in a batch of its own.
fn write(client: &mut Client, label: &str, count: usize) {
    for n in 0..count {
        let data = vec![n as u8; 100 + n * 7];
        client.create(&format!("/{label}-{n}"), &data, 0).expect("creating");
    }
}

/// A lone node that was stopped in order: three snapshots, log before, between and behind them.
struct Sound {
    node: Node,
    /// Its directory as it was then.
    copy: PathBuf,
    regions: Vec<Region>,
    tree: Tree,
    /// Of the newest snapshot.
    newest: u64,
}

impl Sound {
    fn prepare() -> Sound {
        let mut node = Node::prepare(Server::Ringkeeper, &SMALL);
        FREQUENT.iter().for_each(|line| node.add_line(line));
        node.launch();
        write_during(node.addr(), "w", 2, 4, |_| {
            wait_for("snapshots", || {
                node.stderr_text().matches(MADE).count() >= 4 && node.stderr_text().contains("purged")
            });
            assert!(node.terminate().success());
        });
        // From now on the log grows and no snapshot is made of it.
        node.add_line("snapCount=1000000");
        node.add_line("snapSizeLimitInKb=-1");
        node.launch();
        let mut client = node.client();
        write(&mut client, "behind", 40);
        let tree = tree::read(&mut client).expect("reading the tree");
        client.close().expect("closing");
        assert!(node.terminate().success());
        let copy = node.data().with_file_name("sound");
        copy_dir(node.data(), &copy);
        let regions = regions::map(&copy);
        let newest = regions.iter().filter(|r| r.part == Part::Body).map(|r| r.zxid).max();
        let newest = newest.expect("there are snapshots");
        let behind = |r: &&Region| r.part == Part::Records && r.zxid > newest;
        assert!(regions.iter().filter(behind).count() >= 40, "there is log behind the snapshots");
        assert!(Listing::of(&copy).snapshots().len() >= 3, "there are several snapshots");
        Sound { node, copy, regions, tree, newest }
    }

    /// Damages the directory there, starts the node on it, and judges.
    fn judge(&mut self, region: &Region, damage: Damage, rng: &mut Rng) {
        let data = self.node.data().to_path_buf();
        copy_dir(&self.copy, &data);
        region.damage(&data, damage, rng);
        let damaged = regions::damaged(&self.regions, &region.file, &self.copy, &data);
        let what = format!("{damage:?} of {:?} in {} at {:#x}", region.part, region.file, region.at);
        let said_before = self.node.stderr_text().len();
        self.node.spawn(Server::Ringkeeper.command(&self.node.config()));
        let served = self.node.wait_until_serving_or_gone();
        let said = self.node.stderr_text().split_off(said_before);
        assert!(!said.contains("panicked"), "{what}: a panic\n{said}");
        match served {
            Ok(()) => {
                let mut client = self.node.client();
                let found = tree::read(&mut client).expect("reading the tree");
                let difference = tree::difference(&self.tree, &found);
                assert_eq!(difference, None, "{what}: a hole in what is served\n{said}");
                drop(client);
                self.node.kill();
                let needed: Vec<_> = damaged.iter().filter(|r| self.is_needed(r)).collect();
                assert!(needed.is_empty(), "{what}: served without {needed:?}\n{said}");
                for region in damaged.iter().filter(|r| self.is_of_newest(r)) {
                    let is_named = said
                        .lines()
                        .any(|line| line.contains(&region.file) && line.contains("is damaged at offset"));
                    let is_gone = damage == Damage::Remove;
                    assert!(is_named || is_gone, "{what}: not named\n{said}");
                }
            }
            Err(status) => {
                assert!(status.code().is_some_and(|code| code != 0), "{what}: {status}\n{said}");
                let is_log = |r: &&Region| {
                    matches!(r.part, Part::SegmentHeader | Part::BatchHeader | Part::Records | Part::Slot)
                };
                assert!(damaged.iter().any(is_log), "{what}: refused without need\n{said}");
                // Of a file of which nothing is left it is said behind which one it is missing.
                let is_gone =
                    damage == Damage::Remove || damage == Damage::Cut && region.part == Part::SegmentHeader;
                let is_named = said.contains(&region.file) || is_gone;
                assert!(is_named, "{what}: the file is not named\n{said}");
                assert!(said.contains("offset") && said.contains("0x"), "{what}: not where\n{said}");
            }
        }
    }

    /// Whether there is no state without it: what is behind the newest snapshot is nowhere else.
    fn is_needed(&self, region: &Region) -> bool {
        matches!(region.part, Part::SegmentHeader | Part::BatchHeader | Part::Records)
            && region.zxid > self.newest
    }

    fn is_of_newest(&self, region: &Region) -> bool {
        matches!(region.part, Part::SnapshotHeader | Part::Body | Part::Trailer) && region.zxid == self.newest
    }
}

/// Makes `to` a copy of `from`, whatever was there.
fn copy_dir(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).expect("creating a directory");
    for entry in fs::read_dir(from).expect("listing a directory").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copying a file");
    }
}

/// All of them in the long run, else so many of each part, drawn anew each time.
fn cases(regions: &[Region], of_each: usize, rng: &mut Rng) -> Vec<(Region, Damage)> {
    let all = || regions.iter().flat_map(|r| Damage::ALL.map(|damage| (r.clone(), damage)));
    if is_long() {
        return all().collect();
    }
    let mut cases = Vec::new();
    for part in [
        Part::SegmentHeader,
        Part::BatchHeader,
        Part::Records,
        Part::Unused,
        Part::SnapshotHeader,
        Part::Body,
        Part::Trailer,
        Part::Slot,
    ] {
        let mut of_part: Vec<_> = all().filter(|(r, _)| r.part == part).collect();
        rng.shuffle(&mut of_part);
        cases.extend(of_part.into_iter().take(of_each));
    }
    cases
}

#[test]
fn a_lone_node_serves_all_or_says_what_is_missing() {
    let mut rng = rng();
    let mut sound = Sound::prepare();
    for (region, damage) in cases(&sound.regions, 3, &mut rng) {
        sound.judge(&region, damage, &mut rng);
    }
    // And the newest snapshot and the log behind it, whatever was drawn.
    let of = |part, newest| {
        let is_it = move |r: &&Region| r.part == part && r.zxid >= newest;
        sound.regions.iter().filter(is_it).min_by_key(|r| r.zxid).cloned().expect("there is one")
    };
    let fixed = [of(Part::Body, sound.newest), of(Part::Records, sound.newest + 1)];
    for region in fixed {
        sound.judge(&region, Damage::Flip, &mut rng);
    }
}

fn busy_ensemble() -> Cluster {
    let lines = SMALL.iter().chain(&FREQUENT);
    lines.fold(Plan::of(&[Server::Ringkeeper; 3]), |plan, line| plan.with_line(line)).start_led_by_the_last()
}

/// A follower is stopped, its directory damaged as drawn, and started again: nobody lends a hand.
#[test]
fn a_member_repairs_itself_from_the_others() {
    let mut rng = rng();
    let mut cluster = busy_ensemble();
    let load = cluster.load("w", &cluster.sids(), 2, 2);
    let follower = 1;
    let data = cluster.member(follower).data();
    for round in 0..rounds(5, 300) {
        load.gets_on(20);
        dir::wait_until(&data, "there are snapshots", |listing| listing.snapshots().len() >= 2);
        cluster.terminate(follower);
        let regions = regions::map(&data);
        let newest = dir::newest_snapshot(&data).expect("a snapshot");
        let newest = zxid_of(&newest.file_name().expect("a name").to_string_lossy());
        let damages: Vec<(Region, Damage)> = match round {
            // Nothing is left to begin with.
            0 => regions.iter().filter(|r| r.part == Part::Body).map(|r| (r.clone(), Damage::Flip)).collect(),
            // Behind the newest snapshot, where nothing stands in for it.
            1 => {
                let needed = regions
                    .iter()
                    .filter(|r| r.part == Part::Records && r.zxid > newest)
                    .min_by_key(|r| r.zxid);
                needed.map(|r| (r.clone(), Damage::Zero)).into_iter().collect()
            }
            _ => {
                let mut drawn = cases(&regions, 1, &mut rng);
                rng.shuffle(&mut drawn);
                drawn.truncate(1);
                drawn
            }
        };
        println!("{round}: {damages:?}");
        for (region, damage) in &damages {
            region.damage(&data, *damage, &mut rng);
        }
        let mark = cluster.mark();
        cluster.launch(follower);
        load.gets_on(20);
        let said = cluster.logged_since(&mark, follower);
        assert!(round > 0 || said.contains("damaged at offset"), "{damages:?}\n{said}");
        load.while_silent(|| cluster.assert_sound());
    }
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

/// Changes a bit of a part of a snapshot, under a running server.
fn flip(snapshot: &Path, part: Part, rng: &mut Rng) {
    let dir = snapshot.parent().expect("a file has a directory");
    let name = name_of(snapshot);
    let region = regions::map(dir)
        .into_iter()
        .find(|r| r.file == name && r.part == part)
        .expect("a snapshot has all parts");
    println!("flipping a bit of {region:?}");
    region.damage(dir, Damage::Flip, rng);
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

/// The snapshot that the next one is made of is damaged: the next is made of an older one and more of the log.
#[test]
fn a_snapshot_that_is_damaged_meanwhile_does_not_get_into_the_next() {
    let mut node = Node::prepare(Server::Ringkeeper, &SMALL);
    FREQUENT.iter().for_each(|line| node.add_line(line));
    node.launch();
    let data = node.data().to_path_buf();
    let mut client = node.client();
    let mut label = 0;
    let mut until = |what: &str, met: &mut dyn FnMut(&Listing) -> bool| {
        let start = Instant::now();
        while !met(&Listing::of(&data)) {
            assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
            write(&mut client, &format!("w{label}"), 5);
            label += 1;
        }
    };
    until("there are two snapshots", &mut |listing| listing.snapshots().len() >= 2);
    let damaged = dir::newest_snapshot(&data).expect("a snapshot");
    flip(&damaged, Part::Body, &mut rng());
    let name = name_of(&damaged);
    until("another one is made", &mut |listing| {
        listing.snapshots().iter().any(|other| zxid_of(other) > zxid_of(&name))
    });
    assert!(Listing::of(&data).0.contains_key(&format!("damaged-{name}")), "it is set aside");
    let said = node.stderr_text();
    let is_named = |l: &&str| l.contains(&name) && l.contains("offset") && l.contains("no snapshot");
    assert!(said.lines().any(|l| is_named(&l)), "{name} is not named\n{said}");
    // What is made now is sound: the node starts with it and shows everything.
    let before = tree::read(&mut client).expect("reading the tree");
    client.close().expect("closing");
    assert!(node.terminate().success());
    node.launch();
    assert_eq!(tree::difference(&before, &tree::read(&mut node.client()).expect("reading")), None);
    let said = node.stderr_text().split_off(said.len());
    assert!(!said.contains("is damaged"), "{said}");
}

/// What a leader is about to send is damaged: it notices before anything of it leaves, and the learner gets another.
fn a_damaged_snapshot_is_not_sent(part: Part) {
    let mut rng = rng();
    let plan = SMALL.iter().fold(Plan::of(&[Server::Ringkeeper; 3]), |plan, line| plan.with_line(line));
    // By bytes alone: none is made while nobody writes.
    let plan = plan.with_line("snapCount=1000000").with_line("snapSizeLimitInKb=512");
    let mut cluster = plan.start_led_by_the_last();
    let (leader, learner) = (3, 1);
    let load = cluster.load("w", &cluster.sids(), 3, 4);
    let data = cluster.member(leader).data();
    dir::wait_until(&data, "there are two snapshots", |listing| listing.snapshots().len() >= 2);
    let mark = cluster.mark();
    let name = load.while_silent(|| {
        let mut calm = 0;
        wait_for("the last snapshot to be made", || {
            let is_made = cluster.member(leader).metric("zk_snapshot_making") == Some(0.0);
            calm = if is_made { calm + 1 } else { 0 };
            calm == 20
        });
        let newest = dir::newest_snapshot(&data).expect("a snapshot");
        flip(&newest, part, &mut rng);
        cluster.kill(learner);
        cluster.wipe(learner);
        cluster.launch(learner);
        name_of(&newest)
    });
    let told = cluster.logged_since(&mark, leader);
    let is_named = |l: &&str| l.contains(&name) && l.contains("offset");
    assert!(told.lines().any(|l| is_named(&l)), "{name} is not named\n{told}");
    assert!(Listing::of(&data).0.contains_key(&format!("damaged-{name}")), "it is set aside\n{told}");
    let heard = cluster.logged_since(&mark, learner);
    assert!(
        !heard.contains("no good") && !heard.contains("cannot be stored"),
        "something of it came\n{heard}"
    );
    load.gets_on(20);
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}

#[test]
fn a_snapshot_with_a_damaged_header_is_not_sent() {
    a_damaged_snapshot_is_not_sent(Part::SnapshotHeader);
}

#[test]
fn a_snapshot_with_a_damaged_body_is_not_sent() {
    a_damaged_snapshot_is_not_sent(Part::Body);
}

#[test]
fn a_snapshot_with_damaged_checksums_is_not_sent() {
    a_damaged_snapshot_is_not_sent(Part::Trailer);
}
