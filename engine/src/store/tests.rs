//! Stores with snapshots on the simulator's disk: what comes back after cuts at every step, damage, and going back.

mod churn;
mod damage;
mod made;
mod restart;

use super::*;
use crate::id::Epoch;
use crate::io::sim::{Crash, Pick, SimDisk};
use crate::io::{BLOCK, Disk};
use crate::jute::put_i64;
use crate::log::{Durable, Epochs};
use crate::snapshot::{Arrived, write_stream};
use crate::tree::tests::leader::Leader;
use crate::txn::{Acl, AclList, Txn, kind};

/// Segments of six blocks, batches of two.
fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 6 * BLOCK as u64,
        batch_bytes: 2 * BLOCK,
        reserve_bytes: 0,
        ..LogOptions::new(7)
    }
}

fn refuse(disk: &SimDisk) -> Result<Store, StoreError> {
    open(disk, options(), 3, OnDamage::Refuse)
}

fn set_aside(disk: &SimDisk) -> Store {
    open(disk, options(), 3, OnDamage::SetAside).unwrap()
}

/// A state in the one form in which equal states are equal, with its zxid.
fn state(tree: &Tree, sessions: &[(SessionId, i32)]) -> (Zxid, Vec<u8>) {
    let mut bytes = Vec::new();
    write_stream(tree, sessions, &mut |piece| bytes.extend_from_slice(piece));
    (tree.last_zxid(), bytes)
}

fn state_of(store: &Store) -> (Zxid, Vec<u8>) {
    state(&store.tree, &store.sessions)
}

/// The state as one that was received and stored.
fn arrive(vol: &dyn Volume, tree: &Tree, sessions: &[(SessionId, i32)]) -> Result<Arrived, LogError> {
    let (zxid, mut stream) = state(tree, sessions);
    if tree.is_converging() {
        // A list that no node has: what only servers of another kind write.
        let at = 4 + 12 * sessions.len();
        let count = i32::from_be_bytes(stream[at..at + 4].try_into().unwrap()) + 1;
        let mut unused = count.to_be_bytes().to_vec();
        put_i64(&mut unused, 1);
        let mut encoded = Vec::new();
        unused.extend_from_slice(
            AclList::encode(&[Acl { perms: 2, ..Acl::world(Acl::READ) }], &mut encoded).encoded(),
        );
        stream.splice(at..at + 4, unused);
    }
    Arrived::of_stream(vol, zxid, 3, &stream)
}

/// Puts a state in the place of everything.
pub(crate) fn restart(
    vol: &dyn Volume,
    log: &mut Log,
    tree: &Tree,
    sessions: &[(SessionId, i32)],
) -> Result<Durable<Zxid>, LogError> {
    log.restart_behind(vol, &arrive(vol, tree, sessions)?)
}

fn zxid(raw: i64) -> Zxid {
    Zxid::from_raw(raw)
}

/// A history with sessions: about `count` transactions from zxid 1 on.
fn history(seed: u64, count: usize) -> Leader {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut leader = Leader::new();
    leader.close_without_list = false;
    for session in 1..6 {
        let txn = Txn::CreateSession { timeout: 1000 * session as i32 };
        leader.submit(kind::CREATE_SESSION, session, &txn);
    }
    while leader.log.len() < count {
        leader.random_step(&mut random);
    }
    leader
}

/// Appends payloads and waits until they are durable.
fn commit(disk: &SimDisk, log: &mut Log, payloads: &[Vec<u8>]) {
    let mut disk = disk.clone();
    for payload in payloads {
        let (header, ..) = txn::decode(payload).unwrap();
        log.append(header.zxid, |out| out.extend_from_slice(payload)).unwrap();
        log.seal(&mut disk).unwrap();
    }
    while !log.is_idle() {
        log.prepare_all(&disk).unwrap();
        log.seal(&mut disk).unwrap();
        let mut done = Vec::new();
        disk.reap(&mut done);
        for done in done {
            log.on_done(done).unwrap();
        }
    }
    log.release(log.durable().get());
}

/// Does what the housekeeper does with files that nothing needs.
fn housekeep(disk: &SimDisk, log: &mut Log) {
    while let Some(file) = log.removal_wanted() {
        disk.remove(&file).unwrap();
    }
    log.prepare_all(disk).unwrap();
    disk.sync_dir().unwrap();
}

/// The state after the first `count` transactions of a history.
fn after(leader: &Leader, count: usize) -> Rebuilt {
    let mut state = State::empty(8);
    for payload in &leader.log[..count] {
        let (header, ..) = txn::decode(payload).unwrap();
        state.replay(payload, header.zxid).unwrap();
    }
    state.finish()
}

fn snapshots(disk: &SimDisk) -> Vec<String> {
    disk.contents().into_keys().filter(|name| name.starts_with("snapshot.")).collect()
}

/// The payloads of a history with this much added to their zxids.
fn shifted(payloads: &[Vec<u8>], by: i64) -> Vec<Vec<u8>> {
    let shift = |payload: &Vec<u8>| {
        let mut payload = payload.clone();
        let raw = i64::from_be_bytes(payload[12..20].try_into().unwrap()) + by;
        payload[12..20].copy_from_slice(&raw.to_be_bytes());
        payload
    };
    payloads.iter().map(shift).collect()
}

#[test]
fn a_store_without_snapshot_knows_its_runs() {
    let disk = SimDisk::new(1);
    let mut store = refuse(&disk).unwrap();
    assert!(store.report.created && store.runs.is_empty());
    let leader = history(1, 12);
    commit(&disk, &mut store.log, &leader.log[..5]);
    commit(&disk, &mut store.log, &shifted(&leader.log[7..9], 0));
    commit(&disk, &mut store.log, &shifted(&leader.log[9..12], (1 << 32) - 9));
    let store = refuse(&disk).unwrap();
    let run = |first, last| (zxid(first), zxid(last));
    assert_eq!(store.runs, [run(1, 5), run(8, 9), run(0x1_0000_0001, 0x1_0000_0003)]);
    assert_eq!((store.base, store.snapshot), (Zxid::ZERO, Zxid::ZERO));
    assert!(!store.report.created && store.last_zxid == zxid(0x1_0000_0003));
}

#[test]
fn a_state_is_rebuilt_up_to_any_transaction() {
    let disk = SimDisk::new(1);
    let mut log = refuse(&disk).unwrap().log;
    let leader = history(2, 60);
    commit(&disk, &mut log, &leader.log);
    let check = |log: &Log, from: usize| {
        for upto in from..=62 {
            let rebuilt = rebuild(&disk, log, 4, zxid(upto as i64)).unwrap();
            let expected = after(&leader, upto.min(60));
            let found = state(&rebuilt.tree, &rebuilt.sessions);
            assert!(found == state(&expected.tree, &expected.sessions), "up to {upto}");
        }
    };
    check(&log, 0);
    let base = after(&leader, 25);
    restart(&disk, &mut log, &base.tree, &base.sessions).unwrap();
    commit(&disk, &mut log, &leader.log[25..]);
    check(&log, 25);
    let error = rebuild(&disk, &log, 4, zxid(24)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the state after 0x18 cannot be built: the store begins with the state after 0x19"
    );
    log.truncate(&disk, zxid(40)).unwrap();
    let rebuilt = rebuild(&disk, &log, 4, zxid(60)).unwrap();
    assert_eq!(rebuilt.tree.last_zxid(), zxid(40));
}
