//! CRC-32 of short byte strings: zlib's polynomial, sixteen bytes at a time.
//!
//! The digest takes it over paths, data and 60 bytes of statistics, twice per change. `crc32fast` folds long strings
//! faster than anything here could, but goes byte by byte over what is short: most of what the digest meets.

/// The reflected polynomial.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// Bytes taken at once.
const STEP: usize = 16;
/// From this length on folding is faster.
const LONG: usize = 128;

/// `TABLES[n][byte]` is what `byte` contributes when `n` more bytes follow it in a step.
static TABLES: [[u32; 256]; STEP] = tables();

const fn tables() -> [[u32; 256]; STEP] {
    let mut tables = [[0; 256]; STEP];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < STEP {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[n - 1][byte];
            tables[n][byte] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// Continues the CRC of what came before, 0 for nothing.
pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
    if bytes.len() >= LONG {
        let mut hasher = crc32fast::Hasher::new_with_initial(crc);
        hasher.update(bytes);
        return hasher.finalize();
    }
    let mut state = !crc;
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for bytes in steps {
        state = step(state, bytes);
    }
    !step(state, rest)
}

/// Takes up to [`STEP`] bytes. The state before is mixed into the first four of them; of fewer, the rest of it stays.
#[inline(always)]
fn step(state: u32, bytes: &[u8]) -> u32 {
    let before = state.to_le_bytes();
    let mut after = state.checked_shr(8 * bytes.len() as u32).unwrap_or(0);
    for (i, &byte) in bytes.iter().enumerate() {
        let mixed = byte ^ before.get(i).copied().unwrap_or(0);
        after ^= TABLES[bytes.len() - 1 - i][usize::from(mixed)];
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_every_cut_give_the_crc_of_zlib() {
        assert_eq!(append(0, b"123456789"), 0xcbf4_3926);
        let bytes: Vec<u8> = (0..300u32).map(|i| ((i * i) >> 3) as u8).collect();
        for len in 0..bytes.len() {
            let expected = crc32fast::hash(&bytes[..len]);
            assert_eq!(append(0, &bytes[..len]), expected, "{len}");
            for cut in (0..len).step_by(7).chain([len]) {
                let (a, b) = bytes[..len].split_at(cut);
                assert_eq!(append(append(0, a), b), expected, "{cut} of {len}");
            }
        }
    }
}
