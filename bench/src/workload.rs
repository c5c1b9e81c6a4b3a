//! What the connections send: a mix of operations over prepared znodes.
//!
//! A request is a template copied to the end of an output buffer, with its xid, its key's digits and a few data
//! bytes patched in place, so that generating one costs some nanoseconds and no allocation.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::wire;

/// A measured operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// getData of a random key.
    Get,
    /// setData of a random key, any version.
    Set,
    /// create of a new znode.
    Create,
    /// exists of a random key.
    Exists,
}

impl Op {
    /// All of them, in the order of their [`Op::index`].
    pub const ALL: [Op; 4] = [Op::Get, Op::Set, Op::Create, Op::Exists];

    /// Position in tables.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word for it on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Op::Get => "get",
            Op::Set => "set",
            Op::Create => "create",
            Op::Exists => "exists",
        }
    }
}

/// How often each operation is chosen. Written `set`, or `get=90,set=10`; `idle` sends nothing but pings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Operations with their weights, each at most once, weights above zero. Empty means idle.
    weights: Vec<(Op, u32)>,
}

/// A mix that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MixError {
    /// Not one of the operations.
    #[error("`{0}` is not an operation; there are get, set, create, exists (and idle, alone)")]
    UnknownOp(String),
    /// Not a positive whole number.
    #[error("the weight `{0}` is not a whole number from 1 to 1000000")]
    Weight(String),
    /// Named twice.
    #[error("`{0}` is named twice")]
    Twice(&'static str),
}

impl Mix {
    /// The mix that sends nothing but pings.
    pub fn idle() -> Mix {
        Mix { weights: Vec::new() }
    }

    /// Sets and nothing else.
    pub fn sets() -> Mix {
        Mix { weights: vec![(Op::Set, 1)] }
    }

    /// Whether `op` can be chosen.
    pub fn has(&self, op: Op) -> bool {
        self.weights.iter().any(|(o, _)| *o == op)
    }

    /// An operation of the mix, which stands for a request that was never generated.
    pub fn first(&self) -> Op {
        self.weights.first().map_or(Op::Get, |(op, _)| *op)
    }

    /// Whether nothing is sent.
    pub fn is_idle(&self) -> bool {
        self.weights.is_empty()
    }

    /// Whether it works on prepared znodes.
    pub fn needs_keys(&self) -> bool {
        self.weights.iter().any(|(op, _)| *op != Op::Create)
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Mix, MixError> {
        let mut weights: Vec<(Op, u32)> = Vec::new();
        if text == "idle" {
            return Ok(Mix { weights });
        }
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let Some(op) = Op::ALL.into_iter().find(|op| op.name() == name) else {
                return Err(MixError::UnknownOp(name.to_string()));
            };
            let weight = match weight.parse::<u32>() {
                Ok(n) if (1..=1_000_000).contains(&n) => n,
                _ => return Err(MixError::Weight(weight.to_string())),
            };
            if weights.iter().any(|(o, _)| *o == op) {
                return Err(MixError::Twice(op.name()));
            }
            weights.push((op, weight));
        }
        Ok(Mix { weights })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weights.as_slice() {
            [] => f.write_str("idle"),
            [(op, _)] => f.write_str(op.name()),
            many => {
                for (i, (op, weight)) in many.iter().enumerate() {
                    write!(f, "{}{}={weight}", if i == 0 { "" } else { "," }, op.name())?;
                }
                Ok(())
            }
        }
    }
}

/// How new znodes are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Naming {
    /// Numbered by the generator.
    Numbered,
    /// Numbered by the server (flag SEQUENTIAL).
    Sequential,
}

/// Names of the znodes of one run.
#[derive(Clone, Debug)]
pub struct Names {
    /// Parent of everything, such as `/rkbench`.
    pub root: String,
    /// Tells the created znodes of this run from those of another.
    pub run: u64,
}

/// Digits in the name of a key or of a numbered znode.
const DIGITS: usize = 10;

impl Names {
    /// Path of key `n`.
    pub fn key(&self, n: u64) -> String {
        format!("{}/k{n:0DIGITS$}", self.root)
    }

    /// Path of the created znode number `n`: what [`Naming::Numbered`] asks for.
    pub fn numbered(&self, n: u64) -> String {
        format!("{}/n{:x}-{n:0DIGITS$}", self.root, self.run)
    }

    /// What a sequential create asks for; the server appends at least ten digits.
    pub fn sequential_prefix(&self) -> String {
        format!("{}/s{:x}-", self.root, self.run)
    }
}

/// Settings of a [`Generator`].
#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    /// What is sent.
    pub mix: Mix,
    /// How many keys were prepared, at least one.
    pub keys: u32,
    /// Bytes of data in each znode.
    pub size: usize,
    /// How creates name their znodes.
    pub naming: Naming,
    /// Seed of the choice of keys and operations.
    pub seed: u64,
}

/// A request with places to patch.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    /// Where the digits of the name begin; `None` for sequential creates.
    digits: Option<usize>,
    /// Where eight bytes of data may be changed.
    stamp: Option<usize>,
}

impl Template {
    fn new(path: &str, digits: bool, data_len: Option<usize>, encode: impl Fn(&mut Vec<u8>)) -> Template {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        // Every request with a path begins: length, xid, opcode, path length, path.
        let path_end = 16 + path.len();
        let stamp = data_len.filter(|len| *len >= 8).map(|_| path_end + 4);
        Template { bytes, digits: digits.then(|| path_end - DIGITS), stamp }
    }

