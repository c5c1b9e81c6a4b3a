//! The survey against a corpus of damage: each damaged byte that means something is in a range that is reported, and
//! nothing else is.

use super::damage::{Place, flip, places, stopped};
use super::*;
use crate::log::survey::{FileSurvey, Finding, Standing, Survey, TxnHere, Wanted, What, survey};
use std::ops::{ControlFlow, Range};

/// What a survey says of a disk, and the transactions that it handed out.
fn look(disk: &SimDisk, wanted: Wanted) -> (Survey, Txns) {
    let mut found = Txns::new();
    let survey = survey(disk, wanted, false, &mut |here: TxnHere<'_>| {
        let contents = disk.contents();
        let at = here.offset as usize + format::RECORD_HEADER;
        assert_eq!(&contents[here.file][at..at + here.txn.len()], here.txn);
        found.push((here.zxid, here.txn.to_vec()));
        ControlFlow::Continue(())
    });
    (survey.unwrap(), found)
}

fn findings(survey: &Survey) -> Vec<(&FileSurvey, &Finding)> {
    survey.files.iter().flat_map(|file| file.findings.iter().map(move |finding| (file, finding))).collect()
}

/// The bytes of each file that mean something: of each a range that is one unit of damage.
fn units(disk: &SimDisk, places: &[Place]) -> Vec<(String, Range<usize>, Option<Place>)> {
    let mut units = Vec::new();
    for place in places {
        let first = |file: &str| units.iter().all(|(name, ..): &(String, _, _)| name != file);
        if first(&place.file) {
            units.push((place.file.clone(), 0..BLOCK, None));
        }
        let start = place.offset as usize;
        units.push((place.file.clone(), start..start + place.len, Some(place.clone())));
    }
    for (file, slot) in [("marks", 0), ("marks", 1), ("epochs", 0), ("epochs", 1)] {
        assert_eq!(disk.contents()[file].len(), 2 * BLOCK);
        units.push((file.to_owned(), slot * BLOCK..(slot + 1) * BLOCK, None));
    }
    units
}

/// Damages `range` of `file` by `harm`, and checks that what is found is in `unit` and has all of it that was changed.
fn check_one(disk: &SimDisk, history: &Txns, unit: &(String, Range<usize>, Option<Place>), hurt: &SimDisk) {
    let (file, range, place) = unit;
    let (before, after) = (&disk.contents()[file], &hurt.contents()[file]);
    let differs = |i: &usize| before.get(*i) != after.get(*i);
    let changed: Vec<usize> = range.clone().filter(differs).collect();
    let (survey, found) = look(hurt, Wanted::Everything);
    let said = findings(&survey);
    if changed.is_empty() {
        assert!(said.is_empty(), "{unit:?}: {said:?}");
        return assert_eq!(found, *history);
    }
    let [(there, finding)] = &said[..] else { panic!("{unit:?}: {said:?}") };
    assert_eq!((&there.name, finding.torn), (file, false), "{unit:?}");
    let reported = finding.start as usize..finding.end as usize;
    assert!(changed.iter().all(|at| reported.contains(at)), "{unit:?}: {finding:?}");
    // Padding behind the records belongs to the batch whose end is not known any more.
    let most = range.start..range.end.next_multiple_of(BLOCK);
    assert!(most.start <= reported.start && reported.end <= most.end, "{unit:?}: {finding:?}");
    let lost = |z: Zxid| match place {
        Some(place) => (place.first..=place.last).contains(&z),
        None => false,
    };
    let kept: Txns = history.iter().filter(|(z, _)| !lost(*z)).cloned().collect();
    assert_eq!(zxids(&found), zxids(&kept), "{unit:?}");
    if let Some(place) = place {
        assert_eq!(finding.batches, Some((place.seq, place.seq)), "{unit:?}");
        let costs = |z: Zxid| finding.lost_after < Some(z) && Some(z) <= finding.lost_through;
        assert!(history.iter().all(|(z, _)| costs(*z) == lost(*z)), "{unit:?}: {finding:?}");
    }
}

#[test]
fn of_a_sound_log_nothing_is_reported_and_everything_handed_out() {
    let (disk, history) = stopped();
    let (survey, found) = look(&disk, Wanted::Everything);
    assert_eq!(findings(&survey), []);
    assert_eq!(found, history);
    let live: Vec<_> = survey.files.iter().filter(|file| file.standing == Standing::Live).collect();
    assert_eq!(live.iter().map(|file| file.txns).sum::<u64>(), history.len() as u64);
    assert_eq!(live[0].first, Some(history[0].0));
    assert_eq!(live.last().unwrap().last, Some(history[history.len() - 1].0));
    let bytes: usize = history.iter().map(|(_, txn)| txn.len()).sum();
    assert_eq!(live.iter().map(|file| file.txn_bytes).sum::<u64>(), bytes as u64);
}

