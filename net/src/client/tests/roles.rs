//! What each role does: who decides, who forwards, who waits for what.

use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_engine::snapshot::{Limits, Loader, write_stream};
use ringkeeper_engine::tree::Tree;
use ringkeeper_engine::txn::{Txn, decode, kind};

use super::ensemble::*;
use super::world::{
    auth, close, connect, create, create_op, get, header, hex, path_only, ping, read, set, xid,
};
use crate::client::{CannotPropose, Forwarded, FromFront, LeaderFault, password};
use crate::wire::quorum::payload::Request;
use crate::wire::{Code, op};

/// The transactions of the history from the `n`th on: type, error, cxid.
fn history(ensemble: &Ensemble, n: usize) -> Vec<(i32, i32, i32)> {
    let txn = |payload: &Vec<u8>| {
        let (header, txn, _) = decode(payload).unwrap();
        let err = if let Txn::Error { err } = txn { err } else { 0 };
        (header.kind, err, header.cxid)
    };
    ensemble.history[n..].iter().map(|(_, payload)| txn(payload)).collect()
}

fn pairs(replies: &[super::world::Reply]) -> Vec<(i32, i32)> {
    replies.iter().map(|reply| (reply.xid, reply.err)).collect()
}

/// Asks the leader as a learner of number 7 would.
fn forward(ensemble: &mut Ensemble, session: SessionId, cxid: i32, op: i32, body: &[u8]) -> Forwarded {
    try_forward(ensemble, session, cxid, op, body).unwrap()
}

fn try_forward(
    ensemble: &mut Ensemble,
    session: SessionId,
    cxid: i32,
    op: i32,
    body: &[u8],
) -> Result<Forwarded, CannotPropose> {
    let leader = &mut ensemble.nodes[LEADER];
    let request = Request { session, cxid, op, body };
    leader.service.forwarded(ensemble.now, 7, &request, [].into_iter(), &mut leader.wires)
}

#[test]
fn requests_at_a_learner_are_answered_in_order_with_the_leaders_outcomes() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    assert_eq!(client.session.0 >> 56, 2, "the id is of the server that the client is connected to");
    let requests = [
        create("/a", 0),
        read(op::EXISTS, "/a", false),
        create("/a", 0),
        ping(),
        path_only(op::SYNC, "/x"),
        get("/a"),
        set("/a", b"x", 0),
    ];
    for (n, request) in requests.into_iter().enumerate() {
        ensemble.send(client, &xid(n as i32 + 1, request));
    }
    assert!(ensemble.replies(client).is_empty());
    assert_eq!(ensemble.outstanding(1), 7);
    ensemble.settle();
    let replies = ensemble.replies(client);
    let zxid = |n| Zxid::new(Epoch(1), n).raw();
    let seen: Vec<_> = replies.iter().map(|reply| (reply.xid, reply.err, reply.zxid)).collect();
    assert_eq!(
        seen,
        [
            (1, 0, zxid(2)),
            (2, 0, zxid(2)),
            (3, -110, zxid(3)),
            (-2, 0, zxid(3)),
            (5, 0, zxid(3)),
            (6, 0, zxid(3)),
            (7, 0, zxid(4))
        ]
    );
    assert_eq!(replies[4].body, hex("00000002 2f78"), "a sync echoes its path");
    assert_eq!(ensemble.outstanding(1), 0);
}

#[test]
fn a_read_at_a_learner_waits_for_own_writes_only() {
    let mut ensemble = Ensemble::new();
    let (writer, reader) = (ensemble.client(1, 0), ensemble.client(1, 1));
    ensemble.send(writer, &create("/a", 0));
    ensemble.send(reader, &get("/a"));
    assert_eq!(ensemble.replies(reader)[0].err, -101);
    ensemble.up(1);
    ensemble.commit();
    assert!(ensemble.replies(writer).is_empty(), "only what is applied here is answered");
    ensemble.down(1);
    assert_eq!(ensemble.replies(writer)[0].err, 0);
}

