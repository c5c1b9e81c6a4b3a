//! The statistics of a znode: as stored and digested, and as a client sees them.

use super::kind::NodeKind;
use crate::id::Zxid;
use crate::jute::{put_i32, put_i64};

/// What is kept of a znode beside name, data and ACL: 60 bytes in a snapshot, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatPersisted {
    /// The transaction that created the node.
    pub czxid: Zxid,
    /// The transaction that last set its data.
    pub mzxid: Zxid,
    /// When it was created, milliseconds since 1970.
    pub ctime: i64,
    /// When its data was last set, milliseconds since 1970.
    pub mtime: i64,
    /// How often its data was set.
    pub version: i32,
    /// How many children were ever created below it (not what clients see under this name).
    pub cversion: i32,
    /// How often its ACL was set.
    pub aversion: i32,
    /// Kind and owner in one number, see [`NodeKind`].
    pub ephemeral_owner: i64,
    /// The transaction that last created or deleted a child.
    pub pzxid: Zxid,
}

/// The 68 bytes that clients get, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// The transaction that created the node.
    pub czxid: Zxid,
    /// The transaction that last set its data.
    pub mzxid: Zxid,
    /// When it was created, milliseconds since 1970.
    pub ctime: i64,
    /// When its data was last set, milliseconds since 1970.
    pub mtime: i64,
    /// How often its data was set.
    pub version: i32,
    /// Creations plus deletions of children.
    pub cversion: i32,
    /// How often its ACL was set.
    pub aversion: i32,
    /// The owning session of an ephemeral node, 0 for every other kind.
    pub ephemeral_owner: i64,
    /// Bytes of data, 0 for null.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
    /// The transaction that last created or deleted a child.
    pub pzxid: Zxid,
}

impl StatPersisted {
    /// The statistics of a node that transaction `zxid` creates at `time`.
    pub fn created(zxid: Zxid, time: i64, ephemeral_owner: i64) -> StatPersisted {
        StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner,
            ..StatPersisted::default()
        }
    }

    /// What a client sees of it. `cversion` becomes creations plus deletions: twice the creations minus the
    /// children that are still there, in wrapping arithmetic.
    pub fn client_view(&self, data_length: usize, num_children: u32) -> Stat {
        let num_children = num_children.cast_signed();
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: match NodeKind::of_owner(self.ephemeral_owner) {
                NodeKind::Ephemeral(session) => session.0,
                NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl(_) => 0,
            },
            data_length: i32::try_from(data_length).unwrap_or(i32::MAX),
            num_children,
            pzxid: self.pzxid,
        }
    }
}

impl Stat {
    /// Bytes on the wire.
    pub const BYTES: usize = 68;

    /// Appends the 68 bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        put_i64(out, self.czxid.raw());
        put_i64(out, self.mzxid.raw());
        put_i64(out, self.ctime);
        put_i64(out, self.mtime);
        put_i32(out, self.version);
        put_i32(out, self.cversion);
        put_i32(out, self.aversion);
        put_i64(out, self.ephemeral_owner);
        put_i32(out, self.data_length);
        put_i32(out, self.num_children);
        put_i64(out, self.pzxid.raw());
    }
}
