//! What the tree shows through the protocol.

use super::world::*;
use crate::admin::Observed;
use crate::wire::op;

fn names(world: &mut World, client: Client, path: &str) -> Vec<String> {
    let body = world.ok(client, read(op::GET_CHILDREN, path, false)).body;
    let mut reader = ringkeeper_engine::jute::Reader::new(&body);
    let mut names: Vec<String> = (0..reader.count(4).unwrap().unwrap())
        .map(|_| String::from_utf8(reader.ustring().unwrap().unwrap().to_vec()).unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_fresh_tree_has_the_odd_numbers_of_the_reference() {
    let mut world = World::new();
    let client = world.client(0);
    let zero = StatView::default();
    assert_eq!(world.ok(client, get("/")).stat(), StatView { cversion: -1, children: 1, ..zero });
    assert_eq!(world.ok(client, get("/zookeeper")).stat(), StatView { cversion: -2, children: 2, ..zero });
    assert_eq!(world.ok(client, get("/zookeeper/quota")).stat(), zero);
    assert_eq!(world.ok(client, get("/zookeeper/config")).stat(), StatView { aversion: -1, ..zero });
    assert_eq!(world.ok(client, get("/zookeeper/config")).body[..4], [0; 4]);
    assert_eq!(names(&mut world, client, "/"), ["zookeeper"]);
    assert_eq!(names(&mut world, client, "/zookeeper"), ["config", "quota"]);
    assert_eq!(world.ok(client, path_only(op::GET_ALL_CHILDREN_NUMBER, "/")).body, hex("00000003"));
    assert_eq!(world.ok(client, path_only(op::GET_ALL_CHILDREN_NUMBER, "/zookeeper")).body, hex("00000002"));
    let stats = world.service.stats();
    assert_eq!((stats.nodes, stats.data_size, stats.ephemerals), (5, 44, 0));
    let children = world.ok(client, read(op::GET_CHILDREN, "/zookeeper/config", false)).body;
    assert_eq!(children, [0; 4]);
}

#[test]
fn stats_follow_what_happened() {
    let mut world = World::new();
    let client = world.client(0);
    let born = world.now.wall_ms;
    let reply = world.ok(client, create_op(op::CREATE2, "/a", Some(b"abc"), OPEN, 0));
    let stat = StatView {
        czxid: 2,
        mzxid: 2,
        ctime: born,
        mtime: born,
        data_length: 3,
        pzxid: 2,
        ..StatView::default()
    };
    assert_eq!(reply.stat(), stat);
    world.advance(5);
    world.ok(client, create("/a/e", 1));
    world.ok(client, create("/a/f", 0));
    world.ok(client, delete("/a/f", -1));
    let stat = StatView { cversion: 3, children: 1, pzxid: 5, ..stat };
    assert_eq!(world.ok(client, get("/a")).stat(), stat);
    let stat = StatView { mzxid: 6, mtime: born + 5, version: 1, data_length: 1, ..stat };
    assert_eq!(world.ok(client, set("/a", b"x", 0)).stat(), stat);
    world.advance(5);
    let stat = StatView { aversion: 1, ..stat };
    assert_eq!(world.ok(client, set_acl("/a", OPEN, 0)).stat(), stat);
    assert_eq!(world.ok(client, read(op::EXISTS, "/a", false)).stat(), stat);
    let ephemeral = world.ok(client, get("/a/e")).stat();
    assert_eq!((ephemeral.owner, ephemeral.ctime), (client.session.0, born + 5));
    let root = world.ok(client, get("/")).stat();
    assert_eq!((root.cversion, root.children, root.pzxid, root.mzxid), (0, 2, 2, 0));
}

#[test]
fn sequence_numbers_count_every_creation_under_the_parent() {
    let mut world = World::new();
    let client = world.client(0);
    world.ok(client, create("/q", 0));
    for n in 0..3 {
        assert_eq!(world.ok(client, create("/q/s", 2)).path(), format!("/q/s000000000{n}"));
    }
    world.ok(client, delete("/q/s0000000001", -1));
    world.ok(client, create("/q/plain", 0));
    assert_eq!(world.ok(client, create("/q/s", 3)).path(), "/q/s0000000004");
    assert_eq!(world.ok(client, create("/q/", 2)).path(), "/q/0000000005");
    assert_eq!(world.ok(client, create("/q/.", 2)).path(), "/q/.0000000006");
    assert_eq!(world.ok(client, create("/", 2)).path(), "/0000000001");
}

#[test]
fn sequence_numbers_are_given_out_before_they_are_applied() {
    let mut world = World::new();
    let (one, two) = (world.client(0), world.client(1));
    world.eager = false;
    for client in [one, two, one] {
        world.frame(client.conn, &create("/s", 2));
    }
    world.commit_all();
    let mut paths: Vec<String> = world.replies(one.conn).iter().map(Reply::path).collect();
    paths.push(world.one(two.conn).path());
    assert_eq!(paths, ["/s0000000000", "/s0000000002", "/s0000000001"]);
}

#[test]
fn requests_are_judged_by_what_is_proposed() {
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    let cases = [
        (create("/a", 1), 0),
        (create("/a/b", 0), -108),
        (create("/a", 0), -110),
        (delete("/a", -1), 0),
        (delete("/a", -1), -101),
        (create("/a", 0), 0),
        (set("/a", b"", 0), 0),
        (set("/a", b"", 0), -103),
        (create("/a/b", 0), 0),
        (delete("/a", -1), -111),
        (delete("/a/b", -1), 0),
        (delete("/a", 1), 0),
        (set("/", b"x", 0), 0),
        (create("/c", 0), 0),
        (set("/", b"y", 1), 0),
        (set_acl("/", OPEN, 0), 0),
        (create_op(op::CREATE_CONTAINER, "/k", None, OPEN, 4), 0),
        (create("/k/x", 0), 0),
        (create("/plain-with-container-flag", 4), 0),
    ];
    for (request, _) in &cases {
        world.frame(client.conn, request);
    }
    world.commit_all();
    let errs: Vec<i32> = world.replies(client.conn).iter().map(|reply| reply.err).collect();
    assert_eq!(errs, cases.map(|(_, err)| err));
    assert_eq!(world.service.tree().digest_mismatches(), 0);
}

#[test]
fn random_traffic_never_makes_a_wrong_digest() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut world = World::with(|options| options.extended_types = true);
    world.eager = false;
    let mut clients: Vec<Client> = (0..4).map(|slot| world.client(slot)).collect();
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/d", "/d/e", "/zookeeper/x", "/a/s", "/zookeeper"];
    for _ in 0..20_000 {
        let pick = |random: &mut fastrand::Rng| {
            let path = paths[random.usize(..paths.len())];
            let version = random.i32(-1..3);
            match random.u8(..8) {
                0 | 1 => {
                    create_op(op::CREATE2, path, Some(&vec![7; random.usize(..40)]), OPEN, random.i32(0..4))
                }
                2 | 3 => delete(path, version),
                4 => set(path, &vec![9; random.usize(..40)], version),
                5 => set_acl(path, OPEN, version),
                6 => create_op(op::CREATE_CONTAINER, path, None, OPEN, 4),
                _ => create_ttl(path, 5, 1000),
            }
        };
        let slot = random.usize(..clients.len());
        let request = match random.u8(..12) {
            0..9 => pick(&mut random),
            9 | 10 => {
                let requests: Vec<_> = (0..random.usize(..4)).map(|_| pick(&mut random)).collect();
                let requests: Vec<_> = requests.into_iter().filter(|it| it[7] != op::SET_ACL as u8).collect();
                multi(&requests)
            }
            _ if random.u8(..20) == 0 => close(),
            _ => get("/a"),
        };
        world.frame(clients[slot].conn, &request);
        if random.u8(..3) == 0 {
            for _ in 0..random.u8(..12) {
                // Panics inside when the digest was predicted wrong.
                world.commit();
            }
        }
        if request[4..8] == op::CLOSE_SESSION.to_be_bytes() {
            world.commit_all();
            clients[slot] = world.client(slot as u32);
        }
        world.out.sent.clear();
    }
    world.commit_all();
    assert_eq!(world.service.tree().digest_mismatches(), 0);
    assert_eq!(world.service.outstanding(), 0);
}

#[test]
fn big_data_passes_and_too_big_replies_do_not() {
    let mut world = World::with(|options| options.max_reply_bytes = 2000);
    let client = world.client(0);
    world.ok(client, create_op(op::CREATE, "/a", Some(&[1; 1900]), OPEN, 0));
    assert_eq!(world.ok(client, get("/a")).body.len(), 4 + 1900 + 68);
    world.ok(client, set("/a", &[1; 2000], -1));
    assert_eq!(world.err(client, get("/a")), -5);
    for n in 0..200 {
        world.ok(client, create(&format!("/a/child-{n}"), 0));
    }
    assert_eq!(world.err(client, read(op::GET_CHILDREN, "/a", true)), -5);
}

#[test]
fn the_numbers_of_a_connection_and_of_the_server_are_kept() {
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    world.frame(client.conn, &xid(7, create("/a", 0)));
    world.frame(client.conn, &xid(8, get("/a")));
    let view = world.service.conns().next().unwrap();
    assert_eq!((view.queued, view.session), (2, Some((client.session, 10_000))));
    assert_eq!(world.service.stats().outstanding, 2);
    world.advance(5);
    world.commit_all();
    let view = world.service.conns().next().unwrap();
    let stats = view.stats;
    assert_eq!((view.queued, stats.received, stats.sent), (0, 3, 3));
    assert_eq!((stats.last_op, stats.last_cxid, stats.last_zxid.raw()), (Some(op::GET_DATA), 8, 2));
    assert_eq!((stats.last_latency_ms, stats.latency.min_ms(), stats.latency.max_ms()), (5, 0, 5));
    assert_eq!(stats.last_response_ms, world.now.mono_ms);
    let all = world.service.stats();
    assert_eq!((all.counters.received, all.counters.sent, all.outstanding), (3, 3, 0));
    assert_eq!((all.connections, all.sessions, all.last_zxid.raw()), (1, 1, 2));
    let latency = world.service.metrics.request_latency();
    assert_eq!(
        (latency.min(), latency.max(), world.service.metrics.summary(Observed::UpdateLatency).max()),
        (0, 5, 5)
    );
    let word = world.accept(1);
    world.service.answer_word(word, b"imok", &mut world.out);
    assert_eq!(world.raw(word), [b"imok".to_vec()]);
    assert!(world.is_closed(word));
    world.service.reset_counters();
    world.service.reset_conn_stats();
    assert_eq!(world.service.stats().counters.sent, 0);
}

#[test]
fn reads_behind_a_write_wait_for_room_and_are_answered_in_order() {
    let mut world = World::new();
    let client = world.client(0);
    world.eager = false;
    world.frame(client.conn, &xid(1, create("/a", 0)));
    for number in 2..6 {
        world.frame(client.conn, &xid(number, get("/a")));
    }
    world.out.full = true;
    world.commit_all();
    assert_eq!(world.replies(client.conn).iter().map(|reply| reply.xid).collect::<Vec<_>>(), [1]);
    // What comes meanwhile goes behind.
    world.frame(client.conn, &xid(6, get("/a")));
    world.service.resume_held(world.now, &mut world.out);
    assert!(world.replies(client.conn).is_empty());
    world.out.full = false;
    world.service.resume_held(world.now, &mut world.out);
    assert_eq!(world.replies(client.conn).iter().map(|reply| reply.xid).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert_eq!(world.service.outstanding(), 0);
}
