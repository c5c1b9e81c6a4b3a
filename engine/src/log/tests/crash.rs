//! Power cuts at every step of a recorded run, with every choice of what survives where that can be counted.

use super::*;
use crate::io::sim::{Crash, Pick};

/// Up to this many unflushed sectors all subsets are tried.
const EXHAUSTIVE: usize = 11;
/// Choices drawn where they cannot all be tried.
const SAMPLES: u64 = 24;

/// What a cut may leave of the sectors: all subsets where there are few; else, for the last writes in flight, each
/// whole, gone, only its first sector, or all but that, in all combinations; and drawn ones.
fn sector_choices(disk: &SimDisk, seed: u64) -> Vec<Pick> {
    let sectors = disk.unflushed_sectors();
    if sectors <= EXHAUSTIVE {
        return (0..1u64 << sectors).map(Pick::Bits).collect();
    }
    let mut picks: Vec<Pick> = (0..SAMPLES).map(|i| Pick::Seed(seed.wrapping_add(i * 7919))).collect();
    picks.extend([Pick::None, Pick::All]);
    let writes = disk.in_flight_sectors();
    if sectors <= 64 && writes.iter().sum::<usize>() == sectors {
        for shape in 0..4u64.pow(writes.len() as u32) {
            let (mut bits, mut at) = (0u64, 0);
            for (i, &len) in writes.iter().enumerate() {
                let all = (u64::MAX >> (64 - len)) << at;
                let first = 1 << at;
                bits |= [0, all, first, all & !first][(shape >> (2 * i) & 3) as usize];
                at += len;
            }
            picks.push(Pick::Bits(bits));
        }
    }
    picks
}

fn name_choices(disk: &SimDisk, seed: u64) -> Vec<Pick> {
    let names = disk.unsynced_names();
    if names <= 4 {
        return (0..1u64 << names).map(Pick::Bits).collect();
    }
    (0..8).map(|i| Pick::Seed(seed + i)).chain([Pick::None, Pick::All]).collect()
}

#[derive(Default, Debug)]
struct Tally {
    states: usize,
    crashes: usize,
    torn: usize,
    nested: usize,
}

/// Crashes every recorded state in every way and checks what comes back.
fn explore(rig: &Rig, states: Vec<(u64, SimDisk)>) -> Tally {
    let mut tally = Tally::default();
    for (change, state) in states {
        tally.states += 1;
        let expected = rig.expected_at(change);
        for names in name_choices(&state, change) {
            for sectors in sector_choices(&state, change) {
                let crash = Crash { sectors, names };
                let disk = state.fork();
                disk.crash(crash);
                tally.crashes += 1;
                let nested = tally.crashes.is_multiple_of(37);
                let context = || format!("change {change}, {crash:?}");
                check(&disk, &rig.options, expected, nested, &mut tally, &context);
            }
        }
    }
    tally
}

/// Opens a crashed disk: what it finds is allowed; a harsh cut right after, and at any step of this opening,
/// changes nothing of it; and opening once more finds and leaves the same bytes.
fn check(
    disk: &SimDisk,
    options: &LogOptions,
    expected: &Expect,
    nested: bool,
    tally: &mut Tally,
    context: &dyn Fn() -> String,
) {
    if nested {
        disk.record();
    }
    let opened = open_with(disk, options.clone());
    let (log, report, found) = opened.unwrap_or_else(|error| panic!("{}: {error}", context()));
    assert!(expected.allows(&found), "{}: {:?} is none of {expected:?}", context(), zxids(&found));
    tally.torn += usize::from(report.torn.is_some());
    let recovered_to = log.durable().get();
    drop(log);
    disk.crash(Crash::HARSH);
    let before = disk.contents();
    let (_, again, same) = open_with(disk, options.clone()).unwrap();
    assert!(same == found && again.last == recovered_to, "{}: {again:?}", context());
    assert_eq!(again.torn, None, "{}: a torn tail is cut once", context());
    assert!(disk.contents() == before, "{}: recovering twice changed the disk", context());
    if !nested {
        return;
    }
    for (step, disk) in disk.recorded() {
        for crash in [Crash::HARSH, Crash { sectors: Pick::All, names: Pick::All }, Crash::seeded(step)] {
            let disk = disk.fork();
            disk.crash(crash);
            let (_, _, same) = open_with(&disk, options.clone()).unwrap();
            assert!(same == found, "{}: {crash:?} at step {step} of the recovery", context());
            tally.nested += 1;
        }
    }
}

