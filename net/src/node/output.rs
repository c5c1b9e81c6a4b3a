//! The sending half of a front loop: what each connection still has to send, in the order it was said.
//!
//! Frames are appended to a connection's buffer and leave with one send per connection and turn, so replies
//! to pipelined requests travel together. At most one send per connection is in the ring; what comes meanwhile
//! waits in the buffer behind it and is counted, because a peer that asks and never reads must cost bounded
//! memory.

use ringkeeper_engine::io::{Ring, SocketId};

use crate::client::{ConnKey, Outbox};

/// Buffers above this capacity are given back to the allocator after a send instead of being kept.
const KEEP: usize = 256 * 1024;

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It goes on.
    No,
    /// Once everything is sent, shut down the sending side.
    AfterFlush,
    /// The sending side is shut down.
    Flushed,
}

/// What a connection has to send.
#[derive(Debug)]
struct Output {
    generation: u32,
    socket: SocketId,
    /// Not yet handed to the ring.
    pending: Vec<u8>,
    /// Empty and ready to be swapped in while `pending` is in the ring.
    spare: Vec<u8>,
    /// Bytes in the ring; 0 when no send is there.
    in_ring: usize,
    /// Whether anything was ever said: the first thing said to a client is that its session exists.
    spoken: bool,
    listed: bool,
    ending: Ending,
}

/// The sending halves of all connections of a front loop, by slot.
#[derive(Debug, Default)]
pub struct Outputs {
    slots: Vec<Option<Output>>,
    /// Slots that have something to do at the end of the turn.
    due: Vec<u32>,
    /// Frames handed over since the last look, for the statistics.
    pub frames: u64,
}

impl Outputs {
    /// A connection begins in `slot`.
    pub fn open(&mut self, slot: u32, generation: u32, socket: SocketId) {
        let index = slot as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(Output {
            generation,
            socket,
            pending: Vec::new(),
            spare: Vec::new(),
            in_ring: 0,
            spoken: false,
            listed: false,
            ending: Ending::No,
        });
    }

    /// The connection in `slot` is over; whatever it still had to say is dropped.
    pub fn forget(&mut self, slot: u32) {
        self.slots[slot as usize] = None;
    }

    fn get(&mut self, slot: u32, generation: u32) -> Option<&mut Output> {
        self.slots.get_mut(slot as usize)?.as_mut().filter(|o| o.generation == generation)
    }

    fn list(due: &mut Vec<u32>, slot: u32, output: &mut Output) {
        if !output.listed {
            output.listed = true;
            due.push(slot);
        }
    }

    /// Appends bytes for the connection, unless it has gone or is ending.
    pub fn push(&mut self, slot: u32, generation: u32, bytes: &[u8]) {
        self.frames += 1;
        let Some(output) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if output.generation != generation || output.ending != Ending::No {
            return;
        }
        output.spoken = true;
        output.pending.extend_from_slice(bytes);
        Self::list(&mut self.due, slot, output);
    }

    /// Nothing more will be said after what has been said so far.
    pub fn end(&mut self, slot: u32, generation: u32) {
        let Some(output) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if output.generation == generation && output.ending == Ending::No {
            output.ending = Ending::AfterFlush;
            Self::list(&mut self.due, slot, output);
        }
    }

    /// How the connection stands: whether it is ending.
    pub fn ending(&self, slot: u32) -> Ending {
        self.slots.get(slot as usize).and_then(Option::as_ref).map_or(Ending::Flushed, |o| o.ending)
    }

    /// Whether the connection was ever answered.
    pub fn spoken(&self, slot: u32) -> bool {
        self.slots.get(slot as usize).and_then(Option::as_ref).is_some_and(|o| o.spoken)
    }

    /// Bytes said and not yet taken by the kernel.
    pub fn unsent(&self, slot: u32) -> usize {
        self.slots.get(slot as usize).and_then(Option::as_ref).map_or(0, |o| o.pending.len() + o.in_ring)
    }

    /// Slots with something new since the last flush; for the caller's own checks before [`Outputs::flush`].
    pub fn due(&self) -> &[u32] {
        &self.due
    }

    /// Hands everything due to the ring. Slots whose sending side has now been shut down are appended to
    /// `ended`.
    pub fn flush(&mut self, ring: &mut Ring, ended: &mut Vec<u32>) {
        for slot in self.due.drain(..) {
            let Some(output) = self.slots[slot as usize].as_mut() else { continue };
            output.listed = false;
            if output.in_ring > 0 {
                continue;
            }
            if !output.pending.is_empty() {
                let bytes = std::mem::replace(&mut output.pending, std::mem::take(&mut output.spare));
                output.in_ring = bytes.len();
                ring.send(output.socket, bytes, 0);
            } else if output.ending == Ending::AfterFlush {
                output.ending = Ending::Flushed;
                ring.shutdown_write(output.socket);
                ended.push(slot);
            }
        }
    }

    /// A send has completed; its buffer comes back.
    pub fn sent(&mut self, slot: u32, generation: u32, mut bytes: Vec<u8>) {
        let Some(output) = self.get(slot, generation) else { return };
        output.in_ring = 0;
        if bytes.capacity() <= KEEP {
            bytes.clear();
            output.spare = bytes;
        }
        if !output.pending.is_empty() || output.ending == Ending::AfterFlush {
            let output = self.slots[slot as usize].as_mut().expect("looked up above");
            Self::list(&mut self.due, slot, output);
        }
    }
}

impl Outbox for Outputs {
    fn send(&mut self, conn: ConnKey, frame: &[u8]) {
        self.push(conn.slot, conn.generation, frame);
    }

    fn close(&mut self, conn: ConnKey) {
        self.end(conn.slot, conn.generation);
    }
}
