//! Performs what the protocol core wishes, in the order of its wishes.
//!
//! What a wish leads to at once (epochs are written here and now) goes back to the core as an event after all wishes
//! of the last one are fulfilled. Committed transactions are applied then, too: followers hear of a commit before the
//! own clients do.

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::log::Epochs;
use ringkeeper_engine::mutant::{Mutant, planted};

use super::links::Synchronisation;
use super::queue::{Each, zxids};
use super::receiving::Job;
use super::{Fatal, Member, Request};
use crate::client::Outbox;
use crate::wire::quorum::payload::{put_ack_epoch, put_touched};
use crate::wire::quorum::{kind, put_packet};
use crate::zab::action::{Action, Flow, ToLearner};
use crate::zab::event::{Event, Link};
use crate::zab::packet::put_to_learner;
use crate::zab::sync_leader::Source;

impl Member {
    /// Tells the core what happened, and does what follows. `payload` is what a PROPOSAL or INFORM carries.
    pub(super) fn drive(&mut self, event: Event, payload: Option<&[u8]>, out: &mut impl Outbox) {
        if self.failed.is_some() || self.ensemble.as_ref().is_none_or(|ensemble| ensemble.ending) {
            return;
        }
        self.tell_submitted(out);
        let told = self.tell_reach(out);
        let handled = told.and_then(|()| self.handle(event, payload, out));
        self.note_failure(handled);
        self.pump(out);
    }

    /// Tells the core what came of its wishes.
    pub(super) fn pump(&mut self, out: &mut impl Outbox) {
        let drained = self.drain_events(out);
        self.note_failure(drained);
    }

    pub(super) fn note_failure(&mut self, result: Result<(), Fatal>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    /// What we proposed since the last time: the core must know of it before it hears of anything else.
    pub(super) fn tell_submitted(&mut self, out: &mut impl Outbox) {
        let appended = self.ledger.log.appended();
        let Some(ensemble) = self.ensemble.as_ref().filter(|ensemble| !ensemble.ending) else { return };
        if ensemble.zab.leads().is_some() && appended > ensemble.zab.marks().submitted {
            let told = self.handle(Event::Submitted(appended), None, out);
            self.note_failure(told);
            self.pump(out);
        }
    }

    /// Before a learner is judged: what it could be sent now.
    fn tell_reach(&mut self, out: &mut impl Outbox) -> Result<(), Fatal> {
        match self.ensemble.as_ref().filter(|ensemble| ensemble.zab.must_choose()) {
            Some(ensemble) => self.handle(self.reach(ensemble), None, out),
            None => Ok(()),
        }
    }

    fn handle(&mut self, event: Event, payload: Option<&[u8]>, out: &mut impl Outbox) -> Result<(), Fatal> {
        let now_ms = self.now.mono_ms;
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        let mut actions = std::mem::take(&mut ensemble.actions);
        ensemble.zab.handle(now_ms, event, &mut actions);
        self.perform(actions, payload, out)
    }

    /// Goes on until nothing is left to tell.
    pub(super) fn drain_events(&mut self, out: &mut impl Outbox) -> Result<(), Fatal> {
        while let Some(event) = self.ensemble.as_mut().and_then(|e| e.events.pop_front()) {
            self.handle(event, None, out)?;
        }
        Ok(())
    }

    pub(super) fn perform(
        &mut self,
        mut actions: Vec<Action>,
        payload: Option<&[u8]>,
        out: &mut impl Outbox,
    ) -> Result<(), Fatal> {
        for action in actions.drain(..) {
            self.act(action, payload, out)?;
        }
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.actions = actions;
        }
        self.apply_committed(out)
    }

