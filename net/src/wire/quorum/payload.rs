//! What is inside the packets, type by type (quorum reference 5.1).
//!
//! Null where bytes are needed is an error, as it is at the reference. Packets whose payload is a transaction
//! (PROPOSAL, INFORM) are not looked into here: those bytes go to the log as they are.

use ringkeeper_engine::id::{Epoch, SessionId, Sid, Zxid};
use ringkeeper_engine::jute::{JuteError, Reader, put_bool, put_i32, put_i64};

use super::{QuorumPacket, kind, put_packet};

/// By these bytes members of this kind recognise each other.
const MAGIC: &[u8; 8] = b"RKmember";

/// The most sessions that one PING names: 480 kB, well below what servers of the reference take.
const MOST_TOUCHED: usize = 40_000;

/// The only protocol version that is spoken.
const PROTOCOL: i32 = 0x10000;

/// Why a packet does not hold what its type announces. Each costs the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Null where bytes must be.
    #[error("packet type {kind} has no data")]
    Null {
        /// Type of the packet.
        kind: i32,
    },
    /// The bytes are too few.
    #[error("packet type {kind}: {source}")]
    Jute {
        /// Type of the packet.
        kind: i32,
        /// What is missing.
        source: JuteError,
    },
    /// A protocol older than the one spoken here.
    #[error("packet type {kind} announces protocol version {version:#x}, at least {PROTOCOL:#x} is needed")]
    Protocol {
        /// Type of the packet.
        kind: i32,
        /// What was announced.
        version: i32,
    },
    /// An epoch that does not fit into a zxid.
    #[error("packet type {kind} announces epoch {epoch}")]
    Epoch {
        /// Type of the packet.
        kind: i32,
        /// What was announced.
        epoch: i64,
    },
}

fn body<'a, T>(
    packet: &QuorumPacket<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, JuteError>,
) -> Result<T, PayloadError> {
    let data = packet.data.ok_or(PayloadError::Null { kind: packet.kind })?;
    read(&mut Reader::new(data)).map_err(|source| PayloadError::Jute { kind: packet.kind, source })
}

fn epoch_of(packet: &QuorumPacket<'_>) -> Result<Epoch, PayloadError> {
    let epoch = packet.zxid.raw() >> 32;
    match u32::try_from(epoch) {
        Ok(epoch) => Ok(Epoch(epoch)),
        Err(_) => Err(PayloadError::Epoch { kind: packet.kind, epoch }),
    }
}

/// FOLLOWERINFO and OBSERVERINFO: who the learner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnerInfo {
    /// Its id.
    pub sid: Sid,
    /// The newest epoch it accepted.
    pub accepted: Epoch,
    /// Version of its configuration.
    pub config_version: i64,
    /// It wants INFORMs and no vote.
    pub observer: bool,
    /// It is a member of this kind.
    pub ours: bool,
}

impl LearnerInfo {
    /// Reads the first packet of a learner, which the caller has seen to be one of the two.
    ///
    /// # Errors
    /// When it lacks what is needed.
    pub fn decode(packet: &QuorumPacket<'_>) -> Result<LearnerInfo, PayloadError> {
        let (sid, version, config_version, ours) =
            body(packet, |reader| Ok((reader.i64()?, reader.i32()?, reader.i64()?, reader.rest() == MAGIC)))?;
        if version < PROTOCOL {
            return Err(PayloadError::Protocol { kind: packet.kind, version });
        }
        let observer = packet.kind == kind::OBSERVERINFO;
        Ok(LearnerInfo { sid: Sid(sid), accepted: epoch_of(packet)?, config_version, observer, ours })
    }

    /// Appends the packet.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut data = Vec::with_capacity(28);
        put_i64(&mut data, self.sid.0);
        put_i32(&mut data, PROTOCOL);
        put_i64(&mut data, self.config_version);
        if self.ours {
            data.extend_from_slice(MAGIC);
        }
        let kind = if self.observer { kind::OBSERVERINFO } else { kind::FOLLOWERINFO };
        put_packet(out, kind, Zxid::new(self.accepted, 0), Some(&data));
    }
}

/// LEADERINFO: the epoch a leader proposes, and whether it is of this kind.
///
/// # Errors
/// When it lacks what is needed.
pub fn leader_info(packet: &QuorumPacket<'_>) -> Result<(Epoch, bool), PayloadError> {
    let (_, ours) = body(packet, |reader| Ok((reader.i32()?, reader.rest() == MAGIC)))?;
    Ok((epoch_of(packet)?, ours))
}

/// Appends LEADERINFO, with the bytes that show our kind if `ours`.
pub fn put_leader_info(out: &mut Vec<u8>, epoch: Epoch, ours: bool) {
    let mut data = PROTOCOL.to_be_bytes().to_vec();
    if ours {
        data.extend_from_slice(MAGIC);
    }
    put_packet(out, kind::LEADERINFO, Zxid::new(epoch, 0), Some(&data));
}

/// ACKEPOCH: the learner's current epoch, `None` if it must not be counted.
///
/// # Errors
/// When it lacks what is needed.
pub fn ack_epoch(packet: &QuorumPacket<'_>) -> Result<Option<Epoch>, PayloadError> {
    let epoch = body(packet, Reader::i32)?;
    match u32::try_from(epoch) {
        Ok(epoch) => Ok(Some(Epoch(epoch))),
        Err(_) if epoch == -1 => Ok(None),
        Err(_) => Err(PayloadError::Epoch { kind: packet.kind, epoch: epoch.into() }),
    }
}

