//! The bodies of multi and multiRead: operations one after the other, each behind a header of nine bytes.
//!
//! ```text
//! 0          4      5         9
//! | int type | done | int err | body of the operation | ... | -1 | 1 | -1 |
//! ```
//!
//! The `done` flag ends the list. A request is walked twice: [`Multi::decode`] checks all of it, because one bad
//! operation spoils the whole request, and [`Multi::ops`] hands the operations out; so nothing is collected.

use std::borrow::Cow;

use ringkeeper_engine::jute::Reader;

use super::request::{Create, PathVersion, PathWatch, SetData};
use super::{WireError, op};

/// Which operations may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiKind {
    /// Writes and checks (opcode 14).
    Write,
    /// getData and getChildren (opcode 22).
    Read,
}

/// The body of a multi or multiRead that was checked to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multi<'a> {
    body: &'a [u8],
    kind: MultiKind,
}

/// One operation of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// create, create2, createContainer or createTTL.
    Create {
        /// Which of them.
        op: i32,
        /// Its body.
        body: Create<'a>,
    },
    /// delete.
    Delete(PathVersion<'a>),
    /// setData.
    SetData(SetData<'a>),
    /// check.
    Check(PathVersion<'a>),
    /// getData; the watch flag has no meaning here.
    GetData(Cow<'a, str>),
    /// getChildren; the watch flag has no meaning here.
    GetChildren(Cow<'a, str>),
}

impl<'a> Multi<'a> {
    /// Checks the body that `reader` stands at.
    pub fn decode(reader: &Reader<'a>, kind: MultiKind) -> Result<Multi<'a>, WireError> {
        let multi = Multi { body: reader.rest(), kind };
        let mut reader = reader.clone();
        while decode_op(&mut reader, kind)?.is_some() {}
        Ok(multi)
    }

    /// The operations in order.
    pub fn ops(&self) -> impl Iterator<Item = MultiOp<'a>> + use<'a> {
        let (mut reader, kind) = (Reader::new(self.body), self.kind);
        std::iter::from_fn(move || decode_op(&mut reader, kind).ok().flatten())
    }
}

fn decode_op<'a>(reader: &mut Reader<'a>, kind: MultiKind) -> Result<Option<MultiOp<'a>>, WireError> {
    let op = reader.i32()?;
    let done = reader.bool()?;
    let _err = reader.i32()?;
    if done {
        return Ok(None);
    }
    Ok(Some(match (kind, op) {
        (MultiKind::Write, op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL) => {
            let body =
                if op == op::CREATE_TTL { Create::decode_ttl(reader)? } else { Create::decode(reader)? };
            if body.path.is_none() {
                return Err(WireError::Null { field: "the path of a create" });
            }
            if !(0..=6).contains(&body.flags) {
                return Err(WireError::UnknownFlags { flags: body.flags });
            }
            MultiOp::Create { op, body }
        }
        (MultiKind::Write, op::DELETE) => MultiOp::Delete(with_path(PathVersion::decode(reader)?)?),
        (MultiKind::Write, op::CHECK) => MultiOp::Check(with_path(PathVersion::decode(reader)?)?),
        (MultiKind::Write, op::SET_DATA) => {
            let body = SetData::decode(reader)?;
            if body.path.is_none() {
                return Err(WireError::Null { field: "the path of a setData" });
            }
            MultiOp::SetData(body)
        }
        (MultiKind::Read, op::GET_DATA) => MultiOp::GetData(PathWatch::decode(reader)?.path),
        (MultiKind::Read, op::GET_CHILDREN) => MultiOp::GetChildren(PathWatch::decode(reader)?.path),
        _ => return Err(WireError::ForeignOp { kind: op }),
    }))
}

fn with_path(body: PathVersion<'_>) -> Result<PathVersion<'_>, WireError> {
    match body.path {
        Some(_) => Ok(body),
        None => Err(WireError::Null { field: "the path of a delete or check" }),
    }
}