#[test]
fn the_leader_judges_by_the_identities_of_the_learners_client() {
    let mut ensemble = Ensemble::new();
    let (owner, other) = (ensemble.client(1, 0), ensemble.client(2, 0));
    assert_eq!(ensemble.ask(owner, &auth("digest", Some(b"u:p"))).err, 0);
    let mine = create_op(op::CREATE, "/mine", None, &[(31, "auth", "")], 0);
    assert_eq!(ensemble.ask(owner, &mine).err, 0);
    assert_eq!(ensemble.ask(other, &set("/mine", b"x", -1)).err, -102);
    assert_eq!(ensemble.ask(owner, &set("/mine", b"x", -1)).err, 0);
    assert_eq!(ensemble.ask(other, &get("/mine")).err, -102);
    let local = create_op(op::CREATE, "/local", None, &[(31, "ip", "127.0.0.1")], 0);
    assert_eq!(ensemble.ask(other, &local).err, 0);
    assert_eq!(ensemble.ask(other, &set("/local", b"x", -1)).err, 0);
}

#[test]
fn every_forwarded_write_takes_one_zxid_whatever_becomes_of_it() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    let unknown = SessionId(99);
    let before = ensemble.history.len();
    for (cxid, session, op) in [
        (1, unknown, op::SET_DATA),
        (2, client.session, op::SET_DATA),
        (3, unknown, op::CLOSE_SESSION),
        (4, unknown, op::CREATE_SESSION),
        (5, SessionId::NONE, op::DELETE),
    ] {
        assert!(matches!(forward(&mut ensemble, session, cxid, op, &[]), Forwarded::Proposed(_)));
    }
    // Now the session belongs to the one who asks.
    let leader = &mut ensemble.nodes[LEADER];
    leader.service.revalidate(ensemble.now, 7, client.session, 5000, &mut leader.out);
    for (cxid, op) in [(6, 12345), (7, op::CHECK), (8, op::RECONFIG), (9, op::SET_DATA), (10, 20), (11, -1)] {
        forward(&mut ensemble, client.session, cxid, op, &[]);
    }
    forward(&mut ensemble, client.session, 12, op::CLOSE_SESSION, &[]);
    forward(&mut ensemble, client.session, 13, op::CLOSE_SESSION, &[]);
    forward(&mut ensemble, client.session, 14, op::DELETE, &[]);
    forward(&mut ensemble, client.session, 0, op::CREATE_SESSION, &[0, 0, 16, 0]);
    ensemble.settle();
    let (error, closed) = (kind::ERROR, kind::CLOSE_SESSION);
    assert_eq!(
        history(&ensemble, before),
        [
            (error, -112, 1),
            (error, -118, 2),
            (closed, 0, 3),
            (error, -5, 4),
            (error, -112, 5),
            (error, -6, 6),
            (error, -6, 7),
            (error, -123, 8),
            (error, -5, 9),
            (error, -6, 10),
            (error, -6, 11),
            (closed, 0, 12),
            (closed, 0, 13),
            (error, -112, 14),
            (error, -112, 0)
        ]
    );
    assert!(ensemble.is_closed(client), "its session has ended");
}

