use std::fs;

use super::*;
use crate::error::InspectError;
use crate::out::Progress;
use crate::source::{Role, Source};

const ALL: (Zxid, Zxid) = (Zxid::ZERO, Zxid::from_raw(i64::MAX));

pub(super) fn open_dir(dir: &Path) -> ApacheDir {
    open(dir, &Progress::none()).unwrap().unwrap()
}

/// The zxids that are handed out, and how it ends.
fn zxids(dir: &ApacheDir, from: i64, upto: i64) -> (Vec<i64>, Result<(), InspectError>) {
    let mut seen = Vec::new();
    let ended = dir.txns(Zxid::from_raw(from), Zxid::from_raw(upto), &mut |txn| {
        seen.push(txn.zxid.raw());
        Ok(())
    });
    (seen, ended)
}

#[test]
fn logs_are_one_sequence_wherever_they_were_rolled() {
    let (dir, history) = (temp(), History::mixed(30));
    let version_2 = dir.path().join(VERSION_2);
    fs::create_dir(&version_2).unwrap();
    let n = history.txns.len();
    for part in [0..7, 7..8, 8..n] {
        history.log(&version_2, part);
    }
    let opened = open_dir(dir.path());
    let n = n as i64;
    for (from, upto) in [(1, n), (0, 3), (7, 8), (8, 8), (9, n), (5, 12), (n, n + 5), (n + 1, n + 5)] {
        let (seen, ended) = zxids(&opened, from, upto);
        assert_eq!(seen, (from.max(1)..=upto.min(n)).collect::<Vec<_>>(), "{from} to {upto}");
        ended.unwrap();
    }
    assert!(opened.verify_log().unwrap().iter().all(|report| report.ranges.is_empty()));
}

#[test]
fn a_log_that_is_missing_in_the_middle_is_noticed_unless_a_snapshot_covers_it() {
    let (dir, history) = (temp(), History::mixed(30));
    let n = history.txns.len();
    history.log(dir.path(), 0..7);
    history.log(dir.path(), 12..n);
    let opened = open_dir(dir.path());
    let (seen, ended) = zxids(&opened, 1, n as i64);
    assert_eq!(seen.len(), 7);
    assert!(ended.unwrap_err().to_string().contains("between 0x7 and 0xd are missing"));
    // What lies on one side of it can be had.
    zxids(&opened, 1, 7).1.unwrap();
    let (behind, ended) = zxids(&opened, 13, n as i64);
    assert_eq!(behind.len(), n - 12);
    ended.unwrap();
    let reports = opened.verify_log().unwrap();
    let missing = reports.iter().find(|report| report.role == Role::Missing).unwrap();
    assert!(missing.file.ends_with("log.8") && missing.is_damaged());
    let lost = missing.ranges[0].lost.unwrap();
    assert_eq!((lost.after.raw(), lost.through), (7, Some(Zxid::from_raw(12))));
    fs::copy(history.snapshot(dir.path(), Codec::Plain), dir.path().join("snapshot.c")).unwrap();
    let opened = open_dir(dir.path());
    assert!(opened.verify_log().unwrap().iter().all(|report| !report.is_damaged()));
}

#[test]
fn a_torn_end_is_damage_only_if_the_next_file_shows_that_something_is_missing() {
    let (dir, history) = (temp(), History::mixed(30));
    let n = history.txns.len();
    let path = history.log(dir.path(), 0..7);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 99, 7, 7]);
    put(&path, &bytes);
    let second = history.log(dir.path(), 7..n);
    let opened = open_dir(dir.path());
    zxids(&opened, 1, n as i64).1.unwrap();
    let report = &opened.verify_log().unwrap()[0];
    assert!(report.ranges.len() == 1 && !report.is_damaged(), "{report:?}");
    fs::remove_file(second).unwrap();
    history.log(dir.path(), 8..n);
    let opened = open_dir(dir.path());
    assert!(zxids(&opened, 1, n as i64).1.is_err());
    let report = &opened.verify_log().unwrap()[0];
    assert!(report.is_damaged() && report.ranges[0].lost.unwrap().through == Some(Zxid::from_raw(8)));
}

