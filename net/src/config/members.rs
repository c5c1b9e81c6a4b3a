//! The `server.N` lines, and how much of an ensemble a single node makes of them.
//!
//! One voter is a standalone node whose client address may stand in its line (the official container image
//! relies on that). Everything larger is refused in this version: a node that quietly served alone, while its
//! operator believed in a quorum, would lose what it acknowledges with its disk.

use std::{io, path::Path};

use ringkeeper_engine::id::Sid;

use super::{
    Outside,
    error::{ConfigError, Severity},
    given::{Entry, Given},
    keys::NO_ENSEMBLES,
    model::{Member, Role},
};

const FORM: &str = "host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort] with two \
                    different ports from 1 to 65535";

/// Takes the `server.N` lines. Returns the only member, with its entry, if there is one.
pub(super) fn take(
    given: &mut Given,
    dir: &Path,
    outside: &Outside,
) -> Result<Option<(Entry, Member)>, ConfigError> {
    let lines = given.take_all("server.");
    let alone = given.take("standaloneEnabled").map(|entry| Ok((entry.flag()?, entry))).transpose()?;
    let mut members = Vec::new();
    for entry in lines {
        let member = parse(&entry)?;
        members.push((entry, member));
    }
    if let Some((entry, _)) = members.get(1) {
        return Err(entry.refused(format!(
            "{} server lines make an ensemble; {NO_ENSEMBLES}; keep one server line, or none",
            members.len()
        )));
    }
    let Some((entry, member)) = members.pop() else { return Ok(None) };
    if member.role == Role::Observer {
        return Err(entry.refused("an observer needs an ensemble to follow, and ensembles are not there yet"));
    }
    if let Some((false, switch)) = alone {
        return Err(switch.refused(format!("it asks for an ensemble of one; {NO_ENSEMBLES}")));
    }
    check_my_id(given, dir, outside, &entry, &member)?;
    Ok(Some((entry, member)))
}

/// `myid` must name the line that is ours. Without the file there is only one line to be.
fn check_my_id(
    given: &mut Given,
    dir: &Path,
    outside: &Outside,
    entry: &Entry,
    member: &Member,
) -> Result<(), ConfigError> {
    let path = dir.join("myid");
    let problem = match (outside.read_my_id)(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(id) if Sid(id) == member.id => return Ok(()),
            Ok(id) => {
                let line = &entry.place;
                let id: i64 = id;
                format!("holds {id}, but {line} has only server.{}", member.id)
            }
            Err(_) => "expected the number of this server and nothing else".to_owned(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            given.warnings.push(entry.warning(
                Severity::Note,
                format!("there is no {}: this node takes itself for server.{}", path.display(), member.id),
            ));
            return Ok(());
        }
        Err(error) => format!("reading the number of this server failed: {error}"),
    };
    Err(ConfigError::MyId { path, problem })
}

/// Reads one line.
fn parse(entry: &Entry) -> Result<Member, ConfigError> {
    let number = entry.key.strip_prefix("server.").unwrap_or_default();
    let id = match number.parse() {
        Ok(id) if (0..=i64::MAX).contains(&id) => Sid(id),
        _ => return Err(entry.bad("a server number after `server.`: a whole number from 0")),
    };
    if entry.value.contains('|') {
        return Err(entry.refused("several addresses for one server are not there yet; keep the first"));
    }
    let mut parts = entry.value.split(';').map(str::trim);
    let server = parts.next().unwrap_or_default();
    let client = parts.next().filter(|part| !part.is_empty());
    if parts.next().is_some_and(|secure| !secure.is_empty()) {
        return Err(entry.refused("it has a port for TLS clients, and TLS is not there yet"));
    }
    let member = host_and_rest(server).and_then(|(host, rest)| {
        let mut fields = rest.split(':');
        let quorum_port = port(fields.next()?).filter(|&p| p != 0)?;
        let election_port = port(fields.next()?).filter(|&p| p != 0)?;
        let role = match fields.next() {
            None => Role::Participant,
            Some(role) if role.eq_ignore_ascii_case("participant") => Role::Participant,
            Some(role) if role.eq_ignore_ascii_case("observer") => Role::Observer,
            Some(_) => return None,
        };
        let client = match client {
            None => None,
            Some(text) => Some(match port(text) {
                Some(port) => (None, port),
                None => {
                    let (host, rest) = host_and_rest(text)?;
                    (Some(host.to_owned()), port(rest)?)
                }
            }),
        };
        let whole = fields.next().is_none() && quorum_port != election_port;
        whole.then(|| Member { id, host: host.to_owned(), quorum_port, election_port, role, client })
    });
    member.ok_or_else(|| entry.bad(FORM))
}

/// `host:rest` or `[address]:rest`.
fn host_and_rest(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    (!host.is_empty()).then_some((host, rest))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok()
}
