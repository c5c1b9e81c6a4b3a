//! Sleeping, waking, and the end of a ring.

use std::io::Read;
use std::sync::Arc;
use std::thread;

use super::*;
use crate::io::{AlignedBuf, BLOCK, Disk, FsVolume, Volume, WriteOp, test_directory};

/// Processor time of the calling thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn a_sleeping_ring_is_woken_from_another_thread_and_used_no_processor_meanwhile() {
    let (mut ring, _, address) = listening(&RingOptions::default());
    let _idle: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut accepted = 0;
    until(&mut ring, |ring, event| {
        let Event::Accepted(socket, _) = event else { panic!("{event:?}") };
        ring.resume_receive(socket);
        accepted += 1;
        (accepted == 100).then_some(())
    });
    poll(&mut ring);
    let waker = ring.waker();
    let sleeper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(1000));
        waker.wake();
    });
    let before = cpu_time();
    let (mut turns, mut woken) = (0, 0);
    while woken == 0 {
        ring.submit_and_wait(None).unwrap();
        turns += 1;
        while let Some(completion) = ring.next_completion() {
            assert!(matches!(completion, Completion::Woken), "{completion:?}");
            woken += 1;
        }
    }
    let used = cpu_time() - before;
    sleeper.join().unwrap();
    assert!(turns <= 3, "{turns} turns");
    assert!(used < Duration::from_millis(100), "{used:?}");
}

#[test]
fn no_wake_up_is_lost_and_many_at_once_are_one() {
    let mut ring = Ring::new().unwrap();
    let waker = ring.waker();
    for _ in 0..1000 {
        waker.wake();
    }
    assert!(matches!(poll(&mut ring)[..], [Event::Woken]));
    assert!(poll(&mut ring).is_empty());

    // Every message must be seen by a loop that looks only after `Woken`.
    const MESSAGES: usize = 20_000;
    let (sender, receiver) = std::sync::mpsc::channel();
    let producers: Vec<_> = (0..2)
        .map(|_| {
            let (sender, waker) = (sender.clone(), ring.waker());
            thread::spawn(move || {
                for i in 0..MESSAGES {
                    sender.send(i).unwrap();
                    waker.wake();
                }
            })
        })
        .collect();
    let mut seen = 0;
    until(&mut ring, |_, event| {
        assert!(matches!(event, Event::Woken));
        seen += receiver.try_iter().count();
        (seen == 2 * MESSAGES).then_some(())
    });
    producers.into_iter().for_each(|producer| producer.join().unwrap());
}

#[test]
fn a_waker_outlives_its_ring() {
    let waker = Ring::new().unwrap().waker();
    waker.wake();
    waker.clone().wake();
}

#[test]
fn a_timeout_ends_the_sleep() {
    let mut ring = Ring::new().unwrap();
    let start = Instant::now();
    ring.submit_and_wait(Some(Duration::from_millis(30))).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(ring.next_completion().is_none());
}

#[test]
fn more_completions_than_the_queue_holds_are_kept() {
    let options = RingOptions { submission_entries: 4, completion_entries: 8, ..RingOptions::default() };
    let (mut ring, _, address) = listening(&options);
    let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut open = Vec::new();
    until(&mut ring, |ring, event| {
        let Event::Accepted(socket, _) = event else { panic!("{event:?}") };
        ring.resume_receive(socket);
        open.push(socket);
        (open.len() == 100).then_some(())
    });
    for &socket in &open {
        ring.send(socket, pattern(100), socket.index() as u64);
    }
    let mut sent = 0;
    until(&mut ring, |ring, event| {
        match event {
            Event::Sent(socket, user, _, result) => {
                result.unwrap();
                assert_eq!(user, socket.index() as u64);
                ring.close(socket);
                sent += 1;
            }
            Event::Closed(_) => {}
            other => panic!("{other:?}"),
        }
        (sent == 100 && ring.socket_count() == 0).then_some(())
    });
    for mut client in clients {
        client.set_read_timeout(Some(LONG)).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, pattern(100));
    }
}

#[test]
fn a_ring_dropped_with_everything_in_flight_ends_it_first() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("a", 256 * BLOCK as u64).unwrap();
    for round in 0..20 {
        let (mut ring, _, address) = listening(&RingOptions::default());
        let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
        let (socket, _stuck) = pair(&mut ring);
        ring.resume_receive(socket);
        ring.send(socket, pattern(16 << 20), 0);
        let file = ring.attach(&volume.path("a")).unwrap();
        let mut buf = AlignedBuf::zeroed(256 * BLOCK);
        buf.fill(round);
        let buf = Arc::new(buf);
        ring.submit(WriteOp { file, offset: 0, buf: buf.clone(), len: buf.len(), sync: true, tag: 0 });
        if round % 2 == 0 {
            ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
        }
        drop(ring);
        assert_eq!(Arc::strong_count(&buf), 1, "given up only when the write has ended");
        for mut client in clients {
            client.set_read_timeout(Some(LONG)).unwrap();
            let end = client.read(&mut [0; 1]);
            assert!(matches!(&end, Ok(0)) || end.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset));
        }
        let back = volume.read_at("a", 0, 256 * BLOCK).unwrap();
        assert!(back.iter().all(|&b| b == round), "what was submitted is written");
    }
}
