//! What a service shows of itself: numbers and lists for the monitoring words and the metrics.

use ringkeeper_engine::id::SessionId;
use ringkeeper_engine::tree::Tree;

use super::{ConnStats, ConnView, Counters, Service, ServiceStats, WatchCounts};

impl Service {
    /// Numbers of the whole.
    pub fn stats(&self) -> ServiceStats {
        ServiceStats {
            counters: self.counters,
            outstanding: self.outstanding(),
            connections: self.conns.len(),
            sessions: self.sessions.len(),
            watches: self.watches.total(),
            ephemerals: self.tree.ephemeral_count(),
            nodes: self.tree.node_count(),
            data_size: self.tree.data_size(),
            last_zxid: self.tree.last_zxid(),
            pending_syncs: self.flights.syncs(),
            digest_mismatches: self.tree.digest_mismatches(),
        }
    }

    /// Numbers of data watches, for `wchs`; costs a walk over all watches.
    pub fn watch_counts(&self) -> WatchCounts {
        self.watches.counts()
    }

    /// Requests received and not answered. A sync counts once, where it waits.
    pub fn outstanding(&self) -> usize {
        self.flights.len() - self.flights.syncs() + self.held
    }

    /// All connections, in no particular order.
    pub fn conns(&self) -> impl Iterator<Item = ConnView> {
        self.conns.iter().map(|(_, conn)| {
            let session = conn.session().map(|slot| self.sessions.get(slot));
            ConnView {
                peer: conn.peer,
                queued: conn.unanswered,
                session: session.map(|session| (session.id, session.timeout_ms)),
                stats: conn.stats,
            }
        })
    }

    /// All sessions: id, timeout in milliseconds, and when it is due in milliseconds of the monotonic clock.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, u32, Option<u64>)> {
        self.sessions.iter().map(|session| (session.id, session.timeout_ms, session.due()))
    }

    /// All watches: session, path, and [`super::mode`]s.
    pub fn watches(&self) -> impl Iterator<Item = (SessionId, &str, u8)> {
        self.conns.iter().filter_map(|(at, conn)| Some((at, self.sessions.get(conn.session()?).id))).flat_map(
            |(at, session)| self.watches.of_conn(at).map(move |(path, modes)| (session, path, modes)),
        )
    }

    /// The tree, to look at.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Starts the numbers of the server anew (`srst`).
    pub fn reset_counters(&mut self) {
        let kept = (self.counters.auth_failed, self.counters.expired);
        self.metrics.reset();
        self.counters = Counters::default();
        (self.counters.auth_failed, self.counters.expired) = kept;
    }

    /// Starts the numbers of all connections anew (`crst`).
    pub fn reset_conn_stats(&mut self) {
        for conn in self.conns.iter_mut() {
            let established_ms = conn.stats.established_ms;
            conn.stats = ConnStats::new(established_ms);
        }
    }
}
