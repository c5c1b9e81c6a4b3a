//! Runs of `rkinspect`: as the binary that users have, or within the test where there are very many of them.

use std::path::Path;
use std::process::Command;

use clap::Parser;
use ringkeeper_tools::cli::{self, Cli};
use ringkeeper_tools::out::Progress;
use serde_json::Value;

use crate::node::rkinspect;

/// What a run said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code.
    pub code: u8,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// The objects of a run with `--json`.
    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The only object of such a run.
    pub fn only(&self) -> Value {
        let [only] = &self.json()[..] else { panic!("not one object: {self:?}") };
        only.clone()
    }
}

/// Runs the binary.
pub fn run(args: &[&str]) -> Said {
    let output = Command::new(rkinspect()).args(args).output().expect("running rkinspect");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).expect("it ends by itself");
    let said = Said { code, out: text(&output.stdout), err: text(&output.stderr) };
    assert!(!said.err.contains("panicked"), "{args:?}: {}", said.err);
    said
}

/// Does the same without a process of its own.
pub fn ask(args: &[&str]) -> Said {
    let cli = Cli::try_parse_from([&["rkinspect"], args].concat()).expect("a command line that makes sense");
    let mut out = Vec::new();
    let ended = cli::run(&cli, &mut out, &Progress::none());
    let out = String::from_utf8(out).expect("what is said is text");
    match ended {
        Ok(code) => Said { code, out, err: String::new() },
        Err(error) => Said { code: error.exit_code(), out, err: error.to_string() },
    }
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("a path of tests is text")
}
