//! The simulated directory: names as they are seen, names as a power cut leaves them, and the changes between.

use std::collections::BTreeMap;

/// A change of a name that no directory flush has covered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameOp {
    Create { name: String, inode: usize },
    Rename { from: String, to: String },
    Remove { name: String },
}

/// The directory. Values are indices of files, which are never reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    unsynced: Vec<NameOp>,
}

impl Names {
    pub fn apply(&mut self, op: NameOp) {
        change(&mut self.live, &op);
        self.unsynced.push(op);
    }

    pub fn sync(&mut self) {
        self.durable = self.live.clone();
        self.unsynced.clear();
    }

    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Keeps the unsynced changes that `survives` chooses, in order. One whose ground is gone (a rename of a
    /// file whose creation was lost) is lost with it: that keeps every outcome legal.
    pub fn crash(&mut self, mut survives: impl FnMut(usize) -> bool) {
        for (i, op) in std::mem::take(&mut self.unsynced).iter().enumerate() {
            if survives(i) {
                change(&mut self.durable, op);
            }
        }
        self.live = self.durable.clone();
    }
}

fn change(names: &mut BTreeMap<String, usize>, op: &NameOp) {
    match op {
        NameOp::Create { name, inode } => {
            names.entry(name.clone()).or_insert(*inode);
        }
        NameOp::Rename { from, to } => {
            if !names.contains_key(to)
                && let Some(inode) = names.remove(from)
            {
                names.insert(to.clone(), inode);
            }
        }
        NameOp::Remove { name } => {
            names.remove(name);
        }
    }
}
