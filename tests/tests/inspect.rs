//! `rkinspect` on directories of ours: made by a node, made by the engine, damaged everywhere.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_engine::log::Epochs;
use ringkeeper_engine::tree::Tree;
use ringkeeper_engine::txn::{self, AclList, PathList, Txn, TxnHeader, kind};
use ringkeeper_tests::node::{Node, Server, rkinspect};
use ringkeeper_tests::place;
use ringkeeper_tools::build::Builder;
use serde_json::Value;

const SESSION: SessionId = SessionId(0x1000_0000_0000_0001);

/// What a run said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

fn run(args: &[&str]) -> Said {
    let output = Command::new(rkinspect()).args(args).output().expect("running rkinspect");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said {
        code: output.status.code().expect("it ends by itself"),
        out: text(&output.stdout),
        err: text(&output.stderr),
    };
    assert!(!said.err.contains("panicked"), "{args:?}: {}", said.err);
    said
}

fn str(path: &Path) -> &str {
    path.to_str().expect("a path of tests is text")
}

/// Adds a transaction, and applies it to `tree`.
fn append(builder: &mut Builder, tree: &mut Tree, counter: u32, kind: i32, txn: &Txn<'_>) {
    let zxid = Zxid::new(Epoch(1), counter);
    let time = 1_793_881_217_000 + i64::from(counter);
    let header = TxnHeader { client_id: SESSION, cxid: counter as i32, zxid, time, kind };
    let mut payload = Vec::new();
    txn::encode_into(&header, txn, None, &mut payload);
    tree.apply(&header, txn, None, &mut |_| ());
    builder.append(zxid, &payload).expect("appending");
}

/// A log of 43 transactions, behind a snapshot of the first two if `with_snapshot`.
fn directory(with_snapshot: bool) -> (tempfile::TempDir, PathBuf) {
    let home = place::temp_dir();
    let dir = home.path().join("data");
    let mut builder = Builder::create(&dir).expect("making a directory");
    let mut tree = Tree::new(1);
    append(&mut builder, &mut tree, 1, kind::CREATE_SESSION, &Txn::CreateSession { timeout: 30_000 });
    let acl = AclList::NULL;
    let create = |path: &'static str, ephemeral| Txn::Create {
        path,
        data: Some(b"first"),
        acl,
        ephemeral,
        parent_cversion: 1,
    };
    append(&mut builder, &mut tree, 2, kind::CREATE, &create("/app", false));
    let mut builder = if with_snapshot {
        builder.finish(Epochs::default()).expect("finishing");
        fs::remove_dir_all(&dir).expect("removing");
        let mut builder = Builder::create(&dir).expect("making a directory");
        builder.begin_behind(&tree, &[(SESSION, 30_000)]).expect("writing a snapshot");
        builder
    } else {
        builder
    };
    append(&mut builder, &mut tree, 3, kind::CREATE, &create("/app/e", true));
    for counter in 4..=42 {
        let data = vec![b'a' + (counter % 26) as u8; 3000];
        let set = Txn::SetData { path: "/app", data: Some(&data), version: counter as i32 - 3 };
        append(&mut builder, &mut tree, counter, kind::SET_DATA, &set);
    }
    let mut encoded = Vec::new();
    let paths = Some(PathList::encode(["/app/e"], &mut encoded));
    append(&mut builder, &mut tree, 43, kind::CLOSE_SESSION, &Txn::CloseSession { paths });
    let epochs = Epochs { accepted: Epoch(1), current: Epoch(1), nonvoting: false };
    builder.finish(epochs).expect("finishing");
    (home, dir)
}

/// The one file whose name begins so, of those that are used.
fn file(dir: &Path, prefix: &str) -> PathBuf {
    let mut found: Vec<PathBuf> =
        fs::read_dir(dir).expect("listing").map(|e| e.expect("an entry").path()).collect();
    found.retain(|path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.starts_with(prefix) && fs::read(path).expect("reading").iter().any(|&byte| byte != 0)
    });
    found.sort();
    found.remove(0)
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).expect("opening");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reading");
    file.write_all_at(&[byte[0] ^ 0x40], at).expect("writing");
}

