//! Shows what a verification found, file by file.

use serde_json::{Value, json};

use crate::error::{FINE, FOUND, InspectError};
use crate::out::Out;
use crate::source::{DamagedRange, FileReport, Role};

/// One line per file and one per damaged range, then a summary. Returns the exit code.
pub fn show(reports: &[FileReport], out: &mut Out<'_>) -> Result<u8, InspectError> {
    for report in reports {
        out.line(|| file_line(report), || file_json(report))?;
        for range in &report.ranges {
            out.text(format_args!("  {}", range_line(report, range)))?;
        }
        for note in &report.notes {
            out.text(format_args!("  note: {note}"))?;
        }
    }
    let damaged = reports.iter().filter(|report| report.is_damaged()).count();
    let ranges = reports.iter().flat_map(|report| &report.ranges);
    let (torn, damages): (Vec<_>, Vec<_>) = ranges.partition(|range| range.torn);
    match (damaged, torn.is_empty()) {
        (0, true) => out.text(format_args!("{} files, no damage", reports.len()))?,
        (0, false) => {
            out.text(format_args!(
                "{} files, no damage; the end is torn, as a crash leaves it",
                reports.len()
            ))?;
        }
        _ => out.text(format_args!(
            "DAMAGED: {damaged} of {} files, in {} ranges",
            reports.len(),
            damages.len()
        ))?,
    }
    Ok(if damaged > 0 { FOUND } else { FINE })
}

fn file_line(report: &FileReport) -> String {
    let state = match (report.is_damaged(), report.role, report.ranges.is_empty()) {
        (_, Role::Missing, _) => "MISSING",
        (true, ..) => "DAMAGED",
        (false, _, false) => "torn",
        (false, _, true) => "sound",
    };
    let mut line = format!("{}: {}, {state}", report.file.display(), report.role.word());
    if report.txns > 0 {
        line.push_str(&format!(", {} transactions", report.txns));
    }
    match (report.first, report.last) {
        (Some(first), Some(last)) => line.push_str(&format!(", {first} to {last}")),
        (None, Some(last)) => line.push_str(&format!(", state after {last}")),
        _ => {}
    }
    line
}

fn range_line(report: &FileReport, range: &DamagedRange) -> String {
    let word = if range.torn { "torn" } else { "DAMAGED" };
    let mut line = match report.role {
        Role::Missing => format!("MISSING {}", range.what),
        _ => format!("{word} {}..{} {}", range.start, range.end, range.what),
    };
    if !range.detail.is_empty() {
        line.push_str(&format!(" ({})", range.detail));
    }
    match range.lost {
        Some(lost) if range.torn => {
            line.push_str(&format!(": what was written behind {} was never acknowledged", lost.after));
        }
        Some(lost) => line.push_str(&format!(": {lost}")),
        None => {}
    }
    line
}

fn file_json(report: &FileReport) -> Value {
    let zxid = |zxid: Option<ringkeeper_engine::id::Zxid>| zxid.map(|zxid| zxid.to_string());
    let ranges: Vec<Value> = report
        .ranges
        .iter()
        .map(|range| {
            json!({
                "start": range.start,
                "end": range.end,
                "what": range.what,
                "detail": range.detail,
                "torn": range.torn,
                "lost_after": range.lost.map(|lost| lost.after.to_string()),
                "lost_through": zxid(range.lost.and_then(|lost| lost.through)),
            })
        })
        .collect();
    json!({
        "file": report.file,
        "bytes": report.bytes,
        "role": report.role.word(),
        "damaged": report.is_damaged(),
        "first": zxid(report.first),
        "last": zxid(report.last),
        "txns": report.txns,
        "ranges": ranges,
        "notes": report.notes,
    })
}
