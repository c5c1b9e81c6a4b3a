//! The `server.N`, `group.N` and `weight.N` lines, wherever they stand: who is a member, and what is a quorum.
//!
//! It judges lines against each other and knows nothing of this node. `quorum` asks it.

use ringkeeper_engine::id::Sid;

use super::{
    ensemble::{Member, Role, Weights},
    error::ConfigError,
    given::Entry,
};
use crate::zab::quorum::{Membership, MembershipError};

const FORM: &str = "host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort] with two \
                    different ports from 1 to 65535";

/// The lines of one file.
pub(super) struct Lines {
    /// `server.N`, in the order of the ids.
    pub members: Vec<(Entry, Member)>,
    /// `group.N`.
    pub groups: Vec<Entry>,
    /// `weight.N`.
    pub weights: Vec<Entry>,
}

impl Lines {
    /// Reads the `server.N` lines; groups and weights are judged by [`Lines::quorum`].
    pub fn new(servers: Vec<Entry>, groups: Vec<Entry>, weights: Vec<Entry>) -> Result<Lines, ConfigError> {
        let mut members: Vec<(Entry, Member)> = Vec::new();
        for entry in servers {
            let member = parse(&entry)?;
            for (other_entry, other) in &members {
                let place = &other_entry.place;
                if other.id == member.id {
                    let expected = format!("a server number of its own; {place} has {} already", member.id);
                    return Err(entry.bad(expected));
                }
                let ports = [other.quorum_port, other.election_port];
                let same_port = ports.contains(&member.quorum_port) || ports.contains(&member.election_port);
                if other.host == member.host && same_port {
                    return Err(entry.bad(format!("other ports than server.{} has ({place})", other.id)));
                }
            }
            members.push((entry, member));
        }
        members.sort_by_key(|(_, member)| member.id);
        Ok(Lines { members, groups, weights })
    }

    /// The ids of those in a role.
    pub fn in_role(&self, role: Role) -> impl Iterator<Item = Sid> + '_ {
        self.members.iter().map(|(_, member)| member).filter(move |member| member.role == role).map(|m| m.id)
    }

    /// The quorum rule, and group and weight of each voter if there are groups.
    pub fn quorum(&self) -> Result<(Membership, Weights), ConfigError> {
        let (voters, observers) = (self.in_role(Role::Participant), self.in_role(Role::Observer));
        let Some(line) = self.groups.first().or(self.weights.first()) else {
            let majority = Membership::majority(voters, observers);
            let (first, _) = self.members.first().expect("an ensemble has lines");
            return majority.map(|quorum| (quorum, Weights::new())).map_err(|error| misfit(first, error));
        };
        let weights = self.weights()?;
        let quorum = Membership::hierarchical(voters, observers, weights.clone());
        let line_of = |sid| self.members.iter().find(|(_, member)| member.id == sid).map(|(entry, _)| entry);
        quorum.map(|quorum| (quorum, weights)).map_err(|error| match error {
            MembershipError::NoGroup(sid) => misfit(line_of(sid).unwrap_or(line), error),
            _ => misfit(line, error),
        })
    }

    /// Group and weight of everybody in a group.
    fn weights(&self) -> Result<Weights, ConfigError> {
        let mut weights = Weights::new();
        for entry in &self.groups {
            let group = suffix(entry, "group.", "a group number")?;
            for item in entry.value.split(':') {
                let sid = item.trim().parse().ok().map(Sid).filter(|&sid| self.contains(sid));
                let sid = sid.ok_or_else(|| {
                    entry.bad("numbers of server lines, separated by colons, such as 1:2:3")
                })?;
                if weights.insert(sid, (group, 1)).is_some() {
                    return Err(entry.bad(format!("each server in one group; {sid} stands in two")));
                }
            }
        }
        for entry in &self.weights {
            let sid = Sid(suffix(entry, "weight.", "the number of a server line")?);
            let weight = entry.number("a weight", 0..=i64::MAX.unsigned_abs())?;
            match weights.get_mut(&sid) {
                Some((_, slot)) => *slot = weight,
                // The reference takes the weight of an observer and never counts it.
                None if self.in_role(Role::Observer).any(|observer| observer == sid) => {}
                None => return Err(entry.bad("the weight of a server that is in a group")),
            }
        }
        Ok(weights)
    }

    fn contains(&self, sid: Sid) -> bool {
        self.members.iter().any(|(_, member)| member.id == sid)
    }
}

fn misfit(entry: &Entry, error: MembershipError) -> ConfigError {
    let remedy = match error {
        MembershipError::NoVoter => "",
        MembershipError::NoGroup(_) => "; with group or weight lines every voter needs a group",
        MembershipError::Stranger(_) => "; groups are for voters",
        MembershipError::Both(_) => "; it has to be one of the two",
    };
    entry.refused(format!("{error}{remedy}"))
}

/// The number behind the point of a key.
fn suffix(entry: &Entry, prefix: &str, what: &str) -> Result<i64, ConfigError> {
    let number = entry.key.strip_prefix(prefix).and_then(|number| number.parse().ok());
    number
        .filter(|number| (0..=i64::MAX).contains(number))
        .ok_or_else(|| entry.bad(format!("{what} after `{prefix}`: a whole number from 0")))
}

/// Reads one `server.N` line.
fn parse(entry: &Entry) -> Result<Member, ConfigError> {
    let id = Sid(suffix(entry, "server.", "a server number")?);
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

/// `host:rest` or `[address]:rest`. The host is one word: it is written out again in the text form, one line per
/// member, which others read as a properties file.
fn host_and_rest(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            // Behind `%` the interface of a link-local address.
            host.split('%').next()?.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    let ends_word = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '[' | ']');
    (!host.is_empty() && !host.contains(ends_word)).then_some((host, rest))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok()
}
