//! From the file of a stream to a tree, and to a file that lacks only its header and its name.

use super::{RECEIVING, REWRITING};
use crate::id::{SessionId, Zxid};
use crate::io::{BLOCK, Volume};
use crate::log::{LogError, files};
use crate::snapshot::ahead::read_ahead;
use crate::snapshot::body::{Body, Sums};
use crate::snapshot::file::remove_working;
use crate::snapshot::format::SnapshotName;
use crate::snapshot::steps::{Step, perform};
use crate::snapshot::stream::try_write_stream;
use crate::snapshot::{Limits, Loaded, Loader, Origin, PIECE, Published, Reception};
use crate::tree::Tree;

/// A stream that was stored and is to be loaded.
#[derive(Debug)]
pub struct LoadRequest {
    pub(super) zxid: Zxid,
    pub(super) limits: Limits,
    pub(super) tree_seed: u64,
    /// Of the stream as it came.
    pub(super) sums: Sums,
    pub(super) is_canonical: bool,
}

/// A leader's state: in memory, and on the disk but for header and name.
#[derive(Debug)]
pub struct Arrived {
    /// [Converging](Tree::is_converging): a leader's stream may be ahead of its zxid in parts.
    pub tree: Tree,
    /// Sessions and their timeouts in milliseconds, in order of id.
    pub sessions: Vec<(SessionId, i32)>,
    /// The working name of the file, whose content is durable.
    file: &'static str,
    body_len: u64,
    trailer_crc: u32,
}

impl LoadRequest {
    /// Reads the file back, every piece with its checksum, and builds the tree; then makes the file one that lacks
    /// only its header: with the trailer behind a canonical body, else with the state written anew under the name
    /// [`REWRITING`]. Flushes it. `progress` is called with the bytes that were done and how many there are in all,
    /// about.
    ///
    /// Fails with [`LogError::Snapshot`] if the stream makes no sense, and with [`LogError::ReadBack`] if it is not what
    /// was stored; nothing is left behind then, or for lack of space. Blocking, for long, and with another thread that
    /// reads ahead: never called by a core loop.
    pub fn perform(self, vol: &dyn Volume, progress: &mut dyn FnMut(u64, u64)) -> Result<Arrived, LogError> {
        self.load_and_complete(vol, progress).inspect_err(|_| {
            if let Err(error) = abandon(vol) {
                tracing::warn!("what was received stays until the next start: {error}");
            }
        })
    }

