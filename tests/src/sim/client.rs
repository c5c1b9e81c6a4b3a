//! Clients: sessions that write, read, sync, end, move to another server when theirs is silent, and check every answer.
//!
//! A client keeps its requests numbered over all connections of a session, so that a committed transaction tells which
//! request it was. What an answer says must be what the judge knows of that zxid.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_net::client::ConnKey;

use super::history::NodeState;
use super::machine::Input;
use super::plan::Plan;
use super::{Event, MS, World};
use crate::wire::{Body, Fields, code, op, request};

/// Nodes that all clients write.
const SHARED: usize = 4;
/// Requests of one client that may be under way.
const PIPELINE: usize = 4;

/// A frame; in a trace, the numbers that it begins with, its length and a sum of its bytes.
#[derive(Clone)]
pub struct Frame(pub Vec<u8>);

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers =
            self.0.chunks_exact(4).take(4).map(|it| i32::from_be_bytes([it[0], it[1], it[2], it[3]]));
        let sum = self.0.iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        write!(f, "{:?}+{} {sum:x}", numbers.collect::<Vec<_>>(), self.0.len())
    }
}

/// What a client sends.
#[derive(Debug, Clone)]
pub enum Sent {
    /// It connects.
    Open,
    /// A frame.
    Frame(Frame),
    /// It hangs up.
    Gone,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Write { path: String, value: Vec<u8>, op: i32 },
    Read { path: String },
    Sync { before: BTreeMap<Epoch, Zxid> },
    Multi,
    Ping,
    Close,
}

/// A request under way.
#[derive(Debug, Clone)]
struct Pending {
    xid: i32,
    asked: Asked,
    at: u64,
}

/// A connection of a client.
#[derive(Debug)]
struct Connection {
    machine: usize,
    incarnation: u32,
    key: ConnKey,
    opened: u64,
    /// The handshake is over.
    open: bool,
    pending: VecDeque<Pending>,
    /// Nothing sent later arrives earlier.
    up_at: u64,
    down_at: u64,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    index: usize,
    timeout_ms: i32,
    value_bytes: usize,
    every: u64,
    session: SessionId,
    password: [u8; 16],
    /// The newest zxid it has seen.
    seen: Zxid,
    /// The zxid of its last write.
    written: Zxid,
    /// Number of its last request.
    xid: i32,
    connections: u32,
    connection: Option<Connection>,
    /// Makes values and names that differ.
    serial: u64,
    acknowledged: u64,
    /// Nodes of its own that are there.
    own: Vec<String>,
    /// The server it was connected to last.
    last_server: Option<usize>,
}

impl Client {
    pub fn new(index: usize, plan: &Plan) -> Client {
        Client {
            index,
            timeout_ms: [1000, 2000, 6000][index % 3],
            value_bytes: plan.value_bytes,
            every: plan.client_every,
            session: SessionId::NONE,
            password: [0; 16],
            seen: Zxid::ZERO,
            written: Zxid::ZERO,
            xid: 0,
            connections: 0,
            connection: None,
            serial: 0,
            acknowledged: 0,
            own: Vec::new(),
            last_server: None,
        }
    }

    /// Writes that were acknowledged.
    pub fn writes(&self) -> u64 {
        self.acknowledged
    }

    /// Nothing of it is under way.
    pub fn is_idle(&self) -> bool {
        self.connection.as_ref().is_none_or(|it| it.open && it.pending.is_empty())
    }

    pub fn is_writing(&self) -> bool {
        let writes = |it: &Pending| matches!(it.asked, Asked::Write { .. } | Asked::Multi);
        self.connection.as_ref().is_some_and(|it| it.pending.iter().any(writes))
    }

    pub fn picture(&self) -> String {
        format!(
            "client {}: session {} {} writes, {:?}",
            self.index, self.session, self.acknowledged, self.connection
        )
    }

    fn forget_session(&mut self) {
        self.session = SessionId::NONE;
        (self.xid, self.written) = (0, Zxid::ZERO);
        self.own.clear();
    }

    fn value(&mut self, rng: &mut fastrand::Rng) -> Vec<u8> {
        self.serial += 1;
        let mut value = format!("{}:{}", self.index, self.serial).into_bytes();
        value.resize(value.len() + rng.usize(0..self.value_bytes), b'.');
        value
    }

