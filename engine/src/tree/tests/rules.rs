//! One rule of the state machine per test.

use super::leader::{Leader, SESSION};
use super::*;
use crate::txn::{AclList, SubTxn, TxnDigest, TxnHeader, code, kind};
use EventKind::{ChildrenChanged, Created, DataChanged, Deleted};

fn events(leader: &Leader) -> Vec<(EventKind, &str)> {
    leader.events.iter().map(|(kind, path)| (*kind, path.as_str())).collect()
}

#[test]
fn a_create_counts_in_its_parent_and_tells_both() {
    let mut leader = Leader::new();
    let OpResult::Created(stat) = leader.create("/a", "xyz") else { panic!("created") };
    assert_eq!(events(&leader), [(Created, "/a"), (ChildrenChanged, "/")]);
    assert_eq!(stat, stat_of(&leader.tree, "/a"));
    assert_eq!((stat.data_length, stat.version, stat.pzxid.raw()), (3, 0, 1));
    assert_eq!((stat.ctime, stat.mtime), (leader.time - 3, leader.time - 3));
    leader.create("/a/b", "");
    assert_eq!(events(&leader), [(Created, "/a/b"), (ChildrenChanged, "/a")]);
    let a = stat_of(&leader.tree, "/a");
    assert_eq!((a.cversion, a.num_children, a.pzxid.raw(), a.mzxid.raw()), (1, 1, 2, 1));
    leader.delete("/a/b");
    assert_eq!(events(&leader), [(Deleted, "/a/b"), (ChildrenChanged, "/a")]);
    let a = stat_of(&leader.tree, "/a");
    assert_eq!((a.cversion, a.num_children, a.pzxid.raw()), (2, 0, 3));
    assert_eq!(persisted_of(&leader.tree, "/a").cversion, 1);
}

#[test]
fn set_data_and_set_acl_touch_only_their_own_fields() {
    let mut leader = Leader::new();
    leader.create("/a", "xyz");
    leader.create("/a/b", "");
    let before = stat_of(&leader.tree, "/a");
    let OpResult::Set(stat) = leader.set("/a", "longer data") else { panic!("set") };
    assert_eq!(events(&leader), [(DataChanged, "/a")]);
    let mzxid = Zxid::from_raw(3);
    assert_eq!(stat, Stat { mzxid, mtime: leader.time - 3, version: 1, data_length: 11, ..before });
    let OpResult::Set(stat_after) = leader.set_acl("/a", &[Acl::world(1)]) else { panic!("set") };
    assert_eq!(events(&leader), []);
    assert_eq!(stat_after, Stat { aversion: 1, ..stat });
    assert_eq!(**leader.tree.node(leader.tree.find("/a").unwrap()).acl(), [Acl::world(1)]);
}

#[test]
fn events_carry_the_acl_of_the_node_they_name() {
    let mut leader = Leader::new();
    leader.create("/p", "");
    leader.set_acl("/p", &[Acl::world(1)]);
    leader.set_acl_of_creates(&[Acl::world(2)]);
    leader.create("/p/c", "");
    let mut seen = Vec::new();
    let header =
        TxnHeader { client_id: SessionId(1), cxid: 0, zxid: Zxid::from_raw(9), time: 0, kind: kind::DELETE };
    leader.tree.apply(&header, &Txn::Delete { path: "/p/c" }, None, &mut |event| {
        seen.push((event.kind, event.acl[0].perms));
    });
    assert_eq!(seen, [(Deleted, 2), (ChildrenChanged, 1)]);
}

#[test]
fn the_root_has_two_names_and_one_digest() {
    let mut by_slash = Leader::new();
    let mut by_nothing = Leader::new();
    by_slash.set("/", "root");
    by_nothing.set("", "root");
    assert_eq!(events(&by_slash), [(DataChanged, "/")]);
    assert_eq!(by_slash.events, by_nothing.events);
    assert_eq!(by_slash.tree.digest(), by_nothing.tree.digest());
    assert_eq!(by_slash.tree.find("/"), by_slash.tree.find(""));
    by_slash.set_acl("/", &[Acl::world(1)]);
    by_nothing.set_acl("", &[Acl::world(1)]);
    assert_eq!(by_slash.tree.digest(), by_nothing.tree.digest());
    assert_eq!(by_slash.create("/", ""), OpResult::Error(code::NODE_EXISTS));
    assert_consistent(&by_slash.tree);
    assert_consistent(&by_nothing.tree);
}