#[test]
fn a_sync_is_answered_behind_what_was_proposed_before_it() {
    let mut ensemble = Ensemble::new();
    let (writer, reader) = (ensemble.client(LEADER, 0), ensemble.client(2, 0));
    ensemble.send(reader, &xid(1, path_only(op::SYNC, "/")));
    ensemble.up(2);
    ensemble.down(2);
    assert_eq!(pairs(&ensemble.replies(reader)), [(1, 0)], "nothing is outstanding");
    ensemble.send(writer, &create("/a", 0));
    ensemble.send(reader, &xid(2, path_only(op::SYNC, "/")));
    ensemble.send(reader, &xid(3, get("/a")));
    ensemble.send(reader, &xid(4, set("/a", b"x", 0)));
    ensemble.up(2);
    ensemble.up(2);
    assert!(!ensemble.down(2));
    assert_eq!(ensemble.nodes[2].service.stats().pending_syncs, 1);
    ensemble.commit();
    ensemble.commit();
    ensemble.down(2);
    assert!(ensemble.replies(reader).is_empty(), "the SYNC comes behind the transaction");
    ensemble.down(2);
    assert_eq!(pairs(&ensemble.replies(reader)), [(2, 0), (3, 0)]);
    ensemble.down(2);
    assert_eq!(pairs(&ensemble.replies(reader)), [(4, 0)]);
}

#[test]
fn a_leader_that_forgets_a_request_is_found_out() {
    let mut ensemble = Ensemble::new();
    let (first, second) = (ensemble.client(1, 0), ensemble.client(1, 1));
    ensemble.send(first, &xid(5, create("/a", 0)));
    ensemble.nodes[1].wires.up.clear();
    ensemble.send(second, &xid(6, create("/b", 0)));
    while ensemble.up(1) | ensemble.commit() | ensemble.down(1) {}
    assert!(ensemble.replies(second).is_empty(), "replies to all clients wait for the oldest request");
    let deadline = ensemble.nodes[1].service.next_deadline();
    assert!(deadline.is_some_and(|at| at <= ensemble.now.mono_ms));
    ensemble.tick();
    assert!(ensemble.up(1));
    assert!(matches!(ensemble.nodes[1].down.pop_front(), Some(Down::Sync)));
    let fault = ensemble.sync_answered(1).unwrap_err();
    assert_eq!(fault, LeaderFault::EarlySync { cxid: 5 });
    assert_eq!(
        fault.to_string(),
        "a SYNC came before the outcome of request 5, which was sent to the leader earlier"
    );
}

#[test]
fn a_sync_needs_the_answer_to_the_question_before_it() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    ensemble.resume(2, 0, client);
    assert_eq!(ensemble.sync_answered(2), Err(LeaderFault::NotRevalidated));
    assert_eq!(ensemble.sync_answered(1), Ok(()), "nobody asked for it");
}

#[test]
fn the_outcomes_of_others_pass_by() {
    let mut ensemble = Ensemble::new();
    let (here, there) = (ensemble.client(1, 0), ensemble.client(2, 0));
    ensemble.send(here, &xid(5, create("/a", 0)));
    assert_eq!(ensemble.ask(there, &xid(5, create("/b", 0))).err, 0);
    assert_eq!(pairs(&ensemble.replies(here)), [(5, 0)]);
}

#[test]
fn a_session_moves_with_what_it_wrote_and_overtakes_what_is_late() {
    let mut ensemble = Ensemble::new();
    let before = ensemble.client(1, 0);
    ensemble.send(before, &xid(1, create("/a", 1)));
    ensemble.up(1);
    ensemble.send(before, &xid(2, set("/a", b"late", -1)));
    let after = ensemble.resume(2, 0, before);
    // Sent without waiting for the answer, the second under a number of a request that is under way.
    ensemble.send(after, &xid(7, get("/a")));
    ensemble.send(after, &xid(1, set("/a", b"new", 0)));
    assert_eq!(ensemble.nodes[2].wires.up.len(), 2, "nothing but the two questions");
    while ensemble.up(2) {}
    while ensemble.down(2) {}
    assert_eq!(ensemble.connected(2, after.conn), None, "its write is not applied here yet");
    ensemble.settle();
    assert_eq!(ensemble.connected(2, after.conn), Some((before.session, false)));
    assert_eq!(pairs(&ensemble.replies(after)), [(7, 0), (1, 0)]);
    assert_eq!(pairs(&ensemble.replies(before)), [(1, 0)], "what is late gets no answer");
    assert!(ensemble.is_closed(before));
    assert_eq!(ensemble.ask(after, &get("/a")).body[4..7], *b"new");
}

