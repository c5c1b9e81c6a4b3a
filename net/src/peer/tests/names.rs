//! Names that change, fail, or are never answered.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::*;
use resolve::LookUp;

impl Cluster {
    /// A member that finds the others by names `m1`, `m2`, ... through `look_up`, and itself by address.
    fn named(&self, sid: i64, look_up: LookUp) -> Node {
        let mut options = self.options(sid);
        for member in options.members.iter_mut().filter(|member| member.sid != Sid(sid)) {
            member.host = format!("m{}", member.sid);
        }
        let ring = Ring::new().unwrap();
        let peers = Peers::with_resolver(&options, Resolver::with(ring.waker(), look_up)).unwrap();
        self.start(ring, peers)
    }

    fn ip(&self, sid: i64) -> IpAddr {
        self.address(sid, true).ip()
    }
}

#[test]
fn a_name_is_resolved_anew_at_each_connect() {
    let cluster = Cluster::new(3);
    let answer = Arc::new(Mutex::new(Err(io::ErrorKind::NotFound)));
    let look_up = answer.clone();
    let mut node =
        cluster.named(2, Arc::new(move |_| look_up.lock().unwrap().clone().map_err(io::Error::from)));
    node.tell(1, 1);
    for _ in 0..30 {
        cluster.turn(&mut node).unwrap();
    }
    // First it names nobody, then an address where nobody is and the right one behind it.
    *answer.lock().unwrap() = Ok(vec![cluster.ip(3), cluster.ip(1)]);
    let mut one = cluster.node(1);
    cluster.until(&mut [&mut node, &mut one], |nodes| nodes[1].heard(2) == Some(1));
    // The member moves: a fourth address, made of the third member's.
    drop(one);
    let mut moved = cluster.clone();
    moved.members[0].host = cluster.members[2].host.clone();
    *answer.lock().unwrap() = Ok(vec![cluster.ip(3)]);
    let mut one = moved.node(1);
    node.tell(1, 2);
    cluster.until(&mut [&mut node, &mut one], |nodes| nodes[1].heard(2) == Some(2));
}

#[test]
fn a_name_server_that_hangs_delays_only_names_never_heard_of() {
    let cluster = Cluster::new(3);
    let (let_go, hang) = channel::<()>();
    let hang = Mutex::new(hang);
    let (first, second) = (cluster.ip(1), cluster.ip(2));
    let asked = Mutex::new(0);
    let look_up: LookUp = Arc::new(move |host| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        if *asked > 1 {
            let _ = hang.lock().unwrap().recv();
        }
        Ok(vec![if host == "m1" { first } else { second }])
    });
    let mut node = cluster.named(3, look_up);
    let (mut one, mut two) = (cluster.node(1), cluster.node(2));
    node.tell(1, 1);
    cluster.until(&mut [&mut node, &mut one], |nodes| nodes[1].heard(3) == Some(1));
    node.tell(2, 1);
    cluster.turn(&mut node).unwrap();
    // The connection is lost while the server hangs with the other name: the old answer serves.
    drop(one);
    one = cluster.node(1);
    node.tell(1, 2);
    one.tell(3, 1);
    cluster.until(&mut [&mut node, &mut one], |nodes| {
        nodes[1].heard(3) == Some(2) && nodes[0].heard(1) == Some(1)
    });
    assert_eq!(two.heard(3), None);
    drop(let_go);
    cluster.until(&mut [&mut node, &mut two], |nodes| nodes[1].heard(3) == Some(1));
}
