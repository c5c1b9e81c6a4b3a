//! From packets to events, and from actions to packets, where no transaction is involved.
//!
//! REQUEST, REVALIDATE, SYNC and what a learner's PING carries are between the clients' services of two servers: the
//! core sees no more of them than that the learner is alive.

use ringkeeper_engine::id::Zxid;

use super::action::ToLearner;
use super::event::{FromLeader, FromLearner};
use crate::wire::quorum::payload::{
    LearnerInfo, PayloadError, ack_epoch, activate, leader_info, new_leader, put_leader_info,
};
use crate::wire::quorum::{QuorumPacket, kind, put_packet};

/// What a packet of the leader is to the core; `None` if it is nothing.
///
/// # Errors
/// When it lacks what its type needs; the connection must be closed.
pub fn from_leader(packet: &QuorumPacket<'_>) -> Result<Option<FromLeader>, PayloadError> {
    let zxid = packet.zxid;
    Ok(Some(match packet.kind {
        kind::LEADERINFO => {
            let (epoch, ours) = leader_info(packet)?;
            FromLeader::LeaderInfo(epoch, ours)
        }
        kind::DIFF => FromLeader::Diff(zxid),
        kind::TRUNC => FromLeader::Trunc(zxid),
        kind::SNAP => FromLeader::Snap(zxid),
        kind::NEWLEADER => FromLeader::NewLeader(new_leader(packet)?),
        kind::UPTODATE => FromLeader::UpToDate,
        kind::PROPOSAL | kind::INFORM if packet.data.is_none() => {
            return Err(PayloadError::Null { kind: packet.kind });
        }
        kind::PROPOSAL => FromLeader::Proposal(zxid),
        kind::COMMIT => FromLeader::Commit(zxid),
        kind::INFORM => FromLeader::Inform(zxid),
        kind::PING => FromLeader::Ping(zxid),
        kind::COMMIT_AND_ACTIVATE => FromLeader::CommitAndActivate(zxid, activate(packet)?.0),
        kind::INFORM_AND_ACTIVATE => FromLeader::InformAndActivate(zxid, activate(packet)?.0),
        _ => return Ok(None),
    }))
}

/// What a packet of a learner is to the core.
///
/// # Errors
/// When it lacks what its type needs; the connection must be closed.
pub fn from_learner(packet: &QuorumPacket<'_>) -> Result<FromLearner, PayloadError> {
    Ok(match packet.kind {
        kind::FOLLOWERINFO | kind::OBSERVERINFO => FromLearner::Info(LearnerInfo::decode(packet)?),
        kind::ACKEPOCH => FromLearner::AckEpoch(packet.zxid, ack_epoch(packet)?),
        kind::ACK => FromLearner::Ack(packet.zxid),
        _ => FromLearner::Alive,
    })
}

/// Appends a packet to a learner. `config` is the configuration as text, which NEWLEADER carries.
pub fn put_to_learner(out: &mut Vec<u8>, packet: ToLearner, config: &[u8]) {
    match packet {
        ToLearner::LeaderInfo(epoch) => put_leader_info(out, epoch, true),
        ToLearner::Diff(end) => put_packet(out, kind::DIFF, end, None),
        ToLearner::Trunc(cut) => put_packet(out, kind::TRUNC, cut, None),
        ToLearner::NewLeader(epoch) => put_packet(out, kind::NEWLEADER, Zxid::new(epoch, 0), Some(config)),
        ToLearner::UpToDate => put_packet(out, kind::UPTODATE, Zxid::from_raw(-1), None),
        ToLearner::Ping(last) => put_packet(out, kind::PING, last, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::quorum::Decoder;
    use ringkeeper_engine::id::{Epoch, Sid};

    fn read<T>(bytes: &[u8], with: impl Fn(&QuorumPacket<'_>) -> T) -> T {
        let mut decoder = Decoder::new(1000);
        decoder.push(bytes);
        with(&decoder.next_packet().unwrap().unwrap())
    }

    #[test]
    fn what_a_leader_writes_a_learner_reads() {
        let z = Zxid::new(Epoch(3), 4);
        for (said, heard) in [
            (ToLearner::LeaderInfo(Epoch(3)), FromLeader::LeaderInfo(Epoch(3), true)),
            (ToLearner::Diff(z), FromLeader::Diff(z)),
            (ToLearner::Trunc(z), FromLeader::Trunc(z)),
            (ToLearner::NewLeader(Epoch(3)), FromLeader::NewLeader(Epoch(3))),
            (ToLearner::UpToDate, FromLeader::UpToDate),
            (ToLearner::Ping(z), FromLeader::Ping(z)),
        ] {
            let mut out = Vec::new();
            put_to_learner(&mut out, said, b"version=0");
            assert_eq!(read(&out, from_leader), Ok(Some(heard)));
        }
    }

    #[test]
    fn a_reconfiguration_names_who_leads_from_then_on() {
        let z = Zxid::new(Epoch(3), 4);
        let mut data = 5i64.to_be_bytes().to_vec();
        let packet = |kind, data: &[u8]| {
            let mut out = Vec::new();
            put_packet(&mut out, kind, z, Some(data));
            out
        };
        let heard = read(&packet(kind::COMMIT_AND_ACTIVATE, &data), from_leader);
        assert_eq!(heard, Ok(Some(FromLeader::CommitAndActivate(z, Sid(5)))));
        assert!(read(&packet(kind::COMMIT_AND_ACTIVATE, &data[..7]), from_leader).is_err());
        data.extend_from_slice(b"txn");
        let bytes = packet(kind::INFORM_AND_ACTIVATE, &data);
        assert_eq!(read(&bytes, from_leader), Ok(Some(FromLeader::InformAndActivate(z, Sid(5)))));
        read(&bytes, |packet| assert_eq!(activate(packet), Ok((Sid(5), &b"txn"[..]))));
    }

    #[test]
    fn a_transaction_is_not_null_and_what_is_not_the_cores_business_is_a_sign_of_life() {
        let packet = |kind| {
            let mut out = Vec::new();
            put_packet(&mut out, kind, Zxid::ZERO, None);
            out
        };
        let null = Err(PayloadError::Null { kind: kind::PROPOSAL });
        assert_eq!(read(&packet(kind::PROPOSAL), from_leader), null);
        assert_eq!(read(&packet(kind::SYNC), from_leader), Ok(None));
        assert_eq!(read(&packet(kind::SYNC), from_learner), Ok(FromLearner::Alive));
        assert_eq!(read(&packet(kind::ACK), from_learner), Ok(FromLearner::Ack(Zxid::ZERO)));
    }
}