#[test]
fn one_write_at_a_time_survives_every_subset_of_sectors() {
    let mut rig = Rig::with(SimDisk::new(1), LogOptions { in_flight: 1, batch_bytes: BLOCK, ..small() });
    rig.disk.set_completion(Completion::Manual);
    rig.disk.record();
    rig.housekeep();
    for i in 0..12 {
        rig.batch(1 + i % 2, 700);
        rig.settle();
    }
    let states = rig.disk.recorded();
    assert!(rig.log.segments.len() >= 2);
    let tally = explore(&rig, states);
    assert!(tally.crashes > 4_000 && tally.torn > 100 && tally.nested > 100, "{tally:?}");
}

#[test]
fn four_writes_in_flight_survive_every_combination_of_torn_writes() {
    for seed in 0..3 {
        let mut rig = Rig::new(seed);
        rig.disk.set_completion(Completion::Manual);
        rig.disk.record();
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..14 {
            rig.batch(1, random.usize(40..3000));
            rig.housekeep();
            if random.u8(0..3) > 0 {
                let tags = rig.disk.in_flight();
                if !tags.is_empty() {
                    rig.disk.complete(tags[random.usize(..tags.len())]);
                }
            }
            rig.reap();
            rig.tick(random.u64(0..9));
        }
        rig.settle();
        let states = rig.disk.recorded();
        let tally = explore(&rig, states);
        assert!(tally.crashes > 3_000 && tally.torn > 300, "{tally:?}");
    }
}

#[test]
fn rolls_in_flight_survive() {
    for seed in 10..13 {
        let options = LogOptions { segment_bytes: 4 * BLOCK as u64, batch_bytes: BLOCK, ..small() };
        let mut rig = Rig::with(SimDisk::new(seed), options);
        rig.disk.set_completion(Completion::Manual);
        rig.housekeep();
        rig.batch(1, 40);
        rig.settle();
        rig.disk.record();
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..9 {
            rig.batch(2, 1800);
            let tags = rig.disk.in_flight();
            if tags.len() > 3 {
                rig.disk.complete(tags[random.usize(..tags.len())]);
            }
            rig.reap();
            rig.housekeep();
        }
        let states = rig.disk.recorded();
        let tally = explore(&rig, states);
        assert!(tally.crashes > 2_000 && tally.torn > 300, "{tally:?}");
    }
}

#[test]
fn cuts_survive_at_every_step() {
    for seed in 20..24 {
        let mut rig = Rig::new(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        rig.housekeep();
        rig.disk.record();
        for round in 0..5 {
            for _ in 0..random.usize(1..6) {
                rig.batch(random.usize(1..4), random.usize(40..1500));
                rig.disk.complete_all();
                rig.reap();
                if random.bool() {
                    rig.housekeep();
                }
            }
            rig.settle();
            let last = rig.log.appended().raw();
            let back = random.i64(1..=last.min(7));
            rig.truncate(zxid(last - back));
            if round % 2 == 0 {
                rig.truncate(zxid((last - back - 1).max(0)));
            }
        }
        rig.batch(2, 500);
        rig.settle();
        let states = rig.disk.recorded();
        let tally = explore(&rig, states);
        assert!(tally.crashes > 2_000 && tally.nested > 50, "{tally:?}");
    }
}

#[test]
fn purging_and_recycling_survive_at_every_step() {
    for seed in 30..34 {
        let mut rig = Rig::new(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        rig.housekeep();
        rig.disk.record();
        let mut freed = 0;
        for _ in 0..30 {
            rig.batch(random.usize(1..4), random.usize(40..2500));
            rig.reap();
            if random.u8(..) < 60 {
                let last = rig.log.appended().raw();
                freed += rig.purge(zxid(last - random.i64(0..6)));
            }
            if random.u8(..) < 20 && rig.log.is_idle() && rig.log.base().zxid < rig.log.durable().get() {
                let last = rig.log.appended().raw();
                rig.truncate(zxid(last - 1).max(rig.log.base().zxid));
            }
            rig.housekeep();
            rig.tick(random.u64(0..30));
        }
        rig.settle();
        let renames =
            rig.disk.trace().iter().filter(|e| matches!(e, crate::io::sim::Event::Rename(..))).count();
        assert!(freed > 2 && renames > 2, "{freed} freed, {renames} recycled");
        let states = rig.disk.recorded();
        let tally = explore(&rig, states);
        assert!(tally.crashes > 3_000, "{tally:?}");
    }
}

#[test]
fn a_life_of_crashes_keeps_every_promise() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new(seed);
        for _ in 0..25 {
            rig.disk.set_completion(Completion::Seeded);
            for _ in 0..random.usize(1..12) {
                rig.batch(random.usize(1..3), random.usize(32..2500));
                rig.reap();
                if random.bool() {
                    rig.housekeep();
                }
                rig.tick(random.u64(0..40));
            }
            match random.u8(0..5) {
                0 => rig.disk.kill(Pick::Seed(random.u64(..))),
                1 => {
                    rig.disk.kill(Pick::Seed(random.u64(..)));
                    (rig, _) = rig.reopen();
                    rig.disk.crash(Crash::seeded(random.u64(..)));
                }
                2 => {
                    rig.settle();
                    let back = random.i64(0..5);
                    let to = zxid(rig.log.appended().raw() - back).max(rig.log.base().zxid);
                    rig.truncate(to);
                    rig.disk.crash(Crash::seeded(random.u64(..)));
                }
                _ => rig.disk.crash(Crash::seeded(random.u64(..))),
            }
            (rig, _) = rig.reopen();
            rig.version = rig.version.wrapping_add(1);
        }
    }
}

