//! Operations that fail: nothing is acknowledged afterwards, and what was is there.

use super::*;
use crate::io::sim::{Crash, Event, SimOp};

const EIO: i32 = 5;

/// A run of everything the log does, until something fails.
fn life(rig: &mut Rig) -> Result<(), LogError> {
    for i in 0..12 {
        for _ in 0..1 + i % 3 {
            let z = zxid(rig.log.appended().raw() + 1);
            let bytes = txn(z, 100 + 400 * i, rig.version);
            rig.log.append(z, |out| out.extend_from_slice(&bytes))?;
            rig.now.histories[0].0.push((z, bytes));
        }
        rig.log.seal(&mut rig.disk)?;
        while let Some(request) = rig.log.segment_wanted() {
            match request.perform(&rig.disk) {
                Ok(()) => rig.log.segment_prepared(&request.name),
                Err(_) => rig.log.segment_failed(&request.name),
            }
        }
        while let Some(file) = rig.log.removal_wanted() {
            // The log needs no answer: what stays is found again at the next start.
            let _ = rig.disk.remove(&file);
        }
        rig.clock += 7;
        rig.log.tick(rig.clock, &mut rig.disk)?;
        drain(rig)?;
        if i == 4 || i == 9 {
            rig.log.seal(&mut rig.disk)?;
            while !rig.log.is_idle() {
                drain(rig)?;
                rig.log.seal(&mut rig.disk)?;
            }
            let to = zxid(rig.log.durable().get().raw() - 2);
            let kept: Txns = rig.history().iter().filter(|(z, _)| *z <= to).cloned().collect();
            let acked = kept.len();
            rig.now.histories.insert(0, (kept, acked));
            rig.log.truncate(&rig.disk, to)?;
            rig.now.histories.truncate(1);
            rig.applied = rig.log.cursor(to);
            rig.version += 1;
        }
        if i == 7 {
            rig.now.purged = rig.history().len();
            rig.log.purge(rig.log.durable().get());
        }
    }
    Ok(())
}

fn drain(rig: &mut Rig) -> Result<(), LogError> {
    let mut done = Vec::new();
    rig.disk.reap(&mut done);
    for done in done {
        rig.log.on_done(done)?;
        let durable = rig.log.durable().get();
        while let Next::Txn(..) = rig.log.next(&mut rig.applied, durable) {
            rig.now.histories[0].1 += 1;
        }
        rig.log.release(durable);
    }
    Ok(())
}

fn counts(of: SimOp) -> u64 {
    let mut rig = Rig::new(1);
    let before = rig.disk.trace().len();
    life(&mut rig).unwrap();
    let trace = rig.disk.trace();
    let matches = |e: &&Event| match e {
        Event::Complete { .. } | Event::Write { .. } => of == SimOp::Write,
        Event::SyncDir => of == SimOp::SyncDir,
        Event::Create(..) => of == SimOp::Create,
        Event::Rename(..) => of == SimOp::Rename,
        Event::Remove(..) => of == SimOp::Remove,
        _ => false,
    };
    trace[before..].iter().filter(matches).count() as u64
}

#[test]
fn after_any_failed_write_nothing_is_acknowledged() {
    let writes = counts(SimOp::Write);
    assert!(writes > 20);
    for nth in 0..writes {
        let mut rig = Rig::new(1);
        rig.disk.fail(SimOp::Write, nth, EIO);
        let error = life(&mut rig).unwrap_err();
        let LogError::Io { doing, path, offset, .. } = &error else { panic!("write {nth}: {error}") };
        assert!(error.to_string().contains("Input/output error"), "{error}");
        assert!(error.to_string().contains(doing) && error.to_string().contains(path.to_str().unwrap()));
        let tried = rig.disk.trace().into_iter().rev().find_map(|event| match event {
            Event::Submit { file, offset, .. } | Event::Write { file, offset, .. } if file == "marks" => {
                Some(offset)
            }
            _ => None,
        });
        assert!(!path.ends_with("marks") || tried == Some(*offset), "write {nth}: {error}");
        // Everything that follows is refused, although the disk is well again.
        let z = zxid(1 << 40);
        let refused = rig.log.append(z, |out| out.extend_from_slice(&txn(z, 50, 0)));
        assert!(matches!(refused, Err(LogError::Poisoned { .. })), "write {nth}");
        assert!(matches!(rig.log.seal(&mut rig.disk.clone()), Err(LogError::Poisoned { .. })));
        assert!(matches!(rig.log.tick(1 << 40, &mut rig.disk.clone()), Err(LogError::Poisoned { .. })));
        assert!(matches!(rig.log.truncate(&rig.disk, zxid(1)), Err(LogError::Poisoned { .. })));
        assert!(matches!(rig.log.on_done(ok(0)), Err(LogError::Poisoned { .. })), "write {nth}");
        assert_eq!(rig.log.space(), Space::None);
        for crash in [Crash::HARSH, Crash::seeded(nth)] {
            let disk = rig.disk.fork();
            disk.crash(crash);
            let (_, _, found) = open(&disk).unwrap();
            assert!(rig.now.allows(&found), "write {nth}: {:?} of {:?}", zxids(&found), rig.now);
        }
    }
}

