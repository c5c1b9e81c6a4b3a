//! What other members send: bytes become packets, and packets become events of the protocol core or calls of the
//! clients' service.
//!
//! Whatever a peer sends wrongly costs its connection and nothing else.

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::txn::{self, TxnError};

use super::links::Synchronisation;
use super::{Event, Link, Member};
use crate::client::{CannotPropose, Forwarded, LeaderFault, Outbox};
use crate::wire::quorum::payload::{
    PayloadError, Request, activate, put_revalidated, revalidate, revalidated, touched,
};
use crate::wire::quorum::{Decoder, QuorumPacket, StreamError, kind};
use crate::zab::event::{FromLeader, FromLearner};
use crate::zab::packet::{from_leader, from_learner};

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
enum Violation {
    #[error("a proposal that cannot be applied: {0}")]
    Transaction(#[from] TxnError),
    #[error("a packet for {announced} carries transaction {carried}")]
    OtherTransaction { announced: Zxid, carried: Zxid },
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error(transparent)]
    Leader(#[from] LeaderFault),
    #[error(transparent)]
    CannotPropose(#[from] CannotPropose),
    #[error("transaction {zxid} has {len} bytes, and the log takes at most {max}")]
    TooLong { zxid: Zxid, len: usize, max: usize },
}

/// The transaction that a packet carries, if it is of those that do. What is logged is acknowledged and must be applied
/// one day, by the next start at the latest: so what cannot be is not taken.
fn transaction<'a>(
    packet: &QuorumPacket<'a>,
    said: FromLeader,
    max: usize,
) -> Result<Option<&'a [u8]>, Violation> {
    let (announced, payload) = match said {
        FromLeader::Proposal(zxid) | FromLeader::Inform(zxid) => (zxid, packet.data),
        // Behind the number of who leads then.
        FromLeader::InformAndActivate(zxid, _) => (zxid, Some(activate(packet)?.1)),
        _ => return Ok(None),
    };
    if let Some(payload) = payload {
        if payload.len() > max {
            return Err(Violation::TooLong { zxid: announced, len: payload.len(), max });
        }
        let carried = txn::decode(payload)?.0.zxid;
        if carried != announced {
            return Err(Violation::OtherTransaction { announced, carried });
        }
    }
    Ok(payload)
}

impl Member {
    /// Bytes from a quorum connection.
    pub fn received(&mut self, link: Link, bytes: &[u8], out: &mut impl Outbox) {
        let Some(ensemble) = self.ensemble.as_mut().filter(|ensemble| !ensemble.is_over(link)) else {
            return;
        };
        ensemble.links.accepted(link);
        let Some(mut decoder) = self.lend_decoder(link) else { return };
        // A snapshot need not be gathered first.
        let taken = match decoder.raw().is_empty() && self.receives(link) {
            true => self.take_in(link, bytes, out),
            false => 0,
        };
        decoder.push(&bytes[taken..]);
        self.read(link, &mut decoder, out);
        self.return_decoder(link, decoder);
    }

    /// Goes on with what had to wait in a connection.
    pub(super) fn resume(&mut self, link: Link, out: &mut impl Outbox) {
        let Some(mut decoder) = self.lend_decoder(link) else { return };
        self.read(link, &mut decoder, out);
        self.return_decoder(link, decoder);
    }

    fn lend_decoder(&mut self, link: Link) -> Option<Decoder> {
        self.ensemble.as_mut()?.links.get_mut(link)?.decoder.take()
    }

