//! Waits until an ensemble serves.

use std::{
    fmt,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{EnsembleError, children::Children, plan::Plan, status};
use crate::admin::Mode;

/// How often the members are asked.
const ROUND: Duration = Duration::from_millis(50);
/// How long one of them may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long those are waited for that do not follow at once.
const LATECOMERS: Duration = Duration::from_secs(5);
/// After this long without a leader it is said that there is none yet, and again.
const IMPATIENCE: Duration = Duration::from_secs(10);

/// What a member was when there was a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(pub Option<Mode>);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_or("not yet", Mode::name))
    }
}

/// Waits until one member leads and the others serve too, or have had some time for it. `None`: told to end before.
///
/// # Errors
/// When a member ends by itself before there is a leader.
pub(super) fn wait_for_leader(
    plan: &Plan,
    children: &mut Children,
    mut told_to_end: impl FnMut() -> bool,
) -> Result<Option<Vec<Seen>>, EnsembleError> {
    let mut last_word = Instant::now();
    let mut led_since = None;
    loop {
        if told_to_end() {
            return Ok(None);
        }
        if let Some((id, status)) = children.newly_ended().into_iter().next() {
            let node = plan.nodes.iter().find(|node| node.id == id).expect("a member of the plan");
            let log = node.log();
            let last_words = last_line(&log);
            return Err(EnsembleError::EndedEarly { id, status, log, last_words });
        }
        let ask = |node: &super::Node| Seen(status::ask(node.client, PATIENCE).unwrap_or(None));
        let seen: Vec<Seen> = plan.nodes.iter().map(ask).collect();
        let now = Instant::now();
        if seen.contains(&Seen(Some(Mode::Leader))) {
            let since = *led_since.get_or_insert(now);
            if !seen.contains(&Seen(None)) || now - since > LATECOMERS {
                return Ok(Some(seen));
            }
        } else if now - last_word > IMPATIENCE {
            last_word = now;
            let log = plan.nodes.first().map(|node| node.log().display().to_string());
            tracing::warn!("no leader yet; the logs may say why, such as {}", log.unwrap_or_default());
        }
        thread::sleep(ROUND);
    }
}

/// The last line with anything in it, of the last few KiB.
fn last_line(path: &Path) -> String {
    const TAIL: u64 = 4096;
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.take(TAIL).read_to_end(&mut tail).map(|_| tail)
    };
    let tail = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&tail);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_log_are_its_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(last_line(&log), "nothing");
        std::fs::write(&log, format!("{}\nport in use\n\n", "x".repeat(10_000))).unwrap();
        assert_eq!(last_line(&log), "port in use");
    }
}
