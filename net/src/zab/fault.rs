//! What peers do wrong, and what goes wrong with them; for the log file.

use ringkeeper_engine::id::{Epoch, Sid, Zxid};

/// Why a connection or a role was given up, or a packet ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Somebody who is not configured.
    #[error("server {0} is not in the configuration")]
    Stranger(Sid),
    /// A learner uses a configuration that is newer than ours.
    #[error("server {sid} has configuration version {theirs:#x}, ours is {ours:#x}")]
    NewerConfig {
        /// The learner.
        sid: Sid,
        /// Its version.
        theirs: i64,
        /// The own version.
        ours: i64,
    },
    /// A packet that does not belong into this phase.
    #[error("a packet does not belong into the phase of {phase}")]
    OutOfPhase {
        /// Name of the phase.
        phase: &'static str,
    },
    /// A learner has more than the leader.
    #[error("server {sid} has ({their_epoch}, {their_last}), more than our ({our_epoch}, {our_last})")]
    FollowerAhead {
        /// The learner.
        sid: Sid,
        /// Its current epoch.
        their_epoch: Epoch,
        /// Its last transaction.
        their_last: Zxid,
        /// Own current epoch.
        our_epoch: Epoch,
        /// Own last transaction.
        our_last: Zxid,
    },
    /// ACK of something that was never proposed.
    #[error("server {sid} acknowledges {acked}, but the last proposal is {proposed}")]
    AckAhead {
        /// The learner.
        sid: Sid,
        /// What it says.
        acked: Zxid,
        /// What there is.
        proposed: Zxid,
    },
    /// A leader proposes an epoch that is older than one accepted.
    #[error("the leader proposes epoch {proposed}, epoch {accepted} is accepted already")]
    OldEpoch {
        /// Of the leader.
        proposed: Epoch,
        /// Own.
        accepted: Epoch,
    },
    /// A transaction that does not follow the one before.
    #[error("transaction {got} does not follow {last}")]
    Gap {
        /// What came.
        got: Zxid,
        /// What is there.
        last: Zxid,
    },
    /// A COMMIT that is not the next one.
    #[error("COMMIT of {got}, after {committed} the next is not that one")]
    CommitOrder {
        /// What came.
        got: Zxid,
        /// What is committed.
        committed: Zxid,
    },
    /// A cut to a transaction that the log does not have: it is cut below, and synchronised once more.
    #[error("told to cut to {to}, the log ends at {last} then")]
    CutMissed {
        /// What was asked for.
        to: Zxid,
        /// What is left.
        last: Zxid,
    },
    /// Only a snapshot can help an untrusted member, or one that cannot cut.
    #[error("a snapshot is needed, not transactions")]
    NeedsSnapshot,
    /// Nothing was heard for too long.
    #[error("nothing heard of server {0} for too long")]
    Silent(Sid),
    /// A learner does not get on with its transactions.
    #[error("server {0} acknowledges nothing for too long")]
    Stalled(Sid),
    /// A phase took too long.
    #[error("{phase} took too long")]
    TooLong {
        /// Name of the phase.
        phase: &'static str,
    },
    /// The leader could not be reached.
    #[error("server {0} could not be reached")]
    Unreachable(Sid),
    /// The connection to the leader broke.
    #[error("the connection to leader {0} is gone")]
    LeaderGone(Sid),
    /// Too few voters are synchronised.
    #[error("no quorum of synchronised voters any more")]
    NoQuorum,
    /// The epoch has no zxid left.
    #[error("the counter of epoch {0} is spent")]
    CounterSpent(Epoch),
    /// A learner has transactions of this epoch, or a later one, that its leader never made.
    #[error("server {sid} has {last}, which epoch {epoch} never had")]
    Impossible {
        /// The learner.
        sid: Sid,
        /// Its last transaction.
        last: Zxid,
        /// Of the leader.
        epoch: Epoch,
    },
    /// The voters that could make a quorum have turned to another election.
    #[error("too many voters look for another leader")]
    Deserted,
    /// The ensemble has other members now.
    #[error("configuration version {0:#x} has other members: looking for a leader among them")]
    Reconfigured(i64),
    /// The ensemble goes on without this server.
    #[error("configuration version {0:#x} does not contain this server, it keeps its own")]
    Removed(i64),
    /// A reconfiguration makes somebody else lead.
    #[error("server {0} leads from now on")]
    Redesignated(Sid),
    /// The first transaction of an old epoch is not its first: a log of other origin.
    #[error("transaction {got} follows {last}: the beginning of the epoch is missing, or never was")]
    EpochStart {
        /// What came.
        got: Zxid,
        /// What is there.
        last: Zxid,
    },
    /// The log ends in a later epoch than was adopted: a takeover of the history was interrupted behind its data.
    #[error("the log ends in epoch {last}, current is {current}: raised")]
    EpochRaised {
        /// Before.
        current: Epoch,
        /// Of the last transaction.
        last: Epoch,
    },
    /// Epochs are used up.
    #[error("no epoch is left")]
    EpochsSpent,
}
