//! What `envi` and two gauges of `mntr` tell about the process and its machine. Reads `/proc`: microseconds, and
//! only when somebody asks.

use std::{env, fs, path::PathBuf};

use rustix::process::{Resource, getrlimit};

/// The machine and the process, as far as `envi` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Name of the host.
    pub host_name: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Who runs the process, its home and its working directory; empty where unknown.
    pub user: [String; 3],
    /// Bytes of memory: available to the machine, in the machine, used by this process.
    pub memory: [u64; 3],
}

impl Environment {
    /// Looks around. What cannot be read stays empty or 0.
    pub fn gather() -> Environment {
        let system = rustix::system::uname();
        let path_text = |path: Option<PathBuf>| path.map(|p| p.display().to_string()).unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Environment {
            host_name: system.nodename().to_string_lossy().into_owned(),
            kernel: system.release().to_string_lossy().into_owned(),
            user: [
                env::var("USER").or_else(|_| env::var("LOGNAME")).unwrap_or_default(),
                path_text(env::home_dir()),
                path_text(env::current_dir().ok()),
            ],
            memory: [
                kib_field(&meminfo, "MemAvailable:"),
                kib_field(&meminfo, "MemTotal:"),
                kib_field(&status, "VmRSS:"),
            ],
        }
    }
}

/// Bytes of a `/proc` line such as `MemTotal:       8127180 kB`.
fn kib_field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// Open file descriptors of this process and how many it may have; -1 where unknown.
pub fn file_descriptors() -> (i64, i64) {
    // The directory handle that counts is one of them, and gone afterwards.
    let open = fs::read_dir("/proc/self/fd").map_or(-1, |entries| entries.count() as i64 - 1);
    let most = getrlimit(Resource::Nofile).current.and_then(|most| i64::try_from(most).ok());
    (open, most.unwrap_or(-1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_seen() {
        let here = Environment::gather();
        assert!(!here.host_name.is_empty() && !here.kernel.is_empty());
        assert!(here.memory.iter().all(|&bytes| bytes > 0), "{here:?}");
        let (open, most) = file_descriptors();
        assert!(open >= 3 && most >= open, "{open} of {most}");
    }

    #[test]
    fn a_missing_field_is_zero() {
        assert_eq!(kib_field("MemTotal:  12 kB\nMemFree: x kB\n", "MemTotal:"), 12 * 1024);
        assert_eq!(kib_field("MemTotal:  12 kB\nMemFree: x kB\n", "MemFree:"), 0);
        assert_eq!(kib_field("", "MemFree:"), 0);
    }
}
