//! Whether this node is alone or a member of an ensemble, and what its file says about the ensemble.
//!
//! Two steps, because the lines of the members decide where clients connect, and the limits need the tick: [`seat`]
//! finds out who we are, [`ensemble`] reads the rest. A node that quietly served alone, while its operator believed in
//! a quorum, would lose what it acknowledges with its disk: so what does not fit together is an error here, never a
//! guess.

use std::{io, path::Path, sync::Arc};

use ringkeeper_engine::id::Sid;

use super::{
    Outside,
    ensemble::{self, Ensemble, Member, Role},
    error::{ConfigError, Severity},
    file_entries,
    given::{Entry, Given},
    members::Lines,
    model::Config,
};

const TICKS: &str = "a whole number of ticks";
const MILLIS: &str = "a whole number of milliseconds";
const MOST: u32 = i32::MAX.unsigned_abs();

const WHOSE_LINES: [&str; 3] = ["server.", "group.", "weight."];

/// With TTL nodes enabled the top byte of a session id is not free to be 255 (quorum reference 1.4).
const LARGEST_SID_WITH_TTL: i64 = 254;

/// Our place.
pub(super) enum Seat {
    /// A standalone node; the only server line, if there is one.
    Alone(Option<(Entry, Member)>),
    /// A member.
    Member { me: Sid, lines: Lines, version: i64 },
}

impl Seat {
    /// Our own line.
    pub fn own(&self) -> Option<&(Entry, Member)> {
        match self {
            Seat::Alone(line) => line.as_ref(),
            Seat::Member { me, lines, .. } => lines.members.iter().find(|(_, member)| member.id == *me),
        }
    }
}

/// Finds our place among the `server.N` lines, and refuses what cannot be followed from there.
pub(super) fn seat(given: &mut Given, dir: &Path, outside: &Outside) -> Result<Seat, ConfigError> {
    let standalone = switch(given, "standaloneEnabled")?;
    let (lines, version) = take_lines(given, outside)?;
    let voters = lines.in_role(Role::Participant).count();
    let alone_allowed = !matches!(standalone, Some((false, _)));
    let seat = match (lines.members.len(), voters) {
        (0, _) => {
            if let Some((false, entry)) = &standalone {
                return Err(
                    entry.refused("it asks for an ensemble, and there is no server line to be a member by")
                );
            }
            if let Some(entry) = lines.groups.first().or(lines.weights.first()) {
                return Err(entry.refused("there is no server line that it could be about"));
            }
            Seat::Alone(None)
        }
        (_, 0) => {
            let (entry, _) = lines.members.first().expect("there are some");
            return Err(entry.refused("observers need somebody to observe: no server line is a participant"));
        }
        (1, 1) if alone_allowed => {
            let line = lines.members.into_iter().next();
            if let Some((entry, member)) = &line {
                alone(given, dir, outside, entry, member)?;
            }
            Seat::Alone(line)
        }
        (_, 1) if alone_allowed => {
            let observer = lines.members.iter().find(|(_, member)| member.role == Role::Observer);
            let (entry, _) = observer.expect("more lines than voters");
            return Err(entry.refused(
                "an observer beside a single voter: write standaloneEnabled=false for an ensemble of one voter",
            ));
        }
        _ => {
            let me = own_id(dir, outside, &lines)?;
            advise(given, &lines, voters);
            Seat::Member { me, lines, version }
        }
    };
    role(given, &seat)?;
    refuse_in_ensembles(given, &seat)?;
    Ok(seat)
}

/// The `server`, `group` and `weight` lines and the version of the configuration they make: of the file itself, or of
/// the one that `dynamicConfigFile` names.
fn take_lines(given: &mut Given, outside: &Outside) -> Result<(Lines, i64), ConfigError> {
    let [servers, groups, weights] = WHOSE_LINES.map(|prefix| given.take_all(prefix));
    let Some(entry) = given.take("dynamicConfigFile") else {
        return Ok((Lines::new(servers, groups, weights)?, 0));
    };
    if let Some(line) = servers.iter().chain(&groups).chain(&weights).next() {
        let place = &entry.place;
        return Err(line.refused(format!("it belongs into the dynamicConfigFile that {place} names")));
    }
    let path = Path::new(&entry.value);
    let bytes = (outside.read_file)(path).map_err(|error| match error {
        ConfigError::Missing { .. } => entry.bad("the path of a file with server lines, and there is none"),
        other => other,
    })?;
    let source: Arc<str> = path.display().to_string().into();
    let mut dynamic = Given::default();
    for line in file_entries(&source, &bytes, &mut given.warnings)? {
        if !WHOSE_LINES.iter().any(|prefix| line.key.starts_with(prefix)) {
            return Err(line.refused("a dynamicConfigFile has server, group and weight lines only"));
        }
        dynamic.insert(line);
    }
    let [servers, groups, weights] = WHOSE_LINES.map(|prefix| dynamic.take_all(prefix));
    if servers.is_empty() {
        return Err(entry.bad("a file with server lines"));
    }
    Ok((Lines::new(servers, groups, weights)?, version_of(path)))
}

