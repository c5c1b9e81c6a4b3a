//! Where what lies in the files of a data directory of ours, and ways to damage it.
//!
//! Reads the forms that `docs/disk.md` draws by itself, not with the code that writes them, and believes every byte: it is for
//! directories that are sound.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fastrand::Rng;

use crate::dir::{Listing, zxid_of};

const PAGE: u64 = 4096;

/// What stands in a [`Region`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the drawings")]
pub enum Part {
    SegmentHeader,
    BatchHeader,
    Records,
    /// Behind the last batch of a segment.
    Unused,
    SnapshotHeader,
    Body,
    Trailer,
    /// One of two.
    Slot,
}

/// Bytes of a file that belong together. Padding belongs to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The name of the file.
    pub file: String,
    /// What it is.
    pub part: Part,
    /// Offset of its first byte.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// The last transaction that is in it or before it in this file, for a segment's header in the whole file; of a
    /// snapshot the one that it is the state after.
    pub zxid: u64,
}

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit is another.
    Flip,
    /// The page with a byte of the region is zero.
    Zero,
    /// The file ends at a byte of the region.
    Cut,
    /// The page with a byte of the region and another page of the file have changed places.
    Swap,
    /// The file is gone.
    Remove,
}

impl Damage {
    /// All of them.
    pub const ALL: [Damage; 5] = [Damage::Flip, Damage::Zero, Damage::Cut, Damage::Swap, Damage::Remove];
}

fn int(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The regions of all files that hold something, by file and offset.
pub fn map(dir: &Path) -> Vec<Region> {
    let listing = Listing::of(dir);
    let mut regions = Vec::new();
    for name in listing.0.keys() {
        let bytes = fs::read(dir.join(name)).expect("reading a file of a data directory");
        match name.split('.').next() {
            Some("log") => segment(name, &bytes, &mut regions),
            Some("snapshot") => snapshot(name, &bytes, &mut regions),
            Some("marks" | "epochs") => {
                let slot = |at| Region { file: name.clone(), part: Part::Slot, at, len: 48, zxid: 0 };
                regions.extend([0, PAGE].map(slot));
            }
            _ => {}
        }
    }
    regions
}

fn segment(name: &str, bytes: &[u8], regions: &mut Vec<Region>) {
    let region = |part, at: u64, len, zxid| Region { file: name.to_owned(), part, at, len, zxid };
    let digits = |text: &str| u64::from_str_radix(text, 16).unwrap_or_default();
    let (number, id) = name.strip_prefix("log.").and_then(|rest| rest.split_once('-')).unwrap_or_default();
    if bytes.get(..8) != Some(b"RKLOGSEG")
        || (long(bytes, 24), long(bytes, 32)) != (digits(number), digits(id))
    {
        // Prepared and not used, or free.
        return;
    }
    let (header, mut zxid, mut at, mut seq) = (regions.len(), long(bytes, 64), PAGE, long(bytes, 56));
    regions.push(region(Part::SegmentHeader, 0, 96, zxid));
    while let Some(batch) = bytes.get(at as usize..).filter(|batch| batch.len() >= 64) {
        if long(batch, 40) != digits(id) || long(batch, 8) != seq + 1 {
            break;
        }
        (seq, zxid) = (seq + 1, long(batch, 24));
        let len = int(batch, 48);
        regions.push(region(Part::BatchHeader, at, 64, zxid));
        regions.push(region(Part::Records, at + 64, len, zxid));
        at = (at + 64 + len).next_multiple_of(PAGE);
    }
    regions[header].zxid = zxid;
    if at < bytes.len() as u64 {
        regions.push(region(Part::Unused, at, bytes.len() as u64 - at, zxid));
    }
}

fn snapshot(name: &str, bytes: &[u8], regions: &mut Vec<Region>) {
    let zxid = zxid_of(name);
    let region = |part, at: u64, len| Region { file: name.to_owned(), part, at, len, zxid };
    let body = long(bytes, 40);
    regions.push(region(Part::SnapshotHeader, 0, 96));
    regions.push(region(Part::Body, PAGE, body));
    let trailer = (PAGE + body).next_multiple_of(PAGE);
    regions.push(region(Part::Trailer, trailer, 4 * body.div_ceil(1 << 20)));
}

/// Those of these regions of a file that are not in `dir` as they are in `sound`, for they were damaged.
pub fn damaged<'r>(regions: &'r [Region], file: &str, sound: &Path, dir: &Path) -> Vec<&'r Region> {
    let [before, after] = [sound, dir].map(|dir| fs::read(dir.join(file)).unwrap_or_default());
    let differs = |region: &&Region| {
        let range = region.at as usize..(region.at + region.len) as usize;
        before.get(range.clone()) != after.get(range)
    };
    regions.iter().filter(|region| region.file == file).filter(differs).collect()
}

impl Region {
    /// Damages the file at a byte of the region. It may be that nothing has changed then: see [`damaged`].
    pub fn damage(&self, dir: &Path, damage: Damage, rng: &mut Rng) {
        let path = dir.join(&self.file);
        let at = self.at + rng.u64(..self.len);
        let page = at & !(PAGE - 1);
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("opening a file to damage");
        let len = file.metadata().expect("asking for the length").len();
        let read = |page| {
            let mut bytes = [0; PAGE as usize];
            file.read_exact_at(&mut bytes, page).expect("reading a page");
            bytes
        };
        let write = |bytes: &[u8], at| file.write_all_at(bytes, at).expect("writing");
        match damage {
            Damage::Flip => write(&[read(page)[(at - page) as usize] ^ 1 << rng.u8(..8)], at),
            Damage::Zero => write(&[0; PAGE as usize], page),
            Damage::Cut => file.set_len(at).expect("cutting the file"),
            Damage::Swap => {
                let other = rng.u64(..len / PAGE) * PAGE;
                let (one, two) = (read(page), read(other));
                write(&two, page);
                write(&one, other);
            }
            Damage::Remove => fs::remove_file(&path).expect("removing a file"),
        }
        // Readers that pass the page cache must see it.
        file.sync_all().expect("flushing the damage");
    }
}
