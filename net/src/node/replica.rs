//! The replica: everything with a single writer, as the loop that owns it drives it.
//!
//! It carries a [`Member`]: gives it what the ring and the housekeeper report, and does what it asks of the log's
//! files and of the connections to other members. It must never wait for anything but its own ring.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::io::{Completion, Ring, SendFileError};
use ringkeeper_engine::log::Space;
use ringkeeper_engine::snapshot::Published;

use super::housekeeper::{Chore, Housekeeper, Report};
use super::words::Words;
use crate::admin::{Observed, SnapshotView};
use crate::client::{FromFront, Now, Outbox};
use crate::member::{Fatal, Member, Request};
use crate::peer::{Chunk, PeerHandler, Peers};
use crate::wire::election::Notification;
use crate::zab::event::Link;

/// Milliseconds before another segment is asked for when one could not be made.
const SEGMENT_RETRY_MS: u64 = 1000;

/// Milliseconds after an overload, or after this server stood still, during which no session expires.
const EXPIRY_GRACE_MS: u64 = 2000;
/// Milliseconds from which on a late turn means that this server stood still: its process or its machine was stopped.
const STALL_MS: u64 = 1000;

/// A member, its files and its connections.
#[derive(Debug)]
pub struct Replica {
    member: Member,
    /// Connections to other members; a node that stands alone has none.
    peers: Option<Peers>,
    requests: Vec<Request>,
    housekeeper: Housekeeper,
    words: Words,
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

/// The member, as its connections see it.
struct Handler<'a, O> {
    member: &'a mut Member,
    out: &'a mut O,
}

impl<O: Outbox> PeerHandler for Handler<'_, O> {
    fn notified(&mut self, from: Sid, notification: &Notification) {
        self.member.notified(from, *notification, self.out);
    }

    fn connected(&mut self, link: Link) {
        self.member.connected(link, self.out);
    }

    fn connect_failed(&mut self, _leader: Sid) {
        self.member.connect_failed(self.out);
    }

    fn received(&mut self, link: Link, bytes: &[u8]) {
        self.member.received(link, bytes, self.out);
    }

    fn closed(&mut self, link: Link) {
        self.member.closed(link, self.out);
    }

    fn unreadable(&mut self, link: Link, path: &Path, error: &SendFileError) {
        self.member.unreadable(link, path, error);
    }

    fn next_chunk(&mut self, link: Link) -> Option<Chunk> {
        self.member.next_chunk(link)
    }

    fn reads(&self, link: Link) -> bool {
        self.member.reads(link)
    }

    fn is_introduced(&self, link: Link) -> bool {
        self.member.is_introduced(link)
    }
}