/// What stands behind the last point of the name, in hexadecimal; 0 if that is no number.
fn version_of(path: &Path) -> i64 {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    i64::from_str_radix(suffix, 16).ok().filter(|&version| version >= 0).unwrap_or(0)
}

/// Of a single voter without an ensemble, `myid` need not exist; but if it does, it must name our line.
fn alone(
    given: &mut Given,
    dir: &Path,
    outside: &Outside,
    entry: &Entry,
    member: &Member,
) -> Result<(), ConfigError> {
    let path = dir.join("myid");
    match my_id(dir, outside)? {
        Some(id) if id == member.id => {}
        Some(id) => {
            let problem = format!("holds {id}, but {} has only server.{}", entry.place, member.id);
            return Err(ConfigError::MyId { path, problem });
        }
        None => given.warnings.push(entry.warning(
            Severity::Note,
            format!("there is no {}: this node takes itself for server.{}", path.display(), member.id),
        )),
    }
    Ok(())
}

/// Who we are among many.
fn own_id(dir: &Path, outside: &Outside, lines: &Lines) -> Result<Sid, ConfigError> {
    let names: Vec<String> = lines.members.iter().map(|(_, member)| member.id.to_string()).collect();
    let names = names.join(", ");
    let problem = match my_id(dir, outside)? {
        Some(id) if lines.members.iter().any(|(_, member)| member.id == id) => return Ok(id),
        Some(id) => format!("holds {id}, and the server lines are those of {names}"),
        None => format!("no such file; it must hold the number of this server, one of {names}"),
    };
    Err(ConfigError::MyId { path: dir.join("myid"), problem })
}

