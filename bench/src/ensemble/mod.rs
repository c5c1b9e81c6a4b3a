//! Ensembles of three servers on this machine: started, awaited, and hurt in chosen ways.
//!
//! The members of a make share nothing with those of another but the machine and the disk. What is asked of them is
//! asked as an operator would, with four-letter words; only [`snap`] looks at their directories.
//!
//! [`versus`] compares makes under load, [`failover`] kills leaders, [`stopped`] stops a follower, [`snap`] empties one.

pub mod failover;
mod join;
pub(crate) mod place;
pub mod snap;
pub mod stopped;
pub mod versus;
mod writer;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make, data_dir};
use crate::process::Process;
use crate::session::Session;
use crate::snapshots::files::of_server;
use crate::words::{Standing, ask, parse_mntr, parse_srvr};
use place::{Ports, config, free_ports};

/// Members of an ensemble.
pub const MEMBERS: usize = 3;
/// How long an ensemble may take to be whole, in seconds: a member may have a minute of writes to catch up with.
const WHOLE_S: u64 = 120;
/// How often it is looked at until then.
const POLL: Duration = Duration::from_millis(25);

/// Three servers of one make.
#[derive(Debug)]
pub struct Ensemble {
    make: Make,
    launch: LaunchArgs,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    dir: PathBuf,
    settings: String,
    client: SocketAddr,
    /// None after it was killed.
    process: Option<Process>,
}

/// How often a leader has brought learners up to date in each way, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// By the transactions that were missing.
    pub diff: u64,
    /// By a snapshot.
    pub snap: u64,
}

impl Ensemble {
    /// Starts three servers below `home` and does not wait for them.
    pub fn start(make: Make, launch: &LaunchArgs, home: &Path) -> Result<Ensemble, BenchError> {
        Ensemble::start_with(make, launch, home, "")
    }

    /// The same with further lines in each `zoo.cfg`, which count more than what is there.
    pub fn start_with(
        make: Make,
        launch: &LaunchArgs,
        home: &Path,
        lines: &str,
    ) -> Result<Ensemble, BenchError> {
        let ports: Vec<Ports> = free_ports(MEMBERS)?;
        let mut ensemble = Ensemble { make, launch: launch.clone(), members: Vec::new() };
        for n in 0..MEMBERS {
            let dir = home.join(format!("{}-{}", make.name(), n + 1));
            let myid = data_dir(&dir).join("myid");
            let file = |source| BenchError::File { doing: "preparing", path: myid.clone(), source };
            fs::create_dir_all(data_dir(&dir)).map_err(file)?;
            fs::write(&myid, format!("{}\n", n + 1)).map_err(file)?;
            let client = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[n].client));
            let settings = config(n, &ports) + lines;
            ensemble.members.push(Member { dir, settings, client, process: None });
            ensemble.restart(n)?;
        }
        Ok(ensemble)
    }

    /// The make's name.
    pub fn name(&self) -> &'static str {
        self.make.name()
    }

    /// Where clients reach member `n`, from 0.
    pub fn client(&self, n: usize) -> SocketAddr {
        self.members[n].client
    }

    /// Processes of the members that run.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|m| m.process.as_ref()).map(Process::id).collect()
    }

    /// Process of member `n`, if it runs.
    fn pid(&self, n: usize) -> Option<u32> {
        self.members[n].process.as_ref().map(Process::id)
    }

    /// Where member `n` has its log and snapshots.
    fn files(&self, n: usize) -> PathBuf {
        of_server(self.make, &self.members[n].dir)
    }

    /// Kills member `n` and removes everything that it has but its number.
    fn empty(&mut self, n: usize) -> Result<(), BenchError> {
        self.kill(n);
        let data = data_dir(&self.members[n].dir);
        let error = |source| BenchError::File { doing: "emptying", path: data.clone(), source };
        let myid = fs::read(data.join("myid")).map_err(error)?;
        fs::remove_dir_all(&data)
            .and_then(|()| fs::create_dir(&data))
            .and_then(|()| fs::write(data.join("myid"), myid))
            .map_err(error)
    }

    /// Starts member `n`, which does not run.
    pub fn restart(&mut self, n: usize) -> Result<(), BenchError> {
        let member = &mut self.members[n];
        let mut command = self.make.command(&self.launch, &member.dir, &member.settings)?;
        member.process = Some(Process::start(self.make.name(), &mut command, &member.dir)?);
        Ok(())
    }

    /// Sends a signal to member `n`.
    pub fn signal(&mut self, n: usize, signal: Signal) {
        if let Some(process) = &mut self.members[n].process {
            process.signal(signal);
        }
    }

    /// SIGKILL for member `n`; returns when it is gone.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.members[n].process.take() {
            process.kill();
        }
    }

    /// Waits until the members other than `without` make an ensemble that serves: one leads, the others follow it, are
    /// synchronised and have applied whatever the leader had at the beginning. Returns the leader.
    pub fn await_serving(&mut self, without: Option<usize>) -> Result<usize, BenchError> {
        let deadline = Instant::now() + Duration::from_secs(WHOLE_S);
        let members: Vec<usize> = (0..MEMBERS).filter(|n| Some(*n) != without).collect();
        let mut goal = None;
        let mut serving = false;
        loop {
            let standings: Vec<Option<Standing>> = members.iter().map(|n| self.standing(*n)).collect();
            if let Some(leader) = leader_of(&standings) {
                let (at, zxid) = (members[leader], standings[leader].as_ref().map_or(0, |s| s.zxid));
                let goal = *goal.get_or_insert(zxid);
                if self.synced(at) >= members.len() - 1 {
                    // Apache's followers show no zxid of a new epoch before its first transaction, such as a session's.
                    serving = serving || members.iter().all(|n| Session::probe(self.client(*n)).is_ok());
                    if serving && all_have(&standings, goal) {
                        return Ok(at);
                    }
                }
            }
            for n in &members {
                if let Some(process) = &mut self.members[*n].process {
                    process.check()?;
                }
            }
            if Instant::now() > deadline {
                return Err(BenchError::Timeout { what: self.lament(&standings), seconds: WHOLE_S });
            }
            thread::sleep(POLL);
        }
    }

    /// What the member says of itself; `None` if it does not serve.
    fn standing(&self, n: usize) -> Option<Standing> {
        ask(self.client(n), "srvr").ok().and_then(|answer| parse_srvr(&answer))
    }

    /// How many followers are synchronised, according to member `leader`.
    fn synced(&self, leader: usize) -> usize {
        let answer = ask(self.client(leader), "mntr").unwrap_or_default();
        parse_mntr(&answer, "zk_synced_followers").map_or(0, |n| n as usize)
    }

    /// How member `leader` has brought others up to date so far.
    pub fn syncs(&self, leader: usize) -> Result<Syncs, BenchError> {
        let answer = ask(self.client(leader), "mntr")?;
        let count = |key| parse_mntr(&answer, key).map_or(0, |n| n as u64);
        Ok(Syncs { diff: count("zk_diff_count"), snap: count("zk_snap_count") })
    }

    fn lament(&self, standings: &[Option<Standing>]) -> String {
        let modes: Vec<&str> =
            standings.iter().map(|s| s.as_ref().map_or("not serving", |s| s.mode.as_str())).collect();
        let mut what = format!("the ensemble of {} did not become whole ({})", self.name(), modes.join(", "));
        for (n, process) in
            self.members.iter().enumerate().filter_map(|(n, m)| Some((n, m.process.as_ref()?)))
        {
            what.push_str(&format!("\nmember {}: {}", n + 1, process.output()));
        }
        what
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        // All at once; each is waited for when it is dropped.
        for process in self.members.iter_mut().filter_map(|m| m.process.as_mut()) {
            process.terminate();
        }
    }
}

