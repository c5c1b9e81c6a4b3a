//! A server that stands alone, in a directory of its own: started, filled, stopped, started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::files::{Listing, await_whole, list, of_server};
use super::watch::Subject;
use crate::ensemble::place::free_ports;
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make};
use crate::process::Process;
use crate::session::Session;
use crate::wire::Credentials;

/// How long a server may take to serve, in seconds: ten million znodes are read first.
const START_S: u64 = 600;
/// How long a server may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(60);
/// How long one attempt to read may take: a server that is starting may swallow a question.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Pause between attempts.
const POLL: Duration = Duration::from_millis(2);

/// The server.
#[derive(Debug)]
pub struct Single {
    make: Make,
    launch: LaunchArgs,
    dir: PathBuf,
    settings: String,
    addr: SocketAddr,
    process: Process,
}

impl Single {
    /// Starts one in the directory `name` below `home`, with these lines in its `zoo.cfg`, and waits until it serves.
    pub fn start(
        make: Make,
        launch: &LaunchArgs,
        home: &Path,
        name: &str,
        lines: &str,
    ) -> Result<Single, BenchError> {
        let dir = home.join(format!("{}-{name}", make.name()));
        let ports = free_ports(1)?;
        let port = ports[0].client;
        let settings = format!(
            "tickTime=2000\nclientPortAddress=127.0.0.1\nclientPort={port}\nmaxClientCnxns=0\n\
             4lw.commands.whitelist=srvr,mntr\n{lines}"
        );
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let process = launched(make, launch, &dir, &settings)?;
        let mut server = Single { make, launch: launch.clone(), dir, settings, addr, process };
        server.await_answer(|addr| Session::resume(addr, &Credentials::default(), 0, ATTEMPT)?.close())?;
        Ok(server)
    }

    /// Its make.
    pub fn make(&self) -> Make {
        self.make
    }

    /// Where clients reach it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where its log and snapshots are.
    pub fn files(&self) -> PathBuf {
        of_server(self.make, &self.dir)
    }

    /// Waits until there is a snapshot that can hold so many bytes of data, for a minute at most.
    pub fn await_snapshot(&self, bytes: u64) -> Result<(), BenchError> {
        await_whole(&of_server(self.make, &self.dir), bytes)
    }

    /// Log and snapshots.
    pub fn listing(&self) -> Result<Listing, BenchError> {
        list(&self.files())
    }

    /// What is to be watched for snapshots.
    pub fn subject(&self) -> Subject {
        Subject { make: self.make, files: self.files(), pid: self.pid() }
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; returns when it is gone.
    pub fn stop(&mut self) {
        self.process.stop(STOP);
    }

    /// Starts it again and does not wait.
    pub fn restart(&mut self) -> Result<(), BenchError> {
        self.process = launched(self.make, &self.launch, &self.dir, &self.settings)?;
        Ok(())
    }

    /// Waits until a client that does not give up has connected, opened a session and read `path`.
    pub fn await_read(&mut self, path: &str) -> Result<(), BenchError> {
        self.await_answer(|addr| Session::resume(addr, &Credentials::default(), 0, ATTEMPT)?.read(path))
    }

    fn await_answer(
        &mut self,
        attempt: impl Fn(SocketAddr) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let deadline = Instant::now() + Duration::from_secs(START_S);
        loop {
            match attempt(self.addr) {
                Ok(()) => return Ok(()),
                // It serves, and not what it should.
                Err(error @ BenchError::Refused { .. }) => return Err(error),
                Err(_) => self.process.check()?,
            }
            if Instant::now() > deadline {
                let (name, addr, output) = (self.make.name(), self.addr, self.process.output());
                let what = format!("{name} did not serve on {addr} ({output})");
                return Err(BenchError::Timeout { what, seconds: START_S });
            }
            thread::sleep(POLL);
        }
    }
}

fn launched(make: Make, launch: &LaunchArgs, dir: &Path, settings: &str) -> Result<Process, BenchError> {
    let mut command = make.command(launch, dir, settings)?;
    Process::start(make.name(), &mut command, dir)
}
