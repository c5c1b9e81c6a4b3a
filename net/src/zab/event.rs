//! What happens to the core: plain data, nothing borrowed.
//!
//! Transactions are named by their zxid only. Their bytes stay with the caller: a learner's caller has a PROPOSAL
//! at hand while it performs the actions that its zxid led to, a leader's caller finds them in its log.

use ringkeeper_engine::id::{Epoch, Sid, Zxid};
use ringkeeper_engine::log::{Durable, Epochs};

use super::history::History;
use super::quorum::Membership;
use crate::wire::election::Notification;
use crate::wire::quorum::payload::LearnerInfo;

/// A quorum connection, named by the caller; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link(pub u64);

/// What a leader says to a learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromLeader {
    /// The epoch it proposes, and whether it is of our kind.
    LeaderInfo(Epoch, bool),
    /// See `sync_leader::Head`.
    Diff(Zxid),
    /// See `sync_leader::Head`.
    Trunc(Zxid),
    /// The raw bytes follow. The caller reads them on `Action::ReceiveSnapshot`, and no packet before that.
    Snap(Zxid),
    /// The leader's history is complete.
    NewLeader(Epoch),
    /// The learner may serve.
    UpToDate,
    /// To be logged.
    Proposal(Zxid),
    /// May be applied.
    Commit(Zxid),
    /// To be logged and applied.
    Inform(Zxid),
    /// A sign of life.
    Ping(Zxid),
    /// COMMIT of a new configuration, and who leads from then on.
    CommitAndActivate(Zxid, Sid),
    /// INFORM of a new configuration, and who leads from then on. The transaction is behind the first eight bytes.
    InformAndActivate(Zxid, Sid),
}

/// What a learner says to a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromLearner {
    /// Who it is.
    Info(LearnerInfo),
    /// The epoch is accepted; last zxid, and current epoch unless it must not be counted.
    AckEpoch(Zxid, Option<Epoch>),
    /// Durable.
    Ack(Zxid),
    /// Any other packet: a sign of life.
    Alive,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The deadline of `Zab::deadline` may have come.
    Tick,
    /// A member says how it votes.
    Notified {
        /// Who.
        from: Sid,
        /// What.
        notification: Notification,
    },
    /// The connection to the leader stands.
    Connected(Link),
    /// It could not be made.
    ConnectFailed,
    /// A packet of the leader.
    Leader(Link, FromLeader),
    /// A packet of a learner.
    Learner(Link, FromLearner),
    /// A quorum connection is gone.
    Closed(Link),
    /// Bytes of a synchronisation get through: the learner's side takes what the leader queued, or pieces of the
    /// snapshot arrive. A sign of life of peers that cannot give another one.
    Flowing(Link),
    /// The leader gave its own transactions to the log, after `marks().submitted` up to here, without holes.
    Submitted(Zxid),
    /// So far the log is durable.
    Durable(Durable<Zxid>),
    /// The epochs asked for are durable.
    EpochsDurable(Durable<Epochs>),
    /// The log is cut; the zxid is its last transaction now.
    Truncated(Durable<Zxid>),
    /// The log cannot be cut there: no snapshot is old enough.
    TruncateImpossible,
    /// The snapshot that was received is durable and replaces everything. Told before the next `Tick`.
    SnapshotLoaded(Durable<Zxid>),
    /// The connection broke before the snapshot was whole, nothing has changed.
    SnapshotAbandoned,
    /// So far the tree is.
    Applied(Zxid),
    /// A snapshot of the own tree is durable.
    SnapshotMade(Zxid),
    /// The log begins behind this now.
    Purged(Zxid),
    /// How learners could be served now. Told right before anything that can lead to a synchronisation.
    Reach {
        /// See `sync_leader::Facts::window`.
        window: Zxid,
        /// See `sync_leader::Facts::cheap_from`.
        cheap_from: Zxid,
        /// See `sync_leader::Facts::sendable`.
        sendable: Zxid,
    },
    /// An established configuration: the text that came with NEWLEADER, told once the role serves, or that of a
    /// committed reconfiguration. One that is not newer changes nothing.
    Reconfigured {
        /// Its members.
        members: Membership,
        /// Its version.
        version: i64,
    },
}

/// What a server is when its core is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Birth {
    /// Its promises.
    pub epochs: Durable<Epochs>,
    /// The end of its log, all of which is on the medium.
    pub durable: Durable<Zxid>,
    /// What the log holds.
    pub history: History,
    /// The newest snapshot.
    pub snapshot: Zxid,
    /// What the tree holds.
    pub applied: Zxid,
    /// The directory was empty and nothing but the other voters can say whether that is as it should be.
    pub fresh: bool,
    /// For the only thing left to chance: how long an observer waits before it looks again.
    pub seed: u64,
}
