//! What the four-letter words show, as plain data. The node fills it, `render` and `mntr` only read it.
//!
//! Lists are for the words that print them and may stay empty otherwise: a node with 10,000 connections need not
//! copy them for `ruok`. Each list says which words want it.

use std::{net::SocketAddr, path::PathBuf};

use ringkeeper_engine::id::{SessionId, Sid, Zxid};

use super::{Environment, Metrics};
use crate::config::{Config, Role};

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct NodeView<'a> {
    /// Whether requests are answered. Most words only then have anything to say.
    pub serving: bool,
    /// What the node is.
    pub mode: Mode,
    /// What a member of an ensemble has to show.
    pub ensemble: Option<EnsembleView>,
    /// The last transaction in the tree.
    pub zxid: Zxid,
    /// Nodes in the tree. The reference counts the root twice: 5 in a fresh tree.
    pub node_count: u64,
    /// Path lengths (in UTF-16 units) and data lengths of all nodes, in bytes; 44 in a fresh tree.
    pub data_size: u64,
    /// Ephemeral nodes.
    pub ephemerals: u64,
    /// Watches of both kinds: pairs of a path and a connection.
    pub watches: u64,
    /// For `wchs`: data watches only, as connections that have any, paths watched, and pairs.
    pub data_watches: DataWatches,
    /// Live sessions.
    pub sessions: u64,
    /// Open client connections, the asking one included.
    pub connection_count: u64,
    /// Packets received from clients, words included.
    pub packets_received: u64,
    /// Packets sent to clients, words included.
    pub packets_sent: u64,
    /// Requests received and not yet answered.
    pub outstanding: u64,
    /// Milliseconds since the node began to serve.
    pub uptime_ms: u64,
    /// Bytes of the last, the smallest and the largest reply; `None` before the first.
    pub response_sizes: Option<[u64; 3]>,
    /// Failed authentications.
    pub auth_failures: u64,
    /// Open file descriptors and their limit, -1 where unknown: see [`super::file_descriptors`]. For `mntr`.
    pub descriptors: (i64, i64),
    /// For `mntr`.
    pub snapshots: SnapshotView,
    /// The number last set by `stmk`; the reference starts with 306.
    pub trace_mask: i64,
    /// Bytes of files below the data directory and below the log directory. For `conf` and `dirs`.
    pub directory_sizes: [u64; 2],
    /// Counters and summaries of all loops, merged.
    pub metrics: &'a Metrics,
    /// Settings that `conf` shows.
    pub settings: Settings,
    /// For `envi`.
    pub environment: Environment,
    /// For `stat` and `cons`.
    pub connections: Vec<Connection>,
    /// For `dump`: sessions by the moment they expire at, earliest first.
    pub session_buckets: Vec<Bucket<SessionId>>,
    /// For `dump`: connections by the moment they are closed at if they stay silent, earliest first.
    pub connection_buckets: Vec<Bucket<(SocketAddr, SessionId)>>,
    /// For `dump`: paths of ephemeral nodes by session.
    pub ephemeral_paths: Vec<(SessionId, Vec<String>)>,
    /// For `wchc` and `wchp`: watched paths by session, data watches only.
    pub watched_paths: Vec<(SessionId, Vec<String>)>,
    /// For `hash`: digests of the tree at zxids divisible by 128, oldest first.
    pub digests: Vec<(Zxid, u64)>,
}

/// What a node is, in the words of `srvr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Alone.
    Standalone,
    /// Leads an ensemble.
    Leader,
    /// Follows with a vote.
    Follower,
    /// Follows without one.
    Observer,
    /// Serves reads without an ensemble.
    ReadOnly,
}

impl Mode {
    /// As `srvr` and `mntr` print it.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
            Mode::ReadOnly => "read-only",
        }
    }
}

/// A member of an ensemble, for `srvr` and `mntr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnsembleView {
    /// State and phase, for example `leading - broadcast`.
    pub peer_state: String,
    /// How many vote.
    pub quorum_size: u64,
    /// Of a leader.
    pub leading: Option<LeadingView>,
    /// Learners that were sent transactions, a snapshot, or told to cut their log; snapshots taken from leaders.
    pub synchronisations: [(&'static str, u64); 4],
    /// Snapshots on their way to and from it.
    pub transfers: TransferView,
}

/// Snapshots on their way between members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferView {
    /// To whom, bytes sent, and of how many.
    pub sending: Vec<(Sid, u64, u64)>,
    /// Bytes that have come of one.
    pub receiving: Option<u64>,
}

/// Snapshots of the own state, for `mntr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotView {
    /// The last transaction in the newest one; zero before the first.
    pub zxid: Zxid,
    /// Bytes of its file.
    pub bytes: u64,
    /// Bytes of log behind it, about.
    pub log_bytes: u64,
    /// One is being made: bytes read and written, and of how many, an estimate.
    pub making: Option<(u64, u64)>,
}

/// What only a leader has to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeadingView {
    /// Those connected, synchronised or not.
    pub learners: u64,
    /// Voters that have its history.
    pub synced_followers: u64,
    /// The same without a vote, that follow as voters do.
    pub synced_non_voting_followers: u64,
    /// Observers that have its history.
    pub synced_observers: u64,
    /// Syncs of clients that wait for a commit.
    pub pending_syncs: u64,
    /// Milliseconds since it leads.
    pub uptime_ms: u64,
    /// Bytes of the last, the smallest and the largest proposal; `None` before the first.
    pub proposal_sizes: Option<[u64; 3]>,
}

