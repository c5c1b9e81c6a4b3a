//! The housekeeper at work in a real directory, beside the test binary: a temporary one is often not on a disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::io::BLOCK;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::snapshot::receive::RECEIVING;
use ringkeeper_engine::snapshot::steps::{self, Step};
use ringkeeper_engine::snapshot::{Limits, Reception, write_stream};
use ringkeeper_engine::tree::Tree;
use tempfile::TempDir;

use super::file::WRITE;
use super::segments::CHUNK;
use super::*;
use crate::member::work::Doing;

/// Nothing here takes long: a report that does not come is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn directory() -> TempDir {
    let binary = std::env::current_exe().expect("tests have a binary");
    tempfile::tempdir_in(binary.parent().expect("it is in a directory")).expect("a directory on disk")
}

pub(super) fn volume(dir: &Path) -> Arc<FsVolume> {
    Arc::new(FsVolume::open(dir).expect("nobody else has it"))
}

fn keeper(dir: &Path) -> Housekeeper {
    Housekeeper::start(volume(dir), || ()).expect("glommio starts here")
}

/// All but the lock.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("readable").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().expect("ours")).collect();
    names.retain(|name| name != "lock");
    names.sort();
    names
}

pub(super) fn report(keeper: &Housekeeper) -> Report {
    keeper.reports.recv_timeout(PATIENCE).expect("a report comes")
}

fn prepare(name: &str, len: u64, recycle: Option<&str>) -> Chore {
    Chore::Prepare { name: name.into(), len, recycle: recycle.map(Into::into) }
}

/// The steps of a file with these pieces between a header and a flush.
fn file_of(pieces: &[usize]) -> Vec<Step> {
    let mut steps = vec![Step::Create(RECEIVING)];
    let mut offset = BLOCK as u64;
    for (number, &len) in pieces.iter().enumerate() {
        let bytes = (0..len).map(|at| (at / 7 + number * 31) as u8).collect();
        steps.push(Step::Write { offset, bytes });
        steps.push(Step::Read(1));
        offset += len as u64;
    }
    steps.push(Step::Flush);
    steps.push(Step::Write { offset: 0, bytes: vec![b'h'; BLOCK] });
    steps
}

fn store(keeper: &mut Housekeeper, reception: u64, steps: &[Step]) {
    keeper.take(Work::Store { reception, steps: steps.to_vec() });
}

/// The next report on what was stored.
fn stored(keeper: &Housekeeper) -> (u64, Result<u64, LogError>) {
    match report(keeper) {
        Report::Work(WorkDone::Stored { reception, result }) => (reception, result),
        other => panic!("{other:?}"),
    }
}

/// Waits until so much of a reception is stored.
fn wait_for(keeper: &Housekeeper, reception: u64, bytes: u64) {
    let mut sum = 0;
    while sum < bytes {
        let (of, result) = stored(keeper);
        assert_eq!(of, reception);
        sum += result.expect("the disk works");
    }
    assert_eq!(sum, bytes);
}

