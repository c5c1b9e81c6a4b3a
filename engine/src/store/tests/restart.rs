//! A received state in the place of everything older: not begun or complete, wherever it is interrupted.

use super::*;
use crate::io::sim::{Completion, SimOp};
use crate::io::{FsVolume, test_directory};
use crate::snapshot::{Limits, Loader};

/// What a cut may leave of what is not flushed: everything where that can be counted, else drawn.
fn choices(count: usize, seed: u64) -> Vec<Pick> {
    match count {
        0..=4 => (0..1 << count).map(Pick::Bits).collect(),
        _ => (0..5).map(|i| Pick::Seed(seed * 31 + i)).chain([Pick::None, Pick::All]).collect(),
    }
}

fn crashes(disk: &SimDisk, seed: u64) -> Vec<SimDisk> {
    let mut out = Vec::new();
    for names in choices(disk.unsynced_names(), seed) {
        for sectors in choices(disk.unflushed_sectors(), seed + 7) {
            let disk = disk.fork();
            disk.crash(Crash { sectors, names });
            out.push(disk);
        }
    }
    // The end of the process alone: what it wrote is in the caches.
    let killed = disk.fork();
    killed.kill(Pick::All);
    out.push(killed);
    out
}

/// The log of one leader, and another leader's state.
struct Case {
    disk: SimDisk,
    log: Log,
    old: (Zxid, Vec<u8>),
    new: Rebuilt,
}

fn case(seed: u64, new_zxid: Zxid) -> Case {
    let disk = SimDisk::new(seed);
    let mut log = refuse(&disk).unwrap().log;
    let leader = history(seed, 50);
    commit(&disk, &mut log, &leader.log);
    let old = after(&leader, 50);
    let other = after(&history(seed + 100, 30), 30);
    let new = Rebuilt { tree: as_after(&other, new_zxid), sessions: other.sessions };
    Case { disk, log, old: state(&old.tree, &old.sessions), new }
}

/// The same tree as the state after another transaction.
fn as_after(state: &Rebuilt, zxid: Zxid) -> Tree {
    let mut loader = Loader::new(zxid, 1, Limits::default());
    let (_, bytes) = super::state(&state.tree, &state.sessions);
    assert!(loader.feed(&bytes).unwrap().done);
    let mut tree = loader.finish().tree;
    tree.converged();
    tree
}

/// Transactions behind `zxid`, of a history of its own.
fn behind(zxid: Zxid, count: usize) -> Vec<Vec<u8>> {
    shifted(&history(6, 5 + count).log[5..], zxid.raw() - 5)
}

#[test]
fn a_restart_is_not_begun_or_complete_at_every_step() {
    // Below the old log's end, above it, and the start of an epoch.
    // In canonical form, and in one that is written anew.
    let cases =
        [(1, zxid(20), true), (2, zxid(999), false), (3, Zxid::new(Epoch(4), 0), true), (4, zxid(20), false)];
    for (seed, new_zxid, is_canonical) in cases {
        let Case { disk, mut log, old, new } = case(seed, new_zxid);
        housekeep(&disk, &mut log);
        disk.record();
        let begin = disk.changes();
        let mut stream = state(&new.tree, &new.sessions).1;
        if !is_canonical {
            assert!(new.sessions.len() > 1);
            stream[4..28].rotate_left(12);
        }
        let arrived = Arrived::of_stream(&disk, new_zxid, 3, &stream).unwrap();
        assert_eq!(log.restart_behind(&disk, &arrived).unwrap().get(), new_zxid);
        let end = disk.changes();
        let new = state(&new.tree, &new.sessions);
        let mut seen = [0, 0];
        for (change, before) in disk.recorded() {
            for (i, disk) in crashes(&before, change).into_iter().enumerate() {
                let nested = i % 5 == 0;
                if nested {
                    disk.record();
                }
                let store = refuse(&disk).unwrap_or_else(|error| panic!("change {change}: {error}"));
                let found = state_of(&store);
                assert!(
                    found == old || found == new,
                    "change {change}: neither the old state nor the new one"
                );
                assert!(change < end || found == new, "it had returned");
                seen[usize::from(found == new)] += 1;
                let base = if found == new { new_zxid } else { Zxid::ZERO };
                assert_eq!((store.last_zxid, store.snapshot, store.base), (found.0, base, base));
                let is_left = disk.contents().keys().any(|name| name.starts_with("unfinished-"));
                assert!(!is_left, "it is cleared away");
                drop(store);
                if nested {
                    for (step, disk) in disk.recorded() {
                        disk.crash(Crash::seeded(step));
                        assert!(state_of(&refuse(&disk).unwrap()) == found, "step {step} of the recovery");
                    }
                }
            }
        }
        assert!(end - begin > 10 && seen[0] > 20 && seen[1] > 10, "{seen:?} in {} steps", end - begin);
    }
}

