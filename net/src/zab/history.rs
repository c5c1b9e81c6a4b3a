//! Which transactions the log of this server holds, as a few numbers.
//!
//! Within an epoch zxids follow each other without holes, so that a log of any length is a handful of runs. A hole
//! (only logs of other origin can have one) costs one more run and nothing else. Below `base` everything is in a
//! snapshot or was purged: nothing is known about it but that it is there.

use ringkeeper_engine::id::Zxid;

/// The zxids of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    base: Zxid,
    /// First and last zxid of each run, both of one epoch, in order, above `base`.
    runs: Vec<(Zxid, Zxid)>,
}

impl History {
    /// A log that holds nothing and continues from `base`.
    pub fn new(base: Zxid) -> History {
        History { base, runs: Vec::new() }
    }

    /// What the log continues from: a snapshot, or what was purged.
    pub fn base(&self) -> Zxid {
        self.base
    }

    /// First and last zxid of each run without a hole, in order; each is of one epoch.
    pub fn runs(&self) -> &[(Zxid, Zxid)] {
        &self.runs
    }

    /// The last transaction, or the base.
    pub fn last(&self) -> Zxid {
        self.runs.last().map_or(self.base, |&(_, last)| last)
    }

    /// Whether `next` may follow what is there: one more in the same epoch, or any number of a later one.
    pub fn continues_with(&self, next: Zxid) -> bool {
        let last = self.last();
        last.successor() == Some(next) || (next.epoch() > last.epoch() && next.counter() > 0)
    }

    /// Appends a transaction.
    ///
    /// # Panics
    /// When it is not above the last one.
    pub fn push(&mut self, zxid: Zxid) {
        self.extend(zxid, zxid);
    }

    /// Appends the transactions `first` to `last` of one epoch.
    ///
    /// # Panics
    /// When they are not above the last one.
    pub fn extend(&mut self, first: Zxid, last: Zxid) {
        assert!(
            first > self.last() && first <= last && first.epoch() == last.epoch(),
            "{first} to {last} in {self:?}"
        );
        match self.runs.last_mut() {
            Some(run) if run.1.successor() == Some(first) => run.1 = last,
            _ => self.runs.push((first, last)),
        }
    }

    /// Forgets everything above `zxid`.
    pub fn truncate(&mut self, zxid: Zxid) {
        self.runs.retain(|&(first, _)| first <= zxid);
        if let Some(run) = self.runs.last_mut() {
            run.1 = run.1.min(zxid);
        }
        self.base = self.base.min(zxid);
    }

    /// Forgets everything up to `zxid`, which a snapshot holds.
    pub fn purge(&mut self, zxid: Zxid) {
        self.runs.retain(|&(_, last)| last > zxid);
        if let Some(run) = self.runs.first_mut()
            && let Some(next) = zxid.successor()
        {
            run.0 = run.0.max(next);
        }
        self.base = self.base.max(zxid);
    }

    /// Whether the state right behind `zxid` is part of this history, as far as that is known.
    pub fn holds(&self, zxid: Zxid) -> bool {
        zxid == self.base || self.runs.iter().any(|&(first, last)| first <= zxid && zxid <= last)
    }

    /// The last transaction at or below `zxid`, or the base; `None` below the base.
    pub fn floor(&self, zxid: Zxid) -> Option<Zxid> {
        let below = self.runs.iter().rev().find(|&&(first, _)| first <= zxid);
        below.map(|&(_, last)| last.min(zxid)).or((zxid >= self.base).then_some(self.base))
    }

    /// The first transaction above `zxid`.
    pub fn after(&self, zxid: Zxid) -> Option<Zxid> {
        let run = self.runs.iter().find(|&&(_, last)| last > zxid)?;
        Some(if run.0 > zxid { run.0 } else { zxid.successor()? })
    }

    /// Whether it has a transaction of the epoch of `zxid`.
    pub fn knows_epoch_of(&self, zxid: Zxid) -> bool {
        self.runs.iter().any(|&(first, _)| first.epoch() == zxid.epoch())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::id::Epoch;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn sample() -> History {
        let mut history = History::new(z(1, 3));
        history.extend(z(1, 4), z(1, 6));
        history.push(z(3, 1));
        history.push(z(3, 2));
        history
    }

    #[test]
    fn places_are_found_across_epochs() {
        let history = sample();
        assert_eq!(history.runs.len(), 2);
        assert_eq!(history.last(), z(3, 2));
        for (zxid, holds, floor, after) in [
            (z(1, 2), false, None, Some(z(1, 4))),
            (z(1, 3), true, Some(z(1, 3)), Some(z(1, 4))),
            (z(1, 5), true, Some(z(1, 5)), Some(z(1, 6))),
            (z(1, 9), false, Some(z(1, 6)), Some(z(3, 1))),
            (z(3, 0), false, Some(z(1, 6)), Some(z(3, 1))),
            (z(3, 2), true, Some(z(3, 2)), None),
            (z(4, 1), false, Some(z(3, 2)), None),
        ] {
            assert_eq!(
                (history.holds(zxid), history.floor(zxid), history.after(zxid)),
                (holds, floor, after)
            );
        }
    }

    #[test]
    fn only_the_next_zxid_or_a_later_epoch_continues_it() {
        let history = sample();
        for (zxid, good) in [
            (z(3, 3), true),
            (z(3, 4), false),
            (z(3, 2), false),
            (z(4, 1), true),
            (z(4, 0), false),
            (z(2, 1), false),
        ] {
            assert_eq!(history.continues_with(zxid), good, "{zxid}");
        }
    }

    #[test]
    fn cutting_and_purging_keep_what_is_between() {
        let mut history = sample();
        history.purge(z(1, 4));
        history.truncate(z(3, 1));
        assert_eq!(
            (history.base(), history.last(), history.after(z(1, 4))),
            (z(1, 4), z(3, 1), Some(z(1, 5)))
        );
        history.truncate(z(1, 5));
        assert_eq!(history.last(), z(1, 5));
        history.truncate(z(1, 2));
        assert_eq!((history.base(), history.last()), (z(1, 2), z(1, 2)));
    }
}
