//! The power goes while snapshots are made and published and old ones are given up: everything acknowledged is there
//! afterwards.
//!
//! On a file system that is shut down without flushing its journal, many times, and on a volume that forgets all that
//! was not flushed, a few times.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ringkeeper_tests::ext4::Ext4;
use ringkeeper_tests::load::{Record, write_during};
use ringkeeper_tests::medium::Survivors;
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::tool::{Tool, requires};
use ringkeeper_tests::volume::Volume;

/// A log that rolls and snapshots that are made, published and purged all the time.
const BUSY: [&str; 2] = ["ringkeeper.logSegmentBytes=2162688", "snapCount=40"];

/// Where the data lies.
trait Power {
    fn dir(&self) -> std::path::PathBuf;
    fn cut(&self, rng: &mut fastrand::Rng);
    fn restore(&mut self);
}

impl Power for Ext4 {
    fn dir(&self) -> std::path::PathBuf {
        Ext4::dir(self)
    }

    fn cut(&self, _: &mut fastrand::Rng) {
        Ext4::cut(self);
    }

    fn restore(&mut self) {
        Ext4::restore(self);
    }
}

impl Power for Volume {
    fn dir(&self) -> std::path::PathBuf {
        Volume::dir(self)
    }

    fn cut(&self, rng: &mut fastrand::Rng) {
        Volume::cut(self, if rng.bool() { Survivors::None } else { Survivors::Some(rng.u64(..)) });
    }

    fn restore(&mut self) {
        Volume::restore(self);
    }
}

/// The snapshots in a directory, by name. Seen by a process of its own: this one may be the disk.
fn snapshots(data: &Path) -> BTreeSet<String> {
    let output = Command::new("ls").arg(data).output().expect("running ls");
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    names.lines().filter(|name| name.starts_with("snapshot.")).map(str::to_owned).collect()
}

fn everything_acknowledged_survives(mut power: impl Power, rounds: usize) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut node = Node::prepare_in(Server::Ringkeeper, &power.dir().join("data"), &BUSY);
    node.launch();
    let mut records: Vec<Record> = Vec::new();
    let mut seen = BTreeSet::new();
    for round in 0..rounds {
        let written = write_during(node.addr(), &format!("r{round}"), 2, 6, |acked| {
            let start = Instant::now();
            while acked() < 100 {
                assert!(start.elapsed() < Duration::from_secs(60), "only {} operations", acked());
                std::thread::sleep(Duration::from_millis(1));
            }
            // Now and then right behind a snapshot, when the one before may be about to go.
            let before = snapshots(node.data());
            while round % 2 == 0 && snapshots(node.data()) == before {
                assert!(start.elapsed() < Duration::from_secs(60), "no snapshot is made");
            }
            std::thread::sleep(Duration::from_micros(rng.u64(..80_000)));
            power.cut(&mut rng);
            node.kill();
        });
        power.restore();
        let before = snapshots(node.data());
        node.launch();
        let mut client = node.client();
        for record in &written {
            record
                .verify(&mut client)
                .unwrap_or_else(|e| panic!("round {round}: {e}\n{}", node.output_text()));
        }
        records.extend(written);
        seen.extend(before);
    }
    let mut client = node.client();
    for record in &records {
        record.verify(&mut client).unwrap_or_else(|e| panic!("after all rounds: {e}"));
    }
    let kept = snapshots(node.data());
    println!("{} snapshots were seen over {rounds} cuts, {} are kept", seen.len(), kept.len());
    assert!(seen.len() > rounds / 3, "snapshots are made: {seen:?}");
    assert!(seen.difference(&kept).count() > 0, "and given up: {kept:?}");
}

/// A few for every change, several hundred in the long run.
fn rounds(few: usize, many: usize) -> usize {
    if std::env::var_os("RINGKEEPER_LONG").is_some_and(|v| v == "1") { many } else { few }
}

#[test]
fn a_shut_down_file_system_keeps_everything_acknowledged() {
    if requires(&[Tool::Root, Tool::Fuse, Tool::Python]) {
        everything_acknowledged_survives(Ext4::create(1024), rounds(12, 400));
    }
}

#[test]
fn a_medium_that_forgets_keeps_everything_acknowledged() {
    if requires(&[Tool::Root, Tool::Fuse]) {
        everything_acknowledged_survives(Volume::create(512), rounds(10, 60));
    }
}