#[test]
fn other_failed_operations_lose_nothing_acknowledged() {
    for op in [SimOp::SyncDir, SimOp::Create, SimOp::Rename, SimOp::Remove, SimOp::Attach, SimOp::Read] {
        for nth in 0..=counts(op).max(8) {
            let mut rig = Rig::new(1);
            rig.disk.fail(op, nth, EIO);
            // Those of the housekeeper are no failure of the log: it asks again.
            let result = life(&mut rig);
            for crash in [Crash::HARSH, Crash::seeded(nth)] {
                let disk = rig.disk.fork();
                disk.crash(crash);
                let (_, _, found) = open(&disk).unwrap();
                assert!(
                    rig.now.allows(&found),
                    "{op:?} {nth}: {result:?}: {:?} of {:?}",
                    zxids(&found),
                    rig.now
                );
            }
        }
    }
}

#[test]
fn a_recovery_that_fails_says_so_and_the_next_one_finds_the_same() {
    let mut rig = Rig::new(1);
    for _ in 0..6 {
        rig.batch(2, 600);
        rig.housekeep();
        rig.settle();
    }
    rig.disk.set_completion(Completion::Manual);
    for _ in 0..3 {
        rig.batch(1, 600);
    }
    let tags = rig.disk.in_flight();
    rig.disk.complete(tags[1]);
    rig.disk.kill(crate::io::sim::Pick::Seed(4));
    let (_, report, expected) = open(&rig.disk.fork()).unwrap();
    assert!(report.torn.is_some());
    for op in [SimOp::Read, SimOp::Write, SimOp::Sync, SimOp::SyncDir] {
        let mut failures = 0;
        for nth in 0.. {
            let disk = rig.disk.fork();
            disk.fail(op, nth, EIO);
            let Err(error) = open(&disk) else { break };
            assert!(error.to_string().contains("Input/output error"), "{op:?} {nth}: {error}");
            failures += 1;
            disk.crash(Crash::seeded(nth));
            let (_, _, found) = open(&disk).unwrap();
            // What was only in the device's cache may be gone: the failed recovery told nobody.
            assert!(rig.now.allows(&found), "{op:?} {nth}");
            assert!(expected.starts_with(&found));
        }
        assert!(failures > 0, "{op:?}");
    }
}

#[test]
fn a_full_disk_is_said_before_a_zxid_is_given_and_passes_by_itself() {
    let options = LogOptions { reserve_bytes: 2 * BLOCK as u64, prepare_ahead: 1, ..small() };
    let mut rig = Rig::with(SimDisk::new(1), options);
    assert_eq!(rig.log.space(), Space::None, "nothing is prepared in a new directory");
    rig.housekeep();
    assert_eq!(rig.log.space(), Space::Ok);
    rig.disk.set_capacity(0);
    let mut seen = vec![rig.log.space()];
    for _ in 0..6 {
        rig.batch(1, 100);
        rig.reap();
        if let Some(request) = rig.log.segment_wanted() {
            let error = request.perform(&rig.disk).unwrap_err();
            assert!(error.to_string().starts_with("creating sim/log."), "{error}");
            rig.log.segment_failed(&request.name);
        }
        if let Some(file) = rig.log.removal_wanted() {
            rig.disk.remove(&file).unwrap();
        }
        seen.push(rig.log.space());
    }
    seen.dedup();
    assert_eq!(seen, [Space::Ok, Space::Reserve, Space::None]);
    let acked = rig.acked();
    assert_eq!(acked, 5, "what has a zxid and no room waits");
    rig.seal();
    rig.reap();
    assert_eq!(rig.acked(), acked);
    rig.disk.set_capacity(u64::MAX);
    rig.housekeep();
    assert_eq!(rig.log.space(), Space::Ok);
    rig.settle();
    assert_eq!(rig.acked(), 6);
    rig.reopen();
}

