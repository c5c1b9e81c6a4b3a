//! The segments before the one at which recovery begins to read: all of their transactions are in the snapshot that the
//! state begins with.
//!
//! They are kept for followers who come late, and for older snapshots should the newest one rot. So that a start takes
//! no longer for them they are not read, except for a few batch headers: that each goes on where the one before it ends
//! is seen from their headers, and what is read of them later is judged then. Called by `walk` only.

use std::fmt;
use std::path::PathBuf;

use super::Segment;
use super::error::LogError;
use super::files::Files;
use super::format::{BatchHeader, Point};
use super::index::{Index, Place};
use super::inventory::Used;
use super::runs::Runs;
use super::scan::{SegmentReader, records};
use super::table::Found;
use crate::io::BLOCK;

/// How many segments in which an epoch ends are gone through for its last transaction.
const EPOCH_ENDS: usize = 4;

/// A hole in the part of the log that is not needed to build the newest state. What lies before it is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGap {
    /// The segment with which the log begins now.
    pub path: PathBuf,
    /// The transaction behind which it begins.
    pub after: crate::id::Zxid,
    /// Number of the segment that it continues, and that is not there or does not end where it should.
    pub missing: u64,
    /// How many segments before the hole are given up.
    pub given_up: usize,
}

impl fmt::Display for LogGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogGap { path, after, missing, given_up } = self;
        write!(
            f,
            "no sound segment log.{missing:016x}-* before {}: the log begins behind {after} now, and {given_up} older \
             segments are given up. Nothing is lost but older history",
            path.display()
        )
    }
}

/// How far back the log reaches.
pub(super) struct Earlier {
    /// Those before the first one to be read, oldest first.
    pub segments: Vec<Segment>,
    pub gap: Option<LogGap>,
    /// What they hold, as far back as that is known.
    pub runs: Runs,
}

impl Earlier {
    /// Those of the `live` segments before number `first` which make one log with it, back to what was `purged`.
    pub fn of(files: &Files<'_>, live: &[Used], first: usize, purged: Point) -> Result<Earlier, LogError> {
        let (begin, gap) = beginning(files, live, first, purged)?;
        let mut runs = Runs::new(live[first].header.from().zxid);
        let mut known = true;
        let mut epoch_ends = 0;
        let mut segments = Vec::new();
        for i in (begin..first).rev() {
            let Used { name, file_len, header } = &live[i];
            let (from, last) = (header.from(), live[i + 1].header.from());
            let len = (*file_len).min(header.length) / BLOCK as u64 * BLOCK as u64;
            let mut index = Index::unread(header.length, len);
            if known {
                epoch_ends += usize::from(from.zxid.epoch() != last.zxid.epoch());
                let held =
                    if epoch_ends > EPOCH_ENDS { None } else { held(files, &live[i], last, &mut index)? };
                match held {
                    Some(mut held) => {
                        held.append(&runs);
                        runs = held;
                    }
                    None => known = false,
                }
            }
            let generation = header.generation;
            segments.push(Segment { name: *name, len, generation, from, last, index });
        }
        segments.reverse();
        Ok(Earlier { segments, gap, runs })
    }
}

/// The first segment of the chain that leads to segment `first`.
fn beginning(
    files: &Files<'_>,
    live: &[Used],
    first: usize,
    purged: Point,
) -> Result<(usize, Option<LogGap>), LogError> {
    let mut begin = first;
    loop {
        let Used { name, header, .. } = &live[begin];
        let from = header.from();
        if from.at() <= purged.at() || from == Point::default() || header.is_behind_snapshot() {
            return Ok((begin, None));
        }
        let before = begin.checked_sub(1).map(|i| &live[i]).filter(|u| u.header.from().seq < from.seq);
        let continued = match before {
            Some(before) if before.name.number == header.from_number => true,
            // Segments that were dead as a whole may have stood between them.
            Some(before) => ends_at(files, before, from)?,
            None => false,
        };
        if !continued {
            let path = files.path(&name.to_string());
            let (after, missing, given_up) = (from.zxid, header.from_number, begin);
            return Ok((begin, Some(LogGap { path, after, missing, given_up })));
        }
        begin -= 1;
    }
}

/// Whether the batches of a segment lead to this point.
fn ends_at(files: &Files<'_>, used: &Used, end: Point) -> Result<bool, LogError> {
    let mut reader = reader(files, used);
    follow(&mut reader, used, end, &mut |_, _, _| Ok(true))
}

/// The transactions of a segment that ends at `last`. `None` if that cannot be told, for damage.
fn held(files: &Files<'_>, used: &Used, last: Point, index: &mut Index) -> Result<Option<Runs>, LogError> {
    let from = used.header.from();
    let mut runs = Runs::new(from.zxid);
    if from.zxid.epoch() == last.zxid.epoch() {
        // Within an epoch zxids follow each other, and so does each server's log.
        match from.zxid.successor() {
            Some(next) if next <= last.zxid => runs.extend(next, last.zxid),
            _ => {}
        }
        return Ok(Some(runs));
    }
    let mut noted = Index::new(used.header.length);
    let whole = follow(&mut reader(files, used), used, last, &mut |reader, place, batch| {
        noted.note(place, batch.padded());
        let (Found::Whole, _) = reader.judge(place.offset, place.from, used.header.generation)? else {
            return Ok(false);
        };
        let held = records(reader.payload(place.offset, batch)?).map(|(zxid, _)| zxid);
        held.take_while(|zxid| *zxid <= last.zxid).for_each(|zxid| runs.push(zxid));
        Ok(true)
    })?;
    if whole {
        *index = noted;
    }
    Ok(whole.then_some(runs))
}

/// Goes from batch header to batch header, for as long as `each` says so. Whether that led to `end`.
fn follow(
    reader: &mut SegmentReader<'_>,
    used: &Used,
    end: Point,
    each: &mut dyn FnMut(&mut SegmentReader<'_>, Place, &BatchHeader) -> Result<bool, LogError>,
) -> Result<bool, LogError> {
    let mut place = Place::first(used.header.from());
    while place.from.seq < end.seq {
        let Some(batch) = reader.header(place.offset)? else { return Ok(false) };
        let follows = batch.generation == used.header.generation
            && batch.seq == place.from.seq + 1
            && batch.prev_crc == place.from.crc;
        if !follows || !each(reader, place, &batch)? {
            return Ok(false);
        }
        place = place.behind(&batch);
    }
    Ok(place.from.crc == end.crc)
}

fn reader<'v>(files: &Files<'v>, used: &Used) -> SegmentReader<'v> {
    SegmentReader::new(files.volume(), used.name, used.file_len.min(used.header.length))
}
