//! `rkbench snapshot-stall`: what writers notice while a node makes a snapshot.
//!
//! Two nodes of each make with the same znodes and the same open loop of sets at half of the peak: one makes no
//! snapshot, of the other the time counts in which it was seen to make one.

use std::fmt::Write as _;

use clap::Args;

use super::single::Single;
use super::watch::{Made, Watch};
use super::{StateArgs, half, verdict};
use crate::compare::{align, median, ratio};
use crate::error::BenchError;
use crate::launch::{LaunchArgs, Make};
use crate::load::{LoadReport, run_on_what_is_there};
use crate::process::Home;
use crate::report::{nice_ns, nice_rate, three_digits};
use crate::trace::{Part, Span};

/// Transactions and KiB after which the quiet node would make a snapshot. No limit of size, 0, ends Apache 3.8.0.
const NEVER: &str = "snapCount=2000000000\nsnapSizeLimitInKb=1000000000\n";
/// What ringkeeper wants: the least share of the quiet run's worst window, and the most of its p99.9.
const GOALS: (f64, f64) = (0.8, 1.5);

/// Settings of `rkbench snapshot-stall`.
#[derive(Clone, Debug, Args)]
pub struct StallArgs {
    /// Who takes part.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Make::Ringkeeper, Make::Apache])]
    pub with: Vec<Make>,
    /// How often each node is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of each run.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// snapCount of the nodes that make snapshots; 100000 is the default of both makes.
    #[arg(long, default_value_t = 100_000)]
    pub snap_count: u32,
    /// Sets per second [default: half of what each make's quiet node reaches in a closed loop of 100 connections x 10].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// What there is.
    #[command(flatten)]
    pub state: StateArgs,
    /// Where the servers come from.
    #[command(flatten)]
    pub launch: LaunchArgs,
}

impl StallArgs {
    fn effective(&self) -> StallArgs {
        let state = self.state.effective();
        if !state.quick {
            return StallArgs { state, ..self.clone() };
        }
        StallArgs { state, rounds: 1, seconds: 3, snap_count: self.snap_count.min(2000), ..self.clone() }
    }
}

/// The nodes of a make.
struct Pair {
    make: Make,
    quiet: Single,
    snapping: Single,
    rate: u64,
}

/// The figures of one run, or of the part of it that counts.
#[derive(Clone, Debug)]
struct Figures {
    /// The highest rate is asked for, so less than asked for is what counts.
    rate: f64,
    /// In the worst of as many windows as there are with a snapshot.
    worst: Option<f64>,
    /// In the worst window of the whole run.
    worst_of_run: Option<f64>,
    /// p50, p99, p99.9 and the longest, in nanoseconds.
    latencies: [f64; 4],
    /// Cores that the server used in the whole run.
    cores: Option<f64>,
    errors: u64,
}

/// A quiet run, a run with snapshots, and the snapshots.
#[derive(Clone, Debug)]
struct Round {
    quiet: Figures,
    /// None if no snapshot was seen.
    snapping: Option<Figures>,
    made: Vec<Made>,
}

/// Starts, plants, measures in turn, prints, stops.
pub fn run(args: &StallArgs) -> Result<(), BenchError> {
    let args = args.effective();
    let home = Home::new(&args.launch.dir)?;
    let mut pairs = Vec::new();
    for make in &args.with {
        pairs.push(Pair::start(*make, &args, &home)?);
    }
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); pairs.len()];
    for number in 1..=args.rounds {
        for (n, rounds) in rounds.iter_mut().enumerate() {
            // Nobody's snapshot may disturb another's run.
            for node in pairs.iter().flat_map(|pair| [&pair.quiet, &pair.snapping]) {
                node.subject().rest()?;
            }
            let round = pairs[n].round(&args, number)?;
            eprintln!("round {number}, {}: {}", pairs[n].make.name(), brief(&round));
            rounds.push(round);
        }
    }
    let mut unseen = Vec::new();
    for (pair, rounds) in pairs.iter().zip(&rounds) {
        println!("{}", text(pair, &args, rounds));
        if rounds.iter().all(|round| round.snapping.is_none()) {
            unseen.push(pair.make.name());
        }
    }
    if unseen.is_empty() {
        return Ok(());
    }
    let what = format!(
        "no snapshot was seen to be made by {} with snapCount={} in {} runs of {} s: does this version make \
         snapshots, and are there more transactions than that?",
        unseen.join(" or "),
        args.snap_count,
        args.rounds,
        args.seconds
    );
    Err(BenchError::NotSeen { what })
}

