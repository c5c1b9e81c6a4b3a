//! SNAP from a leader, and what has to wait for the log to be at rest.
//!
//! The stream is stored as it comes, checksummed on the way, and looked at only so far that its end is found; the tree is
//! made of what was stored, off the loop. Not more of it is taken than the disk keeps up with. What was received takes
//! the place of everything older in one step, before NEWLEADER is acknowledged; until then nothing has changed, and a
//! reception that breaks off leaves nothing behind. A cut or a snapshot that replaces everything needs a log with nothing
//! in flight: until it has, nothing more is read from the leader.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::mutant::{Mutant, planted};
use ringkeeper_engine::snapshot::Limits;
use ringkeeper_engine::snapshot::receive::{Arrived, Reception};

use super::work::Work;
use super::{Fatal, Member};
use crate::client::Outbox;
use crate::wire::quorum::Decoder;
use crate::zab::event::{Event, Link};

/// Bytes that were received and are not stored yet above which no more are read.
const UNSTORED: u64 = 16 << 20;

/// Something that blocks the connection to the leader.
#[derive(Debug)]
pub(super) enum Job {
    /// Cut the log behind this.
    Truncate(Zxid),
    /// Take a snapshot from the connection.
    Receive(Box<Receiving>),
    /// It is whole, and its tree is being made.
    Load { link: Link, reception: u64 },
    /// Put what was received in place of everything.
    Replace(Box<Arrived>),
}

/// A snapshot on its way.
#[derive(Debug)]
pub(super) struct Receiving {
    pub link: Link,
    /// Number of the reception, never used twice.
    id: u64,
    stream: Reception,
    /// Bytes given away to be stored, and not stored yet.
    unstored: u64,
    since_ms: u64,
}

impl Job {
    /// Whether bytes of the leader are wanted meanwhile.
    pub fn reads(&self) -> bool {
        matches!(self, Job::Receive(receiving) if receiving.unstored <= UNSTORED)
    }

    /// Whether it waits for nothing but the log.
    fn waits_for_log(&self) -> bool {
        matches!(self, Job::Truncate(_) | Job::Replace(_))
    }

    /// Bytes of a snapshot that have come, if one is on its way.
    pub fn received(&self) -> Option<u64> {
        match self {
            Job::Receive(receiving) => Some(receiving.stream.received()),
            _ => None,
        }
    }

    /// The reception that is under way.
    fn reception(&self) -> Option<u64> {
        match self {
            Job::Receive(receiving) => Some(receiving.id),
            Job::Load { reception, .. } => Some(*reception),
            Job::Truncate(_) | Job::Replace(_) => None,
        }
    }
}

impl Member {
    pub(super) fn receive_job(&mut self, link: Link, zxid: Zxid) -> Job {
        tracing::info!(%zxid, "receiving a snapshot");
        self.receptions += 1;
        Job::Receive(Box::new(Receiving {
            link,
            id: self.receptions,
            stream: Reception::new(zxid, Limits::default()),
            unstored: 0,
            since_ms: self.now.mono_ms,
        }))
    }

