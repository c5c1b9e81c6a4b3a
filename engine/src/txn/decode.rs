//! Reading payloads that any released Apache server may have written.
//!
//! The rules that keep old data readable (in this order):
//! 1. A create (type 1, top level) without its last field is the form of servers before 3.4.
//! 2. A closeSession may have no list: 0 bytes left, or the 12 bytes of a digest (a list of two real paths cannot
//!    fit into 12 bytes), or a null vector.
//! 3. At least 12 bytes left behind the record are a digest; fewer are ignored.
//! 4. Whatever follows the digest is ignored.

use super::multi::MIN_ENTRY_BYTES;
use super::{AclList, Multi, PathList, SubTxn, Txn, TxnDigest, TxnHeader, kind};
use crate::id::{SessionId, Zxid};
use crate::jute::{JuteError, Reader};

const DIGEST_BYTES: usize = 12;

/// The tree keeps the length of name and data of a node in 31 bits.
const MAX_ZNODE_BYTES: usize = i32::MAX as usize - 64;

/// Why a payload is not a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    /// The 32 bytes of the header are not there.
    #[error("reading a transaction header: {source}")]
    Header {
        /// What is wrong.
        source: JuteError,
    },
    /// A field of the record is damaged.
    #[error("reading {field} of transaction {zxid} (type {kind}): {source}")]
    Field {
        /// Which transaction.
        zxid: Zxid,
        /// Its type.
        kind: i32,
        /// Which field.
        field: &'static str,
        /// What is wrong.
        source: JuteError,
    },
    /// A path is null or not UTF-8.
    #[error("the path in transaction {zxid} (type {kind}) is {what}")]
    Path {
        /// Which transaction.
        zxid: Zxid,
        /// Its type.
        kind: i32,
        /// What is wrong.
        what: &'static str,
    },
    /// Path and data together are more than one znode can hold (2 GiB).
    #[error("transaction {zxid} (type {kind}) carries {bytes} bytes for one znode")]
    TooLarge {
        /// Which transaction.
        zxid: Zxid,
        /// Its type.
        kind: i32,
        /// Length of path plus data.
        bytes: usize,
    },
    /// A type that no server logs here.
    #[error("transaction {zxid} has type {kind}{}, which is unknown", if *.in_multi { " inside a multi" } else { "" })]
    UnknownKind {
        /// Which transaction.
        zxid: Zxid,
        /// The type.
        kind: i32,
        /// Whether it is the type of an entry of a multi.
        in_multi: bool,
    },
}

/// Which record is being read, for error texts.
#[derive(Clone, Copy)]
struct Context {
    zxid: Zxid,
    kind: i32,
    in_multi: bool,
}

impl Context {
    fn field<T>(self, field: &'static str, result: Result<T, JuteError>) -> Result<T, TxnError> {
        result.map_err(|source| TxnError::Field { zxid: self.zxid, kind: self.kind, field, source })
    }

    fn path<'a>(self, reader: &mut Reader<'a>) -> Result<&'a str, TxnError> {
        let bytes = self.field("the path", reader.ustring())?;
        self.utf8(bytes.ok_or(self.bad_path("null"))?)
    }

    fn utf8(self, bytes: &[u8]) -> Result<&str, TxnError> {
        std::str::from_utf8(bytes).map_err(|_| self.bad_path("not UTF-8"))
    }

    fn bad_path(self, what: &'static str) -> TxnError {
        TxnError::Path { zxid: self.zxid, kind: self.kind, what }
    }

    fn data<'a>(self, reader: &mut Reader<'a>, path: &str) -> Result<Option<&'a [u8]>, TxnError> {
        let data = self.field("the data", reader.buffer())?;
        let bytes = path.len().saturating_add(data.map_or(0, <[u8]>::len));
        if bytes > MAX_ZNODE_BYTES {
            return Err(TxnError::TooLarge { zxid: self.zxid, kind: self.kind, bytes });
        }
        Ok(data)
    }
}

/// Splits a payload into header, record and digest, everything borrowed.
pub fn decode(payload: &[u8]) -> Result<(TxnHeader, Txn<'_>, Option<TxnDigest>), TxnError> {
    let mut reader = Reader::new(payload);
    let header = header(&mut reader).map_err(|source| TxnError::Header { source })?;
    let context = Context { zxid: header.zxid, kind: header.kind, in_multi: false };
    let txn = match header.kind {
        kind::CREATE_SESSION => Txn::CreateSession { timeout: context.field("the timeout", reader.i32())? },
        kind::CLOSE_SESSION => Txn::CloseSession { paths: closing_paths(context, &mut reader)? },
        kind::CREATE => create_of_any_age(context, &mut reader)?,
        kind::MULTI => multi(context, &mut reader)?,
        _ => simple_record(context, &mut reader)?,
    };
    Ok((header, txn, digest(&mut reader)))
}

fn header(reader: &mut Reader<'_>) -> Result<TxnHeader, JuteError> {
    Ok(TxnHeader {
        client_id: SessionId(reader.i64()?),
        cxid: reader.i32()?,
        zxid: Zxid::from_raw(reader.i64()?),
        time: reader.i64()?,
        kind: reader.i32()?,
    })
}

fn digest(reader: &mut Reader<'_>) -> Option<TxnDigest> {
    if reader.remaining() < DIGEST_BYTES {
        return None;
    }
    let version = reader.i32().ok()?;
    let tree = reader.i64().ok()?;
    Some(TxnDigest { version, tree: tree.cast_unsigned() })
}

