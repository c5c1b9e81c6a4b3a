//! Data directories of Apache's become ours and back: with `rkinspect import` and `export`, judged by the servers
//! themselves. Each side must show the tree and take up the sessions that the other one had.

use std::fs;
use std::path::Path;

use ringkeeper_engine::id::Zxid;
use ringkeeper_tests::client::Client;
use ringkeeper_tests::cluster::tree::{self, Tree};
use ringkeeper_tests::cluster::{Cluster, Plan};
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::place;
use ringkeeper_tests::tool::{Tool, requires};
use ringkeeper_tests::wire::{Body, op};
use ringkeeper_tools::cmd::export::{self, Export};
use ringkeeper_tools::cmd::import::{self, Import};
use ringkeeper_tools::error::{FINE, InspectError};
use ringkeeper_tools::out::{Format, Out, Progress};
use ringkeeper_tools::source::apache::Codec;
use ringkeeper_tools::source::{self, FileReport};

/// Sessions outlive the restarts of a test.
const SESSION_MS: i32 = 60_000;
const PATIENT: &str = "maxSessionTimeout=60000";
/// Not all of the kinds that there are in `op`.
const CREATE_CONTAINER: i32 = 19;

/// What a command returns, and what it says.
fn run(command: impl FnOnce(&mut Out<'_>) -> Result<u8, InspectError>) -> Result<(u8, String), InspectError> {
    let mut text = Vec::new();
    let mut out = Out::new(Format::Text, &mut text);
    let code = command(&mut out);
    out.finish().expect("writing to memory");
    let text = String::from_utf8(text).expect("what is said is text");
    code.map(|code| (code, text))
}

fn import(from: &Path, to: &Path, upto: Option<Zxid>) -> Result<(u8, String), InspectError> {
    let options = Import { from: from.to_path_buf(), to: to.to_path_buf(), logs: None, upto };
    run(|out| import::import(&options, out, &Progress::none()))
}

fn export(from: &Path, to: &Path, compress: Codec, with_log: bool) -> Result<(u8, String), InspectError> {
    let options = Export { from: from.to_path_buf(), to: to.to_path_buf(), upto: None, compress, with_log };
    run(|out| export::export(&options, out, &Progress::none()))
}

/// A bit of everything that a client can make, under one path. Some of it fails.
fn populate(client: &mut Client, root: &str) {
    client.create(root, b"root", 0).expect("creating");
    for i in 0..120 {
        let path = format!("{root}/n{i:03}");
        client.create(&path, &vec![b'x'; i * 7], 0).expect("creating");
        if i % 3 == 0 {
            client.create(&format!("{path}/below"), b"", 0).expect("creating");
        }
        if i % 4 == 0 {
            client.set(&path, b"changed", -1).expect("setting");
        }
        if i % 5 == 0 {
            client.create(&format!("{path}/ephemeral"), b"e", 1).expect("creating");
        }
        if i % 10 == 7 && i % 3 != 0 {
            client.delete(&path).expect("deleting");
        }
        client.create(root, b"", 0).expect_err("it exists");
    }
    for flags in [2, 3, 2] {
        client.create(&format!("{root}/sequential-"), b"s", flags).expect("creating");
    }
    let container = format!("{root}/container");
    client.call(CREATE_CONTAINER, &Body::create(&container, b"c", 4)).expect("creating");
    client.create(&format!("{container}/child"), "größer".as_bytes(), 0).expect("creating");
    let acl = Body::new().string(&container).int(2);
    let acl = acl.int(31).string("world").string("anyone").int(1).string("ip").string("127.0.0.1").int(-1);
    client.call(op::SET_ACL, &acl).expect("setting an ACL");
}

/// A quota, as the command line client makes one.
fn limit(client: &mut Client, root: &str) {
    let quota = format!("/zookeeper/quota{root}");
    client.create(&quota, b"", 0).expect("creating");
    client.create(&format!("{quota}/zookeeper_limits"), b"count=5000,bytes=-1", 0).expect("creating");
    client.create(&format!("{quota}/zookeeper_stats"), b"count=0,bytes=0", 0).expect("creating");
}

fn tree_of(client: &mut Client) -> Tree {
    tree::read(client).expect("reading the tree")
}

fn assert_same(expected: &Tree, found: &Tree) {
    if let Some(difference) = tree::difference(expected, found) {
        panic!("{difference}");
    }
}

/// A server of this kind that was started twice, with a session that has ephemeral nodes. It does not run any more.
fn history(server: Server, extra: &[&str]) -> (Node, Client, Tree) {
    let mut node = Node::start(server, &[&[PATIENT][..], extra].concat());
    let mut client = Client::connect_with_timeout(node.addr(), SESSION_MS).expect("connecting");
    populate(&mut client, "/first");
    limit(&mut client, "/first");
    let session = client.session;
    node.kill();
    node.launch();
    let mut client = Client::resume(node.addr(), session).expect("connecting again");
    assert_eq!(client.session.id, session.id);
    client.count_on_from(10_000);
    populate(&mut client, "/second");
    let tree = tree_of(&mut client);
    node.kill();
    (node, client, tree)
}

/// Starts a server on a directory that was made for it, and compares.
fn serves_the_same(server: Server, data: &Path, before: &Client, expected: &Tree) {
    let mut node = Node::prepare_in(server, data, &[PATIENT]);
    node.launch();
    let mut client = Client::resume(node.addr(), before.session).expect("connecting");
    assert_eq!(client.session.id, before.session.id, "the session is known");
    client.count_on_from(20_000);
    assert_same(expected, &tree_of(&mut client));
    client.create("/third", b"goes on", 0).expect("creating");
    client.close().expect("closing");
    let mut client = node.client();
    let left: Vec<String> =
        tree_of(&mut client).into_keys().filter(|path| path.ends_with("/ephemeral")).collect();
    assert!(left.is_empty(), "the session is closed, and {left:?} are left");
}

fn damage(reports: &[FileReport]) -> Vec<String> {
    let of = |report: &FileReport| {
        report.ranges.iter().map(|r| format!("{}: {r:?}", report.file.display())).collect()
    };
    reports.iter().flat_map::<Vec<String>, _>(of).collect()
}

#[test]
fn apaches_directory_becomes_ours_with_its_sessions_however_its_snapshots_are_packed() {
    if !requires(&[Tool::Apache]) {
        return;
    }
    for (method, suffix) in [("", ""), ("gz", ".gz"), ("snappy", ".snappy")] {
        let method = format!("snapshot.compression.method={method}");
        let (node, client, expected) =
            history(Server::Apache, &["preAllocSize=64", "snapCount=150", &method]);
        let source = source::open(node.data(), &Progress::none()).expect("opening Apache's directory");
        assert!(damage(&source.verify_log().expect("reading")).is_empty());
        assert!(damage(&source.verify_snapshots().expect("reading")).is_empty());
        let snapshots = source.snapshots().expect("listing");
        assert!(snapshots.len() > 2 && snapshots.iter().all(|s| s.file.to_string_lossy().ends_with(suffix)));
        let home = place::temp_dir();
        let data = home.path().join("imported");
        let (code, text) = import(node.data(), &data, None).expect("importing");
        assert_eq!(code, FINE, "{text}");
        assert!(text.contains("is that of transaction"), "{text}");
        assert!(
            import(node.data(), &data, None).expect_err("it is not empty").to_string().contains("not empty")
        );
        serves_the_same(Server::Ringkeeper, &data, &client, &expected);
    }
}

#[test]
fn our_directory_becomes_apaches_with_its_sessions() {
    if !requires(&[Tool::Apache]) {
        return;
    }
    let (node, client, expected) = history(Server::Ringkeeper, &["ringkeeper.logSegmentBytes=4194304"]);
    for (codec, with_log) in [(Codec::Plain, false), (Codec::Gzip, true), (Codec::Snappy, false)] {
        let home = place::temp_dir();
        let data = home.path().join("exported");
        let (code, text) = export(node.data(), &data, codec, with_log).expect("exporting");
        assert_eq!(code, FINE, "{text}");
        let logs = fs::read_dir(data.join("version-2")).expect("listing").flatten();
        let logs = logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("log."));
        assert_eq!(logs.count(), usize::from(with_log));
        serves_the_same(Server::Apache, &data, &client, &expected);
    }
}

