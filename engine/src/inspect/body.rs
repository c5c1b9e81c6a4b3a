//! The body of a snapshot, item by item: what the loader builds a tree from, without the tree.
//!
//! The same for our snapshots and for Apache's files, which differ in what is around it. Holds one item at a time,
//! and about as much as the source of the bytes gives at once; nothing is allocated for what is only announced.

use crate::id::{SessionId, Zxid};
use crate::jute::Reader;
use crate::snapshot::SnapshotError;
use crate::tree::StatPersisted;
use crate::txn::AclList;

/// The path behind the last node.
const END_OF_NODES: &[u8] = b"/";
/// What follows it in our files and between peers.
const SIGNATURE: &[u8] = b"BenWasHere";
/// czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid.
const STAT_BYTES: usize = 60;
/// perms and two empty strings.
const MIN_ACL_ENTRY: usize = 12;
/// What is consumed is given up when it is more than this.
const KEPT: usize = 1 << 20;

/// One item of a snapshot, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A session that is alive.
    Session {
        /// Its id.
        id: SessionId,
        /// Its timeout, milliseconds.
        timeout: i32,
    },
    /// An access control list.
    Acl {
        /// The number by which nodes name it.
        number: i64,
        /// The list.
        list: AclList<'a>,
    },
    /// A znode.
    Node(NodeItem<'a>),
}

/// A znode of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeItem<'a> {
    /// Its path; empty for the root.
    pub path: &'a str,
    /// Its data; null differs from empty.
    pub data: Option<&'a [u8]>,
    /// The number of its access control list; -1: everybody may do everything.
    pub acl: i64,
    /// Its numbers.
    pub stat: StatPersisted,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    SessionCount,
    Sessions(usize),
    AclCount,
    Acls(usize),
    Nodes,
    Behind,
}

/// What the next bytes are.
enum Next {
    /// A count that begins a list, and the stage of that list.
    Count(Stage),
    /// The list of sessions or ACLs is at its end.
    Section(Stage),
    /// An item of so many bytes.
    Item(usize),
    /// The path behind the last node, of so many bytes.
    End(usize),
    /// So many bytes are needed to say.
    Needs(usize),
}

/// Reads a body from its first byte. `more` appends the next bytes to what it is given, and says false where there are
/// no more.
#[derive(Debug)]
pub struct Body<F> {
    more: F,
    /// Bytes that came and are not given up.
    held: Vec<u8>,
    /// How many of them are consumed.
    used: usize,
    /// Offset in the stream of the first of them.
    held_at: u64,
    stage: Stage,
}

