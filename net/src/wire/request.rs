//! Requests, read in place. The layouts are in the client-protocol reference, 2.1 and 4.2.
//!
//! Bytes behind the last field are ignored: old and new clients differ in trailing fields.

use std::borrow::Cow;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::{JuteError, Reader};

use super::{WireError, text, text_or_null_error};

/// The first frame of a connection.
///
/// ```text
/// 0                4               12        16          20          24
/// | int protocol   | long lastZxid | int ms  | long session ..       | buffer password | bool readOnly, optional
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// The newest zxid the client has seen.
    pub last_zxid_seen: Zxid,
    /// The session timeout it wishes, in milliseconds; any number.
    pub timeout_ms: i32,
    /// The session to resume, or [`SessionId::NONE`] for a new one.
    pub session: SessionId,
    /// What proves that the session is its own.
    pub password: Option<&'a [u8]>,
    /// Whether a read-only server will do; `None` from clients so old that they must not get the flag either.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads the frame.
    pub fn decode(frame: &'a [u8]) -> Result<ConnectRequest<'a>, JuteError> {
        let mut reader = Reader::new(frame);
        let _protocol_version = reader.i32()?;
        Ok(ConnectRequest {
            last_zxid_seen: Zxid::from_raw(reader.i64()?),
            timeout_ms: reader.i32()?,
            session: SessionId(reader.i64()?),
            password: reader.buffer()?,
            read_only: reader.bool().ok(),
        })
    }
}

/// What every frame but the first begins with: int xid, int opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// The client's number for the request, echoed in the reply.
    pub xid: i32,
    /// The operation, one of [`super::op`] or anything else.
    pub op: i32,
}

impl RequestHeader {
    /// Length in bytes.
    pub const LEN: usize = 8;

    /// Reads the header and leaves `reader` at the body.
    pub fn decode(reader: &mut Reader<'_>) -> Result<RequestHeader, JuteError> {
        Ok(RequestHeader { xid: reader.i32()?, op: reader.i32()? })
    }
}

/// create, create2, createContainer: ustring path, buffer data, vector of ACL, int flags; createTTL: then long ttl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create<'a> {
    /// Where; a prefix for sequential nodes.
    pub path: Option<Cow<'a, str>>,
    /// What it shall hold; null and empty differ.
    pub data: Option<&'a [u8]>,
    /// Who may do what.
    pub acl: Acls<'a>,
    /// The kind of node.
    pub flags: i32,
    /// Milliseconds to live; -1 where the operation has no such field.
    pub ttl: i64,
}

impl<'a> Create<'a> {
    /// Reads the body of a create without a ttl.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Create<'a>, JuteError> {
        Ok(Create {
            path: text(reader)?,
            data: reader.buffer()?,
            acl: Acls::decode(reader)?,
            flags: reader.i32()?,
            ttl: -1,
        })
    }

    /// Reads the body of a createTTL.
    pub fn decode_ttl(reader: &mut Reader<'a>) -> Result<Create<'a>, JuteError> {
        let mut create = Create::decode(reader)?;
        create.ttl = reader.i64()?;
        Ok(create)
    }
}

/// delete and check: ustring path, int version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathVersion<'a> {
    /// Which node.
    pub path: Option<Cow<'a, str>>,
    /// The version it must have, or -1.
    pub version: i32,
}

impl<'a> PathVersion<'a> {
    /// Reads the body.
    pub fn decode(reader: &mut Reader<'a>) -> Result<PathVersion<'a>, JuteError> {
        Ok(PathVersion { path: text(reader)?, version: reader.i32()? })
    }
}

/// setData: ustring path, buffer data, int version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetData<'a> {
    /// Which node.
    pub path: Option<Cow<'a, str>>,
    /// What it shall hold; null and empty differ.
    pub data: Option<&'a [u8]>,
    /// The version it must have, or -1.
    pub version: i32,
}

impl<'a> SetData<'a> {
    /// Reads the body.
    pub fn decode(reader: &mut Reader<'a>) -> Result<SetData<'a>, JuteError> {
        Ok(SetData { path: text(reader)?, data: reader.buffer()?, version: reader.i32()? })
    }
}

/// setACL: ustring path, vector of ACL, int version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAcl<'a> {
    /// Which node.
    pub path: Option<Cow<'a, str>>,
    /// Who may do what from now on.
    pub acl: Acls<'a>,
    /// The ACL version it must have, or -1.
    pub version: i32,
}

impl<'a> SetAcl<'a> {
    /// Reads the body.
    pub fn decode(reader: &mut Reader<'a>) -> Result<SetAcl<'a>, JuteError> {
        Ok(SetAcl { path: text(reader)?, acl: Acls::decode(reader)?, version: reader.i32()? })
    }
}

/// exists, getData, getChildren, getChildren2: ustring path, boolean watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathWatch<'a> {
    /// Which node.
    pub path: Cow<'a, str>,
    /// Whether to tell of its next change.
    pub watch: bool,
}

