//! How long clients cannot write after the leader has died: a measurement, not a test.
//!
//! Clock starts at the SIGKILL and stops at the first write that any client has acknowledged by a survivor. Each
//! survivor has a client of its own that keeps its session and asks again at once, so that what is measured is the
//! ensemble and not the patience of a client library.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, Failure, Session};
use crate::cluster::{Cluster, Plan};
use crate::node::{DEADLINE, Server};
use crate::wire::connect_request;

/// Pause between two attempts of a client.
const PAUSE: Duration = Duration::from_millis(2);

/// The times of all kills, shortest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gaps(Vec<Duration>);

/// Kills the leader of an ensemble of these kinds so many times, each time with all members back and a little load
/// before. Every member runs with its own defaults but for the tick, which is the one of the tests.
pub fn measure(kinds: &[Server], kills: usize) -> Gaps {
    let mut cluster = Plan::of(kinds).start();
    let leader = cluster.leader();
    let mut client = cluster.client(leader);
    client.create("/gap", b"", 0).expect("creating");
    client.close().expect("closing");
    let mut gaps: Vec<Duration> = (0..kills).map(|_| one_kill(&mut cluster)).collect();
    gaps.sort();
    Gaps(gaps)
}

fn one_kill(cluster: &mut Cluster) -> Duration {
    let leader = cluster.wait_until_serving();
    let load = cluster.load(&format!("gap-{:x}", fastrand::u32(..)), &cluster.sids(), 1, 1);
    load.gets_on(20);
    drop(load.finish());
    let survivors: Vec<SocketAddr> =
        cluster.other_voters(leader).into_iter().map(|sid| cluster.member(sid).client_addr).collect();
    let sessions: Vec<(SocketAddr, Client)> =
        survivors.iter().map(|addr| (*addr, Client::connect(*addr).expect("connecting"))).collect();
    let over = AtomicBool::new(false);
    let gap = std::thread::scope(|scope| {
        // The clients notice by themselves that their connections close.
        let start = Instant::now();
        cluster.kill(leader);
        let write = |(addr, client): (SocketAddr, Client)| {
            let over = &over;
            scope.spawn(move || first_write(addr, client, over, start))
        };
        let writers: Vec<_> = sessions.into_iter().map(write).collect();
        let gaps = writers.into_iter().filter_map(|w| w.join().expect("a client"));
        gaps.min().expect("one client writes first")
    });
    cluster.launch(leader);
    gap
}

/// Tries to write until it succeeds, here or (`over`) elsewhere.
fn first_write(addr: SocketAddr, client: Client, over: &AtomicBool, start: Instant) -> Option<Duration> {
    let session = client.session;
    let mut client = Some(client);
    while !over.load(Ordering::Relaxed) {
        assert!(start.elapsed() < DEADLINE, "no write succeeds any more");
        match client.take().map_or_else(|| resume(addr, session), Ok).and_then(write) {
            Ok(client) => {
                let gap = start.elapsed();
                over.store(true, Ordering::Relaxed);
                let _ = client.close();
                return Some(gap);
            }
            Err(Failure::Code(code)) => panic!("a write was refused with {code}"),
            Err(Failure::Io(_)) => std::thread::sleep(PAUSE),
        }
    }
    None
}

fn resume(addr: SocketAddr, session: Session) -> Result<Client, Failure> {
    let request = connect_request(session.timeout_ms, session.id, &session.passwd);
    let client = Client::handshake_within(addr, request, Duration::from_secs(5))?;
    assert_eq!(client.session.id, session.id, "the session survives");
    Ok(client)
}

fn write(mut client: Client) -> Result<Client, Failure> {
    let patience = Some(Duration::from_secs(5));
    client.stream().set_read_timeout(patience)?;
    client.set("/gap", b"x", -1)?;
    Ok(client)
}

impl Gaps {
    /// The time that this share (0 to 1) of the kills did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.0.len() - 1;
        self.0[((last as f64 * share).round() as usize).min(last)]
    }
}

/// A histogram with a line for every 50 ms, and p50 and worst below it.
impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEP: u128 = 50;
        let bucket = |gap: &Duration| gap.as_millis() / STEP;
        let (first, last) = (self.0.iter().map(bucket).min(), self.0.iter().map(bucket).max());
        for step in first.unwrap_or(0)..=last.unwrap_or(0) {
            let count = self.0.iter().filter(|gap| bucket(gap) == step).count();
            writeln!(f, "{:>5} ms  {:>3}  {}", step * STEP, count, "#".repeat(count))?;
        }
        let (p50, worst) = (self.quantile(0.5).as_millis(), self.quantile(1.0).as_millis());
        write!(f, "{} kills: p50 {p50} ms, worst {worst} ms", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_has_a_line_per_step_and_names_median_and_worst() {
        let gaps = Gaps([110, 120, 210, 220, 230].map(Duration::from_millis).to_vec());
        let text = gaps.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  100 ms    2  ##");
        assert_eq!(lines[1], "  150 ms    0  ");
        assert_eq!(lines[2], "  200 ms    3  ###");
        assert_eq!(lines[3], "5 kills: p50 210 ms, worst 230 ms");
    }
}
