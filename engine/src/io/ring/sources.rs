//! Files that are sent: open for reading, in slots, until nothing that was given to the ring needs them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Ring;
use super::slots::{Key, Slots};

/// A file opened with [`Ring::open_source`]. A plain number: to drop it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(Key);

struct Source {
    file: File,
    /// Pieces that were given to the ring and are not read yet.
    unread: usize,
    closed: bool,
}

/// All of them.
pub(super) struct Sources(Slots<Source>);

impl Sources {
    pub(super) fn new() -> Sources {
        Sources(Slots::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A piece is to be read: the file stays open for it. False if it is not open.
    pub(super) fn begin(&mut self, source: SourceId) -> bool {
        let open = self.0.get_mut(source.0).filter(|entry| !entry.closed);
        open.map(|entry| entry.unread += 1).is_some()
    }

    pub(super) fn descriptor(&self, source: SourceId) -> Option<RawFd> {
        self.0.get(source.0).map(|entry| entry.file.as_raw_fd())
    }

    /// A piece was read, or need not be read any more.
    pub(super) fn end(&mut self, source: SourceId) {
        if let Some(entry) = self.0.get_mut(source.0) {
            entry.unread -= 1;
        }
        self.close_if_unused(source);
    }

    fn close_if_unused(&mut self, source: SourceId) {
        if self.0.get(source.0).is_some_and(|entry| entry.closed && entry.unread == 0) {
            self.0.remove(source.0);
        }
    }
}

impl Ring {
    /// Opens a file whose pieces are to be sent: with O_DIRECT, or without where the file system does not know it.
    pub fn open_source(&mut self, path: &Path) -> io::Result<SourceId> {
        let open = |flags: i32| OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = match open(libc::O_DIRECT | libc::O_NOFOLLOW) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(libc::O_NOFOLLOW)?,
            other => other?,
        };
        Ok(SourceId(self.pieces.sources.0.insert(Source { file, unread: 0, closed: false })))
    }

    /// Closes a file; what was given to [`Ring::send_file`] before is still sent. The memory for sending is freed with
    /// the last source.
    pub fn close_source(&mut self, source: SourceId) {
        let sources = &mut self.pieces.sources;
        if let Some(entry) = sources.0.get_mut(source.0) {
            entry.closed = true;
        }
        sources.close_if_unused(source);
        self.pieces.release_if_idle(&self.queue);
    }
}
