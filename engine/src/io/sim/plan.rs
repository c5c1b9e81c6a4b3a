//! What a test asks of a [`SimDisk`](super::SimDisk): how writes complete, what fails, what a crash leaves.

/// A kind of operation, for counting and for failing the n-th one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimOp {
    /// A write, submitted or blocking.
    Write,
    /// A flush of a file.
    Sync,
    /// A flush of the directory.
    SyncDir,
    /// The creation of a zeroed file.
    Create,
    /// A rename.
    Rename,
    /// A removal.
    Remove,
    /// A read or a listing.
    Read,
    /// The opening of a file for direct writes.
    Attach,
}

/// When submitted writes complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Only when the test names them.
    Manual,
    /// All of them, in order of submission, at the next reap.
    InOrder,
    /// At each reap some of them, at least one, in an order drawn from the seed.
    Seeded,
}

/// Which of the things that could be lost are kept. Things are numbered in a fixed order, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// Thing `i` where bit `i` is set; nothing from 64 on.
    Bits(u64),
    /// Each with a chance of one half drawn from this seed.
    Seed(u64),
}

impl Pick {
    /// The choice as a function to be called with 0, 1, 2, ... in order.
    pub(super) fn chooser(self) -> impl FnMut(usize) -> bool {
        let mut state = if let Pick::Seed(seed) = self { seed } else { 0 };
        move |i| match self {
            Pick::None => false,
            Pick::All => true,
            Pick::Bits(bits) => i < 64 && bits >> i & 1 == 1,
            Pick::Seed(_) => next_random(&mut state) & 1 == 1,
        }
    }
}

/// A power cut: which unflushed sectors and which unflushed names are on the medium afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Over [`SimDisk::unflushed_sectors`](super::SimDisk::unflushed_sectors) things.
    pub sectors: Pick,
    /// Over [`SimDisk::unsynced_names`](super::SimDisk::unsynced_names) things.
    pub names: Pick,
}

impl Crash {
    /// Loses all that can be lost.
    pub const HARSH: Crash = Crash { sectors: Pick::None, names: Pick::None };

    /// A random choice.
    pub const fn seeded(seed: u64) -> Crash {
        Crash { sectors: Pick::Seed(seed), names: Pick::Seed(seed ^ 0x5eed_0f4e_a3e5) }
    }
}

/// What the disk was asked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write was submitted.
    Submit {
        /// File name at that time.
        file: String,
        /// Byte offset.
        offset: u64,
        /// Length in bytes.
        len: usize,
        /// Whether it asked to be on the medium when complete.
        sync: bool,
    },
    /// A submitted write completed.
    Complete {
        /// Its tag.
        tag: u64,
        /// Whether it did what it was asked.
        ok: bool,
    },
    /// A blocking write.
    Write {
        /// File name.
        file: String,
        /// Byte offset.
        offset: u64,
        /// Length in bytes.
        len: usize,
    },
    /// A file was flushed.
    Sync(String),
    /// The directory was flushed.
    SyncDir,
    /// A file was created with so many zero bytes.
    Create(String, u64),
    /// A file was renamed.
    Rename(String, String),
    /// A file was removed.
    Remove(String),
    /// The process ended and the machine went on.
    Kill,
    /// The power was cut.
    Crash,
}

/// A planned failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub op: SimOp,
    /// How many more operations of the kind go well first.
    pub after: u64,
    pub errno: i32,
    /// Whether all operations of the kind fail from there on.
    pub sticky: bool,
}

/// SplitMix64: small, and every seed is a good one.
pub(super) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
