//! A directory, or one file of one, to be read and never written: a [`Volume`] without a lock.
//!
//! Whoever reads a file from front to back gets it through a thread that reads ahead in large aligned pieces around
//! the page cache, so that checking and reading go on at the same time. Everything that would write is refused.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::io::{AlignedBuf, BLOCK, FileEntry, Volume};

/// Bytes read at once.
const PIECE: usize = 1 << 20;
/// Pieces that are read before they are asked for.
const AHEAD: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct ReadOnly {
    dir: PathBuf,
    /// The only file that is seen.
    only: Option<String>,
    reading: Mutex<Option<Reading>>,
    told: Option<Told>,
}

/// Who is told how many bytes were read.
struct Told(Box<dyn Fn(u64) + Send + Sync>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

/// The file that was read last.
#[derive(Debug)]
struct Reading {
    name: String,
    /// Offset behind what was handed out.
    at: u64,
    ahead: Option<Ahead>,
}

/// What comes from the thread.
#[derive(Debug)]
struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    /// How much of it was handed out.
    used: usize,
}

impl ReadOnly {
    /// All files of a directory.
    pub fn directory(dir: &Path) -> ReadOnly {
        ReadOnly { dir: dir.to_owned(), only: None, reading: Mutex::new(None), told: None }
    }

    /// One file, as if it were alone in its directory. `None` if the path does not end in a name.
    pub fn file(path: &Path) -> Option<ReadOnly> {
        let only = Some(path.file_name()?.to_str()?.to_owned());
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        Some(ReadOnly { dir, only, reading: Mutex::new(None), told: None })
    }

    /// Calls `told` with the number of bytes after each read.
    pub fn telling(mut self, told: impl Fn(u64) + Send + Sync + 'static) -> ReadOnly {
        self.told = Some(Told(Box::new(told)));
        self
    }

    /// Whether only one file of the directory is seen.
    pub fn is_alone(&self) -> bool {
        self.only.is_some()
    }

    /// Reads through the thread if it goes on where the last read ended.
    fn read_on(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = reading.as_ref().is_some_and(|last| last.name == name && last.at == offset);
        if !goes_on {
            let read = self.read_plain(name, offset, len)?;
            let at = offset + read.len() as u64;
            *reading = Some(Reading { name: name.to_owned(), at, ahead: None });
            return Ok(read);
        }
        let last = reading.as_mut().expect("it goes on from the last one");
        if last.ahead.is_none() {
            if len < PIECE / 2 || !offset.is_multiple_of(BLOCK as u64) {
                let read = self.read_plain(name, offset, len)?;
                last.at += read.len() as u64;
                return Ok(read);
            }
            last.ahead = Some(Ahead::begin(&self.dir.join(name), offset)?);
        }
        let ahead = last.ahead.as_mut().expect("it was begun above");
        let read = ahead.take(len);
        match &read {
            Ok(bytes) => last.at += bytes.len() as u64,
            Err(_) => *reading = None,
        }
        read
    }

    fn read_plain(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let from = offset / BLOCK as u64 * BLOCK as u64;
        let skip = (offset - from) as usize;
        let file = open(&self.dir.join(name))?;
        let mut out = Vec::new();
        let mut buf = AlignedBuf::zeroed((skip + len).clamp(1, PIECE).next_multiple_of(BLOCK));
        let mut at = from;
        while out.len() < skip + len {
            let got = file.read_at(&mut buf, at)?;
            out.extend_from_slice(&buf[..got]);
            if got < buf.len() {
                break;
            }
            at += got as u64;
        }
        out.truncate(skip + len);
        out.drain(..skip.min(out.len()));
        Ok(out)
    }
}

