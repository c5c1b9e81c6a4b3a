//! One follower over a simulated disk; the test is its ensemble.

use ringkeeper_engine::id::{Epoch, SessionId, Sid, Zxid};
use ringkeeper_engine::io::sim::{Completion, SimDisk};
use ringkeeper_engine::log::LogOptions;
use ringkeeper_engine::snapshot::write_stream;
use ringkeeper_engine::store::{self, OnDamage};
use ringkeeper_engine::tree::Tree;
use ringkeeper_engine::txn::{self, Txn, TxnHeader};

use super::*;
use crate::client::Options;
use crate::node::ensemble::{self, Trust};
use crate::wire::quorum::payload::put_leader_info;
use crate::wire::quorum::{Decoder, kind, put_packet};
use crate::zab::quorum::Membership;

/// Bytes of a packet at most.
const LIMIT: usize = 8 << 20;

/// Bytes of a segment of the log.
const SEGMENT: u64 = 4 << 20;

const LINK: Link = Link(1);

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

/// Server 2 of three. Server 3 is meant to lead.
struct Driver {
    member: Member,
    disk: SimDisk,
    now_ms: u64,
    requests: Vec<Request>,
}

impl Driver {
    fn new() -> Driver {
        let disk = SimDisk::new(1);
        let options = LogOptions {
            begin_nonvoting: true,
            segment_bytes: SEGMENT,
            window_bytes: 0,
            ..LogOptions::new(1)
        };
        let mut store = store::open(&disk, options, 1, OnDamage::SetAside).unwrap();
        store.log.prepare_all(&disk).unwrap();
        ensemble::settle_trust(&mut store, &disk, &Trust::AutoCreate).unwrap();
        let now = Now { mono_ms: 1000, wall_ms: 1_800_000_000_000, mono_us: 1_000_000 };
        let birth = ensemble::birth(&store, 1);
        let options = Options { server_id: 2, ..Options::default() };
        let service = Service::new(store.tree, store.sessions, store.last_zxid, options, now);
        let parts = Parts {
            service,
            log: store.log,
            volume: Box::new(disk.clone()),
            tree_seed: 1,
            snapshots: SnapshotPolicy::default(),
            replayed: 0,
        };
        let zab = zab::Config {
            me: Sid(2),
            members: Membership::majority([Sid(1), Sid(2), Sid(3)], []).unwrap(),
            config_version: 0,
            tick_ms: 100,
            init_limit: 10,
            connect_limit: 10,
            sync_limit: 5,
            announce_ms: 200,
            announce_max_ms: 60_000,
            finalize_ms: 20,
            force_snapshot: false,
        };
        let ensemble = EnsembleParts {
            zab,
            birth,
            config_text: "version=0".to_owned(),
            max_packet: LIMIT,
            snapshot_size_factor: 0.33,
        };
        let member = Member::in_ensemble(parts, ensemble, now).unwrap();
        Driver { member, disk, now_ms: 1000, requests: Vec::new() }
    }

