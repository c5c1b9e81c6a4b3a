//! `rkinspect state`, `diff` and `find` on directories of ours, made by the engine and by a node, and on Apache's: what
//! they say is compared with what was put in.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::tree::{Tree, is_quota_statistics};
use ringkeeper_engine::txn::{self, AclList, MultiBuilder, Txn, kind};
use ringkeeper_tests::inspector::{Said, arg, ask, run};
use ringkeeper_tests::made::{self, Made, Maker, Sessions};
use ringkeeper_tests::node::{Node, Server, rkinspect};
use ringkeeper_tests::place;
use ringkeeper_tests::tool::{Tool, requires};
use serde_json::{Value, json};

const SESSION: SessionId = SessionId(0x1000_0000_0000_0001);

/// A directory with three snapshots of its own, two epochs and 400 transactions.
fn directory(seed: u64) -> (tempfile::TempDir, std::path::PathBuf, Vec<Made>) {
    let home = place::temp_dir();
    let mut maker = Maker::begin(&home.path().join("data"), seed);
    for round in 0..4 {
        maker.fill(100);
        if round == 1 {
            maker.next_epoch();
        }
        if round < 3 {
            maker.snapshot();
        }
    }
    let (dir, history) = maker.finish();
    (home, dir, history)
}

/// What `state --json` must say of a node.
fn node(tree: &Tree, path: &str) -> Value {
    let node = tree.node(tree.find(path).expect("it is there"));
    let stat = node.persisted();
    let data = if is_quota_statistics(path) { Some(&b""[..]) } else { node.data() };
    let mut object = json!({
        "path": path,
        "bytes": data.map(<[u8]>::len),
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "czxid": stat.czxid.to_string(),
        "mzxid": stat.mzxid.to_string(),
        "pzxid": stat.pzxid.to_string(),
        "owner": format!("{:#x}", stat.ephemeral_owner),
    });
    match data.map(|data| (data, std::str::from_utf8(data))) {
        Some((_, Ok(text))) => object["data"] = json!(text),
        Some((data, Err(_))) => object["data_base64"] = json!(BASE64_STANDARD.encode(data)),
        None => {}
    }
    object
}

/// Compares a run of `state --json` with the state after so many transactions.
fn assert_state(said: &Said, tree: &Tree, sessions: &Sessions) {
    assert_eq!(said.code, 0, "{}", said.err);
    let lines = said.json();
    let (origin, rest) = lines.split_first().expect("a first line");
    assert_eq!(origin["digest"], format!("{:#x}", tree.digest()));
    assert_eq!((&origin["certain"], &origin["mismatch"]), (&json!(true), &Value::Null));
    let (found, nodes) = rest.split_at(sessions.len());
    for (found, (id, timeout)) in found.iter().zip(sessions) {
        let ephemerals = tree.ephemerals_of(*id).count();
        let expected = json!({"session": id.to_string(), "timeout": timeout, "ephemerals": ephemerals});
        assert_eq!(*found, expected);
    }
    let expected = made::paths(tree);
    let paths: Vec<&str> = nodes.iter().map(|node| node["path"].as_str().expect("a path")).collect();
    assert_eq!(paths, expected);
    for (found, path) in nodes.iter().zip(&expected) {
        for (field, value) in node(tree, path).as_object().expect("an object") {
            assert_eq!(found[field], *value, "{path}: {field}");
        }
        assert!(found["acl"].is_string() && found["ctime"].is_string() && found["mtime"].is_string());
    }
}

