//! A directory of the file system as a [`Volume`], with a lock that keeps a second node out.
//!
//! Reads and writes go around the page cache (O_DIRECT), because what recovery must see is what the device
//! holds, not what a cache remembers of a write that failed. All of it blocks: called at start-up, by recovery
//! and by the housekeeper, never by a core loop.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FallocateFlags, RenameFlags};

use super::{AlignedBuf, BLOCK, FileEntry, Volume};

/// Unit of reading, writing and zeroing, in bytes.
const CHUNK: usize = 1 << 20;

/// How long to wait for the writes of a process that was killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Name of the lock file. No volume lists it.
const LOCK: &str = "lock";

/// The working name of a file that a thread beside the log is preparing. Whoever makes a file that must be whole when
/// it has its name (a log segment, a file of slots) makes it under a working name of its own, flushes it, renames it
/// and flushes the directory: a kill in the middle leaves the working name, and the next start removes it.
pub const PREPARING: &str = "preparing";
/// The same for [`Volume::create_zeroed`], which may run at the same time.
const CREATING: &str = "creating";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Another process has it.
    #[error("{} is in use by {}", dir.display(), holder.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Process id that the holder left in the lock file.
        holder: Option<u32>,
    },
    /// The file system refused something.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// One flat directory, locked for the life of this value.
#[derive(Debug)]
pub struct FsVolume {
    dir: PathBuf,
    /// Whether the warning that O_DIRECT is refused was given.
    warned: AtomicBool,
    /// The open lock file; closing it releases the lock.
    lock: File,
}

impl FsVolume {
    /// Opens the directory, creating it and its parents (mode 0700) if need be, takes its lock and removes what was
    /// being made when the last holder ended.
    pub fn open(dir: &Path) -> Result<FsVolume, VolumeError> {
        let failed = |doing: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| VolumeError::Io { doing, path, source }
        };
        create_dir(dir).map_err(failed("creating", dir))?;
        let path = dir.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed("opening", &path))?;
        let waiting = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(failed("locking", &path)(source)),
            }
            let mut text = String::new();
            let read = lock.rewind().and_then(|()| lock.read_to_string(&mut text));
            let holder = read.ok().and_then(|_| text.trim().parse().ok());
            // A holder that was killed may still have writes on their way to the disk: see `Ring::hold`.
            if !holder.is_some_and(is_dead) || waiting.elapsed() > PATIENCE {
                return Err(VolumeError::Locked { dir: dir.to_owned(), holder });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Only a hint for the message above: the lock is what counts.
        let noted = lock.rewind().and_then(|()| lock.set_len(0));
        let noted = noted.and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(failed("writing", &path))?;
        for unfinished in [PREPARING, CREATING] {
            let path = dir.join(unfinished);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("removing", &path)(error));
                }
                _ => {}
            }
        }
        Ok(FsVolume { dir: dir.to_owned(), warned: AtomicBool::new(false), lock })
    }

    /// The directory, as it was given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The lock, to be held by whatever may still write after the end of the process: see `Ring::hold`.
    pub fn lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name == "." || name == ".." || name == LOCK || name.contains('/') {
            let what = format!("{name:?} cannot name a file of {}", self.dir.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(self.dir.join(name))
    }

    /// Writes whole blocks piece by piece, with these flags beside O_DIRECT.
    fn write(&self, name: &str, offset: u64, data: &[u8], flags: i32) -> io::Result<()> {
        whole_blocks("offset", offset)?;
        whole_blocks("length", data.len() as u64)?;
        let path = self.file(name)?;
        let file = self.open_direct(OpenOptions::new().write(true), &path, flags)?;
        let mut at = offset;
        for chunk in data.chunks(CHUNK) {
            let mut buf = AlignedBuf::zeroed(chunk.len());
            buf.copy_from_slice(chunk);
            write_whole(&file, at, &buf)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Opens with O_DIRECT, or without where the file system does not know it.
    fn open_direct(&self, options: &mut OpenOptions, path: &Path, flags: i32) -> io::Result<File> {
        let flags = flags | libc::O_NOFOLLOW;
        match options.custom_flags(flags | libc::O_DIRECT).open(path) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        dir = %self.dir.display(),
                        "this file system has no O_DIRECT: what is read back may come from a cache"
                    );
                }
                options.custom_flags(flags).open(path)
            }
            other => other,
        }
    }
}

