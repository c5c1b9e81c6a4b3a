//! What cannot be read, does not fit or is cut short makes no snapshot, and leaves what there was.

use super::history::history;
use super::*;
use crate::io::Volume;
use crate::io::sim::{Crash, Pick, SimOp};
use crate::snapshot::body::Body;

/// A log with a snapshot of its first half.
fn halves() -> (Rig, Published, Vec<Vec<u8>>) {
    let payloads = history(8, 200);
    let mut rig = Rig::new(small());
    rig.commit(&payloads, 5);
    let previous = rig.make(None, 100).unwrap();
    (rig, previous, payloads)
}

fn error(rig: &Rig, previous: Published) -> String {
    let error = rig.make(Some(previous), 200).unwrap_err().to_string();
    let files = rig.disk.contents();
    assert!(!files.contains_key(MAKING), "half a file is left");
    assert_eq!(files.keys().filter(|name| name.starts_with("snapshot.")).count(), 1);
    error
}

#[test]
fn damage_of_the_previous_snapshot_is_named() {
    let (rig, previous, _) = halves();
    let name = previous.file();
    let trailer = previous.trailer_at();
    for (offset, what) in [
        (0, "offset 0: the header of the snapshot is damaged"),
        (4100, "offset 4096: this MiB of the snapshot does not match its checksum"),
        (trailer, &format!("offset {trailer}: the checksums of the snapshot are damaged")),
    ] {
        let disk = rig.disk.fork();
        let byte = disk.contents()[&name][offset as usize];
        disk.corrupt(&name, offset, &[byte ^ 1]);
        let error = rig.request(Some(previous), 200).perform(&disk).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains(what), "{error}");
    }
    rig.disk.lose(&name);
    let error = rig.make(Some(previous), 200).unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
}

#[test]
fn damage_of_the_log_is_named() {
    let (rig, previous, _) = halves();
    let segments: Vec<String> =
        rig.disk.contents().into_keys().filter(|name| name.starts_with("log.")).collect();
    let mut named = 0;
    for name in &segments {
        let disk = rig.disk.fork();
        disk.corrupt(name, BLOCK as u64 + 100, &[0xff; 64]);
        // Only what is behind the previous snapshot is read.
        if let Err(error) = rig.request(Some(previous), 200).perform(&disk) {
            let error = error.to_string();
            assert!(error.contains(name.as_str()) && error.contains("offset 4096"), "{error}");
            named += 1;
        }
    }
    assert!((2..segments.len()).contains(&named), "{named} of {segments:?}");
}

/// Puts another body into a snapshot, with the checksums that belong to it.
fn forge(disk: &SimDisk, published: Published, body: &[u8]) -> Published {
    disk.remove(&published.file()).unwrap();
    let mut steps = Vec::new();
    let mut file = Body::begin(MAKING, &mut steps);
    file.take(body, &mut steps);
    let forged = file.end(&mut steps).publish(published, &mut steps);
    steps.iter().for_each(|step| perform(step, MAKING, disk).unwrap());
    forged
}

/// Lists that want one number have it in the order of their bytes, so that a list's number changes when another goes.
#[test]
fn a_list_whose_number_changes_has_the_new_one_at_all_nodes() {
    let mut leader = Leader::new();
    (0..50).for_each(|i| _ = leader.create(&format!("/n{i}"), "data"));
    leader.set("/n7", "other");
    leader.delete("/n30");
    leader.create("/n30/new", "without parent");
    leader.create("/n31/new", "new");
    let mut rig = Rig::new(small());
    rig.commit(&leader.log, 5);
    let previous = rig.make(None, 50).unwrap();
    // Of the list that gives the world everything.
    let number = 0x2099_b746_5044_dd00_i64.to_be_bytes();
    let mut body = rig.body(&previous);
    let found: Vec<usize> = (0..body.len() - 8).filter(|&at| body[at..at + 8] == number).collect();
    assert_eq!(found.len(), 51);
    let other = (i64::from_be_bytes(number) + 1).to_be_bytes();
    found.iter().for_each(|&at| body[at..at + 8].copy_from_slice(&other));
    let forged = forge(&rig.disk, previous, &body);
    let made = rig.make(Some(forged), 54).unwrap();
    rig.check(&made, Straight::new().go_to(&leader.log, 54));
}

