//! Answers four-letter words: gathers what a word shows and lets `admin` render it.
//!
//! Called by the replica loop, which owns everything there is to show. A word costs what it prints: lists are
//! gathered only for the words that list.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringkeeper_engine::id::{SessionId, Sid, Zxid};

use super::front::Census;
use crate::admin::{
    self, Admission, Bucket, Connection, ConnectionSession, Counter, DataWatches, Effect, EnsembleView,
    Environment, LeadingView, Mode, NodeView, Settings, SnapshotView, TransferView, Whitelist, Word,
};
use crate::client::{self, ConnView, Now, Service};
use crate::member::Status;
use crate::wire::election::State;
use crate::wire::op;
use crate::zab::view::LearnerView;

/// What words need beside the service.
#[derive(Debug)]
pub struct Words {
    allowed: Whitelist,
    settings: Settings,
    environment: Environment,
    /// Where data and log live, for the sizes in `conf` and `dirs`.
    directories: [PathBuf; 2],
    trace_mask: i64,
    started_ms: u64,
    /// Those who vote.
    voters: Vec<Sid>,
    census: Arc<Census>,
}

impl Words {
    /// Words of a node that serves from `now` on.
    pub fn new(
        allowed: Whitelist,
        settings: Settings,
        voters: Vec<Sid>,
        census: Arc<Census>,
        now: Now,
    ) -> Words {
        Words {
            allowed,
            directories: [settings.data_dir.clone(), settings.data_log_dir.clone()],
            settings,
            environment: Environment::gather(),
            trace_mask: 306,
            started_ms: now.mono_ms,
            voters,
            census,
        }
    }

    /// The answer to a word; empty means: close without one.
    pub fn answer(
        &mut self,
        now: Now,
        bytes: [u8; 4],
        argument: &[u8],
        status: Option<&Status>,
        snapshots: SnapshotView,
        service: &mut Service,
    ) -> Vec<u8> {
        let Some(word) = Word::from_bytes(bytes) else { return Vec::new() };
        service.metrics.add(Counter::ConnectionsRejected, self.census.take_rejected());
        match admin::admit(word, self.allowed) {
            Admission::Refuse(text) => return text,
            Admission::Close => return Vec::new(),
            Admission::Answer => {}
        }
        match admin::effect(word, argument) {
            Effect::None => {}
            Effect::ResetConnections => service.reset_conn_stats(),
            Effect::ResetServer => service.reset_counters(),
            Effect::SetTraceMask(mask) => self.trace_mask = mask,
            Effect::Incomplete => return Vec::new(),
        }
        let mut view = self.view(now, word, status, service);
        view.snapshots = snapshots;
        admin::render(word, &view)
    }

    fn show_member(&self, now: Now, status: &Status, service: &Service, view: &mut NodeView<'_>) {
        let (mode, state) = mode(status, service);
        (view.mode, view.serving) = (mode, status.serving || mode == Mode::ReadOnly);
        // A member's begins anew with every leader.
        view.uptime_ms = now.mono_ms.saturating_sub(status.since_ms);
        if mode == Mode::Leader {
            // As the reference: a new epoch shows before its first transaction.
            view.zxid = view.zxid.max(Zxid::new(status.epoch, 0));
        }
        let synced = |observer: bool, votes: bool| {
            let counted = |it: &&LearnerView| {
                it.synced && it.observer == observer && self.voters.contains(&it.sid) == votes
            };
            status.learners.iter().filter(counted).count() as u64
        };
        view.ensemble = Some(EnsembleView {
            peer_state: format!("{state} - {}", status.stretch.name()),
            quorum_size: self.voters.len() as u64,
            leading: (status.state == State::Leading).then(|| LeadingView {
                learners: status.learners.len() as u64,
                synced_followers: synced(false, true),
                synced_non_voting_followers: synced(false, false),
                synced_observers: synced(true, false) + synced(true, true),
                pending_syncs: status.pending_syncs,
                uptime_ms: now.mono_ms.saturating_sub(status.since_ms),
                proposal_sizes: status.proposal_sizes,
            }),
            synchronisations: [
                ("diff_count", status.counts.diffs()),
                ("snap_count", status.counts.snap),
                ("trunc_count", status.counts.truncs()),
                ("snap_received_count", status.counts.snaps_taken),
            ],
            transfers: TransferView {
                sending: status.transfers.sending.clone(),
                receiving: status.transfers.receiving,
            },
        });
    }

