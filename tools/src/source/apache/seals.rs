//! What stands behind the nodes of a snapshot: checksums over all before them, and what the trailers say.
//!
//! ```text
//! seal 1   Adler-32 of all before (8), the path "/" (5)
//! A        zxid (8), digest version (4), digest (8); version below 2: a text in place of the digest
//! seal 2   as above; the checksum covers seal 1 too
//! B        last zxid (8)
//! seal 3   as above
//! ```
//!
//! A comes with digests, B from servers since 3.9; which there are follows from how many bytes there are, not from
//! settings. Since the seals build on each other, a later one tells whether a damaged one is the seal's fault or that
//! of what it covers. No I/O here.

use std::ops::Range;

use ringkeeper_engine::id::Zxid;
use simd_adler32::Adler32;

use super::damage::DamageKind;

/// Checksum and "/".
pub(super) const SEAL: usize = 13;
/// What ends a seal.
pub(super) const SLASH: [u8; 5] = [0, 0, 0, 1, b'/'];
/// Most bytes that can stand behind the nodes, with room for digests that are texts.
pub(super) const MOST: usize = 4096;
/// zxid, version, digest.
const TRAILER_A: usize = 20;
const TRAILER_B: usize = 8;
/// Bytes behind the nodes with both trailers.
pub(super) const ALL: usize = 67;
/// With both, with A, with B, with none.
const LAYOUTS: [usize; 4] = [ALL, 46, 34, 13];
/// The version of digests that are numbers.
pub(super) const DIGEST_VERSION: i32 = 2;

/// What the trailers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trailer {
    /// The digest, and after which transaction the tree had it. [`Zxid::ZERO`] if the writer had applied none.
    pub digest: Option<(Zxid, u64)>,
    /// The last transaction, as servers since 3.9 write it.
    pub last_zxid: Option<Zxid>,
}

/// A part of what stands behind the nodes that is damaged, or the body that it seals. Offsets from the first byte of
/// seal 1; the body is what comes before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SealFault {
    /// All before seal 1, and what is behind that up to `upto`.
    Body { stored: u64, found: u32, upto: usize },
    /// Something behind it.
    Behind(Range<usize>, DamageKind),
}

/// The lengths of the pieces between seals. A cut can leave as many bytes as another layout has: then the seals are not
/// where they should be.
fn pieces(rest: &[u8]) -> Option<Vec<usize>> {
    layout(rest).filter(|pieces| {
        let unlike = |end: usize| rest[end - 5..end].iter().zip(SLASH).filter(|(a, b)| **a != *b).count();
        rest.len() == ALL || seal_ends(pieces).map(unlike).sum::<usize>() <= 1
    })
}

/// Offsets behind the seals.
fn seal_ends(pieces: &[usize]) -> impl Iterator<Item = usize> {
    let behind = pieces.iter().scan(SEAL, |end, piece| {
        *end += piece + SEAL;
        Some(*end)
    });
    std::iter::once(SEAL).chain(behind)
}

/// The lengths of the pieces between seals, going by how many bytes there are.
fn layout(rest: &[u8]) -> Option<Vec<usize>> {
    let behind = rest.len().checked_sub(SEAL)?;
    let old = |at: usize| -> Option<usize> {
        let version = i32::from_be_bytes(*rest.get(SEAL + 8..)?.first_chunk()?);
        let len = i32::from_be_bytes(*rest.get(at..)?.first_chunk()?);
        (version < DIGEST_VERSION).then_some(12 + 4 + usize::try_from(len).ok()?)
    };
    const A: usize = TRAILER_A + SEAL;
    const B: usize = TRAILER_B + SEAL;
    match behind {
        0 => Some(vec![]),
        A => Some(vec![TRAILER_A]),
        B => Some(vec![TRAILER_B]),
        _ if behind == A + B => Some(vec![TRAILER_A, TRAILER_B]),
        _ => {
            let a = old(SEAL + 12)?;
            match behind.checked_sub(a + SEAL)? {
                0 => Some(vec![a]),
                B => Some(vec![a, TRAILER_B]),
                _ => None,
            }
        }
    }
}

