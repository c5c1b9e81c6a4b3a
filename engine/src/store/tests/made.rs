//! Snapshots made of the log: each is a state to begin with, and none is needed that another can stand in for.

use super::*;
use crate::log::tests::made::publish;
use crate::log::{Corruption, Damage, Evidence, files};
use crate::snapshot::{DamagedSnapshot, SnapshotFault};

/// A log of `count` transactions, two to a batch, with snapshots after these of them; the last mark is old.
struct Made {
    disk: SimDisk,
    log: Log,
    leader: Leader,
}

/// Appends payloads, two to a batch, and waits until they are durable.
pub(super) fn commit_batches(disk: &SimDisk, log: &mut Log, payloads: &[Vec<u8>]) {
    let mut own = disk.clone();
    for batch in payloads.chunks(2) {
        for payload in batch {
            let (header, ..) = txn::decode(payload).unwrap();
            log.append(header.zxid, |out| out.extend_from_slice(payload)).unwrap();
        }
        log.seal(&mut own).unwrap();
        commit(disk, log, &[]);
    }
}

/// Publishes the snapshot after the first `count` transactions.
pub(super) fn make(disk: &SimDisk, log: &mut Log, leader: &Leader, count: usize) {
    let Rebuilt { tree, sessions } = after(leader, count);
    let made = publish(disk, log, &tree, &sessions);
    assert!(log.snapshot_made(made));
}

/// Keeps so many snapshots, writes the marks that takes, and lets files go.
pub(super) fn retain(disk: &SimDisk, log: &mut Log, keep: usize) -> (usize, usize) {
    let freed = log.retain_snapshots(keep);
    let mut own = disk.clone();
    for _ in 0..4 {
        log.seal(&mut own).unwrap();
        commit(disk, log, &[]);
    }
    housekeep(disk, log);
    freed
}

impl Made {
    fn new(seed: u64, count: usize, snapshots: &[usize]) -> Made {
        let disk = SimDisk::new(seed);
        let mut log = refuse(&disk).unwrap().log;
        let leader = history(seed, count);
        commit_batches(&disk, &mut log, &leader.log[..count]);
        snapshots.iter().for_each(|&at| make(&disk, &mut log, &leader, at));
        Made { disk, log, leader }
    }

    /// The same with everything before the oldest of the newest two snapshots freed, and stopped in order.
    fn stopped(seed: u64, count: usize, snapshots: &[usize], keep: usize) -> (SimDisk, Leader) {
        let Made { disk, mut log, leader } = Made::new(seed, count, snapshots);
        retain(&disk, &mut log, keep);
        log.close(&disk).unwrap();
        (disk, leader)
    }
}

fn expect(leader: &Leader, count: usize) -> (Zxid, Vec<u8>) {
    let Rebuilt { tree, sessions } = after(leader, count);
    state(&tree, &sessions)
}

fn flip(disk: &SimDisk, file: &str, at: usize) {
    let byte = disk.contents()[file][at];
    disk.corrupt(file, at as u64, &[byte ^ 0x10]);
}

pub(super) fn segments(disk: &SimDisk) -> Vec<String> {
    let used = |(name, bytes): (String, Vec<u8>)| (bytes[..8] == *b"RKLOGSEG").then_some(name);
    let all = disk.contents().into_iter().filter(|(name, _)| name.starts_with("log."));
    all.filter_map(used).collect()
}

fn corruption(disk: &SimDisk) -> Corruption {
    let before = disk.contents();
    let Err(StoreError::Log(LogError::Corrupt(found))) = refuse(disk) else { panic!("not noticed") };
    assert!(disk.contents() == before, "something was changed: {found}");
    *found
}

