//! Starts the threads of a node: the replica loop, the front loops, the housekeeper.
//!
//! Each loop makes its ring on its own thread (a ring belongs to its thread), hands out its waker and receives
//! the parts that join it to the others. The replica loop recovers the data first; only then do fronts accept.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringkeeper_engine::io::{FsVolume, Ring, RingOptions, Waker};
use ringkeeper_engine::log::LogOptions;
use ringkeeper_engine::store::{self, OnDamage};

use super::bind::Bound;
use super::clock::Clock;
use super::ensemble;
use super::front::{Census, Front, FrontLimits};
use super::housekeeper::Housekeeper;
use super::link::{self, Bell, ToFronts, ToReplica};
use super::output::Outputs;
use super::replica::Replica;
use super::serve::ServeError;
use super::single::SingleLoop;
use super::split::{FrontLoop, ReplicaLoop};
use super::words::Words;
use crate::admin::{Observed, Settings};
use crate::client::{AuthOptions, Options, Service};
use crate::config::Config;
use crate::member::{EnsembleParts, Fatal, Member, Parts};
use crate::pipeline::{PipeReader, PipeWriter, pipe};

/// How often a node that reads its data back looks whether it is told to end.
const LOOK_FOR_SIGNALS: Duration = Duration::from_millis(50);
/// Bytes of transactions that a member keeps in memory for learners that come late.
const WINDOW: usize = 16 << 20;
/// Least bytes of a pipe between two loops.
const PIPE: usize = 4 << 20;

/// What a node is made of before its threads.
#[derive(Debug)]
pub struct Plan {
    /// Settings.
    pub config: Config,
    /// The locked directory of the log.
    pub volume: FsVolume,
    /// Where clients connect.
    pub listener: Bound,
    /// Its address.
    pub address: SocketAddr,
}

/// The threads of a node.
#[derive(Debug)]
pub struct Node {
    /// Set to end the node; [`Node::join`] wakes the loops so that they see it.
    stop: Arc<AtomicBool>,
    wakers: Vec<Waker>,
    loops: Vec<JoinHandle<Result<(), ServeError>>>,
    /// Says when the replica loop serves; closed if it ends before.
    serving: mpsc::Receiver<()>,
    /// What the front loops wait for until the replica serves.
    fronts: Vec<(mpsc::Sender<FrontParts>, FrontParts)>,
}

/// What joins a front loop to the replica loop.
#[derive(Debug)]
struct FrontParts {
    front: Front,
    up: ToReplica,
    answers: PipeReader,
    bell: Arc<Bell>,
    listener: Bound,
}

/// What joins the replica loop to its clients.
enum ReplicaParts {
    Alone { front: Box<Front>, listener: Bound },
    WithFronts { events: Vec<PipeReader>, fronts: ToFronts, bell: Arc<Bell> },
}

/// Starts all threads. `on_end` is called by every loop that ends, for whatever reason.
pub fn start(plan: Plan, on_end: impl Fn() + Clone + Send + 'static) -> Result<Node, ServeError> {
    let Plan { config, volume, listener, address } = plan;
    let stop = Arc::new(AtomicBool::new(false));
    let clock = Clock::start();
    let cores = config.loops.cores.clone();
    let fronts = config.loops.fronts;
    let limits = FrontLimits {
        max_frame: config.max_request_bytes as usize,
        per_address: config.max_connections_per_address as usize,
        total: config.max_connections as usize,
        max_unsent: config.max_unsent_bytes as usize,
    };
    let census = Arc::new(Census::default());
    let pipe_bytes = PIPE.max(2 * limits.max_frame + 1024);

    let lock = || volume.lock().map_err(ServeError::system("sharing the lock of the data directory"));
    let (serving_now, serving) = mpsc::channel();
    let mut locks = (0..fronts).map(|_| lock()).collect::<Result<Vec<_>, _>>()?;
    let replica = {
        let (config, stop, refusals) = (config.clone(), stop.clone(), census.clone());
        let mut options = RingOptions::default();
        if fronts > 0 && config.ensemble.is_none() {
            options.receive_buffers = 0;
        }
        let lock = lock()?;
        spawn("replica", cores.first().copied(), options, lock, on_end.clone(), move |mut ring, parts| {
            let replica = recover(&config, Arc::new(volume), address, refusals, &mut ring, clock)?;
            let _ = serving_now.send(());
            match parts {
                ReplicaParts::Alone { front, listener } => {
                    Ok(SingleLoop { ring, front: *front, replica, clock, stop }.run(listener)?)
                }
                ReplicaParts::WithFronts { events, fronts, bell } => {
                    Ok(ReplicaLoop { ring, replica, events, fronts, bell, clock, stop }.run()?)
                }
            }
        })?
    };
    let mut node = Node {
        stop: stop.clone(),
        wakers: vec![replica.waker.clone()],
        loops: vec![replica.thread],
        serving,
        fronts: Vec::new(),
    };
    if fronts == 0 {
        let front = Box::new(Front::new(0, limits, census, Outputs::default()));
        let _ = replica.parts.send(ReplicaParts::Alone { front, listener });
        return Ok(node);
    }
    let replica_bell = link::bell(replica.waker);
    let (mut events, mut to_fronts) = (Vec::new(), ToFronts::default());
    for index in 0..fronts {
        let stop = stop.clone();
        let name = format!("front-{index}");
        let body = move |ring, FrontParts { front, up, answers, bell, listener }| {
            Ok(FrontLoop { ring, front, up, answers, bell, clock, stop, untold: false }.run(listener)?)
        };
        let core = cores.get(index + 1).copied();
        let front = spawn(
            &name,
            core,
            RingOptions::default(),
            locks.pop().expect("one for each front"),
            on_end.clone(),
            body,
        )?;
        let bell = link::bell(front.waker.clone());
        let ((up, up_reader), (down, answers)): ((PipeWriter, PipeReader), _) =
            (pipe(pipe_bytes), pipe(pipe_bytes));
        events.push(up_reader);
        to_fronts.add(down, bell.clone());
        let parts = FrontParts {
            front: Front::new(index as u16, limits.clone(), census.clone(), Outputs::noting_fullness()),
            up: ToReplica::new(up, replica_bell.clone()),
            answers,
            bell,
            listener: listener
                .try_clone()
                .map_err(ServeError::system("sharing the client port among loops"))?,
        };
        node.wakers.push(front.waker);
        node.loops.push(front.thread);
        node.fronts.push((front.parts, parts));
    }
    let parts = ReplicaParts::WithFronts { events, fronts: to_fronts, bell: replica_bell };
    let _ = replica.parts.send(parts);
    Ok(node)
}

