//! `rkbench snap`: what it takes to send an empty member a snapshot, for three servers of each make.
//!
//! First with the ensemble idle, beside what disk and loopback can do; then while the leader has an open loop of sets at
//! half of its peak, which is compared with the time before the member was started. `forceSnapshotSync=true` sees to it
//! that no leader sends transactions instead.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::join::{Joined, join};
use super::{Ensemble, MEMBERS};
use crate::compare::{align, median, ratio};
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make};
use crate::load::run_on_what_is_there;
use crate::process::Home;
use crate::report::{nice_ns, nice_rate, three_digits};
use crate::snapshots::files::await_whole;
use crate::snapshots::watch::Subject;
use crate::snapshots::{StateArgs, ceilings, half, verdict};
use crate::trace::{Part, Span};

/// Beside what all ensembles here have: a learner gets a snapshot whatever it has, and five minutes for it.
const LINES: &str = "forceSnapshotSync=true\ninitLimit=600\nsyncLimit=60\n";
/// Load after the member was started, in seconds, at least; else as many times what the idle ensemble took.
const LOAD_AFTER: (f64, f64) = (5.0, 4.0);
/// What ringkeeper wants, idle: the least share of the lower ceiling, the most seconds of the leader's CPU per GB, and the
/// most seconds until the member serves.
const IDLE_GOALS: (f64, f64, f64) = (0.6, 0.5, 3.0);
/// And under load: the least share of the rate, and the most of p99.9.
const LOAD_GOALS: (f64, f64) = (0.98, 2.0);