#[test]
fn a_late_request_of_the_same_number_answers_nothing() {
    let mut ensemble = Ensemble::new();
    let before = ensemble.client(1, 0);
    ensemble.send(before, &xid(2, create("/late", 0)));
    let after = ensemble.resume(2, 0, before);
    while ensemble.up(2) | ensemble.down(2) {}
    ensemble.send(after, &xid(2, create("/new", 0)));
    ensemble.up(1);
    ensemble.settle();
    // Which of the two was refused cannot be seen: the client is left in doubt, as by any lost connection.
    assert!(ensemble.connected(2, after.conn).is_some());
    assert!(ensemble.is_closed(after) && ensemble.replies(after).is_empty());
    let again = ensemble.resume(2, 1, after);
    ensemble.settle();
    assert!(ensemble.connected(2, again.conn).is_some());
    assert_eq!(ensemble.ask(again, &get("/new")).err, 0);
    assert_eq!(ensemble.ask(again, &get("/late")).err, -101);
}

#[test]
fn old_connections_of_a_session_that_moved_may_read_at_learners_and_nothing_at_the_leader() {
    let mut ensemble = Ensemble::new();
    let first = ensemble.client(LEADER, 0);
    let second = ensemble.resume(1, 0, first);
    ensemble.settle();
    assert!(ensemble.connected(1, second.conn).is_some());
    assert!(ensemble.is_closed(first));
    let third = ensemble.resume(LEADER, 1, second);
    assert!(ensemble.connected(LEADER, third.conn).is_some());
    assert_eq!(ensemble.ask(second, &get("/")).err, 0);
    assert_eq!(ensemble.ask(second, &path_only(op::SYNC, "/")).err, 0);
    assert_eq!(ensemble.ask(third, &create("/a", 0)).err, 0);
    ensemble.send(second, &set("/a", b"", -1));
    ensemble.settle();
    assert!(ensemble.is_closed(second) && ensemble.replies(second).is_empty());
    // On the same server the old connection goes when the new one comes.
    let fourth = ensemble.resume(LEADER, 2, third);
    assert!(ensemble.is_closed(third) && !ensemble.is_closed(fourth));
}

#[test]
fn a_learner_parts_with_connections_that_are_silent_but_not_with_sessions() {
    let mut ensemble = Ensemble::new();
    let (gone, moved) = (ensemble.client(1, 0), ensemble.client(1, 2));
    let now_at = ensemble.resume(2, 0, moved);
    ensemble.settle();
    assert!(ensemble.connected(2, now_at.conn).is_some());
    for _ in 0..3 {
        assert!(!ensemble.is_closed(gone) && !ensemble.is_closed(moved));
        ensemble.advance(4000);
        ensemble.send(now_at, &ping());
        ensemble.tick_at(1);
        ensemble.tick_at(2);
    }
    assert!(ensemble.is_closed(gone) && ensemble.is_closed(moved) && !ensemble.is_closed(now_at));
    assert!(ensemble.nodes[1].wires.up.is_empty() && ensemble.nodes[1].service.next_deadline().is_none());
    // Both live on, for all that the learner knows.
    let back = ensemble.resume(1, 4, gone);
    ensemble.settle();
    assert_eq!(ensemble.connected(1, back.conn), Some((gone.session, false)));
    assert_eq!(ensemble.ask(back, &get("/")).err, 0);
}

