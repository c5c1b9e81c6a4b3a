//! Streams that were written while the tree changed, as the reference writes them: what they lack and what they have
//! too early is made up for by the transactions behind them.

use super::*;
use crate::tree::NodeId;

/// Writes a stream as the reference does: sessions and ACLs first, then node by node, each with the children it has at
/// that moment; between nodes the history goes on.
fn fuzzy_stream(leader: &Leader, begin: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut tree = Tree::new(9);
    let mut log = leader.log.iter();
    let mut go_on = |tree: &mut Tree, steps: usize| apply_all(tree, log.by_ref().take(steps));
    go_on(&mut tree, begin);
    let mut out = Vec::new();
    put_i32(&mut out, 0);
    let lists: Vec<(i64, Vec<u8>)> =
        tree.acls().enumerate().map(|(i, (_, list))| (i as i64 + 1, list.to_vec())).collect();
    put_i32(&mut out, lists.len() as i32);
    for (number, list) in &lists {
        put_i64(&mut out, *number);
        out.extend_from_slice(list);
    }
    let mut young = lists.len() as i64;
    let mut pending = vec![String::new()];
    while let Some(path) = pending.pop() {
        go_on(&mut tree, random.usize(..4));
        let Some(id) = tree.find(&path) else { continue };
        let node = tree.node(id);
        let name = |id: NodeId| tree.node(id).name().to_owned();
        let mut children: Vec<String> = node.children().map(name).collect();
        random.shuffle(&mut children);
        pending.extend(children.iter().map(|child| format!("{path}/{child}")));
        let known = lists.iter().find(|(_, list)| list == node.acl_encoded());
        let acl = known.map_or_else(
            || {
                young += 1;
                young
            },
            |(number, _)| *number,
        );
        // The null list has the same bytes as one that says the same; only built-in nodes and containers have it here.
        let is_null = !tree.acls().any(|(id, _)| id == node.acl_id());
        put_node(&mut out, path.as_bytes(), node.data(), if is_null { -1 } else { acl }, &node.persisted());
    }
    put_ustring(&mut out, END_OF_NODES);
    put_ustring(&mut out, SIGNATURE);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fuzzy_stream_converges_to_its_leader_s_state(seed: u64, begin in 0usize..300) {
        let (leader, _) = history(seed, 300);
        let begin = begin.min(leader.log.len());
        let bytes = fuzzy_stream(&leader, begin, &mut fastrand::Rng::with_seed(seed));
        let zxid = Zxid::from_raw(begin as i64);
        let mut tree = load(&bytes, zxid).unwrap().tree;
        for payload in &leader.log[begin..] {
            apply(&mut tree, payload);
            assert_consistent(&tree);
        }
        prop_assert_eq!(tree.digest_mismatches(), 0);
        let (found, expected) = (common(&tree), common(&leader.tree));
        let differ: Vec<_> = expected.iter().filter(|(path, node)| found.get(*path) != Some(*node)).collect();
        prop_assert!(found == expected, "{:?}", differ);
        prop_assert!(stream_of(&tree, &[]) == stream_of(&leader.tree, &[]));
    }
}

#[test]
fn an_acl_that_is_younger_than_the_snapshot_closes_its_node_until_it_comes() {
    let mut leader = Leader::new();
    leader.create("/old", "");
    let sentinel = |leader: &mut Leader| {
        leader.set_acl_of_creates(&[Acl::world(3)]);
        leader.create("/new", "");
        leader.set_acl("/old", &[Acl::world(5)]);
    };
    let mut stream = vec![0; 8];
    put_node(&mut stream, b"", Some(b""), -1, &StatPersisted::default());
    sentinel(&mut leader);
    for path in ["/old", "/new"] {
        let stat = leader.tree.node(leader.tree.find(path).unwrap()).persisted();
        put_node(&mut stream, path.as_bytes(), Some(b""), 700 + path.len() as i64 + stat.czxid.raw(), &stat);
    }
    put_ustring(&mut stream, END_OF_NODES);
    put_ustring(&mut stream, SIGNATURE);
    let mut tree = load(&stream, Zxid::from_raw(1)).unwrap().tree;
    let acl = |tree: &Tree, path: &str| tree.node(tree.find(path).unwrap()).acl().to_vec();
    assert_eq!((acl(&tree, "/old"), acl(&tree, "/new")), (vec![], vec![]));
    apply_all(&mut tree, &leader.log[1..]);
    assert_eq!((acl(&tree, "/old"), acl(&tree, "/new")), (vec![Acl::world(5)], vec![Acl::world(3)]));
}
