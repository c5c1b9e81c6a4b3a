//! A file system of its own whose power can be cut in an instant.
//!
//! ext4 on a loop device over a sparse file, shut down by the file system's own ioctl without flushing its journal: names
//! and lengths that were not flushed are gone, every later request fails, and a cycle takes milliseconds, so that
//! hundreds can be run. Data that was written with O_DIRECT and not flushed stays, which is what
//! [`crate::volume::Volume`] is for: it forgets that, too, and is slow.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::place;
use crate::volume::{text, try_run};

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, from a process of its own: the descriptor must be gone when
/// the file system is unmounted.
const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))\n";

/// How long a dead process may keep the file system busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mounted file system. Unmounted and detached on drop.
#[derive(Debug)]
pub struct Ext4 {
    device: String,
    mounted: bool,
    home: tempfile::TempDir,
}

impl Ext4 {
    /// A fresh one of `mib` MiB.
    pub fn create(mib: u64) -> Ext4 {
        let home = place::temp_dir();
        let image = home.path().join("image");
        let file = std::fs::File::create(&image).expect("creating the image");
        file.set_len(mib << 20).expect("giving the image its length");
        std::fs::create_dir(home.path().join("ext4")).expect("creating the mount point");
        let lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        try_run("mkfs.ext4", &["-q", "-F", "-E", lazy, text(&image)]).expect("formatting the image");
        let attach = ["--find", "--show", "--direct-io=on", text(&image)];
        let device = try_run("losetup", &attach).expect("attaching the image");
        let mut volume = Ext4 { device, mounted: false, home };
        volume.mount();
        volume
    }

    /// Where it is mounted.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("ext4")
    }

    /// The power goes: every request fails from now on.
    pub fn cut(&self) {
        try_run("python3", &["-c", SHUTDOWN, text(&self.dir())]).expect("shutting the file system down");
    }

    /// The power is back. No process may use the dead file system any more.
    pub fn restore(&mut self) {
        self.unmount().expect("unmounting the dead file system");
        self.mount();
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