#[test]
fn a_session_can_be_resumed_before_its_creation_is_known_there() {
    let mut ensemble = Ensemble::new();
    let conn = ensemble.accept(1, 0);
    ensemble.frame(1, conn, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false)));
    ensemble.up(1);
    ensemble.commit();
    ensemble.down(1);
    let (session, _) = ensemble.connected(1, conn).unwrap();
    let moved = ensemble.resume(2, 0, Client { node: 1, conn, session });
    ensemble.up(2);
    ensemble.up(2);
    // The learner has nothing of it but the answers behind it.
    assert_eq!(ensemble.nodes[2].service.stats().sessions, 0);
    ensemble.settle();
    assert_eq!(ensemble.connected(2, moved.conn), Some((session, false)));
    assert_eq!(ensemble.ask(moved, &create("/e", 1)).err, 0);
}

#[test]
fn dead_sessions_are_denied_and_answers_for_those_who_left_are_dropped() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    let (dead, wrong, hasty) = (ensemble.accept(2, 0), ensemble.accept(2, 1), ensemble.accept(2, 2));
    let id = SessionId(77);
    ensemble.frame(2, dead, &connect(0, 10_000, id, &password::of(id), Some(false)));
    ensemble.frame(2, dead, &ping());
    ensemble.frame(2, wrong, &connect(0, 10_000, client.session, &[1; 16], Some(false)));
    assert_eq!(ensemble.connected(2, wrong), Some((SessionId::NONE, false)), "known without asking");
    ensemble.frame(2, hasty, &connect(0, 10_000, id, &password::of(id), Some(false)));
    ensemble.handle(2, FromFront::Gone { conn: hasty });
    let patient = ensemble.resume(2, 3, client);
    ensemble.settle();
    assert_eq!(ensemble.connected(2, dead), Some((SessionId::NONE, false)));
    assert!(ensemble.nodes[2].out.closed.contains(&dead) && ensemble.raw(2, dead).is_empty());
    assert!(ensemble.raw(2, hasty).is_empty());
    assert_eq!(ensemble.connected(2, patient.conn), Some((client.session, false)));
    assert_eq!(ensemble.outstanding(2), 0);
}

#[test]
fn sessions_of_learners_live_by_what_these_tell_the_leader() {
    let mut ensemble = Ensemble::new();
    let (alive, silent) = (ensemble.client(1, 0), ensemble.client(2, 0));
    assert_eq!(ensemble.ask(silent, &create("/e", 1)).err, 0);
    ensemble.nodes[1].service.take_touched(&mut Vec::new());
    ensemble.advance(8000);
    ensemble.ask(alive, &ping());
    ensemble.ask(alive, &get("/"));
    let mut touched = Vec::new();
    ensemble.nodes[1].service.take_touched(&mut touched);
    assert_eq!(touched, [(alive.session, 10_000)], "each once");
    for (session, timeout) in touched.drain(..) {
        ensemble.nodes[LEADER].service.touch(ensemble.now, session, timeout);
    }
    ensemble.nodes[1].service.take_touched(&mut touched);
    assert_eq!(touched, []);
    ensemble.advance(5000);
    ensemble.tick();
    assert!(ensemble.nodes[1].wires.proposals.is_empty(), "a learner ends no session");
    ensemble.settle();
    assert!(ensemble.is_closed(silent) && !ensemble.is_closed(alive));
    assert_eq!(ensemble.ask(alive, &get("/e")).err, -101);
    assert_eq!(ensemble.nodes[2].service.committed_sessions(), [(alive.session, 10_000)]);
}

#[test]
fn the_end_of_a_session_answers_no_request_of_its_number() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    ensemble.advance(13_000);
    ensemble.tick_at(LEADER);
    ensemble.send(client, &xid(0, set("/", b"x", -1)));
    ensemble.settle();
    assert!(ensemble.is_closed(client) && ensemble.replies(client).is_empty());
    assert_eq!(ensemble.outstanding(1), 0);
    let (ended, error) = (kind::CLOSE_SESSION, kind::ERROR);
    assert_eq!(history(&ensemble, 1), [(ended, 0, 0), (error, -112, 0)]);
}

