//! A server as a child process: configured, started, killed, started again on the same directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::client::{self, Client};
use crate::place;
use crate::process::Process;
use crate::tool::ZOOKEEPER_JAR;

/// How long a server may take to serve, or to end, before the test fails. A net for hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Which server a script runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The node of this workspace, everything in one loop.
    Ringkeeper,
    /// The same with two front loops beside the replica loop.
    Fronts,
    /// Debian's Apache ZooKeeper: the check on the tests themselves.
    Apache,
}

impl Server {
    /// A command that starts the server with this configuration file.
    pub fn command(self, config: &Path) -> Command {
        match self {
            Server::Ringkeeper | Server::Fronts => {
                let mut command = Command::new(ringkeeper());
                command.arg("serve").arg(config);
                command
            }
            Server::Apache => {
                let mut command = Command::new("java");
                command.arg("-Xmx512m").args(["-cp", &format!("{ZOOKEEPER_JAR}:/usr/share/java/*")]);
                command.arg("org.apache.zookeeper.server.ZooKeeperServerMain").arg(config);
                command
            }
        }
    }
}

/// The `ringkeeper` binary of the profile the tests were built with, built now if it is not fresh.
/// `RINGKEEPER_BIN` names another binary instead.
pub fn ringkeeper() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("RINGKEEPER_BIN") {
        Some(path) => PathBuf::from(path),
        None => built("ringkeeper-net", "ringkeeper"),
    })
}

/// The `rkinspect` binary, likewise.
pub fn rkinspect() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("ringkeeper-tools", "rkinspect"))
}

/// Cargo offers a binary's path only to tests of its own package, so this asks cargo, once per test executable.
fn built(package: &str, binary: &str) -> PathBuf {
    let profile_dir = place::profile_dir();
    let target_dir = profile_dir.parent().expect("a profile lies in a target directory");
    let profile = match profile_dir.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", package, "--bin", binary, "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(place::workspace())
        .output()
        .expect("running cargo");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "building {binary} failed:\n{stderr}");
    profile_dir.join(binary)
}

/// A server with its directory. Killed, and its own directory removed, on drop.
#[derive(Debug)]
pub struct Node {
    server: Server,
    addr: SocketAddr,
    home: tempfile::TempDir,
    data: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// Starts a node on a fresh directory and waits until it serves. `extra` are more lines of its zoo.cfg.
    pub fn start(server: Server, extra: &[&str]) -> Node {
        let mut node = Node::prepare(server, extra);
        node.launch();
        node
    }

    /// A fresh directory with a configuration, nothing started.
    pub fn prepare(server: Server, extra: &[&str]) -> Node {
        let home = place::temp_dir();
        let data = home.path().join("data");
        Node::prepare_at(server, home, data, extra)
    }

    /// Like [`Node::prepare`], with the data somewhere else.
    pub fn prepare_in(server: Server, data: &Path, extra: &[&str]) -> Node {
        Node::prepare_at(server, place::temp_dir(), data.to_path_buf(), extra)
    }

    fn prepare_at(server: Server, home: tempfile::TempDir, data: PathBuf, extra: &[&str]) -> Node {
        let addr = place::free_addr();
        let mut config = format!(
            "tickTime=500\ndataDir={}\nclientPort={}\nclientPortAddress={}\nmaxClientCnxns=0\n",
            data.display(),
            addr.port(),
            addr.ip()
        );
        config.push_str("4lw.commands.whitelist=*\n");
        config.push_str(match server {
            Server::Ringkeeper => "",
            Server::Fronts => "ringkeeper.fronts=2\n",
            Server::Apache => "admin.enableServer=false\n",
        });
        for line in extra {
            config.push_str(line);
            config.push('\n');
        }
        fs::write(home.path().join("zoo.cfg"), config).expect("writing zoo.cfg");
        Node { server, addr, home, data, child: None }
    }

    /// Adds a line to its configuration, for its next start. The last line of a name counts.
    pub fn add_line(&self, line: &str) {
        let config = fs::read_to_string(self.config()).expect("reading zoo.cfg");
        fs::write(self.config(), format!("{config}{line}\n")).expect("writing zoo.cfg");
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.home.path().join("zoo.cfg")
    }

    /// The running process.
    pub fn process(&self) -> Process {
        Process::new(self.child.as_ref().expect("the node runs").id())
    }

    /// Starts the process and waits until it serves.
    pub fn launch(&mut self) {
        let command = self.server.command(&self.config());
        self.spawn(command);
        self.wait_until_serving();
    }

    /// Starts this command in place of the usual one, without waiting.
    pub fn spawn(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "the node runs already");
        command.stdin(Stdio::null()).stdout(self.output("stdout")).stderr(self.output("stderr"));
        command.current_dir(self.home.path());
        let child = command.spawn().unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
        self.child = Some(child);
    }

    /// Waits for the answer `Mode: standalone`; fails if the process ends first.
    pub fn wait_until_serving(&mut self) {
        if let Err(status) = self.wait_until_serving_or_gone() {
            panic!("the node ended ({status}) before it served:\n{}", self.output_text());
        }
    }

    /// The same; the status if the process ends first.
    ///
    /// # Errors
    /// If the process ends.
    pub fn wait_until_serving_or_gone(&mut self) -> Result<(), ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                return Err(status);
            }
            // A server that is still starting may take a connection and forget it: ask again soon.
            let answer = client::word_within(self.addr, "srvr", Duration::from_secs(1));
            if answer.is_ok_and(|text| text.contains("Mode: standalone")) {
                return Ok(());
            }
            assert!(start.elapsed() < DEADLINE, "the node does not serve:\n{}", self.output_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The status if the process has ended by itself (or was never started: `None`).
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let status = child.try_wait().expect("asking for the state of a child");
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// Waits until the process ends by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "the node does not end:\n{}", self.output_text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().expect("waiting for a killed child");
        }
    }

    /// SIGTERM, and waits for the exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait_for_exit()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("the node runs");
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).expect("sending a signal to a child");
    }

    /// A new session.
    pub fn client(&self) -> Client {
        Client::connect(self.addr)
            .unwrap_or_else(|e| panic!("connecting to {}: {e}\n{}", self.addr, self.output_text()))
    }

    /// Standard output and standard error of all its runs so far.
    pub fn output_text(&self) -> String {
        let read = |name: &str| fs::read(self.home.path().join(name)).unwrap_or_default();
        let (out, err) = (read("stdout"), read("stderr"));
        format!("--- stdout\n{}--- stderr\n{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err))
    }

    /// Standard error of all its runs so far.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.path().join("stderr")).unwrap_or_default()).into_owned()
    }

    fn output(&self, name: &str) -> File {
        let path = self.home.path().join(name);
        let open: io::Result<File> = OpenOptions::new().create(true).append(true).open(&path);
        open.unwrap_or_else(|e| panic!("opening {}: {e}", path.display()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- node at {}\n{}", self.addr, self.output_text());
        }
    }
}
