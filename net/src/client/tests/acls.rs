//! Who may do what, and what getACL shows.

use ringkeeper_engine::jute::{put_buffer, put_i32};

use super::world::*;
use crate::client::{AuthOptions, digest_id};
use crate::wire::op;

fn acl_of(world: &mut World, client: Client, path: &str) -> Vec<(i32, String, String)> {
    let body = world.ok(client, path_only(op::GET_ACL, path)).body;
    let mut reader = ringkeeper_engine::jute::Reader::new(&body);
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let count = reader.count(12).unwrap().unwrap();
    (0..count)
        .map(|_| {
            let perms = reader.i32().unwrap();
            let scheme = text(reader.ustring().unwrap());
            (perms, scheme, text(reader.ustring().unwrap()))
        })
        .collect()
}

#[test]
fn each_operation_needs_its_permission() {
    let mut world = World::new();
    let client = world.client(0);
    for perms in 0..32 {
        let path = format!("/n{perms}");
        world.ok(client, create(&path, 0));
        world.ok(client, create(&format!("{path}/c"), 0));
        world.ok(client, set_acl(&path, &[(perms, "world", "anyone")], -1));
        let want = |bits: i32| if perms & bits != 0 { 0 } else { -102 };
        for op in [op::GET_DATA, op::EXISTS, op::GET_CHILDREN, op::GET_CHILDREN2] {
            assert_eq!(world.err(client, read(op, &path, false)), want(1));
        }
        assert_eq!(world.err(client, set(&path, b"", -1)), want(2));
        assert_eq!(world.err(client, create(&format!("{path}/x"), 0)), want(4));
        assert_eq!(world.err(client, delete(&format!("{path}/c"), -1)), want(8));
        assert_eq!(world.err(client, path_only(op::GET_ACL, &path)), want(1 | 16));
        let check = world.ok(client, multi(&[path_int(op::CHECK, &path, -1)]));
        assert_eq!(check.body.len() == 18, perms & 1 != 0);
        assert_eq!(world.err(client, set_acl(&path, OPEN, -1)), want(16));
    }
}

#[test]
fn digest_users_are_told_apart_by_their_password() {
    let mut world = World::new();
    let (owner, other) = (world.client(0), world.client(1));
    assert_eq!(world.ok(owner, auth("digest", Some(b"u:p"))).body.len(), 0);
    world.ok(owner, create_op(op::CREATE, "/a", None, &[(31, "auth", "")], 0));
    assert_eq!(acl_of(&mut world, owner, "/a"), [(31, "digest".into(), digest_id("u:p"))]);
    assert_eq!(world.err(other, get("/a")), -102);
    world.ok(other, auth("digest", Some(b"u:wrong")));
    assert_eq!(world.err(other, get("/a")), -102);
    world.ok(other, auth("digest", Some(b"u:p")));
    assert_eq!(world.err(other, get("/a")), 0);
}

#[test]
fn identities_end_with_the_connection() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, auth("digest", Some(b"u:p")));
    world.ok(client, create_op(op::CREATE, "/a", None, &[(31, "auth", "")], 0));
    let resumed = world.resume(1, client);
    world.raw(resumed.conn);
    assert_eq!(world.err(resumed, get("/a")), -102);
}

