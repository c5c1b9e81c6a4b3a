//! `rkinspect doctor`: what is wrong with a data directory, what that means, and what to do.
//!
//! Says nothing about a sound directory but what it is. What is damage, and what is only torn or dead, is decided by the
//! same look at every byte as `log verify` and `snapshot verify`; this adds what the pieces mean for each other and for
//! the next start. It goes on as long as there is something to look at: what cannot be read is a finding too.

mod apache;
mod finding;
mod history;
mod ours;
mod place;
mod strange;

pub use finding::{Finding, Severity};

use std::path::Path;

use serde_json::{Value, json};

use self::history::History;
use crate::error::{FINE, FOUND, InspectError};
use crate::out::{Out, Progress};
use crate::source::{self, Layout};

/// What a directory is, and what was found in it.
#[derive(Debug)]
struct Diagnosis {
    /// In a few words.
    kind: &'static str,
    /// Its history, if it has one that can be read.
    history: Option<History>,
    findings: Vec<Finding>,
}

/// Examines `dir` and shows what was found, the worst first.
pub fn doctor(dir: &Path, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let Diagnosis { kind, history, mut findings } = diagnose(dir, progress)?;
    progress.clear();
    // Of equal ones the order in which they were found says more than any other.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    out.line(|| heading(dir, kind, history.as_ref()), || heading_json(dir, kind, history.as_ref()))?;
    for finding in &findings {
        out.line(|| finding.text(), || finding.json())?;
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let [errors, warnings, infos] = [Severity::Error, Severity::Warning, Severity::Info].map(count);
    match findings.len() {
        0 => out.text("nothing is wrong")?,
        _ => out.text(format_args!("{errors} errors, {warnings} warnings, {infos} to know"))?,
    }
    Ok(if errors + warnings > 0 { FOUND } else { FINE })
}

fn diagnose(dir: &Path, progress: &Progress) -> Result<Diagnosis, InspectError> {
    if !dir.is_dir() {
        let what = format!(
            "{} is no directory; for one file there are log verify and snapshot verify",
            dir.display()
        );
        return Err(InspectError::NotThere { what });
    }
    let mut findings = Vec::new();
    let source = match source::open(dir, progress) {
        Ok(source) => source,
        Err(InspectError::NotOurs { .. }) => {
            let kind = strange::examine(dir, &mut findings)?;
            return Ok(Diagnosis { kind, history: None, findings });
        }
        Err(error) => return Err(error),
    };
    let (kind, examined) = match source.layout() {
        Layout::Ours => ("a data directory of Ringkeeper", ours::examine(dir, &*source, &mut findings)),
        Layout::Apache => {
            ("a data directory of Apache ZooKeeper", apache::examine(dir, &*source, &mut findings))
        }
    };
    let history = match examined {
        Ok(history) => Some(history),
        Err(error @ InspectError::Output(_)) => return Err(error),
        Err(error) => {
            findings.push(
                Finding::new(Severity::Error, "unreadable", dir, error.to_string())
                    .means("the examination ends here, and so would a start of the server")
                    .advise("make it readable; if the device reports errors, copy what it still gives"),
            );
            None
        }
    };
    Ok(Diagnosis { kind, history, findings })
}

fn heading(dir: &Path, kind: &str, history: Option<&History>) -> String {
    let mut line = format!("{}: {kind}", dir.display());
    if let Some(history) = history.filter(|history| !history.is_empty()) {
        let (txns, _) = history.behind;
        line.push_str(&format!(", up to {}", history.last));
        match history.base {
            Some(base) if base.raw() > 0 => {
                line.push_str(&format!(": the state after {base} and {txns} transactions behind it"));
            }
            Some(_) => line.push_str(&format!(": {txns} transactions from the beginning")),
            None => {}
        }
    }
    line
}

fn heading_json(dir: &Path, kind: &str, history: Option<&History>) -> Value {
    json!({
        "directory": dir,
        "kind": kind,
        "last": history.map(|history| history.last.to_string()),
        "base": history.and_then(|history| history.base).map(|base| base.to_string()),
        "txns_behind": history.map(|history| history.behind.0),
        "usable_snapshots": history.map(|history| history.usable.len()),
    })
}
