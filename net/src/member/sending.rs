//! SNAP to a learner: the file of a snapshot, block by block, and behind it the transactions since.
//!
//! No node is decoded for it, nothing is copied, and nothing is held in memory however slowly a learner takes it. Where the
//! state to be sent is none that may be published (nothing of it is known to be committed yet), its image is made in
//! memory, off the loop, for this one learner.

use std::path::Path;
use std::sync::Arc;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::io::SendFileError;
use ringkeeper_engine::snapshot::merge::MakeError;
use ringkeeper_engine::snapshot::{Published, damaged_file, piece_checksums, write_stream};
use ringkeeper_engine::tree::Tree;

use super::links::Synchronisation;
use super::queue::Body;
use super::work::Work;
use super::{Fatal, Member};
use crate::client::Outbox;
use crate::wire::quorum::{kind, put_packet};
use crate::zab::event::{Event, Link};

/// A tree is counted with so many bytes at least: a snapshot of any tree costs the leader an image or a merge, reading
/// pieces of the log hardly, and whoever was away for a minute keeps its log. A third of it, the default, is what some
/// thousand writes in a second leave in that time, because each batch takes a block.
const SMALL: u64 = 2 << 30;

/// A medium says so where it cannot read what was written.
const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

impl Member {
    /// Before a learner is judged: what could be sent to it now.
    pub(super) fn reach(&self, ensemble: &super::Ensemble) -> Event {
        let size = self.service.stats().data_size.max(SMALL);
        let worth = (size as f64 * ensemble.snapshot_size_factor.max(0.0)) as u64;
        let cheap_from = match ensemble.snapshot_size_factor < 0.0 {
            // Java's way to say: never from disk.
            true => self.ledger.log.window(),
            false => self.ledger.log.reaches_back(worth),
        };
        let window = self.ledger.log.window();
        Event::Reach { window, cheap_from, sendable: self.sendable(ensemble.serving) }
    }

    /// Queues SNAP and the state at `upto`, which may have to be made first.
    pub(super) fn send_snapshot(&mut self, link: Link, label: Zxid, upto: Zxid) -> Result<(), Fatal> {
        let log = &self.ledger.log;
        let there = log.snapshots().iter().find(|p| p.zxid() == upto).copied();
        let request = match there {
            Some(_) => None,
            None => self.request_snapshot(upto),
        };
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        let publishable = ensemble.serving && label == upto;
        let Some(connection) = ensemble.links.get_mut(link) else { return Ok(()) };
        connection.sync = Synchronisation { snap: true, ..Default::default() };
        connection.queue.packets(|out| put_packet(out, kind::SNAP, label, None));
        connection.queue.body(upto);
        match (there, request) {
            (Some(published), _) => {
                let body = self.body_of(&published);
                self.hand_over(link, upto, body)?;
            }
            (None, _) if upto == Zxid::ZERO => {
                let mut body = Vec::new();
                write_stream(&Tree::new(self.tree_seed), &[], &mut |bytes| body.extend_from_slice(bytes));
                self.hand_over(link, upto, Some(Body::Image([Arc::new(body)].into())))?;
            }
            (None, _) if publishable => self.making.want(upto),
            (None, Some(request)) => self.making.work.push_back(Work::MakeImage { link, request }),
            (None, None) => {
                tracing::warn!(%upto, "a snapshot that was chosen cannot be made");
                return self.give_up(link);
            }
        }
        Ok(())
    }

    fn body_of(&mut self, published: &Published) -> Option<Body> {
        match piece_checksums(&*self.volume, published) {
            Ok(crcs) => {
                let path = self.volume.path(&published.file());
                Some(Body::File { path: path.into(), len: published.body_len(), crcs: crcs.into() })
            }
            Err(error) => {
                tracing::error!("a snapshot cannot be sent: {error}");
                if let Some(path) = damaged_file(&error) {
                    self.snapshot_is_damaged(path);
                }
                None
            }
        }
    }

    /// What a learner waits for is there.
    fn hand_over(&mut self, link: Link, upto: Zxid, body: Option<Body>) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        let Some(body) = body else { return self.give_up(link) };
        if let Some(connection) = ensemble.links.get_mut(link) {
            let sid = connection.learner.map_or(-1, |sid| sid.0);
            tracing::info!(sid, zxid = %upto, bytes = body.len(), "sending a snapshot");
            connection.queue.fill_body(upto, &body);
            ensemble.flows(link);
        }
        Ok(())
    }

    /// A snapshot is there: learners may be waiting for it.
    pub(super) fn snapshot_ready(&mut self, published: &Published, out: &mut impl Outbox) {
        let waiting = self.waiting_for(published.zxid());
        if waiting.is_empty() {
            return;
        }
        let body = self.body_of(published);
        for link in waiting {
            let handed_over = self.hand_over(link, published.zxid(), body.clone());
            self.note_failure(handed_over);
        }
        self.pump(out);
    }

    /// It cannot be made: those who wait for it come again.
    pub(super) fn snapshot_missing(&mut self, upto: Zxid, out: &mut impl Outbox) {
        for link in self.waiting_for(upto) {
            self.close(link, out);
        }
    }

    fn waiting_for(&self, upto: Zxid) -> Vec<Link> {
        let Some(ensemble) = &self.ensemble else { return Vec::new() };
        ensemble.links.waiting_for_body(Some(upto))
    }

    pub(super) fn image_made(
        &mut self,
        link: Link,
        result: Result<Vec<Arc<Vec<u8>>>, MakeError>,
        out: &mut impl Outbox,
    ) {
        let body = match result {
            Ok(pieces) => Some(Body::Image(pieces.into())),
            Err(error) => {
                tracing::error!("making a snapshot for a learner: {error}");
                None
            }
        };
        let waits = self.ensemble.as_ref().and_then(|e| e.links.get(link)?.queue.waits_for_body());
        if let Some(upto) = waits {
            let handed_over = self.hand_over(link, upto, body);
            self.note_failure(handed_over);
            self.pump(out);
        }
    }

    /// A snapshot is being made: whoever waits for one may go on waiting.
    pub(super) fn making_goes_on(&mut self, done: u64, of: u64) {
        self.making.status.under_way = Some((done, of));
        let Some(ensemble) = &mut self.ensemble else { return };
        for link in ensemble.links.waiting_for_body(None) {
            ensemble.flows(link);
        }
    }

    /// The file of a snapshot cannot be read while it is sent; the connection is about to be closed. Whoever asks next gets
    /// another one.
    pub fn unreadable(&mut self, link: Link, path: &Path, error: &SendFileError) {
        tracing::error!(link = link.0, "sending {}: {error}", path.display());
        let is_damaged = match error {
            SendFileError::Damaged { .. } | SendFileError::Short { .. } => true,
            SendFileError::Read { source, .. } => source.raw_os_error() == Some(EIO),
            SendFileError::Send(_) => false,
        };
        if is_damaged {
            self.snapshot_is_damaged(path);
        }
    }
}
