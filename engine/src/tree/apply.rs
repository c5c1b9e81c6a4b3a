//! What each type of transaction does to the tree.
//!
//! The rules that look redundant make replay converge. A transaction may meet a tree that already contains it and
//! later ones (snapshots of the reference are taken while it changes). Therefore a create that finds the node still
//! moves the parent's counters, but only forward; a delete that finds nothing still raises the parent's pzxid; and
//! failing is a result, after which the next transaction is applied.

use super::{
    AclId, Applied, BUILT_IN, DigestCheck, EventKind, NodeId, NodeKind, OpResult, StatPersisted, Tree,
    TreeEvent, digest, nodes::Spot, quota, record, slab::NIL,
};
use crate::id::{SessionId, Zxid};
use crate::txn::{AclList, Multi, PathList, Txn, TxnDigest, TxnHeader, code, kind};

/// Whom changes are told to.
type Events<'e> = &'e mut dyn FnMut(TreeEvent<'_>);

/// A node to create, whichever type of record asks for it.
struct NewNode<'a> {
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: AclList<'a>,
    kind: NodeKind,
    parent_cversion: i32,
}

impl Tree {
    /// Applies one transaction and tells `events` what watchers are to hear, in the order in which they are to hear
    /// it. If the transaction carries a digest, it is compared with ours afterwards; a difference is counted and
    /// returned, and changes nothing else.
    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
        events: &mut dyn FnMut(TreeEvent<'_>),
    ) -> Applied {
        if header.kind == kind::CHECK {
            tracing::warn!(zxid = %header.zxid, "a check outside of a multi, as old servers logged it, is skipped");
        }
        let result = self.apply_record(header, txn, events);
        self.last_zxid = self.last_zxid.max(header.zxid);
        let digest = self.compare(digest);
        if !self.converging {
            self.digest_history.record(header.zxid, self.digest);
        }
        Applied { result, digest }
    }

    fn compare(&mut self, digest: Option<TxnDigest>) -> DigestCheck {
        match digest {
            Some(TxnDigest { version: TxnDigest::VERSION, tree: expected }) if expected != self.digest => {
                if self.converging {
                    return DigestCheck::Absent;
                }
                self.digest_mismatches += 1;
                DigestCheck::Mismatch { expected, actual: self.digest }
            }
            Some(TxnDigest { version: TxnDigest::VERSION, .. }) => {
                self.converging = false;
                DigestCheck::Match
            }
            _ => DigestCheck::Absent,
        }
    }

