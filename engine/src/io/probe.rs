//! Why this machine gives us no io_uring, in one message with the remedy.
//!
//! There is no second I/O path to fall back to, so a node that cannot have a ring must say at its start what
//! the operator has to change. Called by `Ring::new` and, before any thread is started, through [`probe`].

use std::fs;
use std::io;

use super::ring::{Features, Ring};

/// Checks that a ring can be had, and says what it would come to. The ring is given up again.
pub fn probe() -> Result<Features, RingError> {
    Ring::new().map(|ring| ring.features())
}

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// `kernel.io_uring_disabled` forbids it.
    #[error(
        "this kernel forbids io_uring to this process: kernel.io_uring_disabled is {value} ({meaning}). \
         Remedy: `sysctl -w kernel.io_uring_disabled=0` as root, and a line `kernel.io_uring_disabled = 0` in \
         /etc/sysctl.d/ to keep it"
    )]
    Disabled {
        /// The setting's value, 1 or 2.
        value: u32,
        /// What the value means.
        meaning: &'static str,
    },

    /// The kernel would allow it; a seccomp profile or security module does not.
    #[error(
        "io_uring is refused to this process ({errno}) although kernel.io_uring_disabled allows it: a seccomp \
         profile (containers have one by default) or a security module blocks it. Remedy: run with a profile \
         that allows io_uring_setup, io_uring_enter and io_uring_register, for instance `--security-opt \
         seccomp=<profile>` of docker and podman, or `seccompProfile` of a Kubernetes pod"
    )]
    Filtered {
        /// The name of the error.
        errno: &'static str,
    },

    /// No such system call.
    #[error(
        "this kernel (Linux {release}) has no io_uring: it is older than 5.1 or was built without \
         CONFIG_IO_URING. Remedy: Linux 6.0 or later, 6.1 for full speed"
    )]
    Missing {
        /// The kernel's release.
        release: String,
    },

    /// io_uring is there but lacks what the node needs.
    #[error(
        "the io_uring of this kernel (Linux {release}) is too old: multishot receive is missing. Remedy: Linux \
         6.0 or later, 6.1 for full speed"
    )]
    TooOld {
        /// The kernel's release.
        release: String,
    },

    /// Not enough memory that may be locked.
    #[error(
        "no memory for even a small io_uring: the memlock limit is {limit}, shared by all processes of this \
         user. Remedy: raise it, with LimitMEMLOCK=64M in the systemd unit, `memlock` in \
         /etc/security/limits.conf, or `ulimit -l 65536` in the shell; or stop other io_uring programs of this \
         user"
    )]
    NoMemory {
        /// The soft limit as `/proc/self/limits` shows it, with its unit.
        limit: String,
    },

    /// Too many open files.
    #[error(
        "no file descriptor left for an io_uring: the limit of open files is {limit} (or the system's \
         fs.file-max is reached). Remedy: LimitNOFILE in the systemd unit or `ulimit -n`"
    )]
    NoDescriptor {
        /// The soft limit as `/proc/self/limits` shows it.
        limit: String,
    },

    /// Another error of `io_uring_setup`.
    #[error("creating an io_uring on Linux {release}: {source}")]
    Setup {
        /// The kernel's release.
        release: String,
        /// The kernel's answer.
        source: io::Error,
    },

    /// The ring is there but something could not be set up in it.
    #[error("setting up {what} of the io_uring: {source}")]
    Register {
        /// What was being set up.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What the machine says about itself, read only when a ring was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Kernel release, `uname -r`.
    pub(crate) release: String,
    /// `kernel.io_uring_disabled`; absent before Linux 6.6.
    pub(crate) disabled: Option<u32>,
    /// Whether a seccomp filter is in force.
    pub(crate) seccomp: bool,
    /// Soft limit of locked memory, for display.
    pub(crate) memlock: String,
    /// Soft limit of open files, for display.
    pub(crate) nofile: String,
}

impl Environment {
    pub(crate) fn read() -> Environment {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let limits = text("/proc/self/limits");
        let release = text("/proc/sys/kernel/osrelease").trim().to_owned();
        Environment {
            release: if release.is_empty() { "of unknown release".to_owned() } else { release },
            disabled: text("/proc/sys/kernel/io_uring_disabled").trim().parse().ok(),
            seccomp: text("/proc/self/status").lines().any(|line| line.starts_with("Seccomp:\t2")),
            memlock: limit(&limits, "Max locked memory"),
            nofile: limit(&limits, "Max open files"),
        }
    }
}

/// The soft limit `name` of a text like `/proc/self/limits`: name, soft limit, hard limit, unit.
fn limit(limits: &str, name: &str) -> String {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let mut words = line.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(soft), _, Some("bytes")) if soft != "unlimited" => format!("{soft} bytes"),
        (Some(soft), _, _) => soft.to_owned(),
        _ => "unknown".to_owned(),
    }
}

