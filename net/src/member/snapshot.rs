//! SNAP in its first form, both ways, and what has to wait for the log to be at rest.
//!
//! A leader makes the stream from its tree in one go, and in memory; a learner stores the stream as it arrives, loads it
//! when it is complete, and only then goes on. Both keep the loop busy for as long as the tree is large. A cut or a snapshot that replaces everything needs a log with nothing in flight: until it has, nothing more
//! is read from the leader.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::mutant::{Mutant, planted};
use ringkeeper_engine::snapshot::receive::{RECEIVING, abandon};
use ringkeeper_engine::snapshot::{self, Arrived, Limits, Reception, steps};
use ringkeeper_engine::store;

use super::links::Synchronisation;
use super::{Fatal, Member};
use crate::client::Outbox;
use crate::wire::quorum::{Decoder, kind, put_packet};
use crate::zab::event::{Event, Link};

/// Bytes of a snapshot that are queued as one piece.
const PIECE: usize = 1 << 20;
/// A tree is counted with so many bytes at least: making a snapshot of any tree keeps the leader's loop busy, reading
/// pieces of the log hardly, and whoever was away for a minute keeps its log. A third of it, the default, is what some
/// thousand writes in a second leave in that time, because each batch takes a block.
const SMALL: u64 = 2 << 30;

/// Something that blocks the connection to the leader.
#[derive(Debug)]
pub(super) enum Job {
    /// Cut the log behind this.
    Truncate(Zxid),
    /// Take a snapshot from the connection.
    Receive { link: Link, reception: Box<Reception> },
    /// Put what was received in place of everything.
    Replace(Box<Arrived>),
}

impl Job {
    /// Whether bytes of the leader are wanted meanwhile.
    pub fn reads(&self) -> bool {
        matches!(self, Job::Receive { .. })
    }
}

impl Member {
    pub(super) fn receive_job(&self, link: Link, zxid: Zxid) -> Job {
        tracing::info!(%zxid, "receiving a snapshot");
        Job::Receive { link, reception: Box::new(Reception::new(zxid, Limits::default())) }
    }

