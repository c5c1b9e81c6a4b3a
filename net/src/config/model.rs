//! The configuration of one node, as the rest of the server reads it: checked, with all defaults filled in.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use super::ensemble::Ensemble;
use crate::admin::Whitelist;
use crate::member::policy::SnapshotPolicy;

/// Everything that can be set. Public fields: whoever builds a node in a test starts from
/// [`Config::embedded`] and changes what it needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// `myid`, and the log unless it has a directory of its own; `dataDir`.
    pub data_dir: PathBuf,
    /// Log segments; `dataLogDir`, by default the same as `data_dir`.
    pub data_log_dir: PathBuf,
    /// Whether a missing data directory is made (`datadir.autocreate`). If not, it is an error.
    pub create_data_dir: bool,
    /// Where clients connect.
    pub listen: Listen,
    /// Connections the kernel may queue for us; `None` = the system's default.
    pub listen_backlog: Option<u32>,
    /// Whether `SO_KEEPALIVE` is set on client sockets.
    pub tcp_keep_alive: bool,
    /// `tickTime` in milliseconds: the granularity of session expiry. At least 1.
    pub tick_ms: u32,
    /// Smallest session timeout that is granted, in milliseconds.
    pub min_session_timeout_ms: i32,
    /// Largest session timeout that is granted, in milliseconds. Not below the smallest.
    pub max_session_timeout_ms: i32,
    /// Connections from one client address; 0 = unlimited.
    pub max_connections_per_address: u32,
    /// Connections in all; 0 = unlimited.
    pub max_connections: u32,
    /// How long a connection may stay without a session, in milliseconds (`nio.sessionlessCnxnTimeout`).
    pub sessionless_timeout_ms: u32,
    /// Longest request frame, in bytes without its length prefix (`jute.maxbuffer`).
    pub max_request_bytes: u32,
    /// What a transaction may take over `max_request_bytes` when it is read from a log
    /// (`jute.maxbuffer.extrasize`), in bytes.
    pub max_request_extra_bytes: u32,
    /// Longest reply frame, in bytes; a read that would take more is refused (`ringkeeper.maxReplyBytes`).
    pub max_reply_bytes: u32,
    /// Bytes that may wait for one client to take them; above, it is closed (`ringkeeper.maxUnsentBytes`).
    pub max_unsent_bytes: u64,
    /// Which loops there are and where they run.
    pub loops: Loops,
    /// Size of a log segment, a multiple of 4096 (`ringkeeper.logSegmentBytes`, or `preAllocSize` in KiB).
    pub log_segment_bytes: u64,
    /// Log batches on their way to the disk at one time, 1 to 16 (`ringkeeper.commitsInFlight`).
    pub commits_in_flight: u8,
    /// Whether answers wait for the disk. `false` (`forceSync=no`) loses acknowledged writes in a power cut.
    pub force_sync: bool,
    /// A log write that takes longer is logged (`fsync.warningthresholdms`).
    pub fsync_warning: Duration,
    /// Whether the tree digest is kept and logged (`digest.enabled`).
    pub digest: bool,
    /// Whether nodes with a time to live may be created (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// Whether ACLs are checked at all (`skipACL=yes` turns it off).
    pub check_acls: bool,
    /// Who may do anything, in the scheme `digest`.
    pub super_digest: Option<SuperDigest>,
    /// When snapshots are made and how many are kept (`snapCount`, `snapSizeLimitInKb`, `autopurge.*`).
    pub snapshots: SnapshotPolicy,
    /// Which four-letter words are answered.
    pub words: Whitelist,
    /// The ensemble this node is a member of; `None` = it is alone.
    pub ensemble: Option<Ensemble>,
}

/// Address and port for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `None` = all interfaces.
    pub ip: Option<IpAddr>,
    /// 0 = any free port.
    pub port: u16,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            None => write!(f, "*:{}", self.port),
        }
    }
}

/// The core loops of a node: one replica loop, and front loops or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loops {
    /// Cores the loops are pinned to, the replica loop first, then one per front loop; empty = not pinned.
    pub cores: Vec<usize>,
    /// Front loops beside the replica loop; 0 = one loop does both.
    pub fronts: usize,
}

/// The identity `super` of scheme `digest`: `super:<base64 of SHA1>`. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SuperDigest(pub String);

impl fmt::Debug for SuperDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuperDigest(..)")
    }
}

impl Config {
    /// What a node serves with when no file is given: this machine only, data below the working directory,
    /// and the harmless four-letter words that quick looks and probes use.
    pub fn embedded() -> Config {
        let tick_ms = 2000;
        Config {
            data_dir: "./ringkeeper-data".into(),
            data_log_dir: "./ringkeeper-data".into(),
            create_data_dir: true,
            listen: Listen { ip: Some(IpAddr::from([127, 0, 0, 1])), port: 2181 },
            listen_backlog: None,
            tcp_keep_alive: false,
            tick_ms,
            min_session_timeout_ms: 4000,
            max_session_timeout_ms: 40_000,
            max_connections_per_address: 60,
            max_connections: 0,
            sessionless_timeout_ms: 10_000,
            max_request_bytes: 0xf_ffff,
            max_request_extra_bytes: 0xf_ffff,
            max_reply_bytes: 32 << 20,
            max_unsent_bytes: 64 << 20,
            loops: Loops { cores: Vec::new(), fronts: 0 },
            log_segment_bytes: 64 << 20,
            commits_in_flight: 4,
            force_sync: true,
            fsync_warning: Duration::from_secs(1),
            digest: true,
            extended_types: false,
            check_acls: true,
            super_digest: None,
            snapshots: SnapshotPolicy::default(),
            words: Whitelist::embedded(),
            ensemble: None,
        }
    }

    /// The defaults that a zoo.cfg changes: as [`Config::embedded`], but with the reference's own where they
    /// differ, so that moving a file over changes nothing.
    pub(super) fn reference() -> Config {
        Config { tick_ms: 3000, words: Whitelist::reference(), ..Config::embedded() }
    }
    /// Where a file named `initialize` lets an empty member vote at once. The reference looks beside its log, while
    /// its script makes the file in the data directory: both count, and whoever heeds one consumes both.
    pub fn initialize_markers(&self) -> Vec<PathBuf> {
        let mut places = vec![self.data_dir.join("initialize"), self.data_log_dir.join("initialize")];
        places.dedup();
        places
    }
}
