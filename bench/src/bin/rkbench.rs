//! `rkbench`: the load generator. See [`ringkeeper_bench::cli`] and `bench/README.md`.

use std::process::ExitCode;

use clap::Parser as _;
use ringkeeper_bench::cli::{Cli, main as run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("rkbench: {e}");
            ExitCode::FAILURE
        }
    }
}
