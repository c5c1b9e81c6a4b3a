//! Every distinct ACL once, counted by the nodes that use it.
//!
//! Lists are compared as encoded bytes, which is what transactions carry and what getACL answers. Ids are private
//! to one tree and given out again, unlike the reference's; no file and no digest contains them.

use super::AclId;
use crate::txn::{Acl, AclList};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Acls {
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_bytes: HashTable<u32>,
    hasher: FixedState,
    /// The list asked for last: nearly always the next one too.
    latest: u32,
}

#[derive(Debug)]
struct Entry {
    encoded: Box<[u8]>,
    list: Arc<[Acl]>,
    references: u32,
}

impl AclId {
    /// The null ACL of the built-in nodes: everybody may do everything. Not counted.
    pub(super) const OPEN: AclId = AclId(0);
}

impl Acls {
    pub(super) fn new(seed: u64) -> Acls {
        let open = [Acl::world(Acl::ALL)];
        let mut encoded = Vec::new();
        AclList::encode(&open, &mut encoded);
        Acls {
            entries: vec![Entry { encoded: encoded.into(), list: open.into(), references: 1 }],
            free: Vec::new(),
            by_bytes: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            latest: 0,
        }
    }

    /// The id of an equal list, with one more reference.
    pub(super) fn intern(&mut self, list: AclList<'_>) -> AclId {
        if list.is_null() {
            return AclId::OPEN;
        }
        let encoded = list.encoded();
        let latest = &mut self.entries[self.latest as usize];
        if self.latest != 0 && *latest.encoded == *encoded {
            latest.references += 1;
            return AclId(self.latest);
        }
        let hash = self.hasher.hash_one(encoded);
        let found = self.by_bytes.find(hash, |&id| *self.entries[id as usize].encoded == *encoded).copied();
        let id = match found {
            Some(id) => {
                self.entries[id as usize].references += 1;
                id
            }
            None => self.add(hash, list),
        };
        self.latest = id;
        AclId(id)
    }

    fn add(&mut self, hash: u64, list: AclList<'_>) -> u32 {
        let entry = Entry { encoded: list.encoded().into(), list: list.to_acls().into(), references: 1 };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer ACLs than nodes")
            }
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.by_bytes.insert_unique(hash, id, |&id| hasher.hash_one(&*entries[id as usize].encoded));
        id
    }

    /// Gives one reference back.
    pub(super) fn release(&mut self, AclId(id): AclId) {
        if id == AclId::OPEN.0 {
            return;
        }
        let entry = &mut self.entries[id as usize];
        entry.references -= 1;
        if entry.references > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&*entry.encoded);
        match self.by_bytes.find_entry(hash, |&candidate| candidate == id) {
            Ok(found) => drop(found.remove()),
            Err(_) => panic!("ACL {id} is not in its table"),
        }
        *entry = Entry { encoded: Box::default(), list: Arc::default(), references: 0 };
        self.free.push(id);
        if self.latest == id {
            self.latest = 0;
        }
    }

    /// One more reference to a list in use.
    pub(super) fn share(&mut self, AclId(id): AclId) {
        if id != AclId::OPEN.0 {
            self.entries[id as usize].references += 1;
        }
    }

    /// The lists in use, without the open one.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AclId, &[u8])> {
        let in_use = |(_, entry): &(u32, &Entry)| entry.references > 0;
        let all = (0..).zip(&self.entries).skip(1);
        all.filter(in_use).map(|(id, entry)| (AclId(id), &*entry.encoded))
    }

    pub(super) fn list(&self, AclId(id): AclId) -> &Arc<[Acl]> {
        &self.entries[id as usize].list
    }

    pub(super) fn encoded(&self, AclId(id): AclId) -> &[u8] {
        &self.entries[id as usize].encoded
    }

    /// Distinct lists in use, without the open one.
    pub(super) fn len(&self) -> usize {
        self.by_bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intern(acls: &mut Acls, list: &[Acl]) -> AclId {
        acls.intern(AclList::encode(list, &mut Vec::new()))
    }

    #[test]
    fn equal_lists_share_an_id_until_the_last_reference_goes() {
        let mut acls = Acls::new(1);
        let (all, read) = ([Acl::world(Acl::ALL)], [Acl::world(Acl::READ)]);
        let first = intern(&mut acls, &all);
        let other = intern(&mut acls, &read);
        assert_ne!(first, other);
        assert_eq!(intern(&mut acls, &all), first);
        assert_eq!(acls.len(), 2);
        assert_eq!(**acls.list(first), all);
        acls.release(first);
        assert_eq!(**acls.list(first), all);
        acls.release(first);
        assert_eq!(acls.len(), 1);
        assert_eq!(**acls.list(other), read);
        let both = [Acl::world(Acl::READ), Acl::world(Acl::ALL)];
        let third = intern(&mut acls, &both);
        assert_eq!(**acls.list(third), both);
        assert_eq!(**acls.list(other), read);
    }

    #[test]
    fn the_null_list_is_open_and_an_empty_list_is_not_null() {
        let mut acls = Acls::new(1);
        assert_eq!(acls.intern(AclList::NULL), AclId::OPEN);
        acls.release(AclId::OPEN);
        assert_eq!(**acls.list(AclId::OPEN), [Acl::world(Acl::ALL)]);
        let empty = intern(&mut acls, &[]);
        assert_ne!(empty, AclId::OPEN);
        assert!(acls.list(empty).is_empty());
    }
}
