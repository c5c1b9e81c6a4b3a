//! What is in the directory, and what of it is the log: the survey's view of recovery's first look.
//!
//! Other than recovery it takes a segment whose header is gone for part of the log, at the place that its batches or
//! its successor give it.

use super::{FileSurvey, Finding, Standing, Wanted, What};
use crate::id::Zxid;
use crate::io::{BLOCK, Volume};
use crate::log::epochs::EpochSlot;
use crate::log::error::LogError;
use crate::log::files::Files;
use crate::log::format::{FirstBlock, Point, SegmentHeader, VERSION};
use crate::log::marks::Mark;
use crate::log::name::SegmentName;
use crate::log::scan::SegmentReader;
use crate::log::slots::{SlotValue, Slots, sound_slots};
use crate::snapshot::{Origin, SnapshotName, Snapshots};

/// A segment that is or was part of the log.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Index in [`Stock::files`].
    pub file: usize,
    pub name: SegmentName,
    /// Bytes to be read.
    pub len: u64,
    /// Bytes it had when it was made, if its header is there to say so.
    pub declared: u64,
    pub generation: u32,
    /// Number of the segment before it; `None` if the header is damaged.
    pub before: Option<u64>,
    pub durable_seq: u64,
    /// The point that it continues. Of a segment without header: of its first batch.
    pub from: Option<Point>,
    behind_snapshot: bool,
}

impl Segment {
    fn of(name: SegmentName, file: usize, file_len: u64, header: &SegmentHeader) -> Segment {
        Segment {
            file,
            name,
            len: file_len.min(header.length),
            declared: header.length,
            generation: header.generation,
            before: Some(header.from_number),
            durable_seq: header.durable_seq,
            from: Some(header.from()),
            behind_snapshot: header.is_behind_snapshot(),
        }
    }

    pub fn has_header(&self) -> bool {
        self.before.is_some()
    }
}

/// A file with a segment's name and no sound header.
struct Headless {
    name: SegmentName,
    file_len: u64,
    /// The header was there once: enough of its fields are this file's.
    had_header: bool,
    /// Generation of its first sound batch, and the point before that.
    begins: Option<(u32, Option<Point>)>,
}

pub(super) struct Stock {
    pub files: Vec<FileSurvey>,
    /// The live ones, in the order of the log.
    pub segments: Vec<Segment>,
    /// All that have a header, dead ones too: what later generations continue.
    cuts: Vec<(u32, Point)>,
    pub generation: u32,
    /// The mark, where it speaks of this history.
    pub mark: Option<Mark>,
    /// The log begins here at the latest, where that is known.
    pub start: Option<Point>,
    /// Where snapshots of the log end that were made here.
    pub made: Vec<Point>,
    /// What the first live segment continues.
    pub begins_behind: Option<Zxid>,
}

impl Stock {
    pub fn take(vol: &dyn Volume, wanted: Wanted, alone: bool) -> Result<Stock, LogError> {
        let files = Files::list(vol)?;
        let snapshots = if alone { Snapshots::default() } else { Snapshots::list(vol)? };
        let mark = if alone { None } else { Slots::<Mark>::load(&files)?.map(|slots| slots.value()) };
        let made = snapshots.headers.iter().filter(|header| header.origin() != Origin::Received);
        let mut stock = Stock {
            files: Vec::new(),
            segments: Vec::new(),
            cuts: Vec::new(),
            generation: snapshots.root.saturating_sub(1),
            mark,
            start: None,
            made: made.map(|header| header.point()).collect(),
            begins_behind: None,
        };
        stock.list(&files)?;
        stock.choose(&snapshots);
        if !alone {
            stock.look_at_slots::<Mark>(&files)?;
            stock.look_at_slots::<EpochSlot>(&files)?;
            stock.look_for_snapshot(&snapshots);
        }
        stock.begins_behind = stock.segments.first().and_then(|first| first.from).map(|from| from.zxid);
        if let Wanted::Within(from, _) = wanted {
            stock.skip_before(from);
        }
        Ok(stock)
    }

