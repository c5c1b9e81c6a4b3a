//! Reads the log back: what of the directory is the log, and where it ends.
//!
//! Two steps. The walk goes from batch to batch and reduces each position to [`Facts`]; [`table`](super::table)
//! says what they mean. The evidence of what was acknowledged is the highest `durable_seq` in any sound header of
//! the live generation, and the durable mark. Nothing is written here but the flush at the end and what a new
//! directory needs; a cut is made by the caller, in a segment of its own. Called by `Log::open` only.

use super::epochs::{EpochFile, Epochs};
use super::error::{Corruption, Damage, Evidence, LogError, ReplayError};
use super::files::Files;
use super::format::{BatchHeader, Point, SegmentHeader};
use super::inventory::{Inventory, Sighting, Used, sightings_from};
use super::marks::Mark;
use super::name::SegmentName;
use super::options::LogOptions;
use super::scan::{SegmentReader, records};
use super::slots::{SlotValue, Slots};
use super::stock::{Free, Stock, next_id};
use super::table::{Decision, Facts, Found, Row, decide};
use super::{RecoveryReport, Segment, TornTail};
use crate::id::Zxid;
use crate::io::BLOCK;

/// Called with each transaction of the log in order, as its bytes and its zxid.
pub type Replay<'a> = dyn FnMut(&[u8], Zxid) -> Result<(), ReplayError> + 'a;

/// What was read back.
pub(super) struct Recovered {
    pub generation: u32,
    /// Oldest first. The last one is the one to go on in, unless the tail is torn.
    pub segments: Vec<Segment>,
    /// Offset behind the last batch, in the last segment.
    pub offset: u64,
    pub tip: Point,
    pub purged: Point,
    pub slots: Slots<Mark>,
    pub epochs: EpochFile,
    pub stock: Stock,
    pub report: RecoveryReport,
}

/// Reads the directory; a new one is given what it needs.
pub(super) fn recover(
    files: &mut Files<'_>,
    options: &LogOptions,
    replay: &mut Replay<'_>,
) -> Result<Recovered, LogError> {
    let inventory = Inventory::take(files)?;
    let epochs = EpochFile::load(files)?;
    let slots = match Slots::<Mark>::load(files)? {
        Some(slots) => slots,
        None => return create(files, inventory, epochs, options),
    };
    let of_database = |found, name: &str| match found == slots.database {
        true => Ok(()),
        false => Err(LogError::Foreign { path: files.path(name), found, expected: slots.database }),
    };
    epochs.as_ref().map_or(Ok(()), |e| of_database(e.database(), EpochFile::NAME))?;
    inventory.used.iter().try_for_each(|u| of_database(u.header.database, &u.name.to_string()))?;

    let mut walk = Walk::new(files, &inventory, slots.value())?;
    let end = walk.run(replay)?;
    let Walk { segments, tip, owed, records, generation, .. } = walk;
    // What came back after the end of a process may still be in the device's cache only, and soon somebody is
    // told of it. Batches at or below the evidence were flushed by those who wrote them.
    for (i, segment) in segments.iter().enumerate() {
        if segment.last.seq > owed.seq || i + 1 == segments.len() {
            files.sync(&segment.name.to_string())?;
        }
    }
    files.sync(Mark::FILE)?;
    if epochs.is_some() {
        files.sync(EpochFile::NAME)?;
    }
    files.sync_dir()?;

    let epochs_lost = epochs.is_none();
    let epochs = match epochs {
        Some(epochs) => epochs,
        None => {
            let seen = tip.zxid.epoch();
            let untrusted = Epochs { accepted: seen, current: seen, nonvoting: true };
            EpochFile::create(files, slots.database, untrusted)?
        }
    };
    let report = RecoveryReport {
        created: false,
        database: slots.database,
        generation,
        segments: segments.len(),
        records,
        last: tip.zxid,
        torn: end.torn,
        ignored: inventory.ignored.clone(),
        epochs_lost,
    };
    let purged = slots.value().purged();
    let stock = stock(&inventory, &segments, options);
    Ok(Recovered { generation, segments, offset: end.offset, tip, purged, slots, epochs, stock, report })
}

