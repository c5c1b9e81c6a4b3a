//! How a leader brings a learner to its own history: a choice made from facts, sending nothing.
//!
//! The rows are those of the quorum reference 4.2, with two deviations for safety (4.7, 4.8). TRUNC goes only to
//! members of our kind, because Apache learners cut at the wrong place or not at all; where they would need it they
//! get a snapshot of exactly the initial history of the new epoch, labelled with the epoch's start, so that no old
//! record above it is ever replayed. And what a learner logged beyond the committed end is never cut and sent again
//! if it is part of our history: its acknowledgement may already have been counted.

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::mutant::{Mutant, planted};

use super::history::History;

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Last zxid of the learner, -1 if it has nothing to be trusted.
    pub peer_last: Zxid,
    /// The learner is a member of our kind.
    pub ours: bool,
    /// The epoch of this leader.
    pub epoch: Epoch,
    /// All transactions of the leader, proposals that wait for their quorum included.
    pub history: &'a History,
    /// Last transaction of the history that the epoch began with.
    pub initial: Zxid,
    /// The last transaction that is known to be committed.
    pub committed: Zxid,
    /// What a snapshot would hold that is sent now: at most the end of what is sent as committed.
    pub sendable: Zxid,
    /// Transactions above this are in memory.
    pub window: Zxid,
    /// Below this the log costs more than the snapshot.
    pub cheap_from: Zxid,
    /// The operator wants snapshots only.
    pub force_snapshot: bool,
}

/// First packet of the synchronisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Nothing to undo; the zxid is the last committed one that will have been sent.
    Diff(Zxid),
    /// Cut everything above.
    Trunc(Zxid),
    /// A snapshot of what was committed at some time, under its own zxid.
    Snap(Zxid),
    /// The initial history merged into one temporary snapshot, under the first zxid of the epoch.
    Merged(Zxid),
}

/// Where transactions of a plan come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Batches that are still in memory.
    Memory,
    /// Segments have to be read.
    Disk,
}

/// How to synchronise one learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// First packet.
    pub head: Head,
    /// Committed transactions above this follow, up to [`end`](Self::end), each with its COMMIT.
    pub after: Zxid,
    /// The last of them. Proposals beyond it follow without COMMIT.
    pub end: Zxid,
    /// The learner has proposals up to here already; at least `end`.
    pub has: Zxid,
    /// Where they come from.
    pub source: Source,
}

/// What to do about a learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Synchronise it.
    Go(Plan),
    /// Wait until this is committed: the learner holds proposals which an Apache server cannot be told to commit
    /// over a new connection.
    Later(Zxid),
    /// It has what nobody can have made: transactions of this epoch that are not its leader's, or of a later one.
    Refuse,
}

/// The first matching row.
pub fn choose(facts: &Facts<'_>) -> Choice {
    let end = facts.initial.max(facts.committed);
    let start = Zxid::new(facts.epoch, 0);
    // A merged snapshot of ours has this label: its state is the initial history.
    let peer = if facts.peer_last == start { facts.initial } else { facts.peer_last };
    let history = facts.history;
    assert!(facts.sendable <= end, "a snapshot of {} behind the end {end}", facts.sendable);
    if peer > start.max(history.last()) {
        return Choice::Refuse;
    }
    let begun = || peer.counter() == 0 && history.base() <= peer && history.knows_epoch_of(peer);
    let hole = planted(Mutant::Zk2418DiffOverHole) && Zxid::ZERO < peer && peer < history.base();
    let known = hole || history.holds(peer) || (peer <= end && begun());
    if known && peer > end {
        return if facts.ours {
            Choice::Go(plan(facts, Head::Diff(end), end, end, peer))
        } else {
            Choice::Later(peer)
        };
    }
    if facts.force_snapshot {
        return Choice::Go(snapshot(facts, end));
    }
    // Behind a snapshot that ends earlier the same transactions would have to follow, and more.
    let sparing = |from| from >= facts.cheap_from || from >= facts.window || from >= facts.sendable;
    if known {
        return Choice::Go(match sparing(peer) || hole {
            true => plan(facts, Head::Diff(end), peer, end, end),
            false => snapshot(facts, end),
        });
    }
    match history.floor(peer) {
        Some(floor) if planted(Mutant::Zk1154DiffForUnknownZxid) => {
            Choice::Go(plan(facts, Head::Diff(end), floor, end, end))
        }
        Some(floor) if facts.ours && peer.counter() != 0 => {
            let cut = floor.min(end);
            match sparing(cut) {
                true => Choice::Go(plan(facts, Head::Trunc(cut), cut, end, end)),
                false => Choice::Go(snapshot(facts, end)),
            }
        }
        _ => Choice::Go(snapshot(facts, end)),
    }
}

