//! Turns a write request into a transaction, or says which error it is.
//!
//! Judged against what is pending, in the order of checks that clients can observe (state-and-storage reference 6,
//! client-protocol reference 4). A request that passes leaves its changes in [`Pending`]; one that fails leaves
//! nothing. Who may ask, in which session, is decided by the caller; here only ACLs are looked at.

use std::rc::Rc;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::tree::{NodeKind, StatPersisted, Tree};
use ringkeeper_engine::txn::{AclList, Multi, MultiBuilder, PathList, Txn, kind};

use super::acl::{self, AclFixer, perm};
use super::auth::{AuthOptions, Identity};
use super::path;
use super::pending::{Future, Pending};
use super::session::Session;
use crate::wire::multi::MultiOp;
use crate::wire::request::{Create, PathVersion, SetAcl, SetData};
use crate::wire::{self, Code, op};

/// Gets the finished transaction: its type, its record and the digest of the tree after it.
pub type Emit<'e> = &'e mut dyn FnMut(i32, &Txn<'_>, u64);

/// Bytes of a closeSession transaction beside its list: header and digest.
const CLOSE_SESSION_LEN: usize = 44;

/// What judging a request needs. Made anew for every request from the parts of [`super::Service`].
pub struct Prep<'a> {
    /// What is applied.
    pub tree: &'a Tree,
    /// What is proposed on top of it.
    pub pending: &'a mut Pending,
    /// Lists that were fixed up before.
    pub fixer: &'a mut AclFixer,
    /// Providers and super user.
    pub auth: &'a AuthOptions,
    /// Bytes that the ACLs of this request may still take.
    pub acl_room: usize,
    /// The longest transaction.
    pub max_txn_bytes: usize,
    /// Whether nodes with a time to live may be made.
    pub extended_types: bool,
    /// Who asks.
    pub identities: &'a [Identity],
    /// The session for which it is asked.
    pub session: &'a mut Session,
    /// The number of the transaction to be.
    pub zxid: Zxid,
    /// Wall clock, milliseconds since 1970.
    pub time: i64,
}

/// The kinds that create flags stand for.
struct Mode {
    ephemeral: bool,
    sequential: bool,
    container: bool,
    ttl: bool,
}

impl Mode {
    fn of_flags(flags: i32) -> Option<Mode> {
        let mode =
            |ephemeral, sequential, container, ttl| Some(Mode { ephemeral, sequential, container, ttl });
        match flags {
            0 => mode(false, false, false, false),
            1 => mode(true, false, false, false),
            2 => mode(false, true, false, false),
            3 => mode(true, true, false, false),
            4 => mode(false, false, true, false),
            5 => mode(false, false, false, true),
            6 => mode(false, true, false, true),
            _ => None,
        }
    }
}

/// The version after a change of one that is `version`: never -1, which clients take for "any".
fn next_version(version: i32) -> i32 {
    match version.wrapping_add(1) {
        -1 => 0,
        next => next,
    }
}

fn expect_version(expected: i32, version: i32) -> Result<i32, Code> {
    if expected == -1 || expected == version { Ok(next_version(version)) } else { Err(Code::BadVersion) }
}

fn full_path(path: Option<&str>) -> Result<&str, Code> {
    path.filter(|path| path::is_valid(path)).ok_or(Code::BadArguments)
}

