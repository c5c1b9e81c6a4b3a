//! The election connections: one per pair of members, made by the larger sid, telling only the newest vote.
//!
//! Whoever has something to tell and no connection connects. A larger member keeps the connection it has made; a
//! smaller one says hello, hangs up and is connected to (quorum reference 2.1). A connection that was made takes
//! the place of the one before, and the last notification is told again over it (2.3). Idle connections stay.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringkeeper_engine::id::Sid;
use ringkeeper_engine::io::{Ring, SocketId};

use super::dial::{Backoff, Dial, Target};
use super::resolve::Resolver;
use super::sockets::{Role, Sockets};
use super::strangers::Strangers;
use super::{PeerHandler, PeerOptions};
use crate::wire::election::{FrameError, Hello, Notification, frame};

/// Milliseconds that a larger member has to connect to us after we have said hello.
const CALL_BACK_MS: u64 = 200;
/// An attempt older than this is begun anew when the member shows that it is there.
const STALE_MS: u64 = 100;
/// What was told so shortly before the member ended the connection was perhaps never read, and is told again.
const UNREAD_MS: u64 = 1000;

/// All that concerns the election port.
#[derive(Debug)]
pub(super) struct Election {
    me: Sid,
    hello: Vec<u8>,
    connect_timeout_ms: u64,
    hello_timeout_ms: u64,
    members: BTreeMap<Sid, Member>,
    strangers: Strangers,
}

/// Another member.
#[derive(Debug)]
struct Member {
    host: String,
    port: u16,
    wire: Option<Wire>,
    dial: Option<Dial>,
    backoff: Backoff,
    /// It has asked to be connected to.
    called: bool,
    /// The newest frame that it has not been told.
    unsent: Option<Arc<Vec<u8>>>,
    /// The last frame that was handed to a connection.
    told: Option<Arc<Vec<u8>>>,
}

/// The connection with a member.
#[derive(Debug)]
struct Wire {
    socket: SocketId,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// Nothing has been done with it yet.
    fresh: bool,
    /// We are the connecting side: hello comes first.
    greet: bool,
    /// A frame is in the ring.
    sending: bool,
    /// When the last frame was handed to the ring, in milliseconds.
    told_at: Option<u64>,
}

impl Member {
    /// A connection stands: it takes the place of the one before, and of attempts to make one.
    fn join(&mut self, socket: SocketId, greet: bool, sockets: &mut Sockets) {
        if let Some(dial) = self.dial.take()
            && dial.socket() != Some(socket)
        {
            dial.abandon(sockets);
        }
        self.part(sockets, false);
        self.called = false;
        if self.unsent.is_none() {
            self.unsent = self.told.clone();
        }
        self.wire =
            Some(Wire { socket, partial: Vec::new(), fresh: true, greet, sending: false, told_at: None });
    }

    /// The connection ends, if there is one. What it may not have delivered is told again over the next.
    fn part(&mut self, sockets: &mut Sockets, undelivered: bool) {
        if let Some(wire) = self.wire.take() {
            sockets.close(wire.socket);
            if (wire.sending || undelivered) && self.unsent.is_none() {
                self.unsent = self.told.clone();
            }
        }
    }

    fn owns(&self, socket: SocketId) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.socket == socket)
    }

    fn wants_connection(&self) -> bool {
        self.wire.is_none() && self.dial.is_none() && (self.called || self.unsent.is_some())
    }
}

impl Election {
    pub fn new(options: &PeerOptions) -> Election {
        let mut members = BTreeMap::new();
        let mut addresses = Vec::new();
        for member in &options.members {
            if member.sid == options.me {
                addresses.push((member.host.clone(), member.election_port));
                continue;
            }
            members.insert(
                member.sid,
                Member {
                    host: member.host.clone(),
                    port: member.election_port,
                    wire: None,
                    dial: None,
                    backoff: Backoff::default(),
                    called: false,
                    unsent: None,
                    told: None,
                },
            );
        }
        Election {
            me: options.me,
            hello: Hello { sid: options.me, addresses }.encode(),
            connect_timeout_ms: options.connect_timeout_ms,
            hello_timeout_ms: options.hello_timeout_ms,
            members,
            strangers: Strangers::default(),
        }
    }