#[test]
fn null_and_empty_data_stay_apart_and_weigh_the_same() {
    let mut leader = Leader::new();
    leader.create_with("/null", None, None);
    leader.create("/empty", "");
    let data =
        |leader: &Leader, path| leader.tree.node(leader.tree.find(path).unwrap()).data().map(<[u8]>::len);
    assert_eq!((data(&leader, "/null"), data(&leader, "/empty")), (None, Some(0)));
    assert_eq!(stat_of(&leader.tree, "/null").data_length, 0);
    leader.set("/null", "");
    leader.submit(kind::SET_DATA, SESSION, &Txn::SetData { path: "/empty", data: None, version: 1 });
    assert_eq!((data(&leader, "/null"), data(&leader, "/empty")), (Some(0), None));
    leader.set("/empty", "full");
    assert_eq!(data(&leader, "/empty"), Some(4));
    assert_consistent(&leader.tree);
}

#[test]
fn what_does_not_fit_is_a_result_and_changes_nothing_but_the_zxid() {
    let mut leader = Leader::new();
    leader.create("/a", "");
    let (digest, all) = (leader.tree.digest(), dump(&leader.tree));
    let no_node = OpResult::Error(code::NO_NODE);
    assert_eq!(leader.set("/nope", ""), no_node);
    assert_eq!(leader.set_acl("/nope", &[]), no_node);
    assert_eq!(leader.create("/nope/child", ""), no_node);
    assert_eq!(leader.delete("/nope/child"), no_node);
    for path in ["", "a", "/a/", "//", "//a", "//b"] {
        assert_eq!(leader.create(path, ""), no_node, "{path:?}");
        assert_eq!(leader.delete(path), no_node, "{path:?}");
        assert!(path.is_empty() || leader.set(path, "") == no_node, "{path:?}");
    }
    for path in BUILT_IN {
        assert_eq!(leader.delete(path), OpResult::Error(code::BAD_ARGUMENTS));
    }
    assert_eq!(leader.submit(kind::ERROR, 1, &Txn::Error { err: -110 }), OpResult::Error(-110));
    assert_eq!(leader.submit(kind::CHECK, 1, &Txn::Check { path: "/a", version: 9 }), OpResult::Checked);
    let session = leader.submit(kind::CREATE_SESSION, 1, &Txn::CreateSession { timeout: 5 });
    assert_eq!(session, OpResult::SessionCreated { timeout: 5 });
    assert_eq!((leader.tree.digest(), dump(&leader.tree)), (digest, all));
    assert_eq!(leader.tree.last_zxid().raw(), leader.zxid());
    assert!(leader.events.is_empty());
}

#[test]
fn a_create_that_finds_the_node_refreshes_its_acl_and_moves_the_parent_only_forward() {
    let mut leader = Leader::new();
    leader.create("/p", "");
    leader.create("/p/n", "kept");
    leader.set_acl_of_creates(&[Acl::world(3)]);
    let before = persisted_of(&leader.tree, "/p/n");
    assert_eq!(leader.create("/p/n", "ignored"), OpResult::Error(code::NODE_EXISTS));
    assert_eq!(persisted_of(&leader.tree, "/p/n"), before);
    assert_eq!(data_of(&leader.tree, "/p/n"), b"kept");
    assert_eq!(**leader.tree.node(leader.tree.find("/p/n").unwrap()).acl(), [Acl::world(3)]);
    let parent = persisted_of(&leader.tree, "/p");
    assert_eq!((parent.cversion, parent.pzxid.raw()), (2, 3));
    for (cversion, expected) in [(1, (2, 3)), (2, (2, 3)), (-1, (3, 6)), (9, (9, 7))] {
        let acl = AclList::NULL;
        let path = "/p/n";
        let txn = Txn::Create { path, data: None, acl, ephemeral: false, parent_cversion: cversion };
        leader.submit(kind::CREATE2, 1, &txn);
        let parent = persisted_of(&leader.tree, "/p");
        assert_eq!((parent.cversion, parent.pzxid.raw()), expected);
    }
    assert!(events(&leader).is_empty());
    assert_consistent(&leader.tree);
}

