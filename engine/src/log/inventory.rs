//! First look at the directory: which files are segments, which of them are alive, what stands in the others.
//!
//! Reads the first block of each segment file, and all of those without a sound header: there the batches of a
//! segment whose header is gone must be found. Called by recovery only.

use super::error::LogError;
use super::files::Files;
use super::format::{FirstBlock, Point, SegmentHeader, VERSION};
use super::marks::Mark;
use super::name::SegmentName;
use super::scan::SegmentReader;
use crate::id::Zxid;
use crate::io::BLOCK;
use crate::snapshot::{Published, Snapshots};

/// A segment with a sound header.
#[derive(Clone, Debug)]
pub(super) struct Used {
    pub name: SegmentName,
    pub file_len: u64,
    pub header: SegmentHeader,
}

/// A segment's name on a file without its header: prepared, recycled, torn in its first write, or damaged.
#[derive(Clone, Debug)]
pub(super) struct Headless {
    pub name: SegmentName,
    pub file_len: u64,
    /// Batches that were written under this name.
    pub batches: Vec<Sighting>,
}

/// A sound batch header met somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub offset: u64,
    pub generation: u32,
    pub seq: u64,
    pub durable_seq: u64,
    /// The last transaction before the batch, as far as can be said: the number before its first one.
    pub after: Zxid,
}

/// What is in the directory.
pub(super) struct Inventory {
    /// By generation, then number.
    pub used: Vec<Used>,
    pub headless: Vec<Headless>,
    /// Files named like a log that are not ours.
    pub ignored: Vec<String>,
    /// The first of them that is not even named as we name ours: another server's.
    pub foreign: Option<String>,
    /// The newest snapshot, as its name says.
    pub snapshot: Option<Zxid>,
    /// Generation of the snapshots, 0 if there are none or the log began with nothing. Log of lower ones is dead.
    pub root: u32,
    /// The end of the received snapshot that the log began with, if that is still there.
    pub received: Option<Point>,
}

impl Inventory {
    pub fn take(files: &Files<'_>, snapshots: &Snapshots) -> Result<Inventory, LogError> {
        let mut inventory = Inventory {
            used: Vec::new(),
            headless: Vec::new(),
            ignored: Vec::new(),
            foreign: None,
            snapshot: snapshots.names().map(|name| name.zxid).max(),
            root: snapshots.root,
            received: snapshots.received().map(Published::point),
        };
        for (file, file_len) in files.iter() {
            let Some(name) = SegmentName::parse(file) else {
                if file.starts_with("log.") {
                    inventory.ignored.push(file.to_owned());
                    if inventory.foreign.is_none() && !SegmentName::has_form(file) {
                        inventory.foreign = Some(file.to_owned());
                    }
                }
                continue;
            };
            match SegmentHeader::read(name, &files.read(file, 0, BLOCK)?) {
                FirstBlock::Header(header) => inventory.used.push(Used { name, file_len, header }),
                FirstBlock::Other => {
                    let batches = sightings(files, name, file_len)?;
                    inventory.headless.push(Headless { name, file_len, batches });
                }
                FirstBlock::Unknown { version } => {
                    return Err(LogError::Version { path: files.path(file), version, known: VERSION });
                }
            }
        }
        inventory.used.sort_by_key(|u| (u.header.generation, u.name.number));
        Ok(inventory)
    }

    /// Whether anything was ever written here.
    pub fn has_log(&self) -> bool {
        self.snapshot.is_some()
            || !self.used.is_empty()
            || self.headless.iter().any(|h| !h.batches.is_empty())
    }

    /// The generation that is alive. Where nothing is yet behind a received snapshot: the one before its own.
    pub fn generation(&self, mark: &Mark) -> u32 {
        match self.used.last() {
            Some(last) if last.header.generation >= self.root => last.header.generation,
            _ if self.root > 0 => self.root - 1,
            _ => mark.generation,
        }
    }

    /// A segment that continues a received snapshot which is not there, and is needed behind `start`. Where a snapshot
    /// lies behind both, neither is needed.
    pub fn orphan(&self, start: Point) -> Option<&Used> {
        let needed = |u: &&Used| u.header.generation >= self.root && u.header.from().seq >= start.seq;
        let orphaned = |u: &&Used| u.header.is_behind_snapshot() && Some(u.header.from()) != self.received;
        self.used.iter().filter(needed).find(orphaned)
    }

    /// The segments that are part of the log, oldest first: those not cut off as a whole by a later generation.
    pub fn live(&self) -> Vec<Used> {
        let alive = |u: &&Used| {
            u.header.generation >= self.root
                && self.limit(u.header.generation).is_none_or(|cut| cut.seq > u.header.from().seq)
        };
        self.used.iter().filter(alive).cloned().collect()
    }

    /// Where the log of this generation was cut off by later ones.
    pub fn limit(&self, generation: u32) -> Option<Point> {
        let later = self.used.iter().filter(|u| u.header.generation > generation);
        later.map(|u| u.header.from()).min_by_key(|p| (p.seq, p.zxid))
    }
}

/// All sound batch headers of a file from `offset` on.
pub(super) fn sightings_from(reader: &mut SegmentReader<'_>, offset: u64) -> Result<Vec<Sighting>, LogError> {
    let mut found = Vec::new();
    reader.headers_from(offset, |offset, header| {
        found.push(Sighting {
            offset,
            generation: header.generation,
            seq: header.seq,
            durable_seq: header.durable_seq,
            after: Zxid::from_raw(header.first_zxid.saturating_sub(1)),
        });
    })?;
    Ok(found)
}

fn sightings(files: &Files<'_>, name: SegmentName, file_len: u64) -> Result<Vec<Sighting>, LogError> {
    sightings_from(&mut SegmentReader::new(files.volume(), name, file_len), BLOCK as u64)
}
