//! The command line of `ringkeeper`, and the numbers it ends with.
//!
//! `ringkeeper` alone serves on defaults; `ringkeeper serve zoo.cfg` takes the file that a ZooKeeper server has.
//! Wrong arguments end with code 2 before anything is touched, which `clap` sees to.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// A coordination server for ZooKeeper clients.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "ringkeeper",
    version = concat!(env!("CARGO_PKG_VERSION"), " (ZooKeeper protocol 3.9)"),
    after_help = EXAMPLES
)]
pub struct Cli {
    /// What to do; serving is the default.
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  ringkeeper                        serve 127.0.0.1:2181, data in ./ringkeeper-data
  ringkeeper serve                  the same
  ringkeeper serve /etc/zookeeper/conf/zoo.cfg
  RUST_LOG=debug ringkeeper serve   say more
  ringkeeper ensemble --nodes 3     three servers on this machine, data in ./ringkeeper-ensemble

Exit codes:
  0  ended as told (SIGTERM, SIGINT)
  1  an error while running
  2  wrong arguments or configuration
  3  the data directory cannot be used";

/// What the binary can do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve clients until told to end (SIGTERM or SIGINT).
    Serve {
        /// Configuration in ZooKeeper's format; without it the node serves this machine on port 2181.
        #[arg(value_name = "ZOO_CFG")]
        config: Option<PathBuf>,
        /// End when the standard input ends: for whoever starts a node as a child process.
        #[arg(long, hide = true)]
        end_with_stdin: bool,
    },
    /// Run an ensemble of child processes on this machine, for trying things out.
    ///
    /// Makes DIR/1, DIR/2, ... with a zoo.cfg, a log and the data of each server, or takes those that are there;
    /// waits for a leader, says where clients connect, and ends all servers with the first SIGINT or SIGTERM.
    Ensemble {
        /// Servers with a vote [default: those that are there, or 3].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=31))]
        nodes: Option<u8>,
        /// Servers without a vote [default: those that are there, or none].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=31))]
        observers: Option<u8>,
        /// Where the servers have their directories.
        #[arg(long, value_name = "DIR", default_value = "./ringkeeper-ensemble")]
        dir: PathBuf,
        /// First port of a new ensemble: client ports, then those for the servers [default: any free ones].
        #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
        base_port: Option<u16>,
    },
}

impl Cli {
    /// The command that was asked for.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve { config: None, end_with_stdin: false })
    }
}

/// How the process ends. The numbers are the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// As told.
    Normal = 0,
    /// An error while running.
    Unexpected = 1,
    /// Wrong arguments or configuration.
    Configuration = 2,
    /// The data directory is missing, in use, damaged or not ours to write.
    DataDirectory = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from([&["ringkeeper"], args].concat()).map(Cli::command)
    }

    #[test]
    fn no_arguments_serve_on_defaults() {
        let defaults = Command::Serve { config: None, end_with_stdin: false };
        assert_eq!(parse(&[]).unwrap(), defaults);
        assert_eq!(parse(&["serve"]).unwrap(), defaults);
    }

    #[test]
    fn serve_takes_one_file() {
        let file = |end_with_stdin| Command::Serve { config: Some("zoo.cfg".into()), end_with_stdin };
        assert_eq!(parse(&["serve", "zoo.cfg"]).unwrap(), file(false));
        assert_eq!(parse(&["serve", "--end-with-stdin", "zoo.cfg"]).unwrap(), file(true));
        for wrong in [
            &["serve", "a", "b"][..],
            &["zoo.cfg"],
            &["--frob"],
            &["serve", "--frob"],
            &["ensemble", "--nodes", "0"],
            &["ensemble", "--nodes", "many"],
            &["ensemble", "--base-port", "65536"],
            &["ensemble", "dir"],
        ] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(Exit::Configuration as u8), "{wrong:?}");
        }
    }

    #[test]
    fn an_ensemble_has_defaults() {
        let ensemble = |nodes, observers, dir: &str, base_port| Command::Ensemble {
            nodes,
            observers,
            dir: dir.into(),
            base_port,
        };
        assert_eq!(parse(&["ensemble"]).unwrap(), ensemble(None, None, "./ringkeeper-ensemble", None));
        let all = ["ensemble", "--nodes", "5", "--observers", "2", "--dir", "/e", "--base-port", "2181"];
        assert_eq!(parse(&all).unwrap(), ensemble(Some(5), Some(2), "/e", Some(2181)));
    }

    #[test]
    fn version_and_help_say_what_this_is() {
        let version = parse(&["--version"]).unwrap_err();
        assert_eq!(version.kind(), ErrorKind::DisplayVersion);
        let expected = concat!("ringkeeper ", env!("CARGO_PKG_VERSION"), " (ZooKeeper protocol 3.9)\n");
        assert_eq!(version.to_string(), expected);
        let help = parse(&["--help"]).unwrap_err().to_string();
        assert!(help.contains("ringkeeper serve /etc/zookeeper/conf/zoo.cfg"), "{help}");
        <Cli as CommandFactory>::command().debug_assert();
    }
}
