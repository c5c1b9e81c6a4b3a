//! `rkinspect doctor`: it says nothing of what is sound, names exactly what is damaged, and calls an error what keeps a
//! node from starting and nothing else.

use std::fs::{self, Permissions};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringkeeper_engine::io::FsVolume;
use ringkeeper_engine::store::{self, OnDamage};
use ringkeeper_tests::inspector::{Said, arg, ask, run};
use ringkeeper_tests::made::{self, BLOCK, Maker, batches, files};
use ringkeeper_tests::node::{Node, Server, rkinspect};
use ringkeeper_tests::place;
use ringkeeper_tests::tool::{Tool, requires};
use serde_json::Value;

/// A directory with log from the beginning and snapshots of its own.
fn directory(seed: u64) -> (tempfile::TempDir, PathBuf) {
    let home = place::temp_dir();
    let mut maker = Maker::begin(&home.path().join("data"), seed);
    for _ in 0..2 {
        maker.fill(90);
        maker.snapshot();
    }
    maker.fill(90);
    let (dir, _) = maker.finish();
    (home, dir)
}

/// A directory that begins with a snapshot that was received.
fn received(seed: u64) -> (tempfile::TempDir, PathBuf) {
    let home = place::temp_dir();
    let mut other = Maker::begin(&home.path().join("other"), seed);
    other.fill(40);
    let mut maker = Maker::begin_behind(&home.path().join("data"), seed, &other);
    maker.fill(60);
    let (dir, _) = maker.finish();
    (home, dir)
}

/// What is found, without the heading.
fn findings(dir: &Path) -> Vec<Value> {
    let said = ask(&["doctor", "--json", arg(dir)]);
    assert_eq!(said.err, "");
    let found = said.json().split_off(1);
    let bad = found.iter().any(|finding| finding["severity"] != "info");
    assert_eq!(said.code, u8::from(bad), "{found:?}");
    for finding in &found {
        let words = ["what", "means"].map(|key| finding[key].as_str().unwrap_or_default().len());
        assert!(words.iter().all(|&len| len > 5), "{finding}");
    }
    found
}

fn codes(found: &[Value]) -> Vec<(&str, &str)> {
    let text = |value: &'_ Value, key: &str| -> &'static str {
        value[key].as_str().expect("text").to_owned().leak()
    };
    found.iter().map(|finding| (text(finding, "severity"), text(finding, "code"))).collect()
}

/// Whether a node of its own would start with a copy of the directory.
fn opens(dir: &Path) -> Result<(), String> {
    let copy = tempfile::tempdir_in(dir.parent().expect("a directory above")).expect("a directory");
    for file in files(dir, "") {
        let name = file.file_name().expect("a name");
        fs::copy(&file, copy.path().join(name)).expect("copying");
    }
    let volume = FsVolume::open(copy.path()).expect("opening the copy");
    let opened = store::open(&volume, made::options(9), 1, OnDamage::Refuse);
    opened.map(|_| ()).map_err(|error| error.to_string())
}

/// A run of bytes that is damaged or not as a whole.
type Unit = (PathBuf, Range<usize>);

fn units(dir: &Path) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for place in batches(dir) {
        if units.iter().all(|(file, _)| *file != place.file) {
            units.push((place.file.clone(), 0..BLOCK));
        }
        units.push((place.file, place.offset..place.offset + place.len));
    }
    for file in [dir.join("marks"), dir.join("epochs")] {
        units.extend([0, BLOCK].map(|at| (file.clone(), at..at + BLOCK)));
    }
    for file in files(dir, "snapshot.") {
        let bytes = fs::read(&file).expect("reading");
        let body = u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes")) as usize;
        let trailer = BLOCK + body.next_multiple_of(BLOCK);
        assert!(body < 1 << 20, "one piece");
        let pieces = [0..BLOCK, BLOCK..BLOCK + body, trailer..trailer + 4];
        units.extend(pieces.map(|range| (file.clone(), range)));
    }
    units
}

/// Harms a file, and returns which bytes are others now.
fn harm(file: &Path, range: &Range<usize>, harm: impl Fn(&mut [u8])) -> (Vec<u8>, Vec<usize>) {
    let before = fs::read(file).expect("reading");
    let mut after = before.clone();
    harm(&mut after[range.clone()]);
    fs::write(file, &after).expect("writing");
    let changed = range.clone().filter(|&at| before[at] != after[at]).collect();
    (before, changed)
}

