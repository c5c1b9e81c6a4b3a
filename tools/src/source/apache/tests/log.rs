use std::fs;
use std::ops::Range;

use super::*;
use crate::source::apache::damage::DamageKind;
use crate::source::apache::log::{LogEnd, LogEvent, LogReader};

/// A log in memory, with where its records are.
struct Sample {
    bytes: Vec<u8>,
    records: Vec<Range<u64>>,
    dir: tempfile::TempDir,
}

impl Sample {
    fn new(nodes: usize, preallocated: usize) -> Sample {
        let dir = temp();
        let history = History::mixed(nodes);
        let path = history.log(dir.path(), 0..history.txns.len());
        let mut bytes = fs::read(path).unwrap();
        let mut at = 16;
        let records = history.txns.iter().map(|(_, payload)| {
            let start = at;
            at += payload.len() as u64 + 13;
            start..at
        });
        let records: Vec<_> = records.collect();
        assert_eq!(records.last().unwrap().end, bytes.len() as u64);
        bytes.resize(bytes.len() + preallocated, 0);
        Sample { bytes, records, dir }
    }

    /// What a reader says of these bytes: how many records, what damage, and the end.
    fn read(&self, bytes: &[u8]) -> (usize, Vec<(Range<u64>, DamageKind)>, LogEnd) {
        let path = self.dir.path().join("log.1");
        put(&path, bytes);
        let mut reader = LogReader::open(&path).unwrap();
        let (mut records, mut damage) = (0, Vec::new());
        while let Some(event) = reader.next().unwrap() {
            match event {
                LogEvent::Record(_) => records += 1,
                LogEvent::Damage(found) => damage.push((found.range, found.what)),
            }
        }
        (records, damage, reader.end().unwrap())
    }

    fn data_end(&self) -> u64 {
        self.records.last().unwrap().end
    }

    /// From the first to the last record that have one of these bytes.
    fn hit(&self, bytes: impl Iterator<Item = u64>) -> Option<Range<u64>> {
        let hit: Vec<_> = bytes.filter_map(|at| self.records.iter().find(|r| r.contains(&at))).collect();
        Some(hit.first()?.start..hit.last()?.end)
    }
}

#[test]
fn a_sound_log_is_read_to_its_last_record_and_zeros_behind_it_are_its_end() {
    for preallocated in [0, 1, 11, 12, 5000, 3 << 20] {
        let sample = Sample::new(40, preallocated);
        let (records, damage, end) = sample.read(&sample.bytes);
        assert_eq!((records, damage), (sample.records.len(), vec![]));
        assert_eq!(end, LogEnd { at: sample.data_end(), zeros: preallocated as u64 });
    }
}

#[test]
fn a_changed_byte_costs_exactly_the_record_it_is_in() {
    for preallocated in [0, 3000] {
        let sample = Sample::new(6, preallocated);
        for at in 16..sample.data_end() {
            let with = [0x01, 0x80, 0xff][at as usize % 3];
            let mut bytes = sample.bytes.clone();
            bytes[at as usize] ^= with;
            let (records, damage, _) = sample.read(&bytes);
            let hit = sample.hit([at].into_iter()).unwrap();
            assert!(
                damage.len() == 1 && damage[0].0 == hit,
                "byte {at} ^ {with:#x}: {damage:?}, not {hit:?}"
            );
            // Not even the last one, whose length leads past the end: its checksum tells that it had been whole.
            assert!(damage[0].1 != DamageKind::Torn, "byte {at} ^ {with:#x}: {damage:?}");
            assert_eq!(records, sample.records.len() - 1, "byte {at} ^ {with:#x}");
        }
    }
}

#[test]
fn a_damaged_header_is_told_and_the_records_are_read() {
    let sample = Sample::new(6, 100);
    for at in 0..16 {
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= 0xff;
        let (records, damage, _) = sample.read(&bytes);
        // Nobody looks at version and database.
        let expected = if at < 4 { vec![(0..16, DamageKind::Header)] } else { vec![] };
        assert_eq!((records, damage), (sample.records.len(), expected), "byte {at}");
    }
}

