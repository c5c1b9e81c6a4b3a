//! The log, and the way to the leader, as the clients' service sees them.

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::log::{Log, LogError};

use super::Member;
use super::links::Links;
use crate::client::{Identity, Now, Proposer, Service, Upstream};
use crate::wire::quorum::payload::{Request, put_revalidate};
use crate::wire::quorum::put_request;
use crate::zab::event::Link;

/// The log, and how much of it waits.
#[derive(Debug)]
pub(super) struct Ledger {
    pub log: Log,
    /// Bytes appended and not yet applied.
    pub backlog: usize,
    /// A refusal of the log, which ends the node at the end of the event that met it.
    pub refused: Option<LogError>,
    /// Bytes of the last, the smallest and the largest that was appended.
    pub proposal_sizes: Option<[u64; 3]>,
}

impl Ledger {
    pub fn new(log: Log) -> Ledger {
        Ledger { log, backlog: 0, refused: None, proposal_sizes: None }
    }

    /// Appends a transaction whose zxid is spoken for: a refusal ends the node, because nothing that follows could be
    /// told apart from a hole.
    pub fn append(&mut self, zxid: Zxid, encode: &mut dyn FnMut(&mut Vec<u8>)) {
        let mut len = 0;
        let appended = self.log.append(zxid, |out| {
            let before = out.len();
            encode(out);
            len = out.len() - before;
        });
        match appended {
            Ok(_) => {
                self.backlog += len;
                let len = len as u64;
                let [_, min, max] = self.proposal_sizes.unwrap_or([len; 3]);
                self.proposal_sizes = Some([len, min.min(len), max.max(len)]);
            }
            Err(error) => self.refused = self.refused.take().or(Some(error)),
        }
    }
}

/// What the service may do while it handles something.
#[derive(Debug)]
pub(super) struct Seam<'a> {
    pub now: Now,
    ledger: &'a mut Ledger,
    links: Option<&'a mut Links>,
    up: Option<Link>,
}

impl Member {
    /// The service, and what it may use.
    pub(super) fn seam(&mut self) -> (&mut Service, Seam<'_>) {
        let Member { service, ledger, ensemble, now, .. } = self;
        let (links, up) = match ensemble {
            Some(ensemble) => (Some(&mut ensemble.links), ensemble.up),
            None => (None, None),
        };
        (service, Seam { now: *now, ledger, links, up })
    }
}

impl Seam<'_> {
    fn tell_leader(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        // Without a connection the role is about to end, and the client with it.
        if let (Some(links), Some(up)) = (&mut self.links, self.up) {
            links.packets(up, write);
        }
    }
}

impl Proposer for Seam<'_> {
    fn propose(&mut self, zxid: Zxid, encode: &mut dyn FnMut(&mut Vec<u8>)) {
        self.ledger.append(zxid, encode);
    }
}

impl Upstream for Seam<'_> {
    fn forward(&mut self, session: SessionId, cxid: i32, op: i32, body: &[u8], identities: &[Identity]) {
        let mut data = Vec::with_capacity(16 + body.len());
        Request { session, cxid, op, body }.put_data(&mut data);
        let identities: Vec<_> =
            identities.iter().map(|it| (it.scheme.as_bytes(), it.id.as_bytes())).collect();
        self.tell_leader(|out| put_request(out, &data, &identities));
    }

    fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        self.tell_leader(|out| put_revalidate(out, session, timeout_ms));
    }
}