/// A directory without marks: new, or robbed of them.
fn create(
    files: &mut Files<'_>,
    inventory: Inventory,
    epochs: Option<EpochFile>,
    options: &LogOptions,
) -> Result<Recovered, LogError> {
    let promised = epochs.as_ref().is_some_and(|e| e.get() != Epochs::default());
    if inventory.has_log() || promised {
        let through = inventory.used.last().map(|u| u.header.from().zxid);
        return Err(Corruption {
            path: files.path(Mark::FILE),
            offset: 0,
            damage: Damage::Marks,
            lost_after: Zxid::ZERO,
            lost_through: through,
            evidence: Evidence::Log,
        }
        .into());
    }
    // The epochs first: a directory with marks and without epochs has lost them.
    let epochs = match epochs {
        Some(epochs) => epochs,
        None => EpochFile::create(files, next_id(&mut { options.seed }, 0), Epochs::default())?,
    };
    let database = epochs.database();
    let slots = Slots::create(files, database, Mark::new(1, Point::default(), Point::default()))?;
    let report = RecoveryReport {
        created: true,
        database,
        generation: 1,
        segments: 0,
        records: 0,
        last: Zxid::ZERO,
        torn: None,
        ignored: inventory.ignored.clone(),
        epochs_lost: false,
    };
    Ok(Recovered {
        generation: 1,
        segments: Vec::new(),
        offset: 0,
        tip: Point::default(),
        purged: Point::default(),
        slots,
        epochs,
        stock: stock(&inventory, &[], options),
        report,
    })
}

/// Sorts the files that are not the log into those ready for use and those that are free.
fn stock(inventory: &Inventory, live: &[Segment], options: &LogOptions) -> Stock {
    let highest = |names: &mut dyn Iterator<Item = SegmentName>| names.map(|n| n.number).max().unwrap_or(0);
    let used = highest(&mut inventory.used.iter().map(|u| u.name));
    let headless = highest(&mut inventory.headless.iter().map(|h| h.name));
    let mut stock =
        Stock::new(options.segment_bytes, options.prepare_ahead, used, used.max(headless), options.seed);
    for file in &inventory.headless {
        // Under a name that already has batches a new one could be followed by them.
        if file.batches.is_empty() && file.file_len == options.segment_bytes {
            stock.add_prepared(file.name);
        } else {
            stock.add_free(Free { file: file.name.to_string(), len: file.file_len });
        }
    }
    for used in inventory.used.iter().filter(|u| live.iter().all(|s| s.name != u.name)) {
        stock.add_free(Free { file: used.name.to_string(), len: used.file_len });
    }
    stock
}

/// How the walk ended.
struct End {
    offset: u64,
    torn: Option<TornTail>,
}

/// The highest batch that somebody was told is durable, and how that is known.
struct Owed {
    seq: u64,
    evidence: Evidence,
}

impl Owed {
    fn raise(&mut self, seq: u64, evidence: impl FnOnce() -> Evidence) {
        if seq > self.seq {
            *self = Owed { seq, evidence: evidence() };
        }
    }
}

struct Walk<'a> {
    files: &'a Files<'a>,
    inventory: &'a Inventory,
    live: Vec<Used>,
    generation: u32,
    mark: Mark,
    /// Whether the batch that the mark names is part of the log, not cut off since.
    mark_is_live: bool,
    owed: Owed,
    tip: Point,
    segments: Vec<Segment>,
    records: u64,
}

/// What is behind a position where the log cannot go on.
#[derive(Default)]
struct Behind {
    /// The first later batch, and whether it is in the same file.
    first: Option<(Sighting, bool)>,
}

impl Behind {
    fn see(&mut self, sighting: Sighting, same_file: bool) {
        if self.first.is_none_or(|(first, _)| sighting.seq < first.seq) {
            self.first = Some((sighting, same_file));
        }
    }
}

