//! What goes out: lines of text or of JSON on standard output, progress on standard error.
//!
//! Progress is drawn only where somebody looks at it: on a terminal. Standard output is buffered, so that a dump of
//! millions of lines is not as many system calls.

use std::fmt;
use std::io::{self, BufWriter, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::error::InspectError;

/// Text for people or JSON lines for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines of text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where results go.
pub struct Out<'w> {
    format: Format,
    to: BufWriter<Box<dyn Write + 'w>>,
}

impl fmt::Debug for Out<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("format", &self.format).finish_non_exhaustive()
    }
}

impl<'w> Out<'w> {
    /// Writes to `to`; [`Out::finish`] must be called in the end.
    pub fn new(format: Format, to: impl Write + 'w) -> Out<'w> {
        Out { format, to: BufWriter::with_capacity(64 << 10, Box::new(to)) }
    }

    /// Which of the two.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One result: `text` as a line where it is for people, else `json`.
    pub fn line(
        &mut self,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> Result<(), InspectError> {
        let written = match self.format {
            Format::Text => writeln!(self.to, "{}", text()),
            Format::Json => serde_json::to_writer(&mut self.to, &json())
                .map_err(io::Error::from)
                .and_then(|()| writeln!(self.to)),
        };
        written.map_err(InspectError::Output)
    }

    /// A line for people only.
    pub fn text(&mut self, text: impl fmt::Display) -> Result<(), InspectError> {
        match self.format {
            Format::Text => writeln!(self.to, "{text}").map_err(InspectError::Output),
            Format::Json => Ok(()),
        }
    }

    /// Writes what is still held.
    pub fn finish(mut self) -> Result<(), InspectError> {
        self.to.flush().map_err(InspectError::Output)
    }
}

/// How far the reading has come. Clones are the same bar.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// On standard error, if that is a terminal.
    pub fn on_terminal() -> Progress {
        Progress(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()))
    }

    /// Shown nowhere.
    pub fn none() -> Progress {
        Progress(ProgressBar::hidden())
    }

    /// `bytes` are to be read beside what was announced before.
    pub fn expect(&self, bytes: u64) {
        if self.0.length() == Some(0) {
            let style = "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
            self.0.set_style(ProgressStyle::with_template(style).expect("the template is one"));
        }
        self.0.inc_length(bytes);
    }

    /// `bytes` more were read.
    pub fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Takes the bar off the terminal: before the last results are shown.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
