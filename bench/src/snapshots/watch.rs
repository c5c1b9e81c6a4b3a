//! Sees from outside when a server makes a snapshot: a thread that looks at its directory again and again.
//!
//! Ringkeeper has a thread for it, which reads before it writes, and gives the file its name at the end; Apache writes
//! under the final name, so its newest snapshot is being made as long as its process has it open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::files::{Entry, has_thread, is_open, list};
use crate::error::BenchError;
use crate::launch::Make;
use crate::trace::Span;

/// How often it is looked: what is shorter may be dated wrong by so much. Looking takes some microseconds.
const POLL: Duration = Duration::from_millis(5);
/// Name of ringkeeper's thread.
const THREAD: &str = "snapshot";
/// How long nothing must be seen until a server counts as being at rest.
const REST: Duration = Duration::from_millis(500);
/// How long that may take, in seconds: ten million znodes are written in minutes.
const REST_PATIENCE_S: u64 = 900;

/// A snapshot that was made, or begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// From when to when it was seen to be under way.
    pub span: Span,
    /// Length of its file; `None` if its end was not seen.
    pub bytes: Option<u64>,
}

/// One look at the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Look {
    making: bool,
    newest: Option<Entry>,
}

/// Makes of single looks what happened between them.
#[derive(Debug)]
struct Observer {
    /// When the snapshot that is under way was first seen.
    since: Option<Instant>,
    /// Of the newest snapshot that is whole.
    newest: Option<String>,
    last: Instant,
    made: Vec<Made>,
}

impl Observer {
    fn new(now: Instant, look: Look) -> Observer {
        let since = look.making.then_some(now);
        Observer { since, newest: look.newest.map(|e| e.name), last: now, made: Vec::new() }
    }

    fn look(&mut self, now: Instant, look: Look) {
        if look.making {
            self.since.get_or_insert(now);
        } else {
            let newest = look.newest.as_ref().map(|e| &e.name);
            let appeared = newest.is_some() && newest != self.newest.as_ref();
            // Begun and ended between two looks.
            let since = self.since.take().or(appeared.then_some(self.last));
            if let Some(from) = since {
                let bytes = look.newest.as_ref().filter(|_| appeared).map(|e| e.len);
                self.made.push(Made { span: Span { from, to: now }, bytes });
            }
            self.newest = look.newest.map(|e| e.name);
        }
        self.last = now;
    }

    fn finish(mut self, now: Instant) -> Vec<Made> {
        let rest = self.since.map(|from| Made { span: Span { from, to: now }, bytes: None });
        self.made.extend(rest);
        self.made
    }
}

/// The directory and the process to look at.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Whose files they are.
    pub make: Make,
    /// Where they are.
    pub files: PathBuf,
    /// The server.
    pub pid: u32,
}

impl Subject {
    /// `known` is the newest snapshot that was whole when it was last looked.
    fn look(&self, known: Option<&str>) -> Result<Look, BenchError> {
        let listing = list(&self.files)?;
        let newest = listing.newest().cloned();
        let making = match self.make {
            Make::Ringkeeper => listing.making || has_thread(self.pid, THREAD),
            Make::Apache => match &newest {
                Some(e) if Some(e.name.as_str()) != known => is_open(self.pid, &self.file(&e.name)),
                _ => false,
            },
        };
        Ok(Look { making, newest })
    }

    fn file(&self, name: &str) -> PathBuf {
        let dir: &Path = &self.files;
        std::fs::canonicalize(dir).map_or_else(|_| dir.join(name), |dir| dir.join(name))
    }

    /// Waits until no snapshot is under way.
    pub fn rest(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + Duration::from_secs(REST_PATIENCE_S);
        let mut calm_since = Instant::now();
        while calm_since.elapsed() < REST {
            if self.look(None)?.making {
                calm_since = Instant::now();
            }
            if Instant::now() > deadline {
                let what = format!("{} did not stop making snapshots", self.make.name());
                return Err(BenchError::Timeout { what, seconds: REST_PATIENCE_S });
            }
            thread::sleep(POLL * 4);
        }
        Ok(())
    }
}

/// A watch that runs.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Made>, BenchError>>,
}

impl Watch {
    /// Begins to watch.
    pub fn start(subject: Subject) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut observer = Observer::new(Instant::now(), subject.look(None)?);
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(POLL);
                let look = subject.look(observer.newest.as_deref())?;
                observer.look(Instant::now(), look);
            }
            Ok(observer.finish(Instant::now()))
        });
        Watch { stop, thread }
    }

    /// Ends it; returns what was made meanwhile.
    pub fn finish(self) -> Result<Vec<Made>, BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a watch does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(making: bool, newest: &str, len: u64) -> Look {
        Look { making, newest: (!newest.is_empty()).then(|| Entry { name: newest.into(), len }) }
    }

    /// Looks once per second; returns what was made in seconds after the beginning.
    fn seen(looks: &[Look]) -> Vec<(u64, u64, Option<u64>)> {
        let start = Instant::now();
        let at = |s: usize| start + Duration::from_secs(s as u64);
        let mut observer = Observer::new(start, looks[0].clone());
        for (s, look) in looks.iter().enumerate().skip(1) {
            observer.look(at(s), look.clone());
        }
        let s = |t: Instant| t.duration_since(start).as_secs();
        let made = observer.finish(at(looks.len()));
        made.iter().map(|m| (s(m.span.from), s(m.span.to), m.bytes)).collect()
    }

    #[test]
    fn snapshots_are_counted_once_however_they_are_written() {
        // Under a working name, then renamed.
        let ours = [
            look(false, "a", 1),
            look(true, "a", 1),
            look(true, "a", 1),
            look(false, "b", 9),
            look(false, "b", 9),
        ];
        assert_eq!(seen(&ours), [(1, 3, Some(9))]);
        // Under the name that it keeps.
        let theirs = [look(false, "", 0), look(true, "b", 1), look(true, "b", 5), look(false, "b", 9)];
        assert_eq!(seen(&theirs), [(1, 3, Some(9))]);
    }

    #[test]
    fn one_that_fell_between_two_looks_is_seen_by_its_name() {
        assert_eq!(seen(&[look(false, "a", 1), look(false, "b", 9)]), [(0, 1, Some(9))]);
        assert_eq!(seen(&[look(false, "a", 1), look(false, "a", 1)]), []);
    }

    #[test]
    fn one_that_is_not_ended_or_given_up_has_no_length() {
        assert_eq!(seen(&[look(false, "a", 1), look(true, "a", 1)]), [(1, 2, None)]);
        let given_up = [look(true, "a", 1), look(false, "a", 1), look(false, "a", 1)];
        assert_eq!(seen(&given_up), [(0, 1, None)]);
    }
}
