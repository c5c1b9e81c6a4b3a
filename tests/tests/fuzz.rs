//! A few seconds of fuzzing for every decoder of untrusted bytes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ringkeeper_tests::fuzz::{self, Target};
use ringkeeper_tests::process::Process;

/// Memory that fuzzing may take in all: inputs are small, so anything near this was allocated for a declared length.
const MEMORY: u64 = 512 << 20;

fn survives(target: Target) {
    let seed =
        std::env::var("FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    println!("{}: FUZZ_SEED={seed}", target.name);
    if let Some(dir) = std::env::var_os("FUZZ_CORPUS") {
        write_corpus(&PathBuf::from(dir).join(target.name), target);
    }
    match fuzz::fuzz(target, seed, Duration::from_secs(seconds)) {
        Ok(runs) => println!("{}: survived {runs} inputs", target.name),
        Err(crash) => {
            let hex: String = crash.input.iter().map(|b| format!("{b:02x}")).collect();
            panic!("{}: FUZZ_SEED={seed}, input {}: {hex}", target.name, crash.run);
        }
    }
    let memory = Process::new(std::process::id()).rss();
    assert!(memory < MEMORY, "{}: FUZZ_SEED={seed}: {memory} bytes resident", target.name);
}

/// Writes the seeds where cargo-fuzz looks for them.
fn write_corpus(dir: &Path, target: Target) {
    std::fs::create_dir_all(dir).expect("creating a directory");
    for (number, input) in (target.corpus)().into_iter().enumerate() {
        std::fs::write(dir.join(format!("seed-{number}")), input).expect("writing a seed");
    }
}

#[test]
fn canary_is_caught() {
    let crash = fuzz::fuzz(fuzz::CANARY, 1, Duration::from_secs(60));
    assert!(crash.is_err(), "the alarm does not ring: {crash:?}");
}

#[test]
fn transactions_of_any_bytes() {
    survives(fuzz::TXN);
}

#[test]
fn connect_requests_of_any_bytes() {
    survives(fuzz::CONNECT);
}

#[test]
fn requests_of_any_bytes() {
    survives(fuzz::REQUEST);
}

#[test]
fn sessions_of_any_bytes() {
    survives(fuzz::SESSION);
}

#[test]
fn properties_of_any_bytes() {
    survives(fuzz::PROPERTIES);
}

#[test]
fn configurations_of_any_bytes() {
    survives(fuzz::CONFIG);
}

#[test]
fn log_directories_of_any_bytes() {
    survives(fuzz::RECOVER);
}

#[test]
fn election_connections_of_any_bytes() {
    survives(fuzz::ELECTION);
}

#[test]
fn quorum_connections_of_any_bytes() {
    survives(fuzz::QUORUM);
}
