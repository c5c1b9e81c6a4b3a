//! Who is told of what, when and how often.

use super::world::*;
use crate::wire::op;

const CREATED: i32 = 1;
const DELETED: i32 = 2;
const CHANGED: i32 = 3;
const CHILDREN: i32 = 4;

fn event(kind: i32, path: &str) -> (i32, String) {
    (kind, path.into())
}

/// A client that changes and one that watches.
fn pair() -> (World, Client, Client) {
    let mut world = World::new();
    let (writer, watcher) = (world.client(0), world.client(1));
    (world, writer, watcher)
}

#[test]
fn each_kind_of_watch_fires_once_for_its_changes() {
    let (mut world, writer, watcher) = pair();
    assert_eq!(world.err(watcher, read(op::EXISTS, "/a", true)), -101);
    world.ok(writer, create("/a", 0));
    assert_eq!(world.events(watcher.conn), [event(CREATED, "/a")]);
    world.ok(writer, set("/a", b"1", -1));
    assert_eq!(world.events(watcher.conn), []);

    world.ok(watcher, read(op::GET_DATA, "/a", true));
    world.ok(watcher, read(op::GET_CHILDREN, "/a", true));
    world.ok(writer, create("/a/b", 0));
    assert_eq!(world.events(watcher.conn), [event(CHILDREN, "/a")]);
    world.ok(writer, set("/a", b"2", -1));
    assert_eq!(world.events(watcher.conn), [event(CHANGED, "/a")]);
    world.ok(writer, delete("/a/b", -1));
    assert_eq!(world.events(watcher.conn), []);

    world.ok(watcher, read(op::EXISTS, "/a", true));
    world.ok(watcher, read(op::GET_CHILDREN2, "/a", true));
    world.ok(watcher, read(op::GET_CHILDREN, "/", true));
    world.ok(writer, delete("/a", -1));
    assert_eq!(world.events(watcher.conn), [event(DELETED, "/a"), event(CHILDREN, "/")]);
}

#[test]
fn only_exists_leaves_a_watch_where_nothing_is() {
    let (mut world, writer, watcher) = pair();
    for op in [op::GET_DATA, op::GET_CHILDREN, op::GET_CHILDREN2] {
        assert_eq!(world.err(watcher, read(op, "/a", true)), -101);
    }
    world.ok(writer, create("/a", 0));
    assert_eq!(world.events(watcher.conn), []);
}

#[test]
fn who_may_not_read_gets_no_watch() {
    let (mut world, writer, watcher) = pair();
    world.ok(writer, create_op(op::CREATE, "/a", None, &[(30, "world", "anyone")], 0));
    for op in [op::EXISTS, op::GET_DATA, op::GET_CHILDREN, op::GET_CHILDREN2] {
        assert_eq!(world.err(watcher, read(op, "/a", true)), -102);
    }
    assert_eq!(world.service.stats().watches, 0);
}

#[test]
fn setting_a_watch_twice_gives_one_event() {
    let (mut world, writer, watcher) = pair();
    for _ in 0..2 {
        world.ok(watcher, read(op::GET_DATA, "/", true));
        world.ok(watcher, read(op::EXISTS, "/", true));
    }
    world.ok(writer, set("/", b"x", -1));
    assert_eq!(world.events(watcher.conn), [event(CHANGED, "/")]);
}

#[test]
fn the_event_comes_before_the_writers_own_reply_and_carries_its_zxid() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create("/w", 0));
    world.ok(client, read(op::GET_DATA, "/w", true));
    world.frame(client.conn, &set("/w", b"x", -1));
    let frames = world.raw(client.conn);
    assert_eq!(frames[0], hex("0000001e ffffffff 0000000000000003 00000000 00000003 00000003 00000002 2f77"));
    assert_eq!(Reply::parse(&frames[1]).xid, 1);
}

#[test]
fn failures_checks_and_acl_changes_tell_nobody() {
    let (mut world, writer, watcher) = pair();
    world.ok(writer, create("/a", 0));
    world.ok(watcher, read(op::GET_DATA, "/a", true));
    world.ok(watcher, read(op::GET_CHILDREN, "/", true));
    world.ask(writer, set("/a", b"", 9));
    world.ok(writer, set_acl("/a", OPEN, -1));
    world.ok(writer, multi(&[path_int(op::CHECK, "/a", 0)]));
    world.ok(writer, multi(&[set("/a", b"x", -1), create("/b", 0), delete("/none", -1)]));
    world.ok(writer, path_only(op::SYNC, "/a"));
    assert_eq!(world.events(watcher.conn), []);
}