    /// The next request, as what it means and its bytes.
    fn next_request(&mut self, rng: &mut fastrand::Rng, before: BTreeMap<Epoch, Zxid>) -> (Asked, i32, Body) {
        let shared = format!("/r{}", rng.usize(0..SHARED));
        match rng.u8(0..32) {
            0..=11 => {
                let value = self.value(rng);
                let body = Body::new().string(&shared).buffer(&value).int(-1);
                (Asked::Write { path: shared, value, op: op::SET_DATA }, op::SET_DATA, body)
            }
            12..=13 => {
                // The node that all sets need, if nobody has made it.
                let value = self.value(rng);
                let body = Body::create(&shared, &value, 0);
                (Asked::Write { path: shared, value, op: op::CREATE }, op::CREATE, body)
            }
            14..=17 => {
                self.serial += 1;
                let path = format!("/c{}-{}", self.index, self.serial);
                let value = self.value(rng);
                let ephemeral = rng.bool();
                let body = Body::create(&path, &value, i32::from(ephemeral));
                self.own.push(path.clone());
                (Asked::Write { path, value, op: op::CREATE }, op::CREATE, body)
            }
            18..=19 if !self.own.is_empty() => {
                let path = self.own.swap_remove(rng.usize(0..self.own.len()));
                let body = Body::new().string(&path).int(-1);
                (Asked::Write { path, value: Vec::new(), op: op::DELETE }, op::DELETE, body)
            }
            20..=22 => {
                let value = self.value(rng);
                let (first, second) = (format!("/r{}", rng.usize(0..SHARED)), shared);
                let head = |body: Body, kind| body.int(kind).bool(false).int(-1);
                let body = head(Body::new(), op::SET_DATA).string(&first).buffer(&value).int(-1);
                let body = head(body, op::SET_DATA).string(&second).buffer(&value).int(-1);
                let body = body.int(-1).bool(true).int(-1);
                (Asked::Multi, op::MULTI, body)
            }
            23..=24 => {
                let body = Body::new().string("/");
                (Asked::Sync { before }, op::SYNC, body)
            }
            25 => (Asked::Ping, op::PING, Body::new()),
            _ => {
                let path = match self.own.len() {
                    0 => shared,
                    n if rng.bool() => self.own[rng.usize(0..n)].clone(),
                    _ => shared,
                };
                let body = Body::new().string(&path).bool(false);
                (Asked::Read { path }, op::GET_DATA, body)
            }
        }
    }
}

impl World {
    /// A client considers what to do, again and again.
    pub fn client_turn(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let pause = self.rng.u64(1..2 * client.every);
        self.after(pause, Event::Client(index));
        let client = &mut self.clients[index];
        let Some(connection) = &client.connection else { return self.client_connects(index) };
        let patience = client.timeout_ms as u64 * MS * 2 / 3;
        let waiting_since = if connection.open {
            connection.pending.front().map(|it| it.at)
        } else {
            Some(connection.opened)
        };
        let moves = !self.quiet && self.rng.u16(0..400) == 0;
        if moves || waiting_since.is_some_and(|at| self.now > at + patience) {
            let leave = moves && self.rng.u8(0..4) == 0;
            self.client_hangs_up(index);
            if leave {
                // Its session ends when it is due.
                self.clients[index].forget_session();
            }
            return;
        }
        if !connection.open
            || connection.pending.len() >= PIPELINE
            || matches!(connection.pending.back(), Some(Pending { asked: Asked::Close, .. }))
        {
            return;
        }
        let (asked, op, body) = if self.quiet {
            if !connection.pending.is_empty() || self.rng.u8(0..8) > 0 {
                return;
            }
            (Asked::Ping, op::PING, Body::new())
        } else if self.rng.u16(0..300) == 0 {
            (Asked::Close, op::CLOSE_SESSION, Body::new())
        } else {
            let before = self.judge.acknowledged_before();
            client.next_request(&mut self.rng, before)
        };
        let xid = match asked {
            Asked::Ping => -2,
            _ => {
                client.xid += 1;
                client.xid
            }
        };
        self.ask(index, xid, asked, request(xid, op, &body).0);
    }

