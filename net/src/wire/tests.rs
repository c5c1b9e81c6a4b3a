use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::{JuteError, Reader, put_bool, put_i32, put_i64, put_len, put_ustring};

use super::multi::{Multi, MultiKind, MultiOp};
use super::reply::{self, EventType};
use super::request::{Acls, ConnectRequest, Create, PathWatch, RequestHeader, SetData, SetWatches};
use super::{Code, WireError, op};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_connect_request_reads_as_captured() {
    let frame = hex(
        "00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000 00",
    );
    assert_eq!(frame.len(), 0x2d);
    let request = ConnectRequest {
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 10_000,
        session: SessionId::NONE,
        password: Some(&[0; 16]),
        read_only: Some(false),
    };
    assert_eq!(ConnectRequest::decode(&frame), Ok(request));
    assert_eq!(ConnectRequest::decode(&frame[..44]), Ok(ConnectRequest { read_only: None, ..request }));
    assert!(ConnectRequest::decode(&frame[..43]).is_err());
}

#[test]
fn connect_responses_are_the_captured_bytes() {
    let mut frame = Vec::new();
    let session = SessionId(0x0100_000e_4e7a_0000);
    let password = 0xd476_9dc9_d141_d380_d297_c139_0299_0e2d_u128.to_be_bytes();
    reply::connect(&mut frame, Some((10_000, session, password)), Some(false));
    assert_eq!(
        frame,
        hex("00000025 00000000 00002710 0100000e4e7a0000 00000010 d4769dc9d141d380d297c13902990e2d 00")
    );
    let expired = hex("00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000");
    reply::connect(&mut frame, None, Some(false));
    assert_eq!(frame, [&hex("00000025")[..], &expired, &[0]].concat());
    reply::connect(&mut frame, None, None);
    assert_eq!(frame, [&hex("00000024")[..], &expired].concat());
}

#[test]
fn requests_read_as_captured() {
    let frame = hex(
        "00000009 00000001 00000002 2f61 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
    );
    assert_eq!(frame.len(), 0x31);
    let mut reader = Reader::new(&frame);
    assert_eq!(RequestHeader::decode(&mut reader), Ok(RequestHeader { xid: 9, op: op::CREATE }));
    let create = Create::decode(&mut reader).unwrap();
    assert_eq!((create.path.as_deref(), create.data, create.flags), (Some("/a"), Some(&b""[..]), 0));
    let acl: Vec<_> = create.acl.iter().collect();
    assert_eq!(acl.len(), 1);
    assert_eq!((acl[0].perms, acl[0].scheme, acl[0].id), (31, Some(&b"world"[..]), Some(&b"anyone"[..])));
    assert_eq!(reader.remaining(), 0);

    let frame = hex("fffffffe 0000000b");
    assert_eq!(RequestHeader::decode(&mut Reader::new(&frame)), Ok(RequestHeader { xid: -2, op: op::PING }));
}

#[test]
fn replies_and_events_are_the_captured_bytes() {
    let mut frame = Vec::new();
    let mut header = |xid, zxid, err| {
        reply::begin(&mut frame, xid, Zxid::from_raw(zxid), err);
        reply::end(&mut frame);
        frame.clone()
    };
    assert_eq!(header(op::XID_PING, 2, 0), hex("00000010 fffffffe 0000000000000002 00000000"));
    assert_eq!(header(11, 4, Code::NoNode.raw()), hex("00000010 0000000b 0000000000000004 ffffff9b"));
    assert_eq!(header(1, -1, Code::Unimplemented.raw()), hex("00000010 00000001 ffffffffffffffff fffffffa"));
    reply::begin(&mut frame, 9, Zxid::from_raw(3), 0);
    put_ustring(&mut frame, "/a");
    reply::end(&mut frame);
    assert_eq!(frame, hex("00000016 00000009 0000000000000003 00000000 00000002 2f61"));
    reply::event(&mut frame, Zxid::from_raw(-1), EventType::NodeDataChanged, "/w");
    assert_eq!(frame, hex("0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f77"));
}

