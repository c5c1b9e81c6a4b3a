//! Which transactions a log has, as a few numbers: runs of zxids without a gap, each of one epoch.

use crate::id::Zxid;

/// The zxids of a log behind a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Runs {
    /// The transaction behind which all are known.
    pub base: Zxid,
    /// First and last zxid of each run, in order.
    pub runs: Vec<(Zxid, Zxid)>,
}

impl Runs {
    /// None behind `base`.
    pub(super) fn new(base: Zxid) -> Runs {
        Runs { base, runs: Vec::new() }
    }

    /// The next transaction. One may come more than once.
    pub(super) fn push(&mut self, zxid: Zxid) {
        self.extend(zxid, zxid);
    }

    /// The next ones, of one epoch and without a gap.
    pub(super) fn extend(&mut self, first: Zxid, last: Zxid) {
        match self.runs.last_mut() {
            Some((_, end)) if *end == first || end.successor() == Some(first) => *end = last,
            _ => self.runs.push((first, last)),
        }
    }

    /// Those of `later`, which begins where these end.
    pub(super) fn append(&mut self, later: &Runs) {
        later.runs.iter().for_each(|&(first, last)| self.extend(first, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;

    #[test]
    fn what_follows_is_one_run_also_across_a_seam() {
        let z = |epoch, counter| Zxid::new(Epoch(epoch), counter);
        let mut first = Runs::new(z(1, 3));
        [4, 5, 5, 6, 8].into_iter().for_each(|counter| first.push(z(1, counter)));
        let mut second = Runs::new(z(1, 8));
        second.extend(z(1, 9), z(1, 12));
        second.push(z(2, 1));
        first.append(&second);
        assert_eq!(first.base, z(1, 3));
        assert_eq!(first.runs, [(z(1, 4), z(1, 6)), (z(1, 8), z(1, 12)), (z(2, 1), z(2, 1))]);
    }
}
