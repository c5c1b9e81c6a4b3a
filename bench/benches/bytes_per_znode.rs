//! Memory per znode over its name and data, for a million znodes. The design allows 100 bytes.
//!
//! Measured as the growth of the resident set, which is what an operator sees: allocator overhead, table load
//! factors and spare capacity included. Each shape is built in a process of its own, so that none reuses memory that
//! another has given back.

use std::process::Command;

use ringkeeper_bench::grove::Grove;
use ringkeeper_bench::proc::rss_bytes;

/// What the design allows, in bytes per znode.
const ALLOWED: f64 = 100.0;

/// Leaves, parents and bytes of data.
const SHAPES: [(u32, u32, usize); 4] =
    [(1_000_000, 1, 0), (1_000_000, 1_000, 0), (1_000_000, 1_000, 100), (1_000_000, 1_000, 1_000)];

/// The argument by which this program calls itself.
const CHILD: &str = "--measure";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|a| a == CHILD) {
        let shape = args.get(at + 1).and_then(|s| s.parse().ok()).and_then(|s: usize| SHAPES.get(s));
        return measure(*shape.expect("called by itself with a shape's number"));
    }
    let quick = args.iter().any(|a| a == "--quick");
    println!(
        "{:>9} {:>8} {:>6} {:>11} {:>23}",
        "znodes", "parents", "data", "resident", "over name and data"
    );
    for shape in if quick { &SHAPES[2..3] } else { &SHAPES[..] } {
        let number = SHAPES.iter().position(|s| s == shape).expect("it is one of them");
        let own = std::env::current_exe().expect("this program has a path");
        let status = Command::new(own).arg(CHILD).arg(number.to_string()).status();
        assert!(status.as_ref().is_ok_and(|s| s.success()), "measuring {shape:?}: {status:?}");
    }
}

fn measure((nodes, parents, size): (u32, u32, usize)) {
    let resident = || rss_bytes(std::process::id()).expect("/proc is mounted");
    let before = resident();
    let (grove, name_bytes) = Grove::planted(nodes, parents, size);
    let grown = resident() - before;
    assert!(grove.tree.node_count() >= u64::from(nodes), "the tree is alive until here");
    let per_node = |bytes: f64| bytes / f64::from(nodes);
    let over = per_node(grown as f64) - per_node(name_bytes as f64) - size as f64;
    let verdict = if over <= ALLOWED { "" } else { "  above the 100 allowed" };
    println!("{nodes:>9} {parents:>8} {size:>6} {:>7} MiB {over:>11.1} B / znode{verdict}", grown >> 20);
}
