//! One view of a data directory or a single file, ours or Apache's: transactions, snapshots, states, damage.
//!
//! [`open`] looks at what is there and says whose it is. Everything streams: memory does not grow with the log or the
//! snapshot, but for [`Source::load`] and [`Source::state_at`], whose result is a tree. Nothing is ever written, no
//! lock is taken. Every command of `rkinspect` stands on this.

pub mod apache;
mod ordered;
mod ours;
mod report;
mod state;

use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::inspect::Item;
use ringkeeper_engine::snapshot::Loaded;
use ringkeeper_engine::txn::{self, Txn, TxnDigest, TxnHeader};

pub(crate) use ours::has_our_form;

pub use ordered::{BodyError, More, Ordered};
pub use report::{DamagedRange, FileReport, Lost, Role};
pub use state::Replayed;

use crate::error::InspectError;
use crate::out::Progress;

/// A transaction and where it was found.
#[derive(Clone, Copy, Debug)]
pub struct TxnAt<'a> {
    /// Its zxid.
    pub zxid: Zxid,
    /// The file.
    pub file: &'a Path,
    /// Offset of its record in the file.
    pub offset: u64,
    /// Header, record and digest: the bytes that a PROPOSAL carries.
    pub payload: &'a [u8],
}

/// A transaction, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Decoded<'a> {
    /// Who, when, what kind.
    pub header: TxnHeader,
    /// The change.
    pub txn: Txn<'a>,
    /// The tree's digest after it, if its leader wrote one.
    pub digest: Option<TxnDigest>,
}

impl<'a> TxnAt<'a> {
    /// Takes it apart. Fails for a record that no server writes.
    pub fn decode(&self) -> Result<Decoded<'a>, InspectError> {
        let (header, txn, digest) = txn::decode(self.payload).map_err(|source| InspectError::Txn {
            path: self.file.to_owned(),
            offset: self.offset,
            zxid: self.zxid,
            source,
        })?;
        Ok(Decoded { header, txn, digest })
    }
}

/// Whose formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Ringkeeper's: `docs/disk.md`.
    Ours,
    /// Apache ZooKeeper's: `version-2`.
    Apache,
}

/// What kind of file a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// Ours. The body is canonical.
    Ours {
        /// As in its name.
        generation: u32,
        /// Neither body nor log need be looked at to say that recovery ignores it: a later one took its place.
        dead: bool,
    },
    /// Apache's, uncompressed. It may contain a part of later transactions.
    Plain,
    /// Apache's, gzip.
    Gzip,
    /// Apache's, snappy.
    Snappy,
}

/// A snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// The file.
    pub file: PathBuf,
    /// The last transaction that is in it for certain, from the name.
    pub zxid: Zxid,
    /// Length of the file.
    pub bytes: u64,
    /// What it is.
    pub kind: SnapshotKind,
}

impl SnapshotEntry {
    /// Whether recovery takes no notice of it.
    pub fn is_dead(&self) -> bool {
        matches!(self.kind, SnapshotKind::Ours { dead: true, .. })
    }
}

/// Takes transactions in order.
pub type TxnSink<'a> = dyn FnMut(&TxnAt<'_>) -> Result<(), InspectError> + 'a;
/// Takes what is in a snapshot, in the order of the file.
pub type ItemSink<'a> = dyn FnMut(Item<'_>) -> Result<(), InspectError> + 'a;

/// A data directory or one file of one.
pub trait Source {
    /// Whose formats.
    fn layout(&self) -> Layout;

    /// What was opened.
    fn path(&self) -> &Path;

    /// Hands out the live transactions from `from` up to `upto`, both included, in order, each once. Fails with
    /// [`InspectError::Damaged`] at the first place within them that cannot be read, after what comes before it.
    fn txns(&self, from: Zxid, upto: Zxid, sink: &mut TxnSink<'_>) -> Result<(), InspectError>;

    /// The transaction before the first that the log has, zero if it has them all. `None` if there is no log, or the
    /// format does not say.
    fn begins_behind(&self) -> Result<Option<Zxid>, InspectError> {
        Ok(None)
    }

    /// The snapshots, oldest first; dead ones are among them. Reads names only.
    fn snapshots(&self) -> Result<Vec<SnapshotEntry>, InspectError>;

    /// Hands out what is in a snapshot: sessions, ACLs, nodes.
    fn items(&self, entry: &SnapshotEntry, sink: &mut ItemSink<'_>) -> Result<(), InspectError>;

    /// The same in canonical order, to be pulled. `0` seeds the tree that others than ours are loaded into.
    fn ordered(&self, entry: &SnapshotEntry) -> Result<Ordered<'_>, InspectError> {
        Ok(Ordered::of(&entry.file, self.load(entry, 0)?))
    }

    /// Loads a snapshot, everything about it checked. `seed` as for `Tree::new`.
    fn load(&self, entry: &SnapshotEntry, seed: u64) -> Result<Loaded, InspectError>;

    /// The state after the last transaction that is not above `zxid`: the newest usable snapshot below it with the log
    /// behind it applied.
    fn state_at(&self, zxid: Zxid, seed: u64) -> Result<Replayed, InspectError>;

    /// Looks at every byte of the log, and says of each file what is damaged.
    fn verify_log(&self) -> Result<Vec<FileReport>, InspectError>;

    /// The same, with all sound transactions handed out on the way, also those behind damage.
    fn scan_log(&self, sink: &mut TxnSink<'_>) -> Result<Vec<FileReport>, InspectError> {
        let everything = (Zxid::from_raw(i64::MIN), Zxid::from_raw(i64::MAX));
        match self.txns(everything.0, everything.1, sink) {
            // The report says it, and more.
            Err(InspectError::Damaged { .. }) => {}
            other => other?,
        }
        self.verify_log()
    }

    /// Looks at every byte of the snapshots.
    fn verify_snapshots(&self) -> Result<Vec<FileReport>, InspectError>;
}

/// Opens a directory, or one log or snapshot file. `progress` is told of what is read from it.
pub fn open(path: &Path, progress: &Progress) -> Result<Box<dyn Source>, InspectError> {
    if let Some(ours) = ours::open(path, progress)? {
        return Ok(Box::new(ours));
    }
    if let Some(apache) = apache::open(path, progress)? {
        return Ok(Box::new(apache));
    }
    let why = "there is no marks, no log.<16 digits>-<16 digits>, no snapshot.<16 digits>-<8 digits> of Ringkeeper's, \
               and no log.<zxid>, no snapshot.<zxid> of Apache's, nor below version-2";
    Err(InspectError::NotOurs { path: path.to_owned(), why })
}
