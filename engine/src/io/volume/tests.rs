//! A volume on a real directory.

use super::*;
use crate::io::test_directory;

fn names(volume: &FsVolume) -> Vec<(String, u64)> {
    volume.list().unwrap().into_iter().map(|entry| (entry.name, entry.len)).collect()
}

#[test]
fn files_are_created_written_read_renamed_and_removed() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    let len = 3 * CHUNK as u64 + BLOCK as u64;
    volume.create_zeroed("b", len).unwrap();
    volume.create_zeroed("a", 0).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    volume.sync_dir().unwrap();
    assert_eq!(names(&volume), [("a".to_owned(), 0), ("b".to_owned(), len)]);
    let zeros = volume.read_at("b", 0, usize::MAX).unwrap();
    assert!(zeros.len() as u64 == len && zeros.iter().all(|&b| b == 0));

    let data: Vec<u8> = (0..2 * CHUNK + 2 * BLOCK).map(|i| (i / 7) as u8).collect();
    volume.write_at("b", BLOCK as u64, &data).unwrap();
    volume.sync_file("b").unwrap();
    let back = volume.read_at("b", BLOCK as u64, data.len()).unwrap();
    assert!(back == data);

    volume.rename("b", "c").unwrap();
    assert_eq!(volume.rename("a", "c").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    volume.remove("a").unwrap();
    volume.sync_dir().unwrap();
    assert_eq!(names(&volume), [("c".to_owned(), len)]);
    assert_eq!(volume.path("c"), dir.path().join("c"));
}

#[test]
fn a_file_grows_by_what_is_appended() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("a", BLOCK as u64).unwrap();
    let data: Vec<u8> = (0..CHUNK + BLOCK).map(|i| (i / 7) as u8).collect();
    volume.append("a", BLOCK as u64, &data).unwrap();
    volume.append("a", (BLOCK + data.len()) as u64, &data[..BLOCK]).unwrap();
    volume.sync_file("a").unwrap();
    assert_eq!(names(&volume), [("a".to_owned(), (2 * BLOCK + data.len()) as u64)]);
    assert!(volume.read_at("a", BLOCK as u64, usize::MAX).unwrap() == [&data[..], &data[..BLOCK]].concat());
    assert!(volume.append("a", 100, &data).is_err() && volume.append("b", 0, &data).is_err());
}

#[test]
fn any_range_can_be_read_and_the_end_of_the_file_ends_it() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    let data: Vec<u8> = (0..CHUNK + 5000).map(|i| (i % 251) as u8).collect();
    fs::write(dir.path().join("f"), &data).unwrap();
    File::open(dir.path().join("f")).unwrap().sync_all().unwrap();
    let (block, end) = (BLOCK as u64, data.len() as u64);
    for offset in [0, 1, block - 1, block, block + 1, CHUNK as u64 - 1, end - 1, end, end + 1, u64::MAX] {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, CHUNK, CHUNK + 1, usize::MAX] {
            let from = offset.min(end) as usize;
            let to = from.saturating_add(len).min(data.len());
            assert!(volume.read_at("f", offset, len).unwrap() == data[from..to], "{len} at {offset}");
        }
    }
}

#[test]
fn a_zeroed_file_has_no_unwritten_extents() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    let first_hole = |name: &str| {
        let file = File::open(volume.path(name)).unwrap();
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)).unwrap()
    };
    let reserved = File::create(volume.path("reserved")).unwrap();
    rustix::fs::fallocate(&reserved, FallocateFlags::empty(), 0, 4 << 20).unwrap();
    if first_hole("reserved") != 0 {
        println!("skipped: this file system does not tell unwritten extents apart");
        return;
    }
    volume.create_zeroed("zeroed", 4 << 20).unwrap();
    assert_eq!(first_hole("zeroed"), 4 << 20);
}

#[test]
fn nothing_existing_is_overwritten_and_half_a_file_does_not_stay() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("f", BLOCK as u64).unwrap();
    assert_eq!(volume.create_zeroed("f", BLOCK as u64).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    // More than any file system holds.
    volume.create_zeroed("huge", 1 << 62).unwrap_err();
    assert_eq!(names(&volume), [("f".to_owned(), BLOCK as u64)]);
}

