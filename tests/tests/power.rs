//! Power cuts: an acknowledged write is on the medium, not in a cache.
//!
//! The node runs on a volume that forgets everything not flushed. The same script with `forceSync=no` must lose
//! acknowledged writes: that is the proof that it can see a loss at all.

use std::fs::OpenOptions;
use std::io::IoSlice;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use ringkeeper_tests::load::write_during;
use ringkeeper_tests::medium::Survivors;
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::on_both;
use ringkeeper_tests::tool::{Tool, requires};
use ringkeeper_tests::volume::Volume;
use rustix::io::ReadWriteFlags;

const BLOCK: usize = 4096;
const O_DIRECT: i32 = rustix::fs::OFlags::DIRECT.bits().cast_signed();

/// Cuts the power `rounds` times under load. Returns what was found wrong after each return of the power.
fn losses_over_power_cuts(server: Server, rounds: usize, extra: &[&str], partial: bool) -> Vec<String> {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut volume = Volume::create(512);
    let mut node = Node::prepare_in(server, &volume.dir().join("data"), extra);
    node.launch();
    let mut losses = Vec::new();
    for round in 0..rounds {
        let (_, flushes_before) = volume.traffic();
        let written = write_during(node.addr(), &format!("r{round}"), 4, 16, |acked| {
            let start = Instant::now();
            while acked() < 200 {
                assert!(start.elapsed() < Duration::from_secs(60), "only {} operations", acked());
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(rng.u64(..20_000)));
            volume.cut(if partial { Survivors::Some(rng.u64(..)) } else { Survivors::None });
            node.kill();
        });
        let (_, flushes) = volume.traffic();
        let acked: usize = written.iter().map(|r| r.acked.len()).sum();
        println!("round {round}: {acked} acknowledged, {} flushes", flushes - flushes_before);
        volume.restore();
        node.launch();
        let mut client = node.client();
        losses.extend(written.iter().filter_map(|r| r.verify(&mut client).err()));
    }
    losses
}

/// Writes one block of an already written file with O_DIRECT, cuts the power, and says whether it is still there.
fn direct_write_survives(flags: ReadWriteFlags) -> bool {
    let mut volume = Volume::create(64);
    let path = volume.dir().join("file");
    let file = OpenOptions::new().create_new(true).write(true).custom_flags(O_DIRECT).open(&path).unwrap();
    let space = vec![0; 3 * BLOCK];
    let start = space.as_ptr().align_offset(BLOCK);
    file.write_all_at(&space[start..start + BLOCK], 0).unwrap();
    file.sync_all().unwrap();
    std::fs::File::open(volume.dir()).unwrap().sync_all().unwrap();

    let space = vec![7; 3 * BLOCK];
    let start = space.as_ptr().align_offset(BLOCK);
    let written = rustix::io::pwritev2(&file, &[IoSlice::new(&space[start..start + BLOCK])], 0, flags);
    assert_eq!(written, Ok(BLOCK));
    volume.cut(Survivors::None);
    drop(file);
    volume.restore();
    let found = std::fs::read(&path).unwrap();
    assert!(found == [7; BLOCK] || found == [0; BLOCK], "a block is whole, new or old");
    found[0] == 7
}

#[test]
fn volume_keeps_dsync_writes_and_forgets_the_others() {
    if requires(&[Tool::Root, Tool::Fuse]) {
        assert!(direct_write_survives(ReadWriteFlags::DSYNC));
        assert!(!direct_write_survives(ReadWriteFlags::empty()));
    }
}

fn acknowledged_writes_survive_a_power_cut(server: Server) {
    assert_eq!(losses_over_power_cuts(server, rounds(server), &[], false), [""; 0]);
}

fn acknowledged_writes_survive_a_cut_that_keeps_some_unflushed_blocks(server: Server) {
    assert_eq!(losses_over_power_cuts(server, rounds(server), &[], true), [""; 0]);
}

fn without_sync_a_power_cut_loses_acknowledged_writes(server: Server) {
    let losses = losses_over_power_cuts(server, 1, &["forceSync=no"], false);
    assert!(losses.iter().any(|l| l.contains("lost")), "the volume or the check does not work: {losses:?}");
}

/// The reference takes a second to start: it only has to show that the script is right.
fn rounds(server: Server) -> usize {
    if server == Server::Apache { 1 } else { 4 }
}

on_both! {
    acknowledged_writes_survive_a_power_cut [Root Fuse];
    acknowledged_writes_survive_a_cut_that_keeps_some_unflushed_blocks [Root Fuse];
    without_sync_a_power_cut_loses_acknowledged_writes [Root Fuse];
}
