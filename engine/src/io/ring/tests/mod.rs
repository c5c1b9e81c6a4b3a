//! The ring against the real kernel, over loopback and on real files.

mod connect;
mod disk;
mod fallback;
mod files;
mod life;
mod net;
mod sends;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;

/// Long enough for any machine; tests that pass never wait for it.
const LONG: Duration = Duration::from_secs(60);

/// A `Completion` that owns its data.
#[derive(Debug)]
enum Event {
    Accepted(SocketId, SocketAddr),
    AcceptFailed(io::Error),
    Received(SocketId, Vec<u8>),
    Ended(SocketId, io::Result<()>),
    Sent(SocketId, u64, Vec<u8>, io::Result<()>),
    SentShared(SocketId, u64, io::Result<()>),
    SentFile(SocketId, u64, Result<(), SendFileError>),
    Connected(SocketId, u64),
    ConnectFailed(SocketId, u64, io::Error),
    Closed(SocketId),
    Woken,
}

impl From<Completion<'_>> for Event {
    fn from(completion: Completion<'_>) -> Event {
        match completion {
            Completion::Accepted { socket, peer, .. } => Event::Accepted(socket, peer),
            Completion::AcceptFailed { error, .. } => Event::AcceptFailed(error),
            Completion::Received { socket, data } => Event::Received(socket, data.to_vec()),
            Completion::ReceiveEnded { socket, result } => Event::Ended(socket, result),
            Completion::Sent { socket, user, buf, result } => Event::Sent(socket, user, buf, result),
            Completion::SentShared { socket, user, result } => Event::SentShared(socket, user, result),
            Completion::SentFile { socket, user, result } => Event::SentFile(socket, user, result),
            Completion::Connected { socket, user } => Event::Connected(socket, user),
            Completion::ConnectFailed { socket, user, error } => Event::ConnectFailed(socket, user, error),
            Completion::Closed { socket } => Event::Closed(socket),
            Completion::Woken => Event::Woken,
        }
    }
}

/// Turns the ring until `pick` finds what it looks for. Panics when that does not come.
fn until<T>(ring: &mut Ring, mut pick: impl FnMut(&mut Ring, Event) -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        while let Some(completion) = ring.next_completion() {
            let event = Event::from(completion);
            if let Some(found) = pick(ring, event) {
                return found;
            }
        }
        assert!(start.elapsed() < LONG, "it never came: {ring:?}");
        ring.submit_and_wait(Some(Duration::from_secs(1))).unwrap();
    }
}

/// One turn that does not wait; everything reaped.
fn poll(ring: &mut Ring) -> Vec<Event> {
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    let mut events = Vec::new();
    while let Some(completion) = ring.next_completion() {
        events.push(Event::from(completion));
    }
    events
}

/// A ring that listens on loopback, and the address.
fn listening(options: &RingOptions) -> (Ring, ListenerId, SocketAddr) {
    let mut ring = Ring::with_options(options).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = ring.listen(socket).unwrap();
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    (ring, listener, address)
}

/// A socket in the ring and its other end outside.
fn pair(ring: &mut Ring) -> (SocketId, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    outside.set_read_timeout(Some(LONG)).unwrap();
    let (inside, _) = listener.accept().unwrap();
    (ring.adopt(inside).unwrap(), outside)
}

/// `len` bytes in which every position is recognisable.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + (i >> 8) * 7) as u8).collect()
}
