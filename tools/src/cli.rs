//! The command line of `rkinspect`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ringkeeper_engine::id::{SessionId, Zxid};

use crate::cmd;
use crate::cmd::export::Export;
use crate::cmd::import::Import;
use crate::error::InspectError;
use crate::out::{Format, Out, Progress};

/// Looks into logs and snapshots of Ringkeeper and of Apache ZooKeeper. Never changes what it looks at.
///
/// PATH is a data directory (of Ringkeeper; or of Apache: dataDir, dataLogDir or version-2 itself), or one log or
/// snapshot file of one. No lock is taken, so that it can be used beside a running server.
#[derive(Debug, Parser)]
#[command(name = "rkinspect", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// JSON, one object per line, instead of text.
    #[arg(long, global = true)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  rkinspect log verify /var/lib/ringkeeper          which bytes are damaged, and what they cost
  rkinspect log dump DIR --from 0x500000001 --data  transactions with their data
  rkinspect log dump DIR --path /app --type delete  who deleted what below /app
  rkinspect log repair DIR NEWDIR                   what can be kept, in a new directory
  rkinspect snapshot tree DIR --path /app --depth 2
  rkinspect snapshot diff DIR1 DIR2                 what two servers' newest snapshots do not have in common
  rkinspect state DIR --at 0x500000001 --path /app  the nodes as they were after that transaction
  rkinspect diff DIR --from 0x500000001 --to 0x500000010
  rkinspect diff DIR1 DIR2                          whether two members agree on what both have
  rkinspect doctor DIR                              what is wrong, what it means, what to do
  rkinspect find /app/leader DIR --data             who changed it, when, and how

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
    /// States.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Sessions and nodes after any transaction that snapshots and log reach.
    State(cmd::state::StateArgs),
    /// What changed between two transactions of a directory, or what two members' directories do not have in common.
    ///
    /// - deleted, closed or only in the first; + created, opened or only in the second; ~ changed, with each field.
    Diff(cmd::diff::DiffArgs),
    /// Every transaction that touched a node: as a part of a multi and by the end of its session too.
    Find(cmd::find::FindArgs),
    /// What is wrong with a data directory, what it means, and what to do.
    ///
    /// Exit code 0 if there is nothing but what is good to know, 1 otherwise.
    Doctor {
        /// Data directory.
        dir: PathBuf,
    },
    /// Makes a data directory of Ringkeeper from one of Apache ZooKeeper.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Makes a data directory of Apache ZooKeeper from one of Ringkeeper.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
}

/// What is looked at.
#[derive(Debug, Args)]
pub struct Paths {
    /// Data directories or files.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// A directory or file of snapshots.
#[derive(Debug, Args)]
pub struct Picked {
    /// Data directory or snapshot file.
    pub path: PathBuf,
    /// The snapshot of a directory with this zxid instead of the newest.
    #[arg(long, value_parser = parse_zxid)]
    pub zxid: Option<Zxid>,
}

/// What to do with transactions.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// One line per transaction: zxid, time, session, cxid, what it does, bytes, digest.
    Dump(cmd::log::DumpArgs),
    /// Checks every byte: which are damaged, which transactions they cost, what is only torn, dead or unused.
    ///
    /// Damage is what somebody was told is durable. A torn tail is what a crash leaves of writes in flight; it is
    /// shown, and is no damage. Bytes that mean nothing, such as padding, are not looked at.
    Verify(Paths),
    /// Counts by type, sizes, batches, sessions, the paths that are written most.
    Stats(Paths),
    /// First and last zxid per file, and gaps between zxids.
    Range(Paths),
    /// Writes what is sound and contiguous to a new directory, and says what was dropped.
    ///
    /// The input is not touched. The new directory begins with the state from which most of the log can be reached. As a
    /// member of an ensemble it does not vote before it has caught up.
    Repair {
        /// Data directory or segment.
        from: PathBuf,
        /// The new directory; it must be empty or not there.
        to: PathBuf,
    },
}

