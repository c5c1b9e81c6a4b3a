//! One server of the small world: a core, a disk, and what is under way between them.

use std::collections::VecDeque;

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::log::{Durable, Epochs};

use super::Txn;
use crate::zab::action::Action;
use crate::zab::event::{Birth, Link};
use crate::zab::history::History;
use crate::zab::{Config, Zab};

/// Something that the disk has still to do; it does one thing after the other.
#[derive(Debug, Clone)]
pub enum Io {
    Flush(Zxid),
    Persist(Epochs),
    Truncate(Zxid),
    Load(Zxid, Vec<Txn>),
    Abandoned,
}

#[derive(Debug, Default)]
pub struct Member {
    pub zab: Option<Zab>,
    /// The snapshot.
    pub base: (Zxid, Vec<Txn>),
    pub log: Vec<Txn>,
    /// So many of the log are durable.
    pub flushed: usize,
    pub epochs: Epochs,
    pub wiped: bool,
    pub io: VecDeque<Io>,
    /// The snapshot that is read off a connection.
    pub receiving: Option<(Link, Zxid)>,
    pub serving: bool,
    /// Where the window begins, and from where on the log is cheap.
    pub reach: (Zxid, Zxid),
}

impl Member {
    /// Everything, in order.
    pub fn content(&self) -> Vec<Txn> {
        self.base.1.iter().chain(&self.log).copied().collect()
    }

    /// Everything up to `zxid`.
    pub fn upto(&self, zxid: Zxid) -> Vec<Txn> {
        self.content().into_iter().filter(|txn| txn.0 <= zxid || self.base.1.contains(txn)).collect()
    }

    pub fn last(&self) -> Zxid {
        self.log.last().map_or(self.base.0, |txn| txn.0)
    }

    /// What the tree holds: before it serves, anything that the log has.
    pub fn tree(&self, rng: &mut fastrand::Rng) -> Zxid {
        match &self.zab {
            Some(zab) if self.serving => zab.marks().committed,
            _ if rng.bool() => self.last(),
            _ => self.base.0,
        }
    }

    /// How many transactions its clients may see.
    pub fn delivered(&self) -> usize {
        match &self.zab {
            Some(zab) if self.serving => self.upto(zab.marks().committed).len(),
            _ => 0,
        }
    }

    pub fn append(&mut self, txn: Txn) {
        self.log.push(txn);
        self.io.push_back(Io::Flush(txn.0));
    }

    /// Whether packets of the leader are read now.
    pub fn reads(&self) -> bool {
        self.receiving.is_none() && !self.io.iter().any(|io| matches!(io, Io::Truncate(_) | Io::Load(..)))
    }

    pub fn snapshot_arrived(&mut self, link: Link, txns: Vec<Txn>) {
        if let Some((_, zxid)) = self.receiving.take_if(|(from, _)| *from == link) {
            self.io.push_back(Io::Load(zxid, txns));
        }
    }

    pub fn start(&mut self, config: Config, seed: u64, now: u64, out: &mut Vec<Action>) {
        let mut history = History::new(self.base.0);
        for txn in &self.log {
            history.push(txn.0);
        }
        let birth = Birth {
            epochs: Durable::assumed(self.epochs),
            durable: Durable::assumed(self.last()),
            history,
            snapshot: self.base.0,
            applied: self.base.0,
            fresh: self.wiped && self.epochs.accepted == Epoch(0) && self.last() == Zxid::ZERO,
            seed,
        };
        self.zab = Some(Zab::new(config, birth, now, out));
    }

    pub fn crash(&mut self, rng: &mut fastrand::Rng) {
        (self.zab, self.serving, self.receiving, self.reach) = (None, false, None, Default::default());
        // What the disk was told may have happened, in order, but nobody heard of it.
        let done = rng.usize(0..=self.io.len());
        for io in self.io.drain(..).collect::<Vec<_>>().into_iter().take(done) {
            self.happen(io);
        }
        self.log.truncate(self.flushed);
    }

    /// The disk does it.
    pub fn happen(&mut self, io: Io) {
        match io {
            Io::Flush(upto) => {
                self.flushed = self.log.iter().filter(|txn| txn.0 <= upto).count().max(self.flushed)
            }
            Io::Persist(epochs) => {
                assert!(epochs.accepted >= self.epochs.accepted && epochs.current >= self.epochs.current);
                self.epochs = epochs;
            }
            Io::Truncate(to) => {
                if to >= self.base.0 {
                    self.log.retain(|txn| txn.0 <= to);
                    self.flushed = self.log.len();
                }
            }
            Io::Load(zxid, txns) => {
                self.base = (zxid, txns);
                self.log.clear();
                self.flushed = 0;
            }
            Io::Abandoned => {}
        }
    }
}
