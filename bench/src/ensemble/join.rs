//! An empty member joins: when its snapshot begins to come, when it is stored and when the member serves.
//!
//! Seen from outside: what its directory has, what it answers and the one line of ringkeeper's log that says that a
//! snapshot comes. Of Apache's learners nothing is seen before they store it, since they take it into memory first.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Ensemble, Syncs};
use crate::error::BenchError;
use crate::launch::Make;
use crate::proc;
use crate::process::OUTPUT;
use crate::snapshots::files::{Listing, is_open, list};
use crate::snapshots::watch::{Subject, Watch};

/// How often the directory of the member is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// What ringkeeper says when a snapshot begins to come.
const RECEIVING: &str = "receiving a snapshot";
/// How often the member is asked.
const ASK: Duration = Duration::from_millis(5);
/// How long it may take to serve, in seconds.
const JOIN_S: u64 = 900;
/// How long the end of its file is waited for when it serves.
const GRACE: Duration = Duration::from_secs(5);

/// How it went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// The process was started.
    pub started: Instant,
    /// The first bytes of the snapshot had come.
    pub receiving: Option<Instant>,
    /// The last bytes of it were on the disk, though not yet under its name.
    pub written: Option<Instant>,
    /// The snapshot had its name, and how long it is.
    pub stored: Option<(Instant, u64)>,
    /// It said that it follows.
    pub serving: Instant,
    /// CPU time of the leader from the start until it served, in microseconds.
    pub leader_cpu_us: u64,
    /// Snapshots of its own state that the leader was seen to make meanwhile.
    pub leader_made: usize,
    /// What the leader counted meanwhile.
    pub syncs: Syncs,
}

impl Joined {
    /// Seconds from the start to `at`.
    pub fn after(&self, at: Instant) -> f64 {
        at.duration_since(self.started).as_secs_f64()
    }

    /// Bytes per second from the first byte to the last one on the disk.
    pub fn rate(&self) -> Option<f64> {
        let (from, to) = self.receiving.zip(self.written)?;
        let (_, bytes) = self.stored?;
        Some(bytes as f64 / to.duration_since(from).as_secs_f64().max(1e-9))
    }

    /// Seconds of the leader's CPU per GB.
    pub fn leader_s_per_gb(&self) -> Option<f64> {
        let (_, bytes) = self.stored?;
        Some(self.leader_cpu_us as f64 / 1e6 / (bytes as f64 / 1e9))
    }
}

/// What happened to the snapshot of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Arrival {
    receiving: Option<Instant>,
    /// When bytes were last seen to be added, and how many there were.
    grown: Option<(Instant, u64)>,
    stored: Option<(Instant, u64)>,
}

impl Arrival {
    /// Takes note of what is there. `open` says whether the member has the newest snapshot open.
    fn look(&mut self, now: Instant, said: bool, listing: &Listing, open: impl FnOnce(&str) -> bool) {
        if said || listing.receiving.is_some() {
            self.receiving.get_or_insert(now);
        }
        if let Some(bytes) = listing.receiving
            && self.grown.is_none_or(|(_, before)| bytes > before)
        {
            self.grown = Some((now, bytes));
        }
        if let Some(newest) = listing.newest()
            && self.stored.is_none()
            && !open(&newest.name)
        {
            self.stored = Some((now, newest.len));
        }
    }
}

/// The output of a server from some point on.
struct Output {
    path: PathBuf,
    from: usize,
    seen: u64,
}

impl Output {
    fn new(path: PathBuf) -> Output {
        let from = fs::metadata(&path).map_or(0, |m| m.len() as usize);
        Output { path, from, seen: 0 }
    }

    /// Whether it has these words. Looks only if there is more than last time.
    fn says(&mut self, words: &str) -> bool {
        let len = fs::metadata(&self.path).map_or(0, |m| m.len());
        if len == std::mem::replace(&mut self.seen, len) {
            return false;
        }
        let text = fs::read(&self.path).unwrap_or_default();
        text.get(self.from..).is_some_and(|text| String::from_utf8_lossy(text).contains(words))
    }
}