    /// Where the log of this generation was cut off by later ones.
    pub fn limit(&self, generation: u32) -> Option<Point> {
        later_cut(&self.cuts, generation)
    }

    /// Finds segments, with and without header.
    fn list(&mut self, files: &Files<'_>) -> Result<(), LogError> {
        let mut headless = Vec::new();
        for (file, file_len) in files.iter() {
            let Some(name) = SegmentName::parse(file) else { continue };
            let block = files.read(file, 0, BLOCK)?;
            match SegmentHeader::read(name, &block) {
                FirstBlock::Header(header) => {
                    let index = self.add(file, file_len, Standing::Live);
                    self.segments.push(Segment::of(name, index, file_len, &header));
                }
                FirstBlock::Other => {
                    let had_header = SegmentHeader::looks_like(name, &block);
                    let begins = first_batch(files, name, file_len)?;
                    headless.push(Headless { name, file_len, had_header, begins });
                }
                FirstBlock::Unknown { version } => {
                    return Err(LogError::Version { path: files.path(file), version, known: VERSION });
                }
            }
        }
        for file in headless {
            self.add_headless(file);
        }
        self.segments.sort_by_key(|segment| (segment.generation, segment.name.number));
        Ok(())
    }

    fn add(&mut self, name: &str, len: u64, standing: Standing) -> usize {
        self.files.push(FileSurvey::new(name.to_owned(), len, standing));
        self.files.len() - 1
    }

    fn add_headless(&mut self, headless: Headless) {
        let Headless { name, file_len, had_header, begins } = headless;
        let file = self.add(&name.to_string(), file_len, Standing::Unused);
        let successor = self.segments.iter().find(|next| next.before == Some(name.number));
        let (generation, from) = match (begins, successor) {
            (Some((generation, from)), _) => (generation, from),
            (None, Some(next)) => (next.generation, None),
            (None, None) if had_header => {
                // It was opened and nothing was written behind the header that arrived.
                let generations = self.segments.iter().map(|s| s.generation);
                let marked = self.mark.map_or(1, |mark| mark.generation);
                (generations.fold(marked, u32::max), None)
            }
            // What a prepared or recycled file holds means nothing.
            (None, None) => return,
        };
        self.files[file].standing = Standing::Live;
        self.segments.push(Segment {
            file,
            name,
            len: file_len,
            declared: file_len,
            generation,
            before: None,
            durable_seq: 0,
            from,
            behind_snapshot: false,
        });
    }

    /// Sorts out what is dead.
    fn choose(&mut self, snapshots: &Snapshots) {
        let oldest = snapshots.root;
        let of = |segment: &Segment| Some((segment.generation, segment.from?));
        self.cuts = self.segments.iter().filter(|s| s.generation >= oldest).filter_map(of).collect();
        let generations = self.segments.iter().map(|s| s.generation);
        self.generation = generations.fold(self.generation, u32::max);
        self.start = match self.mark {
            Some(mark) if mark.generation < oldest => snapshots.headers.first().map(|oldest| oldest.point()),
            Some(mark) => Some(mark.purged()),
            None => None,
        };
        let cut = self.mark.and_then(|mark| self.limit(mark.generation));
        let speaks =
            |mark: &Mark| mark.generation >= oldest && cut.is_none_or(|cut| mark.durable().seq <= cut.seq);
        self.mark = self.mark.filter(speaks);
        for segment in &self.segments {
            let file = &mut self.files[segment.file];
            file.generation = Some(segment.generation);
            let cut = later_cut(&self.cuts, segment.generation);
            if segment.generation < oldest {
                file.standing = Standing::Dead("from before the snapshot that was received");
            } else if segment.from.zip(cut).is_some_and(|(from, cut)| cut.seq <= from.seq) {
                file.standing = Standing::Dead("cut off as a whole by a later generation");
            }
        }
        self.segments.retain(|segment| self.files[segment.file].standing == Standing::Live);
        let needed_from = self.start.map_or(0, |start| start.seq);
        let begins_early = |s: &Segment| s.from.is_some_and(|from| from.seq <= needed_from);
        let first = self.segments.iter().rposition(begins_early).unwrap_or(0);
        for purged in self.segments.drain(..first) {
            self.files[purged.file].standing = Standing::Dead("purged");
        }
        let missing = self.mark.filter(|mark| mark.generation > self.generation);
        if let Some(mark) = missing {
            let lost = (Zxid::ZERO, Some(mark.durable().zxid));
            self.missing(format!("log.* of generation {}", mark.generation), Some(lost));
        }
    }

