//! The fuzzer's way in, walked with random bytes.

use super::*;

#[test]
fn hostile_bytes_never_panic_recovery() {
    let mut random = fastrand::Rng::with_seed(1);
    fuzz_recover(&[]);
    for i in 0..4_000usize {
        let edits = 1 + i % 5;
        let mut bytes: Vec<u8> = (0..1 + 8 * edits).map(|_| random.u8(..)).collect();
        bytes[0] = bytes[0].max(1);
        fuzz_recover(&bytes);
    }
    for _ in 0..200 {
        let mut bytes: Vec<u8> = (0..random.usize(..40_000)).map(|_| random.u8(..)).collect();
        bytes.insert(0, 0);
        fuzz_recover(&bytes);
    }
}