    fn view<'a>(&self, now: Now, word: Word, status: Option<&Status>, service: &'a Service) -> NodeView<'a> {
        let stats = service.stats();
        let mut view = NodeView::new(&service.metrics, self.settings.clone());
        view.zxid = stats.last_zxid;
        view.node_count = stats.nodes;
        view.data_size = stats.data_size;
        view.ephemerals = stats.ephemerals;
        view.watches = stats.watches as u64;
        view.sessions = stats.sessions as u64;
        view.connection_count = stats.connections as u64;
        view.packets_received = stats.counters.received;
        view.packets_sent = stats.counters.sent;
        view.outstanding = stats.outstanding as u64;
        view.uptime_ms = now.mono_ms - self.started_ms;
        view.response_sizes = stats.counters.response_size.map(|(last, min, max)| [last, min, max]);
        view.auth_failures = stats.counters.auth_failed;
        view.trace_mask = self.trace_mask;
        if let Some(status) = status {
            self.show_member(now, status, service, &mut view);
        }
        match word {
            Word::Mntr => view.descriptors = admin::file_descriptors(),
            Word::Conf | Word::Dirs => {
                view.directory_sizes = [0, 1].map(|i| files_below(&self.directories[i]));
            }
            Word::Envi => view.environment = self.environment.clone(),
            Word::Stat | Word::Cons => view.connections = service.conns().map(connection).collect(),
            Word::Dump => {
                let wall = |mono_ms: u64| now.wall_ms + (mono_ms as i64 - now.mono_ms as i64);
                let due = service.sessions().filter_map(|(id, _, due)| Some((wall(due?), id)));
                view.session_buckets = buckets(due);
                view.ephemeral_paths = ephemerals(service);
            }
            Word::Wchs => {
                let counts = service.watch_counts();
                view.data_watches = DataWatches {
                    connections: counts.data_conns as u64,
                    paths: counts.data_paths as u64,
                    pairs: counts.data as u64,
                };
            }
            Word::Wchc | Word::Wchp => view.watched_paths = watched(service),
            Word::Hash => view.digests = service.tree().digest_history().collect(),
            _ => {}
        }
        view
    }
}

/// What `srvr` calls a member, and the name of its state in `mntr`.
fn mode(status: &Status, service: &Service) -> (Mode, &'static str) {
    match status.state {
        State::Following => (Mode::Follower, "following"),
        State::Leading => (Mode::Leader, "leading"),
        State::Observing => (Mode::Observer, "observing"),
        State::Looking if service.is_read_only() => (Mode::ReadOnly, "looking"),
        State::Looking => (Mode::Follower, "looking"),
    }
}

fn connection(conn: ConnView) -> Connection {
    let stats = conn.stats;
    Connection {
        peer: conn.peer,
        interest: u8::from(conn.session.is_some()),
        queued: conn.queued as u64,
        received: stats.received,
        sent: stats.sent,
        session: conn.session.map(|(id, timeout_ms)| ConnectionSession {
            id,
            last_operation: stats.last_op.map_or("NA", op::tag),
            established_ms: stats.established_ms,
            timeout_ms: timeout_ms as i32,
            last_cxid: i64::from(stats.last_cxid),
            last_zxid: stats.last_zxid,
            last_response_ms: stats.last_response_ms,
            last_latency: stats.last_latency_ms,
            min_latency: stats.latency.min_ms(),
            average_latency: stats.latency.avg_ms() as u64,
            max_latency: stats.latency.max_ms(),
        }),
    }
}

/// Sessions by the millisecond they expire at, earliest first.
fn buckets(due: impl Iterator<Item = (i64, SessionId)>) -> Vec<Bucket<SessionId>> {
    let mut due: Vec<_> = due.collect();
    due.sort_unstable();
    due.chunk_by(|a, b| a.0 == b.0)
        .map(|same| Bucket { expires_ms: same[0].0, members: same.iter().map(|&(_, id)| id).collect() })
        .collect()
}

fn ephemerals(service: &Service) -> Vec<(SessionId, Vec<String>)> {
    let tree = service.tree();
    let paths = |owner| {
        let path = |node| {
            let mut path = String::new();
            tree.path_of(node, &mut path);
            path
        };
        tree.ephemerals_of(owner).map(path).collect()
    };
    tree.ephemeral_owners().into_iter().map(|owner| (owner, paths(owner))).collect()
}

/// Paths with a data watch, by session.
fn watched(service: &Service) -> Vec<(SessionId, Vec<String>)> {
    let mut watched: Vec<(SessionId, Vec<String>)> = Vec::new();
    for (session, path, _) in service.watches().filter(|&(_, _, modes)| modes & client::mode::DATA_TABLE != 0)
    {
        match watched.last_mut().filter(|(last, _)| *last == session) {
            Some((_, paths)) => paths.push(path.to_owned()),
            None => watched.push((session, vec![path.to_owned()])),
        }
    }
    watched
}

/// Bytes of all files below a directory; what cannot be read counts nothing.
fn files_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => files_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