/// Judges what stands behind the nodes; `adler` is that of everything before.
pub(super) fn judge(adler: u32, rest: &[u8]) -> (Trailer, Vec<SealFault>) {
    let Some(pieces) = pieces(rest) else {
        return shape(adler, rest);
    };
    let mut faults = Vec::new();
    let mut trailer = Trailer::default();
    // Of everything before the seal in hand: computed, and as it would be if what was stored before was right.
    let (mut found, mut at) = (adler, 0);
    for i in 0..=pieces.len() {
        let stored = long(rest, at);
        let from = if i == 0 { 0 } else { at - pieces[i - 1] };
        if stored != u64::from(found) {
            let wrong = DamageKind::Checksum { stored, found };
            let whose = whose(rest, at, &pieces[i..], stored, found);
            // Where it cannot be told, both.
            let upto = if whose == Whose::Either { at + 8 } else { at };
            faults.push(match whose {
                Whose::Seal => SealFault::Behind(at..at + 8, DamageKind::Seal),
                _ if i == 0 => SealFault::Body { stored, found, upto },
                _ => SealFault::Behind(from..upto, wrong),
            });
        }
        if rest[at + 8..at + SEAL] != SLASH {
            faults.push(SealFault::Behind(at + 8..at + SEAL, DamageKind::Seal));
        }
        // Continue as the writer did: with what it had computed, over what it had written.
        let of_seal = faults.contains(&SealFault::Behind(at..at + 8, DamageKind::Seal));
        let good = if of_seal { found } else { stored as u32 };
        let Some(&piece) = pieces.get(i) else { break };
        let mut adler = Adler32::from_checksum(good);
        adler.write(&u64::from(good).to_be_bytes());
        adler.write(&SLASH);
        adler.write(&rest[at + SEAL..at + SEAL + piece]);
        found = adler.finish();
        read_trailer(&rest[at + SEAL..at + SEAL + piece], &mut trailer);
        at += SEAL + piece;
    }
    (trailer, faults)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Seal,
    Covered,
    Either,
}

/// Whether the seal at `at` is damaged or what it covers: the next seal covers both.
fn whose(rest: &[u8], at: usize, pieces: &[usize], stored: u64, found: u32) -> Whose {
    // A checksum has 32 bits.
    if stored >> 32 != 0 {
        return Whose::Seal;
    }
    let Some(&piece) = pieces.first() else { return Whose::Either };
    let next = at + SEAL + piece;
    let mut adler = Adler32::from_checksum(found);
    adler.write(&u64::from(found).to_be_bytes());
    adler.write(&SLASH);
    adler.write(&rest[at + SEAL..next]);
    if long(rest, next) == u64::from(adler.finish()) { Whose::Seal } else { Whose::Covered }
}

/// Whether this may be all that stands behind the nodes, or at least begins as it must.
pub(super) fn may_be(adler: u32, rest: &[u8]) -> bool {
    pieces(rest).is_some() || rest.len() > SEAL && long(rest, 0) == u64::from(adler) && rest[8..SEAL] == SLASH
}

/// What is wrong where so many bytes cannot stand behind the nodes: they end early, or something follows.
fn shape(adler: u32, rest: &[u8]) -> (Trailer, Vec<SealFault>) {
    let whole = LAYOUTS.into_iter().filter(|&len| len < rest.len()).find_map(|len| {
        let (trailer, faults) = judge(adler, &rest[..len]);
        faults.is_empty().then_some((len, trailer))
    });
    let (at, trailer) = whole.unwrap_or_default();
    let short = rest.len() < ALL;
    let what = if short { DamageKind::Cut } else { DamageKind::GoesOn };
    (trailer, vec![SealFault::Behind(at..rest.len(), what)])
}

/// The nodes' end in a file whose nodes cannot be followed to it: where what follows is put together as seals and
/// trailers are. `tail` is the end of the file; returns how many of its bytes stand behind the nodes.
pub(super) fn find(tail: &[u8]) -> Option<usize> {
    LAYOUTS.into_iter().find(|&len| {
        let Some((_, rest)) = tail.split_at_checked(tail.len().wrapping_sub(len)) else { return false };
        // A checksum has 32 bits in 8 bytes.
        let is_seal = |end: usize| rest[end - 5..end] == SLASH && rest[end - SEAL..end - 9] == [0; 4];
        seal_ends(&pieces(rest).unwrap_or_default()).all(is_seal)
    })
}

fn read_trailer(piece: &[u8], trailer: &mut Trailer) {
    if piece.len() == TRAILER_B {
        trailer.last_zxid = Some(Zxid::from_raw(long(piece, 0).cast_signed()));
    } else if piece.len() == TRAILER_A && piece[8..12] == DIGEST_VERSION.to_be_bytes() {
        trailer.digest = Some((Zxid::from_raw(long(piece, 0).cast_signed()), long(piece, 12)));
    }
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(*bytes[at..].first_chunk().expect("eight bytes are there"))
}

/// Appends everything that stands behind the nodes; `adler` is that of everything before. Both trailers: servers
/// before 3.9 do not look at the second, later ones expect it.
pub(super) fn write(adler: u32, zxid: Zxid, digest: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut adler = Adler32::from_checksum(adler);
    let mut put = |bytes: &[u8], adler: &mut Adler32| {
        adler.write(bytes);
        out.extend_from_slice(bytes);
    };
    let seal = |adler: &Adler32| [&u64::from(adler.finish()).to_be_bytes()[..], &SLASH].concat();
    put(&seal(&adler), &mut adler);
    put(&zxid.raw().to_be_bytes(), &mut adler);
    put(&DIGEST_VERSION.to_be_bytes(), &mut adler);
    put(&digest.to_be_bytes(), &mut adler);
    put(&seal(&adler), &mut adler);
    put(&zxid.raw().to_be_bytes(), &mut adler);
    put(&seal(&adler), &mut adler);
    out
}
