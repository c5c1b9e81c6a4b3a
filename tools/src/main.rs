//! `rkinspect`: looks into logs and snapshots. Everything is in the library; this gives it a process.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use ringkeeper_tools::cli::{self, Cli};
use ringkeeper_tools::out::Progress;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli::run(&cli, io::stdout().lock(), &Progress::on_terminal()) {
        Ok(code) => code.into(),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rkinspect: {error}");
            error.exit_code().into()
        }
    }
}
