//! The bytes of a segment, checked by the compiler. `docs/disk.md` draws the same and gives the reasons.
//!
//! Only this file knows offsets. It never does I/O, and whatever it is given it answers with an `Option`: bytes
//! from the medium are input. Writers are `batch` and `cut`, the reader is `scan`.
//!
//! ```text
//! segment:  | header block (4096) | batch, padded to 4096 | batch, padded | ... | bytes never read
//!
//! segment header (96 bytes, the rest of its block is zero)
//! 0        8        12       16        24       32       40       48
//! | magic  | version| crc    | database| number | id     | length | durable_seq
//! 56       64        72            80         84           88          92    96
//! | from_seq| from_zxid| from_number| from_crc | generation | from_kind | zero |
//!   crc covers the whole block but itself
//!
//! batch header (64 bytes)
//! 0            4             8      16           24          32
//! | header_crc | payload_crc | seq  | first_zxid | last_zxid | durable_seq
//! 40           48            52             56         60           64
//! | segment id | payload_len | record_count | prev_crc | generation |
//!   header_crc covers 4..64, payload_crc the payload_len bytes after the header
//!
//! record
//! 0        4        8
//! | length | crc    | transaction, exactly as a PROPOSAL carries it, `length` bytes
//! ```
//!
//! Integers are little-endian; a transaction's own are big-endian and none of our business, but for its zxid.
//! Every crc32c of a segment is seeded with the segment's random id, so that neither the old bytes of a
//! recycled file nor bytes that a client sent can pass for ours. The record's crc is seeded with its length
//! instead: records are encoded before it is known which segment they go to.

use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};
use crc32c::{crc32c, crc32c_append};

use super::name::SegmentName;
use crate::id::Zxid;
use crate::io::BLOCK;

const _: () = assert!(cfg!(target_endian = "little"), "the structs below are written as they lie in memory");

/// First bytes of a segment.
const SEGMENT_MAGIC: [u8; 8] = *b"RKLOGSEG";

/// Version of the segment format that this code writes, and the only one it reads.
pub(super) const VERSION: u32 = 1;

/// `from_kind`: continues a batch of the log, or with sequence 0 its beginning.
const FROM_BATCH: u32 = 1;
/// `from_kind`: continues a snapshot, whose header's crc stands for that of a batch.
const FROM_SNAPSHOT: u32 = 2;

/// Bytes before a transaction in its record.
pub(super) const RECORD_HEADER: usize = 8;

/// Least length of a transaction: its header (`TxnHeader`).
pub(super) const MIN_TXN: usize = 32;

/// Bytes before the first record of a batch.
pub(super) const BATCH_HEADER: usize = size_of::<BatchHeader>();

/// Sequence numbers and counters on the medium are below this. No log gets there at any speed; a sound checksum over
/// more is not a mistake of the medium, and counting on from it must not overflow.
pub(crate) const COUNTS: u64 = 1 << 48;

/// A point of the log between two transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Point {
    /// Sequence number of the batch that holds the last transaction before the point; 0 before the first.
    pub seq: u64,
    /// That transaction. After a cut in the middle of a batch it is not the last one of the batch.
    pub zxid: Zxid,
    /// `header_crc` of that batch; 0 before the first.
    pub crc: u32,
}

