//! See `ringkeeper_tests::fuzz::election`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringkeeper_tests::fuzz::election(bytes));