impl Replica {
    /// A replica over a recovered member.
    pub fn new(
        member: Member,
        peers: Option<Peers>,
        housekeeper: Housekeeper,
        words: Words,
        fsync_warning: Duration,
    ) -> Replica {
        let timed = member.log().durable().get();
        Replica {
            member,
            peers,
            requests: Vec::new(),
            housekeeper,
            words,
            sealed: VecDeque::new(),
            timed,
            fsync_warning,
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
        self.member.now()
    }

    /// The node ends: requests that come now are left unread, so that what was taken can be settled.
    pub fn take_no_more(&mut self, out: &mut impl Outbox) {
        self.ending = true;
        self.member.end(out);
    }

    /// Begins a turn.
    pub fn begin(&mut self, now: Now) {
        let late_ms = overslept(self.now().mono_ms, self.next_deadline(), now.mono_ms);
        self.member.begin(now);
        if late_ms > STALL_MS {
            tracing::warn!("this server stood still for {late_ms} ms: sessions have so much more time");
            self.member.service_mut().stood_still(late_ms);
            // What was said meanwhile is still to be read, here and by the other members.
            self.expiry_from = now.mono_ms + EXPIRY_GRACE_MS;
        }
    }

    /// Whether requests should wait until the disk, the housekeeper or the leader has caught up.
    pub fn is_overloaded(&self) -> bool {
        self.member.is_overloaded() || self.awaits_segment || self.ending
    }

    /// Takes in what a front reports.
    pub fn event(&mut self, event: FromFront<'_>, out: &mut impl Outbox) {
        self.member.client(event, out);
        if let FromFront::Word { conn, word, arg } = event {
            let status = self.member.status();
            let (now, snapshots) = (self.member.now(), self.snapshots());
            let service = self.member.service_mut();
            let text = self.words.answer(now, word, arg, status.as_ref(), snapshots, service);
            self.member.service_mut().answer_word(conn, &text, out);
        }
    }

    /// What there is of snapshots of the own state.
    fn snapshots(&self) -> SnapshotView {
        let log = self.member.log();
        let newest = log.newest_snapshot();
        let zxid = newest.map_or(Zxid::ZERO, Published::zxid);
        SnapshotView {
            zxid,
            bytes: newest.map_or(0, Published::file_len),
            log_bytes: log.bytes_behind(zxid),
            making: self.member.making().under_way,
        }
    }

    /// Takes in what happened to a connection to another member. False if it was none of these.
    #[inline]
    pub fn peer_event(&mut self, completion: &Completion<'_>, out: &mut impl Outbox) -> bool {
        let now_ms = self.now().mono_ms;
        let Some(peers) = &mut self.peers else { return false };
        peers.completion(completion, now_ms, &mut Handler { member: &mut self.member, out })
    }

    /// Takes in what disk, housekeeper and time have brought: applies what is committed and answers it. The ring's
    /// completions have been taken before.
    pub fn settle(&mut self, ring: &mut Ring, out: &mut impl Outbox) -> Result<(), Fatal> {
        self.housekeeping(out);
        self.member.settle(ring, out)?;
        if let Some(durable) = self.member.take_durable() {
            self.time_batches(durable.get());
        }
        let now_ms = self.now().mono_ms;
        if self.is_overloaded() {
            // Pings may lie unread: nobody's silence counts until they had time to be heard.
            self.expiry_from = now_ms + EXPIRY_GRACE_MS;
        }
        if self.member.service().next_deadline().is_some_and(|at| at.max(self.expiry_from) <= now_ms) {
            self.member.tick_clients(out);
        }
        Ok(())
    }

    /// Hands what was proposed to the followers and to the disk, at the end of a turn.
    pub fn seal(&mut self, ring: &mut Ring, out: &mut impl Outbox) -> Result<(), Fatal> {
        self.log_deadline = self.member.seal(ring, out)?;
        self.talk(ring, out)?;
        let log = self.member.log();
        let sealed = log.sealed();
        if self.sealed.back().map_or(log.durable().get(), |last| last.0) < sealed {
            self.sealed.push_back((sealed, self.now().mono_us));
        }
        let (space, has_spare) = (log.space(), log.has_spare());
        self.member.set_write_admission(space, self.no_segments);
        self.awaits_segment = space != Space::Ok && !self.no_segments;
        self.housekeeper.set_hurry(!has_spare);
        let now_ms = self.now().mono_ms;
        while let Some(work) = self.member.take_work() {
            self.housekeeper.take(work);
        }
        let log = self.member.log_mut();
        // What failed for want of space is first of all for removal, so that a retry has a chance.
        while let Some(name) = log.removal_wanted() {
            self.housekeeper.ask(Chore::Remove(name));
        }
        let _ = self.ask_again_at.take_if(|at| *at <= now_ms);
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

    /// Does what the member wants of its connections.
    fn talk(&mut self, ring: &mut Ring, out: &mut impl Outbox) -> Result<(), Fatal> {
        let Some(peers) = &mut self.peers else { return Ok(()) };
        self.member.take_requests(&mut self.requests);
        for request in self.requests.drain(..) {
            match request {
                Request::Notify(to, notification) => peers.notify(to, &notification),
                Request::Connect(to) => peers.connect(to),
                Request::Close(link) => peers.close(link),
            }
        }
        peers.set_leading(self.member.leads());
        let now_ms = self.member.now().mono_ms;
        peers.turn(ring, now_ms, &mut Handler { member: &mut self.member, out })?;
        Ok(())
    }

    /// Measures how long the batches up to `durable` took.
    fn time_batches(&mut self, durable: Zxid) {
        while let Some((last, at)) = self.sealed.pop_front_if(|(last, _)| *last <= durable) {
            let before = std::mem::replace(&mut self.timed, last);
            // Within an epoch, and in a node that stands alone, they are consecutive.
            let transactions = if before.epoch() == last.epoch() {
                last.raw().abs_diff(before.raw())
            } else {
                u64::from(last.counter())
            };
            let took_us = self.now().mono_us.saturating_sub(at);
            let metrics = &mut self.member.service_mut().metrics;
            metrics.record(Observed::BatchSize, transactions);
            metrics.record(Observed::FsyncTime, took_us);
            if u128::from(took_us) > self.fsync_warning.as_micros() {
                tracing::warn!(took_ms = took_us / 1000, "a log write took long to become durable");
            }
        }
    }

    fn housekeeping(&mut self, out: &mut impl Outbox) {
        while let Ok(report) = self.housekeeper.reports.try_recv() {
            match report {
                Report::Prepared(name) => {
                    self.member.log_mut().segment_prepared(&name);
                    self.no_segments = false;
                }
                Report::Failed(name, text) => {
                    tracing::error!("no new log segment, trying again in {SEGMENT_RETRY_MS} ms: {text}");
                    self.member.log_mut().segment_failed(&name);
                    self.no_segments = true;
                    self.ask_again_at = Some(self.now().mono_ms + SEGMENT_RETRY_MS);
                }
                Report::Kept(text) => tracing::error!("a file that is not needed stays: {text}"),
                Report::Work(done) => self.member.work_done(done, out),
            }
        }
    }

    /// When the loop must turn at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        let service = self.member.service().next_deadline().map(|at| at.max(self.expiry_from));
        let now_ms = self.now().mono_ms;
        let peers = self.peers.as_ref().and_then(|peers| peers.next_deadline(now_ms));
        let member = self.member.next_deadline();
        [service, peers, member, self.log_deadline, self.ask_again_at].into_iter().flatten().min()
    }

    /// Whether everything proposed is durable and answered, or cannot be because the disk is full.
    pub fn is_settled(&self) -> bool {
        let log = self.member.log();
        self.member.is_settled() || (self.no_segments && log.sealed() == log.durable().get())
    }

    /// Ends the log in good order.
    pub fn close(self) -> Result<(), Fatal> {
        drop(self.housekeeper);
        if !self.member.is_settled() {
            tracing::warn!("the disk is full: what was not acknowledged for that reason is not in the log");
            return Ok(());
        }
        self.member.close_log()
    }
}

/// How much later a turn begins, at `now_ms`, than the one `before_ms` wanted, in milliseconds.
fn overslept(before_ms: u64, wanted_ms: Option<u64>, now_ms: u64) -> u64 {
    wanted_ms.map_or(0, |wanted_ms| now_ms.saturating_sub(wanted_ms.max(before_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_beyond_what_a_turn_wanted_is_lost() {
        assert_eq!(overslept(1000, None, 90_000), 0, "nothing was to be done");
        assert_eq!(overslept(1000, Some(60_000), 59_000), 0, "woken early");
        assert_eq!(overslept(1000, Some(2000), 5000), 3000);
        assert_eq!(overslept(1000, Some(0), 1003), 3, "late work that is being done is no lost time");
    }
}