#[test]
fn a_start_on_a_full_disk_reads_and_writes_when_there_is_space_again() {
    let disk = SimDisk::new(1);
    let (mut log, report, _) = open(&disk).unwrap();
    assert!(report.created);
    disk.set_capacity(0);
    log.prepare(&disk).unwrap_err();
    disk.set_capacity(u64::MAX);
    log.prepare(&disk).unwrap();
    let files = disk.list().unwrap().len();
    log.prepare(&disk).unwrap();
    assert_eq!(disk.list().unwrap().len(), files, "one is enough");
    drop(log);

    let mut rig = Rig::with(disk, small());
    rig.batch(3, 100);
    rig.settle();
    while rig.log.stock.take().is_some() {}
    rig.disk
        .list()
        .unwrap()
        .iter()
        .filter(|f| f.name.starts_with("log."))
        .skip(1)
        .for_each(|f| rig.disk.lose(&f.name));
    let (mut rig, _) = rig.reopen();
    rig.disk.set_capacity(0);
    rig.log.prepare(&rig.disk).unwrap_err();
    assert_eq!(rig.read_back(Zxid::ZERO).unwrap().len(), 3);
    rig.batch(1, 100);
    while rig.acked() < 4 {
        rig.reap();
        rig.seal();
    }
    rig.disk.set_capacity(u64::MAX);
    rig.housekeep();
    rig.batch(1, 14_000);
    rig.settle();
    assert_eq!(rig.log.segments.len(), 2);
    rig.reopen();
}

#[test]
fn a_cut_without_space_is_not_begun() {
    let mut rig = Rig::new(1);
    rig.batch(4, 100);
    rig.settle();
    while rig.log.stock.take().is_some() {}
    rig.disk.set_capacity(0);
    let error = rig.log.truncate(&rig.disk, zxid(2)).unwrap_err();
    assert!(matches!(error, LogError::File { doing: "creating", .. }), "{error}");
    rig.disk.set_capacity(u64::MAX);
    rig.batch(1, 100);
    rig.settle();
    assert_eq!(rig.log.durable().get(), zxid(5));
    rig.truncate(zxid(2));
    rig.reopen();
}

#[test]
fn a_promise_that_could_not_be_written_is_not_made() {
    use crate::id::Epoch;
    for nth in 0..2 {
        let disk = SimDisk::new(1);
        let (mut log, ..) = open(&disk).unwrap();
        disk.fail(SimOp::Write, nth, EIO);
        let promise = Epochs { accepted: Epoch(4), current: Epoch(4), nonvoting: false };
        assert!(matches!(log.set_epochs(&disk, promise), Err(LogError::Io { .. })));
        assert!(matches!(log.set_epochs(&disk, promise), Err(LogError::Poisoned { .. })));
        disk.crash(Crash::seeded(nth));
        let found = open(&disk).unwrap().0.epochs().get();
        assert!(found == promise || found == Epochs::default());
    }
}

#[test]
fn one_who_replays_and_refuses_stops_the_opening() {
    let mut rig = Rig::new(1);
    rig.batch(3, 100);
    rig.settle();
    let result = Log::open(&rig.disk, small(), &mut |_, z| match z.raw() {
        2 => Err("no such node".into()),
        _ => Ok(()),
    });
    let text = result.err().unwrap().to_string();
    assert!(text.starts_with("replaying transaction 0x2 from offset 4096 of sim/log."), "{text}");
    assert!(text.ends_with(": no such node"), "{text}");
}
