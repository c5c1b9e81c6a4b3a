//! Bytes no client would send: what the protocol says about them, and that nobody else notices.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use ringkeeper_tests::bystander::{Memory, attack};
use ringkeeper_tests::client::{Client, raw, until_closed, word};
use ringkeeper_tests::corpus::{bodies, multi};
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::on_both;
use ringkeeper_tests::wire::{Body, code, connect_request, op, request};

/// `jute.maxbuffer`: the longest frame.
const MAX_FRAME: i32 = 1_048_575;

/// Sends bytes on a fresh connection and returns what comes back until the server closes it. It is part of the
/// property that the server closes: the end is awaited without closing our side.
fn sent_and_closed(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = raw(addr).expect("connecting");
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    until_closed(&mut stream).expect("the server closes the connection")
}

/// A session that then sends these bytes as they are; what comes back until the server closes.
fn sent_in_session_and_closed(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut client = node.client();
    let stream = client.stream();
    let _ = stream.write_all(bytes);
    until_closed(stream).expect("the server closes the connection")
}

fn with_length(length: i32, rest: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes(), rest].concat()
}

fn impossible_frame_lengths_close_the_connection(server: Server) {
    attack(server, &[], 1 << 20, |node, bystander| {
        for length in [-1, i32::MIN, i32::MIN + 1, MAX_FRAME + 1, 0x0200_0000, i32::MAX] {
            assert_eq!(
                sent_and_closed(node.addr(), &with_length(length, &[0; 64])),
                b"",
                "first frame of {length}"
            );
            assert_eq!(
                sent_in_session_and_closed(node, &with_length(length, &[0; 64])),
                b"",
                "frame of {length}"
            );
            bystander.gets_on();
        }
        for short in 0..8 {
            let frame = with_length(short, &vec![0; short as usize]);
            assert_eq!(sent_in_session_and_closed(node, &frame), b"", "a frame of {short} holds no header");
        }
    });
}

fn truncated_connect_requests_close_the_connection(server: Server) {
    let whole = connect_request(10_000, 0, &[0; 16]).0;
    attack(server, &[], 1 << 20, |node, _| {
        // Without its last byte, the read-only flag, it is an old client's whole request.
        for len in 0..whole.len() - 1 {
            let frame = with_length(len as i32, &whole[..len]);
            assert_eq!(sent_and_closed(node.addr(), &frame), b"", "{len} of {} bytes", whole.len());
        }
    });
}

fn truncated_requests_are_answered_with_marshalling_error(server: Server) {
    attack(server, &[], 1 << 20, |node, _| {
        let mut client = node.client();
        for (op, whole) in bodies() {
            for len in 0..whole.0.len() {
                let cut = Body(whole.0[..len].to_vec());
                let xid = client.queue(op, &cut);
                client.flush().expect("sending");
                let reply = client.recv().unwrap_or_else(|e| panic!("op {op} cut to {len}: {e}"));
                let expected = (xid, code::MARSHALLING_ERROR);
                assert_eq!((reply.xid, reply.err), expected, "op {op} cut to {len} of {}", whole.0.len());
            }
        }
        client.close().expect("the connection is still good");
    });
}

fn declared_lengths_beyond_the_frame_are_marshalling_errors(server: Server) {
    let anyone = |body: Body| body.int(31).string("world").string("anyone");
    let bombs: Vec<(&str, i32, Body)> = vec![
        ("string", op::GET_DATA, Body::new().int(i32::MAX).raw(b"/x").bool(false)),
        ("string of a frame's size", op::GET_DATA, Body::new().int(MAX_FRAME).raw(b"/x").bool(false)),
        ("string of length -2", op::GET_DATA, Body::new().int(-2).raw(b"/x").bool(false)),
        ("buffer", op::SET_DATA, Body::new().string("/x").int(i32::MAX).raw(b"data").int(-1)),
        ("buffer of length -2", op::SET_DATA, Body::new().string("/x").int(-2).int(-1)),
        ("ACL count", op::CREATE, anyone(Body::new().string("/x").buffer(b"").int(i32::MAX)).int(0)),
        ("ACL count", op::SET_ACL, anyone(Body::new().string("/x").int(i32::MAX)).int(-1)),
        ("ACL count 2^24", op::SET_ACL, anyone(Body::new().string("/x").int(1 << 24)).int(-1)),
        ("watch count", op::SET_WATCHES, Body::new().long(0).int(i32::MAX).string("/a")),
        ("later watch count", op::SET_WATCHES, Body::new().long(0).int(0).int(0).int(i32::MAX)),
        ("multi", op::MULTI, Body::new().int(op::CHECK).bool(false).int(-1).int(i32::MAX)),
        ("ACL in multi", op::MULTI, {
            let part = anyone(Body::new().string("/x").buffer(b"").int(i32::MAX)).int(0);
            multi(&[(op::CREATE, part)])
        }),
    ];
    attack(server, &[], 1 << 20, |node, _| {
        let mut client = node.client();
        for (what, op, body) in bombs {
            let xid = client.queue(op, &body);
            client.flush().expect("sending");
            let reply = client.recv().unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!((reply.xid, reply.err), (xid, code::MARSHALLING_ERROR), "{what}");
        }
        client.close().expect("the connection is still good");
    });
}

