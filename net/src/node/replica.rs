//! The replica: everything with a single writer, as the loop that owns it drives it.
//!
//! It joins the client service, the log and the housekeeper's reports. What it must never do: wait for anything
//! but its own ring, or apply (and so answer) a write that the log has not called durable.

use std::collections::VecDeque;
use std::time::Duration;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::io::{Disk, FsVolume, Ring, WriteDone};
use ringkeeper_engine::log::{Log, LogError, Space};
use ringkeeper_engine::txn::TxnError;

use super::housekeeper::{Chore, Housekeeper, Report};
use super::words::Words;
use crate::admin::Observed;
use crate::client::{Admission, FromFront, Identity, Now, Outbox, Proposer, Service, Upstream};

/// Transactions waiting for the disk above which no more requests are read, in bytes.
const BACKLOG: usize = 8 << 20;

/// Milliseconds before another segment is asked for when one could not be made.
const SEGMENT_RETRY_MS: u64 = 1000;

/// Milliseconds after an overload during which no session expires.
const EXPIRY_GRACE_MS: u64 = 2000;

/// What ends a node.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log can no longer be trusted to keep what it is given.
    #[error("the log has failed, nothing more will be acknowledged: {0}")]
    Log(#[from] LogError),
    /// A transaction came back from our own log unreadable.
    #[error("applying transaction {zxid}: {source}")]
    Apply {
        /// Which.
        zxid: Zxid,
        /// What is wrong with it.
        source: TxnError,
    },
    /// The ring is unusable.
    #[error("the io_uring of a core loop has failed: {0}")]
    Ring(std::io::Error),
}

/// Log, service and what lies between them.
#[derive(Debug)]
pub struct Replica {
    service: Service,
    proposals: Proposals,
    housekeeper: Housekeeper,
    volume: FsVolume,
    words: Words,
    now: Now,
    done: Vec<WriteDone>,
    /// Batches handed to the disk: their last transaction, and when, in microseconds.
    sealed: VecDeque<(Zxid, u64)>,
    /// The last transaction of the batch that was measured last.
    timed: Zxid,
    /// A batch that takes longer to become durable is worth a line.
    fsync_warning: Duration,
    /// When the log wants to look at the clock again.
    log_deadline: Option<u64>,
    /// No session expires before this millisecond.
    expiry_from: u64,
    /// No more requests are taken.
    ending: bool,
    /// The last segment that was asked for could not be made.
    no_segments: bool,
    /// The log has no room for more, and a segment is being made.
    awaits_segment: bool,
    /// No segment is asked for before, because the last one could not be made.
    ask_again_at: Option<u64>,
}

/// The log as the service sees it.
#[derive(Debug)]
struct Proposals {
    log: Log,
    /// Bytes appended and not yet durable.
    backlog: usize,
    /// A refusal of the log, which ends the node at the end of the event that met it.
    refused: Option<LogError>,
}

impl Proposer for Proposals {
    fn propose(&mut self, zxid: Zxid, encode: &mut dyn FnMut(&mut Vec<u8>)) {
        let mut len = 0;
        let appended = self.log.append(zxid, |out| {
            let before = out.len();
            encode(out);
            len = out.len() - before;
        });
        match appended {
            Ok(_) => self.backlog += len,
            // The zxid is spoken for: nothing that follows could be told apart from a hole.
            Err(error) => self.refused = self.refused.take().or(Some(error)),
        }
    }
}

impl Upstream for Proposals {
    fn forward(&mut self, _: SessionId, _: i32, _: i32, _: &[u8], _: &[Identity]) {
        unreachable!("a standalone node has no leader");
    }

    fn revalidate(&mut self, _: SessionId, _: i32) {
        unreachable!("a standalone node has no leader");
    }
}

