//! The walk of recovery: from batch to batch, from segment to segment, to the end of the log.
//!
//! Each position is reduced to [`Facts`], and [`table`](super::table) says what they mean; this file gathers the
//! facts and names the file to blame. It reads and never writes. Called by `recover` only.

use super::earlier::{Earlier, LogGap};
use super::error::{Corruption, Damage, Evidence, LogError};
use super::files::Files;
use super::format::{BatchHeader, Point, SegmentHeader};
use super::index::{Index, Place};
use super::inventory::{Inventory, Sighting, Used, sightings_from};
use super::marks::Mark;
use super::name::SegmentName;
use super::recover::{Behind, Replay};
use super::runs::Runs;
use super::scan::{SegmentReader, records};
use super::table::{Decision, Facts, Found, Row, decide};
use super::{Segment, TornTail};
use crate::id::Zxid;
use crate::io::BLOCK;
use crate::snapshot::{Origin, Published, Snapshots};

/// How the walk ended.
pub(super) struct End {
    pub offset: u64,
    pub torn: Option<TornTail>,
}

/// The highest batch that somebody was told is durable, and how that is known.
pub(super) struct Owed {
    pub seq: u64,
    evidence: Evidence,
}

impl Owed {
    fn raise(&mut self, seq: u64, evidence: impl FnOnce() -> Evidence) {
        if seq > self.seq {
            *self = Owed { seq, evidence: evidence() };
        }
    }
}

pub(super) struct Walk<'a> {
    files: &'a Files<'a>,
    inventory: &'a Inventory,
    live: Vec<Used>,
    pub generation: u32,
    mark: Mark,
    /// Whether the batch that the mark names is part of the log, not cut off since.
    mark_is_live: bool,
    behind: Behind,
    /// Transactions behind this point are needed.
    start: Point,
    /// What was before this point may be missing: it was purged, or replaced by what was received.
    pub purged: Point,
    /// Snapshots that were made of the log.
    made: Vec<Published>,
    pub owed: Owed,
    pub tip: Point,
    pub segments: Vec<Segment>,
    pub gap: Option<LogGap>,
    pub runs: Runs,
    pub records: u64,
}

/// What is behind a position where the log cannot go on.
#[derive(Default)]
struct Later {
    /// The first later batch, and whether it is in the same file.
    first: Option<(Sighting, bool)>,
}

impl Later {
    fn see(&mut self, sighting: Sighting, same_file: bool) {
        if self.first.is_none_or(|(first, _)| sighting.seq < first.seq) {
            self.first = Some((sighting, same_file));
        }
    }
}

