//! Multi: all or nothing, and its results.

use ringkeeper_engine::jute::{put_bool, put_buffer, put_i32, put_ustring};
use ringkeeper_engine::txn::{Txn, decode, kind};

use super::ensemble::Ensemble;
use super::world::*;
use crate::wire::op;

fn header_of(kind: i32, done: u8, err: i32) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &[done], &err.to_be_bytes()].concat()
}

#[test]
fn a_failed_multi_has_the_captured_layout_and_changes_nothing() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create("/a", 0));
    let reply = world.ok(client, multi(&[create("/b", 0), path_int(op::CHECK, "/a", 1), delete("/a", -1)]));
    assert_eq!(
        reply.body,
        hex(
            "ffffffff 00 00000000 00000000 ffffffff 00 ffffff99 ffffff99 ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff"
        )
    );
    assert_eq!(reply.zxid, 3);
    assert_eq!(world.err(client, get("/b")), -101);
    assert_eq!(world.ok(client, get("/")).stat().pzxid, 2);
}

#[test]
fn operations_see_each_other() {
    let mut world = World::new();
    let client = world.client(0);
    let reply = world.ok(
        client,
        multi(&[
            create("/p", 0),
            create_op(op::CREATE2, "/p/c", Some(b"x"), OPEN, 2),
            create_op(op::CREATE_CONTAINER, "/p/k", None, OPEN, 4),
            set("/p", b"xyz", 0),
            path_int(op::CHECK, "/p", 1),
            delete("/p/c0000000000", 0),
        ]),
    );
    let mut at = &reply.body[..];
    let mut take = |n: usize| {
        let (taken, rest) = at.split_at(n);
        at = rest;
        taken.to_vec()
    };
    let mut text = Vec::new();
    put_ustring(&mut text, "/p");
    assert_eq!(take(9 + text.len()), [header_of(1, 0, 0), text].concat());
    let mut text = Vec::new();
    put_ustring(&mut text, "/p/c0000000000");
    assert_eq!(take(9 + text.len()), [header_of(15, 0, 0), text].concat());
    let stat = take(68);
    assert_eq!(stat[..8], 2i64.to_be_bytes());
    let mut text = Vec::new();
    put_ustring(&mut text, "/p/k");
    assert_eq!(take(9 + text.len()), [header_of(15, 0, 0), text].concat());
    take(68);
    assert_eq!(take(9), header_of(5, 0, 0));
    let stat = take(68);
    assert_eq!(stat[32..36], 1i32.to_be_bytes());
    assert_eq!(take(9), header_of(13, 0, 0));
    assert_eq!(take(9), header_of(2, 0, 0));
    assert_eq!(at, header_of(-1, 1, -1));
    let stat = world.ok(client, get("/p")).stat();
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid, stat.cversion, stat.children), (2, 2, 2, 3, 1));
}

#[test]
fn an_empty_multi_takes_a_zxid() {
    let mut world = World::new();
    let client = world.client(0);
    let reply = world.ok(client, multi(&[]));
    assert_eq!((reply.zxid, reply.body), (2, header_of(-1, 1, -1)));
}

#[test]
fn sequence_numbers_of_a_failed_multi_are_given_out_again() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create("/q", 0));
    world.eager = false;
    for request in [
        create("/q/s-", 2),
        multi(&[create("/q/s-", 2), create("/q/s-", 2), delete("/none", -1)]),
        create("/q/s-", 2),
        multi(&[create("/q/s-", 2), create("/q/s-", 3)]),
        create("/q/s-", 2),
    ] {
        world.frame(client.conn, &request);
    }
    world.commit_all();
    let replies = world.replies(client.conn);
    assert_eq!(replies[0].path(), "/q/s-0000000000");
    assert_eq!(replies[2].path(), "/q/s-0000000001");
    assert_eq!(replies[4].path(), "/q/s-0000000004");
}

