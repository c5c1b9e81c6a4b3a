//! One entry point per decoder, for fuzzers and for the fuzzing that the test run does. None may panic, and what
//! they walk is bounded by the bytes they get.

use ringkeeper_engine::jute::Reader;

use super::multi::{Multi, MultiKind};
use super::op;
use super::request::{
    Auth, ConnectRequest, Create, PathKind, PathVersion, PathWatch, RequestHeader, SetAcl, SetData,
    SetWatches, decode_nullable_path, decode_path,
};

/// A ConnectRequest.
pub fn fuzz_connect(bytes: &[u8]) {
    let _ = ConnectRequest::decode(bytes);
}

/// A request header and the body its opcode announces.
pub fn fuzz_request(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(header) = RequestHeader::decode(&mut reader) else { return };
    fuzz_body(header.op, reader.rest());
}

/// A body, read as that of `op` and walked to its end.
pub fn fuzz_body(op: i32, body: &[u8]) {
    let reader = &mut Reader::new(body);
    match op {
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
            let _ = Create::decode(reader).map(|create| create.acl.iter().count());
        }
        op::CREATE_TTL => {
            let _ = Create::decode_ttl(reader).map(|create| create.acl.iter().count());
        }
        op::DELETE | op::CHECK => drop(PathVersion::decode(reader)),
        op::EXISTS | op::GET_DATA | op::GET_CHILDREN | op::GET_CHILDREN2 => drop(PathWatch::decode(reader)),
        op::SET_DATA => drop(SetData::decode(reader)),
        op::SET_ACL => {
            let _ = SetAcl::decode(reader).map(|set| set.acl.iter().count());
        }
        op::GET_ACL | op::GET_ALL_CHILDREN_NUMBER => drop(decode_path(reader)),
        op::SYNC | op::GET_EPHEMERALS => drop(decode_nullable_path(reader)),
        op::MULTI => fuzz_multi(body, MultiKind::Write),
        op::MULTI_READ => fuzz_multi(body, MultiKind::Read),
        op::CHECK_WATCHES | op::REMOVE_WATCHES | op::ADD_WATCH => drop(PathKind::decode(reader)),
        op::AUTH => drop(Auth::decode(reader)),
        op::SET_WATCHES => fuzz_watches(SetWatches::decode(reader).ok()),
        op::SET_WATCHES2 => fuzz_watches(SetWatches::decode2(reader).ok()),
        _ => {}
    }
}

fn fuzz_multi(body: &[u8], kind: MultiKind) {
    if let Ok(multi) = Multi::decode(&Reader::new(body), kind) {
        multi.ops().count();
    }
}

fn fuzz_watches(watches: Option<SetWatches<'_>>) {
    if let Some(it) = watches {
        for paths in [it.data, it.exist, it.child, it.persistent, it.recursive] {
            paths.iter().count();
        }
    }
}