/// A body whose checksums hold and which is no state, as a faulty program may have left it.
#[test]
fn a_previous_snapshot_that_is_none_is_refused() {
    let (rig, previous, _) = halves();
    let body = rig.body(&previous);
    let find = |what: &[u8]| body.windows(what.len()).position(|w| w == what).unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut body = body.clone();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        body
    };
    let zookeeper = find(b"/zookeeper");
    let config = find(b"/zookeeper/config");
    for (body, what) in [
        (changed(0, &[0xff; 4]), "the number of sessions at offset 0"),
        (changed(zookeeper - 4, &[0xff; 4]), "the length of a path at offset"),
        (changed(config, b"/zookeeper/Config"), "/zookeeper/Config\" at offset"),
        (changed(config, b"/zookeepex/config"), "its parent has not come before it"),
        (changed(config, b"/!ookeeper/config"), "comes too late"),
        (changed(config + 17, &[0x7f; 4]), "the length of a node's data at offset"),
        (body[..body.len() / 2].to_vec(), "ends at offset"),
        (body[..3].to_vec(), "ends at offset 3"),
    ] {
        let disk = rig.disk.fork();
        let forged = forge(&disk, previous, &body);
        match rig.request(Some(forged), 200).perform(&disk) {
            Ok(_) if what.starts_with("/zookeeper/Config") => {}
            Ok(made) => panic!("{what}: {}", made.file()),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(what) && error.contains(&previous.file()), "{what}: {error}");
            }
        }
    }
}

#[test]
fn another_digest_than_a_transaction_carries_makes_no_snapshot() {
    let mut payloads = history(8, 200);
    let carries = |payload: &Vec<u8>| txn::decode(payload).unwrap().2.is_some();
    let wrong = (150..200).find(|&i| carries(&payloads[i])).unwrap();
    let digest = payloads[wrong].last_mut().unwrap();
    *digest ^= 1;
    let mut rig = Rig::new(small());
    rig.commit(&payloads, 5);
    let previous = rig.make(None, 100).unwrap();
    let error = error(&rig, previous);
    assert!(error.contains(&format!("the tree after {} has digest 0x", zxid(wrong + 1))), "{error}");
    let before = rig.make(Some(previous), wrong).unwrap();
    assert_eq!(before.zxid(), zxid(wrong));
    // Where the tree that serves has met the same, the snapshot is what it would be without digests.
    let made = rig.request(Some(previous), 200).tolerate_mismatches().perform(&rig.disk).unwrap();
    rig.check(&made, Straight::new().go_to(&payloads, 200));
}

#[test]
fn nothing_new_makes_no_snapshot() {
    let (rig, previous, _) = halves();
    let error = rig.make(Some(previous), 100).unwrap_err();
    assert_eq!(error.to_string(), "no snapshot is made: there is no transaction behind 0x64 up to 0x64");
    assert!(matches!(error, MakeError::Nothing { .. }));
}

#[test]
fn a_disk_that_fails_leaves_no_half_file() {
    for op in [SimOp::Write, SimOp::Sync, SimOp::SyncDir, SimOp::Create, SimOp::Rename] {
        let (rig, previous, _) = halves();
        rig.disk.fail(op, 0, 28);
        let error = rig.make(Some(previous), 200).unwrap_err().to_string();
        assert!(error.contains("os error 28"), "{op:?}: {error}");
        assert!(!rig.disk.contents().contains_key(MAKING), "{op:?}");
        rig.disk.heal();
        if op != SimOp::SyncDir {
            rig.make(Some(previous), 200).unwrap();
        }
    }
}

/// Power cuts and kills at every step: a file that has its name is whole.
#[test]
fn an_interrupted_snapshot_has_no_name() {
    let (rig, previous, payloads) = halves();
    rig.disk.record();
    let made = rig.make(Some(previous), 200).unwrap();
    let mut straight = Straight::new();
    let body = straight.go_to(&payloads, 200).body();
    let (mut with, mut without) = (0, 0);
    for (change, disk) in rig.disk.recorded() {
        for seed in 0..6 {
            let disk = disk.fork();
            match seed {
                0 => disk.kill(Pick::All),
                1 => disk.crash(Crash::HARSH),
                _ => disk.crash(Crash::seeded(change * 7 + seed)),
            }
            assert!(disk.contents().contains_key(&previous.file()));
            if !disk.contents().contains_key(&made.file()) {
                without += 1;
                continue;
            }
            with += 1;
            let loaded = file::load(&disk, &made, 2).unwrap();
            assert_eq!(loaded.tree.digest(), straight.state.tree.digest());
            assert!(disk.contents()[&made.file()][BLOCK..].starts_with(&body));
        }
    }
    assert!(with >= 6 && without >= 20, "{with} with, {without} without");
}
