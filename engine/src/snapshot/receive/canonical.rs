//! Judges whether a stream is the canonical one of its state, as it passes by, without building the state.
//!
//! Canonical is what [`write_stream`](super::super::write_stream) would make of the state again. Each item is compared
//! with the one before it, and nothing is kept but that one, the numbers of the ACLs, and which of them were used. The
//! judgement saves work and guards nothing: whether the stream makes sense is for the loader to say, which reads all of
//! it in any case.

use super::super::OPEN_ACL;
use super::super::stream::number_of;
use crate::tree::{BUILT_IN, is_quota_statistics};

/// See the module. Once the stream is found not to be canonical, nothing more is looked at.
#[derive(Debug, Default)]
pub(super) struct Judge {
    is_other: bool,
    session: Option<i64>,
    acls: Acls,
    /// The path that came last; `None` before the root.
    path: Option<Vec<u8>>,
    /// How many of the built-in nodes have come.
    built_in: usize,
}

/// The lists of the stream.
#[derive(Debug, Default)]
struct Acls {
    /// Ascending.
    numbers: Vec<i64>,
    used: Vec<bool>,
    used_count: usize,
    /// The list that came last, and the number that its bytes ask for.
    list: Vec<u8>,
    wanted: i64,
    /// Index of the one that was asked for last: nearly always the next one too.
    latest: usize,
}

impl Judge {
    fn demand(&mut self, holds: bool) {
        self.is_other |= !holds;
    }

    /// Sessions come by id.
    pub fn session(&mut self, id: i64) {
        let before = self.session.replace(id);
        self.demand(before.is_none_or(|before| before < id));
    }

    /// ACLs come by number, under the numbers that follow from their bytes.
    pub fn acl(&mut self, number: i64, list: &[u8]) {
        if !self.is_other {
            let holds = self.acls.add(number, list);
            self.demand(holds);
        }
    }

    /// Each node comes behind its parent and all that is below the siblings before it, and siblings come by name.
    pub fn node(&mut self, path: &[u8], data: Option<usize>) {
        if self.is_other {
            return;
        }
        let holds = match &self.path {
            None => path.is_empty(),
            Some(before) => follows(before, path),
        };
        self.demand(holds && (data == Some(0) || !is_statistics(path)));
        self.built_in += usize::from(is_built_in(path));
        let kept = self.path.get_or_insert_default();
        kept.clear();
        kept.extend_from_slice(path);
    }

    /// The ACL of a node is in the list.
    pub fn node_acl(&mut self, number: i64) {
        if !self.is_other && number != OPEN_ACL {
            let holds = self.acls.note_use(number);
            self.demand(holds);
        }
    }

    /// The judgement, at the end of the stream: the built-in nodes are there, and every ACL was used.
    pub fn is_canonical(&self) -> bool {
        let acls = &self.acls;
        !self.is_other && self.built_in == BUILT_IN.len() && acls.used_count == acls.numbers.len()
    }
}

impl Acls {
    /// Whether the list comes next, and under its own number. Lists that want one number, or one that others were moved
    /// to, get the next that is free in the order of (number wanted, bytes). So the numbers ascend in that order too,
    /// and each is the one wanted or the one behind the number before.
    fn add(&mut self, number: i64, list: &[u8]) -> bool {
        let wanted = number_of(list);
        let before = self.numbers.last().copied().unwrap_or(0);
        let is_next = (self.wanted, &self.list[..]) < (wanted, list);
        self.numbers.push(number);
        self.used.push(false);
        self.wanted = wanted;
        self.list.clear();
        self.list.extend_from_slice(list);
        is_next && before.checked_add(1).is_some_and(|next| number == next.max(wanted))
    }

    fn note_use(&mut self, number: i64) -> bool {
        if self.numbers.get(self.latest) != Some(&number) {
            let Ok(at) = self.numbers.binary_search(&number) else { return false };
            self.latest = at;
        }
        if !self.used[self.latest] {
            self.used[self.latest] = true;
            self.used_count += 1;
        }
        true
    }
}

/// Whether `path` may come right behind `before` in a walk that takes children by the bytes of their names.
fn follows(before: &[u8], path: &[u8]) -> bool {
    let Some(slash) = path.iter().rposition(|&byte| byte == b'/') else { return false };
    let (parent, name) = (&path[..slash], &path[slash + 1..]);
    if name.is_empty() || !before.starts_with(parent) {
        return false;
    }
    match before[parent.len()..].split_first() {
        // Its first child.
        None => true,
        Some((b'/', below)) => {
            let end = below.iter().position(|&byte| byte == b'/').unwrap_or(below.len());
            below[..end] < *name
        }
        Some(_) => false,
    }
}

fn is_built_in(path: &[u8]) -> bool {
    // The root is called "" here.
    let is_short = path.len() <= "/zookeeper/config".len();
    is_short
        && BUILT_IN.iter().any(|built_in| built_in.strip_suffix('/').unwrap_or(built_in).as_bytes() == path)
}

fn is_statistics(path: &[u8]) -> bool {
    path.starts_with(b"/zookeeper/") && std::str::from_utf8(path).is_ok_and(is_quota_statistics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_as_a_walk_meets_them() {
        for (before, path) in [
            ("", "/a"),
            ("/a", "/a/b"),
            ("/a", "/b"),
            ("/a", "/a b"),
            ("/a/z/z", "/a b"),
            ("/a/b/c", "/a/c"),
            ("/a/b/c", "/b"),
            ("/z", "/\u{e9}"),
        ] {
            assert!(follows(before.as_bytes(), path.as_bytes()), "{path} behind {before}");
        }
        for (before, path) in [
            ("", ""),
            ("/a", ""),
            ("/a", "/a"),
            ("/a", "b"),
            ("/a", "/a/"),
            ("/a", "//b"),
            ("/b", "/a"),
            ("/ab", "/a"),
            ("/a", "/b/c"),
            ("/ab", "/a/c"),
            ("/a b", "/a/z"),
            ("/b/c", "/a/d"),
            ("/b/c", "/b"),
            ("/b/c/d", "/b/c"),
        ] {
            assert!(!follows(before.as_bytes(), path.as_bytes()), "{path} behind {before}");
        }
    }

    #[test]
    fn lists_that_want_a_number_that_is_taken_have_the_next() {
        let mut acls = Acls { numbers: vec![6], used: vec![false], wanted: 6, ..Acls::default() };
        let wanted = number_of(b"list");
        // As if the list before had wanted the same and come first by its bytes.
        (acls.wanted, acls.list, acls.numbers) = (wanted, b"less".to_vec(), vec![wanted]);
        let mut moved = Acls { list: b"less".to_vec(), numbers: vec![wanted], wanted, ..Acls::default() };
        assert!(moved.add(wanted + 1, b"list") && !acls.add(wanted, b"list"));
        // One that was moved behind others takes the next, wanted or not.
        let mut run = Acls { numbers: vec![wanted + 7], wanted: wanted - 1, ..Acls::default() };
        assert!(run.add(wanted + 8, b"list"));
        let mut greater = Acls { list: b"more".to_vec(), numbers: vec![wanted], wanted, ..Acls::default() };
        assert!(!greater.add(wanted + 1, b"list"), "not in the order of their bytes");
        let mut last = Acls { numbers: vec![i64::MAX], ..Acls::default() };
        assert!(!last.add(i64::MIN, b"list"));
    }
}
