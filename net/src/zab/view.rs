//! What an operator may see of the core: numbers to show, on which nothing may depend.

use ringkeeper_engine::id::{Epoch, Sid};

use super::event::Link;
use super::leading::Stage;
use super::{Role, Zab};

/// A learner, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnerView {
    /// Its connection.
    pub link: Link,
    /// Who it is.
    pub sid: Sid,
    /// It has taken the history over.
    pub synced: bool,
    /// It gets INFORMs and has no vote.
    pub observer: bool,
    /// It is a member of our kind.
    pub ours: bool,
}

/// How far a role is, by the reference's names for monitoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stretch {
    /// Looking for a leader.
    Election,
    /// The epoch is being agreed on.
    Discovery,
    /// The history is being handed over.
    Synchronization,
    /// Clients can be served.
    Broadcast,
}

impl Stretch {
    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Stretch::Election => "election",
            Stretch::Discovery => "discovery",
            Stretch::Synchronization => "synchronization",
            Stretch::Broadcast => "broadcast",
        }
    }
}

impl Zab {
    /// Who leads, as far as this server knows: itself too, even before it is established.
    pub fn leader(&self) -> Option<Sid> {
        match &self.role {
            Role::Settling | Role::Looking(_) => None,
            Role::Following(role) => Some(role.leader),
            Role::Leading(_) => Some(self.core.config.me),
        }
    }

    /// The epoch of the leader that is served or followed, once it is agreed on; otherwise the last one.
    pub fn epoch(&self) -> Epoch {
        self.core.epochs.get().current
    }

    /// How far the role is.
    pub fn stretch(&self) -> Stretch {
        match &self.role {
            Role::Settling | Role::Looking(_) => Stretch::Election,
            Role::Following(role) => role.stretch(),
            Role::Leading(role) => role.stretch(),
        }
    }

    /// Whether a learner waits for the choice of how it is synchronised.
    pub fn must_choose(&self) -> bool {
        let Role::Leading(role) = &self.role else { return false };
        role.learners.values().any(|learner| learner.stage == Stage::Accepted)
    }

    /// The learners of a leader, in the order in which they came; nobody at any other server.
    pub fn learners(&self) -> Vec<LearnerView> {
        let Role::Leading(role) = &self.role else { return Vec::new() };
        let view = |(&link, learner): (&Link, &super::leading::Learner)| LearnerView {
            link,
            sid: learner.info.sid,
            synced: learner.stage >= Stage::Synced,
            observer: learner.info.observer,
            ours: learner.info.ours,
        };
        role.learners.iter().map(view).collect()
    }
}
