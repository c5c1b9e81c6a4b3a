//! What recovery decides at each position of the log, as a table.
//!
//! The walk reduces what it reads to five facts; the table says what they mean and why. Exactly one row fits
//! each of the 64 combinations, which a test walks: there is no case that nobody thought of.

/// What stands where the next batch must begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No header with a sound crc and this segment's id: never written, recycled, torn, zeroed, damaged, or the end
    /// of the file.
    Nothing,
    /// A sound header that does not continue the batch before it.
    NotTheNext,
    /// The right header, and records that do not match their checksums.
    BadRecords,
    /// The whole batch, and it continues the one before.
    Whole,
}

/// What is known of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub found: Found,
    /// A later generation continues from exactly here.
    pub at_cut: bool,
    /// The next segment of the same generation says that it continues from exactly here.
    pub succeeded: bool,
    /// The batch that must stand here is at or below the evidence: somebody was told that it is durable.
    pub owed: bool,
    /// A sound header of the live generation stands somewhere behind.
    pub later: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The batch is part of the log.
    Accept,
    /// The log goes on in the next segment of this generation.
    NextSegment,
    /// The log goes on in the generation that was cut from here.
    FollowCut,
    /// Nothing was ever written here: the log ends, and may go on in place.
    CleanEnd,
    /// What stands here was in flight: the log ends, and goes on in a new generation.
    TornTail,
    /// Acknowledged transactions are missing: refuse.
    Corrupt,
}

pub(super) struct Row {
    /// `None` matches anything, here and below.
    pub found: Option<Found>,
    pub at_cut: Option<bool>,
    pub succeeded: Option<bool>,
    pub owed: Option<bool>,
    pub later: Option<bool>,
    pub decision: Decision,
    pub reason: &'static str,
}

const ANY: Option<bool> = None;
const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

#[rustfmt::skip]
pub(super) static TABLE: [Row; 10] = [
    Row { found: None, at_cut: YES, succeeded: ANY, owed: ANY, later: ANY, decision: Decision::FollowCut,
          reason: "a later generation continues from here, so what follows was cut off and is dead" },
    Row { found: None, at_cut: NO, succeeded: YES, owed: ANY, later: ANY, decision: Decision::NextSegment,
          reason: "the next segment was opened with this point as the end of the one before" },
    Row { found: Some(Found::Whole), at_cut: NO, succeeded: NO, owed: ANY, later: ANY, decision: Decision::Accept,
          reason: "all checksums hold and it continues the chain" },
    Row { found: Some(Found::Nothing), at_cut: NO, succeeded: NO, owed: YES, later: ANY, decision: Decision::Corrupt,
          reason: "somebody was told that the batch is durable, and it is gone" },
    Row { found: Some(Found::BadRecords), at_cut: NO, succeeded: NO, owed: YES, later: ANY, decision: Decision::Corrupt,
          reason: "somebody was told that the batch is durable, and its records are damaged" },
    Row { found: Some(Found::NotTheNext), at_cut: NO, succeeded: NO, owed: YES, later: ANY, decision: Decision::Corrupt,
          reason: "somebody was told that the batch is durable, and another stands in its place" },
    Row { found: Some(Found::Nothing), at_cut: NO, succeeded: NO, owed: NO, later: NO, decision: Decision::CleanEnd,
          reason: "no header here, none behind, and nobody was told of more" },
    Row { found: Some(Found::Nothing), at_cut: NO, succeeded: NO, owed: NO, later: YES, decision: Decision::TornTail,
          reason: "a later write arrived and this one did not; neither was acknowledged" },
    Row { found: Some(Found::BadRecords), at_cut: NO, succeeded: NO, owed: NO, later: ANY, decision: Decision::TornTail,
          reason: "only a part of the write arrived; it was not acknowledged" },
    Row { found: Some(Found::NotTheNext), at_cut: NO, succeeded: NO, owed: NO, later: ANY, decision: Decision::TornTail,
          reason: "it continues something that is not here, and nobody was told of either" },
];

impl Row {
    fn fits(&self, facts: Facts) -> bool {
        self.found.is_none_or(|f| f == facts.found)
            && self.at_cut.is_none_or(|b| b == facts.at_cut)
            && self.succeeded.is_none_or(|b| b == facts.succeeded)
            && self.owed.is_none_or(|b| b == facts.owed)
            && self.later.is_none_or(|b| b == facts.later)
    }
}

/// The row that fits. There always is exactly one, which the test of the table proves.
pub(super) fn decide(facts: Facts) -> &'static Row {
    TABLE.iter().find(|row| row.fits(facts)).expect("every combination of facts has a row")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Facts> {
        let found = [Found::Nothing, Found::NotTheNext, Found::BadRecords, Found::Whole];
        (0..64u8).map(move |i| Facts {
            found: found[(i & 3) as usize],
            at_cut: i & 4 != 0,
            succeeded: i & 8 != 0,
            owed: i & 16 != 0,
            later: i & 32 != 0,
        })
    }

    /// The whole table written out a second time, in the words of the rules instead of rows.
    fn expected(facts: Facts) -> Decision {
        if facts.at_cut {
            return Decision::FollowCut;
        }
        if facts.succeeded {
            return Decision::NextSegment;
        }
        match (facts.found, facts.owed, facts.later) {
            (Found::Whole, ..) => Decision::Accept,
            (_, true, _) => Decision::Corrupt,
            (Found::Nothing, false, false) => Decision::CleanEnd,
            _ => Decision::TornTail,
        }
    }

    #[test]
    fn every_combination_of_facts_has_its_decision() {
        let mut seen = 0;
        for facts in all() {
            let row = decide(facts);
            assert_eq!(row.decision, expected(facts), "{facts:?}: {}", row.reason);
            assert!(!row.reason.is_empty());
            seen += 1;
        }
        assert_eq!(seen, 64);
    }

    #[test]
    fn what_was_acknowledged_is_never_cut_and_what_is_broken_never_accepted() {
        for facts in all() {
            let decision = decide(facts).decision;
            if facts.owed {
                assert!(!matches!(decision, Decision::TornTail | Decision::CleanEnd), "{facts:?}");
            }
            if facts.found != Found::Whole {
                assert_ne!(decision, Decision::Accept, "{facts:?}");
            }
            if decision == Decision::CleanEnd {
                assert!(!facts.later && facts.found == Found::Nothing, "{facts:?}");
            }
        }
    }

    #[test]
    fn the_decision_on_a_whole_batch_needs_no_look_behind() {
        for facts in all().filter(|f| f.found == Found::Whole || f.at_cut || f.succeeded) {
            let blind = Facts { owed: false, later: false, ..facts };
            assert_eq!(decide(facts).decision, decide(blind).decision, "{facts:?}");
        }
    }

    #[test]
    fn rows_do_not_overlap_and_each_is_needed() {
        for facts in all() {
            assert_eq!(TABLE.iter().filter(|row| row.fits(facts)).count(), 1, "{facts:?}");
        }
        for row in &TABLE {
            assert!(all().any(|f| std::ptr::eq(decide(f), row)), "{}", row.reason);
        }
    }
}
