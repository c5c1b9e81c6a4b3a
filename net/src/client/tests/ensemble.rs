//! Three services as an ensemble: a leader, two learners, and between them queues that move when they are told to.

use std::collections::{BTreeMap, VecDeque};

use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::tree::Tree;

use super::world::{Out, Reply, connect};
use crate::client::{
    ConnKey, Forwarded, FromFront, Identity, LeaderFault, Now, Options, Proposer, Service, Upstream, password,
};
use crate::wire::quorum::payload::{self, Request};
use crate::wire::quorum::{Decoder, kind, put_request};

pub const LEADER: usize = 0;

/// What a service says to its ensemble.
#[derive(Default)]
pub struct Wires {
    pub proposals: VecDeque<(Zxid, Vec<u8>)>,
    /// Packets for the leader.
    pub up: VecDeque<Vec<u8>>,
}

impl Proposer for Wires {
    fn propose(&mut self, zxid: Zxid, encode: &mut dyn FnMut(&mut Vec<u8>)) {
        if let Some((last, _)) = self.proposals.back() {
            assert_eq!(last.successor(), Some(zxid), "zxids follow each other");
        }
        let mut payload = Vec::new();
        encode(&mut payload);
        self.proposals.push_back((zxid, payload));
    }
}

impl Upstream for Wires {
    fn forward(&mut self, session: SessionId, cxid: i32, op: i32, body: &[u8], identities: &[Identity]) {
        let (mut data, mut packet) = (Vec::new(), Vec::new());
        Request { session, cxid, op, body }.put_data(&mut data);
        let identities: Vec<_> =
            identities.iter().map(|it| (it.scheme.as_bytes(), it.id.as_bytes())).collect();
        put_request(&mut packet, &data, &identities);
        self.up.push_back(packet);
    }

    fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        let mut packet = Vec::new();
        payload::put_revalidate(&mut packet, session, timeout_ms);
        self.up.push_back(packet);
    }
}

/// What a leader says to a learner.
pub enum Down {
    Commit(Zxid, Vec<u8>),
    Sync,
    Revalidated(SessionId, bool),
}

pub struct Node {
    pub service: Service,
    pub out: Out,
    pub wires: Wires,
    /// From the leader, not delivered yet.
    pub down: VecDeque<Down>,
    /// Syncs that the leader answers behind these transactions.
    pub syncs: VecDeque<Zxid>,
}

pub struct Ensemble {
    pub nodes: Vec<Node>,
    pub now: Now,
    /// The digest of the tree after each transaction.
    digests: BTreeMap<Zxid, u64>,
    /// Everything that was committed.
    pub history: Vec<(Zxid, Vec<u8>)>,
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub node: usize,
    pub conn: ConnKey,
    pub session: SessionId,
}

impl Ensemble {
    /// A leader of epoch 1 and two learners.
    pub fn new() -> Ensemble {
        let mut ensemble = Ensemble::away(|_| {});
        ensemble.establish(Epoch(1));
        ensemble
    }

    /// Three that have no leader yet.
    pub fn away(change: impl Fn(&mut Options)) -> Ensemble {
        let now = Now { mono_ms: 1000, wall_ms: 1_795_285_959_208, mono_us: 1_000_000 };
        let node = |id: usize| {
            let mut options = Options {
                server_id: id as u8 + 1,
                tick_ms: 2000,
                min_session_timeout_ms: 4000,
                max_session_timeout_ms: 40_000,
                ..Options::default()
            };
            change(&mut options);
            let mut out = Out::default();
            let mut service = Service::new(Tree::new(id as u64), [], Zxid::ZERO, options, now);
            service.retire(&mut out);
            Node { service, out, wires: Wires::default(), down: VecDeque::new(), syncs: VecDeque::new() }
        };
        Ensemble {
            nodes: (0..3).map(node).collect(),
            now,
            digests: BTreeMap::new(),
            history: Vec::new(),
            generation: 0,
        }
    }

    /// The first one leads, with new links.
    pub fn establish(&mut self, epoch: Epoch) {
        for (id, node) in self.nodes.iter_mut().enumerate() {
            (node.wires, node.down, node.syncs) = Default::default();
            match id {
                LEADER => node.service.lead(self.now, epoch, &mut node.out),
                _ => node.service.learn(epoch, &mut node.out),
            }
        }
    }