#[test]
fn every_state_can_be_had_from_snapshots_and_log() {
    let (_home, dir, history) = directory(1);
    let zxids: Vec<i64> = made::files(&dir, "snapshot.").iter().map(|file| zxid_of(file)).collect();
    assert_eq!(zxids.len(), 3);
    for i in (0..=history.len()).step_by(23).chain([history.len()]) {
        let at = if i == 0 { Zxid::ZERO } else { history[i - 1].zxid };
        let (tree, sessions) = made::replay(&history[..i]);
        let said = ask(&["state", arg(&dir), "--json", "--at", &at.to_string()]);
        assert_state(&said, &tree, &sessions);
        // The newest snapshot that is not above it was used, and what is behind that was applied.
        let origin = &said.json()[0];
        let base = zxids.iter().copied().filter(|&zxid| zxid <= at.raw()).max().unwrap_or(0);
        let applied = history[..i].iter().filter(|made| made.zxid.raw() > base).count();
        assert_eq!((&origin["base"], &origin["applied"]), (&json!(format!("{base:#x}")), &json!(applied)));
        assert_eq!(origin["zxid"], at.to_string());
        assert_eq!(origin["snapshot"].is_string(), base > 0);
    }
    let (tree, sessions) = made::replay(&history);
    assert_state(&run(&["state", arg(&dir), "--json"]), &tree, &sessions);
}

fn zxid_of(file: &std::path::Path) -> i64 {
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    i64::from_str_radix(&name["snapshot.".len()..][..16], 16).expect("digits")
}

#[test]
fn between_epochs_the_state_is_that_of_the_last_transaction_before() {
    let (_home, dir, history) = directory(2);
    let last = history.iter().rfind(|made| made.zxid.epoch().0 == 1).expect("an epoch").zxid;
    let said = ask(&["state", arg(&dir), "--json", "--at", "0x200000000"]);
    assert_eq!((said.code, &said.json()[0]["zxid"]), (0, &json!(last.to_string())), "{}", said.err);
}

#[test]
fn a_tree_is_shown_with_depth_path_and_data() {
    let home = place::temp_dir();
    let mut maker = Maker::begin(&home.path().join("data"), 3);
    maker.append(SESSION, kind::CREATE_SESSION, &Txn::CreateSession { timeout: 4000 });
    for (path, data, ephemeral) in
        [("/a", &b"one"[..], false), ("/a/b", b"\xff", true), ("/a/b-c", b"", false)]
    {
        let acl = AclList::NULL;
        let txn = Txn::Create { path, data: Some(data), acl, ephemeral, parent_cversion: -1 };
        maker.append(SESSION, kind::CREATE, &txn);
    }
    let (dir, _) = maker.finish();
    let said = run(&["state", arg(&dir), "--data"]);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(
        lines[0].starts_with("state after 0x100000004: the beginning and 4 transactions"),
        "{}",
        said.out
    );
    assert_eq!(lines[1], "session 0x1000000000000001 timeout 4000 ms, 1 ephemerals");
    let nodes = [
        "/  (0 bytes) \"\"",
        "  a  (3 bytes) \"one\"",
        "    b  (1 bytes, owner 0x1000000000000001) \"\\xff\"",
        "    b-c  (0 bytes) \"\"",
    ];
    assert_eq!(lines[2..6], nodes);
    let below = run(&["state", arg(&dir), "--path", "/a", "--depth", "0"]);
    assert!(below.out.ends_with("/a  (3 bytes)\n  ... 2 below\n"), "{}", below.out);
    assert!(!below.out.contains("session"), "{}", below.out);
    let none = run(&["state", arg(&dir), "--path", "/none"]);
    assert_eq!(none.code, 2);
    assert!(none.err.contains("no node /none after 0x100000004"), "{}", none.err);
}

#[test]
fn what_cannot_be_reached_is_named() {
    let (_home, dir, history) = directory(4);
    let beyond = ask(&["state", arg(&dir), "--at", "0x900000000"]);
    let last = history.last().expect("a last one").zxid;
    assert_eq!(beyond.code, 2);
    assert!(beyond.err.contains(&format!("ends with {last}")), "{}", beyond.err);

    // A damaged snapshot costs a longer way, and is named.
    let snapshots = made::files(&dir, "snapshot.");
    let mut bytes = fs::read(&snapshots[2]).expect("reading");
    bytes[5000] ^= 1;
    fs::write(&snapshots[2], &bytes).expect("writing");
    let (tree, sessions) = made::replay(&history);
    let said = ask(&["state", arg(&dir), "--json"]);
    assert_state(&said, &tree, &sessions);
    let over = said.json()[0]["passed_over"].to_string();
    let name = snapshots[2].file_name().expect("a name").to_string_lossy().into_owned();
    assert!(over.contains(&name) && over.contains("damaged at offset 4096"), "{over}");

    // Without the first segment the states before the first snapshot are gone.
    let first = &made::files(&dir, "log.")[0];
    fs::remove_file(first).expect("removing");
    let (early, late) = (history[5].zxid.to_string(), history[399].zxid.to_string());
    let said = ask(&["state", arg(&dir), "--at", &early]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("log.0000000000000001") || said.err.contains("begins behind"), "{}", said.err);
    assert_eq!(ask(&["state", arg(&dir), "--at", &late]).code, 0);
}

