//! The processes of the members: started, watched, ended.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use ringkeeper_engine::id::Sid;
use rustix::process::{Pid, Signal, kill_process};

/// How often is looked whether those who were told to end have ended.
const LOOK: Duration = Duration::from_millis(10);

/// A second signal within this time is the same wish said twice, as by `timeout`, which tells a process and then its
/// group.
const SAME_WISH: Duration = Duration::from_secs(1);

/// All members that were started.
#[derive(Debug, Default)]
pub(super) struct Children {
    running: Vec<(Sid, Child)>,
}

impl Children {
    /// Starts a member. It has a pipe for standard input that ends when we do (see `tether`), and a process group of
    /// its own, so that a Ctrl-C at the terminal does not reach it.
    pub fn start(&mut self, id: Sid, mut command: Command) -> io::Result<()> {
        let child = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        self.running.push((id, child));
        Ok(())
    }

    /// How many have not been seen to end.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Who has ended since the last call, and how.
    pub fn newly_ended(&mut self) -> Vec<(Sid, ExitStatus)> {
        let mut ended = Vec::new();
        self.running.retain_mut(|(id, child)| match child.try_wait() {
            Ok(Some(status)) => {
                ended.push((*id, status));
                false
            }
            Ok(None) => true,
            Err(error) => unreachable!("a child of ours that nobody else waits for: {error}"),
        });
        ended
    }

    /// Ends all: SIGTERM at once, SIGKILL for those who are still there after `grace`, or when `hurry` says so later
    /// than at once.
    /// Returns those who had to be killed. None runs any more.
    pub fn end(&mut self, grace: Duration, mut hurry: impl FnMut() -> bool) -> Vec<Sid> {
        for (_, child) in &self.running {
            // Not waited for yet, so the number is still its own.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
        }
        let began = Instant::now();
        // Asked first, so that what it says early is used up.
        while began.elapsed() < grace && !(hurry() && began.elapsed() > SAME_WISH) {
            self.newly_ended();
            if self.running.is_empty() {
                return Vec::new();
            }
            thread::sleep(LOOK);
        }
        let mut killed = Vec::new();
        for (id, mut child) in self.running.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
            killed.push(id);
        }
        killed
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        os::unix::process::ExitStatusExt as _,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_that_ends_by_itself_is_noticed_once() {
        let mut children = Children::default();
        children.start(Sid(1), shell("exit 3")).unwrap();
        children.start(Sid(2), Command::new("cat")).unwrap();
        let ended = loop {
            let ended = children.newly_ended();
            if !ended.is_empty() {
                break ended;
            }
            thread::sleep(LOOK);
        };
        assert_eq!(ended, [(Sid(1), ExitStatus::from_raw(3 << 8))]);
        assert_eq!((children.newly_ended(), children.running()), (Vec::new(), 1));
        assert_eq!(children.end(LONG, || false), []);
        assert_eq!(children.running(), 0);
    }

    #[test]
    fn who_does_not_heed_sigterm_is_killed() {
        let mut children = Children::default();
        let mut deaf = shell("trap '' TERM; echo deaf; while :; do sleep 1; done");
        deaf.stdout(Stdio::piped());
        children.start(Sid(1), Command::new("cat")).unwrap();
        children.start(Sid(2), deaf).unwrap();
        let said = children.running[1].1.stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).unwrap();
        // Its trap is set; what follows depends on no time any more: it never ends by itself.
        let mut looks = 0;
        let killed = children.end(LONG, || {
            looks += 1;
            looks > 100
        });
        assert!(killed.contains(&Sid(2)), "{killed:?}");
        assert_eq!(children.running(), 0);
    }

    #[test]
    fn a_wish_that_is_said_twice_at_once_hurries_nobody() {
        let mut children = Children::default();
        let mut slow = shell("trap 'exit 0' TERM; echo slow; while :; do sleep 0.1; done");
        slow.stdout(Stdio::piped());
        children.start(Sid(1), slow).unwrap();
        let mut line = String::new();
        BufReader::new(children.running[0].1.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut said = false;
        assert_eq!(children.end(LONG, || !std::mem::replace(&mut said, true)), []);
    }

    #[test]
    fn a_child_sees_its_input_end_when_nobody_holds_the_other_end() {
        let mut children = Children::default();
        children.start(Sid(1), Command::new("cat")).unwrap();
        drop(children.running[0].1.stdin.take());
        let status = children.running[0].1.wait().unwrap();
        assert!(status.success());
    }
}