#[test]
fn a_multi_tells_in_the_order_of_its_operations_before_its_reply() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, read(op::GET_CHILDREN, "/", true));
    world.err(client, read(op::EXISTS, "/a", true));
    world.err(client, read(op::EXISTS, "/b", true));
    world.frame(client.conn, &multi(&[create("/b", 0), create("/a", 0), set("/b", b"x", 0)]));
    let replies = world.replies(client.conn);
    let events: Vec<_> = replies[..3].iter().map(Reply::event).collect();
    assert_eq!(events, [event(CREATED, "/b"), event(CHILDREN, "/"), event(CREATED, "/a")]);
    assert_eq!((replies.len(), replies[3].xid), (4, 1));
}

#[test]
fn watches_die_with_the_connection() {
    let (mut world, writer, watcher) = pair();
    world.ok(watcher, read(op::GET_DATA, "/", true));
    assert_eq!(world.service.stats().watches, 1);
    let resumed = world.resume(2, watcher);
    world.raw(resumed.conn);
    assert_eq!(world.service.stats().watches, 0);
    world.ok(writer, set("/", b"x", -1));
    assert_eq!(world.events(resumed.conn), []);
}

#[test]
fn the_end_of_a_session_is_told_to_others() {
    let (mut world, writer, watcher) = pair();
    world.ok(writer, create("/e", 1));
    world.ok(watcher, read(op::EXISTS, "/e", true));
    world.ok(watcher, read(op::GET_CHILDREN, "/", true));
    world.ok(writer, close());
    assert_eq!(world.events(watcher.conn), [event(DELETED, "/e"), event(CHILDREN, "/")]);
}

#[test]
fn set_watches_makes_up_for_what_was_missed_before_its_reply() {
    let (mut world, writer, watcher) = pair();
    world.ok(writer, create("/old", 0));
    world.ok(writer, create("/same", 0));
    let since = world.ok(writer, create("/parent", 0)).zxid;
    world.ok(watcher, set_watches(op::SET_WATCHES, since, &[&["/parent"], &[], &["/parent"]]));
    world.ok(watcher, path_int(op::REMOVE_WATCHES, "/parent", 3));
    world.ok(writer, set("/old", b"x", -1));
    world.ok(writer, create("/parent/child", 0));
    let lists: &[&[&str]] =
        &[&["/old", "/same", "/gone"], &["/old", "/still-none"], &["/parent", "/same", "/gone"]];
    world.frame(watcher.conn, &set_watches(op::SET_WATCHES, since, lists));
    let replies = world.replies(watcher.conn);
    let (last, events) = replies.split_last().unwrap();
    assert_eq!((last.xid, last.err, last.body.len()), (-8, 0, 0));
    assert!(events.iter().all(|event| event.zxid == -1));
    assert_eq!(
        events.iter().map(Reply::event).collect::<Vec<_>>(),
        [
            event(CHANGED, "/old"),
            event(DELETED, "/gone"),
            event(CREATED, "/old"),
            event(CHILDREN, "/parent"),
            event(DELETED, "/gone"),
        ]
    );
    // What was up to date is watched now, and nothing else.
    world.ok(writer, set("/old", b"y", -1));
    world.ok(writer, create("/parent/other", 0));
    assert_eq!(world.events(watcher.conn), []);
    world.ok(writer, set("/same", b"x", -1));
    world.ok(writer, create("/same/child", 0));
    world.ok(writer, create("/still-none", 0));
    assert_eq!(
        world.events(watcher.conn),
        [event(CHANGED, "/same"), event(CHILDREN, "/same"), event(CREATED, "/still-none")]
    );
}

