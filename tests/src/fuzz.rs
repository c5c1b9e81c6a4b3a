//! Fuzzing on stable, through the same entry points as the cargo-fuzz targets in `tests/fuzz`.
//!
//! A target is a function of bytes that may do anything but panic, hang or eat memory. Each is started from a small
//! corpus of valid inputs. One target is wrong on purpose: if it is not caught, no other result means anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ringkeeper_engine::txn::{Txn, decode, encode_into};

use crate::corpus;
use crate::mutate::mutate;

/// Something that reads bytes it must not trust.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What a report calls it.
    pub name: &'static str,
    /// Reads the bytes.
    pub run: fn(&[u8]),
    /// Inputs that it accepts.
    pub corpus: fn() -> Vec<Vec<u8>>,
}

/// Transactions, as log and peers bring them.
pub const TXN: Target = Target { name: "txn", run: txn, corpus: corpus::transactions };

/// ConnectRequests.
pub const CONNECT: Target = Target { name: "connect", run: connect, corpus: corpus::connects };

/// Requests of all operations.
pub const REQUEST: Target = Target { name: "request", run: request, corpus: corpus::requests };

/// A whole service with connections, commits and the passing of time.
pub const SESSION: Target = Target { name: "session", run: session, corpus: corpus::sessions };

/// The syntax of properties files.
pub const PROPERTIES: Target = Target { name: "properties", run: properties, corpus: corpus::configurations };

/// zoo.cfg and its meaning.
pub const CONFIG: Target = Target { name: "config", run: config, corpus: corpus::configurations };

/// The files of a log directory, as a start finds them.
pub const RECOVER: Target = Target { name: "recover", run: recover, corpus: corpus::directories };

/// What members say on the election port.
pub const ELECTION: Target = Target { name: "election", run: election, corpus: corpus::elections };

/// What leader and learner say on the quorum port.
pub const QUORUM: Target = Target { name: "quorum", run: quorum, corpus: corpus::quorums };

/// The decoder with the classic mistake: it believes a length.
pub const CANARY: Target =
    Target { name: "canary", run: canary, corpus: || vec![b"\0\0\0\x05hello".to_vec()] };

/// See [`TXN`].
pub fn txn(bytes: &[u8]) {
    let Ok((header, txn, digest)) = decode(bytes) else { return };
    if matches!(txn, Txn::CloseSession { .. }) {
        // A list of two empty paths is the same bytes as no list and a digest: nobody writes it, a mutator does.
        return;
    }
    let mut encoded = Vec::new();
    encode_into(&header, &txn, digest, &mut encoded);
    assert_eq!(decode(&encoded).expect("what was encoded can be decoded"), (header, txn, digest));
}

/// See [`CONNECT`].
pub fn connect(bytes: &[u8]) {
    ringkeeper_net::wire::fuzz::fuzz_connect(bytes);
}

/// See [`REQUEST`].
pub fn request(bytes: &[u8]) {
    ringkeeper_net::wire::fuzz::fuzz_request(bytes);
}

/// See [`SESSION`].
pub fn session(bytes: &[u8]) {
    ringkeeper_net::client::fuzz::fuzz_session(bytes);
}

/// See [`PROPERTIES`].
pub fn properties(bytes: &[u8]) {
    ringkeeper_net::config::properties::fuzz(bytes);
}

/// See [`RECOVER`].
pub fn recover(bytes: &[u8]) {
    ringkeeper_engine::log::fuzz_recover(bytes);
}

/// See [`CONFIG`].
pub fn config(bytes: &[u8]) {
    ringkeeper_net::config::fuzz(bytes);
}

/// See [`ELECTION`].
pub fn election(bytes: &[u8]) {
    ringkeeper_net::wire::election::fuzz(bytes);
}

/// See [`QUORUM`].
pub fn quorum(bytes: &[u8]) {
    ringkeeper_net::wire::quorum::fuzz(bytes);
}

/// See [`CANARY`].
pub fn canary(bytes: &[u8]) {
    if let Some(length) = bytes.first_chunk() {
        let length = i32::from_be_bytes(*length) as usize;
        std::hint::black_box(&bytes[4..4 + length]);
    }
}

/// An input that a target did not survive.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Which input of the run it was.
    pub run: u64,
    /// The input.
    pub input: Vec<u8>,
}

/// Runs a target on its corpus and then on mutations of it until the time is up or it panics. Returns how many
/// inputs it survived. The inputs depend on the seed only; the time decides how many there are.
pub fn fuzz(target: Target, seed: u64, time: Duration) -> Result<u64, Crash> {
    let start = Instant::now();
    let corpus = (target.corpus)();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut run = 0;
    let attempt = |run: u64, input: &[u8]| {
        let survived = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok();
        if survived { Ok(()) } else { Err(Crash { run, input: input.to_vec() }) }
    };
    for input in &corpus {
        attempt(run, input)?;
        run += 1;
    }
    while start.elapsed() < time {
        let mut input = rng.choice(&corpus).expect("a corpus is not empty").clone();
        let other = rng.choice(&corpus).expect("a corpus is not empty");
        mutate(&mut rng, &mut input, other);
        attempt(run, &input)?;
        run += 1;
    }
    Ok(run)
}
