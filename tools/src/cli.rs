//! The command line of `rkinspect`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cmd;
use crate::cmd::export::Export;
use crate::cmd::import::Import;
use crate::error::InspectError;
use crate::out::{Format, Out, Progress};

/// Looks into logs and snapshots of Ringkeeper and of Apache ZooKeeper. Never changes what it looks at.
///
/// PATH is a data directory (of Ringkeeper; or of Apache: dataDir, dataLogDir or version-2 itself), or one log or
/// snapshot file.
#[derive(Debug, Parser)]
#[command(name = "rkinspect", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// JSON, one object per line, instead of text.
    #[arg(long, global = true)]
    pub json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  nothing is wrong, nothing differs
  1  damage or differences were found
  2  wrong usage, or what was asked for is not there
  3  something could not be read or written";

const IMPORT_EXAMPLES: &str = "\
Examples:
  rkinspect import /var/lib/zookeeper /var/lib/ringkeeper
  rkinspect import --logs /mnt/zk-log /var/lib/zookeeper /var/lib/ringkeeper
  rkinspect import --at 0x500000123 /backup/version-2 /var/lib/ringkeeper

The newest snapshot that is whole and the log behind it are taken, with the promises of the member (acceptedEpoch,
currentEpoch) and its myid. Nothing is imported where a transaction is damaged or missing, or where the digest is
another one than the log says; --at takes over what lies before it.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  rkinspect export /var/lib/ringkeeper /var/lib/zookeeper
  rkinspect export --compress snappy --with-log /var/lib/ringkeeper /var/lib/zookeeper";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Transactions.
    #[command(subcommand)]
    Log(LogCommand),
    /// Makes a data directory of Ringkeeper from one of Apache ZooKeeper.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Makes a data directory of Apache ZooKeeper from one of Ringkeeper.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
}

/// What to do with transactions.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// First and last zxid per file, and gaps between zxids.
    Range {
        /// Data directory or log file.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// Does what was asked, with results going to `to`. Returns the exit code.
pub fn run(cli: &Cli, to: impl Write, progress: &Progress) -> Result<u8, InspectError> {
    let format = if cli.json { Format::Json } else { Format::Text };
    let mut out = Out::new(format, to);
    let code = match &cli.command {
        Command::Log(LogCommand::Range { paths }) => cmd::log::range(paths, &mut out, progress),
        Command::Import(options) => cmd::import::import(options, &mut out, progress),
        Command::Export(options) => cmd::export::export(options, &mut out, progress),
    };
    progress.clear();
    // What was found before an error is worth seeing.
    out.finish()?;
    code
}
