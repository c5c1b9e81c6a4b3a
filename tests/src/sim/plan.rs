//! What a seed decides before the start: how many servers, which limits, what fails how often.

use ringkeeper_engine::id::Sid;
use ringkeeper_engine::log::LogOptions;
use ringkeeper_net::member::policy::{PurgeEvery, SnapshotPolicy};
use ringkeeper_net::zab::{self, quorum::Membership};

use super::MS;

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Servers with a vote; their ids begin with 1.
    pub voters: usize,
    /// Servers without; their ids follow.
    pub observers: usize,
    /// Sessions at a time.
    pub clients: usize,
    /// The unit of the protocol's limits in milliseconds.
    pub tick_ms: u64,
    /// Members are trusted from the start, by configuration; otherwise they have to show each other that they are new.
    pub autocreate: bool,
    /// See the option of the product.
    pub snapshot_size_factor: f64,
    /// Bytes of the log in memory for late learners.
    pub window_bytes: usize,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// A snapshot is made after about so many transactions.
    pub snap_count: u32,
    /// Longest data of a node in bytes.
    pub value_bytes: usize,
    /// Microseconds without a fault at the start.
    pub quiet_start: u64,
    /// Microseconds until the faults end.
    pub faults_until: u64,
    /// Mean microseconds between two faults.
    pub fault_every: u64,
    /// How long healing may take, twice, in microseconds.
    pub patience: u64,
    /// One of so many messages of a synchronisation is the last one of its sender.
    pub stop_after_word: u32,
    /// How often a server may lose its data.
    pub wipes: bool,
    /// Largest error of a clock in parts per million.
    pub drift_ppm: i64,
    /// Mean microseconds between two things a client does.
    pub client_every: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x706c_616e);
        let large = rng.u8(0..5) == 0;
        let voters = if large { 5 } else { 3 };
        let observers = [0, 0, 1, 2][rng.usize(0..4)];
        Plan {
            seed,
            voters,
            observers: if large { observers.min(1) } else { observers },
            clients: rng.usize(2..5),
            tick_ms: [100, 200][rng.usize(0..2)],
            autocreate: rng.bool(),
            snapshot_size_factor: [0.33, 0.33, 0.000_025, 0.000_125, -1.0][rng.usize(0..5)],
            window_bytes: [0, 2 << 10, 32 << 10][rng.usize(0..3)],
            segment_bytes: [32 << 10, 128 << 10][rng.usize(0..2)],
            snap_count: [20, 60, 300, 1 << 30][rng.usize(0..4)],
            value_bytes: [40, 300, 1500][rng.usize(0..3)],
            quiet_start: rng.u64(200..1500) * MS,
            faults_until: rng.u64(4000..9000) * MS,
            fault_every: rng.u64(80..700) * MS,
            patience: 30_000 * MS,
            stop_after_word: [4, 15, 60][rng.usize(0..3)],
            wipes: rng.u8(0..3) == 0,
            drift_ppm: [0, 1000, 50_000][rng.usize(0..3)],
            client_every: rng.u64(4..40) * MS,
        }
    }

    /// How many servers there are.
    pub fn members(&self) -> usize {
        self.voters + self.observers
    }

    /// The id of a server.
    pub fn sid(&self, machine: usize) -> Sid {
        Sid(machine as i64 + 1)
    }

    /// All of them, and who votes.
    pub fn membership(&self) -> Membership {
        let sid = |machine| self.sid(machine);
        Membership::majority((0..self.voters).map(sid), (self.voters..self.members()).map(sid))
            .expect("there are voters, and nobody is both")
    }

    /// The protocol's settings for a server.
    pub fn zab(&self, me: Sid) -> zab::Config {
        zab::Config {
            me,
            members: self.membership(),
            config_version: 0,
            tick_ms: self.tick_ms,
            init_limit: 10,
            connect_limit: 10,
            sync_limit: 5,
            announce_ms: 200,
            announce_max_ms: 2000,
            finalize_ms: 100,
            force_snapshot: false,
        }
    }

    /// When snapshots are made.
    pub fn snapshots(&self) -> SnapshotPolicy {
        SnapshotPolicy { count: self.snap_count, bytes: None, keep: 3, purge: PurgeEvery::Snapshot }
    }

    /// The settings of a log.
    pub fn log(&self, seed: u64) -> LogOptions {
        LogOptions {
            segment_bytes: self.segment_bytes,
            batch_bytes: 16 << 10,
            reserve_bytes: 0,
            window_bytes: self.window_bytes,
            begin_nonvoting: true,
            ..LogOptions::new(seed)
        }
    }
}