/// Starts member `n`, which is empty, and waits until it serves. Member `leader` leads.
pub(super) fn join(ensemble: &mut Ensemble, leader: usize, n: usize) -> Result<Joined, BenchError> {
    let pid = |ensemble: &Ensemble, n| ensemble.pid(n).unwrap_or(0);
    let (make, leads) = (ensemble.make, pid(ensemble, leader));
    let before = ensemble.syncs(leader)?;
    let watch = Watch::start(Subject { make, files: ensemble.files(leader), pid: leads });
    let cpu_before = proc::cpu_us(leads).unwrap_or(0);
    let output = Output::new(ensemble.members[n].dir.join(OUTPUT));
    let started = Instant::now();
    ensemble.restart(n)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, files, learner) = (stop.clone(), ensemble.files(n), pid(ensemble, n));
    let looking = thread::spawn(move || arrival(make, &files, output, learner, &stopped));
    let serving = await_following(ensemble, n);
    let leader_cpu_us = proc::cpu_us(leads).unwrap_or(0).saturating_sub(cpu_before);
    let deadline = Instant::now() + GRACE;
    while serving.is_ok() && !looking.is_finished() && Instant::now() < deadline {
        thread::sleep(LOOK);
    }
    stop.store(true, Ordering::Relaxed);
    let arrival = looking.join().expect("nobody panics who looks at a directory")?;
    let leader_made = watch.finish()?.len();
    let serving = serving?;
    let syncs = ensemble.syncs(leader)?.since(before);
    let Arrival { receiving, grown, stored } = arrival;
    let written = grown.map(|(at, _)| at);
    Ok(Joined { started, receiving, written, stored, serving, leader_cpu_us, leader_made, syncs })
}

/// Looks until the snapshot is stored, or it is told to stop.
fn arrival(
    make: Make,
    files: &Path,
    mut output: Output,
    pid: u32,
    stop: &AtomicBool,
) -> Result<Arrival, BenchError> {
    let mut arrival = Arrival::default();
    while arrival.stored.is_none() && !stop.load(Ordering::Relaxed) {
        // Ringkeeper gives the name when all is written; it may then have the file open to read it.
        let open = |name: &str| make == Make::Apache && is_open(pid, &files.join(name));
        let said = arrival.receiving.is_none() && output.says(RECEIVING);
        arrival.look(Instant::now(), said, &list(files)?, open);
        thread::sleep(LOOK);
    }
    Ok(arrival)
}

fn await_following(ensemble: &mut Ensemble, n: usize) -> Result<Instant, BenchError> {
    let deadline = Instant::now() + Duration::from_secs(JOIN_S);
    loop {
        let standing = ensemble.standing(n);
        if standing.as_ref().is_some_and(|s| s.mode == "follower" || s.mode == "observer") {
            return Ok(Instant::now());
        }
        if let Some(process) = &mut ensemble.members[n].process {
            process.check()?;
        }
        if Instant::now() > deadline {
            let what = ensemble.lament(&[standing]);
            return Err(BenchError::Timeout { what, seconds: JOIN_S });
        }
        thread::sleep(ASK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshots::files::Entry;

    #[test]
    fn a_snapshot_has_arrived_when_it_has_its_name_and_is_closed() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut arrival = Arrival::default();
        let coming = |bytes| Listing { receiving: Some(bytes), ..Listing::default() };
        let none = |_: &str| -> bool { panic!("there is none") };
        arrival.look(at(0), false, &Listing::default(), none);
        assert_eq!(arrival, Arrival::default());
        arrival.look(at(1), true, &Listing::default(), none);
        for (s, bytes) in [(2, 4096), (3, 9000), (4, 9000)] {
            arrival.look(at(s), false, &coming(bytes), none);
        }
        assert_eq!((arrival.receiving, arrival.grown), (Some(at(1)), Some((at(3), 9000))));
        let named =
            |len| Listing { snapshots: vec![Entry { name: "snapshot.5".into(), len }], ..Listing::default() };
        arrival.look(at(5), false, &named(10), |name| name == "snapshot.5");
        assert_eq!(arrival.stored, None);
        arrival.look(at(6), false, &named(20), |_| false);
        arrival.look(at(7), false, &named(30), |_| false);
        assert_eq!(arrival.stored, Some((at(6), 20)));
    }

    #[test]
    fn only_what_is_said_from_now_on_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "receiving a snapshot\n").unwrap();
        let mut output = Output::new(file.path().into());
        assert!(!output.says(RECEIVING));
        fs::write(file.path(), "receiving a snapshot\nreceiving a snapshot\n").unwrap();
        assert!(output.says(RECEIVING));
        assert!(!output.says(RECEIVING), "nothing was added");
    }

    #[test]
    fn rates_count_from_the_first_byte_and_cpu_by_the_gigabyte() {
        let started = Instant::now();
        let at = |ms| started + Duration::from_millis(ms);
        let joined = Joined {
            started,
            receiving: Some(at(500)),
            written: Some(at(700)),
            stored: Some((at(900), 200_000_000)),
            serving: at(1500),
            leader_cpu_us: 50_000,
            leader_made: 0,
            syncs: Syncs::default(),
        };
        assert!((joined.rate().unwrap() - 1e9).abs() < 1.0);
        assert!((joined.leader_s_per_gb().unwrap() - 0.25).abs() < 1e-9);
        assert!((joined.after(joined.serving) - 1.5).abs() < 1e-9);
        assert_eq!(Joined { receiving: None, ..joined }.rate(), None);
    }
}
