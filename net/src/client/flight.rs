//! What this server has asked to be written and not yet seen applied, in the order of asking.
//!
//! Replies of a connection, and what it reads behind its writes, are ordered by places in this queue and not by
//! zxids: a learner does not know under which zxid the leader will put what it forwarded. The queue empties from its
//! head only, so that a [`Ticket`] is settled exactly when all before it are.

use std::collections::VecDeque;

use ringkeeper_engine::id::{SessionId, Zxid};

use super::ConnKey;

/// A request that was received and is being answered.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The client's number for it.
    pub xid: i32,
    /// What it asks.
    pub op: i32,
    /// When it arrived, microseconds of the monotonic clock.
    pub received_us: u64,
}

/// What settles an [`InFlight`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// The commit of this transaction, which we proposed.
    Commit(Zxid),
    /// The commit of what the leader makes of a request that this session sent us; its number is in the request.
    Outcome(SessionId),
    /// The leader's answer to a sync.
    Sync,
}

/// A write or sync on its way.
#[derive(Debug, Clone, Copy)]
pub struct InFlight {
    /// What settles it.
    pub awaits: Awaits,
    /// The slot of the connection that asked, and its name; `None` for what the server does by itself or for a
    /// learner. The slot may have another occupant by the time of the commit.
    pub conn: Option<(u32, ConnKey)>,
    /// What is to be answered.
    pub request: Request,
    /// Bytes of the request.
    pub bytes: u32,
}

impl InFlight {
    /// Something that has just been asked for.
    pub fn new(awaits: Awaits, conn: Option<(u32, ConnKey)>, request: Request, bytes: u32) -> InFlight {
        InFlight { awaits, conn, request, bytes }
    }
}

/// A place in the queue. The default is before all: settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ticket(u64);

/// The queue.
#[derive(Debug, Default)]
pub struct Flights {
    queue: VecDeque<InFlight>,
    /// The place of the newest that is settled.
    settled: Ticket,
    /// How many in the queue are syncs.
    syncs: usize,
    /// Which parts of multis in the queue are to be answered with a Stat though their transaction does not say so.
    stats: VecDeque<(Ticket, Vec<usize>)>,
}

impl Flights {
    /// Adds what was asked last; answers its place.
    pub fn push(&mut self, flight: InFlight) -> Ticket {
        self.syncs += usize::from(flight.awaits == Awaits::Sync);
        self.queue.push_back(flight);
        Ticket(self.settled.0 + self.queue.len() as u64)
    }

    /// Remembers that these parts of the multi that was pushed last are to be answered with a Stat.
    pub fn answer_with_stats(&mut self, parts: Vec<usize>) {
        if !parts.is_empty() {
            self.stats.push_back((Ticket(self.settled.0 + self.queue.len() as u64), parts));
        }
    }

    /// What was remembered of the request that was settled last.
    pub fn parts_with_stats(&mut self) -> Vec<usize> {
        while let Some((ticket, parts)) = self.stats.pop_front_if(|(ticket, _)| *ticket <= self.settled) {
            if ticket == self.settled {
                return parts;
            }
        }
        Vec::new()
    }

    /// The oldest.
    pub fn head(&self) -> Option<&InFlight> {
        self.queue.front()
    }

    /// Settles the oldest.
    pub fn pop(&mut self) -> Option<InFlight> {
        let flight = self.queue.pop_front()?;
        self.syncs -= usize::from(flight.awaits == Awaits::Sync);
        self.settled.0 += 1;
        Some(flight)
    }

    /// Everything up to this place is settled.
    pub fn settled(&self) -> Ticket {
        self.settled
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.queue.iter()
    }

    /// Nothing in the queue will be answered: whoever waits for it is gone.
    pub fn forget(&mut self) {
        self.settled.0 += self.queue.len() as u64;
        self.queue.clear();
        self.stats.clear();
        self.syncs = 0;
    }

    /// How many are on their way.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many of them are syncs.
    pub fn syncs(&self) -> usize {
        self.syncs
    }
}
