//! Bytes that no client sends.

use ringkeeper_engine::jute::{put_i32, put_i64, put_ustring};

use super::world::*;
use crate::client::fuzz::fuzz_session;
use crate::wire::{fuzz, op};

/// A well-formed request of every operation.
fn all_requests() -> Vec<Vec<u8>> {
    vec![
        create("/a", 0),
        create_op(op::CREATE2, "/a", Some(b"xyz"), &[(31, "auth", ""), (1, "digest", "a:b")], 3),
        create_ttl("/a", 5, 1000),
        delete("/a", -1),
        read(op::EXISTS, "/a", true),
        read(op::GET_DATA, "/a", true),
        read(op::GET_CHILDREN, "/a", true),
        read(op::GET_CHILDREN2, "/a", true),
        set("/a", b"xyz", -1),
        path_only(op::GET_ACL, "/a"),
        set_acl("/a", OPEN, -1),
        path_only(op::SYNC, "/a"),
        multi(&[create("/a", 0), set("/a", b"x", 0), path_int(op::CHECK, "/a", 1), delete("/a", 1)]),
        multi_of(op::MULTI_READ, &[(op::GET_DATA, get("/a")[8..].to_vec())]),
        auth("digest", Some(b"u:p")),
        set_watches(op::SET_WATCHES, 1, &[&["/a"], &["/b", "/c"], &["/d"]]),
        set_watches(op::SET_WATCHES2, 1, &[&["/a"], &["/b", "/c"], &["/d"], &["/e"], &["/f"]]),
        path_int(op::ADD_WATCH, "/a", 0),
        path_int(op::CHECK_WATCHES, "/a", 3),
        path_int(op::REMOVE_WATCHES, "/a", 3),
        path_only(op::GET_EPHEMERALS, "/a"),
        path_only(op::GET_ALL_CHILDREN_NUMBER, "/a"),
        header(1, op::WHO_AM_I),
        header(1, op::PING),
    ]
}

#[test]
fn requests_cut_at_every_byte_are_answered_or_closed() {
    for request in all_requests() {
        for len in 0..request.len() {
            let mut world = World::new();
            let client = world.client(0);
            world.frame(client.conn, &request[..len]);
            let is_auth = len >= 8 && request[4..8] == op::AUTH.to_be_bytes();
            if len < 8 || is_auth {
                assert!(world.raw(client.conn).is_empty() && world.is_closed(client.conn));
            } else {
                assert_eq!(world.one(client.conn).err, -5, "{len} of {request:?}");
                assert!(!world.is_closed(client.conn));
            }
        }
    }
}

#[test]
fn bytes_behind_a_request_are_ignored() {
    for mut request in all_requests() {
        let mut plain = World::new();
        let client = plain.client(0);
        plain.frame(client.conn, &request);
        let want = plain.raw(client.conn);
        request.extend_from_slice(&[0xa5; 40]);
        let mut world = World::new();
        let client = world.client(0);
        world.frame(client.conn, &request);
        assert_eq!(world.raw(client.conn), want, "{request:?}");
    }
}

#[test]
fn absurd_lengths_and_counts_are_marshalling_errors() {
    let mut world = World::new();
    let client = world.client(0);
    for length in [i32::MIN, -2, 0x100_0000, i32::MAX] {
        for op in [op::CREATE, op::DELETE, op::SET_DATA, op::GET_DATA, op::SYNC, op::GET_ACL, op::SET_ACL] {
            let mut request = header(1, op);
            put_i32(&mut request, length);
            request.extend_from_slice(b"/abcdefghijklmnop");
            assert_eq!(world.err(client, request), -5, "{op} {length}");
        }
        let mut request = header(1, op::SET_DATA);
        put_ustring(&mut request, "/a");
        put_i32(&mut request, length);
        request.extend_from_slice(&[0; 8]);
        assert_eq!(world.err(client, request), -5);
    }
    for count in [0x100_0000, i32::MAX] {
        let mut request = header(1, op::SET_WATCHES);
        put_i64(&mut request, 0);
        put_i32(&mut request, count);
        assert_eq!(world.err(client, request), -5);
        let mut request = header(1, op::CREATE);
        put_ustring(&mut request, "/a");
        put_ustring(&mut request, "");
        put_i32(&mut request, count);
        request.extend_from_slice(&[0; 64]);
        assert_eq!(world.err(client, request), -5);
    }
    // Below -1 a count reads as none, as in the reference.
    let mut request = header(1, op::SET_WATCHES);
    put_i64(&mut request, 0);
    for _ in 0..3 {
        put_i32(&mut request, i32::MIN);
    }
    assert_eq!(world.err(client, request), 0);
}

#[test]
fn frames_for_unknown_connections_are_nobodys() {
    let mut world = World::new();
    let client = world.client(0);
    let mut stale = client.conn;
    stale.generation += 100;
    world.frame(stale, &ping());
    world.gone(stale);
    stale.slot = 10_000;
    stale.front = 900;
    world.frame(stale, &ping());
    assert!(world.out.sent.is_empty());
    assert_eq!(world.err(client, ping()), 0);
}

#[test]
fn a_place_taken_again_belongs_to_the_new_connection() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, read(op::GET_DATA, "/", true));
    // The front gives the place away without having said that the old one is gone.
    let conn = world.accept(0);
    let next = world.client_on(conn);
    world.frame(client.conn, &set("/", b"x", -1));
    assert!(world.out.sent.is_empty());
    world.ok(next, set("/", b"x", -1));
    assert_eq!(world.service.stats().connections, 1);
}

#[test]
fn noise_never_panics() {
    let mut random = fastrand::Rng::with_seed(17);
    let requests = all_requests();
    for _ in 0..3000 {
        let mut script = Vec::new();
        for _ in 0..random.usize(1..12) {
            let mut frame = requests[random.usize(..requests.len())].clone();
            for _ in 0..random.usize(..4) {
                let at = random.usize(..frame.len());
                frame[at] = [random.u8(..), 0, 0xff, 0x7f][random.usize(..4)];
            }
            fuzz::fuzz_connect(&frame);
            fuzz::fuzz_request(&frame);
            script.push(random.u8(..));
            script.extend_from_slice(&(frame.len() as u16).to_be_bytes());
            script.extend_from_slice(&frame);
        }
        fuzz_session(&script);
        let noise: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        fuzz::fuzz_request(&noise);
        fuzz_session(&noise);
    }
}
