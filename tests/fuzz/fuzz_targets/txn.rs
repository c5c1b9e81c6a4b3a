//! See `ringkeeper_tests::fuzz::txn`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringkeeper_tests::fuzz::txn(bytes));