/// Whether a process is gone, or has ended and waits only to be buried (`Z` or `X` in `/proc/PID/stat`): it may be
/// a zombie for as long as its parent likes, and the kernel may still be closing its files.
fn is_dead(pid: u32) -> bool {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => has_ended(&stat),
        Err(_) => !Path::new(&format!("/proc/{pid}")).exists(),
    }
}

/// Reads the state: behind the name, which is in parentheses and may contain any byte.
fn has_ended(stat: &[u8]) -> bool {
    let name_end = stat.iter().rposition(|&b| b == b')');
    let state = name_end.and_then(|end| stat.get(end + 2));
    matches!(state, Some(b'Z' | b'X' | b'x'))
}

/// Creates `dir` and makes its name durable, also that of an existing one: its maker may not have come so far.
fn create_dir(dir: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let existed = missing.is_empty();
    if existed {
        missing.push(dir);
    }
    for new in missing {
        // A relative path of one component has the empty path as its parent.
        let parent = new.parent().filter(|parent| !parent.as_os_str().is_empty());
        match File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all()) {
            // Somebody else gave us this directory, below one that we may not look into, and saw to its name.
            Err(error) if existed && error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

/// Fails unless `value` consists of whole blocks.
fn whole_blocks(what: &str, value: u64) -> io::Result<()> {
    if value.is_multiple_of(BLOCK as u64) {
        return Ok(());
    }
    let message = format!("{what} {value} is not a multiple of {BLOCK}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag. Nobody else makes names here: the directory is locked.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        other => Ok(other?),
    }
}

/// Writes all of `data` at `offset`. A short write is an error: its rest would not be aligned.
fn write_whole(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    let written = file.write_at(data, offset)?;
    if written == data.len() {
        return Ok(());
    }
    let message = format!("only {written} of {} bytes were written", data.len());
    Err(io::Error::new(io::ErrorKind::WriteZero, message))
}

fn fill_with_zeros(file: &File, len: u64) -> io::Result<()> {
    // Asks for the space in one piece, before any of it is written. Not every file system can.
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Err(error) if error != rustix::io::Errno::OPNOTSUPP => return Err(error.into()),
        _ => {}
    }
    let zeros = AlignedBuf::zeroed(CHUNK);
    let mut offset = 0;
    while offset < len {
        let chunk = (len - offset).min(CHUNK as u64);
        write_whole(file, offset, &zeros[..chunk as usize])?;
        offset += chunk;
    }
    file.sync_all()
}

impl Volume for FsVolume {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string()
                && metadata.is_file()
                && name != LOCK
            {
                entries.push(FileEntry { name, len: metadata.len() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn read_at(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let path = self.file(name)?;
        let file = self.open_direct(OpenOptions::new().read(true), &path, 0)?;
        let size = file.metadata()?.len();
        let end = size.min(offset.saturating_add(len as u64));
        let mut out = Vec::new();
        if offset >= end {
            return Ok(out);
        }
        let wanted = (end - offset) as usize;
        out.reserve_exact(wanted);
        let mut from = offset - offset % BLOCK as u64;
        let mut skip = (offset - from) as usize;
        let mut buf = AlignedBuf::zeroed((skip + wanted).min(CHUNK).next_multiple_of(BLOCK));
        while out.len() < wanted {
            let got = file.read_at(&mut buf, from)?;
            let usable = got.min(skip + wanted - out.len());
            if usable <= skip {
                // The file has shrunk meanwhile.
                break;
            }
            out.extend_from_slice(&buf[skip..usable]);
            if !got.is_multiple_of(BLOCK) {
                break;
            }
            from += got as u64;
            skip = 0;
        }
        Ok(out)
    }

    fn write_at(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(name, offset, data, libc::O_DSYNC)
    }

    fn append(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(name, offset, data, 0)
    }

    fn create_zeroed(&self, name: &str, len: u64) -> io::Result<()> {
        whole_blocks("length", len)?;
        let (path, unfinished) = (self.file(name)?, self.dir.join(CREATING));
        if fs::symlink_metadata(&path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let _ = fs::remove_file(&unfinished);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = self.open_direct(&mut options, &unfinished, 0)?;
        let filled = if len == 0 { file.sync_all() } else { fill_with_zeros(&file, len) };
        let renamed = filled.and_then(|()| rename(&unfinished, &path));
        if renamed.is_err() {
            // Half a file is of no use, and the space it holds may be what was missing.
            let _ = fs::remove_file(&unfinished);
        }
        renamed
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        File::open(self.file(name)?)?.sync_data()
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        rename(&self.file(from)?, &self.file(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name)?)
    }
}

#[cfg(test)]
mod tests;