impl Pair {
    fn start(make: Make, args: &StallArgs, home: &Home) -> Result<Pair, BenchError> {
        let start = |name: &str, lines: &str| {
            let node = Single::start(make, &args.launch, home.path(), name, lines)?;
            args.state.plant(&format!("{}, {name}", make.name()), node.addr())?;
            Ok::<Single, BenchError>(node)
        };
        let quiet = start("quiet", NEVER)?;
        let snapping = start("snapping", &format!("snapCount={}\n", args.snap_count))?;
        let rate = match args.rate {
            Some(rate) => rate,
            None => {
                let seconds = f64::from(args.seconds.min(5));
                let options = args.state.sets(quiet.addr(), Vec::new(), None, seconds);
                let peak = run_on_what_is_there(&options)?.recorded.throughput();
                eprintln!("{}: peak {} sets/s", make.name(), nice_rate(peak));
                half(peak)
            }
        };
        Ok(Pair { make, quiet, snapping, rate })
    }

    /// Both runs, each first in every other round.
    fn round(&self, args: &StallArgs, number: u32) -> Result<Round, BenchError> {
        let quiet = || self.load(&self.quiet, args);
        let snapping = || {
            let watch = Watch::start(self.snapping.subject());
            let report = self.load(&self.snapping, args)?;
            Ok::<_, BenchError>((report, watch.finish()?))
        };
        let (quiet, (snapping, made)) = if number.is_multiple_of(2) {
            let snapping = snapping()?;
            self.snapping.subject().rest()?;
            (quiet()?, snapping)
        } else {
            (quiet()?, snapping()?)
        };
        Ok(Round::of(&quiet, &snapping, made))
    }

    fn load(&self, node: &Single, args: &StallArgs) -> Result<LoadReport, BenchError> {
        let seconds = f64::from(args.seconds);
        run_on_what_is_there(&args.state.sets(node.addr(), vec![node.pid()], Some(self.rate), seconds))
    }
}

impl Round {
    fn of(quiet: &LoadReport, snapping: &LoadReport, made: Vec<Made>) -> Round {
        let spans = |all: &[Made]| all.iter().map(|made| made.span).collect::<Vec<Span>>();
        let [(quiet_whole, _), (whole, during)] =
            [(quiet, [].as_slice()), (snapping, &spans(&made))].map(|(report, spans)| {
                let trace = report.recorded.trace.as_ref().expect("a run at a rate is traced");
                (trace.during(&[trace.whole()]), trace.during(spans))
            });
        let windows = during.windows.len();
        let snapping = (windows > 0).then(|| Figures::of(snapping, &during, during.worst(), whole.worst()));
        let quiet_worst = quiet_whole.worst_of(if windows > 0 { windows } else { usize::MAX });
        let quiet = Figures::of(quiet, &quiet_whole, quiet_worst, quiet_whole.worst());
        Round { quiet, snapping, made }
    }
}

impl Figures {
    fn of(report: &LoadReport, part: &Part, worst: Option<f64>, worst_of_run: Option<f64>) -> Figures {
        Figures {
            rate: part.rate(),
            worst,
            worst_of_run,
            latencies: [0.5, 0.99, 0.999, 1.0].map(|q| part.latency(q)),
            cores: report.server_cores,
            errors: report.errors(),
        }
    }
}

fn brief(round: &Round) -> String {
    let figures = |f: &Figures| {
        let worst = f.worst.map_or("-".into(), nice_rate);
        format!("worst 100 ms {worst}/s, p99.9 {}", nice_ns(f.latencies[2] as u64))
    };
    let quiet = figures(&round.quiet);
    match &round.snapping {
        Some(snapping) => format!("quiet {quiet}; {} snapshots: {}", round.made.len(), figures(snapping)),
        None => format!("quiet {quiet}; no snapshot was seen"),
    }
}

/// The table of a make, what is known of the snapshots, and what ringkeeper was wanted to reach.
fn text(pair: &Pair, args: &StallArgs, rounds: &[Round]) -> String {
    type Pick = fn(&Figures) -> Option<f64>;
    type Show = fn(f64) -> String;
    let ns: Show = |v| nice_ns(v as u64);
    let rows: [(&str, Pick, Show); 9] = [
        ("acknowledged/s", |f| Some(f.rate), nice_rate),
        ("worst 100 ms, acknowledged/s", |f| f.worst, nice_rate),
        ("the same of the whole run", |f| f.worst_of_run, nice_rate),
        ("p50", |f| Some(f.latencies[0]), ns),
        ("p99", |f| Some(f.latencies[1]), ns),
        ("p99.9", |f| Some(f.latencies[2]), ns),
        ("longest", |f| Some(f.latencies[3]), ns),
        ("server CPU, cores, whole run", |f| f.cores, three_digits),
        ("errors, whole run", |f| Some(f.errors as f64), |v| format!("{v:.0}")),
    ];
    let label = format!(
        "{}, {} znodes x {} B, {} sets/s (median of {})",
        pair.make.name(),
        nice_rate(f64::from(args.state.nodes)),
        args.state.size,
        nice_rate(pair.rate as f64),
        rounds.len()
    );
    let mut lines = vec![vec![label, "quiet".into(), "snapshot".into(), "ratio".into()]];
    for (name, pick, show) in rows {
        let (quiet, snapping) = columns(rounds, pick);
        let shown = |values: &[f64]| {
            if values.is_empty() { "-".into() } else { show(median(&mut values.to_vec())) }
        };
        let ratio = ratio(&snapping, &quiet).map_or("-".into(), |r| format!("{r:.2}"));
        lines.push(vec![name.into(), shown(&quiet), shown(&snapping), ratio]);
    }
    let mut out = align(&lines);
    let made: Vec<&Made> = rounds.iter().flat_map(|round| &round.made).collect();
    out.push_str(&snapshots(&made));
    if pair.make == Make::Ringkeeper {
        out.push_str(&goals(rounds));
    }
    out
}

