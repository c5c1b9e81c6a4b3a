//! Damage at rest: what was acknowledged is never taken for a torn tail, and the error says where it was.

use super::*;
use crate::io::sim::{Crash, Event, Pick, SECTOR};
use format::{BATCH_HEADER, SegmentHeader};
use inventory::Inventory;
use scan::SegmentReader;
use table::Found;

/// A batch of the log on a disk.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub file: String,
    pub offset: u64,
    /// Header and records, without padding.
    pub len: usize,
    pub seq: u64,
    pub first: Zxid,
    pub last: Zxid,
}

/// Where all live batches are.
pub(super) fn places(disk: &SimDisk) -> Vec<Place> {
    let files = Files::list(disk).unwrap();
    let mut places = Vec::new();
    for used in Inventory::take(&files, &Snapshots::default()).unwrap().live() {
        let mut reader = SegmentReader::new(disk, used.name, used.file_len);
        let (mut tip, mut offset) = (used.header.from(), BLOCK as u64);
        while let (Found::Whole, Some(batch)) = reader.judge(offset, tip, used.header.generation).unwrap() {
            places.push(Place {
                file: used.name.to_string(),
                offset,
                len: BATCH_HEADER + batch.payload_len as usize,
                seq: batch.seq,
                first: Zxid::from_raw(batch.first_zxid),
                last: Zxid::from_raw(batch.last_zxid),
            });
            tip = batch.end();
            offset += batch.padded();
        }
    }
    places
}

/// Several segments, all acknowledged, stopped in order.
pub(super) fn stopped() -> (SimDisk, Txns) {
    let mut rig = Rig::new(1);
    for i in 0..13 {
        rig.batch(1 + i % 2, 60 + 230 * i);
        rig.housekeep();
        rig.settle();
    }
    assert!(rig.log.segments.len() >= 3);
    let Rig { log, disk, now, .. } = rig;
    log.close(&disk).unwrap();
    (disk, now.histories[0].0.clone())
}

fn corruption(disk: &SimDisk) -> Corruption {
    match open(disk) {
        Err(LogError::Corrupt(corruption)) => *corruption,
        Err(other) => panic!("{other}"),
        Ok((_, report, found)) => panic!("opened with {:?}, {report:?}", zxids(&found)),
    }
}

pub(super) fn flip(disk: &SimDisk, file: &str, at: usize) {
    let byte = disk.contents()[file][at] ^ 0x10;
    disk.corrupt(file, at as u64, &[byte]);
}

#[test]
fn every_damaged_byte_of_the_log_is_reported_with_file_and_offset() {
    let (disk, history) = stopped();
    let places = places(&disk);
    let mut hits = 0;
    for (i, place) in places.iter().enumerate() {
        for at in (0..BATCH_HEADER).chain((BATCH_HEADER..place.len).step_by(13)) {
            let hurt = disk.fork();
            flip(&hurt, &place.file, place.offset as usize + at);
            let found = corruption(&hurt);
            assert_eq!(found.path, hurt.path(&place.file), "{place:?} + {at}");
            assert_eq!(found.offset, place.offset, "{place:?} + {at}");
            let before = if i == 0 { Zxid::ZERO } else { places[i - 1].last };
            assert_eq!(
                (found.lost_after, found.lost_through),
                (before, Some(place.last)),
                "{place:?} + {at}"
            );
            if at >= BATCH_HEADER {
                assert_eq!(found.damage, Damage::Records { seq: place.seq });
            } else {
                assert_eq!(found.damage, Damage::NoBatch { seq: place.seq });
            }
            hits += 1;
        }
    }
    assert!(hits > 1_000);
    assert_eq!(open(&disk).unwrap().2, history);
}

#[test]
fn every_damaged_byte_of_a_segment_header_is_reported() {
    let (disk, _) = stopped();
    let mut files: Vec<String> = places(&disk).into_iter().map(|p| p.file).collect();
    files.dedup();
    for file in &files {
        for at in (0..128).chain((128..BLOCK).step_by(101)) {
            let hurt = disk.fork();
            flip(&hurt, file, at);
            let found = corruption(&hurt);
            let expected = (hurt.path(file), 0, Damage::SegmentHeader);
            assert_eq!((found.path, found.offset, found.damage), expected, "{file} + {at}");
        }
    }
}

