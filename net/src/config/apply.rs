//! What the followed keys mean: from texts to a [`Config`], with the checks that concern more than one key.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use ringkeeper_engine::log::LogOptions;

use super::{
    Outside,
    ensemble::Member,
    error::{ConfigError, Severity, Warning},
    given::{Entry, Given},
    model::{Config, Listen, Loops, SuperDigest},
    quorum,
};
use crate::admin::{Whitelist, Word};
use crate::member::policy::{LEAST_COUNT, PurgeEvery};

const MILLIS: &str = "a whole number of milliseconds";
const COUNT: &str = "a whole number";
const COUNT_OR_NO_LIMIT: &str = "a whole number, 0 for no limit,";
const BYTES: &str = "a whole number of bytes";

/// The unit of log segments.
const BLOCK: u64 = 4096;
const LARGEST_SEGMENT: u64 = LogOptions::MAX_SEGMENT_BYTES;
/// Room in a segment for its header and that of a batch.
const SEGMENT_HEADERS: u64 = 4 * BLOCK;
/// The longest transaction that a segment has room for.
const LONGEST_TRANSACTION: u32 = (LARGEST_SEGMENT - SEGMENT_HEADERS) as u32;

/// Reads everything that was given. `file` is the name of the zoo.cfg, if there is one.
pub(super) fn apply(
    given: &mut Given,
    file: Option<Arc<str>>,
    outside: &Outside,
) -> Result<Config, ConfigError> {
    let mut config = if file.is_some() { Config::reference() } else { Config::embedded() };
    directories(given, &mut config, file.as_ref())?;
    let seat = quorum::seat(given, &config.data_dir, outside)?;
    client_port(given, &mut config, file.as_ref(), seat.own(), outside)?;
    ticks(given, &mut config)?;
    limits(given, &mut config)?;
    own(given, &mut config)?;
    log(given, &mut config)?;
    access(given, &mut config)?;
    snapshots(given, &mut config)?;
    let read_only_mode = given.says_true("readonlymode.enabled", false);
    words_and_metrics(given, &mut config, read_only_mode)?;
    config.ensemble = quorum::ensemble(given, &config, file.as_ref(), &seat, read_only_mode)?;
    Ok(config)
}

fn directories(given: &mut Given, config: &mut Config, file: Option<&Arc<str>>) -> Result<(), ConfigError> {
    let data_dir = given.take("dataDir");
    let data_log_dir = given.take("dataLogDir");
    for entry in [&data_dir, &data_log_dir].into_iter().flatten() {
        if entry.value.is_empty() || entry.value.contains('\0') {
            return Err(entry.bad("the path of a directory"));
        }
        if !entry.value.starts_with(['/', '.']) {
            let text = "relative path: it is looked for below the directory the node is started in";
            given.warnings.push(entry.warning(Severity::Note, text));
        }
    }
    match (data_dir, file) {
        (Some(entry), _) => {
            config.data_dir = PathBuf::from(&entry.value);
            config.data_log_dir = PathBuf::from(&entry.value);
        }
        (None, Some(file)) => {
            let why = "it is the directory that the node keeps its data in";
            return Err(ConfigError::MissingKey { file: file.clone(), key: "dataDir", why });
        }
        (None, None) => {}
    }
    if let Some(entry) = data_log_dir {
        config.data_log_dir = PathBuf::from(&entry.value);
    }
    config.create_data_dir = given.says_true("datadir.autocreate", true);
    Ok(())
}