impl<'a> Walk<'a> {
    pub fn new(
        files: &'a Files<'a>,
        inventory: &'a Inventory,
        mark: Mark,
        snapshots: &Snapshots,
        behind: Behind,
    ) -> Result<Walk<'a>, LogError> {
        let generation = inventory.generation(&mark);
        let cut = inventory.limit(mark.generation);
        // A mark from before the snapshot says nothing of the log behind it.
        let is_older = mark.generation < inventory.root;
        let mark_is_live = !is_older && cut.is_none_or(|cut| mark.durable().seq <= cut.seq);
        let oldest = snapshots.headers.first().map(Published::point);
        let purged = oldest.filter(|_| is_older).unwrap_or(mark.purged());
        let start = match behind {
            Behind::Beginning => Point::default(),
            Behind::Snapshot(snapshot) => snapshot.point(),
            Behind::Anything => purged,
        };
        let mut walk = Walk {
            files,
            inventory,
            live: inventory.live(),
            generation,
            mark,
            mark_is_live,
            behind,
            start,
            purged,
            made: snapshots.headers.iter().filter(|h| h.origin != Origin::Received).copied().collect(),
            owed: Owed { seq: 0, evidence: Evidence::Mark },
            tip: start,
            segments: Vec::new(),
            gap: None,
            runs: Runs::new(start.zxid),
            records: 0,
        };
        if mark_is_live {
            walk.owed.raise(mark.durable().seq, || Evidence::Mark);
        }
        for made in &walk.made {
            walk.owed.raise(made.seq, || Evidence::Made { path: files.path(&made.file()) });
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
                    Some(batch.after.max(mark.durable().zxid)),
                    Evidence::Batch { path: files.path(&file.name.to_string()), offset: batch.offset },
                ));
            }
        }
        if mark.generation > generation {
            let damage = Damage::MissingGeneration { generation: mark.generation };
            return Err(walk.corrupt_directory(damage, Some(mark.durable().zxid)));
        }
        let needs_all = matches!(behind, Behind::Beginning);
        if start.at() < purged.at() || needs_all && inventory.root > 0 {
            let zxid = purged.zxid;
            return Err(walk.corrupt_directory(Damage::MissingSnapshot { zxid }, Some(zxid)));
        }
        if let Some(orphan) = inventory.orphan(start) {
            walk.owed.evidence = Evidence::Segment { path: files.path(&orphan.name.to_string()) };
            walk.tip = Point::default();
            let zxid = orphan.header.from().zxid;
            return Err(walk.corrupt_directory(Damage::MissingSnapshot { zxid }, Some(zxid)));
        }
        Ok(walk)
    }

    /// Goes through the live segments. The first one that is needed is the last that begins at or before the point where
    /// the state begins.
    pub fn run(&mut self, replay: &mut Replay<'_>) -> Result<End, LogError> {
        if self.live.is_empty() && Some(self.start) == self.inventory.received {
            // Published, and its log not yet begun: nobody was told of anything behind it.
            return Ok(End { offset: 0, torn: None });
        }
        let first = self.live.iter().rposition(|u| u.header.from().at() <= self.start.at());
        let Some(mut i) = first else {
            return self.run_headless();
        };
        self.tip = self.live[i].header.from();
        self.check_beginning(i)?;
        let Earlier { segments, gap, runs } = Earlier::of(self.files, &self.live, i, self.purged)?;
        (self.segments, self.gap, self.runs) = (segments, gap, runs);
        if self.gap.is_some() {
            self.purged = self.segments.first().map_or(self.tip, |s| s.from);
        }
        loop {
            match self.walk_segment(i, replay)? {
                Some(end) => return Ok(end),
                None => i += 1,
            }
        }
    }

    /// The segment that the log begins in has no header: nothing was ever acknowledged, or it is lost. There may
    /// be later ones whose headers arrived first.
    fn run_headless(&mut self) -> Result<End, LogError> {
        let mut behind = Later::default();
        self.see_live(0, &mut behind)?;
        self.see_headless(&mut behind);
        let row = self.decide(Found::Nothing, false, false, behind.first.is_some());
        // What a snapshot was made of is never freed as a whole.
        let is_within = matches!(self.behind, Behind::Snapshot(s) if s.origin != Origin::Received);
        match row.decision {
            decision if decision == Decision::Corrupt || is_within => {
                if let Some(oldest) = self.live.first() {
                    let header = &oldest.header;
                    return Err(self.missing(header.from_number, Some(header.from().zxid)));
                }
                let through = Some(self.mark.durable().zxid);
                let written = self.inventory.headless.iter().find(|h| !h.batches.is_empty());
                Err(match written {
                    Some(file) => self.missing(file.name.number, through),
                    None => {
                        let damage = Damage::MissingGeneration { generation: self.generation };
                        self.corrupt_directory(damage, through)
                    }
                })
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
        let mut index = Index::new(header.length);
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
            let mut behind = Later::default();
            let goes_on =
                matches!(row.decision, Decision::Accept | Decision::NextSegment | Decision::FollowCut);
            if !goes_on {
                self.look_behind(i, offset, &mut reader, &mut behind)?;
                row = self.decide(found, at_cut, succeeded, behind.first.is_some());
            }
            match (row.decision, batch) {
                (Decision::Accept, Some(batch)) => {
                    self.check_identity(name, offset, &batch, limit)?;
                    index.note(Place { offset, from: self.tip }, batch.padded());
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
            self.segments.push(Segment { name, len, generation, from, last, index });
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
        let within = |zxid: Zxid| (batch.first_zxid..=batch.last_zxid).contains(&zxid.raw());
        let cut = limit.filter(|cut| cut.seq == end.seq);
        if let Some(cut) = cut.filter(|cut| cut.crc != end.crc || !within(cut.zxid)) {
            return replaced(cut, Evidence::Log);
        }
        for made in self.made.iter().filter(|made| made.seq == end.seq) {
            let point = made.point();
            let is_dead = cut.is_some_and(|cut| cut.zxid < point.zxid);
            if point.crc != end.crc || !within(point.zxid) || is_dead {
                return replaced(point, Evidence::Made { path: self.files.path(&made.file()) });
            }
        }
        Ok(())
    }

    /// Where the state begins at the very end of a segment's predecessor, whose batches nobody looks at.
    fn check_beginning(&self, i: usize) -> Result<(), LogError> {
        let Used { name, header, .. } = &self.live[i];
        let Behind::Snapshot(snapshot) = &self.behind else { return Ok(()) };
        let (point, from) = (snapshot.point(), header.from());
        if from.seq != point.seq || from == point {
            return Ok(());
        }
        let evidence = Evidence::Made { path: self.files.path(&snapshot.file()) };
        Err(self.corruption(*name, 0, Damage::Replaced { seq: point.seq }, Some(point.zxid), evidence))
    }

    /// Fails if the log ends before a snapshot that was made of it, or of which at least the name says so.
    pub fn check_end(&self, end: &End) -> Result<(), LogError> {
        let Some(zxid) = self.inventory.snapshot.filter(|zxid| *zxid > self.tip.zxid) else { return Ok(()) };
        let damage = Damage::EndsBefore { zxid };
        Err(match self.segments.last() {
            Some(last) => self.corruption(last.name, end.offset, damage, Some(zxid), Evidence::Snapshot),
            None => self.corrupt_directory(damage, Some(zxid)),
        })
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
        let in_snapshot = match &self.behind {
            Behind::Snapshot(snapshot) => Some(snapshot.zxid()),
            _ => None,
        };
        let path = reader.name;
        for (zxid, txn) in records(reader.payload(offset, batch)?) {
            if cut.is_some_and(|cut| zxid > cut) {
                break;
            }
            self.runs.push(zxid);
            if in_snapshot.is_some_and(|last| zxid <= last) {
                continue;
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
        behind: &mut Later,
    ) -> Result<(), LogError> {
        let found = sightings_from(reader, offset)?;
        self.see_all(reader.name, &found, Some(offset), behind);
        self.see_live(i + 1, behind)?;
        self.see_headless(behind);
        Ok(())
    }

    /// Looks at the live segments from the `first` on.
    fn see_live(&mut self, first: usize, behind: &mut Later) -> Result<(), LogError> {
        for i in first..self.live.len() {
            let used = self.live[i].clone();
            let SegmentHeader { generation, durable_seq, .. } = used.header;
            let Point { seq, zxid: after, .. } = used.header.from();
            behind.see(Sighting { offset: 0, generation, seq, durable_seq, after }, false);
            let mut reader = SegmentReader::new(self.files.volume(), used.name, used.file_len);
            let found = sightings_from(&mut reader, BLOCK as u64)?;
            self.see_all(used.name, &found, None, behind);
        }
        Ok(())
    }

    fn see_headless(&mut self, behind: &mut Later) {
        let inventory = self.inventory;
        for file in &inventory.headless {
            self.see_all(file.name, &file.batches, None, behind);
        }
    }

    /// `here` is the offset of the position itself, where it is in this file: what stands there is no later batch.
    fn see_all(&mut self, name: SegmentName, found: &[Sighting], here: Option<u64>, behind: &mut Later) {
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
        behind: &Later,
    ) -> LogError {
        let seq = self.tip.seq.saturating_add(1);
        let here = &self.live[i];
        let next = self.live.get(i + 1);
        let follower = next.map(|u| u.header.from_number).filter(|&number| number != here.name.number);
        let holder = self
            .inventory
            .headless
            .iter()
            .find(|h| h.batches.iter().any(|b| b.generation == self.generation && b.seq > self.tip.seq));
        let in_this_file = behind.first.is_some_and(|(_, same_file)| same_file);
        let before = behind.first.map(|(b, _)| b.after);
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
            (Some(number), _) => self.missing(number, through),
            (None, Some(file)) if next.is_none() => self.missing(file.name.number, through),
            _ => at(here.name, offset, Damage::of(found, seq)),
        }
    }

    /// The error for a segment that must be there: its header is damaged, or there is no such file.
    fn missing(&self, number: u64, through: Option<Zxid>) -> LogError {
        let through = through.filter(|z| *z > self.tip.zxid);
        match self.inventory.headless.iter().find(|h| h.name.number == number) {
            Some(file) => {
                let evidence = self.owed.evidence.clone();
                self.corruption(file.name, 0, Damage::SegmentHeader, through, evidence)
            }
            None => self.corrupt_directory(Damage::MissingSegment { number }, through),
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
        let lost_after = self.tip.zxid;
        Corruption { path, offset, damage, lost_after, lost_through, evidence, instead: None }.into()
    }

    fn corrupt_directory(&self, damage: Damage, through: Option<Zxid>) -> LogError {
        Corruption {
            path: self.files.directory(),
            offset: 0,
            damage,
            lost_after: self.tip.zxid,
            lost_through: through.filter(|z| *z > self.tip.zxid),
            evidence: self.owed.evidence.clone(),
            instead: None,
        }
        .into()
    }
}