#[test]
fn what_recovery_told_survives_although_it_was_only_cached() {
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        rig.housekeep();
        rig.disk.set_completion(Completion::Manual);
        for _ in 0..4 {
            rig.batch(1, 500);
        }
        rig.disk.kill(if seed == 0 { Pick::All } else { Pick::Seed(seed) });
        let (_, _, told) = open(&rig.disk).unwrap();
        assert!(seed > 0 || told.len() == 3);
        rig.disk.crash(Crash::HARSH);
        let (_, _, found) = open(&rig.disk).unwrap();
        assert_eq!(told, found);
    }
}

#[test]
fn a_new_directory_survives_every_cut_of_its_making() {
    let disk = SimDisk::new(5);
    disk.record();
    let (mut log, _, _) = open(&disk).unwrap();
    log.prepare(&disk).unwrap();
    let empty = Expect { histories: vec![(Txns::new(), 0)], purged: 0 };
    let mut tally = Tally::default();
    for (change, state) in disk.recorded() {
        for names in name_choices(&state, change) {
            for sectors in sector_choices(&state, change) {
                let fork = state.fork();
                fork.crash(Crash { sectors, names });
                check(&fork, &small(), &empty, true, &mut tally, &|| format!("change {change}"));
                let (log, ..) = open(&fork).unwrap();
                assert!(!log.epochs().get().nonvoting, "change {change}: nothing was lost");
            }
        }
    }
    assert!(tally.nested > 1_000, "{tally:?}");
}

#[test]
fn promises_survive_every_cut_of_their_making() {
    use crate::id::Epoch;
    let disk = SimDisk::new(5);
    let (mut log, ..) = open(&disk).unwrap();
    disk.record();
    let mut told = vec![(disk.changes(), 0)];
    for epoch in 1..=4 {
        let promise = Epochs { accepted: Epoch(epoch), current: Epoch(epoch - 1), nonvoting: false };
        log.set_epochs(&disk, promise).unwrap();
        told.push((disk.changes(), epoch));
    }
    for (change, state) in disk.recorded() {
        let least = told.iter().rev().find(|(at, _)| *at <= change).unwrap().1;
        for sectors in sector_choices(&state, change) {
            let fork = state.fork();
            fork.crash(Crash { sectors, names: Pick::None });
            let (log, ..) = open(&fork).unwrap();
            let found = log.epochs().get();
            assert!((least..=least + 1).contains(&found.accepted.0), "change {change}: {found:?}");
            // Rot of either slot does not take it back, now that it was read.
            for slot in 0..2 {
                let rotten = fork.fork();
                rotten.corrupt("epochs", slot * BLOCK as u64 + 40, &[0xff; 8]);
                assert_eq!(open(&rotten).unwrap().0.epochs().get(), found);
            }
        }
    }
}

