//! Reads along on quorum connections, in the order in which servers speak.
//!
//! It knows just enough of the protocol to say which words have weight, and checks what one connection shows alone:
//! one NEWLEADER, no acknowledgement of a proposal before that of NEWLEADER, all in order.

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_net::wire::quorum::{Decoder, kind};

use super::net::Side;

/// Ends the bytes of a snapshot.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";
/// Longest packet.
const LIMIT: usize = 8 << 20;

/// A word that has weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// The proposed epoch, of the leader.
    LeaderInfo,
    /// The epoch that is accepted.
    AckEpoch(Epoch),
    Diff,
    Trunc,
    Snap(Zxid),
    NewLeader,
    /// Acknowledges an epoch and the history up to this transaction.
    AckNewLeader(Epoch, Zxid),
    UpToDate(Epoch),
    Proposal(Zxid),
    /// Behind UPTODATE only.
    Commit(Zxid),
    Ack(Zxid),
}

impl Spoken {
    /// Whether it is one of the words between two servers that become leader and learner.
    pub fn is_of_a_synchronisation(self) -> bool {
        !matches!(self, Spoken::Proposal(_) | Spoken::Commit(_) | Spoken::Ack(_))
    }
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Tap {
    up: Decoder,
    down: Decoder,
    /// A snapshot is passing.
    snapshot: bool,
    invited: Epoch,
    new_leader: Option<Epoch>,
    acked_new_leader: bool,
    up_to_date: bool,
    /// The last transaction of the history before NEWLEADER.
    end: Zxid,
    proposed: Zxid,
    acked: Zxid,
}

impl Default for Tap {
    fn default() -> Tap {
        Tap {
            up: Decoder::new(LIMIT),
            down: Decoder::new(LIMIT),
            snapshot: false,
            invited: Epoch(0),
            new_leader: None,
            acked_new_leader: false,
            up_to_date: false,
            end: Zxid::ZERO,
            proposed: Zxid::ZERO,
            acked: Zxid::ZERO,
        }
    }
}

impl Tap {
    /// Takes what one side sends.
    pub fn read(&mut self, from: Side, bytes: &[u8], spoken: &mut Vec<Spoken>) {
        match from {
            Side::Learner => self.learner(bytes, spoken),
            Side::Leader => self.leader(bytes, spoken),
        }
    }

    fn learner(&mut self, bytes: &[u8], spoken: &mut Vec<Spoken>) {
        self.up.push(bytes);
        while let Some(packet) = self.up.next_packet().expect("a learner sends packets") {
            match packet.kind {
                kind::ACKEPOCH => spoken.push(Spoken::AckEpoch(self.invited)),
                kind::ACK if packet.zxid.counter() == 0 => {
                    let epoch = packet.zxid.epoch();
                    assert!(
                        self.new_leader == Some(epoch),
                        "ACK of {epoch:?}, NEWLEADER was {:?}",
                        self.new_leader
                    );
                    if !std::mem::replace(&mut self.acked_new_leader, true) {
                        spoken.push(Spoken::AckNewLeader(epoch, self.end));
                    }
                }
                kind::ACK => {
                    assert!(self.acked_new_leader, "AckAfterNewLeaderAck: ACK of {}", packet.zxid);
                    assert!(packet.zxid > self.acked, "AckOrder: {} behind {}", packet.zxid, self.acked);
                    self.acked = packet.zxid;
                    spoken.push(Spoken::Ack(packet.zxid));
                }
                _ => {}
            }
        }
    }

    fn leader(&mut self, bytes: &[u8], spoken: &mut Vec<Spoken>) {
        self.down.push(bytes);
        loop {
            if self.snapshot {
                let raw = self.down.raw();
                let Some(at) = raw.windows(SIGNATURE.len()).position(|it| it == SIGNATURE) else { return };
                self.down.consume(at + SIGNATURE.len());
                self.snapshot = false;
            }
            let Some(packet) = self.down.next_packet().expect("a leader sends packets") else { return };
            let zxid = packet.zxid;
            match packet.kind {
                kind::LEADERINFO => {
                    self.invited = zxid.epoch();
                    spoken.push(Spoken::LeaderInfo);
                }
                kind::DIFF => spoken.push(Spoken::Diff),
                kind::TRUNC => {
                    self.end = zxid;
                    spoken.push(Spoken::Trunc);
                }
                kind::SNAP => {
                    (self.snapshot, self.end) = (true, zxid);
                    spoken.push(Spoken::Snap(zxid));
                }
                kind::NEWLEADER => {
                    let again = self.new_leader.replace(zxid.epoch());
                    assert!(again.is_none(), "a second NEWLEADER over one connection");
                    spoken.push(Spoken::NewLeader);
                }
                kind::UPTODATE => {
                    self.up_to_date = true;
                    spoken.push(Spoken::UpToDate(self.new_leader.expect("NEWLEADER comes before UPTODATE")));
                }
                kind::PROPOSAL | kind::INFORM => {
                    assert!(zxid > self.proposed, "ProposalOrder: {zxid} behind {}", self.proposed);
                    self.proposed = zxid;
                    if self.new_leader.is_none() {
                        self.end = zxid;
                    }
                    spoken.push(if self.up_to_date && packet.kind == kind::INFORM {
                        Spoken::Commit(zxid)
                    } else {
                        Spoken::Proposal(zxid)
                    });
                }
                kind::COMMIT if self.up_to_date => spoken.push(Spoken::Commit(zxid)),
                _ => {}
            }
        }
    }
}
