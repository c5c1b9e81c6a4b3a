//! Hellos, notifications, and who keeps which connection.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;

use super::*;
use crate::wire::election::{Hello, frame};

fn hello(sid: i64) -> Vec<u8> {
    Hello { sid: Sid(sid), addresses: vec![("127.0.0.1".into(), 1)] }.encode()
}

/// The next whole frame.
fn read_vote(stream: &mut TcpStream) -> i64 {
    let mut bytes = vec![0; 4];
    stream.read_exact(&mut bytes).unwrap();
    let len = i32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    bytes.resize(4 + len, 0);
    stream.read_exact(&mut bytes[4..]).unwrap();
    let (body, _) = frame(&bytes).unwrap().unwrap();
    let said = Notification::decode(body).unwrap();
    assert_eq!(said.config, Some(&b"version=0"[..]));
    said.vote.round
}

/// Accepts while the members go on.
fn accept(cluster: &Cluster, listener: &TcpListener, nodes: &mut [&mut Node]) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    cluster.until(nodes, |_| {
        accepted = listener.accept().ok().map(|(stream, _)| stream);
        accepted.is_some()
    });
    let stream = accepted.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

#[test]
fn two_members_hear_each_other_whoever_starts_first_and_whoever_begins() {
    for (first, second) in [(1, 2), (2, 1)] {
        for starter_tells in [true, false] {
            let cluster = Cluster::new(2);
            let mut early = cluster.node(first);
            if starter_tells {
                early.tell(second, 10);
            }
            for _ in 0..20 {
                cluster.turn(&mut early).unwrap();
            }
            let mut late = cluster.node(second);
            late.tell(first, 20);
            cluster.until(&mut [&mut early, &mut late], |nodes| {
                nodes[0].heard(second) == Some(20) && (!starter_tells || nodes[1].heard(first) == Some(10))
            });
            early.tell(second, 11);
            cluster.until(&mut [&mut early, &mut late], |nodes| nodes[1].heard(first) == Some(11));
            assert_eq!((early.peers.connections().election, late.peers.connections().election), (1, 1));
        }
    }
}

#[test]
fn three_members_keep_one_connection_per_pair() {
    let cluster = Cluster::new(3);
    let mut nodes: Vec<Node> = (1..=3).map(|sid| cluster.node(sid)).collect();
    for round in 1..=50 {
        for (index, node) in nodes.iter_mut().enumerate() {
            for to in (1..=3).filter(|&to| to != index as i64 + 1) {
                node.tell(to, round);
            }
        }
        let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
        cluster.until(&mut all, |nodes| {
            let all_but_own = |me: usize| (1..=3).filter(move |&from| from != me as i64 + 1);
            nodes
                .iter()
                .enumerate()
                .all(|(me, node)| all_but_own(me).all(|from| node.heard(from) == Some(round)))
        });
    }
    let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
    cluster.until(&mut all, |nodes| {
        nodes.iter().all(|node| {
            node.peers.connections() == Connections { election: 2, quorum: 0, strangers: 0 }
                && node.ring.socket_count() == 2
        })
    });
}

#[test]
fn a_restarted_member_is_told_the_last_vote_again() {
    for (stays, restarts) in [(1, 2), (2, 1)] {
        let cluster = Cluster::new(2);
        let (mut stayer, mut other) = (cluster.node(stays), cluster.node(restarts));
        stayer.tell(restarts, 5);
        cluster.until(&mut [&mut stayer, &mut other], |nodes| nodes[1].heard(stays) == Some(5));
        for round in 0..3 {
            drop(other);
            other = cluster.node(restarts);
            // It asks; the one that stayed has nothing new to say.
            other.tell(stays, round);
            cluster.until(&mut [&mut stayer, &mut other], |nodes| {
                nodes[0].heard(restarts) == Some(round) && nodes[1].heard(stays) == Some(5)
            });
        }
    }
}

#[test]
fn a_vote_for_a_member_that_is_down_waits_and_only_the_newest_is_told() {
    let cluster = Cluster::new(2);
    let mut early = cluster.node(2);
    for round in 0..100 {
        early.tell(1, round);
        cluster.turn(&mut early).unwrap();
    }
    let mut late = cluster.node(1);
    cluster.until(&mut [&mut early, &mut late], |nodes| nodes[1].heard(2).is_some());
    assert_eq!(late.script.votes[&Sid(2)], (99, 1));
}

#[test]
fn the_larger_member_says_hello_in_one_piece_and_keeps_the_connection() {
    let cluster = Cluster::new(2);
    let listener = TcpListener::bind(cluster.address(1, true)).unwrap();
    let mut node = cluster.node(2);
    node.tell(1, 7);
    let mut stream = accept(&cluster, &listener, &mut [&mut node]);
    for _ in 0..50 {
        cluster.turn(&mut node).unwrap();
    }
    let member = &cluster.members[1];
    let want = Hello { sid: Sid(2), addresses: vec![(member.host.clone(), member.election_port)] }.encode();
    let mut got = vec![0; want.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, want);
    assert_eq!(read_vote(&mut stream), 7);
    // Both directions, frames cut and joined at will.
    let mut bytes = vote(1).encode(b"version=0");
    bytes.extend_from_slice(&[0, 0, 0, 3, 1, 2, 3]); // no notification: skipped
    bytes.extend_from_slice(&vote(2).encode(b"not parsed"));
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
        cluster.turn(&mut node).unwrap();
    }
    cluster.until(&mut [&mut node], |nodes| nodes[0].heard(1) == Some(2));
    assert_eq!(node.script.votes[&Sid(1)].1, 2);
}