#[test]
fn a_rollback_restores_what_earlier_proposals_had_changed() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create("/a", 0));
    world.eager = false;
    for request in [
        set("/a", b"1", 0),
        multi(&[set("/a", b"2", 1), delete("/a", 2), create("/a", 0), path_int(op::CHECK, "/none", -1)]),
        set("/a", b"3", 1),
        delete("/a", -1),
        multi(&[create("/a", 0), set("/a", b"4", 9)]),
        create("/a", 0),
    ] {
        world.frame(client.conn, &request);
    }
    world.commit_all();
    let replies = world.replies(client.conn);
    assert_eq!(replies.iter().map(|reply| reply.err).collect::<Vec<_>>(), [0; 6]);
    assert_eq!(replies[2].stat().version, 2);
    assert_eq!(replies[4].body[..13], hex("ffffffff 00 00000000 00000000"));
    assert_eq!(world.service.tree().digest_mismatches(), 0);
}

#[test]
fn one_bad_operation_spoils_the_whole_request() {
    let mut world = World::new();
    let client = world.client(0);
    let body = |request: Vec<u8>| request[8..].to_vec();
    let mut null_delete = Vec::new();
    put_buffer(&mut null_delete, None);
    put_i32(&mut null_delete, -1);
    let mut read_op = Vec::new();
    put_ustring(&mut read_op, "/");
    put_bool(&mut read_op, false);
    let good = (op::CREATE, body(create("/x", 0)));
    for bad in [
        (op::SET_ACL, body(set_acl("/", OPEN, -1))),
        (op::GET_DATA, read_op),
        (op::DELETE, null_delete),
        (op::CREATE, body(create("/y", 7))),
        (op::PING, Vec::new()),
        (op::DELETE, Vec::new()),
    ] {
        assert_eq!(world.err(client, multi_of(op::MULTI, &[good.clone(), bad])), -5);
    }
    let mut endless = multi(&[create("/x", 0)]);
    endless.truncate(endless.len() - 9);
    assert_eq!(world.err(client, endless), -5);
    assert_eq!(world.err(client, get("/x")), -101);
}

#[test]
fn multi_read_takes_each_operation_for_itself() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create_op(op::CREATE, "/a", Some(b"x"), OPEN, 0));
    let one = |path: &str| {
        let mut body = Vec::new();
        put_ustring(&mut body, path);
        put_bool(&mut body, true);
        body
    };
    let ops = [(op::GET_DATA, one("/a")), (op::GET_CHILDREN, one("/none")), (op::GET_CHILDREN, one("/a"))];
    let reply = world.ok(client, multi_of(op::MULTI_READ, &ops));
    assert_eq!(reply.body[..14], [header_of(4, 0, 0), hex("00000001 78")].concat());
    let rest = &reply.body[14 + 68..];
    assert_eq!(
        rest,
        [header_of(-1, 0, -101), hex("ffffff9b"), header_of(8, 0, 0), hex("00000000"), header_of(-1, 1, -1)]
            .concat()
    );
    assert_eq!(world.service.stats().watches, 0);
    assert_eq!(
        world.err(client, multi_of(op::MULTI_READ, &[(op::DELETE, delete("/a", -1)[8..].to_vec())])),
        -5
    );
    assert_eq!(world.ok(client, multi_of(op::MULTI_READ, &[])).body, header_of(-1, 1, -1));
}

/// 3.8.0 takes a create2 for no part of a multi: it would go on without the whole transaction.
#[test]
fn no_part_of_a_multi_is_a_create2_and_yet_it_is_answered_with_a_stat() {
    for at in 0..2 {
        let mut ensemble = Ensemble::new();
        let client = ensemble.client(at, 0);
        let parts = [create("/a", 0), create_op(op::CREATE2, "/b", None, OPEN, 0)];
        let (one, two) = (xid(1, multi(&parts)), xid(2, multi(&[create("/c", 0)])));
        ensemble.send(client, &one);
        ensemble.send(client, &two);
        ensemble.settle();
        let (_, payload) = &ensemble.history[1];
        let (_, txn, _) = decode(payload).unwrap();
        let Txn::Multi(logged) = txn else { panic!("{txn:?}") };
        assert_eq!(logged.iter().map(|part| part.kind).collect::<Vec<_>>(), [kind::CREATE, kind::CREATE]);
        let replies = ensemble.replies(client);
        let body = &replies[0].body;
        assert_eq!(body[..15], [header_of(1, 0, 0), hex("00000002 2f61")].concat());
        assert_eq!(body[15..30], [header_of(15, 0, 0), hex("00000002 2f62")].concat());
        assert_eq!(body[30 + 68..], header_of(-1, 1, -1));
        assert_eq!(replies[1].body[..9], header_of(1, 0, 0), "the next one wanted none");
    }
}