/// Where clients connect: the static keys, or the client part of our `server.N` line. Both must agree.
fn client_port(
    given: &mut Given,
    config: &mut Config,
    file: Option<&Arc<str>>,
    member: Option<&(Entry, Member)>,
    outside: &Outside,
) -> Result<(), ConfigError> {
    let resolve = |entry: &Entry, host: &str| {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let ip = bare.parse().ok().or_else(|| (outside.resolve)(bare));
        let expected = "an address of this machine, or a host name that can be looked up";
        // The wildcard address means what leaving the address out means.
        ip.map(|ip: IpAddr| Some(ip).filter(|ip| !ip.is_unspecified())).ok_or_else(|| entry.bad(expected))
    };
    config.listen_backlog = given
        .strict("clientPortListenBacklog", "a whole number, -1 for the system's default,", -1..=i32::MAX)?
        .and_then(|backlog| u32::try_from(backlog).ok())
        .filter(|&backlog| backlog > 0);
    config.tcp_keep_alive = given.says_true("clientTcpKeepAlive", false);

    let port: Option<u16> = given.strict("clientPort", "a port, 0 for any free one,", 0..=u16::MAX)?;
    let address = given.take("clientPortAddress");
    let fixed = match (port, &address) {
        (Some(port), Some(entry)) => Some(Listen { ip: resolve(entry, &entry.value)?, port }),
        (Some(port), None) => Some(Listen { ip: None, port }),
        (None, _) => None,
    };
    let dynamic = match member {
        Some((entry, Member { client: Some((host, port)), .. })) => {
            let ip = host.as_ref().map(|host| resolve(entry, host)).transpose()?.flatten();
            Some((entry, Listen { ip, port: *port }))
        }
        _ => None,
    };
    config.listen = match (fixed, dynamic, file) {
        (Some(fixed), Some((entry, dynamic)), _) => {
            if fixed.port != dynamic.port || (fixed.ip.is_some() && fixed.ip != dynamic.ip) {
                return Err(entry.bad(format!(
                    "the same client address as in clientPort and clientPortAddress, which is {fixed}"
                )));
            }
            dynamic
        }
        (Some(listen), None, _) => listen,
        (None, Some((_, listen)), _) if address.is_none() => listen,
        (None, _, Some(file)) => {
            let why = match address {
                Some(_) => "clientPortAddress needs it",
                None => "clients could not connect; write clientPort=2181",
            };
            return Err(ConfigError::MissingKey { file: file.clone(), key: "clientPort", why });
        }
        // Parser keys come from files only.
        (None, _, None) => config.listen,
    };
    Ok(())
}

fn ticks(given: &mut Given, config: &mut Config) -> Result<(), ConfigError> {
    if let Some(tick) = given.strict("tickTime", MILLIS, 1..=i32::MAX.unsigned_abs())? {
        config.tick_ms = tick;
    }
    let in_ticks =
        |count: u32| i32::try_from(u64::from(config.tick_ms) * u64::from(count)).unwrap_or(i32::MAX);
    let bound = |entry: Option<&Entry>, ticks: u32| -> Result<i32, ConfigError> {
        let what = format!("{MILLIS}, -1 for {ticks} ticks,");
        let value = entry.map(|entry| entry.number(&what, -1..=i32::MAX)).transpose()?;
        Ok(value.filter(|&value| value >= 0).unwrap_or_else(|| in_ticks(ticks)))
    };
    let shortest = given.take("minSessionTimeout");
    let longest = given.take("maxSessionTimeout");
    let min = bound(shortest.as_ref(), 2)?;
    let max = bound(longest.as_ref(), 20)?;
    if min > max {
        let from = |entry: &Option<Entry>, ticks: u32| match entry {
            Some(entry) => format!("of {}", entry.place),
            None => format!("of {ticks} ticks"),
        };
        let too_long = shortest.as_ref().map(|entry| {
            entry.bad(format!("at most the maxSessionTimeout {}, {max} ms", from(&longest, 20)))
        });
        let too_short = longest.as_ref().map(|entry| {
            entry.bad(format!("at least the minSessionTimeout {}, {min} ms", from(&shortest, 2)))
        });
        // With neither key given, 2 ticks cannot exceed 20.
        if let Some(error) = too_long.or(too_short) {
            return Err(error);
        }
    }
    config.min_session_timeout_ms = min;
    config.max_session_timeout_ms = max;
    Ok(())
}

