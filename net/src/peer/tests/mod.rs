//! The connections of members over loopback, on real rings, with scripted owners and strangers without manners.

mod election;
mod files;
mod hostile;
mod names;
mod quorum;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ringkeeper_engine::id::Zxid;

use super::*;
use crate::wire::election::State;

/// Long enough for any machine; tests that pass never wait for it.
const LONG: Duration = Duration::from_secs(60);

/// What happened to a member's owner, and what it has to say.
#[derive(Default)]
struct Script {
    /// The last vote of each member, and how many came.
    votes: BTreeMap<Sid, (i64, usize)>,
    connected: Vec<Link>,
    failed: Vec<Sid>,
    received: BTreeMap<Link, Vec<u8>>,
    closed: Vec<Link>,
    unreadable: Vec<(Link, String)>,
    chunks: BTreeMap<Link, VecDeque<Chunk>>,
    deaf: bool,
    introduced: BTreeSet<Link>,
}

impl PeerHandler for Script {
    fn notified(&mut self, from: Sid, notification: &Notification) {
        let (round, count) = self.votes.entry(from).or_default();
        *round = notification.round;
        *count += 1;
    }

    fn connected(&mut self, link: Link) {
        self.connected.push(link);
    }

    fn connect_failed(&mut self, leader: Sid) {
        self.failed.push(leader);
    }

    fn received(&mut self, link: Link, bytes: &[u8]) {
        self.received.entry(link).or_default().extend_from_slice(bytes);
    }

    fn closed(&mut self, link: Link) {
        self.closed.push(link);
    }

    fn unreadable(&mut self, link: Link, path: &Path, error: &SendFileError) {
        assert!(!self.closed.contains(&link), "told before the connection is closed");
        self.unreadable.push((link, format!("{}: {error}", path.display())));
    }

    fn next_chunk(&mut self, link: Link) -> Option<Chunk> {
        self.chunks.get_mut(&link)?.pop_front()
    }

    fn reads(&self, _: Link) -> bool {
        !self.deaf
    }

    fn is_introduced(&self, link: Link) -> bool {
        self.introduced.contains(&link)
    }
}

/// A member with its ring.
struct Node {
    ring: Ring,
    peers: Peers,
    script: Script,
    /// Milliseconds by which its clock is ahead.
    ahead: u64,
}

/// Members on addresses of their own, so that tests do not meet each other.
#[derive(Clone)]
struct Cluster {
    members: Vec<PeerAddress>,
    began: Instant,
}

impl Cluster {
    fn new(count: u8) -> Cluster {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id() % 60_000 + 256;
        let member = |sid: u8| PeerAddress {
            sid: Sid(sid.into()),
            host: format!("127.{}.{}.{}", pid >> 8, pid & 0xff, number * 4 + u32::from(sid)),
            quorum_port: 2888,
            election_port: 3888,
        };
        Cluster { members: (1..=count).map(member).collect(), began: Instant::now() }
    }

    fn options(&self, sid: i64) -> PeerOptions {
        PeerOptions {
            me: Sid(sid),
            members: self.members.clone(),
            config: b"version=0".to_vec(),
            listen_on_all: false,
            connect_timeout_ms: 5000,
            hello_timeout_ms: 60_000,
            election_bind_tries: 3,
        }
    }

    fn node(&self, sid: i64) -> Node {
        let ring = Ring::new().unwrap();
        let peers = Peers::new(&self.options(sid), ring.waker()).unwrap();
        self.start(ring, peers)
    }

    fn start(&self, mut ring: Ring, mut peers: Peers) -> Node {
        peers.start(&mut ring, self.now()).unwrap();
        Node { ring, peers, script: Script::default(), ahead: 0 }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn address(&self, sid: i64, election: bool) -> SocketAddr {
        let member = self.members.iter().find(|member| member.sid == Sid(sid)).unwrap();
        let port = if election { member.election_port } else { member.quorum_port };
        SocketAddr::new(member.host.parse().unwrap(), port)
    }

    /// One turn of a member that does not wait long.
    fn turn(&self, node: &mut Node) -> Result<(), PeerError> {
        let now = self.now() + node.ahead;
        node.peers.turn(&mut node.ring, now, &mut node.script)?;
        let sleep = match node.peers.next_deadline(now) {
            Some(at) if at <= now => Duration::ZERO,
            _ => Duration::from_millis(1),
        };
        node.ring.submit_and_wait(Some(sleep)).unwrap();
        let now = self.now() + node.ahead;
        while let Some(completion) = node.ring.next_completion() {
            let ours = node.peers.completion(&completion, now, &mut node.script);
            assert!(ours || matches!(completion, Completion::Woken), "{completion:?}");
        }
        Ok(())
    }

    /// Turns all until `done`. Panics when that does not come.
    fn until(&self, nodes: &mut [&mut Node], mut done: impl FnMut(&mut [&mut Node]) -> bool) {
        let start = Instant::now();
        while !done(nodes) {
            assert!(
                start.elapsed() < LONG,
                "it never came: {:?}",
                nodes.iter().map(|n| &n.peers).collect::<Vec<_>>()
            );
            for node in nodes.iter_mut() {
                self.turn(node).unwrap();
            }
        }
    }

    /// Connects to a port from outside while the members go on.
    fn outside(&self, address: SocketAddr, nodes: &mut [&mut Node]) -> TcpStream {
        let mut stream = None;
        self.until(nodes, |_| {
            stream = TcpStream::connect(address).ok();
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }
}

fn vote(round: i64) -> Notification {
    Notification { state: State::Looking, leader: Sid(1), zxid: Zxid::ZERO, round, peer_epoch: 0, version: 2 }
}

impl Node {
    fn tell(&mut self, to: i64, round: i64) {
        self.peers.notify(Sid(to), &vote(round));
    }

    /// The round of the last vote of a member.
    fn heard(&self, from: i64) -> Option<i64> {
        self.script.votes.get(&Sid(from)).map(|(round, _)| *round)
    }

    fn say(&mut self, link: Link, chunk: Chunk) {
        self.script.chunks.entry(link).or_default().push_back(chunk);
    }
}