#[test]
fn the_smaller_member_says_hello_hangs_up_and_waits_to_be_connected_to() {
    let cluster = Cluster::new(2);
    let listener = TcpListener::bind(cluster.address(2, true)).unwrap();
    let mut node = cluster.node(1);
    node.tell(2, 7);
    let mut call = accept(&cluster, &listener, &mut [&mut node]);
    for _ in 0..50 {
        cluster.turn(&mut node).unwrap();
    }
    let mut said = Vec::new();
    call.read_to_end(&mut said).unwrap();
    let (hello_of_1, used) = Hello::decode(&said).unwrap().unwrap();
    assert_eq!((hello_of_1.sid, used), (Sid(1), said.len()), "a hello and nothing else");
    let mut back = cluster.outside(cluster.address(1, true), &mut [&mut node]);
    back.write_all(&hello(2)).unwrap();
    cluster.until(&mut [&mut node], |nodes| nodes[0].peers.connections().election == 1);
    for _ in 0..50 {
        cluster.turn(&mut node).unwrap();
    }
    assert_eq!(read_vote(&mut back), 7);
}

#[test]
fn a_call_of_a_smaller_member_is_answered_with_a_connection() {
    let cluster = Cluster::new(2);
    let mut node = cluster.node(2);
    let listener = TcpListener::bind(cluster.address(1, true)).unwrap();
    for _ in 0..3 {
        // Even if there is one that the smaller member no longer believes in.
        let mut call = cluster.outside(cluster.address(2, true), &mut [&mut node]);
        call.write_all(&hello(1)).unwrap();
        let mut stream = accept(&cluster, &listener, &mut [&mut node]);
        for _ in 0..50 {
            cluster.turn(&mut node).unwrap();
        }
        assert_eq!(call.read(&mut [0; 1]).unwrap(), 0, "the call is over");
        let mut got = vec![0; 20];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got[8..16], 2i64.to_be_bytes());
    }
    cluster.until(&mut [&mut node], |nodes| nodes[0].peers.connections().election == 1);
}

#[test]
fn a_newer_connection_of_the_larger_member_replaces_the_older() {
    let cluster = Cluster::new(2);
    let mut node = cluster.node(1);
    let mut old: Option<TcpStream> = None;
    for round in 0..3 {
        let mut stream = cluster.outside(cluster.address(1, true), &mut [&mut node]);
        // The hello in two pieces, with a vote in the second.
        let mut bytes = hello(2);
        bytes.extend_from_slice(&vote(round).encode(b""));
        stream.write_all(&bytes[..30]).unwrap();
        cluster.turn(&mut node).unwrap();
        stream.write_all(&bytes[30..]).unwrap();
        cluster.until(&mut [&mut node], |nodes| nodes[0].heard(2) == Some(round));
        if let Some(mut old) = old.replace(stream) {
            cluster.turn(&mut node).unwrap();
            assert_eq!(old.read(&mut [0; 1]).unwrap(), 0);
        }
    }
    assert_eq!(node.peers.connections().election, 1);
}

#[test]
fn a_member_that_reads_nothing_costs_one_frame_and_then_gets_the_newest() {
    let cluster = Cluster::new(2);
    let mut node = cluster.node(1);
    let mut stream = cluster.outside(cluster.address(1, true), &mut [&mut node]);
    stream.write_all(&hello(2)).unwrap();
    cluster.until(&mut [&mut node], |nodes| nodes[0].peers.connections().election == 1);
    const LAST: i64 = 100_000;
    for round in 1..=LAST {
        node.tell(2, round);
        if round % 10 == 0 {
            let now = cluster.now();
            node.peers.turn(&mut node.ring, now, &mut node.script).unwrap();
            node.ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
            while let Some(completion) = node.ring.next_completion() {
                node.peers.completion(&completion, now, &mut node.script);
            }
        }
    }
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        while last < LAST {
            let round = read_vote(&mut stream);
            assert!(round > last);
            last = round;
        }
    });
    cluster.until(&mut [&mut node], |_| reader.is_finished());
    reader.join().unwrap();
}

#[test]
fn a_frame_of_impossible_length_costs_the_connection_only() {
    let cluster = Cluster::new(2);
    let mut node = cluster.node(1);
    for length in [0, -1, 512 * 1024 + 1, i32::MAX] {
        let mut stream = cluster.outside(cluster.address(1, true), &mut [&mut node]);
        stream.write_all(&hello(2)).unwrap();
        stream.write_all(&i32::to_be_bytes(length)).unwrap();
        stream.set_nonblocking(true).unwrap();
        cluster.until(&mut [&mut node], |_| match stream.read(&mut [0; 1]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        });
    }
    assert_eq!(node.peers.connections().election, 0);
}

#[test]
fn an_election_port_that_stays_taken_ends_the_member_after_three_attempts() {
    let cluster = Cluster::new(1);
    let taken = TcpListener::bind(cluster.address(1, true)).unwrap();
    let mut node = cluster.node(1);
    let failed = |node: &mut Node| {
        node.ahead += 1000;
        cluster.turn(node)
    };
    failed(&mut node).unwrap();
    let error = failed(&mut node).unwrap_err();
    let member = &cluster.members[0];
    assert!(
        error.to_string().starts_with(&format!("opening the election port {}:3888, 3 times: ", member.host))
    );
    drop(taken);
    let mut again = cluster.node(1);
    cluster.turn(&mut again).unwrap();
    TcpStream::connect(cluster.address(1, true)).unwrap();
}

#[test]
fn somebody_who_is_no_member_cannot_be_set_up() {
    let options = PeerOptions { me: Sid(9), ..Cluster::new(2).options(1) };
    let ring = Ring::new().unwrap();
    let error = Peers::new(&options, ring.waker()).unwrap_err();
    assert_eq!(error.to_string(), "server 9 is not among the members it is to talk to");
}