/// Settings of `rkbench snap`.
#[derive(Clone, Debug, Args)]
pub struct SnapArgs {
    /// Who takes part.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Make::Ringkeeper, Make::Apache])]
    pub with: Vec<Make>,
    /// How often a member of each joins, idle and under load.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of load before the member is started.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Sets per second [default: half of what each make's leader reaches in a closed loop of 100 connections x 10].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// What there is.
    #[command(flatten)]
    pub state: StateArgs,
    /// Where the servers come from.
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// A member joined while nothing else happened.
#[derive(Clone, Copy, Debug)]
struct Idle {
    joined: Joined,
    /// Bytes per second.
    disk: f64,
    loopback: f64,
}

/// A member joined under load.
#[derive(Clone, Debug)]
struct Loaded {
    joined: Joined,
    /// Of the time before, from the first byte (or the start, where it is not seen) to the last one, and until it served.
    before: Part,
    sending: Part,
    joining: Part,
    errors: u64,
}

/// All that was measured of a make.
struct Results {
    make: Make,
    idle: Vec<Idle>,
    loaded: Vec<Loaded>,
    rate: u64,
}

/// Starts, plants, lets members join in turn, prints, stops.
pub fn run(args: &SnapArgs) -> Result<(), BenchError> {
    let mut args = SnapArgs { state: args.state.effective(), ..args.clone() };
    if args.state.quick {
        (args.rounds, args.seconds) = (1, 2);
    }
    let home = Home::new(&args.launch.dir)?;
    let mut all = Vec::new();
    for make in &args.with {
        let mut ensemble = Ensemble::start_with(*make, &args.launch, home.path(), LINES)?;
        let leader = ensemble.await_serving(None)?;
        args.state.plant(make.name(), ensemble.client(leader))?;
        await_whole(&ensemble.files(leader), args.state.bytes())?;
        all.push((ensemble, Results { make: *make, idle: Vec::new(), loaded: Vec::new(), rate: 0 }));
    }
    for round in 1..=args.rounds {
        for (ensemble, results) in &mut all {
            results.idle.push(idle(ensemble, &home, round)?);
        }
    }
    for (ensemble, results) in &mut all {
        results.rate = match args.rate {
            Some(rate) => rate,
            None => half(peak(ensemble, &args)?),
        };
    }
    for round in 1..=args.rounds {
        for (ensemble, results) in &mut all {
            results.loaded.push(loaded(ensemble, &args, results, round)?);
        }
    }
    let results: Vec<Results> = all.into_iter().map(|(_, results)| results).collect();
    println!("{}", idle_text(&args.state, &results));
    results.iter().for_each(|results| println!("{}", loaded_text(results)));
    let unseen = |r: &&Results| r.idle.iter().any(|i| i.joined.stored.is_none());
    match results.iter().find(unseen) {
        None => Ok(()),
        Some(results) => {
            let what =
                format!("no snapshot appeared in the directory of a member of {}", results.make.name());
            Err(BenchError::NotSeen { what })
        }
    }
}

/// A whole ensemble at rest: the leader and the member that is to be emptied.
fn at_rest(ensemble: &mut Ensemble) -> Result<(usize, usize), BenchError> {
    let leader = ensemble.await_serving(None)?;
    for n in 0..MEMBERS {
        let pid = ensemble.pid(n).unwrap_or(0);
        Subject { make: ensemble.make, files: ensemble.files(n), pid }.rest()?;
    }
    Ok((leader, (leader + 1) % MEMBERS))
}

/// A member joins while nothing else happens.
fn idle(ensemble: &mut Ensemble, home: &Home, round: u32) -> Result<Idle, BenchError> {
    let (leader, third) = at_rest(ensemble)?;
    ensemble.empty(third)?;
    ensemble.await_serving(Some(third))?;
    let joined = join(ensemble, leader, third)?;
    eprintln!("round {round}, {}, idle: {}", ensemble.name(), brief(&joined));
    let bytes = joined.stored.map_or(0, |(_, bytes)| bytes);
    let (disk, loopback) = (ceilings::disk_write(home.path(), bytes)?, ceilings::loopback(bytes)?);
    Ok(Idle { joined, disk, loopback })
}

fn brief(joined: &Joined) -> String {
    let stored = joined.stored.map_or("not seen to be stored".into(), |(at, bytes)| {
        format!("{} MB stored after {:.2} s", three_digits(bytes as f64 / 1e6), joined.after(at))
    });
    format!("{stored}, serving after {:.2} s", joined.after(joined.serving))
}

/// What the leader of the whole ensemble reaches.
fn peak(ensemble: &mut Ensemble, args: &SnapArgs) -> Result<f64, BenchError> {
    let (leader, _) = at_rest(ensemble)?;
    let seconds = f64::from(args.seconds.min(5));
    let options = args.state.sets(ensemble.client(leader), Vec::new(), None, seconds);
    let peak = run_on_what_is_there(&options)?.recorded.throughput();
    eprintln!("{}: peak {} sets/s at the leader", ensemble.name(), nice_rate(peak));
    Ok(peak)
}

/// A member joins while the leader is written to.
fn loaded(
    ensemble: &mut Ensemble,
    args: &SnapArgs,
    results: &Results,
    round: u32,
) -> Result<Loaded, BenchError> {
    let (leader, third) = at_rest(ensemble)?;
    ensemble.empty(third)?;
    ensemble.await_serving(Some(third))?;
    let idle = results.idle.iter().map(|i| i.joined.after(i.joined.serving)).fold(0.0, f64::max);
    let after = LOAD_AFTER.0.max(LOAD_AFTER.1 * idle);
    let seconds = f64::from(args.seconds);
    let mut options =
        args.state.sets(ensemble.client(leader), Vec::new(), Some(results.rate), seconds + after);
    options.reconnect = true;
    let lead_in = options.warmup + Duration::from_secs_f64(seconds);
    let (joined, report) = thread::scope(|scope| {
        let load = scope.spawn(|| run_on_what_is_there(&options));
        thread::sleep(lead_in);
        let joined = join(ensemble, leader, third);
        (joined, load.join().expect("the generator does not panic"))
    });
    let (joined, report) = (joined?, report?);
    eprintln!("round {round}, {}, under load: {}", ensemble.name(), brief(&joined));
    let trace = report.recorded.trace.as_ref().expect("a run at a rate is traced");
    let part = |from: Instant, to: Instant| trace.during(&[Span { from, to }]);
    let first = joined.receiving.unwrap_or(joined.started);
    let last = joined.written.or(joined.stored.map(|(at, _)| at)).unwrap_or(joined.serving);
    Ok(Loaded {
        before: part(trace.whole().from, joined.started),
        sending: part(first, last),
        joining: part(joined.started, joined.serving),
        errors: report.errors(),
        joined,
    })
}

fn values(all: &[Idle], pick: impl Fn(&Idle) -> Option<f64>) -> Vec<f64> {
    all.iter().filter_map(pick).collect()
}

/// The share of the lower ceiling.
fn share(idle: &Idle) -> Option<f64> {
    Some(idle.joined.rate()? / idle.disk.min(idle.loopback))
}

/// The table of the idle ensembles, and what ringkeeper was wanted to reach.
fn idle_text(state: &StateArgs, all: &[Results]) -> String {
    type Pick = fn(&Idle) -> Option<f64>;
    let rows: [(&str, Pick); 13] = [
        ("snapshot, MB", |i| Some(i.joined.stored?.1 as f64 / 1e6)),
        ("start to the first byte, s", |i| Some(i.joined.after(i.joined.receiving?))),
        ("start to the last byte, s", |i| Some(i.joined.after(i.joined.written?))),
        ("start to the snapshot's name, s", |i| Some(i.joined.after(i.joined.stored?.0))),
        ("start to serving, s", |i| Some(i.joined.after(i.joined.serving))),
        ("first to last byte, MB/s", |i| Some(i.joined.rate()? / 1e6)),
        ("disk writes, MB/s", |i| Some(i.disk / 1e6)),
        ("loopback, MB/s", |i| Some(i.loopback / 1e6)),
        ("share of the lower of both", share),
        ("leader CPU, s", |i| Some(i.joined.leader_cpu_us as f64 / 1e6)),
        ("leader CPU, s per GB", |i| i.joined.leader_s_per_gb()),
        ("sent as a snapshot", |i| Some(i.joined.syncs.snap as f64)),
        ("snapshots the leader made for it", |i| Some(i.joined.leader_made as f64)),
    ];
    let rounds = all.first().map_or(0, |r| r.idle.len());
    let nodes = nice_rate(f64::from(state.nodes));
    let mut head = vec![format!("SNAP of {nodes} znodes x {} B, idle (median of {rounds})", state.size)];
    head.extend(all.iter().map(|r| r.make.name().to_string()));
    let mut lines = vec![head];
    for (name, pick) in rows {
        let mut line = vec![name.to_string()];
        for results in all {
            let mut values = values(&results.idle, pick);
            line.push(if values.is_empty() { "-".into() } else { three_digits(median(&mut values)) });
        }
        lines.push(line);
    }
    let mut out = align(&lines);
    for results in all.iter().filter(|r| r.make == Make::Ringkeeper) {
        let of = |pick: Pick| median(&mut values(&results.idle, pick));
        let (least, cpu, serves) = IDLE_GOALS;
        // Not a number where nothing was seen, which meets nothing.
        for (what, is, met) in [
            (format!("share of the lower at least {least}"), of(share), of(share) >= least),
            (
                format!("leader CPU at most {cpu} s per GB"),
                of(|i| i.joined.leader_s_per_gb()),
                of(|i| i.joined.leader_s_per_gb()) <= cpu,
            ),
            (
                format!("serving within {serves} s"),
                of(|i| Some(i.joined.after(i.joined.serving))),
                of(|i| Some(i.joined.after(i.joined.serving))) <= serves,
            ),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "wanted: {what}, is {is:.2}: {}", verdict(met));
        }
    }
    out
}

