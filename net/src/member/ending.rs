//! What is over: a connection that we have closed, and the whole server when the process ends.
//!
//! Nothing that still comes from there may change anything, however late the news of the end gets around.

use super::links::Links;
use super::{Ensemble, Member, Request};
use crate::client::Outbox;
use crate::zab::event::Link;

impl Ensemble {
    /// Whether what comes from a connection is of no interest any more.
    pub(super) fn is_over(&self, link: Link) -> bool {
        self.ending || self.requests.contains(&Request::Close(link))
    }
}

impl Member {
    /// The process is about to end: all connections are closed, and what has been given to the log becomes durable.
    /// Others need not wait for this server, and cannot keep it busy. A node that stands alone answers its clients
    /// first.
    pub fn end(&mut self, out: &mut impl Outbox) {
        let Some(ensemble) = &mut self.ensemble else { return };
        ensemble.requests.clear();
        ensemble.requests.extend(ensemble.links.names().map(Request::Close));
        ensemble.links = Links::new(ensemble.links.limit());
        ensemble.events.clear();
        ensemble.flowing.clear();
        (ensemble.up, ensemble.job, ensemble.serving, ensemble.ending) = (None, None, false, true);
        self.service.retire(out);
    }
}