impl Prep<'_> {
    fn node(&self, path: &str) -> Result<Future, Code> {
        self.pending.get(self.tree, path).ok_or(Code::NoNode)
    }

    fn permit(&self, node: &Future, mask: i32) -> Result<(), Code> {
        if acl::allows(self.auth, &node.acl, mask, self.identities) { Ok(()) } else { Err(Code::NoAuth) }
    }

    fn digest(&self) -> u64 {
        self.pending.digest(self.tree)
    }

    /// create, create2, createContainer or createTTL, which of them says `op`.
    pub fn create(&mut self, op: i32, request: &Create<'_>, emit: Emit<'_>) -> Result<(), Code> {
        let mode = Mode::of_flags(request.flags).ok_or(Code::BadArguments)?;
        if mode.ttl && !self.extended_types {
            return Err(Code::Unimplemented);
        }
        // The reference takes any flags with createContainer and createTTL, and falls over some: they must agree.
        let agree = match op {
            op::CREATE_TTL => mode.ttl && (1..=NodeKind::MAX_TTL_MS).contains(&request.ttl),
            op::CREATE_CONTAINER => mode.container,
            _ => !mode.ttl,
        };
        if !agree {
            return Err(Code::BadArguments);
        }
        let given = request.path.as_deref().ok_or(Code::MarshallingError)?;
        if !path::has_parent(given) {
            return Err(Code::BadArguments);
        }
        let fixed = self.fixer.fix(self.auth, request.acl, self.identities, &mut self.acl_room)?;
        let parent_path = path::parent_of(given);
        let mut parent = self.node(parent_path)?;
        self.permit(&parent, perm::CREATE)?;
        let numbered;
        let path = if mode.sequential {
            numbered = format!("{given}{:010}", parent.stat.cversion);
            &numbered
        } else {
            given
        };
        if !path::is_valid(path) {
            return Err(Code::BadArguments);
        }
        if self.node(path).is_ok() {
            return Err(Code::NodeExists);
        }
        if matches!(parent.kind(), NodeKind::Ephemeral(_)) {
            return Err(Code::NoChildrenForEphemerals);
        }

        let kind = match op {
            op::CREATE_CONTAINER => NodeKind::Container,
            op::CREATE_TTL => NodeKind::Ttl(request.ttl),
            _ if mode.ephemeral => NodeKind::Ephemeral(self.session.id),
            _ => NodeKind::Persistent,
        };
        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        parent.children += 1;
        // Applying never lets the counter go back, not even when it wraps.
        if parent_cversion > parent.stat.cversion {
            parent.stat.cversion = parent_cversion;
            parent.stat.pzxid = self.zxid;
        }
        self.pending.set(self.tree, self.zxid, parent_path, parent);
        let stat = StatPersisted::created(self.zxid, self.time, kind.owner());
        self.pending.create(self.tree, self.zxid, path, request.data, fixed.acl, stat);
        if mode.ephemeral {
            self.session.note_ephemeral(self.zxid, self.tree.last_zxid(), path);
        }

        let (data, acl) = (request.data, stored_acl(&fixed.encoded));
        let txn = match kind {
            NodeKind::Container => Txn::CreateContainer { path, data, acl, parent_cversion },
            NodeKind::Ttl(ttl) => Txn::CreateTtl { path, data, acl, parent_cversion, ttl },
            _ => Txn::Create { path, data, acl, ephemeral: mode.ephemeral, parent_cversion },
        };
        emit(op, &txn, self.digest());
        Ok(())
    }

    /// delete.
    pub fn delete(&mut self, request: &PathVersion<'_>, emit: Emit<'_>) -> Result<(), Code> {
        let path = request.path.as_deref().ok_or(Code::MarshallingError)?;
        if !path::has_parent(path) || path::is_system(path) {
            return Err(Code::BadArguments);
        }
        let parent = self.node(path::parent_of(path))?;
        self.permit(&parent, perm::DELETE)?;
        let node = self.node(path)?;
        expect_version(request.version, node.stat.version)?;
        if node.children > 0 {
            return Err(Code::NotEmpty);
        }
        self.remove(path, parent, &node);
        emit(kind::DELETE, &Txn::Delete { path }, self.digest());
        Ok(())
    }

    fn remove(&mut self, path: &str, mut parent: Future, node: &Future) {
        parent.children = parent.children.saturating_sub(1);
        parent.stat.pzxid = parent.stat.pzxid.max(self.zxid);
        self.pending.set(self.tree, self.zxid, path::parent_of(path), parent);
        self.pending.delete(self.tree, self.zxid, path, node);
    }

    /// setData.
    pub fn set_data(&mut self, request: &SetData<'_>, emit: Emit<'_>) -> Result<(), Code> {
        let path = full_path(request.path.as_deref())?;
        let mut node = self.node(path)?;
        self.permit(&node, perm::WRITE)?;
        let version = expect_version(request.version, node.stat.version)?;
        node.stat.version = version;
        node.stat.mzxid = self.zxid;
        node.stat.mtime = self.time;
        node.path_data_crc = ringkeeper_engine::tree::digest::path_data_crc(path, request.data);
        self.pending.set(self.tree, self.zxid, path, node);
        emit(kind::SET_DATA, &Txn::SetData { path, data: request.data, version }, self.digest());
        Ok(())
    }

    /// setACL. Later requests are judged by the new list at once, though it is not applied yet.
    pub fn set_acl(&mut self, request: &SetAcl<'_>, emit: Emit<'_>) -> Result<(), Code> {
        let path = full_path(request.path.as_deref())?;
        let fixed = self.fixer.fix(self.auth, request.acl, self.identities, &mut self.acl_room)?;
        let mut node = self.node(path)?;
        self.permit(&node, perm::ADMIN)?;
        let version = expect_version(request.version, node.stat.aversion)?;
        node.stat.aversion = version;
        node.acl = fixed.acl;
        self.pending.set(self.tree, self.zxid, path, node);
        emit(kind::SET_ACL, &Txn::SetAcl { path, acl: stored_acl(&fixed.encoded), version }, self.digest());
        Ok(())
    }

    fn check(&mut self, request: &PathVersion<'_>, emit: Emit<'_>) -> Result<(), Code> {
        let path = full_path(request.path.as_deref())?;
        let node = self.node(path)?;
        self.permit(&node, perm::READ)?;
        let version = expect_version(request.version, node.stat.version)?;
        emit(kind::CHECK, &Txn::Check { path, version }, self.digest());
        Ok(())
    }

    /// multi: all of it or nothing. It becomes a transaction either way; a failed one names the error.
    pub fn multi(&mut self, request: &wire::multi::Multi<'_>, entries: &mut MultiBuilder, emit: Emit<'_>) {
        entries.clear();
        self.pending.begin(self.tree);
        let mut failed = false;
        for op in request.ops() {
            let prepared = if failed {
                Err(Code::RuntimeInconsistency)
            } else {
                // 3.8.0 applies no part of the type create2, and no multi that has one.
                self.multi_op(&op, &mut |kind, txn, _| {
                    entries.push(if kind == kind::CREATE2 { kind::CREATE } else { kind }, txn);
                })
            };
            if let Err(code) = prepared {
                entries.push(kind::ERROR, &Txn::Error { err: code.raw() });
                failed = true;
            }
        }
        if failed {
            self.pending.roll_back();
        } else {
            self.pending.keep();
        }
        let multi: Multi<'_> = entries.multi();
        emit(kind::MULTI, &Txn::Multi(multi), self.digest());
    }

    fn multi_op(&mut self, op: &MultiOp<'_>, emit: Emit<'_>) -> Result<(), Code> {
        match op {
            MultiOp::Create { op, body } => self.create(*op, body, emit),
            MultiOp::Delete(body) => self.delete(body, emit),
            MultiOp::SetData(body) => self.set_data(body, emit),
            MultiOp::Check(body) => self.check(body, emit),
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => Err(Code::MarshallingError),
        }
    }

    /// The session begins.
    pub fn create_session(&mut self, emit: Emit<'_>) {
        let timeout = self.session.timeout_ms.cast_signed();
        emit(kind::CREATE_SESSION, &Txn::CreateSession { timeout }, self.digest());
    }

    /// The session ends and takes its ephemeral nodes along: those in the tree that are not being deleted, and
    /// those that are being created.
    ///
    /// Unlike in the reference the parents' child counts go down at once, so that a parent can be deleted right
    /// behind.
    pub fn close_session(&mut self, emit: Emit<'_>) {
        let session = self.session.id;
        let mut paths: Vec<String> = Vec::new();
        for node in self.tree.ephemerals_of(session) {
            let mut path = String::new();
            self.tree.path_of(node, &mut path);
            paths.push(path);
        }
        paths.extend(self.session.unapplied_ephemerals.drain(..).map(|(_, path)| path.into()));
        paths.sort_unstable();
        paths.dedup();
        paths.retain(|path| self.remove_ephemeral(path, session));
        let mut encoded = Vec::new();
        let list_len = 4 + paths.iter().map(|path| 4 + path.len()).sum::<usize>();
        let list = PathList::encode(paths.iter().map(String::as_str), &mut encoded);
        // A list that no transaction can hold is left out: then whoever applies it deletes what the session owns.
        let paths = (list_len + CLOSE_SESSION_LEN <= self.max_txn_bytes).then_some(list);
        emit(kind::CLOSE_SESSION, &Txn::CloseSession { paths }, self.digest());
    }

    fn remove_ephemeral(&mut self, path: &str, session: SessionId) -> bool {
        let Some(node) = self.pending.get(self.tree, path) else { return false };
        if node.kind() != NodeKind::Ephemeral(session) {
            return false;
        }
        if let Some(parent) = self.pending.get(self.tree, path::parent_of(path)) {
            self.remove(path, parent, &node);
        }
        true
    }
}

/// The list in the bytes that [`AclFixer`] has written.
fn stored_acl(encoded: &Rc<[u8]>) -> AclList<'_> {
    AclList::read(&mut Reader::new(encoded)).expect("a list that was encoded here decodes")
}