    /// Tells a member, in place of what it has not been told yet. False if there is no such member.
    pub fn notify(&mut self, to: Sid, frame: Vec<u8>) -> bool {
        let Some(member) = self.members.get_mut(&to) else { return false };
        member.unsent = Some(Arc::new(frame));
        member.backoff.refresh();
        true
    }

    /// Somebody has connected.
    pub fn accepted(&mut self, socket: SocketId, peer: SocketAddr, sockets: &mut Sockets, now_ms: u64) {
        sockets.insert(socket, Role::Stranger);
        sockets.receive(socket, true);
        self.strangers.admit(socket, peer.ip(), now_ms, self.hello_timeout_ms);
    }

    /// A stranger says something.
    pub fn heard_stranger(
        &mut self,
        socket: SocketId,
        data: &[u8],
        sockets: &mut Sockets,
        now_ms: u64,
        handler: &mut impl PeerHandler,
    ) {
        let Some(stranger) = self.strangers.hear(socket, data) else { return };
        let (hello, used) = match Hello::decode(&stranger.said) {
            Ok(None) => return,
            Ok(Some(whole)) => whole,
            Err(error) => {
                tracing::debug!("closing an election connection: {error}");
                return self.dismiss(socket, sockets);
            }
        };
        let from = hello.sid;
        let Some(member) = self.members.get_mut(&from) else {
            tracing::debug!("closing an election connection of server {from}, which is no other member");
            return self.dismiss(socket, sockets);
        };
        // What comes of this is known the moment the member is seen to be there.
        member.backoff.refresh();
        if from < self.me {
            // Its connection is not kept, and neither is the one that it no longer believes in.
            member.part(sockets, false);
            if let Some(dial) = member.dial.take_if(|dial| dial.began + STALE_MS <= now_ms) {
                dial.abandon(sockets);
            }
            member.called = true;
            return self.dismiss(socket, sockets);
        }
        let rest = self.strangers.take(socket).map_or_else(Vec::new, |stranger| stranger.said);
        member.join(socket, false, sockets);
        sockets.insert(socket, Role::Member(from));
        self.heard_member(from, socket, &rest[used..], sockets, handler);
    }

    fn dismiss(&mut self, socket: SocketId, sockets: &mut Sockets) {
        self.strangers.take(socket);
        sockets.close(socket);
    }

