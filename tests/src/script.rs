//! What scripts with chance and patience in them share.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::node::DEADLINE;

/// Random numbers from a seed that is printed.
pub fn rng() -> Rng {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    Rng::with_seed(seed)
}

/// A few rounds for every change, many in the long run.
pub fn rounds(few: usize, many: usize) -> usize {
    if is_long() { many } else { few }
}

/// Whether this is the run of everything; says nothing, see [`crate::tool::long`].
pub fn is_long() -> bool {
    std::env::var_os("RINGKEEPER_LONG").is_some_and(|v| v == "1")
}

/// Waits until something is so. Fails after [`DEADLINE`], which is a net for hangs and no measurement.
pub fn wait_for(what: &str, mut met: impl FnMut() -> bool) {
    let start = Instant::now();
    while !met() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