/// The records that look the same at top level and inside a multi.
fn simple_record<'a>(context: Context, reader: &mut Reader<'a>) -> Result<Txn<'a>, TxnError> {
    match context.kind {
        kind::ERROR => Ok(Txn::Error { err: context.field("the error", reader.i32())? }),
        kind::CREATE | kind::CREATE2 => {
            let (path, data, acl) = new_node(context, reader)?;
            let ephemeral = context.field("the ephemeral flag", reader.bool())?;
            let parent_cversion = context.field("the parent's cversion", reader.i32())?;
            Ok(Txn::Create { path, data, acl, ephemeral, parent_cversion })
        }
        kind::CREATE_CONTAINER => {
            let (path, data, acl) = new_node(context, reader)?;
            let parent_cversion = context.field("the parent's cversion", reader.i32())?;
            Ok(Txn::CreateContainer { path, data, acl, parent_cversion })
        }
        kind::CREATE_TTL => {
            let (path, data, acl) = new_node(context, reader)?;
            let parent_cversion = context.field("the parent's cversion", reader.i32())?;
            let ttl = context.field("the time to live", reader.i64())?;
            Ok(Txn::CreateTtl { path, data, acl, parent_cversion, ttl })
        }
        kind::DELETE | kind::DELETE_CONTAINER => Ok(Txn::Delete { path: context.path(reader)? }),
        kind::SET_DATA | kind::RECONFIG => {
            let path = context.path(reader)?;
            let data = context.data(reader, path)?;
            let version = context.field("the version", reader.i32())?;
            Ok(Txn::SetData { path, data, version })
        }
        kind::SET_ACL => {
            let path = context.path(reader)?;
            let acl = context.field("the ACL", AclList::read(reader))?;
            let version = context.field("the aversion", reader.i32())?;
            Ok(Txn::SetAcl { path, acl, version })
        }
        kind::CHECK => {
            let path = context.path(reader)?;
            let version = context.field("the version", reader.i32())?;
            Ok(Txn::Check { path, version })
        }
        _ => {
            Err(TxnError::UnknownKind { zxid: context.zxid, kind: context.kind, in_multi: context.in_multi })
        }
    }
}

type NewNode<'a> = (&'a str, Option<&'a [u8]>, AclList<'a>);

/// The fields with which every record of the create family begins.
fn new_node<'a>(context: Context, reader: &mut Reader<'a>) -> Result<NewNode<'a>, TxnError> {
    let path = context.path(reader)?;
    let data = context.data(reader, path)?;
    let acl = context.field("the ACL", AclList::read(reader))?;
    Ok((path, data, acl))
}

/// Rule 1: without room for the last field, the record is from before 3.4.
fn create_of_any_age<'a>(context: Context, reader: &mut Reader<'a>) -> Result<Txn<'a>, TxnError> {
    let (path, data, acl) = new_node(context, reader)?;
    let ephemeral = context.field("the ephemeral flag", reader.bool())?;
    // Fewer than the field's four bytes cannot be a digest either, so nothing is lost by not reading them.
    let parent_cversion = reader.i32().unwrap_or(-1);
    Ok(Txn::Create { path, data, acl, ephemeral, parent_cversion })
}

/// Rule 2: with and without list, with and without digest.
fn closing_paths<'a>(context: Context, reader: &mut Reader<'a>) -> Result<Option<PathList<'a>>, TxnError> {
    let digest_only = reader.remaining() == DIGEST_BYTES && reader.clone().i32() == Ok(TxnDigest::VERSION);
    if reader.remaining() == 0 || digest_only {
        return Ok(None);
    }
    let Some(count) = context.field("the number of paths", reader.count(4))? else {
        return Ok(None);
    };
    let start = reader.position();
    for _ in 0..count {
        context.path(reader)?;
    }
    Ok(Some(PathList { count, items: reader.since(start) }))
}

fn multi<'a>(context: Context, reader: &mut Reader<'a>) -> Result<Txn<'a>, TxnError> {
    let count = context.field("the number of operations", reader.count(MIN_ENTRY_BYTES))?.unwrap_or(0);
    let start = reader.position();
    for _ in 0..count {
        sub_txn_in(context, reader)?;
    }
    Ok(Txn::Multi(Multi { count, items: reader.since(start) }))
}

/// An entry of a multi that was validated as part of its payload.
pub(super) fn sub_txn<'a>(reader: &mut Reader<'a>) -> Result<SubTxn<'a>, TxnError> {
    sub_txn_in(Context { zxid: Zxid::ZERO, kind: kind::MULTI, in_multi: true }, reader)
}

fn sub_txn_in<'a>(multi: Context, reader: &mut Reader<'a>) -> Result<SubTxn<'a>, TxnError> {
    let kind = multi.field("the type of an operation", reader.i32())?;
    let record = multi.field("an operation", reader.buffer())?.unwrap_or_default();
    let context = Context { kind, in_multi: true, ..multi };
    if !may_be_in_multi(kind) {
        return Err(TxnError::UnknownKind { zxid: context.zxid, kind, in_multi: true });
    }
    Ok(SubTxn { kind, txn: simple_record(context, &mut Reader::new(record))? })
}

/// The types that the reference applies as part of a multi.
pub(super) fn may_be_in_multi(kind: i32) -> bool {
    matches!(
        kind,
        kind::ERROR
            | kind::CREATE
            | kind::CREATE2
            | kind::CREATE_CONTAINER
            | kind::CREATE_TTL
            | kind::DELETE
            | kind::DELETE_CONTAINER
            | kind::SET_DATA
            | kind::CHECK
    )
}
