//! See `ringkeeper_tests::fuzz::recover`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringkeeper_tests::fuzz::recover(bytes));
