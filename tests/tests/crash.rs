//! SIGKILL under load: nothing acknowledged is lost, nothing is invented.
//!
//! This proves recovery, not durability: what was written but never flushed survives the death of a process in
//! the kernel. Durability is proved in `power.rs`.

use std::time::{Duration, Instant};

use ringkeeper_tests::client::Client;
use ringkeeper_tests::load::{Record, write_during};
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::on_both;

/// Lets the load run until `at_least` operations are acknowledged and then a random moment longer, so that the
/// kill hits every phase of a commit.
fn some_load(rng: &mut fastrand::Rng, acked: &dyn Fn() -> usize, at_least: usize) {
    let start = Instant::now();
    while acked() < at_least {
        assert!(start.elapsed() < Duration::from_secs(60), "only {} of {at_least} operations", acked());
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_micros(rng.u64(..30_000)));
}

/// With segments of little more than 2 MiB the load of a few rounds rolls through several.
const SMALL_SEGMENTS: &str = "ringkeeper.logSegmentBytes=2162688";

fn every_acknowledged_write_survives_kills(server: Server) {
    // The reference needs a second to start: it only has to show that the script is right.
    let rounds = if server == Server::Apache { 2 } else { 20 };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut node = Node::start(server, &[]);
    let mut records: Vec<Record> = Vec::new();
    for round in 0..rounds {
        let addr = node.addr();
        let written = write_during(addr, &format!("r{round}"), 6, 24, |acked| {
            some_load(&mut rng, acked, 300);
            node.kill();
        });
        node.launch();
        let mut client = node.client();
        for record in &written {
            record.verify(&mut client).unwrap_or_else(|e| panic!("round {round}: {e}"));
        }
        records.extend(written);
    }
    let mut client = node.client();
    for record in &records {
        record.verify(&mut client).unwrap_or_else(|e| panic!("after all rounds: {e}"));
    }
    let acked: usize = records.iter().map(|r| r.acked.len()).sum();
    println!("{acked} acknowledged writes over {rounds} kills");
}

/// Recovery itself may be killed, at any moment and often, and then must still find the same.
fn recovery_survives_kills(server: Server) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut node = Node::start(server, &[SMALL_SEGMENTS]);
    let written = write_during(node.addr(), "w", 6, 24, |acked| {
        some_load(&mut rng, acked, 6000);
        node.kill();
    });
    let kills = if server == Server::Apache { 2 } else { 20 };
    for _ in 0..kills {
        node.spawn(server.command(&node.config()));
        std::thread::sleep(Duration::from_micros(rng.u64(..60_000)));
        node.kill();
    }
    node.launch();
    let mut client = node.client();
    for record in &written {
        record.verify(&mut client).unwrap_or_else(|e| panic!("{e}"));
    }
}

fn segments_roll_under_load_and_kills(server: Server) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut node = Node::start(server, &[SMALL_SEGMENTS]);
    let mut records: Vec<Record> = Vec::new();
    for round in 0..3 {
        records.extend(write_during(node.addr(), &format!("r{round}"), 8, 64, |acked| {
            some_load(&mut rng, acked, 12_000);
            node.kill();
        }));
        node.launch();
    }
    let mut client = node.client();
    for record in &records {
        record.verify(&mut client).unwrap_or_else(|e| panic!("{e}"));
    }
    if server != Server::Apache {
        let files = std::fs::read_dir(node.data()).expect("reading the data directory");
        let segments =
            files.flatten().filter(|f| f.file_name().to_string_lossy().starts_with("log.")).count();
        assert!(segments > 4, "{segments} segments: the load was too small to roll");
    }
}

fn session_and_ephemeral_survive_a_kill(server: Server) {
    let mut node = Node::start(server, &[]);
    let mut client = node.client();
    client.create("/mine", b"x", 1).expect("creating an ephemeral");
    let session = client.session;
    node.kill();
    node.launch();
    let mut resumed = Client::resume(node.addr(), session).expect("resuming");
    assert_eq!(
        (resumed.session.id, resumed.session.passwd),
        (session.id, session.passwd),
        "the session goes on"
    );
    let stat = resumed.exists("/mine").expect("exists").expect("the ephemeral is still there");
    assert_eq!(stat.ephemeral_owner, session.id);
    resumed.close().expect("closing");
    assert_eq!(node.client().exists("/mine").expect("exists"), None, "the ephemeral goes with its session");
}

on_both! {
    every_acknowledged_write_survives_kills [];
    recovery_survives_kills [];
    segments_roll_under_load_and_kills [];
    session_and_ephemeral_survive_a_kill [];
}
