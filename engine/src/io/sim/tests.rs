use super::*;
use crate::io::{BLOCK, Disk, FileEntry, FileId, Volume, WriteOp};

const EIO: i32 = 5;

fn disk_with(name: &str, blocks: usize) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_zeroed(name, (blocks * BLOCK) as u64).unwrap();
    disk.sync_dir().unwrap();
    disk
}

fn block(fill: u8) -> Arc<AlignedBuf> {
    let mut buf = AlignedBuf::zeroed(BLOCK);
    buf.fill(fill);
    Arc::new(buf)
}

fn submit(disk: &SimDisk, file: FileId, at: u64, fill: u8, sync: bool, tag: u64) {
    let op = WriteOp { file, offset: at * BLOCK as u64, buf: block(fill), len: BLOCK, sync, tag };
    disk.clone().submit(op);
}

fn byte(disk: &SimDisk, name: &str, at: usize) -> u8 {
    disk.contents()[name][at]
}

#[test]
fn a_synced_write_survives_any_cut_once_complete_and_tears_before() {
    let disk = disk_with("f", 2);
    let file = disk.clone().attach(&disk.path("f")).unwrap();
    disk.set_completion(Completion::Manual);
    submit(&disk, file, 0, 1, true, 10);
    submit(&disk, file, 1, 2, true, 11);
    assert!(disk.complete(11));
    assert_eq!(disk.unflushed_sectors(), 8);
    disk.crash(Crash { sectors: Pick::Bits(0b10), names: Pick::None });
    let bytes = &disk.contents()["f"];
    assert_eq!((bytes[0], bytes[SECTOR], bytes[2 * SECTOR], bytes[BLOCK]), (0, 1, 0, 2));
}

#[test]
fn an_unsynced_write_is_seen_at_once_and_kept_only_by_a_flush() {
    for flush in [false, true] {
        let disk = disk_with("f", 1);
        let file = disk.clone().attach(&disk.path("f")).unwrap();
        submit(&disk, file, 0, 7, false, 1);
        let mut done = Vec::new();
        disk.clone().reap(&mut done);
        assert!(done[0].result.is_ok() && byte(&disk, "f", 0) == 7);
        if flush {
            disk.sync_file("f").unwrap();
        }
        disk.crash(Crash::HARSH);
        assert_eq!(byte(&disk, "f", 0), if flush { 7 } else { 0 });
    }
}

#[test]
fn a_flush_that_failed_once_never_saves_those_bytes() {
    let disk = disk_with("f", 1);
    let file = disk.clone().attach(&disk.path("f")).unwrap();
    submit(&disk, file, 0, 7, false, 1);
    disk.complete_all();
    disk.fail(SimOp::Sync, 0, EIO);
    assert_eq!(disk.sync_file("f").unwrap_err().raw_os_error(), Some(EIO));
    disk.sync_file("f").unwrap();
    assert_eq!(byte(&disk, "f", 0), 7);
    disk.crash(Crash { sectors: Pick::All, names: Pick::All });
    assert_eq!(byte(&disk, "f", 0), 0);
}

#[test]
fn names_are_lost_until_the_directory_is_flushed_and_only_legally() {
    let disk = disk_with("a", 1);
    disk.rename("a", "b").unwrap();
    disk.create_zeroed("a", BLOCK as u64).unwrap();
    assert_eq!(disk.unsynced_names(), 2);
    let names = |bits| {
        let fork = disk.fork();
        fork.crash(Crash { sectors: Pick::None, names: Pick::Bits(bits) });
        fork.list().unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>()
    };
    assert_eq!(names(0b00), ["a"]);
    assert_eq!(names(0b01), ["b"]);
    assert_eq!(names(0b10), ["a"]);
    assert_eq!(names(0b11), ["a", "b"]);
}

#[test]
fn a_full_disk_refuses_and_leaves_a_short_file() {
    let disk = disk_with("a", 2);
    disk.set_capacity(3 * BLOCK as u64);
    let error = disk.create_zeroed("b", 2 * BLOCK as u64).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.list().unwrap()[1], FileEntry { name: "b".into(), len: BLOCK as u64 });
}

#[test]
fn one_seed_gives_one_history() {
    let run = || {
        let disk = disk_with("f", 8);
        disk.set_completion(Completion::Seeded);
        let file = disk.clone().attach(&disk.path("f")).unwrap();
        disk.fail(SimOp::Write, 3, EIO);
        let mut done = Vec::new();
        for i in 0..8 {
            submit(&disk, file, i, i as u8 + 1, i % 2 == 0, i);
            disk.clone().reap(&mut done);
        }
        disk.crash(Crash::seeded(9));
        (disk.contents(), disk.trace())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_recording_holds_the_disk_before_each_change() {
    let disk = disk_with("f", 1);
    let file = disk.clone().attach(&disk.path("f")).unwrap();
    disk.record();
    submit(&disk, file, 0, 5, true, 1);
    disk.complete_all();
    let states = disk.recorded();
    let left: Vec<_> = states.iter().map(|(_, d)| (d.unflushed_sectors(), byte(d, "f", 0))).collect();
    assert_eq!(left, [(0, 0), (8, 0), (0, 5)]);
}
