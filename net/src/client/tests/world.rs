//! A service with clients, a clock and a log that commits when it is told to.

use std::collections::VecDeque;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::{Reader, put_bool, put_buffer, put_i32, put_i64, put_len, put_ustring};
use ringkeeper_engine::tree::Tree;

use crate::client::{
    ConnKey, FromFront, Identity, Now, Options, Outbox, Proposer, Service, Upstream, password,
};
use crate::wire::op;

#[derive(Default)]
pub struct Out {
    pub sent: Vec<(ConnKey, Vec<u8>)>,
    pub closed: Vec<ConnKey>,
    pub paused: Vec<(ConnKey, bool)>,
    pub full: bool,
}

impl Outbox for Out {
    fn send(&mut self, conn: ConnKey, frame: &[u8]) {
        assert!(!self.closed.contains(&conn), "a frame for a closed connection");
        self.sent.push((conn, frame.to_vec()));
    }
    fn close(&mut self, conn: ConnKey) {
        assert!(!self.closed.contains(&conn), "closed twice");
        self.closed.push(conn);
    }
    fn is_full(&self, _: ConnKey) -> bool {
        self.full
    }
    fn pause(&mut self, conn: ConnKey, paused: bool) {
        self.paused.push((conn, paused));
    }
}

#[derive(Default)]
pub struct Log {
    pub queue: VecDeque<(Zxid, Vec<u8>)>,
    pub last: Zxid,
}

impl Proposer for Log {
    fn propose(&mut self, zxid: Zxid, encode: &mut dyn FnMut(&mut Vec<u8>)) {
        assert_eq!(zxid.raw(), self.last.raw() + 1, "zxids follow each other");
        self.last = zxid;
        let mut payload = Vec::new();
        encode(&mut payload);
        self.queue.push_back((zxid, payload));
    }
}

impl Upstream for Log {
    fn forward(&mut self, _: SessionId, _: i32, _: i32, _: &[u8], _: &[Identity]) {
        unreachable!("a node that stands alone has no leader");
    }

    fn revalidate(&mut self, _: SessionId, _: i32) {
        unreachable!("a node that stands alone has no leader");
    }
}

/// One server-to-client frame behind the handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex: String = self.body.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "(xid {} zxid {} err {} {hex})", self.xid, self.zxid, self.err)
    }
}

impl Reply {
    pub fn parse(frame: &[u8]) -> Reply {
        let mut reader = Reader::new(frame);
        assert_eq!(reader.i32().unwrap() as usize, frame.len() - 4);
        Reply {
            xid: reader.i32().unwrap(),
            zxid: reader.i64().unwrap(),
            err: reader.i32().unwrap(),
            body: reader.rest().to_vec(),
        }
    }

    /// For notifications: (type, path).
    pub fn event(&self) -> (i32, String) {
        assert_eq!((self.xid, self.err), (-1, 0));
        let mut reader = Reader::new(&self.body);
        let kind = reader.i32().unwrap();
        assert_eq!(reader.i32().unwrap(), 3);
        (kind, String::from_utf8(reader.ustring().unwrap().unwrap().to_vec()).unwrap())
    }

    pub fn path(&self) -> String {
        assert_eq!(self.err, 0, "{self:?}");
        String::from_utf8(Reader::new(&self.body).ustring().unwrap().unwrap().to_vec()).unwrap()
    }

