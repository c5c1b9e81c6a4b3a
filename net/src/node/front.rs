//! A front loop's connections: accepting, framing, limits, and the way out.
//!
//! The front knows bytes, not meaning: it cuts the stream into frames, recognises four-letter words, enforces
//! everything that can be judged without the tree (frame length, connections per address, unsent bytes) and hands the rest to the replica through [`Upstream`]. It never blocks and
//! never allocates by a declared length: a frame that is not complete occupies what has been received of it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hashbrown::HashMap;
use ringkeeper_engine::io::{Ring, SocketId};

use super::output::{Ending, Outputs};
use crate::admin::Word;
use crate::client::{ConnKey, FromFront};

/// What a front asks of whoever is behind it.
pub trait Upstream {
    /// Takes an event, or refuses it for now (`false`, nothing changed). Answers may go straight to `out`.
    fn deliver(&mut self, event: FromFront<'_>, out: &mut Outputs) -> bool;
    /// Whether it makes sense to try again after a refusal.
    fn ready(&self) -> bool;
}

/// Limits that the front enforces.
#[derive(Clone, Debug)]
pub struct FrontLimits {
    /// Longest frame in bytes (`jute.maxbuffer`).
    pub max_frame: usize,
    /// Connections of one client address, 0 for any number (`maxClientCnxns`).
    pub per_address: usize,
    /// Connections in total, 0 for any number (`maxCnxns`).
    pub total: usize,
    /// Unsent bytes of one connection above which it is closed.
    pub max_unsent: usize,
}

/// Connections per client address, shared by the fronts of a node; touched only when one opens or closes.
#[derive(Debug, Default)]
pub struct Census {
    counts: Mutex<(HashMap<IpAddr, usize>, usize)>,
    rejected: AtomicU64,
}

impl Census {
    fn admit(&self, address: IpAddr, limits: &FrontLimits) -> bool {
        let mut counts = self.counts.lock().expect("nobody panics holding it");
        let (by_address, total) = &mut *counts;
        let of_this = by_address.get(&address).copied().unwrap_or(0);
        let full = |limit: usize, count: usize| limit != 0 && count >= limit;
        if full(limits.per_address, of_this) || full(limits.total, *total) {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        by_address.insert(address, of_this + 1);
        *total += 1;
        true
    }

    /// How many connections were refused since the last call.
    pub fn take_rejected(&self) -> u64 {
        self.rejected.swap(0, Ordering::Relaxed)
    }

    fn leave(&self, address: IpAddr) {
        let mut counts = self.counts.lock().expect("nobody panics holding it");
        let (by_address, total) = &mut *counts;
        *total -= 1;
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// Milliseconds that an ending connection may take to read its last bytes and close too.
const LINGER_MS: u64 = 5_000;
/// Input buffers above this capacity are given back once they are empty.
const KEEP_INPUT: usize = 64 * 1024;

/// The receiving half of a connection.
#[derive(Debug)]
struct Input {
    generation: u32,
    socket: SocketId,
    peer: SocketAddr,
    /// Bytes that do not form a whole frame yet, or that could not be delivered yet.
    partial: Vec<u8>,
    stage: Stage,
    reading: bool,
    /// The peer has closed or reset, or the connection broke: nothing more is read.
    ended: bool,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been said yet: a word or the first frame comes.
    Fresh,
    /// Frames come.
    Frames,
    /// It asked for a word; what follows is ignored.
    Word,
}

/// The connections of one front loop.
#[derive(Debug)]
pub struct Front {
    index: u16,
    limits: FrontLimits,
    census: Arc<Census>,
    inputs: Vec<Option<Input>>,
    /// The sending halves.
    pub outputs: Outputs,
    /// Connections whose input waits for the upstream or for their own unsent bytes.
    stalled: Vec<(u32, u32)>,
    /// Sockets to be paused: while received bytes are looked at, the ring is lent out.
    pausing: Vec<SocketId>,
    /// `Gone` events that were refused.
    mourned: VecDeque<ConnKey>,
    /// When ending connections are closed, in order of time: (millisecond, slot, generation).
    lingering: VecDeque<(u64, u32, u32)>,
    scratch: Vec<u32>,
}

impl Front {
    /// A front without connections. `index` is its number among the fronts of the node.
    pub fn new(index: u16, limits: FrontLimits, census: Arc<Census>, outputs: Outputs) -> Front {
        Front {
            index,
            limits,
            census,
            inputs: Vec::new(),
            outputs,
            stalled: Vec::new(),
            pausing: Vec::new(),
            mourned: VecDeque::new(),
            lingering: VecDeque::new(),
            scratch: Vec::new(),
        }
    }

    fn key(&self, slot: u32, generation: u32) -> ConnKey {
        ConnKey { front: self.index, slot, generation }
    }

    fn input(&mut self, slot: u32, generation: u32) -> Option<&mut Input> {
        self.inputs.get_mut(slot as usize)?.as_mut().filter(|i| i.generation == generation)
    }

    /// A connection has been accepted: admit it or close it without a word.
    pub fn accepted(&mut self, ring: &mut Ring, socket: SocketId, peer: SocketAddr, up: &mut impl Upstream) {
        if !self.census.admit(peer.ip(), &self.limits) {
            // Not louder: a stranger must not be able to fill the disk with our lines.
            tracing::debug!(%peer, "closing a connection beyond maxClientCnxns or maxCnxns");
            ring.close(socket);
            return;
        }
        let (slot, generation) = place(socket);
        if self.inputs.len() <= slot as usize {
            self.inputs.resize_with(slot as usize + 1, || None);
        }
        let key = self.key(slot, generation);
        self.outputs.open(slot, generation, socket);
        if !up.deliver(FromFront::Open { conn: key, peer }, &mut self.outputs) {
            // The replica is so far behind that it cannot even hear of new connections: do not add to it.
            self.outputs.forget(slot);
            self.census.leave(peer.ip());
            ring.close(socket);
            return;
        }
        self.inputs[slot as usize] = Some(Input {
            generation,
            socket,
            peer,
            partial: Vec::new(),
            stage: Stage::Fresh,
            reading: true,
            ended: false,
        });
        ring.resume_receive(socket);
    }

    /// Bytes have been received.
    pub fn received(&mut self, socket: SocketId, data: &[u8], up: &mut impl Upstream) {
        let (slot, generation) = place(socket);
        let key = self.key(slot, generation);
        let Some(input) = self.inputs.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if input.generation != generation || self.outputs.ending(slot) != Ending::No {
            return; // Drained so that unread bytes do not turn the close into a reset.
        }
        let outcome = if !input.reading {
            // It arrived before the pause did.
            input.partial.extend_from_slice(data);
            return;
        } else if input.partial.is_empty() {
            let (used, outcome) = take_frames(input, key, data, &self.limits, up, &mut self.outputs);
            input.partial.extend_from_slice(&data[used..]);
            outcome
        } else {
            input.partial.extend_from_slice(data);
            take_partial(input, key, &self.limits, up, &mut self.outputs)
        };
        self.after_frames(slot, generation, outcome, up);
    }

    fn after_frames(&mut self, slot: u32, generation: u32, outcome: Outcome, up: &mut impl Upstream) {
        match outcome {
            Outcome::Wait => {
                if self.outputs.is_parked(slot) {
                    self.stall(slot, generation);
                }
            }
            Outcome::Refused => self.stall(slot, generation),
            Outcome::Violation(what) => {
                let peer = self.input(slot, generation).map(|i| i.peer);
                tracing::debug!(peer = ?peer, "closing a client connection: {what}");
                self.gone(slot, generation, up);
                self.outputs.end(slot, generation);
            }
        }
    }

    /// Stops reading a connection until [`Front::resume`] finds that it may go on.
    fn stall(&mut self, slot: u32, generation: u32) {
        if let Some(input) = self.input(slot, generation)
            && input.reading
        {
            input.reading = false;
            let socket = input.socket;
            self.pausing.push(socket);
            self.stalled.push((slot, generation));
        }
    }

    /// The peer has closed, or the connection broke.
    pub fn receive_ended(&mut self, ring: &mut Ring, socket: SocketId, up: &mut impl Upstream) {
        let (slot, generation) = place(socket);
        let Some(input) = self.input(slot, generation) else { return };
        input.ended = true;
        // A client that half-closes after its word still wants the answer.
        if input.stage == Stage::Word && self.outputs.ending(slot) != Ending::Flushed {
            return;
        }
        self.gone(slot, generation, up);
        self.drop_connection(ring, slot, generation);
    }

    /// A send has completed.
    pub fn sent(
        &mut self,
        ring: &mut Ring,
        socket: SocketId,
        bytes: Vec<u8>,
        result: io::Result<()>,
        up: &mut impl Upstream,
    ) {
        let (slot, generation) = place(socket);
        self.outputs.sent(slot, generation, bytes);
        if result.is_err() && self.input(slot, generation).is_some() {
            self.gone(slot, generation, up);
            self.drop_connection(ring, slot, generation);
        }
    }

    /// Tells the replica that a connection is over, now or as soon as it listens.
    fn gone(&mut self, slot: u32, generation: u32, up: &mut impl Upstream) {
        let conn = self.key(slot, generation);
        if !up.deliver(FromFront::Gone { conn }, &mut self.outputs) {
            self.mourned.push_back(conn);
        }
    }

    /// Frees everything a connection held. The generation sees to it that late completions find nobody.
    fn drop_connection(&mut self, ring: &mut Ring, slot: u32, generation: u32) {
        let Some(input) = self.inputs[slot as usize].take_if(|i| i.generation == generation) else { return };
        self.outputs.forget(slot);
        self.census.leave(input.peer.ip());
        ring.close(input.socket);
    }

    /// Delivers what had to wait. Call it once per turn, after the completions.
    pub fn resume(&mut self, ring: &mut Ring, up: &mut impl Upstream) {
        for socket in self.pausing.drain(..) {
            ring.pause_receive(socket);
        }
        while let Some(&conn) = self.mourned.front() {
            if !up.deliver(FromFront::Gone { conn }, &mut self.outputs) {
                return;
            }
            self.mourned.pop_front();
        }
        if self.stalled.is_empty() || !up.ready() {
            return;
        }
        for (slot, generation) in std::mem::take(&mut self.stalled) {
            let key = self.key(slot, generation);
            let Some(input) = self.inputs.get_mut(slot as usize).and_then(Option::as_mut) else { continue };
            if input.generation != generation || self.outputs.ending(slot) != Ending::No {
                if input.generation == generation && !input.ended {
                    ring.resume_receive(input.socket); // drain, see `received`
                }
                continue;
            }
            if self.outputs.is_parked(slot) {
                self.stalled.push((slot, generation));
                continue;
            }
            let outcome = take_partial(input, key, &self.limits, up, &mut self.outputs);
            match outcome {
                Outcome::Refused => self.stalled.push((slot, generation)),
                Outcome::Wait if self.outputs.is_parked(slot) => self.stalled.push((slot, generation)),
                _ => {
                    input.reading = true;
                    if !input.ended {
                        ring.resume_receive(input.socket);
                    }
                    self.after_frames(slot, generation, outcome, up);
                }
            }
        }
    }

    /// Ends the turn: sends what is due, closes what is over.
    pub fn flush(&mut self, ring: &mut Ring, now_ms: u64, up: &mut impl Upstream) {
        let mut over = std::mem::take(&mut self.scratch);
        over.extend(
            self.outputs.due().iter().copied().filter(|&s| self.outputs.unsent(s) > self.limits.max_unsent),
        );
        for slot in over.drain(..) {
            if let Some(input) = self.inputs[slot as usize].as_ref() {
                let (generation, peer) = (input.generation, input.peer);
                tracing::warn!(%peer, limit = self.limits.max_unsent, "closing a client that does not read its replies");
                self.gone(slot, generation, up);
                self.drop_connection(ring, slot, generation);
            }
        }
        self.outputs.flush(ring, &mut over);
        for slot in over.drain(..) {
            let Some(input) = self.inputs[slot as usize].as_ref() else { continue };
            let (generation, ended) = (input.generation, input.ended);
            if ended {
                self.gone(slot, generation, up);
                self.drop_connection(ring, slot, generation);
            } else {
                self.lingering.push_back((now_ms + LINGER_MS, slot, generation));
            }
        }
        self.scratch = over;
    }

    /// Closes what has passed a deadline.
    pub fn expire(&mut self, ring: &mut Ring, now_ms: u64, up: &mut impl Upstream) {
        while let Some(&(deadline, slot, generation)) = self.lingering.front() {
            if deadline > now_ms {
                break;
            }
            self.lingering.pop_front();
            if self.input(slot, generation).is_some() {
                self.gone(slot, generation, up);
                self.drop_connection(ring, slot, generation);
            }
        }
    }

    /// The next millisecond at which [`Front::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<u64> {
        self.lingering.front().map(|d| d.0)
    }

    /// Whether input waits for the upstream.
    pub fn has_stalled(&self) -> bool {
        !self.stalled.is_empty() || !self.mourned.is_empty()
    }
}

/// A socket's place in our tables: the ring numbers its sockets densely and tells reuses apart.
fn place(socket: SocketId) -> (u32, u32) {
    (socket.index() as u32, socket.generation())
}

/// Why cutting frames came to an end.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// More bytes are needed.
    Wait,
    /// The upstream takes nothing now.
    Refused,
    /// The peer broke the protocol; the text says how.
    Violation(&'static str),
}

fn take_partial(
    input: &mut Input,
    key: ConnKey,
    limits: &FrontLimits,
    up: &mut impl Upstream,
    out: &mut Outputs,
) -> Outcome {
    let bytes = std::mem::take(&mut input.partial);
    let (used, outcome) = take_frames(input, key, &bytes, limits, up, out);
    input.partial = bytes;
    if used == input.partial.len() {
        input.partial.clear();
        if input.partial.capacity() > KEEP_INPUT {
            input.partial = Vec::new();
        }
    } else {
        input.partial.drain(..used);
    }
    outcome
}

/// Delivers the whole frames at the beginning of `bytes`; returns how many bytes they were.
fn take_frames(
    input: &mut Input,
    conn: ConnKey,
    bytes: &[u8],
    limits: &FrontLimits,
    up: &mut impl Upstream,
    out: &mut Outputs,
) -> (usize, Outcome) {
    let mut at = 0;
    if input.stage == Stage::Word {
        return (bytes.len(), Outcome::Wait);
    }
    if input.stage == Stage::Fresh {
        let Some(word) = bytes.first_chunk::<4>() else { return (0, Outcome::Wait) };
        if let Some(known) = Word::from_bytes(*word) {
            let Some(arg) = bytes.get(4..4 + known.argument_len()) else { return (0, Outcome::Wait) };
            if !up.deliver(FromFront::Word { conn, word: *word, arg }, out) {
                return (0, Outcome::Refused);
            }
            input.stage = Stage::Word;
            return (bytes.len(), Outcome::Wait);
        }
        input.stage = Stage::Frames;
    }
    while let Some(prefix) = bytes[at..].first_chunk::<4>() {
        let len = match usize::try_from(i32::from_be_bytes(*prefix)) {
            Ok(len) if len <= limits.max_frame => len,
            _ => return (at, Outcome::Violation("frame length out of range")),
        };
        let Some(frame) = bytes.get(at + 4..at + 4 + len) else { break };
        if out.is_parked(conn.slot) || !up.deliver(FromFront::Frame { conn, bytes: frame }, out) {
            return (at, Outcome::Refused);
        }
        at += 4 + len;
        if out.ending(conn.slot) != Ending::No {
            return (bytes.len(), Outcome::Wait);
        }
    }
    (at, Outcome::Wait)
}

#[cfg(test)]
#[path = "front_tests.rs"]
mod tests;
