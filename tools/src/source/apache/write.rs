//! Writes what Apache's servers read: snapshots, logs, the files of the epochs. Always new files: under a working name,
//! flushed, renamed, and the directory flushed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_engine::snapshot::write_stream;
use ringkeeper_engine::tree::Tree;
use simd_adler32::Adler32;

use super::codec::{Codec, Packing};
use super::damage::io_error;
use super::log;
use super::name::Name;
use super::{seals, snapshot};
use crate::error::InspectError;

/// What a file is called until it is whole.
const UNFINISHED: &str = "unfinished";
/// Bytes gathered for one write.
const PIECE: usize = 1 << 20;
/// The text that ends the stream between servers and no file: a length and "BenWasHere".
const SIGNATURE: usize = 14;

/// Writes the state as a snapshot into a `version-2` directory. Returns its path.
pub fn write_snapshot(
    dir: &Path,
    codec: Codec,
    tree: &Tree,
    sessions: &[(SessionId, i32)],
) -> Result<PathBuf, InspectError> {
    let zxid = tree.last_zxid();
    write_file(dir, &Name::Snapshot(zxid, codec).file(), |file| {
        let output = BufWriter::with_capacity(PIECE, file);
        let mut body =
            SnapshotBody { output: codec.writer(output)?, adler: Adler32::new(), held: Vec::new() };
        body.put(&snapshot::HEADER)?;
        let mut outcome = Ok(());
        write_stream(tree, sessions, &mut |piece| {
            if outcome.is_ok() {
                outcome = body.take(piece);
            }
        });
        outcome?;
        let seals = seals::write(body.adler.finish(), zxid, tree.digest());
        body.output.write_all(&seals)?;
        Ok(body.output.finish()?.into_inner()?)
    })
}

struct SnapshotBody<W: Write> {
    output: Packing<W>,
    adler: Adler32,
    /// The end of the stream so far: it may be the signature.
    held: Vec<u8>,
}

impl<W: Write> SnapshotBody<W> {
    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(piece);
        let certain = held.len().saturating_sub(SIGNATURE);
        self.put(&held[..certain])?;
        held.drain(..certain);
        self.held = held;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.adler.write(bytes);
        self.output.write_all(bytes)
    }
}

/// Writes what a member has promised. Members alone look at it.
pub fn write_epochs(dir: &Path, accepted: Epoch, current: Epoch) -> Result<(), InspectError> {
    for (name, epoch) in [("acceptedEpoch", accepted), ("currentEpoch", current)] {
        write_file(dir, name, |mut file| {
            file.write_all(epoch.to_string().as_bytes())?;
            Ok(file)
        })?;
    }
    Ok(())
}

/// Writes a file under its working name and gives it its own when it is whole.
fn write_file(
    dir: &Path,
    name: &str,
    fill: impl FnOnce(File) -> io::Result<File>,
) -> Result<PathBuf, InspectError> {
    let (path, unfinished) = (dir.join(name), dir.join(UNFINISHED));
    let file = create(&unfinished)?;
    let filled = fill(file).and_then(|file| file.sync_all());
    filled.map_err(io_error("writing", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(io_error("renaming to", &path))?;
    sync_dir(dir)?;
    Ok(path)
}

fn create(path: &Path) -> Result<File, InspectError> {
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    created.map_err(io_error("creating", path))
}

fn sync_dir(dir: &Path) -> Result<(), InspectError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("flushing", dir))
}

/// Writes a log, without preallocated zeros.
pub struct LogWriter {
    path: PathBuf,
    unfinished: PathBuf,
    output: BufWriter<File>,
}

impl LogWriter {
    /// A log in a `version-2` directory that begins with this transaction.
    pub fn create(dir: &Path, first: Zxid) -> Result<LogWriter, InspectError> {
        let (path, unfinished) = (dir.join(Name::Log(first).file()), dir.join(UNFINISHED));
        let mut output = BufWriter::with_capacity(PIECE, create(&unfinished)?);
        output.write_all(&log::FILE_HEADER).map_err(io_error("writing", &unfinished))?;
        Ok(LogWriter { path, unfinished, output })
    }

    /// Appends a transaction: header, record, digest.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), InspectError> {
        let written = log::put_record(&mut self.output, payload);
        written.map_err(io_error("writing", &self.unfinished))
    }

    /// Gives the log its name. Returns its path.
    pub fn finish(self) -> Result<PathBuf, InspectError> {
        let file = self.output.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(io_error("writing", &self.unfinished))?;
        fs::rename(&self.unfinished, &self.path).map_err(io_error("renaming to", &self.path))?;
        sync_dir(self.path.parent().expect("it lies in a directory"))?;
        Ok(self.path)
    }
}