#[test]
fn a_received_snapshot_is_where_the_states_begin() {
    let home = place::temp_dir();
    let mut other = Maker::begin(&home.path().join("other"), 5);
    other.fill(60);
    let mut maker = Maker::begin_behind(&home.path().join("data"), 6, &other);
    let base = maker.last();
    maker.fill(50);
    let expected = made::replay(&[&other.history[..], &maker.history].concat());
    let (dir, history) = maker.finish();
    assert_state(&ask(&["state", arg(&dir), "--json"]), &expected.0, &expected.1);
    let before = Zxid::from_raw(base.raw() - 1).to_string();
    let said = ask(&["state", arg(&dir), "--at", &before]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains(&format!("begins behind {base}")), "{}", said.err);
    assert_eq!(history.len(), 50);
}

/// What must be found between two states: path or session, and the sign.
fn differences(a: (&Tree, &Sessions), b: (&Tree, &Sessions)) -> Vec<(char, String)> {
    let view = |(tree, sessions): (&Tree, &Sessions)| -> BTreeMap<(usize, Vec<String>), Value> {
        let nodes = made::paths(tree).into_iter().map(|path| {
            let id = tree.find(&path).expect("it is there");
            let mut value = node(tree, &path);
            value["acl"] = json!(tree.node(id).acl_encoded());
            value["times"] = json!([tree.node(id).persisted().ctime, tree.node(id).persisted().mtime]);
            let key = path.trim_end_matches('/').split('/').map(str::to_owned).collect();
            ((1, key), value)
        });
        let sessions =
            sessions.iter().map(|(id, timeout)| ((0, vec![format!("{:020}", id.0)]), json!(timeout)));
        sessions.chain(nodes).collect()
    };
    let (a, b) = (view(a), view(b));
    let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let named = |key: &(usize, Vec<String>)| match key {
        (0, id) => format!("session {:#x}", id[0].parse::<i64>().expect("a number")),
        (_, path) if path.len() == 1 => "/".to_owned(),
        (_, path) => path.join("/"),
    };
    let sign = |key: &&(usize, Vec<String>)| match (a.get(*key), b.get(*key)) {
        (Some(_), None) => Some('-'),
        (None, Some(_)) => Some('+'),
        (a, b) => (a != b).then_some('~'),
    };
    keys.into_iter().filter_map(|key| Some((sign(&key)?, named(key)))).collect()
}

/// The signs and names that a run of `diff` shows, without heading and summary.
fn shown(said: &Said) -> Vec<(char, String)> {
    let lines: Vec<&str> = said.out.lines().collect();
    let of = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let name = if words[1] == "session" { words[1..3].join(" ") } else { words[1].to_owned() };
        (line.chars().next().expect("a sign"), name)
    };
    lines[1..lines.len() - 1].iter().map(of).collect()
}

