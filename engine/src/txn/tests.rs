use super::*;
use crate::id::{SessionId, Zxid};
use crate::jute::{self, JuteError};

/// The payloads of a log that Apache ZooKeeper 3.8.0 wrote.
pub(crate) fn apache_log() -> Vec<&'static [u8]> {
    let file: &'static [u8] = include_bytes!("../../testdata/apache-3.8.0.log");
    let mut reader = Reader::new(&file[16..]);
    let mut payloads = Vec::new();
    while reader.remaining() > 0 {
        reader.take(8).unwrap(); // Adler-32
        payloads.push(reader.buffer().unwrap().unwrap());
        assert_eq!(reader.u8(), Ok(b'B'));
    }
    payloads
}

fn header(kind: i32) -> TxnHeader {
    TxnHeader {
        client_id: SessionId(0x0100_000d_1d0c_0000),
        cxid: 3,
        zxid: Zxid::from_raw(7),
        time: 1_795_285_959_208,
        kind,
    }
}

fn encoded(kind: i32, txn: &Txn<'_>, digest: Option<TxnDigest>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(&header(kind), txn, digest, &mut out);
    out
}

fn world_acl() -> Vec<u8> {
    let mut out = Vec::new();
    put_acls(&mut out, &[Acl::world(Acl::ALL)]);
    out
}

/// One record of every type, with the type.
fn every_record<'a>(acl: AclList<'a>, paths: PathList<'a>, multi: Multi<'a>) -> Vec<(i32, Txn<'a>)> {
    let (path, data) = ("/ä/b", Some(&b"data"[..]));
    vec![
        (kind::CREATE_SESSION, Txn::CreateSession { timeout: 10_000 }),
        (kind::CLOSE_SESSION, Txn::CloseSession { paths: None }),
        (kind::CLOSE_SESSION, Txn::CloseSession { paths: Some(paths) }),
        (kind::ERROR, Txn::Error { err: -110 }),
        (kind::CREATE, Txn::Create { path, data, acl, ephemeral: true, parent_cversion: 1 }),
        (kind::CREATE2, Txn::Create { path, data: None, acl, ephemeral: false, parent_cversion: -1 }),
        (kind::CREATE_CONTAINER, Txn::CreateContainer { path, data, acl, parent_cversion: 4 }),
        (kind::CREATE_TTL, Txn::CreateTtl { path, data, acl, parent_cversion: 5, ttl: 3_600_000 }),
        (kind::DELETE, Txn::Delete { path }),
        (kind::DELETE_CONTAINER, Txn::Delete { path }),
        (kind::SET_DATA, Txn::SetData { path, data: Some(b""), version: 1 }),
        (kind::RECONFIG, Txn::SetData { path: "/zookeeper/config", data, version: -1 }),
        (kind::SET_ACL, Txn::SetAcl { path, acl: AclList::NULL, version: i32::MIN }),
        (kind::CHECK, Txn::Check { path, version: 2 }),
        (kind::MULTI, Txn::Multi(multi)),
    ]
}

