//! How sessions live, expire and end.

use ringkeeper_engine::id::SessionId;
use ringkeeper_engine::tree::Tree;

use super::world::*;
use crate::client::{Options, password};
use crate::wire::{Code, op};

#[test]
fn a_session_expires_at_the_end_of_its_bucket_and_takes_its_ephemerals() {
    let mut world = World::new();
    let (client, other) = (world.client(0), world.client(1));
    world.ok(client, create("/e", 1));
    world.ok(client, create("/stays", 0));
    // Touched at 1000 with 10 s and ticks of 2 s: due at 12000.
    world.advance(10_999);
    world.frame(other.conn, &ping());
    world.tick();
    assert!(!world.is_closed(client.conn));
    world.advance(1);
    assert!(world.service.next_deadline().unwrap() <= world.now.mono_ms);
    world.tick();
    assert!(world.is_closed(client.conn));
    assert!(world.raw(client.conn).is_empty());
    world.raw(other.conn);
    assert_eq!(world.err(other, get("/e")), -101);
    assert_eq!(world.err(other, get("/stays")), 0);
    let late = world.resume(2, client);
    assert_eq!(world.raw(late.conn)[0][8..20], [0; 12]);
    assert!(world.is_closed(late.conn));
}

#[test]
fn every_request_renews_the_lease_but_auth_and_sasl() {
    for (request, renews) in [
        (ping(), true),
        (get("/"), true),
        (get("/none"), true),
        (set("/", b"", -1), true),
        (auth("digest", Some(b"u:p")), false),
        (header(1, op::SASL), false),
    ] {
        let mut world = World::new();
        let client = world.client(0);
        world.advance(8000);
        world.frame(client.conn, &request);
        world.advance(8000);
        world.tick();
        assert_eq!(world.is_closed(client.conn), !renews, "{request:?}");
    }
}

#[test]
fn close_is_answered_and_then_closed() {
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    for (n, request) in [create("/e", 1), close(), create("/late", 1), get("/")].into_iter().enumerate() {
        world.frame(client.conn, &xid(n as i32 + 1, request));
    }
    assert_eq!(world.log.queue.len(), 2);
    world.commit_all();
    let replies = world.replies(client.conn);
    assert_eq!(
        replies.iter().map(|reply| (reply.xid, reply.err, reply.zxid)).collect::<Vec<_>>(),
        [(1, 0, 2), (2, 0, 3)]
    );
    assert!(world.is_closed(client.conn));
    let stats = world.service.stats();
    assert_eq!((stats.sessions, stats.ephemerals, stats.connections), (0, 0, 0));
}

#[test]
fn close_deletes_what_is_created_and_spares_what_is_deleted_meanwhile() {
    let mut world = World::new();
    let (client, other) = (world.client(0), world.client(1));
    world.ok(client, create("/deleted", 1));
    world.ok(client, create("/remade", 1));
    world.ok(client, create("/plain", 1));
    world.eager = false;
    world.frame(other.conn, &delete("/deleted", -1));
    world.frame(other.conn, &delete("/remade", -1));
    world.frame(other.conn, &create("/remade", 0));
    world.frame(client.conn, &create("/new", 1));
    world.frame(client.conn, &multi(&[create("/rolled-back", 1), delete("/none", -1)]));
    world.frame(client.conn, &close());
    let (_, payload) = world.log.queue.back().unwrap();
    let mut list = vec![0, 0, 0, 2];
    for path in ["/new", "/plain"] {
        ringkeeper_engine::jute::put_ustring(&mut list, path);
    }
    assert_eq!(payload[32..payload.len() - 12], list);
    // The parents know at once that they are empty, and the digest is right.
    world.commit_all();
    world.eager = true;
    world.raw(other.conn);
    assert_eq!(world.err(other, get("/remade")), 0);
    for gone in ["/deleted", "/new", "/plain"] {
        assert_eq!(world.err(other, get(gone)), -101);
    }
}

#[test]
fn a_parent_can_be_deleted_right_behind_the_session_that_filled_it() {
    let mut world = World::new();
    let (client, other) = (world.client(0), world.client(1));
    world.ok(client, create("/p", 0));
    world.ok(client, create("/p/e", 1));
    world.eager = false;
    world.frame(client.conn, &close());
    world.frame(other.conn, &delete("/p", -1));
    world.commit_all();
    assert_eq!(world.one(other.conn).err, 0);
}

#[test]
fn the_writes_of_a_closed_connection_happen_and_their_replies_do_not() {
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    world.frame(client.conn, &create("/a", 0));
    world.frame(client.conn, &get("/a"));
    world.gone(client.conn);
    // Another connection in the same place must not get them.
    let next = world.accept(0);
    world.commit_all();
    assert!(world.out.sent.is_empty());
    world.eager = true;
    let next = world.client_on(next);
    assert_eq!(world.err(next, get("/a")), 0);
    assert_eq!(world.service.outstanding(), 0);
}

#[test]
fn many_sessions_expire_in_bounded_batches() {
    let mut world = World::with(|options| options.max_expired_per_tick = 7);
    for slot in 0..20 {
        let client = world.client(slot);
        world.ok(client, create(&format!("/e{slot}"), 1));
    }
    world.advance(60_000);
    for left in [13, 6, 0] {
        world.tick();
        assert_eq!(world.service.stats().sessions, left);
    }
    assert_eq!(world.service.stats().ephemerals, 0);
    assert_eq!(world.service.stats().counters.expired, 20);
    assert_eq!(world.service.next_deadline(), None);
}