fn limits(given: &mut Given, config: &mut Config) -> Result<(), ConfigError> {
    const MOST: u32 = i32::MAX.unsigned_abs();
    if let Some(most) = given.strict("maxClientCnxns", COUNT_OR_NO_LIMIT, 0..=MOST)? {
        config.max_connections_per_address = most;
    }
    config.max_connections = given.lenient("maxCnxns", COUNT_OR_NO_LIMIT, 0..=MOST, 0);
    config.sessionless_timeout_ms =
        given.lenient("nio.sessionlessCnxnTimeout", MILLIS, 1..=MOST, config.sessionless_timeout_ms);
    // As much again may be logged on top, unless jute.maxbuffer.extrasize says less.
    const LONGEST_FRAME: u32 = LONGEST_TRANSACTION / 2;
    config.max_request_bytes =
        given.lenient("jute.maxbuffer", BYTES, 1024..=LONGEST_FRAME, config.max_request_bytes);
    let most_extra = LONGEST_TRANSACTION - config.max_request_bytes;
    config.max_request_extra_bytes =
        given.lenient("jute.maxbuffer.extrasize", BYTES, 0..=most_extra, config.max_request_bytes);
    Ok(())
}

/// `ringkeeper.*`, all strict.
fn own(given: &mut Given, config: &mut Config) -> Result<(), ConfigError> {
    if let Some(entry) = given.take("ringkeeper.cores") {
        config.loops.cores = cores(&entry)?;
    }
    let implied = config.loops.cores.len().saturating_sub(1);
    config.loops.fronts = match given.take("ringkeeper.fronts") {
        None => implied,
        Some(entry) => {
            let fronts: usize = entry.number("a whole number of front loops", 0..=64)?;
            let Loops { cores, .. } = &config.loops;
            if !cores.is_empty() && fronts != implied {
                return Err(entry.bad(format!(
                    "{implied}, because ringkeeper.cores lists {} cores, one for the replica loop and one per front \
                     loop",
                    cores.len()
                )));
            }
            fronts
        }
    };
    if let Some(count) = given.strict("ringkeeper.commitsInFlight", COUNT, 1..=16)? {
        config.commits_in_flight = count;
    }
    // A node that can be written must also be readable.
    let least = config.max_request_bytes.saturating_add(1024);
    config.max_reply_bytes = given
        .strict("ringkeeper.maxReplyBytes", BYTES, least..=i32::MAX.unsigned_abs())?
        .unwrap_or(config.max_reply_bytes.max(least));
    let least = u64::from(config.max_reply_bytes);
    config.max_unsent_bytes = given
        .strict("ringkeeper.maxUnsentBytes", BYTES, least..=1 << 40)?
        .unwrap_or(config.max_unsent_bytes.max(least));
    Ok(())
}

/// `0` or `0,1`: core numbers, each once.
fn cores(entry: &Entry) -> Result<Vec<usize>, ConfigError> {
    let mut cores = Vec::new();
    for item in entry.value.split(',') {
        let core = item.trim().parse().ok().filter(|core| *core < 1024 && !cores.contains(core));
        cores.push(core.ok_or_else(|| {
            entry.bad("core numbers from 0 to 1023, separated by commas, each one once, such as 0,1")
        })?);
    }
    Ok(cores)
}