fn with_every_record(check: impl Fn(i32, &Txn<'_>)) {
    let (mut acl, mut paths) = (Vec::new(), Vec::new());
    let acl = AclList::encode(&[Acl::world(Acl::ALL), Acl::world(1)], &mut acl);
    let paths = PathList::encode(["/a/e", "/a/f", "/g"], &mut paths);
    let mut multi = MultiBuilder::new();
    multi.push(
        kind::CREATE2,
        &Txn::Create { path: "/m", data: None, acl, ephemeral: false, parent_cversion: 6 },
    );
    multi.push(kind::CHECK, &Txn::Check { path: "/m", version: 1 });
    multi.push(kind::DELETE, &Txn::Delete { path: "/m" });
    multi.push(kind::ERROR, &Txn::Error { err: -2 });
    for (kind, txn) in every_record(acl, paths, multi.multi()) {
        check(kind, &txn);
    }
}

#[test]
fn a_log_of_the_reference_is_reencoded_byte_for_byte() {
    let payloads = apache_log();
    assert_eq!(payloads.len(), 14);
    for (payload, zxid) in payloads.into_iter().zip(1..) {
        let (header, txn, digest) = decode(payload).unwrap();
        assert_eq!(header.zxid.raw(), zxid);
        assert_eq!(digest.is_none(), header.kind == kind::ERROR);
        let mut out = Vec::new();
        encode_into(&header, &txn, digest, &mut out);
        assert_eq!(out, payload, "{txn:?}");
    }
}

#[test]
fn the_records_of_the_reference_mean_what_they_should() {
    let payloads = apache_log();
    let txn = |zxid: usize| decode(payloads[zxid - 1]).unwrap().1;
    assert_eq!(txn(1), Txn::CreateSession { timeout: 10_000 });
    let acl = world_acl();
    let acl = AclList::read(&mut Reader::new(&acl)).unwrap();
    assert_eq!(
        txn(2),
        Txn::Create { path: "/a", data: Some(b"hello"), acl, ephemeral: false, parent_cversion: 1 }
    );
    assert_eq!(txn(0xa), Txn::Delete { path: "/b" });
    let Txn::Multi(multi) = txn(0xc) else { panic!("a multi") };
    assert!(multi.failed());
    let kinds: Vec<i32> = multi.iter().map(|sub| sub.kind).collect();
    assert_eq!(kinds, [kind::CREATE, kind::ERROR, kind::ERROR]);
    let Txn::CloseSession { paths: Some(paths) } = txn(0xe) else { panic!("a list") };
    assert_eq!(paths.iter().collect::<Vec<_>>(), ["/a/e"]);
}

#[test]
fn every_record_survives_the_round_trip_with_and_without_digest() {
    with_every_record(|kind, txn| {
        for digest in [None, Some(TxnDigest::new(0xdead_beef)), Some(TxnDigest { version: 3, tree: 1 })] {
            let bytes = encoded(kind, txn, digest);
            if matches!(txn, Txn::CloseSession { paths: None }) && digest.is_some_and(|d| d.version != 2) {
                continue; // twelve bytes that do not begin with a 2 are a list
            }
            assert_eq!(decode(&bytes), Ok((header(kind), *txn, digest)), "{txn:?}");
        }
    });
}

#[test]
fn a_truncated_payload_is_an_error_or_an_older_form_and_never_a_panic() {
    with_every_record(|kind, txn| {
        let bytes = encoded(kind, txn, None);
        for len in 0..bytes.len() {
            let result = decode(&bytes[..len]);
            let old_create = kind == kind::CREATE && len + 4 >= bytes.len();
            let no_list = kind == kind::CLOSE_SESSION && len == 32;
            assert_eq!(result.is_ok(), old_create || no_list, "{len} bytes of {txn:?}: {result:?}");
        }
    });
}

#[test]
fn damaged_payloads_are_errors_and_never_a_panic() {
    fastrand::seed(7);
    with_every_record(|kind, txn| {
        let bytes = encoded(kind, txn, Some(TxnDigest::new(1)));
        for _ in 0..2000 {
            let mut damaged = bytes.clone();
            for _ in 0..fastrand::usize(1..4) {
                let at = fastrand::usize(28..damaged.len());
                damaged[at] = fastrand::u8(..);
            }
            if let Ok((header, txn, digest)) = decode(&damaged) {
                let mut out = Vec::new();
                encode_into(&header, &txn, digest, &mut out);
            }
        }
    });
}

#[test]
fn a_create_from_before_3_4_has_no_parent_cversion() {
    let acl = world_acl();
    let acl = AclList::read(&mut Reader::new(&acl)).unwrap();
    let txn = Txn::Create { path: "/a", data: None, acl, ephemeral: true, parent_cversion: -1 };
    for kind in [kind::CREATE, kind::CREATE2] {
        let mut bytes = encoded(kind, &txn, None);
        bytes.truncate(bytes.len() - 4);
        match kind {
            kind::CREATE => assert_eq!(decode(&bytes).map(|decoded| decoded.1), Ok(txn)),
            _ => assert!(decode(&bytes).is_err()),
        }
    }
}

#[test]
fn a_close_session_without_list_is_told_by_its_length() {
    let close = |tail: &[u8]| {
        let mut bytes = encoded(kind::CLOSE_SESSION, &Txn::CloseSession { paths: None }, None);
        bytes.extend_from_slice(tail);
        decode(&bytes).map(|(_, txn, digest)| {
            let Txn::CloseSession { paths } = txn else { panic!("{txn:?}") };
            (paths.map(|paths| paths.iter().map(str::to_owned).collect::<Vec<_>>()), digest)
        })
    };
    let digest = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5];
    assert_eq!(close(&[]), Ok((None, None)));
    assert_eq!(close(&digest), Ok((None, Some(TxnDigest::new(5)))));
    assert_eq!(close(&[0xff; 4]), Ok((None, None)));
    assert_eq!(close(&[&[0xff; 4][..], &digest].concat()), Ok((None, Some(TxnDigest::new(5)))));
    assert_eq!(close(&[0; 4]), Ok((Some(vec![]), None)));
    let list = [&[0, 0, 0, 1, 0, 0, 0, 2][..], b"/e"].concat();
    assert_eq!(close(&list), Ok((Some(vec!["/e".into()]), None)));
    assert_eq!(close(&[&list[..], &digest].concat()), Ok((Some(vec!["/e".into()]), Some(TxnDigest::new(5)))));
}

