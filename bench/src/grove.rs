//! Trees for the benches of the parts: built through `apply`, as a node builds them.

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::tree::{Applied, Tree};
use ringkeeper_engine::txn::{Acl, AclList, Txn, TxnHeader, kind};

/// A tree and what is needed to change it.
#[derive(Debug)]
pub struct Grove {
    /// The tree.
    pub tree: Tree,
    zxid: Zxid,
    open_acl: Vec<u8>,
}

impl Default for Grove {
    fn default() -> Grove {
        Grove { tree: Tree::new(1), zxid: Zxid::ZERO, open_acl: Vec::new() }
    }
}

impl Grove {
    fn header(&mut self, kind: i32) -> TxnHeader {
        self.zxid = self.zxid.successor().expect("a bench stays below 2^32 transactions");
        TxnHeader { client_id: SessionId(1), cxid: 1, zxid: self.zxid, time: 1_750_000_000_000, kind }
    }

    /// Creates a persistent node.
    #[inline]
    pub fn create(&mut self, path: &str, data: &[u8]) -> Applied {
        let header = self.header(kind::CREATE);
        self.open_acl.clear();
        let acl = AclList::encode(&[Acl::world(31)], &mut self.open_acl);
        let txn = Txn::Create { path, data: Some(data), acl, ephemeral: false, parent_cversion: -1 };
        self.tree.apply(&header, &txn, None, &mut |_| {})
    }

    /// Sets a node's data.
    #[inline]
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Applied {
        let header = self.header(kind::SET_DATA);
        let txn = Txn::SetData { path, data: Some(data), version };
        self.tree.apply(&header, &txn, None, &mut |_| {})
    }

    /// Deletes a node.
    #[inline]
    pub fn delete(&mut self, path: &str) -> Applied {
        let header = self.header(kind::DELETE);
        self.tree.apply(&header, &Txn::Delete { path }, None, &mut |_| {})
    }

    /// A tree of `nodes` leaves with `size` bytes each, spread evenly below `parents` parents of the root. Returns it
    /// with the bytes of all leaves' names.
    pub fn planted(nodes: u32, parents: u32, size: usize) -> (Grove, u64) {
        let mut grove = Grove::default();
        let data = vec![7; size];
        for p in 0..parents {
            grove.create(&format!("/p{p:04}"), b"");
        }
        let mut name_bytes = 0;
        for n in 0..nodes {
            let path = leaf(n, parents);
            name_bytes += path.rsplit('/').next().map_or(0, str::len) as u64;
            grove.create(&path, &data);
        }
        (grove, name_bytes)
    }
}

/// Path of leaf `n` of [`Grove::planted`].
pub fn leaf(n: u32, parents: u32) -> String {
    format!("/p{:04}/node-{n:010}", n % parents)
}

/// Turns `path`, which [`leaf`] made, into that of leaf `n`, in place: costs little beside what is measured.
pub fn set_leaf(path: &mut String, n: u32, parents: u32) {
    path.clear();
    path.push_str("/p");
    push_digits(path, n % parents, 4);
    path.push_str("/node-");
    push_digits(path, n, 10);
}

fn push_digits(out: &mut String, n: u32, width: u32) {
    for place in (0..width).rev() {
        let digit = n.checked_div(10u32.checked_pow(place).unwrap_or(u32::MAX)).unwrap_or(0) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_where_their_paths_say() {
        let (grove, name_bytes) = Grove::planted(50, 7, 3);
        let mut path = leaf(0, 7);
        for n in [0, 1, 9, 10, 49, 4_294_967_295] {
            set_leaf(&mut path, n, 7);
            assert_eq!(path, leaf(n, 7));
            assert_eq!(grove.tree.find(&path).is_some(), n < 50, "{path}");
        }
        assert_eq!(name_bytes, 50 * 15);
    }
}