    /// Leaves out segments that end before a transaction.
    fn skip_before(&mut self, zxid: Zxid) {
        let begins_before = |s: &Segment| s.from.is_some_and(|from| from.zxid < zxid);
        if let Some(first) = self.segments.iter().rposition(begins_before) {
            self.segments.drain(..first);
        }
    }

    fn look_at_slots<V: SlotValue>(&mut self, files: &Files<'_>) -> Result<(), LogError> {
        let Some(len) = files.len_of(V::FILE) else {
            if !self.segments.is_empty() {
                self.missing(V::FILE.to_owned(), None);
            }
            return Ok(());
        };
        let file = self.add(V::FILE, len, Standing::Slots);
        for (i, sound) in sound_slots::<V>(files)?.into_iter().enumerate() {
            if !sound {
                let start = (i * BLOCK) as u64;
                let finding = Finding { start, end: start + BLOCK as u64, ..Finding::of(What::Slot) };
                self.files[file].findings.push(finding);
            }
        }
        Ok(())
    }

    /// A log that continues a snapshot needs one of its generation.
    fn look_for_snapshot(&mut self, snapshots: &Snapshots) {
        let Some(first) = self.segments.first().filter(|first| first.behind_snapshot) else { return };
        if snapshots.names().all(|name| name.generation < first.generation) {
            let zxid = first.from.map_or(Zxid::ZERO, |from| from.zxid);
            let name = SnapshotName { generation: first.generation, zxid };
            self.missing(name.to_string(), Some((Zxid::ZERO, Some(zxid))));
        }
    }

    /// Notes that there is no such file, and what was in it.
    pub fn missing(&mut self, name: String, lost: Option<(Zxid, Option<Zxid>)>) {
        let file = self.add(&name, 0, Standing::Missing);
        let (lost_after, lost_through) = (lost.map(|lost| lost.0), lost.and_then(|lost| lost.1));
        self.files[file].findings.push(Finding { lost_after, lost_through, ..Finding::of(What::File) });
    }
}

fn later_cut(cuts: &[(u32, Point)], generation: u32) -> Option<Point> {
    let later = cuts.iter().filter(|(later, _)| *later > generation);
    later.map(|(_, from)| *from).min_by_key(|from| (from.seq, from.zxid))
}

/// The generation of the first sound batch of a file and, if it is where the first one must be, the point before it.
fn first_batch(
    files: &Files<'_>,
    name: SegmentName,
    file_len: u64,
) -> Result<Option<(u32, Option<Point>)>, LogError> {
    let mut reader = SegmentReader::new(files.volume(), name, file_len);
    let mut offset = BLOCK as u64;
    while offset < file_len {
        if let Some(header) = reader.header(offset)? {
            let before = Zxid::from_raw(header.first_zxid.saturating_sub(1));
            let from = Point { seq: header.seq.saturating_sub(1), zxid: before, crc: header.prev_crc };
            return Ok(Some((header.generation, (offset == BLOCK as u64).then_some(from))));
        }
        offset += BLOCK as u64;
    }
    Ok(None)
}