impl Node {
    /// Waits until clients are answered; `false` if `told_to_end` said so before.
    pub fn wait_until_serving(&mut self, mut told_to_end: impl FnMut() -> bool) -> Result<bool, ServeError> {
        loop {
            match self.serving.recv_timeout(LOOK_FOR_SIGNALS) {
                Ok(()) => break,
                Err(mpsc::RecvTimeoutError::Timeout) if told_to_end() => return Ok(false),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.fronts.clear();
                    return self.join().map(|()| false);
                }
            }
        }
        for (channel, parts) in self.fronts.drain(..) {
            let _ = channel.send(parts);
        }
        Ok(true)
    }

    /// Stops all loops and waits for them; the first error of one is returned.
    pub fn join(&mut self) -> Result<(), ServeError> {
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        let mut outcome = Ok(());
        for thread in self.loops.drain(..) {
            let ended = thread.join().expect("a panic ends the process, so no thread can have panicked");
            outcome = outcome.and(ended);
        }
        outcome
    }
}

/// A loop's thread that has made its ring and waits for its parts.
struct Spawned<P> {
    waker: Waker,
    parts: mpsc::Sender<P>,
    thread: JoinHandle<Result<(), ServeError>>,
}

fn spawn<P: Send + 'static>(
    name: &str,
    core: Option<usize>,
    options: RingOptions,
    lock: File,
    on_end: impl Fn() + Send + 'static,
    body: impl FnOnce(Ring, P) -> Result<(), ServeError> + Send + 'static,
) -> Result<Spawned<P>, ServeError> {
    let (parts, inbox) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let run = move || {
        let ring = match make_ring(core, &options, lock) {
            Ok(ring) => ring,
            Err(error) => {
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        let _ = ready.send(Ok(ring.waker()));
        // Closed without parts: the node ends before it has begun.
        let outcome = inbox.recv().map_or(Ok(()), |parts| body(ring, parts));
        on_end();
        outcome
    };
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    let thread = thread.map_err(ServeError::system(format!("starting the thread {name}")))?;
    let waker = is_ready.recv().expect("a loop reports its ring or why it has none")?;
    Ok(Spawned { waker, parts, thread })
}

/// Makes a loop's ring, on the loop's own thread. The lock of the data directory outlives it.
fn make_ring(core: Option<usize>, options: &RingOptions, lock: File) -> Result<Ring, ServeError> {
    pin(core)?;
    let mut ring = Ring::with_options(options)?;
    ring.hold(lock).map_err(ServeError::system("holding the lock of the data directory"))?;
    Ok(ring)
}

/// Binds the calling thread to a core.
fn pin(core: Option<usize>) -> Result<(), ServeError> {
    let Some(core) = core else { return Ok(()) };
    let mut set = rustix::thread::CpuSet::new();
    if core < rustix::thread::CpuSet::MAX_CPU {
        set.set(core);
    }
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| {
        ServeError::system(format!("binding a loop to core {core} (ringkeeper.cores)"))(error.into())
    })
}

/// Reads the data back and puts the replica together.
fn recover(
    config: &Config,
    volume: Arc<FsVolume>,
    address: SocketAddr,
    census: Arc<Census>,
    ring: &mut Ring,
    clock: Clock,
) -> Result<Replica, ServeError> {
    let dir = config.data_log_dir.clone();
    let failed = |source| ServeError::Store { dir: dir.clone(), source };
    let mut random = fastrand::Rng::new();
    let tree_seed = random.u64(..);
    let member = config.ensemble.as_ref();
    let trust = member.map(|member| ensemble::trust(config, member));
    let log_options = LogOptions {
        segment_bytes: config.log_segment_bytes,
        in_flight: usize::from(config.commits_in_flight),
        sync: config.force_sync,
        begin_nonvoting: member.is_some(),
        window_bytes: if member.is_some() { WINDOW } else { 0 },
        ..LogOptions::new(random.u64(..))
    };
    let on_damage = if member.is_some() { OnDamage::SetAside } else { OnDamage::Refuse };
    let mut store = store::open(&volume, log_options, tree_seed, on_damage).map_err(failed)?;
    let report = &store.report;
    if let Some(torn) = &report.torn {
        tracing::warn!("{torn}");
    }
    if let Some(set_aside) = &report.set_aside {
        tracing::error!(
            "{set_aside}. This member begins anew and does not vote before a leader has brought it up to date"
        );
    }
    for damaged in &report.damaged_snapshots {
        tracing::error!("{damaged}. Nothing is lost: the log stood in for it");
    }
    if let Some(gap) = &report.gap {
        tracing::warn!("{gap}");
    }
    if report.epochs_lost {
        tracing::error!(
            "the file `epochs` was lost: this server does not know what it has promised. A member does not vote before a \
             leader has brought it up to date"
        );
    }
    tracing::info!(
        snapshot = %store.snapshot, transactions = report.records, last = %report.last, segments = report.segments, generation = report.generation,
        took_ms = store.took.as_millis() as u64, ring = %ring.features(), "the data is read back"
    );
    match store.log.prepare(&volume) {
        Ok(()) => {}
        Err(source) if store.report.created => return Err(failed(source.into())),
        // What is there can be read, and the housekeeper tries again.
        Err(error) => tracing::error!("no spare log segment at the start: {error}"),
    }
    if let Some(trust) = &trust {
        ensemble::settle_trust(&mut store, &volume, trust)?;
    }
    let waker = ring.waker();
    let housekeeper = Housekeeper::start(volume.clone(), move || waker.wake())
        .map_err(ServeError::system("starting the housekeeper"))?;
    let took = store.took.as_micros() as u64;
    let now = clock.now();
    let voters = member.map(|member| member.quorum.voters().collect()).unwrap_or_default();
    let words = Words::new(config.words, Settings::new(config, address.port()), voters, census, now);
    let options = Options { max_txn_bytes: store.log.max_record(), ..service_options(config) };
    let birth = ensemble::birth(&store, random.u64(..));
    let mut service = Service::new(store.tree, store.sessions, store.last_zxid, options, now);
    service.metrics.record(Observed::DbInitTime, took);
    service.metrics.record(Observed::ReplayTime, took);
    service.metrics.record(Observed::ReplayedTxns, store.report.records);
    let (snapshots, replayed) = (config.snapshots, store.report.records);
    let parts = Parts { service, log: store.log, volume: Box::new(volume), tree_seed, snapshots, replayed };
    let (member, peers) = match member {
        None => (Member::alone(parts, now), None),
        Some(ensemble) => {
            let mut peers = ensemble::peers(ensemble, ring.waker())?;
            peers.start(ring, now.mono_ms).map_err(Fatal::Peers)?;
            let ensemble = EnsembleParts {
                zab: ensemble::zab_config(ensemble, config.tick_ms),
                birth,
                config_text: ensemble.config_text.clone(),
                max_packet: (config.max_request_bytes + config.max_request_extra_bytes) as usize,
                snapshot_size_factor: ensemble.snapshot_size_factor,
            };
            (Member::in_ensemble(parts, ensemble, now)?, Some(peers))
        }
    };
    Ok(Replica::new(member, peers, housekeeper, words, config.fsync_warning))
}

fn service_options(config: &Config) -> Options {
    Options {
        server_id: config.ensemble.as_ref().map_or(1, |ensemble| ensemble.me.0 as u8),
        read_only: config.ensemble.as_ref().is_some_and(|ensemble| ensemble.read_only_mode),
        leader_serves: config.ensemble.as_ref().is_none_or(|ensemble| ensemble.leader_serves),
        tick_ms: config.tick_ms,
        min_session_timeout_ms: config.min_session_timeout_ms.unsigned_abs(),
        max_session_timeout_ms: config.max_session_timeout_ms.unsigned_abs(),
        handshake_timeout_ms: config.sessionless_timeout_ms,
        auth: AuthOptions {
            super_digest: config.super_digest.as_ref().map(|digest| digest.0.clone()),
            skip_acl: !config.check_acls,
            ..AuthOptions::default()
        },
        digest: config.digest,
        extended_types: config.extended_types,
        max_reply_bytes: config.max_reply_bytes as usize,
        ..Options::default()
    }
}
