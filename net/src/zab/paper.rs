//! One test per guarantee of ZAB, over a few hundred seeds of a small world in which everything that may fail does.
//! `sim` makes the checks while it runs; a test that fails prints its seed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ringkeeper_engine::id::{Epoch, Sid, Zxid};
use ringkeeper_engine::log::Epochs;

use super::sim::{Path, World};

/// Runs `test` with many seeds and says which one failed.
fn seeds(range: std::ops::Range<u64>, mut test: impl FnMut(u64)) {
    for seed in range {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("failed with seed {seed}");
            resume_unwind(panic);
        }
    }
}

/// `count` seeds, or as many as the environment asks for.
fn seeds_from(first: u64, count: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("RINGKEEPER_ZAB_SEEDS").ok().and_then(|count| count.parse().ok());
    let first = first * 1_000_000;
    first..first + asked.unwrap_or(count)
}

/// Steps until `done`, at most so many.
fn until(world: &mut World, what: &str, mut done: impl FnMut(&World) -> bool) {
    for _ in 0..40_000 {
        if done(world) {
            return;
        }
        world.step();
    }
    panic!("never: {what}");
}

#[test]
fn election_converges_and_everybody_delivers_the_same() {
    seeds(0..60, |seed| {
        let mut world = World::new(seed, 3 + 2 * (seed as i64 % 2), 0);
        world.start_all();
        world.run(500, false);
        assert_eq!(world.leaders.len(), 1, "without a fault there is no second election");
    });
}

#[test]
fn committed_transactions_survive_crashes_partitions_and_lost_connections() {
    let mut paths = BTreeSet::new();
    seeds(seeds_from(1, 600), |seed| {
        let mut world = World::new(seed, 3 + 2 * (seed as i64 % 2), 0);
        world.start_all();
        world.run(3000, true);
        paths.extend(world.paths.iter().copied());
    });
    for path in
        [Path::Empty, Path::Diff, Path::DiskDiff, Path::Trunc, Path::TruncDiff, Path::Snap, Path::SnapAndMore]
    {
        assert!(paths.contains(&path), "no seed took {path:?}");
    }
}

#[test]
fn groups_and_weights_decide_as_well_as_majorities() {
    seeds(seeds_from(9, 200), |seed| {
        let mut world = World::grouped(seed);
        world.start_all();
        world.run(2500, true);
    });
}

#[test]
fn observers_deliver_what_voters_do_and_count_for_nothing() {
    seeds(seeds_from(2, 150), |seed| {
        let mut world = World::new(seed, 3, 2);
        world.start_all();
        world.run(2500, true);
    });
    let mut world = World::new(1, 3, 2);
    for sid in [1, 101, 102] {
        world.start(Sid(sid));
    }
    for _ in 0..5000 {
        world.step();
    }
    assert_eq!(world.leader(), None, "one voter and two observers are no quorum");
}

#[test]
fn learners_taken_for_apache_servers_are_never_cut() {
    let mut paths = BTreeSet::new();
    seeds(seeds_from(3, 250), |seed| {
        let mut world = World::new(seed, 3, 1);
        world.apache = world.sids().into_iter().collect();
        world.start_all();
        world.run(2500, true);
        paths.extend(world.paths.iter().copied());
    });
    assert!(
        paths.contains(&Path::Snap) && !paths.contains(&Path::Trunc) && !paths.contains(&Path::TruncDiff)
    );
}

#[test]
fn a_follower_with_uncommitted_transactions_is_cut() {
    seeds(4000..4020, |seed| {
        let world = alone_with_a_transaction(World::new(seed, 3, 0));
        assert!(world.paths.contains(&Path::Trunc) || world.paths.contains(&Path::TruncDiff));
    });
}

#[test]
fn one_taken_for_an_apache_server_gets_the_initial_history_instead() {
    let mut paths = BTreeSet::new();
    seeds(4000..4040, |seed| {
        let mut world = World::new(seed, 3, 0);
        world.apache = world.sids().into_iter().collect();
        paths.extend(alone_with_a_transaction(world).paths);
    });
    // Unless the new leader had committed something before: then the end of that is beyond all that was cut.
    assert!(paths.contains(&Path::Merged), "{paths:?}");
}

/// A leader proposes something that nobody else gets, and comes back under another one that has committed nothing yet.
fn alone_with_a_transaction(mut world: World) -> World {
    world.start_all();
    until(&mut world, "a leader", |world| world.leader().is_some());
    let old = world.leader().unwrap();
    let others: Vec<Sid> = world.sids().into_iter().filter(|&sid| sid != old).collect();
    for &sid in &others {
        world.cut.insert((sid.min(old), sid.max(old)));
    }
    let lost = world.propose(old);
    until(&mut world, "durable", |world| world.members[&old].flushed == world.members[&old].log.len());
    world.crash(old);
    until(&mut world, "another leader", |world| world.leader().is_some_and(|sid| sid != old));
    world.heal();
    assert!(world.members[&old].content().iter().all(|&txn| txn != lost));
    world
}