#[test]
fn an_old_create_does_not_move_the_parent_back() {
    let mut leader = Leader::new();
    leader.create("/p", "");
    let create = |leader: &mut Leader, path, parent_cversion| {
        let txn = Txn::Create { path, data: None, acl: AclList::NULL, ephemeral: false, parent_cversion };
        leader.submit(kind::CREATE, 1, &txn);
        let parent = persisted_of(&leader.tree, "/p");
        (parent.cversion, parent.pzxid.raw())
    };
    assert_eq!(create(&mut leader, "/p/a", 7), (7, 2));
    assert_eq!(create(&mut leader, "/p/b", 3), (7, 2));
    assert_eq!(create(&mut leader, "/p/c", -1), (8, 4));
    assert_eq!(stat_of(&leader.tree, "/p").num_children, 3);
}

#[test]
fn the_child_counter_ends_at_its_largest_value_and_clients_see_it_wrapped() {
    let mut leader = Leader::new();
    leader.create("/p", "");
    let create = |leader: &mut Leader, path, parent_cversion| {
        let txn = Txn::Create { path, data: None, acl: AclList::NULL, ephemeral: false, parent_cversion };
        leader.submit(kind::CREATE, 1, &txn);
        (persisted_of(&leader.tree, "/p").cversion, stat_of(&leader.tree, "/p").cversion)
    };
    assert_eq!(create(&mut leader, "/p/a", i32::MAX), (i32::MAX, -3));
    assert_eq!(create(&mut leader, "/p/b", i32::MIN), (i32::MAX, -4));
    assert_eq!(create(&mut leader, "/p/c", -1), (i32::MAX, -5));
    assert_consistent(&leader.tree);
}

#[test]
fn a_delete_of_nothing_still_raises_the_parents_pzxid() {
    let mut leader = Leader::new();
    leader.create("/p", "");
    assert_eq!(leader.delete("/p/gone"), OpResult::Error(code::NO_NODE));
    assert_eq!(persisted_of(&leader.tree, "/p").pzxid.raw(), 2);
    assert!(leader.events.is_empty());
    let old =
        TxnHeader { client_id: SessionId(1), cxid: 0, zxid: Zxid::from_raw(1), time: 0, kind: kind::DELETE };
    leader.tree.apply(&old, &Txn::Delete { path: "/p/gone" }, None, &mut |_| {});
    assert_eq!(persisted_of(&leader.tree, "/p").pzxid.raw(), 2);
    assert_eq!(leader.tree.last_zxid().raw(), 2);
    assert_consistent(&leader.tree);
}

#[test]
fn a_closing_session_takes_what_is_listed_and_what_it_owns() {
    for with_list in [true, false] {
        let mut leader = Leader::new();
        leader.create("/p", "");
        for path in ["/p/a", "/p/b", "/c"] {
            leader.create_ephemeral(path, 7);
        }
        leader.create_ephemeral("/other", 8);
        assert_eq!(leader.tree.ephemeral_owners(), [SessionId(7), SessionId(8)]);
        assert_eq!(leader.close(7, with_list), OpResult::SessionClosed);
        assert_eq!(leader.events.len(), 6);
        assert_eq!(leader.tree.ephemeral_owners(), [SessionId(8)]);
        assert!(leader.tree.find("/p/a").is_none() && leader.tree.find("/c").is_none());
        let p = persisted_of(&leader.tree, "/p");
        assert_eq!((p.pzxid.raw(), p.cversion), (leader.zxid(), 2));
        assert_consistent(&leader.tree);
    }
}

#[test]
fn a_close_deletes_the_listed_nodes_whoever_owns_them() {
    let mut leader = Leader::new();
    leader.create("/persistent", "");
    leader.create_ephemeral("/mine", 7);
    leader.create_ephemeral("/theirs", 8);
    let mut listed = Vec::new();
    let paths = txn::PathList::encode(["/persistent", "/theirs", "/gone"], &mut listed);
    leader.submit(kind::CLOSE_SESSION, 7, &Txn::CloseSession { paths: Some(paths) });
    assert_eq!(leader.tree.node_count(), 5);
    assert_eq!(leader.tree.ephemeral_count(), 0);
    assert_consistent(&leader.tree);
}

