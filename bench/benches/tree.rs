//! Applying transactions to a tree and reading it.
//!
//! The tree has 200 000 leaves, so that it does not fit a core's own caches; keys are visited in a scattered order.
//! The path itself is always at hand, as it is in a node, which has just received it.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper_bench::grove::{Grove, leaf, set_leaf};

const LEAVES: u32 = 200_000;
const PARENTS: u32 = 200;

/// Visits all of 0..LEAVES in a scattered order.
struct Walk(u32);

impl Walk {
    fn next(&mut self) -> u32 {
        // Coprime to LEAVES, so that the walk has no short cycle.
        self.0 = (self.0 + 77_777) % LEAVES;
        self.0
    }
}

fn tree(c: &mut Criterion) {
    let (mut grove, _) = Grove::planted(LEAVES, PARENTS, 100);
    let mut path = leaf(0, PARENTS);
    let data = [9u8; 100];
    let mut walk = Walk(0);
    let mut group = c.benchmark_group("tree");
    group.throughput(Throughput::Elements(1));
    group.bench_function("path_alone", |b| {
        b.iter(|| {
            set_leaf(&mut path, walk.next(), PARENTS);
            black_box(path.len())
        });
    });
    group.bench_function("apply_set_100B", |b| {
        let mut version = 0;
        b.iter(|| {
            version += 1;
            set_leaf(&mut path, walk.next(), PARENTS);
            black_box(grove.set(&path, &data, version))
        });
    });
    group.throughput(Throughput::Elements(2));
    group.bench_function("apply_create_and_delete_100B", |b| {
        b.iter(|| {
            black_box(grove.create("/p0007/fresh-0000000001", &data));
            black_box(grove.delete("/p0007/fresh-0000000001"))
        });
    });
    group.throughput(Throughput::Elements(1));
    let tree = &grove.tree;
    group.bench_function("find", |b| {
        b.iter(|| {
            set_leaf(&mut path, walk.next(), PARENTS);
            tree.find(black_box(&path))
        });
    });
    group.bench_function("find_data_and_stat", |b| {
        b.iter(|| {
            set_leaf(&mut path, walk.next(), PARENTS);
            let node = tree.find(&path).map(|id| tree.node(id));
            node.map(|node| (node.data().map(<[u8]>::len), black_box(node.stat())))
        });
    });
    let parent = tree.find("/p0007").expect("planted");
    group.throughput(Throughput::Elements(u64::from(LEAVES / PARENTS)));
    group.bench_function("list_1000_children", |b| {
        b.iter(|| tree.node(parent).children().map(|id| tree.node(id).name().len()).sum::<usize>());
    });
    group.finish();
}

criterion_group!(benches, tree);
criterion_main!(benches);
