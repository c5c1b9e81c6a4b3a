//! Many sends of one socket: order, partial sends, shared buffers, and their end.

use std::io::Read;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;

use super::*;

/// Reads to the end, in pieces of `piece` bytes.
fn drain(mut stream: TcpStream, piece: usize) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut all, mut buf) = (Vec::new(), vec![0; piece]);
        loop {
            match stream.read(&mut buf).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&buf[..n]),
            }
        }
    })
}

#[test]
fn queued_sends_of_all_sizes_arrive_in_order_and_are_reported_one_by_one() {
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    rustix::net::sockopt::set_socket_send_buffer_size(&ring.sockets.get(socket.0).unwrap().stream, 8 << 10)
        .unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let reader = drain(outside, 1000);
    let (mut wanted, mut next_user) = (Vec::new(), 0u64);
    let mut give = |ring: &mut Ring, count: usize| {
        for _ in 0..count {
            let len = match random.u8(0..8) {
                0 => 0,
                1..=5 => random.usize(1..200),
                6 => random.usize(1..40_000),
                _ => random.usize(1..400_000),
            };
            let data = pattern(len);
            wanted.extend_from_slice(&data);
            if random.bool() {
                ring.send(socket, data, next_user);
            } else {
                ring.send_shared(socket, Arc::new(data), next_user);
            }
            next_user += 1;
        }
        next_user
    };
    let mut given = give(&mut ring, 500);
    let mut told = 0;
    until(&mut ring, |ring, event| {
        let (Event::Sent(_, user, _, result) | Event::SentShared(_, user, result)) = event else {
            panic!("{event:?}")
        };
        result.unwrap();
        assert_eq!(user, told, "in the order in which they were given");
        told += 1;
        if told % 100 == 0 && given < 1500 {
            given = give(ring, 200);
        }
        (told == given).then_some(())
    });
    ring.shutdown_write(socket);
    assert!(reader.join().unwrap() == wanted);
}

#[test]
fn queued_sends_leave_together() {
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    for user in 0..200 {
        ring.send(socket, pattern(100), user);
    }
    // The first leaves alone; what queued behind it takes four vectors of at most 64.
    let (mut turns, mut sent) = (0, 0);
    while sent < 200 {
        ring.submit_and_wait(Some(LONG)).unwrap();
        turns += 1;
        while let Some(completion) = ring.next_completion() {
            assert!(matches!(completion, Completion::Sent { result: Ok(()), .. }), "{completion:?}");
            sent += 1;
        }
    }
    assert!(turns <= 6, "{turns} turns");
    ring.close(socket);
    assert_eq!(drain(outside, 4096).join().unwrap().len(), 20_000);
}

#[test]
fn a_shared_buffer_is_let_go_when_it_is_out_everywhere() {
    let mut ring = Ring::new().unwrap();
    let pairs: Vec<_> = (0..3).map(|_| pair(&mut ring)).collect();
    let shared = Arc::new(pattern(1 << 20));
    let mut readers = Vec::new();
    let mut sockets = Vec::new();
    for (socket, outside) in pairs {
        ring.send_shared(socket, shared.clone(), socket.index() as u64);
        ring.close_when_sent(socket);
        readers.push(drain(outside, 1 << 16));
        sockets.push(socket);
    }
    assert_eq!(Arc::strong_count(&shared), 4);
    let (mut sent, mut closed) = (0, 0);
    until(&mut ring, |_, event| {
        match event {
            Event::SentShared(socket, user, result) => {
                result.unwrap();
                assert_eq!(user, socket.index() as u64);
                sent += 1;
            }
            Event::Closed(_) => closed += 1,
            other => panic!("{other:?}"),
        }
        (closed == 3).then_some(())
    });
    assert_eq!((sent, Arc::strong_count(&shared)), (3, 1));
    readers.into_iter().for_each(|reader| assert!(reader.join().unwrap() == *shared));
}

#[test]
fn close_ends_a_stuck_vectored_send_and_lets_its_buffers_go() {
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    let shared = Arc::new(pattern(100_000));
    ring.send(socket, pattern(10), 0);
    for user in 1..200 {
        ring.send_shared(socket, shared.clone(), user);
    }
    // Until nobody takes any more.
    let mut told = 0;
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LONG);
        let events = poll(&mut ring);
        told += events.len();
        if events.is_empty() && told > 0 {
            break;
        }
    }
    assert!(told < 200, "{told} fitted into the buffers of an idle peer");
    assert!(Arc::strong_count(&shared) > 1);
    ring.close(socket);
    assert!(Arc::strong_count(&shared) > 1, "the kernel may still look at them");
    until(&mut ring, |_, event| match event {
        Event::Closed(closed) => (closed == socket).then_some(()),
        other => panic!("{other:?}"),
    });
    assert_eq!(Arc::strong_count(&shared), 1);
    drop(outside);
}

#[test]
fn a_reset_fails_every_send_of_a_vector_in_order() {
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    for user in 0..100 {
        ring.send_shared(socket, Arc::new(pattern(100_000)), user);
    }
    poll(&mut ring);
    outside.shutdown(Shutdown::Read).unwrap();
    drop(outside); // with unread data: a reset
    let (mut next, mut failed) = (0, 0);
    ring.close_when_sent(socket);
    until(&mut ring, |_, event| {
        match event {
            Event::SentShared(_, user, result) => {
                failed += usize::from(result.is_err());
                assert!(result.is_err() || failed == 0, "nothing is sent behind what is lost");
                next = user + 1;
            }
            Event::Closed(_) => return Some(()),
            other => panic!("{other:?}"),
        }
        None
    });
    assert!(next <= 100 && failed > 0, "{next} {failed}");
    assert_eq!(ring.socket_count(), 0);
}

#[test]
fn a_ring_dropped_with_a_vectored_send_in_flight_ends_it_first() {
    let mut ring = Ring::new().unwrap();
    let (socket, _outside) = pair(&mut ring);
    let shared = Arc::new(pattern(200_000));
    for user in 0..100 {
        ring.send_shared(socket, shared.clone(), user);
    }
    poll(&mut ring);
    poll(&mut ring);
    drop(ring);
    assert_eq!(Arc::strong_count(&shared), 1);
}