impl<'a> Walk<'a> {
    fn new(files: &'a Files<'a>, inventory: &'a Inventory, mark: Mark) -> Result<Walk<'a>, LogError> {
        let generation = inventory.generation(&mark);
        let cut = inventory.limit(mark.generation);
        let mark_is_live = cut.is_none_or(|cut| mark.durable().seq <= cut.seq);
        let mut walk = Walk {
            files,
            inventory,
            live: inventory.live(),
            generation,
            mark,
            mark_is_live,
            owed: Owed { seq: 0, evidence: Evidence::Mark },
            tip: mark.purged(),
            segments: Vec::new(),
            records: 0,
        };
        if mark_is_live {
            walk.owed.raise(mark.durable().seq, || Evidence::Mark);
        }
        if mark.generation > generation {
            let damage = Damage::MissingGeneration { generation: mark.generation };
            return Err(walk.corrupt_directory(damage, mark.durable().zxid));
        }
        for used in &walk.live {
            let path = || Evidence::Segment { path: files.path(&used.name.to_string()) };
            walk.owed.raise(used.header.durable_seq, path);
        }
        // A generation begins with a header that is durable before any batch: batches alone are a header lost.
        for file in &inventory.headless {
            let newer = |b: &&Sighting| b.generation > generation;
            if let Some(batch) = file.batches.iter().find(newer) {
                return Err(walk.corruption(
                    file.name,
                    0,
                    Damage::SegmentHeader,
                    Some(batch.first_zxid),
                    Evidence::Batch { path: files.path(&file.name.to_string()), offset: batch.offset },
                ));
            }
        }
        Ok(walk)
    }

    /// Goes through the live segments. The first one that is needed is the last that begins at or before what was
    /// purged: older ones may be there or not.
    fn run(&mut self, replay: &mut Replay<'_>) -> Result<End, LogError> {
        let purged = self.mark.purged();
        let first = self.live.iter().rposition(|u| u.header.from().seq <= purged.seq);
        let Some(mut i) = first else {
            return match self.live.first() {
                Some(oldest) => {
                    let damage = Damage::MissingSegment { number: oldest.header.from_number };
                    Err(self.corrupt_directory(damage, oldest.header.from().zxid))
                }
                None => self.run_empty(),
            };
        };
        self.tip = self.live[i].header.from();
        loop {
            match self.walk_segment(i, replay)? {
                Some(end) => return Ok(end),
                None => i += 1,
            }
        }
    }

    /// There is no segment with a header: nothing was ever acknowledged, or all is lost.
    fn run_empty(&mut self) -> Result<End, LogError> {
        let mut behind = Behind::default();
        self.see_headless(&mut behind);
        let row = self.decide(Found::Nothing, false, false, behind.first.is_some());
        match row.decision {
            Decision::Corrupt => {
                let damage = Damage::MissingGeneration { generation: self.generation };
                Err(self.corrupt_directory(damage, self.mark.durable().zxid))
            }
            Decision::TornTail => {
                let (path, after) = (self.files.directory(), self.tip.zxid);
                Ok(End { offset: 0, torn: Some(TornTail { path, offset: 0, after, reason: row.reason }) })
            }
            _ => Ok(End { offset: 0, torn: None }),
        }
    }

    fn decide(&self, found: Found, at_cut: bool, succeeded: bool, later: bool) -> &'static Row {
        let owed = self.tip.seq < self.owed.seq;
        decide(Facts { found, at_cut, succeeded, owed, later })
    }

