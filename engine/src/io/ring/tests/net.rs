//! Listeners and sockets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use super::*;

/// Serves `connections` with what they sent, until all have ended and are closed. Returns how many bytes came.
fn echo(ring: &mut Ring, connections: usize) -> usize {
    let (mut closed, mut bytes) = (0, 0);
    let mut open: BTreeMap<SocketId, usize> = BTreeMap::new();
    until(ring, |ring, event| {
        match event {
            Event::Accepted(socket, _) => {
                open.insert(socket, 0);
                ring.resume_receive(socket);
            }
            Event::Received(socket, data) => {
                bytes += data.len();
                *open.get_mut(&socket).unwrap() += data.len();
                ring.send(socket, data, 0);
            }
            Event::Ended(socket, result) => {
                result.unwrap();
                ring.close_when_sent(socket);
            }
            Event::Sent(socket, _, buf, result) => {
                result.unwrap();
                *open.get_mut(&socket).unwrap() -= buf.len();
            }
            Event::Closed(socket) => {
                assert_eq!(open.remove(&socket), Some(0), "closed with bytes unsent");
                closed += 1;
            }
            other => panic!("{other:?}"),
        }
        (closed == connections).then_some(())
    });
    assert_eq!(ring.socket_count(), 0);
    bytes
}

/// Sends `data` and reads as much back, both at once.
fn exchange(stream: TcpStream, data: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(LONG)).unwrap();
    thread::scope(|scope| {
        let mut writer = &stream;
        scope.spawn(move || {
            writer.write_all(data).unwrap();
            stream_end(writer);
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).unwrap();
        back
    })
}

fn stream_end(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

#[test]
fn pipelined_data_comes_back_whole_and_in_order() {
    let (mut ring, _, address) = listening(&RingOptions::default());
    let clients: Vec<_> = (0..4)
        .map(|i| {
            thread::spawn(move || {
                let data = pattern(3_000_000 + i);
                assert!(exchange(TcpStream::connect(address).unwrap(), &data) == data);
            })
        })
        .collect();
    assert_eq!(echo(&mut ring, 4), 4 * 3_000_000 + 6);
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn three_hundred_connections_are_served_at_once() {
    let (mut ring, _, address) = listening(&RingOptions::default());
    let client = thread::spawn(move || {
        let mut streams: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&pattern(1000 + i)).unwrap();
        }
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.set_read_timeout(Some(LONG)).unwrap();
            let mut back = vec![0; 1000 + i];
            stream.read_exact(&mut back).unwrap();
            assert!(back == pattern(1000 + i));
        }
    });
    echo(&mut ring, 300);
    client.join().unwrap();
}

#[test]
fn receiving_goes_on_when_all_buffers_were_in_use() {
    let options = RingOptions { receive_buffers: 2, receive_buffer_len: 512, ..RingOptions::default() };
    let (mut ring, _, address) = listening(&options);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let data = pattern(100_000);
                assert!(exchange(TcpStream::connect(address).unwrap(), &data) == data);
            })
        })
        .collect();
    assert_eq!(echo(&mut ring, 8), 800_000);
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn accepted_sockets_send_without_delay_and_know_their_peer() {
    let (mut ring, _, address) = listening(&RingOptions::default());
    let client = TcpStream::connect(address).unwrap();
    let (socket, peer) = until(&mut ring, |_, event| match event {
        Event::Accepted(socket, peer) => Some((socket, peer)),
        other => panic!("{other:?}"),
    });
    assert_eq!(peer, client.local_addr().unwrap());
    assert!(ring.sockets.get(socket.0).unwrap().stream.nodelay().unwrap());
}

