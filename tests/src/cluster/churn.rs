//! Clients that do everything that can be written, at random, at all members, with no regard for each other.
//!
//! Most of it fails: paths, versions and kinds of nodes are drawn from few, so that requests meet each other's
//! leavings. Sessions end in every way: closed, expired, moved from member to member in between. There is no judge of
//! what became of it but the members themselves: they must agree ([`Cluster::assert_sound`]), node by node and in
//! the digest of every transaction.
//!
//! [`Cluster::assert_sound`]: crate::cluster::Cluster::assert_sound

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::client::{Client, Failure};
use crate::node::DEADLINE;
use crate::wire::{Body, connect_request, op};

const CREATE_CONTAINER: i32 = 19;
const CREATE_TTL: i32 = 21;

/// How long a client waits for answers before it goes elsewhere.
const PATIENCE: Duration = Duration::from_secs(3);

/// Clients in threads of their own, until [`Churn::finish`].
#[derive(Debug)]
pub struct Churn {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Churn {
    /// Starts the clients.
    pub fn start(addrs: &[SocketAddr], clients: u64, seed: u64) -> Churn {
        println!("churn: seed {seed}");
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let start_one = |i: u64| {
            let (addrs, stop, answered) = (addrs.to_vec(), stop.clone(), answered.clone());
            let mut rng = Rng::with_seed(seed.wrapping_mul(1000).wrapping_add(i));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Servers come and go; what was cut short is part of the churn.
                    if one_session(&addrs, &mut rng, &answered).is_err() {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            })
        };
        Churn {
            clients: (0..clients).map(start_one).collect(),
            stop: stop.clone(),
            answered: answered.clone(),
        }
    }

    /// Waits until this many more requests are answered.
    pub fn gets_on(&self, by: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + by;
        let start = Instant::now();
        while self.answered.load(Ordering::Relaxed) < goal {
            assert!(start.elapsed() < DEADLINE, "the clients get no answers");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the churn. Some of the sessions still have to expire.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client of the churn");
        }
    }
}

/// One session from its beginning to its end, at up to three members.
fn one_session(addrs: &[SocketAddr], rng: &mut Rng, answered: &AtomicU64) -> Result<(), Failure> {
    // Some expire within the test, some need not.
    let timeout = if rng.bool() { 1000 } else { 20_000 };
    let (mut id, mut passwd, mut xid) = (0, [0; 16], 0);
    for _ in 0..rng.u32(1..4) {
        let addr = addrs[rng.usize(..addrs.len())];
        let mut client = Client::handshake_within(addr, connect_request(timeout, id, &passwd), PATIENCE)?;
        if client.session.id == 0 {
            return Ok(());
        }
        (id, passwd) = (client.session.id, client.session.passwd);
        client.count_on_from(xid);
        for _ in 0..rng.u32(1..5) {
            let batch = rng.u32(1..40);
            for _ in 0..batch {
                let (op, body) = request(rng);
                xid = client.queue(op, &body);
            }
            client.flush()?;
            for left in (0..batch).rev() {
                let reply = client.recv()?;
                assert_eq!(reply.xid, xid - left as i32, "replies come in the order of the requests");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        match rng.u32(..4) {
            0 => return client.close(),
            // Expires, unless it is taken up again.
            1 => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

fn path(rng: &mut Rng) -> String {
    match rng.u32(..20) {
        0 => "/churn".into(),
        1 => format!("/churn/{}/", rng.u32(..4)),
        2..9 => format!("/churn/{}", rng.u32(..4)),
        9..18 => format!("/churn/{}/{}", rng.u32(..4), rng.u32(..6)),
        _ => format!("/churn/{}/{}/{}", rng.u32(..4), rng.u32(..6), rng.u32(..3)),
    }
}

fn data(rng: &mut Rng) -> Body {
    match rng.u32(..10) {
        0 => Body::new().int(-1),
        1 => Body::new().buffer(&[]),
        2 => Body::new().buffer(&vec![rng.u8(..); rng.usize(..20_000)]),
        _ => Body::new().buffer(&vec![rng.u8(..); rng.usize(..60)]),
    }
}

/// Always readable for us: in the end everything is compared.
fn acl(rng: &mut Rng) -> Body {
    match rng.u32(..8) {
        0 => Body::new().int(1).int(31).string("ip").string("127.0.0.1"),
        1 => {
            Body::new().int(2).int(31).string("world").string("anyone").int(1).string("ip").string("10.0.0.1")
        }
        2 => Body::new().int(1).int(rng.i32(0..16) * 2 + 1).string("world").string("anyone"),
        3 => Body::new().int(0),
        _ => Body::new().open_acl(),
    }
}

fn version(rng: &mut Rng) -> i32 {
    if rng.u32(..3) > 0 { -1 } else { rng.i32(0..4) }
}

/// A write that may be part of a multi.
fn part(rng: &mut Rng) -> (i32, Body) {
    let path = path(rng);
    let body = Body::new().string(&path);
    match rng.u32(..20) {
        0..9 => {
            let ops = [(op::CREATE, 0..4), (op::CREATE2, 0..4), (CREATE_CONTAINER, 4..5), (CREATE_TTL, 5..7)];
            let (op, flags) = ops[[0, 0, 0, 1, 1, 2, 3][rng.usize(..7)]].clone();
            let body = body.raw(&data(rng).0).raw(&acl(rng).0).int(rng.i32(flags));
            (op, if op == CREATE_TTL { body.long(rng.i64(1..1_000_000)) } else { body })
        }
        9..13 => (op::DELETE, body.int(version(rng))),
        13..18 => (op::SET_DATA, body.raw(&data(rng).0).int(version(rng))),
        _ => (op::CHECK, body.int(version(rng))),
    }
}

fn request(rng: &mut Rng) -> (i32, Body) {
    match rng.u32(..40) {
        0..6 => {
            let mut body = Body::new();
            for _ in 0..rng.u32(..5) {
                let (op, part) = part(rng);
                body = body.int(op).bool(false).int(-1).raw(&part.0);
            }
            (op::MULTI, body.int(-1).bool(true).int(-1))
        }
        6..9 => (op::SET_ACL, Body::new().string(&path(rng)).raw(&acl(rng).0).int(version(rng))),
        9 => (op::SYNC, Body::new().string(&path(rng))),
        10 => (op::GET_DATA, Body::new().string(&path(rng)).bool(rng.bool())),
        11 => (op::GET_CHILDREN, Body::new().string(&path(rng)).bool(rng.bool())),
        // Quotas: the nodes that make them, and the counts that some servers keep there.
        12 => {
            let tail = ["", "/churn", "/churn/1", "/churn/zookeeper_limits", "/churn/zookeeper_stats"];
            let path = format!("/zookeeper/quota{}", tail[rng.usize(..tail.len())]);
            let limit = format!("count={},bytes=-1", rng.u32(5..100));
            (op::CREATE, Body::create(&path, limit.as_bytes(), 0))
        }
        _ => loop {
            let (op, body) = part(rng);
            if op != op::CHECK {
                return (op, body);
            }
        },
    }
}
