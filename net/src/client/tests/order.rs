//! Replies in the order of requests, and what a reply may show.

use super::world::*;
use crate::wire::op;

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    let requests = [
        create("/a", 0),
        read(op::EXISTS, "/a", false),
        ping(),
        set("/a", b"x", 0),
        get("/a"),
        delete("/a", 7),
        auth("digest", Some(b"u:p")),
        read(op::EXISTS, "/a", false),
        delete("/a", 1),
        read(op::EXISTS, "/a", false),
    ];
    for (n, request) in requests.into_iter().enumerate() {
        let n = n as i32 + 1;
        let request = if n == 3 || n == 7 { request } else { xid(n, request) };
        world.frame(client.conn, &request);
    }
    assert!(world.raw(client.conn).is_empty());
    assert_eq!(world.log.queue.len(), 4, "writes are proposed without waiting");
    world.commit_all();
    let replies = world.replies(client.conn);
    let seen: Vec<(i32, i32, i64)> = replies.iter().map(|reply| (reply.xid, reply.err, reply.zxid)).collect();
    assert_eq!(
        seen,
        [
            (1, 0, 2),
            (2, 0, 2),
            (-2, 0, 2),
            (4, 0, 3),
            (5, 0, 3),
            (6, -103, 4),
            (-4, 0, 0),
            (8, 0, 4),
            (9, 0, 5),
            (10, -101, 5)
        ]
    );
    assert_eq!(replies[1].stat().version, 0);
    assert_eq!(replies[4].body[..5], hex("00000001 78"));
}

#[test]
fn a_read_without_own_writes_does_not_wait_for_those_of_others() {
    let mut world = World::new();
    let (writer, reader) = (world.client(0), world.client(1));
    world.eager = false;
    world.frame(writer.conn, &create("/a", 0));
    world.frame(reader.conn, &read(op::EXISTS, "/a", false));
    assert_eq!(world.one(reader.conn).err, -101);
    world.commit_all();
    assert_eq!(world.one(writer.conn).err, 0);
}

#[test]
fn what_waits_sees_the_tree_of_its_turn() {
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    for n in 0..50 {
        world.frame(client.conn, &xid(2 * n + 1, set("/", &n.to_be_bytes(), n)));
        world.frame(client.conn, &xid(2 * n + 2, get("/")));
    }
    for n in 0..50 {
        world.commit();
        let replies = world.replies(client.conn);
        assert_eq!(replies.len(), 2);
        assert_eq!((replies[0].xid, replies[0].stat().version), (2 * n + 1, n + 1));
        assert_eq!((replies[1].xid, &replies[1].body[4..8]), (2 * n + 2, &n.to_be_bytes()[..]));
    }
}

#[test]
fn identities_count_from_the_auth_packet_on() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(
        client,
        create_op(op::CREATE, "/a", None, &[(31, "digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")], 0),
    );
    world.eager = false;
    world.frame(client.conn, &create("/b", 0));
    world.frame(client.conn, &get("/a"));
    world.frame(client.conn, &auth("digest", Some(b"u:p")));
    world.frame(client.conn, &get("/a"));
    world.commit_all();
    let errs: Vec<i32> = world.replies(client.conn).iter().map(|reply| reply.err).collect();
    assert_eq!(errs, [0, -102, 0, 0]);
}

#[test]
fn every_xid_is_echoed_but_that_of_a_ping() {
    let mut world = World::new();
    let client = world.client(0);
    for n in [0, -1, -4, -8, i32::MIN, i32::MAX] {
        assert_eq!(world.ok(client, xid(n, get("/"))).xid, n);
        assert_eq!(world.ok(client, xid(n, ping())).xid, -2);
        assert_eq!(world.ok(client, xid(n, auth("ip", None))).xid, n);
    }
}

#[test]
fn zxids_in_replies_follow_the_rules() {
    let mut world = World::new();
    let client = world.client(0);
    assert_eq!(world.ok(client, create("/a", 0)).zxid, 2);
    let other = world.client(1);
    for request in
        [get("/a"), ping(), path_only(op::SYNC, "/"), set_watches(op::SET_WATCHES, 0, &[&[], &[], &[]])]
    {
        assert_eq!(world.ok(other, request).zxid, 3);
    }
    assert_eq!(world.ask(other, get("/none")).zxid, 3);
    assert_eq!(world.ok(other, auth("digest", Some(b"u:p"))).zxid, 0);
    assert_eq!(world.ok(other, multi(&[])).zxid, 4);
}