#[test]
fn a_lost_shortened_or_zeroed_file_is_reported() {
    let (disk, _) = stopped();
    let places = places(&disk);
    for (i, place) in places.iter().enumerate() {
        let zeroed = disk.fork();
        zeroed.corrupt(&place.file, place.offset, &[0; BLOCK]);
        let found = corruption(&zeroed);
        assert_eq!((found.path, found.offset), (zeroed.path(&place.file), place.offset));

        let short = disk.fork();
        short.shorten(&place.file, place.offset + 40);
        let found = corruption(&short);
        assert_eq!((found.path, found.offset), (short.path(&place.file), place.offset));

        let lost = disk.fork();
        lost.lose(&place.file);
        let found = corruption(&lost);
        let number = SegmentName::parse(&place.file).unwrap().number;
        let newest = places.last().unwrap().file == place.file;
        if newest {
            let before = places.iter().rev().find(|p| p.file != place.file).unwrap();
            assert_eq!(found.path, lost.path(&before.file));
            assert!(found.offset > before.offset, "{i}: the first byte behind what is there");
        } else {
            assert_eq!(found.damage, Damage::MissingSegment { number });
        }
        assert!(found.lost_through.is_some_and(|through| through >= place.first));
    }
    let empty = disk.fork();
    places.iter().for_each(|p| {
        if empty.contents().contains_key(&p.file) {
            empty.lose(&p.file)
        }
    });
    assert_eq!(corruption(&empty).damage, Damage::MissingGeneration { generation: 1 });
}

#[test]
fn exchanged_or_outdated_blocks_are_reported() {
    let (disk, _) = stopped();
    let places = places(&disk);
    let contents = disk.contents();
    let block = |p: &Place| contents[&p.file][p.offset as usize..p.offset as usize + BLOCK].to_vec();
    for pair in places.windows(2) {
        let [a, b] = pair else { unreachable!() };
        let swapped = disk.fork();
        swapped.corrupt(&a.file, a.offset, &block(b));
        swapped.corrupt(&b.file, b.offset, &block(a));
        let found = corruption(&swapped);
        assert_eq!((found.path, found.offset), (swapped.path(&a.file), a.offset));
    }
}

#[test]
fn another_whole_batch_in_place_of_the_marked_one_is_reported() {
    let write = |version| {
        let mut rig = Rig::new(1);
        rig.version = version;
        rig.batch(2, 90);
        rig.settle();
        rig.disk.clone()
    };
    // The same names, ids and zxids with other contents: what an older copy of the files would be.
    let (ours, other) = (write(0), write(1));
    let (log, ..) = open(&ours).unwrap();
    log.close(&ours).unwrap();
    let place = &places(&ours)[0];
    let block = &other.contents()[&place.file][BLOCK..2 * BLOCK];
    ours.corrupt(&place.file, place.offset, block);
    let found = corruption(&ours);
    assert_eq!(found.damage, Damage::Replaced { seq: place.seq });
    assert_eq!(found.evidence, Evidence::Mark);
}

#[test]
fn another_whole_batch_in_place_of_one_in_the_middle_breaks_the_chain() {
    let write = |version| {
        let mut rig = Rig::new(1);
        for _ in 0..3 {
            rig.version = version;
            rig.batch(2, 90);
            rig.version = 0;
            rig.settle();
        }
        rig.disk.clone()
    };
    let (ours, other) = (write(0), write(1));
    let places = places(&ours);
    let first = &other.contents()[&places[0].file][BLOCK..2 * BLOCK];
    ours.corrupt(&places[0].file, places[0].offset, first);
    let found = corruption(&ours);
    assert_eq!(found.damage, Damage::NotTheNext { seq: places[1].seq });
    assert_eq!((found.path, found.offset), (ours.path(&places[1].file), places[1].offset));
}