#[test]
fn hashes_are_masked_for_those_without_admin() {
    let mut world = World::new();
    let client = world.client(0);
    let secret = digest_id("u:p");
    let list: &[Entry<'_>] = &[(31, "digest", &secret), (1, "world", "anyone"), (1, "ip", "10.0.0.0/8")];
    world.ok(client, create_op(op::CREATE, "/a", None, list, 0));
    let masked = acl_of(&mut world, client, "/a");
    assert_eq!(masked[0], (31, "digest".into(), "u:x".into()));
    assert_eq!(masked[2].2, "10.0.0.0/8");
    world.ok(client, auth("digest", Some(b"u:p")));
    assert_eq!(acl_of(&mut world, client, "/a")[0].2, secret);
}

#[test]
fn addresses_are_identities() {
    let mut world = World::new();
    let conn = world.accept_from(0, "10.1.2.3");
    let client = world.client_on(conn);
    world.ok(client, create_op(op::CREATE, "/near", None, &[(31, "ip", "10.1.0.0/16")], 0));
    world.ok(client, create_op(op::CREATE, "/far", None, &[(31, "ip", "10.2.0.0/16")], 0));
    assert_eq!(world.err(client, get("/near")), 0);
    assert_eq!(world.err(client, get("/far")), -102);
    // An address proves nobody.
    assert_eq!(world.err(client, create_op(op::CREATE, "/x", None, &[(31, "auth", "")], 0)), -114);
}

#[test]
fn the_super_user_passes_everywhere() {
    let mut world = World::with(|options| {
        options.auth =
            AuthOptions { super_digest: Some(digest_id("super:secret")), ..AuthOptions::default() };
    });
    let client = world.client(0);
    world.ok(client, create_op(op::CREATE, "/a", None, &[(0, "world", "anyone")], 0));
    assert_eq!(world.err(client, get("/a")), -102);
    world.ok(client, auth("digest", Some(b"super:secret")));
    assert_eq!(world.err(client, get("/a")), 0);
    assert_eq!(world.err(client, set("/zookeeper/config", b"x", -1)), 0);
    let body = world.ok(client, header(1, op::WHO_AM_I)).body;
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.contains("127.0.0.1") && text.contains("super") && !text.contains('='), "{text:?}");
}

#[test]
fn a_refused_auth_packet_is_answered_in_its_turn_and_ends_the_connection() {
    for (scheme, data) in
        [("world", Some(&b"x"[..])), ("nothing", None), ("digest", None), ("sasl", Some(&b"x"[..]))]
    {
        let mut world = World::new();
        let client = world.client(0);
        world.eager = false;
        world.frame(client.conn, &create("/a", 0));
        world.frame(client.conn, &auth(scheme, data));
        world.frame(client.conn, &create("/late", 0));
        assert!(!world.is_closed(client.conn));
        world.commit_all();
        let replies = world.replies(client.conn);
        assert_eq!(replies.len(), 2, "{scheme}");
        assert_eq!((replies[1].xid, replies[1].zxid, replies[1].err), (-4, 0, -115));
        assert!(world.is_closed(client.conn));
        assert_eq!(world.service.stats().sessions, 1);
    }
}

#[test]
fn an_auth_packet_that_does_not_decode_closes() {
    let mut world = World::new();
    let client = world.client(0);
    world.frame(client.conn, &header(-4, op::AUTH));
    assert!(world.raw(client.conn).is_empty() && world.is_closed(client.conn));
}

#[test]
fn null_where_empty_would_do_is_taken() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, auth("digest", Some(b"u:p")));
    let mut request = header(1, op::CREATE);
    put_buffer(&mut request, Some(b"/a"));
    put_buffer(&mut request, None);
    put_i32(&mut request, 1);
    put_i32(&mut request, 31);
    put_buffer(&mut request, Some(b"auth"));
    put_buffer(&mut request, None);
    put_i32(&mut request, 0);
    assert_eq!(world.err(client, request), 0);
    // And null data stays null.
    let body = world.ok(client, get("/a")).body;
    assert_eq!(body[..4], hex("ffffffff"));
}

#[test]
fn later_requests_are_judged_by_an_acl_that_is_not_applied_yet() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create("/a", 0));
    world.eager = false;
    world.frame(client.conn, &set_acl("/a", &[(1, "world", "anyone")], 0));
    world.frame(client.conn, &set("/a", b"", -1));
    world.commit_all();
    let errs: Vec<i32> = world.replies(client.conn).iter().map(|reply| reply.err).collect();
    assert_eq!(errs, [0, -102]);
}

#[test]
fn permissions_are_not_looked_at_when_told_so_but_acls_are_still_checked() {
    let mut world = World::with(|options| options.auth.skip_acl = true);
    let client = world.client(0);
    world.ok(client, create_op(op::CREATE, "/a", None, &[(0, "world", "anyone")], 0));
    assert_eq!(world.err(client, set("/a", b"", -1)), 0);
    assert_eq!(world.err(client, create_op(op::CREATE, "/b", None, &[], 0)), -114);
}
