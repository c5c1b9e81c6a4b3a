//! Writers that move from member to member with their sessions, and the judge of what they wrote.
//!
//! A writer sends one fixed, endless sequence of operations below a node of its own, many in flight. When its
//! connection breaks it takes its session to another member, asks there how far the sequence has come, and goes on
//! from that operation. Because the operations of a session are carried out in order, whatever happens the tree
//! shows a prefix of the sequence, at least everything acknowledged and at most everything sent; and since every
//! operation changes exactly one of two counters (the register's version, the parent's number of child changes),
//! one applied twice or left out makes the sum wrong.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, Failure, Session};
use crate::load::data;
use crate::node::DEADLINE;
use crate::wire::{Body, Fields, connect_request, op};

/// How long a writer waits for an answer before it tries another member.
const PATIENCE: Duration = Duration::from_secs(3);

/// The session timeout of a writer: longer than any fault that a session is meant to survive.
const SESSION_MS: i32 = 40_000;

/// More requests than finding out what became of the earlier ones takes.
const CATCH_UP: i32 = 16;

/// What the operation with this number does. 0 creates the parent, 1 the register; then, in fours, one sets the
/// register, two create a node each, and one deletes the second of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Parent,
    Register,
    Set,
    Create,
    /// Of the node that the operation before created.
    Delete,
}

fn step(n: u64) -> Step {
    match (n, n % 4) {
        (0, _) => Step::Parent,
        (1, _) => Step::Register,
        (_, 0) => Step::Set,
        (_, 3) => Step::Delete,
        _ => Step::Create,
    }
}

/// What one writer did and was promised.
#[derive(Clone, Debug)]
pub struct History {
    /// The parent node of everything it wrote.
    pub prefix: String,
    /// Operations that may have reached a server.
    pub sent: u64,
    /// One entry per operation known to be carried out: the zxid, unless its reply was lost.
    pub done: Vec<Option<i64>>,
    /// How often it went to another member.
    pub moves: u64,
    /// How often it was told that its session is gone.
    pub expired: u64,
}

impl History {
    fn child(&self, n: u64) -> String {
        format!("{}/n{n:07}", self.prefix)
    }

    fn register(&self) -> String {
        format!("{}/register", self.prefix)
    }

    /// An ephemeral node that stands as long as the writer's session.
    fn sign_of_life(&self) -> String {
        format!("{}-alive", self.prefix)
    }

    fn request(&self, n: u64) -> (i32, Body) {
        let data = data(&self.prefix, n);
        match step(n) {
            Step::Parent => (op::CREATE, Body::create(&self.prefix, b"", 0)),
            Step::Register => (op::CREATE, Body::create(&self.register(), &data, 0)),
            Step::Set => {
                // Under a version, so that one that is carried out twice is refused the second time.
                let version = (n / 4 - 1) as i32;
                (op::SET_DATA, Body::new().string(&self.register()).buffer(&data).int(version))
            }
            Step::Create => (op::CREATE, Body::create(&self.child(n), &data, 0)),
            Step::Delete => (op::DELETE, Body::new().string(&self.child(n - 1)).int(0)),
        }
    }

    /// How many operations the tree shows.
    fn survivors(&self, client: &mut Client) -> Result<u64, Failure> {
        let Some(parent) = client.exists(&self.prefix)? else { return Ok(0) };
        let sets = client.exists(&self.register())?.map_or(0, |stat| stat.version);
        Ok(1 + parent.cversion as u64 + sets as u64)
    }

    fn check_survivors(&self, survivors: u64) {
        let acked = self.done.len() as u64;
        let promise = self.done.iter().flatten().next_back().copied().unwrap_or(0);
        assert!(
            survivors >= acked,
            "{}: {survivors} operations survived of {acked} acknowledged, up to zxid {promise:#x}",
            self.prefix
        );
        assert!(
            survivors <= self.sent,
            "{}: {survivors} operations were carried out, but only {} sent",
            self.prefix,
            self.sent
        );
    }

