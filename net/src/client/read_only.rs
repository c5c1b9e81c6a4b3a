//! A server without a leader that shows what it has to those who ask for no more.
//!
//! Its sessions are its own: nobody else knows them, and they end with their connections or with the next role
//! (client-protocol reference 2.10). Unlike in the reference that needs no other setting.

use super::flight::Request;
use super::{Now, Outbox, Service};
use crate::wire::{Code, op};

impl Service {
    /// Opens a session that only this server knows.
    pub(super) fn open_local(&mut self, now: Now, at: u32, timeout_ms: u32, out: &mut impl Outbox) {
        let id = self.sessions.allocate_id();
        let slot = self.sessions.insert(id, timeout_ms);
        self.sessions.get_mut(slot).local = true;
        self.sessions.touch(slot, now.mono_ms);
        self.give_session(at, slot);
        self.answer_connect(now, at, now.mono_us, out);
    }

    /// Answers what needs a leader; the end of a session of our own does not.
    pub(super) fn write_nothing(&mut self, now: Now, at: u32, request: Request, out: &mut impl Outbox) {
        if request.op == op::CLOSE_SESSION {
            self.answer_header(now, at, request, self.tree.last_zxid(), 0, out);
            self.close_conn(at, out);
        } else {
            self.refuse(now, at, request, Code::NotReadOnly, out);
        }
    }
}
