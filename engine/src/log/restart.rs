//! Going on behind a snapshot that was received: the state of a leader takes the place of everything older.
//!
//! Like a cut it edits nothing. The snapshot is written and flushed under a working name; the moment that counts is
//! the flush of the directory behind its renaming: before it the old log is alive and nothing has happened, from it
//! on log of lower generations is dead. Then the first segment of the new generation is opened, by us or by the next
//! start, and the mark follows before anybody is told. Dead files are left to the housekeeper.

use super::Log;
use super::durable::Durable;
use super::error::LogError;
use super::name::SegmentName;
use super::stock::Free;
use crate::id::{SessionId, Zxid};
use crate::io::Volume;
use crate::snapshot::Origin;
use crate::snapshot::file::{self, Place};
use crate::tree::Tree;

impl Log {
    /// Puts this state in the place of everything that the log and older snapshots say, durably: the log goes on
    /// behind the tree's last transaction, which may be below what the log had. What is in memory is forgotten.
    ///
    /// Interrupted at any point it is either not begun or complete. Fails with [`LogError::Busy`] while writes are in
    /// flight or waiting. If there is no space for the snapshot or for a segment, nothing has changed; after the
    /// failure of anything later the log is [poisoned](LogError::Poisoned). Blocking.
    pub fn restart_behind(
        &mut self,
        vol: &dyn Volume,
        tree: &Tree,
        sessions: &[(SessionId, i32)],
    ) -> Result<Durable<Zxid>, LogError> {
        self.alive()?;
        if !self.is_idle() {
            return Err(LogError::Busy { doing: "going on behind a snapshot" });
        }
        let generation = self.generation;
        let generation = generation.checked_add(1).ok_or(LogError::NoGeneration { generation })?;
        let name = self.stock.take_blocking(vol)?;
        let (database, seq, origin) = (self.database, self.durable.seq, Origin::Received);
        let place = Place { database, generation, seq, origin };
        let written = file::write(vol, place, tree, sessions).inspect_err(|_| {
            self.stock.add_free(Free { file: name.to_string(), len: self.options.segment_bytes });
            if let Err(error) = file::remove_unfinished(vol) {
                tracing::warn!("half a snapshot stays until the next start: {error}");
            }
        })?;
        file::publish(vol, &written).map_err(|error| self.fail(error))?;
        for old in std::mem::replace(&mut self.snapshots, vec![written]) {
            self.stock.add_free(Free { file: old.file(), len: 0 });
        }
        self.begin_behind_snapshot(vol, Some(name))?;
        Ok(Durable::mint(self.durable.zxid))
    }

    /// Opens the first segment behind the snapshot, in its generation. All other log is dead.
    pub(super) fn begin_behind_snapshot(
        &mut self,
        vol: &dyn Volume,
        name: Option<SegmentName>,
    ) -> Result<(), LogError> {
        let snapshot = *self.snapshots.last().expect("the caller has published it");
        let name = match name {
            Some(name) => name,
            None => self.stock.take_blocking(vol)?,
        };
        let end = snapshot.point();
        self.purged = end;
        for segment in self.purging.take().into_iter().flat_map(|p| p.segments) {
            self.stock.add_free(segment.into());
        }
        self.begin_generation(vol, name, snapshot.name.generation, 0, end)
    }
}
