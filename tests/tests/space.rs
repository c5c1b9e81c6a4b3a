//! A full disk: writes are refused, reads go on, and all comes back by itself with the space.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use ringkeeper_tests::client::{Client, Failure};
use ringkeeper_tests::node::{Node, Server};
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
