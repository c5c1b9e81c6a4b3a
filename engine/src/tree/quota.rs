//! Quotas: which subtree is counted where, and the text in which the counts are kept.
//!
//! The limits for `/x/y` are a node that clients create at `/zookeeper/quota/x/y/zookeeper_limits`, its counts are
//! `zookeeper_stats` beside it. So the tree below `/zookeeper/quota` *is* the trie of quota paths: the deepest quota
//! of a path is found by walking both at once. Counts are updated when a transaction is applied, by each replica
//! for itself, without touching the statistics of the node that holds them. Nothing is enforced here.

use super::slab::NIL;
use super::{NodeId, Tree};
use std::fmt::Write;

/// Name of the node that makes its parent a quota.
pub(super) const LIMITS: &str = "zookeeper_limits";
/// Name of the node with the counts.
pub(super) const STATS: &str = "zookeeper_stats";
const ROOT: &str = "/zookeeper/quota";

/// The nodes of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// `.../zookeeper_limits`, its data a [`StatsTrack`] of limits.
    pub limits: NodeId,
    /// `.../zookeeper_stats`, its data a [`StatsTrack`] of counts; clients create it after the limits.
    pub stats: Option<NodeId>,
}

/// The text of both nodes: `count=5,bytes=10`, with further keys after an odd `=` that keeps parsers of old clients
/// happy: `count=5,bytes=-1=;byteHardLimit=-1;countHardLimit=10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsTrack {
    /// Number of nodes, or the soft limit on it; -1 is none.
    pub count: i64,
    /// Bytes of data, or the soft limit on them; -1 is none.
    pub bytes: i64,
    /// All other keys, ascending.
    others: Vec<(String, i64)>,
}

impl StatsTrack {
    /// Counts alone.
    pub fn new(count: i64, bytes: i64) -> StatsTrack {
        StatsTrack { count, bytes, others: Vec::new() }
    }

    /// Reads the text; `None` if a value is not a number. Missing keys and empty values are -1.
    pub fn parse(text: &[u8]) -> Option<StatsTrack> {
        let text = std::str::from_utf8(text).ok()?;
        let mut track = StatsTrack::new(-1, -1);
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut pieces = pair.split('=');
            let key = pieces.next().unwrap_or_default();
            let value = match pieces.next() {
                None | Some("") => -1,
                Some(digits) => digits.parse().ok()?,
            };
            match key {
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                _ => match track.others.binary_search_by(|(other, _)| other.as_str().cmp(key)) {
                    Ok(at) => track.others[at].1 = value,
                    Err(at) => track.others.insert(at, (key.to_owned(), value)),
                },
            }
        }
        Some(track)
    }

    /// The limit on the number of nodes that is enforced; -1 is none.
    pub fn count_hard_limit(&self) -> i64 {
        self.other("countHardLimit")
    }

    /// The limit on the bytes of data that is enforced; -1 is none.
    pub fn byte_hard_limit(&self) -> i64 {
        self.other("byteHardLimit")
    }

    fn other(&self, key: &str) -> i64 {
        self.others.iter().find(|(other, _)| other == key).map_or(-1, |&(_, value)| value)
    }

    /// The text, as the reference writes it.
    pub fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        if !self.others.is_empty() {
            text.push('=');
        }
        for (key, value) in &self.others {
            write!(text, ";{key}={value}").expect("writing to memory does not fail");
        }
        text
    }
}