impl LeadingView {
    /// As the words print them: -1 before the first.
    pub fn sizes(&self) -> [i64; 3] {
        self.proposal_sizes.map_or([-1; 3], |sizes| sizes.map(|size| size.try_into().unwrap_or(i64::MAX)))
    }
}

/// Data watches in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataWatches {
    /// Connections that have any.
    pub connections: u64,
    /// Paths that are watched.
    pub paths: u64,
    /// Pairs of both.
    pub pairs: u64,
}

/// One client connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client's end.
    pub peer: SocketAddr,
    /// 1 = we read from it, 4 = we have something to write, 5 = both, 0 = neither.
    pub interest: u8,
    /// Requests received and not yet answered.
    pub queued: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Its session, once it has one.
    pub session: Option<ConnectionSession>,
}

/// What `cons` tells about a connection's session. Latencies in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSession {
    /// The session.
    pub id: SessionId,
    /// Tag of the last request: `CREA`, `GETD`, `PING`, ...; `NA` before the first.
    pub last_operation: &'static str,
    /// When the connection was made, in wall-clock milliseconds.
    pub established_ms: i64,
    /// Negotiated timeout in milliseconds.
    pub timeout_ms: i32,
    /// The client's number of the last request; negative = only pings so far.
    pub last_cxid: i64,
    /// The zxid of the last reply; -1 before the first.
    pub last_zxid: Zxid,
    /// When the last reply was made, in monotonic milliseconds.
    pub last_response_ms: u64,
    /// Of the last request.
    pub last_latency: u64,
    /// Smallest so far.
    pub min_latency: u64,
    /// Average so far, rounded down.
    pub average_latency: u64,
    /// Largest so far.
    pub max_latency: u64,
}

/// Things that expire together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket<T> {
    /// When, in wall-clock milliseconds.
    pub expires_ms: i64,
    /// What.
    pub members: Vec<T>,
}

/// The part of the configuration that `conf` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The port that is listened on; not 0 even if the configuration says "any".
    pub client_port: u16,
    /// Absolute.
    pub data_dir: PathBuf,
    /// Absolute.
    pub data_log_dir: PathBuf,
    /// Milliseconds.
    pub tick_ms: u32,
    /// 0 = unlimited.
    pub max_connections_per_address: u32,
    /// Milliseconds.
    pub min_session_timeout_ms: i32,
    /// Milliseconds.
    pub max_session_timeout_ms: i32,
    /// `None` = the system's default.
    pub listen_backlog: Option<u32>,
    /// What `conf` shows of a member of an ensemble.
    pub ensemble: Option<EnsembleSettings>,
}

/// The part of an ensemble's configuration that `conf` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleSettings {
    /// Own number.
    pub server_id: Sid,
    /// In ticks.
    pub init_limit: u32,
    /// In ticks.
    pub sync_limit: u32,
    /// Own ports of election and quorum.
    pub ports: (u16, u16),
    /// It has no vote.
    pub observer: bool,
    /// The members as text.
    pub members: String,
}

impl Settings {
    /// The settings of a node that has bound `client_port`.
    pub fn new(config: &Config, client_port: u16) -> Settings {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Settings {
            client_port,
            data_dir: absolute(&config.data_dir),
            data_log_dir: absolute(&config.data_log_dir),
            tick_ms: config.tick_ms,
            max_connections_per_address: config.max_connections_per_address,
            min_session_timeout_ms: config.min_session_timeout_ms,
            max_session_timeout_ms: config.max_session_timeout_ms,
            listen_backlog: config.listen_backlog,
            ensemble: config.ensemble.as_ref().map(|ensemble| {
                let own = ensemble.own();
                EnsembleSettings {
                    server_id: ensemble.me,
                    init_limit: ensemble.init_limit,
                    sync_limit: ensemble.sync_limit,
                    ports: (own.election_port, own.quorum_port),
                    observer: own.role == Role::Observer,
                    members: ensemble.config_text.clone(),
                }
            }),
        }
    }
}

impl<'a> NodeView<'a> {
    /// A standalone node that serves an empty tree to nobody; the node fills in what it has.
    pub fn new(metrics: &'a Metrics, settings: Settings) -> NodeView<'a> {
        NodeView {
            serving: true,
            mode: Mode::Standalone,
            ensemble: None,
            zxid: Zxid::ZERO,
            node_count: 5,
            data_size: 44,
            ephemerals: 0,
            watches: 0,
            data_watches: DataWatches::default(),
            sessions: 0,
            connection_count: 0,
            packets_received: 0,
            packets_sent: 0,
            outstanding: 0,
            uptime_ms: 0,
            response_sizes: None,
            auth_failures: 0,
            descriptors: (-1, -1),
            snapshots: SnapshotView::default(),
            trace_mask: 306,
            directory_sizes: [0; 2],
            metrics,
            settings,
            environment: Environment::default(),
            connections: Vec::new(),
            session_buckets: Vec::new(),
            connection_buckets: Vec::new(),
            ephemeral_paths: Vec::new(),
            watched_paths: Vec::new(),
            digests: Vec::new(),
        }
    }
}