/// One finding, whose bytes have all that was changed and are within the unit, and which is an error if and only if
/// nothing can be served any more.
fn check(dir: &Path, (file, range): &Unit, changed: &[usize]) {
    let found = findings(dir);
    if changed.is_empty() {
        assert_eq!(found, Vec::<Value>::new());
        return;
    }
    let [finding] = &found[..] else { panic!("{}: {range:?}: {found:#?}", file.display()) };
    assert_eq!(finding["file"], arg(file), "{finding}");
    let [start, end] = ["start", "end"].map(|key| finding[key].as_u64().expect("an offset") as usize);
    assert!(changed.iter().all(|at| (start..end).contains(at)), "{range:?}: {finding}");
    assert!(range.start <= start && end <= range.end.next_multiple_of(BLOCK), "{range:?}: {finding}");
    let opened = opens(dir);
    assert_eq!(finding["severity"] == "error", opened.is_err(), "{opened:?}: {finding:#}");
}

#[test]
fn of_a_sound_directory_nothing_is_said_but_what_it_is() {
    for seed in 0..4 {
        for (_home, dir) in [directory(seed), received(seed)] {
            assert_eq!(findings(&dir), Vec::<Value>::new());
            assert_eq!(opens(&dir), Ok(()));
        }
    }
    let (_home, dir) = directory(5);
    let said = run(&["doctor", arg(&dir)]);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].contains("a data directory of Ringkeeper, up to 0x1"), "{}", said.out);
    assert_eq!((said.code, lines[1..].to_vec()), (0, vec!["nothing is wrong"]));
}

#[test]
fn a_flipped_byte_anywhere_is_in_the_one_range_that_is_named() {
    for (seed, (_home, dir)) in [directory(1), received(2)].into_iter().enumerate() {
        let mut rng = fastrand::Rng::with_seed(seed as u64);
        for unit in units(&dir) {
            for _ in 0..2 {
                let at = rng.usize(..unit.1.len());
                let (before, changed) = harm(&unit.0, &unit.1, |bytes| bytes[at] ^= 1 << (at % 8));
                check(&dir, &unit, &changed);
                fs::write(&unit.0, before).expect("writing");
            }
        }
        assert_eq!(findings(&dir), Vec::<Value>::new());
    }
}

#[test]
fn what_is_zeroed_is_named_where_it_held_something() {
    for (_home, dir) in [directory(3), received(4)] {
        for unit in units(&dir) {
            let (before, changed) = harm(&unit.0, &unit.1, |bytes| {
                let end = bytes.len().min(512);
                bytes[..end].fill(0);
            });
            check(&dir, &unit, &changed);
            fs::write(&unit.0, before).expect("writing");
        }
    }
}

#[test]
fn batches_in_each_others_place_are_both_named() {
    let (_home, dir) = directory(6);
    let places = batches(&dir);
    let padded = |len: usize| len.next_multiple_of(BLOCK);
    let mut swaps = 0;
    for (a, b) in places.iter().zip(&places[7..]).step_by(5) {
        if padded(a.len) != padded(b.len) {
            continue;
        }
        let originals = [&a.file, &b.file].map(|file| fs::read(file).expect("reading"));
        let of = |i: usize, at: usize| originals[i][at..at + padded(a.len)].to_vec();
        let (from_a, from_b) = (of(0, a.offset), of(1, b.offset));
        for (file, offset, bytes) in [(&a.file, a.offset, from_b), (&b.file, b.offset, from_a)] {
            let mut content = fs::read(file).expect("reading");
            content[offset..offset + bytes.len()].copy_from_slice(&bytes);
            fs::write(file, content).expect("writing");
        }
        let found = findings(&dir);
        for place in [a, b] {
            let covers = |f: &Value| {
                f["file"] == arg(&place.file)
                    && f["start"].as_u64() <= Some(place.offset as u64)
                    && f["end"].as_u64() >= Some((place.offset + place.len) as u64)
            };
            assert!(found.iter().any(covers), "{place:?}: {found:#?}");
        }
        let error = found.iter().any(|finding| finding["severity"] == "error");
        assert_eq!(error, opens(&dir).is_err(), "{found:#?}");
        fs::write(&a.file, &originals[0]).expect("writing");
        if a.file != b.file {
            fs::write(&b.file, &originals[1]).expect("writing");
        }
        swaps += 1;
    }
    assert!(swaps > 3);
    assert_eq!(findings(&dir), Vec::<Value>::new());
}