impl<F, E> Body<F>
where
    F: FnMut(&mut Vec<u8>) -> Result<bool, E>,
    E: From<SnapshotError>,
{
    /// Nothing is read yet.
    pub fn new(more: F) -> Body<F> {
        Body { more, held: Vec::new(), used: 0, held_at: 0, stage: Stage::SessionCount }
    }

    /// Offset in the stream of the next byte that is not consumed.
    pub fn position(&self) -> u64 {
        self.held_at + self.used as u64
    }

    /// Whether all items were handed out. Reads on if need be to see that.
    pub fn is_at_end(&mut self) -> Result<bool, E> {
        Ok(self.find_item()?.is_none())
    }

    /// The next item, or `None` behind the last node. Not to be called again after an error.
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from it")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, E> {
        let Some(bytes) = self.find_item()? else { return Ok(None) };
        let (at, start, stage) = (self.position(), self.used, self.stage);
        self.used += bytes;
        match &mut self.stage {
            Stage::Sessions(left) | Stage::Acls(left) => *left -= 1,
            _ => {}
        }
        item(&self.held[start..self.used], at, stage).map(Some).map_err(E::from)
    }

    /// Goes up to the next item and sees to it that all of it is at hand. Returns its length.
    fn find_item(&mut self) -> Result<Option<usize>, E> {
        while !matches!(self.stage, Stage::Behind) {
            match self.judge()? {
                Next::Needs(bytes) => self.fill(bytes)?,
                Next::Count(stage) => {
                    self.used += 4;
                    self.stage = stage;
                }
                Next::Section(stage) => self.stage = stage,
                Next::End(bytes) => {
                    self.used += bytes;
                    self.stage = Stage::Behind;
                }
                Next::Item(bytes) => return Ok(Some(bytes)),
            }
        }
        Ok(None)
    }

    /// What follows the nodes in our files: the signature, and nothing more.
    pub fn signature(&mut self) -> Result<(), E> {
        let at = self.position();
        self.fill(4 + SIGNATURE.len())?;
        let mut reader = Reader::new(&self.held[self.used..]);
        if reader.ustring() != Ok(Some(SIGNATURE)) {
            return Err(SnapshotError::Signature { at }.into());
        }
        self.used += 4 + SIGNATURE.len();
        let rest = self.held.len();
        if rest > self.used || (self.more)(&mut self.held)? && self.held.len() > rest {
            return Err(SnapshotError::GoesOn { at: self.position() }.into());
        }
        Ok(())
    }

    /// The next `bytes` bytes, whatever they are: what follows the nodes in Apache's files. `None` if there are fewer.
    pub fn take(&mut self, bytes: usize) -> Result<Option<&[u8]>, E> {
        if !self.have(bytes)? {
            return Ok(None);
        }
        let start = self.used;
        self.used += bytes;
        Ok(Some(&self.held[start..self.used]))
    }

    /// Sees to it that so many bytes are at hand.
    fn fill(&mut self, bytes: usize) -> Result<(), E> {
        if self.have(bytes)? {
            return Ok(());
        }
        Err(SnapshotError::Unfinished { at: self.held_at + self.held.len() as u64 }.into())
    }

    /// Whether so many bytes are at hand or come.
    fn have(&mut self, bytes: usize) -> Result<bool, E> {
        if self.used > KEPT || self.used == self.held.len() {
            self.held.drain(..self.used);
            self.held_at += self.used as u64;
            self.used = 0;
        }
        while self.held.len() - self.used < bytes {
            if !(self.more)(&mut self.held)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn judge(&self) -> Result<Next, SnapshotError> {
        let bytes = &self.held[self.used..];
        match self.stage {
            Stage::SessionCount => self.count(bytes, "the number of sessions", Stage::Sessions),
            Stage::Sessions(0) => Ok(Next::Section(Stage::AclCount)),
            Stage::Sessions(_) if bytes.len() < 12 => Ok(Next::Needs(12)),
            Stage::Sessions(_) => Ok(Next::Item(12)),
            Stage::AclCount => self.count(bytes, "the number of ACLs", Stage::Acls),
            Stage::Acls(0) => Ok(Next::Section(Stage::Nodes)),
            Stage::Acls(_) => self.acl(bytes),
            Stage::Nodes => self.node(bytes),
            Stage::Behind => Ok(Next::End(0)),
        }
    }

    fn count(
        &self,
        bytes: &[u8],
        what: &'static str,
        stage: impl Fn(usize) -> Stage,
    ) -> Result<Next, SnapshotError> {
        let Some(count) = i32_at(bytes, 0) else { return Ok(Next::Needs(4)) };
        Ok(Next::Count(stage(self.length(0, what, count)?)))
    }

    fn acl(&self, bytes: &[u8]) -> Result<Next, SnapshotError> {
        let Some(entries) = i32_at(bytes, 8) else { return Ok(Next::Needs(12)) };
        let entries = self.length(8, "the length of an ACL", entries)?;
        let mut end = 12;
        for left in (0..entries).rev() {
            end += 4;
            for what in ["the length of an ACL's scheme", "the length of an ACL's id"] {
                let Some(len) = i32_at(bytes, end) else {
                    return Ok(Next::Needs(end + 4));
                };
                end += 4 + if len == -1 { 0 } else { self.length(end, what, len)? };
            }
            if bytes.len() < end {
                // Several entries at once: gathering a long list one by one would look at it again for each.
                return Ok(Next::Needs(end + left.min(64) * MIN_ACL_ENTRY));
            }
        }
        Ok(Next::Item(end))
    }

    fn node(&self, bytes: &[u8]) -> Result<Next, SnapshotError> {
        let Some(len) = i32_at(bytes, 0) else { return Ok(Next::Needs(4)) };
        let path_end = 4 + self.length(0, "the length of a path", len)?;
        let Some(path) = bytes.get(4..path_end) else { return Ok(Next::Needs(path_end)) };
        if path == END_OF_NODES {
            return Ok(Next::End(path_end));
        }
        let Some(len) = i32_at(bytes, path_end) else { return Ok(Next::Needs(path_end + 4)) };
        let data = match len {
            -1 => 0,
            len => self.length(path_end, "the length of a node's data", len)?,
        };
        let end = path_end + 4 + data + 8 + STAT_BYTES;
        Ok(if bytes.len() < end { Next::Needs(end) } else { Next::Item(end) })
    }

    /// A length or count, `behind` bytes behind the next byte.
    fn length(&self, behind: usize, what: &'static str, value: i32) -> Result<usize, SnapshotError> {
        let at = self.position() + behind as u64;
        usize::try_from(value).map_err(|_| SnapshotError::Length { at, what, value, most: i32::MAX as usize })
    }
}

/// Takes an item apart that was seen to be all there.
fn item(bytes: &[u8], at: u64, stage: Stage) -> Result<Item<'_>, SnapshotError> {
    let mut reader = Reader::new(bytes);
    match stage {
        Stage::Sessions(_) => {
            let (id, timeout) = (int64(&mut reader), int32(&mut reader));
            Ok(Item::Session { id: SessionId(id), timeout })
        }
        Stage::Acls(_) => {
            let number = int64(&mut reader);
            let list = AclList::read(&mut reader).expect("its lengths were looked at");
            Ok(Item::Acl { number, list })
        }
        _ => {
            let path = reader.ustring().expect("its length was looked at").unwrap_or_default();
            let path = std::str::from_utf8(path).map_err(|_| SnapshotError::NotText { at: at + 4 })?;
            let data = reader.buffer().expect("its length was looked at");
            let acl = int64(&mut reader);
            Ok(Item::Node(NodeItem { path, data, acl, stat: stat(&mut reader) }))
        }
    }
}

