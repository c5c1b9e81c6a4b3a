//! Looks at snapshot files without believing them: for tools, and for those who must know what is sound.
//!
//! Says which bytes are damaged as exactly as the checksums allow: header, trailer and body vouch for each other, so
//! that a damaged checksum is told from a damaged piece, and pieces are judged even where the header is gone.

use super::format::{FirstBlock, PIECE, Published, SnapshotName, VERSION};
use crate::io::{BLOCK, Volume};
use crate::log::survey::{Finding, What};
use crate::log::{LogError, files};

/// Pieces whose checksums differ, of a file whose trailer is damaged too, are told apart up to this number.
const MOST_DOUBTS: usize = 12;

/// The header of a snapshot; `None` if it is damaged.
pub(crate) fn sound_header(vol: &dyn Volume, name: SnapshotName) -> Result<Option<Published>, LogError> {
    let file = name.to_string();
    match Published::read(name, &files::read(vol, &file, 0, BLOCK)?) {
        FirstBlock::Header(published) => Ok(Some(published)),
        FirstBlock::Damaged => Ok(None),
        FirstBlock::Unknown { version } => {
            Err(LogError::Version { path: vol.path(&file), version, known: VERSION })
        }
    }
}

/// What is known of a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotCheck {
    /// Its header, if that is sound.
    pub header: Option<Published>,
    /// What is damaged, in order.
    pub findings: Vec<Finding>,
}

/// Where things are in the file.
struct Layout {
    body_len: u64,
    trailer_at: u64,
    file_len: u64,
}

/// Looks at every byte of the snapshot file `file`; `None` if this is no name of one. `read` is told of each piece that
/// was read. Blocking.
pub fn check_snapshot(
    vol: &dyn Volume,
    file: &str,
    read: &mut dyn FnMut(u64),
) -> Result<Option<SnapshotCheck>, LogError> {
    let Some(name) = SnapshotName::parse(file) else { return Ok(None) };
    let len = files::Files::list(vol)?.len_of(file).unwrap_or(0);
    let header = sound_header(vol, name)?;
    let mut findings = Vec::new();
    if header.is_none() {
        findings.push(finding(What::SnapshotHeader, 0, BLOCK as u64));
    }
    let layout = match &header {
        Some(header) => Some(Layout::of(header)),
        None => Layout::guess(vol, file, len)?,
    };
    if let Some(layout) = layout {
        let trailer_crc = header.map(|header| header.trailer_crc);
        let computed = layout.checksums(vol, file, len, read)?;
        let stored = layout.stored(vol, file)?;
        layout.compare(&computed, &stored, trailer_crc, &mut findings);
        if len < layout.file_len {
            findings.push(finding(What::CutShort, len, layout.file_len));
        } else if len > layout.file_len {
            findings.push(finding(What::Excess, layout.file_len, len));
        }
    }
    findings.sort_by_key(|finding| finding.start);
    Ok(Some(SnapshotCheck { header, findings }))
}

fn finding(what: What, start: u64, end: u64) -> Finding {
    Finding { start, end, ..Finding::of(what) }
}

impl Layout {
    fn of(header: &Published) -> Layout {
        let (body_len, trailer_at, file_len) = (header.body_len, header.trailer_at(), header.file_len());
        Layout { body_len, trailer_at, file_len }
    }

    /// The layout of a file whose header is gone: what the length of the file and the end of the body tell, whose last
    /// byte is not zero.
    fn guess(vol: &dyn Volume, file: &str, len: u64) -> Result<Option<Layout>, LogError> {
        let block = BLOCK as u64;
        let about = len.div_ceil(PIECE as u64);
        let fits = |pieces: u64| {
            let trailer_at = len.checked_sub((4 * pieces).next_multiple_of(block))?;
            let body = trailer_at.checked_sub(block).filter(|body| body.is_multiple_of(block))?;
            (body.div_ceil(PIECE as u64) == pieces && pieces > 0).then_some(trailer_at)
        };
        let Some(trailer_at) = (about.saturating_sub(1)..=about).find_map(fits) else { return Ok(None) };
        let last = files::read(vol, file, trailer_at - block, BLOCK)?;
        let used = last.iter().rposition(|&byte| byte != 0).map_or(BLOCK, |last| last + 1) as u64;
        Ok(Some(Layout { body_len: trailer_at - 2 * block + used, trailer_at, file_len: len }))
    }

