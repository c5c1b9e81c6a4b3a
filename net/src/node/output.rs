//! The sending half of a front loop: what each connection still has to send, in the order it was said.
//!
//! Frames are appended to a connection's buffer and leave with one send per connection and turn, so replies
//! to pipelined requests travel together. At most one send per connection is in the ring; what comes meanwhile
//! waits in the buffer behind it and is counted, because a peer that asks and never reads must cost bounded
//! memory.

use ringkeeper_engine::io::{Ring, SocketId};

use crate::client::{ConnKey, Outbox};

/// A connection with this many unsent bytes is not read until they have gone.
const PARK_ABOVE: usize = 1 << 20;
/// Buffers above this capacity are given back to the allocator after a send instead of being kept.
const KEEP: usize = 32 * 1024;

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
    /// Its fullness as it was last noted.
    full: bool,
    /// The service wants no more requests of it for now.
    held: bool,
    listed: bool,
    ending: Ending,
    /// The front was told that it ends.
    dying: bool,
}

/// The sending halves of all connections of a front loop, by slot.
#[derive(Debug, Default)]
pub struct Outputs {
    slots: Vec<Option<Output>>,
    /// Slots that have something to do at the end of the turn.
    due: Vec<u32>,
    /// Connections that have become full or have room again, for a replica that cannot look; `None` if it can.
    changed: Option<Vec<(u32, u32, bool)>>,
}

impl Outputs {
    /// Outputs that note which connections become full or have room again.
    pub fn noting_fullness() -> Outputs {
        Outputs { changed: Some(Vec::new()), ..Outputs::default() }
    }

    /// Hands (slot, generation, full) of each change to `tell`, until it refuses one; `false` if it did.
    pub fn tell_fullness(&mut self, mut tell: impl FnMut(u32, u32, bool) -> bool) -> bool {
        let Some(changed) = &mut self.changed else { return true };
        let told =
            changed.iter().take_while(|&&(slot, generation, full)| tell(slot, generation, full)).count();
        changed.drain(..told);
        changed.is_empty()
    }

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
            full: false,
            held: false,
            listed: false,
            ending: Ending::No,
            dying: false,
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
        let Some(output) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if output.generation != generation || output.ending != Ending::No {
            return;
        }
        output.pending.extend_from_slice(bytes);
        if let Some(changed) = &mut self.changed
            && !output.full
            && output.pending.len() + output.in_ring > PARK_ABOVE
        {
            output.full = true;
            changed.push((slot, generation, true));
        }
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

    /// Asks not to be handed this connection's requests, or to be handed them again.
    pub fn hold(&mut self, slot: u32, generation: u32, held: bool) {
        if let Some(output) = self.get(slot, generation) {
            output.held = held;
        }
    }

    /// Whether the connection is not to be read for now: by request, or because it does not read its replies.
    pub fn is_parked(&self, slot: u32) -> bool {
        let output = self.slots.get(slot as usize).and_then(Option::as_ref);
        output.is_some_and(|o| o.held || o.pending.len() + o.in_ring > PARK_ABOVE)
    }

    /// Bytes said and not yet taken by the kernel.
    pub fn unsent(&self, slot: u32) -> usize {
        self.slots.get(slot as usize).and_then(Option::as_ref).map_or(0, |o| o.pending.len() + o.in_ring)
    }

    /// Slots with something new since the last flush; for the caller's own checks before [`Outputs::flush`].
    pub fn due(&self) -> &[u32] {
        &self.due
    }

    /// Hands everything due to the ring. Slots that are now ending, and must be closed after a while, are
    /// appended to `ended`.
    pub fn flush(&mut self, ring: &mut Ring, ended: &mut Vec<u32>) {
        for slot in self.due.drain(..) {
            let Some(output) = self.slots[slot as usize].as_mut() else { continue };
            output.listed = false;
            // A peer that reads nothing must not keep an ending connection for ever: its clock runs from now on.
            if output.ending == Ending::AfterFlush && !std::mem::replace(&mut output.dying, true) {
                ended.push(slot);
            }
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
            }
        }
    }

    /// A send has completed; its buffer comes back.
    pub fn sent(&mut self, slot: u32, generation: u32, mut bytes: Vec<u8>) {
        let Some(output) = self.get(slot, generation) else { return };
        output.in_ring = 0;
        let has_room = output.full && output.pending.len() <= PARK_ABOVE / 2;
        output.full &= !has_room;
        if bytes.capacity() <= KEEP {
            bytes.clear();
            output.spare = bytes;
        }
        if !output.pending.is_empty() || output.ending == Ending::AfterFlush {
            let output = self.slots[slot as usize].as_mut().expect("looked up above");
            Self::list(&mut self.due, slot, output);
        }
        if let Some(changed) = &mut self.changed
            && has_room
        {
            changed.push((slot, generation, false));
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

    fn is_full(&self, conn: ConnKey) -> bool {
        self.unsent(conn.slot) > PARK_ABOVE
    }

    fn pause(&mut self, conn: ConnKey, paused: bool) {
        self.hold(conn.slot, conn.generation, paused);
    }
}
