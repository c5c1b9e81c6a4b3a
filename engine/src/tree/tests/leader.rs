//! A leader in miniature: numbers transactions, encodes them, applies them, and keeps the payloads as a log.

use super::*;
use crate::txn::{AclList, MultiBuilder, PathList, SubTxn, TxnDigest, TxnHeader, kind};

pub(crate) struct Leader {
    pub(crate) tree: Tree,
    pub(crate) log: Vec<Vec<u8>>,
    /// (kind, path) of the events of the last transaction.
    pub(crate) events: Vec<(EventKind, String)>,
    acl: Vec<u8>,
    pub(crate) time: i64,
    /// Whether random histories contain close transactions of the kind that 3.5 and older wrote.
    pub(crate) close_without_list: bool,
}

/// A session that asks for what nobody in particular asks for.
pub(crate) const SESSION: i64 = 0x0100_000d_1d0c_0000;

impl Leader {
    pub(crate) fn new() -> Leader {
        let mut leader = Leader {
            tree: Tree::new(11),
            log: Vec::new(),
            events: Vec::new(),
            acl: Vec::new(),
            time: 1_795_285_959_000,
            close_without_list: true,
        };
        leader.set_acl_of_creates(&[Acl::world(Acl::ALL)]);
        leader
    }

    pub(crate) fn set_acl_of_creates(&mut self, acl: &[Acl]) {
        AclList::encode(acl, &mut self.acl);
    }

    pub(crate) fn zxid(&self) -> i64 {
        self.log.len() as i64
    }

    /// Gives the transaction the next zxid, applies it, and logs it with the digest that it led to.
    pub(crate) fn submit(&mut self, kind: i32, client: i64, txn: &Txn<'_>) -> OpResult {
        let header = TxnHeader {
            client_id: SessionId(client),
            cxid: 1,
            zxid: Zxid::from_raw(self.zxid() + 1),
            time: self.time,
            kind,
        };
        self.time += 3;
        self.events.clear();
        let events = &mut self.events;
        let applied = self.tree.apply(&header, txn, None, &mut |event| {
            assert_eq!(event.zxid, header.zxid);
            events.push((event.kind, event.path.to_owned()));
        });
        let digest = (kind != kind::ERROR).then(|| TxnDigest::new(self.tree.digest()));
        let mut payload = Vec::new();
        txn::encode_into(&header, txn, digest, &mut payload);
        self.log.push(payload);
        applied.result
    }

    fn parent_cversion(&self, path: &str) -> i32 {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.tree.find(parent).map_or(1, |id| self.tree.node(id).persisted().cversion.wrapping_add(1))
    }

    pub(crate) fn create_with(&mut self, path: &str, data: Option<&[u8]>, owner: Option<i64>) -> OpResult {
        let acl = self.acl.clone();
        let acl = AclList::read(&mut crate::jute::Reader::new(&acl)).unwrap();
        let parent_cversion = self.parent_cversion(path);
        let ephemeral = owner.is_some();
        let txn = Txn::Create { path, data, acl, ephemeral, parent_cversion };
        self.submit(kind::CREATE, owner.unwrap_or(SESSION), &txn)
    }

    pub(crate) fn create(&mut self, path: &str, data: &str) -> OpResult {
        self.create_with(path, Some(data.as_bytes()), None)
    }

    pub(crate) fn create_ephemeral(&mut self, path: &str, session: i64) -> OpResult {
        self.create_with(path, Some(b""), Some(session))
    }

    pub(crate) fn create_container(&mut self, path: &str) -> OpResult {
        let acl = AclList::NULL;
        let parent_cversion = self.parent_cversion(path);
        let txn = Txn::CreateContainer { path, data: Some(b""), acl, parent_cversion };
        self.submit(kind::CREATE_CONTAINER, SESSION, &txn)
    }

    pub(crate) fn create_ttl(&mut self, path: &str, ttl: i64) -> OpResult {
        let acl = AclList::NULL;
        let parent_cversion = self.parent_cversion(path);
        let txn = Txn::CreateTtl { path, data: Some(b""), acl, parent_cversion, ttl };
        self.submit(kind::CREATE_TTL, SESSION, &txn)
    }

