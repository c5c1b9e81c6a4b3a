//! `rkinspect log stats`: what a log consists of.
//!
//! Memory is bounded however long the log is: of paths and sessions only so many are counted exactly.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use hdrhistogram::Histogram;
use serde_json::json;

use crate::error::{FINE, FOUND, InspectError};
use crate::out::{Out, Progress};
use crate::show;
use crate::source::{self, FileReport, TxnAt};

/// Paths that are shown.
const TOP: usize = 10;
/// Paths that are counted at once.
const COUNTED: usize = 100_000;
/// Sessions that are told apart.
const SESSIONS: usize = 1_000_000;

/// Counts by type, sizes, batches, sessions, the paths that are written most.
pub fn stats(paths: &[PathBuf], out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let mut stats = Stats::new();
    let mut reports = Vec::new();
    for path in paths {
        let source = source::open(path, progress)?;
        reports.extend(source.scan_log(&mut |txn| stats.take(txn))?);
    }
    progress.clear();
    stats.show(&reports, out)?;
    let damaged = reports.iter().filter(|report| report.is_damaged()).count();
    if damaged > 0 {
        out.text(format_args!("DAMAGED: {damaged} files, see `log verify`; only what is sound was counted"))?;
    }
    Ok(if damaged > 0 { FOUND } else { FINE })
}

struct Stats {
    txns: u64,
    undecodable: u64,
    kinds: BTreeMap<String, u64>,
    sizes: Histogram<u64>,
    sessions: HashSet<i64>,
    paths: Frequent,
    /// Earliest and latest time of a transaction.
    times: Option<(i64, i64)>,
}

impl Stats {
    fn new() -> Stats {
        Stats {
            txns: 0,
            undecodable: 0,
            kinds: BTreeMap::new(),
            sizes: Histogram::new(3).expect("three digits are allowed"),
            sessions: HashSet::new(),
            paths: Frequent::default(),
            times: None,
        }
    }

    fn take(&mut self, txn: &TxnAt<'_>) -> Result<(), InspectError> {
        self.txns += 1;
        self.sizes.saturating_record(txn.payload.len() as u64);
        let Ok(decoded) = txn.decode() else {
            self.undecodable += 1;
            return Ok(());
        };
        let header = decoded.header;
        match self.kinds.get_mut(&show::kind_name(header.kind)) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(show::kind_name(header.kind), 1)),
        }
        if self.sessions.len() < SESSIONS {
            self.sessions.insert(header.client_id.0);
        }
        show::each_path(&decoded.txn, &mut |path| self.paths.count(path));
        let (first, last) = self.times.unwrap_or((header.time, header.time));
        self.times = Some((first.min(header.time), last.max(header.time)));
        Ok(())
    }

    fn show(&self, reports: &[FileReport], out: &mut Out<'_>) -> Result<(), InspectError> {
        let sum = |of: fn(&FileReport) -> u64| reports.iter().map(of).sum::<u64>();
        let (batches, txn_bytes) = (sum(|r| r.batches), sum(|r| r.txn_bytes));
        let padding = sum(|r| r.batch_bytes).saturating_sub(txn_bytes);
        let sizes = [("min", self.sizes.min()), ("p50", self.sizes.value_at_quantile(0.5))];
        let sizes =
            sizes.into_iter().chain([("p99", self.sizes.value_at_quantile(0.99)), ("max", self.sizes.max())]);
        let sizes: Vec<(&str, u64)> = sizes.collect();
        let per_batch = self.txns as f64 / batches.max(1) as f64;
        let (first, last) = self.times.unwrap_or_default();
        let more = if self.sessions.len() == SESSIONS { " or more" } else { "" };
        let exact = if self.paths.given_up > 0 { ", at least" } else { "" };
        let top = self.paths.top(TOP);
        if out.is_json() {
            let top: Vec<_> = top.iter().map(|(path, n)| json!({"path": path, "txns": n})).collect();
            let sizes: serde_json::Map<_, _> =
                sizes.iter().map(|(name, size)| ((*name).to_owned(), json!(size))).collect();
            return out.line(String::new, || {
                json!({
                    "txns": self.txns, "undecodable": self.undecodable, "types": self.kinds, "sizes": sizes,
                    "batches": batches, "txn_bytes": txn_bytes, "overhead_bytes": padding,
                    "sessions": self.sessions.len(), "first_time": show::time(first),
                    "last_time": show::time(last), "top_paths": top, "top_paths_exact": self.paths.given_up == 0,
                })
            });
        }
        out.text(format_args!("transactions  {}", self.txns))?;
        if self.undecodable > 0 {
            out.text(format_args!("  of no known form  {}", self.undecodable))?;
        }
        for (kind, count) in &self.kinds {
            out.text(format_args!("  {kind:<16} {count}"))?;
        }
        let sizes: Vec<String> = sizes.iter().map(|(name, size)| format!("{name} {size}")).collect();
        out.text(format_args!("bytes each    {}", sizes.join(", ")))?;
        out.text(format_args!("bytes         {txn_bytes}, and {padding} of headers and padding"))?;
        if batches > 0 {
            out.text(format_args!("batches       {batches}, of {per_batch:.1} transactions"))?;
        }
        out.text(format_args!("sessions      {}{more}", self.sessions.len()))?;
        if self.times.is_some() {
            let seconds = (last - first) as f64 / 1000.0;
            out.text(format_args!(
                "time          {} to {} ({seconds} s)",
                show::time(first),
                show::time(last)
            ))?;
        }
        for (path, count) in top {
            out.text(format_args!("  {count:>10}{exact} {}", show::escaped_path(&path)))?;
        }
        Ok(())
    }
}

/// Counts how often paths come, in bounded memory (Misra and Gries): where there are too many, all counts go down by
/// the same amount, and those at zero are given up. What comes often stays, with a count that is at most so much too low.
#[derive(Default)]
struct Frequent {
    counts: HashMap<String, u64>,
    given_up: u64,
}

impl Frequent {
    fn count(&mut self, path: &str) {
        if let Some(count) = self.counts.get_mut(path) {
            *count += 1;
            return;
        }
        if self.counts.len() >= COUNTED {
            let mut all: Vec<u64> = self.counts.values().copied().collect();
            let (_, middle, _) = all.select_nth_unstable(COUNTED / 2);
            let middle = *middle;
            self.counts.retain(|_, count| {
                *count = count.saturating_sub(middle);
                *count > 0
            });
            self.given_up += middle;
        }
        self.counts.insert(path.to_owned(), 1);
    }

    fn top(&self, most: usize) -> Vec<(String, u64)> {
        let mut all: Vec<(&String, &u64)> = self.counts.iter().collect();
        all.sort_unstable_by(|(a, n), (b, m)| (m, a).cmp(&(n, b)));
        all.into_iter().take(most).map(|(path, count)| (path.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_often_is_found_among_more_than_can_be_counted() {
        let mut frequent = Frequent::default();
        for i in 0..3 * COUNTED {
            frequent.count(&format!("/rare-{i}"));
            if i % 10 == 0 {
                frequent.count("/often");
            }
        }
        assert!(frequent.counts.len() <= COUNTED);
        let (path, count) = frequent.top(1).remove(0);
        let often = (3 * COUNTED / 10) as u64;
        assert_eq!(path, "/often");
        assert!(count <= often && count + frequent.given_up >= often, "{count} of {often}");
    }
}