/// The only leader, if everybody else follows.
fn leader_of(standings: &[Option<Standing>]) -> Option<usize> {
    let is = |standing: &Option<Standing>, mode| standing.as_ref().is_some_and(|s| s.mode == mode);
    let leader = standings.iter().position(|s| is(s, "leader"))?;
    let others = standings.iter().enumerate().filter(|(n, _)| *n != leader);
    others.map(|(_, s)| s).all(|s| is(s, "follower")).then_some(leader)
}

/// Whether everybody has applied what the leader had when it was first seen.
fn all_have(standings: &[Option<Standing>], zxid: u64) -> bool {
    standings.iter().all(|s| s.as_ref().is_some_and(|s| s.zxid >= zxid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standings(modes: &[(&str, u64)]) -> Vec<Option<Standing>> {
        let standing = |&(mode, zxid): &(&str, u64)| Standing { mode: mode.into(), zxid };
        modes.iter().map(|m| (!m.0.is_empty()).then(|| standing(m))).collect()
    }

    #[test]
    fn an_ensemble_has_one_leader_and_nobody_without_a_part() {
        let leader = |modes: &[(&str, u64)]| leader_of(&standings(modes));
        assert_eq!(leader(&[("follower", 1), ("leader", 1), ("follower", 1)]), Some(1));
        assert_eq!(leader(&[("follower", 1), ("leader", 1)]), Some(1));
        assert_eq!(leader(&[("leader", 1), ("leader", 1), ("follower", 1)]), None);
        assert_eq!(leader(&[("leader", 1), ("", 0), ("follower", 1)]), None);
        assert_eq!(leader(&[("follower", 1), ("follower", 1), ("read-only", 1)]), None);
    }

    #[test]
    fn a_member_that_lags_is_waited_for() {
        assert!(all_have(&standings(&[("leader", 9), ("follower", 7)]), 7));
        assert!(!all_have(&standings(&[("leader", 9), ("follower", 7)]), 8));
        assert!(!all_have(&standings(&[("leader", 9), ("", 0)]), 0));
    }
}