#[test]
fn what_follows_the_digest_or_cannot_be_one_is_ignored() {
    let mut bytes = encoded(kind::DELETE, &Txn::Delete { path: "/a" }, None);
    bytes.extend_from_slice(&[0; 11]);
    assert_eq!(decode(&bytes).unwrap().2, None);
    bytes.extend_from_slice(&[9; 20]);
    assert_eq!(decode(&bytes).unwrap().2.map(|digest| digest.version), Some(0));
}

#[test]
fn unknown_types_are_refused_by_name_and_zxid() {
    let mut bytes = encoded(kind::DELETE, &Txn::Delete { path: "/a" }, None);
    bytes[28..32].copy_from_slice(&99i32.to_be_bytes());
    assert_eq!(decode(&bytes).unwrap_err().to_string(), "transaction 0x7 has type 99, which is unknown");
    for nested in [kind::MULTI, kind::CREATE_SESSION, kind::CLOSE_SESSION, kind::SET_ACL, 99] {
        let mut bytes = encoded(kind::MULTI, &Txn::Multi(MultiBuilder::new().multi()), None);
        bytes.truncate(32);
        jute::put_len(&mut bytes, 1);
        jute::put_i32(&mut bytes, nested);
        jute::put_buffer(&mut bytes, Some(&[0; 64]));
        assert_eq!(
            decode(&bytes).unwrap_err().to_string(),
            format!("transaction 0x7 has type {nested} inside a multi, which is unknown")
        );
    }
}

#[test]
fn a_path_must_be_there_and_be_text() {
    let delete = |path: Option<&[u8]>| {
        let mut bytes = encoded(kind::DELETE, &Txn::Delete { path: "" }, None);
        bytes.truncate(32);
        jute::put_buffer(&mut bytes, path);
        decode(&bytes).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(delete(Some(b"/a")), Ok(()));
    assert_eq!(delete(None), Err("the path in transaction 0x7 (type 2) is null".into()));
    assert_eq!(delete(Some(b"/\xff")), Err("the path in transaction 0x7 (type 2) is not UTF-8".into()));
}

#[test]
fn an_acl_id_that_is_not_utf8_keeps_its_bytes() {
    let mut bytes = Vec::new();
    jute::put_len(&mut bytes, 1);
    jute::put_i32(&mut bytes, 31);
    jute::put_ustring(&mut bytes, "digest");
    jute::put_buffer(&mut bytes, Some(b"\xed\xa0\xbd\xed\xb8\x80"));
    let list = AclList::read(&mut Reader::new(&bytes)).unwrap();
    assert_eq!(list.iter().next().unwrap().id, b"\xed\xa0\xbd\xed\xb8\x80");
    assert_eq!(list.encoded(), bytes);
    assert_eq!(list.to_acls().len(), 1);
}

#[test]
fn null_and_empty_acl_lists_differ() {
    let read = |count: i32| {
        AclList::read(&mut Reader::new(&count.to_be_bytes())).map(|list| (list.is_null(), list.len()))
    };
    assert_eq!(read(-1), Ok((true, 0)));
    assert_eq!(read(0), Ok((false, 0)));
    assert_eq!(read(i32::MAX), Err(JuteError::ImpossibleCount { at: 0, count: i32::MAX, have: 0 }));
    assert_eq!((AclList::NULL.is_null(), AclList::NULL.iter().count()), (true, 0));
}

#[test]
#[should_panic(expected = "a record of type 2 was given as")]
fn a_record_that_does_not_fit_its_type_is_never_written() {
    encoded(kind::DELETE, &Txn::Error { err: 0 }, None);
}