    fn pieces(&self) -> u64 {
        self.body_len.div_ceil(PIECE as u64)
    }

    /// Offset of a piece in the file, and its length.
    fn piece(&self, index: usize) -> (u64, u64) {
        let at = index as u64 * PIECE as u64;
        (BLOCK as u64 + at, (self.body_len - at).min(PIECE as u64))
    }

    /// The checksum of each piece that is there as a whole.
    fn checksums(
        &self,
        vol: &dyn Volume,
        file: &str,
        len: u64,
        read: &mut dyn FnMut(u64),
    ) -> Result<Vec<u32>, LogError> {
        let mut computed = Vec::new();
        for index in 0..self.pieces() as usize {
            let (offset, piece_len) = self.piece(index);
            if offset + piece_len > len {
                break;
            }
            let piece = files::read(vol, file, offset, piece_len as usize)?;
            read(piece.len() as u64);
            computed.push(crc32c::crc32c(&piece));
        }
        Ok(computed)
    }

    /// The checksums in the trailer, as many as are there.
    fn stored(&self, vol: &dyn Volume, file: &str) -> Result<Vec<u32>, LogError> {
        let bytes = files::read(vol, file, self.trailer_at, 4 * self.pieces() as usize)?;
        let (crcs, _) = bytes.as_chunks();
        Ok(crcs.iter().map(|crc| u32::from_le_bytes(*crc)).collect())
    }

    /// Finds out which of the pieces and which of their checksums are damaged.
    fn compare(
        &self,
        computed: &[u32],
        stored: &[u32],
        trailer_crc: Option<u32>,
        findings: &mut Vec<Finding>,
    ) {
        let differ: Vec<usize> =
            (0..computed.len().min(stored.len())).filter(|&i| computed[i] != stored[i]).collect();
        let whole = stored.len() as u64 == self.pieces();
        let mut pieces = differ.clone();
        if whole && trailer_crc.is_some_and(|crc| checksum_of(stored) != crc) {
            match damaged_entries(computed, stored, &differ, trailer_crc.unwrap_or_default()) {
                Some(entries) => {
                    pieces.retain(|i| !entries.contains(i));
                    for &i in &entries {
                        let at = self.trailer_at + 4 * i as u64;
                        findings.push(finding(What::SnapshotTrailer, at, at + 4));
                    }
                }
                None => {
                    let end = self.trailer_at + 4 * self.pieces();
                    findings.push(finding(What::SnapshotTrailer, self.trailer_at, end));
                }
            }
        }
        for i in pieces {
            let (offset, len) = self.piece(i);
            findings.push(finding(What::SnapshotPiece, offset, offset + len));
        }
    }
}

fn checksum_of(crcs: &[u32]) -> u32 {
    crcs.iter().fold(0, |crc, entry| crc32c::crc32c_append(crc, &entry.to_le_bytes()))
}

