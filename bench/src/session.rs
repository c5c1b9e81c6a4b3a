//! One blocking, pipelining connection: prepares the znodes of a run, removes them, finds out whether a server serves,
//! and writes one at a time while servers are killed. No load goes through it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{BenchError, code_name};
use crate::wire::{self, Credentials, Frames, ReplyHeader, WireError};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the answer to a first question may take: a server that is starting may swallow one.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// How long connecting may take at most.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Requests in flight while preparing.
const PIPELINE: usize = 500;
/// Bytes in flight while preparing: far below what both ends' socket buffers hold, so that neither waits for the
/// other to read.
const PIPELINE_BYTES: usize = 128 << 10;

/// A blocking session.
#[derive(Debug)]
pub struct Session {
    peer: SocketAddr,
    stream: TcpStream,
    read: Vec<u8>,
    read_at: usize,
    xid: i32,
    credentials: Credentials,
}

impl Session {
    /// Connects and opens a session of 30 s.
    pub fn open(peer: SocketAddr) -> Result<Session, BenchError> {
        Session::resume(peer, &Credentials::default(), 0, PATIENCE)
    }

    /// Opens a session and closes it again, without much patience: whether the server serves.
    pub fn probe(peer: SocketAddr) -> Result<(), BenchError> {
        Session::resume(peer, &Credentials::default(), 0, PROBE_PATIENCE)?.close()
    }

    /// Connects with a session that exists; the default credentials open one. The server has to have seen
    /// `last_zxid`, and each answer may take as long as `patience`.
    pub fn resume(
        peer: SocketAddr,
        credentials: &Credentials,
        last_zxid: i64,
        patience: Duration,
    ) -> Result<Session, BenchError> {
        let socket = |doing| move |source| BenchError::Socket { doing, peer, source };
        let stream = TcpStream::connect_timeout(&peer, patience.min(CONNECT_PATIENCE))
            .map_err(socket("connecting to"))?;
        stream.set_nodelay(true).map_err(socket("configuring the socket to"))?;
        stream.set_read_timeout(Some(patience)).map_err(socket("configuring the socket to"))?;
        stream.set_write_timeout(Some(patience)).map_err(socket("configuring the socket to"))?;
        let credentials = *credentials;
        let mut session = Session { peer, stream, read: Vec::new(), read_at: 0, xid: 0, credentials };
        let mut out = Vec::new();
        wire::resume(&mut out, last_zxid, 30_000, &credentials);
        session.send(&out)?;
        session.credentials = session.receive(wire::parse_credentials)?;
        Ok(session)
    }