    fn load_and_complete(
        self,
        vol: &dyn Volume,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Arrived, LogError> {
        let of = if self.is_canonical { self.sums.len } else { 2 * self.sums.len };
        let Loaded { mut tree, sessions } = self.load(vol, &mut |done| progress(done, of))?;
        if self.is_canonical {
            // Only a server of our kind writes so, and it sends none that is not exactly of one moment.
            tree.converged();
        }
        let (file, sums) = if self.is_canonical {
            (RECEIVING, self.sums)
        } else {
            let read = self.sums.len;
            let sums =
                write_anew(vol, &tree, &sessions, &mut |written| progress(of.min(read + written), of))?;
            remove_working(vol, RECEIVING)?;
            (REWRITING, sums)
        };
        let mut steps = Vec::new();
        let trailer_crc = sums.end_file(&mut steps);
        steps.iter().try_for_each(|step| perform(step, file, vol))?;
        Ok(Arrived { tree, sessions, file, body_len: sums.len, trailer_crc })
    }

    fn load(&self, vol: &dyn Volume, progress: &mut dyn FnMut(u64)) -> Result<Loaded, LogError> {
        let path = || vol.path(RECEIVING);
        let len = self.sums.len;
        let read = |index: usize| {
            let at = (index * PIECE) as u64;
            let (offset, len) = (BLOCK as u64 + at, (len - at).min(PIECE as u64) as usize);
            let piece = files::read(vol, RECEIVING, offset, len)?;
            match piece.len() == len && crc32c::crc32c(&piece) == self.sums.crcs[index] {
                true => Ok(piece),
                false => Err(LogError::ReadBack { path: path(), offset }),
            }
        };
        let mut loader = Loader::new(self.zxid, self.tree_seed, self.limits);
        let mut done = false;
        read_ahead(self.sums.crcs.len(), &read, &mut |piece: Vec<u8>| {
            let fed = loader.feed(&piece).map_err(|source| LogError::Snapshot { path: path(), source })?;
            done = fed.done;
            progress(loader.position());
            Ok(())
        })?;
        assert!(done && loader.position() == len, "both ways to the end of a stream are of one length");
        Ok(loader.finish())
    }
}

/// Writes the canonical stream of a state, without header and trailer.
fn write_anew(
    vol: &dyn Volume,
    tree: &Tree,
    sessions: &[(SessionId, i32)],
    progress: &mut dyn FnMut(u64),
) -> Result<Sums, LogError> {
    let mut steps = Vec::new();
    let mut body = Body::begin(REWRITING, &mut steps);
    let perform_all =
        |steps: &mut Vec<Step>| steps.drain(..).try_for_each(|step| perform(&step, REWRITING, vol));
    try_write_stream(tree, sessions, &mut |bytes| {
        body.take(bytes, &mut steps);
        progress(body.len());
        perform_all(&mut steps)
    })?;
    let sums = body.end(&mut steps);
    perform_all(&mut steps)?;
    Ok(sums)
}

impl Arrived {
    /// Takes a whole stream at once and stores it, blocking: for tests and tools.
    ///
    /// # Panics
    /// If it is not the stream of a state.
    pub fn of_stream(
        vol: &dyn Volume,
        zxid: Zxid,
        tree_seed: u64,
        stream: &[u8],
    ) -> Result<Arrived, LogError> {
        let mut reception = Reception::new(zxid, Limits::default());
        let mut steps = Vec::new();
        let fed = reception.feed(stream, &mut steps).expect("a stream");
        assert!(fed.done, "a whole stream");
        let stored = steps.iter().try_for_each(|step| perform(step, RECEIVING, vol));
        stored.inspect_err(|_| drop(abandon(vol)))?;
        reception.finish(tree_seed).perform(vol, &mut |_, _| ())
    }

    /// Stores a state as if it had been received, blocking: for tools.
    pub fn of_state(
        vol: &dyn Volume,
        tree: &Tree,
        sessions: &[(SessionId, i32)],
        tree_seed: u64,
    ) -> Result<Arrived, LogError> {
        let mut reception = Reception::new(tree.last_zxid(), Limits::MOST);
        let mut steps = Vec::new();
        let stored = try_write_stream(tree, sessions, &mut |bytes| {
            reception.feed(bytes, &mut steps).expect("the stream of a tree is one");
            steps.drain(..).try_for_each(|step| perform(&step, RECEIVING, vol))
        });
        stored.inspect_err(|_| drop(abandon(vol)))?;
        reception.finish(tree_seed).perform(vol, &mut |_, _| ())
    }

    /// Writes the header for a place in the log, durably. May be repeated.
    pub(crate) fn write_header(
        &self,
        vol: &dyn Volume,
        database: u64,
        generation: u32,
        seq: u64,
    ) -> Result<Published, LogError> {
        let mut published = Published {
            name: SnapshotName { generation, zxid: self.tree.last_zxid() },
            database,
            seq,
            body_len: self.body_len,
            digest: self.tree.digest(),
            trailer_crc: self.trailer_crc,
            converging: self.tree.is_converging(),
            crc: 0,
            origin: Origin::Received,
        };
        let mut header = vec![0; BLOCK];
        published.write(&mut header);
        perform(&Step::Write { offset: 0, bytes: header }, self.file, vol)?;
        Ok(published)
    }

    /// Gives the file its name, durably: from here on it counts, and older log is dead.
    pub(crate) fn publish(&self, vol: &dyn Volume, published: &Published) -> Result<(), LogError> {
        perform(&Step::Publish(published.file()), self.file, vol)
    }
}

/// Removes what is left of a reception that came to nothing. Nobody may still be performing its steps.
pub fn abandon(vol: &dyn Volume) -> Result<(), LogError> {
    remove_working(vol, RECEIVING)?;
    remove_working(vol, REWRITING)
}
