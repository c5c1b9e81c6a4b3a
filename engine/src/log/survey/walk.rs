//! From batch to batch, over holes, to the end of what is there.
//!
//! Each position is judged as in recovery. Where the next batch cannot be read the walk notes a hole and goes on at
//! the next batch that can follow. What a hole means (damage, a torn tail, just the end) depends on what was
//! acknowledged, which is known for certain only in the end: see `verdict`.

use std::ops::{ControlFlow, RangeInclusive};

use super::files::{Segment, Stock};
use super::{Survey, TxnHere, Wanted, What};
use crate::id::Zxid;
use crate::io::{BLOCK, Volume};
use crate::log::error::LogError;
use crate::log::format::{BATCH_HEADER, BatchHeader, Point, RECORD_HEADER};
use crate::log::scan::{SegmentReader, records};
use crate::log::table::Found;

/// A place where something else stands than must.
#[derive(Clone, Debug)]
pub(super) struct Hole {
    pub file: usize,
    pub start: u64,
    pub end: u64,
    pub what: What,
    pub found: Found,
    /// The last batch before it.
    pub behind_seq: u64,
    /// Batches that are lost with it, as far as is known.
    pub batches: Option<(u64, u64)>,
    pub lost_after: Option<Zxid>,
    pub lost_through: Option<Zxid>,
    /// Something of the log was found behind it.
    pub later: bool,
    /// Damage whatever the evidence is.
    pub certain: bool,
}

/// Sound transactions between two holes, or between a hole and the end of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub file: usize,
    /// Holes before it.
    pub holes: usize,
    pub first: Zxid,
    pub last: Zxid,
    pub txns: u64,
    pub batches: u64,
    pub txn_bytes: u64,
    pub batch_bytes: u64,
}

pub(super) struct Walk<'a> {
    vol: &'a dyn Volume,
    pub stock: Stock,
    wanted: Wanted,
    alone: bool,
    sink: &'a mut dyn FnMut(TxnHere<'_>) -> ControlFlow<()>,
    /// The point behind the last batch; `None` until one is known.
    pub tip: Option<Point>,
    /// The highest batch that somebody was told is durable.
    pub owed: u64,
    pub holes: Vec<Hole>,
    pub runs: Vec<Run>,
    /// Nothing is handed out any more: the hole that ended it, if it was one.
    pub ended: Option<Option<usize>>,
}

/// How the walk through a segment ended.
enum End {
    /// The log goes on elsewhere from here, or ends here for whoever asked.
    Elsewhere,
    /// The next batch is not in this file. The hole is not noted yet.
    Hole(Hole),
}

