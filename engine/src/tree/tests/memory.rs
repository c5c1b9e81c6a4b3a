//! What a znode costs, as far as a test can see it: the parts' sizes. `bench` measures the whole with an allocator
//! that counts.

use super::leader::Leader;
use super::*;

#[test]
fn an_untouched_leaf_has_no_side_record() {
    let mut leader = Leader::new();
    leader.create("/p", "");
    let before = leader.tree.sides.live();
    for n in 0..100 {
        leader.create(&format!("/p/n{n}"), "data");
    }
    for n in 0..100 {
        leader.set(&format!("/p/n{n}"), "more data");
    }
    assert_eq!(leader.tree.sides.live(), before + 1, "the parent's alone");
}

#[test]
fn places_of_deleted_nodes_are_used_again() {
    let mut leader = Leader::new();
    let mut known = std::collections::BTreeSet::new();
    for round in 0..50 {
        let path = format!("/node-{round}");
        leader.create_ephemeral(&path, 7);
        known.insert(leader.tree.find(&path).unwrap());
        leader.delete(&path);
    }
    assert_eq!(known.len(), 1);
    assert_consistent(&leader.tree);
}

/// Recovery builds the tree on one thread and hands it to another.
#[test]
fn a_tree_can_change_threads() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&Tree::new(1));
}