#[test]
fn every_transaction_is_one_line_and_filters_choose() {
    let (_home, dir) = directory(false);
    let dir = str(&dir);
    let all = run(&["log", "dump", dir]);
    assert_eq!((all.code, all.out.lines().count()), (0, 43), "{}", all.err);
    let first = all.out.lines().next().expect("a line");
    assert!(first.starts_with("0x100000001 2026-11-05T12:20:17.001Z session 0x1000000000000001"), "{first}");
    let lines = |args: &[&str]| {
        let said = run(&[&["log", "dump", dir][..], args].concat());
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        said.out.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&["--from", "0x100000028", "--to", "4294967338"]),
        ["0x100000028", "0x100000029", "0x10000002a"]
    );
    assert_eq!(lines(&["--path", "/app/e"]), ["0x100000003", "0x10000002b"]);
    assert_eq!(lines(&["--type", "createsession,closeSession"]), ["0x100000001", "0x10000002b"]);
    assert_eq!(lines(&["--session", "0x5"]), [""; 0]);
    assert_eq!(lines(&["--session", "0x1000000000000001"]).len(), 43);
    let json =
        run(&["log", "dump", dir, "--json", "--data=hex", "--from", "0x100000002", "--to", "0x100000002"])
            .json();
    assert_eq!((&json[0]["path"], &json[0]["data"]), (&"/app".into(), &"6669727374".into()));
    let data = run(&["log", "dump", dir, "--data", "--to", "0x100000002"]).out;
    assert!(data.contains("create /app data \"first\""), "{data}");
}

#[test]
fn ranges_and_stats_say_what_there_is() {
    let (_home, dir) = directory(false);
    let range = run(&["log", "range", str(&dir), "--json"]);
    let json = range.json();
    assert_eq!((range.code, json.len()), (0, 1), "{}", range.out);
    assert_eq!((&json[0]["first"], &json[0]["last"]), (&"0x100000001".into(), &"0x10000002b".into()));
    let stats = run(&["log", "stats", str(&dir), "--json"]);
    let json = stats.json().remove(0);
    assert_eq!((stats.code, &json["txns"], &json["types"]["setData"]), (0, &43.into(), &39.into()));
    assert_eq!(json["sessions"], 1);
    assert_eq!((&json["top_paths"][0]["path"], &json["top_paths"][0]["txns"]), (&"/app".into(), &40.into()));
    let text = run(&["log", "stats", str(&dir)]).out;
    assert!(text.contains("transactions  43") && text.contains("bytes each    min"), "{text}");
}

#[test]
fn damage_anywhere_is_reported_where_it_is_and_nothing_else() {
    let (_home, dir) = directory(true);
    let (log, snapshot) = (file(&dir, "log."), file(&dir, "snapshot."));
    let (marks, epochs) = (dir.join("marks"), dir.join("epochs"));
    for (command, sound) in [("log", 4), ("snapshot", 1)] {
        let said = run(&[command, "verify", str(&dir), "--json"]);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.json().len() >= sound.min(3) && said.json().iter().all(|file| file["damaged"] == false));
    }
    let len = |path: &Path| fs::metadata(path).expect("its length").len();
    let cases = [
        ("log", &log, 30),
        ("log", &log, 4095),
        ("log", &log, 4096 + 9),
        ("log", &log, 4096 + 64 + 3),
        ("log", &log, 4096 + 64 + 50_000),
        ("log", &marks, 5),
        ("log", &marks, 4096 + 77),
        ("log", &epochs, 4000),
        ("snapshot", &snapshot, 0),
        ("snapshot", &snapshot, 4096),
        ("snapshot", &snapshot, 4096 + 60),
        ("snapshot", &snapshot, len(&snapshot) - 4096),
    ];
    for (command, path, at) in cases {
        flip(path, at);
        let said = run(&[command, "verify", str(&dir), "--json"]);
        assert_eq!(said.code, 1, "{path:?} at {at}: {}{}", said.out, said.err);
        let mut ranges = Vec::new();
        for file in said.json() {
            for range in file["ranges"].as_array().expect("a list") {
                ranges.push((file["file"].clone(), range["start"].as_u64(), range["end"].as_u64()));
            }
        }
        let [(named, Some(start), Some(end))] = &ranges[..] else { panic!("{path:?} at {at}: {ranges:?}") };
        assert_eq!(named, &str(path), "at {at}");
        assert!((*start..*end).contains(&at), "{at} is not in {start}..{end}");
        let text = run(&[command, "verify", str(&dir)]);
        assert!(text.code == 1 && text.out.contains("DAMAGED"), "{}", text.out);
        flip(path, at);
    }
    flip(&snapshot, 4096 + 60);
    flip(&log, len(&log) - 1);
    for command in ["log", "snapshot"] {
        let said = run(&[command, "verify", str(&dir)]);
        assert_eq!(said.code, if command == "log" { 0 } else { 1 }, "{}", said.out);
    }
}

