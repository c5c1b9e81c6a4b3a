//! How a learner was brought up to date, read from the logs of both sides.
//!
//! A member that catches up the wrong way ends in the same state, only later or at a higher price, so the tree
//! cannot tell. Our members log one line on each side (`synchronising sid=.. method=.. source=..` at the leader,
//! `synchronised by method=..` at the learner); of Apache's we read the lines that it has always logged.

use std::path::PathBuf;

use crate::cluster::{Cluster, Sid};
use crate::node::Server;

/// What the leader chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Only what is missing.
    Diff,
    /// Only a cut.
    Trunc,
    /// A cut, then what is missing.
    TruncDiff,
    /// The whole state.
    Snap,
}

/// Where it took the transactions of a [`Method::Diff`] from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There were none, or the log does not say.
    Unsaid,
    /// Recent ones, kept in memory.
    Memory,
    /// Read back from the log.
    Disk,
}

/// One synchronisation as the leader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the types say it")]
pub struct Sync {
    pub method: Method,
    pub source: Source,
}

/// A place in the logs of all members.
#[derive(Debug)]
pub struct Mark(Vec<(PathBuf, u64)>);

impl Cluster {
    /// The end of all logs now.
    pub fn mark(&self) -> Mark {
        let end = |file: PathBuf| {
            let len = std::fs::metadata(&file).map_or(0, |m| m.len());
            (file, len)
        };
        Mark(self.members.iter().map(|m| end(m.log_file())).collect())
    }

    /// What a member has logged since, by its kind of now.
    pub fn logged_since(&self, mark: &Mark, sid: Sid) -> String {
        let member = self.member(sid);
        let file = member.log_file();
        let behind = mark.0.iter().find(|(path, _)| *path == file).map_or(0, |(_, len)| *len);
        member.log_behind(&file, behind)
    }

    /// The first synchronisation of this learner by this leader since the mark: the one that was chosen for what the
    /// learner had when it came. (Apache 3.8.0 may break off under load and come again with more.) Fails if there was
    /// none, or if the learner knows nothing of it.
    pub fn sync_since(&self, mark: &Mark, leader: Sid, learner: Sid) -> Sync {
        let (told_by, told) = (self.member(leader).kind, self.logged_since(mark, leader));
        let given = match told_by {
            Server::Apache => given_by_apache(&told, learner),
            Server::Ringkeeper | Server::Fronts => given_by_ours(&told, learner),
        };
        let given = given
            .unwrap_or_else(|| panic!("leader {leader} tells of no synchronisation of {learner}:\n{told}"));
        let told = self.logged_since(mark, learner);
        let taken = match self.member(learner).kind {
            Server::Apache => taken_by_apache(&told),
            Server::Ringkeeper | Server::Fronts => taken_by_ours(&told),
        };
        // What follows a cut is no part of the learner's word for it.
        let cut = |m| if m == Method::TruncDiff { Method::Trunc } else { m };
        let agrees = taken.iter().any(|taken| cut(*taken) == cut(given.method));
        assert!(agrees, "leader {leader} tells of {given:?}, learner {learner} of {taken:?}");
        given
    }
}

fn method(word: &str) -> Option<Method> {
    match word {
        "diff" => Some(Method::Diff),
        "trunc" => Some(Method::Trunc),
        "trunc+diff" => Some(Method::TruncDiff),
        "snap" => Some(Method::Snap),
        _ => None,
    }
}

/// The value of `key=value`, with or without quotation marks.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut words = line.split_ascii_whitespace();
    let found = words.find_map(|w| w.strip_prefix(key)?.strip_prefix('='))?;
    Some(found.trim_matches('"'))
}

fn given_by_ours(log: &str, learner: Sid) -> Option<Sync> {
    let sid = learner.to_string();
    let about = |l: &&str| l.contains("synchronising") && value(l, "sid") == Some(&sid);
    let line = log.lines().find(about)?;
    let source = match value(line, "source") {
        Some("memory") => Source::Memory,
        Some("disk") => Source::Disk,
        _ => Source::Unsaid,
    };
    Some(Sync { method: method(value(line, "method")?)?, source })
}