#[test]
fn what_went_to_apache_comes_back_the_same() {
    let (node, client, expected) = history(Server::Ringkeeper, &["ringkeeper.logSegmentBytes=4194304"]);
    let home = place::temp_dir();
    let (there, back) = (home.path().join("there"), home.path().join("back"));
    export(node.data(), &there, Codec::Snappy, true).expect("exporting");
    import(&there, &back, None).expect("importing");
    serves_the_same(Server::Ringkeeper, &back, &client, &expected);
}

/// Ends all members, hands each one's directory to `convert`, and starts them as the other kind.
fn converted(mut cluster: Cluster, kind: Server, convert: impl Fn(&Path, &Path)) -> Cluster {
    for sid in cluster.sids() {
        cluster.kill(sid);
    }
    for sid in cluster.sids() {
        let data = cluster.member(sid).data();
        let old = data.with_file_name("old");
        fs::rename(&data, &old).expect("renaming");
        convert(&old, &data);
        assert_eq!(
            fs::read(data.join("myid")).expect("reading myid"),
            fs::read(old.join("myid")).expect("reading")
        );
        cluster.set_kind(sid, kind);
    }
    cluster.spawn_all();
    cluster.wait_until_serving();
    cluster
}

fn ensemble_is_converted(from: Server, to: Server, convert: impl Fn(&Path, &Path)) {
    let mut cluster = Plan::of(&[from; 3]).start();
    let leader = cluster.leader();
    let mut client =
        Client::connect_with_timeout(cluster.member(leader).client_addr, SESSION_MS).expect("connecting");
    populate(&mut client, "/first");
    let session = client.session;
    // Another epoch.
    cluster.kill(leader);
    cluster.wait_until_serving();
    cluster.launch(leader);
    let second = cluster.wait_until_serving();
    let mut client = Client::resume(cluster.member(second).client_addr, session).expect("connecting again");
    client.count_on_from(10_000);
    populate(&mut client, "/second");
    let expected = tree_of(&mut client);
    let last = cluster.member(second).status().expect("it serves").zxid;
    let mut cluster = converted(cluster, to, convert);
    let leader = cluster.leader();
    let status = cluster.member(leader).status().expect("it serves");
    assert!(status.zxid >> 32 > last >> 32, "{:#x} is not a later epoch than {last:#x}", status.zxid);
    let mut client = Client::resume(cluster.member(leader).client_addr, session).expect("connecting again");
    assert_eq!(client.session.id, session.id, "the session is known");
    client.count_on_from(20_000);
    assert_same(&expected, &tree_of(&mut client));
    client.create("/third", b"goes on", 0).expect("creating");
    tree::assert_equal(&cluster);
    cluster.assert_sound();
}