/// The number on the first line of `myid`; `None` without the file.
fn my_id(dir: &Path, outside: &Outside) -> Result<Option<Sid>, ConfigError> {
    let path = dir.join("myid");
    let problem = match (outside.read_my_id)(&path) {
        Ok(text) => match text.lines().next().unwrap_or_default().trim().parse() {
            Ok(id) => return Ok(Some(Sid(id))),
            Err(_) => "expected the number of this server and nothing else".to_owned(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => format!("reading the number of this server failed: {error}"),
    };
    Err(ConfigError::MyId { path, problem })
}

/// What the reference says about numbers of voters that buy nothing.
fn advise(given: &mut Given, lines: &Lines, voters: usize) {
    let last = lines.members.iter().rfind(|(_, member)| member.role == Role::Participant);
    let (entry, _) = last.expect("a member of an ensemble has voters");
    let text = match voters {
        1 | 2 => format!("{voters} voters bear no failure: at least 3 are needed for that"),
        even if even % 2 == 0 => format!("{even} voters bear no more failures than {}", even - 1),
        _ => return,
    };
    given.warnings.push(entry.warning(Severity::Warning, text.replace("1 voters bear", "1 voter bears")));
}

/// `peerType`: only compared with the role in our line, which counts.
fn role(given: &mut Given, seat: &Seat) -> Result<(), ConfigError> {
    let Some(entry) = given.take("peerType") else { return Ok(()) };
    let said = match entry.value.to_ascii_lowercase().as_str() {
        "participant" => Role::Participant,
        "observer" => Role::Observer,
        _ => return Err(entry.bad("participant or observer")),
    };
    match seat {
        Seat::Alone(_) if said == Role::Observer => {
            given.warn(&entry, "no effect: a single node has nobody to observe");
        }
        Seat::Alone(_) => {}
        Seat::Member { me, .. } => {
            let listed = seat.own().expect("seated by one of the lines").1.role;
            if listed != said {
                given.warn(&entry, format!("no effect: the line server.{me} says {}", listed.name()));
            }
        }
    }
    Ok(())
}

/// Switches that mean nothing to a single node and that a member must not pass over.
fn refuse_in_ensembles(given: &mut Given, seat: &Seat) -> Result<(), ConfigError> {
    const RECONFIG: &str = "changing the members of a running ensemble is not there yet, and a member that did not follow \
                            such a change would count votes wrongly; let all members have reconfigEnabled=false";
    const LOCAL: &str = "local sessions are not there yet, and all members must treat them in the same way; let all \
                         members have localSessionsEnabled=false";
    for (key, why) in [("reconfigEnabled", RECONFIG), ("localSessionsEnabled", LOCAL)] {
        match (switch(given, key)?, seat) {
            (Some((true, entry)), Seat::Member { .. }) => return Err(entry.refused(why)),
            (Some((true, entry)), Seat::Alone(_)) => given.warn(&entry, "no effect on a single node"),
            _ => {}
        }
    }
    Ok(())
}

/// A strict switch with its entry.
fn switch(given: &mut Given, key: &str) -> Result<Option<(bool, Entry)>, ConfigError> {
    given.take(key).map(|entry| Ok((entry.flag()?, entry))).transpose()
}

/// Reads the settings of ensembles, which are checked on a single node too. `config` has tick and types already.
pub(super) fn ensemble(
    given: &mut Given,
    config: &Config,
    file: Option<&Arc<str>>,
    seat: &Seat,
    read_only_mode: bool,
) -> Result<Option<Ensemble>, ConfigError> {
    let [init_limit, sync_limit] = ["initLimit", "syncLimit"].map(|key| given.take(key));
    let init_limit = limit(init_limit.as_ref())?;
    let sync_limit = limit(sync_limit.as_ref())?;
    let connect_limit = given.strict("connectToLearnerMasterLimit", TICKS, 0..=MOST)?.filter(|&n| n > 0);
    let listen_on_all = switch(given, "quorumListenOnAllIPs")?.is_some_and(|(on, _)| on);
    let retries = given.lenient("electionPortBindRetry", "a number of times, 0 for ever,", 0..=MOST, 3);
    let connect_timeout_ms = given.lenient("cnxTimeout", MILLIS, 1..=MOST, 5000);
    let hello = given.lenient("quorumCnxnTimeoutMs", "milliseconds, -1 for syncLimit,", -1..=i32::MAX, -1);
    let min_notification_ms = given.lenient("fastleader.minNotificationInterval", MILLIS, 1..=MOST, 200);
    let most = given.lenient(
        "fastleader.maxNotificationInterval",
        MILLIS,
        min_notification_ms..=MOST,
        min_notification_ms.max(60_000),
    );
    let finalize_ms = given.strict("ringkeeper.electionFinalizeMs", MILLIS, 1..=60_000)?.unwrap_or(200);
    let leader_serves = leader_serves(given);
    let autocreate = given.take("db.autocreate");
    let force_snapshot = given.says_true("forceSnapshotSync", false);
    let snapshot_size_factor = size_factor(given);
    let commit_log_count = given.lenient("commitLogCount", "a whole number", 500..=MOST, 500);
    let tcp_keep_alive = given.says_true("tcpKeepAlive", false);

    let Seat::Member { me, lines, version } = seat else { return Ok(None) };
    let required = |limit: Option<u32>, key, why| {
        // Server lines come from files only.
        let file = file.cloned().unwrap_or_default();
        limit.ok_or(ConfigError::MissingKey { file, key, why })
    };
    let init_limit = required(
        init_limit,
        "initLimit",
        "the ticks a member has for finding its leader; write initLimit=10",
    )?;
    let sync_limit =
        required(sync_limit, "syncLimit", "the ticks a member may stay silent; write syncLimit=5")?;
    if config.extended_types && me.0 > LARGEST_SID_WITH_TTL {
        let problem =
            format!("holds {me}; with extendedTypesEnabled the largest number is {LARGEST_SID_WITH_TTL}");
        return Err(ConfigError::MyId { path: config.data_dir.join("myid"), problem });
    }
    if let Some(entry) = autocreate.as_ref().filter(|entry| entry.value.eq_ignore_ascii_case("true")) {
        given.warn(
            entry,
            "a member with an empty directory votes at once: one that has lost its data can help to elect a leader that \
             lacks acknowledged writes",
        );
    }
    let (quorum, weights) = lines.quorum()?;
    let members: Vec<Member> = lines.members.iter().map(|(_, member)| member.clone()).collect();
    let silent_ms = config.tick_ms.saturating_mul(sync_limit);
    Ok(Some(Ensemble {
        me: *me,
        config_text: ensemble::text(&members, &weights, *version),
        members,
        quorum,
        version: *version,
        init_limit,
        sync_limit,
        connect_to_learner_limit: connect_limit.unwrap_or(init_limit),
        listen_on_all,
        election_bind_retries: Some(retries).filter(|&retries| retries > 0),
        connect_timeout_ms,
        hello_timeout_ms: u32::try_from(hello).ok().filter(|&ms| ms > 0).unwrap_or(silent_ms),
        tcp_keep_alive,
        min_notification_ms,
        max_notification_ms: most,
        finalize_ms,
        leader_serves,
        autocreate: autocreate.map(|entry| entry.value.eq_ignore_ascii_case("true")),
        read_only_mode,
        force_snapshot,
        snapshot_size_factor,
        commit_log_count,
    }))
}

/// `initLimit` or `syncLimit`; 0 is as good as unset.
fn limit(entry: Option<&Entry>) -> Result<Option<u32>, ConfigError> {
    let ticks = entry.map(|entry| entry.number(TICKS, 0..=MOST)).transpose()?;
    Ok(ticks.filter(|&ticks| ticks > 0))
}

/// Off only by exactly `no`.
fn leader_serves(given: &mut Given) -> bool {
    let Some(entry) = given.take("leaderServes") else { return true };
    if !matches!(entry.value.as_str(), "yes" | "no") {
        given.warn(&entry, "expected yes or no; anything but no means yes");
    }
    entry.value != "no"
}

fn size_factor(given: &mut Given) -> f64 {
    const DEFAULT: f64 = 0.33;
    let Some(entry) = given.take("snapshotSizeFactor") else { return DEFAULT };
    let factor: Option<f64> = entry.value.parse().ok().filter(|&factor| factor <= 1.0);
    if factor.is_none() {
        let value = &entry.value;
        let text = format!(
            "expected a number up to 1, below 0 for never, got {value:?}; the default {DEFAULT} is used"
        );
        given.warn(&entry, text);
    }
    factor.unwrap_or(DEFAULT)
}
