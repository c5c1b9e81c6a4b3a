//! The configuration of an ensemble as one of its members sees it: checked, with all defaults filled in.
//!
//! Its text form is what members show each other in notifications, in NEWLEADER and in `/zookeeper/config` (quorum
//! reference 1.5). Nothing here reads a file; `quorum` fills it from one.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use ringkeeper_engine::id::Sid;

use crate::zab::quorum::Membership;

/// What an ensemble is made of, and how this member behaves in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// The number in `myid`, one of the members.
    pub me: Sid,
    /// All members, this one too, in the order of their ids.
    pub members: Vec<Member>,
    /// Who votes, and which sets of voters are enough.
    pub quorum: Membership,
    /// The text form of the configuration, version included.
    pub config_text: String,
    /// Its version: the suffix of the name of `dynamicConfigFile`, 0 without one.
    pub version: i64,
    /// Ticks for connecting, discovery and synchronisation (`initLimit`). At least 1.
    pub init_limit: u32,
    /// Ticks for a sign of life (`syncLimit`). At least 1.
    pub sync_limit: u32,
    /// Ticks for connecting to a leader (`connectToLearnerMasterLimit`); `init_limit` unless given.
    pub connect_to_learner_limit: u32,
    /// Whether quorum and election port are bound on all addresses (`quorumListenOnAllIPs`), not only on our own.
    pub listen_on_all: bool,
    /// How often binding the election port is tried again, a second apart; `None` = for ever
    /// (`electionPortBindRetry`).
    pub election_bind_retries: Option<u32>,
    /// How long connecting to another member may take, in milliseconds (`cnxTimeout`).
    pub connect_timeout_ms: u32,
    /// How long a member may take to say who it is, in milliseconds (`quorumCnxnTimeoutMs`).
    pub hello_timeout_ms: u32,
    /// Whether `SO_KEEPALIVE` is set on links between members (`tcpKeepAlive`).
    pub tcp_keep_alive: bool,
    /// A vote is announced again after this many milliseconds, then after twice as many, and so on. At least 1.
    pub min_notification_ms: u32,
    /// But at least so often. Not below `min_notification_ms`.
    pub max_notification_ms: u32,
    /// A quorum for a vote counts when nothing better came for so many milliseconds
    /// (`ringkeeper.electionFinalizeMs`).
    pub finalize_ms: u32,
    /// Whether a leader takes clients (`leaderServes`).
    pub leader_serves: bool,
    /// Whether a member with an empty directory may vote at once (`db.autocreate`); `None` = not said, then it may in
    /// an ensemble where everybody is empty.
    pub autocreate: Option<bool>,
    /// Whether clients that ask for it are served reads without a quorum (`readonlymode.enabled`).
    pub read_only_mode: bool,
    /// Whether learners get snapshots whatever they have (`forceSnapshotSync`).
    pub force_snapshot: bool,
    /// Up to which share of the snapshot's size a learner is sent the log instead (`snapshotSizeFactor`), at most 1.
    /// Below 0: never from the log on disk.
    pub snapshot_size_factor: f64,
    /// Transactions that are kept at hand for learners, at least 500 (`commitLogCount`).
    pub commit_log_count: u32,
}

impl Ensemble {
    /// Our own line.
    ///
    /// # Panics
    /// When `me` is no member, which loading a configuration rules out.
    pub fn own(&self) -> &Member {
        self.members.iter().find(|member| member.id == self.me).expect("a member of its own ensemble")
    }
}

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The `N`.
    pub id: Sid,
    /// Host name or address, as written, without the brackets of an IPv6 address.
    pub host: String,
    /// Port followers connect to.
    pub quorum_port: u16,
    /// Port of leader election.
    pub election_port: u16,
    /// Votes, or only listens.
    pub role: Role,
    /// Host (as written) and port for clients, if the line has them.
    pub client: Option<(Option<String>, u16)>,
}

/// The part a member plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes.
    Participant,
    /// Follows without a vote.
    Observer,
}

impl Role {
    /// As it stands in a `server.N` line.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Participant => "participant",
            Role::Observer => "observer",
        }
    }
}

/// The value of a `server.N` line in the form that members exchange: the role always, the client address only if the
/// line had it.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Member { host, quorum_port, election_port, role, client, .. } = self;
        write!(f, "{}:{quorum_port}:{election_port}:{}", Bracketed(host), role.name())?;
        match client {
            Some((host, port)) => write!(f, ";{}:{port}", Bracketed(host.as_deref().unwrap_or("0.0.0.0"))),
            None => Ok(()),
        }
    }
}

/// A host in front of a port: an IPv6 address needs brackets there.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bracketed(host) = self;
        if host.contains(':') { write!(f, "[{host}]") } else { f.write_str(host) }
    }
}

/// Group and weight of each voter; empty where the majority decides.
pub(super) type Weights = BTreeMap<Sid, (i64, u64)>;

/// The text form of a configuration.
pub(super) fn text(members: &[Member], weights: &Weights, version: i64) -> String {
    let mut text = String::new();
    let mut line = |arguments: fmt::Arguments<'_>| {
        text.write_fmt(arguments).expect("a string takes everything");
        text.push('\n');
    };
    for member in members {
        line(format_args!("server.{}={member}", member.id));
    }
    let mut groups: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (sid, (group, _)) in weights {
        groups.entry(*group).or_default().push(sid.to_string());
    }
    for (group, sids) in groups {
        line(format_args!("group.{group}={}", sids.join(":")));
    }
    for (sid, (_, weight)) in weights {
        line(format_args!("weight.{sid}={weight}"));
    }
    // The last line has no end: that is how the reference writes it.
    text + &format!("version={version:x}")
}