#[test]
fn a_state_begins_with_the_newest_snapshot_and_the_log_reaches_further_back() {
    for at in 1..=60 {
        let Made { disk, log, leader } = Made::new(1, 60, &[at]);
        drop(log);
        let store = refuse(&disk).unwrap();
        assert!(state_of(&store) == expect(&leader, 60), "{at}");
        assert_eq!((store.snapshot, store.report.records), (zxid(at as i64), 60 - at as u64));
        assert_eq!((store.base, &store.runs[..]), (Zxid::ZERO, &[(zxid(1), zxid(60))][..]));
        assert!(store.report.gap.is_none() && store.report.damaged_snapshots.is_empty());
        assert!(store.report.segments > 3 && store.log.begins_behind() == Zxid::ZERO);
        // What was not read at the start is there for those who come late.
        let mut cursor = store.log.cursor(Zxid::ZERO);
        let txns = store.log.read_on(&disk, &mut cursor, zxid(99), usize::MAX).unwrap();
        assert!(txns.iter().map(|(_, txn)| txn).eq(leader.log[..60].iter()), "{at}");
        drop(store);
        let before = disk.contents();
        refuse(&disk).unwrap();
        assert!(disk.contents() == before, "recovering again changes no byte");
    }
}

#[test]
fn a_state_is_rebuilt_from_the_snapshot_below_it() {
    let Made { disk, mut log, leader } = Made::new(2, 60, &[14, 31, 46]);
    let check = |log: &Log, from: usize| {
        for upto in from..=60 {
            let rebuilt = rebuild(&disk, log, 4, zxid(upto as i64)).unwrap();
            assert!(state(&rebuilt.tree, &rebuilt.sessions) == expect(&leader, upto), "up to {upto}");
        }
    };
    check(&log, 0);
    assert_eq!(retain(&disk, &mut log, 2).0, 1);
    check(&log, 31);
    let Err(error) = rebuild(&disk, &log, 4, zxid(30)) else { panic!("it is not there any more") };
    assert!(error.to_string().ends_with("the store begins with the state after 0x1f"), "{error}");
    let log = refuse(&disk).unwrap().log;
    check(&log, 31);
    // Damage of the one below costs no more than a longer replay.
    flip(&disk, &log.snapshots()[1].file(), 4200);
    check(&log, 31);
    flip(&disk, &log.snapshots()[0].file(), 4200);
    assert!(matches!(rebuild(&disk, &log, 4, zxid(50)), Err(StoreError::Log(LogError::Corrupt(_)))));
}

#[test]
fn what_is_not_kept_is_freed_with_the_log_before_it() {
    let Made { disk, mut log, leader } = Made::new(3, 90, &[20, 40, 60, 80]);
    assert_eq!(log.snapshots().len(), 4);
    assert_eq!(log.newest_snapshot().map(|s| s.zxid()), Some(zxid(80)));
    let bytes = [0, 45, 90].map(|z| log.bytes_behind(zxid(z)));
    assert!(bytes[0] > bytes[1] && bytes[1] > 0 && bytes[2] == 0, "{bytes:?}");
    let (snapshots, before) = log.retain_snapshots(9);
    assert!(snapshots == 0 && before > 0, "the log before the oldest is of no use");
    let (snapshots, freed) = retain(&disk, &mut log, 2);
    assert!(snapshots == 2 && freed > 2, "{freed}");
    assert!(log.begins_behind() > zxid(40) && log.begins_behind() <= zxid(60));
    assert_eq!(super::snapshots(&disk).len(), 2);
    assert_eq!(retain(&disk, &mut log, 0).0, 1, "one is always kept");
    drop(log);
    let store = refuse(&disk).unwrap();
    assert!(state_of(&store) == expect(&leader, 90));
    assert!(store.base > zxid(60) && store.base <= zxid(80), "{}", store.base);
    assert_eq!(store.runs, [(store.base.successor().unwrap(), zxid(90))]);
}