#[test]
fn without_a_quorum_a_leader_steps_down_and_nothing_is_committed() {
    seeds(5000..5020, |seed| {
        let mut world = World::new(seed, 5, 0);
        world.start_all();
        until(&mut world, "a leader", |world| world.leader().is_some());
        let leader = world.leader().unwrap();
        let others: Vec<Sid> = world.sids().into_iter().filter(|&sid| sid != leader).collect();
        for &sid in &others[..3] {
            world.crash(sid);
        }
        until(&mut world, "stepping down", |world| world.leader().is_none());
        let agreed = world.agreed.len();
        for _ in 0..3000 {
            world.step();
        }
        assert_eq!((world.leader(), world.agreed.len()), (None, agreed));
        world.heal();
    });
}

fn wipe(world: &mut World, sid: Sid) {
    world.crash(sid);
    world.checks.wiped = true;
    let member = world.members.get_mut(&sid).unwrap();
    (member.base, member.flushed, member.wiped) = ((Zxid::ZERO, Vec::new()), 0, true);
    member.log.clear();
    member.epochs = Epochs { accepted: Epoch(0), current: Epoch(0), nonvoting: true };
}

#[test]
fn three_empty_members_of_a_new_ensemble_elect() {
    seeds(6000..6020, |seed| {
        let mut world = World::new(seed, 3, 1);
        for sid in world.sids() {
            wipe(&mut world, sid);
        }
        world.start_all();
        world.run(10, false);
        assert!(world.members.values().all(|member| !member.epochs.nonvoting));
    });
}

#[test]
fn empty_members_started_one_after_the_other_elect_soon_after_the_last_one() {
    seeds(6100..6160, |seed| {
        let mut world = World::new(seed, 3, 1);
        world.pauses = (200, 60_000, 200);
        for sid in world.sids() {
            wipe(&mut world, sid);
        }
        for sid in [Sid(101), Sid(1), Sid(2)] {
            world.start(sid);
            for _ in 0..5000 {
                world.step();
            }
            assert_eq!(world.leader(), None, "not before all have shown themselves");
        }
        let start = world.now;
        world.start(Sid(3));
        until(&mut world, "a leader", |world| world.leader().is_some());
        assert!(world.now - start < 1000, "took {} ms", world.now - start);
    });
}

#[test]
fn a_dead_leader_is_replaced_without_a_pause() {
    let mut took = Vec::new();
    seeds(6200..6260, |seed| {
        let mut world = World::new(seed, 3 + 2 * (seed as i64 % 2), 0);
        world.pauses = (200, 60_000, 200);
        world.start_all();
        until(&mut world, "service", |world| world.members.values().all(|member| member.serving));
        let leader = world.leader().unwrap();
        let start = world.now;
        world.crash(leader);
        until(&mut world, "another leader", |world| world.leader().is_some());
        took.push(world.now - start);
    });
    took.sort_unstable();
    // Somebody who hears late of the death may cost one pause, as a rule nobody does.
    assert!(took[30] < 150 && took[59] < 500, "took {took:?} ms");
}

#[test]
fn a_wiped_member_comes_back_by_snapshot_while_the_others_are_up() {
    seeds(7000..7020, |seed| {
        let mut world = World::new(seed, 3, 0);
        world.start_all();
        world.run(1000, false);
        wipe(&mut world, Sid(1 + seed as i64 % 3));
        world.heal();
        assert!(world.paths.contains(&Path::Snap));
        assert!(world.members.values().all(|member| !member.epochs.nonvoting));
    });
}

#[test]
fn a_wiped_member_never_helps_to_elect_one_that_lacks_a_committed_transaction() {
    seeds(seeds_from(8, 300), |seed| {
        let mut world = World::new(seed, 3, 0);
        world.start_all();
        world.run(200, false);
        for _ in 0..3 {
            if world.members.values().all(|member| !member.epochs.nonvoting) {
                let sid = Sid(1 + world.rng.i64(0..3));
                wipe(&mut world, sid);
                let other = Sid(1 + world.rng.i64(0..3));
                world.crash(other);
                world.start(sid);
            }
            world.run(800, true);
        }
    });
    let mut world = World::new(3, 3, 0);
    world.start_all();
    world.run(500, false);
    world.crash(Sid(3));
    wipe(&mut world, Sid(2));
    world.start(Sid(2));
    for _ in 0..5000 {
        world.step();
    }
    assert_eq!(world.leader(), None, "one that knows and one that forgot");
    world.heal();
}

#[test]
fn a_seed_means_one_history() {
    let run = || {
        let mut world = World::new(77, 5, 1);
        world.start_all();
        world.run(2000, true);
        (world.now, world.agreed, world.leaders)
    };
    assert_eq!(run(), run());
}
