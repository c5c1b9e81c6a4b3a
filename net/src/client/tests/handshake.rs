//! Connecting: new, resumed and dead sessions.

use ringkeeper_engine::id::SessionId;

use super::world::*;
use crate::client::password;
use crate::wire::op;

#[test]
fn a_new_session_is_answered_when_it_is_committed() {
    let mut world = World::new();
    world.eager = false;
    let conn = world.accept(0);
    world.frame(conn, &hex("00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000 00"));
    assert!(world.raw(conn).is_empty());
    assert!(world.commit());
    let answer = world.raw(conn).remove(0);
    assert_eq!(answer[..12], hex("00000025 00000000 00002710"));
    let session = SessionId(i64::from_be_bytes(answer[12..20].try_into().unwrap()));
    assert_eq!(session.0 >> 56, 1);
    assert_eq!(answer[20..24], hex("00000010"));
    assert_eq!(answer[24..40], password::of(session));
    assert_eq!(answer[40..], [0]);
}

#[test]
fn clients_without_the_flag_get_none() {
    let mut world = World::new();
    let conn = world.accept(0);
    world.frame(conn, &connect(0, 10_000, SessionId::NONE, &[], None));
    let answer = world.raw(conn).remove(0);
    assert_eq!((answer.len(), &answer[..4]), (40, &hex("00000024")[..]));
    let conn = world.accept(1);
    world.frame(conn, &connect(0, 10_000, SessionId(99), &[0; 16], None));
    assert_eq!(world.raw(conn), [hex(&format!("00000024 {} 00000010 {}", "00".repeat(16), "00".repeat(16)))]);
}

#[test]
fn the_timeout_is_clamped() {
    let mut world = World::new();
    for (slot, (asked, granted)) in [
        (-5, 4000),
        (0, 4000),
        (3999, 4000),
        (4000, 4000),
        (39_999, 39_999),
        (40_000, 40_000),
        (i32::MAX, 40_000),
    ]
    .into_iter()
    .enumerate()
    {
        let conn = world.accept(slot as u32);
        world.frame(conn, &connect(0, asked, SessionId::NONE, &[0; 16], Some(false)));
        assert_eq!(world.raw(conn)[0][8..12], i32::to_be_bytes(granted), "{asked}");
    }
}

#[test]
fn a_dead_session_is_all_zero_and_then_closed() {
    let mut world = World::new();
    let client = world.client(0);
    for (session, password) in
        [(SessionId(99), password::of(SessionId(99))), (client.session, [7; 16]), (SessionId(-1), [0; 16])]
    {
        let conn = world.accept(1);
        world.frame(conn, &connect(0, 10_000, session, &password, Some(false)));
        let zero = "00000025 00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00";
        assert_eq!(world.raw(conn), [hex(zero)]);
        assert!(world.is_closed(conn));
    }
    // The wrong password did not disturb the one who has the session.
    assert!(!world.is_closed(client.conn));
    assert_eq!(world.err(client, ping()), 0);
}

#[test]
fn a_client_that_has_seen_more_is_closed_without_a_word() {
    let mut world = World::new();
    let client = world.client(0);
    for session in [SessionId::NONE, client.session] {
        let conn = world.accept(1);
        world.frame(conn, &connect(2, 10_000, session, &password::of(session), Some(false)));
        assert!(world.raw(conn).is_empty() && world.is_closed(conn));
    }
    let conn = world.accept(1);
    world.frame(conn, &connect(1, 10_000, client.session, &password::of(client.session), Some(false)));
    assert!(!world.is_closed(conn));
}

#[test]
fn a_truncated_connect_request_is_closed_without_a_word() {
    let whole = connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false));
    let mut world = World::new();
    for len in 0..44 {
        let conn = world.accept(0);
        world.frame(conn, &whole[..len]);
        assert!(world.raw(conn).is_empty() && world.is_closed(conn), "{len}");
    }
    assert_eq!(world.service.stats().sessions, 0);
}

