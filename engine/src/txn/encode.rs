//! Writing payloads, byte for byte as the Apache server does.

use super::{Txn, TxnDigest, TxnHeader, kind};
use crate::jute::{put_bool, put_buffer, put_i32, put_i64, put_len, put_ustring};

/// Appends the payload to `out`. A record that does not have the layout of `header.kind` is a bug of the caller.
pub fn encode_into(header: &TxnHeader, txn: &Txn<'_>, digest: Option<TxnDigest>, out: &mut Vec<u8>) {
    put_i64(out, header.client_id.0);
    put_i32(out, header.cxid);
    put_i64(out, header.zxid.raw());
    put_i64(out, header.time);
    put_i32(out, header.kind);
    record_into(header.kind, txn, out);
    if let Some(digest) = digest {
        put_i32(out, digest.version);
        put_i64(out, digest.tree as i64);
    }
}

/// Appends the record alone.
pub(super) fn record_into(record_kind: i32, txn: &Txn<'_>, out: &mut Vec<u8>) {
    match (record_kind, *txn) {
        (kind::CREATE_SESSION, Txn::CreateSession { timeout }) => put_i32(out, timeout),
        (kind::CLOSE_SESSION, Txn::CloseSession { paths: None }) => {}
        (kind::CLOSE_SESSION, Txn::CloseSession { paths: Some(paths) }) => {
            put_len(out, paths.count);
            out.extend_from_slice(paths.items);
        }
        (kind::ERROR, Txn::Error { err }) => put_i32(out, err),
        (kind::CREATE | kind::CREATE2, Txn::Create { path, data, acl, ephemeral, parent_cversion }) => {
            put_ustring(out, path);
            put_buffer(out, data);
            out.extend_from_slice(acl.encoded());
            put_bool(out, ephemeral);
            put_i32(out, parent_cversion);
        }
        (kind::CREATE_CONTAINER, Txn::CreateContainer { path, data, acl, parent_cversion }) => {
            put_ustring(out, path);
            put_buffer(out, data);
            out.extend_from_slice(acl.encoded());
            put_i32(out, parent_cversion);
        }
        (kind::CREATE_TTL, Txn::CreateTtl { path, data, acl, parent_cversion, ttl }) => {
            put_ustring(out, path);
            put_buffer(out, data);
            out.extend_from_slice(acl.encoded());
            put_i32(out, parent_cversion);
            put_i64(out, ttl);
        }
        (kind::DELETE | kind::DELETE_CONTAINER, Txn::Delete { path }) => put_ustring(out, path),
        (kind::SET_DATA | kind::RECONFIG, Txn::SetData { path, data, version }) => {
            put_ustring(out, path);
            put_buffer(out, data);
            put_i32(out, version);
        }
        (kind::SET_ACL, Txn::SetAcl { path, acl, version }) => {
            put_ustring(out, path);
            out.extend_from_slice(acl.encoded());
            put_i32(out, version);
        }
        (kind::CHECK, Txn::Check { path, version }) => {
            put_ustring(out, path);
            put_i32(out, version);
        }
        (kind::MULTI, Txn::Multi(multi)) => {
            put_len(out, multi.count);
            out.extend_from_slice(multi.items);
        }
        (kind, txn) => panic!("a record of type {kind} was given as {txn:?}"),
    }
}