#[test]
fn zeroed_bytes_in_the_middle_are_a_hole_of_the_records_they_hit() {
    let sample = Sample::new(400, 20_000);
    let whole_before = |end: u64| sample.records.iter().filter(|r| r.end <= end).count();
    for len in [1, 12, 100, 512, 4096] {
        for start in (16..sample.data_end() - 4096 - 200).step_by(389) {
            let zeroed = start as usize..start as usize + len;
            let changed = zeroed.clone().filter(|&at| sample.bytes[at] != 0).map(|at| at as u64);
            let hit = sample.hit(changed);
            let mut bytes = sample.bytes.clone();
            bytes[zeroed].fill(0);
            let (records, damage, end) = sample.read(&bytes);
            // Neighbours may be told one by one.
            let ranges: Vec<_> = damage.iter().map(|(range, _)| range.clone()).collect();
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
            let union = ranges.first().map(|first| first.start..ranges.last().unwrap().end);
            assert_eq!(union, hit, "{len} bytes at {start}");
            let lost = hit.map_or(0, |hit| whole_before(hit.end) - whole_before(hit.start));
            assert_eq!(records, sample.records.len() - lost);
            assert_eq!(end.at, sample.data_end());
        }
    }
}

#[test]
fn a_hole_from_record_to_record_is_zeros_where_records_must_be() {
    let sample = Sample::new(60, 0);
    let hole = sample.records[10].start..sample.records[20].end;
    let mut bytes = sample.bytes.clone();
    bytes[hole.start as usize..hole.end as usize].fill(0);
    let (records, damage, _) = sample.read(&bytes);
    assert_eq!(damage, [(hole, DamageKind::Zeroed)]);
    assert_eq!(records, sample.records.len() - 11);
}

#[test]
fn a_cut_leaves_a_torn_record_or_nothing() {
    let sample = Sample::new(6, 0);
    for end in 16..sample.data_end() {
        let (records, damage, _) = sample.read(&sample.bytes[..end as usize]);
        let torn = sample.records.iter().find(|r| r.start < end && end < r.end);
        // The first bytes of a record are zeros, which mean nothing.
        let nonzero = torn.filter(|r| sample.bytes[r.start as usize..end as usize].iter().any(|&b| b != 0));
        let found: Vec<_> = damage.iter().map(|(range, what)| (range.start, what.clone())).collect();
        let expected: Vec<_> = nonzero.iter().map(|r| (r.start, DamageKind::Torn)).collect();
        assert_eq!(found, expected, "cut at {end}");
        assert_eq!(records, sample.records.iter().filter(|r| r.end <= end).count());
    }
    for end in 0..16 {
        let (records, damage, _) = sample.read(&sample.bytes[..end]);
        assert_eq!((records, damage), (0, vec![(0..end as u64, DamageKind::Cut)]));
    }
}

#[test]
fn a_write_that_was_cut_off_by_a_crash_is_torn() {
    // The file was longer already; what did not arrive is zeros.
    let sample = Sample::new(6, 4096);
    let last = sample.records.last().unwrap().clone();
    for end in last.start + 12..last.end {
        let mut bytes = sample.bytes.clone();
        bytes[end as usize..].fill(0);
        let (records, damage, _) = sample.read(&bytes);
        assert_eq!(records, sample.records.len() - 1);
        assert!(
            matches!(&damage[..], [(range, DamageKind::Torn)] if range.start == last.start),
            "{end}: {damage:?}"
        );
    }
}

#[test]
fn a_record_in_the_data_of_a_damaged_one_is_not_taken_while_lengths_are_sound() {
    let dir = temp();
    let mut inner = History::new();
    inner.next = Zxid::from_raw(100);
    inner.create("/forged", b"forged");
    let forged = fs::read(inner.log(dir.path(), 0..1)).unwrap();
    let mut history = History::new();
    history.create("/a", &forged[16..]);
    history.create("/b", b"");
    let path = history.log(dir.path(), 0..2);
    let mut bytes = fs::read(&path).unwrap();
    bytes[16 + 12 + 33] ^= 1;
    put(&path, &bytes);
    let mut reader = LogReader::open(&path).unwrap();
    let damage = matches!(reader.next().unwrap(), Some(LogEvent::Damage(_)));
    let behind = matches!(reader.next().unwrap(), Some(LogEvent::Record(r)) if r.zxid == Zxid::from_raw(2));
    assert!(damage && behind && reader.next().unwrap().is_none());
}

#[test]
fn a_transaction_that_goes_back_is_told() {
    let dir = temp();
    let history = History::mixed(3);
    let mut writer = LogWriter::create(dir.path(), Zxid::from_raw(1)).unwrap();
    for i in [0, 1, 1, 2, 1, 3] {
        writer.append(&history.txns[i].1).unwrap();
    }
    let mut reader = LogReader::open(&writer.finish().unwrap()).unwrap();
    let mut seen = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        match event {
            LogEvent::Record(record) => seen.push(record.zxid.raw()),
            LogEvent::Damage(damage) => {
                assert_eq!(damage.what, DamageKind::Order { zxid: Zxid::from_raw(2) });
            }
        }
    }
    // The same twice is what servers since 3.9 write for requests that they cannot read.
    assert_eq!(seen, [1, 2, 2, 3, 4]);
}
