//! Name and header of a snapshot file, checked by the compiler. `docs/disk.md` draws the same.
//!
//! ```text
//! | header block (4096) | stream, padded to 4096 | crc32c of each MiB of the stream (4 each), padded |
//!
//! header (80 bytes, the rest of its block is zero)
//! 0       8         12    16         24     32    40         48       56           60
//! | magic | version | crc | database | zxid | seq | body_len | digest | generation | trailer_crc
//! 64      68          72     80
//! | flags | batch_crc | zero |
//!   crc covers the whole block but itself
//! ```
//!
//! Only this file knows offsets; it does no I/O.

use std::fmt;

use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};

use crate::id::Zxid;
use crate::io::BLOCK;
use crate::log::format::{COUNTS, Point, block_crc};

/// First bytes of a snapshot file.
const MAGIC: [u8; 8] = *b"RKSNAPSH";
/// Version of the format that this code writes, and the only one it reads.
pub(super) const VERSION: u32 = 1;
/// Bytes of the body under one checksum. The body begins at offset 4096 of the file.
pub const PIECE: usize = 1 << 20;
/// The tree that was written was converging.
const CONVERGING: u32 = 1;
/// Made here, of a log that goes on.
const MADE: u32 = 2;

/// What a published name says: `snapshot.<zxid>-<generation>`, 16 and 8 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotName {
    /// Of the log that goes on behind the received snapshot with which the live log began, its root; 0 if it began with
    /// nothing. Those of the highest generation belong together, all others are dead.
    pub generation: u32,
    pub zxid: Zxid,
}

impl SnapshotName {
    /// The name of this file, or `None` if it is not one of ours, such as a Java server's `snapshot.1f`.
    pub fn parse(file: &str) -> Option<SnapshotName> {
        let (zxid, generation) = file.strip_prefix("snapshot.")?.split_once('-')?;
        let name = SnapshotName {
            generation: u32::from_str_radix(generation, 16).ok()?,
            zxid: Zxid::from_raw(u64::from_str_radix(zxid, 16).ok()?.cast_signed()),
        };
        (name.to_string() == file).then_some(name)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot.{:016x}-{:08x}", self.zxid.raw(), self.generation)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Header {
    magic: [u8; 8],
    version: u32,
    crc: u32,
    database: u64,
    zxid: i64,
    seq: u64,
    body_len: u64,
    digest: u64,
    generation: u32,
    trailer_crc: u32,
    flags: u32,
    batch_crc: u32,
    zero: [u32; 2],
}

const _: () = assert!(size_of::<Header>() == 80);

/// Where a snapshot comes from, and so what it says about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From a leader. It takes the place of everything older, and the log behind it is chained to its header.
    Received,
    /// Made of an older snapshot and the log, which goes on as if nothing had happened.
    Made {
        /// `header_crc` of the batch that its last transaction is in.
        batch_crc: u32,
    },
}

/// A snapshot that has its name: what its header says, with the header's checksum, which vouches for the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub(crate) name: SnapshotName,
    /// The data directory it was made in.
    pub(crate) database: u64,
    /// The batch of the log that its last transaction is in; of a received one the last batch of the log that it takes
    /// the place of.
    pub(crate) seq: u64,
    /// Bytes of the stream.
    pub(crate) body_len: u64,
    /// Of the tree.
    pub(crate) digest: u64,
    /// crc32c of the trailer's checksums.
    pub(crate) trailer_crc: u32,
    /// The tree may contain a part of transactions behind it.
    pub(crate) converging: bool,
    /// crc32c of the header: what the first batch behind a received one is chained to.
    pub(crate) crc: u32,
    pub(crate) origin: Origin,
}

/// What the first block of a file with a snapshot's name may be.
pub(super) enum FirstBlock {
    Header(Published),
    /// Not a sound header of this very file.
    Damaged,
    /// A sound header of a format this code does not know.
    Unknown {
        version: u32,
    },
}

impl Published {
    /// The last transaction in it.
    pub fn zxid(&self) -> Zxid {
        self.name.zxid
    }

    /// Generation of the log behind the received snapshot that the log began with; 0 if it began with nothing.
    pub fn generation(&self) -> u32 {
        self.name.generation
    }

    /// The name of its file.
    pub fn file(&self) -> String {
        self.name.to_string()
    }

    /// Bytes of the body, which is what a leader sends behind SNAP.
    pub fn body_len(&self) -> u64 {
        self.body_len
    }

    /// Of the tree.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether it came from a stream that was written while its leader's tree changed, and may be ahead of its zxid in
    /// parts: transactions behind it make up for that.
    pub fn is_converging(&self) -> bool {
        self.converging
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The point of the log behind its last transaction.
    pub(crate) fn point(&self) -> Point {
        let crc = match self.origin {
            Origin::Received => self.crc,
            Origin::Made { batch_crc } => batch_crc,
        };
        Point { seq: self.seq, zxid: self.name.zxid, crc }
    }

    /// Fills the first block of the file and notes its checksum.
    pub(crate) fn write(&mut self, block: &mut [u8]) {
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            database: self.database,
            zxid: self.name.zxid.raw(),
            seq: self.seq,
            body_len: self.body_len,
            digest: self.digest,
            generation: self.name.generation,
            trailer_crc: self.trailer_crc,
            flags: if self.converging { CONVERGING } else { 0 },
            ..Header::zeroed()
        };
        if let Origin::Made { batch_crc } = self.origin {
            header.flags |= MADE;
            header.batch_crc = batch_crc;
        }
        block.fill(0);
        block[..size_of::<Header>()].copy_from_slice(bytes_of(&header));
        self.crc = block_crc(0, block);
        block[12..16].copy_from_slice(&self.crc.to_le_bytes());
    }