fn half_sent_frames_hold_no_memory(server: Server) {
    // 300 connections that each declare a megabyte and send ten bytes.
    attack(server, &["nio.sessionlessCnxnTimeout=60000"], 1 << 20, |node, bystander| {
        let memory = Memory::of(node);
        let half = with_length(MAX_FRAME, &[0; 10]);
        let mut clients: Vec<Client> = (0..300).map(|_| node.client()).collect();
        let mut strangers: Vec<TcpStream> = (0..100).map(|_| raw(node.addr()).expect("connecting")).collect();
        clients.iter_mut().for_each(|c| c.stream().write_all(&half).expect("sending"));
        strangers.iter_mut().for_each(|s| s.write_all(&half).expect("sending"));
        bystander.gets_on();
        if server != Server::Apache {
            memory.grew_at_most(1 << 20);
        }
    });
}

fn unknown_operations_are_answered_and_the_connection_closed(server: Server) {
    attack(server, &[], 1 << 20, |node, _| {
        for op in [10, 999, -2, i32::MAX, i32::MIN] {
            let mut client = node.client();
            let xid = client.queue(op, &Body::new());
            client.flush().expect("sending");
            let reply = client.recv().unwrap_or_else(|e| panic!("op {op}: {e}"));
            assert_eq!((reply.xid, reply.zxid, reply.err), (xid, -1, code::UNIMPLEMENTED), "op {op}");
            assert!(client.recv().is_err(), "op {op}: the connection is closed");
        }
    });
}

fn other_protocols_are_turned_away(server: Server) {
    let mut tls_hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".to_vec();
    tls_hello.extend([0x5a; 160]);
    attack(server, &[], 1 << 20, |node, _| {
        for bytes in [
            tls_hello.as_slice(),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"SSH-2.0-x\r\n",
            b"\xff\xf4\xff\xfd",
        ] {
            assert_eq!(sent_and_closed(node.addr(), bytes), b"", "{bytes:?}");
        }
    });
}

fn random_bytes_disturb_nobody(server: Server) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    attack(server, &[], 4 << 20, |node, bystander| {
        for round in 0..400 {
            let mut bytes = vec![0; rng.usize(1..2000)];
            rng.fill(&mut bytes);
            if round % 2 == 0 {
                // Pass the first check, so that more than the length is looked at.
                bytes = with_length(bytes.len() as i32, &bytes);
            }
            if round % 4 < 2 {
                let mut stream = raw(node.addr()).expect("connecting");
                let _ = stream.write_all(&bytes);
                let _ = stream.shutdown(Shutdown::Write);
                until_closed(&mut stream).expect("closed, for what follows is nothing");
            } else {
                let mut client = node.client();
                let _ = client.stream().write_all(&bytes);
                let _ = client.stream().shutdown(Shutdown::Write);
                until_closed(client.stream()).expect("closed, for what follows is nothing");
            }
        }
        bystander.gets_on();
    });
}

fn big_but_legal_requests_are_answered(server: Server) {
    let deep = "/a".repeat(200_000);
    let acl = (0..30_000).fold(Body::new().string("/acl").buffer(b"").int(30_000), |body, _| {
        body.int(31).string("world").string("anyone")
    });
    let checks: Vec<_> = (0..40_000).map(|_| (op::CHECK, Body::new().string("/").int(-1))).collect();
    attack(server, &[], 16 << 20, |node, _| {
        let mut client = node.client();
        let deep = client.call(op::CREATE, &Body::create(&deep, b"", 0)).map(|r| r.err);
        assert!(matches!(deep, Err(ringkeeper_tests::client::Failure::Code(code::NO_NODE))), "{deep:?}");
        client.call(op::CREATE, &acl.int(0)).expect("30 000 ACL entries are one, 30 000 times");
        client.call(op::MULTI, &multi(&checks)).expect("40 000 checks");
        client.close().expect("closing");
    });
}