    fn apply_record(&mut self, header: &TxnHeader, txn: &Txn<'_>, events: Events<'_>) -> OpResult {
        let created =
            |path, data, acl, kind, parent_cversion| NewNode { path, data, acl, kind, parent_cversion };
        match *txn {
            Txn::CreateSession { timeout } => OpResult::SessionCreated { timeout },
            Txn::CloseSession { paths } => self.close_session(header, paths, events),
            Txn::Error { err } => OpResult::Error(err),
            Txn::Create { path, data, acl, ephemeral, parent_cversion } => {
                let owner = if ephemeral { header.client_id } else { SessionId::NONE };
                let kind = NodeKind::of_owner(owner.0);
                self.create(header, &created(path, data, acl, kind, parent_cversion), events)
            }
            Txn::CreateContainer { path, data, acl, parent_cversion } => {
                self.create(header, &created(path, data, acl, NodeKind::Container, parent_cversion), events)
            }
            Txn::CreateTtl { path, data, acl, parent_cversion, ttl } => {
                self.create(header, &created(path, data, acl, NodeKind::Ttl(ttl), parent_cversion), events)
            }
            Txn::Delete { path } => self.delete(header.zxid, path, events),
            Txn::SetData { path, data, version } => self.set_data(header, path, data, version, events),
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl, version),
            Txn::Check { .. } => OpResult::Checked,
            Txn::Multi(multi) => self.multi(header, multi, events),
        }
    }

    fn create(&mut self, header: &TxnHeader, new: &NewNode<'_>, events: Events<'_>) -> OpResult {
        let zxid = header.zxid;
        let Some((parent_path, name)) = split(new.path) else {
            return OpResult::Error(if new.path == "/" { code::NODE_EXISTS } else { code::NO_NODE });
        };
        let Some(NodeId(parent)) = self.find(parent_path) else {
            return OpResult::Error(code::NO_NODE);
        };
        let acl = self.acls.intern(new.acl);
        let hash = self.index.hash(parent, name.as_bytes());
        if let Some(existing) = self.child_with_hash(parent, name.as_bytes(), hash) {
            let old = std::mem::replace(&mut self.nodes[existing].acl, acl.0);
            self.acls.release(AclId(old));
            self.count_creation(parent, parent_path, new.parent_cversion, zxid);
            return OpResult::Error(code::NODE_EXISTS);
        }
        self.count_creation(parent, parent_path, new.parent_cversion, zxid);
        let stat = StatPersisted::created(zxid, header.time, new.kind.owner());
        let id = self.insert_node(Spot { parent, name, path: new.path, hash }, new.data, acl, &stat);

        let data_len = new.data.map_or(0, <[u8]>::len);
        if name == quota::STATS && quota::is_quota_parent(parent_path) {
            self.recount_quota(parent_path, id);
        }
        self.count_for_quota(new.path, 1, data_len as i64);
        self.tell(EventKind::Created, new.path, acl, zxid, events);
        self.tell_parent(parent, parent_path, zxid, events);
        OpResult::Created(stat.client_view(data_len, 0))
    }

    /// The parent's side of a create: the counter that transaction carries, unless the parent is already past it.
    fn count_creation(&mut self, parent: u32, parent_path: &str, cversion: i32, zxid: Zxid) {
        let current = self.side_of(parent).map_or(0, |side| side.cversion);
        let cversion = if cversion == -1 { current.wrapping_add(1) } else { cversion };
        if cversion > current {
            self.update(parent, parent_path, |tree| {
                let side = tree.side_mut(parent);
                side.cversion = cversion;
                side.pzxid = zxid;
            });
        }
    }

    fn delete(&mut self, zxid: Zxid, path: &str, events: Events<'_>) -> OpResult {
        if BUILT_IN.contains(&path) {
            return OpResult::Error(code::BAD_ARGUMENTS);
        }
        let Some((parent_path, name)) = split(path) else {
            return OpResult::Error(code::NO_NODE);
        };
        let Some(NodeId(parent)) = self.find(parent_path) else {
            return OpResult::Error(code::NO_NODE);
        };
        if zxid > self.persisted_of(parent).pzxid {
            self.update(parent, parent_path, |tree| tree.side_mut(parent).pzxid = zxid);
        }
        let Some(id) = self.child_of(parent, name.as_bytes()) else {
            return OpResult::Error(code::NO_NODE);
        };
        self.remove_descendants(id, zxid, events);
        self.remove_and_tell(id, path, zxid, events);
        self.tell_parent(parent, parent_path, zxid, events);
        OpResult::Deleted
    }

    /// A leader deletes only nodes without children. In a replay over a newer tree the node can have children that
    /// were created after this delete, below a later node of this name: they go too, and come back when their own
    /// creates are replayed.
    fn remove_descendants(&mut self, top: u32, zxid: Zxid, events: Events<'_>) {
        let first_child = |tree: &Tree, id| tree.side_of(id).map_or(NIL, |side| side.first_child);
        let mut at = first_child(self, top);
        if at == NIL {
            return;
        }
        let mut path = String::new();
        while at != top {
            let below = first_child(self, at);
            if below != NIL {
                at = below;
                continue;
            }
            let record = &self.nodes[at];
            let then = if record.next == NIL { record.parent } else { record.next };
            self.path_of(NodeId(at), &mut path);
            self.remove_and_tell(at, &path, zxid, events);
            at = then;
        }
    }

    fn remove_and_tell(&mut self, id: u32, path: &str, zxid: Zxid, events: Events<'_>) {
        let data_len = self.data_of(id).map_or(0, <[u8]>::len);
        let acl = self.remove_leaf(id, path);
        self.count_for_quota(path, -1, -(data_len as i64));
        self.tell(EventKind::Deleted, path, acl, zxid, events);
        self.acls.release(acl);
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        events: Events<'_>,
    ) -> OpResult {
        let Some(NodeId(id)) = self.find(path) else {
            return OpResult::Error(code::NO_NODE);
        };
        let (mzxid, mtime) = (header.zxid, header.time);
        let mut old_len = 0;
        let stat = self.update(id, path, |tree| {
            old_len = tree.store_data(id, data);
            if !digest::excluded(path) {
                tree.nodes[id].path_data_crc = digest::path_data_crc(path, data);
            }
            let record = &mut tree.nodes[id];
            record.mzxid = mzxid;
            record.version = version;
            record.set_mtime_low(mtime);
            if record.side != NIL || record::needs_high(mtime) {
                tree.side_mut(id).set_mtime_high(mtime);
            }
        });
        let new_len = data.map_or(0, <[u8]>::len);
        self.count_for_quota(path, 0, new_len as i64 - old_len as i64);
        let acl = AclId(self.nodes[id].acl);
        self.tell(EventKind::DataChanged, if path.is_empty() { "/" } else { path }, acl, header.zxid, events);
        OpResult::Set(stat.client_view(new_len, self.node(NodeId(id)).child_count()))
    }

    fn set_acl(&mut self, path: &str, acl: AclList<'_>, version: i32) -> OpResult {
        let Some(NodeId(id)) = self.find(path) else {
            return OpResult::Error(code::NO_NODE);
        };
        let acl = self.acls.intern(acl);
        let old = std::mem::replace(&mut self.nodes[id].acl, acl.0);
        self.acls.release(AclId(old));
        self.update(id, path, |tree| tree.side_mut(id).aversion = version);
        OpResult::Set(self.node(NodeId(id)).stat())
    }

    /// With a list exactly what it names goes first, whoever owns it. Then, and without a list only, what the
    /// session owns.
    fn close_session(
        &mut self,
        header: &TxnHeader,
        paths: Option<PathList<'_>>,
        events: Events<'_>,
    ) -> OpResult {
        let session = header.client_id;
        for path in paths.iter().flat_map(PathList::iter) {
            self.delete(header.zxid, path, events);
        }
        let mut path = String::new();
        while let Some(id) = super::nodes::some(self.first_ephemeral(session)) {
            self.path_of(id, &mut path);
            if paths.is_some() {
                tracing::warn!(%session, path, "an ephemeral node is missing in its session's close transaction");
            }
            self.delete(header.zxid, &path, events);
        }
        OpResult::SessionClosed
    }

    /// All operations or none: a multi of which one failed was logged with that failure, and changes nothing.
    fn multi(&mut self, header: &TxnHeader, multi: Multi<'_>, events: Events<'_>) -> OpResult {
        let mut results = std::mem::take(&mut self.multi_results);
        results.clear();
        let failed = multi.failed();
        for sub in multi.iter() {
            results.push(match sub.txn {
                Txn::Error { err } => OpResult::Error(err),
                _ if failed => OpResult::Error(0),
                txn => self.apply_record(&TxnHeader { kind: sub.kind, ..*header }, &txn, events),
            });
        }
        self.multi_results = results;
        OpResult::Multi
    }

    fn tell(&self, kind: EventKind, path: &str, acl: AclId, zxid: Zxid, events: Events<'_>) {
        events(TreeEvent { kind, path, acl: self.acls.list(acl), zxid });
    }

    fn tell_parent(&self, parent: u32, parent_path: &str, zxid: Zxid, events: Events<'_>) {
        let path = if parent_path.is_empty() { "/" } else { parent_path };
        self.tell(EventKind::ChildrenChanged, path, AclId(self.nodes[parent].acl), zxid, events);
    }
}

/// Splits a path into the parent's (the root's is `""`, not `"/"`, which would give every node a second path) and
/// the name. `None` for the root and for what no node can be called.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    let parent_is_path = parent.is_empty() || (parent.starts_with('/') && parent != "/");
    (parent_is_path && !name.is_empty()).then_some((parent, name))
}