#[test]
fn the_log_goes_on_behind_a_snapshot_and_a_second_one_takes_its_place() {
    for new_zxid in [zxid(20), Zxid::new(Epoch(4), 0)] {
        let Case { disk, mut log, mut new, .. } = case(5, new_zxid);
        for round in 0..3 {
            let from = new.tree.last_zxid();
            restart(&disk, &mut log, &new.tree, &new.sessions).unwrap();
            assert_eq!([log.durable().get(), log.appended(), log.begins_behind()], [from; 3]);
            commit(&disk, &mut log, &behind(from, 40));
            if round == 1 {
                housekeep(&disk, &mut log);
                assert_eq!(snapshots(&disk).len(), 1, "the older one is removed");
            }
            disk.crash(Crash::HARSH);
            let store = refuse(&disk).unwrap();
            assert_eq!((store.base, store.snapshot), (from, from));
            assert_eq!(store.runs, [(zxid(from.raw() + 1), zxid(from.raw() + 40))]);
            assert_eq!((store.last_zxid, store.report.records), (zxid(from.raw() + 40), 40));
            new = Rebuilt { tree: store.tree, sessions: store.sessions };
            log = store.log;
        }
        log.close(&disk).unwrap();
        refuse(&disk).unwrap();
        let before = disk.contents();
        refuse(&disk).unwrap();
        assert!(disk.contents() == before, "recovering again changes no byte");
    }
}

#[test]
fn nothing_below_the_snapshot_can_be_returned_to() {
    let Case { disk, mut log, new, .. } = case(5, zxid(20));
    restart(&disk, &mut log, &new.tree, &new.sessions).unwrap();
    commit(&disk, &mut log, &behind(zxid(20), 25));
    assert_eq!(log.purge(zxid(40)), 0, "no snapshot would take its place");
    let error = log.truncate(&disk, zxid(19)).unwrap_err();
    assert!(matches!(error, LogError::Purged { first, .. } if first == zxid(20)), "{error}");
    // To its end, and on from there, again and again.
    for to in [30, 20, 20] {
        assert_eq!(log.truncate(&disk, zxid(to)).unwrap().get(), zxid(to));
        disk.crash(Crash::HARSH);
        let store = refuse(&disk).unwrap();
        assert_eq!((store.last_zxid, store.base), (zxid(to), zxid(20)));
        log = store.log;
    }
    commit(&disk, &mut log, &behind(zxid(20), 25));
    assert_eq!(refuse(&disk).unwrap().last_zxid, zxid(45));
}

#[test]
fn a_torn_tail_behind_a_snapshot_is_cut() {
    let Case { disk, mut log, new, .. } = case(5, zxid(20));
    restart(&disk, &mut log, &new.tree, &new.sessions).unwrap();
    log.prepare_all(&disk).unwrap();
    disk.set_completion(Completion::Manual);
    let mut own = disk.clone();
    for (i, payload) in behind(zxid(20), 3).iter().enumerate() {
        log.append(zxid(21 + i as i64), |out| out.extend_from_slice(payload)).unwrap();
        log.seal(&mut own).unwrap();
    }
    // The first batch is lost, the others arrive.
    assert!(disk.in_flight_sectors()[0] >= 8);
    disk.crash(Crash { sectors: Pick::Bits(u64::MAX << 8), names: Pick::None });
    let store = refuse(&disk).unwrap();
    assert!(store.report.torn.is_some());
    assert_eq!((store.last_zxid, store.base), (zxid(20), zxid(20)));
    assert!(state_of(&store) == state(&new.tree, &new.sessions));
    let again = refuse(&disk).unwrap();
    assert_eq!((again.report.torn, again.last_zxid), (None, zxid(20)));
}