#[test]
fn files_that_are_gone_or_cut_short_are_named_with_what_they_cost() {
    for (_home, dir) in [directory(7), received(8)] {
        let places = batches(&dir);
        let mut used: Vec<PathBuf> = places.iter().map(|place| place.file.clone()).collect();
        used.dedup();
        used.extend(["marks", "epochs"].map(|name| dir.join(name)));
        used.extend(files(&dir, "snapshot."));
        for file in used {
            let before = fs::read(&file).expect("reading");
            fs::remove_file(&file).expect("removing");
            let found = findings(&dir);
            let error = found.iter().any(|finding| finding["severity"] == "error");
            let opened = opens(&dir);
            assert_eq!(error, opened.is_err(), "without {}: {opened:?} {found:#?}", file.display());
            let prefix =
                arg(&file)[..arg(&dir).len() + 21.min(arg(&file).len() - arg(&dir).len())].to_owned();
            let named = |f: &Value| f["file"].as_str().is_some_and(|name| name.starts_with(&prefix));
            // One of several snapshots is not missed by anybody.
            let missed = !arg(&file).ends_with("-00000000")
                && file != *places.last().map(|p| &p.file).expect("a batch");
            assert!(!missed || found.iter().any(named), "without {}: {found:#?}", file.display());
            fs::write(&file, &before).expect("writing");

            let is_used = |place: &&made::Place| place.file == file;
            let end = places.iter().rfind(is_used).map_or(before.len(), |place| place.offset + place.len);
            let len = end / 2 / BLOCK * BLOCK + 40;
            fs::write(&file, &before[..len]).expect("writing");
            let found = findings(&dir);
            let error = found.iter().any(|finding| finding["severity"] == "error");
            let opened = opens(&dir);
            assert_eq!(error, opened.is_err(), "{} cut to {len}: {opened:?} {found:#?}", file.display());
            assert!(!found.is_empty() && found.iter().all(|f| f["file"] == arg(&file)), "{found:#?}");
            fs::write(&file, &before).expect("writing");
        }
        assert_eq!(findings(&dir), Vec::<Value>::new());
    }
}

