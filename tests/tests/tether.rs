//! A node that was started by somebody ends with them, whatever ends them.

use std::fs::File;
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringkeeper_tests::client::word_within;
use ringkeeper_tests::node::{DEADLINE, Node, Server, ringkeeper};

/// Killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_ends_in_good_order_when_its_parent_is_killed() {
    let place = Node::prepare(Server::Ringkeeper, &[]);
    let path = place.config().with_file_name("log");
    let log = File::create(&path).expect("making a log");
    let said = || std::fs::read_to_string(&path).unwrap_or_default();
    // The parent's place is taken by whoever alone holds the other end of the pipe.
    let (reading, writing) = io::pipe().expect("making a pipe");
    let mut parent = {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(writing).spawn();
        Running(child.expect("starting cat"))
    };
    let mut node = {
        let mut command = Command::new(ringkeeper());
        command.args(["serve", "--end-with-stdin"]).arg(place.config());
        command.stdin(reading).stdout(Stdio::null()).stderr(log);
        Running(command.spawn().expect("starting a node"))
    };
    let start = Instant::now();
    while word_within(place.addr(), "srvr", Duration::from_secs(1)).is_err() {
        assert!(start.elapsed() < DEADLINE, "the node does not serve:\n{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(node.0.try_wait().expect("looking at the node"), None, "{}", said());
    parent.0.kill().expect("killing the parent");
    let status = loop {
        if let Some(status) = node.0.try_wait().expect("looking at the node") {
            break status;
        }
        assert!(start.elapsed() < DEADLINE, "the node does not end:\n{}", said());
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0), "{status}:\n{}", said());
}
