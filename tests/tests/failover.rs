//! Time from the SIGKILL of the leader to the next acknowledged write: a measurement, so ignored unless asked for.
//!
//! ```sh
//! cargo test --release -p ringkeeper-tests --test failover -- --ignored --nocapture --test-threads 1
//! ```

use ringkeeper_tests::cluster::failover::measure;
use ringkeeper_tests::node::Server;
use ringkeeper_tests::tool::{Tool, requires};

const KILLS: usize = 20;

#[test]
#[ignore = "a measurement: prints a histogram"]
fn three_of_ringkeeper() {
    println!("three of Ringkeeper\n{}", measure(&[Server::Ringkeeper; 3], KILLS));
}

#[test]
#[ignore = "a measurement: prints a histogram"]
fn three_of_apache() {
    if requires(&[Tool::Apache]) {
        println!("three of Apache ZooKeeper\n{}", measure(&[Server::Apache; 3], KILLS));
    }
}
