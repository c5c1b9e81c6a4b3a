//! One member of a cluster: its directory, its configuration, its process, and what it says of itself.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client;
use crate::cluster::Sid;
use crate::node::{DEADLINE, Server, ringkeeper};
use crate::process::Process;

/// What `srvr` says a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum Mode {
    Leader,
    Follower,
    Observer,
}

/// The answer of a member that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its role.
    pub mode: Mode,
    /// The last transaction that its tree shows.
    pub zxid: i64,
}

/// A member. Killed on drop.
#[derive(Debug)]
pub struct Member {
    /// Its number, 1 to the number of members.
    pub sid: Sid,
    /// What runs in its place at the moment.
    pub kind: Server,
    /// Has no vote.
    pub observer: bool,
    /// Where clients connect.
    pub client_addr: SocketAddr,
    /// Where learners connect while it leads; the real port, not a relay's.
    pub quorum_addr: SocketAddr,
    /// Where members connect for elections; the real port, not a relay's.
    pub election_addr: SocketAddr,
    pub(super) home: PathBuf,
    pub(super) data: PathBuf,
    /// The lines of zoo.cfg that do not depend on the kind.
    pub(super) lines: String,
    child: Option<Child>,
    paused: bool,
}

/// Apache's logging goes to a file of its own. What a leader sends first is partly said at DEBUG. With `*` in the
/// class path another binding would win.
const LOG4J: &str = "log4j.rootLogger=INFO, F\n\
    log4j.logger.org.apache.zookeeper.server.quorum.LearnerHandler=DEBUG\n\
    log4j.appender.F=org.apache.log4j.FileAppender\n\
    log4j.appender.F.File=server.log\n\
    log4j.appender.F.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.F.layout.ConversionPattern=%d{ISO8601} %-5p [%t:%c{1}] %m%n\n";
const APACHE_CLASSES: &str =
    "/usr/share/java/slf4j-log4j12.jar:/usr/share/java/log4j-1.2.jar:/usr/share/java/zookeeper.jar";

/// Many members write little: a test run need not fill the disk with zeros for them.
const SMALL_SEGMENTS: &str = "ringkeeper.logSegmentBytes=4194304\n";
const SEGMENT_KEY: &str = "ringkeeper.logSegmentBytes=";

impl Member {
    pub(super) fn new(
        sid: Sid,
        kind: Server,
        observer: bool,
        home: PathBuf,
        [client_addr, quorum_addr, election_addr]: [SocketAddr; 3],
    ) -> Member {
        Member {
            sid,
            kind,
            observer,
            client_addr,
            quorum_addr,
            election_addr,
            data: home.join("data"),
            home,
            lines: String::new(),
            child: None,
            paused: false,
        }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Whether there is a process, paused or not.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Whether there is a process that is not stopped by a signal.
    pub fn is_awake(&self) -> bool {
        self.runs() && !self.paused
    }

    /// An empty data directory with nothing but `myid`.
    pub(super) fn wipe(&self) {
        assert!(!self.runs(), "member {} runs", self.sid);
        let data = self.data();
        if data.exists() {
            fs::remove_dir_all(&data).expect("removing a data directory");
        }
        fs::create_dir_all(&data).expect("creating a data directory");
        fs::create_dir_all(&self.home).expect("creating the directory of a member");
        // Durably: the power may go at once.
        let mut myid = File::create(data.join("myid")).expect("creating myid");
        writeln!(myid, "{}", self.sid).expect("writing myid");
        myid.sync_all().expect("flushing myid");
        for dir in [data.as_path(), data.parent().expect("a data directory is in a directory")] {
            File::open(dir).and_then(|dir| dir.sync_all()).expect("flushing a directory");
        }
    }

    fn write_config(&self) {
        let segments = if self.lines.contains(SEGMENT_KEY) { "" } else { SMALL_SEGMENTS };
        let special: &[&str] = match self.kind {
            Server::Ringkeeper => &[segments],
            Server::Fronts => &[segments, "ringkeeper.fronts=2\n"],
            // Kibibytes.
            Server::Apache => &["preAllocSize=4096\n", "admin.enableServer=false\n"],
        };
        let text = format!("{}{}", self.lines, special.concat());
        fs::write(self.home.join("zoo.cfg"), text).expect("writing zoo.cfg");
        fs::write(self.home.join("log4j.properties"), LOG4J).expect("writing log4j.properties");
    }

    /// Starts the process and does not wait for anything.
    pub(super) fn spawn(&mut self) {
        assert!(!self.runs(), "member {} runs already", self.sid);
        self.write_config();
        let mut command = match self.kind {
            Server::Ringkeeper | Server::Fronts => {
                let mut command = Command::new(ringkeeper());
                command.args(["serve", "zoo.cfg"]);
                command
            }
            Server::Apache => {
                let mut command = Command::new("java");
                // Members are small and many, on few cores.
                command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
                command.args(["-Dlog4j.configuration=file:log4j.properties", "-cp", APACHE_CLASSES]);
                command.args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", "./zoo.cfg"]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(self.output("stdout")).stderr(self.output("stderr"));
        command.current_dir(&self.home);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("starting {command:?}: {e}")));
    }

    /// Waits until the election port is open.
    pub(super) fn wait_until_it_takes_part(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(self.election_addr).is_err() {
            self.assert_alive();
            assert!(start.elapsed() < DEADLINE, "{}", self.last_words());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn output(&self, name: &str) -> File {
        let path = self.home.join(name);
        let open = OpenOptions::new().create(true).append(true).open(&path);
        open.unwrap_or_else(|e| panic!("opening {}: {e}", path.display()))
    }

    /// SIGKILL, and waits until the process is gone.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().expect("waiting for a killed child");
        }
        self.paused = false;
    }

    /// SIGTERM, and waits until the process is gone.
    pub(super) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let start = Instant::now();
        loop {
            let child = self.child.as_mut().expect("the member runs");
            if let Some(status) = child.try_wait().expect("asking for the state of a child") {
                self.child = None;
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "member {} does not end", self.sid);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
        // A thread that runs on another core goes on for a moment.
        let process = Process::new(self.child.as_ref().expect("the member runs").id());
        let start = Instant::now();
        while !process.is_stopped() {
            assert!(start.elapsed() < DEADLINE, "member {} does not stop", self.sid);
            std::thread::yield_now();
        }
    }

    pub(super) fn wake(&mut self) {
        self.signal(Signal::CONT);
        self.paused = false;
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the member runs");
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).expect("sending a signal to a child");
    }

