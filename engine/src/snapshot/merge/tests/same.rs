//! The same bytes as a walk, whatever the history and wherever it is cut.

use proptest::prelude::*;

use super::history::history;
use super::*;
use crate::snapshot::Origin;
use crate::store::tests::restart;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Snapshots of snapshots, each of a batch that it may end in the middle of, with more log behind it or not.
    #[test]
    fn a_merge_writes_what_a_walk_writes(
        seed: u64,
        cuts in prop::collection::btree_set(1usize..=400, 1..8),
        batch in 1usize..12,
        behind in 0usize..30,
    ) {
        let payloads = history(seed, 400);
        let (mut rig, mut straight) = (Rig::new(small()), Straight::new());
        let (mut previous, mut logged) = (None, 0);
        for cut in cuts {
            let durable = (cut + behind).clamp(logged, payloads.len());
            rig.commit(&payloads[logged..durable], batch);
            logged = durable;
            let made = rig.make(previous, cut).unwrap();
            rig.check(&made, straight.go_to(&payloads, cut));
            prop_assert_eq!((made.generation(), made.database), (0, 5));
            previous = Some(made);
        }
        prop_assert_eq!(straight.state.tree.digest_mismatches(), 0);
    }

    /// What two members make of their logs, which have the same transactions in other batches.
    #[test]
    fn members_make_the_same_bytes(seed: u64, one in 1usize..300, other in 1usize..300, batches in (1usize..9, 1usize..9)) {
        let payloads = history(seed, 300);
        let made = |via: usize, batch| {
            let mut rig = Rig::new(small());
            rig.commit(&payloads, batch);
            let first = rig.make(None, via).unwrap();
            let last = rig.make(Some(first), payloads.len()).unwrap();
            (rig.body(&last), last.digest(), last.zxid())
        };
        prop_assert!(made(one, batches.0) == made(other, batches.1));
    }
}

#[test]
fn the_header_names_the_batch_that_the_last_transaction_is_in() {
    let payloads = history(1, 20);
    let mut rig = Rig::new(small());
    rig.commit(&payloads[..20], 5);
    let made: Vec<Published> = [3, 5, 6, 20].map(|upto| rig.make(None, upto).unwrap()).to_vec();
    assert_eq!(made.iter().map(|p| p.seq).collect::<Vec<_>>(), [1, 1, 2, 4]);
    let crc = |published: &Published| match published.origin() {
        Origin::Made { batch_crc } => batch_crc,
        Origin::Received => panic!("nobody sent it"),
    };
    assert_eq!(crc(&made[0]), crc(&made[1]));
    assert!(crc(&made[1]) != crc(&made[2]) && crc(&made[3]) != 0);
    assert_eq!(made[0].point().zxid, zxid(3), "it ends within its batch");
    assert!(file::names(&rig.disk).unwrap().len() == 4);
}

/// A state that was streamed while it changed, and is completed by the transactions behind it.
#[test]
fn a_converging_snapshot_is_completed_by_the_log() {
    let mut leader = Leader::new();
    let mut random = fastrand::Rng::with_seed(4);
    leader.close_without_list = false;
    while leader.log.len() < 120 {
        leader.random_step(&mut random);
    }
    let (payloads, mut ahead) = (leader.log, Straight::new());
    // Announced as the state after 40, and already that after 70.
    let mut loader = crate::snapshot::Loader::new(zxid(40), 2, crate::snapshot::Limits::default());
    assert!(loader.feed(&ahead.go_to(&payloads, 70).body()).unwrap().done);
    let fuzzy = loader.finish().tree;
    let mut rig = Rig::new(small());
    restart(&rig.disk, &mut rig.log, &fuzzy, &[]).unwrap();
    rig.commit(&payloads[40..], 3);

    let making =
        |rig: &Rig, upto| rig.log.snapshot_request(zxid(upto), SEED).unwrap().perform(&rig.disk).unwrap();
    let early = making(&rig, 50);
    assert!(early.is_converging());
    let mut expected = Straight { state: State { tree: fuzzy, sessions: BTreeMap::new() }, applied: 40 };
    rig.check(&early, expected.go_to(&payloads, 50));
    assert_eq!(early.generation(), rig.log.snapshots()[0].generation());
    let late = rig.make(Some(early), 110).unwrap();
    assert!(!late.is_converging());
    let mut straight = Straight::new();
    straight.go_to(&payloads, 110).state.sessions.clear();
    rig.check(&late, &straight);
    let last = rig.make(Some(late), 120).unwrap();
    straight.go_to(&payloads, 120).state.sessions.clear();
    rig.check(&last, &straight);
}

/// A received snapshot that is exact is merged with the log like one that was made here.
#[test]
fn a_request_begins_with_the_newest_snapshot_and_reaches_to_what_is_durable() {
    let payloads = history(6, 90);
    let mut straight = Straight::new();
    straight.go_to(&payloads, 60);
    let mut rig = Rig::new(small());
    assert!(rig.log.snapshot_request(zxid(1), SEED).is_none(), "there is nothing");
    let sessions: Vec<_> = straight.state.sessions.iter().map(|(&id, &timeout)| (id, timeout)).collect();
    restart(&rig.disk, &mut rig.log, &straight.state.tree, &sessions).unwrap();
    assert!(rig.log.snapshot_request(zxid(60), SEED).is_none(), "nothing is behind the snapshot");
    rig.commit(&payloads[60..85], 4);
    assert!(rig.log.snapshot_request(zxid(86), SEED).is_none(), "it is not durable");
    assert!(rig.log.snapshot_request(zxid(59), SEED).is_none(), "the log does not reach back");
    for upto in [61, 70, 85] {
        let request = rig.log.snapshot_request(zxid(upto), SEED).unwrap();
        assert_eq!(request.upto(), zxid(upto));
        let made = request.perform(&rig.disk).unwrap();
        assert_eq!(made.generation(), rig.log.snapshots()[0].generation());
        rig.check(&made, straight.go_to(&payloads, upto));
    }
}
