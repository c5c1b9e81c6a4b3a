//! A well-behaved client beside the attack, and the memory of the server during it.
//!
//! Every hostile script ends with the same two questions: was anybody else disturbed, and did memory follow what
//! was declared instead of what was received?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE};
use crate::node::{Node, Server};
use crate::process::Process;

/// How much a server may grow for reasons of its own: buffers of connections, slabs, the allocator's slack.
pub const SLACK: u64 = 64 << 20;

/// A session in its own thread that writes and reads back all the time.
pub struct Bystander {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    /// Connects and goes on until [`Bystander::finish`].
    pub fn start(node: &Node) -> Bystander {
        let mut client = node.client();
        client.create("/bystander", b"", 1).expect("the bystander creates its node");
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (stop, rounds) = (stop.clone(), rounds.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let round = rounds.load(Ordering::Relaxed);
                    let value = round.to_string();
                    let stat =
                        client.set("/bystander", value.as_bytes(), round as i32).expect("the bystander sets");
                    let (data, again) = client.get("/bystander").expect("the bystander gets");
                    assert_eq!(
                        (data, again),
                        (value.into_bytes(), stat),
                        "the bystander reads what it wrote"
                    );
                    client.ping().expect("the bystander pings");
                    rounds.store(round + 1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
                client.close().expect("the bystander closes");
            }
        });
        Bystander { stop, rounds, thread: Some(thread) }
    }

    /// Waits until the bystander has got on by a few rounds.
    pub fn gets_on(&self) {
        let goal = self.rounds.load(Ordering::Relaxed) + 3;
        let start = Instant::now();
        while self.rounds.load(Ordering::Relaxed) < goal {
            let running = self.thread.as_ref().is_some_and(|t| !t.is_finished());
            assert!(running, "the bystander was disturbed");
            assert!(start.elapsed() < PATIENCE, "the bystander waits for ever");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the session; fails if anything ever went wrong in it.
    pub fn finish(mut self) {
        self.gets_on();
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("finished once");
        thread.join().expect("the bystander was disturbed");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The server's memory before an attack.
pub struct Memory {
    process: Process,
    rss: u64,
    reserved: u64,
}

impl Memory {
    /// Takes the measure now.
    pub fn of(node: &Node) -> Memory {
        let process = node.process();
        Memory { process, rss: process.rss(), reserved: process.reserved() }
    }

    /// Fails if resident or merely reserved memory has grown by more than `received` bytes and [`SLACK`].
    pub fn grew_at_most(&self, received: u64) {
        let limit = received + SLACK;
        let rss = self.process.rss().saturating_sub(self.rss);
        let reserved = self.process.reserved().saturating_sub(self.reserved);
        assert!(rss <= limit, "resident memory grew by {rss} bytes, limit {limit}");
        assert!(reserved <= limit, "reserved memory grew by {reserved} bytes, limit {limit}");
    }
}

/// Starts a node with a bystander, runs the attack, and sees that the bystander and newcomers are served and that
/// memory has not grown with what was declared. `received` is what the attack really sends, in bytes.
pub fn attack(server: Server, extra: &[&str], received: u64, script: impl FnOnce(&Node, &Bystander)) {
    let node = Node::start(server, extra);
    let bystander = Bystander::start(&node);
    bystander.gets_on();
    let memory = Memory::of(&node);
    script(&node, &bystander);
    bystander.gets_on();
    newcomer_is_served(&node);
    if server != Server::Apache {
        // A Java heap grows as it likes.
        memory.grew_at_most(received);
    }
    bystander.finish();
}

/// Fails if a new client is not served. Connections that the attack has just closed may still count against a
/// limit for a moment.
fn newcomer_is_served(node: &Node) {
    let start = Instant::now();
    let mut client = loop {
        match Client::connect(node.addr()) {
            Ok(client) => break client,
            Err(e) => assert!(start.elapsed() < PATIENCE, "a newcomer is not served: {e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(client.exists("/").expect("exists").is_some());
    client.close().expect("closing");
}
