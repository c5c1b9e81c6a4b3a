//! Which sockets of the loop's ring belong to peers, what each is for, and what is to be done with it.
//!
//! While a completion is looked at the ring is lent out, so wishes are noted here and performed at the end of the
//! turn. A socket stays in the table until the ring has said the last word about it.

use ringkeeper_engine::id::Sid;
use ringkeeper_engine::io::{Ring, SocketId};

use crate::zab::event::Link;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Accepted on the election port; who it is has not been said.
    Stranger,
    /// Being connected to this member's election port.
    DialMember(Sid),
    /// The election connection with this member.
    Member(Sid),
    /// Being connected to the leader's quorum port.
    DialLeader,
    /// A quorum connection.
    Link(Link),
    /// Closed by us, or about to end by itself: whatever it still says interests nobody.
    Ended,
}

#[derive(Debug)]
enum Wish {
    Receive(SocketId),
    Pause(SocketId),
    Close(SocketId),
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// By the ring's index.
    slots: Vec<Option<(SocketId, Role)>>,
    wishes: Vec<Wish>,
}

impl Sockets {
    pub fn insert(&mut self, socket: SocketId, role: Role) {
        let index = socket.index();
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        self.slots[index] = Some((socket, role));
    }

    /// What the socket is for, if it is ours.
    #[inline]
    pub fn role(&self, socket: SocketId) -> Option<Role> {
        let (id, role) = (*self.slots.get(socket.index())?)?;
        (id == socket).then_some(role)
    }

    /// The ring has said its last word about the socket.
    pub fn remove(&mut self, socket: SocketId) {
        if self.role(socket).is_some() {
            self.slots[socket.index()] = None;
        }
    }

    /// Receives from the socket, or stops doing so.
    pub fn receive(&mut self, socket: SocketId, on: bool) {
        self.wishes.push(if on { Wish::Receive(socket) } else { Wish::Pause(socket) });
    }

    /// Closes the socket; nothing that comes from it any more is looked at.
    pub fn close(&mut self, socket: SocketId) {
        if self.role(socket).is_some_and(|role| role != Role::Ended) {
            self.insert(socket, Role::Ended);
            self.wishes.push(Wish::Close(socket));
        }
    }

    /// Performs what was wished for.
    pub fn perform(&mut self, ring: &mut Ring) {
        for wish in self.wishes.drain(..) {
            match wish {
                Wish::Receive(socket) => ring.resume_receive(socket),
                Wish::Pause(socket) => ring.pause_receive(socket),
                Wish::Close(socket) => ring.close(socket),
            }
        }
    }
}