fn plan(facts: &Facts<'_>, head: Head, after: Zxid, end: Zxid, has: Zxid) -> Plan {
    let source = if after >= facts.window { Source::Memory } else { Source::Disk };
    Plan { head, after, end, has, source }
}

fn snapshot(facts: &Facts<'_>, end: Zxid) -> Plan {
    // An Apache learner keeps its log beside the snapshot, and stores its own once NEWLEADER comes: at the end of what
    // was sent before. What it logged beyond that would be replayed over it one day.
    if !facts.ours && facts.peer_last > end {
        return plan(facts, Head::Merged(Zxid::new(facts.epoch, 0)), facts.initial, end, end);
    }
    plan(facts, Head::Snap(facts.sendable), facts.sendable, end, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// The leader of the examples seen live: 1:1 to 1:9 and 2:1 to 2:6, all committed, now in epoch 4.
    fn history() -> History {
        let mut history = History::new(z(0, 0));
        history.extend(z(1, 1), z(1, 9));
        history.extend(z(2, 1), z(2, 6));
        history
    }

    fn facts(history: &History, peer_last: Zxid, ours: bool) -> Facts<'_> {
        Facts {
            peer_last,
            ours,
            epoch: Epoch(4),
            history,
            initial: z(2, 6),
            committed: z(2, 6),
            sendable: z(2, 6),
            window: z(1, 1),
            cheap_from: Zxid::ZERO,
            force_snapshot: false,
        }
    }

    fn head(facts: &Facts<'_>) -> (Head, Zxid) {
        match choose(facts) {
            Choice::Go(plan) => {
                assert_eq!(plan.end, z(2, 6));
                (plan.head, plan.after)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_examples_seen_live_are_answered_the_same_way() {
        let history = history();
        let diff = |after| (Head::Diff(z(2, 6)), after);
        let trunc = |cut| (Head::Trunc(cut), cut);
        let (snap, merged) = ((Head::Snap(z(2, 6)), z(2, 6)), (Head::Merged(z(4, 0)), z(2, 6)));
        for (peer, ours, apache) in [
            (z(2, 6), diff(z(2, 6)), diff(z(2, 6))),
            (z(2, 3), diff(z(2, 3)), diff(z(2, 3))),
            (z(2, 20), trunc(z(2, 6)), merged),
            (z(2, 0), diff(z(2, 0)), diff(z(2, 0))),
            (z(3, 0), snap, merged),
            (z(1, 3), diff(z(1, 3)), diff(z(1, 3))),
            (z(1, 77), trunc(z(1, 9)), snap),
            (z(3, 7), trunc(z(2, 6)), merged),
            (Zxid::from_raw(-1), snap, snap),
        ] {
            assert_eq!(head(&facts(&history, peer, true)), ours, "ours at {peer}");
            assert_eq!(head(&facts(&history, peer, false)), apache, "apache at {peer}");
        }
    }

    #[test]
    fn an_empty_learner_gets_a_snapshot_from_a_log_that_does_not_begin_with_its_beginning() {
        let mut history = history();
        history.purge(z(1, 2));
        assert_eq!(head(&facts(&history, Zxid::ZERO, true)).0, Head::Snap(z(2, 6)));
        assert_eq!(head(&facts(&history, z(1, 1), true)).0, Head::Snap(z(2, 6)));
        assert_eq!(head(&facts(&history, z(1, 2), true)).0, Head::Diff(z(2, 6)));
    }

    #[test]
    fn two_empty_servers_need_nothing_but_a_diff() {
        let history = History::new(Zxid::ZERO);
        let mut facts = facts(&history, Zxid::ZERO, false);
        (facts.initial, facts.committed, facts.sendable) = (Zxid::ZERO, Zxid::ZERO, Zxid::ZERO);
        let Choice::Go(plan) = choose(&facts) else { panic!("waits") };
        assert_eq!((plan.head, plan.after, plan.end), (Head::Diff(Zxid::ZERO), Zxid::ZERO, Zxid::ZERO));
    }

    #[test]
    fn a_log_longer_than_the_snapshot_is_not_sent_unless_it_is_in_memory() {
        let history = history();
        let mut facts = facts(&history, z(1, 3), true);
        (facts.window, facts.cheap_from) = (z(2, 2), z(1, 5));
        assert_eq!(head(&facts).0, Head::Snap(z(2, 6)));
        facts.cheap_from = z(1, 3);
        let Choice::Go(plan) = choose(&facts) else { panic!("waits") };
        assert_eq!((plan.head, plan.source), (Head::Diff(z(2, 6)), Source::Disk));
        (facts.peer_last, facts.cheap_from) = (z(2, 2), z(2, 5));
        let Choice::Go(plan) = choose(&facts) else { panic!("waits") };
        assert_eq!((plan.head, plan.source), (Head::Diff(z(2, 6)), Source::Memory));
        facts.force_snapshot = true;
        assert_eq!(head(&facts).0, Head::Snap(z(2, 6)));
    }

    #[test]
    fn an_unknown_zxid_between_known_ones_is_cut_and_continued() {
        let history = history();
        assert_eq!(head(&facts(&history, z(1, 12), true)), (Head::Trunc(z(1, 9)), z(1, 9)));
    }

    #[test]
    fn the_start_of_an_epoch_whose_first_transactions_are_gone_is_no_place_to_go_on_from() {
        let mut history = history();
        history.purge(z(2, 3));
        assert_eq!(head(&facts(&history, z(2, 0), true)).0, Head::Snap(z(2, 6)));
        assert_eq!(head(&facts(&history, z(2, 3), true)).0, Head::Diff(z(2, 6)));
    }

    #[test]
    fn what_a_snapshot_would_need_as_well_is_sent_without_one() {
        let history = history();
        let mut facts = facts(&history, z(2, 3), true);
        (facts.window, facts.cheap_from, facts.sendable) = (z(2, 6), z(2, 6), z(2, 2));
        let diff = Plan {
            head: Head::Diff(z(2, 6)),
            after: z(2, 3),
            end: z(2, 6),
            has: z(2, 6),
            source: Source::Disk,
        };
        assert_eq!(choose(&facts), Choice::Go(diff));
        facts.peer_last = z(2, 1);
        assert_eq!(head(&facts).0, Head::Snap(z(2, 2)));
    }

    #[test]
    fn an_old_snapshot_does_for_apache_learners_unless_their_log_goes_beyond_what_follows_it() {
        let history = history();
        let mut facts = facts(&history, z(1, 77), false);
        facts.sendable = z(1, 5);
        let want = plan(&facts, Head::Snap(z(1, 5)), z(1, 5), z(2, 6), z(2, 6));
        assert_eq!(choose(&facts), Choice::Go(want));
        facts.peer_last = z(2, 7);
        assert_eq!(head(&facts), (Head::Merged(z(4, 0)), z(2, 6)));
    }

    #[test]
    fn transactions_that_nobody_can_have_made_are_refused_and_old_junk_is_not() {
        let mut history = history();
        history.extend(z(4, 1), z(4, 5));
        let mut facts = facts(&history, z(4, 6), true);
        (facts.committed, facts.sendable) = (z(4, 5), z(4, 5));
        for (peer, refused) in
            [(z(4, 6), true), (z(5, 1), true), (z(3, 9), false), (Zxid::from_raw(-1), false)]
        {
            for ours in [false, true] {
                (facts.peer_last, facts.ours) = (peer, ours);
                assert_eq!(choose(&facts) == Choice::Refuse, refused, "{peer}");
            }
        }
        let mut purged = history.clone();
        purged.purge(z(4, 3));
        let mut facts = Facts { history: &purged, peer_last: z(4, 2), ..facts };
        assert!(matches!(choose(&facts), Choice::Go(Plan { head: Head::Snap(_), .. })), "gone, not unknown");
        // Where a snapshot is wanted, one that an Apache learner's log reaches beyond would be wrong.
        (facts.peer_last, facts.committed, facts.sendable) = (z(4, 5), z(4, 4), z(4, 4));
        (facts.ours, facts.force_snapshot) = (false, true);
        assert_eq!(choose(&facts), Choice::Later(z(4, 5)));
    }

    #[test]
    fn acknowledged_proposals_are_never_cut_and_sent_again() {
        let mut history = history();
        history.extend(z(4, 1), z(4, 5));
        let mut facts = facts(&history, z(4, 4), true);
        facts.committed = z(4, 2);
        let want = Plan {
            head: Head::Diff(z(4, 2)),
            after: z(4, 2),
            end: z(4, 2),
            has: z(4, 4),
            source: Source::Memory,
        };
        assert_eq!(choose(&facts), Choice::Go(want));
        facts.ours = false;
        assert_eq!(choose(&facts), Choice::Later(z(4, 4)));
        facts.committed = z(4, 4);
        assert!(matches!(choose(&facts), Choice::Go(Plan { head: Head::Diff(_), .. })));
    }

    #[test]
    fn the_label_of_a_merged_snapshot_stands_for_the_initial_history() {
        let mut history = history();
        history.extend(z(4, 1), z(4, 5));
        let mut facts = facts(&history, z(4, 0), false);
        facts.committed = z(4, 5);
        let Choice::Go(plan) = choose(&facts) else { panic!("waits") };
        assert_eq!((plan.head, plan.after, plan.end), (Head::Diff(z(4, 5)), z(2, 6), z(4, 5)));
    }
}
