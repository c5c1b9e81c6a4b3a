//! Which error wins when several would do, and what errors look like.

use ringkeeper_engine::jute::{put_bool, put_buffer, put_i32, put_ustring};

use super::world::*;
use crate::wire::{Code, op};

fn check_all(world: &mut World, client: Client, cases: Vec<(Vec<u8>, Code)>) {
    for (n, (request, code)) in cases.into_iter().enumerate() {
        assert_eq!(world.err(client, request), code.raw(), "case {n}, wanted {code}");
    }
}

/// A client and some nodes: `/a`, `/a/child`, an ephemeral `/e`, and `/shut`, which grants nothing.
fn furnished() -> (World, Client) {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create("/a", 0));
    world.ok(client, create("/a/child", 0));
    world.ok(client, create("/e", 1));
    world.ok(client, create_op(op::CREATE, "/shut", Some(b""), &[(0, "world", "anyone")], 0));
    (world, client)
}

const BAD_ACL: &[Entry<'_>] = &[(31, "world", "nobody")];

#[test]
fn create_checks_in_order() {
    let (mut world, client) = furnished();
    let with = |path: &str, acl: &[Entry<'_>], flags| create_op(op::CREATE, path, Some(b""), acl, flags);
    let mut truncated = create("/x", 0);
    truncated.truncate(truncated.len() - 1);
    let mut null_path = header(1, op::CREATE);
    put_buffer(&mut null_path, None);
    put_buffer(&mut null_path, Some(b""));
    put_acl(&mut null_path, OPEN);
    put_i32(&mut null_path, 0);
    check_all(
        &mut world,
        client,
        vec![
            (truncated, Code::MarshallingError),
            (null_path, Code::MarshallingError),
            (with("bad", BAD_ACL, 9), Code::BadArguments),
            (with("/x", OPEN, -1), Code::BadArguments),
            (with("/x", OPEN, 7), Code::BadArguments),
            (create("/x", 5), Code::Unimplemented),
            (create("/x", 6), Code::Unimplemented),
            (create_ttl("/x", 5, 1000), Code::Unimplemented),
            (create_ttl("/x", 0, -1), Code::BadArguments),
            (create_op(op::CREATE_CONTAINER, "/x", None, OPEN, 0), Code::BadArguments),
            // A rough path before the ACL, the ACL before the parent and the permission.
            (with("bad", BAD_ACL, 0), Code::BadArguments),
            (with("/x\0", BAD_ACL, 0), Code::BadArguments),
            (with("/none/x", BAD_ACL, 0), Code::InvalidAcl),
            (with("/shut/x", BAD_ACL, 0), Code::InvalidAcl),
            (with("/x", &[], 0), Code::InvalidAcl),
            (with("/x", &[(31, "auth", "")], 0), Code::InvalidAcl),
            // The parent before the path's form, the permission before it too.
            (create("/none/./x", 0), Code::NoNode),
            (create("/none//x", 0), Code::NoNode),
            (create("/a//b", 0), Code::NoNode),
            (create("/a/./b", 0), Code::NoNode),
            (create("x/y", 0), Code::NoNode),
            (create("/shut/.", 0), Code::NoAuth),
            (create("/a/", 0), Code::BadArguments),
            (create("/a/.", 0), Code::BadArguments),
            (create("/a/..", 0), Code::BadArguments),
            (create("/\u{fffd}", 0), Code::BadArguments),
            (create("/\u{1f600}", 0), Code::BadArguments),
            // The form before existence and before ephemeral parents.
            (create("/e/..", 0), Code::BadArguments),
            (create("/a", 0), Code::NodeExists),
            (create("/", 0), Code::NodeExists),
            (create("/e/x", 0), Code::NoChildrenForEphemerals),
            (create("/e/x", 2), Code::NoChildrenForEphemerals),
        ],
    );
}

#[test]
fn ttl_creates_check_their_ttl_when_they_are_allowed() {
    let mut world = World::with(|options| options.extended_types = true);
    let client = world.client(0);
    check_all(
        &mut world,
        client,
        vec![
            (create("/x", 5), Code::BadArguments),
            (create_ttl("/x", 5, 0), Code::BadArguments),
            (create_ttl("/x", 5, 1 << 40), Code::BadArguments),
            (create_ttl("/x", 1, -1), Code::BadArguments),
            (create_ttl("/x", 5, (1 << 40) - 1), Code::Ok),
        ],
    );
    let reply = world.ok(client, create_ttl("/y", 6, 1000));
    assert_eq!(reply.path(), "/y0000000001");
    assert_eq!(reply.stat().owner, 0);
}

#[test]
fn invalid_utf8_in_a_path_is_a_bad_argument() {
    let (mut world, client) = furnished();
    let mut request = header(1, op::CREATE);
    put_buffer(&mut request, Some(b"/\xff\xfe"));
    put_buffer(&mut request, Some(b""));
    put_acl(&mut request, OPEN);
    put_i32(&mut request, 0);
    assert_eq!(world.err(client, request), Code::BadArguments.raw());
    let mut request = header(1, op::GET_DATA);
    put_buffer(&mut request, Some(b"/\xff\xfe"));
    put_bool(&mut request, false);
    assert_eq!(world.err(client, request), Code::NoNode.raw());
}

#[test]
fn delete_checks_in_order() {
    let (mut world, client) = furnished();
    let mut null_path = header(1, op::DELETE);
    put_buffer(&mut null_path, None);
    put_i32(&mut null_path, 0);
    let mut cases = vec![
        (null_path, Code::MarshallingError),
        (delete("/none/x", -1), Code::NoNode),
        (delete("/shut/none", -1), Code::NoAuth),
        (delete("/a/none", -1), Code::NoNode),
        (delete("/a/", -1), Code::NoNode),
        (delete("/a", 7), Code::BadVersion),
        (delete("/a", 0), Code::NotEmpty),
    ];
    for path in ["", "a", "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/a\0"] {
        cases.push((delete(path, -1), Code::BadArguments));
    }
    check_all(&mut world, client, cases);
}

#[test]
fn set_data_checks_in_order() {
    let (mut world, client) = furnished();
    let mut null_path = header(1, op::SET_DATA);
    put_buffer(&mut null_path, None);
    put_buffer(&mut null_path, None);
    put_i32(&mut null_path, 0);
    check_all(
        &mut world,
        client,
        vec![
            (null_path, Code::BadArguments),
            (set("", b"", 9), Code::BadArguments),
            (set("/none/", b"", 9), Code::BadArguments),
            (set("/none", b"", 9), Code::NoNode),
            (set("/shut", b"", 9), Code::NoAuth),
            (set("/a", b"", 9), Code::BadVersion),
            (set("/zookeeper/config", b"", -1), Code::NoAuth),
            (set("/", b"x", 0), Code::Ok),
            (set("/zookeeper", b"x", 0), Code::Ok),
        ],
    );
}

#[test]
fn set_acl_checks_in_order() {
    let (mut world, client) = furnished();
    check_all(
        &mut world,
        client,
        vec![
            (set_acl("/none/", BAD_ACL, 9), Code::BadArguments),
            (set_acl("/none", BAD_ACL, 9), Code::InvalidAcl),
            (set_acl("/none", OPEN, 9), Code::NoNode),
            (set_acl("/shut", OPEN, 9), Code::NoAuth),
            (set_acl("/a", OPEN, 9), Code::BadVersion),
            (set_acl("/a", OPEN, 0), Code::Ok),
            (set_acl("/a", OPEN, 0), Code::BadVersion),
            (set_acl("/a", OPEN, 1), Code::Ok),
        ],
    );
}

#[test]
fn reads_check_in_order() {
    let (mut world, client) = furnished();
    for op in [op::GET_DATA, op::GET_CHILDREN, op::GET_CHILDREN2, op::EXISTS] {
        let mut null = header(1, op);
        put_buffer(&mut null, None);
        put_bool(&mut null, true);
        check_all(
            &mut world,
            client,
            vec![
                (null, Code::MarshallingError),
                (path_only(op, "/a"), Code::MarshallingError),
                (read(op, "/none", true), Code::NoNode),
                (read(op, "nonsense//", false), Code::NoNode),
                (read(op, "/a/", false), Code::NoNode),
                (read(op, "/shut", true), Code::NoAuth),
                (read(op, "", false), Code::Ok),
            ],
        );
    }
    check_all(
        &mut world,
        client,
        vec![
            (read(op::EXISTS, "/x\0", true), Code::BadArguments),
            (read(op::GET_DATA, "/x\0", true), Code::NoNode),
            (path_only(op::GET_ACL, "/none"), Code::NoNode),
            (path_only(op::GET_ACL, "/shut"), Code::NoAuth),
            (path_only(op::GET_ALL_CHILDREN_NUMBER, "/none"), Code::NoNode),
            (path_only(op::GET_ALL_CHILDREN_NUMBER, "/shut"), Code::NoAuth),
        ],
    );
}

#[test]
fn what_does_not_exist_is_told_and_then_closed() {
    for op in [0, -1, 10, 13, 20, -10, 23, 99, 108, 1000, i32::MIN, i32::MAX] {
        let mut world = World::new();
        let client = world.client(0);
        world.frame(client.conn, &header(1, op));
        assert_eq!(world.raw(client.conn), [hex("00000010 00000001 ffffffffffffffff fffffffa")], "{op}");
        assert!(world.is_closed(client.conn));
        // The session is not.
        let resumed = world.resume(1, client);
        assert_eq!(world.raw(resumed.conn)[0].len(), 41);
        assert!(!world.is_closed(resumed.conn));
    }
}

#[test]
fn a_frame_without_a_header_closes() {
    for len in 0..8 {
        let mut world = World::new();
        let client = world.client(0);
        world.frame(client.conn, &ping()[..len]);
        assert!(world.raw(client.conn).is_empty() && world.is_closed(client.conn));
    }
}

#[test]
fn failures_take_a_zxid_and_are_logged_without_a_digest() {
    let mut world = World::new();
    let client = world.client(0);
    assert_eq!(world.ok(client, create("/a", 0)).zxid, 2);
    world.eager = false;
    world.frame(client.conn, &create("/a", 0));
    let (_, payload) = world.log.queue.back().unwrap().clone();
    assert_eq!((payload.len(), &payload[28..]), (36, &hex("ffffffff ffffff92")[..]));
    world.commit_all();
    let reply = world.one(client.conn);
    assert_eq!((reply.zxid, reply.err), (3, -110));
    world.eager = true;
    assert_eq!(world.ask(client, set("/a", b"", 7)).zxid, 4);
    let mut garbled = header(5, op::SET_DATA);
    put_ustring(&mut garbled, "/a");
    let reply = world.ask(client, garbled);
    assert_eq!((reply.zxid, reply.err), (5, -5));
    assert_eq!(world.ok(client, create("/b", 0)).zxid, 6);
}

#[test]
fn reconfig_is_disabled_and_sasl_is_not_configured() {
    let mut world = World::new();
    let client = world.client(0);
    assert_eq!(world.err(client, header(1, op::RECONFIG)), Code::ReconfigDisabled.raw());
    let reply = world.ok(client, header(7, op::SASL));
    assert_eq!((reply.xid, reply.zxid, reply.body), (7, 0, hex("ffffffff")));
}

#[test]
fn sync_never_fails_and_echoes_the_path() {
    let mut world = World::new();
    let client = world.client(0);
    for path in ["", "/none", "nonsense"] {
        assert_eq!(world.ok(client, path_only(op::SYNC, path)).path(), path);
    }
    let mut null = header(1, op::SYNC);
    put_buffer(&mut null, None);
    assert_eq!(world.ok(client, null).body, hex("ffffffff"));
}