impl<'a> Walk<'a> {
    pub fn new(
        vol: &'a dyn Volume,
        stock: Stock,
        wanted: Wanted,
        alone: bool,
        sink: &'a mut dyn FnMut(TxnHere<'_>) -> ControlFlow<()>,
    ) -> Walk<'a> {
        let live = stock.generation;
        let told = stock.segments.iter().filter(|s| s.generation <= live).map(|s| s.durable_seq);
        let made = stock.made.iter().map(|point| point.seq);
        let owed = told.chain(made).chain(stock.mark.map(|mark| mark.durable().seq)).max().unwrap_or(0);
        let (holes, runs) = (Vec::new(), Vec::new());
        Walk { vol, stock, wanted, alone, sink, tip: None, owed, holes, runs, ended: None }
    }

    pub fn run(mut self) -> Result<Survey, LogError> {
        let mut pending: Option<Hole> = None;
        for i in 0..self.stock.segments.len() {
            let segment = self.stock.segments[i].clone();
            self.enter(i, &segment, pending.take());
            match self.segment(i, &segment)? {
                End::Elsewhere if self.ended == Some(None) => return Ok(self.verdict()),
                End::Elsewhere => {}
                End::Hole(hole) => pending = Some(hole),
            }
        }
        if let Some(hole) = pending {
            self.note(hole);
        }
        Ok(self.verdict())
    }

    /// Compares the point that a segment continues with where the walk has come to.
    fn enter(&mut self, i: usize, segment: &Segment, pending: Option<Hole>) {
        if !segment.has_header() {
            let behind_seq = self.tip.map_or(0, |tip| tip.seq);
            let newer = segment.generation > self.stock.segments[..i].last().map_or(0, |s| s.generation);
            self.note(Hole {
                end: BLOCK as u64,
                later: segment.from.is_some(),
                certain: newer && segment.from.is_some() && i > 0,
                ..Hole::of(What::SegmentHeader, segment.file, 0, behind_seq)
            });
        }
        let before = self.tip.or(if i == 0 { self.first_point() } else { None });
        let from = segment.from;
        if let (Some(tip), Some(from)) = (before, from)
            && tip.seq < from.seq
        {
            self.lost_between(i, segment, pending, tip, from);
        } else if let (Some(hole), None) = (pending, from) {
            self.note(Hole { later: true, ..hole });
        }
        self.tip = from.or(self.tip);
    }

    /// Where the log must begin, if that is known and wanted.
    fn first_point(&self) -> Option<Point> {
        match self.wanted {
            Wanted::Everything if !self.alone => self.stock.start,
            _ => None,
        }
    }

    /// Batches are missing before segment `i`: at the end of the one before it, or in a file that is not there.
    fn lost_between(&mut self, i: usize, segment: &Segment, pending: Option<Hole>, tip: Point, from: Point) {
        let number = segment.before.filter(|&number| number != 0);
        let there = |number: u64| self.stock.segments.iter().any(|s| s.name.number == number);
        let batches = Some((tip.seq.saturating_add(1), from.seq));
        let (lost_after, lost_through) = (Some(tip.zxid), Some(from.zxid));
        match (pending, number) {
            (pending, Some(number)) if !there(number) && !self.alone => {
                // Nothing of the batch after the last was in the file before, as far as can be seen.
                let written = pending.filter(|hole| hole.found != Found::Nothing);
                if let Some(hole) = written {
                    self.note(Hole { later: true, ..hole });
                }
                self.stock.missing(format!("log.{number:016x}-*"), Some((tip.zxid, Some(from.zxid))));
            }
            (Some(hole), _) => {
                let least = BLOCK as u64 * (from.seq - tip.seq);
                let end = hole.end.max((hole.start + least).min(hole.end.max(self.room(i))));
                self.note(Hole { end, batches, lost_after, lost_through, later: true, ..hole });
            }
            (None, _) => {}
        }
    }

    /// Length of the segment before segment `i`.
    fn room(&self, i: usize) -> u64 {
        i.checked_sub(1).map_or(0, |before| self.stock.segments[before].declared)
    }

    /// Goes through segment `i`.
    fn segment(&mut self, i: usize, segment: &Segment) -> Result<End, LogError> {
        let limit = self.stock.limit(segment.generation);
        let next = self.stock.segments.get(i + 1);
        let next = next.filter(|next| next.generation == segment.generation).and_then(|next| next.from);
        let mut reader = SegmentReader::new(self.vol, segment.name, segment.len);
        let mut offset = BLOCK as u64;
        loop {
            let tip = self.tip;
            let reached = |point: Option<Point>| {
                tip.zip(point).is_some_and(|(tip, point)| (tip.seq, tip.crc) == (point.seq, point.crc))
            };
            let at_cut = tip.zip(limit).is_some_and(|(tip, limit)| tip.seq >= limit.seq);
            if at_cut || reached(next) || self.is_past(tip) {
                return Ok(End::Elsewhere);
            }
            let (found, batch) = match tip {
                Some(tip) => reader.judge(offset, tip, segment.generation)?,
                None => (Found::Nothing, None),
            };
            match (found, batch) {
                (Found::Whole, Some(batch)) => {
                    if self.is_replaced(&batch, limit) {
                        self.note_batch(segment, offset, &batch, What::OtherBatch, found);
                    } else if self.take(segment, &mut reader, offset, &batch, limit)?.is_break() {
                        return Ok(End::Elsewhere);
                    }
                    self.behind(segment, &batch);
                    offset += batch.padded();
                }
                (Found::BadRecords, Some(batch)) => {
                    self.note_batch(segment, offset, &batch, What::Records, found);
                    self.narrow(&mut reader, offset, &batch)?;
                    self.behind(segment, &batch);
                    offset += batch.padded();
                }
                (found, batch) => {
                    if let (Some(tip), Some(batch)) = (tip, batch)
                        && is_cut_short(&batch, tip, segment, offset)
                    {
                        self.note_batch(segment, offset, &batch, What::CutShort, Found::BadRecords);
                        self.behind(segment, &batch);
                        offset += batch.padded();
                        continue;
                    }
                    let hole = self.hole(segment, &mut reader, offset, found)?;
                    match self.resume(segment, &mut reader, offset, limit)? {
                        None => return Ok(End::Hole(hole)),
                        Some((at, batch)) => {
                            self.note_up_to(hole, at, &batch);
                            self.tip = Some(before(&batch));
                            offset = at;
                        }
                    }
                }
            }
        }
    }

    /// Whether nothing behind the point is wanted.
    fn is_past(&mut self, tip: Option<Point>) -> bool {
        let Wanted::Within(_, upto) = self.wanted else { return false };
        // Equal zxids may follow each other.
        let past = tip.is_some_and(|tip| tip.zxid > upto);
        if past && self.ended.is_none() {
            self.ended = Some(None);
        }
        past
    }

    /// The walk goes on behind this batch, whose header is sound.
    fn behind(&mut self, segment: &Segment, batch: &BatchHeader) {
        self.tip = Some(batch.end());
        if segment.generation == self.stock.generation {
            self.owed = self.owed.max(batch.durable_seq);
        }
    }

    /// Whether a batch that is whole is another than the one that the mark, a cut or a snapshot names.
    fn is_replaced(&self, batch: &BatchHeader, limit: Option<Point>) -> bool {
        let end = batch.end();
        let marked = self.stock.mark.map(|mark| mark.durable());
        let made = self.stock.made.iter().copied();
        let mut named = [marked, limit].into_iter().flatten().chain(made);
        named.any(|point| point.seq == end.seq && point.crc != end.crc)
    }

    /// Hands out what is live of a batch and counts it.
    fn take(
        &mut self,
        segment: &Segment,
        reader: &mut SegmentReader<'_>,
        offset: u64,
        batch: &BatchHeader,
        limit: Option<Point>,
    ) -> Result<ControlFlow<()>, LogError> {
        let cut = limit.filter(|cut| cut.seq == batch.seq).map(|cut| cut.zxid);
        let wanted = self.wanted_range();
        let handed_out = self.ended.is_none();
        let holes = self.holes.len();
        let mut run = match self.runs.pop_if(|run| run.file == segment.file && run.holes == holes) {
            Some(run) => run,
            None => Run::new(segment.file, holes, Zxid::from_raw(batch.first_zxid)),
        };
        run.batches += 1;
        run.batch_bytes += batch.padded();
        let mut at = offset + BATCH_HEADER as u64;
        let mut flow = ControlFlow::Continue(());
        let file = &self.stock.files[segment.file].name;
        for (zxid, txn) in records(reader.payload(offset, batch)?) {
            if cut.is_some_and(|cut| zxid > cut) {
                break;
            }
            run.txns += 1;
            run.txn_bytes += txn.len() as u64;
            run.last = zxid;
            if handed_out && wanted.contains(&zxid) {
                flow = (self.sink)(TxnHere { file, offset: at, zxid, txn });
                if flow.is_break() {
                    break;
                }
            }
            at += (RECORD_HEADER + txn.len()) as u64;
        }
        self.runs.push(run);
        if flow.is_break() {
            self.ended = Some(None);
        }
        Ok(flow)
    }

    fn wanted_range(&self) -> RangeInclusive<Zxid> {
        match self.wanted {
            Wanted::Everything => Zxid::from_raw(i64::MIN)..=Zxid::from_raw(i64::MAX),
            Wanted::Within(from, upto) => from..=upto,
        }
    }

    /// Notes that a batch whose place and length are known is not what was written.
    fn note_batch(&mut self, segment: &Segment, offset: u64, batch: &BatchHeader, what: What, found: Found) {
        let behind_seq = batch.seq.saturating_sub(1);
        let records = offset + BATCH_HEADER as u64;
        let start = if what == What::OtherBatch { offset } else { records };
        self.note(Hole {
            end: records + u64::from(batch.payload_len),
            found,
            batches: Some((batch.seq, batch.seq)),
            lost_after: self.tip.map(|tip| tip.zxid),
            lost_through: Some(batch.end().zxid),
            certain: what == What::OtherBatch,
            ..Hole::of(what, segment.file, start, behind_seq)
        });
    }

    /// Notes a hole that ends where a sound batch begins.
    fn note_up_to(&mut self, hole: Hole, at: u64, batch: &BatchHeader) {
        let first = hole.batches.map(|(first, _)| first);
        let batches = first.map(|first| (first, batch.seq.saturating_sub(1)));
        let lost_through = Some(Zxid::from_raw(batch.first_zxid.saturating_sub(1)));
        self.note(Hole { end: at, later: true, batches, lost_through, ..hole });
    }

    pub fn note(&mut self, hole: Hole) {
        let index = self.holes.len();
        // Only those that cost transactions end the handing out, and only if they cost some that are wanted.
        let ends = match (self.wanted, hole.lost_after) {
            (Wanted::Within(_, upto), Some(after)) if after >= upto => Some(None),
            (Wanted::Within(from, _), Some(_)) if hole.lost_through.is_none_or(|through| through >= from) => {
                Some(Some(index))
            }
            _ => None,
        };
        self.ended = self.ended.or(ends);
        self.holes.push(hole);
    }
}

