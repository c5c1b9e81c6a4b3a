//! A blocking client that shows every byte: requests can be pipelined, cut short and sent by hand.
//!
//! No retries, no reconnects, no pings of its own: what a test does not send is not sent.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::wire::{Body, Fields, Stat, connect_request, op, request};

/// How long a read waits before the test is failed. Generous: it is a net for hangs, not a measurement.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why an operation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection broke, or nothing came for [`PATIENCE`].
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The server answered with an error code.
    #[error("the server answered {0}")]
    Code(i32),
}

/// A session as the handshake gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// 0 when the server says the session is gone.
    pub id: i64,
    /// What proves ownership when resuming.
    pub passwd: [u8; 16],
    /// Negotiated, in milliseconds; 0 when the server says the session is gone.
    pub timeout_ms: i32,
}

/// One reply frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request's own number; -2 for pings.
    pub xid: i32,
    /// See the protocol's table of zxids in replies.
    pub zxid: i64,
    /// 0, or an error code.
    pub err: i32,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body of a successful reply, the code of a failed one.
    pub fn ok(self) -> Result<Reply, Failure> {
        if self.err == 0 { Ok(self) } else { Err(Failure::Code(self.err)) }
    }
}

/// A watch event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// 1 created, 2 deleted, 3 data changed, 4 children changed.
    pub kind: i32,
    /// The watched path.
    pub path: String,
}

/// A connection with a session.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    inbox: BufReader<TcpStream>,
    outbox: Vec<u8>,
    xid: i32,
    /// What the handshake agreed on.
    pub session: Session,
    /// Events that came in between replies, oldest first.
    pub events: VecDeque<Event>,
}

