//! How far this server is, in six numbers whose order is checked after every event, in release builds too.
//!
//! ```text
//!  purged <= snapshot <= applied <= committed <= submitted
//!                                    durable   <= submitted
//! ```
//! `committed` may run ahead of `durable`: a quorum of others can be faster than the disk of this server.

use ringkeeper_engine::id::Zxid;

/// The marks of one server. Each is the last zxid of which the name is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Gone from the log.
    pub purged: Zxid,
    /// In the newest snapshot.
    pub snapshot: Zxid,
    /// In the tree.
    pub applied: Zxid,
    /// May be applied.
    pub committed: Zxid,
    /// On the medium, with all before it.
    pub durable: Zxid,
    /// Given to the log.
    pub submitted: Zxid,
}

impl Marks {
    /// All at one point: an empty server, or one that holds nothing but a snapshot.
    pub fn at(zxid: Zxid) -> Marks {
        Marks { purged: zxid, snapshot: zxid, applied: zxid, committed: zxid, durable: zxid, submitted: zxid }
    }

    /// The order drawn above.
    ///
    /// # Panics
    /// When it does not hold: going on could lose what was acknowledged.
    pub fn check(&self) {
        let ordered = self.purged <= self.snapshot
            && self.snapshot <= self.applied
            && self.applied <= self.committed
            && self.committed <= self.submitted
            && self.durable <= self.submitted;
        assert!(ordered, "the marks are out of order: {self:?}");
    }

    /// Everything above `last` is cut off.
    pub fn truncate(&mut self, last: Zxid) {
        for mark in [
            &mut self.purged,
            &mut self.snapshot,
            &mut self.applied,
            &mut self.committed,
            &mut self.durable,
            &mut self.submitted,
        ] {
            *mark = (*mark).min(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(raw: i64) -> Zxid {
        Zxid::from_raw(raw)
    }

    #[test]
    fn the_commit_may_be_ahead_of_our_own_disk() {
        Marks {
            purged: z(1),
            snapshot: z(2),
            applied: z(5),
            committed: z(6),
            durable: z(3),
            submitted: z(7),
        }
        .check();
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn a_commit_ahead_of_the_log_is_caught() {
        Marks { committed: z(1), ..Marks::at(z(0)) }.check();
    }

    #[test]
    fn a_cut_lowers_whatever_is_above_it() {
        let mut marks = Marks { submitted: z(9), durable: z(8), ..Marks::at(z(5)) };
        marks.truncate(z(7));
        assert_eq!(marks, Marks { submitted: z(7), durable: z(7), ..Marks::at(z(5)) });
        marks.check();
    }
}
