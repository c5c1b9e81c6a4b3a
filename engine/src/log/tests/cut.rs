//! Truncation.

use super::*;

fn filled(seed: u64) -> Rig {
    let mut rig = Rig::new(seed);
    for i in 0..18 {
        rig.batch(1 + i % 4, 300 + 80 * i);
        rig.housekeep();
        rig.settle();
    }
    assert!(rig.log.segments.len() >= 4);
    rig
}

#[test]
fn a_cut_at_any_zxid_keeps_what_is_at_or_below_and_nothing_else() {
    let last = filled(1).log.durable().get().raw();
    for to in 0..=last + 1 {
        let mut rig = filled(1);
        let before = rig.disk.contents();
        rig.truncate(zxid(to));
        let after = rig.disk.contents();
        for (name, bytes) in
            before.iter().filter(|(n, _)| rig.log.segments.iter().any(|s| s.name.to_string() == **n))
        {
            assert!(
                rig.log.segments.last().unwrap().name.to_string() == *name || &after[name] == bytes,
                "to {to}: the cut wrote into {name}"
            );
        }
        assert_eq!(rig.history().len() as i64, to.min(last));
        let (rig, report) = rig.reopen();
        assert_eq!((report.last, report.torn), (zxid(to.min(last)), None));
        assert_eq!(report.generation, if to < last { 2 } else { 1 });

        let mut rig = rig;
        rig.version = 77;
        for i in 0..6 {
            rig.batch(2, 200 * i);
            rig.housekeep();
            rig.settle();
        }
        assert_eq!(rig.log.durable().get().raw(), to.min(last) + 12);
        let all = rig.read_back(Zxid::ZERO).unwrap();
        assert_eq!(&all, rig.history(), "to {to}");
        rig.reopen();
    }
}

#[test]
fn cuts_upon_cuts_leave_one_history() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rig = filled(seed);
        for _ in 0..12 {
            let last = rig.log.durable().get().raw();
            let back = if random.bool() { random.i64(0..4) } else { random.i64(0..=last) };
            rig.truncate(zxid((last - back).max(0)));
            for _ in 0..random.usize(0..3) {
                rig.batch(random.usize(1..5), random.usize(32..1200));
                rig.settle();
            }
            let all = rig.read_back(Zxid::ZERO).unwrap();
            assert_eq!(&all, rig.history());
            if random.bool() {
                (rig, _) = rig.reopen();
                rig.version = random.u8(..);
            }
        }
    }
}

#[test]
fn nothing_is_cut_with_writes_in_flight_or_waiting() {
    let mut rig = filled(1);
    rig.append(100);
    assert!(matches!(rig.log.truncate(&rig.disk, zxid(3)), Err(LogError::Busy { doing: "truncating" })));
    rig.seal();
    let error = rig.log.truncate(&rig.disk, zxid(3)).unwrap_err();
    assert_eq!(error.to_string(), "truncating while log writes are in flight");
    rig.settle();
    rig.truncate(zxid(3));
}

#[test]
fn what_is_purged_can_be_cut_to_exactly_and_not_beyond() {
    let mut rig = filled(1);
    let below = rig.log.segments[2].last.zxid;
    assert_eq!(rig.purge(below), 2);
    rig.settle();
    let base = rig.log.base().zxid;
    let error = rig.log.truncate(&rig.disk, zxid(base.raw() - 1)).unwrap_err();
    assert!(matches!(error, LogError::Purged { first, .. } if first == base), "{error}");
    assert!(matches!(rig.read_back(zxid(base.raw() - 1)), Err(LogError::Purged { .. })));
    assert!(rig.read_back(base).is_ok());
    rig.log.truncate(&rig.disk, base).unwrap();
    let (log, report, found) = open(&rig.disk).unwrap();
    assert_eq!((found.len(), report.last), (0, base));
    drop(log);
}

#[test]
fn transactions_in_memory_are_forgotten_by_a_cut() {
    let mut rig = filled(1);
    rig.batch(1, 100);
    let mut done = Vec::new();
    rig.disk.reap(&mut done);
    for done in done {
        rig.log.on_done(done).unwrap();
    }
    rig.now.histories[0].1 += 1;
    while !rig.log.is_idle() {
        rig.reap();
        rig.seal();
    }
    rig.truncate(zxid(5));
    assert_eq!(rig.log.window(), zxid(5));
    assert_eq!(rig.log.next(&mut rig.log.cursor(zxid(5)), zxid(1 << 40)), Next::End);
}
