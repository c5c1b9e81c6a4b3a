//! What `/proc` says about a server: memory, processor time, threads. The oracles for "bounded" and "idle".

use std::time::Duration;

/// A process other than ours, seen through `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Process {
        Process { pid }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resident memory in bytes (`/proc/PID/statm`, second field, in pages).
    pub fn rss(&self) -> u64 {
        self.statm(1)
    }

    /// Private writable memory in bytes, touched or not (`/proc/PID/statm`, sixth field, in pages): what was
    /// allocated for a declared length shows here before a single byte of it arrives.
    pub fn reserved(&self) -> u64 {
        self.statm(5)
    }

    /// User plus system time spent so far by all threads, kernel workers of its rings included
    /// (`/proc/PID/stat`, fields 14 and 15, in clock ticks).
    pub fn cpu_time(&self) -> Duration {
        let text = self.read("stat");
        // The second field is the name in brackets and may itself hold spaces: count from behind it.
        let after_name = text.rsplit_once(')').expect("stat names the command").1;
        let field = |n: usize| -> u64 {
            let text = after_name.split_ascii_whitespace().nth(n - 3).expect("stat has at least 15 fields");
            text.parse().expect("times in stat are numbers")
        };
        let ticks = field(14) + field(15);
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Whether all its threads have been stopped by a signal.
    pub fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).expect("a process has tasks");
        tasks.flatten().all(|task| {
            let text = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state stands behind the name in brackets. Kernel workers of a ring are stopped with the rest.
            text.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
        })
    }

    /// Number of open file descriptors.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map(Iterator::count).unwrap_or(0)
    }

    fn statm(&self, field: usize) -> u64 {
        let text = self.read("statm");
        let pages: u64 =
            text.split(' ').nth(field).and_then(|f| f.parse().ok()).expect("statm has seven fields");
        pages * rustix::param::page_size() as u64
    }

    fn read(&self, what: &str) -> String {
        let path = format!("/proc/{}/{what}", self.pid);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("reading {path}: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Process;

    #[test]
    fn processor_time_and_memory_of_a_busy_process_grow() {
        let this = Process::new(std::process::id());
        let (before, start, rss) = (this.cpu_time(), Instant::now(), this.rss());
        let ballast = vec![1u8; 100 << 20];
        assert!(std::hint::black_box(&ballast).len() as u64 <= this.rss().saturating_sub(rss) + (20 << 20));
        while this.cpu_time() - before < Duration::from_millis(50) {
            assert!(start.elapsed() < Duration::from_secs(60), "a busy loop takes no time");
        }
    }
}
