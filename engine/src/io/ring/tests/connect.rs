//! Connecting, and everything that can come between.

use std::io::{Read, Write};

use super::*;

/// An address where nobody listens.
fn deserted() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An address that answers nothing: its queue of connections is full. It lasts as long as what is returned.
fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(stream);
        assert!(queue.len() < 100, "the queue never fills");
    }
    (address, listener, queue)
}

#[test]
fn a_connection_sends_what_was_given_early_and_receives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ring = Ring::new().unwrap();
    let socket = ring.connect(listener.local_addr().unwrap(), 7).unwrap();
    ring.send(socket, b"hello ".to_vec(), 1);
    ring.send(socket, Vec::new(), 2);
    ring.send(socket, b"early".to_vec(), 3);
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    let (mut outside, peer) = listener.accept().unwrap();
    let mut users = Vec::new();
    until(&mut ring, |ring, event| {
        match event {
            Event::Connected(connected, user) => {
                assert_eq!((connected, user, users.len()), (socket, 7, 0), "told before anything is sent");
                ring.resume_receive(socket);
            }
            Event::Sent(_, user, _, result) => {
                result.unwrap();
                users.push(user);
            }
            other => panic!("{other:?}"),
        }
        (users.len() == 3).then_some(())
    });
    assert_eq!(users, [1, 2, 3]);
    let entry = ring.sockets.get(socket.0).unwrap();
    assert_eq!(entry.stream.local_addr().unwrap(), peer);
    assert!(entry.stream.nodelay().unwrap());
    let mut got = [0; 11];
    outside.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello early");
    outside.write_all(b"answer").unwrap();
    let answer = until(&mut ring, |_, event| match event {
        Event::Received(from, data) => Some((from, data)),
        other => panic!("{other:?}"),
    });
    assert_eq!(answer, (socket, b"answer".to_vec()));
}

#[test]
fn an_ipv6_address_is_reached() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return println!("skipped: no IPv6") };
    let mut ring = Ring::new().unwrap();
    let socket = ring.connect(listener.local_addr().unwrap(), 1).unwrap();
    until(&mut ring, |_, event| match event {
        Event::Connected(connected, 1) => (connected == socket).then_some(()),
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_refused_connection_fails_and_frees_its_number() {
    let mut ring = Ring::new().unwrap();
    let socket = ring.connect(deserted(), 9).unwrap();
    ring.send(socket, b"lost".to_vec(), 1);
    ring.close_when_sent(socket);
    let (failed, error) = until(&mut ring, |_, event| match event {
        Event::ConnectFailed(failed, 9, error) => Some((failed, error)),
        other => panic!("{other:?}"),
    });
    assert_eq!((failed, error.kind()), (socket, io::ErrorKind::ConnectionRefused));
    assert!(poll(&mut ring).is_empty(), "nothing more is said of it");
    assert_eq!(ring.socket_count(), 0);
    let (next, _outside) = pair(&mut ring);
    assert_eq!(next.index(), socket.index());
    ring.close(socket);
    assert_eq!(ring.socket_count(), 1, "a stale number closes nobody else's socket");
}

#[test]
fn closing_ends_an_attempt_that_nobody_answers() {
    let (address, _listener, _queue) = black_hole();
    let mut ring = Ring::new().unwrap();
    let socket = ring.connect(address, 1).unwrap();
    ring.resume_receive(socket);
    ring.send(socket, b"never".to_vec(), 1);
    assert!(poll(&mut ring).is_empty());
    ring.close(socket);
    ring.close(socket);
    until(&mut ring, |_, event| match event {
        Event::Closed(closed) => (closed == socket).then_some(()),
        other => panic!("{other:?}"),
    });
    assert!(poll(&mut ring).is_empty());
    assert_eq!(ring.socket_count(), 0);
}

#[test]
fn closing_before_during_and_after_connecting_always_ends_in_closed() {
    let (mut ring, _, address) = listening(&RingOptions::default());
    for round in 0..300 {
        let target = if round % 3 == 0 { deserted() } else { address };
        let socket = ring.connect(target, 0).unwrap();
        if round % 2 == 0 {
            ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
        }
        ring.close(socket);
        until(&mut ring, |ring, event| match event {
            Event::Closed(closed) => (closed == socket).then_some(()),
            Event::Accepted(other, _) => {
                ring.close(other);
                None
            }
            other => panic!("{other:?}"),
        });
    }
    until_empty(&mut ring);
}

/// Closes everything that is still accepted.
fn until_empty(ring: &mut Ring) {
    let start = Instant::now();
    while ring.socket_count() > 0 {
        assert!(start.elapsed() < LONG, "{ring:?}");
        for event in poll(ring) {
            if let Event::Accepted(socket, _) = event {
                ring.close(socket);
            }
        }
    }
}

#[test]
fn a_ring_dropped_with_attempts_in_flight_ends_them_first() {
    let (address, _listener, _queue) = black_hole();
    for round in 0..10 {
        let mut ring = Ring::new().unwrap();
        for _ in 0..5 {
            ring.connect(address, 0).unwrap();
            ring.connect(deserted(), 0).unwrap();
        }
        if round % 2 == 0 {
            ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
        }
        assert!(ring.wind_down(), "the kernel gave everything back");
        assert!(ring.nothing_in_flight());
    }
}
