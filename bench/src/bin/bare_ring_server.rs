//! `bare-ring-server`: the measured ceiling. See [`ringkeeper_bench::bare`] and `bench/README.md`.

use std::process::ExitCode;

use clap::Parser as _;
use ringkeeper_bench::bare::{BareOptions, serve};

fn main() -> ExitCode {
    match serve(&BareOptions::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bare-ring-server: {e}");
            ExitCode::FAILURE
        }
    }
}