impl Client {
    /// A new session with a timeout of 30 s (or what the server makes of it).
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        Client::handshake(addr, connect_request(30_000, 0, &[0; 16]))
    }

    /// A new session with this timeout in milliseconds.
    pub fn connect_with_timeout(addr: SocketAddr, timeout_ms: i32) -> io::Result<Client> {
        Client::handshake(addr, connect_request(timeout_ms, 0, &[0; 16]))
    }

    /// Takes up an earlier session. `session.id` of the result is 0 if the server knows it no more.
    pub fn resume(addr: SocketAddr, session: Session) -> io::Result<Client> {
        Client::handshake(addr, connect_request(session.timeout_ms, session.id, &session.passwd))
    }

    /// Connects, sends this ConnectRequest and waits for the answer.
    pub fn handshake(addr: SocketAddr, connect: Body) -> io::Result<Client> {
        Client::handshake_within(addr, connect, PATIENCE)
    }

    /// The same with another patience, for this and all later answers.
    pub fn handshake_within(addr: SocketAddr, connect: Body, patience: Duration) -> io::Result<Client> {
        let mut stream = raw(addr)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&connect.frame())?;
        Client::from_stream(stream)
    }

    /// Wraps a connection on which a ConnectRequest was already sent by hand.
    pub fn from_stream(stream: TcpStream) -> io::Result<Client> {
        let inbox = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
        let session = Session { id: 0, passwd: [0; 16], timeout_ms: 0 };
        let mut client =
            Client { stream, inbox, outbox: Vec::new(), xid: 0, session, events: VecDeque::new() };
        client.finish_handshake()?;
        Ok(client)
    }

    fn finish_handshake(&mut self) -> io::Result<()> {
        let frame = self.frame()?;
        let mut fields = Fields(&frame);
        assert_eq!(fields.int(), 0, "protocol version of a ConnectResponse");
        self.session.timeout_ms = fields.int();
        self.session.id = fields.long();
        let passwd = fields.buffer().expect("a ConnectResponse carries a password");
        self.session.passwd = passwd.try_into().expect("the password has 16 bytes");
        Ok(())
    }

    /// Numbers the following requests from behind this one: a session goes on counting on another connection.
    pub fn count_on_from(&mut self, xid: i32) {
        self.xid = xid;
    }

    /// Puts a request into the outbox and returns its xid.
    pub fn queue(&mut self, op: i32, body: &Body) -> i32 {
        self.xid += 1;
        let xid = match op {
            op::PING => -2,
            op::AUTH => -4,
            _ => self.xid,
        };
        self.outbox.extend_from_slice(&request(xid, op, body).frame());
        xid
    }

    /// Sends the outbox.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.outbox)?;
        self.outbox.clear();
        Ok(())
    }

    /// The next reply; events that come before it go to [`Client::events`].
    pub fn recv(&mut self) -> io::Result<Reply> {
        loop {
            let frame = self.frame()?;
            let mut fields = Fields(&frame);
            let (xid, zxid, err) = (fields.int(), fields.long(), fields.int());
            if xid != -1 {
                return Ok(Reply { xid, zxid, err, body: fields.0.to_vec() });
            }
            let (kind, _state, path) = (fields.int(), fields.int(), fields.string());
            self.events.push_back(Event { kind, path });
        }
    }

    /// Sends one request and waits for its reply.
    pub fn call(&mut self, op: i32, body: &Body) -> Result<Reply, Failure> {
        let xid = self.queue(op, body);
        self.flush()?;
        let reply = self.recv()?;
        assert_eq!(reply.xid, xid, "replies come in the order of the requests");
        reply.ok()
    }

    /// Creates a node with an open ACL; returns its path (which a sequential flag extends).
    pub fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<String, Failure> {
        let reply = self.call(op::CREATE, &Body::create(path, data, flags))?;
        Ok(Fields(&reply.body).string())
    }

    /// Data and Stat of a node.
    pub fn get(&mut self, path: &str) -> Result<(Vec<u8>, Stat), Failure> {
        let reply = self.call(op::GET_DATA, &Body::new().string(path).bool(false))?;
        let mut fields = Fields(&reply.body);
        let data = fields.buffer().unwrap_or_default().to_vec();
        Ok((data, fields.stat()))
    }

    /// Sets data unconditionally if `version` is -1.
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, Failure> {
        let reply = self.call(op::SET_DATA, &Body::new().string(path).buffer(data).int(version))?;
        Ok(Fields(&reply.body).stat())
    }

    /// Deletes unconditionally.
    pub fn delete(&mut self, path: &str) -> Result<(), Failure> {
        self.call(op::DELETE, &Body::new().string(path).int(-1)).map(drop)
    }

    /// The Stat of a node, `None` if there is no such node.
    pub fn exists(&mut self, path: &str) -> Result<Option<Stat>, Failure> {
        match self.call(op::EXISTS, &Body::new().string(path).bool(false)) {
            Ok(reply) => Ok(Some(Fields(&reply.body).stat())),
            Err(Failure::Code(crate::wire::code::NO_NODE)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The names below a node.
    pub fn children(&mut self, path: &str) -> Result<Vec<String>, Failure> {
        let reply = self.call(op::GET_CHILDREN, &Body::new().string(path).bool(false))?;
        Ok(Fields(&reply.body).strings())
    }

    /// One ping and its answer.
    pub fn ping(&mut self) -> Result<(), Failure> {
        self.call(op::PING, &Body::new()).map(drop)
    }

    /// Ends the session and waits for the server's word.
    pub fn close(mut self) -> Result<(), Failure> {
        self.call(op::CLOSE_SESSION, &Body::new()).map(drop)
    }

    /// The socket, for sending what no client would send.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 4];
        self.inbox.read_exact(&mut head)?;
        let len = i32::from_be_bytes(head);
        let len = usize::try_from(len).unwrap_or_else(|_| panic!("the server sent a frame of length {len}"));
        let mut frame = vec![0; len];
        self.inbox.read_exact(&mut frame)?;
        Ok(frame)
    }
}

/// A bare connection with [`PATIENCE`] on reads and writes.
pub fn raw(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(10))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The answer to a four-letter word: everything until the server closes.
pub fn word(addr: SocketAddr, word: &str) -> io::Result<String> {
    word_within(addr, word, PATIENCE)
}

/// The answer to a four-letter word, if it comes in this time.
pub fn word_within(addr: SocketAddr, word: &str, patience: Duration) -> io::Result<String> {
    let mut stream = raw(addr)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(word.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Reads until the server closes the connection, by FIN or RST, and returns what came before. Fails with
/// `WouldBlock` or `TimedOut` if it stays open for [`PATIENCE`].
pub fn until_closed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(got),
            Ok(n) => got.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(got),
            Err(e) => return Err(e),
        }
    }
}