    /// All lose their leader, take in what it committed, and get the same again. The rest is lost.
    pub fn elect(&mut self, epoch: Epoch) {
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            node.service.retire(&mut node.out);
            for packet in std::mem::take(&mut node.down) {
                if let Down::Commit(zxid, payload) = packet {
                    self.apply(at, zxid, &payload);
                }
            }
        }
        self.establish(epoch);
    }

    pub fn advance(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.mono_us += ms * 1000;
        self.now.wall_ms += ms as i64;
    }

    /// The leader takes in one packet of a learner.
    pub fn up(&mut self, from: usize) -> bool {
        let Some(packet) = self.nodes[from].wires.up.pop_front() else { return false };
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(&packet);
        let packet = decoder.next_packet().unwrap().unwrap();
        let (leader, learners) = self.nodes.split_at_mut(1);
        let (leader, learner) = (&mut leader[0], &mut learners[from - 1]);
        if packet.kind == kind::REVALIDATE {
            let (session, timeout) = payload::revalidate(&packet).unwrap();
            let valid = leader.service.revalidate(self.now, from as u64, session, timeout, &mut leader.out);
            learner.down.push_back(Down::Revalidated(session, valid));
            return true;
        }
        let request = Request::decode(&packet).unwrap();
        let identities = packet.identities();
        let outcome =
            leader.service.forwarded(self.now, from as u64, &request, identities, &mut leader.wires).unwrap();
        match outcome {
            Forwarded::Proposed(zxid) => assert_eq!(leader.wires.proposals.back().unwrap().0, zxid),
            Forwarded::Sync { behind: Some(zxid) } => learner.syncs.push_back(zxid),
            Forwarded::Sync { behind: None } => learner.down.push_back(Down::Sync),
        }
        true
    }

    /// The oldest proposal commits.
    pub fn commit(&mut self) -> bool {
        let Some((zxid, payload)) = self.nodes[LEADER].wires.proposals.pop_front() else { return false };
        for learner in &mut self.nodes[1..] {
            learner.down.push_back(Down::Commit(zxid, payload.clone()));
            while learner.syncs.pop_front_if(|after| *after <= zxid).is_some() {
                learner.down.push_back(Down::Sync);
            }
        }
        self.apply(LEADER, zxid, &payload);
        self.history.push((zxid, payload));
        true
    }

    fn apply(&mut self, at: usize, zxid: Zxid, payload: &[u8]) {
        let node = &mut self.nodes[at];
        node.service.committed(self.now, zxid, payload, &mut node.out).unwrap();
        let tree = node.service.tree();
        assert_eq!((tree.last_zxid(), tree.digest_mismatches()), (zxid, 0));
        let digest = *self.digests.entry(zxid).or_insert(tree.digest());
        assert_eq!(digest, tree.digest(), "trees are equal at {zxid}");
    }

    /// A learner takes in one packet of the leader.
    pub fn down(&mut self, at: usize) -> bool {
        let Some(packet) = self.nodes[at].down.pop_front() else { return false };
        let node = &mut self.nodes[at];
        match packet {
            Down::Commit(zxid, payload) => self.apply(at, zxid, &payload),
            Down::Sync => self.sync_answered(at).unwrap(),
            Down::Revalidated(session, valid) => {
                node.service.revalidated(self.now, session, valid, &mut node.out);
            }
        }
        true
    }

    pub fn sync_answered(&mut self, at: usize) -> Result<(), LeaderFault> {
        let node = &mut self.nodes[at];
        node.service.synced(self.now, &mut node.out, &mut node.wires)
    }

    /// Everything that is under way arrives.
    pub fn settle(&mut self) {
        while self.up(1) | self.up(2) | self.commit() | self.down(1) | self.down(2) {}
    }

    pub fn accept(&mut self, at: usize, slot: u32) -> ConnKey {
        self.generation += 1;
        let conn = ConnKey { front: 0, slot, generation: self.generation };
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 40_000));
        self.handle(at, FromFront::Open { conn, peer });
        conn
    }

    pub fn handle(&mut self, at: usize, event: FromFront<'_>) {
        let node = &mut self.nodes[at];
        node.service.handle(self.now, event, &mut node.out, &mut node.wires);
    }

    pub fn tick(&mut self) {
        (0..self.nodes.len()).for_each(|at| self.tick_at(at));
    }

    pub fn tick_at(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.service.tick(self.now, &mut node.out, &mut node.wires);
    }

    pub fn frame(&mut self, at: usize, conn: ConnKey, bytes: &[u8]) {
        self.handle(at, FromFront::Frame { conn, bytes });
    }

    pub fn send(&mut self, client: Client, request: &[u8]) {
        self.frame(client.node, client.conn, request);
    }

    pub fn raw(&mut self, at: usize, conn: ConnKey) -> Vec<Vec<u8>> {
        let sent = &mut self.nodes[at].out.sent;
        let mine = sent.extract_if(.., |(to, _)| *to == conn);
        mine.map(|(_, frame)| frame).collect()
    }

    pub fn replies(&mut self, client: Client) -> Vec<Reply> {
        self.raw(client.node, client.conn).iter().map(|frame| Reply::parse(frame)).collect()
    }

    /// Sends a request and takes its reply, which must be the only one.
    pub fn ask(&mut self, client: Client, request: &[u8]) -> Reply {
        self.send(client, request);
        self.settle();
        let mut replies = self.replies(client);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    pub fn is_closed(&self, client: Client) -> bool {
        self.nodes[client.node].out.closed.contains(&client.conn)
    }

    /// A connection with a new session.
    pub fn client(&mut self, at: usize, slot: u32) -> Client {
        let conn = self.accept(at, slot);
        self.frame(at, conn, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false)));
        self.settle();
        let (session, read_only) = self.connected(at, conn).expect("a new session");
        assert!(!read_only);
        Client { node: at, conn, session }
    }

    /// Another connection that asks for the session of a client.
    pub fn resume(&mut self, at: usize, slot: u32, client: Client) -> Client {
        let conn = self.accept(at, slot);
        let hello = connect(0, 10_000, client.session, &password::of(client.session), Some(false));
        self.frame(at, conn, &hello);
        Client { node: at, conn, ..client }
    }

    /// The answer to a ConnectRequest, if it has come: the session, and whether it only reads. `NONE`: it is no more.
    pub fn connected(&mut self, at: usize, conn: ConnKey) -> Option<(SessionId, bool)> {
        let place = self.nodes[at].out.sent.iter().position(|(to, _)| *to == conn)?;
        let (_, frame) = self.nodes[at].out.sent.remove(place);
        assert_eq!(frame.len(), 41);
        let mut reader = Reader::new(&frame[8..]);
        let timeout = reader.i32().unwrap();
        let session = SessionId(reader.i64().unwrap());
        assert_eq!(timeout == 0, session == SessionId::NONE);
        Some((session, frame[40] == 1))
    }

    pub fn outstanding(&self, at: usize) -> usize {
        self.nodes[at].service.outstanding()
    }
}
