//! What can be wrong with a configuration, and what is worth a warning. Every text names the place.

use std::{fmt, io, path::PathBuf, sync::Arc};

/// Where a setting stands: a line of a file, or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named on the command line, or the name of the environment variable.
    pub source: Arc<str>,
    /// Line in the file, counted from 1; `None` for an environment variable.
    pub line: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// How much a [`Warning`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, and differs from what the reference would do.
    Note,
    /// Has no effect, or not the one that was asked for.
    Warning,
    /// Does what was asked, and that gives up durability or security.
    Danger,
}

/// Something to log at start; the node runs all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// The key it is about.
    pub key: String,
    /// One sentence without a full stop.
    pub text: String,
    /// How much it matters.
    pub severity: Severity,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, Shown(&self.key), self.text)
    }
}

/// Why a node does not start with this configuration. All of them end the process with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there.
    #[error("{}: no such file; give the path of a zoo.cfg, or no path at all to serve on the defaults", .path.display())]
    Missing {
        /// As named on the command line.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("{}: reading the configuration failed: {source}", .path.display())]
    Unreadable {
        /// As named on the command line.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("{}: larger than {limit} bytes: not a configuration file", .path.display())]
    TooLarge {
        /// As named on the command line.
        path: PathBuf,
        /// Bytes that are read at most.
        limit: u64,
    },
    /// An escape that Java properties do not have.
    #[error("{place}: malformed escape: \\u must be followed by four hexadecimal digits")]
    MalformedEscape {
        /// The line of the entry.
        place: Place,
    },
    /// A value that the key does not allow.
    #[error("{place}: {}={}: expected {expected}", Shown(.key), Shown(.value))]
    BadValue {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// The value as given.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A setting that this version cannot follow and that must not be ignored.
    #[error("{place}: {}={}: refused: {why}", Shown(.key), Shown(.value))]
    Refused {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// The value as given.
        value: String,
        /// Why, and what to do.
        why: String,
    },
    /// A key in our own namespace that does not exist: certainly a mistake.
    #[error("{place}: {}: there is no such key; the keys are {keys}", Shown(.key))]
    UnknownOwnKey {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// Those that exist.
        keys: String,
    },
    /// A key without which a node cannot run.
    #[error("{file}: {key} is missing: {why}")]
    MissingKey {
        /// The file that should have it.
        file: Arc<str>,
        /// The key.
        key: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
    /// The `myid` file contradicts the `server.N` line or holds no number.
    #[error("{}: {problem}", .path.display())]
    MyId {
        /// The `myid` file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Text from a file, made safe to print: control characters escaped, at most 100 characters.
pub(super) struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 100;
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(LONGEST) {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        if chars.next().is_some() { f.write_str("...") } else { Ok(()) }
    }
}
