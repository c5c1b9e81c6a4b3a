//! Encoding and decoding on the path of a request: the request itself, and transactions into and out of the log.
//!
//! Every one of these runs once or twice per request on the one core of the replica loop, whose whole budget is
//! about a microsecond.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper_bench::wire as rkwire;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::txn::{Acl, AclList, Txn, TxnDigest, TxnHeader, decode, encode_into, kind};
use ringkeeper_net::wire::request::{Create, PathWatch, RequestHeader, SetData};

const PATH: &str = "/services/orders/leader-0000000042";

fn header(kind: i32) -> TxnHeader {
    TxnHeader {
        client_id: SessionId(0x1_0000_0e4e_7a00),
        cxid: 7,
        zxid: Zxid::from_raw(0x1_0000_002a),
        time: 1_750_000_000_000,
        kind,
    }
}

fn transactions(c: &mut Criterion) {
    let data = [7u8; 100];
    let mut acl = Vec::new();
    let acl = AclList::encode(&[Acl::world(31)], &mut acl);
    let cases = [
        ("set_100B", kind::SET_DATA, Txn::SetData { path: PATH, data: Some(&data), version: 3 }),
        (
            "create_100B",
            kind::CREATE,
            Txn::Create { path: PATH, data: Some(&data), acl, ephemeral: false, parent_cversion: 9 },
        ),
    ];
    let mut group = c.benchmark_group("txn");
    group.throughput(Throughput::Elements(1));
    for (name, kind, txn) in cases {
        let header = header(kind);
        let mut out = Vec::with_capacity(1024);
        group.bench_function(format!("encode_{name}"), |b| {
            b.iter(|| {
                out.clear();
                encode_into(black_box(&header), black_box(&txn), Some(TxnDigest::new(42)), &mut out);
                black_box(out.len())
            });
        });
        group.bench_function(format!("decode_{name}"), |b| {
            b.iter(|| decode(black_box(&out)).expect("it was encoded just now"));
        });
    }
    group.finish();
}

fn requests(c: &mut Criterion) {
    let mut get = Vec::new();
    rkwire::read(&mut get, 7, rkwire::GET_DATA, PATH);
    let mut set = Vec::new();
    rkwire::set_data(&mut set, 7, PATH, &[7; 100]);
    let mut create = Vec::new();
    rkwire::create(&mut create, 7, PATH, &[7; 100], 0);
    let mut group = c.benchmark_group("request");
    group.throughput(Throughput::Elements(1));
    // A frame begins with its length, which the framing has taken off.
    group.bench_function("decode_get", |b| {
        b.iter(|| {
            let mut reader = Reader::new(black_box(&get[4..]));
            let header = RequestHeader::decode(&mut reader).expect("well-formed");
            black_box((header, PathWatch::decode(&mut reader).expect("well-formed")));
        });
    });
    group.bench_function("decode_set_100B", |b| {
        b.iter(|| {
            let mut reader = Reader::new(black_box(&set[4..]));
            let header = RequestHeader::decode(&mut reader).expect("well-formed");
            black_box((header, SetData::decode(&mut reader).expect("well-formed")));
        });
    });
    group.bench_function("decode_create_100B", |b| {
        b.iter(|| {
            let mut reader = Reader::new(black_box(&create[4..]));
            let header = RequestHeader::decode(&mut reader).expect("well-formed");
            black_box((header, Create::decode(&mut reader).expect("well-formed")));
        });
    });
    group.finish();
}

criterion_group!(benches, transactions, requests);
criterion_main!(benches);