#[test]
fn snapshots_are_shown_counted_and_compared() {
    let (_home, dir) = directory(true);
    let tree = run(&["snapshot", "tree", str(&dir)]);
    let names: Vec<&str> =
        tree.out.lines().map(|line| line.split("  (").next().unwrap_or_default()).collect();
    assert_eq!(names, ["/", "  app", "  zookeeper", "    config", "    quota"], "{}", tree.err);
    let shallow = run(&["snapshot", "tree", str(&dir), "--depth", "1"]).out;
    assert!(shallow.ends_with("... 2 below\n"), "{shallow}");
    let below = run(&["snapshot", "tree", str(&dir), "--path", "/zookeeper"]).out;
    assert!(below.starts_with("/zookeeper  (") && below.lines().count() == 3, "{below}");
    assert_eq!(run(&["snapshot", "tree", str(&dir), "--path", "/none"]).code, 2);
    let stats = run(&["snapshot", "stats", str(&dir), "--json"]).json().remove(0);
    assert_eq!((&stats["nodes"], &stats["sessions"], &stats["depth"]), (&5.into(), &1.into(), &2.into()));
    let dump = run(&["snapshot", "dump", str(&dir), "--data"]).out;
    assert!(dump.contains("session 0x1000000000000001 timeout 30000 ms"), "{dump}");
    assert!(dump.contains("/app 5 bytes") && dump.contains("data \"first\""), "{dump}");
    let same = run(&["snapshot", "diff", str(&dir), str(&file(&dir, "snapshot."))]);
    assert_eq!((same.code, same.out.as_str()), (0, "0 only in the first, 0 only in the second, 0 changed\n"));
    // The repaired directory begins with the same state.
    let repaired = dir.with_file_name("repaired");
    assert_eq!(run(&["log", "repair", str(&dir), str(&repaired)]).code, 0);
    assert_eq!(run(&["snapshot", "diff", str(&dir), str(&repaired)]).code, 0);
}

