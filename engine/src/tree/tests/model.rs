//! The tree against a model that is a map from path to node and nothing more: no ids, no lists, no caches.

use super::leader::random_path;
use super::*;
use crate::txn::{AclList, PathList, TxnHeader, code, kind};

#[derive(Default)]
struct Model {
    nodes: BTreeMap<String, Dumped>,
}

impl Model {
    fn new() -> Model {
        Model { nodes: dump(&Tree::new(0)) }
    }

    fn key(path: &str) -> &str {
        if path.is_empty() { "/" } else { path }
    }

    /// The parent's key and whether the path could name a node at all.
    fn parent(path: &str) -> Option<&str> {
        let (parent, name) = path.rsplit_once('/')?;
        (!name.is_empty() && parent != "/").then(|| Model::key(parent))
    }

    fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), i32> {
        let (zxid, time) = (header.zxid, header.time);
        match *txn {
            Txn::Create { path, data, acl, ephemeral, parent_cversion } => {
                let owner = if ephemeral { header.client_id.0 } else { 0 };
                self.create(header, path, data, acl, owner, parent_cversion)
            }
            Txn::CreateContainer { path, data, acl, parent_cversion } => {
                self.create(header, path, data, acl, i64::MIN, parent_cversion)
            }
            Txn::CreateTtl { path, data, acl, parent_cversion, ttl } => {
                self.create(header, path, data, acl, (0xff << 56) | ttl, parent_cversion)
            }
            Txn::Delete { path } => self.delete(zxid, path),
            Txn::SetData { path, data, version } => {
                let node = self.nodes.get_mut(Model::key(path)).ok_or(code::NO_NODE)?;
                node.data = data.map(<[u8]>::to_vec);
                node.stat = StatPersisted { mzxid: zxid, mtime: time, version, ..node.stat };
                Ok(())
            }
            Txn::SetAcl { path, acl, version } => {
                let node = self.nodes.get_mut(Model::key(path)).ok_or(code::NO_NODE)?;
                node.acl = acl.to_acls();
                node.stat.aversion = version;
                Ok(())
            }
            Txn::CloseSession { paths } => {
                for path in paths.iter().flat_map(PathList::iter) {
                    let _ = self.delete(zxid, path);
                }
                let owner = header.client_id.0;
                let owned = |(path, node): (&String, &Dumped)| {
                    (node.stat.ephemeral_owner == owner).then(|| path.clone())
                };
                for path in self.nodes.iter().filter_map(owned).collect::<Vec<_>>() {
                    let _ = self.delete(zxid, &path);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        acl: AclList<'_>,
        owner: i64,
        cversion: i32,
    ) -> Result<(), i32> {
        if path == "/" {
            return Err(code::NODE_EXISTS);
        }
        let exists = self.nodes.contains_key(path);
        let parent = self.nodes.get_mut(Model::parent(path).ok_or(code::NO_NODE)?).ok_or(code::NO_NODE)?;
        let cversion = if cversion == -1 { parent.stat.cversion.wrapping_add(1) } else { cversion };
        if cversion > parent.stat.cversion {
            parent.stat.cversion = cversion;
            parent.stat.pzxid = header.zxid;
        }
        parent.children += u32::from(!exists);
        let acl = acl.to_acls();
        if let Some(node) = self.nodes.get_mut(path) {
            node.acl = acl;
            return Err(code::NODE_EXISTS);
        }
        let stat = StatPersisted::created(header.zxid, header.time, owner);
        let node = Dumped { data: data.map(<[u8]>::to_vec), acl, stat, children: 0 };
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    fn delete(&mut self, zxid: Zxid, path: &str) -> Result<(), i32> {
        if BUILT_IN.contains(&path) {
            return Err(code::BAD_ARGUMENTS);
        }
        let exists = self.nodes.contains_key(path);
        let parent = self.nodes.get_mut(Model::parent(path).ok_or(code::NO_NODE)?).ok_or(code::NO_NODE)?;
        parent.stat.pzxid = parent.stat.pzxid.max(zxid);
        parent.children -= u32::from(exists);
        let below = format!("{path}/");
        self.nodes.retain(|other, _| other != path && !other.starts_with(&below));
        if exists { Ok(()) } else { Err(code::NO_NODE) }
    }
}

/// Paths that a client can ask for and paths that only a damaged log can contain.
fn any_path(random: &mut fastrand::Rng) -> String {
    match random.u32(..60) {
        0 => random.choice(["", "/", "a", "/a/", "//", "/a//b", "a/b", "//a"]).unwrap().to_owned(),
        1 => random.choice(BUILT_IN).unwrap().to_owned(),
        2 => format!("/zookeeper{}", random_path(random)),
        _ => random_path(random),
    }
}

/// Any transaction at all, sensible or not.
fn any_txn(random: &mut fastrand::Rng, tree: &mut Tree, model: &mut Model, zxid: i64) {
    let header = TxnHeader {
        client_id: SessionId(random.i64(1..5)),
        cxid: 0,
        zxid: Zxid::from_raw(zxid),
        time: if random.u32(..30) == 0 { random.i64(..) } else { random.i64(..1 << 41) },
        kind: kind::ERROR,
    };
    let (path, other) = (any_path(random), any_path(random));
    let longest = if random.u32(..10) == 0 { 5000 } else { 60 };
    let bytes = vec![b'x'; random.usize(..longest)];
    let data = random.bool().then_some(&bytes[..]);
    let (mut encoded, mut listed) = (Vec::new(), Vec::new());
    let acl = AclList::encode(&[Acl::world(random.i32(0..32))], &mut encoded);
    let parent_cversion = if random.u32(..20) == 0 { random.i32(..) } else { random.i32(-1..40) };
    let version = random.i32(..);
    let txn = match random.u32(..20) {
        0..8 => Txn::Create { path: &path, data, acl, ephemeral: random.bool(), parent_cversion },
        8 => Txn::CreateContainer { path: &path, data, acl, parent_cversion },
        9 => Txn::CreateTtl { path: &path, data, acl, parent_cversion, ttl: random.i64(1..1 << 40) },
        10..13 => Txn::Delete { path: &path },
        13..16 => Txn::SetData { path: &path, data, version },
        16..18 => Txn::SetAcl { path: &path, acl, version },
        18 => {
            let paths = PathList::encode([path.as_str(), other.as_str()], &mut listed);
            Txn::CloseSession { paths: random.bool().then_some(paths) }
        }
        _ => Txn::Error { err: -8 },
    };
    let expected = model.apply(&header, &txn);
    match (tree.apply(&header, &txn, None, &mut |_| {}).result, expected) {
        (OpResult::Error(err), Err(expected)) => assert_eq!(err, expected, "{txn:?}"),
        (OpResult::Error(_), Ok(())) => assert!(matches!(txn, Txn::Error { .. }), "{txn:?}"),
        (result, expected) => assert_eq!(expected, Ok(()), "{result:?} for {txn:?}"),
    }
}

#[test]
fn any_transactions_whatever_lead_where_the_model_goes() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut tree, mut model) = (Tree::new(seed), Model::new());
        for zxid in 1..=1500 {
            // Now and then an older number comes again, as in a replay.
            let again = random.i64(0..3);
            any_txn(&mut random, &mut tree, &mut model, zxid - again);
            if zxid % 100 == 0 {
                assert_eq!(dump(&tree), model.nodes, "seed {seed}, zxid {zxid}");
                assert_consistent(&tree);
            }
        }
    }
}