#[test]
fn what_was_read_from_slots_survives_a_cut_and_rot_of_one_of_them() {
    use crate::id::Epoch;
    let mut rig = Rig::with(SimDisk::new(5), LogOptions { prepare_ahead: 1, ..small() });
    rig.disk.set_completion(Completion::Manual);
    rig.housekeep();
    for _ in 0..12 {
        rig.batch(1, 600);
        rig.settle();
    }
    rig.disk.record();
    let promise = Epochs { accepted: Epoch(2), current: Epoch(1), nonvoting: false };
    rig.log.set_epochs(&rig.disk, promise).unwrap();
    assert!(rig.purge(zxid(11)) == 2);
    while rig.log.purging.is_some() {
        rig.seal();
        rig.disk.complete_all();
        rig.reap();
    }
    rig.batch(1, 600);
    rig.settle();
    let mut freed = 0;
    for (change, state) in rig.disk.recorded() {
        for landed in [Pick::None, Pick::All, Pick::Seed(change)] {
            let disk = state.fork();
            disk.kill(landed);
            let (mut log, _, told) = open_with(&disk, rig.options.clone()).unwrap();
            let promised = log.epochs().get();
            // The next process relies on it at once, and gives up what the mark says is not needed.
            while let Some(file) = log.removal_wanted() {
                disk.remove(&file).unwrap();
                freed += 1;
            }
            drop(log);
            disk.sync_dir().unwrap();
            disk.crash(Crash::HARSH);
            for (file, slot) in [("marks", 0), ("marks", 1), ("epochs", 0), ("epochs", 1)] {
                let rotten = disk.fork();
                rotten.corrupt(file, slot * BLOCK as u64 + 40, &[0xff; 8]);
                let (log, _, found) = open_with(&rotten, rig.options.clone())
                    .unwrap_or_else(|error| panic!("change {change}, {landed:?}, {file} {slot}: {error}"));
                assert_eq!(
                    (log.epochs().get(), found),
                    (promised, told.clone()),
                    "change {change}, {file} {slot}"
                );
            }
        }
    }
    assert!(freed > 0);
}

/// What is acknowledged without flushing may be lost, from its end. It must not look like damage: neither a mark
/// nor a header vouches for it. What a cut, a stop or an opening flushed is owed.
#[test]
fn without_flushes_a_cut_takes_the_tail_and_is_no_damage() {
    let mut torn = 0;
    for seed in 20..26 {
        let options =
            LogOptions { segment_bytes: 4 * BLOCK as u64, batch_bytes: BLOCK, sync: false, ..small() };
        let mut rig = Rig::with(SimDisk::new(seed), options);
        rig.disk.set_completion(Completion::Seeded);
        rig.disk.record();
        for round in 0..2 {
            for _ in 0..5 {
                rig.batch(2, 1500);
                rig.settle();
                rig.tick(5);
                rig.tick(200);
                rig.settle();
            }
            if round == 0 {
                rig.truncate(zxid(rig.log.durable().get().raw() - 3));
            }
        }
        let flushed_at = rig.journal.iter().position(|(_, e)| e.histories.len() > 1).unwrap();
        let owed = rig.journal[flushed_at].1.histories[0].1;
        for (i, (_, expect)) in rig.journal.iter_mut().enumerate() {
            let owed = if i > flushed_at { owed } else { 0 };
            expect.histories.iter_mut().for_each(|(_, acked)| *acked = owed);
        }
        let states = rig.disk.recorded();
        torn += explore(&rig, states).torn;

        let Rig { log, disk, options, now, .. } = rig;
        log.close(&disk).unwrap();
        disk.crash(Crash::HARSH);
        assert!(open_with(&disk, options).unwrap().2 == now.histories[0].0, "a stop flushes");
    }
    assert!(torn > 300, "{torn}");
}

/// The first segments of a directory are written to before any of them has a durable header.
#[test]
fn a_later_header_may_arrive_before_the_first_one() {
    let options = LogOptions { segment_bytes: 4 * BLOCK as u64, batch_bytes: BLOCK, ..small() };
    let mut rig = Rig::with(SimDisk::new(1), options);
    rig.housekeep();
    rig.disk.set_completion(Completion::Manual);
    rig.disk.record();
    (0..2).for_each(|_| rig.batch(1, 11_000));
    assert_eq!((rig.writes().len(), rig.log.segments.len()), (4, 2));
    let states = rig.disk.recorded();
    let tally = explore(&rig, states);
    assert!(tally.torn > 10, "{tally:?}");
}