    /// Compares what this member shows with the promises. Panics with what is lost, invented or altered.
    ///
    /// # Errors
    /// When the connection breaks before that is known.
    pub fn verify(&self, client: &mut Client) -> Result<(), Failure> {
        let prefix = &self.prefix;
        let survivors = self.survivors(client)?;
        self.check_survivors(survivors);
        let steps = |wanted: Step| (0..survivors).filter(move |n| step(*n) == wanted);
        let deleted: BTreeSet<u64> = steps(Step::Delete).map(|n| n - 1).collect();
        let standing: Vec<u64> = steps(Step::Create).filter(|n| !deleted.contains(n)).collect();
        let mut expected: BTreeSet<String> = standing.iter().map(|n| format!("n{n:07}")).collect();
        if survivors > 1 {
            expected.insert("register".into());
            let last = steps(Step::Set).next_back().unwrap_or(1);
            let (bytes, stat) = client.get(&self.register())?;
            assert_eq!(bytes, data(prefix, last), "{prefix}: the register holds operation {last}");
            self.check_zxid(last, stat.mzxid);
        }
        let found: BTreeSet<String> = match survivors {
            0 => BTreeSet::new(),
            _ => client.children(prefix)?.into_iter().collect(),
        };
        let odd: Vec<_> = expected.symmetric_difference(&found).collect();
        assert!(odd.is_empty(), "{prefix}: lost or invented: {odd:?}");
        let mut newest = 0;
        for chunk in standing.chunks(64) {
            for n in chunk {
                client.queue(op::GET_DATA, &Body::new().string(&self.child(*n)).bool(false));
            }
            client.flush()?;
            for n in chunk {
                let reply = client.recv()?.ok();
                let reply = reply.unwrap_or_else(|e| panic!("{}: {e}", self.child(*n)));
                let mut fields = Fields(&reply.body);
                assert_eq!(fields.buffer().unwrap_or_default(), data(prefix, *n), "{}", self.child(*n));
                let zxid = fields.stat().czxid;
                self.check_zxid(*n, zxid);
                assert!(zxid > newest, "{}: zxid {zxid:#x} after {newest:#x}", self.child(*n));
                newest = zxid;
            }
        }
        Ok(())
    }

    fn check_zxid(&self, n: u64, found: i64) {
        if let Some(Some(promised)) = self.done.get(n as usize) {
            assert_eq!(*promised, found, "{}: the zxid of operation {n}", self.prefix);
        }
    }
}

#[derive(Debug, Default)]
struct Progress {
    acked: AtomicU64,
    /// Nothing is in flight, and nothing will be until the pause is over.
    idle: AtomicBool,
}

/// Writers in threads of their own, until [`Load::finish`].
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
    writers: Vec<(Arc<Progress>, Option<JoinHandle<History>>)>,
}

impl Load {
    /// Starts the writers; each begins at another member and keeps `window` operations in flight. Returns when each
    /// had an operation acknowledged.
    pub fn start(addrs: &[SocketAddr], label: &str, writers: usize, window: usize) -> Load {
        let [stop, pause] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let start_one = |i: usize| {
            let progress = Arc::new(Progress::default());
            let mut writer = Writer {
                addrs: addrs.to_vec(),
                next: i,
                session: None,
                xid: 0,
                window,
                stop: stop.clone(),
                pause: pause.clone(),
                progress: progress.clone(),
                history: History {
                    prefix: format!("/{label}-{i}"),
                    sent: 0,
                    done: Vec::new(),
                    moves: 0,
                    expired: 0,
                },
            };
            let thread = std::thread::Builder::new().name(format!("writer {label}-{i}"));
            let handle = thread.spawn(move || {
                writer.run();
                writer.history
            });
            (progress, Some(handle.expect("starting a writer")))
        };
        let writers = (0..writers).map(start_one).collect();
        let load = Load { writers, stop: stop.clone(), pause: pause.clone() };
        load.gets_on(1);
        load
    }

    /// Operations acknowledged so far, of all writers.
    pub fn acked(&self) -> u64 {
        self.writers.iter().map(|(p, _)| p.acked.load(Ordering::Relaxed)).sum()
    }