#[test]
fn a_file_has_its_name_only_once_it_is_whole() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    let len = 32 << 20;
    let path = volume.path("segment");
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| volume.create_zeroed("segment", len).unwrap());
        let seen = loop {
            match File::open(&path) {
                Ok(file) => break file,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            }
        };
        assert_eq!(seen.metadata().unwrap().len(), len);
        let hole = rustix::fs::seek(&seen, rustix::fs::SeekFrom::Hole(0)).unwrap();
        assert_eq!(hole, len, "blocks that were never written");
        creating.join().unwrap();
    });
}

#[test]
fn what_a_killed_process_was_making_is_removed() {
    let dir = test_directory();
    for name in [PREPARING, CREATING] {
        fs::write(dir.path().join(name), [0; 5000]).unwrap();
    }
    let volume = FsVolume::open(dir.path()).unwrap();
    assert!(names(&volume).is_empty());
    fs::write(dir.path().join(CREATING), b"again").unwrap();
    volume.create_zeroed("f", BLOCK as u64).unwrap();
    assert_eq!(names(&volume), [("f".to_owned(), BLOCK as u64)]);
}

#[test]
fn what_is_not_whole_blocks_is_refused() {
    let dir = test_directory();
    let volume = FsVolume::open(dir.path()).unwrap();
    volume.create_zeroed("f", BLOCK as u64).unwrap();
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(volume.write_at("f", 1, &[0; BLOCK])), io::ErrorKind::InvalidInput);
    assert_eq!(kind(volume.write_at("f", 0, &[0; 10])), io::ErrorKind::InvalidInput);
    assert_eq!(kind(volume.create_zeroed("g", 10)), io::ErrorKind::InvalidInput);
}

#[test]
fn names_stay_inside_the_directory() {
    let dir = test_directory();
    let volume = FsVolume::open(&dir.path().join("v")).unwrap();
    fs::write(dir.path().join("outside"), b"x").unwrap();
    std::os::unix::fs::symlink("../outside", dir.path().join("v/link")).unwrap();
    for name in ["", ".", "..", "../outside", "/etc/passwd", LOCK] {
        assert_eq!(volume.read_at(name, 0, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        assert_eq!(volume.remove(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
    }
    assert_eq!(volume.read_at("link", 0, 1).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    assert!(names(&volume).is_empty());
}

#[test]
fn a_second_opener_is_told_who_has_the_directory() {
    let dir = test_directory();
    let path = dir.path().join("new/below");
    let first = FsVolume::open(&path).unwrap();
    let error = FsVolume::open(&path).unwrap_err();
    assert!(matches!(error, VolumeError::Locked { .. }));
    let text = error.to_string();
    let holder = format!("process {}", std::process::id());
    assert!(text.contains(&path.display().to_string()) && text.contains(&holder), "{text}");
    drop(first);
    FsVolume::open(&path).unwrap();
}

#[test]
fn a_zombie_and_a_process_that_is_gone_are_dead() {
    assert!(!is_dead(std::process::id()));
    let mut child = std::process::Command::new("true").stdin(std::process::Stdio::null()).spawn().unwrap();
    // Not waited for: it becomes a zombie of ours, and stays one.
    while !is_dead(child.id()) {
        std::thread::yield_now();
    }
    assert!(Path::new(&format!("/proc/{}", child.id())).exists());
    child.wait().unwrap();
    assert!(is_dead(child.id()));
    assert!(has_ended(b"7 (a) Z (b) Z 1 2"));
    assert!(!has_ended(b"7 (x) Z) S 1 2"));
    assert!(!has_ended(b"") && !has_ended(b"7 (x)"));
}

#[test]
fn a_directory_that_cannot_be_had_is_named() {
    let dir = test_directory();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = FsVolume::open(&dir.path().join("file")).unwrap_err();
    assert!(error.to_string().contains("file: "), "{error}");
}
