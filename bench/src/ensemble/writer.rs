//! A client that writes one at a time and does not give up: when its connection dies it goes to the next member, with
//! its session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::session::Session;
use crate::wire::{Credentials, WireError};
use crate::workload::data;

/// Bytes of each write.
const DATA_LEN: usize = 100;
/// How long a server may take to answer before the next one is tried.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause before the next member is tried: short beside what is measured, long enough to leave the servers their CPU.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an acknowledgement is waited for, in seconds.
const GIVE_UP_S: u64 = 60;

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Ack {
    sent: Instant,
    acknowledged: Instant,
}

/// What became of the writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// How often its session was refused and it had to begin another.
    pub sessions_lost: u64,
}

/// The running client.
#[derive(Debug)]
pub(super) struct Writer {
    acks: Receiver<Ack>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Written, BenchError>>,
}

impl Writer {
    /// Begins to set `path`, which exists, at member `first` of `members`.
    pub fn start(members: Vec<SocketAddr>, first: usize, path: &str) -> Writer {
        let (sender, acks) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let mut client = Client {
            members,
            at: first,
            path: path.into(),
            data: data(DATA_LEN),
            credentials: Credentials::default(),
            last_zxid: 0,
            last_version: None,
            written: Written::default(),
        };
        let stopped = stop.clone();
        let thread = thread::spawn(move || client.run(&stopped, &sender));
        Writer { acks, stop, thread }
    }

    /// Waits for the acknowledgement of a write that was sent after `after`; returns when it came.
    /// Returns at once if the writer has ended, which [`Writer::finish`] explains.
    pub fn acknowledged_after(&self, after: Instant) -> Result<Instant, BenchError> {
        let deadline = Instant::now() + Duration::from_secs(GIVE_UP_S);
        loop {
            match self.acks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(ack) if ack.sent > after => return Ok(ack.acknowledged),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Instant::now()),
                Err(RecvTimeoutError::Timeout) => {
                    let what = "no write was acknowledged".into();
                    return Err(BenchError::Timeout { what, seconds: GIVE_UP_S });
                }
            }
        }
    }

    /// Ends it and its session.
    pub fn finish(self) -> Result<Written, BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer does not panic")
    }
}

struct Client {
    members: Vec<SocketAddr>,
    /// The member to try next.
    at: usize,
    path: String,
    data: Vec<u8>,
    credentials: Credentials,
    last_zxid: i64,
    last_version: Option<i32>,
    written: Written,
}

impl Client {
    fn run(&mut self, stop: &AtomicBool, acks: &Sender<Ack>) -> Result<Written, BenchError> {
        let mut session = None;
        while !stop.load(Ordering::Relaxed) {
            let Some(connected) = &mut session else {
                session = self.connect();
                continue;
            };
            let sent = Instant::now();
            match connected.set(&self.path, &self.data) {
                Ok((zxid, version)) => {
                    self.acknowledged(zxid, version)?;
                    // Whoever started the writer may have stopped listening.
                    let _ = acks.send(Ack { sent, acknowledged: Instant::now() });
                }
                Err(_) => {
                    session = None;
                    self.at += 1;
                }
            }
        }
        // A session that cannot be closed expires.
        session.map(Session::close);
        Ok(self.written)
    }

    fn connect(&mut self) -> Option<Session> {
        let member = self.members[self.at % self.members.len()];
        match Session::resume(member, &self.credentials, self.last_zxid, PATIENCE) {
            Ok(session) => {
                self.credentials = *session.credentials();
                return Some(session);
            }
            Err(BenchError::Wire { source: WireError::Refused, .. }) => {
                self.written.sessions_lost += 1;
                self.credentials = Credentials::default();
            }
            Err(_) => self.at += 1,
        }
        thread::sleep(PAUSE);
        None
    }