impl Ahead {
    fn begin(path: &Path, from: u64) -> io::Result<Ahead> {
        let file = open(path)?;
        let (sender, pieces) = sync_channel(AHEAD);
        let read = move || {
            let mut buf = AlignedBuf::zeroed(PIECE);
            let mut at = from;
            loop {
                let piece = file.read_at(&mut buf, at).map(|got| buf[..got].to_vec());
                let got = piece.as_ref().map_or(0, Vec::len);
                // Nobody may want it any more.
                if sender.send(piece).is_err() || got < PIECE {
                    return;
                }
                at += got as u64;
            }
        };
        thread::Builder::new().name("read-ahead".into()).spawn(read)?;
        Ok(Ahead { pieces, piece: Vec::new(), used: 0 })
    }

    fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            if self.used == self.piece.len() {
                // The thread ends behind the last piece.
                let Ok(piece) = self.pieces.recv() else { break };
                (self.piece, self.used) = (piece?, 0);
                if self.piece.is_empty() {
                    break;
                }
            }
            if out.is_empty() && self.used == 0 && self.piece.len() == len {
                return Ok(std::mem::take(&mut self.piece));
            }
            let n = (len - out.len()).min(self.piece.len() - self.used);
            out.extend_from_slice(&self.piece[self.used..self.used + n]);
            self.used += n;
        }
        Ok(out)
    }
}

/// Opens around the page cache where the file system can do that.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => File::open(path),
        other => other,
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "it was opened to be looked at only")
}

impl Volume for ReadOnly {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn list(&self) -> io::Result<Vec<FileEntry>> {
        if let Some(name) = &self.only {
            let len = fs::metadata(self.dir.join(name))?.len();
            return Ok(vec![FileEntry { name: name.clone(), len }]);
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let metadata = match fs::metadata(entry.path()) {
                // Gone since, as files of a running node may.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if let (Ok(name), true) = (entry.file_name().into_string(), metadata.is_file()) {
                entries.push(FileEntry { name, len: metadata.len() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn read_at(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let read = self.read_on(name, offset, len);
        if let (Ok(read), Some(Told(told))) = (&read, &self.told) {
            told(read.len() as u64);
        }
        read
    }

    fn write_at(&self, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        Err(refused())
    }

    fn append(&self, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        Err(refused())
    }

    fn create_zeroed(&self, _: &str, _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn sync_file(&self, _: &str) -> io::Result<()> {
        Err(refused())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(refused())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::test_directory;

    #[test]
    fn what_is_read_in_pieces_is_what_is_in_the_file() {
        let dir = test_directory();
        for len in [0usize, 1, 4096, PIECE, 3 * PIECE + 5000, 12 * PIECE] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 31 + i / 4096) as u8).collect();
            fs::write(dir.path().join("file"), &bytes).unwrap();
            let vol = ReadOnly::directory(dir.path());
            for piece in [4096, PIECE, PIECE + 4096, 3 * PIECE] {
                let mut found = Vec::new();
                loop {
                    let more = vol.read_at("file", found.len() as u64, piece).unwrap();
                    if more.is_empty() {
                        break;
                    }
                    found.extend_from_slice(&more);
                }
                assert!(found == bytes, "{len} bytes in pieces of {piece}");
            }
            let middle = vol.read_at("file", 4000, 200).unwrap();
            assert_eq!(middle, bytes.get(4000..4200.min(len.max(4000))).unwrap_or_default());
        }
    }

    #[test]
    fn a_file_alone_has_no_neighbours_and_nothing_can_be_written() {
        let dir = test_directory();
        fs::write(dir.path().join("a"), b"12").unwrap();
        fs::write(dir.path().join("b"), b"3").unwrap();
        assert_eq!(ReadOnly::directory(dir.path()).list().unwrap().len(), 2);
        let alone = ReadOnly::file(&dir.path().join("b")).unwrap();
        assert!(alone.is_alone());
        assert_eq!(alone.list().unwrap(), [FileEntry { name: "b".into(), len: 1 }]);
        let refused = [
            alone.write_at("b", 0, &[0; 4096]),
            alone.append("b", 0, &[0; 4096]),
            alone.create_zeroed("c", 4096),
            alone.sync_file("b"),
            alone.sync_dir(),
            alone.rename("b", "c"),
            alone.remove("b"),
        ];
        assert!(refused.iter().all(|result| result.is_err()));
        assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"3");
    }
}
