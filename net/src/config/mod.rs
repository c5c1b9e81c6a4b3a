//! zoo.cfg: reads what operators of ZooKeeper already have, and says about every line whether it will be followed.
//!
//! Rules: an unknown key is a warning, as it would have no effect in the reference; a bad value of a key that
//! matters is an error with line, key, value and what is allowed; a setting that we cannot follow and that data,
//! security or quorum rules hang on is refused. Nothing here opens a socket or touches a data directory, apart
//! from reading `myid` and the file that `dynamicConfigFile` names. Called once, by the binary, before anything else exists.
//!
//! `properties` knows the syntax, `keys` every key, `apply` and `quorum` what the followed ones mean, `members` the lines
//! of an ensemble, `model` and `ensemble` the result.

mod apply;
mod ensemble;
mod error;
mod given;
mod jvm_flags;
mod keys;
mod members;
mod model;
pub mod properties;
mod quorum;

use std::{
    env, fs,
    io::{self, Read as _},
    net::{IpAddr, ToSocketAddrs as _},
    path::Path,
    sync::Arc,
};

pub use ensemble::{Ensemble, Member, Role};
pub use error::{ConfigError, Place, Severity, Warning};
pub use model::{Config, Listen, Loops, SuperDigest};

use self::{
    given::{Entry, Given},
    keys::{Check, Handling, Scope, When},
};

/// A configuration that can be served with, and what its author should know.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Warning>,
}

/// Bytes of a configuration file that are read at most.
const LARGEST_FILE: u64 = 1 << 20;

/// Reads a zoo.cfg and the JVM flags of the environment, or only the latter on top of the embedded defaults.
///
/// # Errors
/// Any [`ConfigError`]; the node must not start, exit code 2.
pub fn load(zoo_cfg: Option<&Path>) -> Result<Loaded, ConfigError> {
    let flags: Vec<(&str, String)> = jvm_flags::VARIABLES
        .iter()
        .filter_map(|&name| env::var(name).ok().map(|value| (name, value)))
        .collect();
    match zoo_cfg {
        None => settle(None, &flags, &Outside::SYSTEM),
        Some(path) => {
            let bytes = read_file(path)?;
            settle(Some((&path.display().to_string(), &bytes)), &flags, &Outside::SYSTEM)
        }
    }
}

/// Reads a configuration from memory; `name` is what messages call it. Host names are not looked up, and there is
/// no other file.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, bytes: &[u8]) -> Result<Loaded, ConfigError> {
    settle(Some((name, bytes)), &[], &Outside::NOTHING)
}