    /// Judges the first block of the file `name`.
    pub(super) fn read(name: SnapshotName, block: &[u8]) -> FirstBlock {
        if block.len() != BLOCK {
            return FirstBlock::Damaged;
        }
        let header: Header = pod_read_unaligned(&block[..size_of::<Header>()]);
        if header.magic != MAGIC || header.crc != block_crc(0, block) {
            return FirstBlock::Damaged;
        }
        if header.version != VERSION || header.flags & !(CONVERGING | MADE) != 0 {
            return FirstBlock::Unknown { version: header.version };
        }
        let origin = match header.flags & MADE {
            0 => Origin::Received,
            _ => Origin::Made { batch_crc: header.batch_crc },
        };
        let ours = header.zxid == name.zxid.raw() && header.generation == name.generation;
        // Behind what was received a generation of its own begins.
        let possible = header.generation > 0 || origin != Origin::Received;
        if !ours || !possible || header.seq >= COUNTS || header.body_len >= COUNTS {
            return FirstBlock::Damaged;
        }
        FirstBlock::Header(Published {
            name,
            database: header.database,
            seq: header.seq,
            body_len: header.body_len,
            digest: header.digest,
            trailer_crc: header.trailer_crc,
            converging: header.flags & CONVERGING != 0,
            crc: header.crc,
            origin,
        })
    }

    /// How many pieces the body has, and so checksums the trailer.
    pub fn pieces(&self) -> u64 {
        self.body_len.div_ceil(PIECE as u64)
    }

    /// Where the checksums begin, as an offset in the file.
    pub fn trailer_at(&self) -> u64 {
        BLOCK as u64 + self.body_len.next_multiple_of(BLOCK as u64)
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.trailer_at() + (4 * self.pieces()).next_multiple_of(BLOCK as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: SnapshotName) -> Published {
        Published {
            name,
            database: 5,
            seq: 7,
            body_len: (3 << 20) + 1,
            digest: 11,
            trailer_crc: 13,
            converging: true,
            crc: 0,
            origin: Origin::Received,
        }
    }

    #[test]
    fn only_the_name_that_is_printed_is_read() {
        let name = SnapshotName { generation: 0x1f, zxid: Zxid::from_raw(0x5_0000_0001) };
        assert_eq!(name.to_string(), "snapshot.0000000500000001-0000001f");
        assert_eq!(SnapshotName::parse(&name.to_string()), Some(name));
        for other in [
            "snapshot.500000001",
            "snapshot.0",
            "snapshot.0000000500000001-0000001F",
            "snapshot.+500000001-1f",
            "",
        ] {
            assert_eq!(SnapshotName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_is_read_only_under_its_own_name_and_whole() {
        let name = SnapshotName { generation: 3, zxid: Zxid::from_raw(9) };
        let mut written = sample(name);
        let mut block = vec![0xff; BLOCK];
        for origin in [Origin::Made { batch_crc: 17 }, Origin::Received] {
            written.origin = origin;
            written.write(&mut block);
            let FirstBlock::Header(read) = Published::read(name, &block) else { panic!("not read back") };
            assert_eq!(read, written);
        }
        let read = written;
        assert_eq!((read.pieces(), read.file_len()), (4, (3 << 20) + 3 * 4096));
        let damaged = |name, block: &[u8]| matches!(Published::read(name, block), FirstBlock::Damaged);
        assert!(damaged(SnapshotName { generation: 4, ..name }, &block) && damaged(name, &block[..4095]));
        for at in [0, 9, 13, 30, 79, 80, 4095] {
            let mut hurt = block.clone();
            hurt[at] ^= 1;
            assert!(damaged(name, &hurt), "byte {at}");
        }
        block[64] = 4;
        let crc = block_crc(0, &block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(Published::read(name, &block), FirstBlock::Unknown { version: 1 }));
    }

    #[test]
    fn only_what_was_made_of_a_log_that_began_with_nothing_has_generation_0() {
        let name = SnapshotName { generation: 0, zxid: Zxid::from_raw(9) };
        let made = Origin::Made { batch_crc: 3 };
        let mut block = vec![0; BLOCK];
        for (origin, read) in [(made, true), (Origin::Received, false)] {
            let mut snapshot = Published { origin, ..sample(name) };
            snapshot.write(&mut block);
            assert_eq!(matches!(Published::read(name, &block), FirstBlock::Header(_)), read, "{origin:?}");
            let crc = if read { 3 } else { snapshot.crc };
            assert_eq!(snapshot.point(), Point { seq: 7, zxid: name.zxid, crc });
        }
    }
}