    /// The stat at the end of the body.
    pub fn stat(&self) -> StatView {
        assert_eq!(self.err, 0, "{self:?}");
        let mut reader = Reader::new(&self.body[self.body.len() - 68..]);
        let mut long = || reader.i64().unwrap();
        let (czxid, mzxid, ctime, mtime) = (long(), long(), long(), long());
        let mut int = || reader.i32().unwrap();
        let (version, cversion, aversion) = (int(), int(), int());
        let owner = reader.i64().unwrap();
        let (data_length, children) = (reader.i32().unwrap(), reader.i32().unwrap());
        let pzxid = reader.i64().unwrap();
        StatView {
            czxid,
            mzxid,
            ctime,
            mtime,
            version,
            cversion,
            aversion,
            owner,
            data_length,
            children,
            pzxid,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatView {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub owner: i64,
    pub data_length: i32,
    pub children: i32,
    pub pzxid: i64,
}

pub struct World {
    pub service: Service,
    pub out: Out,
    pub log: Log,
    pub now: Now,
    /// Whether proposals commit before the call returns.
    pub eager: bool,
    generation: u32,
}

pub type Entry<'a> = (i32, &'a str, &'a str);
pub const OPEN: &[Entry<'_>] = &[(31, "world", "anyone")];

impl World {
    pub fn new() -> World {
        World::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Options)) -> World {
        let mut options = Options {
            tick_ms: 2000,
            min_session_timeout_ms: 4000,
            max_session_timeout_ms: 40_000,
            ..Options::default()
        };
        change(&mut options);
        World::over(Tree::new(1), Vec::new(), options)
    }

    pub fn over(tree: Tree, sessions: Vec<(SessionId, i32)>, options: Options) -> World {
        let now = Now { mono_ms: 1000, wall_ms: 1_795_285_959_208, mono_us: 1_000_000 };
        let last = tree.last_zxid();
        World {
            service: Service::new(tree, sessions, last, options, now),
            out: Out::default(),
            log: Log { last, ..Log::default() },
            now,
            eager: true,
            generation: 0,
        }
    }

    pub fn advance(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.mono_us += ms * 1000;
        self.now.wall_ms += ms as i64;
    }

    pub fn accept_from(&mut self, slot: u32, peer: &str) -> ConnKey {
        self.generation += 1;
        let conn = ConnKey { front: (slot % 2) as u16, slot: slot / 2, generation: self.generation };
        let peer = format!("{peer}:40000").parse().unwrap();
        self.service.handle(self.now, FromFront::Open { conn, peer }, &mut self.out, &mut self.log);
        conn
    }

    pub fn accept(&mut self, slot: u32) -> ConnKey {
        self.accept_from(slot, "127.0.0.1")
    }

    pub fn gone(&mut self, conn: ConnKey) {
        self.service.handle(self.now, FromFront::Gone { conn }, &mut self.out, &mut self.log);
    }

    pub fn frame(&mut self, conn: ConnKey, bytes: &[u8]) {
        self.service.handle(self.now, FromFront::Frame { conn, bytes }, &mut self.out, &mut self.log);
        if self.eager {
            self.commit_all();
        }
    }

    pub fn commit(&mut self) -> bool {
        let Some((zxid, payload)) = self.log.queue.pop_front() else { return false };
        let predicted = self.service.tree().digest_mismatches();
        self.service.committed(self.now, zxid, &payload, &mut self.out).unwrap();
        assert_eq!(self.service.tree().digest_mismatches(), predicted, "the digest was predicted wrong");
        true
    }

    pub fn commit_all(&mut self) {
        while self.commit() {}
    }

    pub fn tick(&mut self) {
        self.service.tick(self.now, &mut self.out, &mut self.log);
        if self.eager {
            self.commit_all();
        }
    }

    /// All frames sent since the last look, as they are.
    pub fn raw(&mut self, conn: ConnKey) -> Vec<Vec<u8>> {
        let mut mine = Vec::new();
        self.out.sent.retain(|(to, frame)| {
            if *to == conn {
                mine.push(frame.clone());
            }
            *to != conn
        });
        mine
    }

    pub fn replies(&mut self, conn: ConnKey) -> Vec<Reply> {
        self.raw(conn).iter().map(|frame| Reply::parse(frame)).collect()
    }

    pub fn one(&mut self, conn: ConnKey) -> Reply {
        let mut replies = self.replies(conn);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    pub fn events(&mut self, conn: ConnKey) -> Vec<(i32, String)> {
        self.replies(conn).iter().map(Reply::event).collect()
    }

    pub fn is_closed(&self, conn: ConnKey) -> bool {
        self.out.closed.contains(&conn)
    }

    /// A connection with a new session.
    pub fn client(&mut self, slot: u32) -> Client {
        let conn = self.accept(slot);
        self.client_on(conn)
    }

    pub fn client_on(&mut self, conn: ConnKey) -> Client {
        self.frame(conn, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false)));
        self.commit_all();
        let answer = self.raw(conn).remove(0);
        let mut reader = Reader::new(&answer[8..]);
        let timeout = reader.i32().unwrap();
        let session = SessionId(reader.i64().unwrap());
        assert_eq!((answer.len(), timeout), (41, 10_000));
        Client { conn, session }
    }

    /// Another connection for the session of a client.
    pub fn resume(&mut self, slot: u32, client: Client) -> Client {
        let conn = self.accept(slot);
        self.frame(conn, &connect(0, 10_000, client.session, &password::of(client.session), Some(false)));
        Client { conn, ..client }
    }

    /// Sends a request and takes its reply, which must be the only one.
    pub fn ask(&mut self, client: Client, request: Vec<u8>) -> Reply {
        self.frame(client.conn, &request);
        self.one(client.conn)
    }

    pub fn err(&mut self, client: Client, request: Vec<u8>) -> i32 {
        let reply = self.ask(client, request);
        assert!(reply.err == 0 || reply.body.is_empty(), "{reply:?}");
        reply.err
    }

    pub fn ok(&mut self, client: Client, request: Vec<u8>) -> Reply {
        let reply = self.ask(client, request);
        assert_eq!(reply.err, 0, "{reply:?}");
        reply
    }
}

#[derive(Clone, Copy)]
pub struct Client {
    pub conn: ConnKey,
    pub session: SessionId,
}

pub fn connect(seen: i64, timeout: i32, session: SessionId, password: &[u8], flag: Option<bool>) -> Vec<u8> {
    let mut out = Vec::new();
    put_i32(&mut out, 0);
    put_i64(&mut out, seen);
    put_i32(&mut out, timeout);
    put_i64(&mut out, session.0);
    put_buffer(&mut out, Some(password));
    if let Some(flag) = flag {
        put_bool(&mut out, flag);
    }
    out
}

pub fn header(xid: i32, op: i32) -> Vec<u8> {
    let mut out = Vec::new();
    put_i32(&mut out, xid);
    put_i32(&mut out, op);
    out
}

pub fn put_acl(out: &mut Vec<u8>, acl: &[Entry<'_>]) {
    put_len(out, acl.len());
    for (perms, scheme, id) in acl {
        put_i32(out, *perms);
        put_ustring(out, scheme);
        put_ustring(out, id);
    }
}

pub fn put_create(out: &mut Vec<u8>, path: &str, data: Option<&[u8]>, acl: &[Entry<'_>], flags: i32) {
    put_ustring(out, path);
    put_buffer(out, data);
    put_acl(out, acl);
    put_i32(out, flags);
}

pub fn create_op(op: i32, path: &str, data: Option<&[u8]>, acl: &[Entry<'_>], flags: i32) -> Vec<u8> {
    let mut out = header(1, op);
    put_create(&mut out, path, data, acl, flags);
    out
}

pub fn create(path: &str, flags: i32) -> Vec<u8> {
    create_op(op::CREATE, path, Some(b""), OPEN, flags)
}

pub fn create_ttl(path: &str, flags: i32, ttl: i64) -> Vec<u8> {
    let mut out = create_op(op::CREATE_TTL, path, Some(b""), OPEN, flags);
    put_i64(&mut out, ttl);
    out
}

pub fn delete(path: &str, version: i32) -> Vec<u8> {
    path_int(op::DELETE, path, version)
}

pub fn path_int(op: i32, path: &str, number: i32) -> Vec<u8> {
    let mut out = header(1, op);
    put_ustring(&mut out, path);
    put_i32(&mut out, number);
    out
}

pub fn set(path: &str, data: &[u8], version: i32) -> Vec<u8> {
    let mut out = header(1, op::SET_DATA);
    put_ustring(&mut out, path);
    put_buffer(&mut out, Some(data));
    put_i32(&mut out, version);
    out
}

pub fn set_acl(path: &str, acl: &[Entry<'_>], version: i32) -> Vec<u8> {
    let mut out = header(1, op::SET_ACL);
    put_ustring(&mut out, path);
    put_acl(&mut out, acl);
    put_i32(&mut out, version);
    out
}

pub fn read(op: i32, path: &str, watch: bool) -> Vec<u8> {
    let mut out = path_only(op, path);
    put_bool(&mut out, watch);
    out
}

pub fn get(path: &str) -> Vec<u8> {
    read(op::GET_DATA, path, false)
}

pub fn path_only(op: i32, path: &str) -> Vec<u8> {
    let mut out = header(1, op);
    put_ustring(&mut out, path);
    out
}

pub fn ping() -> Vec<u8> {
    header(-2, op::PING)
}

pub fn close() -> Vec<u8> {
    header(1, op::CLOSE_SESSION)
}

pub fn auth(scheme: &str, data: Option<&[u8]>) -> Vec<u8> {
    let mut out = header(-4, op::AUTH);
    put_i32(&mut out, 0);
    put_ustring(&mut out, scheme);
    put_buffer(&mut out, data);
    out
}

pub fn set_watches(op: i32, since: i64, lists: &[&[&str]]) -> Vec<u8> {
    let mut out = header(-8, op);
    put_i64(&mut out, since);
    for list in lists {
        put_len(&mut out, list.len());
        for path in *list {
            put_ustring(&mut out, path);
        }
    }
    out
}

/// Operations of a multi as (opcode, body).
pub fn multi_of(op: i32, ops: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let mut out = header(1, op);
    for (kind, body) in ops {
        put_i32(&mut out, *kind);
        put_bool(&mut out, false);
        put_i32(&mut out, -1);
        out.extend_from_slice(body);
    }
    put_i32(&mut out, -1);
    put_bool(&mut out, true);
    put_i32(&mut out, -1);
    out
}

/// A multi of stand-alone requests.
pub fn multi(requests: &[Vec<u8>]) -> Vec<u8> {
    let ops: Vec<(i32, Vec<u8>)> = requests
        .iter()
        .map(|request| (i32::from_be_bytes(request[4..8].try_into().unwrap()), request[8..].to_vec()))
        .collect();
    multi_of(op::MULTI, &ops)
}

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Changes the xid of a request.
pub fn xid(xid: i32, mut request: Vec<u8>) -> Vec<u8> {
    request[..4].copy_from_slice(&xid.to_be_bytes());
    request
}
