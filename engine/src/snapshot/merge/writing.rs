//! Writes the body of the new snapshot: the third pass of a merge.
//!
//! Nodes come from two sides in one order: those of the tree, which are all that may have changed, and those of the
//! previous snapshot that are not in the tree, whose bytes are copied on in runs.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::super::SnapshotError;
use super::super::body::Body;
use super::super::format::Published;
use super::super::steps::Step;
use super::super::stream::{Walk, numbered_lists, put_end, put_numbered_acls, put_sessions, put_tree_node};
use super::old::Old;
use super::order::walk_order;
use super::part::Untouched;
use crate::id::SessionId;
use crate::io::Volume;
use crate::log::LogError;
use crate::tree::{AclId, NodeId, Tree};

/// Bytes of the tree's nodes that are gathered in one go where nothing is read.
const PORTION: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Writing {
    tree: Tree,
    numbers: HashMap<AclId, i64>,
    walk: Walk,
    /// The next node of the tree; its path is the walk's.
    next: Option<NodeId>,
    old: Option<OldNodes>,
    body: Body,
    /// Where nodes of the tree are encoded.
    buf: Vec<u8>,
}

/// What is left of the previous snapshot's nodes.
#[derive(Debug)]
struct OldNodes {
    old: Old,
    /// Offsets of those that are in the tree.
    loaded: std::iter::Peekable<std::vec::IntoIter<u64>>,
    /// ACLs whose number is another one now.
    renumbered: HashMap<i64, i64>,
}

impl Writing {
    /// Begins the file and writes what stands before the nodes.
    pub fn begin(
        tree: Tree,
        sessions: &BTreeMap<SessionId, i32>,
        untouched: Option<Untouched>,
        steps: &mut VecDeque<Step>,
    ) -> Writing {
        let (mut body, mut buf) = (Body::begin(super::MAKING, steps), Vec::new());
        let sessions: Vec<_> = sessions.iter().map(|(&id, &timeout)| (id, timeout)).collect();
        put_sessions(&mut buf, &sessions);

        // Each list in use once, with its id in the tree and its number in the previous snapshot.
        let mut in_use: BTreeMap<&[u8], (Option<AclId>, Option<i64>)> = BTreeMap::new();
        for (id, encoded) in tree.acls() {
            in_use.entry(encoded).or_default().0 = Some(id);
        }
        for (number, encoded) in untouched.iter().flat_map(|u| u.lists.untouched()) {
            in_use.entry(encoded).or_default().1 = Some(number);
        }
        let numbered = numbered_lists(in_use.into_iter().map(|(encoded, known)| (known, encoded)).collect());
        put_numbered_acls(&mut buf, &numbered);
        let numbers = numbered.iter().filter_map(|&(number, (id, _), _)| Some((id?, number))).collect();
        let renumbered = numbered.iter().filter_map(|&(number, (_, old), _)| Some((old?, number)));
        let renumbered = renumbered.filter(|(old, number)| old != number).collect();

        body.take(&buf, steps);
        let old = untouched.map(|Untouched { old, loaded, .. }| {
            let loaded = loaded.into_iter().peekable();
            OldNodes { old, loaded, renumbered }
        });
        let mut walk = Walk::new();
        let next = walk.next(&tree);
        Writing { tree, numbers, walk, next, old, body, buf }
    }

    /// Goes on by one piece of the previous snapshot, or by so much of the tree; how many bytes were read. `None` if
    /// all nodes are written.
    pub fn next(&mut self, vol: &dyn Volume, steps: &mut VecDeque<Step>) -> Result<Option<u64>, LogError> {
        if let Some(mut nodes) = self.old.take() {
            let read = nodes.old.read_on(vol)?;
            if !self.merge(&mut nodes, steps).map_err(|source| nodes.old.wrong(vol, source))? {
                self.old = Some(nodes);
            }
            return Ok(Some(read));
        }
        if self.next.is_none() {
            return Ok(None);
        }
        let mut written = 0;
        while let Some(id) = self.next
            && written < PORTION
        {
            written += self.write(id, steps);
        }
        Ok(Some(0))
    }

    /// Ends the file.
    pub fn publish(mut self, published: Published, steps: &mut VecDeque<Step>) -> Published {
        self.buf.clear();
        put_end(&mut self.buf);
        self.body.take(&self.buf, steps);
        self.body.end(steps).publish(published, steps)
    }

    #[cfg(test)]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Writes the next node of the tree, which is this one; how many bytes it has.
    fn write(&mut self, id: NodeId, steps: &mut VecDeque<Step>) -> usize {
        self.buf.clear();
        put_tree_node(&mut self.buf, &self.tree, id, self.walk.path(), &self.numbers);
        self.body.take(&self.buf, steps);
        self.next = self.walk.next(&self.tree);
        self.buf.len()
    }

    /// Goes through all nodes at hand; whether they were the last.
    fn merge(&mut self, nodes: &mut OldNodes, steps: &mut VecDeque<Step>) -> Result<bool, SnapshotError> {
        let OldNodes { old, loaded, renumbered } = nodes;
        let mut run = old.position();
        while let Some(record) = old.record()? {
            let at = old.position();
            if record.is_end() {
                self.body.take(old.bytes(run, at), steps);
                return Ok(true);
            }
            let behind = at + record.bytes.len() as u64;
            let is_loaded = loaded.next_if_eq(&at).is_some();
            let is_first =
                self.next.is_none() || walk_order(record.path(), self.walk.path().as_bytes()).is_lt();
            let number = if renumbered.is_empty() { None } else { renumbered.get(&record.acl()) };
            if is_loaded || !is_first || number.is_some() {
                self.body.take(old.bytes(run, at), steps);
                run = at;
                // Of the tree's nodes the one of the same path is written with those before the next one.
                while let Some(id) = self.next
                    && walk_order(self.walk.path().as_bytes(), record.path()).is_lt()
                {
                    self.write(id, steps);
                }
            }
            if is_loaded {
                run = behind;
            } else if let Some(number) = number {
                let (before, rest) = record.around_acl();
                self.body.take(before, steps);
                self.body.take(&number.to_be_bytes(), steps);
                self.body.take(rest, steps);
                run = behind;
            }
            old.skip_to(behind);
        }
        self.body.take(old.bytes(run, old.position()), steps);
        Ok(false)
    }
}