#[test]
fn a_send_larger_than_the_sockets_buffer_is_continued_until_all_is_out() {
    let mut ring = Ring::new().unwrap();
    let (socket, mut outside) = pair(&mut ring);
    let data = pattern(32 << 20);
    let address = data.as_ptr();
    ring.send(socket, data, 7);
    ring.send(socket, Vec::new(), 8);
    ring.send(socket, b"end".to_vec(), 9);
    ring.shutdown_write(socket);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        outside.read_to_end(&mut got).unwrap();
        got
    });
    let mut users = Vec::new();
    let returned = until(&mut ring, |_, event| match event {
        Event::Sent(_, user, buf, result) => {
            result.unwrap();
            users.push((user, buf));
            (users.len() == 3).then(|| std::mem::take(&mut users))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(returned.iter().map(|(user, _)| *user).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(returned[0].1.as_ptr(), address, "the very Vec comes back");
    let got = reader.join().unwrap();
    assert!(got[..32 << 20] == pattern(32 << 20) && got[32 << 20..] == *b"end");
}

#[test]
fn a_paused_socket_slows_its_peer_down_and_loses_nothing() {
    const TOTAL: usize = 64 << 20;
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let progress = written.clone();
    let writer = thread::spawn(move || {
        let data = pattern(TOTAL);
        for chunk in data.chunks(64 << 10) {
            (&outside).write_all(chunk).unwrap();
            progress.fetch_add(chunk.len(), std::sync::atomic::Ordering::SeqCst);
        }
    });
    let mut got = Vec::new();
    ring.resume_receive(socket);
    until(&mut ring, |_, event| match event {
        Event::Received(_, data) => {
            got.extend_from_slice(&data);
            (got.len() > 1 << 20).then_some(())
        }
        other => panic!("{other:?}"),
    });
    ring.pause_receive(socket);
    // Whatever was on its way when the pause took effect arrives; then silence, with the peer stuck.
    let mut quiet = 0;
    while quiet < 20 {
        let before = (got.len(), written.load(std::sync::atomic::Ordering::SeqCst));
        for event in poll(&mut ring) {
            let Event::Received(_, data) = event else { panic!("{event:?}") };
            got.extend_from_slice(&data);
        }
        thread::sleep(Duration::from_millis(10));
        let after = (got.len(), written.load(std::sync::atomic::Ordering::SeqCst));
        quiet = if before == after { quiet + 1 } else { 0 };
    }
    assert!(written.load(std::sync::atomic::Ordering::SeqCst) < TOTAL, "the peer was not slowed down");
    ring.resume_receive(socket);
    ring.pause_receive(socket);
    ring.resume_receive(socket);
    until(&mut ring, |_, event| match event {
        Event::Received(_, data) => {
            got.extend_from_slice(&data);
            None
        }
        Event::Ended(_, Ok(())) => Some(()),
        other => panic!("{other:?}"),
    });
    writer.join().unwrap();
    assert!(got == pattern(TOTAL));
}

#[test]
fn pausing_and_closing_in_the_middle_of_a_flood_never_gets_stuck() {
    let options = RingOptions { receive_buffers: 4, receive_buffer_len: 1024, ..RingOptions::default() };
    let (mut ring, _, address) = listening(&options);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let chunk = pattern(10_000);
                while stream.write_all(&chunk).is_ok() {}
            })
        })
        .collect();
    let (mut closed, mut received, mut paused) = (0, BTreeMap::<SocketId, usize>::new(), Vec::new());
    until(&mut ring, |ring, event| {
        match event {
            Event::Accepted(socket, _) => ring.resume_receive(socket),
            Event::Received(socket, data) => {
                let total = received.entry(socket).or_default();
                *total += data.len();
                match *total / 1024 % 8 {
                    0 => {
                        ring.pause_receive(socket);
                        ring.resume_receive(socket);
                    }
                    1 => {
                        ring.pause_receive(socket);
                        paused.push(socket);
                    }
                    2 => paused.drain(..).for_each(|socket| ring.resume_receive(socket)),
                    _ => {}
                }
                ring.send(socket, data, 0);
                if *total > 1 << 20 {
                    ring.close(socket);
                }
            }
            Event::Closed(_) => closed += 1,
            Event::Sent(..) | Event::Ended(..) => {}
            other => panic!("{other:?}"),
        }
        // The last ones may all be paused.
        if paused.len() + closed >= 20 {
            paused.drain(..).for_each(|socket| ring.resume_receive(socket));
        }
        (closed == 20).then_some(())
    });
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn a_reset_ends_receiving_and_fails_what_is_queued_to_send() {
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    ring.resume_receive(socket);
    ring.send(socket, pattern(16 << 20), 1);
    ring.send(socket, b"later".to_vec(), 2);
    poll(&mut ring);
    // Closing with unread data makes the kernel answer with a reset.
    drop(outside);
    let (mut ended, mut failed) = (false, Vec::new());
    until(&mut ring, |_, event| {
        match event {
            // The kernel tells the reset once: to the receive or to the send, whichever asks first.
            Event::Ended(..) => ended = true,
            Event::Sent(_, user, _, result) => {
                result.unwrap_err();
                failed.push(user);
            }
            other => panic!("{other:?}"),
        }
        (ended && failed.len() == 2).then_some(())
    });
    assert_eq!(failed, [1, 2]);
    ring.send(socket, b"too late".to_vec(), 3);
    ring.close(socket);
    let (mut user, mut closed) = (None, false);
    until(&mut ring, |_, event| {
        match event {
            Event::Sent(_, u, _, Err(_)) => user = Some(u),
            Event::Closed(s) => closed = s == socket,
            other => panic!("{other:?}"),
        }
        closed.then_some(())
    });
    assert_eq!(user, Some(3));
}

