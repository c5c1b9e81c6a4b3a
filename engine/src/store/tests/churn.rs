//! Everything that makes and frees snapshots and log, in random order, with cuts at every step of it.

use super::made::{commit_batches, make, retain};
use super::*;

/// What a cut may leave: any state between these two, or the one that is being put in their place.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    acked: usize,
    appended: usize,
    received: Option<usize>,
}

impl Allowed {
    fn allows(&self, found: usize) -> bool {
        (self.acked..=self.appended).contains(&found) || self.received == Some(found)
    }
}

/// A store at work. The state after transaction n is the same whatever led to it.
struct Churn {
    disk: SimDisk,
    log: Log,
    leader: Leader,
    at: usize,
    /// What held from which change of the disk on.
    journal: Vec<(u64, Allowed)>,
}

const COUNT: usize = 160;

impl Churn {
    fn note(&mut self, acked: usize, appended: usize, received: Option<usize>) {
        self.journal.push((self.disk.changes(), Allowed { acked, appended, received }));
    }

    fn commit(&mut self, count: usize) {
        let upto = (self.at + count).min(COUNT);
        self.note(self.at, upto, None);
        commit_batches(&self.disk, &mut self.log, &self.leader.log[self.at..upto]);
        self.at = upto;
        self.note(upto, upto, None);
    }

    /// Makes a snapshot somewhere behind the newest one, in the middle of a batch as often as not.
    fn make(&mut self, random: &mut fastrand::Rng) {
        let newest = self.log.newest_snapshot().map_or(0, |s| s.zxid().raw() as usize);
        if newest < self.at {
            let at = random.usize(newest + 1..=self.at);
            make(&self.disk, &mut self.log, &self.leader, at);
        }
    }

    fn truncate(&mut self, random: &mut fastrand::Rng) {
        let to = self.at - random.usize(..=self.at.min(9));
        self.note(to, self.at, None);
        match self.log.truncate(&self.disk, zxid(to as i64)) {
            Ok(durable) => self.at = durable.get().raw() as usize,
            Err(LogError::Purged { first, .. }) => assert!(first > zxid(to as i64)),
            Err(error) => panic!("{error}"),
        }
        self.note(self.at, self.at, None);
    }

    fn receive(&mut self, random: &mut fastrand::Rng) {
        let to = random.usize(self.at.saturating_sub(5)..(self.at + 15).min(COUNT));
        self.note(self.at, self.at, Some(to));
        let Rebuilt { tree, sessions } = after(&self.leader, to);
        self.log.restart_behind(&self.disk, &tree, &sessions).unwrap();
        self.at = to;
        self.note(to, to, None);
    }

    fn step(&mut self, random: &mut fastrand::Rng) {
        match random.u8(..12) {
            0..=4 => self.commit(random.usize(1..12)),
            5..=7 => self.make(random),
            8..=9 => {
                retain(&self.disk, &mut self.log, random.usize(1..4));
            }
            10 => self.truncate(random),
            _ => self.receive(random),
        }
    }

    fn allowed_at(&self, change: u64) -> Allowed {
        self.journal.iter().rev().find(|(at, _)| *at <= change).unwrap_or(&self.journal[0]).1
    }
}

#[test]
fn whatever_is_made_and_freed_a_cut_leaves_what_was_acknowledged() {
    let mut tally = [0; 4];
    for seed in 0..12 {
        let disk = SimDisk::new(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let log = refuse(&disk).unwrap().log;
        let leader = history(seed, COUNT);
        let states: Vec<_> = (0..=COUNT)
            .map(|count| {
                let Rebuilt { tree, sessions } = after(&leader, count);
                state(&tree, &sessions)
            })
            .collect();
        let mut churn = Churn { disk, log, leader, at: 0, journal: Vec::new() };
        churn.note(0, 0, None);
        churn.disk.record();
        while churn.at < COUNT - 20 && churn.disk.changes() < 900 {
            churn.step(&mut random);
        }
        for (change, before) in churn.disk.recorded() {
            let allowed = churn.allowed_at(change);
            for variant in 0..3 {
                let disk = before.fork();
                match variant {
                    0 => disk.crash(Crash::HARSH),
                    1 => disk.crash(Crash::seeded(change)),
                    _ => disk.kill(Pick::Seed(change)),
                }
                let hurt = (change + variant) % 3 == 0;
                let copy = hurt.then(|| disk.fork());
                let store = refuse(&disk)
                    .unwrap_or_else(|error| panic!("{seed}, change {change}, {variant}: {error}"));
                let found = store.last_zxid.raw() as usize;
                assert!(allowed.allows(found), "{seed}, change {change}: {found} of {allowed:?}");
                assert!(
                    state_of(&store) == states[found],
                    "{seed}, change {change}: not the state at {found}"
                );
                assert!(store.report.gap.is_none() && store.report.damaged_snapshots.is_empty());
                assert!(store.base <= store.snapshot && store.log.begins_behind() <= store.base);
                let known = store.runs.iter().map(|(first, last)| last.raw() - first.raw() + 1).sum::<i64>();
                assert_eq!(known, store.last_zxid.raw() - store.base.raw(), "no transaction is left out");
                tally[0] += 1;
                tally[1] += usize::from(store.log.snapshots().len() > 1);
                if let Some(copy) = copy {
                    tally[2 + usize::from(stands_in(&copy, &store, &states))] += 1;
                }
                // Again, and nothing changes.
                let Store { log, .. } = store;
                drop(log);
                if change % 5 == 0 {
                    let contents = disk.contents();
                    assert!(state_of(&refuse(&disk).unwrap()) == states[found]);
                    assert!(
                        disk.contents() == contents,
                        "{seed}, change {change}: recovering again changes no byte"
                    );
                }
            }
        }
    }
    assert!(tally[0] > 5000 && tally[1] > 1000 && tally[2] > 100 && tally[3] > 300, "{tally:?}");
}

/// Whether the same comes back from a disk on which the newest snapshot is damaged: it must if there is an older one, or
/// all of the log.
fn stands_in(disk: &SimDisk, sound: &Store, states: &[(Zxid, Vec<u8>)]) -> bool {
    let Some(newest) = sound.log.newest_snapshot() else { return false };
    let file = newest.file();
    let byte = disk.contents()[&file][BLOCK + 3];
    disk.corrupt(&file, BLOCK as u64 + 3, &[byte ^ 1]);
    let expected = sound.log.snapshots().len() > 1 || sound.log.begins_behind() == Zxid::ZERO;
    let root = newest.generation() > 0 && sound.log.snapshots().len() == 1;
    match refuse(disk) {
        Ok(store) => {
            assert!(state_of(&store) == states[sound.last_zxid.raw() as usize]);
            assert_eq!(store.report.damaged_snapshots.len(), 1);
            true
        }
        Err(StoreError::Log(LogError::Corrupt(found))) => {
            assert!(!expected || root, "{found}");
            assert_eq!(found.path, disk.path(&file), "{found}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}
