//! Damage of what was acknowledged: refused by name, or set aside by a server that must not vote from then on.

use super::*;
use crate::log::{Damage, files};

/// A snapshot after zxid 20 of two pieces, and twenty transactions behind it, all vouched for by the mark.
fn sound(disk: &SimDisk) {
    let mut log = refuse(disk).unwrap().log;
    let promise = Epochs { accepted: Epoch(3), current: Epoch(2), nonvoting: false };
    log.set_epochs(disk, promise).unwrap();
    let mut leader = Leader::new();
    for i in 0..20 {
        leader.create(&format!("/{i}"), &"x".repeat(60_000));
    }
    log.restart_behind(disk, &leader.tree, &[]).unwrap();
    for i in 20..40 {
        leader.create(&format!("/{i}"), "");
    }
    commit(disk, &mut log, &leader.log[20..]);
    log.close(disk).unwrap();
}

fn snapshot_file(disk: &SimDisk) -> String {
    snapshots(disk).pop().unwrap()
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.contents().into_keys().filter(|name| name.starts_with("log.")).collect()
}

/// What can be wrong, and the file, offset and damage that must be named.
type Harm = (&'static str, fn(&SimDisk), &'static str, u64, Damage);

fn flip(disk: &SimDisk, at: u64) {
    let file = snapshot_file(disk);
    let byte = disk.contents()[&file][at as usize];
    disk.corrupt(&file, at, &[byte ^ 0x10]);
}

const MIB: u64 = 1 << 20;

fn harms() -> Vec<Harm> {
    let name = "snapshot.0000000000000014-00000002";
    vec![
        ("header", |d| flip(d, 100), name, 0, Damage::SnapshotHeader),
        ("first piece", |d| flip(d, 5000), name, 4096, Damage::SnapshotPiece),
        ("second piece", |d| flip(d, 4096 + MIB + 7), name, 4096 + MIB, Damage::SnapshotPiece),
        (
            "trailer",
            |d| {
                let len = d.contents()[&snapshot_file(d)].len() as u64;
                flip(d, len - 4096);
            },
            name,
            1_208_320,
            Damage::SnapshotTrailer,
        ),
        ("length", |d| d.shorten(&snapshot_file(d), 4096 + MIB), name, 0, Damage::SnapshotLength),
        (
            "no snapshot",
            |d| d.lose(&snapshot_file(d)),
            "",
            0,
            Damage::MissingSnapshot { zxid: Zxid::from_raw(20) },
        ),
        (
            "no log behind it",
            |d| segments(d).iter().for_each(|file| d.lose(file)),
            "",
            0,
            Damage::MissingGeneration { generation: 2 },
        ),
        ("no marks", |d| d.lose("marks"), "marks", 0, Damage::Marks),
        (
            "marks damaged",
            |d| [0, 4096].iter().for_each(|&at| d.corrupt("marks", at + 40, &[0xff; 8])),
            "marks",
            0,
            Damage::Marks,
        ),
    ]
}

#[test]
fn damage_is_refused_with_file_and_offset_and_nothing_is_changed() {
    for (what, harm, file, offset, damage) in harms() {
        let disk = SimDisk::new(1);
        sound(&disk);
        harm(&disk);
        let before = disk.contents();
        let Err(StoreError::Log(LogError::Corrupt(found))) = refuse(&disk) else {
            panic!("{what}: not noticed")
        };
        let path = if file.is_empty() { files::directory(&disk) } else { disk.path(file) };
        assert_eq!((&found.path, found.damage), (&path, damage), "{what}");
        assert_eq!(found.offset, offset, "{what}");
        assert!(found.lost_through >= Some(zxid(20)), "{what}: {found}");
        assert!(disk.contents() == before, "{what}: something was changed");
    }
}

