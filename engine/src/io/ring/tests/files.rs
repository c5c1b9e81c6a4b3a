//! Pieces of files: whole and in order over all ways of sending, checked, fairly shared memory, and their end.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use super::super::piece_buffers::{MOST, REGISTERED};
use super::super::sockets::Socket;
use super::*;
use crate::io::test_directory;

/// A file of `len` bytes padded to whole blocks, and where it lies.
struct Body {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Body {
    fn new(len: usize) -> Body {
        let dir = test_directory();
        let bytes = pattern(len);
        let mut padded = bytes.clone();
        padded.resize(len.next_multiple_of(4096), 0xee);
        std::fs::write(dir.path().join("body"), padded).unwrap();
        Body { dir, bytes }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("body")
    }

    fn piece(&self, source: SourceId, index: usize) -> FilePiece {
        let bytes = self.bytes.chunks(PIECE).nth(index).unwrap();
        FilePiece { source, offset: (index * PIECE) as u64, len: bytes.len(), crc: crc32c::crc32c(bytes) }
    }

    /// Gives all pieces to the ring; their number.
    fn send(&self, ring: &mut Ring, socket: SocketId, source: SourceId) -> usize {
        let count = self.bytes.len().div_ceil(PIECE);
        (0..count).for_each(|index| ring.send_file(socket, self.piece(source, index), index as u64));
        count
    }
}

/// Reads to the end or to a reset.
fn drain(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut all, mut buf) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            match stream.read(&mut buf) {
                Ok(0) => return all,
                Ok(n) => all.extend_from_slice(&buf[..n]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("{error}"),
            }
        }
    })
}

/// Sends a body over one socket and closes it; the socket's other end must get it as it is.
fn sends_whole(ring: &mut Ring, body: &Body, socket: SocketId, reader: thread::JoinHandle<Vec<u8>>) {
    let source = ring.open_source(&body.path()).unwrap();
    let count = body.send(ring, socket, source);
    ring.close_source(source);
    ring.close_when_sent(socket);
    let mut next = 0;
    until(ring, |_, event| match event {
        Event::SentFile(sent, user, result) => {
            result.unwrap();
            assert_eq!((sent, user), (socket, next), "in the order in which they were given");
            next += 1;
            None
        }
        Event::Closed(closed) if closed == socket => Some(()),
        other => panic!("{other:?}"),
    });
    assert_eq!(next, count as u64);
    assert!(reader.join().unwrap() == body.bytes);
}

/// Turns until the kernel has nothing of any piece in its hands, and all memory for them is given up.
fn until_released(ring: &mut Ring) {
    let start = Instant::now();
    while ring.pieces.len() > 0 {
        assert!(start.elapsed() < LONG, "it never came: {ring:?}");
        assert!(poll(ring).is_empty());
    }
    assert_eq!(ring.pieces.buffer_count(), (0, 0));
}

#[test]
fn a_file_is_sent_as_it_is_whatever_the_kernel_grants() {
    let body = Body::new(9 * PIECE + 12_345);
    let every = RingOptions::default();
    let ways = [
        every.clone(),
        RingOptions { zero_copy: false, ..every.clone() },
        RingOptions { registered_bytes: 0, ..every.clone() },
        RingOptions { first_mode: Mode::CoopTaskrun, ..every.clone() },
        RingOptions { first_mode: Mode::Plain, ..every },
    ];
    for options in ways {
        let mut ring = Ring::with_options(&options).unwrap();
        assert_eq!(ring.features().sends_zero_copy(), options.zero_copy);
        for _ in 0..2 {
            let (socket, outside) = pair(&mut ring);
            sends_whole(&mut ring, &body, socket, drain(outside));
            until_released(&mut ring);
        }
    }
}