#[test]
fn the_mark_survives_rot_of_one_slot_and_its_loss_is_reported() {
    let (disk, history) = stopped();
    for slot in 0..2 {
        for at in [0, 9, 13, 30, 40, 70, 4000] {
            let hurt = disk.fork();
            flip(&hurt, "marks", slot * BLOCK + at);
            assert_eq!(open(&hurt).unwrap().2, history, "slot {slot} + {at}");
        }
    }
    let both = disk.fork();
    flip(&both, "marks", 50);
    flip(&both, "marks", BLOCK + 50);
    assert_eq!(corruption(&both).damage, Damage::Marks);
    let gone = disk.fork();
    gone.lose("marks");
    assert_eq!(corruption(&gone).path, gone.path("marks"));
}

#[test]
fn lost_epochs_beside_a_log_take_the_vote_away() {
    let (disk, history) = stopped();
    disk.lose("epochs");
    let (log, report, found) = open(&disk).unwrap();
    assert!(report.epochs_lost && log.epochs().get().nonvoting);
    assert_eq!(found, history);
    drop(log);
    let (log, report, _) = open(&disk).unwrap();
    assert!(!report.epochs_lost && log.epochs().get().nonvoting, "and it stays away");
}

#[test]
fn a_whole_tail_without_a_mark_is_vouched_for_by_the_headers_behind_it() {
    let mut rig = Rig::new(1);
    rig.housekeep();
    for _ in 0..3 {
        rig.batch(1, 200);
        rig.settle();
    }
    // Nothing was marked: the last header says that the one before it is durable.
    let places = places(&rig.disk);
    let hurt = rig.disk.fork();
    flip(&hurt, &places[1].file, places[1].offset as usize + 100);
    let found = corruption(&hurt);
    assert_eq!(found.offset, places[1].offset);
    let vouching = Evidence::Batch { path: hurt.path(&places[2].file), offset: places[2].offset };
    assert_eq!(found.evidence, vouching);
    // Of the last itself nobody says so: without a mark it is a torn tail. That is why there is a mark.
    flip(&rig.disk, &places[2].file, places[2].offset as usize + 100);
    let (_, report, found) = open(&rig.disk).unwrap();
    assert_eq!(found.len(), 2);
    let torn = report.torn.unwrap();
    assert_eq!((torn.offset, torn.after), (places[2].offset, zxid(2)));
    assert!(torn.to_string().starts_with(&format!("torn tail in sim/{} at offset 12288", places[2].file)));
}

#[test]
fn what_was_in_flight_is_a_torn_tail_wherever_it_is_hurt() {
    let mut rig = Rig::new(1);
    rig.batch(1, 200);
    rig.settle();
    rig.housekeep();
    rig.batch(1, 200);
    rig.settle();
    rig.disk.set_completion(Completion::Manual);
    for _ in 0..3 {
        rig.batch(1, 200);
    }
    rig.disk.crash(Crash { sectors: Pick::All, names: Pick::None });
    let all = places(&rig.disk);
    assert_eq!(all.len(), 5);
    for (i, place) in all.iter().enumerate().skip(2) {
        for at in 0..place.len {
            let hurt = rig.disk.fork();
            flip(&hurt, &place.file, place.offset as usize + at);
            let (log, report, found) = open(&hurt).unwrap();
            assert_eq!(found.len(), i);
            let clean = at < BATCH_HEADER && i == 4;
            assert_eq!(report.torn.map(|t| t.offset), (!clean).then_some(place.offset), "{place:?} + {at}");
            drop(log);
            assert_eq!(open(&hurt).unwrap().1.torn, None);
        }
    }
}