impl RingError {
    /// What an error of `io_uring_setup` means in this environment.
    pub(crate) fn from_setup(source: io::Error, environment: Environment) -> RingError {
        let Environment { release, disabled, seccomp, memlock, nofile } = environment;
        match source.raw_os_error() {
            Some(libc::EPERM) if disabled == Some(2) => {
                RingError::Disabled { value: 2, meaning: "forbidden to all processes" }
            }
            Some(libc::EPERM) if disabled == Some(1) => RingError::Disabled {
                value: 1,
                meaning: "allowed only with CAP_SYS_ADMIN or in the group kernel.io_uring_group",
            },
            Some(libc::EPERM) => RingError::Filtered { errno: "EPERM" },
            Some(libc::EACCES) => RingError::Filtered { errno: "EACCES" },
            // A kernel that has the setting has io_uring, so it is a filter that answers.
            Some(libc::ENOSYS) if seccomp || disabled.is_some() => RingError::Filtered { errno: "ENOSYS" },
            Some(libc::ENOSYS) => RingError::Missing { release },
            Some(libc::ENOMEM) => RingError::NoMemory { limit: memlock },
            Some(libc::EMFILE | libc::ENFILE) => RingError::NoDescriptor { limit: nofile },
            _ => RingError::Setup { release, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errno: i32, environment: Environment) -> String {
        RingError::from_setup(io::Error::from_raw_os_error(errno), environment).to_string()
    }

    fn machine() -> Environment {
        Environment {
            release: "6.8.0".to_owned(),
            disabled: Some(0),
            seccomp: false,
            memlock: "65536 bytes".to_owned(),
            nofile: "1024".to_owned(),
        }
    }

    #[test]
    fn a_refusal_by_the_setting_names_its_value_and_remedy() {
        for value in [1, 2] {
            let text = said(libc::EPERM, Environment { disabled: Some(value), ..machine() });
            assert!(text.contains(&format!("kernel.io_uring_disabled is {value}")), "{text}");
            assert!(text.contains("sysctl -w kernel.io_uring_disabled=0"), "{text}");
            assert!(!text.contains('\n'), "one line: {text}");
        }
    }

    #[test]
    fn a_refusal_despite_the_setting_points_to_the_container() {
        for (errno, name) in [(libc::EPERM, "EPERM"), (libc::EACCES, "EACCES"), (libc::ENOSYS, "ENOSYS")] {
            let text = said(errno, machine());
            assert!(text.contains(&format!("({name})")) && text.contains("seccomp"), "{text}");
        }
        let old = Environment { disabled: None, seccomp: true, ..machine() };
        assert!(said(libc::ENOSYS, old).contains("seccomp"));
    }

    #[test]
    fn an_old_kernel_is_named_with_what_is_needed() {
        let text = said(libc::ENOSYS, Environment { disabled: None, release: "4.19.0".into(), ..machine() });
        assert!(text.contains("Linux 4.19.0") && text.contains("6.0 or later"), "{text}");
        let text = RingError::TooOld { release: "5.15.0".into() }.to_string();
        assert!(text.contains("Linux 5.15.0") && text.contains("6.0 or later"), "{text}");
    }

    #[test]
    fn a_lack_of_memory_or_descriptors_names_the_limit_and_how_to_raise_it() {
        let text = said(libc::ENOMEM, machine());
        assert!(text.contains("65536 bytes") && text.contains("LimitMEMLOCK"), "{text}");
        let text = said(libc::EMFILE, machine());
        assert!(text.contains("1024") && text.contains("LimitNOFILE"), "{text}");
    }

    #[test]
    fn anything_else_shows_the_kernels_answer() {
        let text = said(libc::EFAULT, machine());
        assert!(text.contains("Linux 6.8.0") && text.contains("Bad address"), "{text}");
    }

    #[test]
    fn limits_are_read_with_their_unit() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 4096                 files     \n\
                    Max locked memory         8388608              8388608              bytes     \n";
        assert_eq!(limit(text, "Max locked memory"), "8388608 bytes");
        assert_eq!(limit(text, "Max open files"), "1024");
        assert_eq!(limit("", "Max open files"), "unknown");
        let unlimited = "Max locked memory         unlimited            unlimited            bytes     \n";
        assert_eq!(limit(unlimited, "Max locked memory"), "unlimited");
    }

    #[test]
    fn this_machine_is_read() {
        let here = Environment::read();
        assert!(here.release.starts_with(|c: char| c.is_ascii_digit()), "{here:?}");
        assert_ne!(here.memlock, "unknown");
    }
}