impl Replica {
    /// A replica over a recovered service and log.
    pub fn new(
        service: Service,
        log: Log,
        volume: FsVolume,
        housekeeper: Housekeeper,
        words: Words,
        fsync_warning: Duration,
        now: Now,
    ) -> Replica {
        let timed = log.durable().get();
        Replica {
            service,
            proposals: Proposals { log, backlog: 0, refused: None },
            housekeeper,
            volume,
            words,
            sealed: VecDeque::new(),
            timed,
            fsync_warning,
            now,
            done: Vec::new(),
            log_deadline: None,
            expiry_from: 0,
            ending: false,
            no_segments: false,
            awaits_segment: false,
            ask_again_at: None,
        }
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The node ends: requests that come now are left unread, so that what was taken can be settled.
    pub fn take_no_more(&mut self) {
        self.ending = true;
    }

    /// Begins a turn.
    pub fn begin(&mut self, now: Now) {
        self.now = now;
    }

    /// Whether requests should wait until the disk or the housekeeper has caught up.
    pub fn is_overloaded(&self) -> bool {
        self.proposals.backlog > BACKLOG || self.awaits_segment || self.ending
    }

    /// Takes in what a front reports.
    pub fn event(&mut self, event: FromFront<'_>, out: &mut impl Outbox) {
        self.service.handle(self.now, event, out, &mut self.proposals);
        if let FromFront::Word { conn, word, arg } = event {
            let text = self.words.answer(self.now, word, arg, &mut self.service);
            self.service.answer_word(conn, &text, out);
        }
    }

    /// Takes in what disk, housekeeper and time have brought: applies what is durable and answers it. The ring's
    /// completions have been taken before.
    pub fn settle(&mut self, ring: &mut Ring, out: &mut impl Outbox) -> Result<(), Fatal> {
        self.housekeeping();
        let mut done = std::mem::take(&mut self.done);
        ring.reap(&mut done);
        let mut durable = None;
        for write in done.drain(..) {
            durable = self.proposals.log.on_done(write)?.or(durable);
        }
        self.done = done;
        if let Some(durable) = durable {
            while let Some((zxid, payload)) = self.proposals.log.next_durable() {
                self.proposals.backlog -= payload.len();
                self.service
                    .committed(self.now, zxid, payload, out)
                    .map_err(|source| Fatal::Apply { zxid, source })?;
            }
            self.proposals.log.release(durable.get());
            self.time_batches(durable.get());
        }
        self.service.resume_held(self.now, out);
        if self.is_overloaded() {
            // Pings may lie unread: nobody's silence counts until they had time to be heard.
            self.expiry_from = self.now.mono_ms + EXPIRY_GRACE_MS;
        }
        if self.service.next_deadline().is_some_and(|at| at.max(self.expiry_from) <= self.now.mono_ms) {
            self.service.tick(self.now, out, &mut self.proposals);
        }
        Ok(())
    }

    /// Hands what was proposed to the disk, at the end of a turn.
    pub fn seal(&mut self, ring: &mut Ring) -> Result<(), Fatal> {
        if let Some(error) = self.proposals.refused.take() {
            return Err(error.into());
        }
        let log = &mut self.proposals.log;
        log.seal(ring)?;
        let sealed = log.sealed();
        if self.sealed.back().map_or(log.durable().get(), |last| last.0) < sealed {
            self.sealed.push_back((sealed, self.now.mono_us));
        }
        self.log_deadline = log.tick(self.now.mono_ms, ring)?;
        // Only a segment that cannot be made is a reason to refuse. One that is being made is worth a wait: nothing
        // more is read until it is there.
        let space = log.space();
        let admission = match space {
            Space::Reserve if self.no_segments => Admission::SessionsOnly,
            Space::None if self.no_segments => Admission::Closed,
            _ => Admission::Open,
        };
        self.service.set_write_admission(admission);
        self.awaits_segment = space != Space::Ok && !self.no_segments;
        self.housekeeper.set_hurry(!log.has_spare());
        // What failed for want of space is first of all for removal, so that a retry has a chance.
        while let Some(name) = log.removal_wanted() {
            self.housekeeper.ask(Chore::Remove(name));
        }
        let _ = self.ask_again_at.take_if(|at| *at <= self.now.mono_ms);
        while self.ask_again_at.is_none()
            && let Some(wanted) = log.segment_wanted()
        {
            self.housekeeper.ask(Chore::Prepare {
                name: wanted.name,
                len: wanted.len,
                recycle: wanted.recycle_from,
            });
        }
        Ok(())
    }

    /// Measures how long the batches up to `durable` took.
    fn time_batches(&mut self, durable: Zxid) {
        while let Some((last, at)) = self.sealed.pop_front_if(|(last, _)| *last <= durable) {
            // Consecutive in a standalone node.
            let transactions = last.raw() - std::mem::replace(&mut self.timed, last).raw();
            self.service.metrics.record(Observed::BatchSize, transactions.unsigned_abs());
            let took_us = self.now.mono_us.saturating_sub(at);
            self.service.metrics.record(Observed::FsyncTime, took_us);
            if u128::from(took_us) > self.fsync_warning.as_micros() {
                tracing::warn!(took_ms = took_us / 1000, "a log write took long to become durable");
            }
        }
    }

    fn housekeeping(&mut self) {
        while let Ok(report) = self.housekeeper.reports.try_recv() {
            match report {
                Report::Prepared(name) => {
                    self.proposals.log.segment_prepared(&name);
                    self.no_segments = false;
                }
                Report::Failed(name, text) => {
                    tracing::error!("no new log segment, trying again in {SEGMENT_RETRY_MS} ms: {text}");
                    self.proposals.log.segment_failed(&name);
                    self.no_segments = true;
                    self.ask_again_at = Some(self.now.mono_ms + SEGMENT_RETRY_MS);
                }
                Report::Kept(text) => tracing::error!("a file that is not needed stays: {text}"),
            }
        }
    }

    /// When the loop must turn at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        let service = self.service.next_deadline().map(|at| at.max(self.expiry_from));
        [service, self.log_deadline, self.ask_again_at].into_iter().flatten().min()
    }

    /// Whether everything proposed is durable and answered.
    pub fn is_settled(&self) -> bool {
        self.proposals.log.is_idle()
    }

    /// Ends the log in good order.
    pub fn close(self) -> Result<(), Fatal> {
        drop(self.housekeeper);
        self.proposals.log.close(&self.volume).map_err(Fatal::Log)
    }
}