#[test]
fn a_reset_is_told_as_an_error_of_receiving() {
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    ring.resume_receive(socket);
    ring.send(socket, pattern(100), 1);
    until(&mut ring, |_, event| matches!(event, Event::Sent(_, 1, _, Ok(()))).then_some(()));
    drop(outside);
    let result = until(&mut ring, |_, event| match event {
        Event::Ended(_, result) => Some(result),
        other => panic!("{other:?}"),
    });
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn close_ends_a_stuck_send_and_nothing_but_closed_follows() {
    let mut ring = Ring::new().unwrap();
    let (socket, _outside) = pair(&mut ring);
    ring.resume_receive(socket);
    ring.send(socket, pattern(32 << 20), 1);
    ring.send(socket, pattern(100), 2);
    assert!(poll(&mut ring).is_empty(), "nobody reads, the send is stuck");
    ring.close(socket);
    ring.close(socket);
    ring.send(socket, pattern(100), 3);
    ring.resume_receive(socket);
    until(&mut ring, |_, event| match event {
        Event::Closed(closed) if closed == socket => Some(()),
        other => panic!("{other:?}"),
    });
    assert!(poll(&mut ring).is_empty());
    assert_eq!(ring.socket_count(), 0);
    let (next, _outside) = pair(&mut ring);
    assert_eq!(next.index(), socket.index());
    ring.close(socket);
    assert_eq!(ring.socket_count(), 1, "a stale number closes nobody else's socket");
}

#[test]
fn close_while_a_pause_takes_effect_still_closes() {
    let mut ring = Ring::new().unwrap();
    let (socket, _outside) = pair(&mut ring);
    ring.resume_receive(socket);
    poll(&mut ring);
    ring.pause_receive(socket);
    ring.close(socket);
    until(&mut ring, |_, event| matches!(event, Event::Closed(_)).then_some(()));
    let (idle, _outside) = pair(&mut ring);
    ring.close(idle);
    until(&mut ring, |_, event| matches!(event, Event::Closed(_)).then_some(()));
}

#[test]
fn a_connection_for_a_listener_given_up_is_closed_not_leaked() {
    let (mut ring, listener, address) = listening(&RingOptions::default());
    // The accept completes inside the kernel before the ring hears that the listener is not wanted.
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    ring.submit_and_wait(Some(LONG)).unwrap();
    ring.unlisten(listener);
    assert!(poll(&mut ring).is_empty());
    assert_eq!((ring.socket_count(), ring.listeners.len()), (0, 0));
    let end = client.read(&mut [0; 1]);
    assert!(matches!(&end, Ok(0)) || end.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset));
    assert!(TcpStream::connect(address).is_err(), "the listening socket is closed");
}

#[test]
fn a_paused_listener_accepts_again_when_resumed() {
    let (mut ring, listener, address) = listening(&RingOptions::default());
    ring.pause_accept(listener);
    poll(&mut ring);
    let _client = TcpStream::connect(address).unwrap();
    assert!(poll(&mut ring).is_empty());
    ring.resume_accept(listener);
    until(&mut ring, |_, event| matches!(event, Event::Accepted(..)).then_some(()));
}

#[test]
fn a_forgotten_ring_of_sockets_is_closed_with_the_ring() {
    let (mut ring, _, address) = listening(&RingOptions::default());
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    until(&mut ring, |ring, event| {
        let Event::Accepted(socket, _) = event else { panic!("{event:?}") };
        ring.resume_receive(socket);
        Some(())
    });
    poll(&mut ring);
    drop(ring);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    assert!(TcpStream::connect(address).is_err());
}
