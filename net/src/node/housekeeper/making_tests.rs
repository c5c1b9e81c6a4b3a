//! Snapshots made in a real directory, from a log that a ring has written.

use std::fs;
use std::path::Path;

use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_engine::io::{BLOCK, UringDisk, Volume};
use ringkeeper_engine::log::{Log, LogOptions};
use ringkeeper_engine::snapshot::steps::MAKING;
use ringkeeper_engine::txn::{Acl, AclList, Txn, TxnHeader, encode_into, kind};

use super::super::tests::{directory, names, report, volume};
use super::super::{Housekeeper, Report};
use super::*;
use crate::member::work::Work;

/// A log with so many nodes of 1000 bytes, durable.
fn log(volume: &dyn Volume, nodes: u32) -> Log {
    let (mut log, _) = Log::open(volume, LogOptions::new(1), &mut |_, _| Ok(())).expect("an empty directory");
    log.prepare_all(volume).expect("there is room");
    let mut disk = UringDisk::new().expect("a ring");
    let mut encoded = Vec::new();
    let acl = AclList::encode(&[Acl::world(Acl::ALL)], &mut encoded);
    for number in 1..=nodes {
        let zxid = Zxid::new(Epoch(1), number);
        let (client_id, kind) = (SessionId(7), kind::CREATE);
        let header = TxnHeader { client_id, cxid: 1, zxid, time: 1_750_000_000_000, kind };
        let (path, data) = (format!("/node-{number:08}"), vec![number as u8; 1000]);
        let (parent_cversion, data) = (number as i32, Some(&data[..]));
        let txn = Txn::Create { path: &path, data, acl, ephemeral: false, parent_cversion };
        log.append(zxid, |out| encode_into(&header, &txn, None, out)).expect("it fits");
    }
    let mut done = Vec::new();
    while !log.is_idle() {
        log.seal(&mut disk).expect("sealed");
        disk.wait(&mut done).expect("the ring works");
        for write in done.drain(..) {
            log.on_done(write).expect("written");
        }
    }
    log
}

fn request(log: &Log) -> SnapshotRequest {
    log.snapshot_request(log.durable().get(), 3).expect("there is something new")
}

fn keeper(volume: &Arc<FsVolume>) -> Housekeeper {
    Housekeeper::start(volume.clone(), || ()).expect("glommio starts here")
}

fn made(keeper: &Housekeeper) -> Result<Published, MakeError> {
    loop {
        match report(keeper) {
            Report::Work(WorkDone::SnapshotMade(result)) => return result,
            Report::Work(WorkDone::Progress { what: Doing::Making, done, of }) => assert!(done <= of),
            other => panic!("{other:?}"),
        }
    }
}

fn snapshots(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| name.starts_with("snapshot.") || name == MAKING).collect()
}

#[test]
fn a_snapshot_made_beside_the_log_is_byte_for_byte_the_one_that_blocking_steps_make() {
    let dir = directory();
    let volume = volume(dir.path());
    let log = log(&*volume, 5000);
    let blocking = request(&log).perform(&*volume).expect("the disk works");
    let path = dir.path().join(blocking.file());
    let expected = fs::read(&path).expect("readable");
    assert!(expected.len() > 5 << 20, "several pieces");
    let mut keeper = keeper(&volume);
    for hurry in [true, false] {
        fs::remove_file(&path).expect("removed");
        keeper.take(Work::MakeSnapshot { request: request(&log), hurry });
        assert_eq!(made(&keeper).expect("the disk works"), blocking);
        assert!(fs::read(&path).expect("readable") == expected, "hurry: {hurry}");
        assert_eq!(snapshots(dir.path()), [blocking.file()]);
    }
    let link = Link(5);
    keeper.take(Work::MakeImage { link, request: request(&log) });
    let Report::Work(WorkDone::ImageMade { link: Link(5), result }) = report(&keeper) else {
        panic!("an image was wanted")
    };
    let image: Vec<u8> = result.expect("readable").iter().flat_map(|piece| piece.iter().copied()).collect();
    assert_eq!(image.len() as u64, blocking.body_len());
    assert!(image == expected[BLOCK..][..image.len()]);
}

#[test]
fn a_snapshot_that_cannot_be_made_says_why_and_leaves_no_half_of_it() {
    let dir = directory();
    let volume = volume(dir.path());
    let log = log(&*volume, 100);
    let mut keeper = keeper(&volume);
    // In the way of publishing it.
    let name = request(&log).perform(&*volume).expect("the disk works").file();
    keeper.take(Work::MakeSnapshot { request: request(&log), hurry: true });
    let text = made(&keeper).expect_err("the name is taken").to_string();
    assert!(text.contains("publishing") && text.contains(&name), "{text}");
    assert_eq!(snapshots(dir.path()), [&name[..]]);
    // In the way of reading.
    fs::remove_file(dir.path().join(&name)).expect("removed");
    let segment = names(dir.path()).into_iter().find(|name| name.starts_with("log.")).expect("a log");
    fs::rename(dir.path().join(&segment), dir.path().join("elsewhere")).expect("renamed");
    keeper.take(Work::MakeSnapshot { request: request(&log), hurry: false });
    let text = made(&keeper).expect_err("there is no log").to_string();
    assert!(text.contains(&segment), "{text}");
    assert_eq!(snapshots(dir.path()), Vec::<String>::new());
}

#[test]
fn the_end_of_the_node_ends_what_is_being_made() {
    let dir = directory();
    let volume = volume(dir.path());
    let log = log(&*volume, 5000);
    let mut keeper = keeper(&volume);
    keeper.take(Work::MakeSnapshot { request: request(&log), hurry: false });
    drop(keeper);
    assert!(!snapshots(dir.path()).iter().any(|name| name == MAKING), "no thread is at it any more");
    // Nobody but the test has the directory.
    Arc::try_unwrap(volume).expect("all threads have ended");
}