fn log(given: &mut Given, config: &mut Config) -> Result<(), ConfigError> {
    // A transaction is never split over segments.
    let largest_transaction = u64::from(config.max_request_bytes) + u64::from(config.max_request_extra_bytes);
    let least = (largest_transaction + SEGMENT_HEADERS).next_multiple_of(BLOCK);
    let least = least.max(LogOptions::MIN_SEGMENT_BYTES);
    let preallocated = given.take("preAllocSize");
    config.log_segment_bytes = config.log_segment_bytes.max(least);
    if let Some(entry) = given.take("ringkeeper.logSegmentBytes") {
        config.log_segment_bytes = entry.number(BYTES, least..=LARGEST_SEGMENT)?;
        if !config.log_segment_bytes.is_multiple_of(BLOCK) {
            return Err(entry.bad(format!("a multiple of {BLOCK} bytes from {least} to {LARGEST_SEGMENT}")));
        }
    } else if let Some(entry) = preallocated {
        let wanted =
            entry.value.parse::<u64>().ok().filter(|&kib| kib > 0).and_then(|kib| kib.checked_mul(1024));
        match wanted {
            None => given.warn(&entry, "expected a whole number of KiB from 1; the default 65536 is used"),
            Some(bytes) => {
                let fitted = bytes.clamp(least, LARGEST_SEGMENT).next_multiple_of(BLOCK);
                if fitted != bytes {
                    given.warn(
                        &entry,
                        format!(
                            "log segments are {fitted} bytes instead: a multiple of {BLOCK} with \
                        room for the largest transaction, and at most {LARGEST_SEGMENT}"
                        ),
                    );
                }
                config.log_segment_bytes = fitted;
            }
        }
    }
    if let Some(entry) = given.take("forceSync") {
        config.force_sync = entry.value != "no";
        let danger =
            "writes are acknowledged before they are on the disk: a power cut loses acknowledged writes";
        match entry.value.as_str() {
            "yes" => {}
            "no" => given.warnings.push(entry.warning(Severity::Danger, danger)),
            _ => given.warn(&entry, "expected yes or no; anything but no means yes"),
        }
    }
    let millis = given.lenient("fsync.warningthresholdms", MILLIS, 0..=i32::MAX.unsigned_abs(), 1000);
    config.fsync_warning = Duration::from_millis(millis.into());
    config.digest = given.says_true("digest.enabled", true);
    if let Some(entry) = given.take("extendedTypesEnabled") {
        config.extended_types = entry.value.eq_ignore_ascii_case("true");
        if config.extended_types {
            given.warn(
                &entry,
                "nodes with a time to live can be created, but are not removed in this version",
            );
        }
    }
    Ok(())
}

fn access(given: &mut Given, config: &mut Config) -> Result<(), ConfigError> {
    if let Some(entry) = given.take("skipACL") {
        config.check_acls = entry.value != "yes";
        match entry.value.as_str() {
            "no" => {}
            "yes" => given.warnings.push(entry.warning(
                Severity::Danger,
                "ACLs are not checked: every client may read and write everything",
            )),
            _ => given.warn(&entry, "expected yes or no; anything but yes means no"),
        }
    }
    if let Some(entry) = given.take("DigestAuthenticationProvider.superDigest") {
        if !entry.value.starts_with("super:") {
            given.warn(
                &entry,
                "expected super:<digest>, as Apache's generator prints it; nobody can be super",
            );
        }
        config.super_digest = Some(SuperDigest(entry.value));
    }
    for entry in given.take_all("authProvider.") {
        const APACHE: &str = "org.apache.zookeeper.server.auth.";
        match entry.value.strip_prefix(APACHE) {
            Some("DigestAuthenticationProvider" | "IPAuthenticationProvider") => {}
            _ => {
                return Err(entry.refused(
                    "only the built-in digest and IP providers are there; ACLs of another scheme would match nobody",
                ));
            }
        }
    }
    Ok(())
}