#[test]
fn events_are_hidden_from_those_who_may_not_read_but_use_the_watch_up() {
    let (mut world, writer, watcher) = pair();
    let mine: &[Entry<'_>] = &[(31, "auth", "")];
    world.ok(writer, auth("digest", Some(b"u:p")));
    world.err(watcher, read(op::EXISTS, "/a", true));
    world.ok(writer, create_op(op::CREATE, "/a", None, mine, 0));
    assert_eq!(world.events(watcher.conn), []);
    assert_eq!(world.service.stats().watches, 0);

    // A change of children is judged by the parent's ACL.
    world.ok(writer, create("/open", 0));
    world.ok(watcher, read(op::GET_CHILDREN, "/open", true));
    world.ok(writer, create_op(op::CREATE, "/open/secret", None, mine, 0));
    assert_eq!(world.events(watcher.conn), [event(CHILDREN, "/open")]);

    // A deletion by the ACL that the node had; and setWatches is not judged at all.
    world.ok(writer, create("/b", 0));
    world.ok(watcher, read(op::EXISTS, "/b", true));
    world.ok(writer, set_acl("/b", mine, -1));
    world.ok(writer, delete("/b", -1));
    assert_eq!(world.events(watcher.conn), []);
    world.frame(watcher.conn, &set_watches(op::SET_WATCHES, 0, &[&["/a"], &[], &[]]));
    assert_eq!(world.replies(watcher.conn)[0].event(), event(CHANGED, "/a"));
}

#[test]
fn persistent_watches_stay() {
    let (mut world, writer, watcher) = pair();
    assert_eq!(world.ok(watcher, path_int(op::ADD_WATCH, "/p", 0)).body, hex("00000000"));
    for request in [
        create("/p", 0),
        create("/p/c", 0),
        create("/p/c/d", 0),
        set("/p", b"x", -1),
        delete("/p/c/d", -1),
        delete("/p/c", -1),
        delete("/p", -1),
    ] {
        world.ok(writer, request);
    }
    let kinds: Vec<i32> = world.events(watcher.conn).iter().map(|event| event.0).collect();
    assert_eq!(kinds, [CREATED, CHILDREN, CHANGED, CHILDREN, DELETED]);
}

#[test]
fn recursive_watches_hear_of_everything_below_but_not_of_children() {
    let (mut world, writer, watcher) = pair();
    world.ok(watcher, path_int(op::ADD_WATCH, "/r", 1));
    for request in [
        create("/r", 0),
        create("/r/c", 0),
        create("/r/c/d", 0),
        set("/r", b"x", -1),
        delete("/r/c/d", -1),
        delete("/r/c", -1),
        delete("/r", -1),
    ] {
        world.ok(writer, request);
    }
    let want = [
        event(CREATED, "/r"),
        event(CREATED, "/r/c"),
        event(CREATED, "/r/c/d"),
        event(CHANGED, "/r"),
        event(DELETED, "/r/c/d"),
        event(DELETED, "/r/c"),
        event(DELETED, "/r"),
    ];
    assert_eq!(world.events(watcher.conn), want);
}

#[test]
fn set_watches2_registers_persistent_ones_without_making_up() {
    let (mut world, writer, watcher) = pair();
    world.ok(writer, create("/a", 0));
    world.ok(watcher, set_watches(op::SET_WATCHES2, 0, &[&[], &[], &[], &["/a"], &["/b"]]));
    world.ok(writer, set("/a", b"x", -1));
    world.ok(writer, create("/b", 0));
    assert_eq!(world.events(watcher.conn), [event(CHANGED, "/a"), event(CREATED, "/b")]);
}

#[test]
fn watches_can_be_asked_for_and_removed() {
    let (mut world, writer, client) = pair();
    assert_eq!(world.err(client, path_int(op::ADD_WATCH, "/", 2)), -5);
    world.ok(client, read(op::GET_DATA, "/", true));
    world.ok(client, path_int(op::ADD_WATCH, "/", 1));
    for (kind, err) in [(1, -121), (2, 0), (3, 0), (4, -121), (5, 0), (6, -5), (0, -5)] {
        assert_eq!(world.err(client, path_int(op::CHECK_WATCHES, "/", kind)), err, "{kind}");
    }
    assert_eq!(world.err(client, path_int(op::REMOVE_WATCHES, "/", 1)), -121);
    assert_eq!(world.err(client, path_int(op::REMOVE_WATCHES, "/", 2)), 0);
    assert_eq!(world.err(client, path_int(op::REMOVE_WATCHES, "/", 2)), -121);
    assert_eq!(world.err(client, path_int(op::REMOVE_WATCHES, "/", 3)), 0);
    world.ok(writer, set("/", b"x", -1));
    assert_eq!(world.events(client.conn), []);
}
