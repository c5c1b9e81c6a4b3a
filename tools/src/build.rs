//! Writes a new directory of ours: a state or none, and transactions behind it.
//!
//! Everything goes through the engine's own log, so that what is built is what a node would have written. A directory
//! that has anything in it is refused: nothing is ever written beside what is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::io::{FsVolume, UringDisk, VolumeError};
use ringkeeper_engine::log::{Epochs, Log, LogOptions};
use ringkeeper_engine::snapshot::Arrived;
use ringkeeper_engine::tree::Tree;

use crate::error::InspectError;

/// Bytes of transactions that are gathered before they are waited for.
const GATHERED: usize = 8 << 20;

/// A directory being written.
#[derive(Debug)]
pub struct Builder {
    vol: FsVolume,
    disk: UringDisk,
    log: Log,
    gathered: usize,
}

fn failed(doing: &'static str, dir: &Path, source: io::Error) -> InspectError {
    InspectError::Io { doing, path: dir.to_owned(), source }
}

fn lock_failed(dir: &Path, error: VolumeError) -> InspectError {
    match error {
        VolumeError::Io { doing, path, source } => InspectError::Io { doing, path, source },
        locked @ VolumeError::Locked { .. } => failed("opening", dir, io::Error::other(locked)),
    }
}

impl Builder {
    /// Begins an empty one in `dir`, which is made if it is not there.
    pub fn create(dir: &Path) -> Result<Builder, InspectError> {
        Builder::create_with(dir, LogOptions::new(seed(dir)))
    }

    /// The same with a log of other measures.
    pub fn create_with(dir: &Path, options: LogOptions) -> Result<Builder, InspectError> {
        if let Ok(mut entries) = fs::read_dir(dir)
            && entries.next().is_some()
        {
            let what = format!("{} is not empty: a new directory is needed", dir.display());
            return Err(InspectError::NotThere { what });
        }
        let vol = FsVolume::open(dir).map_err(|error| lock_failed(dir, error))?;
        let ring = |error| failed("making a ring to write to", dir, io::Error::other(error));
        let disk = UringDisk::new().map_err(ring)?;
        let (log, _) = Log::open(&vol, options, &mut |_, _| Ok(()))?;
        Ok(Builder { vol, disk, log, gathered: 0 })
    }

    /// Begins with this state instead of with nothing. Before anything is appended.
    pub fn begin_behind(&mut self, tree: &Tree, sessions: &[(SessionId, i32)]) -> Result<(), InspectError> {
        let arrived = Arrived::of_state(&self.vol, tree, sessions, 0)?;
        self.log.restart_behind(&self.vol, &arrived)?;
        Ok(())
    }

    /// Adds the next transaction.
    pub fn append(&mut self, zxid: Zxid, payload: &[u8]) -> Result<(), InspectError> {
        self.log.append(zxid, |out| out.extend_from_slice(payload))?;
        self.gathered += payload.len();
        if self.gathered >= GATHERED {
            self.settle()?;
        }
        Ok(())
    }

    /// Ends it, durably, as the directory of a server that has promised `epochs`.
    pub fn finish(mut self, epochs: Epochs) -> Result<(), InspectError> {
        self.settle()?;
        self.log.set_epochs(&self.vol, epochs)?;
        Ok(self.log.close(&self.vol)?)
    }

    /// Until all that was appended is durable.
    pub fn settle(&mut self) -> Result<(), InspectError> {
        self.gathered = 0;
        let mut done = Vec::new();
        loop {
            self.log.seal(&mut self.disk)?;
            while let Some(request) = self.log.segment_wanted() {
                request.perform(&self.vol)?;
                self.log.segment_prepared(&request.name);
            }
            self.log.seal(&mut self.disk)?;
            if self.log.is_idle() {
                return Ok(());
            }
            let dir = PathBuf::from("the new log");
            self.disk.wait(&mut done).map_err(|source| failed("writing to", &dir, source))?;
            for done in done.drain(..) {
                self.log.on_done(done)?;
            }
            self.log.release(self.log.durable().get());
        }
    }
}

/// Where the random ids of segments start. Nobody can have written them into a transaction before they are drawn.
fn seed(dir: &Path) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let text = format!("{now} {} {}", process::id(), dir.display());
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv)
}
