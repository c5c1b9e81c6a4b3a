//! Drives a whole [`Service`] with arbitrary bytes, for fuzzers and for the fuzzing that the test run does.
//!
//! The input is a script: a byte that says what happens and on which of four connections, then two bytes of length
//! and a frame. Whatever it says, nothing may panic, no connection may hear anything once it is closed, and at the
//! end nothing may be left unanswered and no digest may have been predicted wrong.

use std::collections::VecDeque;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::tree::Tree;

use super::{ConnKey, FromFront, Identity, Now, Options, Outbox, Proposer, Service, Upstream};

#[derive(Default)]
struct World {
    closed: Vec<ConnKey>,
}

impl Outbox for World {
    fn send(&mut self, conn: ConnKey, frame: &[u8]) {
        assert!(!self.closed.contains(&conn), "a frame for a closed connection");
        let length = frame.first_chunk::<4>().map(|length| i32::from_be_bytes(*length));
        assert_eq!(length, i32::try_from(frame.len() - 4).ok(), "a frame says its length");
    }

    fn close(&mut self, conn: ConnKey) {
        assert!(!self.closed.contains(&conn), "closed twice");
        self.closed.push(conn);
    }
}

struct Log<'a>(&'a mut VecDeque<(Zxid, Vec<u8>)>);

impl Proposer for Log<'_> {
    fn propose(&mut self, zxid: Zxid, encode: &mut dyn FnMut(&mut Vec<u8>)) {
        let mut payload = Vec::new();
        encode(&mut payload);
        self.0.push_back((zxid, payload));
    }
}

impl Upstream for Log<'_> {
    fn forward(&mut self, _: SessionId, _: i32, _: i32, _: &[u8], _: &[Identity]) {
        unreachable!("a node that stands alone has no leader");
    }

    fn revalidate(&mut self, _: SessionId, _: i32) {
        unreachable!("a node that stands alone has no leader");
    }
}

/// Runs a script; panics on what must never be.
pub fn fuzz_session(mut script: &[u8]) {
    let mut now = Now { mono_ms: 1000, wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };
    let options = Options { extended_types: true, max_reply_bytes: 1 << 20, ..Options::default() };
    let mut service = Service::new(Tree::new(0), [(SessionId(5), 10_000)], Zxid::ZERO, options, now);
    let mut world = World::default();
    let mut log = VecDeque::new();
    let mut conns: [Option<ConnKey>; 4] = [None; 4];
    let mut generation = 0;
    while let Some((&what, rest)) = script.split_first() {
        script = rest;
        let slot = usize::from(what & 3);
        match what >> 2 & 7 {
            0 => {
                now.mono_ms += u64::from(what >> 5) * 1000;
                service.tick(now, &mut world, &mut Log(&mut log));
            }
            1 => commit(&mut service, now, &mut world, &mut log, 1),
            2 => {
                if let Some(conn) = conns[slot].take() {
                    service.handle(now, FromFront::Gone { conn }, &mut world, &mut Log(&mut log));
                    world.closed.push(conn);
                }
            }
            _ => {
                let conn = *conns[slot].get_or_insert_with(|| {
                    generation += 1;
                    let conn = ConnKey { front: 0, slot: slot as u32, generation };
                    let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 4000));
                    service.handle(now, FromFront::Open { conn, peer }, &mut world, &mut Log(&mut log));
                    let hello = [0; 45];
                    if what >> 5 != 7 {
                        let hello = FromFront::Frame { conn, bytes: &hello };
                        service.handle(now, hello, &mut world, &mut Log(&mut log));
                    }
                    conn
                });
                let Some((length, rest)) = script.split_first_chunk::<2>() else { break };
                let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
                let (bytes, rest) = rest.split_at(length);
                script = rest;
                service.handle(now, FromFront::Frame { conn, bytes }, &mut world, &mut Log(&mut log));
                if world.closed.contains(&conn) {
                    conns[slot] = None;
                }
            }
        }
    }
    commit(&mut service, now, &mut world, &mut log, usize::MAX);
    assert_eq!(service.outstanding(), 0, "everything is answered once everything is committed");
    assert_eq!(service.tree().digest_mismatches(), 0, "digests are predicted right");
}

fn commit(
    service: &mut Service,
    now: Now,
    world: &mut World,
    log: &mut VecDeque<(Zxid, Vec<u8>)>,
    most: usize,
) {
    for (zxid, payload) in log.drain(..most.min(log.len())) {
        service.committed(now, zxid, &payload, world).expect("what was proposed decodes");
    }
}