#[test]
fn a_ping_and_its_reply_are_the_captured_bytes() {
    let mut world = World::new();
    let client = world.client(0);
    world.client(1);
    world.frame(client.conn, &hex("fffffffe 0000000b"));
    assert_eq!(world.raw(client.conn), [hex("00000010 fffffffe 0000000000000002 00000000")]);
}

#[test]
fn create_and_its_reply_are_the_captured_bytes() {
    let mut world = World::new();
    let client = world.client(0);
    world.client(1);
    world.frame(
        client.conn,
        &hex("00000009 00000001 00000002 2f61 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000"),
    );
    assert_eq!(world.raw(client.conn), [hex("00000016 00000009 0000000000000003 00000000 00000002 2f61")]);
    world.ok(client, set("/a", b"", -1));
    world.frame(client.conn, &xid(11, read(op::EXISTS, "/none", false)));
    assert_eq!(world.raw(client.conn), [hex("00000010 0000000b 0000000000000004 ffffff9b")]);
}

#[test]
fn a_connection_that_asks_too_much_is_paused_then_closed() {
    let mut world = World::with(|options| {
        options.pause_bytes = 1000;
        options.max_unanswered_bytes = 5000;
    });
    let client = world.client(0);
    world.eager = false;
    let request = set("/", &[0; 300], -1);
    for _ in 0..4 {
        world.frame(client.conn, &request);
    }
    assert_eq!(world.out.paused, [(client.conn, true)]);
    world.commit_all();
    assert_eq!(world.out.paused, [(client.conn, true), (client.conn, false)]);
    assert_eq!(world.replies(client.conn).len(), 4);
    for _ in 0..20 {
        world.frame(client.conn, &request);
    }
    assert!(world.is_closed(client.conn));
    world.commit_all();
    assert_eq!(world.service.outstanding(), 0);
}

#[test]
fn small_requests_that_wait_are_counted_too() {
    for request in [ping(), auth("ip", None)] {
        let mut world = World::with(|options| {
            options.pause_bytes = 1000;
            options.max_unanswered_bytes = 10_000;
        });
        let client = world.client(0);
        world.eager = false;
        world.frame(client.conn, &create("/a", 0));
        let sent = (0..1000).take_while(|_| {
            world.frame(client.conn, &request);
            !world.is_closed(client.conn)
        });
        assert!(sent.count() < 200);
        world.commit_all();
        assert_eq!(world.service.outstanding(), 0);
    }
}

#[test]
fn writes_without_space_fail_in_their_turn_and_take_no_zxid() {
    use crate::client::Admission;
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    world.frame(client.conn, &create("/a", 0));
    world.service.set_write_admission(Admission::SessionsOnly);
    world.frame(client.conn, &xid(2, create("/b", 0)));
    assert!(world.raw(client.conn).is_empty());
    world.commit_all();
    let replies = world.replies(client.conn);
    assert_eq!((replies[1].xid, replies[1].err, replies[1].zxid), (2, -1, 2));
    world.eager = true;
    assert_eq!(world.err(client, create("/b", 0)), -1);
    assert_eq!(world.err(client, get("/a")), 0);
    let other = world.client(1);
    assert_eq!(world.err(other, close()), 0);
    world.service.set_write_admission(Admission::Closed);
    let turned_away = world.accept(2);
    world.frame(turned_away, &connect(0, 10_000, ringkeeper_engine::id::SessionId::NONE, &[0; 16], None));
    assert!(world.is_closed(turned_away) && world.raw(turned_away).is_empty());
    assert_eq!(world.err(client, close()), -1);
    world.advance(100_000);
    world.tick();
    assert!(!world.is_closed(client.conn));
    world.service.set_write_admission(Admission::Open);
    world.frame(client.conn, &xid(9, create("/b", 0)));
    assert_eq!(world.one(client.conn).zxid, 5);
}