#[test]
fn members_of_apaches_ensemble_become_ours() {
    if !requires(&[Tool::Apache]) {
        return;
    }
    ensemble_is_converted(Server::Apache, Server::Ringkeeper, |from, to| {
        let (code, text) = import(from, to, None).expect("importing");
        assert_eq!(code, FINE, "{text}");
    });
}

#[test]
fn members_of_our_ensemble_become_apaches() {
    if !requires(&[Tool::Apache]) {
        return;
    }
    ensemble_is_converted(Server::Ringkeeper, Server::Apache, |from, to| {
        let (code, text) = export(from, to, Codec::Gzip, false).expect("exporting");
        assert_eq!(code, FINE, "{text}");
    });
}

#[test]
fn damage_in_apaches_log_is_named_and_nothing_is_imported_but_what_lies_before_it() {
    if !requires(&[Tool::Apache]) {
        return;
    }
    let node = {
        let mut node = Node::start(Server::Apache, &["preAllocSize=64"]);
        populate(&mut node.client(), "/first");
        node.kill();
        node
    };
    let open = || source::open(node.data(), &Progress::none()).expect("opening Apache's directory");
    let mut records = Vec::new();
    let everything = (Zxid::ZERO, Zxid::from_raw(i64::MAX));
    let read = open().txns(everything.0, everything.1, &mut |txn| {
        records.push((txn.zxid, txn.offset, txn.offset + txn.payload.len() as u64 + 13));
        Ok(())
    });
    read.expect("reading");
    let log = node.data().join("version-2/log.1");
    let sound = fs::read(&log).expect("reading the log");
    let n = records.len();
    for hit in [1, n / 2, n - 1] {
        let (zxid, start, end) = records[hit];
        for at in [start + 5, start + 11, start + 30, end - 3, end - 1] {
            let mut bytes = sound.clone();
            bytes[at as usize] ^= 0x41;
            fs::write(&log, &bytes).expect("writing");
            let reports = open().verify_log().expect("reading");
            let ranges: Vec<_> =
                reports.iter().flat_map(|r| &r.ranges).map(|r| (r.start, r.end, r.torn)).collect();
            assert_eq!(ranges, [(start, end, false)], "byte {at} of transaction {zxid}");
        }
        let home = place::temp_dir();
        let error = import(node.data(), &home.path().join("all"), None).expect_err("it is damaged");
        assert!(error.to_string().contains(&format!("bytes {start} to {end}")), "{error}");
        let before = home.path().join("before");
        let (code, text) = import(node.data(), &before, Some(records[hit - 1].0)).expect("importing");
        assert_eq!(code, FINE, "{text}");
        let imported = source::open(&before, &Progress::none()).expect("opening ours");
        let state = imported.state_at(everything.1, 1).expect("reading ours");
        assert_eq!(state.tree.last_zxid(), records[hit - 1].0);
    }
}
