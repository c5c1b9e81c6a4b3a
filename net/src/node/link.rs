//! What a front loop and the replica loop say to each other when they are two: events one way, bytes the other.
//!
//! Each direction is one [`pipe`](crate::pipeline::pipe) with a doorbell at the reading end. A front that finds
//! its pipe full stops reading sockets ([`Upstream::deliver`] refuses). The replica never waits for a front:
//! what does not fit goes to an overflow list, counted in bytes, and is pushed before anything newer.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashSet;
use ringkeeper_engine::io::Waker;

use super::front::Upstream;
use super::output::Outputs;
use crate::client::{ConnKey, FromFront, Outbox};
use crate::pipeline::{Doorbell, Message, PipeReader, PipeWriter};

/// The bell of a loop.
pub type Bell = Doorbell<Box<dyn Fn() + Send + Sync>>;

/// A bell that wakes the ring of `waker`.
pub fn bell(waker: Waker) -> Arc<Bell> {
    Arc::new(Doorbell::new(Box::new(move || waker.wake())))
}

const OPEN: u32 = 1;
const FRAME: u32 = 2;
const WORD: u32 = 3;
const GONE: u32 = 4;
const BYTES: u32 = 5;
const CLOSE: u32 = 6;
const PAUSE: u32 = 7;
const RESUME: u32 = 8;
const FULL: u32 = 9;
const ROOM: u32 = 10;

/// Bytes of answers that may wait for room in a front's pipe before no more of its events are taken.
const MAX_OVERFLOW: usize = 4 << 20;

/// Bytes of answers that a front takes from the replica in one turn.
const ANSWERS_PER_TURN: usize = 4 << 20;

/// Longest piece of a reply in one message; replies are a stream per connection and may be cut anywhere.
const PIECE: usize = 64 * 1024;

/// The front's end: sends events.
#[derive(Debug)]
pub struct ToReplica {
    pipe: PipeWriter,
    bell: Arc<Bell>,
    rang: bool,
    body: Vec<u8>,
}

impl ToReplica {
    /// Events go into `pipe`; `bell` is the replica's.
    pub fn new(pipe: PipeWriter, bell: Arc<Bell>) -> ToReplica {
        ToReplica { pipe, bell, rang: true, body: Vec::new() }
    }

    /// Rings once for everything delivered since the last call.
    pub fn ring(&mut self) {
        if !std::mem::replace(&mut self.rang, true) {
            self.bell.ring();
        }
    }

    /// Tells which connections have become full or have room again; `false` if some are still to be told.
    pub fn tell_fullness(&mut self, outputs: &mut Outputs) -> bool {
        outputs.tell_fullness(|slot, generation, full| {
            self.push(if full { FULL } else { ROOM }, ConnKey { front: 0, slot, generation }, &[])
        })
    }

    fn push(&mut self, kind: u32, conn: ConnKey, body: &[u8]) -> bool {
        let pushed = self.pipe.push(kind, conn.slot, conn.generation, body);
        self.rang &= !pushed;
        pushed
    }
}

impl Upstream for ToReplica {
    fn deliver(&mut self, event: FromFront<'_>, _out: &mut Outputs) -> bool {
        match event {
            FromFront::Frame { conn, bytes } => self.push(FRAME, conn, bytes),
            FromFront::Gone { conn } => self.push(GONE, conn, &[]),
            FromFront::Open { conn, peer } => {
                let address = encode_address(peer);
                self.push(OPEN, conn, &address)
            }
            FromFront::Word { conn, word, arg } => {
                let mut body = std::mem::take(&mut self.body);
                body.clear();
                body.extend_from_slice(&word);
                body.extend_from_slice(arg);
                let pushed = self.push(WORD, conn, &body);
                self.body = body;
                pushed
            }
        }
    }

    fn ready(&self) -> bool {
        self.pipe.room() >= self.pipe.max_body() / 4
    }
}