#[test]
fn what_changed_between_any_two_states_is_shown_in_canonical_order() {
    for seed in 7..10 {
        let (_home, dir, history) = directory(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..12 {
            let (i, j) = (rng.usize(..=history.len()), rng.usize(..=history.len()));
            let (i, j) = (i.min(j), i.max(j));
            let at = |i: usize| if i == 0 { Zxid::ZERO } else { history[i - 1].zxid };
            let (a, b) = (made::replay(&history[..i]), made::replay(&history[..j]));
            let expected = differences((&a.0, &a.1), (&b.0, &b.1));
            let (from, to) = (at(i).to_string(), at(j).to_string());
            let said = ask(&["diff", arg(&dir), "--from", &from, "--to", &to]);
            assert_eq!(said.err, "");
            assert_eq!(shown(&said), expected, "from {from} to {to}");
            assert_eq!(said.code, u8::from(!expected.is_empty()));
        }
        let last = history.last().expect("a last one").zxid.to_string();
        let none = ask(&["diff", arg(&dir), "--from", &last]);
        assert_eq!((none.code, shown(&none)), (0, Vec::new()));
    }
}

#[test]
fn fields_of_what_changed_are_named_and_usage_is_checked() {
    let home = place::temp_dir();
    let mut maker = Maker::begin(&home.path().join("data"), 11);
    maker.append(SESSION, kind::CREATE_SESSION, &Txn::CreateSession { timeout: 4000 });
    let acl = AclList::NULL;
    let create = Txn::Create { path: "/a", data: Some(b"1"), acl, ephemeral: false, parent_cversion: 1 };
    maker.append(SESSION, kind::CREATE, &create);
    maker.append(SESSION, kind::SET_DATA, &Txn::SetData { path: "/a", data: Some(b"two"), version: 1 });
    let (dir, _) = maker.finish();
    let said = run(&["diff", arg(&dir), "--from", "0x100000002", "--json"]);
    assert_eq!(said.code, 1, "{}", said.err);
    let lines = said.json();
    assert_eq!((&lines[0]["txns"], &lines[1]["changed"]), (&json!(1), &json!("/a")));
    let fields = lines[1]["fields"].as_object().expect("fields");
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["data", "mtime", "mzxid", "version"]);
    assert_eq!(fields["version"], json!(["0", "1"]));
    let said = run(&["diff", arg(&dir), "--from", "1"]);
    let session = "+ session 0x1000000000000001 timeout 4000 ms";
    assert!(said.out.contains(session) && said.out.contains("+ /a 3 bytes"), "{}", said.out);
    assert!(said.out.ends_with("0 deleted or closed, 2 created or opened, 1 changed\n"), "{}", said.out);
    assert_eq!(run(&["diff", arg(&dir)]).code, 2);
    assert_eq!(run(&["diff", arg(&dir), arg(&dir), "--from", "1"]).code, 2);
    assert_eq!(run(&["diff", arg(&dir), "--from", "5", "--to", "4"]).code, 2);
    assert_eq!(run(&["diff", arg(&dir), "--from", "0x100000001", "--to", "0x300000000"]).code, 2);
}