#[test]
fn a_new_leader_gives_every_session_a_full_lease() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    ensemble.advance(9000);
    let leader = &mut ensemble.nodes[LEADER];
    leader.service.retire(&mut leader.out);
    assert_eq!(ensemble.nodes[LEADER].service.next_deadline(), None);
    ensemble.advance(9000);
    ensemble.establish(Epoch(2));
    ensemble.advance(9000);
    ensemble.tick();
    assert!(ensemble.nodes[LEADER].wires.proposals.is_empty());
    ensemble.advance(3000);
    ensemble.tick();
    ensemble.settle();
    assert_eq!(ensemble.history.last().unwrap().0, Zxid::new(Epoch(2), 1));
    assert_eq!(ensemble.nodes[1].service.stats().sessions, 0);
    let late = ensemble.resume(1, 1, client);
    ensemble.settle();
    assert_eq!(ensemble.connected(1, late.conn), Some((SessionId::NONE, false)));
}

#[test]
fn time_in_which_a_leader_stood_still_is_no_silence() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    ensemble.advance(60_000);
    ensemble.nodes[LEADER].service.stood_still(60_000);
    ensemble.tick();
    assert!(ensemble.nodes[LEADER].wires.proposals.is_empty());
    ensemble.advance(12_000);
    ensemble.tick();
    ensemble.settle();
    assert!(ensemble.is_closed(client), "what is left of the lease counts");
}

/// A leader of the reference shows the beginning of its epoch until something commits in it.
#[test]
fn a_client_that_saw_an_epoch_begin_may_come_back_before_its_first_write() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    ensemble.elect(Epoch(3));
    let seen = |epoch, counter| Zxid::new(Epoch(epoch), counter).raw();
    for (at, slot) in [(LEADER, 0), (1, 2), (2, 4)] {
        for (slot, seen, served) in
            [(slot, seen(2, 0), true), (slot, seen(3, 0), true), (slot + 1, seen(3, 1), false)]
        {
            let conn = ensemble.accept(at, slot);
            let hello = connect(seen, 10_000, client.session, &password::of(client.session), Some(false));
            ensemble.frame(at, conn, &hello);
            ensemble.settle();
            let answer = ensemble.connected(at, conn);
            assert_eq!(answer, served.then_some((client.session, false)), "{seen:#x} at {at}");
            assert_eq!(ensemble.nodes[at].out.closed.contains(&conn), !served);
        }
    }
}

#[test]
fn what_is_not_committed_is_forgotten_with_the_role() {
    for at in [LEADER, 1] {
        let mut ensemble = Ensemble::new();
        let client = ensemble.client(at, 0);
        assert_eq!(ensemble.ask(client, &create("/e", 1)).err, 0);
        let (fresh, word) = (ensemble.accept(at, 1), ensemble.accept(at, 2));
        ensemble.frame(at, fresh, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false)));
        ensemble.send(client, &create("/lost", 1));
        ensemble.send(client, &get("/lost"));
        ensemble.send(client, &close());
        for node in &mut ensemble.nodes {
            node.service.retire(&mut node.out);
        }
        assert!(ensemble.is_closed(client) && ensemble.nodes[at].out.closed.contains(&fresh));
        assert_eq!(ensemble.outstanding(at), 0);
        let stats = ensemble.nodes[at].service.stats();
        assert_eq!((stats.sessions, stats.connections), (1, 1));
        assert!(!ensemble.nodes[at].service.is_serving());
        ensemble.handle(at, FromFront::Word { conn: word, word: *b"ruok", arg: &[] });
        let node = &mut ensemble.nodes[at];
        node.service.answer_word(word, b"imok", &mut node.out);
        assert_eq!(ensemble.raw(at, word), [b"imok"]);
        let refused = ensemble.resume(at, 3, client);
        assert!(ensemble.is_closed(refused) && ensemble.raw(at, refused.conn).is_empty());
        ensemble.establish(Epoch(2));
        let back = ensemble.resume(at, 4, client);
        ensemble.settle();
        assert_eq!(ensemble.connected(at, back.conn), Some((client.session, false)), "it is not ending");
        assert_eq!(ensemble.ask(back, &get("/lost")).err, -101);
        assert_eq!(ensemble.ask(back, &create("/lost", 1)).zxid, Zxid::new(Epoch(2), 1).raw());
        assert_eq!(ensemble.ask(back, &close()).err, 0);
        assert_eq!(ensemble.nodes[2].service.tree().ephemeral_count(), 0);
    }
}

