//! Numbers that must not be mixed up: [`Zxid`], [`Epoch`], [`Sid`], [`SessionId`].
//!
//! They are newtypes without arithmetic. What is allowed has a name (`successor`, `epoch`, `counter`), so that
//! a zxid is never advanced by accident and an epoch is never compared with a counter.

use std::fmt;

/// A transaction id: epoch in the high 32 bits, counter in the low 32.
///
/// Compared as a signed 64-bit number, as the quorum protocol does. Printed as Apache ZooKeeper prints it:
/// `0x` and lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(i64);

impl Zxid {
    /// No transaction yet.
    pub const ZERO: Zxid = Zxid(0);

    /// The zxid of `counter` in `epoch`.
    pub const fn new(epoch: Epoch, counter: u32) -> Zxid {
        Zxid(((epoch.0 as i64) << 32) | counter as i64)
    }

    /// The zxid as it stands on the wire and on disk.
    pub const fn from_raw(raw: i64) -> Zxid {
        Zxid(raw)
    }

    /// The number for the wire and the disk.
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// The leader's generation that issued it.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The position within its epoch; 0 is "start of the epoch" and belongs to no transaction.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid of the same epoch, or `None` when the counter is spent and a new epoch is needed.
    pub const fn successor(self) -> Option<Zxid> {
        if self.counter() == u32::MAX { None } else { Some(Zxid(self.0 + 1)) }
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The generation of a leader (ZAB epoch).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A server id, the number in the `myid` file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sid(pub i64);

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A client session. Printed as Apache ZooKeeper prints it: `0x` and lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: the owner of requests that the server makes itself.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_is_epoch_and_counter_and_prints_like_the_reference() {
        let zxid = Zxid::new(Epoch(5), 1);
        assert_eq!(zxid.to_string(), "0x500000001");
        assert_eq!((zxid.epoch(), zxid.counter()), (Epoch(5), 1));
        assert_eq!(Zxid::from_raw(-1).to_string(), "0xffffffffffffffff");
    }

    #[test]
    fn a_spent_counter_has_no_successor() {
        assert_eq!(Zxid::new(Epoch(1), 7).successor(), Some(Zxid::new(Epoch(1), 8)));
        assert_eq!(Zxid::new(Epoch(1), u32::MAX).successor(), None);
    }
}
