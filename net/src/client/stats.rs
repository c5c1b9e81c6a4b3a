//! Numbers for the monitoring words; what they mean is the reference's affair (operations reference 2.3, 2.5, 4.2).

use std::net::SocketAddr;

use ringkeeper_engine::id::{SessionId, Zxid};

/// How long requests took, from receipt to reply, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    count: u64,
    total_ms: u64,
    min_ms: u64,
    max_ms: u64,
}

impl Latency {
    /// Takes in one request.
    pub fn record(&mut self, ms: u64) {
        self.min_ms = if self.count == 0 { ms } else { self.min_ms.min(ms) };
        self.max_ms = self.max_ms.max(ms);
        self.total_ms = self.total_ms.saturating_add(ms);
        self.count += 1;
    }

    /// The shortest, 0 if there was none.
    pub fn min_ms(&self) -> u64 {
        self.min_ms
    }

    /// The mean, 0 if there was none.
    pub fn avg_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.total_ms as f64 / self.count as f64 }
    }

    /// The longest, 0 if there was none.
    pub fn max_ms(&self) -> u64 {
        self.max_ms
    }

    /// How many requests were measured.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// Numbers of one connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConnStats {
    /// Frames received.
    pub received: u64,
    /// Frames sent, events included.
    pub sent: u64,
    /// When it was accepted, milliseconds since 1970.
    pub established_ms: i64,
    /// The last operation that was answered, one of [`crate::wire::op`]; `None` before the first.
    pub last_op: Option<i32>,
    /// The number of the last request that was answered; negative while there were only pings and the like.
    pub last_cxid: i32,
    /// The zxid in the last reply.
    pub last_zxid: Zxid,
    /// When the last reply was sent, milliseconds of the monotonic clock.
    pub last_response_ms: u64,
    /// How long the last request took, milliseconds.
    pub last_latency_ms: u64,
    /// All requests.
    pub latency: Latency,
}

impl ConnStats {
    /// Those of a connection accepted at this time.
    pub fn new(established_ms: i64) -> ConnStats {
        ConnStats {
            received: 0,
            sent: 0,
            established_ms,
            last_op: None,
            last_cxid: -1,
            last_zxid: Zxid::from_raw(-1),
            last_response_ms: 0,
            last_latency_ms: 0,
            latency: Latency::default(),
        }
    }

    /// A request was answered.
    pub fn answered(&mut self, op: i32, xid: i32, zxid: Zxid, mono_ms: u64, latency_ms: u64) {
        self.last_op = Some(op);
        if xid >= 0 {
            self.last_cxid = xid;
        }
        self.last_zxid = zxid;
        self.last_response_ms = mono_ms;
        self.last_latency_ms = latency_ms;
        self.latency.record(latency_ms);
    }
}

/// Numbers of the whole server that are counted as they happen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counters {
    /// Frames and words received.
    pub received: u64,
    /// Frames, events and words sent.
    pub sent: u64,
    /// Bytes of the last, smallest and largest reply; `None` before the first.
    pub response_size: Option<(u64, u64, u64)>,
    /// Sessions that expired.
    pub expired: u64,
    /// Auth packets that were refused.
    pub auth_failed: u64,
}

impl Counters {
    /// A reply of this many bytes leaves.
    pub fn count_response(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.sent += 1;
        self.response_size = Some(match self.response_size {
            None => (bytes, bytes, bytes),
            Some((_, min, max)) => (bytes, min.min(bytes), max.max(bytes)),
        });
    }
}

/// Everything that `srvr`, `stat` and `mntr` want to know of clients and tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServiceStats {
    /// What is counted.
    pub counters: Counters,
    /// Requests received and not answered.
    pub outstanding: usize,
    /// Connections, with and without session.
    pub connections: usize,
    /// Sessions, those that are ending included.
    pub sessions: usize,
    /// (path, connection) pairs of both watch tables.
    pub watches: usize,
    /// Ephemeral nodes.
    pub ephemerals: u64,
    /// Nodes, as the reference counts them: 5 in a fresh tree.
    pub nodes: u64,
    /// Approximate bytes of paths and data: 44 in a fresh tree.
    pub data_size: u64,
    /// The newest transaction that is applied.
    pub last_zxid: Zxid,
    /// Syncs that the leader has not answered; those of clients that resume a session are among them.
    pub pending_syncs: usize,
    /// Transactions whose digest was not ours.
    pub digest_mismatches: u64,
}

/// One line of `cons`, `stat` and `dump`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConnView {
    /// The other end.
    pub peer: SocketAddr,
    /// Requests received and not answered.
    pub queued: u32,
    /// Its session and the session's timeout in milliseconds.
    pub session: Option<(SessionId, u32)>,
    /// What it did.
    pub stats: ConnStats,
}