#[test]
fn promises_that_do_not_belong_to_the_log_are_named() {
    let home = place::temp_dir();
    let mut maker = Maker::begin(&home.path().join("data"), 9);
    maker.fill(20);
    maker.next_epoch();
    maker.fill(20);
    let (dir, _) = maker.finish();
    assert_eq!(findings(&dir), Vec::<Value>::new());
    let epochs = dir.join("epochs");
    let before = fs::read(&epochs).expect("reading");
    let write = |accepted: u32, current: u32, nonvoting: u32| {
        let mut bytes = before.clone();
        for slot in bytes.chunks_mut(BLOCK) {
            for (at, value) in [(32, accepted), (36, current), (40, nonvoting)] {
                slot[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            let crc = made::block_crc(slot);
            slot[12..16].copy_from_slice(&crc.to_le_bytes());
        }
        fs::write(&epochs, bytes).expect("writing");
    };
    write(2, 2, 0);
    assert_eq!(findings(&dir), Vec::<Value>::new());
    write(1, 1, 0);
    assert_eq!(codes(&findings(&dir)), [("error", "epochs-contradict")]);
    write(2, 2, 1);
    assert_eq!(codes(&findings(&dir)), [("warning", "nonvoting")]);
    // Both slots of another database.
    let mut bytes = before.clone();
    for slot in bytes.chunks_mut(BLOCK) {
        slot[16] ^= 1;
        let crc = made::block_crc(slot);
        slot[12..16].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(&epochs, bytes).expect("writing");
    assert_eq!(codes(&findings(&dir)), [("error", "foreign")]);
    assert!(opens(&dir).is_err());
    fs::write(&epochs, vec![0; 2 * BLOCK]).expect("writing");
    let found = findings(&dir);
    assert_eq!(codes(&found), [("warning", "lost-slots"); 2]);
    assert_eq!(opens(&dir), Ok(()));
}

#[test]
fn a_file_of_another_server_is_foreign() {
    let (_home, dir) = directory(10);
    let (_other_home, other) = received(11);
    let snapshot = &files(&other, "snapshot.")[0];
    let name = snapshot.file_name().expect("a name");
    fs::copy(snapshot, dir.join(name)).expect("copying");
    let found = findings(&dir);
    let foreign: Vec<&Value> = found.iter().filter(|finding| finding["code"] == "foreign").collect();
    assert_eq!(foreign.len(), 1, "{found:#?}");
    assert_eq!(foreign[0]["file"], arg(&dir.join(name)));
    assert!(opens(&dir).is_err());
}

#[test]
fn what_lies_around_is_named() {
    let (_home, dir) = directory(12);
    let with = |name: &str, expected: (&str, &str)| {
        let path = dir.join(name);
        fs::write(&path, b"x").expect("writing");
        let found = findings(&dir);
        assert_eq!(codes(&found), [expected], "{name}");
        assert_eq!(found[0]["file"], arg(&path));
        fs::remove_file(&path).expect("removing");
    };
    with("damaged-marks", ("warning", "set-aside"));
    with("unfinished-snapshot", ("info", "unfinished"));
    with("preparing", ("info", "unfinished"));
    with("log.100000001", ("info", "not-ours"));
    fs::create_dir(dir.join("version-2")).expect("making a directory");
    assert_eq!(findings(&dir), Vec::<Value>::new());
    fs::write(dir.join("version-2/snapshot.0"), b"x").expect("writing");
    assert_eq!(codes(&findings(&dir)), [("error", "apache-beside")]);
}

#[test]
fn permissions_that_keep_the_server_out_are_named() {
    let (_home, dir) = directory(13);
    let with = |path: &Path, mode: u32, expected: (&str, &str)| {
        let before = fs::metadata(path).expect("looking").permissions();
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changing");
        assert_eq!(codes(&findings(&dir)), [expected]);
        fs::set_permissions(path, before).expect("changing back");
    };
    // Root may read whatever the mode says; others could not even look.
    if requires(&[Tool::Root]) {
        with(&dir.join("marks"), 0o400, ("error", "wrong-permissions"));
        with(&dir, 0o300, ("error", "wrong-permissions"));
        let snapshot = &files(&dir, "snapshot.")[0];
        std::os::unix::fs::chown(snapshot, Some(12_345), None).expect("changing the owner");
        assert_eq!(codes(&findings(&dir)), [("error", "wrong-owner")]);
        std::os::unix::fs::chown(snapshot, Some(0), None).expect("changing it back");
    }
    with(&dir.join("epochs"), 0o606, ("warning", "world-writable"));
    let marks = dir.join("marks");
    fs::rename(&marks, dir.join("elsewhere")).expect("renaming");
    std::os::unix::fs::symlink(dir.join("elsewhere"), &marks).expect("linking");
    assert_eq!(codes(&findings(&dir)), [("error", "not-a-file")]);
}

#[test]
fn a_directory_that_is_none_is_told_from_a_parent_and_a_new_one() {
    let (home, dir) = directory(14);
    let parent = findings(home.path());
    assert_eq!(codes(&parent), [("error", "parent")]);
    assert!(parent[0]["do"].as_str().expect("words").contains(arg(&dir)), "{parent:?}");
    let new = home.path().join("new");
    fs::create_dir(&new).expect("making a directory");
    assert_eq!(codes(&findings(&new)), [("info", "empty")]);
    fs::write(new.join("notes.txt"), b"x").expect("writing");
    assert_eq!(codes(&findings(&new)), [("error", "not-a-data-directory")]);
    assert_eq!(run(&["doctor", arg(&home.path().join("none"))]).code, 2);
    assert_eq!(run(&["doctor", arg(&files(&dir, "log.")[0])]).code, 2);
}

#[test]
fn a_running_node_is_named_and_a_killed_one_leaves_nothing_that_is_wrong() {
    rkinspect();
    let mut node = Node::start(Server::Ringkeeper, &["ringkeeper.logSegmentBytes=4194304"]);
    let mut client = node.client();
    client.create("/seen", b"1", 0).expect("creating");
    for i in 0..100 {
        client.set("/seen", &[b'x'; 500], i).expect("setting");
    }
    let assert_fine = |said: &Said| {
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(!said.out.contains("warning") || said.out.contains("0 warnings"), "{}", said.out);
    };
    let running = run(&["doctor", arg(node.data())]);
    assert_fine(&running);
    assert!(running.out.contains("is running here"), "{}", running.out);
    client.set("/seen", b"still served", 100).expect("setting");
    node.kill();
    assert_fine(&run(&["doctor", arg(node.data())]));
    node.launch();
    assert!(node.terminate().success());
    let stopped = run(&["doctor", arg(node.data())]);
    assert!(stopped.code == 0 && stopped.out.ends_with("nothing is wrong\n"), "{}", stopped.out);
}

/// The only finding of a run on Apache's directory.
fn only(dir: &Path, expected: (&str, &str)) -> Value {
    let found = findings(dir);
    assert_eq!(codes(&found), [expected], "{found:#?}");
    found[0].clone()
}

#[test]
fn apaches_directory_is_examined_by_its_own_rules() {
    if !requires(&[Tool::Apache]) {
        return;
    }
    rkinspect();
    let mut node = Node::start(Server::Apache, &["preAllocSize=64", "snapCount=80"]);
    let mut client = node.client();
    client.create("/seen", b"1", 0).expect("creating");
    for _ in 0..250 {
        client.set("/seen", &[b'x'; 100], -1).expect("setting");
    }
    client.close().expect("closing");
    node.terminate();
    let data = node.data().to_owned();
    let files_dir = data.join("version-2");
    for dir in [&data, &files_dir] {
        let said = run(&["doctor", arg(dir)]);
        assert!(said.code == 0 && said.out.ends_with("nothing is wrong\n"), "{}", said.out);
        assert!(said.out.contains("of Apache ZooKeeper"), "{}", said.out);
    }
    let (logs, snapshots) = (files(&files_dir, "log."), files(&files_dir, "snapshot."));
    assert!(logs.len() > 2 && snapshots.len() > 2);
    let by_number = |mut found: Vec<PathBuf>| {
        found.sort_by_key(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            u64::from_str_radix(name.split_once('.').expect("a dot").1, 16).expect("a number")
        });
        found
    };
    let (logs, snapshots) = (by_number(logs), by_number(snapshots));
    let damage = |file: &Path, at: usize| {
        let before = fs::read(file).expect("reading");
        let mut bytes = before.clone();
        bytes[at] ^= 1;
        fs::write(file, bytes).expect("writing");
        before
    };
    // A record: of the last log it is needed, of the first one no more.
    for (log, severity) in [(&logs[0], "warning"), (&logs[logs.len() - 1], "error")] {
        let before = damage(log, 40);
        let found = only(&data, (severity, "damaged-log"));
        let [start, end] = ["start", "end"].map(|key| found[key].as_u64().expect("an offset"));
        assert!(start <= 40 && 40 < end && end < 300, "{found}");
        fs::write(log, before).expect("writing");
    }
    let newest = snapshots.last().expect("a snapshot");
    let before = damage(newest, 30);
    only(&data, ("warning", "damaged-snapshot"));
    fs::write(newest, before).expect("writing");

    let gone = |paths: &[PathBuf], expected: (&str, &str)| {
        let kept: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("reading")).collect();
        paths.iter().for_each(|path| fs::remove_file(path).expect("removing"));
        only(&data, expected);
        paths.iter().zip(kept).for_each(|(path, bytes)| fs::write(path, bytes).expect("writing"));
    };
    gone(&snapshots, ("error", "no-snapshot"));
    // A hole that a later snapshot bridges is what a member has that was sent one.
    let kept = fs::read(&logs[1]).expect("reading");
    fs::remove_file(&logs[1]).expect("removing");
    let found = findings(&data);
    assert!(
        !found.is_empty() && codes(&found).iter().all(|code| *code == ("info", "old-snapshot")),
        "{found:#?}"
    );
    fs::write(&logs[1], kept).expect("writing");

    let stray = files_dir.join("snapshot.5.tmp");
    fs::write(&stray, b"").expect("writing");
    only(&data, ("warning", "stray-name"));
    fs::remove_file(&stray).expect("removing");
    let empty = files_dir.join("log.ffff");
    fs::write(&empty, b"").expect("writing");
    only(&data, ("warning", "empty-log"));
    fs::remove_file(&empty).expect("removing");

    fs::write(files_dir.join("acceptedEpoch"), b"0").expect("writing");
    fs::write(data.join("myid"), b"1").expect("writing");
    only(&data, ("warning", "missing-promise"));
    fs::write(files_dir.join("currentEpoch"), b"1").expect("writing");
    only(&data, ("error", "epochs-contradict"));
    fs::write(files_dir.join("acceptedEpoch"), b"1").expect("writing");
    assert_eq!(findings(&data), Vec::<Value>::new());
    fs::remove_file(data.join("myid")).expect("removing");
    only(&data, ("warning", "missing-myid"));
}

#[test]
fn a_log_that_lost_its_end_is_known_by_the_snapshot_that_was_made_of_it() {
    let home = place::temp_dir();
    let mut maker = Maker::begin(&home.path().join("data"), 15);
    maker.fill(60);
    let snapshot = maker.snapshot();
    let (dir, _) = maker.finish();
    assert_eq!(findings(&dir), Vec::<Value>::new());
    // Without the mark and the later headers, the snapshot is the only one that knows.
    let last = batches(&dir).pop().expect("a batch");
    let mut bytes = fs::read(&last.file).expect("reading");
    bytes[last.offset..last.offset + last.len].fill(0);
    fs::write(&last.file, bytes).expect("writing");
    let found = findings(&dir);
    assert_eq!(codes(&found), [("error", "damaged-log")]);
    assert_eq!(found[0]["file"], arg(&last.file));
    assert!(opens(&dir).is_err() && snapshot.exists());
}