#[test]
fn damage_after_a_cut_is_told_from_damage_of_what_was_cut_off() {
    let mut rig = Rig::new(1);
    for _ in 0..6 {
        rig.batch(2, 400);
        rig.housekeep();
        rig.settle();
    }
    let before = places(&rig.disk);
    rig.truncate(zxid(7));
    rig.batch(2, 400);
    rig.settle();
    let Rig { log, disk, now, .. } = rig;
    log.close(&disk).unwrap();
    let history = &now.histories[0].0;
    let still_there = |p: &Place| disk.contents().contains_key(&p.file);
    for place in before.into_iter().filter(still_there) {
        let hurt = disk.fork();
        flip(&hurt, &place.file, place.offset as usize + BATCH_HEADER + 20);
        if place.first <= zxid(7) {
            let found = corruption(&hurt);
            assert_eq!((found.path, found.offset), (hurt.path(&place.file), place.offset));
        } else {
            assert_eq!(&open(&hurt).unwrap().2, history, "{place:?} is dead");
        }
    }
    // The header of the new generation is all that keeps the dead ones dead.
    let newest = places(&disk).last().unwrap().file.clone();
    let hurt = disk.fork();
    flip(&hurt, &newest, 30);
    assert_eq!(corruption(&hurt).path, hurt.path(&newest));
    let lost = disk.fork();
    lost.lose(&newest);
    assert_eq!(corruption(&lost).damage, Damage::MissingGeneration { generation: 2 });
}

#[test]
fn damaged_padding_hurts_nobody() {
    let (disk, history) = stopped();
    let place = &places(&disk)[0];
    flip(&disk, &place.file, place.offset as usize + place.len + 1);
    assert_eq!(open(&disk).unwrap().2, history);
}

#[test]
fn bytes_of_a_client_never_pass_for_a_batch() {
    // A transaction whose bytes are a whole batch, at the beginning of a block, right behind the live tip.
    let source = Rig::with(SimDisk::new(9), LogOptions { seed: 99, ..small() });
    let mut source = source;
    source.batch(1, 100);
    source.batch(1, 100);
    source.settle();
    let stolen = places(&source.disk);
    let contents = source.disk.contents();

    let mut rig = Rig::new(1);
    rig.batch(1, 100);
    rig.settle();
    rig.disk.set_completion(Completion::Manual);
    let lead = BLOCK - BATCH_HEADER - format::RECORD_HEADER;
    let mut bytes = txn(zxid(2), lead, 0);
    for place in &stolen {
        let at = place.offset as usize;
        bytes.extend_from_slice(&contents[&place.file][at..at + BLOCK]);
    }
    rig.log.append(zxid(2), |out| out.extend_from_slice(&bytes)).unwrap();
    rig.seal();
    // All of the write but its first sector: the stolen batches stand at the beginning of blocks.
    let all = rig.disk.unflushed_sectors();
    rig.disk.crash(Crash { sectors: Pick::Bits((1 << all) - 2), names: Pick::None });
    let file = rig.log.segments[0].name.to_string();
    let found = rig.disk.contents()[&file][3 * BLOCK..4 * BLOCK].to_vec();
    assert_eq!(found, contents[&stolen[0].file][BLOCK..2 * BLOCK], "the imitation is on the disk");
    let (_, report, found) = open(&rig.disk).unwrap();
    assert_eq!((found.len(), report.torn), (1, None));
}

#[test]
fn bytes_of_a_recycled_segment_never_come_back() {
    let mut rig = Rig::with(SimDisk::new(1), LogOptions { prepare_ahead: 1, ..small() });
    rig.housekeep();
    for _ in 0..12 {
        rig.batch(1, 300);
        rig.settle();
    }
    rig.batch(1, 300);
    rig.settle();
    rig.purge(zxid(11));
    rig.settle();
    // At each step old batches follow the last one, under a name that is not theirs.
    let mut followed = 0;
    for _ in 0..16 {
        rig.batch(1, 300);
        rig.settle();
        let file = rig.log.segments.last().unwrap().name.to_string();
        let behind = rig.disk.contents()[&file][rig.log.offset as usize..].to_vec();
        followed += usize::from(behind.iter().any(|b| *b != 0));
        let disk = rig.disk.fork();
        disk.crash(Crash::HARSH);
        let (_, report, found) = open(&disk).unwrap();
        assert!(rig.now.allows(&found) && report.torn.is_none());
    }
    let renamed = rig.disk.trace().into_iter().filter(|e| matches!(e, Event::Rename(..))).count();
    assert!(followed > 3, "{followed} of {renamed}");
}