/// A tree with an ephemeral of each of two sessions, built by a first service.
fn earlier_life() -> (Tree, Vec<(SessionId, i32)>) {
    use ringkeeper_engine::txn::decode;
    let mut world = World::new();
    let mut tree = Tree::new(2);
    let mut replay = |world: &mut World| {
        for (_, payload) in world.log.queue.iter() {
            let (header, txn, digest) = decode(payload).unwrap();
            tree.apply(&header, &txn, digest, &mut |_| {});
        }
        world.commit_all();
    };
    world.eager = false;
    let mut clients = Vec::new();
    for slot in 0..2 {
        let conn = world.accept(slot);
        world.frame(conn, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false)));
        replay(&mut world);
        let answer = world.raw(conn).remove(0);
        clients.push(SessionId(i64::from_be_bytes(answer[12..20].try_into().unwrap())));
        world.frame(conn, &create(&format!("/e{slot}"), 1));
        replay(&mut world);
    }
    (tree, vec![(clients[0], 10_000)])
}

#[test]
fn restored_sessions_get_a_full_lease_and_orphans_go_by_a_transaction() {
    let (tree, sessions) = earlier_life();
    let known = sessions[0].0;
    let options = Options { tick_ms: 2000, max_session_timeout_ms: 40_000, ..Options::default() };
    let mut world = World::over(tree, sessions, options);
    assert_eq!(world.service.stats().ephemerals, 2);
    assert_eq!(world.service.next_deadline(), Some(0));
    world.tick();
    assert_eq!(world.log.last.raw(), 5, "one closeSession was logged");
    assert_eq!((world.service.stats().ephemerals, world.service.stats().sessions), (1, 1));
    world.advance(10_900);
    world.tick();
    let conn = world.accept(0);
    world.frame(conn, &connect(0, 10_000, known, &password::of(known), Some(false)));
    let resumed = Client { conn, session: known };
    assert_eq!(world.raw(conn)[0][12..20], known.0.to_be_bytes());
    assert_eq!(world.ok(resumed, get("/e0")).stat().owner, known.0);
    let fresh = world.client(1);
    assert!(fresh.session != known);
}

#[test]
fn ephemerals_of_the_session_are_listed() {
    let mut world = World::new();
    let (client, other) = (world.client(0), world.client(1));
    for path in ["/ab", "/a-x"] {
        world.ok(client, create(path, 1));
    }
    let list = |world: &mut World, client, prefix: &str| {
        let body = world.ok(client, path_only(op::GET_EPHEMERALS, prefix)).body;
        let mut reader = ringkeeper_engine::jute::Reader::new(&body);
        let mut paths: Vec<String> = (0..reader.count(4).unwrap().unwrap())
            .map(|_| String::from_utf8(reader.ustring().unwrap().unwrap().to_vec()).unwrap())
            .collect();
        paths.sort();
        paths
    };
    for all in ["", "/", " "] {
        assert_eq!(list(&mut world, client, all), ["/a-x", "/ab"]);
    }
    assert_eq!(list(&mut world, client, "/a-"), ["/a-x"]);
    assert_eq!(list(&mut world, other, "/"), [""; 0]);
}

#[test]
fn a_session_that_is_ending_is_neither_served_nor_resumed() {
    let mut world = World::new();
    let (closing, expiring) = (world.client(0), world.client(1));
    world.eager = false;
    world.frame(closing.conn, &close());
    world.advance(5000);
    let late = world.resume(2, closing);
    assert_eq!(world.raw(late.conn)[0][8..20], [0; 12]);
    assert!(!world.is_closed(closing.conn), "its answer is still to come");
    world.advance(10_000);
    world.tick();
    assert_eq!(world.log.queue.len(), 2, "each session ends once");
    for request in [create("/a", 0), get("/"), ping()] {
        world.frame(expiring.conn, &request);
    }
    assert_eq!(world.log.queue.len(), 2);
    world.commit_all();
    assert_eq!(world.one(closing.conn).err, 0);
    assert!(world.raw(expiring.conn).is_empty());
    assert!(world.is_closed(closing.conn) && world.is_closed(expiring.conn));
}

#[test]
fn a_session_with_more_ephemerals_than_a_transaction_can_list_still_ends_and_takes_them_along() {
    let mut world = World::with(|options| options.max_txn_bytes = 2000);
    let client = world.client(0);
    for n in 0..40 {
        world.ok(client, create(&format!("/{}{n}", "e".repeat(100)), 1));
    }
    world.advance(60_000);
    world.tick();
    assert_eq!((world.service.stats().sessions, world.service.stats().ephemerals), (0, 0));
    assert_eq!(world.service.stats().digest_mismatches, 0);
}

#[test]
fn a_request_that_no_transaction_can_hold_is_refused_and_its_zxid_is_an_error() {
    let mut world = World::with(|options| options.max_txn_bytes = 2000);
    let client = world.client(0);
    let before = world.service.stats().last_zxid;
    let reply = world.ask(client, create(&format!("/{}", "x".repeat(1800)), 0));
    assert_eq!(reply.err, Code::MarshallingError.raw());
    assert_eq!(world.service.stats().last_zxid.raw(), before.raw() + 1);
    world.ok(client, create("/fits", 0));
}