    /// A turn of the loop; what was asked of the network is in `requests`.
    fn turn(&mut self) {
        let now = Now {
            mono_ms: self.now_ms,
            wall_ms: 1_800_000_000_000 + self.now_ms as i64,
            mono_us: self.now_ms * 1000,
        };
        self.member.begin(now);
        self.member.settle(&mut self.disk, &mut Nobody).unwrap();
        self.member.seal(&mut self.disk, &mut Nobody).unwrap();
        while let Some(work) = self.member.take_work() {
            if let Some(done) = work.perform(&self.disk) {
                self.member.work_done(done, &mut Nobody);
            }
        }
        self.member.take_requests(&mut self.requests);
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| self.turn());
    }

    /// Servers 1 and 3 say that 3 leads.
    fn told_of_leader(&mut self) {
        for (from, state) in [(Sid(3), State::Leading), (Sid(1), State::Following)] {
            let said =
                Notification { state, leader: Sid(3), zxid: Zxid::ZERO, round: 1, peer_epoch: 1, version: 2 };
            self.member.notified(from, said, &mut Nobody);
        }
    }

    fn asked_to_connect(&mut self) -> bool {
        let asked = self.requests.contains(&Request::Connect(Sid(3)));
        self.requests.clear();
        asked
    }

    fn say(&mut self, packets: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        packets(&mut bytes);
        self.member.received(LINK, &bytes, &mut Nobody);
    }

    /// The kinds of what it sends.
    fn said(&mut self) -> Vec<i32> {
        let mut decoder = Decoder::new(LIMIT);
        while let Some(chunk) = self.member.next_chunk(LINK) {
            decoder.push(&chunk.bytes(&self.disk).unwrap());
        }
        let mut kinds = Vec::new();
        while let Some(packet) = decoder.next_packet().unwrap() {
            kinds.push(packet.kind);
        }
        kinds
    }

    /// Connected, and the epoch of the leader accepted.
    fn accepted() -> Driver {
        let mut driver = Driver::new();
        driver.told_of_leader();
        driver.turn();
        assert!(driver.asked_to_connect());
        driver.member.connected(LINK, &mut Nobody);
        driver.say(|out| put_leader_info(out, Epoch(1), true));
        assert_eq!(driver.said(), [kind::FOLLOWERINFO, kind::ACKEPOCH]);
        driver
    }

    /// Serving, with an empty history.
    fn serving() -> Driver {
        let mut driver = Driver::accepted();
        driver.say(|out| {
            put_packet(out, kind::DIFF, Zxid::ZERO, None);
            put_packet(out, kind::NEWLEADER, z(1, 0), Some(b"version=0"));
        });
        assert_eq!(driver.said(), [kind::ACK]);
        driver.say(|out| put_packet(out, kind::UPTODATE, Zxid::from_raw(-1), None));
        assert!(driver.member.status().unwrap().serving);
        driver.said();
        driver
    }
}

fn transaction(zxid: Zxid, bytes: usize) -> Vec<u8> {
    let header = TxnHeader { client_id: SessionId(7), cxid: 1, zxid, time: 1, kind: txn::kind::SET_DATA };
    let data = vec![0; bytes];
    let mut out = Vec::new();
    let record = Txn::SetData { path: "/", data: Some(&data), version: 1 };
    txn::encode_into(&header, &record, None, &mut out);
    out
}

fn propose(out: &mut Vec<u8>, zxid: Zxid, bytes: usize) {
    put_packet(out, kind::PROPOSAL, zxid, Some(&transaction(zxid, bytes)));
}

#[test]
fn what_could_not_be_applied_costs_the_connection_and_not_the_process() {
    let mut garbage = transaction(z(1, 1), 10);
    garbage.truncate(40);
    for bad in [garbage, transaction(z(1, 2), 10), transaction(z(1, 1), SEGMENT as usize)] {
        let mut driver = Driver::serving();
        driver.say(|out| put_packet(out, kind::PROPOSAL, z(1, 1), Some(&bad)));
        driver.turn();
        assert!(driver.requests.contains(&Request::Close(LINK)));
        assert_eq!(driver.member.log().appended(), Zxid::ZERO);
        assert!(!driver.member.status().unwrap().serving);
    }
}

#[test]
fn bytes_behind_the_end_of_a_connection_are_nobodys() {
    let mut driver = Driver::serving();
    driver.say(|out| put_packet(out, kind::PROPOSAL, z(1, 1), Some(b"?")));
    driver.say(|out| propose(out, z(1, 1), 10));
    assert!(driver.member.ensemble.as_ref().unwrap().links.get(LINK).is_none());
}

#[test]
fn only_the_connection_that_was_asked_for_last_is_taken() {
    let mut driver = Driver::new();
    driver.member.connected(Link(9), &mut Nobody);
    driver.turn();
    assert!(driver.requests.contains(&Request::Close(Link(9))), "nobody asked for it");
    driver.told_of_leader();
    driver.member.connected(Link(8), &mut Nobody);
    driver.turn();
    assert!(driver.requests.contains(&Request::Close(Link(8))), "it was asked for before the last");
    driver.member.connected(LINK, &mut Nobody);
    driver.member.connected(Link(7), &mut Nobody);
    driver.turn();
    assert!(driver.requests.contains(&Request::Close(Link(7))), "there is one");
    assert_eq!(driver.member.ensemble.as_ref().unwrap().up, Some(LINK));
    assert_eq!(driver.said(), [kind::FOLLOWERINFO]);
}