    pub(super) fn begin_job(&mut self, job: Job) -> Result<(), Fatal> {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.job = Some(job);
        }
        self.work()
    }

    /// Feeds what has arrived to the snapshot that is being received. True if packets can be read again.
    pub(super) fn feed_snapshot(&mut self, link: Link, decoder: &mut Decoder, out: &mut impl Outbox) -> bool {
        if !self.receives(link) {
            return false;
        }
        let Some(ensemble) = &mut self.ensemble else { return false };
        let Some(Job::Receive { reception, .. }) = &mut ensemble.job else { return false };
        let mut stored = Vec::new();
        let fed = match reception.feed(decoder.raw(), &mut stored) {
            Ok(fed) => fed,
            Err(error) => {
                tracing::warn!(link = link.0, "the snapshot of the leader is no good: {error}");
                self.close(link, out);
                return false;
            }
        };
        let volume = &*self.volume;
        let mut result = stored.iter().try_for_each(|step| steps::perform(step, RECEIVING, volume));
        decoder.consume(fed.used);
        ensemble.flows(link);
        if fed.done
            && result.is_ok()
            && let Some(Job::Receive { reception, .. }) = ensemble.job.take()
        {
            let loaded = reception.finish(self.tree_seed).perform(volume, &mut |_, _| ());
            result = loaded.map(|arrived| ensemble.job = Some(Job::Replace(Box::new(arrived))));
        }
        if let Err(error) = result.inspect_err(|_| drop(abandon(volume))) {
            tracing::error!(link = link.0, "the snapshot of the leader cannot be taken: {error}");
            if !fed.done {
                self.close(link, out);
                return false;
            }
            ensemble.job = None;
            ensemble.events.push_back(Event::SnapshotAbandoned);
        }
        if !fed.done {
            return false;
        }
        let worked = self.work();
        self.note_failure(worked);
        self.pump(out);
        self.ensemble.as_ref().is_some_and(|e| e.job.is_none())
    }

    /// Does what was waiting for the log, if the log is at rest, and goes on reading.
    pub(super) fn try_job(&mut self, out: &mut impl Outbox) {
        let waits = |e: &&mut Box<super::Ensemble>| e.job.as_ref().is_some_and(|job| !job.reads());
        if self.ensemble.as_mut().filter(waits).is_none() {
            return;
        }
        let worked = self.work();
        self.note_failure(worked);
        self.pump(out);
        let resumed = self.ensemble.as_ref().filter(|e| e.job.is_none()).and_then(|e| e.up);
        if let Some(up) = resumed {
            self.resume(up, out);
        }
    }

    /// What came of it is told to the core by whoever drains the events.
    fn work(&mut self) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        if !self.ledger.log.is_idle() || ensemble.job.as_ref().is_none_or(Job::reads) {
            return Ok(());
        }
        let event = match ensemble.job.take() {
            Some(Job::Truncate(to)) => self.truncate(to)?,
            Some(Job::Replace(arrived)) => self.replace(*arrived)?,
            Some(Job::Receive { .. }) | None => return Ok(()),
        };
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.events.push_back(event);
        }
        Ok(())
    }

    fn truncate(&mut self, to: Zxid) -> Result<Event, Fatal> {
        let proof = match self.ledger.log.truncate(&*self.volume, to) {
            Ok(proof) => proof,
            Err(LogError::Purged { .. }) => return Ok(Event::TruncateImpossible),
            Err(error) => return Err(error.into()),
        };
        self.log_replaced();
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.counts.cuts += 1;
        }
        if self.service.tree().last_zxid() > proof.get()
            && !planted(Mutant::Zk1549TreeNotCut)
            && !planted(Mutant::Zk2845UncommittedInTree)
        {
            self.roll_back(proof.get())?;
        }
        Ok(Event::Truncated(proof))
    }

    fn replace(&mut self, arrived: Arrived) -> Result<Event, Fatal> {
        let proof = match self.ledger.log.restart_behind(&*self.volume, &arrived) {
            Ok(proof) => proof,
            Err(error) => {
                // Without space nothing has changed, and it may be tried again. After anything worse the log takes
                // nothing any more, which ends the node at the end of this turn.
                tracing::error!("the snapshot of the leader cannot be stored: {error}");
                return Ok(Event::SnapshotAbandoned);
            }
        };
        self.service.restore(arrived.tree, arrived.sessions);
        self.log_replaced();
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.committed = proof.get();
            ensemble.counts.snaps_taken += 1;
        }
        Ok(Event::SnapshotLoaded(proof))
    }

    fn log_replaced(&mut self) {
        self.ledger.backlog = 0;
        self.cursor = self.ledger.log.cursor(self.service.tree().last_zxid());
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.links.forget_log();
        }
    }

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
        let sendable = self.service.tree().last_zxid();
        Event::Reach { window, cheap_from, sendable }
    }

    /// Queues SNAP and the stream of the state at `upto`.
    pub(super) fn send_snapshot(&mut self, link: Link, label: Zxid, upto: Zxid) -> Result<(), Fatal> {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        let mut put = |bytes: &[u8]| match pieces.last_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE => last.extend_from_slice(bytes),
            _ => {
                let mut piece = Vec::with_capacity(PIECE.max(bytes.len()));
                piece.extend_from_slice(bytes);
                pieces.push(piece);
            }
        };
        let here = self.service.tree().last_zxid() == upto;
        if here {
            let mut sessions = self.service.committed_sessions();
            if planted(Mutant::Zk3144SessionsTooOld) {
                sessions.pop();
            }
            snapshot::write_stream(self.service.tree(), &sessions, &mut put);
        } else {
            let other = store::rebuild(&*self.volume, &self.ledger.log, self.tree_seed, upto)?;
            if other.tree.last_zxid() != upto {
                // What is not durable here yet cannot be read back. The learner asks again soon.
                tracing::warn!(%upto, "a snapshot that was chosen cannot be made yet");
                return self.give_up(link);
            }
            snapshot::write_stream(&other.tree, &other.sessions, &mut put);
        }
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        if let Some(connection) = ensemble.links.get_mut(link) {
            connection.sync = Synchronisation { snap: true, ..Default::default() };
            connection.queue.packets(|out| put_packet(out, kind::SNAP, label, None));
            for piece in pieces {
                connection.queue.shared(std::sync::Arc::new(piece));
            }
        }
        Ok(())
    }
}
