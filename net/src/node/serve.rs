//! From a configuration to a serving node and back: opens, starts the loops, waits for a signal, ends.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringkeeper_engine::io::{FsVolume, RingError, VolumeError};
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::store::StoreError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::bind::{Bound, bind};
use super::start::{self, Plan};
use crate::cli::Exit;
use crate::config::Config;
use crate::member::Fatal;

/// How often binding the client port is tried.
const BIND_TRIES: u32 = 40;
/// Pause between two tries.
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// Why a node did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No usable io_uring; the message has the remedy.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The data directory cannot be used.
    #[error("the data directory cannot be used: {0}")]
    Volume(#[from] VolumeError),
    /// `datadir.autocreate=false`, and there is none.
    #[error("the data directory {} does not exist, and datadir.autocreate=false forbids to create it", .0.display())]
    Missing(PathBuf),
    /// The directory belongs to an Apache ZooKeeper server.
    #[error(
        "{} holds data of an Apache ZooKeeper server, which this version cannot take over: \
         give Ringkeeper a directory of its own", .0.display()
    )]
    ForeignData(PathBuf),
    /// Recovery failed; the message says what is lost and what can be done.
    #[error("opening the data in {}: {source}", dir.display())]
    Store {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The client port cannot be had.
    #[error("listening on {address}: {source}")]
    Bind {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// What this server has promised cannot be written down.
    #[error("{doing}: {source}")]
    Log {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: LogError,
    },
    /// The system refused something that a node needs.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A core loop ended by an error.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl ServeError {
    /// The exit code that says the same.
    pub fn exit(&self) -> Exit {
        use ServeError::{ForeignData, Missing, Store, Volume};
        match self {
            Volume(_) | Missing(_) | ForeignData(_) | Store { .. } => Exit::DataDirectory,
            _ => Exit::Unexpected,
        }
    }

    pub(super) fn log(doing: impl Into<String>) -> impl FnOnce(LogError) -> ServeError {
        let doing = doing.into();
        move |source| ServeError::Log { doing, source }
    }

    pub(super) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ServeError {
        let doing = doing.into();
        move |source| ServeError::System { doing, source }
    }
}

/// Where a node serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Address and port for clients.
    pub address: SocketAddr,
    /// Absolute path of the data directory.
    pub data_dir: PathBuf,
}

/// Serves until SIGTERM or SIGINT. `started` is called once, when clients are answered.
pub fn serve(config: Config, started: impl FnOnce(&Serving)) -> Result<(), ServeError> {
    // First of all: a signal during a long recovery must end the node in good order too.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(ServeError::system("catching signals"))?;
    ringkeeper_engine::io::probe()?;
    let (volume, data_lock) = open_directories(&config)?;
    let no_bind = |source| ServeError::Bind { address: config.listen.to_string(), source };
    let listener = bind_patiently(&config, || signals.pending().next().is_some()).map_err(no_bind)?;
    let address = listener.address().map_err(no_bind)?;
    let serving = Serving { address, data_dir: absolute(&config.data_dir) };

    let handle = signals.handle();
    let mut node = start::start(Plan { config, volume, listener, address }, move || handle.close())?;
    let is_serving = node.wait_until_serving(|| signals.pending().next().is_some())?;
    if !is_serving {
        // What recovery writes is safe against an end at any moment: the process may end under it.
        return Ok(());
    }
    started(&serving);
    // Ends with a signal, or when a loop has ended and closed the handle.
    let _ = signals.forever().next();
    let ended = node.join();
    drop(data_lock);
    ended
}

/// Binds the client port. The sockets of a killed predecessor go away with its ring, which takes a moment: a port that
/// is taken is tried again for a while.
fn bind_patiently(config: &Config, mut told_to_end: impl FnMut() -> bool) -> io::Result<Bound> {
    let mut left = BIND_TRIES;
    loop {
        left -= 1;
        match bind(config) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && left > 0 && !told_to_end() => {
                std::thread::sleep(BIND_PAUSE);
            }
            bound => return bound,
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Opens and locks the log directory, and the data directory if it is another one.
fn open_directories(config: &Config) -> Result<(FsVolume, Option<FsVolume>), ServeError> {
    for dir in [&config.data_dir, &config.data_log_dir] {
        if !config.create_data_dir && !dir.exists() {
            return Err(ServeError::Missing(dir.clone()));
        }
        // Theirs lie in `version-2`, ours directly in the directory: to begin an empty database beside a full
        // one is never what was meant.
        let theirs = dir.join("version-2");
        if theirs.read_dir().is_ok_and(|mut files| files.next().is_some()) {
            return Err(ServeError::ForeignData(theirs));
        }
    }
    let volume = FsVolume::open(&config.data_log_dir)?;
    let other = absolute(&config.data_dir) != absolute(&config.data_log_dir);
    let data = if other { Some(FsVolume::open(&config.data_dir)?) } else { None };
    Ok((volume, data))
}