    fn push(&self, out: &mut Vec<u8>, xid: i32, number: u64, stamp: u64) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        let request = &mut out[at..];
        request[4..8].copy_from_slice(&xid.to_be_bytes());
        if let Some(d) = self.digits {
            let mut rest = number;
            for digit in request[d..d + DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        if let Some(s) = self.stamp {
            request[s..s + 8].copy_from_slice(&stamp.to_be_bytes());
        }
    }
}

/// Produces the requests of a run.
#[derive(Debug)]
pub struct Generator {
    rng: fastrand::Rng,
    /// Operations with the running sum of their weights.
    choice: Vec<(Op, u32)>,
    total_weight: u32,
    keys: u32,
    templates: [Template; 4],
    sent: u64,
    created: u64,
}

impl Generator {
    /// A generator for a mix that is not idle.
    pub fn new(options: &WorkloadOptions, names: &Names) -> Generator {
        assert!(options.keys > 0 && !options.mix.is_idle(), "a workload has keys and operations");
        let data = data(options.size);
        let key = names.key(0);
        let fresh = match options.naming {
            Naming::Numbered => names.numbered(0),
            Naming::Sequential => names.sequential_prefix(),
        };
        let flags = if options.naming == Naming::Sequential { 2 } else { 0 };
        let size = Some(options.size);
        let templates = [
            Template::new(&key, true, None, |out| wire::read(out, 0, wire::GET_DATA, &key)),
            Template::new(&key, true, size, |out| wire::set_data(out, 0, &key, &data)),
            Template::new(&fresh, flags == 0, size, |out| wire::create(out, 0, &fresh, &data, flags)),
            Template::new(&key, true, None, |out| wire::read(out, 0, wire::EXISTS, &key)),
        ];
        let mut total_weight = 0;
        let mut choice = Vec::new();
        for (op, weight) in &options.mix.weights {
            total_weight += weight;
            choice.push((*op, total_weight));
        }
        let rng = fastrand::Rng::with_seed(options.seed);
        Generator { rng, choice, total_weight, keys: options.keys, templates, sent: 0, created: 0 }
    }

    /// Appends the next request to `out`.
    #[inline]
    pub fn push(&mut self, xid: i32, out: &mut Vec<u8>) -> Op {
        let op = match self.choice.as_slice() {
            [(op, _)] => *op,
            many => {
                let pick = self.rng.u32(..self.total_weight);
                many.iter().find(|(_, sum)| pick < *sum).map_or(Op::Get, |(op, _)| *op)
            }
        };
        let number = if op == Op::Create {
            self.created += 1;
            self.created - 1
        } else {
            u64::from(self.rng.u32(..self.keys))
        };
        self.sent += 1;
        self.templates[op.index()].push(out, xid, number, self.sent);
        op
    }

    /// How many creates were generated; numbered ones are called 0 up to this.
    pub fn created(&self) -> u64 {
        self.created
    }
}

/// `size` bytes of data that do not compress to nothing.
pub fn data(size: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(0x72_6b);
    std::iter::repeat_with(|| rng.u8(..)).take(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mix: &str) -> WorkloadOptions {
        WorkloadOptions {
            mix: mix.parse().unwrap(),
            keys: 1000,
            size: 100,
            naming: Naming::Numbered,
            seed: 1,
        }
    }

    fn names() -> Names {
        Names { root: "/rkbench".into(), run: 0xabc }
    }

    #[test]
    fn mixes_are_read_and_printed() {
        for text in ["set", "get", "idle", "get=90,set=10", "create=1,exists=2"] {
            assert_eq!(text.parse::<Mix>().unwrap().to_string(), text);
        }
        assert_eq!("put".parse::<Mix>(), Err(MixError::UnknownOp("put".into())));
        assert_eq!("get=0".parse::<Mix>(), Err(MixError::Weight("0".into())));
        assert_eq!("get=1,get=2".parse::<Mix>(), Err(MixError::Twice("get")));
    }

    #[test]
    fn a_patched_request_equals_one_encoded_from_scratch() {
        let mut generator = Generator::new(&options("set"), &names());
        let mut out = vec![0xee; 3];
        assert_eq!(generator.push(77, &mut out), Op::Set);
        let key: u64 = std::str::from_utf8(&out[3 + 16 + 10..3 + 16 + 20]).unwrap().parse().unwrap();
        assert!(key < 1000);
        let mut data = data(100);
        data[..8].copy_from_slice(&1u64.to_be_bytes());
        let mut expected = vec![0xee; 3];
        wire::set_data(&mut expected, 77, &names().key(key), &data);
        assert_eq!(out, expected);
    }

    #[test]
    fn creates_are_numbered_without_gaps() {
        let mut generator = Generator::new(&options("create"), &names());
        for n in 0..3 {
            let mut out = Vec::new();
            generator.push(1, &mut out);
            let path = names().numbered(n);
            assert_eq!(&out[16..16 + path.len()], path.as_bytes());
        }
        assert_eq!(generator.created(), 3);
    }

    #[test]
    fn sequential_creates_leave_the_number_to_the_server() {
        let mut options = options("create");
        options.naming = Naming::Sequential;
        options.size = 0;
        let mut out = Vec::new();
        Generator::new(&options, &names()).push(5, &mut out);
        let mut expected = Vec::new();
        wire::create(&mut expected, 5, "/rkbench/sabc-", b"", 2);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_mix_is_met_and_a_seed_repeats_it() {
        let run = || {
            let mut generator = Generator::new(&options("get=90,set=10"), &names());
            let mut out = Vec::new();
            let mut counts = [0u32; 4];
            for xid in 0..10_000 {
                counts[generator.push(xid, &mut out).index()] += 1;
            }
            (counts, out)
        };
        let (counts, bytes) = run();
        assert!((8_700..9_300).contains(&counts[Op::Get.index()]), "{counts:?}");
        assert_eq!(counts[Op::Get.index()] + counts[Op::Set.index()], 10_000);
        assert_eq!(run(), (counts, bytes));
    }
}
