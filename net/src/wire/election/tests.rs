use super::*;
use ringkeeper_engine::id::{Sid, Zxid};

/// Captured from a server with sid 3.
const HELLO_3: &[u8] =
    b"\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x0f127.0.0.1:22223";

fn hello(version: i64, text: &str) -> Vec<u8> {
    let mut bytes = version.to_be_bytes().to_vec();
    bytes.extend(7i64.to_be_bytes());
    bytes.extend((text.len() as i32).to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

fn vote() -> Notification {
    Notification {
        state: State::Looking,
        leader: Sid(1),
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: 0,
        version: 2,
    }
}

fn body(length: usize) -> Vec<u8> {
    let mut bytes = vote().encode(&[b'x'; 600])[4..].to_vec();
    bytes.truncate(length);
    bytes
}

#[test]
fn a_captured_hello_is_read_and_written_the_same() {
    let ours = Hello { sid: Sid(3), addresses: vec![("127.0.0.1".into(), 22223)] };
    assert_eq!(Hello::decode(HELLO_3), Ok(Some((ours.clone(), 35))));
    assert_eq!(ours.encode(), HELLO_3);
}

#[test]
fn a_hello_may_come_in_any_pieces() {
    for cut in 0..HELLO_3.len() {
        assert_eq!(Hello::decode(&HELLO_3[..cut]), Ok(None), "{cut} bytes");
    }
}

#[test]
fn hellos_of_all_forms_are_accepted() {
    for (text, want) in [
        ("a:1", vec![("a", 1)]),
        ("[::1]:3888", vec![("::1", 3888)]),
        ("0.0.0.0:3888", vec![("0.0.0.0", 3888)]),
    ] {
        let (read, used) = Hello::decode(&hello(-65536, text)).unwrap().unwrap();
        let want: Vec<_> = want.into_iter().map(|(host, port)| (host.to_owned(), port)).collect();
        assert_eq!((read.sid, &read.addresses, used), (Sid(7), &want, 20 + text.len()));
        assert_eq!(read.encode(), hello(-65536, text));
    }
    let (two, _) = Hello::decode(&hello(-65535, "a:1|[::1]:2")).unwrap().unwrap();
    assert_eq!(two.addresses, [("a".to_owned(), 1), ("::1".to_owned(), 2)]);
    assert_eq!(two.encode(), hello(-65535, "a:1|[::1]:2"));
    let old = Hello { sid: Sid(5), addresses: vec![] };
    assert_eq!(Hello::decode(&[0, 0, 0, 0, 0, 0, 0, 5, 9]), Ok(Some((old, 8))));
}

#[test]
fn broken_hellos_cost_the_connection() {
    assert_eq!(Hello::decode(&hello(-65534, "a:1")), Err(HelloError::Version { version: -65534 }));
    assert_eq!(Hello::decode(&hello(-65536, "")), Err(HelloError::Length { sid: Sid(7), length: 0 }));
    let long = "x".repeat(2049);
    assert_eq!(Hello::decode(&hello(-65536, &long)), Err(HelloError::Length { sid: Sid(7), length: 2049 }));
    for text in ["a", ":1", "a:0", "a:65536", "a:x", "[::1:3", "::1:3", "a:1|b:2"] {
        let error = Hello::decode(&hello(-65536, text)).unwrap_err();
        assert_eq!(error, HelloError::Address { sid: Sid(7), text: text.into() });
    }
    assert_eq!(
        HelloError::Address { sid: Sid(7), text: "a".into() }.to_string(),
        "reading the election hello of server 7: \"a\" is no address with a port"
    );
}

#[test]
fn a_captured_notification_is_read_and_written_the_same() {
    let text = [b's'; 0x8a];
    let mut captured = vec![0, 0, 0, 44 + 0x8a];
    captured.extend([0; 4]);
    captured.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    captured.extend([0; 8]);
    captured.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    captured.extend([0; 8]);
    captured.extend([0, 0, 0, 2, 0, 0, 0, 0x8a]);
    captured.extend(text);
    assert_eq!(vote().encode(&text), captured);
    let (inner, used) = frame(&captured).unwrap().unwrap();
    assert_eq!(used, captured.len());
    assert_eq!(Notification::decode(inner), Ok(Said { vote: vote(), config: Some(&text) }));
}

#[test]
fn every_length_of_a_notification_means_what_the_reference_says() {
    for length in 0..=200 {
        let bytes = body(length);
        let read = Notification::decode(&bytes);
        match length {
            28 | 40 => assert_eq!(read.unwrap().vote.version, 0, "{length}"),
            // The text is announced with 600 bytes.
            41.. => assert!(matches!(read, Err(FrameError::Jute(_))), "{length}"),
            _ => assert_eq!(read, Err(FrameError::Size { bytes: length })),
        }
    }
    let mut version_1 = body(60);
    version_1[39] = 1;
    assert_eq!(Notification::decode(&version_1).unwrap().config, None);
    let empty = vote().encode(b"");
    assert_eq!(Notification::decode(&empty[4..]).unwrap().config, Some(&b""[..]));
}

#[test]
fn the_shortest_form_takes_its_epoch_from_the_zxid() {
    let mut bytes = body(28);
    bytes[12..20].copy_from_slice(&0x5_0000_0003i64.to_be_bytes());
    assert_eq!(Notification::decode(&bytes).unwrap().vote.peer_epoch, 5);
    bytes[12..20].copy_from_slice(&(-1i64).to_be_bytes());
    assert_eq!(Notification::decode(&bytes).unwrap().vote.peer_epoch, -1);
}

#[test]
fn unknown_states_are_skipped_and_impossible_frames_are_not() {
    let mut bytes = vote().encode(b"");
    bytes[7] = 4;
    assert_eq!(Notification::decode(&bytes[4..]), Err(FrameError::State { state: 4 }));
    for length in [0, -1, 512 * 1024 + 1] {
        assert_eq!(frame(&i32::to_be_bytes(length)), Err(FrameError::Length { length }));
    }
    assert_eq!(frame(&[0, 0, 0]), Ok(None));
    assert_eq!(frame(&[0, 0, 0, 2, 1]), Ok(None));
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut bytes = if rng.bool() { vote().encode(&[b'c'; 20]) } else { HELLO_3.to_vec() };
        for _ in 0..rng.usize(0..4) {
            let at = rng.usize(0..bytes.len());
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(rng.usize(0..=bytes.len()));
        fuzz(&bytes);
    }
}