    /// Walks live segment `i`. `None` if the log goes on in the next one.
    fn walk_segment(&mut self, i: usize, replay: &mut Replay<'_>) -> Result<Option<End>, LogError> {
        let Used { name, file_len, header } = self.live[i].clone();
        let limit = self.inventory.limit(header.generation);
        let next = self.live.get(i + 1).map(|u| (u.header.generation, u.header.from()));
        let len = file_len.min(header.length);
        let mut reader = SegmentReader::new(self.files.volume(), name, len);
        let mut offset = BLOCK as u64;
        loop {
            let at_cut = limit.is_some_and(|cut| cut.seq == self.tip.seq);
            let succeeded = next.is_some_and(|(generation, from)| {
                generation == header.generation && (from.seq, from.crc) == (self.tip.seq, self.tip.crc)
            });
            let (found, batch) = match at_cut || succeeded {
                true => (Found::Nothing, None), // whatever it is: the row does not ask
                false => reader.judge(offset, self.tip, header.generation)?,
            };
            let mut row = self.decide(found, at_cut, succeeded, false);
            let mut behind = Behind::default();
            let goes_on =
                matches!(row.decision, Decision::Accept | Decision::NextSegment | Decision::FollowCut);
            if !goes_on {
                self.look_behind(i, offset, &mut reader, &mut behind)?;
                row = self.decide(found, at_cut, succeeded, behind.first.is_some());
            }
            match (row.decision, batch) {
                (Decision::Accept, Some(batch)) => {
                    self.check_identity(name, offset, &batch, limit)?;
                    self.replay(&mut reader, offset, &batch, limit, replay)?;
                    offset += batch.padded();
                    continue;
                }
                (Decision::Corrupt, _) => return Err(self.damaged(i, offset, found, batch, &behind)),
                _ => {}
            }
            let Used { header, .. } = &self.live[i];
            let len = len / BLOCK as u64 * BLOCK as u64;
            let (generation, from, last) = (header.generation, header.from(), self.tip);
            self.segments.push(Segment { name, len, generation, from, last });
            return Ok(match row.decision {
                Decision::NextSegment | Decision::FollowCut => None,
                Decision::CleanEnd => Some(End { offset, torn: None }),
                _ => {
                    let (path, after) = (self.files.path(&name.to_string()), self.tip.zxid);
                    Some(End { offset, torn: Some(TornTail { path, offset, after, reason: row.reason }) })
                }
            });
        }
    }

    /// A whole batch may still be the wrong one: an older copy of the directory, say.
    fn check_identity(
        &self,
        name: SegmentName,
        offset: u64,
        batch: &BatchHeader,
        limit: Option<Point>,
    ) -> Result<(), LogError> {
        let end = batch.end();
        let replaced = |known: Point, evidence| {
            let damage = Damage::Replaced { seq: end.seq };
            Err(self.corruption(name, offset, damage, Some(known.zxid), evidence))
        };
        let marked = self.mark.durable();
        if self.mark_is_live && marked.seq == end.seq && marked.crc != end.crc {
            return replaced(marked, Evidence::Mark);
        }
        if let Some(cut) = limit.filter(|cut| cut.seq == end.seq) {
            let within = (batch.first_zxid..=batch.last_zxid).contains(&cut.zxid.raw());
            if cut.crc != end.crc || !within {
                return replaced(cut, Evidence::Log);
            }
        }
        Ok(())
    }

    /// Hands the transactions of a whole batch out, up to where it was cut.
    fn replay(
        &mut self,
        reader: &mut SegmentReader<'_>,
        offset: u64,
        batch: &BatchHeader,
        limit: Option<Point>,
        replay: &mut Replay<'_>,
    ) -> Result<(), LogError> {
        let cut = limit.filter(|cut| cut.seq == batch.seq).map(|cut| cut.zxid);
        let path = reader.name;
        for (zxid, txn) in records(reader.payload(offset, batch)?) {
            if cut.is_some_and(|cut| zxid > cut) {
                break;
            }
            self.records += 1;
            replay(txn, zxid).map_err(|source| {
                let path = self.files.path(&path.to_string());
                LogError::Replay { path, offset, zxid, source }
            })?;
        }
        self.tip = Point { zxid: cut.unwrap_or(batch.end().zxid), ..batch.end() };
        if batch.generation == self.generation {
            let path = || Evidence::Batch { path: self.files.path(&path.to_string()), offset };
            self.owed.raise(batch.durable_seq, path);
        }
        Ok(())
    }

