//! How a server of each make is started: its program, its arguments, its `zoo.cfg`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};

use crate::error::BenchError;

/// A server that reads a `zoo.cfg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Make {
    /// The node of this repository.
    Ringkeeper,
    /// Apache ZooKeeper, with its default settings.
    Apache,
}

/// Where the programs are, and where their data goes.
#[derive(Clone, Debug, Args)]
pub struct LaunchArgs {
    /// Directory on the disk to measure; a temporary directory is made in it and removed at the end.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// The ringkeeper binary [default: beside rkbench].
    #[arg(long)]
    pub ringkeeper: Option<PathBuf>,
    /// Another line for ringkeeper's zoo.cfg, such as ringkeeper.cores=0,1.
    #[arg(long, value_name = "KEY=VALUE")]
    pub ringkeeper_setting: Vec<String>,
    /// The java binary.
    #[arg(long, default_value = "java")]
    pub java: PathBuf,
    /// Option for the Java machine, such as -Xmx4g; none means the machine's defaults.
    #[arg(long, allow_hyphen_values = true)]
    pub java_option: Vec<String>,
    /// Class path of Apache ZooKeeper (the default is where Debian's package keeps it).
    #[arg(long, default_value = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar")]
    pub classpath: String,
}

impl Make {
    /// The word for it on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Make::Ringkeeper => "ringkeeper",
            Make::Apache => "apache",
        }
    }

    /// The command of a server in `dir`, with `settings` in its `zoo.cfg`, which is written, and its data below `dir`.
    pub fn command(self, args: &LaunchArgs, dir: &Path, settings: &str) -> Result<Command, BenchError> {
        let (data, config) = (data_dir(dir), dir.join("zoo.cfg"));
        let mut text = format!("dataDir={}\n{settings}", data.display());
        let own = match self {
            Make::Ringkeeper => args.ringkeeper_setting.as_slice(),
            // Nothing but what is needed to run: the admin server would take a fixed port.
            Make::Apache => &["admin.enableServer=false".to_string()],
        };
        for line in own {
            text.push_str(line);
            text.push('\n');
        }
        let file = |source| BenchError::File { doing: "writing", path: config.clone(), source };
        fs::create_dir_all(&data).and_then(|()| fs::write(&config, text)).map_err(file)?;
        Ok(match self {
            Make::Ringkeeper => {
                let mut command = Command::new(beside(args.ringkeeper.as_ref(), "ringkeeper"));
                command.arg("serve").arg(config);
                command
            }
            Make::Apache => {
                let mut command = Command::new(&args.java);
                command.args(&args.java_option).arg("-cp").arg(&args.classpath);
                command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(config);
                command
            }
        })
    }
}

/// Where a server in `dir` keeps its data.
pub fn data_dir(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// The path given, or the binary of that name in the directory of this one.
pub fn beside(given: Option<&PathBuf>, name: &str) -> PathBuf {
    match given {
        // A server runs in a directory of its own, where a relative path would lead elsewhere.
        Some(path) => fs::canonicalize(path).unwrap_or_else(|_| path.clone()),
        None => std::env::current_exe().map_or_else(|_| name.into(), |own| own.with_file_name(name)),
    }
}