fn stat(reader: &mut Reader<'_>) -> StatPersisted {
    StatPersisted {
        czxid: Zxid::from_raw(int64(reader)),
        mzxid: Zxid::from_raw(int64(reader)),
        ctime: int64(reader),
        mtime: int64(reader),
        version: int32(reader),
        cversion: int32(reader),
        aversion: int32(reader),
        ephemeral_owner: int64(reader),
        pzxid: Zxid::from_raw(int64(reader)),
    }
}

fn int64(reader: &mut Reader<'_>) -> i64 {
    reader.i64().expect("as many bytes as were asked for")
}

fn int32(reader: &mut Reader<'_>) -> i32 {
    reader.i32().expect("as many bytes as were asked for")
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|chunk| i32::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::write_stream;
    use crate::tree::Tree;

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        let sessions = [(SessionId(5), 4000), (SessionId(2), 6000)];
        write_stream(&Tree::new(1), &sessions, &mut |piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// Everything in it, read in pieces of `piece` bytes.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, SnapshotError> {
        let mut rest = bytes.chunks(piece);
        let mut body = Body::new(|held: &mut Vec<u8>| -> Result<bool, SnapshotError> {
            let next = rest.next();
            held.extend_from_slice(next.unwrap_or_default());
            Ok(next.is_some())
        });
        let mut found = Vec::new();
        while let Some(item) = body.next()? {
            found.push(format!("{item:?}"));
        }
        body.signature()?;
        assert_eq!(body.position(), bytes.len() as u64);
        Ok(found)
    }

    #[test]
    fn pieces_of_any_size_make_the_same_items() {
        let bytes = stream();
        let whole = read(&bytes, bytes.len()).unwrap();
        let nodes = whole.iter().filter(|item| item.starts_with("Node")).count();
        let sessions: Vec<_> = whole.iter().filter(|item| item.starts_with("Session")).collect();
        assert_eq!((nodes, sessions.len()), (4, 2));
        assert!(sessions[0].contains("timeout: 6000"), "{sessions:?}");
        for piece in 1..200 {
            assert_eq!(read(&bytes, piece).unwrap(), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_an_error() {
        let bytes = stream();
        for end in 0..bytes.len() {
            let error = read(&bytes[..end], 64).unwrap_err();
            assert_eq!(error, SnapshotError::Unfinished { at: end as u64 });
        }
        for piece in [7, bytes.len(), bytes.len() + 1] {
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(read(&longer, piece), Err(SnapshotError::GoesOn { at: bytes.len() as u64 }));
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let bytes = stream();
        for at in 0..bytes.len() {
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut hurt = bytes.clone();
                hurt[at] = value;
                let _ = read(&hurt, 61);
            }
        }
    }
}