#[test]
fn memory_is_made_for_the_first_piece_and_the_first_of_it_is_registered() {
    let body = Body::new(20 * PIECE);
    let mut ring = Ring::new().unwrap();
    assert_eq!(ring.pieces.buffer_count(), (0, 0));
    let (socket, outside) = pair(&mut ring);
    let source = ring.open_source(&body.path()).unwrap();
    assert_eq!(ring.pieces.buffer_count(), (0, 0));
    let count = body.send(&mut ring, socket, source);
    let reader = drain(outside);
    let mut sent = 0;
    until(&mut ring, |_, event| {
        assert!(matches!(event, Event::SentFile(_, _, Ok(()))), "{event:?}");
        sent += 1;
        (sent == count).then_some(())
    });
    while ring.pieces.len() > 0 {
        poll(&mut ring);
    }
    let (made, registered) = ring.pieces.buffer_count();
    assert!((2..=MOST).contains(&made), "{made}");
    assert_eq!(registered, made.min(REGISTERED));
    ring.close_source(source);
    assert_eq!(ring.pieces.buffer_count(), (0, 0), "given up with the last source");
    ring.close(socket);
    poll(&mut ring);
    assert_eq!(reader.join().unwrap().len(), body.bytes.len());
}

#[test]
fn a_socket_whose_route_copies_is_sent_copies_from_then_on() {
    let body = Body::new(4 * PIECE);
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    let reader = drain(outside);
    let source = ring.open_source(&body.path()).unwrap();
    let count = body.send(&mut ring, socket, source);
    let (mut sent, mut lent) = (0, false);
    let start = Instant::now();
    while sent < count {
        assert!(start.elapsed() < LONG);
        lent |= ring.pieces.lends_to(socket.0);
        sent += poll(&mut ring).len();
    }
    assert!(lent, "the first sends are without copying");
    while ring.pieces.len() > 0 {
        assert!(poll(&mut ring).is_empty());
    }
    assert!(ring.sockets.get(socket.0).unwrap().sending.copies, "loopback copies and says so");
    body.send(&mut ring, socket, source);
    while sent < 2 * count {
        assert!(!ring.pieces.lends_to(socket.0));
        sent += poll(&mut ring).len();
    }
    ring.close(socket);
    poll(&mut ring);
    assert_eq!(reader.join().unwrap().len(), 2 * body.bytes.len());
}

#[test]
fn a_socket_that_cannot_send_without_copying_is_sent_copies() {
    let body = Body::new(3 * PIECE + 1);
    let mut ring = Ring::new().unwrap();
    // Sockets of this family refuse SEND_ZC.
    let (inside, outside) = UnixStream::pair().unwrap();
    let socket = SocketId(ring.sockets.insert(Socket::new(OwnedFd::from(inside).into())));
    sends_whole(&mut ring, &body, socket, drain(outside));
    until_released(&mut ring);
}

#[test]
fn pieces_and_buffers_of_one_socket_keep_their_order() {
    let body = Body::new(5 * PIECE + 77);
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    let reader = drain(outside);
    let source = ring.open_source(&body.path()).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let mut wanted = Vec::new();
    const COUNT: u64 = 150;
    for user in 0..COUNT {
        match random.u8(0..4) {
            0 => {
                let index = random.usize(0..6);
                let piece = body.piece(source, index);
                wanted.extend_from_slice(&body.bytes[piece.offset as usize..][..piece.len]);
                ring.send_file(socket, piece, user);
            }
            what => {
                let bytes = pattern(random.usize(0..if what == 1 { 300_000 } else { 300 }));
                wanted.extend_from_slice(&bytes);
                ring.send(socket, bytes, user);
            }
        }
    }
    ring.close_when_sent(socket);
    let mut told = 0;
    until(&mut ring, |_, event| {
        match event {
            Event::Sent(_, user, _, Ok(())) | Event::SentFile(_, user, Ok(())) => {
                assert_eq!(user, told, "in the order in which they were given");
                told += 1;
            }
            Event::Closed(_) => return Some(()),
            other => panic!("{other:?}"),
        }
        None
    });
    assert_eq!(told, COUNT);
    assert!(reader.join().unwrap() == wanted);
}