impl Hole {
    pub fn of(what: What, file: usize, start: u64, behind_seq: u64) -> Hole {
        Hole {
            file,
            start,
            end: start,
            what,
            found: Found::Nothing,
            behind_seq,
            batches: None,
            lost_after: None,
            lost_through: None,
            later: false,
            certain: false,
        }
    }
}

impl Run {
    fn new(file: usize, holes: usize, first: Zxid) -> Run {
        Run { file, holes, first, last: first, txns: 0, batches: 0, txn_bytes: 0, batch_bytes: 0 }
    }
}

/// The point before a batch, as its header tells it.
pub(super) fn before(batch: &BatchHeader) -> Point {
    let zxid = Zxid::from_raw(batch.first_zxid.saturating_sub(1));
    Point { seq: batch.seq.saturating_sub(1), zxid, crc: batch.prev_crc }
}

/// Whether a batch is the next one, and only its file is too short for it.
fn is_cut_short(batch: &BatchHeader, tip: Point, segment: &Segment, offset: u64) -> bool {
    let end = offset + BATCH_HEADER as u64 + u64::from(batch.payload_len);
    batch.generation == segment.generation
        && Some(batch.seq) == tip.seq.checked_add(1)
        && batch.prev_crc == tip.crc
        && end > segment.len
        && end <= segment.declared
}
