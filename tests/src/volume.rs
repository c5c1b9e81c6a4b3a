//! A disk that forgets what was not flushed.
//!
//! SIGKILL and even a file system's forced shutdown leave unflushed O_DIRECT writes on the device, so neither can
//! tell a durable server from one that only looks durable. This volume can:
//!
//! ```text
//! server -> ext4 -> loop device (direct I/O) -> one file of a FUSE file system -> Medium, in our memory
//! ```
//!
//! The medium keeps each write as volatile until a flush arrives (the loop driver turns both REQ_OP_FLUSH and the
//! emulated FUA into an fsync of its file). [`Volume::cut`] takes the power away: what is volatile is gone, in
//! whole or in part, and every later request fails with EIO. [`Volume::restore`] mounts what is left.
//!
//! The daemon is a thread of the test process, so that process never enters the mounted directories by itself
//! while it matters, and leaves mounting to child processes: a thread that waits in the kernel for its own daemon
//! could not be killed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::medium::{Medium, Survivors};
use crate::place;

/// The only file.
const IMAGE: &str = "image";
const IMAGE_INO: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3600);

/// An ext4 file system on a medium that can lose its power. Unmounted and detached on drop.
pub struct Volume {
    medium: Arc<Mutex<Medium>>,
    /// Dropped by hand in the right order: ext4, loop device, FUSE.
    session: Option<fuser::BackgroundSession>,
    device: Option<String>,
    mounted: bool,
    home: tempfile::TempDir,
}

impl Volume {
    /// A fresh, formatted and mounted volume of `mib` MiB; it takes memory only for what is not zero.
    pub fn create(mib: u64) -> Volume {
        let home = place::temp_dir();
        let medium = Arc::new(Mutex::new(Medium::new(mib << 20)));
        let fuse_dir = home.path().join("fuse");
        std::fs::create_dir(&fuse_dir).expect("creating the FUSE mount point");
        std::fs::create_dir(home.path().join("ext4")).expect("creating the ext4 mount point");
        let session =
            fuser::spawn_mount(Door { medium: medium.clone() }, &fuse_dir, &fuser::Config::default())
                .expect("mounting the FUSE file system");
        let mut volume = Volume { medium, session: Some(session), device: None, mounted: false, home };
        volume.attach();
        let device = volume.device.clone().expect("attached just now");
        // No lazy initialisation: a background writer of the file system would flush at moments of its own.
        let lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run("mkfs.ext4", &["-q", "-F", "-E", lazy, &device]);
        volume.mount();
        volume
    }

    /// Where the file system is mounted.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("ext4")
    }

    /// Writes and flushes that reached the medium so far.
    pub fn traffic(&self) -> (u64, u64) {
        let medium = self.medium();
        (medium.writes, medium.flushes)
    }

    /// The power goes: of what was not flushed only `survivors` stay, and from now on every request fails.
    pub fn cut(&self, survivors: Survivors) {
        self.medium().cut(survivors);
    }

    /// The power is back: unmounts the dead file system, which no process may use any more, and mounts what the
    /// medium has kept.
    pub fn restore(&mut self) {
        self.unmount();
        self.detach();
        self.medium().restore();
        self.attach();
        self.mount();
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().expect("the daemon panicked")
    }

    fn attach(&mut self) {
        let image = self.home.path().join("fuse").join(IMAGE);
        let image = image.to_str().expect("temporary paths are UTF-8");
        self.device = Some(run("losetup", &["--find", "--show", "--direct-io=on", image]));
    }

    fn mount(&mut self) {
        let device = self.device.clone().expect("mounted only while attached");
        run("mount", &["-t", "ext4", &device, text(&self.dir())]);
        self.mounted = true;
    }

    /// A killed server's ring is torn down by the kernel after the process is gone, so "busy" may last a moment.
    fn unmount(&mut self) {
        let dir = self.dir();
        let start = Instant::now();
        while self.mounted {
            match try_run("umount", &[text(&dir)]) {
                Ok(_) => self.mounted = false,
                Err(e) if start.elapsed() > Duration::from_secs(20) => {
                    let lazy = try_run("umount", &["-l", text(&dir)]);
                    self.mounted = false;
                    assert!(std::thread::panicking(), "{e}; lazily: {lazy:?}");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn detach(&mut self) {
        if let Some(device) = self.device.take() {
            run("losetup", &["-d", &device]);
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.unmount();
        if let Some(device) = self.device.take() {
            let _ = try_run("losetup", &["-d", &device]);
        }
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn run(program: &str, args: &[&str]) -> String {
    try_run(program, args).unwrap_or_else(|e| panic!("{e}"))
}

/// The standard output of a program, or what it says if it fails.
pub(crate) fn try_run(program: &str, args: &[&str]) -> Result<String, String> {
    let path = crate::tool::in_path(program).ok_or_else(|| format!("{program}: not found"))?;
    let output = Command::new(path).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_string());
    }
    Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The FUSE face of the medium: a directory with one file.
struct Door {
    medium: Arc<Mutex<Medium>>,
}

impl Door {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let (size, kind, perm) = match ino {
            IMAGE_INO => (self.lock().size(), FileType::RegularFile, 0o600),
            _ => (0, FileType::Directory, 0o700),
        };
        FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Filesystem for Door {
    fn lookup(&self, _req: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == IMAGE {
            reply.entry(&TTL, &self.attr(IMAGE_INO), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.lock().read(offset, size as usize) {
            Some(data) => reply.data(&data),
            None => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.lock().write(offset, data) {
            Some(()) => reply.written(data.len() as u32),
            None => reply.error(Errno::EIO),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        // The loop driver asks this for discards and write-zeroes; the block layer then writes zeros itself.
        reply.error(Errno::EOPNOTSUPP);
    }

    /// Closing a descriptor makes nothing durable.
    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        match self.lock().flush() {
            Some(()) => reply.ok(),
            None => reply.error(Errno::EIO),
        }
    }
}
