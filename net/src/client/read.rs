//! Everything that is answered from the tree as it is, without a transaction.
//!
//! A request comes here in its turn: at once, or when the connection's own writes before it are applied. The reply
//! carries the zxid of the tree it was read from, and a watch is set before any later change can fire it.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::{Reader, put_buffer, put_i32, put_len, put_ustring};
use ringkeeper_engine::tree::{Node, NodeId};

use super::acl::{self, perm};
use super::flight::Request;
use super::watch::mode;
use super::{Now, Outbox, Service, path};
use crate::wire::multi::{Multi, MultiKind, MultiOp};
use crate::wire::request::{PathWatch, decode_nullable_path, decode_path};
use crate::wire::{Code, WireError, op, reply};

/// Whether this is an operation that is answered here; whatever is neither this nor a write does not exist.
pub(super) fn is_read(op: i32) -> bool {
    matches!(
        op,
        op::EXISTS
            | op::GET_DATA
            | op::GET_ACL
            | op::GET_CHILDREN
            | op::GET_CHILDREN2
            | op::SYNC
            | op::PING
            | op::CHECK_WATCHES
            | op::REMOVE_WATCHES
            | op::MULTI_READ
            | op::SET_WATCHES
            | op::SASL
            | op::GET_EPHEMERALS
            | op::GET_ALL_CHILDREN_NUMBER
            | op::SET_WATCHES2
            | op::ADD_WATCH
            | op::WHO_AM_I
    )
}

/// Which connection asks, and how many of its identities count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub at: u32,
    pub identities: usize,
}

impl From<WireError> for Code {
    fn from(error: WireError) -> Code {
        tracing::debug!(%error, "a request was not understood");
        Code::MarshallingError
    }
}

impl Service {
    /// Answers a request from the tree. What does not exist ends the connection.
    pub(super) fn serve(
        &mut self,
        now: Now,
        at: u32,
        mut request: Request,
        mut body: Reader<'_>,
        identities: usize,
        out: &mut impl Outbox,
    ) {
        if !is_read(request.op) {
            let none = Zxid::from_raw(-1);
            self.answer_header(now, at, request, none, Code::Unimplemented.raw(), out);
            return self.close_conn(at, out);
        }
        let zxid = match request.op {
            op::SASL => Zxid::ZERO,
            _ => self.tree.last_zxid(),
        };
        if request.op == op::PING {
            request.xid = op::XID_PING;
        }
        reply::begin(&mut self.frame, request.xid, zxid, 0);
        let mut answered = self.read(Asker { at, identities }, request.op, &mut body, out);
        if self.frame.len() > self.options.max_reply_bytes {
            answered = Err(Code::MarshallingError);
        }
        if let Err(code) = answered {
            reply::begin(&mut self.frame, request.xid, zxid, code.raw());
        }
        self.send_frame(now, at, request, zxid, out);
    }

    /// Appends the body of the reply to `frame`, or says which error it is.
    fn read(
        &mut self,
        asker: Asker,
        op: i32,
        body: &mut Reader<'_>,
        out: &mut impl Outbox,
    ) -> Result<(), Code> {
        match op {
            op::PING => Ok(()),
            op::GET_DATA => self.get_data(asker, &PathWatch::decode(body)?),
            op::EXISTS => self.exists(asker, &PathWatch::decode(body)?),
            op::GET_CHILDREN => self.get_children(asker, &PathWatch::decode(body)?, false),
            op::GET_CHILDREN2 => self.get_children(asker, &PathWatch::decode(body)?, true),
            op::GET_ACL => self.get_acl(asker, &decode_path(body)?),
            op::SYNC => {
                let path = decode_nullable_path(body).map_err(WireError::from)?;
                put_buffer(&mut self.frame, path.as_deref().map(str::as_bytes));
                Ok(())
            }
            // No SASL is configured: clients then carry on without.
            op::SASL => {
                put_buffer(&mut self.frame, None);
                Ok(())
            }
            op::MULTI_READ => self.multi_read(asker, &Multi::decode(body, MultiKind::Read)?),
            op::GET_EPHEMERALS => {
                let prefix = decode_nullable_path(body).map_err(WireError::from)?;
                self.get_ephemerals(asker, prefix.as_deref().unwrap_or_default());
                Ok(())
            }
            op::GET_ALL_CHILDREN_NUMBER => self.get_all_children_number(asker, &decode_path(body)?),
            op::WHO_AM_I => {
                self.who_am_i(asker);
                Ok(())
            }
            _ => self.watch_op(asker, op, body, out),
        }
    }