/// Appends ACKEPOCH. An epoch above `i32::MAX` cannot be said and is not counted.
pub fn put_ack_epoch(out: &mut Vec<u8>, last: Zxid, current: Option<Epoch>) {
    let current = current.and_then(|epoch| i32::try_from(epoch.0).ok()).unwrap_or(-1);
    put_packet(out, kind::ACKEPOCH, last, Some(&current.to_be_bytes()));
}

/// NEWLEADER: the epoch that begins. The data (a configuration as text) is the caller's.
///
/// # Errors
/// When the zxid holds no epoch.
pub fn new_leader(packet: &QuorumPacket<'_>) -> Result<Epoch, PayloadError> {
    epoch_of(packet)
}

/// A learner's PING: the sessions its clients touched, with their timeouts in milliseconds.
///
/// # Errors
/// When the data is null or no list of sessions.
pub fn touched(packet: &QuorumPacket<'_>) -> Result<Vec<(SessionId, i32)>, PayloadError> {
    body(packet, |reader| {
        let mut sessions = Vec::with_capacity(reader.remaining() / 12);
        while reader.remaining() > 0 {
            sessions.push((SessionId(reader.i64()?), reader.i32()?));
        }
        Ok(sessions)
    })
}

/// Appends a learner's PING, or as many as so many sessions need; `zxid` is the one of the leader's PING.
pub fn put_touched(out: &mut Vec<u8>, zxid: Zxid, mut sessions: &[(SessionId, i32)]) {
    loop {
        let (piece, rest) = sessions.split_at(sessions.len().min(MOST_TOUCHED));
        let mut data = Vec::with_capacity(piece.len() * 12);
        for (session, timeout_ms) in piece {
            put_i64(&mut data, session.0);
            put_i32(&mut data, *timeout_ms);
        }
        put_packet(out, kind::PING, zxid, Some(&data));
        if rest.is_empty() {
            return;
        }
        sessions = rest;
    }
}

/// REVALIDATE of a learner: is this session alive, with this timeout in milliseconds?
///
/// # Errors
/// When it lacks what is needed.
pub fn revalidate(packet: &QuorumPacket<'_>) -> Result<(SessionId, i32), PayloadError> {
    body(packet, |reader| Ok((SessionId(reader.i64()?), reader.i32()?)))
}

/// Appends a learner's REVALIDATE.
pub fn put_revalidate(out: &mut Vec<u8>, session: SessionId, timeout_ms: i32) {
    let mut data = session.0.to_be_bytes().to_vec();
    put_i32(&mut data, timeout_ms);
    put_packet(out, kind::REVALIDATE, Zxid::from_raw(-1), Some(&data));
}

/// REVALIDATE of a leader: is it?
///
/// # Errors
/// When it lacks what is needed.
pub fn revalidated(packet: &QuorumPacket<'_>) -> Result<(SessionId, bool), PayloadError> {
    body(packet, |reader| Ok((SessionId(reader.i64()?), reader.bool()?)))
}

/// Appends a leader's REVALIDATE.
pub fn put_revalidated(out: &mut Vec<u8>, session: SessionId, valid: bool) {
    let mut data = session.0.to_be_bytes().to_vec();
    put_bool(&mut data, valid);
    put_packet(out, kind::REVALIDATE, Zxid::from_raw(-1), Some(&data));
}

/// REQUEST: what a client of a learner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The client's session.
    pub session: SessionId,
    /// The client's number of the request.
    pub cxid: i32,
    /// The operation.
    pub op: i32,
    /// The request record, without its header.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the data of a REQUEST.
    ///
    /// # Errors
    /// When it lacks what is needed.
    pub fn decode(packet: &QuorumPacket<'a>) -> Result<Request<'a>, PayloadError> {
        body(packet, |reader| {
            let (session, cxid, op) = (SessionId(reader.i64()?), reader.i32()?, reader.i32()?);
            Ok(Request { session, cxid, op, body: reader.rest() })
        })
    }

    /// Appends the data of a REQUEST, for [`put_request`](super::put_request).
    pub fn put_data(&self, out: &mut Vec<u8>) {
        put_i64(out, self.session.0);
        put_i32(out, self.cxid);
        put_i32(out, self.op);
        out.extend_from_slice(self.body);
    }
}

/// COMMITANDACTIVATE and INFORMANDACTIVATE: who shall lead the new configuration, and for the second the
/// transaction (empty in the first).
///
/// # Errors
/// When the leader's id is missing.
pub fn activate<'a>(packet: &QuorumPacket<'a>) -> Result<(Sid, &'a [u8]), PayloadError> {
    body(packet, |reader| Ok((Sid(reader.i64()?), reader.rest())))
}

/// Reads the payload as what the packet announces, in both directions where they differ.
pub(super) fn fuzz(packet: &QuorumPacket<'_>) {
    match packet.kind {
        kind::FOLLOWERINFO | kind::OBSERVERINFO => drop(LearnerInfo::decode(packet)),
        kind::LEADERINFO => drop(leader_info(packet)),
        kind::ACKEPOCH => drop(ack_epoch(packet)),
        kind::NEWLEADER => drop(new_leader(packet)),
        kind::PING => drop(touched(packet)),
        kind::REVALIDATE => drop((revalidate(packet), revalidated(packet))),
        kind::REQUEST => drop(Request::decode(packet)),
        kind::COMMIT_AND_ACTIVATE | kind::INFORM_AND_ACTIVATE => drop(activate(packet)),
        _ => {}
    }
}