#[test]
fn without_a_leader_those_who_asked_for_it_may_read() {
    let mut ensemble = Ensemble::away(|options| options.read_only = true);
    assert!(ensemble.nodes[1].service.is_read_only());
    let (full, reader) = (ensemble.accept(1, 0), ensemble.accept(1, 1));
    ensemble.frame(1, full, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false)));
    assert!(ensemble.nodes[1].out.closed.contains(&full));
    ensemble.frame(1, reader, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(true)));
    let (session, read_only) = ensemble.connected(1, reader).unwrap();
    assert!(read_only);
    let client = Client { node: 1, conn: reader, session };
    for (request, err) in [
        (get("/"), 0),
        (ping(), 0),
        (read(op::EXISTS, "/none", true), -101),
        (create("/a", 0), Code::NotReadOnly.raw()),
        (path_only(op::SYNC, "/"), Code::NotReadOnly.raw()),
        (header(1, op::MULTI), Code::NotReadOnly.raw()),
        (header(1, op::RECONFIG), Code::NotReadOnly.raw()),
    ] {
        assert_eq!(ensemble.ask(client, &request).err, err, "{request:?}");
    }
    assert_eq!(ensemble.nodes[1].service.committed_sessions(), []);
    // Somebody who comes back with a session must find a quorum.
    let again = ensemble.accept(1, 2);
    ensemble.frame(1, again, &connect(0, 10_000, session, &password::of(session), Some(true)));
    assert!(ensemble.nodes[1].out.closed.contains(&again));
    let closing = ensemble.accept(1, 3);
    ensemble.frame(1, closing, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(true)));
    let (session, _) = ensemble.connected(1, closing).unwrap();
    let closing = Client { node: 1, conn: closing, session };
    assert_eq!(ensemble.ask(closing, &close()).err, 0);
    assert!(ensemble.is_closed(closing));
    assert_eq!(ensemble.nodes[1].service.stats().sessions, 1);
    ensemble.establish(Epoch(1));
    assert!(ensemble.is_closed(client));
    assert_eq!(ensemble.nodes[1].service.stats().sessions, 0);
}

#[test]
fn a_leader_that_does_not_serve_turns_clients_away_and_followers_take_them() {
    let mut ensemble = Ensemble::away(|options| options.leader_serves = false);
    ensemble.establish(Epoch(1));
    let (of_leader, of_follower) = (ensemble.accept(LEADER, 0), ensemble.accept(1, 0));
    for (node, conn) in [(LEADER, of_leader), (1, of_follower)] {
        ensemble.frame(node, conn, &connect(0, 10_000, SessionId::NONE, &[0; 16], Some(false)));
    }
    ensemble.settle();
    assert!(ensemble.nodes[LEADER].out.closed.contains(&of_leader));
    assert!(ensemble.connected(1, of_follower).is_some());
}

#[test]
fn a_reading_session_ends_when_it_is_silent() {
    let mut ensemble = Ensemble::away(|options| options.read_only = true);
    let reader = ensemble.accept(1, 1);
    ensemble.frame(1, reader, &connect(0, 4000, SessionId::NONE, &[0; 16], Some(true)));
    ensemble.advance(3000);
    ensemble.frame(1, reader, &ping());
    ensemble.advance(3000);
    ensemble.tick();
    assert!(!ensemble.nodes[1].out.closed.contains(&reader));
    ensemble.advance(4000);
    ensemble.tick();
    assert!(ensemble.nodes[1].out.closed.contains(&reader));
    assert_eq!(ensemble.nodes[1].service.stats().sessions, 0);
}