#[test]
fn strange_connect_requests_are_taken() {
    let mut world = World::new();
    let mut trailing = connect(0, 10_000, SessionId::NONE, &[1, 2, 3], Some(false));
    trailing.extend_from_slice(&[9; 30]);
    let mut null_password = connect(0, 10_000, SessionId::NONE, &[], None);
    null_password[24..28].copy_from_slice(&[0xff; 4]);
    let mut other_protocol = connect(0, 10_000, SessionId::NONE, &[0; 16], Some(true));
    other_protocol[3] = 5;
    for request in [trailing, null_password, other_protocol] {
        let conn = world.accept(0);
        world.frame(conn, &request);
        let answer = world.raw(conn).remove(0);
        assert_eq!(answer[4..12], hex("00000000 00002710"));
    }
}

#[test]
fn a_takeover_closes_the_old_connection_silently_and_keeps_ephemerals() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create("/e", 1));
    world.ok(client, read(op::GET_DATA, "/e", true));
    let resumed = world.resume(1, client);
    assert!(world.is_closed(client.conn));
    assert!(world.raw(client.conn).is_empty());
    assert_eq!(world.raw(resumed.conn).len(), 1);
    // Watches were the old connection's; the ephemeral is the session's.
    let stat = world.ok(resumed, set("/e", b"x", -1)).stat();
    assert_eq!(stat.owner, client.session.0);
    // The old connection's end, when the front notices, is nobody's.
    world.gone(client.conn);
    assert_eq!(world.err(resumed, ping()), 0);
}

#[test]
fn a_resumed_session_waits_for_what_it_had_under_way() {
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    world.frame(client.conn, &create("/a", 0));
    world.frame(client.conn, &create("/b", 0));
    let resumed = world.resume(1, client);
    world.frame(resumed.conn, &read(op::EXISTS, "/b", false));
    world.commit();
    assert!(world.raw(resumed.conn).is_empty());
    world.commit();
    let frames = world.raw(resumed.conn);
    assert_eq!((frames.len(), frames[0].len()), (2, 41));
    assert_eq!(Reply::parse(&frames[1]).err, 0);
    assert!(world.raw(client.conn).is_empty());
}

#[test]
fn the_resumed_timeout_is_the_new_one() {
    let mut world = World::new();
    let client = world.client(0);
    let conn = world.accept(1);
    world.frame(conn, &connect(0, 5000, client.session, &password::of(client.session), Some(false)));
    assert_eq!(world.raw(conn)[0][8..12], 5000i32.to_be_bytes());
    world.advance(7000);
    world.tick();
    assert!(world.is_closed(conn));
}

#[test]
fn requests_behind_the_connect_request_are_served_in_order() {
    let mut world = World::new();
    world.eager = false;
    let conn = world.accept(0);
    world.frame(conn, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false)));
    world.frame(conn, &header(1, op::SASL));
    world.frame(conn, &auth("digest", Some(b"u:p")));
    world.frame(conn, &xid(2, set_watches(op::SET_WATCHES, 0, &[&[], &["/a"], &[]])));
    world.frame(conn, &xid(3, create("/a", 1)));
    world.frame(conn, &ping());
    assert!(world.raw(conn).is_empty());
    world.commit_all();
    let frames = world.raw(conn);
    assert_eq!(frames[0].len(), 41);
    let xids: Vec<i32> = frames[1..].iter().map(|frame| Reply::parse(frame).xid).collect();
    assert_eq!(xids, [1, -4, -8 + 10, -1, 3, -2]);
}

#[test]
fn who_does_not_shake_hands_is_closed() {
    let mut world = World::new();
    let client = world.client(0);
    let idle = world.accept(1);
    assert_eq!(world.service.next_deadline(), Some(11_000));
    world.advance(9999);
    world.frame(client.conn, &ping());
    world.tick();
    assert!(!world.is_closed(idle));
    world.advance(1);
    world.tick();
    assert!(world.is_closed(idle) && !world.is_closed(client.conn));
}