#[test]
fn what_a_refused_snapshot_says_can_be_acted_upon() {
    let disk = SimDisk::new(1);
    sound(&disk);
    flip(&disk, 5000);
    let text = refuse(&disk).unwrap_err().to_string();
    let expected = "sim/snapshot.0000000000000014-00000002 is damaged at offset 4096: this MiB of the snapshot does not \
        match its checksum; acknowledged transactions behind 0x0 up to 0x14 are lost, as the name of the snapshot proves.";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn every_byte_of_a_snapshot_is_vouched_for() {
    let disk = SimDisk::new(1);
    sound(&disk);
    let file = snapshot_file(&disk);
    let bytes = disk.contents()[&file].clone();
    let mut random = fastrand::Rng::with_seed(1);
    let meaningless = |at: usize| bytes[at..].iter().all(|&b| b == 0) || bytes[at..at + 8] == [0; 8];
    let mut tried = 0;
    while tried < 60 {
        let at = random.usize(..bytes.len() - 8);
        if meaningless(at) {
            continue;
        }
        tried += 1;
        let disk = disk.fork();
        disk.corrupt(&file, at as u64, &[bytes[at] ^ 1]);
        assert!(matches!(refuse(&disk), Err(StoreError::Log(LogError::Corrupt(_)))), "byte {at}");
    }
}

/// A segment that lost its records, as the log's own tests do it.
fn damage_log(disk: &SimDisk) {
    for file in segments(disk) {
        let bytes = &disk.contents()[&file];
        if bytes[..8] == *b"RKLOGSEG" {
            disk.corrupt(&file, BLOCK as u64 + 100, &[0xff; 8]);
        }
    }
}

fn is_begun_anew(store: &Store, what: &str) {
    let epochs = store.log.epochs().get();
    assert!(epochs.nonvoting, "{what}: it may have forgotten what it acknowledged");
    assert_eq!((epochs.accepted, epochs.current), (Epoch(3), Epoch(2)), "{what}: promises stay");
    assert_eq!(
        (store.last_zxid, store.snapshot, store.tree.node_count()),
        (Zxid::ZERO, Zxid::ZERO, 5),
        "{what}"
    );
    assert!(!store.report.created, "{what}: it is not like one that never had anything");
}

#[test]
fn damage_is_set_aside_and_the_server_must_not_vote() {
    let log = Damage::Records { seq: 0 };
    for (what, harm, ..) in harms().into_iter().chain([("log", damage_log as fn(&SimDisk), "", 0, log)]) {
        let disk = SimDisk::new(1);
        sound(&disk);
        harm(&disk);
        let before = disk.contents();
        let mut store = set_aside(&disk);
        is_begun_anew(&store, what);
        let aside = store.report.set_aside.clone().unwrap();
        for path in &aside.files {
            let now = path.file_name().unwrap().to_str().unwrap();
            let then = now.strip_prefix("damaged-").unwrap();
            assert!(disk.contents()[now] == before[then], "{what}: {now} is what {then} was");
        }
        assert!(snapshots(&disk).is_empty(), "{what}");
        let was_file =
            aside.damage.path.file_name().is_some_and(|name| before.contains_key(name.to_str().unwrap()));
        assert!(!was_file || aside.files.len() > 1, "{what}: {aside}");
        // It can be used at once, and is what it is.
        commit(&disk, &mut store.log, &history(1, 9).log);
        let again = set_aside(&disk);
        assert!(again.report.set_aside.is_none() && again.log.epochs().get().nonvoting);
        assert_eq!(again.last_zxid, zxid(9));
        // And goes wrong once more.
        disk.lose("marks");
        is_begun_anew(&set_aside(&disk), what);
    }
}

#[test]
fn setting_aside_ends_nonvoting_wherever_it_is_interrupted() {
    let mut tried = 0;
    for (what, harm, ..) in harms() {
        let disk = SimDisk::new(1);
        sound(&disk);
        harm(&disk);
        disk.record();
        let first = disk.changes();
        set_aside(&disk);
        for (change, before) in disk.recorded() {
            for seed in 0..6 {
                let disk = before.fork();
                match seed {
                    0 => disk.crash(Crash::HARSH),
                    1 => disk.crash(Crash { sectors: Pick::All, names: Pick::All }),
                    2 => disk.kill(Pick::All),
                    seed => disk.crash(Crash::seeded(change * 10 + seed)),
                }
                // Nothing is moved before the promise not to vote is durable.
                let moved = disk.contents().keys().any(|name| name.starts_with("damaged-"));
                let store = set_aside(&disk);
                is_begun_anew(&store, &format!("{what}, change {} {seed}", change - first));
                tried += usize::from(moved);
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn lost_epochs_beside_sound_data_keep_the_data_and_forbid_voting() {
    for on_damage in [OnDamage::Refuse, OnDamage::SetAside] {
        let disk = SimDisk::new(1);
        sound(&disk);
        disk.lose("epochs");
        let store = open(&disk, options(), 3, on_damage).unwrap();
        assert!(store.report.epochs_lost && store.log.epochs().get().nonvoting);
        assert_eq!((store.last_zxid, store.report.set_aside), (zxid(40), None));
    }
}

#[test]
fn lost_epochs_beside_damage_are_the_newest_that_anything_names() {
    let disk = SimDisk::new(1);
    let mut log = refuse(&disk).unwrap().log;
    commit(&disk, &mut log, &shifted(&history(1, 9).log, 7 << 32));
    log.close(&disk).unwrap();
    damage_log(&disk);
    disk.lose("epochs");
    let store = set_aside(&disk);
    let expected = Epochs { accepted: Epoch(7), current: Epoch(7), nonvoting: true };
    assert_eq!((store.log.epochs().get(), store.last_zxid), (expected, Zxid::ZERO));
}

#[test]
fn a_member_s_new_directory_may_begin_nonvoting() {
    let disk = SimDisk::new(1);
    let options = LogOptions { begin_nonvoting: true, ..options() };
    disk.record();
    let store = open(&disk, options.clone(), 3, OnDamage::SetAside).unwrap();
    assert!(store.report.created && store.log.epochs().get().nonvoting);
    for (change, disk) in disk.recorded() {
        disk.crash(Crash::seeded(change));
        let store = open(&disk, options.clone(), 3, OnDamage::SetAside).unwrap();
        assert!(store.log.epochs().get().nonvoting && store.report.set_aside.is_none(), "change {change}");
    }
    // It says nothing to a directory that has a log.
    let disk = SimDisk::new(1);
    drop(refuse(&disk).unwrap());
    let store = open(&disk, options, 3, OnDamage::SetAside).unwrap();
    assert!(!store.report.created && !store.log.epochs().get().nonvoting);
}