#[test]
fn a_multi_has_one_zxid_and_one_result_per_operation() {
    let mut leader = Leader::new();
    let acl = AclList::NULL;
    let (path, data) = ("/m", Some(&b"1"[..]));
    let sub = |kind, txn| SubTxn { kind, txn };
    let subs = [
        sub(kind::CREATE2, Txn::Create { path, data, acl, ephemeral: false, parent_cversion: 1 }),
        sub(kind::CHECK, Txn::Check { path, version: 1 }),
        sub(kind::SET_DATA, Txn::SetData { path, data: Some(b"22"), version: 1 }),
        sub(kind::DELETE, Txn::Delete { path }),
    ];
    assert_eq!(leader.multi(&subs), OpResult::Multi);
    let [OpResult::Created(_), OpResult::Checked, OpResult::Set(stat), OpResult::Deleted] =
        *leader.tree.multi_results()
    else {
        panic!("{:?}", leader.tree.multi_results());
    };
    assert_eq!(
        (stat.version, stat.data_length, stat.czxid, stat.mzxid),
        (1, 2, stat.mzxid, Zxid::from_raw(1))
    );
    let told = [
        (Created, "/m"),
        (ChildrenChanged, "/"),
        (DataChanged, "/m"),
        (Deleted, "/m"),
        (ChildrenChanged, "/"),
    ];
    assert_eq!(events(&leader), told);
    assert_eq!(leader.multi(&[]), OpResult::Multi);
    assert!(leader.tree.multi_results().is_empty());
    assert_eq!(leader.tree.last_zxid().raw(), 2);
}

#[test]
fn a_failed_multi_changes_nothing_and_says_which_operation_it_was() {
    let mut leader = Leader::new();
    leader.create("/a", "");
    let all = dump(&leader.tree);
    let sub = |kind, txn| SubTxn { kind, txn };
    let acl = AclList::NULL;
    let subs = [
        sub(kind::CREATE, Txn::Create { path: "/b", data: None, acl, ephemeral: false, parent_cversion: 2 }),
        sub(kind::DELETE, Txn::Delete { path: "/a" }),
        sub(kind::ERROR, Txn::Error { err: code::NO_NODE }),
        sub(kind::ERROR, Txn::Error { err: code::RUNTIME_INCONSISTENCY }),
    ];
    leader.multi(&subs);
    let errors = [0, 0, code::NO_NODE, code::RUNTIME_INCONSISTENCY].map(OpResult::Error);
    assert_eq!(leader.tree.multi_results(), errors);
    assert_eq!(dump(&leader.tree), all);
    assert!(leader.events.is_empty());
    assert_eq!(leader.tree.last_zxid().raw(), 2);
}

#[test]
fn containers_and_ttl_nodes_become_due() {
    let mut leader = Leader::new();
    leader.create_container("/used");
    leader.create("/used/child", "");
    leader.create_container("/full");
    leader.create("/full/child", "");
    leader.delete("/used/child");
    leader.create_container("/unused");
    leader.create_ttl("/old", 1000);
    leader.create_ttl("/parent", 1000);
    leader.create("/parent/child", "");
    leader.create_ttl("/fresh", 1_000_000);
    leader.create("/persistent", "");
    let due = |leader: &mut Leader, budget, now, never_used| {
        let mut all = Vec::new();
        while !leader.tree.reapable(budget, now, never_used, &mut all) {}
        let mut paths: Vec<String> = all.into_iter().map(|id| path_of(&leader.tree, id)).collect();
        paths.sort();
        paths
    };
    let (just_now, now) = (leader.time, leader.time + 5000);
    for budget in [1, 2, 100] {
        assert_eq!(due(&mut leader, budget, now, 0), ["/old", "/used"]);
        assert_eq!(due(&mut leader, budget, now, 4000), ["/old", "/unused", "/used"]);
        assert_eq!(due(&mut leader, budget, just_now, 4000), ["/used"]);
    }
    leader.time = now - 500;
    leader.set("/old", "again");
    assert_eq!(due(&mut leader, 3, now, 0), ["/used"]);
    leader.submit(kind::DELETE_CONTAINER, 0, &Txn::Delete { path: "/used" });
    assert!(due(&mut leader, 3, now, 0).is_empty());
    assert_consistent(&leader.tree);
}

