//! Cursors: places in the log from which somebody reads on, at their own speed.
//!
//! The queue of a leader to each follower is one, and so is how far transactions were applied. A cursor holds no
//! memory of the log: what memory no longer has is read back from the segments (`read`). It is a zxid and two
//! hints, of where in memory and where on the disk that is. Hints are looked at again before they are believed,
//! so that a cursor never leads anywhere but behind its zxid.

use super::batches::Pos;
use super::error::LogError;
use super::index::Place;
use super::{Log, Segment};
use crate::id::Zxid;

/// A place in the log, behind one transaction. Cheap to keep; survives release of memory, and cuts of what lies
/// behind it.
///
/// One whose own transaction was cut off leads nowhere any more: [`Log::next`] finds the end, for ever, and
/// [`Log::read_on`] fails with [`LogError::CutOff`]. Its owner makes a new one.
#[derive(Clone, Debug)]
pub struct Cursor {
    after: Zxid,
    /// The generation of the log in which the cursor was last seen to be part of it.
    generation: u32,
    /// Behind `after`, if memory still has that batch.
    memory: Option<Pos>,
    /// Number of a segment and a place in it at or before `after`.
    disk: Option<(u64, Place)>,
}

impl Cursor {
    /// The transaction that it is behind.
    pub fn after(&self) -> Zxid {
        self.after
    }

    pub(super) fn moved(&mut self, after: Zxid, disk: Option<(u64, Place)>) {
        if after != self.after {
            (self.after, self.memory) = (after, None);
        }
        self.disk = disk.or(self.disk);
    }

    /// The place nearest to the cursor at which to begin reading a segment.
    pub(super) fn place_in(&self, segment: &Segment) -> Place {
        let indexed = segment.place_up_to(self.after);
        let own = self.disk.filter(|(number, _)| *number == segment.name.number).map(|(_, place)| place);
        let usable = |place: &Place| {
            place.from.zxid <= self.after && (indexed.from.seq..segment.last.seq).contains(&place.from.seq)
        };
        own.filter(usable).unwrap_or(indexed)
    }
}

/// What [`Log::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'l> {
    /// A transaction, durable or not: its zxid and its bytes, exactly what a PROPOSAL carries.
    Txn(Zxid, &'l [u8]),
    /// There is none, or none that far, for now.
    End,
    /// It is no longer in memory: [`Log::read_on`].
    OnDisk,
}

impl Log {
    /// A cursor behind transaction `after`, whether the log has that one or not: what it finds first is the first
    /// transaction with a zxid above.
    pub fn cursor(&self, after: Zxid) -> Cursor {
        Cursor { after, generation: self.generation, memory: None, disk: None }
    }

    /// The next appended transaction behind the cursor up to `upto`, durable or not, if memory holds it; the cursor is
    /// behind it then. Does not allocate.
    pub fn next<'l>(&'l self, cursor: &mut Cursor, upto: Zxid) -> Next<'l> {
        if self.is_cut_off(cursor) {
            return Next::End;
        }
        let pos = match cursor.memory.filter(|pos| self.batches.holds(*pos)) {
            Some(pos) => pos,
            None if cursor.after >= upto => return Next::End,
            None if cursor.after < self.window() => return Next::OnDisk,
            None => match self.batches.behind(cursor.after) {
                Some(pos) => pos,
                None => return Next::End,
            },
        };
        let pos = cursor.memory.insert(pos);
        match self.batches.next(pos) {
            Some((zxid, txn, behind)) if zxid <= upto => {
                (cursor.after, *pos) = (zxid, behind);
                Next::Txn(zxid, txn)
            }
            _ => Next::End,
        }
    }

    /// Transactions above this are in memory.
    pub fn window(&self) -> Zxid {
        self.batches.below()
    }

    /// Transactions up to `applied` are not needed for applying any more. Of what is durable besides, up to
    /// [`LogOptions::window_bytes`](super::LogOptions::window_bytes) stay in memory for late followers, the newest.
    pub fn release(&mut self, applied: Zxid) {
        self.batches.release(applied);
    }

    /// The smallest zxid behind which the log takes at most `bytes` on the disk, as far as that is known without
    /// reading: to the length of a batch, or 256 KiB where batches are shorter. Never one behind which there is more.
    pub fn reaches_back(&self, bytes: u64) -> Zxid {
        let Some(mut left) = bytes.checked_sub(self.batches.unsealed_bytes()) else {
            return self.appended;
        };
        let mut reached = self.sealed.zxid;
        for segment in self.segments.iter().rev() {
            match left.checked_sub(segment.index.bytes()) {
                Some(rest) => (left, reached) = (rest, segment.from.zxid),
                None => return segment.index.with_behind(left).map_or(reached, |place| place.from.zxid),
            }
        }
        reached
    }

    /// Whether the transaction that the cursor is behind was cut off. If not, the cursor is of this generation from
    /// now on.
    fn is_cut_off(&self, cursor: &mut Cursor) -> bool {
        if cursor.generation == self.generation {
            return false;
        }
        // Each remembered cut goes further than those before it: the first one the cursor has not seen goes deepest.
        let deepest = self.cuts.iter().find(|(generation, _)| *generation > cursor.generation);
        if deepest.is_some_and(|(_, to)| cursor.after > *to) {
            return true;
        }
        cursor.generation = self.generation;
        false
    }

    /// Fails if what lies behind the cursor cannot be read back.
    pub(super) fn check_readable(&self, cursor: &mut Cursor) -> Result<(), LogError> {
        let (zxid, first) = (cursor.after, self.base().zxid);
        if self.is_cut_off(cursor) {
            return Err(LogError::CutOff { zxid });
        }
        // Nothing can have been purged from a log that begins at the beginning.
        if zxid < first && first > Zxid::ZERO {
            return Err(LogError::Purged { zxid, first });
        }
        Ok(())
    }

    /// Remembers for the cursors that this generation goes on behind `to`.
    pub(super) fn note_cut(&mut self, to: Zxid) {
        self.cuts.retain(|(_, earlier)| *earlier < to);
        self.cuts.push((self.generation, to));
    }
}