#[test]
fn a_snapshot_of_a_history_that_is_dead_is_refused_and_freed() {
    let Made { disk, mut log, leader } = Made::new(4, 60, &[]);
    let Rebuilt { tree, sessions } = after(&leader, 30);
    let made = publish(&disk, &log, &tree, &sessions);
    let received = after(&leader, 50);
    log.restart_behind(&disk, &received.tree, &received.sessions).unwrap();
    assert!(!log.snapshot_made(made));
    housekeep(&disk, &mut log);
    assert_eq!(snapshots(&disk), ["snapshot.0000000000000032-00000002"]);
    // One of another directory, too.
    let other = Made::new(5, 60, &[]);
    let stranger = publish(&other.disk, &other.log, &tree, &sessions);
    assert!(!log.snapshot_made(stranger));
    assert_eq!(log.removal_wanted(), Some(stranger.file()));
}

#[test]
fn behind_a_received_snapshot_the_root_may_be_freed() {
    let Made { disk, mut log, .. } = Made::new(4, 20, &[10]);
    let leader = history(4, 90);
    let received = after(&leader, 50);
    log.restart_behind(&disk, &received.tree, &received.sessions).unwrap();
    commit_batches(&disk, &mut log, &leader.log[50..90]);
    [64, 80].iter().for_each(|&at| make(&disk, &mut log, &leader, at));
    let names: Vec<_> = log.snapshots().iter().map(|s| (s.zxid(), s.generation())).collect();
    assert_eq!(names, [(zxid(50), 2), (zxid(64), 2), (zxid(80), 2)]);
    let check = |disk: &SimDisk, base: i64| {
        let store = refuse(disk).unwrap();
        assert!(state_of(&store) == expect(&leader, 90));
        assert!(store.base >= zxid(base) && store.report.gap.is_none());
        assert_eq!(store.log.begins_behind(), store.base);
    };
    check(&disk, 50);
    // The root is gone before the log behind it is.
    let early = disk.fork();
    early.lose("snapshot.0000000000000032-00000002");
    check(&early, 50);
    retain(&disk, &mut log, 1);
    assert_eq!(snapshots(&disk), ["snapshot.0000000000000050-00000002"]);
    check(&disk, 51);
    // Back to where the root ended there is no way any more.
    let mut log = refuse(&disk).unwrap().log;
    let error = log.truncate(&disk, zxid(79)).unwrap_err();
    assert!(matches!(error, LogError::Purged { first, .. } if first == zxid(80)), "{error}");
    log.truncate(&disk, zxid(80)).unwrap();
    assert!(state_of(&refuse(&disk).unwrap()) == expect(&leader, 80));
}

#[test]
fn what_is_cut_off_takes_its_snapshots_with_it() {
    for to in [10, 31, 32, 45, 46, 47] {
        let Made { disk, mut log, leader } = Made::new(6, 60, &[31, 46]);
        disk.record();
        log.truncate(&disk, zxid(to)).unwrap();
        let kept: Vec<_> = log.snapshots().iter().map(|s| s.zxid().raw()).collect();
        let expected: Vec<i64> = [31, 46].into_iter().filter(|at| *at <= to).collect();
        assert_eq!(kept, expected, "{to}");
        for (change, before) in disk.recorded() {
            for crash in [Crash::HARSH, Crash::seeded(change), Crash { sectors: Pick::All, names: Pick::All }]
            {
                let disk = before.fork();
                disk.crash(crash);
                let store = refuse(&disk).unwrap_or_else(|error| panic!("{to}, change {change}: {error}"));
                let found = state_of(&store);
                assert!(found == expect(&leader, 60) || found == expect(&leader, to as usize), "{to}");
            }
        }
        commit_batches(&disk, &mut log, &leader.log[to as usize..]);
        make(&disk, &mut log, &leader, 50);
        assert!(state_of(&refuse(&disk).unwrap()) == expect(&leader, 60));
    }
}

/// Where a snapshot can be damaged, and what is said of it.
fn regions(bytes: &[u8]) -> Vec<(usize, u64, Damage)> {
    let trailer = bytes.len() - BLOCK;
    vec![
        (0, 0, Damage::SnapshotHeader),
        (13, 0, Damage::SnapshotHeader),
        (68, 0, Damage::SnapshotHeader),
        (4095, 0, Damage::SnapshotHeader),
        (BLOCK, BLOCK as u64, Damage::SnapshotPiece),
        (BLOCK + 300, BLOCK as u64, Damage::SnapshotPiece),
        (trailer, trailer as u64, Damage::SnapshotTrailer),
    ]
}

