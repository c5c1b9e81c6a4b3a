//! Front loops and the replica loop on threads of their own, joined by pipes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringkeeper_engine::io::{Completion, Ring};

use super::bind::Bound;
use super::clock::{Clock, sleep_until};
use super::front::Front;
use super::link::{Bell, ToFronts, ToReplica, take_answers, take_event};
use super::listening::Listening;
use super::replica::Replica;
use crate::member::Fatal;
use crate::pipeline::PipeReader;

/// Events taken from one front before the next has its turn.
const EVENTS_PER_FRONT: usize = 4096;
/// How long the replica loop sleeps at most while answers wait for room in a pipe.
const CROWDED: Duration = Duration::from_millis(1);

/// A loop that owns client connections and nothing else.
#[derive(Debug)]
pub struct FrontLoop {
    /// Sockets.
    pub ring: Ring,
    /// Client connections.
    pub front: Front,
    /// Events for the replica.
    pub up: ToReplica,
    /// Answers of the replica.
    pub answers: PipeReader,
    /// What the replica rings.
    pub bell: Arc<Bell>,
    /// Time.
    pub clock: Clock,
    /// Set by the main thread.
    pub stop: Arc<AtomicBool>,
    /// The replica has not been told of everything yet, for want of room in the pipe.
    pub untold: bool,
}

impl FrontLoop {
    /// Serves until told to stop.
    pub fn run(mut self, port: Bound) -> Result<(), Fatal> {
        let mut listening = Listening::start(&mut self.ring, port).map_err(Fatal::Ring)?;
        while !self.stop.load(Ordering::Acquire) {
            self.turn(&mut listening)?;
        }
        listening.end(&mut self.ring);
        Ok(())
    }

    fn turn(&mut self, listening: &mut Listening) -> Result<(), Fatal> {
        let FrontLoop { ring, front, up, answers, bell, clock, untold, .. } = self;
        let deadlines = [front.next_deadline(), listening.next_deadline()];
        let mut sleep = sleep_until(clock.now().mono_ms, deadlines);
        if front.has_stalled() || *untold {
            // Room in the pipe to the replica is not announced; look again soon.
            sleep = Some(sleep.map_or(CROWDED, |s| s.min(CROWDED)));
        }
        if !bell.may_sleep(|| answers.is_empty()) {
            sleep = Some(Duration::ZERO);
        }
        ring.submit_and_wait(sleep).map_err(Fatal::Ring)?;
        bell.awake();
        let now_ms = clock.now().mono_ms;
        while let Some(completion) = ring.next_completion() {
            match completion {
                Completion::Received { socket, data } => front.received(socket, data, up),
                Completion::Sent { socket, buf, result, .. } => front.sent(ring, socket, buf, result, up),
                Completion::Accepted { socket, peer, .. } => front.accepted(ring, socket, peer, up),
                Completion::ReceiveEnded { socket, .. } => front.receive_ended(ring, socket, up),
                Completion::AcceptFailed { error, .. } => listening.failed(now_ms, &error),
                _ => {}
            }
        }
        listening.retry(ring, now_ms);
        take_answers(answers, &mut front.outputs);
        front.expire(ring, now_ms, up);
        front.resume(ring, up);
        front.flush(ring, now_ms, up);
        *untold = !up.tell_fullness(&mut front.outputs);
        up.ring();
        Ok(())
    }
}

/// The loop that owns log, tree and sessions, and no client connection.
#[derive(Debug)]
pub struct ReplicaLoop {
    /// The disk.
    pub ring: Ring,
    /// Log, tree and sessions.
    pub replica: Replica,
    /// Events, one pipe per front.
    pub events: Vec<PipeReader>,
    /// Answers for the fronts.
    pub fronts: ToFronts,
    /// What the fronts ring.
    pub bell: Arc<Bell>,
    /// Time.
    pub clock: Clock,
    /// Set by the main thread.
    pub stop: Arc<AtomicBool>,
}

impl ReplicaLoop {
    /// Serves until told to stop, then leaves the log with nothing in flight.
    pub fn run(mut self) -> Result<(), Fatal> {
        while !self.stop.load(Ordering::Acquire) {
            self.turn()?;
        }
        self.replica.take_no_more(&mut self.fronts);
        while !self.replica.is_settled() {
            self.turn()?;
        }
        self.fronts.flush();
        self.replica.close()
    }

    fn turn(&mut self) -> Result<(), Fatal> {
        let ReplicaLoop { ring, replica, events, fronts, bell, clock, .. } = self;
        let mut sleep = sleep_until(replica.now().mono_ms, [replica.next_deadline()]);
        if fronts.is_overflowing() {
            sleep = Some(sleep.map_or(CROWDED, |s| s.min(CROWDED)));
        }
        // An overloaded replica leaves events where they are: the disk wakes it.
        let overloaded = replica.is_overloaded();
        let idle = |(index, pipe): (usize, &PipeReader)| pipe.is_empty() || fronts.is_crowded(index);
        if !bell.may_sleep(|| overloaded || events.iter().enumerate().all(idle)) {
            sleep = Some(Duration::ZERO);
        }
        ring.submit_and_wait(sleep).map_err(Fatal::Ring)?;
        bell.awake();
        replica.begin(clock.now());
        while let Some(completion) = ring.next_completion() {
            replica.peer_event(&completion, fronts);
        }
        for (index, pipe) in events.iter_mut().enumerate() {
            for _ in 0..EVENTS_PER_FRONT {
                let front = index as u16;
                if replica.is_overloaded()
                    || fronts.is_crowded(index)
                    || !take_event(pipe, front, fronts, |event, fronts| replica.event(event, fronts))
                {
                    break;
                }
            }
        }
        replica.settle(ring, fronts)?;
        replica.seal(ring, fronts)?;
        fronts.flush();
        Ok(())
    }
}
