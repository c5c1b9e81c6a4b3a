//! The `ringkeeper` binary: reads the command line and the configuration, then serves, or runs an ensemble.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use ringkeeper_net::cli::{Cli, Command, Exit};
use ringkeeper_net::config::{self, Severity};
use ringkeeper_net::ensemble;
use ringkeeper_net::node::{self, Serving};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command = Cli::parse().command();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let exit = match command {
        Command::Serve { config, end_with_stdin } => serve(config.as_deref(), end_with_stdin),
        Command::Ensemble { nodes, observers, dir, base_port } => {
            run_ensemble(&ensemble::Options { dir, voters: nodes, observers, base_port })
        }
    };
    exit.into()
}

fn run_ensemble(options: &ensemble::Options) -> Exit {
    match ensemble::run(options, &mut std::io::stdout()) {
        Ok(()) => {
            tracing::info!("all servers have ended as told");
            Exit::Normal
        }
        Err(error) => {
            tracing::error!("{error}");
            error.exit()
        }
    }
}

fn serve(zoo_cfg: Option<&Path>, end_with_stdin: bool) -> Exit {
    if end_with_stdin && let Err(error) = ensemble::end_with_stdin() {
        tracing::error!("starting a thread that reads the standard input: {error}");
        return Exit::Unexpected;
    }
    let loaded = match config::load(zoo_cfg) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!("{error}");
            return Exit::Configuration;
        }
    };
    for warning in &loaded.warnings {
        match warning.severity {
            Severity::Note => tracing::info!("{warning}"),
            Severity::Warning => tracing::warn!("{warning}"),
            Severity::Danger => tracing::error!("{warning}"),
        }
    }
    match node::serve(loaded.config, announce) {
        Ok(()) => {
            tracing::info!("ended as told");
            Exit::Normal
        }
        Err(error) => {
            tracing::error!("{error}");
            error.exit()
        }
    }
}

/// The one line on standard output.
fn announce(serving: &Serving) {
    let Serving { address, data_dir } = serving;
    let version = env!("CARGO_PKG_VERSION");
    // Nobody may be reading; that is no reason to end.
    let _ = writeln!(
        std::io::stdout(),
        "ringkeeper {version} serves clients on {address}, data in {}",
        data_dir.display()
    );
}
