//! Strangers without manners on both ports, while members keep talking.

use std::io::{Read, Write};

use super::*;
use crate::wire::election::Hello;

/// What a stranger sends.
fn garbage(random: &mut fastrand::Rng) -> Vec<u8> {
    let long = |version: i64, sid: i64, length: i32| {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend(sid.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes
    };
    match random.u8(0..7) {
        0 => Vec::new(),
        1 => (0..random.usize(1..5000)).map(|_| random.u8(..)).collect(),
        2 => long(-65536, 2, i32::MAX),
        3 => long(-65536, 3, 2000), // and then silence
        4 => Hello { sid: Sid(random.i64(4..)), addresses: vec![("x".into(), 1)] }.encode(),
        5 => Hello { sid: Sid(i64::MIN), addresses: vec![("x".into(), 1)] }.encode(),
        _ => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
    }
}

#[test]
fn a_flood_on_both_ports_stops_nobody_from_talking_or_joining() {
    let cluster = Cluster::new(3);
    let (mut one, mut two) = (cluster.node(1), cluster.node(2));
    one.peers.set_leading(true);
    two.tell(1, 1);
    cluster.until(&mut [&mut one, &mut two], |nodes| nodes[0].heard(2) == Some(1));
    let mut random = fastrand::Rng::with_seed(11);
    let mut held = VecDeque::new();
    let mut three: Option<Node> = None;
    for round in 0..300 {
        for _ in 0..10 {
            let target = cluster.address(1, random.bool());
            // The kernel's queue may be full; then it is as full as it can be.
            let Ok(mut stream) = TcpStream::connect_timeout(&target, Duration::from_millis(200)) else {
                continue;
            };
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write(&garbage(&mut random));
            held.push_back(stream);
            if held.len() > 1000 {
                held.pop_front();
            }
            cluster.turn(&mut one).unwrap();
        }
        if round % 10 == 0 {
            two.tell(1, 100 + round);
            one.tell(2, 100 + round);
            cluster.until(&mut [&mut one, &mut two], |nodes| {
                nodes[0].heard(2) == Some(100 + round) && nodes[1].heard(1) == Some(100 + round)
            });
        }
        if round % 100 == 50 {
            // A member is started again in the middle of it.
            let mut fresh = cluster.node(3);
            fresh.tell(1, 1000 + round);
            fresh.peers.connect(Sid(1));
            cluster.until(&mut [&mut one, &mut fresh], |nodes| {
                nodes[0].heard(3) == Some(1000 + round) && nodes[1].script.connected.len() == 1
            });
            three = Some(fresh);
        }
        assert!(one.peers.connections().strangers <= 2 * (128 + 128), "{:?}", one.peers.connections());
    }
    assert!(three.is_some());
    assert!(one.ring.socket_count() < 400, "{}", one.ring.socket_count());
    drop(held);
    one.ahead += 60_000;
    cluster.until(&mut [&mut one, &mut two], |nodes| nodes[0].peers.connections().strangers == 0);
}

#[test]
fn silent_and_slow_connections_are_closed_when_their_time_is_over() {
    let cluster = Cluster::new(2);
    let mut node = cluster.node(1);
    let address = cluster.address(1, true);
    let mut silent = cluster.outside(address, &mut [&mut node]);
    let mut slow = cluster.outside(address, &mut [&mut node]);
    let hello = Hello { sid: Sid(2), addresses: vec![("a".into(), 1)] }.encode();
    for byte in &hello[..hello.len() - 1] {
        slow.write_all(&[*byte]).unwrap();
        cluster.turn(&mut node).unwrap();
    }
    cluster.until(&mut [&mut node], |nodes| nodes[0].peers.connections().strangers == 2);
    node.ahead += 60_000;
    cluster.until(&mut [&mut node], |nodes| nodes[0].ring.socket_count() == 0);
    assert_eq!((silent.read(&mut [0; 1]).unwrap(), slow.read(&mut [0; 1]).unwrap()), (0, 0));
}

#[test]
fn own_sid_and_strange_sids_are_sent_away() {
    let cluster = Cluster::new(2);
    let mut node = cluster.node(2);
    for sid in [2, 77, 0, -1, i64::MAX, i64::MIN] {
        let mut stream = cluster.outside(cluster.address(2, true), &mut [&mut node]);
        stream.write_all(&Hello { sid: Sid(sid), addresses: vec![("a".into(), 1)] }.encode()).unwrap();
        cluster.until(&mut [&mut node], |nodes| nodes[0].peers.connections().strangers == 1);
        cluster.until(&mut [&mut node], |nodes| nodes[0].ring.socket_count() == 0);
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "{sid}");
    }
    assert_eq!(node.peers.connections(), Connections::default());
}

#[test]
fn the_address_with_most_strangers_loses_its_own() {
    let mut ring = Ring::new().unwrap();
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let mut sockets: Vec<SocketId> = (0..200).map(|_| ring.connect(nobody, 0).unwrap()).collect();
    let mut strangers = strangers::Strangers::default();
    let lonely = sockets.pop().unwrap();
    strangers.admit(lonely, "10.0.0.1".parse().unwrap(), 0, 100);
    for &socket in &sockets {
        strangers.admit(socket, "10.0.0.2".parse().unwrap(), 1, 100);
    }
    let mut gone = Vec::new();
    while let Some(socket) = strangers.pop_surplus(50) {
        gone.push(socket);
    }
    assert_eq!(gone, sockets[..72], "the oldest of the flood, and not the one before it");
    assert_eq!(strangers.pop_surplus(100), Some(lonely), "whose time ends all the same");
    assert_eq!((strangers.pop_surplus(100), strangers.len()), (None, 127));
}