#[test]
fn damage_of_the_newest_snapshot_costs_a_longer_replay() {
    for keep in [2, 3] {
        let (disk, leader) = Made::stopped(7, 60, &[14, 31, 46], keep);
        let newest = snapshots(&disk).pop().unwrap();
        let bytes = disk.contents()[&newest].clone();
        let harmed = |at| {
            let disk = disk.fork();
            flip(&disk, &newest, at);
            disk
        };
        let mut cases: Vec<_> = regions(&bytes)
            .into_iter()
            .map(|(at, offset, damage)| (harmed(at), SnapshotFault::Damaged { offset, damage }))
            .collect();
        let short = disk.fork();
        short.shorten(&newest, BLOCK as u64);
        cases.push((short, SnapshotFault::Damaged { offset: 0, damage: Damage::SnapshotLength }));
        for (disk, fault) in cases {
            for on_damage in [OnDamage::Refuse, OnDamage::SetAside] {
                let disk = disk.fork();
                let store = open(&disk, options(), 3, on_damage).unwrap();
                assert!(state_of(&store) == expect(&leader, 60), "{fault}");
                assert_eq!((store.snapshot, store.report.records), (zxid(31), 29));
                let aside = disk.path(&format!("damaged-{newest}"));
                let expected = DamagedSnapshot { path: disk.path(&newest), fault: fault.clone(), aside };
                assert_eq!(store.report.damaged_snapshots, [expected]);
                assert!(store.report.set_aside.is_none() && !store.log.epochs().get().nonvoting);
                drop(store);
                // Durably so, and once.
                disk.crash(Crash::HARSH);
                assert!(!snapshots(&disk).contains(&newest));
                let again = refuse(&disk).unwrap();
                assert!(again.report.damaged_snapshots.is_empty() && again.snapshot == zxid(31));
            }
        }
    }
}

#[test]
fn an_unreadable_snapshot_is_a_damaged_one() {
    let (disk, leader) = Made::stopped(7, 60, &[14, 31, 46], 3);
    let mut stood_in = 0;
    for nth in 0..12 {
        let disk = disk.fork();
        disk.fail(crate::io::sim::SimOp::Read, nth, 5);
        let Ok(store) = refuse(&disk) else { continue };
        assert!(state_of(&store) == expect(&leader, 60), "{nth}");
        if let [damaged] = &store.report.damaged_snapshots[..] {
            assert!(matches!(damaged.fault, SnapshotFault::Unreadable { .. }), "{damaged}");
            stood_in += 1;
        }
    }
    assert!(stood_in >= 3, "{stood_in}");
}

#[test]
fn an_older_snapshot_that_is_damaged_is_named_and_not_needed() {
    let (disk, leader) = Made::stopped(7, 60, &[14, 31, 46], 3);
    flip(&disk, &snapshots(&disk)[1], 100);
    let store = refuse(&disk).unwrap();
    assert!(state_of(&store) == expect(&leader, 60) && store.snapshot == zxid(46));
    let [damaged] = &store.report.damaged_snapshots[..] else { panic!() };
    let text = damaged.to_string();
    let expected = "sim/snapshot.000000000000001f-00000000 is damaged at offset 0: the header of the snapshot is \
        damaged; set aside as sim/damaged-snapshot.000000000000001f-00000000";
    assert_eq!(text, expected);
    assert_eq!(store.log.snapshots().len(), 2);
}

