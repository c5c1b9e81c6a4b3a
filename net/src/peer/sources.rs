//! The files whose pieces the links send: open while one is on its way, and a little longer, because another follows.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ringkeeper_engine::io::{Ring, SourceId};

/// Milliseconds after which a file that no link sends is closed. A removed file keeps its space until then.
const IDLE_MS: u64 = 3000;

/// The open files.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

#[derive(Debug)]
struct Source {
    path: Arc<Path>,
    id: SourceId,
    /// When it was last seen in use.
    used_ms: u64,
    /// It could not be read: whoever wants it next opens it anew.
    spoilt: bool,
}

impl Sources {
    /// The file, opened if it is not open yet.
    pub fn get(&mut self, path: &Arc<Path>, ring: &mut Ring, now_ms: u64) -> io::Result<SourceId> {
        if let Some(source) = self.0.iter_mut().find(|source| source.path == *path && !source.spoilt) {
            source.used_ms = now_ms;
            return Ok(source.id);
        }
        let id = ring.open_source(path)?;
        self.0.push(Source { path: Arc::clone(path), id, used_ms: now_ms, spoilt: false });
        Ok(id)
    }

    /// A file that was opened under this path could not be read.
    pub fn spoil(&mut self, path: &Path) {
        self.0.iter_mut().filter(|source| *source.path == *path).for_each(|source| source.spoilt = true);
    }

    /// Closes what nobody has used for long, and what is of no use.
    pub fn turn(&mut self, ring: &mut Ring, now_ms: u64, in_use: impl Fn(&Path) -> bool) {
        self.0.retain_mut(|source| {
            if in_use(&source.path) {
                source.used_ms = now_ms;
            }
            let keep = !source.spoilt && now_ms < source.used_ms + IDLE_MS;
            if !keep {
                ring.close_source(source.id);
            }
            keep
        });
    }

    /// When [`Sources::turn`] has something to close, in milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.0.iter().map(|source| source.used_ms + IDLE_MS).min()
    }

    /// Closes all of them; what is on its way is still sent.
    pub fn close(&mut self, ring: &mut Ring) {
        self.0.drain(..).for_each(|source| ring.close_source(source.id));
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