    /// Fails if the process ended by itself.
    pub(super) fn assert_alive(&mut self) {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().expect("asking for the state of a child")
        {
            self.child = None;
            panic!("member {} ended by itself ({status})\n{}", self.sid, self.last_words());
        }
    }

    /// Its answer to `srvr`; `None` while it serves nobody.
    pub fn status(&self) -> Option<Status> {
        if !self.is_awake() {
            return None;
        }
        let text = client::word_within(self.client_addr, "srvr", Duration::from_secs(1)).ok()?;
        let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).map(str::trim);
        let mode = match value("Mode:")? {
            "leader" => Mode::Leader,
            "follower" => Mode::Follower,
            "observer" => Mode::Observer,
            _ => return None,
        };
        let zxid = i64::from_str_radix(value("Zxid:")?.trim_start_matches("0x"), 16).ok()?;
        Some(Status { mode, zxid })
    }

    /// A number of its `mntr`, if it answers and knows it.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = client::word_within(self.client_addr, "mntr", Duration::from_secs(5)).ok()?;
        text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('\t')?.trim().parse().ok())
    }

    /// What it has logged so far, in all its runs and whatever ran there.
    pub fn log_text(&self) -> String {
        let read = |name: &str| fs::read(self.home.join(name)).unwrap_or_default();
        let text = [read("server.log"), read("stderr")].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The log file of the kind that runs now: lines appended to it are lines of this process or earlier ones.
    pub(super) fn log_file(&self) -> PathBuf {
        self.home.join(if self.kind == Server::Apache { "server.log" } else { "stderr" })
    }

    /// What it has logged behind this many bytes of [`Member::log_file`].
    pub(super) fn log_behind(&self, path: &Path, len: u64) -> String {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(len as usize..).unwrap_or_default()).into_owned()
    }

    /// The end of its logs, for the report of a failure.
    pub(super) fn last_words(&self) -> String {
        let mut text = format!("--- member {} ({:?}) at {}\n", self.sid, self.kind, self.client_addr);
        for name in ["stdout", "stderr", "server.log"] {
            let bytes = fs::read(self.home.join(name)).unwrap_or_default();
            let log = String::from_utf8_lossy(&bytes);
            // Stack traces, greetings of the JVM and our own questions say little.
            let dull = ["\tat ", "environment:", "Processing srvr command", "pathStats"];
            let told = |l: &&str| !dull.iter().any(|d| l.contains(d));
            let lines: Vec<&str> = log.lines().filter(told).collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            text.push_str(&format!("--- {name}\n{}\n", tail.join("\n")));
        }
        text
    }

    /// Whether a file of the data directory holds these bytes. Finds what is logged, acknowledged by others or not.
    pub fn has_logged(&self, bytes: &[u8]) -> bool {
        let mut dirs = vec![self.data()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    dirs.push(path);
                } else if fs::read(&path).is_ok_and(|b| b.windows(bytes.len()).any(|w| w == bytes)) {
                    return true;
                }
            }
        }
        false
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