#[test]
fn without_any_sound_snapshot_a_log_that_has_everything_will_do() {
    let (disk, leader) = Made::stopped(7, 60, &[14, 31, 46], 3);
    let all = disk.fork();
    snapshots(&all).iter().for_each(|file| flip(&all, file, 4200));
    let purged = {
        // What lies before the oldest snapshot is there as long as nobody purges.
        let Made { disk, log, .. } = Made::new(7, 60, &[14, 31, 46]);
        log.close(&disk).unwrap();
        disk
    };
    snapshots(&purged).iter().for_each(|file| flip(&purged, file, 4200));
    let store = refuse(&purged).unwrap();
    assert!(state_of(&store) == expect(&leader, 60));
    assert_eq!((store.snapshot, store.report.records), (Zxid::ZERO, 60));
    assert_eq!(store.report.damaged_snapshots.len(), 3);
    assert!(store.log.snapshots().is_empty());
    // But not one that begins later.
    let found = corruption(&all);
    assert_eq!(found.path, all.path("snapshot.000000000000002e-00000000"));
    assert_eq!((found.offset, found.damage), (4096, Damage::SnapshotPiece));
    assert_eq!((found.lost_after, found.lost_through), (Zxid::ZERO, Some(zxid(46))));
    let text = found.to_string();
    assert!(text.contains("The log would do in its place, but it begins behind 0x"), "{text}");
}

#[test]
fn where_nothing_stands_in_the_damaged_snapshot_is_named() {
    // Only one is kept.
    let (disk, _) = Made::stopped(7, 60, &[14, 31, 46], 1);
    flip(&disk, &snapshots(&disk)[0], 100);
    assert_eq!(corruption(&disk).damage, Damage::SnapshotHeader);
    assert!(set_aside(&disk).report.set_aside.is_some());
    // The older one is lost, and the log before it is purged.
    let (disk, _) = Made::stopped(7, 60, &[14, 31, 46], 2);
    disk.lose(&snapshots(&disk)[0]);
    refuse(&disk.fork()).unwrap();
    flip(&disk, &snapshots(&disk)[0], 100);
    let found = corruption(&disk);
    assert_eq!((found.damage, found.lost_after), (Damage::SnapshotHeader, Zxid::ZERO));
    let instead = found.instead.unwrap();
    assert!(matches!(instead.damage, Damage::MissingSnapshot { zxid } if zxid > self::zxid(14)), "{instead}");
}