    fn act(&mut self, action: Action, payload: Option<&[u8]>, out: &mut impl Outbox) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        let links = &mut ensemble.links;
        match action {
            Action::Notify(to, said) => ensemble.requests.push(Request::Notify(to, said)),
            Action::Connect(to) => {
                ensemble.forget_dial();
                ensemble.requests.push(Request::Connect(to));
            }
            Action::Disconnect(link) => {
                self.forget(link);
                self.request(Request::Close(link));
            }
            Action::Introduce(link, info) => links.packets(link, |out| info.put(out)),
            Action::AckEpoch { link, last, current, .. } => {
                links.packets(link, |out| put_ack_epoch(out, last, current));
            }
            Action::AckNewLeader { link, epochs, .. } => put_ack(links, link, start_of(epochs.get().current)),
            Action::Ack { link, upto, ours: true, .. } => put_ack(links, link, upto.get()),
            Action::Ack { link, after, upto, ours: false } => {
                zxids(after, upto.get()).for_each(|zxid| put_ack(links, link, zxid));
            }
            Action::Pong(link, zxid) => {
                let mut touched = Vec::new();
                self.service.take_touched(&mut touched);
                links.packets(link, |out| put_touched(out, zxid, &touched));
            }
            Action::Send(link, packet) => self.send(link, packet),
            Action::Stream { link, flow, after, upto } => self.stream(link, flow, after, upto),
            Action::SendSnapshot { link, label, upto } => self.send_snapshot(link, label, upto)?,
            Action::Persist(epochs) => self.persist(epochs)?,
            Action::Append(_) if planted(Mutant::Zk4925SyncNotLogged) && !ensemble.serving => {}
            Action::Append(zxid) => {
                let payload = payload.expect("what is to be logged is being handled");
                self.ledger.append(zxid, &mut |out| out.extend_from_slice(payload));
            }
            Action::Truncate(to) => self.begin_job(Job::Truncate(to))?,
            Action::ReceiveSnapshot(link, zxid) => {
                let job = self.receive_job(link, zxid);
                self.begin_job(job)?;
            }
            Action::AbandonSnapshot => {
                ensemble.events.push_back(Event::SnapshotAbandoned);
                self.abandon_reception();
            }
            Action::Commit(upto) => ensemble.committed = upto,
            Action::Lead(epoch) => {
                self.take_up_service(out)?;
                tracing::info!(epoch = epoch.0, "leading");
                self.service.lead(self.now, epoch, out);
            }
            Action::Serve(leader, epoch) => {
                self.take_up_service(out)?;
                let method = self.ensemble.as_ref().map_or("", |e| e.taken.method());
                tracing::info!(leader = leader.0, epoch = epoch.0, "synchronised by method={method}");
                self.service.learn(epoch, out);
            }
            Action::Retire => {
                if planted(Mutant::Zk2845UncommittedInTree) && ensemble.serving {
                    self.apply(self.ledger.log.durable().get(), out)?;
                }
                let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
                ensemble.forget_dial();
                if std::mem::take(&mut ensemble.serving) {
                    ensemble.since_ms = self.now.mono_ms;
                    tracing::info!("no leader any more, clients are not answered");
                }
                self.service.retire(out);
            }
            Action::Report(fault) => tracing::warn!("{fault}"),
            Action::Waiting { untrusted, silent } => ensemble.waits(untrusted, silent, self.now.mono_ms),
        }
        Ok(())
    }

    fn request(&mut self, request: Request) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.requests.push(request);
        }
    }

    /// Closes a connection for a reason of our own, and tells the core.
    pub(super) fn close(&mut self, link: Link, out: &mut impl Outbox) {
        self.request(Request::Close(link));
        self.closed(link, out);
    }

    /// The same while wishes are being performed.
    pub(super) fn give_up(&mut self, link: Link) -> Result<(), Fatal> {
        self.forget(link);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.requests.push(Request::Close(link));
            ensemble.events.push_back(Event::Closed(link));
        }
        Ok(())
    }

    fn persist(&mut self, epochs: Epochs) -> Result<(), Fatal> {
        let proof = self.ledger.log.set_epochs(&*self.volume, epochs)?;
        let Some(ensemble) = &self.ensemble else { return Ok(()) };
        // A leader that has adopted its epoch chooses how its learners are synchronised.
        let reach = self.reach(ensemble);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.events.extend([reach, Event::EpochsDurable(proof)]);
        }
        Ok(())
    }

    /// Before the first client is answered: the tree is exactly what is committed.
    fn take_up_service(&mut self, out: &mut impl Outbox) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        (ensemble.serving, ensemble.since_ms) = (true, self.now.mono_ms);
        let committed = ensemble.committed;
        if self.service.tree().last_zxid() > committed && !planted(Mutant::Zk2845UncommittedInTree) {
            self.roll_back(committed)?;
        }
        if planted(Mutant::Zk2355NotApplied) {
            self.cursor = self.ledger.log.cursor(committed);
        }
        self.apply_committed(out)
    }

    fn apply_committed(&mut self, out: &mut impl Outbox) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        let committed = ensemble.committed;
        if !ensemble.serving || ensemble.zab.marks().applied >= committed {
            return Ok(());
        }
        ensemble.events.push_back(Event::Applied(committed));
        self.apply(committed, out)
    }

    fn send(&mut self, link: Link, packet: ToLearner) {
        let Some(ensemble) = &mut self.ensemble else { return };
        if let Some(connection) = ensemble.links.get_mut(link) {
            match packet {
                ToLearner::Diff(_) => connection.sync = Synchronisation { diff: true, ..Default::default() },
                ToLearner::Trunc(_) => {
                    connection.sync = Synchronisation { trunc: true, ..Default::default() }
                }
                ToLearner::UpToDate => connection.syncing = false,
                ToLearner::NewLeader(_) => {
                    connection.syncing = true;
                    let (sync, sid) = (connection.sync, connection.learner.map_or(-1, |sid| sid.0));
                    ensemble.counts.sent(sync);
                    tracing::info!(
                        "synchronising sid={sid} method={} source={}",
                        sync.method(),
                        sync.followed.unwrap_or("none")
                    );
                }
                _ => {}
            }
        }
        let config = ensemble.config_text.as_bytes();
        ensemble.links.packets(link, |out| put_to_learner(out, packet, config));
    }

    fn stream(&mut self, link: Link, flow: Flow, after: Zxid, upto: Zxid) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let each = match flow {
            Flow::History(source) => {
                if let Some(connection) = ensemble.links.get_mut(link) {
                    connection.sync.followed = Some(match source {
                        Source::Memory => "memory",
                        Source::Disk => "disk",
                    });
                }
                Each::History
            }
            Flow::Proposals => Each::Proposal,
            Flow::Commits => Each::Commit,
            Flow::Informs => Each::Inform,
        };
        ensemble.links.stream(link, each, after, upto, &self.ledger.log);
    }
}

fn put_ack(links: &mut super::links::Links, link: Link, zxid: Zxid) {
    links.packets(link, |out| put_packet(out, kind::ACK, zxid, None));
}

/// The zxid that stands for an epoch.
fn start_of(epoch: Epoch) -> Zxid {
    Zxid::new(epoch, 0)
}
