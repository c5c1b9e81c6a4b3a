//! A file system of its own: its power can be cut in an instant, and it can be filled to the last block.
//!
//! ext4 on a loop device over a sparse file, shut down by the file system's own ioctl without flushing its journal: names
//! and lengths that were not flushed are gone, every later request fails, and a cycle takes milliseconds, so that
//! hundreds can be run. Data that was written with O_DIRECT and not flushed stays, which is what
//! [`crate::volume::Volume`] is for: it forgets that, too, and is slow.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

use crate::place;
use crate::volume::{text, try_run};

/// How long a dead process may keep the file system busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mounted file system. Unmounted and detached on drop.
#[derive(Debug)]
pub struct Ext4 {
    device: String,
    mounted: bool,
    switch: Mutex<Switch>,
    home: tempfile::TempDir,
}

impl Ext4 {
    /// A fresh one of `mib` MiB.
    pub fn create(mib: u64) -> Ext4 {
        let home = place::temp_dir();
        let image = home.path().join("image");
        let file = File::create(&image).expect("creating the image");
        file.set_len(mib << 20).expect("giving the image its length");
        fs::create_dir(home.path().join("ext4")).expect("creating the mount point");
        let lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        // Nothing is reserved for root, which the servers of the tests are.
        try_run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", lazy, text(&image)])
            .expect("formatting the image");
        let attach = ["--find", "--show", "--direct-io=on", text(&image)];
        let device = try_run("losetup", &attach).expect("attaching the image");
        let mut volume = Ext4 { device, mounted: false, switch: Mutex::new(Switch::start()), home };
        volume.mount();
        volume
    }

    /// Where it is mounted.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("ext4")
    }

    /// The power goes: every request fails from now on.
    pub fn cut(&self) {
        self.switch.lock().expect("nobody fails while holding the switch").cut(&self.dir());
    }

    /// The power is back. No process may use the dead file system any more.
    pub fn restore(&mut self) {
        self.unmount().expect("unmounting the dead file system");
        self.mount();
    }

    /// Bytes that can still be written.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.dir()).expect("asking for the space");
        stat.f_bavail * stat.f_frsize
    }

    /// Takes all space but `left` bytes, or a little less, until it is dropped.
    pub fn fill_but(&self, left: u64) -> Ballast {
        let path = self.dir().join("ballast");
        let file = File::create(&path).expect("creating the ballast");
        let mut len = 0;
        // The map of a large file takes some blocks, too; what others give back meanwhile is taken as well.
        while let Some(more) = self.free().checked_sub(left).filter(|more| *more >= 4096) {
            let mut piece = more & !4095;
            while rustix::fs::fallocate(&file, FallocateFlags::empty(), len, piece).is_err() {
                piece = (piece / 2) & !4095;
                if piece == 0 {
                    return Ballast(path);
                }
            }
            len += piece;
        }
        Ballast(path)
    }

    fn mount(&mut self) {
        try_run("mount", &["-t", "ext4", &self.device, text(&self.dir())]).expect("mounting");
        self.mounted = true;
    }

    /// A killed server's ring is torn down by the kernel after the process is gone, so "busy" may last a moment.
    fn unmount(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while self.mounted {
            match try_run("umount", &[text(&self.dir())]) {
                Ok(_) => self.mounted = false,
                Err(error) if start.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Ok(())
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            let _ = try_run("umount", &["-l", text(&self.dir())]);
        }
        let _ = try_run("losetup", &["-d", &self.device]);
    }
}

/// A file that takes space. Removed on drop.
#[derive(Debug)]
pub struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Shuts file systems down on command: a process of its own, because the descriptor that is needed for it must be gone
/// before the file system is unmounted, and because this crate has no `unsafe`. It waits, so that a cut comes in the
/// instant that is meant.
#[derive(Debug)]
struct Switch {
    child: Child,
    paths: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUTDOWN: &str = "\
import fcntl, os, struct, sys
for path in sys.stdin:
    fd = os.open(path.rstrip('\\n'), os.O_RDONLY)
    fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))
    os.close(fd)
    print('done', flush=True)
";

impl Switch {
    fn start() -> Switch {
        let mut command = Command::new("python3");
        command.args(["-u", "-c", SHUTDOWN]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starting python3");
        let paths = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Switch { child, paths, answers }
    }

    fn cut(&mut self, dir: &Path) {
        let paths = self.paths.as_mut().expect("open until the end");
        writeln!(paths, "{}", text(dir)).expect("telling the switch");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("hearing from the switch");
        assert_eq!(answer, "done\n", "the file system is shut down");
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.paths.take());
        let _ = self.child.wait();
    }
}
