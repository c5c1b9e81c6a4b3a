//! One loop that is front and replica at once: the default, and the best arrangement where cores are few.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringkeeper_engine::io::{Completion, Ring};

use super::bind::Bound;
use super::clock::{Clock, sleep_until};
use super::front::{Front, Upstream};
use super::listening::Listening;
use super::output::Outputs;
use super::replica::Replica;
use crate::client::FromFront;
use crate::member::Fatal;

/// The loop and everything it owns.
#[derive(Debug)]
pub struct SingleLoop {
    /// Sockets and disk.
    pub ring: Ring,
    /// Client connections.
    pub front: Front,
    /// Log, tree and sessions.
    pub replica: Replica,
    /// Time.
    pub clock: Clock,
    /// Set by the main thread, which then wakes the ring.
    pub stop: Arc<AtomicBool>,
}

/// The replica, called directly.
struct Direct<'a>(&'a mut Replica);

impl Upstream for Direct<'_> {
    fn deliver(&mut self, event: FromFront<'_>, out: &mut Outputs) -> bool {
        if matches!(event, FromFront::Frame { .. }) && self.0.is_overloaded() {
            return false;
        }
        self.0.event(event, out);
        true
    }

    fn ready(&self) -> bool {
        !self.0.is_overloaded()
    }
}

impl SingleLoop {
    /// Serves until told to stop, then leaves the log with nothing in flight.
    pub fn run(mut self, port: Bound) -> Result<(), Fatal> {
        let mut listening = Listening::start(&mut self.ring, port).map_err(Fatal::Ring)?;
        while !self.stop.load(Ordering::Acquire) {
            self.turn(&mut listening)?;
        }
        listening.end(&mut self.ring);
        self.replica.take_no_more(&mut self.front.outputs);
        while !self.replica.is_settled() {
            self.turn(&mut listening)?;
        }
        let now_ms = self.replica.now().mono_ms;
        self.front.flush(&mut self.ring, now_ms, &mut Direct(&mut self.replica));
        self.ring.submit_and_wait(Some(std::time::Duration::ZERO)).map_err(Fatal::Ring)?;
        self.replica.close()
    }

    fn turn(&mut self, listening: &mut Listening) -> Result<(), Fatal> {
        let SingleLoop { ring, front, replica, clock, .. } = self;
        let now_ms = replica.now().mono_ms;
        let deadlines = [replica.next_deadline(), front.next_deadline(), listening.next_deadline()];
        ring.submit_and_wait(sleep_until(now_ms, deadlines)).map_err(Fatal::Ring)?;
        let now = clock.now();
        replica.begin(now);
        while let Some(completion) = ring.next_completion() {
            if replica.peer_event(&completion, &mut front.outputs) {
                continue;
            }
            let up = &mut Direct(replica);
            match completion {
                Completion::Received { socket, data } => front.received(socket, data, up),
                Completion::Sent { socket, buf, result, .. } => front.sent(ring, socket, buf, result, up),
                Completion::Accepted { socket, peer, .. } => front.accepted(ring, socket, peer, up),
                Completion::ReceiveEnded { socket, .. } => front.receive_ended(ring, socket, up),
                Completion::AcceptFailed { error, .. } => listening.failed(now.mono_ms, &error),
                _ => {}
            }
        }
        listening.retry(ring, now.mono_ms);
        replica.settle(ring, &mut front.outputs)?;
        front.expire(ring, now.mono_ms, &mut Direct(replica));
        front.resume(ring, &mut Direct(replica));
        replica.seal(ring, &mut front.outputs)?;
        front.flush(ring, now.mono_ms, &mut Direct(replica));
        Ok(())
    }
}
