//! One thing that the doctor has to say.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::source::Lost;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is to be done.
    Info,
    /// The server serves, and something should be done.
    Warning,
    /// The server does not start, or not with all that it acknowledged.
    Error,
}

impl Severity {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A name that programs can rely on.
    pub code: &'static str,
    /// The file, or the directory.
    pub file: PathBuf,
    /// Offsets of the first byte and behind the last one, where bytes are concerned.
    pub range: Option<(u64, u64)>,
    /// Transactions that cannot be read.
    pub lost: Option<Lost>,
    /// What was found.
    pub what: String,
    /// What follows from it.
    pub meaning: String,
    /// What to do about it; empty if nothing.
    pub advice: String,
}

impl Finding {
    /// Without range and losses.
    pub fn new(severity: Severity, code: &'static str, file: &Path, what: impl Into<String>) -> Finding {
        Finding {
            severity,
            code,
            file: file.to_owned(),
            range: None,
            lost: None,
            what: what.into(),
            meaning: String::new(),
            advice: String::new(),
        }
    }

    /// With what follows from it.
    pub fn means(self, meaning: impl Into<String>) -> Finding {
        Finding { meaning: meaning.into(), ..self }
    }

    /// With what to do about it.
    pub fn advise(self, advice: impl Into<String>) -> Finding {
        Finding { advice: advice.into(), ..self }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}: ", self.severity.word(), self.file.display());
        if let Some((start, end)) = self.range {
            text.push_str(&format!("bytes {start}..{end}: "));
        }
        text.push_str(&self.what);
        if let Some(lost) = self.lost {
            text.push_str(&format!("\n  costs: {lost}"));
        }
        for (title, words) in [("means", &self.meaning), ("do", &self.advice)] {
            if !words.is_empty() {
                text.push_str(&format!("\n  {title}: {words}"));
            }
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "severity": self.severity.word(),
            "code": self.code,
            "file": self.file,
            "start": self.range.map(|(start, _)| start),
            "end": self.range.map(|(_, end)| end),
            "lost_after": self.lost.map(|lost| lost.after.to_string()),
            "lost_through": self.lost.and_then(|lost| lost.through).map(|zxid| zxid.to_string()),
            "what": self.what,
            "means": self.meaning,
            "do": self.advice,
        })
    }
}