    pub(super) fn begin_job(&mut self, job: Job) -> Result<(), Fatal> {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.job = Some(job);
        }
        self.work()
    }

    /// Whether a snapshot is being taken from this connection, so that its bytes are no packets.
    pub(super) fn receives(&self, link: Link) -> bool {
        let job = self.ensemble.as_ref().and_then(|e| e.job.as_ref());
        matches!(job, Some(Job::Receive(receiving)) if receiving.link == link)
    }

    /// Feeds what has arrived to the snapshot that is being received.
    pub(super) fn feed_snapshot(&mut self, link: Link, decoder: &mut Decoder, out: &mut impl Outbox) {
        let fed = self.take_in(link, decoder.raw(), out);
        decoder.consume(fed);
    }

    /// Takes bytes of a snapshot that is being received; how many were taken. The others are packets.
    pub(super) fn take_in(&mut self, link: Link, bytes: &[u8], out: &mut impl Outbox) -> usize {
        let Some(ensemble) = &mut self.ensemble else { return 0 };
        let Some(Job::Receive(receiving)) = ensemble.job.as_mut().filter(|_| !bytes.is_empty()) else {
            return 0;
        };
        let mut steps = Vec::new();
        let fed = receiving.stream.feed(bytes, &mut steps);
        let reception = receiving.id;
        if !steps.is_empty() {
            receiving.unstored += steps.iter().map(|step| step.written()).sum::<u64>();
            self.making.work.push_back(Work::Store { reception, steps });
        }
        match fed {
            Err(error) => {
                tracing::warn!(link = link.0, "the snapshot of the leader is no good: {error}");
                self.close(link, out);
                0
            }
            Ok(fed) => {
                ensemble.flows(link);
                if fed.done
                    && let Some(Job::Receive(receiving)) = ensemble.job.replace(Job::Load { link, reception })
                {
                    let Receiving { stream, since_ms, .. } = *receiving;
                    let took_ms = self.now.mono_ms.saturating_sub(since_ms);
                    tracing::info!(bytes = stream.received(), took_ms, "the snapshot has come, loading it");
                    let request = stream.finish(self.tree_seed);
                    self.making.work.push_back(Work::Load { reception, request });
                }
                fed.used
            }
        }
    }

    /// Bytes of a reception are stored.
    pub(super) fn stored(&mut self, reception: u64, result: Result<u64, LogError>, out: &mut impl Outbox) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let Some(job) = ensemble.job.as_mut().filter(|job| job.reception() == Some(reception)) else {
            return;
        };
        let link = match job {
            Job::Receive(receiving) => {
                receiving.unstored = receiving.unstored.saturating_sub(*result.as_ref().unwrap_or(&0));
                receiving.link
            }
            Job::Load { link, .. } => *link,
            Job::Truncate(_) | Job::Replace(_) => return,
        };
        match result {
            Ok(_) => ensemble.flows(link),
            Err(error) => self.reception_failed(link, &error, out),
        }
    }

    fn reception_failed(&mut self, link: Link, error: &LogError, out: &mut impl Outbox) {
        tracing::error!("the snapshot of the leader cannot be stored: {error}");
        self.close(link, out);
    }

    pub(super) fn loading_goes_on(&mut self) {
        let Some(ensemble) = &mut self.ensemble else { return };
        if let Some(&Job::Load { link, .. }) = ensemble.job.as_ref() {
            ensemble.flows(link);
        }
    }

    /// The tree of what was received is there.
    pub(super) fn loaded(
        &mut self,
        reception: u64,
        result: Result<Arrived, LogError>,
        out: &mut impl Outbox,
    ) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let Some(&Job::Load { link, .. }) =
            ensemble.job.as_ref().filter(|job| job.reception() == Some(reception))
        else {
            return;
        };
        match result {
            Ok(arrived) => {
                ensemble.job = Some(Job::Replace(Box::new(arrived)));
                self.try_job(out);
            }
            Err(error) => self.reception_failed(link, &error, out),
        }
    }

    /// The core wants nothing of the snapshot any more.
    pub(super) fn abandon_reception(&mut self) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let Some(job) = ensemble.job.take_if(|job| !matches!(job, Job::Truncate(_))) else { return };
        // What waits to replace everything lies under the working name, too.
        let reception = job.reception().unwrap_or(self.receptions);
        self.making.work.push_back(Work::Abandon { reception });
    }

    /// Does what was waiting for the log, if the log is at rest, and goes on reading.
    pub(super) fn try_job(&mut self, out: &mut impl Outbox) {
        let waits = |e: &&mut Box<super::Ensemble>| e.job.as_ref().is_some_and(Job::waits_for_log);
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
        if !self.ledger.log.is_idle() {
            return Ok(());
        }
        let event = match ensemble.job.take_if(|job| job.waits_for_log()) {
            Some(Job::Truncate(to)) => self.truncate(to)?,
            Some(Job::Replace(arrived)) => self.replace(*arrived)?,
            _ => return Ok(()),
        };
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.events.push_back(event);
        }
        Ok(())
    }

    fn truncate(&mut self, to: Zxid) -> Result<Event, Fatal> {
        if self.making.makes_above(to) {
            // Of what is known to be committed: no leader may cut that.
            return Ok(Event::TruncateImpossible);
        }
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
                self.making.work.push_back(Work::Abandon { reception: self.receptions });
                return Ok(Event::SnapshotAbandoned);
            }
        };
        self.service.restore(arrived.tree, arrived.sessions);
        self.making.forget();
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
}