    /// A member says something.
    pub fn heard_member(
        &mut self,
        from: Sid,
        socket: SocketId,
        data: &[u8],
        sockets: &mut Sockets,
        handler: &mut impl PeerHandler,
    ) {
        let Some(member) = self.members.get_mut(&from).filter(|member| member.owns(socket)) else { return };
        let Some(wire) = &mut member.wire else { return };
        wire.partial.extend_from_slice(data);
        let mut at = 0;
        let outcome = loop {
            match frame(&wire.partial[at..]) {
                Ok(Some((body, used))) => {
                    at += used;
                    match Notification::decode(body) {
                        Ok(said) => {
                            member.backoff.refresh();
                            handler.notified(from, &said.vote);
                        }
                        Err(error) => tracing::debug!("skipping a frame of server {from}: {error}"),
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        wire.partial.drain(..at);
        if wire.partial.is_empty() {
            wire.partial = Vec::new();
        }
        if let Err(error) = outcome {
            let error: FrameError = error;
            tracing::debug!("closing the election connection of server {from}: {error}");
            member.part(sockets, false);
        }
    }

    /// A stranger has hung up.
    pub fn stranger_gone(&mut self, socket: SocketId, sockets: &mut Sockets) {
        self.dismiss(socket, sockets);
    }

    /// The connection of a member has ended, or broke.
    pub fn gone(
        &mut self,
        from: Sid,
        socket: SocketId,
        result: &io::Result<()>,
        sockets: &mut Sockets,
        now_ms: u64,
    ) {
        let Some(member) = self.members.get_mut(&from).filter(|member| member.owns(socket)) else { return };
        let told_at = member.wire.as_ref().and_then(|wire| wire.told_at);
        let unread = told_at.is_some_and(|at| at + UNREAD_MS > now_ms);
        member.part(sockets, result.is_err() || unread);
    }

    /// A frame has left the ring.
    pub fn sent(&mut self, to: Sid, socket: SocketId, result: &io::Result<()>, sockets: &mut Sockets) {
        let Some(member) = self.members.get_mut(&to).filter(|member| member.owns(socket)) else { return };
        match result {
            Ok(()) => {
                if let Some(wire) = &mut member.wire {
                    wire.sending = false;
                }
            }
            Err(_) => member.part(sockets, true),
        }
    }

    /// A member was reached.
    pub fn connected(&mut self, to: Sid, socket: SocketId, sockets: &mut Sockets, now_ms: u64) {
        let Some(member) = self.members.get_mut(&to) else { return sockets.close(socket) };
        if member.dial.as_ref().is_none_or(|dial| dial.socket() != Some(socket)) {
            return sockets.close(socket);
        }
        member.backoff.tried(now_ms, if to > self.me { CALL_BACK_MS } else { 0 });
        member.join(socket, true, sockets);
        sockets.insert(socket, Role::Member(to));
        sockets.receive(socket, true);
    }

    /// An address of a member could not be reached.
    pub fn connect_failed(&mut self, to: Sid, socket: SocketId, why: io::Error) {
        if let Some(dial) = self.members.get_mut(&to).and_then(|member| member.dial.as_mut())
            && dial.socket() == Some(socket)
        {
            dial.failed(why);
        }
    }

    /// Does what is due: sends, connects, hangs up on those who stay silent.
    pub fn turn(&mut self, ring: &mut Ring, resolver: &mut Resolver, sockets: &mut Sockets, now_ms: u64) {
        while let Some(socket) = self.strangers.pop_surplus(now_ms) {
            sockets.close(socket);
        }
        for (&sid, member) in &mut self.members {
            if member.wants_connection() && now_ms >= member.backoff.next() {
                let target = Target {
                    host: member.host.clone(),
                    port: member.port,
                    role: Role::DialMember(sid),
                    limit_ms: self.connect_timeout_ms,
                };
                member.dial = Some(Dial::begin(target, resolver, now_ms));
            }
            if let Some(dial) = &mut member.dial
                && let Err(error) = dial.turn(ring, resolver, sockets, now_ms)
            {
                tracing::debug!("connecting to the election port of server {sid}: {error}");
                (member.dial, member.called) = (None, false);
                member.backoff.tried(now_ms, 0);
            }
            let Some(wire) = &mut member.wire else { continue };
            if std::mem::take(&mut wire.fresh) {
                // A machine that vanished answers nothing, and what it was told must be told again.
                ring.give_up_after(wire.socket, Duration::from_millis(self.connect_timeout_ms));
            }
            if std::mem::take(&mut wire.greet) {
                // One send: the reference refuses a hello whose text comes in two pieces.
                ring.send(wire.socket, self.hello.clone(), 0);
                if sid > self.me {
                    ring.close_when_sent(wire.socket);
                    sockets.insert(wire.socket, Role::Ended);
                    member.wire = None;
                    continue;
                }
            }
            if !wire.sending
                && let Some(frame) = member.unsent.take()
            {
                (wire.sending, wire.told_at) = (true, Some(now_ms));
                ring.send_shared(wire.socket, frame.clone(), 0);
                member.told = Some(frame);
            }
        }
    }

    /// When [`Election::turn`] has something to do, if nothing happens.
    pub fn next_deadline(&self, now_ms: u64) -> Option<u64> {
        let members = self.members.values().filter_map(|member| match &member.dial {
            Some(dial) => Some(dial.next_deadline(now_ms)),
            None => member.wants_connection().then(|| member.backoff.next()),
        });
        members.chain(self.strangers.next_deadline()).min()
    }

    /// Members with whom there is a connection.
    pub fn connections(&self) -> usize {
        self.members.values().filter(|member| member.wire.is_some()).count()
    }

    /// Connections of those who have not said who they are.
    pub fn strangers(&self) -> usize {
        self.strangers.len()
    }
}
