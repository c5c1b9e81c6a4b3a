//! Writes to real files.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use super::*;
use crate::io::{
    AlignedBuf, BLOCK, Disk, FileId, FsVolume, UringDisk, Volume, WriteDone, WriteOp, test_directory,
};

fn filled(ring: &mut impl Disk, len: usize, byte: u8) -> Arc<AlignedBuf> {
    let mut buf = ring.alloc(len);
    Arc::get_mut(&mut buf).unwrap().fill(byte);
    buf
}

fn write(file: FileId, block: u64, buf: &Arc<AlignedBuf>, tag: u64) -> WriteOp {
    WriteOp { file, offset: block * BLOCK as u64, buf: buf.clone(), len: buf.len(), sync: true, tag }
}

/// Turns until `count` writes are done.
fn done(ring: &mut Ring, count: usize) -> Vec<WriteDone> {
    let mut out = Vec::new();
    let start = Instant::now();
    while out.len() < count {
        assert!(start.elapsed() < LONG, "{} of {count}", out.len());
        ring.submit_and_wait(Some(Duration::from_secs(1))).unwrap();
        assert!(ring.next_completion().is_none());
        ring.reap(&mut out);
    }
    assert_eq!(out.len(), count);
    out
}

#[test]
fn what_was_written_is_read_back() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("a", 64 * BLOCK as u64).unwrap();
    let mut ring = Ring::new().unwrap();
    let file = ring.attach(&volume.path("a")).unwrap();
    assert!(ring.features().has_file_table());
    let one = filled(&mut ring, BLOCK, 1);
    let two = filled(&mut ring, 2 * BLOCK, 2);
    let foreign = {
        let mut buf = AlignedBuf::zeroed(BLOCK);
        buf.fill(3);
        Arc::new(buf)
    };
    ring.submit(write(file, 0, &one, 10));
    ring.submit(write(file, 5, &two, 11));
    ring.submit(WriteOp { sync: false, ..write(file, 63, &foreign, 12) });
    let tags: BTreeSet<u64> = done(&mut ring, 3)
        .into_iter()
        .map(|done| {
            done.result.unwrap();
            done.tag
        })
        .collect();
    assert_eq!(tags, BTreeSet::from([10, 11, 12]));
    let back = volume.read_at("a", 0, 64 * BLOCK).unwrap();
    for (block, bytes) in back.chunks(BLOCK).enumerate() {
        let expected = match block {
            0 => 1,
            5 | 6 => 2,
            63 => 3,
            _ => 0,
        };
        assert!(bytes.iter().all(|&b| b == expected), "block {block}");
    }
    assert!(Arc::strong_count(&one) == 1, "the ring has let go of the buffer");
}

#[test]
fn a_write_that_cannot_be_done_reports_its_tag_and_harms_no_other() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("a", 4 * BLOCK as u64).unwrap();
    let mut ring = Ring::new().unwrap();
    let file = ring.attach(&volume.path("a")).unwrap();
    let gone = ring.attach(&volume.path("a")).unwrap();
    ring.detach(gone);
    let buf = filled(&mut ring, BLOCK, 9);
    ring.submit(write(file, 4, &buf, 1)); // past the end
    ring.submit(write(gone, 0, &buf, 2)); // closed
    ring.submit(WriteOp { len: 100, ..write(file, 0, &buf, 3) });
    ring.submit(WriteOp { offset: 512, ..write(file, 0, &buf, 4) });
    ring.submit(WriteOp { len: 2 * BLOCK, ..write(file, 0, &buf, 5) });
    ring.submit(WriteOp { offset: u64::MAX - 4095, ..write(file, 0, &buf, 6) });
    ring.submit(write(file, 3, &buf, 7));
    let mut results = done(&mut ring, 7);
    results.sort_by_key(|done| done.tag);
    let kinds: Vec<_> = results.iter().map(|done| done.result.as_ref().map_err(io::Error::kind)).collect();
    let invalid = Err(io::ErrorKind::InvalidInput);
    assert_eq!(results[1].result.as_ref().unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!([kinds[0], kinds[2], kinds[3], kinds[4], kinds[5]], [invalid; 5]);
    assert_eq!(kinds[6], Ok(&()));
    assert!(results[0].result.as_ref().unwrap_err().to_string().contains("past the end of a file of 16384"));
    assert_eq!(volume.read_at("a", 0, 5 * BLOCK).unwrap().len(), 4 * BLOCK, "nothing grew");
}

