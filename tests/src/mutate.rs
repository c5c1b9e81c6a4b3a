//! A seeded mutator: valid input in, nearly valid input out.
//!
//! Not guided by coverage, as cargo-fuzz is; its strength is that it starts from whole messages and knows where
//! decoders are weak: lengths, counts, signs and ends. The same seed gives the same inputs on every machine.

use fastrand::Rng;

/// Inputs longer than this are cut.
const LONGEST: usize = 64 << 10;

/// Four-byte values that lengths, counts, versions and types go wrong at.
const INTERESTING: [i32; 16] =
    [0, 1, -1, -2, 2, 7, 8, 127, 128, 255, 4096, 1 << 20, 0x00ff_ffff, i32::MAX, i32::MIN, i32::MAX - 7];

/// Changes `input` in one to six places; `other` is a valid input to splice with.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.usize(1..=6) {
        change(rng, input, other);
    }
    input.truncate(LONGEST);
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let len = input.len();
    if len == 0 {
        input.push(rng.u8(..));
        return;
    }
    let at = rng.usize(..len);
    match rng.u8(..10) {
        0 => input[at] ^= 1 << rng.u8(..8),
        1 => input[at] = rng.u8(..),
        2 | 3 => put(input, at, &rng.choice(INTERESTING).unwrap_or(0).to_be_bytes()),
        // A length that is nearly right: somewhere around what is left.
        4 => put(input, at, &((len - at) as i32 + rng.i32(-6..=6)).to_be_bytes()),
        5 => input.truncate(at),
        6 => {
            let end = (at + rng.usize(..16)).min(len);
            input.drain(at..end);
        }
        7 => {
            let byte = rng.u8(..);
            let insert = vec![byte; rng.usize(..16)];
            input.splice(at..at, insert);
        }
        8 => {
            let end = (at + rng.usize(..64)).min(len);
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        _ => {
            let from = rng.usize(..=other.len());
            input.splice(at.., other[from..].iter().copied());
        }
    }
}

fn put(input: &mut [u8], at: usize, bytes: &[u8]) {
    let end = (at + bytes.len()).min(input.len());
    input[at..end].copy_from_slice(&bytes[..end - at]);
}
