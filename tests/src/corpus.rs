//! Valid inputs to begin with: what every decoder accepts before something is changed.

use ringkeeper_engine::id::{Epoch, SessionId, Sid, Zxid};
use ringkeeper_net::wire::election::{Hello, Notification, State};
use ringkeeper_net::wire::quorum::{self, payload, payload::LearnerInfo};

use crate::wire::{Body, connect_request, op, request};

/// A valid body of every operation that has one.
pub fn bodies() -> Vec<(i32, Body)> {
    let watched = || Body::new().string("/bystander").bool(true);
    vec![
        (op::CREATE, Body::create("/x", b"data", 0)),
        (op::CREATE2, Body::create("/y", b"data", 0)),
        (op::DELETE, Body::new().string("/x").int(-1)),
        (op::EXISTS, watched()),
        (op::GET_DATA, watched()),
        (op::SET_DATA, Body::new().string("/x").buffer(b"data").int(-1)),
        (op::GET_ACL, Body::new().string("/x")),
        (op::SET_ACL, Body::new().string("/x").open_acl().int(-1)),
        (op::GET_CHILDREN, watched()),
        (op::GET_CHILDREN2, watched()),
        (op::SYNC, Body::new().string("/x")),
        (op::MULTI, multi(&[(op::CHECK, Body::new().string("/").int(-1))])),
        (op::SET_WATCHES, Body::new().long(0).int(1).string("/a").int(1).string("/b").int(1).string("/c")),
    ]
}

/// The body of a multi with these parts.
pub fn multi(parts: &[(i32, Body)]) -> Body {
    let body =
        parts.iter().fold(Body::new(), |body, (op, part)| body.int(*op).bool(false).int(-1).raw(&part.0));
    body.int(-1).bool(true).int(-1)
}

/// Whole requests: header and body, without the length of the frame.
pub fn requests() -> Vec<Vec<u8>> {
    let more = [
        (op::AUTH, Body::new().int(0).string("digest").buffer(b"user:password")),
        (op::PING, Body::new()),
        (op::CLOSE_SESSION, Body::new()),
        (
            op::MULTI,
            multi(&[
                (op::CREATE, Body::create("/m", b"data", 2)),
                (op::SET_DATA, Body::new().string("/m").buffer(b"more").int(0)),
                (op::CHECK, Body::new().string("/m").int(1)),
                (op::DELETE, Body::new().string("/m").int(-1)),
            ]),
        ),
        (19, Body::create("/container", b"", 4)),
        (21, Body::create("/ttl", b"", 5).long(60_000)),
        (
            22,
            multi(&[
                (op::GET_DATA, Body::new().string("/").bool(false)),
                (op::GET_CHILDREN, Body::new().string("/").bool(false)),
            ]),
        ),
        (17, Body::new().string("/x").int(3)),
        (18, Body::new().string("/x").int(3)),
        (103, Body::new().string("/")),
        (104, Body::new().string("/")),
        (105, (0..5).fold(Body::new().long(7), |body, _| body.int(1).string("/w"))),
        (106, Body::new().string("/x").int(1)),
        (107, Body::new()),
    ];
    bodies()
        .into_iter()
        .chain(more)
        .enumerate()
        .map(|(i, (op, body))| request(i as i32 + 1, op, &body).0)
        .collect()
}

/// ConnectRequests: new, resumed, of an old client, with an empty password.
pub fn connects() -> Vec<Vec<u8>> {
    let new = connect_request(10_000, 0, &[0; 16]).0;
    let old = new[..new.len() - 1].to_vec();
    vec![new, old, connect_request(10_000, 0x1234_5678, &[7; 16]).0, connect_request(-1, 0, &[]).0]
}

/// Hellos and notifications.
pub fn elections() -> Vec<Vec<u8>> {
    let hello = Hello { sid: Sid(3), addresses: vec![("127.0.0.1".into(), 22223), ("::1".into(), 3888)] };
    let vote = Notification {
        state: State::Looking,
        leader: Sid(1),
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: 0,
        version: 2,
    };
    vec![hello.encode(), [vote.encode(b"version=0"), vote.encode(b"")].concat()]
}

/// A stream of packets with payloads of all kinds.
pub fn quorums() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    for observer in [false, true] {
        let info =
            LearnerInfo { sid: Sid(1), accepted: Epoch(1), config_version: 0, observer, ours: observer };
        info.put(&mut stream);
    }
    payload::put_leader_info(&mut stream, Epoch(2), true);
    payload::put_ack_epoch(&mut stream, Zxid::ZERO, Some(Epoch(1)));
    payload::put_touched(&mut stream, Zxid::ZERO, &[(SessionId(7), 4000)]);
    payload::put_revalidate(&mut stream, SessionId(7), 4000);
    quorum::put_request(&mut stream, &[0; 20], &[(b"ip", b"127.0.0.1")]);
    quorum::put_packet(&mut stream, quorum::kind::INFORM_AND_ACTIVATE, Zxid::ZERO, Some(&[0; 60]));
    vec![stream]
}