#[test]
fn an_error_of_the_kernel_comes_back_with_its_tag_each_time() {
    // /dev/full answers every write with ENOSPC.
    let mut ring = Ring::new().unwrap();
    let full = ring.attach("/dev/full".as_ref()).unwrap();
    let buf = filled(&mut ring, BLOCK, 1);
    for tag in [1, 2] {
        ring.submit(WriteOp { sync: false, ..write(full, 0, &buf, tag) });
        let results = done(&mut ring, 1);
        assert_eq!(results[0].tag, tag);
        assert_eq!(results[0].result.as_ref().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }
}

#[test]
fn attaching_what_is_no_plain_file_fails() {
    let dir = test_directory();
    std::fs::write(dir.path().join("a"), b"").unwrap();
    std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
    let mut ring = Ring::new().unwrap();
    assert_eq!(ring.attach(&dir.path().join("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(ring.attach(&dir.path().join("link")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
}

#[test]
fn a_file_system_without_direct_writes_is_written_through_its_cache() {
    let comm = std::path::Path::new("/proc/self/comm");
    let direct = std::fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(comm);
    assert_eq!(direct.unwrap_err().raw_os_error(), Some(libc::EINVAL), "procfs knows no O_DIRECT");
    Ring::new().unwrap().attach(comm).unwrap();
}

#[test]
fn a_write_in_flight_completes_before_its_file_is_closed() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("a", 256 * BLOCK as u64).unwrap();
    let mut ring = Ring::new().unwrap();
    let file = ring.attach(&volume.path("a")).unwrap();
    let buf = filled(&mut ring, 256 * BLOCK, 4);
    ring.submit(write(file, 0, &buf, 1));
    ring.detach(file);
    done(&mut ring, 1).remove(0).result.unwrap();
    assert!(volume.read_at("a", 0, 256 * BLOCK).unwrap().iter().all(|&b| b == 4));
    let again = ring.attach(&volume.path("a")).unwrap();
    assert_ne!(again, file, "a handle is not used twice");
}

#[test]
fn five_thousand_queued_writes_are_all_done() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("a", 5000 * BLOCK as u64).unwrap();
    let options = RingOptions { submission_entries: 64, completion_entries: 128, ..RingOptions::default() };
    let mut ring = Ring::with_options(&options).unwrap();
    let file = ring.attach(&volume.path("a")).unwrap();
    let buf = filled(&mut ring, BLOCK, 6);
    for tag in 0..5000 {
        ring.submit(WriteOp { sync: false, ..write(file, tag, &buf, tag) });
    }
    let results = done(&mut ring, 5000);
    let tags: BTreeSet<u64> = results.iter().map(|done| done.tag).collect();
    assert_eq!(tags.len(), 5000);
    assert!(results.iter().all(|done| done.result.is_ok()));
    let direct = std::fs::File::open(volume.path("a")).unwrap();
    let mut block = vec![0; BLOCK];
    for at in [0, 2500, 4999] {
        direct.read_exact_at(&mut block, at * BLOCK as u64).unwrap();
        assert!(block.iter().all(|&b| b == 6), "block {at}");
    }
}

#[test]
fn more_files_than_the_table_holds_are_written_all_the_same() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    let mut ring = Ring::new().unwrap();
    let buf = filled(&mut ring, BLOCK, 8);
    for i in 0..70 {
        let name = format!("f{i}");
        volume.create_zeroed(&name, BLOCK as u64).unwrap();
        let file = ring.attach(&volume.path(&name)).unwrap();
        ring.submit(WriteOp { sync: false, ..write(file, 0, &buf, i) });
    }
    assert!(done(&mut ring, 70).iter().all(|done| done.result.is_ok()));
    assert_eq!(volume.read_at("f69", 0, BLOCK).unwrap(), vec![8; BLOCK]);
}

#[test]
fn buffers_beyond_the_limit_work_unregistered_and_dropped_ones_are_used_again() {
    let options = RingOptions { registered_bytes: 2 * BLOCK, ..RingOptions::default() };
    let mut ring = Ring::with_options(&options).unwrap();
    let first = filled(&mut ring, BLOCK, 1);
    let second = filled(&mut ring, BLOCK, 2);
    let features = ring.features();
    assert_eq!((features.registered_bytes(), features.all_registered()), (2 * BLOCK, true));
    let third = filled(&mut ring, BLOCK, 3);
    assert!(!ring.features().all_registered());
    assert_eq!(third.registered_index(), None);
    let index = first.registered_index();
    assert!(index.is_some() && index != second.registered_index());
    drop(first);
    let again = ring.alloc(BLOCK);
    assert_eq!(again.registered_index(), index);
    assert!(again.iter().all(|&b| b == 0), "zeroed again");
    drop(ring);
    drop((again, second, third));
}

#[test]
fn a_buffer_registered_in_one_ring_is_written_rightly_by_another() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("a", BLOCK as u64).unwrap();
    let (mut ring, mut other) = (Ring::new().unwrap(), Ring::new().unwrap());
    let mine = filled(&mut ring, BLOCK, 1);
    let theirs = filled(&mut other, BLOCK, 2);
    assert_eq!(mine.registered_index(), theirs.registered_index());
    let file = ring.attach(&volume.path("a")).unwrap();
    ring.submit(write(file, 0, &theirs, 1));
    done(&mut ring, 1).remove(0).result.unwrap();
    assert_eq!(volume.read_at("a", 0, BLOCK).unwrap(), vec![2; BLOCK]);
}

#[test]
fn a_disk_of_its_own_waits_for_its_writes() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("a", 8 * BLOCK as u64).unwrap();
    let mut disk = UringDisk::new().unwrap();
    let mut out = Vec::new();
    disk.wait(&mut out).unwrap();
    assert!(out.is_empty(), "nothing to wait for");
    let file = disk.attach(&volume.path("a")).unwrap();
    let buf = filled(&mut disk, BLOCK, 5);
    for tag in 0..9 {
        disk.submit(write(file, tag, &buf, tag));
    }
    while out.len() < 9 {
        disk.wait(&mut out).unwrap();
    }
    out.sort_by_key(|done| done.tag);
    assert!(out[..8].iter().all(|done| done.result.is_ok()) && out[8].result.is_err());
    assert_eq!(volume.read_at("a", 0, 8 * BLOCK).unwrap(), vec![5; 8 * BLOCK]);
}
