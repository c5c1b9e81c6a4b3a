//! A way in for fuzzers: hostile bytes as files of a log directory.

/// Stub.
pub fn fuzz_recover(_bytes: &[u8]) {}