impl<'a> PathWatch<'a> {
    /// Reads the body; a null path is an error for reads.
    pub fn decode(reader: &mut Reader<'a>) -> Result<PathWatch<'a>, WireError> {
        Ok(PathWatch { path: text_or_null_error(reader, "path")?, watch: reader.bool()? })
    }
}

/// getACL and getAllChildrenNumber: ustring path, which must be there.
pub fn decode_path<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, WireError> {
    text_or_null_error(reader, "path")
}

/// sync and getEphemerals: ustring path, which may be null.
pub fn decode_nullable_path<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, JuteError> {
    text(reader)
}

/// addWatch, checkWatches, removeWatches: ustring path, int mode or type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathKind<'a> {
    /// Which path.
    pub path: Cow<'a, str>,
    /// The mode of addWatch or the watcher type of the others.
    pub kind: i32,
}

impl<'a> PathKind<'a> {
    /// Reads the body.
    pub fn decode(reader: &mut Reader<'a>) -> Result<PathKind<'a>, WireError> {
        Ok(PathKind { path: text_or_null_error(reader, "path")?, kind: reader.i32()? })
    }
}

/// auth: int type (of no meaning), ustring scheme, buffer auth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Which provider; null names none.
    pub scheme: Option<Cow<'a, str>>,
    /// What it gets.
    pub auth: Option<&'a [u8]>,
}

impl<'a> Auth<'a> {
    /// Reads the body.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Auth<'a>, JuteError> {
        let _type = reader.i32()?;
        Ok(Auth { scheme: text(reader)?, auth: reader.buffer()? })
    }
}

/// setWatches: long relativeZxid, then three vectors of paths; setWatches2: then two more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetWatches<'a> {
    /// The newest zxid the client saw before it was cut off.
    pub relative_zxid: Zxid,
    /// Paths of nodes whose data it had read.
    pub data: Paths<'a>,
    /// Paths where it had found nothing.
    pub exist: Paths<'a>,
    /// Paths whose children it had listed.
    pub child: Paths<'a>,
    /// Paths with a persistent watch.
    pub persistent: Paths<'a>,
    /// Paths with a persistent watch on everything below too.
    pub recursive: Paths<'a>,
}

impl<'a> SetWatches<'a> {
    /// Reads the body of setWatches.
    pub fn decode(reader: &mut Reader<'a>) -> Result<SetWatches<'a>, WireError> {
        Ok(SetWatches {
            relative_zxid: Zxid::from_raw(reader.i64()?),
            data: Paths::decode(reader)?,
            exist: Paths::decode(reader)?,
            child: Paths::decode(reader)?,
            persistent: Paths::EMPTY,
            recursive: Paths::EMPTY,
        })
    }

    /// Reads the body of setWatches2.
    pub fn decode2(reader: &mut Reader<'a>) -> Result<SetWatches<'a>, WireError> {
        let mut watches = SetWatches::decode(reader)?;
        watches.persistent = Paths::decode(reader)?;
        watches.recursive = Paths::decode(reader)?;
        Ok(watches)
    }
}

/// A vector of paths that was checked to decode and to hold no null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paths<'a> {
    /// The items behind the count.
    items: &'a [u8],
}

impl<'a> Paths<'a> {
    const EMPTY: Paths<'static> = Paths { items: &[] };

    fn decode(reader: &mut Reader<'a>) -> Result<Paths<'a>, WireError> {
        let count = reader.count(4)?.unwrap_or(0);
        let start = reader.position();
        for _ in 0..count {
            reader.ustring()?.ok_or(WireError::Null { field: "a watched path" })?;
        }
        Ok(Paths { items: reader.since(start) })
    }

    /// The paths in order.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        let mut reader = Reader::new(self.items);
        std::iter::from_fn(move || text(&mut reader).ok().flatten())
    }
}

/// A vector of ACL entries that was checked to decode; not to make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acls<'a> {
    /// Count and items as they came, the key under which the same list is known again.
    encoded: &'a [u8],
}

/// An ACL entry as it came: int perms, ustring scheme, ustring id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawAcl<'a> {
    /// Permission bits, any number.
    pub perms: i32,
    /// Scheme; null is malformed.
    pub scheme: Option<&'a [u8]>,
    /// Id within the scheme.
    pub id: Option<&'a [u8]>,
}

impl<'a> RawAcl<'a> {
    /// Bytes of the smallest entry.
    const MIN_LEN: usize = 12;

    fn decode(reader: &mut Reader<'a>) -> Result<RawAcl<'a>, JuteError> {
        Ok(RawAcl { perms: reader.i32()?, scheme: reader.ustring()?, id: reader.ustring()? })
    }
}

impl<'a> Acls<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Acls<'a>, JuteError> {
        let start = reader.position();
        for _ in 0..reader.count(RawAcl::MIN_LEN)?.unwrap_or(0) {
            RawAcl::decode(reader)?;
        }
        Ok(Acls { encoded: reader.since(start) })
    }

    /// Reads a list that stands alone; what cannot be decoded reads as null.
    #[cfg(test)]
    pub(crate) fn decode_all(bytes: &'a [u8]) -> Acls<'a> {
        Acls::decode(&mut Reader::new(bytes)).unwrap_or(Acls { encoded: &[0xff; 4] })
    }

    /// The list as it came, count included.
    pub fn encoded(&self) -> &'a [u8] {
        self.encoded
    }

    /// The entries in order; none for a null list.
    pub fn iter(&self) -> impl Iterator<Item = RawAcl<'a>> + use<'a> {
        let mut reader = Reader::new(self.encoded);
        let count = reader.count(RawAcl::MIN_LEN).ok().flatten().unwrap_or(0);
        (0..count).map_while(move |_| RawAcl::decode(&mut reader).ok())
    }
}
