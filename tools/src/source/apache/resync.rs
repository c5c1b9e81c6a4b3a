//! Where a damaged log goes on: the search for the next whole record, and for what lies at the end.
//!
//! A record counts as whole if length, mark, type and checksum fit. Bytes that a client sent as data can be made to
//! look so; they are met only if the length in front of them is damaged, and nobody takes a damaged log for a state.
//! Reads at offsets, apart from the reader's window, because it looks far ahead; with a buffer of fixed size.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::txn::kind;
use simd_adler32::Adler32;

use super::damage::DamageKind;
use super::log::{MARK, RECORD_HEADER, SHORTEST, plausible, record_header, zxid_of};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Checksum, length and the transaction's header.
const HEADERS: usize = RECORD_HEADER + SHORTEST;

/// What lies behind damage.
pub(super) enum Behind {
    /// A whole record.
    Record { at: u64, zxid: Zxid },
    /// No record any more. The last byte that is not zero lies before `data_end`.
    End { data_end: u64 },
}

/// What lies behind the damage at `at`, which probably ends at `probably`.
pub(super) fn behind(file: &File, at: u64, probably: Option<u64>, len: u64) -> io::Result<Behind> {
    if let Some(end) = probably {
        if let Some(zxid) = begins_at(file, end, len)? {
            return Ok(Behind::Record { at: end, zxid });
        }
        if first_nonzero(file, end, len)?.is_none() {
            return Ok(Behind::End { data_end: end });
        }
    }
    search(file, at + 1, len)
}

fn search(file: &File, from: u64, len: u64) -> io::Result<Behind> {
    let mut buf = vec![0; PIECE.min(len.saturating_sub(from) as usize)];
    let (mut piece_at, mut data_end) = (from, from);
    while piece_at < len {
        let got = read_at(file, piece_at, &mut buf)?;
        if got == 0 {
            break;
        }
        let bytes = &buf[..got];
        if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
            data_end = piece_at + last as u64 + 1;
            // A record's first bytes are zeros too: those before this piece were looked at with the one before.
            for i in 0..got.saturating_sub(HEADERS - 1) {
                if may_begin(&bytes[i..i + HEADERS])
                    && let Some(zxid) = begins_at(file, piece_at + i as u64, len)?
                {
                    return Ok(Behind::Record { at: piece_at + i as u64, zxid });
                }
            }
        }
        if got < HEADERS || piece_at + got as u64 >= len {
            break;
        }
        piece_at += (got - (HEADERS - 1)) as u64;
    }
    Ok(Behind::End { data_end })
}

/// A cheap look that nearly everything fails.
fn may_begin(headers: &[u8]) -> bool {
    let (stored, value) = record_header(headers);
    if stored == 0 || stored >> 32 != 0 || plausible(value).is_none() {
        return false;
    }
    let at = RECORD_HEADER + SHORTEST - 4;
    let txn = i32::from_be_bytes(headers[at..at + 4].try_into().expect("four bytes"));
    KINDS.contains(&txn)
}

const KINDS: [i32; 14] = [
    kind::CLOSE_SESSION,
    kind::CREATE_SESSION,
    kind::ERROR,
    kind::CREATE,
    kind::DELETE,
    kind::SET_DATA,
    kind::SET_ACL,
    kind::CHECK,
    kind::MULTI,
    kind::CREATE2,
    kind::RECONFIG,
    kind::CREATE_CONTAINER,
    kind::DELETE_CONTAINER,
    kind::CREATE_TTL,
];

/// The zxid of the record at `at`, if it is whole.
fn begins_at(file: &File, at: u64, len: u64) -> io::Result<Option<Zxid>> {
    let mut headers = [0; HEADERS];
    if read_at(file, at, &mut headers)? < HEADERS || !may_begin(&headers) {
        return Ok(None);
    }
    let (stored, value) = record_header(&headers);
    let Some(payload) = plausible(value) else { return Ok(None) };
    let payload_at = at + RECORD_HEADER as u64;
    let end = payload_at + payload as u64;
    let mut mark = [0];
    if end >= len || read_at(file, end, &mut mark)? < 1 || mark[0] != MARK {
        return Ok(None);
    }
    let found = adler_of(file, payload_at..end)?;
    Ok((u64::from(found) == stored).then(|| zxid_of(&headers[RECORD_HEADER..])))
}

/// What a damaged record behind which there is none really is: one whose length is damaged, or one that was never
/// completed.
pub(super) fn at_the_end(file: &File, at: u64, data_end: u64, what: &DamageKind) -> io::Result<DamageKind> {
    match what {
        DamageKind::Mark { found: 0 } | DamageKind::Torn => return Ok(DamageKind::Torn),
        DamageKind::Length { .. } => {}
        _ => return Ok(what.clone()),
    }
    let payload_at = at + RECORD_HEADER as u64;
    let mark_at = data_end.saturating_sub(1);
    if mark_at < payload_at + SHORTEST as u64 {
        return Ok(DamageKind::Torn);
    }
    let (mut header, mut mark) = ([0; RECORD_HEADER], [0]);
    read_at(file, at, &mut header)?;
    read_at(file, mark_at, &mut mark)?;
    let ended =
        mark[0] == MARK && record_header(&header).0 == u64::from(adler_of(file, payload_at..mark_at)?);
    Ok(if ended { what.clone() } else { DamageKind::Torn })
}

fn adler_of(file: &File, range: Range<u64>) -> io::Result<u32> {
    let mut adler = Adler32::new();
    let mut buf = vec![0; PIECE.min((range.end - range.start) as usize)];
    let mut at = range.start;
    while at < range.end {
        let want = buf.len().min((range.end - at) as usize);
        let got = read_at(file, at, &mut buf[..want])?;
        if got == 0 {
            break;
        }
        adler.write(&buf[..got]);
        at += got as u64;
    }
    Ok(adler.finish())
}

/// The first byte that is not zero, before `len`.
pub(super) fn first_nonzero(file: &File, from: u64, len: u64) -> io::Result<Option<u64>> {
    let mut buf = vec![0; PIECE.min(len.saturating_sub(from) as usize)];
    let mut at = from;
    while at < len {
        let want = buf.len().min((len - at) as usize);
        let got = read_at(file, at, &mut buf[..want])?;
        if got == 0 {
            break;
        }
        let bytes = &buf[..got];
        // In one go over all, which the compiler makes fast; then for the place, once.
        if bytes.iter().fold(0, |all, &byte| all | byte) != 0 {
            return Ok(bytes.iter().position(|&byte| byte != 0).map(|i| at + i as u64));
        }
        at += got as u64;
    }
    Ok(None)
}

/// As much as there is.
fn read_at(file: &File, at: u64, out: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < out.len() {
        match file.read_at(&mut out[len..], at + len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
