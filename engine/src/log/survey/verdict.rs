//! What each hole means, by the table of recovery, once it is known what was acknowledged.

use super::walk::{Hole, Walk};
use super::{Finding, Standing, Survey};
use crate::io::BLOCK;
use crate::log::table::{Decision, Facts, decide};

impl Walk<'_> {
    /// Sums the survey up.
    pub(super) fn verdict(mut self) -> Survey {
        let holes = std::mem::take(&mut self.holes);
        let mut interrupted = None;
        let mut end = holes.len();
        for (i, hole) in holes.iter().enumerate() {
            let later = hole.later || self.runs.iter().any(|run| run.holes > i);
            let owed = hole.behind_seq < self.owed;
            let facts = Facts { found: hole.found, at_cut: false, succeeded: false, owed, later };
            let decision = if hole.certain { Decision::Corrupt } else { decide(facts).decision };
            let torn = decision == Decision::TornTail;
            // A segment that was opened, whose header never arrived, is not noticed by recovery.
            let opened = hole.what == super::What::SegmentHeader;
            if torn || opened || decision == Decision::Corrupt {
                let torn = decision != Decision::Corrupt;
                let finding = self.finding(hole, torn);
                if self.ended == Some(Some(i)) && !torn {
                    interrupted = Some((hole.file, finding.clone()));
                }
                self.stock.files[hole.file].findings.push(finding);
            }
            if decision != Decision::Corrupt {
                // The log ends here. What was found behind it is cut off by the next start.
                end = i;
                break;
            }
        }
        for run in self.runs.iter().filter(|run| run.holes <= end) {
            let file = &mut self.stock.files[run.file];
            file.first.get_or_insert(run.first);
            file.last = Some(run.last);
            file.txns += run.txns;
            file.batches += run.batches;
            file.txn_bytes += run.txn_bytes;
            file.batch_bytes += run.batch_bytes;
        }
        let begins_behind = self.stock.begins_behind;
        let mut files = self.stock.files;
        for file in &mut files {
            file.findings.sort_by_key(|finding| finding.start);
            if file.findings.is_empty() && file.standing == Standing::Live && file.generation.is_none() {
                file.standing = Standing::Unused;
            }
        }
        Survey { files, interrupted, begins_behind }
    }

    fn finding(&self, hole: &Hole, torn: bool) -> Finding {
        let mut batches = hole.batches;
        let mut lost_through = hole.lost_through;
        let mut end = hole.end;
        if !torn && !hole.later && hole.lost_through.is_none() {
            // Nothing is behind it. The evidence says how much there was.
            let mark = self.stock.mark.map(|mark| mark.durable());
            batches = batches.map(|(first, last)| (first, last.max(self.owed)));
            lost_through = mark.filter(|mark| mark.seq >= self.owed).map(|mark| mark.zxid);
            let lost = self.owed.saturating_sub(hole.behind_seq);
            let room = self.stock.segments.iter().find(|s| s.file == hole.file).map_or(end, |s| s.declared);
            end = end.max((hole.start + lost * BLOCK as u64).min(room));
        }
        Finding {
            start: hole.start,
            end,
            what: hole.what,
            torn,
            batches,
            lost_after: hole.lost_after,
            lost_through,
        }
    }
}