    fn ask(&mut self, index: usize, xid: i32, asked: Asked, frame: Vec<u8>) {
        let at = self.now;
        let connection = self.clients[index].connection.as_mut().expect("connected");
        connection.pending.push_back(Pending { xid, asked, at });
        self.client_sends(index, Sent::Frame(Frame(frame)));
    }

    fn client_connects(&mut self, index: usize) {
        let machine = self.rng.usize(0..self.machines.len());
        let client = &mut self.clients[index];
        client.connections += 1;
        let slot = (client.index as u32) * 8 + client.connections % 8;
        let key = ConnKey { front: 0, slot, generation: client.connections };
        client.connection = Some(Connection {
            machine,
            incarnation: self.machines[machine].incarnation,
            key,
            opened: self.now,
            open: false,
            pending: VecDeque::new(),
            up_at: 0,
            down_at: 0,
        });
        let hello = Body::new().int(0).long(client.seen.raw()).int(client.timeout_ms).long(client.session.0);
        let hello = hello.buffer(&client.password).bool(false);
        self.client_sends(index, Sent::Open);
        self.client_sends(index, Sent::Frame(Frame(hello.0)));
    }

    fn client_sends(&mut self, index: usize, what: Sent) {
        let delay = self.rng.u64(40..900);
        let Some(connection) = &mut self.clients[index].connection else { return };
        connection.up_at = (self.now + delay).max(connection.up_at);
        let Connection { machine, incarnation, key, up_at, .. } = *connection;
        self.at(up_at, Event::Up { machine, incarnation, key, what });
    }

    /// A client gives its connection up. The server may learn of it much later, and what is under way still arrives.
    fn client_hangs_up(&mut self, index: usize) {
        let delay = if self.rng.bool() { 0 } else { self.rng.u64(0..3000) * MS };
        let Some(connection) = self.clients[index].connection.take() else { return };
        let Connection { machine, incarnation, key, up_at, .. } = connection;
        self.clients[index].last_server = Some(machine);
        self.at(up_at.max(self.now) + delay, Event::Up { machine, incarnation, key, what: Sent::Gone });
    }

    /// Something of a client arrives at its server.
    pub fn client_sent(&mut self, machine: usize, incarnation: u32, key: ConnKey, what: Sent) {
        let it = &mut self.machines[machine];
        if it.incarnation == incarnation
            && let Some(process) = &mut it.process
        {
            process.inbox.push_back(Input::Client(key, what));
            self.wake(machine);
        }
    }

    /// What a server has for clients sets out.
    pub fn deliver_outputs(&mut self, index: usize) {
        let outputs = std::mem::take(&mut self.machines[index].process.as_mut().expect("alive").outputs.0);
        for (key, frame) in outputs {
            let client = (key.slot / 8) as usize;
            let delay = self.rng.u64(40..900);
            let Some(connection) = self.clients[client].connection.as_mut().filter(|it| it.key == key) else {
                continue;
            };
            connection.down_at = (self.now + delay).max(connection.down_at);
            let at = connection.down_at;
            self.at(at, Event::Down { client, key, frame: frame.map(Frame) });
        }
    }

    /// A server is no more; its clients notice soon, or only by its silence.
    pub fn clients_lose(&mut self, machine: usize, power: bool) {
        for index in 0..self.clients.len() {
            let delay = self.rng.u64(0..20) * MS;
            if let Some(connection) = &self.clients[index].connection
                && connection.machine == machine
                && !power
            {
                let key = connection.key;
                let at = (self.now + delay).max(connection.down_at);
                self.at(at, Event::Down { client: index, key, frame: None });
            }
        }
    }

    /// Something of a server arrives at its client.
    pub fn client_received(&mut self, index: usize, key: ConnKey, frame: Option<Frame>) {
        let client = &mut self.clients[index];
        let Some(connection) = client.connection.as_mut().filter(|it| it.key == key) else { return };
        let Some(frame) = frame else {
            let closed = matches!(connection.pending.front(), Some(Pending { asked: Asked::Close, .. }));
            client.last_server = Some(connection.machine);
            client.connection = None;
            if closed {
                client.forget_session();
            }
            return;
        };
        let Frame(frame) = frame;
        let mut fields = Fields(&frame);
        assert!(fields.int() as usize + 4 == frame.len(), "a frame says how long it is");
        if !connection.open {
            return self.handshake(index, fields);
        }
        self.answered(index, fields);
    }