/// The entries of a damaged trailer that must be replaced by what the pieces say to make it whole. `None` if that
/// cannot be said: then entry and piece are both damaged somewhere.
fn damaged_entries(computed: &[u32], stored: &[u32], differ: &[usize], crc: u32) -> Option<Vec<usize>> {
    if differ.len() > MOST_DOUBTS {
        return None;
    }
    (1u32..1 << differ.len()).find_map(|choice| {
        let chosen = |(bit, _): &(usize, &usize)| choice >> bit & 1 == 1;
        let entries: Vec<usize> = differ.iter().enumerate().filter(chosen).map(|(_, &i)| i).collect();
        let mut tried = stored.to_vec();
        entries.iter().for_each(|&i| tried[i] = computed[i]);
        (checksum_of(&tried) == crc).then_some(entries)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Zxid;
    use crate::io::sim::SimDisk;
    use crate::log::format::Point;
    use crate::snapshot::publish_state;
    use crate::tree::{Restoring, StatPersisted, Tree};

    fn filled(nodes: usize, bytes: usize) -> Tree {
        let mut restoring = Restoring::new(1);
        let acl = restoring.open_acl();
        for i in 0..nodes {
            let path = if i == 0 { String::new() } else { format!("/node-{i}") };
            let data = vec![i as u8; bytes];
            restoring.insert(&path, Some(&data), acl, &StatPersisted::default()).unwrap();
        }
        restoring.finish(Zxid::from_raw(9))
    }

    /// A disk with a snapshot of several pieces, and its header.
    fn disk() -> (SimDisk, Published) {
        let disk = SimDisk::new(1);
        let point = Point { seq: 3, zxid: Zxid::from_raw(9), crc: 4 };
        let made = Published::made(1, 2, point);
        let published = publish_state(&disk, made, &filled(300, 9_000), &[]).unwrap();
        assert_eq!(published.pieces(), 3);
        (disk, published)
    }

    fn check(disk: &SimDisk, published: &Published) -> Vec<(What, u64, u64)> {
        let check = check_snapshot(disk, &published.file(), &mut |_| ()).unwrap().unwrap();
        assert!(check.header.is_none_or(|header| header == *published));
        check.findings.iter().map(|f| (f.what, f.start, f.end)).collect()
    }

    /// The unit that a byte of the file is in, if it means anything.
    fn unit(published: &Published, at: u64) -> Option<(What, u64, u64)> {
        let block = BLOCK as u64;
        let layout = Layout::of(published);
        if at < block {
            return Some((What::SnapshotHeader, 0, block));
        }
        if at < block + published.body_len {
            let (offset, len) = layout.piece(((at - block) / PIECE as u64) as usize);
            return Some((What::SnapshotPiece, offset, offset + len));
        }
        let entry = at.checked_sub(layout.trailer_at)? / 4;
        let start = layout.trailer_at + 4 * entry;
        (entry < published.pieces()).then_some((What::SnapshotTrailer, start, start + 4))
    }

    fn flipped(disk: &SimDisk, file: &str, places: &[u64]) -> SimDisk {
        let hurt = disk.fork();
        for &at in places {
            let byte = hurt.contents()[file][at as usize] ^ 4;
            hurt.corrupt(file, at, &[byte]);
        }
        hurt
    }

    #[test]
    fn each_flipped_byte_is_in_the_one_range_that_is_reported() {
        let (disk, published) = disk();
        let file = published.file();
        assert_eq!(check(&disk, &published), []);
        let len = published.file_len();
        let trailer = published.trailer_at();
        let places =
            (0..128).chain((0..len).step_by(60_013)).chain(trailer - 60..trailer + 40).chain([len - 1]);
        let (mut meant, mut meaningless) = (0, 0);
        for at in places {
            let expected: Vec<_> = unit(&published, at).into_iter().collect();
            let hurt = flipped(&disk, &file, &[at]);
            assert_eq!(check(&hurt, &published), expected, "byte {at}");
            if expected.is_empty() { meaningless += 1 } else { meant += 1 }
        }
        assert!(meant > 150 && meaningless > 10, "{meant} {meaningless}");
    }

    #[test]
    fn damage_in_several_places_is_told_apart() {
        let (disk, published) = disk();
        let (file, trailer) = (published.file(), published.trailer_at());
        let piece = |i: u64| BLOCK as u64 + i * PIECE as u64 + 77;
        let cases: [&[u64]; 6] = [
            &[5, piece(1)],
            &[piece(0), piece(2)],
            &[piece(0), trailer + 5],
            &[piece(0), piece(1), trailer + 9],
            &[trailer, trailer + 4, trailer + 8],
            &[5, piece(0), piece(2)],
        ];
        for places in cases {
            let mut expected: Vec<_> = places.iter().filter_map(|&at| unit(&published, at)).collect();
            expected.sort_by_key(|(_, start, _)| *start);
            assert_eq!(check(&flipped(&disk, &file, places), &published), expected, "{places:?}");
        }
        // Entry and piece of one MiB: neither vouches for the other.
        let both = check(&flipped(&disk, &file, &[piece(1), trailer + 4]), &published);
        let what: Vec<_> = both.iter().map(|(what, ..)| *what).collect();
        assert_eq!(what, [What::SnapshotPiece, What::SnapshotTrailer], "{both:?}");
    }

    #[test]
    fn a_file_of_another_length_is_damaged_from_there_on() {
        let (disk, published) = disk();
        let (file, len) = (published.file(), published.file_len());
        for cut in [4096, 5000, 2 << 20, published.trailer_at(), published.trailer_at() + 6, len - 1] {
            let hurt = disk.fork();
            hurt.shorten(&file, cut);
            assert_eq!(check(&hurt, &published), [(What::CutShort, cut, len)], "cut at {cut}");
        }
        let longer = disk.fork();
        let bytes = [&disk.contents()[&file][..], &[0; 100]].concat();
        longer.plant(&file, &bytes);
        assert_eq!(check(&longer, &published), [(What::Excess, len, len + 100)]);
    }
}
