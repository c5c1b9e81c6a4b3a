//! A front on a real ring, with real clients and an upstream that a test controls.

use super::*;
use crate::node::listening::Listening;
use ringkeeper_engine::io::Completion;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// Answers frames by repeating them `copies` times, words by themselves; refuses frames while `shut`.
#[derive(Default)]
struct Echo {
    shut: bool,
    copies: usize,
    frames: Vec<Vec<u8>>,
    opened: usize,
    gone: usize,
}

impl Upstream for Echo {
    fn deliver(&mut self, event: FromFront<'_>, out: &mut Outputs) -> bool {
        match event {
            FromFront::Frame { .. } if self.shut => return false,
            FromFront::Frame { conn, bytes } => {
                self.frames.push(bytes.to_vec());
                for _ in 0..self.copies {
                    out.push(conn.slot, conn.generation, bytes);
                }
                if bytes == b"end" {
                    out.end(conn.slot, conn.generation);
                }
            }
            FromFront::Word { conn, word, arg } => {
                out.push(conn.slot, conn.generation, &word);
                out.push(conn.slot, conn.generation, arg);
                out.end(conn.slot, conn.generation);
            }
            FromFront::Open { .. } => self.opened += 1,
            FromFront::Gone { .. } => self.gone += 1,
        }
        true
    }

    fn ready(&self) -> bool {
        !self.shut
    }
}

struct Rig {
    ring: Ring,
    front: Front,
    up: Echo,
    address: SocketAddr,
    now_ms: u64,
}

impl Rig {
    fn new(change: impl FnOnce(&mut FrontLimits)) -> Rig {
        let mut limits = FrontLimits { max_frame: 1 << 20, per_address: 0, total: 0, max_unsent: 64 << 20 };
        change(&mut limits);
        let mut ring = Ring::new().expect("io_uring is allowed here");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        Listening::on(&mut ring, listener).expect("listening");
        let front = Front::new(0, limits, Arc::new(Census::default()), Outputs::default());
        Rig { ring, front, up: Echo { copies: 1, ..Echo::default() }, address, now_ms: 0 }
    }

    fn turn(&mut self) {
        let Rig { ring, front, up, now_ms, .. } = self;
        ring.submit_and_wait(Some(Duration::from_millis(1))).expect("the ring works");
        while let Some(completion) = ring.next_completion() {
            match completion {
                Completion::Received { socket, data } => front.received(socket, data, up),
                Completion::Sent { socket, buf, result, .. } => front.sent(ring, socket, buf, result, up),
                Completion::Accepted { socket, peer, .. } => front.accepted(ring, socket, peer, up),
                Completion::ReceiveEnded { socket, .. } => front.receive_ended(ring, socket, up),
                _ => {}
            }
        }
        front.expire(ring, *now_ms, up);
        front.resume(ring, up);
        front.flush(ring, *now_ms, up);
    }

    /// Turns until `done`; a test that waits for what never comes fails here.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Rig) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("waited in vain for {what}");
    }

    fn client(&mut self) -> TcpStream {
        let opened = self.up.opened;
        let stream = TcpStream::connect(self.address).expect("accepted");
        stream.set_nonblocking(true).expect("set");
        self.until("the connection", |rig| rig.up.opened > opened);
        stream
    }

    /// Reads exactly `len` bytes while the rig turns.
    fn read(&mut self, client: &mut TcpStream, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until("bytes", |_| {
            let mut chunk = vec![0; len - bytes.len()];
            match client.read(&mut chunk) {
                Ok(0) if bytes.len() < len => panic!("closed after {} of {len} bytes", bytes.len()),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            bytes.len() == len
        });
        bytes
    }

    /// Waits for the end of the stream; what comes before it is returned.
    fn read_to_end(&mut self, client: &mut TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until("the end of the stream", |_| {
            let mut chunk = [0; 4096];
            match client.read(&mut chunk) {
                Ok(0) => true,
                Ok(count) => {
                    bytes.extend_from_slice(&chunk[..count]);
                    false
                }
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            }
        });
        bytes
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes(), body].concat()
}

#[test]
fn frames_are_cut_however_the_stream_is_segmented() {
    let mut rig = Rig::new(|_| ());
    let mut client = rig.client();
    let bodies: Vec<Vec<u8>> = [0, 1, 7, 100, 20_000].map(|len| vec![len as u8; len]).to_vec();
    let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
    for piece in [1, 3, 8191, usize::MAX] {
        rig.up.frames.clear();
        for bytes in stream.chunks(piece.min(stream.len())) {
            client.write_all(bytes).expect("there is room");
            if piece < 8 && rig.up.frames.len() < 3 {
                rig.turn();
            }
        }
        rig.until("all frames", |rig| rig.up.frames.len() == bodies.len());
        assert_eq!(rig.up.frames, bodies, "in pieces of {piece}");
        rig.read(&mut client, 20_108);
    }
}

