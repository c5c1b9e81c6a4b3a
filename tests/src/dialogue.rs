//! A conversation with an interactive program: say a line, wait for the answer, and only then say the next.

use std::io::{PipeReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use crate::node::DEADLINE;

/// The running program. Killed on drop.
#[derive(Debug)]
pub struct Dialogue {
    child: Child,
    output: Receiver<Vec<u8>>,
    transcript: String,
    /// How much of the transcript earlier expectations have used up.
    heard: usize,
}

impl Dialogue {
    /// Starts the program with standard output and standard error in one stream.
    pub fn start(mut command: Command) -> Dialogue {
        let (reader, writer) = std::io::pipe().expect("creating a pipe");
        command.stdin(Stdio::piped()).stdout(writer.try_clone().expect("doubling a pipe")).stderr(writer);
        let child = command.spawn().unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
        // Drops the command's copies of the writing end: the end of the program ends the stream.
        drop(command);
        let (sender, output) = channel();
        std::thread::spawn(move || pump(reader, |chunk| sender.send(chunk).is_ok()));
        Dialogue { child, output, transcript: String::new(), heard: 0 }
    }

    /// Types one line.
    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("standard input is a pipe");
        let said = stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush());
        said.unwrap_or_else(|e| panic!("saying {line:?}: {e}\n{}", self.transcript));
        self.transcript.push_str(&format!("> {line}\n"));
        self.heard = self.transcript.len();
    }

    /// Waits until this text appears behind what was expected before.
    pub fn expect(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.transcript[self.heard..].find(text) {
                self.heard += at + text.len();
                return;
            }
            match self.output.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
                Ok(chunk) => self.transcript.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Disconnected) => panic!("ended before {text:?}:\n{}", self.transcript),
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?}:\n{}", self.transcript),
            }
        }
    }

    /// Says a line and waits for these texts in order.
    pub fn ask(&mut self, line: &str, answers: &[&str]) {
        self.say(line);
        for answer in answers {
            self.expect(answer);
        }
    }

    /// Says the line that ends the program, and waits for its end.
    pub fn quit(mut self, line: &str) {
        self.say(line);
        let status = self.child.wait().expect("waiting for a child");
        assert!(status.success(), "{status}:\n{}", self.transcript);
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pump(mut reader: PipeReader, mut deliver: impl FnMut(Vec<u8>) -> bool) {
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = reader.read(&mut chunk) {
        if !deliver(chunk[..n].to_vec()) {
            return;
        }
    }
}
