//! What a process has used, from `/proc`, and what this one may use.
//!
//! On a shared machine the CPU time that a server spends per request is steadier than its throughput, and
//! the generator's own use shows when the generator was the limit.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Clock ticks per second in `/proc/*/stat`; fixed at 100 in the kernel's interface.
const USER_HZ: u64 = 100;

/// CPU time of all threads of a process, user and system, in microseconds (resolution 10 ms). `None` if there is
/// no such process.
pub fn cpu_us(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat)
}

/// utime + stime of a `/proc/<pid>/stat` line. The command name may contain spaces and parentheses, so counting
/// begins behind the last one.
fn parse_stat(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let ticks = |n: usize| fields.get(n)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) * (1_000_000 / USER_HZ))
}

/// Whether a child has ended, which is so before anybody waits for it: until then its CPU time can still be read.
pub fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rfind(')').and_then(|at| stat.get(at + 1..)).unwrap_or_default();
    matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X'))
}

/// Resident memory of a process in bytes.
pub fn rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The sum of a figure over processes; those that are gone count nothing. `None` if there are none to watch.
pub fn sum(pids: &[u32], figure: fn(u32) -> Option<u64>) -> Option<u64> {
    (!pids.is_empty()).then(|| pids.iter().filter_map(|pid| figure(*pid)).sum())
}

/// Asks for as many descriptors as this process may have; should they not suffice, connecting says so.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_an_awkward_name() {
        let line = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 100 200 300";
        assert_eq!(parse_stat(line), Some(2_000_000));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn the_use_of_a_child_that_has_ended_is_still_there() {
        assert!(!has_ended(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while !has_ended(child.id()) {
            std::thread::yield_now();
        }
        assert!(cpu_us(child.id()).is_some());
        assert!(child.wait().unwrap().success());
        assert!(has_ended(child.id()));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(rss_bytes(std::process::id()).unwrap() > 100_000);
        assert!(cpu_us(std::process::id()).is_some());
    }
}