#[test]
fn nothing_of_a_damaged_piece_leaves_and_nothing_behind_it() {
    let body = Body::new(4 * PIECE);
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    let reader = drain(outside);
    let source = ring.open_source(&body.path()).unwrap();
    // One bit in the last byte of the third piece.
    let mut file = std::fs::OpenOptions::new().write(true).open(body.path()).unwrap();
    std::io::Seek::seek(&mut file, io::SeekFrom::Start(3 * PIECE as u64 - 1)).unwrap();
    file.write_all(&[body.bytes[3 * PIECE - 1] ^ 1]).unwrap();
    file.sync_all().unwrap();
    body.send(&mut ring, socket, source);
    ring.send(socket, pattern(10), 4);
    ring.close_when_sent(socket);
    let mut results = Vec::new();
    until(&mut ring, |_, event| {
        match event {
            Event::SentFile(_, user, result) => {
                assert_eq!(user, results.len() as u64);
                results.push(result);
            }
            Event::Sent(_, 4, _, result) => assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EIO)),
            Event::Closed(_) => return Some(()),
            other => panic!("{other:?}"),
        }
        None
    });
    let [Ok(()), Ok(()), Err(damaged), Err(SendFileError::Send(_))] = &results[..] else {
        panic!("{results:?}")
    };
    assert!(matches!(damaged, SendFileError::Damaged { offset: 0x20_0000, .. }), "{damaged}");
    let text = damaged.to_string();
    assert!(text.starts_with("the 1048576 bytes at offset 2097152 are damaged"), "{text}");
    assert!(reader.join().unwrap() == body.bytes[..2 * PIECE]);
    ring.close_source(source);
    until_released(&mut ring);
}

/// Sends one piece that must fail, and returns why; nothing arrives.
fn fails(path: &std::path::Path, piece: impl FnOnce(SourceId) -> FilePiece) -> SendFileError {
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    let source = ring.open_source(path).unwrap();
    ring.send_file(socket, piece(source), 3);
    ring.close_when_sent(socket);
    let error = until(&mut ring, |_, event| match event {
        Event::SentFile(_, 3, result) => Some(result.unwrap_err()),
        other => panic!("{other:?}"),
    });
    until(&mut ring, |_, event| matches!(event, Event::Closed(_)).then_some(()));
    assert_eq!(drain(outside).join().unwrap(), []);
    ring.close_source(source);
    until_released(&mut ring);
    error
}

#[test]
fn a_file_that_ends_before_its_piece_is_reported_with_what_there_is() {
    let body = Body::new(PIECE + 8192);
    let at = |offset, len| move |source| FilePiece { source, offset, len, crc: 0 };
    let error = fails(&body.path(), at(PIECE as u64, 9000));
    assert_eq!(
        error.to_string(),
        "reading 9000 bytes at offset 1048576: the file has only 8192",
        "{error:?}"
    );
    let error = fails(&body.path(), at(2 * PIECE as u64, PIECE));
    assert!(matches!(error, SendFileError::Short { found: 0, .. }), "{error:?}");
}

#[test]
fn a_read_that_fails_is_reported_with_its_offset() {
    // Nothing is mapped at the beginning of our memory: the kernel answers EIO.
    let memory = std::path::Path::new("/proc/self/mem");
    let error = fails(memory, |source| FilePiece { source, offset: 4096, len: 4096, crc: 0 });
    let SendFileError::Read { offset: 4096, source } = &error else { panic!("{error:?}") };
    assert_eq!(source.raw_os_error(), Some(libc::EIO));
    let error = fails(test_directory().path(), |source| FilePiece { source, offset: 0, len: 1, crc: 0 });
    assert_eq!(error.to_string(), "reading at offset 0: Is a directory (os error 21)");
}

#[test]
fn what_is_no_piece_or_of_no_open_file_is_refused() {
    let body = Body::new(8192);
    for (offset, len) in [(1, 10), (0, 0), (0, PIECE + 1)] {
        let error = fails(&body.path(), |source| FilePiece { source, offset, len, crc: 0 });
        assert!(
            matches!(&error, SendFileError::Read { source, .. } if source.kind() == io::ErrorKind::InvalidInput)
        );
    }
    let mut ring = Ring::new().unwrap();
    let (socket, _outside) = pair(&mut ring);
    let source = ring.open_source(&body.path()).unwrap();
    ring.close_source(source);
    (0..2).for_each(|user| ring.send_file(socket, body.piece(source, 0), user));
    let mut errors = Vec::new();
    until(&mut ring, |_, event| {
        let Event::SentFile(_, _, Err(error)) = event else { panic!("{event:?}") };
        errors.push(error);
        (errors.len() == 2).then_some(())
    });
    for error in errors {
        let SendFileError::Read { offset: 0, source } = error else { panic!("{error:?}") };
        assert_eq!(source.raw_os_error(), Some(libc::EBADF));
    }
    assert!(ring.open_source(&body.dir.path().join("none")).is_err());
}