#[test]
fn segments_are_zero_written_recycled_and_removed() {
    let dir = directory();
    let (bell, rung) = mpsc::channel();
    let keeper = Housekeeper::start(volume(dir.path()), move || bell.send(()).expect("the test listens"))
        .expect("glommio starts here");
    let len = 3 * CHUNK as u64 + 4096;
    let prepared = |chore: Chore| {
        keeper.ask(chore);
        rung.recv().expect("the bell rings");
        match keeper.reports.try_recv().expect("a report comes before the bell") {
            Report::Prepared(name) => name,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(prepared(prepare("log.1", len, None)), "log.1");
    let meta = fs::metadata(dir.path().join("log.1")).expect("it is there");
    assert_eq!((meta.len(), meta.blocks() * 512 >= len), (len, true), "written, not sparse");
    assert_eq!(prepared(prepare("log.2", len, Some("log.1"))), "log.2");
    assert_eq!(names(dir.path()), ["log.2"], "recycled by renaming");
    assert_eq!(fs::metadata(dir.path().join("log.2")).expect("it is there").ino(), meta.ino());
    keeper.ask(Chore::Remove("log.2".into()));
    assert_eq!(prepared(prepare("log.3", 4096, None)), "log.3");
    assert_eq!(names(dir.path()), ["log.3"]);
}

#[test]
fn a_segment_that_cannot_be_made_is_reported_with_its_path_and_the_next_one_is_made() {
    let parent = directory();
    let dir = parent.path().join("missing");
    let keeper = keeper(&dir);
    fs::remove_dir_all(&dir).expect("removed");
    keeper.ask(prepare("log.1", 4096, None));
    match report(&keeper) {
        Report::Failed(name, text) => {
            assert_eq!(name, "log.1");
            assert!(text.contains("missing/preparing"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    fs::create_dir(&dir).expect("created");
    keeper.ask(Chore::Remove("nothing".into()));
    keeper.ask(prepare("log.2", 4096, None));
    match report(&keeper) {
        Report::Prepared(name) => assert_eq!(name, "log.2"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_stored_with_many_writes_in_flight_is_what_one_after_the_other_makes() {
    let (dir, other) = (directory(), directory());
    let mut keeper = keeper(dir.path());
    let blocking = volume(other.path());
    let mib = 1 << 20;
    for (round, pieces) in
        [vec![mib; 20], vec![BLOCK], vec![WRITE, WRITE + BLOCK, 3 * BLOCK, 5 * mib, WRITE - BLOCK]]
            .into_iter()
            .enumerate()
    {
        let steps = file_of(&pieces);
        for step in &steps {
            steps::perform(step, RECEIVING, &*blocking).expect("the disk works");
        }
        // In batches as they come from a socket.
        for batch in steps.chunks(3) {
            store(&mut keeper, round as u64 + 1, batch);
        }
        wait_for(&keeper, round as u64 + 1, steps.iter().map(Step::written).sum());
        let [here, there] = [&dir, &other].map(|dir| fs::read(dir.path().join(RECEIVING)).expect("readable"));
        assert!(here == there, "{pieces:?}");
    }
}

#[test]
fn a_write_that_fails_is_reported_once_with_file_and_offset_and_gives_its_space_back() {
    let dir = directory();
    let mut keeper = keeper(dir.path());
    let mut steps = file_of(&[1 << 20; 8]);
    // No device takes this; the writes before and behind it are in flight as well.
    steps.insert(7, Step::Write { offset: (3 << 20) + 4097, bytes: vec![0; BLOCK] });
    store(&mut keeper, 1, &steps);
    store(&mut keeper, 1, &[Step::Write { offset: 100 << 20, bytes: vec![0; BLOCK] }]);
    let text = loop {
        match stored(&keeper) {
            (1, Ok(_)) => {}
            (1, Err(error)) => break error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(text.contains(&format!("4096 bytes at offset {}", (3 << 20) + 4097)), "{text}");
    assert!(text.contains(RECEIVING) && text.contains(&dir.path().display().to_string()), "{text}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
    // Of the first one nothing more is heard.
    let next = file_of(&[BLOCK]);
    store(&mut keeper, 2, &next);
    wait_for(&keeper, 2, 2 * BLOCK as u64);
    assert_eq!(names(dir.path()), [RECEIVING]);
}

#[test]
fn a_failure_is_heard_of_even_if_nothing_follows() {
    let dir = directory();
    let mut keeper = keeper(dir.path());
    store(&mut keeper, 1, &[Step::Create(RECEIVING), Step::Write { offset: 4097, bytes: vec![0; BLOCK] }]);
    let (_, result) =
        std::iter::repeat_with(|| stored(&keeper)).find(|(_, result)| result.is_err()).expect("endless");
    assert!(result.is_err_and(|error| error.to_string().contains("offset 4097")));
}

#[test]
fn what_was_abandoned_is_removed_and_the_next_reception_begins_anew() {
    let dir = directory();
    let mut keeper = keeper(dir.path());
    let steps = file_of(&[1 << 20; 4]);
    store(&mut keeper, 1, &steps);
    wait_for(&keeper, 1, steps.iter().map(Step::written).sum());
    // Without its header.
    store(&mut keeper, 2, &steps[..steps.len() - 1]);
    keeper.take(Work::Abandon { reception: 2 });
    store(&mut keeper, 2, &steps);
    store(&mut keeper, 3, &file_of(&[BLOCK]));
    let mut sum = 0;
    while sum < 2 * BLOCK as u64 {
        // How far the abandoned one came does not matter.
        if let (3, result) = stored(&keeper) {
            sum += result.expect("the disk works");
        }
    }
    let len = fs::metadata(dir.path().join(RECEIVING)).expect("it is there").len();
    assert_eq!(len, 2 * BLOCK as u64);
    keeper.take(Work::Abandon { reception: 3 });
    keeper.take(Work::Abandon { reception: 4 });
    drop(keeper);
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

/// A leader's stream of a tree with so many sessions, taken in as it would come; and the steps for it.
fn reception(sessions: i64) -> (Reception, Vec<Step>) {
    let mut stream = Vec::new();
    let sessions: Vec<_> = (1..=sessions).map(|id| (SessionId(id), 4000)).collect();
    write_stream(&Tree::new(1), &sessions, &mut |bytes| stream.extend_from_slice(bytes));
    let mut reception = Reception::new(Zxid::from_raw(0x17), Limits::default());
    let mut steps = Vec::new();
    for bytes in stream.chunks(100_000) {
        reception.feed(bytes, &mut steps).expect("a sound stream");
    }
    (reception, steps)
}

#[test]
fn what_was_received_is_loaded_as_soon_as_all_of_it_is_stored() {
    let dir = directory();
    let mut keeper = keeper(dir.path());
    let (reception, steps) = reception(300_000);
    let sum: u64 = steps.iter().map(Step::written).sum();
    assert!(sum > 3 << 20, "several pieces");
    for step in steps {
        keeper.take(Work::Store { reception: 1, steps: vec![step] });
    }
    keeper.take(Work::Load { reception: 1, request: reception.finish(9) });
    let mut left = sum;
    loop {
        match report(&keeper) {
            Report::Work(WorkDone::Stored { reception: 1, result: Ok(bytes) }) => left -= bytes,
            Report::Work(WorkDone::Progress { what: Doing::Loading, done, of }) => assert!(done <= of),
            Report::Work(WorkDone::Loaded { reception: 1, result }) => {
                let arrived = result.expect("sound");
                assert_eq!((arrived.tree.last_zxid().raw(), arrived.sessions.len()), (0x17, 300_000));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(left, 0, "nothing is loaded that was not stored");
}

#[test]
fn what_could_not_be_stored_is_not_loaded() {
    let dir = directory();
    let mut keeper = keeper(dir.path());
    let (received, mut steps) = reception(10);
    steps.insert(1, Step::Write { offset: 4097, bytes: vec![0; BLOCK] });
    store(&mut keeper, 1, &steps);
    keeper.take(Work::Load { reception: 1, request: received.finish(9) });
    store(&mut keeper, 2, &file_of(&[BLOCK]));
    let mut failures = 0;
    loop {
        match stored(&keeper) {
            (1, result) => failures += usize::from(result.is_err()),
            (_, result) => break assert!(result.is_ok()),
        }
    }
    assert_eq!(failures, 1);
}

#[test]
fn the_load_of_an_abandoned_reception_leaves_nothing_in_the_way_of_the_next() {
    let dir = directory();
    let mut keeper = keeper(dir.path());
    for id in 1..=5 {
        let (received, steps) = reception(50_000);
        keeper.take(Work::Store { reception: id, steps });
        keeper.take(Work::Load { reception: id, request: received.finish(9) });
        if id < 5 {
            keeper.take(Work::Abandon { reception: id });
        }
    }
    loop {
        // Of the others one may have been loaded in time, or not.
        if let Report::Work(WorkDone::Loaded { reception: 5, result }) = report(&keeper) {
            break assert_eq!(result.expect("its file is its own").sessions.len(), 50_000);
        }
    }
    assert_eq!(names(dir.path()), [RECEIVING]);
}

#[test]
fn an_end_in_the_middle_of_a_reception_leaves_the_directory_to_the_next_start() {
    let dir = directory();
    let mut keeper = keeper(dir.path());
    for batch in file_of(&[1 << 20; 64]).chunks(2) {
        store(&mut keeper, 1, batch);
    }
    drop(keeper);
    assert_eq!(names(dir.path()), Vec::<String>::new());
    // The lock is free, so that no thread has the directory any more.
    volume(dir.path());
}