/// What to do with states.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// One line per session and node, in the order of the file.
    Dump(cmd::snapshot::DumpArgs),
    /// Checks every byte: which are damaged.
    Verify(Paths),
    /// Nodes, ephemerals, sessions, ACLs, bytes, depth, the biggest nodes and those with most children.
    Stats(Picked),
    /// What two snapshots do not have in common: - only in the first, + only in the second, ~ changed.
    Diff {
        /// Data directory (its newest snapshot) or snapshot file.
        a: PathBuf,
        /// The other one.
        b: PathBuf,
        /// Only the node of this path and those below it.
        #[arg(long = "path")]
        top: Option<String>,
    },
    /// The nodes, indented by depth.
    Tree(cmd::snapshot::TreeArgs),
}

/// A zxid: `0x` and hexadecimal digits, as the servers print it, or decimal.
pub fn parse_zxid(text: &str) -> Result<Zxid, String> {
    number(text).map(|raw| Zxid::from_raw(raw.cast_signed()))
}

/// A session id, written alike.
pub fn parse_session(text: &str) -> Result<SessionId, String> {
    number(text).map(|raw| SessionId(raw.cast_signed()))
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "neither 0x and hexadecimal digits nor a decimal number".to_owned())
}

/// Does what was asked, with results going to `to`. Returns the exit code.
pub fn run(cli: &Cli, to: impl Write, progress: &Progress) -> Result<u8, InspectError> {
    let format = if cli.json { Format::Json } else { Format::Text };
    let mut out = Out::new(format, to);
    let code = match &cli.command {
        Command::Log(command) => log(command, &mut out, progress),
        Command::Snapshot(command) => snapshot(command, &mut out, progress),
        Command::State(args) => cmd::state::state(args, &mut out, progress),
        Command::Diff(args) => cmd::diff::diff(args, &mut out, progress),
        Command::Find(args) => cmd::find::find(args, &mut out, progress),
        Command::Doctor { dir } => cmd::doctor::doctor(dir, &mut out, progress),
        Command::Import(options) => cmd::import::import(options, &mut out, progress),
        Command::Export(options) => cmd::export::export(options, &mut out, progress),
    };
    progress.clear();
    // What was found before an error is worth seeing.
    out.finish()?;
    code
}

fn log(command: &LogCommand, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    match command {
        LogCommand::Dump(args) => cmd::log::dump(args, out, progress),
        LogCommand::Verify(Paths { paths }) => cmd::log::verify(paths, out, progress),
        LogCommand::Stats(Paths { paths }) => cmd::log::stats(paths, out, progress),
        LogCommand::Range(Paths { paths }) => cmd::log::range(paths, out, progress),
        LogCommand::Repair { from, to } => cmd::log::repair(from, to, out, progress),
    }
}

fn snapshot(command: &SnapshotCommand, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    match command {
        SnapshotCommand::Dump(args) => cmd::snapshot::dump(args, out, progress),
        SnapshotCommand::Verify(Paths { paths }) => cmd::snapshot::verify(paths, out, progress),
        SnapshotCommand::Stats(Picked { path, zxid }) => cmd::snapshot::stats(path, *zxid, out, progress),
        SnapshotCommand::Diff { a, b, top } => cmd::snapshot::diff(a, b, top.as_deref(), out, progress),
        SnapshotCommand::Tree(args) => cmd::snapshot::tree(args, out, progress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn zxids_are_read_as_servers_print_them() {
        assert_eq!(parse_zxid("0x500000001"), Ok(Zxid::from_raw(0x5_0000_0001)));
        assert_eq!(parse_zxid("17"), Ok(Zxid::from_raw(17)));
        assert_eq!(
            parse_session("0xff00000000000001"),
            Ok(SessionId(0xff00_0000_0000_0001u64.cast_signed()))
        );
        assert!(parse_zxid("5f").is_err() && parse_zxid("").is_err() && parse_zxid("0x").is_err());
    }
}