#[test]
fn many_sockets_share_the_memory_and_all_are_served() {
    let body = Body::new(3 * PIECE + 4097);
    let other = Body::new(2 * PIECE + 5);
    let mut ring = Ring::new().unwrap();
    let sources = [&body, &other].map(|body| ring.open_source(&body.path()).unwrap());
    let mut readers = Vec::new();
    for index in 0..3 * MOST {
        let (socket, outside) = pair(&mut ring);
        let body = [&body, &other][index % 2];
        body.send(&mut ring, socket, sources[index % 2]);
        ring.close_when_sent(socket);
        readers.push((drain(outside), body));
    }
    assert_eq!(ring.pieces.len(), MOST, "as many as there are buffers, no more");
    sources.into_iter().for_each(|source| ring.close_source(source));
    let mut closed = 0;
    until(&mut ring, |_, event| {
        match event {
            Event::SentFile(_, _, result) => result.unwrap(),
            Event::Closed(_) => closed += 1,
            other => panic!("{other:?}"),
        }
        (closed == 3 * MOST).then_some(())
    });
    for (reader, body) in readers {
        assert!(reader.join().unwrap() == body.bytes);
    }
    until_released(&mut ring);
}

/// Sockets whose peers read nothing, that hold all the memory there is.
fn stuck(ring: &mut Ring, body: &Body, source: SourceId) -> Vec<(SocketId, TcpStream)> {
    let stuck: Vec<_> = (0..MOST / 2).map(|_| pair(ring)).collect();
    for (socket, _) in &stuck {
        for _ in 0..16 {
            body.send(ring, *socket, source);
        }
    }
    // Until nobody takes any more.
    let (start, mut still) = (Instant::now(), 0);
    while still < 50 {
        assert!(start.elapsed() < LONG);
        ring.submit_and_wait(Some(Duration::from_millis(2))).unwrap();
        let events = poll(ring);
        still = if events.is_empty() { still + 1 } else { 0 };
    }
    assert_eq!(ring.pieces.len(), MOST);
    stuck
}

#[test]
fn who_has_no_memory_comes_before_who_wants_more_when_some_is_freed() {
    let body = Body::new(2 * PIECE);
    let mut ring = Ring::new().unwrap();
    let source = ring.open_source(&body.path()).unwrap();
    let stuck = stuck(&mut ring, &body, source);
    let (socket, outside) = pair(&mut ring);
    let reader = drain(outside);
    body.send(&mut ring, socket, source);
    ring.close_when_sent(socket);
    assert!(poll(&mut ring).is_empty(), "it has to wait");
    // One of the others goes on, slowly: what it frees is for the one that waits.
    let mut slow = stuck[0].1.try_clone().unwrap();
    let (mut got, mut buf) = (0, vec![0; 1 << 16]);
    let start = Instant::now();
    'served: loop {
        assert!(start.elapsed() < LONG);
        got += slow.read(&mut buf).unwrap();
        ring.submit_and_wait(Some(Duration::from_millis(1))).unwrap();
        while let Some(completion) = ring.next_completion() {
            if matches!(completion, Completion::Closed { .. }) {
                break 'served;
            }
        }
    }
    assert!(got < 24 << 20, "served only after {got} bytes of another");
    assert!(reader.join().unwrap() == body.bytes);
}

#[test]
fn closing_in_the_middle_gives_the_memory_to_those_who_wait() {
    let body = Body::new(2 * PIECE);
    let mut ring = Ring::new().unwrap();
    let source = ring.open_source(&body.path()).unwrap();
    let stuck = stuck(&mut ring, &body, source);
    let (socket, outside) = pair(&mut ring);
    let reader = drain(outside);
    body.send(&mut ring, socket, source);
    ring.close_when_sent(socket);
    for (socket, _) in &stuck {
        ring.close(*socket);
    }
    let mut closed = 0;
    until(&mut ring, |_, event| {
        match event {
            Event::SentFile(sent, _, result) if sent == socket => result.unwrap(),
            Event::Closed(_) => closed += 1,
            other => panic!("{other:?}"),
        }
        (closed == stuck.len() + 1).then_some(())
    });
    assert!(reader.join().unwrap() == body.bytes);
    ring.close_source(source);
    until_released(&mut ring);
}

