//! What leader and learner say to each other on the quorum port, as bytes.
//!
//! A connection is a plain sequence of [`QuorumPacket`]s without length prefixes, except that raw snapshot bytes
//! follow a SNAP (quorum reference 3.2, 4.4, 5.1). [`Decoder`] takes the packets out of the stream; [`payload`] reads
//! and writes what is inside them. A learner and a leader of this kind recognise each other by eight bytes behind
//! the record in LearnerInfo and LEADERINFO, which Apache servers do not look at.
//!
//! Nothing here knows a phase or a role: that is `net::zab`. `net::member` reads and writes the packets.

mod decoder;
pub mod payload;
#[cfg(test)]
mod tests;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::{Reader, put_buffer, put_i32, put_i64, put_len};

pub use decoder::{Decoder, StreamError};

/// Packet types.
pub mod kind {
    /// A client's request, learner to leader.
    pub const REQUEST: i32 = 1;
    /// A transaction to be logged, leader to follower.
    pub const PROPOSAL: i32 = 2;
    /// A transaction or the history is durable, learner to leader.
    pub const ACK: i32 = 3;
    /// A transaction may be applied, leader to follower.
    pub const COMMIT: i32 = 4;
    /// A sign of life; the answer carries touched sessions.
    pub const PING: i32 = 5;
    /// Is this session alive?
    pub const REVALIDATE: i32 = 6;
    /// Answers a client's sync.
    pub const SYNC: i32 = 7;
    /// A committed transaction, leader to observer.
    pub const INFORM: i32 = 8;
    /// COMMIT of a new configuration.
    pub const COMMIT_AND_ACTIVATE: i32 = 9;
    /// The end of the leader's history.
    pub const NEWLEADER: i32 = 10;
    /// First packet of a follower.
    pub const FOLLOWERINFO: i32 = 11;
    /// The learner may serve.
    pub const UPTODATE: i32 = 12;
    /// Synchronisation: missing transactions follow.
    pub const DIFF: i32 = 13;
    /// Synchronisation: cut the log first.
    pub const TRUNC: i32 = 14;
    /// Synchronisation: a whole snapshot follows.
    pub const SNAP: i32 = 15;
    /// First packet of an observer.
    pub const OBSERVERINFO: i32 = 16;
    /// The epoch that the leader proposes.
    pub const LEADERINFO: i32 = 17;
    /// The epoch is accepted.
    pub const ACKEPOCH: i32 = 18;
    /// INFORM of a new configuration.
    pub const INFORM_AND_ACTIVATE: i32 = 19;
}

/// An identity of a client: scheme and id, as bytes.
pub type Identity<'a> = (&'a [u8], &'a [u8]);

/// One packet, borrowed from the stream.
#[derive(Debug, Clone)]
pub struct QuorumPacket<'a> {
    /// See [`kind`].
    pub kind: i32,
    /// What it means depends on the kind.
    pub zxid: Zxid,
    /// The payload; null differs from empty.
    pub data: Option<&'a [u8]>,
    /// The encoded vector of identities, its count in front.
    auth: &'a [u8],
}

impl<'a> QuorumPacket<'a> {
    /// The identities of the client, only in REQUEST.
    pub fn identities(&self) -> impl Iterator<Item = Identity<'a>> + use<'a> {
        let mut reader = Reader::new(self.auth);
        let count = reader.count(8).ok().flatten().unwrap_or(0);
        (0..count).map_while(move |_| {
            let scheme = reader.ustring().ok()?.unwrap_or(b"");
            Some((scheme, reader.ustring().ok()?.unwrap_or(b"")))
        })
    }
}

/// Appends a packet without identities. `data` of at most 2 MiB or so: receivers refuse more.
pub fn put_packet(out: &mut Vec<u8>, kind: i32, zxid: Zxid, data: Option<&[u8]>) {
    put_head(out, kind, zxid, data);
    put_i32(out, -1);
}

/// Appends a REQUEST with the identities of its client.
pub fn put_request(out: &mut Vec<u8>, data: &[u8], identities: &[Identity<'_>]) {
    put_head(out, kind::REQUEST, Zxid::from_raw(-1), Some(data));
    put_len(out, identities.len());
    for (scheme, id) in identities {
        put_buffer(out, Some(scheme));
        put_buffer(out, Some(id));
    }
}

fn put_head(out: &mut Vec<u8>, kind: i32, zxid: Zxid, data: Option<&[u8]>) {
    put_i32(out, kind);
    put_i64(out, zxid.raw());
    put_buffer(out, data);
}

/// Walks `bytes` as a stream that arrives in two pieces, and every payload as what its packet announces. For
/// fuzzers: nothing may panic.
pub fn fuzz(bytes: &[u8]) {
    let mut decoder = Decoder::new(4096);
    for piece in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
        decoder.push(piece);
        while let Ok(Some(packet)) = decoder.next_packet() {
            packet.identities().count();
            payload::fuzz(&packet);
        }
    }
}