/// Every operation fails once, each in a run of its own.
#[test]
fn a_failure_anywhere_leaves_the_old_state_or_the_new_one() {
    const EIO: i32 = 5;
    let mut failures = 0;
    for op in [SimOp::Write, SimOp::Sync, SimOp::SyncDir, SimOp::Create, SimOp::Rename] {
        for nth in 0..12 {
            let Case { disk, mut log, old, new } = case(9, zxid(20));
            housekeep(&disk, &mut log);
            disk.fail(op, nth, EIO);
            let result = restart(&disk, &mut log, &new.tree, &new.sessions);
            disk.heal();
            let new = state(&new.tree, &new.sessions);
            let Err(error) = result else {
                assert!(state_of(&refuse(&disk).unwrap()) == new);
                break;
            };
            failures += 1;
            let poisoned = matches!(log.truncate(&disk, zxid(50)), Err(LogError::Poisoned { .. }));
            let is_published = !snapshots(&disk).is_empty();
            assert_eq!(poisoned, is_published || op == SimOp::Rename, "{op:?} {nth}: {error}");
            let cut = disk.fork();
            cut.crash(Crash::HARSH);
            for disk in [disk, cut] {
                let found = state_of(&refuse(&disk).unwrap());
                assert!(found == old || found == new && poisoned, "{op:?} {nth}: {error}");
            }
        }
    }
    assert!(failures > 8, "{failures}");
}

#[test]
fn without_space_for_a_snapshot_nothing_changes() {
    let Case { disk, mut log, new, .. } = case(9, zxid(20));
    housekeep(&disk, &mut log);
    let used: usize = disk.contents().values().map(Vec::len).sum();
    disk.set_capacity((used + BLOCK) as u64);
    let text = restart(&disk, &mut log, &new.tree, &new.sessions).unwrap_err().to_string();
    assert!(text.starts_with("writing the snapshot, ") && text.contains("unfinished-snapshot"), "{text}");
    assert!(!disk.contents().contains_key("unfinished-snapshot"), "the space is given back");
    disk.set_capacity(u64::MAX);
    commit(&disk, &mut log, &history(9, 55).log[50..]);
    assert_eq!(refuse(&disk).unwrap().last_zxid, zxid(55));
    restart(&disk, &mut log, &new.tree, &new.sessions).unwrap();
    assert_eq!(refuse(&disk).unwrap().last_zxid, zxid(20));
}

#[test]
fn a_snapshot_of_many_pieces_is_read_back() {
    let mut leader = Leader::new();
    for i in 0..120 {
        leader.create(&format!("/{i}"), &"x".repeat(70_000 + i));
    }
    let disk = SimDisk::new(3);
    let mut log = refuse(&disk).unwrap().log;
    restart(&disk, &mut log, &leader.tree, &[]).unwrap();
    let store = refuse(&disk).unwrap();
    assert!(state_of(&store) == state(&leader.tree, &[]));
    assert!(!store.tree.is_converging());
    // Wherever it is damaged, that is the end of it.
    for piece in [0, 3, 7] {
        let (disk, at) = (disk.fork(), BLOCK as u64 + (piece << 20));
        disk.corrupt(&snapshots(&disk)[0], at + 9, &[0xff; 9]);
        let Err(StoreError::Log(LogError::Corrupt(found))) = refuse(&disk) else { panic!("piece {piece}") };
        assert_eq!(found.offset, at);
    }
}

#[test]
fn a_tree_that_converges_does_so_from_its_file_too() {
    let leader = history(4, 30);
    let ahead = after(&leader, 30);
    let mut loader = Loader::new(zxid(20), 1, Limits::default());
    loader.feed(&state(&ahead.tree, &ahead.sessions).1).unwrap();
    let disk = SimDisk::new(3);
    let mut log = refuse(&disk).unwrap().log;
    restart(&disk, &mut log, &loader.finish().tree, &ahead.sessions).unwrap();
    assert!(refuse(&disk).unwrap().tree.is_converging());
    commit(&disk, &mut log, &leader.log[20..]);
    let store = refuse(&disk).unwrap();
    assert_eq!((store.tree.is_converging(), store.tree.digest_mismatches()), (false, 0));
    assert!(state_of(&store) == state(&ahead.tree, &ahead.sessions));
}

#[test]
fn a_restart_on_a_real_directory_comes_back() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::new(7) };
    let mut leader = Leader::new();
    for i in 0..40 {
        leader.create(&format!("/{i}"), &"x".repeat(70_000 + i));
    }
    let mut store = open(&volume, options.clone(), 3, OnDamage::Refuse).unwrap();
    for _ in 0..2 {
        restart(&volume, &mut store.log, &leader.tree, &[]).unwrap();
        drop(store);
        store = open(&volume, options.clone(), 3, OnDamage::Refuse).unwrap();
        assert!(state_of(&store) == state(&leader.tree, &[]));
        leader.delete("/7");
    }
    while let Some(file) = store.log.removal_wanted() {
        volume.remove(&file).unwrap();
    }
    let files = volume.list().unwrap();
    let snapshots = files.iter().filter(|file| file.name.contains("snapshot"));
    assert_eq!(snapshots.count(), 1);
}