#[test]
fn closing_while_a_piece_is_read_closes_at_once_and_frees_it_when_the_read_ends() {
    let body = Body::new(4 * PIECE);
    let mut ring = Ring::new().unwrap();
    for turns in 0..4 {
        let (socket, outside) = pair(&mut ring);
        let source = ring.open_source(&body.path()).unwrap();
        body.send(&mut ring, socket, source);
        for _ in 0..turns {
            poll(&mut ring);
        }
        ring.close(socket);
        ring.close_source(source);
        until(&mut ring, |_, event| match event {
            Event::Closed(closed) => (closed == socket).then_some(()),
            Event::SentFile(_, _, result) => {
                result.unwrap();
                None
            }
            other => panic!("{other:?}"),
        });
        until_released(&mut ring);
        assert!(body.bytes.starts_with(&drain(outside).join().unwrap()));
    }
}

#[test]
fn a_reset_fails_every_piece_in_order_and_frees_the_memory() {
    let body = Body::new(16 * PIECE);
    let mut ring = Ring::new().unwrap();
    let (socket, outside) = pair(&mut ring);
    let source = ring.open_source(&body.path()).unwrap();
    let count = body.send(&mut ring, socket, source);
    ring.close_source(source);
    until(&mut ring, |_, event| matches!(event, Event::SentFile(_, 0, Ok(()))).then_some(()));
    drop(outside); // with unread data: a reset
    let (mut next, mut failed) = (1, 0);
    ring.close_when_sent(socket);
    until(&mut ring, |_, event| {
        match event {
            Event::SentFile(_, user, result) => {
                assert_eq!(user, next);
                match result {
                    Ok(()) => assert_eq!(failed, 0, "nothing is sent behind what is lost"),
                    Err(SendFileError::Send(_)) => failed += 1,
                    Err(error) => panic!("{error}"),
                }
                next += 1;
            }
            Event::Closed(_) => return Some(()),
            other => panic!("{other:?}"),
        }
        None
    });
    assert!(next == count as u64 && failed > 0, "{next} {failed}");
    until_released(&mut ring);
}

#[test]
fn a_failed_connection_gives_up_the_pieces_that_waited_for_it() {
    let body = Body::new(2 * PIECE);
    let mut ring = Ring::new().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = ring.connect(nobody, 9).unwrap();
    let source = ring.open_source(&body.path()).unwrap();
    body.send(&mut ring, socket, source);
    ring.close_source(source);
    until(&mut ring, |_, event| match event {
        Event::ConnectFailed(failed, 9, _) => (failed == socket).then_some(()),
        other => panic!("{other:?}"),
    });
    until_released(&mut ring);
}

#[test]
fn a_piece_given_before_the_connection_stands_is_sent_when_it_does() {
    let body = Body::new(2 * PIECE + 9);
    let mut ring = Ring::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = ring.connect(listener.local_addr().unwrap(), 0).unwrap();
    let source = ring.open_source(&body.path()).unwrap();
    let count = body.send(&mut ring, socket, source);
    ring.close_when_sent(socket);
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    let reader = drain(listener.accept().unwrap().0);
    let mut sent = 0;
    until(&mut ring, |_, event| {
        match event {
            Event::Connected(..) => assert_eq!(sent, 0),
            Event::SentFile(_, _, result) => {
                result.unwrap();
                sent += 1;
            }
            Event::Closed(_) => return Some(()),
            other => panic!("{other:?}"),
        }
        None
    });
    assert_eq!(sent, count);
    assert!(reader.join().unwrap() == body.bytes);
}

#[test]
fn a_ring_dropped_with_pieces_in_flight_ends_them_first() {
    let body = Body::new(16 * PIECE);
    for turns in [0, 1, 2, 4, 8, 100] {
        let mut ring = Ring::new().unwrap();
        let source = ring.open_source(&body.path()).unwrap();
        let pairs: Vec<_> = (0..3).map(|_| pair(&mut ring)).collect();
        for (socket, _) in &pairs {
            body.send(&mut ring, *socket, source);
        }
        for _ in 0..turns {
            poll(&mut ring);
        }
        assert!(ring.wind_down(), "nothing is left in the kernel's hands");
        assert_eq!((ring.pieces.len(), ring.socket_count()), (0, 0));
        drop(ring);
        for (_, outside) in pairs {
            assert!(body.bytes.starts_with(&drain(outside).join().unwrap()));
        }
    }
}