#[test]
fn the_state_at_any_transaction_is_the_one_it_had_then() {
    let dir = temp();
    let mut history = History::mixed(20);
    let n = history.txns.len();
    history.log(dir.path(), 0..n);
    history.snapshot(dir.path(), Codec::Gzip);
    history.close_session();
    for i in 0..10 {
        history.create(&format!("/later{i}"), b"x");
    }
    history.log(dir.path(), n..history.txns.len());
    let opened = open_dir(dir.path());
    for (zxid, payload) in &history.txns {
        let rebuilt = rebuild(&opened, *zxid, 1).unwrap();
        let digest = txn::decode(payload).unwrap().2.unwrap().tree;
        assert_eq!(rebuilt.verdict, Verdict::Agrees { zxid: *zxid, digest });
        assert_eq!(rebuilt.state.tree.digest(), digest);
        assert_eq!(
            rebuilt.state.base,
            if *zxid < Zxid::from_raw(n as i64) { Zxid::ZERO } else { Zxid::from_raw(n as i64) }
        );
        assert_eq!(rebuilt.state.sessions.len(), usize::from(*zxid <= Zxid::from_raw(n as i64)));
    }
}

#[test]
fn a_fuzzy_snapshot_converges_and_is_not_used_for_what_lies_within_it() {
    let (dir, history) = (temp(), History::mixed(30));
    let n = history.txns.len();
    history.log(dir.path(), 0..n);
    // Begun after 5 transactions, and everything since found its way in.
    let late = history.snapshot(dir.path(), Codec::Plain);
    fs::rename(&late, dir.path().join("snapshot.5")).unwrap();
    let opened = open_dir(dir.path());
    let rebuilt = rebuild(&opened, ALL.1, 1).unwrap();
    assert_eq!(rebuilt.from.unwrap().zxid, Zxid::from_raw(5));
    assert_eq!(rebuilt.verdict, Verdict::Agrees { zxid: history.last(), digest: history.tree.digest() });
    let within = rebuild(&opened, Zxid::from_raw(9), 1).unwrap();
    assert_eq!((within.from.is_none(), within.state.applied), (true, 9));
    // Without the log behind it there is nothing that could make it whole.
    fs::remove_file(dir.path().join("log.1")).unwrap();
    let alone = rebuild(&open_dir(dir.path()), ALL.1, 1).unwrap();
    assert!(alone.state.applied == 0 && alone.state.tree.is_converging());
    assert!(matches!(
        rebuild(&open_dir(dir.path()), Zxid::from_raw(4), 1),
        Err(InspectError::NotThere { .. })
    ));
}

#[test]
fn a_damaged_snapshot_is_passed_over_if_the_log_reaches_back() {
    let dir = temp();
    let mut history = History::mixed(10);
    let n = history.txns.len();
    history.snapshot(dir.path(), Codec::Plain);
    history.create("/x", b"");
    history.log(dir.path(), n..n + 1);
    history.create("/y", b"");
    let log = history.log(dir.path(), n + 1..n + 2);
    let newest = history.snapshot(dir.path(), Codec::Snappy);
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    put(&newest, &bytes);
    let rebuilt = rebuild(&open_dir(dir.path()), ALL.1, 1).unwrap();
    assert_eq!((rebuilt.state.applied, rebuilt.passed_over.len()), (2, 1));
    assert_eq!(rebuilt.state.tree.digest(), history.tree.digest());
    fs::remove_file(log.with_file_name(Name::Log(Zxid::from_raw(n as i64 + 1)).file())).unwrap();
    let error = rebuild(&open_dir(dir.path()), ALL.1, 1).unwrap_err().to_string();
    assert!(error.contains("are missing; ") && error.contains("snappy"), "{error}");
}

#[test]
fn other_servers_files_are_not_apaches() {
    let dir = temp();
    for name in
        ["log.0000000000000001-00000000000000aa", "snapshot.0000000000000005-00000001", "marks", "epochs"]
    {
        put(&dir.path().join(name), b"x");
    }
    assert!(open(dir.path(), &Progress::none()).unwrap().is_none());
}
