//! What the core wishes to be done, in this order: plain data.
//!
//! An acknowledgement carries the proof that its subject is durable: it cannot be wished for otherwise.

use ringkeeper_engine::id::{Epoch, Sid, Zxid};
use ringkeeper_engine::log::{Durable, Epochs};

use super::event::Link;
use super::fault::Fault;
use super::sync_leader::Source;
use crate::wire::election::Notification;
use crate::wire::quorum::payload::LearnerInfo;

/// A kind of packet that is sent for each of a range of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// PROPOSAL and COMMIT of each.
    History(Source),
    /// PROPOSAL of each.
    Proposals,
    /// COMMIT of each.
    Commits,
    /// INFORM of each.
    Informs,
}

/// A packet without transaction bytes, leader to learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToLearner {
    /// The epoch proposed. The learner sees that we are of its kind.
    LeaderInfo(Epoch),
    /// Head of a synchronisation.
    Diff(Zxid),
    /// Head of a synchronisation.
    Trunc(Zxid),
    /// With the configuration as text.
    NewLeader(Epoch),
    /// It may serve.
    UpToDate,
    /// A sign of life.
    Ping(Zxid),
}

/// What shall be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell a member how we vote. Only the newest unsent one of each member counts; it is sent again when the
    /// connection was made anew.
    Notify(Sid, Notification),
    /// Connect to the quorum port of this member. An earlier attempt under way ends with this, or with `Retire`,
    /// and nothing is told of it.
    Connect(Sid),
    /// Close this connection; nothing comes from it any more.
    Disconnect(Link),
    /// Learner: say who we are.
    Introduce(Link, LearnerInfo),
    /// Learner: the epoch is accepted, durably.
    AckEpoch {
        /// Connection to the leader.
        link: Link,
        /// The promise.
        promised: Durable<Epochs>,
        /// Last transaction; -1 if nothing here is to be trusted.
        last: Zxid,
        /// Current epoch, unless it must not be counted.
        current: Option<Epoch>,
    },
    /// Learner: the initial history is durable, and so is the epoch.
    AckNewLeader {
        /// Connection to the leader.
        link: Link,
        /// The history.
        history: Durable<Zxid>,
        /// The epoch.
        epochs: Durable<Epochs>,
    },
    /// Follower: ACK of each transaction in a range. A leader of our kind needs only the last.
    Ack {
        /// Connection to the leader.
        link: Link,
        /// Behind this one.
        after: Zxid,
        /// Up to this one.
        upto: Durable<Zxid>,
        /// The leader is of our kind.
        ours: bool,
    },
    /// Learner: answer a PING, with the sessions that were touched.
    Pong(Link, Zxid),
    /// Leader: send a packet.
    Send(Link, ToLearner),
    /// Leader: send one packet, or two, for each transaction in a range.
    Stream {
        /// To whom.
        link: Link,
        /// What.
        flow: Flow,
        /// Behind this one.
        after: Zxid,
        /// Up to this one.
        upto: Zxid,
    },
    /// Leader: send SNAP and a snapshot of the state at `upto`, under the zxid `label`. `upto` is what was called
    /// sendable, or the end of the history that the epoch began with.
    SendSnapshot {
        /// To whom.
        link: Link,
        /// What the packet says.
        label: Zxid,
        /// What the snapshot holds.
        upto: Zxid,
    },
    /// Make these promises durable, then say `EpochsDurable`.
    Persist(Epochs),
    /// Log the transaction of the PROPOSAL or INFORM that is being handled.
    Append(Zxid),
    /// Cut the log behind this and everything that was made of what is cut, then say `Truncated`. What was
    /// appended before is flushed and told first; until `Truncated` no packet of the leader is read.
    Truncate(Zxid),
    /// Read the snapshot of this zxid off the connection, make it durable in place of everything, load it, then say
    /// `SnapshotLoaded`; what was appended before is told first. Until then no packet of the leader is read. If the connection breaks, `SnapshotAbandoned`.
    ReceiveSnapshot(Link, Zxid),
    /// The reception under way is of no use; say `SnapshotAbandoned`, or `SnapshotLoaded` if it is too late.
    AbandonSnapshot,
    /// Everything up to here may be applied.
    Commit(Zxid),
    /// Leader of this epoch: clients may write, the first transaction has counter 1.
    Lead(Epoch),
    /// Learner of this leader and epoch: clients may be served.
    Serve(Sid, Epoch),
    /// No client may be served any more; nothing is proposed any more.
    Retire,
    /// Tell the operator.
    Report(Fault),
    /// Tell the operator that no leader is found. Said again each time the vote is, which becomes rarer.
    Waiting {
        /// This server must not help to elect: it may have forgotten what it acknowledged, and waits for a leader
        /// that the others elect, or, with an empty directory, for all others to show that they are empty too.
        untrusted: bool,
        /// Voters that have not been heard of since this server looks for a leader.
        silent: Vec<Sid>,
    },
}
