//! A well-behaved client beside the attack, and the memory of the server during it.
//!
//! Every hostile script ends with the same two questions: was anybody else disturbed, and did memory follow what
//! was declared instead of what was received?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE};
use crate::node::Node;
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

/// A client that is only used to see that a new one is served.
pub fn newcomer_is_served(node: &Node) {
    let mut client: Client = node.client();
    assert!(client.exists("/").expect("exists").is_some());
    client.close().expect("closing");
}
