//! Name and header of a snapshot file, checked by the compiler. `docs/disk.md` draws the same.
//!
//! ```text
//! | header block (4096) | stream, padded to 4096 | crc32c of each MiB of the stream (4 each), padded |
//!
//! header (80 bytes, the rest of its block is zero)
//! 0       8         12    16         24     32    40         48       56           60
//! | magic | version | crc | database | zxid | seq | body_len | digest | generation | trailer_crc
//! 64      68     72     80
//! | flags | zero | zero |
//!   crc covers the whole block but itself
//! ```
//!
//! Only this file knows offsets; it does no I/O.

use std::fmt;

use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};

use crate::id::Zxid;
use crate::io::BLOCK;
use crate::log::format::{COUNTS, block_crc};

/// First bytes of a snapshot file.
const MAGIC: [u8; 8] = *b"RKSNAPSH";
/// Version of the format that this code writes, and the only one it reads.
pub(super) const VERSION: u32 = 1;
/// Bytes of the stream under one checksum.
pub(super) const PIECE: usize = 1 << 20;
/// The tree that was written was converging.
const CONVERGING: u32 = 1;

/// What a published name says: `snapshot.<zxid>-<generation>`, 16 and 8 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotName {
    /// Of the log that goes on behind it; the highest one wins.
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
    zero: [u32; 3],
}

const _: () = assert!(size_of::<Header>() == 80);

/// What a header says; with its checksum, which vouches for the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub name: SnapshotName,
    /// The data directory it was made in.
    pub database: u64,
    /// The log goes on with the batch behind this one.
    pub seq: u64,
    /// Bytes of the stream.
    pub body_len: u64,
    /// Of the tree.
    pub digest: u64,
    /// crc32c of the trailer's checksums.
    pub trailer_crc: u32,
    /// The tree may contain a part of transactions behind it.
    pub converging: bool,
    /// crc32c of the header: what the first batch behind it is chained to.
    pub crc: u32,
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
    /// Fills the first block of the file and notes its checksum.
    pub fn write(&mut self, block: &mut [u8]) {
        let header = Header {
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
        if header.version != VERSION || header.flags & !CONVERGING != 0 {
            return FirstBlock::Unknown { version: header.version };
        }
        let ours = header.zxid == name.zxid.raw() && header.generation == name.generation;
        if !ours || header.generation == 0 || header.seq >= COUNTS || header.body_len >= COUNTS {
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
        })
    }

    /// How many checksums the trailer has.
    pub fn pieces(&self) -> u64 {
        self.body_len.div_ceil(PIECE as u64)
    }

    /// Where the trailer begins.
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
        let mut written = Published {
            name,
            database: 5,
            seq: 7,
            body_len: (3 << 20) + 1,
            digest: 11,
            trailer_crc: 13,
            converging: true,
            crc: 0,
        };
        let mut block = vec![0xff; BLOCK];
        written.write(&mut block);
        let FirstBlock::Header(read) = Published::read(name, &block) else { panic!("not read back") };
        assert_eq!(read, written);
        assert_eq!((read.pieces(), read.file_len()), (4, (3 << 20) + 3 * 4096));
        let damaged = |name, block: &[u8]| matches!(Published::read(name, block), FirstBlock::Damaged);
        assert!(damaged(SnapshotName { generation: 4, ..name }, &block) && damaged(name, &block[..4095]));
        for at in [0, 9, 13, 30, 79, 80, 4095] {
            let mut hurt = block.clone();
            hurt[at] ^= 1;
            assert!(damaged(name, &hurt), "byte {at}");
        }
        block[64] = 2;
        let crc = block_crc(0, &block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(Published::read(name, &block), FirstBlock::Unknown { version: 1 }));
    }
}