#[test]
fn an_epoch_without_zxids_takes_no_writes() {
    let mut ensemble = Ensemble::new();
    let (client, remote) = (ensemble.client(LEADER, 0), ensemble.client(1, 0));
    let last = Zxid::new(Epoch(1), u32::MAX - 1);
    ensemble.nodes[LEADER].service.proposed = Zxid::new(Epoch(1), u32::MAX - 2);
    assert!(ensemble.nodes[LEADER].service.can_propose());
    ensemble.send(client, &create("/a", 0));
    assert_eq!(ensemble.nodes[LEADER].wires.proposals.back().unwrap().0, last);
    assert!(!ensemble.nodes[LEADER].service.can_propose());
    ensemble.send(client, &create("/b", 0));
    assert!(ensemble.is_closed(client));
    ensemble.advance(60_000);
    ensemble.tick();
    assert_eq!(ensemble.nodes[LEADER].wires.proposals.len(), 1);
    let refused = try_forward(&mut ensemble, remote.session, 1, op::SET_DATA, &[]);
    assert_eq!(refused, Err(CannotPropose::EpochSpent { last }));
}

#[test]
fn another_state_takes_the_place_of_all() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    assert_eq!(ensemble.ask(client, &create("/a", 0)).err, 0);
    let node = &mut ensemble.nodes[2];
    node.service.retire(&mut node.out);
    let sessions = ensemble.nodes[LEADER].service.committed_sessions();
    let mut tree = Tree::new(9);
    for (_, payload) in &ensemble.history {
        let (header, txn, digest) = decode(payload).unwrap();
        tree.apply(&header, &txn, digest, &mut |_| ());
    }
    let node = &mut ensemble.nodes[2];
    node.service.restore(tree, sessions);
    node.service.learn(Epoch(1), &mut node.out);
    let moved = ensemble.resume(2, 0, client);
    ensemble.settle();
    assert_eq!(ensemble.connected(2, moved.conn), Some((client.session, false)));
    assert_eq!(ensemble.ask(moved, &get("/a")).err, 0);
}

#[test]
fn from_the_first_service_on_a_wrong_snapshot_shows() {
    let mut ensemble = Ensemble::new();
    let client = ensemble.client(1, 0);
    assert_eq!(ensemble.ask(client, &create("/a", 0)).err, 0);
    // The state of the leader, but for its last transaction.
    let mut before = Tree::new(9);
    for (_, payload) in &ensemble.history[..ensemble.history.len() - 1] {
        let (header, txn, digest) = decode(payload).unwrap();
        before.apply(&header, &txn, digest, &mut |_| ());
    }
    let mut loader = Loader::new(ensemble.history.last().unwrap().0, 9, Limits::default());
    let sessions = ensemble.nodes[LEADER].service.committed_sessions();
    write_stream(&before, &sessions, &mut |piece| assert_eq!(loader.feed(piece).unwrap().used, piece.len()));
    let loaded = loader.finish();
    let node = &mut ensemble.nodes[2];
    node.service.retire(&mut node.out);
    node.service.restore(loaded.tree, loaded.sessions);
    assert!(node.service.tree().is_converging(), "it may be that what is missing comes");
    node.service.learn(Epoch(1), &mut node.out);
    ensemble.send(client, &create("/b", 0));
    assert!(ensemble.up(1) && ensemble.commit());
    let Some(Down::Commit(zxid, payload)) = ensemble.nodes[2].down.pop_front() else { panic!("no commit") };
    let node = &mut ensemble.nodes[2];
    node.service.committed(ensemble.now, zxid, &payload, &mut node.out).unwrap();
    assert_eq!(node.service.tree().digest_mismatches(), 1);
}
