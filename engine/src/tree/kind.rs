//! The kinds of znodes, and the one number (`ephemeralOwner`) that encodes them on disk and in the digest.

use crate::id::SessionId;

/// What makes a znode go away by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Nothing.
    Persistent,
    /// The end of the session.
    Ephemeral(SessionId),
    /// Having no children any more.
    Container,
    /// No setData for this many milliseconds while it has no children.
    Ttl(i64),
}

const CONTAINER: i64 = i64::MIN;
const EXTENDED: i64 = 0xff << 56;
const FEATURE: i64 = 0xffff << 40;

impl NodeKind {
    /// The longest time to live, milliseconds: 40 bits, about 34 years.
    pub const MAX_TTL_MS: i64 = (1 << 40) - 1;

    /// Reads an owner number.
    ///
    /// | owner | kind |
    /// |---|---|
    /// | 0 | persistent |
    /// | only the top bit | container |
    /// | top byte 0xff, next two 0, low five bytes t | TTL of t milliseconds |
    /// | anything else | ephemeral of that session |
    ///
    /// TTL nodes are recognised whether or not the setting that lets clients create them is on: the reference
    /// takes them for ephemerals of a dead session when it is off, and silently deletes them at its next start.
    pub fn of_owner(owner: i64) -> NodeKind {
        match owner {
            0 => NodeKind::Persistent,
            CONTAINER => NodeKind::Container,
            _ if owner & (EXTENDED | FEATURE) == EXTENDED => NodeKind::Ttl(owner & NodeKind::MAX_TTL_MS),
            _ => NodeKind::Ephemeral(SessionId(owner)),
        }
    }

    /// The owner number. The time to live is cut to its 40 bits.
    pub fn owner(self) -> i64 {
        match self {
            NodeKind::Persistent => 0,
            NodeKind::Container => CONTAINER,
            NodeKind::Ttl(ms) => EXTENDED | (ms & NodeKind::MAX_TTL_MS),
            NodeKind::Ephemeral(session) => session.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_like_the_reference_writes_them() {
        let of = |owner: u64| NodeKind::of_owner(owner.cast_signed());
        assert_eq!(of(0), NodeKind::Persistent);
        assert_eq!(of(0x8000_0000_0000_0000), NodeKind::Container);
        assert_eq!(of(0xff00_0000_0036_ee80), NodeKind::Ttl(3_600_000));
        assert_eq!(of(0xff00_00ff_ffff_ffff), NodeKind::Ttl(NodeKind::MAX_TTL_MS));
        assert_eq!(of(0x0100_000d_1d0c_0000), NodeKind::Ephemeral(SessionId(0x0100_000d_1d0c_0000)));
        assert!(matches!(of(0xff00_0100_0000_0001), NodeKind::Ephemeral(_)));
        for owner in [0u64, 0x8000_0000_0000_0000, 0xff00_0000_0036_ee80, 0x0100_000d_1d0c_0000] {
            assert_eq!(of(owner).owner(), owner.cast_signed());
        }
    }
}