/// The table of a make under load, and what ringkeeper was wanted to reach.
fn loaded_text(results: &Results) -> String {
    type Pick = fn(&Part) -> f64;
    type Show = fn(f64) -> String;
    let ns: Show = |v| nice_ns(v as u64);
    let rows: [(&str, Pick, Show); 6] = [
        ("seconds", |p| p.seconds, three_digits),
        ("acknowledged/s", Part::rate, nice_rate),
        ("worst 100 ms, acknowledged/s", |p| p.worst().unwrap_or(0.0), nice_rate),
        ("p99", |p| p.latency(0.99), ns),
        ("p99.9", |p| p.latency(0.999), ns),
        ("longest", |p| p.latency(1.0), ns),
    ];
    let (name, rate, rounds) = (results.make.name(), nice_rate(results.rate as f64), results.loaded.len());
    let head = [
        format!("{name}, {rate} sets/s at the leader (median of {rounds})"),
        "before".into(),
        "first to last byte".into(),
        "start to serving".into(),
        "ratio".into(),
        "ratio".into(),
    ];
    let column = |which: fn(&Loaded) -> &Part, pick: Pick| {
        results.loaded.iter().map(|l| pick(which(l))).collect::<Vec<f64>>()
    };
    let mut lines = vec![head.to_vec()];
    for (name, pick, show) in rows {
        let columns =
            [column(|l| &l.before, pick), column(|l| &l.sending, pick), column(|l| &l.joining, pick)];
        let mut line = vec![name.to_string()];
        line.extend(columns.iter().map(|values| show(median(&mut values.clone()))));
        let ratios = columns[1..].iter().map(|values| ratio(values, &columns[0]));
        line.extend(ratios.map(|r| r.map_or("-".into(), |r| format!("{r:.2}"))));
        lines.push(line);
    }
    let mut out = align(&lines);
    let errors: u64 = results.loaded.iter().map(|l| l.errors).sum();
    let each: Vec<String> = results.loaded.iter().map(|l| brief(&l.joined)).collect();
    let _ = writeln!(out, "errors: {errors}; {}", each.join("; "));
    if results.make == Make::Ringkeeper {
        let of = |pick: Pick| ratio(&column(|l| &l.sending, pick), &column(|l| &l.before, pick));
        let (least, most) = LOAD_GOALS;
        let shown = |r: Option<f64>| r.map_or("-".into(), |r| format!("{r:.2}"));
        let (rate, p999) = (of(Part::rate), of(|p| p.latency(0.999)));
        let _ = writeln!(
            out,
            "wanted: at least {least} of the rate, is {}: {}\nwanted: p99.9 at most {most} times, is {}: {}",
            shown(rate),
            verdict(rate.is_some_and(|r| r >= least)),
            shown(p999),
            verdict(p999.is_some_and(|r| r <= most))
        );
    }
    out
}