#[test]
fn a_round_over_containers_survives_the_deletion_of_its_next_node() {
    let mut leader = Leader::new();
    for n in 0..10 {
        leader.create_ttl(&format!("/t{n}"), 1);
    }
    let now = leader.time + 1000;
    let mut found = Vec::new();
    while !leader.tree.reapable(1, now, 0, &mut found) {
        let last = path_of(&leader.tree, *found.last().unwrap());
        let next = last.trim_start_matches("/t").parse::<i32>().unwrap() - 1;
        leader.delete(&format!("/t{next}"));
    }
    assert_eq!(found.len(), 5);
    assert_consistent(&leader.tree);
}

#[test]
fn a_quota_counts_its_subtree_in_silence() {
    let mut leader = Leader::new();
    for (path, data) in [("/q", "1234"), ("/q/a", "12"), ("/q/a/b", "1"), ("/other", "123")] {
        leader.create(path, data);
    }
    leader.create("/zookeeper/quota/q", "");
    leader.create("/zookeeper/quota/q/zookeeper_limits", "count=9,bytes=9");
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    leader.create("/q/before", "x"); // limits without statistics: not counted, not harmful
    leader.delete("/q/before");
    leader.create(stats, "count=0,bytes=0");
    let text = |leader: &Leader| String::from_utf8(data_of(&leader.tree, stats).to_vec()).unwrap();
    assert_eq!(text(&leader), "count=3,bytes=7");
    let stat = persisted_of(&leader.tree, stats);
    leader.create("/q/c", "12345");
    assert_eq!(text(&leader), "count=4,bytes=12");
    leader.set("/q/c", "1");
    leader.set("/q", "");
    assert_eq!(text(&leader), "count=4,bytes=4");
    leader.delete("/q/a/b");
    assert_eq!(text(&leader), "count=3,bytes=3");
    leader.create("/qq", "not below /q");
    leader.set("/other", "");
    assert_eq!(text(&leader), "count=3,bytes=3");
    assert_eq!(persisted_of(&leader.tree, stats), stat);
    let quota = leader.tree.quota_of("/q/a").unwrap();
    assert_eq!(path_of(&leader.tree, quota.limits), "/zookeeper/quota/q/zookeeper_limits");
    assert_eq!(quota.stats.map(|id| path_of(&leader.tree, id)).as_deref(), Some(stats));
    assert_consistent(&leader.tree);

    leader.delete("/zookeeper/quota/q/zookeeper_limits");
    leader.create("/q/uncounted", "");
    assert_eq!(text(&leader), "count=3,bytes=3");
    assert!(leader.tree.quota_of("/q").is_none());
}

#[test]
fn the_deepest_quota_counts_and_the_root_has_none() {
    let mut leader = Leader::new();
    for path in ["/x", "/x/y", "/zookeeper/quota/x", "/zookeeper/quota/x/y"] {
        leader.create(path, "");
    }
    for quota in ["", "/x", "/x/y"] {
        leader.create(&format!("/zookeeper/quota{quota}/zookeeper_limits"), "count=1,bytes=1");
        leader.create(&format!("/zookeeper/quota{quota}/zookeeper_stats"), "count=0,bytes=0");
    }
    leader.create("/x/y/z", "123");
    leader.create("/x/other", "12");
    leader.create("/nowhere", "1");
    let text =
        |quota: &str| data_of(&leader.tree, &format!("/zookeeper/quota{quota}/zookeeper_stats")).to_vec();
    assert_eq!(text(""), b"count=0,bytes=0");
    assert_eq!(text("/x"), b"count=3,bytes=2");
    assert_eq!(text("/x/y"), b"count=2,bytes=3");
    assert!(leader.tree.quota_of("/nowhere").is_none());
}

#[test]
fn unreadable_quota_statistics_are_left_alone() {
    let mut leader = Leader::new();
    leader.create("/q", "");
    leader.create("/zookeeper/quota/q", "");
    leader.create("/zookeeper/quota/q/zookeeper_limits", "");
    leader.create("/zookeeper/quota/q/zookeeper_stats", "");
    leader.set("/zookeeper/quota/q/zookeeper_stats", "count=lots");
    leader.create("/q/a", "1");
    assert_eq!(data_of(&leader.tree, "/zookeeper/quota/q/zookeeper_stats"), b"count=lots");
    leader.set("/zookeeper/quota/q/zookeeper_stats", "");
    leader.create("/q/b", "12");
    assert_eq!(data_of(&leader.tree, "/zookeeper/quota/q/zookeeper_stats"), b"count=0,bytes=1");
}