#[test]
fn what_differs_between_snapshots_is_named() {
    let home = place::temp_dir();
    let acl = AclList::NULL;
    let make = |name: &str, paths: &[&'static str], data: &'static [u8]| {
        let dir = home.path().join(name);
        let mut tree = Tree::new(1);
        for (i, path) in paths.iter().enumerate() {
            let zxid = Zxid::new(Epoch(1), i as u32 + 1);
            let header = TxnHeader { client_id: SESSION, cxid: 1, zxid, time: 7, kind: kind::CREATE };
            let txn = Txn::Create { path, data: Some(data), acl, ephemeral: false, parent_cversion: -1 };
            tree.apply(&header, &txn, None, &mut |_| ());
        }
        let mut builder = Builder::create(&dir).expect("making a directory");
        builder.begin_behind(&tree, &[]).expect("writing a snapshot");
        builder.finish(Epochs::default()).expect("finishing");
        dir
    };
    let a = make("a", &["/a", "/a/x", "/a-b", "/c"], b"1");
    let b = make("b", &["/a", "/a/y", "/a-b", "/d"], b"1");
    let said = run(&["snapshot", "diff", str(&a), str(&b)]);
    assert_eq!(said.code, 1, "{}", said.err);
    let signs: Vec<String> =
        said.out.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(signs, ["- /a/x", "+ /a/y", "- /c", "+ /d", "2 only"], "{}", said.out);
    let changed = make("changed", &["/a", "/a/x", "/a-b", "/c"], b"2");
    let said = run(&["snapshot", "diff", str(&a), str(&changed), "--path", "/a"]);
    assert!(said.out.contains("~ /a data 1 bytes") && said.out.contains("~ /a/x data"), "{}", said.out);
    assert!(said.out.ends_with("0 only in the first, 0 only in the second, 2 changed\n"), "{}", said.out);
}

#[test]
fn what_can_be_kept_is_repaired_and_the_rest_is_named() {
    let (_home, dir) = directory(false);
    let log = file(&dir, "log.");
    let before = fs::read(&log).expect("reading");
    let sound = dir.with_file_name("sound");
    let said = run(&["log", "repair", str(&dir), str(&sound)]);
    assert!(said.code == 0 && said.out.contains("nothing was dropped"), "{}{}", said.out, said.err);
    let dump = |dir: &Path| run(&["log", "dump", str(dir), "--data"]).out;
    assert_eq!(dump(&dir), dump(&sound));
    assert_eq!(run(&["log", "repair", str(&dir), str(&sound)]).code, 2, "what is there is not written to");

    // The batches of a directory that is written in one go are few: the last one.
    let verified = run(&["log", "verify", str(&dir), "--json"]).json();
    assert_eq!(verified[0]["txns"], 43);
    flip(&log, 4096 + 70);
    let hurt = dir.with_file_name("hurt");
    let said = run(&["log", "repair", str(&dir), str(&hurt)]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert!(said.out.contains("DROPPED: all transactions behind 0x0 up to 0x10000002b"), "{}", said.out);
    assert_eq!(dump(&hurt), "");
    flip(&log, 4096 + 70);
    assert!(fs::read(&log).expect("reading") == before, "the input is not touched");
}

#[test]
fn a_running_node_is_looked_at_and_not_disturbed_and_a_stopped_one_is_whole() {
    // Built before there is a session that could expire meanwhile.
    rkinspect();
    let mut node = Node::start(Server::Ringkeeper, &["ringkeeper.logSegmentBytes=4194304"]);
    let mut client = node.client();
    client.create("/seen", b"1", 0).expect("creating");
    for i in 0..200 {
        client.set("/seen", &[b'x'; 500], i).expect("setting");
    }
    let data = node.data().to_owned();
    let running = run(&["log", "verify", str(&data)]);
    assert_eq!(running.code, 0, "{}{}", running.out, running.err);
    client.set("/seen", b"still served", 200).expect("setting");
    client.close().expect("closing");
    assert!(node.terminate().success());
    let verified = run(&["log", "verify", str(&data), "--json"]);
    assert_eq!(verified.code, 0, "{}", verified.out);
    let txns: u64 = verified.json().iter().filter_map(|file| file["txns"].as_u64()).sum();
    let dump = run(&["log", "dump", str(&data), "--data"]);
    assert_eq!(dump.out.lines().count() as u64, txns);
    assert!(dump.out.contains("setData /seen version 201 data \"still served\""), "{}", dump.out);
    // What was repaired is what a node serves.
    let repaired = data.with_file_name("repaired");
    assert_eq!(run(&["log", "repair", str(&data), str(&repaired)]).code, 0);
    fs::remove_dir_all(&data).expect("removing");
    fs::rename(&repaired, &data).expect("renaming");
    node.launch();
    let (bytes, stat) = node.client().get("/seen").expect("getting");
    assert_eq!((bytes.as_slice(), stat.version), (&b"still served"[..], 201));
}

#[test]
fn wrong_usage_and_what_cannot_be_read_have_codes_of_their_own() {
    let home = place::temp_dir();
    assert_eq!(run(&["log", "dump"]).code, 2);
    assert_eq!(run(&["log", "dump", str(home.path())]).code, 2);
    assert_eq!(run(&["log", "verify", str(&home.path().join("none"))]).code, 3);
    let (_home, dir) = directory(false);
    assert_eq!(run(&["log", "dump", str(&dir), "--from", "x1"]).code, 2);
    assert_eq!(run(&["snapshot", "tree", str(&dir)]).code, 2);
    let help = run(&["--help"]);
    assert!(
        help.code == 0 && help.out.contains("Exit codes") && help.out.contains("Examples"),
        "{}",
        help.out
    );
}