fn taken_by_ours(log: &str) -> Vec<Method> {
    let lines = log.lines().filter(|l| l.contains("synchronised by"));
    lines.filter_map(|l| method(value(l, "method")?)).collect()
}

/// The lines of one connection of a learner carry the name of one thread.
fn given_by_apache(log: &str, learner: Sid) -> Option<Sync> {
    let begin = format!("Synchronizing with Learner sid: {learner} ");
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().position(|l| l.contains(&begin))?;
    let thread = thread_of(lines[at])?;
    let mut source = Source::Unsaid;
    for line in lines[at..].iter().filter(|l| thread_of(l) == Some(thread)) {
        let found = match () {
            () if line.contains("Using committedLog for peer sid") => {
                source = Source::Memory;
                continue;
            }
            () if line.contains("Use txnlog and committedLog for peer sid") => {
                source = Source::Disk;
                continue;
            }
            () if line.contains("Sending DIFF zxid=") => Method::Diff,
            () if line.contains("Sending TRUNC to follower zxidToSend=") => Method::Trunc,
            () if line.contains("Sending TRUNC zxid=") => Method::TruncDiff,
            () if line.contains("Sending snapshot last zxid of peer") => Method::Snap,
            () => continue,
        };
        // A method that turns out to be of no use is followed by the snapshot.
        let snap = lines[at..].iter().any(|l| thread_of(l) == Some(thread) && l.contains("Sending snapshot"));
        let method = if snap { Method::Snap } else { found };
        return Some(Sync { method, source });
    }
    None
}

fn thread_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("[LearnerHandler-")?;
    Some(rest.split_once(":LearnerHandler]")?.0)
}

fn taken_by_apache(log: &str) -> Vec<Method> {
    let told = |line: &str| match () {
        () if line.contains("Getting a diff from the leader") => Some(Method::Diff),
        () if line.contains("Getting a snapshot from leader") => Some(Method::Snap),
        () if line.contains("Truncating log to get in sync with the leader") => Some(Method::Trunc),
        () => None,
    };
    log.lines().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const APACHE: &str = "\
2026 INFO  [LearnerHandler-/127.0.0.1:1:LearnerHandler] Synchronizing with Learner sid: 1 maxCommittedLog=0x0
2026 INFO  [LearnerHandler-/127.0.0.1:2:LearnerHandler] Synchronizing with Learner sid: 2 maxCommittedLog=0x0
2026 INFO  [LearnerHandler-/127.0.0.1:2:LearnerHandler] Use txnlog and committedLog for peer sid: 2
2026 INFO  [LearnerHandler-/127.0.0.1:1:LearnerHandler] Using committedLog for peer sid: 1
2026 INFO  [LearnerHandler-/127.0.0.1:2:LearnerHandler] Sending DIFF zxid=0x100000003  for peer sid: 2
2026 INFO  [LearnerHandler-/127.0.0.1:1:LearnerHandler] Sending snapshot last zxid of peer is 0x0, zxid of leader
";

    #[test]
    fn lines_of_apache_are_told_apart_by_their_thread() {
        let snap = Sync { method: Method::Snap, source: Source::Memory };
        assert_eq!(given_by_apache(APACHE, 1), Some(snap));
        let diff = Sync { method: Method::Diff, source: Source::Disk };
        assert_eq!(given_by_apache(APACHE, 2), Some(diff));
        assert_eq!(given_by_apache(APACHE, 3), None);
    }

    #[test]
    fn first_line_of_ours_about_the_learner_is_read() {
        let log = "INFO zab: synchronising sid=11 method=\"diff\" source=disk\n\
                   INFO zab: synchronising sid=1 method=\"trunc+diff\" source=memory\n\
                   INFO zab: synchronising sid=1 method=snap source=memory\n\
                   INFO zab: synchronised by method=snap\n";
        let first = Sync { method: Method::TruncDiff, source: Source::Memory };
        assert_eq!(given_by_ours(log, 1), Some(first));
        assert_eq!(given_by_ours(log, 11).map(|s| s.source), Some(Source::Disk));
        assert_eq!(taken_by_ours(log), [Method::Snap]);
        assert_eq!(given_by_ours(log, 2), None);
    }
}
