//! Bugs that the reference had once, to be planted one at a time: a simulator that does not find them proves nothing.
//!
//! The places where one takes effect ask [`planted`]. Without the feature `simulation` that is the constant `false`,
//! and nothing of this is left in a binary. A mutant lives in one thread, so that several can be tried at once.

/// A bug, by the number under which the reference knew it (ZOOKEEPER-n), as far as it had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A server that has lost its data votes and counts.
    Zk261EmptyServerVotes,
    /// An epoch is acknowledged before the promise is durable.
    Zk335PromiseNotDurable,
    /// A learner with a zxid that the leader does not know gets a DIFF.
    Zk1154DiffForUnknownZxid,
    /// A cut takes one transaction too many, and nobody looks.
    Zk1156CutsTooMuch,
    /// A leader does not raise the epoch above those that were accepted.
    Zk1270EpochNotRaised,
    /// The first transaction that a learner misses is not sent.
    Zk1319FirstOneMissed,
    /// NEWLEADER is sent twice.
    Zk1324NewLeaderTwice,
    /// Transactions between NEWLEADER and UPTODATE are lost.
    Zk1367LostBeforeUpToDate,
    /// Votes are compared by server id first.
    Zk1419VoteOrder,
    /// A server joins an ensemble only if its round is the same.
    Zk1514RoundsDiffer,
    /// A cut of the log leaves the tree as it was.
    Zk1549TreeNotCut,
    /// After a crash between the log and the epoch a server cannot start.
    Zk1653CrashBeforeEpoch,
    /// The answer to a request is taken for that of another.
    Zk1863AnswerOfAnother,
    /// The epoch is changed in memory only.
    Zk2307EpochInMemory,
    /// A follower counts transactions as applied that it has not applied.
    Zk2355NotApplied,
    /// A log that begins behind a snapshot is sent to learners that miss what is before.
    Zk2418DiffOverHole,
    /// What was not committed stays in the tree between two elections.
    Zk2845UncommittedInTree,
    /// A snapshot that was received is not flushed.
    Zk2872SnapshotNotFlushed,
    /// Observers count in quorums.
    Zk2959ObserversCount,
    /// NEWLEADER overtakes the transactions before it.
    Zk3104NewLeaderFirst,
    /// The session table of a snapshot is older than its tree.
    Zk3144SessionsTooOld,
    /// The epoch becomes current before the history is durable.
    Zk4643EpochBeforeHistory,
    /// NEWLEADER is acknowledged before the history is durable.
    Zk4646AckBeforeHistory,
    /// Transactions are acknowledged before NEWLEADER is.
    Zk4685AckBeforeNewLeader,
    /// A batch counts as durable although an earlier one is not.
    Zk4785EarlierBatchInFlight,
    /// A write to the log fails, and the server goes on.
    Zk4882FailedWrite,
    /// Transactions of a synchronisation do not get into the log.
    Zk4925SyncNotLogged,
    /// A cut to a zxid keeps one transaction behind it. Seen in the reference, without a number.
    CutsTooLittle,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 28] = [
        Mutant::Zk261EmptyServerVotes,
        Mutant::Zk335PromiseNotDurable,
        Mutant::Zk1154DiffForUnknownZxid,
        Mutant::Zk1156CutsTooMuch,
        Mutant::Zk1270EpochNotRaised,
        Mutant::Zk1319FirstOneMissed,
        Mutant::Zk1324NewLeaderTwice,
        Mutant::Zk1367LostBeforeUpToDate,
        Mutant::Zk1419VoteOrder,
        Mutant::Zk1514RoundsDiffer,
        Mutant::Zk1549TreeNotCut,
        Mutant::Zk1653CrashBeforeEpoch,
        Mutant::Zk1863AnswerOfAnother,
        Mutant::Zk2307EpochInMemory,
        Mutant::Zk2355NotApplied,
        Mutant::Zk2418DiffOverHole,
        Mutant::Zk2845UncommittedInTree,
        Mutant::Zk2872SnapshotNotFlushed,
        Mutant::Zk2959ObserversCount,
        Mutant::Zk3104NewLeaderFirst,
        Mutant::Zk3144SessionsTooOld,
        Mutant::Zk4643EpochBeforeHistory,
        Mutant::Zk4646AckBeforeHistory,
        Mutant::Zk4685AckBeforeNewLeader,
        Mutant::Zk4785EarlierBatchInFlight,
        Mutant::Zk4882FailedWrite,
        Mutant::Zk4925SyncNotLogged,
        Mutant::CutsTooLittle,
    ];
}

#[cfg(feature = "simulation")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Plants a mutant in this thread, in place of the one before.
#[cfg(feature = "simulation")]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

/// Whether this thread has this bug.
#[cfg(feature = "simulation")]
#[inline]
pub fn planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// Whether this thread has this bug: never.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub const fn planted(_mutant: Mutant) -> bool {
    false
}