    /// Waits until every writer has had this many more operations acknowledged.
    pub fn gets_on(&self, by: u64) {
        let acked = |p: &Progress| p.acked.load(Ordering::Relaxed);
        let goals: Vec<u64> = self.writers.iter().map(|(p, _)| acked(p) + by).collect();
        let start = Instant::now();
        for ((progress, handle), goal) in self.writers.iter().zip(goals) {
            while acked(progress) < goal {
                let running = handle.as_ref().is_some_and(|h| !h.is_finished());
                assert!(running, "a writer has failed");
                assert!(start.elapsed() < DEADLINE, "a writer waits for ever");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Does something while nobody writes; everything sent before is answered.
    pub fn while_silent<T>(&self, what: impl FnOnce() -> T) -> T {
        self.pause.store(true, Ordering::Relaxed);
        let start = Instant::now();
        while !self.writers.iter().all(|(p, _)| p.idle.load(Ordering::Relaxed)) {
            assert!(start.elapsed() < DEADLINE, "a writer never gets its answers");
            std::thread::sleep(Duration::from_millis(5));
        }
        let result = what();
        self.pause.store(false, Ordering::Relaxed);
        result
    }

    /// Ends the load; every writer first waits for what it has in flight.
    pub fn finish(mut self) -> Vec<History> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.iter_mut().filter_map(|(_, h)| h.take()).map(|h| h.join().expect("a writer")).collect()
    }

    /// Ends the load; fails if a session was lost on the way or a promise is broken at any of these members.
    pub fn finish_unharmed(self, addrs: &[SocketAddr]) {
        let histories = self.finish();
        for history in &histories {
            assert_eq!(history.expired, 0, "{}: a session expired", history.prefix);
        }
        verify_at(&histories, addrs);
    }
}

/// Verifies all histories at each of these members. One that has just come back may lose its clients once more.
pub fn verify_at(histories: &[History], addrs: &[SocketAddr]) {
    let start = Instant::now();
    for addr in addrs {
        while let Err(e) = verify_all(histories, *addr) {
            assert!(start.elapsed() < DEADLINE && matches!(e, Failure::Io(_)), "verifying at {addr}: {e}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn verify_all(histories: &[History], addr: SocketAddr) -> Result<(), Failure> {
    // Apache now and then forgets to answer the first request after a change of leader: ask again soon.
    let request = connect_request(SESSION_MS, 0, &[0; 16]);
    let mut client = Client::handshake_within(addr, request, PATIENCE)?;
    client.call(op::SYNC, &Body::new().string("/"))?;
    for history in histories {
        history.verify(&mut client)?;
    }
    client.close()
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Writer {
    addrs: Vec<SocketAddr>,
    next: usize,
    session: Option<Session>,
    /// The last number of a request. It goes on over connections, as clients have it: a server may take the outcome
    /// of a request for that of another one of the session with the same number.
    xid: i32,
    window: usize,
    stop: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
    progress: Arc<Progress>,
    history: History,
}

impl Writer {
    fn run(&mut self) {
        let mut lost_since = Instant::now();
        loop {
            let acked = self.progress.acked.load(Ordering::Relaxed);
            let (prefix, moves) = (&self.history.prefix, self.history.moves);
            assert!(lost_since.elapsed() < DEADLINE, "{prefix}: no member answers, after {moves} moves");
            match self.connect().and_then(|client| self.work(client)) {
                Ok(()) => return,
                Err(Failure::Io(_)) => std::thread::sleep(Duration::from_millis(20)),
                Err(Failure::Code(code)) => panic!("{}: refused with {code}", self.history.prefix),
            }
            self.history.moves += 1;
            if self.progress.acked.load(Ordering::Relaxed) > acked {
                lost_since = Instant::now();
            }
        }
    }

    /// Takes the session to the next member, or begins one.
    fn connect(&mut self) -> Result<Client, Failure> {
        let addr = self.addrs[self.next % self.addrs.len()];
        self.next += 1;
        let (id, passwd) = self.session.map_or((0, [0; 16]), |s| (s.id, s.passwd));
        let request = connect_request(SESSION_MS, id, &passwd);
        let mut client = Client::handshake_within(addr, request, PATIENCE)?;
        if client.session.id == 0 {
            self.history.expired += 1;
            self.session = None;
            return Err(Failure::Io(io::Error::other("the session expired")));
        }
        assert!(id == 0 || client.session.id == id, "{}: another session", self.history.prefix);
        self.session = Some(client.session);
        client.count_on_from(self.xid);
        self.xid += CATCH_UP;
        self.catch_up(&mut client)?;
        Ok(client)
    }

    /// Finds out what became of the operations without a reply, and sees that the session's node stands.
    fn catch_up(&mut self, client: &mut Client) -> Result<(), Failure> {
        client.call(op::SYNC, &Body::new().string("/"))?;
        let history = &mut self.history;
        let survivors = history.survivors(client)?;
        history.check_survivors(survivors);
        history.done.resize(survivors as usize, None);
        history.sent = survivors;
        let sign = history.sign_of_life();
        match client.exists(&sign)? {
            Some(stat) => {
                assert_eq!(
                    stat.ephemeral_owner, client.session.id,
                    "{sign} belongs to a session that expired"
                )
            }
            None => {
                let begun = survivors > 0 && history.expired == 0;
                assert!(!begun, "{sign} is gone, but its session lives");
                client.create(&sign, b"", 1)?;
            }
        }
        Ok(())
    }

    fn work(&mut self, mut client: Client) -> Result<(), Failure> {
        let mut asked = VecDeque::new();
        client.count_on_from(self.xid);
        loop {
            let stop = self.stop.load(Ordering::Relaxed);
            let pause = self.pause.load(Ordering::Relaxed);
            let history = &mut self.history;
            while !stop && !pause && history.sent - (history.done.len() as u64) < self.window as u64 {
                let (op, body) = history.request(history.sent);
                self.xid = client.queue(op, &body);
                asked.push_back(self.xid);
                history.sent += 1;
            }
            client.flush()?;
            let idle = history.sent == history.done.len() as u64;
            self.progress.idle.store(idle && pause, Ordering::Relaxed);
            if idle && stop {
                return client.close();
            }
            if idle {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let reply = client.recv()?;
            assert_eq!(Some(reply.xid), asked.pop_front(), "replies come in the order of the requests");
            let n = history.done.len();
            match reply.err {
                0 => {}
                // The session is not here any more: the next connection says where it is.
                -112 | -118 => return Err(Failure::Io(io::Error::other("the session is elsewhere or gone"))),
                code => panic!("{}: operation {n} refused with {code}", history.prefix),
            }
            let last = history.done.iter().flatten().next_back();
            assert!(last.is_none_or(|last| *last < reply.zxid), "{}: zxids grow", history.prefix);
            history.done.push(Some(reply.zxid));
            self.progress.acked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::node::{Node, Server};

    /// A finished load of one writer, and the node it wrote to.
    fn written() -> (Node, History) {
        let node = Node::start(Server::Ringkeeper, &[]);
        let load = Load::start(&[node.addr()], "judged", 1, 8);
        load.gets_on(50);
        let history = load.finish().remove(0);
        (node, history)
    }

    fn is_condemned(node: &Node, history: &History) -> bool {
        let mut client = node.client();
        let verdict =
            catch_unwind(AssertUnwindSafe(|| history.verify(&mut client).expect("the node answers")));
        verdict.is_err()
    }

    #[test]
    fn judge_finds_what_is_lost_repeated_altered_or_invented() {
        let (node, history) = written();
        assert!(!is_condemned(&node, &history), "nothing is wrong yet");
        let mut optimist = history.clone();
        optimist.done.push(Some(1));
        optimist.sent += 1;
        assert!(is_condemned(&node, &optimist), "an acknowledged write is missing");
        let mut forger = history.clone();
        forger.done[5] = Some(1);
        assert!(is_condemned(&node, &forger), "an operation has another zxid than was promised");
        let mut client = node.client();
        let (value, _) = client.get(&history.register()).expect("reading");
        client.set(&history.register(), &value, -1).expect("setting the same again");
        assert!(is_condemned(&node, &history), "an operation was carried out twice");
    }

    #[test]
    fn judge_finds_a_node_in_the_place_of_another() {
        let (node, history) = written();
        let mut client = node.client();
        let mut later = history.clone();
        // Two more operations that nobody promised or sent in this form.
        later.sent += 2;
        client.delete(&history.child(5)).expect("deleting");
        client.create(&history.child(4), b"", 0).expect("creating");
        assert!(is_condemned(&node, &later));
    }
}
