use super::payload::*;
use super::*;
use ringkeeper_engine::id::{Epoch, SessionId, Sid};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn with<T>(bytes: &[u8], read: impl FnOnce(&QuorumPacket<'_>) -> T) -> T {
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(bytes);
    let result = read(&decoder.next_packet().unwrap().expect("a whole packet"));
    assert!(decoder.raw().is_empty(), "bytes left behind the packet");
    result
}

fn packet_of(kind: i32, zxid: i64, data: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    put_packet(&mut out, kind, Zxid::from_raw(zxid), data);
    out
}

#[test]
fn captured_packets_are_read_and_written_the_same() {
    let follower =
        hex("0000000b 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 ffffffff");
    let info =
        LearnerInfo { sid: Sid(1), accepted: Epoch(0), config_version: 0, observer: false, ours: false };
    assert_eq!(with(&follower, LearnerInfo::decode), Ok(info));
    let mut out = Vec::new();
    info.put(&mut out);
    assert_eq!(out, follower);

    let leader = hex("00000011 0000000100000000 00000004 00010000 ffffffff");
    assert_eq!(with(&leader, leader_info), Ok((Epoch(1), false)));
    out.clear();
    put_leader_info(&mut out, Epoch(1), false);
    assert_eq!(out, leader);

    let accepted = hex("00000012 0000000000000000 00000004 00000000 ffffffff");
    assert_eq!(with(&accepted, ack_epoch), Ok(Some(Epoch(0))));
    out.clear();
    put_ack_epoch(&mut out, Zxid::ZERO, Some(Epoch(0)));
    assert_eq!(out, accepted);

    let ack = hex("00000003 0000000100000000 ffffffff ffffffff");
    with(&ack, |packet| {
        assert_eq!((packet.kind, packet.zxid, packet.data), (kind::ACK, Zxid::new(Epoch(1), 0), None));
    });
    assert_eq!(packet_of(kind::ACK, 0x1_0000_0000, None), ack);

    let request =
        hex("00000001 ffffffffffffffff 00000014 010000116fd70000 00000000 fffffff6 00002710 ffffffff");
    with(&request, |packet| {
        let session = SessionId(0x0100_0011_6fd7_0000);
        let want = Request { session, cxid: 0, op: -10, body: &[0, 0, 0x27, 0x10] };
        assert_eq!(Request::decode(packet), Ok(want));
        assert_eq!(packet.identities().count(), 0);
        let mut data = Vec::new();
        want.put_data(&mut data);
        assert_eq!(packet_of(kind::REQUEST, -1, Some(&data)), request);
    });

    let touched_bytes = hex("01000011 6fd70000 00002710");
    let sessions = vec![(SessionId(0x0100_0011_6fd7_0000), 10_000)];
    let ping = packet_of(kind::PING, 5, Some(&touched_bytes));
    assert_eq!(with(&ping, touched), Ok(sessions.clone()));
    out.clear();
    put_touched(&mut out, Zxid::from_raw(5), &sessions);
    assert_eq!(out, ping);
}

#[test]
fn more_sessions_than_a_packet_holds_take_several() {
    for count in [0, 40_000, 40_001, 200_000] {
        let sessions: Vec<_> = (0..count).map(|id| (SessionId(id), 4000)).collect();
        let mut out = Vec::new();
        put_touched(&mut out, Zxid::from_raw(5), &sessions);
        // What a server of the reference takes if it is told to take no more than 512 KiB.
        let mut decoder = Decoder::new(512 << 10);
        decoder.push(&out);
        let mut read = Vec::new();
        let mut packets = 0;
        while let Some(packet) = decoder.next_packet().unwrap() {
            assert_eq!((packet.kind, packet.zxid), (kind::PING, Zxid::from_raw(5)));
            read.extend(touched(&packet).unwrap());
            packets += 1;
        }
        assert!(read == sessions, "{count}");
        assert_eq!(packets, count.max(1).div_euclid(40_001) + 1, "{count}");
    }
}

#[test]
fn members_of_this_kind_recognise_each_other() {
    let info = LearnerInfo { sid: Sid(9), accepted: Epoch(4), config_version: 7, observer: true, ours: true };
    let mut out = Vec::new();
    info.put(&mut out);
    assert_eq!(with(&out, LearnerInfo::decode), Ok(info));
    out.clear();
    put_leader_info(&mut out, Epoch(5), true);
    assert_eq!(with(&out, leader_info), Ok((Epoch(5), true)));
}

#[test]
fn the_other_payloads_survive_a_round() {
    let mut out = Vec::new();
    put_revalidate(&mut out, SessionId(3), 4000);
    assert_eq!(with(&out, revalidate), Ok((SessionId(3), 4000)));
    out.clear();
    put_revalidated(&mut out, SessionId(3), true);
    assert_eq!(with(&out, revalidated), Ok((SessionId(3), true)));
    out.clear();
    put_ack_epoch(&mut out, Zxid::from_raw(-1), None);
    assert_eq!(with(&out, ack_epoch), Ok(None));
    let activation = packet_of(kind::INFORM_AND_ACTIVATE, 5, Some(b"\0\0\0\0\0\0\0\x03txn"));
    with(&activation, |packet| assert_eq!(activate(packet), Ok((Sid(3), &b"txn"[..]))));
    out.clear();
    put_request(&mut out, b"0123456789abcdef", &[(b"ip", b"127.0.0.1"), (b"digest", b"a:b")]);
    with(&out, |packet| {
        let ids: Vec<_> = packet.identities().collect();
        assert_eq!(ids, [(&b"ip"[..], &b"127.0.0.1"[..]), (b"digest", b"a:b")]);
    });
}

#[test]
fn payloads_that_lack_something_are_refused() {
    let null = |kind| packet_of(kind, 0, None);
    assert_eq!(with(&null(kind::PING), touched), Err(PayloadError::Null { kind: kind::PING }));
    assert_eq!(
        with(&null(kind::LEADERINFO), leader_info),
        Err(PayloadError::Null { kind: kind::LEADERINFO })
    );
    assert!(with(&packet_of(kind::PING, 0, Some(&[0; 13])), touched).is_err());
    assert!(with(&packet_of(kind::ACKEPOCH, 0, Some(&(-2i32).to_be_bytes())), ack_epoch).is_err());
    assert_eq!(
        with(&packet_of(kind::LEADERINFO, -1, Some(&[0, 1, 0, 0])), leader_info),
        Err(PayloadError::Epoch { kind: kind::LEADERINFO, epoch: -1 })
    );
    let old = packet_of(kind::FOLLOWERINFO, 0, Some(&[0; 20]));
    let error = with(&old, LearnerInfo::decode).unwrap_err();
    assert_eq!(
        error.to_string(),
        "packet type 11 announces protocol version 0x0, at least 0x10000 is needed"
    );
}

#[test]
fn a_stream_may_come_in_any_pieces_and_hand_out_raw_bytes() {
    let mut stream = packet_of(kind::PROPOSAL, 1, Some(b"transaction"));
    put_request(&mut stream, b"0123456789abcdef", &[(b"ip", b"::1")]);
    stream.extend(packet_of(kind::SNAP, 7, None));
    let packets = stream.len();
    stream.extend(b"snapshot");
    for piece in 1..stream.len() {
        let mut decoder = Decoder::new(100);
        let mut kinds = Vec::new();
        for bytes in stream[..packets].chunks(piece) {
            decoder.push(bytes);
            while let Some(packet) = decoder.next_packet().unwrap() {
                kinds.push(packet.kind);
            }
        }
        assert_eq!(kinds, [kind::PROPOSAL, kind::REQUEST, kind::SNAP]);
        decoder.push(&stream[packets..]);
        assert_eq!(decoder.raw(), b"snapshot");
        decoder.consume(8);
        decoder.push(&packet_of(kind::NEWLEADER, 0x2_0000_0000, None));
        assert_eq!(new_leader(&decoder.next_packet().unwrap().unwrap()), Ok(Epoch(2)));
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_arrives() {
    let mut decoder = Decoder::new(100);
    decoder.push(&hex("00000002 0000000000000001 00000065"));
    let error = decoder.next_packet().unwrap_err();
    assert_eq!(error, StreamError::TooLong { kind: 2, length: 101, limit: 100 });
    assert_eq!(error.to_string(), "reading packet type 2: 101 bytes of data, at most 100");
    for bad in ["fffffffe", "ffffffff 7fffffff", "ffffffff fffffffe", "ffffffff 00000001 00010000"] {
        let mut decoder = Decoder::new(100);
        decoder.push(&hex(&format!("00000001 ffffffffffffffff {bad}")));
        assert!(decoder.next_packet().is_err(), "{bad}");
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let mut bytes = packet_of(rng.i32(0..21), rng.i64(..), Some(&[3; 24]));
        put_request(&mut bytes, b"0123456789abcdef", &[(b"ip", b"::1")]);
        for _ in 0..rng.usize(0..4) {
            let at = rng.usize(0..bytes.len());
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(rng.usize(0..=bytes.len()));
        super::fuzz(&bytes);
    }
}
