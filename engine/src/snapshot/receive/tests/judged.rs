//! Whether a stream is canonical is judged exactly: as the writer of canonical streams would have it, byte for byte.

use super::*;
use crate::jute::Reader;
use crate::tree::is_quota_statistics;
use crate::txn::AclList;

/// A stream in parts that can be changed one by one.
#[derive(Clone)]
struct Parts {
    sessions: Vec<(i64, i32)>,
    acls: Vec<(i64, Vec<u8>)>,
    nodes: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    path: String,
    data: Option<Vec<u8>>,
    acl: i64,
    stat: StatPersisted,
}

impl Parts {
    /// The parts of the canonical stream.
    fn of(tree: &Tree, sessions: &[(SessionId, i32)]) -> Parts {
        let stream = stream_of(tree, sessions);
        let mut reader = Reader::new(&stream);
        let sessions =
            (0..reader.i32().unwrap()).map(|_| (reader.i64().unwrap(), reader.i32().unwrap())).collect();
        let acls = (0..reader.i32().unwrap())
            .map(|_| {
                let number = reader.i64().unwrap();
                (number, AclList::read(&mut reader).unwrap().encoded().to_vec())
            })
            .collect();
        let mut nodes = Vec::new();
        loop {
            let path = std::str::from_utf8(reader.ustring().unwrap().unwrap()).unwrap().to_owned();
            if path == END_OF_NODES {
                return Parts { sessions, acls, nodes };
            }
            let data = reader.buffer().unwrap().map(<[u8]>::to_vec);
            let acl = reader.i64().unwrap();
            let stat = StatPersisted {
                czxid: zxid(reader.i64().unwrap()),
                mzxid: zxid(reader.i64().unwrap()),
                ctime: reader.i64().unwrap(),
                mtime: reader.i64().unwrap(),
                version: reader.i32().unwrap(),
                cversion: reader.i32().unwrap(),
                aversion: reader.i32().unwrap(),
                ephemeral_owner: reader.i64().unwrap(),
                pzxid: zxid(reader.i64().unwrap()),
            };
            nodes.push(Part { path, data, acl, stat });
        }
    }

    fn stream(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_i32(&mut out, self.sessions.len() as i32);
        for &(id, timeout) in &self.sessions {
            put_i64(&mut out, id);
            put_i32(&mut out, timeout);
        }
        put_i32(&mut out, self.acls.len() as i32);
        for (number, list) in &self.acls {
            put_i64(&mut out, *number);
            out.extend_from_slice(list);
        }
        for Part { path, data, acl, stat } in &self.nodes {
            put_node(&mut out, path.as_bytes(), data.as_deref(), *acl, stat);
        }
        put_ustring(&mut out, END_OF_NODES);
        put_ustring(&mut out, SIGNATURE);
        out
    }

    /// Gives a list another number, in the list and in the nodes.
    fn renumber(&mut self, index: usize, number: i64) {
        let before = std::mem::replace(&mut self.acls[index].0, number);
        self.nodes.iter_mut().filter(|node| node.acl == before).for_each(|node| node.acl = number);
    }
}

/// Judges, and compares with what a loader and the writer make of the stream. `None` if it is no state's.
fn judge(stream: &[u8], what: &str) -> Option<bool> {
    let disk = SimDisk::new(1);
    let reception = receive_in(&disk, stream, zxid(1 << 40), &[113]).ok()?;
    let request = reception.finish(SEED);
    let judged = request.is_canonical;
    let arrived = request.perform(&disk, &mut |_, _| ()).ok()?;
    let canonical = stream_of(&arrived.tree, &arrived.sessions);
    assert_eq!(judged, canonical == stream, "{what}");
    assert!(stored(&disk) == file_of(&canonical), "{what}: not stored in canonical form");
    Some(judged)
}

/// A tree with quotas, several lists and some depth.
fn parts(seed: u64) -> Parts {
    let (mut leader, mut sessions) = history(seed, 120);
    for path in
        ["/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_limits", "/zookeeper/quota/q/zookeeper_stats"]
    {
        leader.create(path, "count=5,bytes=-1");
    }
    sessions.extend([(SessionId(-7), 1), (SessionId(7), 2)]);
    Parts::of(&leader.tree, &sessions)
}

#[test]
fn what_the_writer_writes_is_canonical() {
    for seed in 0..40 {
        let (leader, sessions) = history(seed, 150);
        let stream = stream_of(&leader.tree, &sessions);
        assert!(Parts::of(&leader.tree, &sessions).stream() == stream);
        assert_eq!(judge(&stream, "as written"), Some(true));
    }
}

#[test]
fn no_exchange_of_neighbours_is_canonical() {
    let mut judged = 0;
    for seed in 0..3 {
        let parts = parts(seed);
        assert_eq!(judge(&parts.stream(), "as written"), Some(true));
        for i in 1..parts.sessions.len() {
            let mut other = parts.clone();
            other.sessions.swap(i - 1, i);
            assert_eq!(judge(&other.stream(), &format!("sessions {i}")), Some(false));
        }
        for i in 1..parts.acls.len() {
            let mut other = parts.clone();
            other.acls.swap(i - 1, i);
            assert_eq!(judge(&other.stream(), &format!("ACLs {i}")), Some(false));
        }
        for i in 1..parts.nodes.len() {
            let mut other = parts.clone();
            other.nodes.swap(i - 1, i);
            // A node before its parent is no state at all.
            let what = format!("{} before {}", other.nodes[i - 1].path, other.nodes[i].path);
            judged +=
                usize::from(judge(&other.stream(), &what).inspect(|canonical| assert!(!canonical)).is_some());
        }
    }
    assert!(judged > 20, "{judged}");
}

