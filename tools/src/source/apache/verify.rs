//! Looks at every byte of logs and snapshots and reports per file.

use ringkeeper_engine::id::Zxid;

use super::damage::Damage;
use super::directory::{ApacheDir, LogFile, follows};
use super::log::{LogEvent, LogReader};
use super::name::Name;
use crate::error::InspectError;
use crate::source::{DamagedRange, FileReport, Lost, Role, SnapshotEntry, TxnAt, TxnSink};

/// All logs, in order, and those that are missing between them. Every sound transaction is handed out.
pub(super) fn logs(dir: &ApacheDir, sink: &mut TxnSink<'_>) -> Result<Vec<FileReport>, InspectError> {
    let mut reports: Vec<FileReport> = Vec::new();
    let mut last = None;
    for log in dir.logs() {
        let mut report = one_log(dir, log, last, sink)?;
        if let (Some(before), Some(first)) = (last, report.first)
            && !follows(before, first)
            && first > before
            && !dir.is_covered(first)
        {
            let through = Some(Zxid::from_raw(first.raw() - 1));
            let lost = Lost { after: before, through };
            let is_at_begin = |range: &&mut DamagedRange| range.lost.is_some_and(|lost| lost.after == before);
            // They are where this file is damaged before its first transaction, or where the one before ends in what looks
            // like the work of a crash.
            if let Some(range) = report.ranges.first_mut().filter(is_at_begin) {
                (range.torn, range.lost) = (false, Some(lost));
            } else {
                match reports.last_mut().and_then(|report| report.ranges.last_mut()) {
                    Some(range) if range.lost.is_none_or(|lost| lost.through.is_none()) && range.end > 0 => {
                        (range.torn, range.lost) = (false, Some(lost));
                    }
                    _ => reports.push(missing(log, lost)),
                }
            }
        }
        last = report.last.or(last);
        reports.push(report);
    }
    Ok(reports)
}

fn missing(before: &LogFile, lost: Lost) -> FileReport {
    let zxid = Zxid::from_raw(lost.after.raw() + 1);
    let mut report = FileReport::new(before.file.with_file_name(Name::Log(zxid).file()), 0, Role::Missing);
    report.ranges.push(missing_range(0, lost));
    report
}

fn missing_range(at: u64, lost: Lost) -> DamagedRange {
    let through = lost.through.unwrap_or_default();
    let detail = format!("the transactions behind {} up to {through} are missing", lost.after);
    DamagedRange { start: at, end: at, what: "missing", detail, torn: false, lost: Some(lost) }
}

fn one_log(
    dir: &ApacheDir,
    log: &LogFile,
    before: Option<Zxid>,
    sink: &mut TxnSink<'_>,
) -> Result<FileReport, InspectError> {
    let progress = dir.progress();
    progress.expect(log.bytes);
    let mut report = FileReport::new(log.file.clone(), log.bytes, Role::Live);
    let mut reader = LogReader::open(&log.file)?;
    let mut told = 0;
    let mut damaged_at = None;
    let mut last: Option<Zxid> = before;
    loop {
        let position = reader.position();
        if position - told > 1 << 20 {
            progress.advance(position - told);
            told = position;
        }
        match reader.next()? {
            None => break,
            Some(LogEvent::Record(record)) => {
                let zxid = record.zxid;
                // Behind damage it is not known how many there were: that is told with the damage.
                if let Some(last) = report.last.filter(|_| damaged_at != Some(record.offset))
                    && !follows(last, zxid)
                    && !dir.is_covered(zxid)
                {
                    let lost = Lost { after: last, through: Some(Zxid::from_raw(zxid.raw() - 1)) };
                    report.ranges.push(missing_range(record.offset, lost));
                }
                report.first.get_or_insert(zxid);
                report.last = Some(zxid);
                last = Some(zxid);
                report.txns += 1;
                report.txn_bytes += record.payload.len() as u64;
                report.batch_bytes += record.len();
                sink(&TxnAt { zxid, file: &log.file, offset: record.offset, payload: record.payload })?;
            }
            Some(LogEvent::Damage(mut damage)) => {
                damaged_at = Some(damage.range.end);
                damage.after = damage.after.or(last);
                report.ranges.push(damage.report());
            }
        }
    }
    progress.advance(log.bytes.saturating_sub(told));
    let end = reader.end().unwrap_or_default();
    if end.zeros > 0 {
        report.notes.push(format!("{} bytes are preallocated and not used", end.zeros));
    }
    if report.txns > 0 && report.first != Some(log.zxid) && report.ranges.is_empty() && log.zxid != Zxid::ZERO
    {
        let first = report.first.unwrap_or_default();
        report.notes.push(format!("the name says that it begins with {}, it begins with {first}", log.zxid));
    }
    Ok(report)
}

/// One snapshot.
pub(super) fn snapshot(dir: &ApacheDir, entry: &SnapshotEntry) -> Result<FileReport, InspectError> {
    let contents = dir.read_snapshot(entry, &mut |_| Ok(()), &mut |_| Ok(()))?;
    let mut report = FileReport::new(entry.file.clone(), entry.bytes, Role::Live);
    report.last = Some(entry.zxid);
    report.ranges = contents.damage.iter().map(Damage::report).collect();
    if contents.bytes != entry.bytes {
        report.notes.push(format!("{} bytes before compression", contents.bytes));
    }
    match contents.trailer.digest {
        _ if contents.is_exact(entry.zxid) => {}
        Some((at, _)) if at > entry.zxid => {
            report.needs_through = Some(at);
            report
                .notes
                .push(format!("holds a part of the transactions until {at}: the log behind it is needed"));
        }
        Some((at, _)) if at == entry.zxid && at != Zxid::ZERO => {
            report.notes.push(format!(
                "its digest is not that of {at}: it may hold a part of the next transaction, and the log behind it is needed"
            ));
        }
        _ => report.notes.push("says no digest to compare with".into()),
    }
    Ok(report)
}
