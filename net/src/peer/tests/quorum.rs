//! Connections between leader and learners: bytes, back-pressure, and their end.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// A leader (1) and a learner (2) that is connected to it.
pub(super) fn pair(cluster: &Cluster) -> (Node, Node, Link) {
    let (mut leader, mut learner) = (cluster.node(1), cluster.node(2));
    leader.peers.set_leading(true);
    cluster.until(&mut [&mut leader], |nodes| nodes[0].peers.quorum_address().is_some());
    learner.peers.connect(Sid(1));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| !nodes[1].script.connected.is_empty());
    let link = learner.script.connected[0];
    (leader, learner, link)
}

pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + (i >> 8) * 7) as u8).collect()
}

#[test]
fn bytes_go_both_ways_and_the_first_of_a_learner_announce_it() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, link) = pair(&cluster);
    for _ in 0..20 {
        cluster.turn(&mut leader).unwrap();
    }
    assert!(leader.script.received.is_empty());
    learner.say(link, Chunk::Own(b"who I am".to_vec()));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[0].script.received.len() == 1);
    let there = *leader.script.received.keys().next().unwrap();
    leader.say(there, Chunk::Shared(Arc::new(b"welcome".to_vec())));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[1].script.received.get(&link).is_some_and(|bytes| bytes == b"welcome")
    });
    assert_eq!(leader.script.received[&there], b"who I am");
    // The learner goes: the leader hears of it, the learner of nothing.
    learner.peers.close(link);
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[0].script.closed == [there]);
    assert!(learner.script.closed.is_empty());
}

#[test]
fn a_slow_reader_is_given_forty_mebibytes_a_little_at_a_time() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, link) = pair(&cluster);
    learner.say(link, Chunk::Own(vec![1]));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[0].script.received.len() == 1);
    let there = *leader.script.received.keys().next().unwrap();
    learner.script.deaf = true;
    for _ in 0..10 {
        cluster.turn(&mut learner).unwrap();
    }
    let piece = Arc::new(pattern(64 << 10));
    const PIECES: usize = 40 * 16;
    for _ in 0..PIECES {
        leader.say(there, Chunk::Shared(piece.clone()));
    }
    // Until nothing moves any more: what the kernel takes is gone, and half a mebibyte is in the ring.
    let mut left = usize::MAX;
    let mut still = 0;
    while still < 200 {
        cluster.turn(&mut leader).unwrap();
        cluster.turn(&mut learner).unwrap();
        let now = leader.script.chunks[&there].len();
        still = if now == left { still + 1 } else { 0 };
        left = now;
    }
    assert!(left > 0, "everything was taken although nobody reads");
    assert!(Arc::strong_count(&piece) - 1 - left <= 8, "more than 512 KiB unsent");
    learner.script.deaf = false;
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[1].script.received.get(&link).is_some_and(|bytes| bytes.len() == PIECES * piece.len())
    });
    assert!(learner.script.received[&link].chunks(piece.len()).all(|chunk| chunk == &piece[..]));
    assert_eq!(Arc::strong_count(&piece), 1);
}

#[test]
fn closing_while_sending_ends_the_connection_and_frees_what_was_unsent() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, link) = pair(&cluster);
    leader.script.deaf = true;
    let piece = Arc::new(pattern(64 << 10));
    learner.say(link, Chunk::Own(vec![1]));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[0].script.received.len() == 1);
    let there = *leader.script.received.keys().next().unwrap();
    for _ in 0..300 {
        learner.say(link, Chunk::Shared(piece.clone()));
    }
    for _ in 0..50 {
        cluster.turn(&mut leader).unwrap();
        cluster.turn(&mut learner).unwrap();
    }
    learner.peers.close(link);
    learner.script.chunks.clear();
    leader.script.deaf = false;
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[0].script.closed == [there]);
    assert_eq!((Arc::strong_count(&piece), learner.peers.connections().quorum), (1, 0));
    assert!(learner.script.closed.is_empty());
}