    /// A node that the asker may see, if one bit of `mask` is enough.
    fn visible(&self, asker: Asker, path: &str, mask: i32) -> Result<Node<'_>, Code> {
        let node = self.tree.node(self.tree.find(path).ok_or(Code::NoNode)?);
        if self.granted(asker, &node, mask) { Ok(node) } else { Err(Code::NoAuth) }
    }

    fn granted(&self, asker: Asker, node: &Node<'_>, mask: i32) -> bool {
        let identities = &self.conns.get(asker.at).identities;
        acl::allows(&self.options.auth, node.acl(), mask, &identities[..asker.identities])
    }

    fn get_data(&mut self, asker: Asker, request: &PathWatch<'_>) -> Result<(), Code> {
        let mut frame = std::mem::take(&mut self.frame);
        let found = self.visible(asker, &request.path, perm::READ).map(|node| {
            put_buffer(&mut frame, node.data());
            node.stat().encode_into(&mut frame);
        });
        self.frame = frame;
        self.watch_if(found, asker, request, mode::DATA)
    }

    fn exists(&mut self, asker: Asker, request: &PathWatch<'_>) -> Result<(), Code> {
        if request.path.contains('\0') {
            return Err(Code::BadArguments);
        }
        let stat = self.visible(asker, &request.path, perm::READ).map(|node| node.stat());
        // The one read that leaves a watch where it finds nothing.
        if request.watch && stat != Err(Code::NoAuth) {
            self.watches.add(asker.at, &request.path, mode::DATA);
        }
        stat?.encode_into(&mut self.frame);
        Ok(())
    }

    fn get_children(&mut self, asker: Asker, request: &PathWatch<'_>, with_stat: bool) -> Result<(), Code> {
        let mut frame = std::mem::take(&mut self.frame);
        let found = self.visible(asker, &request.path, perm::READ).map(|node| {
            self.put_children(&mut frame, &node);
            if with_stat {
                node.stat().encode_into(&mut frame);
            }
        });
        self.frame = frame;
        self.watch_if(found, asker, request, mode::CHILD)
    }

    /// The names of a node's children. What is longer than a reply may be is cut: it is not going to be sent.
    fn put_children(&self, frame: &mut Vec<u8>, node: &Node<'_>) {
        put_len(frame, node.child_count() as usize);
        for child in node.children() {
            put_ustring(frame, self.tree.node(child).name());
            if frame.len() > self.options.max_reply_bytes {
                break;
            }
        }
    }

    fn watch_if(
        &mut self,
        found: Result<(), Code>,
        asker: Asker,
        request: &PathWatch<'_>,
        kind: u8,
    ) -> Result<(), Code> {
        if request.watch && found.is_ok() {
            self.watches.add(asker.at, &request.path, kind);
        }
        found
    }

    fn get_acl(&mut self, asker: Asker, path: &str) -> Result<(), Code> {
        let mut frame = std::mem::take(&mut self.frame);
        let found = self.visible(asker, path, perm::READ | perm::ADMIN).map(|node| {
            if self.granted(asker, &node, perm::ADMIN) {
                frame.extend_from_slice(node.acl_encoded());
            } else {
                acl::put_masked(&mut frame, node.acl());
            }
            node.stat().encode_into(&mut frame);
        });
        self.frame = frame;
        found
    }

    fn multi_read(&mut self, asker: Asker, request: &Multi<'_>) -> Result<(), Code> {
        let mut frame = std::mem::take(&mut self.frame);
        for op in request.ops() {
            let (kind, path) = match &op {
                MultiOp::GetData(path) => (op::GET_DATA, path),
                MultiOp::GetChildren(path) => (op::GET_CHILDREN, path),
                _ => continue,
            };
            match self.visible(asker, path, perm::READ) {
                Ok(node) => {
                    reply::multi_header(&mut frame, kind, false, 0);
                    if kind == op::GET_DATA {
                        put_buffer(&mut frame, node.data());
                        node.stat().encode_into(&mut frame);
                    } else {
                        self.put_children(&mut frame, &node);
                    }
                }
                Err(code) => reply::multi_error(&mut frame, code.raw()),
            }
            if frame.len() > self.options.max_reply_bytes {
                break;
            }
        }
        reply::multi_end(&mut frame);
        self.frame = frame;
        Ok(())
    }

    fn get_ephemerals(&mut self, asker: Asker, prefix: &str) {
        let Some(session) = self.conns.get(asker.at).session() else { return };
        let id = self.sessions.get(session).id;
        let all = prefix.trim().is_empty() || prefix == "/";
        let mut paths = Vec::new();
        for node in self.tree.ephemerals_of(id) {
            let mut path = String::new();
            self.tree.path_of(node, &mut path);
            if all || path.starts_with(prefix) {
                paths.push(path);
            }
        }
        put_len(&mut self.frame, paths.len());
        for path in &paths {
            put_ustring(&mut self.frame, path);
        }
    }

    fn get_all_children_number(&mut self, asker: Asker, path: &str) -> Result<(), Code> {
        let node = self.visible(asker, path, perm::READ)?;
        // The root is counted twice.
        let count = if path::key(path).is_empty() {
            self.tree.node_count().saturating_sub(2)
        } else {
            self.count_descendants(node.id())
        };
        put_i32(&mut self.frame, i32::try_from(count).unwrap_or(i32::MAX));
        Ok(())
    }

    fn count_descendants(&self, root: NodeId) -> u64 {
        let (mut count, mut stack) = (0, vec![root]);
        while let Some(node) = stack.pop() {
            let before = stack.len();
            stack.extend(self.tree.node(node).children());
            count += (stack.len() - before) as u64;
        }
        count
    }

    fn who_am_i(&mut self, asker: Asker) {
        let identities = &self.conns.get(asker.at).identities[..asker.identities];
        put_len(&mut self.frame, identities.len());
        for identity in identities {
            put_ustring(&mut self.frame, identity.scheme);
            put_ustring(&mut self.frame, identity.user());
        }
    }
}
