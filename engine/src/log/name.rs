//! Names of segment files: `log.<number>-<random id>`, 16 lower-case hexadecimal digits each.
//!
//! The id stands in the name so that a batch can be told for what it is even where the segment's header is
//! gone. A name is never given twice: a recycled file gets a new one before its first write.

use std::fmt;

/// Number and random id of a segment. Numbers grow in the order in which segments are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub number: u64,
    pub id: u64,
}

impl SegmentName {
    /// Numbers of segments are below this: no log gets there, and nothing that counts on from a number that was read
    /// can overflow.
    pub const NUMBERS: u64 = 1 << 48;

    /// The name of this file, or `None` if it is not one of ours.
    pub fn parse(file: &str) -> Option<SegmentName> {
        SegmentName::read(file).filter(|name| name.number < SegmentName::NUMBERS)
    }

    /// Whether this is one of our names, were it not for its number.
    pub fn has_form(file: &str) -> bool {
        SegmentName::read(file).is_some()
    }

    fn read(file: &str) -> Option<SegmentName> {
        let (number, id) = file.strip_prefix("log.")?.split_once('-')?;
        Some(SegmentName { number: hex(number)?, id: hex(id)? })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log.{:016x}-{:016x}", self.number, self.id)
    }
}

fn hex(digits: &str) -> Option<u64> {
    let canonical = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_that_is_printed_is_read() {
        let name = SegmentName { number: 0x1f, id: 0xfedc_ba98_7654_3210 };
        assert_eq!(name.to_string(), "log.000000000000001f-fedcba9876543210");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in [
            "log.1",
            "log.100000001",
            "log.1f-fedcba9876543210",
            "log.000000000000001F-fedcba9876543210",
            "log.+00000000000001f-fedcba9876543210",
            "log.000000000000001f-fedcba9876543210.tmp",
            "snapshot.0",
            "",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
