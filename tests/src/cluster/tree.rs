//! The whole tree as a client of one member sees it, and the comparison of all members.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{Client, Failure};
use crate::cluster::Cluster;
use crate::wire::{Body, Fields, Stat, code, connect_request, op};

/// How long members may differ. What a client may read after a `sync` is equal at once; but sessions of killed
/// clients may still be ending.
const PATIENCE: Duration = Duration::from_secs(30);

/// Each member shows its own configuration there.
const OWN: &str = "/zookeeper/config";

/// Requests in flight.
const WINDOW: usize = 64;

/// One node with everything a client can learn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    data: Option<Vec<u8>>,
    stat: Stat,
    /// The reply to getACL, undecoded.
    acl: Vec<u8>,
}

/// All nodes by path.
pub type Tree = BTreeMap<String, Node>;

/// Walks over the tree.
///
/// # Errors
/// When the connection breaks.
pub fn read(client: &mut Client) -> Result<Tree, Failure> {
    let mut tree = Tree::new();
    let mut level = vec!["/".to_string()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for chunk in level.chunks(WINDOW) {
            for path in chunk {
                client.queue(op::GET_DATA, &Body::new().string(path).bool(false));
                client.queue(op::GET_ACL, &Body::new().string(path));
                client.queue(op::GET_CHILDREN, &Body::new().string(path).bool(false));
            }
            client.flush()?;
            for path in chunk {
                let replies = [client.recv()?, client.recv()?, client.recv()?].map(|r| r.ok());
                let [data, acl, children] = replies;
                if [&data, &acl, &children].iter().any(|r| matches!(r, Err(Failure::Code(code::NO_NODE)))) {
                    // Gone while we walk; if it should be there, another member shows it.
                    continue;
                }
                let (data, acl, children) = (data?, acl?, children?);
                let mut fields = Fields(&data.body);
                let bytes = fields.buffer().map(<[u8]>::to_vec);
                tree.insert(path.clone(), Node { data: bytes, stat: fields.stat(), acl: acl.body });
                let prefix = if path == "/" { "" } else { path };
                let names = Fields(&children.body).strings();
                below.extend(names.iter().map(|name| format!("{prefix}/{name}")));
            }
        }
        level = below;
    }
    tree.remove(OWN);
    Ok(tree)
}

/// The first difference, in words.
pub fn difference(a: &Tree, b: &Tree) -> Option<String> {
    let paths = a.keys().chain(b.keys());
    let path = paths.filter(|path| a.get(*path) != b.get(*path)).min()?;
    Some(format!("{path}:\n  {:?}\n  {:?}", a.get(path), b.get(path)))
}

/// Fails if the members that are awake do not show the same tree.
pub fn assert_equal(cluster: &Cluster) {
    let start = Instant::now();
    let alike = cluster.members.iter().all(|member| member.kind == cluster.members[0].kind);
    while let Err(found) = compare(&cluster.awake_addrs(), alike) {
        assert!(start.elapsed() < PATIENCE, "{found}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// `alike`: they are all of one kind. Else what each counts for itself is left out: the statistics of quotas are no part
/// of the replicated state (no digest covers them), and the two kinds were seen to differ after kills.
fn compare(addrs: &[SocketAddr], alike: bool) -> Result<(), String> {
    let mut reference = None;
    for addr in addrs {
        let mut tree = synced(*addr).map_err(|e| format!("reading the tree at {addr}: {e}"))?;
        tree.retain(|path, _| alike || !path.ends_with("/zookeeper_stats"));
        let (first, expected) = reference.get_or_insert_with(|| (addr, tree.clone()));
        if let Some(found) = difference(expected, &tree) {
            return Err(format!("the members at {first} and {addr} differ at {found}"));
        }
    }
    Ok(())
}

fn synced(addr: SocketAddr) -> Result<Tree, Failure> {
    // Apache now and then forgets to answer: ask again while there is time.
    let request = connect_request(30_000, 0, &[0; 16]);
    let mut client = Client::handshake_within(addr, request, Duration::from_secs(3))?;
    client.call(op::SYNC, &Body::new().string("/"))?;
    let tree = read(&mut client)?;
    client.close()?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Node as Process, Server};

    #[test]
    fn walk_shows_everything_and_every_change_is_a_difference() {
        let node = Process::start(Server::Ringkeeper, &[]);
        let mut client = node.client();
        client.create("/a", b"1", 0).expect("creating");
        client.create("/a/b", b"", 0).expect("creating");
        let before = read(&mut client).expect("reading");
        let paths: Vec<&str> = before.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/", "/a", "/a/b", "/zookeeper", "/zookeeper/quota"]);
        assert_eq!(difference(&before, &read(&mut client).expect("reading")), None);
        // The same data under another version.
        client.set("/a", b"1", -1).expect("setting");
        let after = read(&mut client).expect("reading");
        assert!(difference(&before, &after).is_some_and(|text| text.starts_with("/a:")));
    }
}
