//! Too many connections, too many requests, too little reading.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringkeeper_tests::bystander::{Bystander, attack};
use ringkeeper_tests::client::{Client, PATIENCE, raw};
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::on_both;
use ringkeeper_tests::wire::{Body, connect_request, op, request};

/// Closes with a reset instead of a FIN, as a client whose machine lost its state does.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("SO_LINGER");
    drop(stream);
}

fn connections_beyond_the_limit_are_closed(server: Server) {
    attack(server, &["maxClientCnxns=20"], 1 << 20, |node, bystander| {
        let mut served = Vec::new();
        let mut refused = 0;
        for _ in 0..200 {
            match Client::connect(node.addr()) {
                Ok(client) => served.push(client),
                Err(e) => {
                    let closed =
                        [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                    assert!(closed.contains(&e.kind()), "refused without a byte: {e}");
                    refused += 1;
                }
            }
        }
        // The bystander has one of the twenty.
        assert_eq!((served.len(), refused), (19, 181));
        bystander.gets_on();
        for client in &mut served {
            client.ping().expect("those within the limit are served");
        }
    });
}

/// Waits until the server has as few open files as before.
fn files_are_closed(node: &Node, before: usize) {
    let start = Instant::now();
    while node.process().open_files() > before {
        assert!(start.elapsed() < PATIENCE, "{} files open, {before} before", node.process().open_files());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn storms_of_resets_leak_nothing(server: Server) {
    // The reference takes a minute for as many: it only has to show that the script is right.
    let rounds = if server == Server::Apache { 200 } else { 2000 };
    attack(server, &[], 4 << 20, |node, bystander| {
        let before = node.process().open_files();
        let connect = connect_request(10_000, 0, &[0; 16]).frame();
        for round in 0..rounds {
            let mut stream = raw(node.addr()).expect("connecting");
            match round % 4 {
                0 => {}
                1 => stream.write_all(&connect[..17]).expect("sending"),
                2 => stream.write_all(&connect).expect("sending"),
                _ => {
                    let create = request(1, op::CREATE, &Body::create(&format!("/r{round}"), b"", 0));
                    stream.write_all(&[connect.clone(), create.frame()].concat()).expect("sending");
                }
            }
            if round % 3 == 0 {
                drop(stream)
            } else {
                reset(stream)
            }
            if round % 200 == 0 {
                bystander.gets_on();
            }
        }
        files_are_closed(node, before);
    });
}

fn big_reads_behind_a_write_are_all_answered_in_bounded_memory(server: Server) {
    let node = Node::start(server, &[]);
    let data = vec![9; 1_000_000];
    let mut client = node.client();
    client.create("/big", &data, 0).expect("creating");
    client.get("/big").expect("reading");
    let before = node.process().rss();
    client.queue(op::SET_DATA, &Body::new().string("/big").buffer(&data).int(-1));
    for _ in 0..150 {
        client.queue(op::GET_DATA, &Body::new().string("/big").bool(false));
    }
    client.flush().expect("asking");
    // Time to answer all 150 MB into memory, for a server that would.
    std::thread::sleep(Duration::from_millis(500));
    let grown = node.process().rss().saturating_sub(before);
    // The reference has its heap.
    assert!(server == Server::Apache || grown < 64 << 20, "{grown} bytes for a client that is slow to read");
    for number in 0..=150 {
        let reply = client.recv().unwrap_or_else(|e| panic!("reply {number} of 151: {e}"));
        assert_eq!(reply.err, 0, "reply {number}");
    }
}

fn sessions_that_vanish_together_expire_with_their_ephemerals(server: Server) {
    attack(server, &[], 4 << 20, |node, bystander| {
        let mut observer = node.client();
        observer.create("/vanish", b"", 0).expect("creating");
        for i in 0..300 {
            let mut client = Client::connect_with_timeout(node.addr(), 1000).expect("connecting");
            client.create(&format!("/vanish/{i}"), b"", 1).expect("creating");
            reset(client.stream().try_clone().expect("doubling a socket"));
        }
        let start = Instant::now();
        while !observer.children("/vanish").expect("children").is_empty() {
            assert!(start.elapsed() < PATIENCE, "ephemerals of dead sessions stay");
            bystander.gets_on();
        }
    });
}

/// A client asks for 4 GB of replies and reads none of them. The server may stop reading, or close; what it must
/// not do is keep the replies. (The reference keeps them.)
#[test]
fn replies_that_nobody_reads_take_no_memory() {
    attack(Server::Ringkeeper, &[], 8 << 20, |node, bystander| {
        let mut client = node.client();
        client.create("/large", &vec![7; 500_000], 0).expect("creating");
        let get = request(1, op::GET_DATA, &Body::new().string("/large").bool(false)).frame();
        let gets = get.repeat(500);
        let stream = client.stream();
        stream.set_write_timeout(Some(Duration::from_millis(500))).expect("setting a timeout");
        for _ in 0..16 {
            if stream.write_all(&gets).is_err() {
                break;
            }
        }
        for _ in 0..20 {
            bystander.gets_on();
        }
        // Memory is judged by `attack`, while the client is still there and does not read.
        keep_until_judged(client, bystander);
    });
}

/// Looks at memory twice more with some time for replies to pile up, then lets the client go.
fn keep_until_judged(client: Client, bystander: &Bystander) {
    std::thread::sleep(Duration::from_secs(1));
    bystander.gets_on();
    std::mem::forget(client);
}

on_both! {
    connections_beyond_the_limit_are_closed [];
    storms_of_resets_leak_nothing [];
    big_reads_behind_a_write_are_all_answered_in_bounded_memory [];
    sessions_that_vanish_together_expire_with_their_ephemerals [];
}
