//! Histories end in one tree, however often and from wherever they are replayed.

use super::leader::Leader;
use super::*;
use proptest::prelude::*;

fn history(seed: u64, steps: usize, close_without_list: bool) -> Leader {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut leader = Leader::new();
    leader.close_without_list = close_without_list;
    for _ in 0..steps {
        leader.random_step(&mut random);
    }
    leader
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_straight_replay_matches_every_digest(seed: u64, table_seed: u64) {
        let leader = history(seed, 300, true);
        let mut tree = Tree::new(table_seed);
        for payload in &leader.log {
            apply(&mut tree, payload);
        }
        prop_assert_eq!(tree.digest_mismatches(), 0);
        prop_assert_eq!(dump(&tree), dump(&leader.tree));
        assert_consistent(&tree);
    }

    /// A snapshot that is ahead of its name: the state after `known` transactions, replayed from `from` on.
    ///
    /// It takes close transactions with lists, which is why the reference has them since 3.6: without, a close does
    /// not find the node of its session where a later one of the same path, which the state already contains, made
    /// the replayed create fail.
    #[test]
    fn a_replay_over_a_later_state_converges(seed: u64, from in 0usize..300, ahead in 0usize..300) {
        let leader = history(seed, 300, false);
        let known = (from + ahead).min(leader.log.len());
        let mut tree = Tree::new(5);
        for payload in leader.log[..known].iter().chain(&leader.log[from..]) {
            apply(&mut tree, payload);
        }
        prop_assert_eq!(tree.digest(), leader.tree.digest());
        prop_assert_eq!(dump(&tree), dump(&leader.tree));
        prop_assert_eq!(tree.last_zxid(), leader.tree.last_zxid());
        assert_consistent(&tree);
    }
}

/// The reference would leave `/a/b` behind, in no list of children, and then find that it exists.
#[test]
fn deleting_a_node_that_a_later_state_gave_children_brings_them_back() {
    let mut leader = Leader::new();
    leader.create("/a", "first");
    leader.delete("/a");
    leader.create("/a", "second");
    leader.create("/a/b", "child");
    leader.create("/a/b/c", "grandchild");
    leader.create_ephemeral("/a/b/e", 9);
    let straight = dump(&leader.tree);
    let log = std::mem::take(&mut leader.log);
    for payload in &log {
        apply(&mut leader.tree, payload);
    }
    assert_eq!(dump(&leader.tree), straight);
    assert_consistent(&leader.tree);
}
