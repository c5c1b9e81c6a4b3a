//! Damage to what was acknowledged: a lone node must not serve without it, and must say what is damaged and where. A
//! member of an ensemble says it too, and fetches everything from the others.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ringkeeper_tests::cluster::Plan;
use ringkeeper_tests::cluster::sync::Method;
use ringkeeper_tests::load::{Record, write_during};
use ringkeeper_tests::node::{Node, Server};

/// A node that was stopped in order after some acknowledged writes, the writes, and its log files by name.
fn stopped() -> (Node, Vec<Record>, Vec<PathBuf>) {
    let mut node = Node::start(Server::Ringkeeper, &["ringkeeper.logSegmentBytes=4194304"]);
    let addr = node.addr();
    let written = write_during(addr, "w", 2, 8, |acked| {
        while acked() < 400 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(node.terminate().success());
    });
    let files = fs::read_dir(node.data()).expect("reading the data directory").flatten();
    let is_segment =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("log."));
    let mut segments: Vec<PathBuf> = files.map(|entry| entry.path()).filter(is_segment).collect();
    segments.sort();
    (node, written, segments)
}

/// Starts the node, which must refuse, naming the file; returns its words.
fn refusal(node: &mut Node, file: &std::path::Path) -> String {
    node.spawn(Server::Ringkeeper.command(&node.config()));
    let status = node.wait_for_exit();
    let text = node.stderr_text();
    assert!(status.code().is_some_and(|code| code != 0), "{status}:\n{text}");
    assert!(!text.contains("panicked"), "a refusal is not a panic:\n{text}");
    let name = file.file_name().expect("a file has a name").to_string_lossy();
    assert!(text.contains(&*name), "{name} is not named:\n{text}");
    text
}

/// The offset of the data of an acknowledged write: its bytes are in the log as they are.
fn offset_of_acknowledged_data(segment: &std::path::Path, record: &Record) -> u64 {
    let bytes = fs::read(segment).expect("reading a segment");
    let needle = ringkeeper_tests::load::data(&record.prefix, 37);
    let at = bytes.windows(needle.len()).position(|window| window == needle);
    at.expect("an acknowledged write is in the first segment") as u64
}

#[test]
fn flipped_bit_in_an_acknowledged_write_is_found_and_named() {
    let (mut node, written, segments) = stopped();
    let offset = offset_of_acknowledged_data(&segments[0], &written[0]);
    let file = OpenOptions::new().read(true).write(true).open(&segments[0]).expect("opening a segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("reading");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("writing");
    let before = fs::read(&segments[0]).expect("reading a segment");
    let text = refusal(&mut node, &segments[0]);
    assert!(text.contains("offset") && text.contains("0x"), "the place and the zxids are not named:\n{text}");
    assert!(fs::read(&segments[0]).expect("reading") == before, "a damaged log is left as it is");
    // With the bit back, nothing was lost by the attempt.
    file.write_all_at(&byte, offset).expect("writing");
    node.launch();
    let mut client = node.client();
    for record in &written {
        record.verify(&mut client).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn zeroed_block_of_acknowledged_writes_is_found_and_named() {
    let (mut node, written, segments) = stopped();
    let block = offset_of_acknowledged_data(&segments[0], &written[0]) & !4095;
    let file = OpenOptions::new().write(true).open(&segments[0]).expect("opening a segment");
    file.write_all_at(&[0; 4096], block).expect("writing");
    refusal(&mut node, &segments[0]);
}

#[test]
fn log_file_that_is_gone_or_cut_short_is_found_and_named() {
    let (mut node, written, segments) = stopped();
    let offset = offset_of_acknowledged_data(&segments[0], &written[0]);
    let aside = node.data().join("aside");
    fs::copy(&segments[0], &aside).expect("copying");
    let file = OpenOptions::new().write(true).open(&segments[0]).expect("opening a segment");
    file.set_len(offset & !4095).expect("cutting");
    refusal(&mut node, &segments[0]);
    fs::remove_file(&segments[0]).expect("removing");
    node.spawn(Server::Ringkeeper.command(&node.config()));
    let status = node.wait_for_exit();
    assert!(status.code().is_some_and(|code| code != 0), "{status}: served without its log");
    fs::rename(&aside, &segments[0]).expect("bringing it back");
    node.launch();
    let mut client = node.client();
    for record in &written {
        record.verify(&mut client).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Where the first batch of a segment begins.
const FIRST_BATCH: u64 = 4096;

#[test]
fn damaged_member_says_so_and_is_brought_up_to_date() {
    let mut cluster = Plan::of(&[Server::Ringkeeper; 3]).start();
    let load = cluster.load("w", &cluster.sids(), 3, 8);
    load.gets_on(50);
    let (follower, leader) = (cluster.a_follower(), cluster.leader());
    let data = cluster.member(follower).data();
    let first_segment = || {
        let files = fs::read_dir(&data).expect("reading the data directory").flatten();
        let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("log.")).min().expect("a segment")
    };
    let damage = |name: &str| {
        let file = OpenOptions::new().write(true).open(data.join(name)).expect("opening a segment");
        file.write_all_at(&[0xff; 16], FIRST_BATCH).expect("writing");
    };
    for epochs in [false, true] {
        cluster.terminate(follower);
        let said = if epochs {
            fs::remove_file(data.join("epochs")).expect("removing the epochs");
            "the file `epochs` was lost".to_owned()
        } else {
            let name = first_segment();
            damage(&name);
            format!("damaged-{name}")
        };
        let mark = cluster.mark();
        cluster.launch(follower);
        assert_eq!(cluster.sync_since(&mark, leader, follower).method, Method::Snap);
        let text = cluster.logged_since(&mark, follower);
        assert!(text.contains(&said), "{said} is not said:\n{text}");
        load.gets_on(50);
    }
    load.finish_unharmed(&cluster.awake_addrs());
    cluster.assert_sound();
}