#[test]
fn a_leader_that_does_not_listen_is_reported_and_can_be_tried_again() {
    let cluster = Cluster::new(3);
    let (mut leader, mut learner) = (cluster.node(1), cluster.node(2));
    for attempt in 1..=3 {
        learner.peers.connect(Sid(1));
        cluster.until(&mut [&mut learner], |nodes| nodes[0].script.failed.len() == attempt);
    }
    learner.peers.connect(Sid(77));
    cluster.until(&mut [&mut learner], |nodes| nodes[0].script.failed.last() == Some(&Sid(77)));
    leader.peers.set_leading(true);
    cluster.turn(&mut leader).unwrap();
    // The second request takes the place of the first.
    learner.peers.connect(Sid(3));
    learner.peers.connect(Sid(1));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[1].script.connected.len() == 1);
    assert_eq!(learner.script.failed, [Sid(1), Sid(1), Sid(1), Sid(77)]);
}

#[test]
fn a_leader_that_answers_nothing_fails_in_time_and_delays_nobody() {
    let cluster = Cluster::new(3);
    let hole = TcpListener::bind(cluster.address(1, false)).unwrap();
    rustix::net::listen(&hole, 0).unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&cluster.address(1, false), Duration::from_millis(300))
    {
        queue.push(stream);
    }
    let (mut node, mut other) = (cluster.node(2), cluster.node(3));
    node.peers.connect(Sid(1));
    node.tell(3, 1);
    cluster.until(&mut [&mut node, &mut other], |nodes| nodes[1].heard(2) == Some(1));
    assert!(node.script.failed.is_empty());
    node.ahead += 5000;
    cluster.until(&mut [&mut node], |nodes| nodes[0].script.failed == [Sid(1)]);
    cluster.until(&mut [&mut node], |nodes| nodes[0].ring.socket_count() == 1);
}

#[test]
fn the_quorum_port_is_closed_at_once_and_opened_again_while_links_live_on() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, link) = pair(&cluster);
    learner.say(link, Chunk::Own(b"a".to_vec()));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[0].script.received.len() == 1);
    let port = cluster.address(1, false);
    for _ in 0..20 {
        let now = cluster.now();
        leader.peers.set_leading(false);
        leader.peers.turn(&mut leader.ring, now, &mut leader.script).unwrap();
        TcpStream::connect(port).expect_err("nobody listens");
        leader.peers.set_leading(true);
        leader.peers.turn(&mut leader.ring, now, &mut leader.script).unwrap();
        assert_eq!(leader.peers.quorum_address(), Some(port), "taken again at once");
    }
    learner.say(link, Chunk::Own(b"b".to_vec()));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[0].script.received.values().any(|bytes| bytes == b"ab")
    });
    assert!(leader.script.closed.is_empty());
}

#[test]
fn a_quorum_port_that_is_taken_is_tried_until_it_is_free() {
    let cluster = Cluster::new(1);
    let taken = TcpListener::bind(cluster.address(1, false)).unwrap();
    let mut leader = cluster.node(1);
    leader.peers.set_leading(true);
    for _ in 0..10 {
        cluster.turn(&mut leader).unwrap();
        leader.ahead += 100;
    }
    assert_eq!(leader.peers.quorum_address(), None);
    drop(taken);
    cluster.until(&mut [&mut leader], |nodes| nodes[0].peers.quorum_address().is_some());
}

#[test]
fn whoever_does_not_introduce_himself_in_time_is_closed() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, link) = pair(&cluster);
    let mut babbler = cluster.outside(cluster.address(1, false), &mut [&mut leader]);
    let mut silent = cluster.outside(cluster.address(1, false), &mut [&mut leader]);
    learner.say(link, Chunk::Own(b"introduction".to_vec()));
    babbler.write_all(b"babble").unwrap();
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[0].script.received.len() == 2 && nodes[0].peers.connections().strangers == 3
    });
    let is_learner = |(_, bytes): &(&Link, &Vec<u8>)| bytes.starts_with(b"intro");
    let known = *leader.script.received.iter().find(is_learner).unwrap().0;
    leader.script.introduced.insert(known);
    leader.ahead += 60_000;
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[0].peers.connections().quorum == 1);
    assert_eq!((babbler.read(&mut [0; 1]).unwrap(), silent.read(&mut [0; 1]).unwrap()), (0, 0));
    assert_eq!(leader.script.closed.len(), 1, "of the silent one nobody was told");
    assert_ne!(leader.script.closed[0], known);
}
