//! The bare ring server: framing, and the generator against it.

use std::thread;
use std::time::Duration;

use super::*;
use crate::load::{LoadOptions, run};
use crate::wire;
use crate::workload::{Names, Naming, WorkloadOptions};
use frame::{BadFrame, Framer, MAX_REQUEST};

#[test]
fn frames_are_cut_wherever_the_stream_was_split() {
    let mut stream = Vec::new();
    for xid in 1..6 {
        wire::set_data(&mut stream, xid, "/a", &vec![7; xid as usize * 5]);
    }
    for step in 1..stream.len() {
        let mut framer = Framer::default();
        let mut xids = Vec::new();
        for part in stream.chunks(step) {
            framer.feed(part, |frame| xids.push(wire::i32_at(frame, 4).unwrap())).unwrap();
        }
        assert_eq!(xids, [1, 2, 3, 4, 5], "in parts of {step}");
    }
}

#[test]
fn an_oversized_or_negative_length_is_refused() {
    for len in [-1i32, MAX_REQUEST as i32 + 1, i32::MAX, i32::MIN] {
        assert_eq!(Framer::default().feed(&len.to_be_bytes(), |_| {}), Err(BadFrame), "{len}");
    }
}

fn served(durable: bool, mix: &str) -> crate::load::LoadReport {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let path = dir.path().join("bare");
    thread::spawn(move || {
        let options = BareOptions { listen: addr, durable: durable.then_some(path), in_flight: 4, size: 100 };
        let mut server = Server::new(listener, &options).unwrap();
        loop {
            server.turn().unwrap();
        }
    });
    let options = LoadOptions {
        servers: vec![addr],
        connections: 5,
        window: 7,
        rate: None,
        workload: WorkloadOptions {
            mix: mix.parse().unwrap(),
            keys: 50,
            size: 100,
            naming: Naming::Numbered,
            seed: 1,
        },
        names: Names { root: "/rkbench".into(), run: 1 },
        warmup: Duration::ZERO,
        measure: Duration::from_millis(300),
        drain: Duration::from_secs(20),
        reconnect: false,
        session_timeout_ms: 30_000,
        keep: false,
        trace: false,
        watch_pids: Vec::new(),
    };
    run(&options).unwrap()
}

#[test]
fn the_generator_is_answered_in_order() {
    let report = served(false, "get=5,set=5,exists=1");
    assert_eq!(report.errors(), 0);
    assert!(report.recorded.total_ops() > 100);
}

#[test]
fn reads_keep_their_place_behind_writes_that_are_not_yet_durable() {
    // The generator refuses an answer out of order.
    let report = served(true, "get=5,set=5,create=1");
    assert_eq!(report.errors(), 0);
    assert!(report.recorded.total_ops() > 100);
}