/// Fuzz entry: arbitrary bytes as a zoo.cfg. Whatever comes back must be printable and consistent.
///
/// # Panics
/// When a configuration was accepted that breaks its own rules.
pub fn fuzz(bytes: &[u8]) {
    let outside = Outside { read_my_id: |_| Ok("1".into()), ..Outside::NOTHING };
    match settle(Some(("fuzz", bytes)), &[], &outside) {
        Ok(Loaded { config, warnings }) => {
            assert!(config.tick_ms > 0);
            assert!(config.min_session_timeout_ms <= config.max_session_timeout_ms);
            assert!((1..=16).contains(&config.commits_in_flight));
            assert!(config.log_segment_bytes % 4096 == 0);
            assert!(config.log_segment_bytes > u64::from(config.max_request_bytes));
            assert!(config.max_unsent_bytes >= u64::from(config.max_reply_bytes));
            if let Some(ensemble) = config.ensemble {
                assert!(ensemble.quorum.contains(ensemble.me) && ensemble.own().id == ensemble.me);
                assert!(ensemble.init_limit > 0 && ensemble.sync_limit > 0);
                assert!(ensemble.min_notification_ms <= ensemble.max_notification_ms);
                // Others read the text as a properties file.
                let lines = properties::parse(ensemble.config_text.as_bytes()).expect("no escape in it");
                let servers = lines.iter().filter(|line| line.key.starts_with("server.")).count();
                assert_eq!(servers, ensemble.members.len());
                assert!(lines.last().is_some_and(|line| line.key == "version"));
            }
            for warning in warnings {
                assert!(!warning.to_string().contains('\n'), "{warning}");
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

/// What a configuration refers to outside its own text.
struct Outside {
    /// The address of a host name.
    resolve: fn(&str) -> Option<IpAddr>,
    /// The contents of a `myid` file.
    read_my_id: fn(&Path) -> io::Result<String>,
    /// The contents of a configuration file.
    read_file: fn(&Path) -> Result<Vec<u8>, ConfigError>,
}

impl Outside {
    const SYSTEM: Outside = Outside {
        resolve: |host| (host, 0).to_socket_addrs().ok()?.next().map(|address| address.ip()),
        read_my_id: |path| {
            let mut text = String::new();
            fs::File::open(path)?.take(64).read_to_string(&mut text)?;
            Ok(text)
        },
        read_file,
    };

    const NOTHING: Outside = Outside {
        resolve: |_| None,
        read_my_id: |_| Err(io::ErrorKind::NotFound.into()),
        read_file: |path| Err(ConfigError::Missing { path: path.to_owned() }),
    };
}

fn read_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) if read as u64 > LARGEST_FILE => {
            Err(ConfigError::TooLarge { path: path.to_owned(), limit: LARGEST_FILE })
        }
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ConfigError::Missing { path: path.to_owned() })
        }
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

/// From texts to a configuration: syntax, then the table, then the meaning.
fn settle(
    file: Option<(&str, &[u8])>,
    flags: &[(&str, String)],
    outside: &Outside,
) -> Result<Loaded, ConfigError> {
    let mut given = Given::default();
    for (variable, text) in flags {
        let place = Place { source: (*variable).into(), line: None };
        for (key, value) in jvm_flags::settings(text) {
            sort_in(
                &mut given,
                Entry { place: place.clone(), key: key.to_owned(), value: value.to_owned() },
            )?;
        }
    }
    let source: Option<Arc<str>> = file.map(|(name, _)| name.into());
    if let (Some((_, bytes)), Some(source)) = (file, &source) {
        for entry in file_entries(source, bytes, &mut given.warnings)? {
            sort_in(&mut given, entry)?;
        }
    }
    let config = apply::apply(&mut given, source, outside)?;
    debug_assert_eq!(given.left().next(), None, "a key that the table calls used and apply never reads");
    let mut warnings = given.warnings;
    warnings.sort_by_key(|warning| warning.place.line);
    Ok(Loaded { config, warnings })
}

/// The entries of a file that count: of several with one key, the last.
fn file_entries(
    source: &Arc<str>,
    bytes: &[u8],
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Entry>, ConfigError> {
    let place = |line| Place { source: source.clone(), line: Some(line) };
    let entries = properties::parse(bytes)
        .map_err(|malformed| ConfigError::MalformedEscape { place: place(malformed.line) })?;
    let mut counting = Vec::new();
    let mut last_lines = hashbrown::HashMap::new();
    for entry in &entries {
        last_lines.insert(entry.key.as_str(), entry.line);
    }
    for entry in &entries {
        let kept = Entry { place: place(entry.line), key: entry.key.clone(), value: entry.value.clone() };
        if let Some(&last) = last_lines.get(entry.key.as_str()).filter(|&&last| last != entry.line) {
            warnings
                .push(kept.warning(Severity::Warning, format!("given again on line {last}, which counts")));
            continue;
        }
        if entry.high_bytes {
            warnings.push(kept.warning(
                Severity::Warning,
                "bytes above 0x7f are read as Latin-1, as the reference does; write \\uXXXX for other characters",
            ));
        }
        counting.push(kept);
    }
    Ok(counting)
}

/// Decides from the table what becomes of one entry.
fn sort_in(given: &mut Given, entry: Entry) -> Result<(), ConfigError> {
    let Some(key) = keys::find(&entry.key) else { return unknown(given, &entry) };
    match key.handling {
        Handling::Used => {
            if key.scope == Scope::Bare && entry.place.line.is_some() {
                let text = format!("honoured here; the reference takes it only as -D{}", key.name);
                given.warnings.push(entry.warning(Severity::Note, text));
            }
            given.insert(entry);
        }
        Handling::Silent(check) => checked(&entry, check)?,
        Handling::Warn { quiet, why, check } => {
            checked(&entry, check)?;
            if !is_one_of(&entry.value, quiet) {
                given.warn(&entry, why);
            }
        }
        Handling::Refuse { when, why, check } => {
            checked(&entry, check)?;
            let refused = match when {
                When::Always => true,
                When::True => entry.value.eq_ignore_ascii_case("true"),
                When::Unless(fine) => !is_one_of(&entry.value, fine),
            };
            if refused {
                return Err(entry.refused(why));
            }
        }
    }
    Ok(())
}

fn checked(entry: &Entry, check: Check) -> Result<(), ConfigError> {
    match check {
        Check::Any => Ok(()),
        Check::Number => entry.number("a whole number", i32::MIN..=i32::MAX).map(drop),
        Check::Flag => entry.flag().map(drop),
    }
}

fn is_one_of(value: &str, list: &[&str]) -> bool {
    list.iter().any(|other| value.eq_ignore_ascii_case(other))
}

/// A key in no table: an error in our own namespace, else a warning.
fn unknown(given: &mut Given, entry: &Entry) -> Result<(), ConfigError> {
    let lower = entry.key.to_lowercase();
    if lower.starts_with("ringkeeper.") {
        return Err(ConfigError::UnknownOwnKey {
            place: entry.place.clone(),
            key: entry.key.clone(),
            keys: keys::names(Scope::Own),
        });
    }
    let text = match (entry.key.strip_prefix("zookeeper."), keys::did_you_mean(&entry.key)) {
        _ if entry.key.is_empty() => "a value without a key has no effect".to_owned(),
        (Some(bare), _) if keys::find(bare).is_some() => {
            format!("no effect: in the file the key is {bare}, the prefix belongs to -D flags only")
        }
        (_, Some(close)) => format!("no such key, no effect; did you mean {close}?"),
        (_, None) => "no such key, no effect".to_owned(),
    };
    given.warn(entry, text);
    Ok(())
}

#[cfg(test)]
mod tests;