fn snapshots(given: &mut Given, config: &mut Config) -> Result<(), ConfigError> {
    let policy = &mut config.snapshots;
    let given_count = given.get("snapCount").cloned();
    let count = given.lenient("snapCount", "a whole number of transactions", i32::MIN..=i32::MAX, 100_000);
    policy.count = u32::try_from(count).unwrap_or(0);
    if let Some(entry) = given_count.filter(|_| policy.count < LEAST_COUNT) {
        given.warn(&entry, "at least 2 transactions are between snapshots; 2 is used");
        policy.count = LEAST_COUNT;
    }
    const MOST_KIB: i64 = 1 << 40;
    let what = "a whole number of KiB, 0 or less for no limit,";
    let kib = given.lenient("snapSizeLimitInKb", what, -MOST_KIB..=MOST_KIB, 4 << 20);
    policy.bytes = u64::try_from(kib).ok().filter(|&kib| kib > 0).map(|kib| kib << 10);
    if let Some(entry) = given.take("autopurge.snapRetainCount") {
        let count: u32 = entry.number("a whole number of snapshots", 0..=i32::MAX.unsigned_abs())?;
        if count < 3 {
            given.warn(&entry, "at least 3 snapshots are kept; 3 is used");
        }
        policy.keep = count.max(3) as usize;
    }
    if let Some(entry) = given.take("autopurge.purgeInterval") {
        policy.purge = purge_interval(&entry)?;
    }
    Ok(())
}

/// Hours, or a number with one of the units `ms s m h d`; 0 or less is never.
fn purge_interval(entry: &Entry) -> Result<PurgeEvery, ConfigError> {
    let digits = entry.value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match entry.value.get(digits.len()..) {
        Some("ms") => Some(1),
        Some("s") => Some(1000),
        Some("m") => Some(60_000),
        Some("" | "h") => Some(3_600_000),
        Some("d") => Some(86_400_000),
        _ => None,
    };
    let number =
        digits.trim().parse().ok().filter(|n| (i64::from(i32::MIN)..=i64::from(i32::MAX)).contains(n));
    match (number, unit_ms) {
        (Some(number), Some(unit)) => Ok(match u64::try_from(number).unwrap_or(0) * unit {
            0 => PurgeEvery::Never,
            millis => PurgeEvery::Interval(Duration::from_millis(millis)),
        }),
        _ => Err(entry.bad("a whole number of hours, or a number with one of the units ms, s, m, h, d")),
    }
}

fn words_and_metrics(
    given: &mut Given,
    config: &mut Config,
    read_only_mode: bool,
) -> Result<(), ConfigError> {
    if let Some(entry) = given.take("4lw.commands.whitelist") {
        let (words, unknown) = Whitelist::parse(&entry.value);
        config.words = words;
        if !unknown.is_empty() {
            let names: Vec<&str> = Word::ALL.into_iter().map(Word::name).collect();
            let text = format!("no such word: {}; there are {}", unknown.join(", "), names.join(", "));
            given.warnings.push(printable(entry.warning(Severity::Warning, text)));
        }
    }
    if read_only_mode {
        config.words.allow(Word::Isro);
    }
    let admin = given.take_all("admin.");
    let off = admin.iter().any(|e| e.key == "admin.enableServer" && !e.value.eq_ignore_ascii_case("true"));
    if let Some(entry) = admin.first().filter(|_| !off) {
        given.warn(entry, "no effect yet: there is no admin HTTP server; use the four-letter words");
    }
    if let Some(entry) = given.take("metricsProvider.className") {
        match entry.value.strip_prefix("org.apache.zookeeper.metrics.") {
            Some("impl.DefaultMetricsProvider") => {}
            Some("impl.NullMetricsProvider") => given.warn(&entry, "no effect: metrics are always kept"),
            Some("prometheus.PrometheusMetricsProvider") => {
                given.warn(&entry, "no effect yet: there is no Prometheus endpoint; use the word mntr");
            }
            _ => {
                return Err(entry.refused("there are no Java classes to load; use one of Apache's providers"));
            }
        }
    }
    Ok(())
}

/// A warning that quotes a file, with control characters escaped.
fn printable(mut warning: Warning) -> Warning {
    if warning.text.chars().any(char::is_control) {
        warning.text = warning.text.escape_default().to_string();
    }
    warning
}