/// A figure of the rounds in which a snapshot was seen, or of the quiet runs of all if none was: quiet, with snapshot.
fn columns(rounds: &[Round], pick: fn(&Figures) -> Option<f64>) -> (Vec<f64>, Vec<f64>) {
    let both = rounds.iter().filter_map(|r| Some((pick(&r.quiet)?, pick(r.snapping.as_ref()?)?)));
    let (quiet, snapping): (Vec<f64>, Vec<f64>) = both.unzip();
    if snapping.is_empty() {
        return (rounds.iter().filter_map(|r| pick(&r.quiet)).collect(), snapping);
    }
    (quiet, snapping)
}

fn snapshots(made: &[&Made]) -> String {
    let whole: Vec<(f64, f64)> =
        made.iter().filter_map(|m| Some((m.span.length().as_secs_f64(), m.bytes? as f64))).collect();
    let mut seconds: Vec<f64> = whole.iter().map(|(s, _)| *s).collect();
    let mut bytes: Vec<f64> = whole.iter().map(|(_, b)| *b).collect();
    let mut line = format!("snapshots seen: {}, to their end: {}", made.len(), whole.len());
    if !whole.is_empty() {
        let _ = write!(
            line,
            ", {} s and {} MB each",
            three_digits(median(&mut seconds)),
            three_digits(median(&mut bytes) / 1e6)
        );
    }
    line + "\n"
}

fn goals(rounds: &[Round]) -> String {
    let of = |pick| {
        let (quiet, snapping) = columns(rounds, pick);
        ratio(&snapping, &quiet)
    };
    let (Some(worst), Some(p999)) = (of(|f| f.worst), of(|f| Some(f.latencies[2]))) else {
        return "wanted: no ratio, as no snapshot was seen\n".into();
    };
    format!(
        "wanted: worst 100 ms at least {:.2} times the quiet one, is {worst:.2}: {}\n\
         wanted: p99.9 at most {:.2} times the quiet one, is {p999:.2}: {}\n",
        GOALS.0,
        verdict(worst >= GOALS.0),
        GOALS.1,
        verdict(p999 <= GOALS.1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn figures(worst: f64, p999: f64) -> Figures {
        Figures {
            rate: 1000.0,
            worst: Some(worst),
            worst_of_run: Some(worst),
            latencies: [1e6, 1e6, p999, p999],
            cores: None,
            errors: 0,
        }
    }

    fn made(seconds: u64, bytes: Option<u64>) -> Made {
        let from = Instant::now();
        Made { span: Span { from, to: from + Duration::from_secs(seconds) }, bytes }
    }

    fn round(snapping: Option<Figures>) -> Round {
        Round { quiet: figures(1000.0, 2e6), snapping, made: vec![made(2, Some(200_000_000))] }
    }

    #[test]
    fn both_goals_are_judged_by_the_median_of_the_rounds() {
        let rounds = [(790.0, 2e6), (800.0, 3e6), (900.0, 3.1e6)];
        let rounds = rounds.map(|(worst, p999)| round(Some(figures(worst, p999))));
        let said = goals(&rounds);
        assert!(said.contains("is 0.80: met") && said.contains("is 1.50: met"), "{said}");
        assert!(goals(&rounds[..1]).contains("is 0.79: missed"));
        assert!(goals(&rounds[2..]).contains("is 1.55: missed"));
    }

    #[test]
    fn rounds_without_a_snapshot_do_not_count_and_are_no_success() {
        let none = round(None);
        assert!(goals(std::slice::from_ref(&none)).contains("no snapshot was seen"));
        let (quiet, snapping) = columns(&[none.clone(), round(Some(figures(900.0, 2e6)))], |f| f.worst);
        assert_eq!((quiet, snapping), (vec![1000.0], vec![900.0]));
        assert_eq!(columns(&[none], |f| f.worst).0, [1000.0]);
    }

    #[test]
    fn snapshots_are_described_by_those_that_were_ended() {
        let (whole, cut) = (made(2, Some(200_000_000)), made(1, None));
        assert_eq!(
            snapshots(&[&whole, &cut]),
            "snapshots seen: 2, to their end: 1, 2.00 s and 200 MB each\n"
        );
        assert_eq!(snapshots(&[]), "snapshots seen: 0, to their end: 0\n");
    }
}