#[test]
fn what_lies_below_zookeeper_counts_only_through_zookeeper_itself() {
    let mut leader = Leader::new();
    let fresh = leader.tree.digest();
    leader.create("/zookeeper/foo", "x");
    let with_child = leader.tree.digest();
    assert_ne!(with_child, fresh);
    leader.set("/zookeeper/foo", "y");
    leader.create("/zookeeper/foo/bar", "x");
    leader.submit(
        kind::RECONFIG,
        1,
        &Txn::SetData { path: "/zookeeper/config", data: Some(b"s"), version: -1 },
    );
    assert_eq!(leader.tree.digest(), with_child);
    assert_eq!(stat_of(&leader.tree, "/zookeeper/config").version, -1);
    assert_consistent(&leader.tree);
}

#[test]
fn a_foreign_digest_is_counted_and_a_foreign_version_is_not_compared() {
    let mut tree = Tree::new(1);
    let mut at = |kind, txn: &Txn<'_>, digest| {
        let zxid = tree.last_zxid().successor().unwrap();
        let header = TxnHeader { client_id: SessionId(1), cxid: 0, zxid, time: 0, kind };
        (tree.apply(&header, txn, digest, &mut |_| {}).digest, tree.digest_mismatches())
    };
    let session = Txn::CreateSession { timeout: 1 };
    assert_eq!(at(kind::CREATE_SESSION, &session, Some(TxnDigest::new(0x51c6d660))), (DigestCheck::Match, 0));
    assert_eq!(at(kind::CREATE_SESSION, &session, None), (DigestCheck::Absent, 0));
    let other = TxnDigest { version: 3, tree: 5 };
    assert_eq!(at(kind::CREATE_SESSION, &session, Some(other)), (DigestCheck::Absent, 0));
    let mismatch = DigestCheck::Mismatch { expected: 5, actual: 0x51c6d660 };
    assert_eq!(at(kind::CREATE_SESSION, &session, Some(TxnDigest::new(5))), (mismatch, 1));
}

#[test]
fn the_digest_history_keeps_every_128th_of_the_last_131072() {
    let mut leader = Leader::new();
    for _ in 0..128 * 1030 {
        leader.log.push(Vec::new());
        if leader.zxid() % 128 == 127 {
            leader.submit(kind::ERROR, 1, &Txn::Error { err: -1 });
        }
    }
    let history: Vec<(Zxid, u64)> = leader.tree.digest_history().collect();
    assert_eq!(history.len(), 1024);
    assert!(history.iter().all(|&(zxid, digest)| zxid.raw() % 128 == 0 && digest == 0x51c6d660));
    assert!(history.is_sorted_by_key(|&(zxid, _)| zxid));
}

#[test]
fn equal_acls_are_kept_once() {
    let mut leader = Leader::new();
    for n in 0..50 {
        leader.create(&format!("/n{n}"), "");
    }
    assert_eq!(leader.tree.acl_count(), 2);
    leader.set_acl("/n3", &[Acl::world(5)]);
    assert_eq!(leader.tree.acl_count(), 3);
    leader.delete("/n3");
    assert_eq!(leader.tree.acl_count(), 2);
    let ids = |path| leader.tree.node(leader.tree.find(path).unwrap()).acl_id();
    assert_eq!(ids("/n1"), ids("/n2"));
}

#[test]
fn a_deep_path_is_walked_and_built_without_recursion() {
    let mut leader = Leader::new();
    let mut path = String::new();
    for _ in 0..3000 {
        path.push_str("/d");
        leader.create(&path, "");
    }
    let id = leader.tree.find(&path).unwrap();
    assert_eq!(path_of(&leader.tree, id), path);
    let zxid = Zxid::from_raw(leader.zxid() + 1);
    let header = TxnHeader { client_id: SessionId(1), cxid: 0, zxid, time: 0, kind: kind::DELETE };
    let mut deleted = 0;
    leader.tree.apply(&header, &Txn::Delete { path: "/d" }, None, &mut |event| {
        deleted += u32::from(event.kind == Deleted);
    });
    assert_eq!((deleted, leader.tree.node_count()), (3000, 5));
    assert_consistent(&leader.tree);
}