    /// What names this session to another server.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Sets the data of a znode and waits; returns the answer's zxid and the version that the data got.
    pub fn set(&mut self, path: &str, data: &[u8]) -> Result<(i64, i32), BenchError> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        let mut out = Vec::new();
        wire::set_data(&mut out, self.xid, path, data);
        self.send(&out)?;
        let expected = self.xid;
        let (header, version) = self.receive(|frame| {
            let header = ReplyHeader::parse(frame)?;
            if header.xid != expected {
                return Err(WireError::XidOutOfOrder { expected, got: header.xid });
            }
            Ok((header, if header.err == 0 { wire::body_version(frame)? } else { 0 }))
        })?;
        if header.err != 0 {
            refused("setting", path.into(), self.peer, header.err)?;
        }
        Ok((header.zxid, version))
    }

    /// Reads the data of a znode and waits for it.
    pub fn read(&mut self, path: &str) -> Result<(), BenchError> {
        let peer = self.peer;
        self.each(
            [path.to_string()],
            |out, xid, path| wire::read(out, xid, wire::GET_DATA, path),
            |path, code| refused("reading", path, peer, code),
        )
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        let peer = self.peer;
        self.stream.write_all(bytes).map_err(|source| BenchError::Socket {
            doing: "sending to",
            peer,
            source,
        })
    }

    /// Waits for one frame and reads it with `parse`.
    fn receive<T>(&mut self, parse: impl FnOnce(&[u8]) -> Result<T, WireError>) -> Result<T, BenchError> {
        let peer = self.peer;
        let wire = |source| BenchError::Wire { doing: "understanding", peer, source };
        loop {
            let mut frames = Frames::new(&self.read[self.read_at..]);
            if let Some(frame) = frames.next_frame().map_err(wire)? {
                self.read_at += frames.consumed();
                return parse(frame).map_err(wire);
            }
            self.read.drain(..self.read_at);
            self.read_at = 0;
            let held = self.read.len();
            self.read.resize(held + (64 << 10), 0);
            let got = self.stream.read(&mut self.read[held..]);
            self.read.truncate(held + got.as_ref().copied().unwrap_or(0));
            match got {
                Ok(0) => {
                    let source = std::io::ErrorKind::UnexpectedEof.into();
                    return Err(BenchError::Socket { doing: "the connection was closed by", peer, source });
                }
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(BenchError::Socket { doing: "receiving from", peer, source }),
            }
        }
    }

    /// Sends one request for each path, several at a time, and hands each error code that is not 0 to `on_err`
    /// with the path.
    pub fn each(
        &mut self,
        paths: impl IntoIterator<Item = String>,
        encode: impl Fn(&mut Vec<u8>, i32, &str),
        mut on_err: impl FnMut(String, i32) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let mut flight: VecDeque<(String, i32, usize)> = VecDeque::new();
        let mut flight_bytes = 0;
        let mut out = Vec::new();
        let mut paths = paths.into_iter().fuse().peekable();
        while paths.peek().is_some() || !flight.is_empty() {
            out.clear();
            while flight.len() < PIPELINE && (flight_bytes < PIPELINE_BYTES) {
                let Some(path) = paths.next() else { break };
                self.xid = self.xid.checked_add(1).unwrap_or(1);
                let before = out.len();
                encode(&mut out, self.xid, &path);
                flight_bytes += out.len() - before;
                flight.push_back((path, self.xid, out.len() - before));
            }
            self.send(&out)?;
            // Takes half of the answers before it sends on, so that requests travel in batches.
            let keep = if paths.peek().is_some() { flight.len() / 2 } else { 0 };
            while flight.len() > keep {
                let Some((path, xid, len)) = flight.pop_front() else { break };
                let header = self.receive(|frame| {
                    let header = ReplyHeader::parse(frame)?;
                    if header.xid != xid {
                        return Err(WireError::XidOutOfOrder { expected: xid, got: header.xid });
                    }
                    Ok(header)
                })?;
                flight_bytes -= len;
                if header.err != 0 {
                    on_err(path, header.err)?;
                }
            }
        }
        Ok(())
    }

    /// Creates the missing parents of a run's znodes and `root` itself.
    pub fn create_root(&mut self, root: &str) -> Result<(), BenchError> {
        let ends = root.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at);
        let mut parents: Vec<String> = ends.map(|at| root[..at].to_string()).collect();
        parents.push(root.to_string());
        for path in parents {
            let peer = self.peer;
            self.each(
                [path],
                |out, xid, path| wire::create(out, xid, path, b"", 0),
                |path, code| {
                    if code == wire::NODE_EXISTS { Ok(()) } else { refused("creating", path, peer, code) }
                },
            )?;
        }
        Ok(())
    }

    /// Gives every path `data`, creating what is missing.
    pub fn fill(&mut self, paths: impl IntoIterator<Item = String>, data: &[u8]) -> Result<(), BenchError> {
        let peer = self.peer;
        let mut present = Vec::new();
        self.each(
            paths,
            |out, xid, path| wire::create(out, xid, path, data, 0),
            |path, code| {
                if code == wire::NODE_EXISTS {
                    present.push(path);
                    Ok(())
                } else {
                    refused("creating", path, peer, code)
                }
            },
        )?;
        self.each(
            present,
            |out, xid, path| wire::set_data(out, xid, path, data),
            |path, code| refused("setting", path, peer, code),
        )
    }

    /// Deletes every path that exists.
    pub fn remove(&mut self, paths: impl IntoIterator<Item = String>) -> Result<(), BenchError> {
        let peer = self.peer;
        self.each(paths, wire::delete, |path, code| {
            if code == wire::NO_NODE { Ok(()) } else { refused("deleting", path, peer, code) }
        })
    }

    /// Names of the children of `path`; none if it does not exist.
    pub fn children(&mut self, path: &str) -> Result<Vec<String>, BenchError> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        let mut out = Vec::new();
        wire::read(&mut out, self.xid, wire::GET_CHILDREN, path);
        self.send(&out)?;
        self.receive(|frame| match ReplyHeader::parse(frame)?.err {
            0 => wire::body_names(frame),
            _ => Ok(Vec::new()),
        })
    }

    /// Removes `root` if nothing is left below it; anything else that lives there stays.
    pub fn remove_root(&mut self, root: &str) -> Result<(), BenchError> {
        self.each([root.to_string()], wire::delete, |_, _| Ok(()))
    }

    /// Closes the session and waits for the answer.
    pub fn close(mut self) -> Result<(), BenchError> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        let mut out = Vec::new();
        wire::bare(&mut out, self.xid, wire::CLOSE_SESSION);
        self.send(&out)?;
        self.receive(|frame| ReplyHeader::parse(frame).map(|_| ()))
    }
}

fn refused(doing: &'static str, path: String, peer: SocketAddr, code: i32) -> Result<(), BenchError> {
    Err(BenchError::Refused { doing, path, peer, code, name: code_name(code) })
}