    /// Looks for headers of the live generation from `offset` of live segment `i` on, and in all later files.
    fn look_behind(
        &mut self,
        i: usize,
        offset: u64,
        reader: &mut SegmentReader<'_>,
        behind: &mut Behind,
    ) -> Result<(), LogError> {
        let found = sightings_from(reader, offset)?;
        self.see_all(reader.name, &found, Some(offset), behind);
        for used in self.live[i + 1..].to_vec() {
            let SegmentHeader { generation, durable_seq, .. } = used.header;
            let Point { seq, zxid: first_zxid, .. } = used.header.from();
            behind.see(Sighting { offset: 0, generation, seq, durable_seq, first_zxid }, false);
            let mut reader = SegmentReader::new(self.files.volume(), used.name, used.file_len);
            let found = sightings_from(&mut reader, BLOCK as u64)?;
            self.see_all(used.name, &found, None, behind);
        }
        self.see_headless(behind);
        Ok(())
    }

    fn see_headless(&mut self, behind: &mut Behind) {
        let inventory = self.inventory;
        for file in &inventory.headless {
            self.see_all(file.name, &file.batches, None, behind);
        }
    }

    /// `here` is the offset of the position itself, where it is in this file: what stands there is no later batch.
    fn see_all(&mut self, name: SegmentName, found: &[Sighting], here: Option<u64>, behind: &mut Behind) {
        for batch in found.iter().filter(|b| b.generation == self.generation) {
            let path = || self.files.path(&name.to_string());
            self.owed.raise(batch.durable_seq, || Evidence::Batch { path: path(), offset: batch.offset });
            if batch.seq > self.tip.seq && here != Some(batch.offset) {
                behind.see(*batch, here.is_some());
            }
        }
    }

    /// The error for a position of live segment `i` where an acknowledged batch is missing: names the file that
    /// is to blame, which may be another than the one being read.
    fn damaged(
        &self,
        i: usize,
        offset: u64,
        found: Found,
        batch: Option<BatchHeader>,
        behind: &Behind,
    ) -> LogError {
        let seq = self.tip.seq.saturating_add(1);
        let here = &self.live[i];
        let next = self.live.get(i + 1);
        let follower = next.map(|u| u.header.from_number).filter(|&number| number != here.name.number);
        let headless = |number| self.inventory.headless.iter().find(|h| h.name.number == number);
        let holder = self
            .inventory
            .headless
            .iter()
            .find(|h| h.batches.iter().any(|b| b.generation == self.generation && b.seq > self.tip.seq));
        let in_this_file = behind.first.is_some_and(|(_, same_file)| same_file);
        let before = behind.first.map(|(b, _)| b.first_zxid).or(next.map(|u| u.header.from().zxid));
        let through = match (found, batch) {
            (Found::BadRecords, Some(batch)) => Some(batch.end().zxid),
            _ => before.or((self.mark_is_live).then(|| self.mark.durable().zxid)),
        };
        let through = through.filter(|z| *z > self.tip.zxid);
        let evidence = self.owed.evidence.clone();
        let at = |name, offset, damage| self.corruption(name, offset, damage, through, evidence.clone());
        if found != Found::Nothing || in_this_file {
            return at(here.name, offset, Damage::of(found, seq));
        }
        match (follower, holder) {
            (Some(number), _) => match headless(number) {
                Some(file) => at(file.name, 0, Damage::SegmentHeader),
                None => self
                    .corrupt_directory(Damage::MissingSegment { number }, through.unwrap_or(self.tip.zxid)),
            },
            (None, Some(file)) if next.is_none() => at(file.name, 0, Damage::SegmentHeader),
            _ => at(here.name, offset, Damage::of(found, seq)),
        }
    }

    fn corruption(
        &self,
        name: SegmentName,
        offset: u64,
        damage: Damage,
        lost_through: Option<Zxid>,
        evidence: Evidence,
    ) -> LogError {
        let path = self.files.path(&name.to_string());
        Corruption { path, offset, damage, lost_after: self.tip.zxid, lost_through, evidence }.into()
    }

    fn corrupt_directory(&self, damage: Damage, through: Zxid) -> LogError {
        Corruption {
            path: self.files.directory(),
            offset: 0,
            damage,
            lost_after: self.tip.zxid,
            lost_through: Some(through).filter(|z| *z > self.tip.zxid),
            evidence: self.owed.evidence.clone(),
        }
        .into()
    }
}