#[test]
fn a_log_with_a_hole_is_no_stand_in() {
    let (disk, leader) = Made::stopped(7, 60, &[14, 31, 46], 3);
    let holes = segments(&disk);
    let (mut gaps, mut refused) = (0, 0);
    for file in &holes[..holes.len() - 1] {
        let hurt = disk.fork();
        hurt.lose(file);
        let both = hurt.fork();
        flip(&both, &snapshots(&both)[2], 4200);
        // While the newest is sound, a hole before it is older history.
        match refuse(&hurt) {
            Ok(store) => {
                assert!(state_of(&store) == expect(&leader, 60));
                // Some hold nothing that is alive.
                let Some(gap) = store.report.gap.clone() else { continue };
                assert!(gap.after <= zxid(46) && store.base == gap.after, "{gap}");
                assert!(store.log.snapshots().iter().all(|s| s.zxid() >= gap.after));
                gaps += 1;
                drop(store);
                let again = refuse(&hurt).unwrap();
                assert!(again.report.gap.is_none() && state_of(&again) == expect(&leader, 60));
            }
            Err(error) => assert!(matches!(error, StoreError::Log(LogError::Corrupt(_))), "{error}"),
        }
        match refuse(&both) {
            Ok(store) => assert!(state_of(&store) == expect(&leader, 60) && store.snapshot == zxid(31)),
            Err(StoreError::Log(LogError::Corrupt(found))) => {
                let snapshot = found.path == both.path(&snapshots(&both)[2]);
                refused += usize::from(snapshot && found.instead.is_some());
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(gaps > 2 && refused > 0, "{gaps} {refused}");
}

#[test]
fn records_damaged_between_the_older_snapshot_and_the_newest_are_named_beside_it() {
    let (disk, _) = Made::stopped(7, 60, &[14, 31, 46], 3);
    flip(&disk, &snapshots(&disk)[2], 4200);
    let store = refuse(&disk.fork()).unwrap();
    let records = store.log.read_on(&disk, &mut store.log.cursor(zxid(31)), zxid(46), usize::MAX).unwrap();
    assert_eq!(records.len(), 15);
    drop(store);
    let mut named = 0;
    for file in segments(&disk) {
        let hurt = disk.fork();
        flip(&hurt, &file, BLOCK + 100);
        let Err(StoreError::Log(LogError::Corrupt(found))) = refuse(&hurt) else { continue };
        if found.path == hurt.path(&snapshots(&hurt)[2]) {
            let instead = found.instead.as_deref().unwrap();
            assert!(found.lost_after >= zxid(31) && found.lost_after < zxid(46), "{found}");
            assert_eq!(instead.path, hurt.path(&file));
            assert!(
                found.to_string().contains(&format!("but sim/{file} is damaged at offset 4096")),
                "{found}"
            );
            named += 1;
        } else {
            assert!(found.lost_after >= zxid(46) && found.instead.is_none(), "{found}");
        }
    }
    assert!(named >= 1, "{named}");
}

#[test]
fn a_log_that_ends_before_a_snapshot_of_it_has_lost_something() {
    // Nothing but the snapshot vouches for the end of the log: the marks are older.
    let disk = SimDisk::new(8);
    let mut log = refuse(&disk).unwrap().log;
    let leader = history(8, 12);
    let old = disk.contents()["marks"].clone();
    commit_batches(&disk, &mut log, &leader.log[..12]);
    disk.plant("marks", &old);
    let tail = disk.fork();
    let segment = segments(&tail).pop().unwrap();
    let bytes = &tail.contents()[&segment];
    let last = (BLOCK..bytes.len()).step_by(BLOCK).rfind(|&at| bytes[at..at + 64] != [0; 64]).unwrap();
    flip(&tail, &segment, last + 80);
    assert!(refuse(&tail).unwrap().report.torn.is_some(), "without the snapshot it is a torn tail");

    make(&disk, &mut log, &leader, 11);
    flip(&disk, &segment, last + 80);
    let found = corruption(&disk);
    assert_eq!(found.evidence, Evidence::Made { path: disk.path("snapshot.000000000000000b-00000000") });
    assert_eq!(found.path, disk.path(&segment));
    // Of a snapshot with a damaged header the name is enough.
    flip(&disk, "snapshot.000000000000000b-00000000", 50);
    let found = corruption(&disk);
    assert_eq!((found.damage, found.lost_through), (Damage::SnapshotHeader, Some(zxid(11))));
    assert!(matches!(found.instead.unwrap().damage, Damage::EndsBefore { .. }));
}

#[test]
fn a_snapshot_of_another_log_is_not_taken() {
    let (disk, leader) = Made::stopped(9, 60, &[14, 31], 3);
    // The same transactions in other batches, under the same database.
    let file = snapshots(&disk)[1].clone();
    let mut bytes = disk.contents()[&file].clone();
    bytes[68] ^= 1;
    let crc = crate::log::format::block_crc(0, &bytes[..BLOCK]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.plant(&file, &bytes);
    let found = corruption(&disk);
    assert!(matches!(found.damage, Damage::Replaced { .. }), "{found}");
    assert_eq!(found.evidence, Evidence::Made { path: disk.path(&file) });
    disk.lose(&file);
    assert!(state_of(&refuse(&disk).unwrap()) == expect(&leader, 60));
    let name = files::directory(&disk);
    assert_eq!(found.path.parent(), Some(name.as_path()));
}

#[test]
fn all_segments_lost_is_noticed_although_the_snapshot_has_the_whole_state() {
    let (disk, _) = Made::stopped(9, 60, &[31, 60], 2);
    for file in segments(&disk) {
        disk.lose(&file);
    }
    assert!(matches!(corruption(&disk).damage, Damage::MissingGeneration { .. }));
}
