//! Writing a file beside the core loop, as plain data: what is to be done next, by whom is no matter.
//!
//! Whoever makes a snapshot decides and computes, and touches the disk only to read; what is to be written goes out as
//! [`Step`]s, in order. Production performs them with several writes in flight, the simulator and tests with
//! [`perform`]. All steps are about one file under a working name, until it is published.

use super::file::remove_working;
use crate::io::{BLOCK, Volume};
use crate::log::{LogError, files};

/// The working name of a snapshot that is being made from an older one and the log. The next start removes what a
/// kill leaves of it.
pub const MAKING: &str = "unfinished-made-snapshot";

/// What is to be done to the one file in hand, in order. Offsets and lengths are whole blocks.
///
/// Writes may overtake each other, and nothing else: what stands before a flush is written before it begins, and
/// nothing behind a flush, or behind the write at offset 0, is begun before that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An empty file of this working name, of one zeroed block. What is left over under the name is removed first.
    Create(&'static str),
    /// Writes at the end of the file and makes it longer; durable with the next [`Step::Flush`]. At offset 0 it writes
    /// the header over the block that is there, and is durable when it is done.
    Write {
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Flushes the file (`fdatasync`).
    Flush,
    /// Flushes another file of the directory, which is there and whole.
    FlushFile(String),
    /// Gives the file this name and flushes the directory: from here on it counts.
    Publish(String),
    /// Nothing is to be done: so many bytes were read meanwhile. A place to pace and to yield.
    Read(u64),
}

/// Performs one step, blocking: for the simulator, for tests and for tools.
pub fn perform(step: &Step, working_name: &str, vol: &dyn Volume) -> Result<(), LogError> {
    match step {
        Step::Create(name) => {
            remove_working(vol, name)?;
            files::create(vol, name, BLOCK as u64)
        }
        Step::Write { offset: 0, bytes } => {
            files::write(vol, "writing the snapshot header,", working_name, 0, bytes)
        }
        Step::Write { offset, bytes } => {
            vol.append(working_name, *offset, bytes).map_err(|source| LogError::Io {
                doing: "writing the snapshot,",
                path: vol.path(working_name),
                offset: *offset,
                len: bytes.len() as u64,
                source,
            })
        }
        Step::Flush => files::sync(vol, working_name),
        Step::FlushFile(name) => files::sync(vol, name),
        Step::Publish(name) => {
            let renamed = vol.rename(working_name, name);
            renamed.map_err(|source| files::file_error("publishing", vol.path(name), source))?;
            files::sync_dir(vol)
        }
        Step::Read(_) => Ok(()),
    }
}