fn slow_handshake_and_request_are_served(server: Server) {
    attack(server, &[], 1 << 20, |node, _| {
        let mut stream = raw(node.addr()).expect("connecting");
        drip(&mut stream, &connect_request(10_000, 0, &[0; 16]).frame(), Duration::from_millis(5))
            .expect("sending");
        let mut client = Client::from_stream(stream).expect("a slow client is a client");
        assert_ne!(client.session.id, 0);
        let bytes = request(77, op::EXISTS, &Body::new().string("/").bool(false)).frame();
        drip(client.stream(), &bytes, Duration::from_millis(5)).expect("sending");
        let reply = client.recv().expect("an answer");
        assert_eq!((reply.xid, reply.err), (77, 0));
    });
}

fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn connections_without_a_session_are_closed_in_time(server: Server) {
    attack(server, &["nio.sessionlessCnxnTimeout=1000"], 1 << 20, |node, bystander| {
        let mut silent = raw(node.addr()).expect("connecting");
        let mut begun = raw(node.addr()).expect("connecting");
        begun.write_all(&connect_request(10_000, 0, &[0; 16]).frame()[..20]).expect("sending");
        assert_eq!(until_closed(&mut silent).expect("closed"), b"");
        assert_eq!(until_closed(&mut begun).expect("closed"), b"");
        bystander.gets_on();
    });
}

/// A byte now and then must not keep a sessionless connection alive: the deadline is for the handshake as a
/// whole. (The reference counts from the last byte.)
#[test]
fn endless_handshake_is_closed_in_time() {
    attack(Server::Ringkeeper, &["nio.sessionlessCnxnTimeout=1000"], 1 << 20, |node, _| {
        let mut stream = raw(node.addr()).expect("connecting");
        // A declared frame that takes 20 s to arrive.
        let frame = with_length(200, &[0; 200]);
        let sent = drip(&mut stream, &frame, Duration::from_millis(100));
        assert!(sent.is_err(), "the server read for 20 s");
    });
}

fn half_closed_connections_are_let_go(server: Server) {
    attack(server, &[], 1 << 20, |node, _| {
        let mut client = node.client();
        client.stream().shutdown(Shutdown::Write).expect("half-closing");
        until_closed(client.stream()).expect("the server closes its half");
        // Four-letter words are asked exactly so: their answer must still come.
        let mut stream = raw(node.addr()).expect("connecting");
        stream.write_all(b"ruok").expect("sending");
        stream.shutdown(Shutdown::Write).expect("half-closing");
        assert_eq!(until_closed(&mut stream).expect("closed"), b"imok");
    });
}

fn four_letter_words_in_every_shape(server: Server) {
    attack(server, &[], 1 << 20, |node, _| {
        let addr = node.addr();
        assert_eq!(word(addr, "ruok").expect("an answer"), "imok");
        // What follows a word is not its business. It may even be unread when the server closes, and the reset
        // overtakes the answer then: an answer is demanded where one newline follows, as `echo ruok | nc` does.
        assert_eq!(sent_and_closed(addr, b"ruok\n"), b"imok");
        let answer = sent_and_closed(addr, &[b"ruok".as_slice(), &[0x55; 5000]].concat());
        assert!(answer == b"imok" || answer.is_empty(), "{answer:?}");
        assert_eq!(sent_and_closed(addr, b"abcd"), b"", "an unknown word is an oversized frame");
        assert_eq!(sent_in_session_and_closed(node, b"ruok"), b"", "in a session it is an oversized frame");
        let mut stream = raw(addr).expect("connecting");
        drip(&mut stream, b"srvr", Duration::from_millis(20)).expect("sending");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        assert!(text.contains("Mode: standalone"), "{text}");
    });
}

on_both! {
    impossible_frame_lengths_close_the_connection [];
    truncated_connect_requests_close_the_connection [];
    truncated_requests_are_answered_with_marshalling_error [];
    declared_lengths_beyond_the_frame_are_marshalling_errors [];
    half_sent_frames_hold_no_memory [];
    unknown_operations_are_answered_and_the_connection_closed [];
    other_protocols_are_turned_away [];
    random_bytes_disturb_nobody [];
    big_but_legal_requests_are_answered [];
    slow_handshake_and_request_are_served [];
    connections_without_a_session_are_closed_in_time [];
    half_closed_connections_are_let_go [];
    four_letter_words_in_every_shape [];
}
