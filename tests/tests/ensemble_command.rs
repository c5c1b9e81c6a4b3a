//! `ringkeeper ensemble`: what a new user types first.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use ringkeeper_tests::client::Client;
use ringkeeper_tests::node::ringkeeper;
use ringkeeper_tests::place;
use ringkeeper_tests::wire::{Body, op};
use rustix::process::{Pid, Signal, kill_process};

/// Killed on drop; its servers end with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it and returns where clients connect, as it says itself, and how many lines begin a server.
fn start(dir: &std::path::Path) -> (Running, Vec<SocketAddr>, usize) {
    let mut command = Command::new(ringkeeper());
    command.args(["ensemble", "--nodes", "3", "--observers", "1", "--dir"]).arg(dir);
    let mut child = Running(command.stdout(Stdio::piped()).spawn().expect("starting an ensemble"));
    let lines = BufReader::new(child.0.stdout.take().expect("its output is piped")).lines();
    let mut servers = 0;
    for line in lines {
        let line = line.expect("reading what it says");
        servers += usize::from(line.starts_with("server."));
        if let Some(rest) = line.strip_prefix("connect to ") {
            let list = rest.split(';').next().expect("a first part");
            let addrs = list.split(',').map(|addr| addr.parse().expect("an address")).collect();
            return (child, addrs, servers);
        }
    }
    panic!("it ended without saying where to connect");
}

#[test]
fn an_ensemble_starts_serves_ends_as_told_and_goes_on_with_its_data() {
    let home = place::temp_dir();
    for round in 0..2 {
        let (mut ensemble, addrs, servers) = start(home.path());
        assert_eq!((addrs.len(), servers), (4, 4), "three voters and an observer");
        let mut writer = Client::connect(addrs[0]).expect("connecting");
        writer.create(&format!("/round-{round}"), b"", 0).expect("creating");
        for addr in &addrs {
            let mut reader = Client::connect(*addr).expect("connecting");
            reader.call(op::SYNC, &Body::new().string("/")).expect("sync");
            for earlier in 0..=round {
                let found = reader.exists(&format!("/round-{earlier}")).expect("exists");
                assert!(found.is_some(), "what round {earlier} wrote, at {addr}");
            }
        }
        kill_process(Pid::from_child(&ensemble.0), Signal::TERM).expect("telling it to end");
        let status = ensemble.0.wait().expect("waiting for its end");
        assert_eq!(status.code(), Some(0), "{status}");
    }
}