#[test]
fn members_are_compared_at_the_last_transaction_that_both_have() {
    let home = place::temp_dir();
    let mut other = Maker::begin(&home.path().join("other"), 12);
    other.fill(120);
    let mut behind = Maker::begin_behind(&home.path().join("behind"), 13, &other);
    let common = other.last();
    other.fill(30);
    behind.settle();
    let (behind, _) = behind.finish();
    let (other, history) = other.finish();
    let said = ask(&["diff", arg(&other), arg(&behind), "--json"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let heading = said.only();
    assert_eq!(
        (&heading["first_zxid"], &heading["second_zxid"]),
        (&json!(common.to_string()), &json!(common.to_string()))
    );

    // Two histories that part: the second one's last transactions are others.
    let mut parted = Maker::begin(&home.path().join("parted"), 12);
    parted.fill(100);
    let same = parted.last().to_string();
    for i in 0..60 {
        let data = [i; 5];
        parted.append(
            SESSION,
            kind::SET_DATA,
            &Txn::SetData { path: "/", data: Some(&data), version: i.into() },
        );
    }
    let (parted, _) = parted.finish();
    assert_eq!(ask(&["diff", arg(&other), arg(&parted), "--at", &same]).code, 0);
    let said = ask(&["diff", arg(&other), arg(&parted)]);
    assert!(said.code == 1 && said.out.contains("~ / data"), "{}{}", said.out, said.err);
    assert!(history.len() >= 150);
}

/// Which transactions touch `path`, as the records say; ephemerals that go with their session are in the tree.
fn touching(history: &[Made], path: &str, below: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (i, made) in history.iter().enumerate() {
        let (header, txn, _) = txn::decode(&made.payload).expect("it was encoded");
        let is_it = |other: &str| other == path || below && other.starts_with(&format!("{path}/"));
        let hit = match txn {
            Txn::Multi(multi) => multi.iter().any(|part| part.txn.path().is_some_and(is_it)),
            Txn::CloseSession { .. } => {
                let (tree, _) = made::replay(&history[..i]);
                let mut name = String::new();
                let mut owned = tree.ephemerals_of(header.client_id);
                owned.any(|id| {
                    tree.path_of(id, &mut name);
                    is_it(&name)
                })
            }
            other => other.path().is_some_and(is_it),
        };
        if hit {
            found.push(made.zxid.to_string());
        }
    }
    found
}

#[test]
fn every_transaction_that_touched_a_path_is_found() {
    let (_home, dir, history) = directory(14);
    let mut paths: Vec<String> = Vec::new();
    for made in &history {
        let (_, txn, _) = txn::decode(&made.payload).expect("it was encoded");
        paths.extend(txn.path().filter(|path| *path != "/").map(str::to_owned));
    }
    paths.sort();
    paths.dedup();
    assert!(paths.len() > 50);
    for path in paths.iter().step_by(3) {
        for below in [false, true] {
            let mut args = vec!["find", path.as_str(), arg(&dir), "--json"];
            args.extend(below.then_some("--below"));
            let said = ask(&args);
            assert_eq!(said.code, 0, "{}", said.err);
            let mut zxids: Vec<String> =
                said.json().iter().map(|line| line["zxid"].as_str().expect("a zxid").to_owned()).collect();
            zxids.dedup();
            assert_eq!(zxids, touching(&history, path, below), "{path}, below: {below}");
        }
    }
}

#[test]
fn who_when_what_and_how_much_is_said_of_each() {
    let home = place::temp_dir();
    let mut maker = Maker::begin(&home.path().join("data"), 15);
    let other = SessionId(0x2000_0000_0000_0002);
    maker.append(SESSION, kind::CREATE_SESSION, &Txn::CreateSession { timeout: 4000 });
    maker.append(other, kind::CREATE_SESSION, &Txn::CreateSession { timeout: 4000 });
    let acl = AclList::NULL;
    let create =
        |path, ephemeral| Txn::Create { path, data: Some(b"1"), acl, ephemeral, parent_cversion: -1 };
    maker.append(SESSION, kind::CREATE, &create("/a", false));
    maker.append(SESSION, kind::CREATE2, &create("/a/e", true));
    let mut multi = MultiBuilder::new();
    multi.push(kind::CHECK, &Txn::Check { path: "/a/e", version: 1 });
    multi.push(kind::SET_DATA, &Txn::SetData { path: "/a", data: Some(b"four"), version: 1 });
    maker.append(other, kind::MULTI, &Txn::Multi(multi.multi()));
    maker.append(SESSION, kind::CLOSE_SESSION, &Txn::CloseSession { paths: None });
    let (dir, _) = maker.finish();
    let said = run(&["find", "/a", arg(&dir), "--data"]);
    let expected = [
        "0x100000003 2026-11-05T12:20:19.000Z session 0x1000000000000001 cxid 3 create /a data \"1\", 1 bytes",
        "0x100000005 2026-11-05T12:20:21.000Z session 0x2000000000000002 cxid 5 multi 2/2 setData /a version 1 data \"four\", 4 bytes",
        "2 transactions",
    ];
    assert_eq!(said.out.lines().collect::<Vec<_>>(), expected, "{}", said.err);
    let ends = |said: &Said| -> Vec<String> {
        said.out.lines().map(|line| line.split(" cxid ").last().unwrap_or_default().to_owned()).collect()
    };
    let children = run(&["find", "/a/", arg(&dir), "--children", "--session", "0x1000000000000001"]);
    assert_eq!(
        ends(&children),
        ["3 create /a, 1 bytes", "4 child create2 /a/e ephemeral, 1 bytes", "2 transactions"]
    );
    let below = run(&["find", "/a", arg(&dir), "--below", "--from", "0x100000005"]);
    assert_eq!(
        ends(&below),
        ["5 multi 1/2 check /a/e version 1", "5 multi 2/2 setData /a version 1, 4 bytes", "1 transactions"]
    );
    let below = run(&["find", "/a", arg(&dir), "--below", "--from", "0x100000004"]);
    assert_eq!(ends(&below)[3..], ["6 closeSession deletes /a/e", "3 transactions"]);
    let json = run(&["find", "/a/e", arg(&dir), "--json", "--data=hex"]).json();
    let summary: Vec<_> = json.iter().map(|line| (&line["type"], &line["as"], &line["bytes"])).collect();
    let expected = [
        (&json!("create2"), &json!("node"), &json!(1)),
        (&json!("check"), &json!("node"), &Value::Null),
        (&json!("closeSession"), &json!("ephemeral"), &Value::Null),
    ];
    assert_eq!(summary, expected);
    assert_eq!(json[0]["data"], "31");
    assert_eq!(run(&["find", "a", arg(&dir)]).code, 2);
}

/// Writes some history through a node, and returns the node stopped, with the zxid in the middle and the last one.
fn served(server: Server, extra: &[&str]) -> (Node, String, String) {
    let mut node = Node::start(server, extra);
    let mut client = node.client();
    client.create("/seen", b"1", 0).expect("creating");
    for i in 0..150 {
        client.create(&format!("/seen/n{i}"), b"n", i % 2).expect("creating");
    }
    let middle = client.get("/seen/n149").expect("getting").1.czxid;
    for i in 0..100 {
        client.set("/seen", format!("value {i}").as_bytes(), -1).expect("setting");
    }
    let last = client.get("/seen").expect("getting").1.mzxid;
    client.close().expect("closing");
    node.terminate();
    (node, format!("{middle:#x}"), format!("{last:#x}"))
}

fn assert_seen(node: &Node, middle: &str, last: &str) {
    let data = arg(node.data());
    let said = run(&["state", data, "--json", "--path", "/seen", "--at", middle]);
    assert_eq!(said.code, 0, "{}", said.err);
    let lines = said.json();
    assert_eq!(lines[0]["mismatch"], Value::Null);
    assert_eq!((lines.len(), &lines[1]["data"], &lines[1]["version"]), (152, &json!("1"), &json!(0)));
    let said = run(&["diff", data, "--from", middle, "--to", last, "--json"]);
    assert_eq!(said.code, 1, "{}", said.err);
    let changed: Vec<Value> = said.json()[1..].iter().map(|line| line["changed"].clone()).collect();
    assert_eq!(changed, ["/seen"]);
    let said = run(&["find", "/seen", data, "--json", "--from", middle]);
    assert_eq!(said.json().len(), 100, "{}", said.err);
    // The session took its ephemeral nodes along.
    let said = run(&["diff", data, "--from", last, "--path", "/seen/n1"]);
    assert!(said.out.contains("\n- /seen/n1 1 bytes"), "{}", said.out);
    let said = run(&["find", "/seen/n1", data]);
    assert!(said.out.contains("closeSession deletes /seen/n1"), "{}", said.out);
    assert_eq!(run(&["diff", data, data]).code, 0);
}

#[test]
fn the_history_of_a_node_is_seen() {
    rkinspect();
    let (node, middle, last) = served(Server::Ringkeeper, &["ringkeeper.logSegmentBytes=4194304"]);
    assert_seen(&node, &middle, &last);
}

#[test]
fn the_history_of_apaches_server_is_seen() {
    if !requires(&[Tool::Apache]) {
        return;
    }
    rkinspect();
    let (node, middle, last) = served(Server::Apache, &["preAllocSize=64", "snapCount=80"]);
    assert!(made::files(&node.data().join("version-2"), "snapshot.").len() > 1);
    assert_seen(&node, &middle, &last);
}