/// Whether a node of this name below `parent_path` belongs to a quota.
pub(super) fn is_quota_parent(parent_path: &str) -> bool {
    parent_path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether the data of the node at `path` are counts, which each server keeps for itself.
pub fn is_quota_statistics(path: &str) -> bool {
    path.strip_suffix(STATS).and_then(|rest| rest.strip_suffix('/')).is_some_and(is_quota_parent)
}

impl Tree {
    /// The deepest quota that covers `path`. `/` itself can have none.
    pub fn quota_of(&self, path: &str) -> Option<Quota> {
        if self.quotas == 0 {
            return None;
        }
        let mut at = self.quota_root;
        let mut deepest = None;
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let Some(next) = self.child_of(at, component.as_bytes()) else { break };
            at = next;
            if let Some(limits) = self.child_of(at, LIMITS.as_bytes()) {
                deepest = Some((at, limits));
            }
        }
        let (at, limits) = deepest?;
        Some(Quota { limits: NodeId(limits), stats: self.child_of(at, STATS.as_bytes()).map(NodeId) })
    }

    /// Counts a change below `path`.
    pub(super) fn count_for_quota(&mut self, path: &str, nodes: i64, bytes: i64) {
        let Some(quota) = self.quota_of(path) else { return };
        let Some(NodeId(stats)) = quota.stats else {
            // Said for each write below such a quota, which clients can make and write to: no more than a hint.
            tracing::debug!(path, "a quota has limits but no statistics node: the change is not counted");
            return;
        };
        let Some(mut track) = StatsTrack::parse(self.data_of(stats).unwrap_or_default()) else {
            tracing::debug!(
                path,
                "the statistics of a quota are not key=number pairs: the change is not counted"
            );
            return;
        };
        track.count = track.count.wrapping_add(nodes);
        track.bytes = track.bytes.wrapping_add(bytes);
        self.store_data(stats, Some(track.text().as_bytes()));
    }

    /// Counts a whole subtree, when the statistics node of its quota is created.
    pub(super) fn recount_quota(&mut self, stats_parent_path: &str, stats: u32) {
        let path = stats_parent_path.strip_prefix(ROOT).unwrap_or_default();
        let (mut nodes, mut bytes) = (0i64, 0i64);
        if let Some(NodeId(top)) = self.find(path) {
            let mut at = top;
            while at != NIL {
                nodes += 1;
                bytes += self.data_of(at).map_or(0, <[u8]>::len) as i64;
                at = self.next_in_subtree(at, top);
            }
        }
        self.store_data(stats, Some(StatsTrack::new(nodes, bytes).text().as_bytes()));
    }

    /// Counts anew what all statistics nodes hold: no snapshot says it.
    pub(super) fn recount_quotas(&mut self) {
        let mut path = String::new();
        let mut at = self.quota_root;
        while at != NIL {
            if let Some(stats) = self.child_of(at, STATS.as_bytes()) {
                self.path_of(NodeId(at), &mut path);
                if is_quota_parent(&path) {
                    self.recount_quota(&path, stats);
                }
            }
            at = self.next_in_subtree(at, self.quota_root);
        }
    }

    /// The node after `at` in a walk over the subtree of `top`, parents first; [`NIL`] at the end.
    fn next_in_subtree(&self, at: u32, top: u32) -> u32 {
        let first_child = self.side_of(at).map_or(NIL, |side| side.first_child);
        if first_child != NIL {
            return first_child;
        }
        let mut at = at;
        while at != top {
            let record = &self.nodes[at];
            if record.next != NIL {
                return record.next;
            }
            at = record.parent;
        }
        NIL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_text_is_read_and_written_like_the_reference() {
        let text = "count=5,bytes=-1=;byteHardLimit=-1;countHardLimit=10";
        let track = StatsTrack::parse(text.as_bytes()).unwrap();
        assert_eq!((track.count, track.bytes), (5, -1));
        assert_eq!((track.count_hard_limit(), track.byte_hard_limit()), (10, -1));
        assert_eq!(track.text(), text);
        assert_eq!(StatsTrack::new(3, 20).text(), "count=3,bytes=20");
        assert_eq!(StatsTrack::parse(b""), Some(StatsTrack::new(-1, -1)));
        assert_eq!(StatsTrack::parse(b";;count=,,bytes=7;"), Some(StatsTrack::new(-1, 7)));
        assert_eq!(StatsTrack::parse(b"count=many"), None);
    }
}