#[test]
fn no_other_number_of_a_list_is_canonical() {
    let parts = parts(4);
    for i in 0..parts.acls.len() {
        for number in [1, parts.acls[i].0 + 1, parts.acls[i].0 - 1, i64::MAX, i64::MIN] {
            let mut other = parts.clone();
            other.renumber(i, number);
            let what = format!("list {i} as {number}");
            assert_eq!(judge(&other.stream(), &what), Some(false));
            // Nor where it comes in order.
            other.acls.sort();
            assert_eq!(judge(&other.stream(), &what), Some(false));
        }
    }
    assert!(parts.acls.len() > 2);
}

#[test]
fn a_list_that_no_node_has_is_not_canonical() {
    let parts = parts(5);
    for i in 0..parts.acls.len() {
        let mut other = parts.clone();
        let number = other.acls[i].0;
        other.nodes.iter_mut().filter(|node| node.acl == number).for_each(|node| node.acl = OPEN_ACL);
        assert_eq!(judge(&other.stream(), &format!("list {i} unused")), Some(false));
        other.acls.remove(i);
        assert_eq!(judge(&other.stream(), &format!("list {i} gone")), Some(true));
        // A node may have one that comes later, if it is younger than the stream.
        let mut other = parts.clone();
        let node = other.nodes.iter_mut().find(|node| node.acl == number).unwrap();
        (node.acl, node.stat.czxid) = (number ^ 1, zxid(i64::MAX));
        assert_eq!(judge(&other.stream(), "a list that is not there"), Some(false));
    }
}

#[test]
fn counts_of_quotas_and_missing_built_in_nodes_are_not_canonical() {
    let parts = parts(6);
    let path = "/zookeeper/quota/q/zookeeper_stats";
    for data in [None, Some(b"count=1,bytes=0".to_vec())] {
        let mut other = parts.clone();
        other.nodes.iter_mut().find(|node| node.path == path).unwrap().data = data;
        assert_eq!(judge(&other.stream(), "counts"), Some(false));
    }
    for path in ["/zookeeper/config", "/zookeeper/quota", "/zookeeper"] {
        let mut other = parts.clone();
        other.nodes.retain(|node| node.path != path && !node.path.starts_with(&format!("{path}/")));
        assert_eq!(judge(&other.stream(), &format!("without {path}")), Some(false));
    }
}

/// Whatever is done to a stream at random: the judgement is what the writer would say.
#[test]
fn the_judgement_is_exact_for_streams_that_were_changed_at_random() {
    let mut random = fastrand::Rng::with_seed(3);
    let (mut canonical, mut other) = (0, 0);
    for round in 0..1500 {
        let mut parts = parts(round % 7);
        for _ in 0..random.usize(1..3) {
            let node = random.usize(..parts.nodes.len());
            match random.u8(..7) {
                0 => drop(parts.nodes.remove(node)),
                1 => {
                    let moved = parts.nodes.remove(node);
                    parts.nodes.insert(random.usize(..=parts.nodes.len()), moved);
                }
                2 => parts.nodes[node].data = None,
                3 => {
                    parts.nodes[node].acl = random
                        .choice(parts.acls.iter().map(|acl| acl.0).collect::<Vec<_>>())
                        .unwrap_or(OPEN_ACL)
                }
                4 => parts.nodes[node].path.push(random.choice([' ', 'z', '/', 'ü']).unwrap()),
                5 => random.shuffle(&mut parts.sessions),
                _ => parts.nodes[node].stat.pzxid = zxid(random.i64(..)),
            }
        }
        match judge(&parts.stream(), &format!("round {round}")) {
            Some(true) => canonical += 1,
            Some(false) => other += 1,
            None => {}
        }
    }
    assert!(canonical > 200 && other > 200, "{canonical} and {other}");
}

/// As a Java server writes: lists numbered from 1, children in any order, live counts.
#[test]
fn a_stream_in_another_order_ends_in_the_file_of_the_equal_tree() {
    let mut random = fastrand::Rng::with_seed(3);
    for seed in 0..20 {
        let (leader, sessions) = history(seed, 150);
        let canonical = stream_of(&leader.tree, &sessions);
        let mut parts = Parts::of(&leader.tree, &sessions);
        random.shuffle(&mut parts.sessions);
        (0..parts.acls.len()).for_each(|i| parts.renumber(i, i as i64 + 1));
        let mut unordered = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(path) = pending.pop() {
            unordered.push(parts.nodes.iter().find(|node| node.path == path).unwrap().clone());
            let is_child =
                |node: &&Part| node.path.rsplit_once('/').is_some_and(|(parent, _)| parent == path);
            let mut children: Vec<String> =
                parts.nodes.iter().filter(is_child).map(|node| node.path.clone()).collect();
            random.shuffle(&mut children);
            pending.extend(children);
        }
        parts.nodes = unordered;
        for node in &mut parts.nodes {
            if is_quota_statistics(&node.path) {
                node.data = Some(b"count=3,bytes=9".to_vec());
            }
        }
        let disk = SimDisk::new(1);
        let request =
            receive_in(&disk, &parts.stream(), leader.tree.last_zxid(), &[999]).unwrap().finish(SEED);
        assert!(!request.is_canonical);
        let mut told = Vec::new();
        let arrived = request.perform(&disk, &mut |done, of| told.push((done, of))).unwrap();
        assert!(told.is_sorted() && told.iter().all(|(done, of)| done <= of), "{told:?}");
        assert!(stored(&disk) == file_of(&canonical));
        assert_eq!(arrived.tree.digest(), leader.tree.digest());
    }
}