    fn return_decoder(&mut self, link: Link, mut decoder: Decoder) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let limit = ensemble.links.limit();
        if let Some(connection) = ensemble.links.get_mut(link) {
            if connection.is_introduced() {
                decoder.set_limit(limit);
            }
            connection.decoder = Some(decoder);
        }
    }

    fn read(&mut self, link: Link, decoder: &mut Decoder, out: &mut impl Outbox) {
        loop {
            if self.failed.is_some() || !self.knows(link) {
                return;
            }
            if self.job_of(link) {
                return self.feed_snapshot(link, decoder, out);
            }
            let done = match decoder.next_packet() {
                Ok(None) => return,
                Ok(Some(packet)) => self.packet(link, &packet, out),
                Err(error) => Err(error.into()),
            };
            if let Err(violation) = done {
                if self.is_introduced(link) {
                    tracing::warn!(link = link.0, "closing a quorum connection: {violation}");
                } else {
                    // Not louder: a stranger must not be able to fill the disk with our lines.
                    tracing::debug!(link = link.0, "closing a connection to the quorum port: {violation}");
                }
                return self.close(link, out);
            }
        }
    }

    fn knows(&self, link: Link) -> bool {
        self.ensemble.as_ref().is_some_and(|e| e.links.get(link).is_some())
    }

    /// Whether something must be done before the next packet of this connection is read.
    fn job_of(&self, link: Link) -> bool {
        self.ensemble.as_ref().is_some_and(|e| e.up == Some(link) && e.job.is_some())
    }

    fn packet(
        &mut self,
        link: Link,
        packet: &QuorumPacket<'_>,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        let to_leader = self.ensemble.as_ref().and_then(|e| e.links.get(link)).is_some_and(|c| c.to_leader);
        if to_leader { self.of_leader(link, packet, out) } else { self.of_learner(link, packet, out) }
    }

    fn of_leader(
        &mut self,
        link: Link,
        packet: &QuorumPacket<'_>,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        match packet.kind {
            kind::REVALIDATE => {
                let (session, valid) = revalidated(packet)?;
                self.service.revalidated(self.now, session, valid, out);
            }
            kind::SYNC => {
                let (service, mut seam) = self.seam();
                service.synced(seam.now, out, &mut seam)?;
            }
            kind::NEWLEADER => self.compare_config(packet.data.unwrap_or_default()),
            _ => {}
        }
        let Some(said) = from_leader(packet)? else { return Ok(()) };
        self.note_synchronisation(&said);
        let payload = transaction(packet, said, self.ledger.log.max_record())?;
        self.drive(Event::Leader(link, said), payload, out);
        Ok(())
    }

    /// A leader whose ensemble was reconfigured sends a newer configuration than ours, which came from our files and
    /// cannot change. Nothing depends on it but who our next leader may be, so that the operator is told.
    fn compare_config(&self, theirs: &[u8]) {
        let Some(ensemble) = &self.ensemble else { return };
        let ours = config_version(ensemble.config_text.as_bytes());
        let theirs = config_version(theirs);
        if theirs > ours {
            tracing::warn!(
                "the leader's configuration has version {:x}, that of this server {:x}: it does not follow \
                 reconfigurations, and must be started again with the new configuration",
                theirs.unwrap_or_default(),
                ours.unwrap_or_default()
            );
        }
    }

    /// For the log file: how we are being synchronised.
    fn note_synchronisation(&mut self, said: &FromLeader) {
        let Some(ensemble) = &mut self.ensemble else { return };
        match said {
            FromLeader::Diff(_) => ensemble.taken = Synchronisation { diff: true, ..Default::default() },
            FromLeader::Trunc(_) => ensemble.taken = Synchronisation { trunc: true, ..Default::default() },
            FromLeader::Snap(_) => ensemble.taken = Synchronisation { snap: true, ..Default::default() },
            FromLeader::Proposal(_) if !ensemble.serving => ensemble.taken.followed = Some("leader"),
            _ => {}
        }
    }

    fn of_learner(
        &mut self,
        link: Link,
        packet: &QuorumPacket<'_>,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        let said = from_learner(packet)?;
        if let (FromLearner::AckEpoch(..), Some(ensemble)) = (said, &self.ensemble) {
            let reach = self.reach(ensemble);
            self.drive(reach, None, out);
        }
        self.drive(Event::Learner(link, said), None, out);
        if let FromLearner::Info(info) = said {
            if let Some(ensemble) = self.ensemble.as_mut().filter(|e| e.links.get(link).is_some()) {
                ensemble.links.introduced(link, info.sid);
            }
            return Ok(());
        }
        if !self.serves(link) {
            return Ok(());
        }
        match packet.kind {
            kind::REQUEST => {
                let request = Request::decode(packet)?;
                let (service, mut seam) = self.seam();
                let now = seam.now;
                match service.forwarded(now, link.0, &request, packet.identities(), &mut seam)? {
                    Forwarded::Proposed(_) => {}
                    Forwarded::Sync { behind } => self.answer_sync(link, behind),
                }
            }
            kind::REVALIDATE => {
                let (session, timeout_ms) = revalidate(packet)?;
                let valid = self.service.revalidate(self.now, link.0, session, timeout_ms, out);
                if let Some(ensemble) = &mut self.ensemble {
                    ensemble.links.packets(link, |out| put_revalidated(out, session, valid));
                }
            }
            kind::PING => {
                for (session, timeout_ms) in touched(packet)? {
                    self.touch(session, timeout_ms);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn answer_sync(&mut self, link: Link, behind: Option<Zxid>) {
        if let Some(connection) = self.ensemble.as_mut().and_then(|e| e.links.get_mut(link)) {
            connection.sync_behind(behind);
        }
    }

    fn touch(&mut self, session: SessionId, timeout_ms: i32) {
        self.service.touch(self.now, session, timeout_ms);
    }

    /// Whether a learner may speak for clients: we lead, and it is one of ours.
    fn serves(&self, link: Link) -> bool {
        let Some(ensemble) = &self.ensemble else { return false };
        ensemble.serving
            && ensemble.zab.leads().is_some()
            && ensemble.links.get(link).is_some_and(|c| c.learner.is_some())
    }
}

/// The version that the text of a configuration ends with.
pub(super) fn config_version(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("version="))?;
    i64::from_str_radix(version.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use ringkeeper_engine::id::Epoch;
    use ringkeeper_engine::txn::{Txn, TxnHeader, encode_into, kind as txn_kind};

    use super::*;
    use crate::wire::quorum::put_packet;

    const Z: Zxid = Zxid::from_raw(0x3_0000_0004);

    fn taken(kind: i32, zxid: Zxid, data: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut bytes = Vec::new();
        put_packet(&mut bytes, kind, zxid, Some(data));
        let mut decoder = Decoder::new(1000);
        decoder.push(&bytes);
        let packet = decoder.next_packet().unwrap().unwrap();
        let said = from_leader(&packet).unwrap().unwrap();
        let taken = transaction(&packet, said, 100).map_err(|violation| violation.to_string())?;
        Ok(taken.map(<[u8]>::to_vec))
    }

    #[test]
    fn only_what_can_be_applied_is_logged() {
        let header =
            TxnHeader { client_id: SessionId(7), cxid: 1, zxid: Z, time: 5, kind: txn_kind::CREATE_SESSION };
        let mut payload = Vec::new();
        encode_into(&header, &Txn::CreateSession { timeout: 4000 }, None, &mut payload);
        let activating = [&5i64.to_be_bytes()[..], &payload].concat();
        for (kind, data) in
            [(kind::PROPOSAL, &payload), (kind::INFORM, &payload), (kind::INFORM_AND_ACTIVATE, &activating)]
        {
            assert_eq!(taken(kind, Z, data), Ok(Some(payload.clone())));
            let short = taken(kind, Z, &data[..data.len() - 1]).unwrap_err();
            assert!(short.contains("the timeout of transaction 0x300000004"), "{short}");
            let other = taken(kind, Zxid::new(Epoch(3), 5), data).unwrap_err();
            assert!(other.contains("for 0x300000005 carries transaction 0x300000004"), "{other}");
        }
        let mut unknown = payload.clone();
        unknown[28..32].copy_from_slice(&77i32.to_be_bytes());
        let refused = taken(kind::PROPOSAL, Z, &unknown).unwrap_err();
        assert!(refused.contains("type 77, which is unknown"), "{refused}");
        assert_eq!(taken(kind::NEWLEADER, Zxid::new(Epoch(3), 0), b"version=0"), Ok(None));
    }
}