    /// Versions count the writes: one that does not grow belongs to a tree without an acknowledged write.
    fn acknowledged(&mut self, zxid: i64, version: i32) -> Result<(), BenchError> {
        if let Some(last) = self.last_version.filter(|last| version <= *last) {
            return Err(BenchError::WriteLost { path: self.path.clone(), last, version });
        }
        self.last_zxid = zxid;
        self.last_version = Some(version);
        self.written.acknowledged += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::wire::{REPLY_HEADER_LEN, SET_DATA, STAT_LEN, begin_frame, end_frame, i32_at, i64_at};

    fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
        let mut len = [0; 4];
        stream.read_exact(&mut len).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        stream.read_exact(&mut frame).unwrap();
        frame
    }

    fn send_frame(stream: &mut TcpStream, body: &[u8]) {
        let mut out = Vec::new();
        let at = begin_frame(&mut out);
        out.extend_from_slice(body);
        end_frame(&mut out, at);
        stream.write_all(&out).unwrap();
    }

    /// Accepts one client and grants it `session`, 0 for a refusal; returns the session it asked for.
    fn grant(listener: &TcpListener, session: i64) -> (TcpStream, i64) {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = i64_at(&read_frame(&mut stream), 16).unwrap();
        let mut response = Vec::new();
        response.extend_from_slice(&0i32.to_be_bytes());
        response.extend_from_slice(&(if session == 0 { 0i32 } else { 10_000 }).to_be_bytes());
        response.extend_from_slice(&session.to_be_bytes());
        response.extend_from_slice(&16i32.to_be_bytes());
        response.extend_from_slice(&[7; 17]);
        send_frame(&mut stream, &response);
        (stream, asked)
    }

    /// Answers a set with `version`.
    fn answer_set(stream: &mut TcpStream, version: i32) {
        let request = read_frame(stream);
        assert_eq!(i32_at(&request, 4), Some(SET_DATA));
        let mut reply = vec![0; REPLY_HEADER_LEN + STAT_LEN];
        reply[..4].copy_from_slice(&request[..4]);
        reply[4..12].copy_from_slice(&9i64.to_be_bytes());
        reply[REPLY_HEADER_LEN + 32..REPLY_HEADER_LEN + 36].copy_from_slice(&version.to_be_bytes());
        send_frame(stream, &reply);
    }

    /// A writer at the first of two members, which has acknowledged version 5 and closed the connection.
    fn cut_off() -> (Writer, [TcpListener; 2]) {
        let members = [listen(), listen()];
        let addrs = members.iter().map(|l| l.local_addr().unwrap()).collect();
        let writer = Writer::start(addrs, 0, "/a");
        let (mut stream, asked) = grant(&members[0], 42);
        assert_eq!(asked, 0, "its first session is a new one");
        answer_set(&mut stream, 5);
        (writer, members)
    }

    #[test]
    fn it_goes_on_at_the_next_member_with_its_session() {
        let begin = Instant::now();
        let (writer, members) = cut_off();
        let (mut stream, asked) = grant(&members[1], 42);
        assert_eq!(asked, 42);
        writer.acknowledged_after(begin).unwrap();
        let cut = Instant::now();
        answer_set(&mut stream, 6);
        answer_set(&mut stream, 7);
        assert!(writer.acknowledged_after(cut).unwrap() > cut);
        drop((stream, members));
        assert_eq!(writer.finish().unwrap(), Written { acknowledged: 3, sessions_lost: 0 });
    }

    #[test]
    fn a_session_that_is_refused_is_counted_and_replaced() {
        let (writer, members) = cut_off();
        let (_, asked) = grant(&members[1], 0);
        assert_eq!(asked, 42);
        let (mut stream, asked) = grant(&members[1], 43);
        assert_eq!(asked, 0);
        answer_set(&mut stream, 6);
        drop((stream, members));
        assert_eq!(writer.finish().unwrap(), Written { acknowledged: 2, sessions_lost: 1 });
    }

    #[test]
    fn a_version_that_does_not_grow_is_a_lost_write() {
        let (writer, members) = cut_off();
        let (mut stream, _) = grant(&members[1], 42);
        answer_set(&mut stream, 5);
        let error = writer.finish().unwrap_err();
        assert!(matches!(error, BenchError::WriteLost { last: 5, version: 5, .. }), "{error}");
    }
}
