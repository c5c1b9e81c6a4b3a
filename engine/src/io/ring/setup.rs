//! Creating the kernel's side of a ring: the best mode this kernel offers, and what it came to.

use std::fmt;
use std::thread;
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode};

use crate::io::probe::{Environment, RingError};

/// How often, and how long each time, memory is waited for before a smaller ring is tried.
const ENOMEM_PAUSES: u32 = 10;
const ENOMEM_PAUSE: Duration = Duration::from_millis(20);

/// Sizes and limits of a [`Ring`](super::Ring). The defaults suit a core loop.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// Submission queue entries, a power of two. More may be queued in a turn; they cost extra system calls.
    pub submission_entries: u32,
    /// Completion queue entries, a power of two. More completions are kept by the kernel, at a cost.
    pub completion_entries: u32,
    /// Receive buffers, a power of two up to 32768; 0 for a ring that never receives.
    pub receive_buffers: u16,
    /// Bytes of one receive buffer, and so the most that one `Completion::Received` carries.
    pub receive_buffer_len: usize,
    /// Most bytes of write buffers to register. They count against RLIMIT_MEMLOCK, 8 MiB for all processes
    /// of an ordinary user together; what goes beyond works unregistered.
    pub registered_bytes: usize,
    /// Tests walk the fallbacks: modes before this one are not tried.
    pub(crate) first_mode: Mode,
    /// Tests walk the fallbacks: whether to try a provided buffer ring.
    pub(crate) buffer_ring: bool,
    /// Tests walk the fallbacks: whether to try a table of registered files.
    pub(crate) file_table: bool,
    /// Tests walk the fallbacks: whether to send pieces of files without copying them.
    pub(crate) zero_copy: bool,
}

impl Default for RingOptions {
    fn default() -> RingOptions {
        RingOptions {
            submission_entries: 1024,
            completion_entries: 8192,
            receive_buffers: 512,
            receive_buffer_len: 8192,
            registered_bytes: 768 << 10,
            first_mode: Mode::DeferTaskrun,
            buffer_ring: true,
            file_table: true,
            zero_copy: true,
        }
    }
}

/// How the kernel runs completions, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// One issuing thread, completions made only when it asks (Linux 6.1).
    DeferTaskrun,
    /// Completions made at the next transition into the kernel, without an interrupt (Linux 5.19).
    CoopTaskrun,
    /// As the kernel likes.
    Plain,
}

/// What a ring came to on this kernel. Printed on the start line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    pub(super) mode: Mode,
    pub(super) submission_entries: u32,
    pub(super) completion_entries: u32,
    pub(super) receive_buffers: u16,
    pub(super) receive_buffer_len: usize,
    pub(super) buffer_ring: bool,
    pub(super) file_table: bool,
    pub(super) registered_bytes: usize,
    pub(super) all_registered: bool,
    pub(super) zero_copy: bool,
}

impl Features {
    /// Whether the ring runs in its best mode, SINGLE_ISSUER with DEFER_TASKRUN.
    pub fn defers_taskrun(&self) -> bool {
        self.mode == Mode::DeferTaskrun
    }

    /// Whether receive buffers are a provided buffer ring.
    pub fn has_buffer_ring(&self) -> bool {
        self.buffer_ring
    }

    /// Whether log files are written through the table of registered files.
    pub fn has_file_table(&self) -> bool {
        self.file_table
    }

    /// Bytes of write buffers that are registered with the kernel.
    pub fn registered_bytes(&self) -> usize {
        self.registered_bytes
    }

    /// Whether no write buffer had to go unregistered, because of the limit or because the kernel refused.
    pub fn all_registered(&self) -> bool {
        self.all_registered
    }

    /// Whether pieces of files are sent without being copied (SEND_ZC) where the route allows it and memory for them
    /// can be registered.
    pub fn sends_zero_copy(&self) -> bool {
        self.zero_copy
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::DeferTaskrun => "single issuer, deferred task work",
            Mode::CoopTaskrun => "cooperative task work",
            Mode::Plain => "plain task work",
        };
        write!(f, "io_uring: {mode}, queues {}/{}", self.submission_entries, self.completion_entries)?;
        if self.receive_buffers > 0 {
            let kind = if self.buffer_ring { "ring" } else { "list" };
            let kib = self.receive_buffer_len >> 10;
            write!(f, ", receive buffers {} x {kib} KiB ({kind})", self.receive_buffers)?;
        }
        write!(f, ", registered files: {}", if self.file_table { "yes" } else { "no" })?;
        write!(f, ", write buffers registered {} KiB", self.registered_bytes >> 10)?;
        if !self.all_registered {
            write!(f, " and others unregistered")?;
        }
        write!(f, ", zero-copy sends: {}", if self.zero_copy { "yes" } else { "no" })
    }
}

/// Makes a ring in the best mode that the kernel accepts, smaller if memory is short.
pub(super) fn create(options: &RingOptions) -> Result<(IoUring, Mode), RingError> {
    let (mut mode, mut pauses) = (options.first_mode, 0);
    let (mut submissions, mut completions) = (options.submission_entries, options.completion_entries);
    loop {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(completions).setup_clamp().setup_submit_all().dontfork();
        match mode {
            Mode::DeferTaskrun => builder.setup_single_issuer().setup_defer_taskrun(),
            Mode::CoopTaskrun => builder.setup_coop_taskrun(),
            Mode::Plain => &mut builder,
        };
        match builder.build(submissions) {
            Ok(ring) => {
                check_kernel(&ring)?;
                return Ok((ring, mode));
            }
            Err(error) => match (error.raw_os_error(), mode) {
                (Some(libc::EINVAL), Mode::DeferTaskrun) => mode = Mode::CoopTaskrun,
                (Some(libc::EINVAL), Mode::CoopTaskrun) => mode = Mode::Plain,
                // The kernel gives the memory of a closed ring back a little later than the call returns,
                // so that a node started anew may meet what its predecessor held.
                (Some(libc::ENOMEM), _) if pauses < ENOMEM_PAUSES => {
                    pauses += 1;
                    thread::sleep(ENOMEM_PAUSE);
                }
                (Some(libc::ENOMEM), _) if submissions > 64 => {
                    submissions /= 2;
                    completions /= 2;
                }
                _ => return Err(RingError::from_setup(error, Environment::read())),
            },
        }
    }
}

/// Multishot receive is of Linux 6.0, like SEND_ZC, which can be asked about.
fn check_kernel(ring: &IoUring) -> Result<(), RingError> {
    let mut probe = Probe::new();
    if let Err(source) = ring.submitter().register_probe(&mut probe) {
        return Err(RingError::Register { what: "the probe of supported operations", source });
    }
    let nodrop = ring.params().is_feature_nodrop() && ring.params().is_feature_ext_arg();
    if !nodrop || !probe.is_supported(opcode::SendZc::CODE) {
        return Err(RingError::TooOld { release: Environment::read().release });
    }
    Ok(())
}