/// Transactions as the log holds them: header, record, digest.
pub fn transactions() -> Vec<Vec<u8>> {
    let create = || Body::new().string("/a").buffer(b"data").open_acl().bool(false).int(1);
    let set = || Body::new().string("/a").buffer(b"other").int(2);
    let part = |kind: i32, record: Body| Body::new().int(kind).buffer(&record.0);
    let records = [
        (-10, Body::new().int(30_000)),
        (-11, Body::new().int(2).string("/a").string("/b")),
        (-11, Body::new()),
        (1, create()),
        (2, Body::new().string("/a")),
        (5, set()),
        (7, Body::new().string("/a").open_acl().int(1)),
        (13, Body::new().string("/a").int(3)),
        (
            14,
            Body::new()
                .int(3)
                .raw(&part(1, create()).0)
                .raw(&part(5, set()).0)
                .raw(&part(-1, Body::new().int(-101)).0),
        ),
        (15, create()),
        (19, Body::new().string("/c").buffer(b"").open_acl().int(1)),
        (20, Body::new().string("/c")),
        (21, Body::new().string("/t").buffer(b"").open_acl().int(1).long(60_000)),
        (-1, Body::new().int(-103)),
    ];
    records
        .into_iter()
        .enumerate()
        .map(|(i, (kind, record))| {
            let header =
                Body::new().long(0x1234).int(i as i32).long(i as i64 + 1).long(1_700_000_000_000).int(kind);
            let digest = Body::new().int(2).long(0x1122_3344_5566_7788);
            header.raw(&record.0).raw(&digest.0).0
        })
        .collect()
}

/// Configuration files as they are found in the wild.
pub fn configurations() -> Vec<Vec<u8>> {
    [
        "tickTime=2000\ndataDir=/tmp/zk\nclientPort=2181\n",
        "# a comment\n! another\n  dataDir : /var/lib/zookeeper\nclientPort 2181\nmaxClientCnxns=60\n\
         minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortAddress=127.0.0.1\n",
        "dataDir=/data\\\n   /more\nclientPort=2181\nserver.1=127.0.0.1\\:2888\\:3888\n\\u0064ataLogDir=/log\n",
        "dataDir=/d\nclientPort=0\nautopurge.snapRetainCount=3\nautopurge.purgeInterval=1\n4lw.commands.whitelist=*\n\
         forceSync=no\nringkeeper.cores=0,1\njute.maxbuffer=4194304\nadmin.enableServer=false\n",
        "dataDir=/d\nserver.1=[::1]:2888:3888:participant;0.0.0.0:2181\nstandaloneEnabled=true\n",
        "dataDir=/d\nclientPort=2181\ninitLimit=10\nsyncLimit=5\nserver.1=zk-1:2888:3888\nserver.2=[fd00::2]:2888:3888\n\
         server.3=zk-3:2888:3888:participant;2181\nserver.4=zk-4:2888:3888:observer\ngroup.1=1:2:3\nweight.1=2\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

/// Scripts for `net::client::fuzz`, whose steps are a byte (low two bits: which of four connections; next three: 0 a
/// second goes by, 1 the oldest write commits, 2 the connection goes, 3 and more a frame) and, for a frame, two bytes
/// of length and the frame.
pub fn sessions() -> Vec<Vec<u8>> {
    const SECOND_GOES_BY: u8 = 1 << 5;
    const COMMIT: u8 = 1 << 2;
    const GONE: u8 = 2 << 2;
    let frame = |slot: u8, frame: &[u8]| -> Vec<u8> {
        let length = u16::try_from(frame.len()).expect("a short frame");
        [&[3 << 2 | slot], length.to_be_bytes().as_slice(), frame].concat()
    };
    let ask = |slot: u8, op: i32, body: Body| frame(slot, &request(7, op, &body).0);
    let watch = |path: &str| Body::new().string(path).bool(true);
    let set = |path: &str| Body::new().string(path).buffer(b"v").int(-1);

    // Everything once, on its own connection, committed at once.
    let mut everything = vec![];
    for (i, request) in requests().iter().enumerate() {
        everything.extend(frame(i as u8 & 3, request));
        everything.push(COMMIT);
    }
    // Everything in flight together.
    let pipelined: Vec<u8> = requests().iter().flat_map(|request| frame(0, request)).collect();
    // Watches of one connection, changes by another, in and out of commit order.
    let watching = [
        ask(0, op::CREATE, Body::create("/w", b"", 0)),
        vec![COMMIT, COMMIT],
        ask(0, op::GET_DATA, watch("/w")),
        ask(0, op::GET_CHILDREN, watch("/w")),
        ask(0, op::EXISTS, watch("/w/later")),
        ask(1, op::SET_DATA, set("/w")),
        ask(1, op::CREATE, Body::create("/w/later", b"", 1)),
        ask(0, op::GET_DATA, watch("/w")),
        vec![COMMIT, COMMIT, COMMIT],
        ask(1, op::CLOSE_SESSION, Body::new()),
        vec![COMMIT, GONE | 1],
    ];
    // Ephemerals and a session that expires.
    let expiring = [
        ask(2, op::CREATE, Body::create("/e", b"", 1)),
        vec![COMMIT, COMMIT, GONE | 2],
        vec![7 * SECOND_GOES_BY; 10],
        vec![COMMIT],
        ask(3, op::EXISTS, watch("/e")),
    ];
    vec![everything, pipelined, watching.concat(), expiring.concat()]
}

/// Damage to a log directory, in the form of `engine::log::fuzz_recover`: files of any bytes, and edits of eight bytes
/// to a sound directory, with and without the checksums put right again.
pub fn directories() -> Vec<Vec<u8>> {
    let edit = |depth: u8, file: u8, at: u8, what: u8| {
        [&[depth, file, at, 0, 0, what][..], &[0xff, 0x01, 0x80]].concat()
    };
    let mut all = vec![vec![0; 4096], vec![1]];
    for depth in [1, 2] {
        for file in 0..4 {
            all.extend([0, 64, 128, 250].map(|at| edit(depth, file, at, file)));
        }
    }
    all
}
