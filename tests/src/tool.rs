//! What a test needs from the machine, and what happens where it is missing.
//!
//! A test that cannot run must never look like one that passed: it says SKIPPED loudly, and where `CI=true`
//! promises a complete machine it fails instead.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Something outside the workspace that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Python 3 with the `kazoo` client library.
    Kazoo,
    /// Python 3 alone.
    Python,
    /// Apache's command line client (Debian package `zookeeper`) and a Java runtime.
    ZkCli,
    /// The C client's command line (Debian package `zookeeper-bin`).
    CliMt,
    /// Apache's server classes (Debian package `zookeeper`) and a Java runtime.
    Apache,
    /// `/dev/fuse`, loop devices, `mkfs.ext4`, `losetup`, `mount`.
    Fuse,
    /// User id 0.
    Root,
}

/// Where Debian puts Apache's `zkCli.sh`.
pub const ZKCLI: &str = "/usr/share/zookeeper/bin/zkCli.sh";

/// Where Debian puts the C client's command line.
pub const CLI_MT: &str = "/usr/lib/zookeeper/bin/cli_mt";

/// Where Debian puts Apache's server classes.
pub const ZOOKEEPER_JAR: &str = "/usr/share/java/zookeeper.jar";

impl Tool {
    /// `None` if the tool is there, else what is missing.
    fn missing(self) -> Option<String> {
        match self {
            Tool::Python => in_path("python3").is_none().then(|| "python3".into()),
            Tool::Kazoo => {
                static FOUND: OnceLock<bool> = OnceLock::new();
                let found = *FOUND.get_or_init(|| succeeds("python3", &["-c", "import kazoo"]));
                (!found).then(|| "python3 with kazoo (pip install kazoo)".into())
            }
            Tool::ZkCli => missing_of(&[ZKCLI], &["java"]),
            Tool::CliMt => missing_of(&[CLI_MT], &[]),
            Tool::Apache => missing_of(&[ZOOKEEPER_JAR], &["java"]),
            Tool::Fuse => {
                missing_of(&["/dev/fuse", "/dev/loop-control"], &["mkfs.ext4", "losetup", "mount", "umount"])
            }
            Tool::Root => (!rustix::process::geteuid().is_root()).then(|| "root".into()),
        }
    }
}

/// Whether all the tools are there. Says what is missing otherwise, and panics if `CI=true`.
#[must_use = "a test that lacks a tool must return early"]
pub fn requires(tools: &[Tool]) -> bool {
    let missing: Vec<String> = tools.iter().filter_map(|t| t.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    if std::env::var("CI").is_ok_and(|v| v == "true") {
        panic!("CI=true promises a complete machine, but {test} needs: {missing}");
    }
    skipped(test, &missing);
    false
}

/// Whether this is a run of everything, which takes too long for every change. Says so otherwise.
#[must_use = "a test of the long run must return early in a short one"]
pub fn long() -> bool {
    let long = crate::script::is_long();
    if !long {
        let thread = std::thread::current();
        skipped(thread.name().unwrap_or("a test"), "RINGKEEPER_LONG=1, the long run");
    }
    long
}

/// The counterpart of [`long`]: always.
#[must_use = "like that of a long run"]
pub fn quick() -> bool {
    true
}

/// Prints the line of a test that did not run, past the test runner's capture of output.
fn skipped(test: &str, missing: &str) {
    let line = format!("\nSKIPPED: {test} needs: {missing}\n");
    // `eprint!` is captured for tests that "pass"; the descriptor itself is not.
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// The first executable of that name in `PATH` or the administrator's directories.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(["/usr/sbin", "/sbin"]);
    dirs.map(|d| Path::new(d).join(name)).find(|p| p.is_file())
}

fn missing_of(files: &[&str], programs: &[&str]) -> Option<String> {
    let files = files.iter().filter(|f| !Path::new(f).exists()).copied();
    let programs = programs.iter().filter(|p| in_path(p).is_none()).copied();
    let missing: Vec<&str> = files.chain(programs).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}