impl Point {
    /// Where it is; points of one log are in this order.
    pub fn at(&self) -> (u64, Zxid) {
        (self.seq, self.zxid)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct SegmentHeader {
    magic: [u8; 8],
    version: u32,
    crc: u32,
    /// The data directory it was made in.
    pub database: u64,
    pub number: u64,
    pub id: u64,
    /// Bytes of the segment, this block included.
    pub length: u64,
    /// Newest batch known to be durable when this was written.
    pub durable_seq: u64,
    from_seq: u64,
    from_zxid: i64,
    /// Number of the segment that holds batch `from_seq`, to tell a missing file from a damaged one.
    pub from_number: u64,
    from_crc: u32,
    pub generation: u32,
    from_kind: u32,
    zero: u32,
}

const _: () = assert!(size_of::<SegmentHeader>() == 96);

/// What the first block of a file with a segment's name may be.
pub(super) enum FirstBlock {
    /// A header of this very file.
    Header(SegmentHeader),
    /// Not a header with this file's id: prepared, recycled, torn or damaged.
    Other,
    /// A sound header of a format this code does not know.
    Unknown { version: u32 },
}

impl SegmentHeader {
    pub fn new(database: u64, name: SegmentName, length: u64, generation: u32) -> SegmentHeader {
        SegmentHeader {
            magic: SEGMENT_MAGIC,
            version: VERSION,
            database,
            number: name.number,
            id: name.id,
            length,
            generation,
            from_kind: FROM_BATCH,
            ..SegmentHeader::zeroed()
        }
    }

    /// What the segment continues: `from`, which lies in segment `number`.
    pub fn continuing(mut self, from: Point, number: u64, durable_seq: u64) -> SegmentHeader {
        (self.from_seq, self.from_zxid, self.from_crc) = (from.seq, from.zxid.raw(), from.crc);
        (self.from_number, self.durable_seq) = (number, durable_seq);
        self
    }

    /// The same, and that point is the end of a snapshot.
    pub fn continuing_snapshot(mut self, from: Point) -> SegmentHeader {
        self.from_kind = FROM_SNAPSHOT;
        self.continuing(from, 0, from.seq)
    }

    /// Whether the segment continues a snapshot.
    pub fn is_behind_snapshot(&self) -> bool {
        self.from_kind == FROM_SNAPSHOT
    }

    /// The point that the segment continues.
    pub fn from(&self) -> Point {
        Point { seq: self.from_seq, zxid: Zxid::from_raw(self.from_zxid), crc: self.from_crc }
    }

    /// Fills the first block of a segment.
    pub fn write(mut self, block: &mut [u8]) {
        block[..BLOCK].fill(0);
        self.crc = 0;
        block[..size_of::<SegmentHeader>()].copy_from_slice(bytes_of(&self));
        let crc = block_crc(seed_of(self.id), &block[..BLOCK]);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
    }

    /// Judges the first block of the file `name`.
    pub fn read(name: SegmentName, block: &[u8]) -> FirstBlock {
        let Some(bytes) = block.get(..size_of::<SegmentHeader>()) else { return FirstBlock::Other };
        let header: SegmentHeader = pod_read_unaligned(bytes);
        if header.magic != SEGMENT_MAGIC || block.len() != BLOCK {
            return FirstBlock::Other;
        }
        if header.crc != block_crc(seed_of(name.id), block) {
            return FirstBlock::Other;
        }
        if header.version != VERSION || ![FROM_BATCH, FROM_SNAPSHOT].contains(&header.from_kind) {
            return FirstBlock::Unknown { version: header.version };
        }
        let ours = header.number == name.number && header.id == name.id && header.zero == 0;
        let ours = ours && header.from_seq < COUNTS && header.durable_seq < COUNTS;
        if ours { FirstBlock::Header(header) } else { FirstBlock::Other }
    }

    /// Whether a block without a sound crc may have been the header of the file `name`. A file that is prepared is zero,
    /// and one that is recycled has another number and id.
    pub fn looks_like(name: SegmentName, block: &[u8]) -> bool {
        let Some(bytes) = block.get(..size_of::<SegmentHeader>()) else { return false };
        let SegmentHeader { magic, number, id, .. } = pod_read_unaligned(bytes);
        let same = [magic == SEGMENT_MAGIC, number == name.number, id == name.id];
        same.into_iter().filter(|&same| same).count() >= 2
    }
}

/// The crc of a block whose bytes 12..16 hold it.
pub(crate) fn block_crc(seed: u32, block: &[u8]) -> u32 {
    crc32c_append(crc32c_append(seed, &block[..12]), &block[16..])
}

/// Where all checksums of the segment with this random id start from.
pub(super) fn seed_of(id: u64) -> u32 {
    crc32c(&id.to_le_bytes())
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct BatchHeader {
    /// Also the link of the chain: it covers `payload_crc`, hence all of the batch.
    pub header_crc: u32,
    pub payload_crc: u32,
    /// 1 for the first batch of a directory, and one more for each; a cut goes on from the point it names.
    pub seq: u64,
    pub first_zxid: i64,
    pub last_zxid: i64,
    /// Newest batch known to be durable when this one was sealed.
    pub durable_seq: u64,
    pub segment_id: u64,
    pub payload_len: u32,
    pub record_count: u32,
    /// `header_crc` of the batch before.
    pub prev_crc: u32,
    pub generation: u32,
}

const _: () = assert!(size_of::<BatchHeader>() == 64);

impl BatchHeader {
    /// Writes the header into the first bytes of `buf`, whose payload follows, and returns it with its crcs.
    pub fn seal(mut self, seed: u32, buf: &mut [u8]) -> BatchHeader {
        let payload = &buf[BATCH_HEADER..BATCH_HEADER + self.payload_len as usize];
        self.payload_crc = crc32c_append(seed, payload);
        self.header_crc = crc32c_append(seed, &bytes_of(&self)[4..]);
        buf[..BATCH_HEADER].copy_from_slice(bytes_of(&self));
        self
    }

    /// The batch header of segment `id` at the beginning of `bytes`, if one is there and its own crc holds.
    pub fn read(id: u64, seed: u32, bytes: &[u8]) -> Option<BatchHeader> {
        let bytes = bytes.get(..BATCH_HEADER)?;
        let header: BatchHeader = pod_read_unaligned(bytes);
        let sound = header.segment_id == id
            && header.seq < COUNTS
            && header.header_crc == crc32c_append(seed, &bytes[4..]);
        sound.then_some(header)
    }

    /// The point after the whole batch.
    pub fn end(&self) -> Point {
        Point { seq: self.seq, zxid: Zxid::from_raw(self.last_zxid), crc: self.header_crc }
    }

    /// Bytes of its transactions, as far as the header can be believed.
    pub fn txn_bytes(&self) -> usize {
        (self.payload_len as usize).saturating_sub(RECORD_HEADER.saturating_mul(self.record_count as usize))
    }

    /// Bytes the batch takes in its segment: header and payload, padded to whole blocks.
    pub fn padded(&self) -> u64 {
        padded(BATCH_HEADER + self.payload_len as usize) as u64
    }
}

/// The next multiple of [`BLOCK`].
pub(super) const fn padded(len: usize) -> usize {
    len.next_multiple_of(BLOCK)
}

/// The checksum of a record.
pub(super) fn record_crc(txn: &[u8]) -> u32 {
    crc32c_append(txn.len() as u32, txn)
}

/// The zxid in a transaction's header, or `None` if it is too short to have one.
pub(super) fn txn_zxid(txn: &[u8]) -> Option<Zxid> {
    if txn.len() < MIN_TXN {
        return None;
    }
    // Behind the client id (8 bytes) and the client's request number (4).
    let raw = txn.get(12..20)?.try_into().ok()?;
    Some(Zxid::from_raw(i64::from_be_bytes(raw)))
}

/// Takes the record at the beginning of `bytes`: its zxid, its transaction, and what follows it. `None` if there
/// is no sound record.
pub(super) fn split_record(bytes: &[u8]) -> Option<(Zxid, &[u8], &[u8])> {
    let (crc, zxid, txn, rest) = cut_record(bytes)?;
    (record_crc(txn) == crc).then_some((zxid, txn, rest))
}

/// The same for bytes whose checksums were seen to hold: does not look at the record's.
pub(super) fn split_sound_record(bytes: &[u8]) -> Option<(Zxid, &[u8], &[u8])> {
    cut_record(bytes).map(|(_, zxid, txn, rest)| (zxid, txn, rest))
}

fn cut_record(bytes: &[u8]) -> Option<(u32, Zxid, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
    let (len, crc) = header.split_at(4);
    let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
    let (txn, rest) = rest.split_at_checked(len)?;
    Some((u32::from_le_bytes(crc.try_into().ok()?), txn_zxid(txn)?, txn, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record of a log written by Apache ZooKeeper 3.8.0: createSession with zxid 1.
    const CREATE_SESSION: [u8; 48] = [
        0x01, 0x00, 0x00, 0x0d, 0x1d, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x01, 0x00, 0x00, 0x01, 0xa1, 0xff, 0x61, 0xc2, 0x12, 0xff, 0xff, 0xff, 0xf6, 0x00, 0x00,
        0x27, 0x10, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x51, 0xc6, 0xd6, 0x60,
    ];

    #[test]
    fn the_zxid_is_where_the_reference_puts_it() {
        assert_eq!(txn_zxid(&CREATE_SESSION), Some(Zxid::from_raw(1)));
        assert_eq!(txn_zxid(&CREATE_SESSION[..31]), None);
    }

    #[test]
    fn a_header_is_read_only_under_its_own_name_and_whole() {
        let name = SegmentName { number: 3, id: 0x1234_5678_9abc_def0 };
        let from = Point { seq: 9, zxid: Zxid::from_raw(77), crc: 5 };
        let header = SegmentHeader::new(1, name, 1 << 20, 2).continuing(from, 2, 8);
        let mut block = vec![0xff; BLOCK];
        header.write(&mut block);
        let FirstBlock::Header(read) = SegmentHeader::read(name, &block) else { panic!("not read back") };
        assert_eq!((read.from(), read.from_number, read.durable_seq, read.generation), (from, 2, 8, 2));
        let other = |name| matches!(SegmentHeader::read(name, &block), FirstBlock::Other);
        assert!(other(SegmentName { id: name.id + 1, ..name }) && other(SegmentName { number: 4, ..name }));
        assert!(matches!(SegmentHeader::read(name, &block[..BLOCK - 1]), FirstBlock::Other));
    }

    #[test]
    fn a_batch_is_read_only_under_its_own_id_and_seed() {
        let (id, other) = (7, 8);
        let mut buf = vec![0x55; BLOCK];
        let header =
            BatchHeader { segment_id: id, payload_len: 100, record_count: 1, seq: 1, ..Zeroable::zeroed() };
        let header = header.seal(seed_of(id), &mut buf);
        assert_eq!(BatchHeader::read(id, seed_of(id), &buf), Some(header));
        assert_eq!(BatchHeader::read(other, seed_of(other), &buf), None);
        // Not even with the right id in its place, which could be guessed, is it believed without the seed.
        let header = BatchHeader { segment_id: other, ..header }.seal(seed_of(id), &mut buf);
        assert_eq!(BatchHeader::read(other, seed_of(other), &buf), None);
        assert_ne!(crc32c_append(seed_of(other), &buf[BATCH_HEADER..164]), header.payload_crc);
        for at in 0..BATCH_HEADER {
            let mut hurt = buf.clone();
            hurt[at] ^= 1;
            assert_eq!(BatchHeader::read(other, seed_of(id), &hurt), None, "byte {at}");
        }
    }

    #[test]
    fn a_record_shorter_than_it_says_is_none() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(CREATE_SESSION.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&record_crc(&CREATE_SESSION).to_le_bytes());
        bytes.extend_from_slice(&CREATE_SESSION);
        bytes.push(1);
        let (zxid, txn, rest) = split_record(&bytes).unwrap();
        assert_eq!((zxid, txn, rest), (Zxid::from_raw(1), &CREATE_SESSION[..], &[1][..]));
        (0..bytes.len() - 1).for_each(|n| assert!(split_record(&bytes[..n]).is_none(), "{n}"));
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(split_record(&bytes).is_none());
    }
}