#[test]
fn files_of_another_directory_or_version_are_refused() {
    let (disk, _) = stopped();
    let mut other = Rig::with(SimDisk::new(9), LogOptions { seed: 99, ..small() });
    other.batch(1, 10);
    other.settle();
    let (name, bytes) = other.disk.contents().into_iter().find(|(n, _)| n.starts_with("log.")).unwrap();
    let mixed = disk.fork();
    mixed.plant(&name, &bytes);
    assert!(matches!(open(&mixed), Err(LogError::Foreign { .. })));
    let mixed = disk.fork();
    mixed.plant("epochs", &other.disk.contents()["epochs"]);
    assert!(matches!(open(&mixed), Err(LogError::Foreign { .. })));

    let place = &places(&disk)[0];
    let name = SegmentName::parse(&place.file).unwrap();
    let mut block = disk.contents()[&place.file][..BLOCK].to_vec();
    block[8..12].copy_from_slice(&2u32.to_le_bytes());
    let crc = format::block_crc(format::seed_of(name.id), &block);
    block[12..16].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(SegmentHeader::read(name, &block), format::FirstBlock::Unknown { version: 2 }));
    disk.corrupt(&place.file, 0, &block);
    let error = open(&disk).err().unwrap().to_string();
    assert_eq!(error, format!("sim/{} has format version 2, this program knows version 1", place.file));
}

#[test]
fn what_is_refused_is_left_as_it_is() {
    let (disk, _) = stopped();
    flip(&disk, "epochs", BLOCK + 20);
    let whole = disk.fork();
    flip(&disk, &places(&disk)[2].file, places(&disk)[2].offset as usize + 70);
    let before = disk.contents();
    corruption(&disk);
    assert!(disk.contents() == before, "not even a slot is repaired");
    let before = whole.contents();
    open(&whole).unwrap();
    assert!(whole.contents() != before, "the slot is repaired once the log is seen to be whole");
}

#[test]
fn numbers_that_no_log_reaches_are_not_counted_on_from() {
    let (disk, history) = stopped();
    // Slots: of the mark with its counter or its sequence number at the end, of the epochs with their counter there.
    for (file, at) in [("marks", 24), ("marks", 40), ("marks", 56), ("epochs", 24)] {
        let hurt = disk.fork();
        let counter = |i: usize| hurt.contents()[file][i * BLOCK + 24..][..8].to_vec();
        let older = usize::from(counter(0) > counter(1));
        let mut block = hurt.contents()[file][older * BLOCK..][..BLOCK].to_vec();
        block[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let crc = format::block_crc(0, &block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        hurt.corrupt(file, (older * BLOCK) as u64, &block);
        let mut rig = Rig::with(hurt, small());
        assert!(rig.history() == &history, "{file} {at}: that slot is a bad one");
        rig.batch(2, 100);
        rig.settle();
        rig.tick(1000);
        rig.settle();
    }
    for number in [u64::MAX, 1 << 48, (1 << 48) - 1] {
        let planted = disk.fork();
        planted.plant(&format!("log.{number:016x}-0000000000000007"), &vec![0; 6 * BLOCK]);
        let mut rig = Rig::with(planted, small());
        for _ in 0..4 {
            rig.batch(2, 3000);
            rig.housekeep();
            rig.settle();
        }
        assert!(rig.log.segments.last().unwrap().name.number < 100);
        rig.reopen();
    }
}

#[test]
fn a_corruption_says_what_where_and_what_to_do() {
    let (disk, _) = stopped();
    let place = places(&disk)[1].clone();
    flip(&disk, &place.file, place.offset as usize + 100);
    let text = open(&disk).err().unwrap().to_string();
    let begin = format!(
        "sim/{} is damaged at offset {}: the records of batch 2 do not match their checksum; acknowledged \
         transactions behind 0x1 up to 0x3 are lost, as the durable mark proves. Nothing was changed.",
        place.file, place.offset
    );
    assert!(text.starts_with(&begin), "{text}");
    let before = disk.contents();
    assert!(open(&disk).is_err());
    assert!(disk.contents() == before && SECTOR == 512, "nothing was changed");
}
