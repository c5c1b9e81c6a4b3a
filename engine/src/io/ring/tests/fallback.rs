//! The same ring on kernels that grant less.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;
use crate::io::{Disk, probe};

/// Sends a megabyte through an echo on a ring with these options.
fn serves(options: &RingOptions) -> Features {
    let (mut ring, _, address) = listening(options);
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut reader = stream.try_clone().unwrap();
        reader.set_read_timeout(Some(LONG)).unwrap();
        let back = thread::spawn(move || {
            let mut back = vec![0; 1 << 20];
            reader.read_exact(&mut back).unwrap();
            back
        });
        stream.write_all(&pattern(1 << 20)).unwrap();
        assert!(back.join().unwrap() == pattern(1 << 20));
    });
    until(&mut ring, |ring, event| {
        match event {
            Event::Accepted(socket, _) => ring.resume_receive(socket),
            Event::Received(socket, data) => ring.send(socket, data, 0),
            Event::Sent(_, _, _, result) => result.unwrap(),
            Event::Ended(..) => return Some(()),
            other => panic!("{other:?}"),
        }
        None
    });
    client.join().unwrap();
    ring.features()
}

#[test]
fn every_mode_serves() {
    let best = serves(&RingOptions::default());
    assert!(best.has_buffer_ring());
    for first_mode in [Mode::CoopTaskrun, Mode::Plain] {
        let features = serves(&RingOptions { first_mode, ..RingOptions::default() });
        assert_eq!(features.mode, first_mode);
        assert!(!features.defers_taskrun());
    }
}

#[test]
fn without_a_buffer_ring_and_a_file_table_it_serves_all_the_same() {
    let options = RingOptions {
        buffer_ring: false,
        file_table: false,
        registered_bytes: 0,
        receive_buffers: 8,
        ..RingOptions::default()
    };
    let features = serves(&options);
    assert!(!features.has_buffer_ring() && !features.has_file_table());
}

#[test]
fn the_start_line_says_what_was_found() {
    let features = probe().unwrap();
    let text = features.to_string();
    assert!(text.starts_with("io_uring: ") && !text.contains('\n'), "{text}");
    assert!(text.contains("queues 1024/8192"), "{text}");
    assert!(text.contains("receive buffers 512 x 8 KiB"), "{text}");
}

/// Sends a piece of a file from memory that cannot be registered.
fn sends_a_piece(ring: &mut Ring) {
    // What everybody may read.
    let path = std::env::current_exe().unwrap();
    let mut bytes = vec![0; PIECE];
    std::fs::File::open(&path).unwrap().read_exact(&mut bytes).unwrap();
    let (socket, mut outside) = pair(ring);
    let source = ring.open_source(&path).unwrap();
    ring.send_file(socket, FilePiece { source, offset: 0, len: PIECE, crc: crc32c::crc32c(&bytes) }, 0);
    ring.close_when_sent(socket);
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        outside.read_to_end(&mut all).unwrap();
        all
    });
    until(ring, |_, event| match event {
        Event::SentFile(_, _, result) => {
            result.unwrap();
            None
        }
        Event::Closed(_) => Some(()),
        other => panic!("{other:?}"),
    });
    assert!(reader.join().unwrap() == bytes);
    let (made, registered) = ring.pieces.buffer_count();
    assert_eq!((made, registered), (1, 0));
    ring.close_source(source);
}

/// Runs the test `name` again in a process of its own, for tests that change what belongs to a process. True
/// in that process; false in the first one, when the second is done.
fn in_own_process(name: &str, command: impl FnOnce(&mut Command)) -> bool {
    const CHILD: &str = "RINGKEEPER_TEST_PROCESS";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = format!("io::ring::tests::fallback::{name}");
    child.args([&name, "--exact", "--nocapture"]).env(CHILD, "1");
    command(&mut child);
    match child.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("skipped: cannot run the tests as another user ({error})"),
    }
    false
}

fn limit(resource: Resource, value: u64) {
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) }).unwrap();
}

#[test]
fn little_lockable_memory_makes_a_smaller_ring_and_no_memory_a_clear_error() {
    let ordinary = |command: &mut Command| {
        if rustix::process::geteuid().is_root() {
            // Root may lock what it likes, and the limit counts all processes of a user: one of our own.
            command.uid(1_000_000 + std::process::id()).gid(65534);
        }
    };
    if !in_own_process("little_lockable_memory_makes_a_smaller_ring_and_no_memory_a_clear_error", ordinary) {
        return;
    }
    limit(Resource::Memlock, 128 << 10);
    serves(&RingOptions::default());
    let mut ring = Ring::new().unwrap();
    assert_eq!(ring.alloc(256 << 10).registered_index(), None);
    assert!(!ring.features().all_registered());
    sends_a_piece(&mut ring);
    drop(ring);
    limit(Resource::Memlock, 0);
    match Ring::new() {
        Ok(_) => println!("skipped: this kernel does not count rings as locked memory"),
        Err(error) => assert!(matches!(error, RingError::NoMemory { .. }), "{error}"),
    }
}

#[test]
fn descriptors_that_run_out_pause_the_listener_until_it_is_resumed() {
    if !in_own_process("descriptors_that_run_out_pause_the_listener_until_it_is_resumed", |_| {}) {
        return;
    }
    limit(Resource::Nofile, 64);
    let (mut ring, listener, address) = listening(&RingOptions::default());
    let _client = TcpStream::connect(address).unwrap();
    let mut hoard = Vec::new();
    until(&mut ring, |_, event| matches!(event, Event::Accepted(..)).then_some(()));
    // One descriptor for the next client, none for its other end.
    let last = loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) => hoard.push(file),
            Err(_) => break hoard.pop().unwrap(),
        }
    };
    drop(last);
    let _waiting = TcpStream::connect(address).unwrap();
    let error = until(&mut ring, |_, event| match event {
        Event::AcceptFailed(error) => Some(error),
        other => panic!("{other:?}"),
    });
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    assert!(poll(&mut ring).is_empty(), "paused, not spinning");
    hoard.clear();
    ring.resume_accept(listener);
    until(&mut ring, |_, event| matches!(event, Event::Accepted(..)).then_some(()));
}