/// The replica's end for events: hands one to `handle`, or notes how full a connection is; `false` when none waits.
pub fn take_event(
    pipe: &mut PipeReader,
    front: u16,
    fronts: &mut ToFronts,
    handle: impl FnOnce(FromFront<'_>, &mut ToFronts),
) -> bool {
    pipe.pop(|Message { kind, slot, generation, body }| {
        let conn = ConnKey { front, slot, generation };
        match kind {
            OPEN => handle(FromFront::Open { conn, peer: decode_address(body) }, fronts),
            FRAME => handle(FromFront::Frame { conn, bytes: body }, fronts),
            WORD => {
                let (word, arg) = body.split_first_chunk().expect("a word has four bytes");
                handle(FromFront::Word { conn, word: *word, arg }, fronts);
            }
            GONE => {
                fronts.full.remove(&conn);
                handle(FromFront::Gone { conn }, fronts);
            }
            FULL => {
                fronts.full.insert(conn);
            }
            ROOM => {
                fronts.full.remove(&conn);
            }
            _ => unreachable!("a front sends no message of kind {kind}"),
        }
    })
}

/// The front's end for answers: hands what waits to `outputs`, so much in one turn that the replica, which goes on
/// answering meanwhile, hears in time which connections are full.
pub fn take_answers(pipe: &mut PipeReader, outputs: &mut Outputs) {
    let mut taken = 0;
    while taken < ANSWERS_PER_TURN
        && pipe.pop(|Message { kind, slot, generation, body }| {
            taken += body.len();
            match kind {
                BYTES => outputs.push(slot, generation, body),
                CLOSE => outputs.end(slot, generation),
                PAUSE | RESUME => outputs.hold(slot, generation, kind == PAUSE),
                _ => unreachable!("the replica sends no message of kind {kind}"),
            }
        })
    {}
}

/// 1 byte family, 16 bytes address, 2 bytes port.
fn encode_address(peer: SocketAddr) -> [u8; 19] {
    let mut body = [0; 19];
    match peer.ip() {
        IpAddr::V4(ip) => {
            body[0] = 4;
            body[1..5].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            body[0] = 6;
            body[1..17].copy_from_slice(&ip.octets());
        }
    }
    body[17..].copy_from_slice(&peer.port().to_be_bytes());
    body
}

fn decode_address(body: &[u8]) -> SocketAddr {
    let body: &[u8; 19] = body.try_into().expect("an address has 19 bytes");
    let port = u16::from_be_bytes([body[17], body[18]]);
    if body[0] == 4 {
        let octets: [u8; 4] = body[1..5].try_into().expect("four of nineteen bytes");
        (octets, port).into()
    } else {
        let octets: [u8; 16] = body[1..17].try_into().expect("sixteen of nineteen bytes");
        (octets, port).into()
    }
}

/// The replica's ends for answers, one per front.
#[derive(Debug, Default)]
pub struct ToFronts {
    fronts: Vec<ToFront>,
    /// Connections to which much waits to be sent.
    full: HashSet<ConnKey>,
}

#[derive(Debug)]
struct ToFront {
    pipe: PipeWriter,
    bell: Arc<Bell>,
    rang: bool,
    /// What did not fit, in order: (kind, slot, generation, bytes).
    overflow: VecDeque<(u32, u32, u32, Vec<u8>)>,
    overflow_bytes: usize,
}

impl ToFronts {
    /// Adds the next front.
    pub fn add(&mut self, pipe: PipeWriter, bell: Arc<Bell>) {
        self.fronts.push(ToFront { pipe, bell, rang: true, overflow: VecDeque::new(), overflow_bytes: 0 });
    }

    /// Moves what had to wait into the pipes as far as it fits, and rings the bells of this turn.
    pub fn flush(&mut self) {
        for front in &mut self.fronts {
            front.drain();
            if !std::mem::replace(&mut front.rang, true) {
                front.bell.ring();
            }
        }
    }

    /// Whether so many answers wait for this front that no more of its events should be taken.
    pub fn is_crowded(&self, front: usize) -> bool {
        self.fronts.get(front).is_some_and(|f| f.overflow_bytes > MAX_OVERFLOW)
    }

    /// Whether anything still waits for room: the loop must look again soon.
    pub fn is_overflowing(&self) -> bool {
        self.fronts.iter().any(|f| !f.overflow.is_empty())
    }
}

impl ToFront {
    fn drain(&mut self) {
        while let Some((kind, slot, generation, bytes)) = self.overflow.front() {
            if !self.pipe.push(*kind, *slot, *generation, bytes) {
                break;
            }
            self.rang = false;
            self.overflow_bytes -= bytes.len();
            self.overflow.pop_front();
        }
    }

    fn push(&mut self, kind: u32, conn: ConnKey, body: &[u8]) {
        if self.overflow.is_empty() && self.pipe.push(kind, conn.slot, conn.generation, body) {
            self.rang = false;
        } else {
            self.overflow_bytes += body.len();
            self.overflow.push_back((kind, conn.slot, conn.generation, body.to_vec()));
        }
    }
}

impl Outbox for ToFronts {
    fn send(&mut self, conn: ConnKey, frame: &[u8]) {
        let Some(front) = self.fronts.get_mut(usize::from(conn.front)) else { return };
        let piece = PIECE.min(front.pipe.max_body());
        for bytes in frame.chunks(piece) {
            front.push(BYTES, conn, bytes);
        }
    }

    fn close(&mut self, conn: ConnKey) {
        if let Some(front) = self.fronts.get_mut(usize::from(conn.front)) {
            front.push(CLOSE, conn, &[]);
        }
    }

    fn is_full(&self, conn: ConnKey) -> bool {
        self.is_crowded(usize::from(conn.front)) || self.full.contains(&conn)
    }

    fn pause(&mut self, conn: ConnKey, paused: bool) {
        if let Some(front) = self.fronts.get_mut(usize::from(conn.front)) {
            front.push(if paused { PAUSE } else { RESUME }, conn, &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::pipe;

    fn silent() -> Arc<Bell> {
        Arc::new(Doorbell::new(Box::new(|| ())))
    }

    const CONN: ConnKey = ConnKey { front: 0, slot: 3, generation: 9 };

    #[test]
    fn events_arrive_as_they_were_sent() {
        let (writer, mut reader) = pipe(4096);
        let mut up = ToReplica::new(writer, silent());
        let mut out = Outputs::default();
        let peers: [SocketAddr; 2] =
            ["127.0.0.1:2181".parse().expect("valid"), "[2001:db8::1]:65535".parse().expect("valid")];
        for peer in peers {
            assert!(up.deliver(FromFront::Open { conn: CONN, peer }, &mut out));
        }
        assert!(up.deliver(FromFront::Frame { conn: CONN, bytes: b"frame" }, &mut out));
        assert!(up.deliver(FromFront::Word { conn: CONN, word: *b"stmk", arg: b"12345678" }, &mut out));
        assert!(up.deliver(FromFront::Gone { conn: CONN }, &mut out));
        let mut seen = Vec::new();
        let mut fronts = ToFronts::default();
        while take_event(&mut reader, 0, &mut fronts, |event, _| seen.push(format!("{event:?}"))) {}
        let expected = [
            FromFront::Open { conn: CONN, peer: peers[0] },
            FromFront::Open { conn: CONN, peer: peers[1] },
            FromFront::Frame { conn: CONN, bytes: b"frame" },
            FromFront::Word { conn: CONN, word: *b"stmk", arg: b"12345678" },
            FromFront::Gone { conn: CONN },
        ];
        assert_eq!(seen, expected.map(|event| format!("{event:?}")));
    }

    #[test]
    fn a_full_pipe_refuses_events_and_keeps_answers_in_order() {
        let (writer, _reader) = pipe(64);
        let mut up = ToReplica::new(writer, silent());
        let mut out = Outputs::default();
        assert!(up.deliver(FromFront::Frame { conn: CONN, bytes: &[0; 40] }, &mut out));
        assert!(!up.deliver(FromFront::Frame { conn: CONN, bytes: &[0; 40] }, &mut out));
        assert!(!up.ready());

        let (writer, mut reader) = pipe(64);
        let mut down = ToFronts::default();
        down.add(writer, silent());
        let frame: Vec<u8> = (0..=255).collect();
        down.send(CONN, &frame);
        down.close(CONN);
        assert!(down.is_overflowing());
        let (mut received, mut closed) = (Vec::new(), false);
        while !closed {
            while reader.pop(|m| {
                assert!(!closed, "nothing follows the close");
                received.extend_from_slice(m.body);
                closed = m.kind == CLOSE;
            }) {}
            down.flush();
        }
        assert_eq!((received, down.is_overflowing()), (frame, false));
    }

    #[test]
    fn a_front_takes_a_bounded_part_of_the_answers_at_a_time() {
        let (mut writer, mut reader) = pipe(2 * ANSWERS_PER_TURN);
        let piece = vec![7; PIECE];
        let mut sent = 0;
        while writer.push(BYTES, CONN.slot, CONN.generation, &piece) {
            sent += piece.len();
        }
        assert!(sent > ANSWERS_PER_TURN + PIECE, "{sent} bytes wait");
        let mut outputs = Outputs::default();
        take_answers(&mut reader, &mut outputs);
        assert!(!reader.is_empty(), "the rest is for the next turn");
        take_answers(&mut reader, &mut outputs);
        assert!(reader.is_empty());
    }
}