    fn handshake(&mut self, index: usize, mut fields: Fields<'_>) {
        let client = &mut self.clients[index];
        let (_protocol, timeout, session) = (fields.int(), fields.int(), SessionId(fields.long()));
        let password = fields.buffer().expect("a password").try_into().expect("of sixteen bytes");
        if timeout == 0 {
            // Gone, and with it all that it owned.
            assert!(client.session != SessionId::NONE, "a new session is refused as expired");
            client.forget_session();
            client.connection = None;
            return;
        }
        let connection = client.connection.as_mut().expect("it was answered");
        if client.session != SessionId::NONE {
            assert!(session == client.session, "session {} is resumed as {session}", client.session);
            if client.last_server != Some(connection.machine) {
                self.coverage.moved += 1;
            }
        }
        connection.open = true;
        (client.session, client.password) = (session, password);
    }

    fn answered(&mut self, index: usize, mut fields: Fields<'_>) {
        let client = &mut self.clients[index];
        let (xid, zxid, err) = (fields.int(), Zxid::from_raw(fields.long()), fields.int());
        let connection = client.connection.as_mut().expect("it was answered");
        let pending = connection.pending.pop_front();
        let Some(Pending { xid: expected, asked, .. }) = pending else {
            panic!("client {index} gets an answer to {xid}, and has asked for nothing");
        };
        assert!(
            xid == expected,
            "FIFO: client {index} gets the answer to {xid}, the oldest request is {expected}"
        );
        if asked == Asked::Ping {
            return;
        }
        assert!(
            zxid >= client.seen,
            "FIFO: client {index} has seen {}, the answer to {xid} is of {zxid}",
            client.seen
        );
        client.seen = zxid;
        let machine = connection.machine;
        match asked {
            Asked::Write { path, value, op } if err == 0 => {
                assert!(
                    zxid > client.written,
                    "FIFO: write {xid} is {zxid}, one before it {}",
                    client.written
                );
                client.written = zxid;
                client.acknowledged += 1;
                self.judge.acknowledge(zxid, self.clients[index].session, xid);
                let state = self.judge.history.node_at(&path, zxid);
                let done = state.as_ref().map(|it| &it.0);
                let expected = (op != op::DELETE).then_some(&value);
                assert!(
                    done == expected,
                    "{path} is not what write {xid} of client {index} has made it at {zxid}"
                );
            }
            Asked::Multi if err == 0 && fields.int() != -1 => {
                client.acknowledged += 1;
                self.judge.acknowledge(zxid, self.clients[index].session, xid);
            }
            Asked::Write { op, .. } if err == code::NO_NODE => assert!(op != op::CREATE),
            Asked::Write { op, .. } if err == code::NODE_EXISTS => assert!(op == op::CREATE),
            Asked::Read { path } => {
                let found: NodeState = match err {
                    0 => {
                        let data = fields.buffer().unwrap_or_default().to_vec();
                        let stat = fields.stat();
                        Some((data, Zxid::from_raw(stat.mzxid), stat.version))
                    }
                    code::NO_NODE => None,
                    other => panic!("client {index} reads {path}: error {other}"),
                };
                let expected = self.judge.history.node_at(&path, zxid);
                assert!(
                    found == expected,
                    "client {index} reads {path} at {zxid} on server {}: {found:?}, it was {expected:?}",
                    machine + 1
                );
            }
            Asked::Sync { before } if err == 0 => {
                let status = self.machines[machine].status();
                // Had it changed hands since, its answer would not have come over this connection.
                if let Some(status) = status.filter(|status| status.serving) {
                    let owed = before.range(..=status.epoch).next_back().map_or(Zxid::ZERO, |last| *last.1);
                    assert!(
                        zxid >= owed,
                        "client {index} is synced to {zxid}, acknowledged before was {owed}"
                    );
                }
            }
            Asked::Close => {
                self.clients[index].forget_session();
                self.client_hangs_up(index);
            }
            _ => assert!(
                err == 0 || err == code::NO_NODE || err == code::NODE_EXISTS || asked == Asked::Multi,
                "client {index}: error {err} to {asked:?}"
            ),
        }
    }
}