#[test]
fn each_flipped_byte_is_in_the_one_range_that_is_reported() {
    let (disk, history) = stopped();
    for unit in units(&disk, &places(&disk)) {
        let step = if unit.2.is_some() { 29 } else { 211 };
        let dense = unit.1.start..(unit.1.start + 110).min(unit.1.end);
        for at in dense.chain(unit.1.clone().step_by(step)) {
            let hurt = disk.fork();
            flip(&hurt, &unit.0, at);
            check_one(&disk, &history, &unit, &hurt);
        }
    }
}

#[test]
fn bytes_that_mean_nothing_are_not_reported() {
    let (disk, history) = stopped();
    let units = units(&disk, &places(&disk));
    let mut meaningless = 0;
    for (file, bytes) in disk.contents() {
        for at in (0..bytes.len()).step_by(97) {
            if units.iter().any(|(name, range, _)| *name == file && range.contains(&at)) {
                continue;
            }
            let hurt = disk.fork();
            flip(&hurt, &file, at);
            let (survey, found) = look(&hurt, Wanted::Everything);
            assert_eq!(findings(&survey), [], "{file} at {at}");
            assert_eq!(found, history);
            meaningless += 1;
        }
    }
    assert!(meaningless > 100);
}

#[test]
fn zeroed_blocks_and_sectors_are_reported_where_they_held_something() {
    let (disk, history) = stopped();
    for unit in units(&disk, &places(&disk)) {
        for size in [512, BLOCK] {
            for at in (unit.1.start / size * size..unit.1.end).step_by(size) {
                let hurt = disk.fork();
                hurt.corrupt(&unit.0, at as u64, &vec![0; size]);
                check_one(&disk, &history, &unit, &hurt);
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_short_is_damaged_from_there_on() {
    let (disk, history) = stopped();
    let places = places(&disk);
    let mut files: Vec<&str> = places.iter().map(|place| place.file.as_str()).collect();
    files.dedup();
    for file in files {
        let len = disk.contents()[file].len();
        let last = places.iter().rfind(|place| place.file == file).unwrap();
        let end = last.offset as usize + last.len;
        for at in (BLOCK..len).step_by(777).chain([end - 1, end]) {
            let hurt = disk.fork();
            hurt.shorten(file, at as u64);
            let (survey, found) = look(&hurt, Wanted::Everything);
            let said = findings(&survey);
            let gone = |place: &&Place| place.file == file && place.offset as usize + place.len > at;
            let lost: Vec<&Place> = places.iter().filter(gone).collect();
            let is_lost = |z: Zxid| lost.iter().any(|place| (place.first..=place.last).contains(&z));
            let kept: Txns = history.iter().filter(|(z, _)| !is_lost(*z)).cloned().collect();
            assert_eq!(zxids(&found), zxids(&kept), "{file} cut at {at}: {said:?}");
            let covered = |byte: usize| {
                let within = |f: &Finding| (f.start..f.end).contains(&(byte as u64));
                said.iter().any(|(there, finding)| there.name == file && within(finding))
            };
            for place in &lost {
                let (start, end) = (place.offset as usize, place.offset as usize + place.len);
                assert!((start.max(at)..end).all(covered), "{file} cut at {at}: {place:?} of {said:?}");
            }
            assert!(said.iter().all(|(there, finding)| there.name == file && !finding.torn));
            assert_eq!(said.is_empty(), lost.is_empty(), "{file} cut at {at}: {said:?}");
        }
    }
}

#[test]
fn batches_in_each_others_place_are_both_reported() {
    let (disk, history) = stopped();
    let places = places(&disk);
    let mut swaps = 0;
    for (i, a) in places.iter().enumerate() {
        for b in &places[i + 1..] {
            let whole = |place: &Place| place.len.next_multiple_of(BLOCK);
            if whole(a) != whole(b) {
                continue;
            }
            let hurt = disk.fork();
            let bytes = |p: &Place| disk.contents()[&p.file][p.offset as usize..][..whole(p)].to_vec();
            hurt.corrupt(&a.file, a.offset, &bytes(b));
            hurt.corrupt(&b.file, b.offset, &bytes(a));
            let (survey, found) = look(&hurt, Wanted::Everything);
            let said = findings(&survey);
            let lost = |z: Zxid| [a, b].iter().any(|p| (p.first..=p.last).contains(&z));
            let kept: Txns = history.iter().filter(|(z, _)| !lost(*z)).cloned().collect();
            assert_eq!(zxids(&found), zxids(&kept), "{a:?} {b:?}: {said:?}");
            for place in [a, b] {
                let covers =
                    |f: &Finding| f.start <= place.offset && f.end >= place.offset + place.len as u64;
                assert!(said.iter().any(|(there, f)| there.name == place.file && covers(f)), "{said:?}");
            }
            swaps += 1;
        }
    }
    assert!(swaps > 5);
}

#[test]
fn a_lost_file_is_named_and_what_was_in_it() {
    let (disk, history) = stopped();
    let places = places(&disk);
    let mut files: Vec<&str> = places.iter().map(|place| place.file.as_str()).collect();
    files.dedup();
    for file in &files[..files.len() - 1] {
        let hurt = disk.fork();
        hurt.lose(file);
        let (survey, found) = look(&hurt, Wanted::Everything);
        let said = findings(&survey);
        let lost = |z: Zxid| places.iter().any(|p| p.file == *file && (p.first..=p.last).contains(&z));
        let kept: Txns = history.iter().filter(|(z, _)| !lost(*z)).cloned().collect();
        assert_eq!(zxids(&found), zxids(&kept));
        let [(missing, finding)] = &said[..] else { panic!("{file}: {said:?}") };
        assert_eq!((missing.standing, finding.what), (Standing::Missing, What::File));
        assert!(missing.name.starts_with(&file[..20]), "{missing:?}");
        let costs = |z: Zxid| finding.lost_after < Some(z) && Some(z) <= finding.lost_through;
        assert!(history.iter().all(|(z, _)| costs(*z) == lost(*z)), "{finding:?}");
    }
    for file in ["marks", "epochs"] {
        let hurt = disk.fork();
        hurt.lose(file);
        let (survey, found) = look(&hurt, Wanted::Everything);
        let said = findings(&survey);
        assert_eq!((said.len(), said[0].0.name.as_str(), said[0].0.standing), (1, file, Standing::Missing));
        assert_eq!(found, history);
    }
}

#[test]
fn what_was_cut_off_or_purged_is_dead_and_not_reported() {
    let mut rig = Rig::new(2);
    for i in 0..12 {
        rig.batch(2, 900);
        rig.housekeep();
        rig.settle();
        if i % 5 == 4 {
            let last = rig.log.appended().raw();
            rig.truncate(zxid(last - 3));
        }
    }
    rig.purge(zxid(3));
    rig.settle();
    let disk = rig.disk.fork();
    let expected = open(&disk.fork()).unwrap().2;
    let (survey, found) = look(&disk, Wanted::Everything);
    assert_eq!(findings(&survey), []);
    assert_eq!(found, expected);
    let live = places(&disk);
    for (file, bytes) in disk.contents() {
        let name = |f: &&FileSurvey| f.name == file;
        let standing = survey.files.iter().find(name).map(|f| f.standing);
        for block in (BLOCK..bytes.len()).step_by(BLOCK) {
            let place = live.iter().any(|p| {
                p.file == file
                    && (p.offset as usize / BLOCK..).take(p.len.div_ceil(BLOCK)).any(|b| b == block / BLOCK)
            });
            if place || standing == Some(Standing::Slots) {
                continue;
            }
            let hurt = disk.fork();
            hurt.corrupt(&file, block as u64, &[0xa5; BLOCK]);
            let (survey, found) = look(&hurt, Wanted::Everything);
            assert_eq!(findings(&survey), [], "{file} at {block}");
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn what_recovery_cuts_off_is_torn_and_what_it_refuses_is_damage() {
    for seed in 0..400 {
        let mut rig = Rig::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..rng.usize(2..9) {
            rig.batch(rng.usize(1..3), rng.usize(50..3000));
            rig.housekeep();
            rig.settle();
        }
        for _ in 0..rng.usize(0..4) {
            rig.batch(1, rng.usize(50..3000));
        }
        rig.disk.kill(crate::io::sim::Pick::Bits(rng.u64(..)));
        if rng.bool() {
            let place = places(&rig.disk).pop().unwrap();
            flip(&rig.disk, &place.file, place.offset as usize + rng.usize(0..place.len));
        }
        let (survey, found) = look(&rig.disk, Wanted::Everything);
        let said = findings(&survey);
        match open(&rig.disk.fork()) {
            Ok((_, report, recovered)) => {
                assert!(said.iter().all(|(_, finding)| finding.torn), "seed {seed}: {said:?}");
                assert_eq!(said.is_empty(), report.torn.is_none(), "seed {seed}: {said:?} {report:?}");
                if let Some(torn) = report.torn {
                    let (file, finding) = said[0];
                    // Where the header of a segment has not arrived and batches behind it have, that is what it says.
                    if finding.what != What::SegmentHeader {
                        assert_eq!(rig.disk.path(&file.name), torn.path, "seed {seed}");
                        assert!((finding.start - torn.offset) <= 4096, "seed {seed}: {finding:?} {torn:?}");
                    }
                }
                assert!(found.starts_with(&recovered), "seed {seed}");
                let counted: u64 = survey.files.iter().map(|file| file.txns).sum();
                assert_eq!(counted, recovered.len() as u64, "seed {seed}");
            }
            Err(error) => assert!(said.iter().any(|(_, f)| !f.torn), "seed {seed}: {error}: {said:?}"),
        }
    }
}

#[test]
fn what_is_within_is_handed_out_until_damage_among_it() {
    let (disk, history) = stopped();
    let places = places(&disk);
    let all: Vec<i64> = zxids(&history);
    let (first, last) = (all[0], all[all.len() - 1]);
    for from in first - 1..=last + 1 {
        for upto in from..=last + 1 {
            let (survey, found) = look(&disk, Wanted::Within(zxid(from), zxid(upto)));
            let expected: Vec<i64> = all.iter().copied().filter(|z| (from..=upto).contains(z)).collect();
            assert_eq!((zxids(&found), survey.interrupted), (expected, None));
        }
    }
    let hurt = disk.fork();
    let place = &places[places.len() / 2];
    flip(&hurt, &place.file, place.offset as usize + 70);
    let (survey, found) = look(&hurt, Wanted::Within(zxid(first), zxid(last)));
    assert_eq!(zxids(&found), (first..place.first.raw()).collect::<Vec<_>>());
    let (file, finding) = survey.interrupted.unwrap();
    assert_eq!((survey.files[file].name.as_str(), finding.what), (place.file.as_str(), What::Records));
    let behind = place.last.raw() + 1;
    let (survey, found) = look(&hurt, Wanted::Within(zxid(behind), zxid(last)));
    assert_eq!((zxids(&found), survey.interrupted), ((behind..=last).collect(), None));
    let before = place.first.raw() - 1;
    let (survey, found) = look(&hurt, Wanted::Within(zxid(first), zxid(before)));
    assert_eq!((zxids(&found), survey.interrupted), ((first..=before).collect(), None));
}

#[test]
fn a_log_behind_a_snapshot_begins_there_and_misses_it() {
    let mut rig = Rig::new(3);
    for _ in 0..5 {
        rig.batch(2, 900);
        rig.housekeep();
        rig.settle();
    }
    // The state of another history: it takes the place of all this.
    crate::store::tests::restart(&rig.disk, &mut rig.log, &crate::tree::Tree::new(1), &[]).unwrap();
    let snapshot = rig.log.newest_snapshot().unwrap().file();
    rig.now = Expect { histories: vec![(Txns::new(), 0)], purged: 0 };
    rig.applied = rig.log.cursor(Zxid::ZERO);
    for _ in 0..5 {
        rig.batch(2, 900);
        rig.housekeep();
        rig.settle();
    }
    let (survey, found) = look(&rig.disk, Wanted::Everything);
    assert_eq!(findings(&survey), []);
    assert_eq!((zxids(&found), survey.begins_behind), ((1..=10).collect(), Some(Zxid::ZERO)));
    let dead = |f: &&FileSurvey| matches!(f.standing, Standing::Dead(_));
    assert!(survey.files.iter().filter(dead).all(|f| f.txns == 0 && f.generation == Some(1)));
    let hurt = rig.disk.fork();
    hurt.lose(&snapshot);
    let (survey, found) = look(&hurt, Wanted::Everything);
    let said = findings(&survey);
    let missing: Vec<&str> = said.iter().map(|(file, _)| file.name.as_str()).collect();
    assert_eq!((missing, zxids(&found)), (vec![snapshot.as_str()], (1..=10).collect()));
    // The first segment behind it has no header: its batches say where it belongs.
    let live = survey.files.iter().find(|f| f.standing == Standing::Live).unwrap().name.clone();
    let hurt = rig.disk.fork();
    flip(&hurt, &live, 50);
    let (survey, found) = look(&hurt, Wanted::Everything);
    let said = findings(&survey);
    assert_eq!((said.len(), &said[0].0.name, said[0].1.what), (1, &live, What::SegmentHeader), "{said:?}");
    assert_eq!(zxids(&found), (1..=10).collect::<Vec<_>>());
}