#[test]
fn refused_frames_are_delivered_later_in_order_and_once() {
    let mut rig = Rig::new(|_| ());
    let mut client = rig.client();
    rig.up.shut = true;
    let bodies: Vec<Vec<u8>> = (0..3000_u32).map(|i| i.to_be_bytes().repeat(10)).collect();
    let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
    client.set_nonblocking(false).expect("set");
    let writer = std::thread::spawn(move || client.write_all(&stream).map(|()| client));
    for _ in 0..50 {
        rig.turn();
    }
    assert_eq!((rig.up.frames.len(), rig.front.has_stalled()), (0, true));
    rig.up.shut = false;
    rig.up.copies = 0;
    rig.until("all frames", |rig| rig.up.frames.len() >= bodies.len());
    assert_eq!(rig.up.frames, bodies);
    assert!(!rig.front.has_stalled());
    drop(writer.join().expect("no panic").expect("all was written"));
    rig.until("the end", |rig| rig.up.gone == 1);
}

#[test]
fn a_length_out_of_range_closes_without_a_word_and_disturbs_nobody() {
    let mut rig = Rig::new(|limits| limits.max_frame = 1000);
    let mut bystander = rig.client();
    for length in [-1, i32::MIN, 1001, i32::MAX] {
        let mut client = rig.client();
        client.write_all(&framed(b"good")).expect("there is room");
        client.write_all(&length.to_be_bytes()).expect("there is room");
        assert_eq!(rig.read_to_end(&mut client), b"good", "length {length}");
    }
    bystander.write_all(&framed(&[1; 1000])).expect("there is room");
    assert_eq!(rig.read(&mut bystander, 1000), [1; 1000]);
}

#[test]
fn a_client_that_half_closes_after_its_word_gets_the_answer() {
    let mut rig = Rig::new(|_| ());
    for (sent, answer) in [(&b"ruok\n"[..], &b"ruok"[..]), (b"stmk12345678", b"stmk12345678")] {
        let mut client = rig.client();
        client.write_all(sent).expect("there is room");
        client.shutdown(Shutdown::Write).expect("connected");
        assert_eq!(rig.read_to_end(&mut client), answer);
    }
    rig.until("both ends", |rig| rig.up.gone >= 2);
}

#[test]
fn a_client_that_does_not_read_is_parked_then_closed_and_others_go_on() {
    let mut rig = Rig::new(|limits| limits.max_unsent = 24 << 20);
    rig.up.copies = 20;
    let mut deaf = rig.client();
    let request = framed(&[7; 100_000]);
    // 2 MB of answers to each request: parked after the first few, so that the rest stays in the sockets.
    let mut written = 0;
    for _ in 0..400 {
        match deaf.write(&request[written % request.len()..]) {
            Ok(count) => written += count,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        rig.turn();
    }
    let answered = rig.up.frames.len();
    assert!((1..10).contains(&answered), "answered {answered} requests of a client that does not read");
    let mut reader = rig.client();
    reader.write_all(&framed(b"x")).expect("there is room");
    assert_eq!(rig.read(&mut reader, 20), b"x".repeat(20));
    // One answer beyond the limit, and it is closed.
    rig.up.copies = 300;
    rig.read(&mut deaf, 3_000_000);
    rig.until("the close", |rig| rig.up.gone == 1);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_their_place_is_free_again() {
    let mut rig = Rig::new(|limits| limits.per_address = 2);
    let (first, _second) = (rig.client(), rig.client());
    let mut third = TcpStream::connect(rig.address).expect("the kernel accepts");
    third.set_nonblocking(true).expect("set");
    assert_eq!(rig.read_to_end(&mut third), b"");
    drop(first);
    rig.until("the end of the first", |rig| rig.up.gone == 1);
    rig.client();
}

#[test]
fn an_ending_connection_gets_its_last_bytes_and_is_closed_in_the_end() {
    let mut rig = Rig::new(|_| ());
    let mut client = rig.client();
    let stream = [framed(b"before"), framed(b"end"), framed(b"after")].concat();
    client.write_all(&stream).expect("there is room");
    assert_eq!(rig.read_to_end(&mut client), b"beforeend");
    assert_eq!(rig.up.frames.len(), 2, "nothing is taken after the end");
    // The client keeps its side open: patience ends.
    assert_eq!((rig.up.gone, rig.front.next_deadline()), (0, Some(LINGER_MS)));
    rig.now_ms = LINGER_MS;
    rig.until("the close", |rig| rig.up.gone == 1 && rig.ring.socket_count() == 0);
}

#[test]
fn an_ending_connection_that_reads_nothing_is_closed_in_the_end() {
    let mut rig = Rig::new(|_| ());
    rig.up.copies = 100;
    let mut client = rig.client();
    let stream = [framed(&[7; 200_000]), framed(b"end")].concat();
    client.set_nonblocking(false).expect("set");
    client.write_all(&stream[..stream.len() - 7]).expect("there is room");
    rig.until("the first frame", |rig| rig.up.frames.len() == 1);
    // 20 MB wait to be sent: the connection is parked, and ends for another reason.
    rig.front.outputs.end(0, rig.front.inputs[0].as_ref().expect("open").generation);
    rig.until("its clock", |rig| rig.front.next_deadline() == Some(LINGER_MS));
    rig.now_ms = LINGER_MS;
    rig.until("the close", |rig| rig.up.gone == 1 && rig.ring.socket_count() == 0);
}