#[test]
fn multi_results_are_the_captured_bytes() {
    let mut frame = Vec::new();
    for err in [0, Code::BadVersion.raw(), Code::RuntimeInconsistency.raw()] {
        reply::multi_error(&mut frame, err);
    }
    reply::multi_end(&mut frame);
    assert_eq!(
        frame,
        hex(
            "ffffffff 00 00000000 00000000 ffffffff 00 ffffff99 ffffff99 ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff"
        )
    );
}

#[test]
fn null_and_empty_data_differ() {
    for (bytes, data) in
        [(hex("00000001 61 ffffffff 00000007"), None), (hex("00000001 61 00000000 00000007"), Some(&b""[..]))]
    {
        let set = SetData::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!((set.data, set.version), (data, 7));
    }
}

#[test]
fn reads_refuse_a_null_path_and_say_so() {
    let error = PathWatch::decode(&mut Reader::new(&hex("ffffffff 00"))).unwrap_err();
    assert_eq!(error, WireError::Null { field: "path" });
    assert_eq!(error.to_string(), "decoding a request: path is null");
    let error = PathWatch::decode(&mut Reader::new(&hex("00000009 2f61"))).unwrap_err();
    assert_eq!(error, WireError::Jute(JuteError::Truncated { at: 4, need: 9, have: 2 }));
    assert_eq!(error.to_string(), "decoding a request: 9 bytes needed at offset 4, 2 left");
}

#[test]
fn an_acl_list_is_believed_as_far_as_bytes_are_there() {
    let mut bytes = hex("7fffffff");
    bytes.resize(4 + 12 * 10, 0);
    assert_eq!(Acls::decode_all(&bytes).iter().count(), 0);
    bytes[..4].copy_from_slice(&10i32.to_be_bytes());
    assert_eq!(Acls::decode_all(&bytes).iter().count(), 10);
}

#[test]
fn watch_lists_are_walked_in_order() {
    let mut bytes = Vec::new();
    put_i64(&mut bytes, 77);
    for list in [&["/a", "/b"][..], &[], &["/c"], &["/d"], &["/e", "/f"]] {
        put_len(&mut bytes, list.len());
        list.iter().for_each(|path| put_ustring(&mut bytes, path));
    }
    let watches = SetWatches::decode2(&mut Reader::new(&bytes)).unwrap();
    assert_eq!(watches.relative_zxid.raw(), 77);
    let lists = [watches.data, watches.exist, watches.child, watches.persistent, watches.recursive];
    let paths: Vec<Vec<_>> = lists.iter().map(|list| list.iter().collect()).collect();
    assert_eq!(paths, [vec!["/a", "/b"], vec![], vec!["/c"], vec!["/d"], vec!["/e", "/f"]]);
    let watches = SetWatches::decode(&mut Reader::new(&bytes)).unwrap();
    assert_eq!(watches.persistent.iter().count(), 0);
}

#[test]
fn a_multi_is_checked_as_a_whole_before_its_operations_are_handed_out() {
    let mut body = Vec::new();
    let mut push = |kind: i32, done: bool, bytes: &[u8]| {
        put_i32(&mut body, kind);
        put_bool(&mut body, done);
        put_i32(&mut body, -1);
        body.extend_from_slice(bytes);
        body.clone()
    };
    let delete = hex("00000002 2f61 ffffffff");
    let unfinished = push(op::DELETE, false, &delete);
    assert!(matches!(Multi::decode(&Reader::new(&unfinished), MultiKind::Write), Err(WireError::Jute(_))));
    let finished = push(-1, true, b"trailing");
    let multi = Multi::decode(&Reader::new(&finished), MultiKind::Write).unwrap();
    let ops: Vec<_> = multi.ops().collect();
    assert!(matches!(&ops[..], [MultiOp::Delete(delete)] if delete.path.as_deref() == Some("/a")));
    let error = Multi::decode(&Reader::new(&finished), MultiKind::Read).unwrap_err();
    assert_eq!(error, WireError::ForeignOp { kind: op::DELETE });
    assert_eq!(error.to_string(), "decoding a multi request: operation 2 is not allowed in it");
}

#[test]
fn every_operation_has_its_tag() {
    for (op, tag) in
        [(op::CREATE_TTL, "CREA"), (op::GET_CHILDREN2, "GETC"), (op::WHO_AM_I, "HOMI"), (77, "NA")]
    {
        assert_eq!(op::tag(op), tag);
    }
}