#[test]
fn a_member_that_ends_is_kept_busy_by_nobody() {
    let mut driver = Driver::serving();
    driver.disk.set_completion(Completion::Manual);
    driver.say(|out| propose(out, z(1, 1), 10));
    driver.turn();
    assert!(!driver.member.is_settled());
    driver.member.end(&mut Nobody);
    driver.requests.clear();
    for counter in 2..5 {
        driver.say(|out| propose(out, z(1, counter), 10));
        driver.told_of_leader();
        driver.disk.complete_all();
        driver.turn();
    }
    assert_eq!(driver.requests, [Request::Close(LINK)]);
    assert!(driver.member.is_settled());
    assert_eq!(driver.member.next_deadline(), None);
    assert_eq!(driver.member.log().durable().get(), z(1, 1));
    driver.member.close_log().unwrap();
}

#[test]
fn a_long_history_is_not_kept_in_memory_until_it_may_be_applied() {
    let mut driver = Driver::accepted();
    let last = z(1, 30);
    driver.say(|out| put_packet(out, kind::DIFF, last, None));
    for counter in 1..=30 {
        driver.say(|out| {
            propose(out, z(1, counter), 700_000);
            put_packet(out, kind::COMMIT, z(1, counter), None);
        });
        driver.member.log_mut().prepare_all(&driver.disk).unwrap();
        driver.turns(2);
    }
    assert_eq!(driver.member.service().tree().last_zxid(), Zxid::ZERO, "no quorum is known to have it");
    assert!(driver.member.log().window() >= z(1, 20), "{}", driver.member.log().window());
    driver.say(|out| put_packet(out, kind::NEWLEADER, z(1, 0), Some(b"version=0")));
    driver.turns(2);
    driver.say(|out| put_packet(out, kind::UPTODATE, Zxid::from_raw(-1), None));
    assert_eq!(driver.member.service().tree().last_zxid(), last);
    assert_eq!(driver.member.ledger.backlog, 0);
}

#[test]
fn what_the_disk_cannot_take_stays_with_the_leader_and_is_acknowledged_when_it_can() {
    let mut driver = Driver::serving();
    let mut counter = 0;
    while driver.member.reads(LINK) {
        counter += 1;
        assert!(counter < 100, "memory is the limit");
        driver.say(|out| propose(out, z(1, counter), 1_000_000));
        driver.turns(2);
    }
    driver.said();
    while driver.member.log().durable().get() < z(1, counter) {
        driver.member.log_mut().prepare_all(&driver.disk).unwrap();
        driver.turns(2);
    }
    assert!(driver.member.reads(LINK));
    assert!(driver.said().contains(&kind::ACK));
    assert!(driver.member.status().unwrap().serving);
}

#[test]
fn a_snapshot_for_which_there_is_no_space_is_tried_again() {
    let mut stream = Vec::new();
    let mut leaders = Tree::new(1);
    let zxid = z(1, 1);
    let payload = transaction(zxid, 10);
    let (header, record, digest) = txn::decode(&payload).unwrap();
    leaders.apply(&header, &record, digest, &mut |_| ());
    write_stream(&leaders, &[], &mut |bytes| stream.extend_from_slice(bytes));
    for full in [true, false] {
        let mut driver = Driver::accepted();
        if full {
            driver.disk.set_capacity(0);
        }
        driver.say(|out| {
            put_packet(out, kind::SNAP, zxid, None);
            out.extend_from_slice(&stream);
        });
        driver.turn();
        assert_eq!(driver.requests.contains(&Request::Close(LINK)), full);
        let want = if full { Zxid::ZERO } else { zxid };
        assert_eq!(driver.member.service().tree().last_zxid(), want);
    }
}

#[test]
fn it_is_known_since_when_clients_are_answered() {
    let mut driver = Driver::serving();
    assert_eq!(driver.member.status().unwrap().since_ms, 1000);
    driver.now_ms = 1300;
    driver.turn();
    driver.member.closed(LINK, &mut Nobody);
    let status = driver.member.status().unwrap();
    assert_eq!((status.serving, status.since_ms), (false, 1300));
}

#[test]
fn the_version_of_a_configuration_is_its_last_line() {
    for (text, version) in [
        (&b"server.1=a:1:2:participant\nversion=1f"[..], Some(0x1f)),
        (b"version=0\n", Some(0)),
        (b"server.1=a:1:2", None),
        (b"\xff", None),
    ] {
        assert_eq!(super::packets::config_version(text), version);
    }
}
