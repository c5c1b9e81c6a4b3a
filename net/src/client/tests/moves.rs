//! Clients that write, sync and move at random in an ensemble whose links are slow at random, and which elects anew
//! now and then.

use std::collections::HashMap;

use fastrand::Rng;
use ringkeeper_engine::id::{Epoch, SessionId};
use ringkeeper_engine::txn::{Txn, decode};

use super::ensemble::*;
use super::world::{Reply, close, create, get, path_only, set, xid};
use crate::client::FromFront;
use crate::wire::op;

/// How many scripts are run.
const SEEDS: u64 = 300;

/// What a client knows of one of its connections.
struct Talk {
    client: Client,
    /// Its place among the connections of the session.
    number: u32,
    /// Whether the session is confirmed to it.
    open: bool,
    /// Requests that are not answered: xid and operation.
    asked: std::collections::VecDeque<(i32, i32)>,
    /// Writes sent.
    writes: u32,
    xid: i32,
    /// The newest zxid it was shown.
    seen: i64,
}

impl Talk {
    fn new(client: Client, number: u32) -> Talk {
        let asked = Default::default();
        Talk { client, number, open: false, asked, writes: 0, xid: 0, seen: 0 }
    }

    /// Every request is answered once, in order, and time does not go back.
    fn hear(&mut self, reply: &Reply) {
        let (xid, op) = self.asked.pop_front().expect("an answer to a request");
        assert_eq!(reply.xid, xid);
        assert!(reply.zxid >= self.seen, "{} after {}", reply.zxid, self.seen);
        self.seen = reply.zxid;
        assert_eq!(reply.err, 0, "{op}");
    }
}

/// Runs one script; answers how many writes came to be.
fn random_moves(seed: u64) -> usize {
    let mut rng = Rng::with_seed(seed);
    let mut ensemble = Ensemble::new();
    let (mut slot, mut epoch) = (0, 1);
    let mut talks: Vec<Vec<Talk>> = Vec::new();
    for n in 0..4 {
        let client = ensemble.client(rng.usize(..3), slot);
        slot += 1;
        assert_eq!(ensemble.ask(client, &create(&format!("/{n}"), 1)).err, 0);
        let mut talk = Talk::new(client, 0);
        talk.open = true;
        talks.push(vec![talk]);
    }
    for _ in 0..800 {
        match rng.u32(..400) {
            0..40 => drop(ensemble.up(1)),
            40..80 => drop(ensemble.up(2)),
            80..140 => drop(ensemble.commit()),
            140..190 => drop(ensemble.down(1)),
            190..240 => drop(ensemble.down(2)),
            240..388 => {
                let n = rng.usize(..talks.len());
                // Mostly the newest; the others are what is late.
                let newest = talks[n].len() - 1;
                let which = if rng.u32(..4) > 0 { newest } else { rng.usize(..=newest) };
                let talk = &mut talks[n][which];
                talk.xid += 1;
                let path = format!("/{n}");
                let request = match rng.u32(..4) {
                    0 => get(&path),
                    1 => path_only(op::SYNC, "/"),
                    _ => {
                        talk.writes += 1;
                        set(&path, &[talk.number.to_be_bytes(), talk.writes.to_be_bytes()].concat(), -1)
                    }
                };
                let op = i32::from_be_bytes(request[4..8].try_into().unwrap());
                talk.asked.push_back((talk.xid, op));
                ensemble.send(talk.client, &xid(talk.xid, request));
            }
            399 => {
                epoch += 1;
                ensemble.elect(Epoch(epoch));
            }
            _ => {
                let n = rng.usize(..talks.len());
                let last = talks[n].last().unwrap();
                let (client, number) = (last.client, last.number + 1);
                // Nobody asks at two servers at a time; what is confirmed may linger.
                if !last.open || rng.bool() {
                    let Client { node, conn, .. } = client;
                    if !ensemble.is_closed(client) {
                        ensemble.handle(node, FromFront::Gone { conn });
                        ensemble.nodes[node].out.closed.push(conn);
                    }
                }
                let moved = ensemble.resume(rng.usize(..3), slot, client);
                slot += 1;
                talks[n].push(Talk::new(moved, number));
            }
        }
        ensemble.tick();
        listen(&mut ensemble, &mut talks);
    }
    // All come to rest.
    ensemble.settle();
    listen(&mut ensemble, &mut talks);
    for of_session in &mut talks {
        let last = of_session.last().unwrap();
        if last.open && !ensemble.is_closed(last.client) {
            assert!(last.asked.is_empty(), "everything is answered: {:?}", last.asked);
        }
        let client = ensemble.resume(rng.usize(..3), slot, last.client);
        slot += 1;
        ensemble.settle();
        assert_eq!(ensemble.connected(client.node, client.conn), Some((client.session, false)));
        assert_eq!(ensemble.ask(client, &close()).err, 0);
    }
    for node in &ensemble.nodes {
        let stats = node.service.stats();
        assert_eq!((stats.sessions, stats.ephemerals, stats.outstanding, stats.pending_syncs), (0, 0, 0, 0));
        assert_eq!(stats.last_zxid, ensemble.history.last().unwrap().0);
    }
    writes_follow_the_connections(&ensemble)
}

fn listen(ensemble: &mut Ensemble, talks: &mut [Vec<Talk>]) {
    for talk in talks.iter_mut().flatten() {
        let Client { node, conn, session } = talk.client;
        if !talk.open
            && let Some(granted) = ensemble.connected(node, conn)
        {
            assert_eq!(granted, (session, false));
            talk.open = true;
        }
        for reply in ensemble.replies(talk.client) {
            assert!(talk.open);
            talk.hear(&reply);
        }
    }
}

/// No write of a connection comes behind one of a later connection of the session, and those of one are in order.
fn writes_follow_the_connections(ensemble: &Ensemble) -> usize {
    let mut last: HashMap<SessionId, [u32; 2]> = HashMap::new();
    let mut writes = 0;
    for (zxid, payload) in &ensemble.history {
        let (header, txn, _) = decode(payload).unwrap();
        let Txn::SetData { data: Some(data), .. } = txn else { continue };
        let [number, n] = [0, 4].map(|at| u32::from_be_bytes(data[at..at + 4].try_into().unwrap()));
        let before = last.insert(header.client_id, [number, n]).unwrap_or_default();
        assert!([number, n] > before, "{zxid}: {number}.{n} behind {before:?}");
        writes += 1;
    }
    writes
}

#[test]
fn sessions_move_without_losing_order() {
    let mut writes = 0;
    for seed in 0..SEEDS {
        match std::panic::catch_unwind(|| random_moves(seed)) {
            Ok(more) => writes += more,
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(writes > 30 * SEEDS as usize, "only {writes} writes: the scripts do nothing");
}
