//! The one place that reads clocks. Everything else is told the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::Now;

/// Reads the monotonic and the wall clock, once per turn of a loop.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Monotonic time counts from now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Now {
        let mono = self.start.elapsed();
        // Before 1970 only if the clock is badly wrong; sessions do not depend on it.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now {
            mono_ms: mono.as_millis() as u64,
            mono_us: mono.as_micros() as u64,
            wall_ms: wall.as_millis() as i64,
        }
    }
}

/// How long a loop may sleep at `now_ms` when the earliest of `deadlines` must not be missed; `None` = until
/// something happens.
pub fn sleep_until(now_ms: u64, deadlines: impl IntoIterator<Item = Option<u64>>) -> Option<Duration> {
    let earliest = deadlines.into_iter().flatten().min()?;
    Some(Duration::from_millis(earliest.saturating_sub(now_ms)))
}