    pub(crate) fn delete(&mut self, path: &str) -> OpResult {
        self.submit(kind::DELETE, SESSION, &Txn::Delete { path })
    }

    pub(crate) fn set(&mut self, path: &str, data: &str) -> OpResult {
        let version =
            self.tree.find(path).map_or(1, |id| self.tree.node(id).persisted().version.wrapping_add(1));
        self.submit(kind::SET_DATA, SESSION, &Txn::SetData { path, data: Some(data.as_bytes()), version })
    }

    pub(crate) fn set_acl(&mut self, path: &str, acl: &[Acl]) -> OpResult {
        let version =
            self.tree.find(path).map_or(1, |id| self.tree.node(id).persisted().aversion.wrapping_add(1));
        let mut encoded = Vec::new();
        let acl = AclList::encode(acl, &mut encoded);
        self.submit(kind::SET_ACL, SESSION, &Txn::SetAcl { path, acl, version })
    }

    pub(crate) fn close(&mut self, session: i64, with_list: bool) -> OpResult {
        let owned = ephemeral_paths(&self.tree, session);
        let mut encoded = Vec::new();
        let paths = with_list.then(|| PathList::encode(owned.iter().map(String::as_str), &mut encoded));
        self.submit(kind::CLOSE_SESSION, session, &Txn::CloseSession { paths })
    }

    pub(crate) fn multi(&mut self, subs: &[SubTxn<'_>]) -> OpResult {
        let mut builder = MultiBuilder::new();
        for sub in subs {
            builder.push(sub.kind, &sub.txn);
        }
        self.submit(kind::MULTI, SESSION, &Txn::Multi(builder.multi()))
    }

    /// One transaction that a real leader could have logged for this tree, of any type.
    pub(crate) fn random_step(&mut self, random: &mut fastrand::Rng) {
        let session = random.i64(1..6);
        let path = random_path(random);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let node = self.tree.find(&path);
        let parent_takes_children = self
            .tree
            .find(parent)
            .is_some_and(|id| !matches!(self.tree.node(id).kind(), NodeKind::Ephemeral(_)));
        if random.u32(..10) == 0 {
            let acls = [Acl::world(Acl::ALL), Acl::world(random.i32(0..4))];
            self.set_acl_of_creates(&acls[..random.usize(1..3)]);
        }
        match (node, random.u32(..20)) {
            (None, _) if parent_takes_children => match random.u32(..8) {
                0..2 => drop(self.create_ephemeral(&path, session)),
                2 => drop(self.create_container(&path)),
                3 => drop(self.create_ttl(&path, random.i64(1..1000))),
                4 => drop(self.create_with(&path, None, None)),
                _ => drop(self.create(&path, &"d".repeat(random.usize(..40)))),
            },
            (Some(_), 0..5) => drop(self.set(&path, &"s".repeat(random.usize(..1500)))),
            (Some(_), 5..7) => drop(self.set_acl(&path, &[Acl::world(random.i32(0..32))])),
            (Some(id), 7..15) if self.tree.node(id).child_count() == 0 => drop(self.delete(&path)),
            (Some(_), 15) => {
                let version = 1;
                let sub = |kind, txn| SubTxn { kind, txn };
                let mut subs = vec![
                    sub(kind::CHECK, Txn::Check { path: &path, version }),
                    sub(kind::SET_DATA, Txn::SetData { path: &path, data: None, version }),
                    sub(kind::SET_DATA, Txn::SetData { path: &path, data: Some(b"multi"), version: 2 }),
                ];
                if random.bool() {
                    subs.push(sub(kind::ERROR, Txn::Error { err: -101 }));
                }
                self.multi(&subs);
            }
            (_, 16..18) => drop(self.close(session, random.bool() || !self.close_without_list)),
            _ => drop(self.submit(kind::ERROR, session, &Txn::Error { err: -110 })),
        }
    }
}

/// A path of up to four components out of few, so that histories meet the same nodes again.
pub(crate) fn random_path(random: &mut fastrand::Rng) -> String {
    let mut path = String::new();
    for _ in 0..random.usize(1..5) {
        path.push('/');
        path.push(random.choice(['a', 'b', 'c', 'ü']).unwrap());
    }
    path
}
