//! `failover [kills]`: time from the SIGKILL of the leader to the next acknowledged write, for three members of ours
//! and three of Apache ZooKeeper, in turn. See [`ringkeeper_tests::cluster::failover`].

use std::process::ExitCode;

use ringkeeper_tests::cluster::failover::measure;
use ringkeeper_tests::node::Server;
use ringkeeper_tests::tool::{Tool, requires};

fn main() -> ExitCode {
    let kills = match std::env::args().nth(1).map(|n| n.parse()) {
        None => 20,
        Some(Ok(kills @ 1..)) => kills,
        Some(_) => {
            eprintln!("usage: failover [kills]");
            return ExitCode::FAILURE;
        }
    };
    if requires(&[Tool::Apache]) {
        println!("three of Apache ZooKeeper\n{}\n", measure(&[Server::Apache; 3], kills));
    }
    println!("three of Ringkeeper\n{}", measure(&[Server::Ringkeeper; 3], kills));
    ExitCode::SUCCESS
}
