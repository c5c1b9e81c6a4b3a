//! Names in a `version-2` directory: `log.<zxid>` and `snapshot.<zxid>[.gz|.snappy]`, the zxid in lower-case
//! hexadecimal without leading zeros.

use ringkeeper_engine::id::Zxid;

use super::codec::Codec;

/// What a name says of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A log and the zxid of its first record.
    Log(Zxid),
    /// A snapshot and the last transaction before it was begun.
    Snapshot(Zxid, Codec),
}

impl Name {
    /// `None` for what is neither; also for names that the reference takes for snapshots and never gives them, such as
    /// `snapshot.5.tmp`.
    pub fn parse(file: &str) -> Option<Name> {
        let (kind, rest) = file.split_once('.')?;
        let (zxid, suffix) = rest.split_once('.').map_or((rest, None), |(zxid, suffix)| (zxid, Some(suffix)));
        let digits = zxid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let zxid = u64::from_str_radix(zxid, 16).ok().filter(|_| digits)?;
        let zxid = Zxid::from_raw(zxid.cast_signed());
        match (kind, suffix) {
            ("log", None) => Some(Name::Log(zxid)),
            ("snapshot", suffix) => Some(Name::Snapshot(zxid, Codec::of_suffix(suffix)?)),
            _ => None,
        }
    }

    /// The name itself.
    pub fn file(&self) -> String {
        match self {
            Name::Log(zxid) => format!("log.{:x}", zxid.raw()),
            Name::Snapshot(zxid, codec) => format!("snapshot.{:x}{}", zxid.raw(), codec.suffix()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed_and_others_are_not() {
        let zxid = Zxid::from_raw(0x1_0000_001f);
        for (name, text) in [
            (Name::Log(zxid), "log.10000001f"),
            (Name::Snapshot(zxid, Codec::Plain), "snapshot.10000001f"),
            (Name::Snapshot(zxid, Codec::Gzip), "snapshot.10000001f.gz"),
            (Name::Snapshot(Zxid::ZERO, Codec::Snappy), "snapshot.0.snappy"),
        ] {
            assert_eq!(name.file(), text);
            assert_eq!(Name::parse(text), Some(name));
        }
        // The last is one of ours.
        for other in [
            "log",
            "log.",
            "log.x",
            "log.1.gz",
            "snapshot.5.tmp",
            "snapshot.+5",
            "snapshot.0000000000000005-00000001",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
