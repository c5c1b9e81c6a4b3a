//! Lets a process end with the one that started it.
//!
//! The parent holds the writing end of a pipe that is the child's standard input. Whatever ends the parent, SIGKILL
//! included, the kernel closes that end, and the child reads the end of its input. Nothing can be missed and no other
//! process can be hit, which is what speaks against asking the kernel for a signal at the parent's death: that is tied
//! to a thread of the parent and is lost if the parent dies before the child asks.

use std::{
    io::{self, Read},
    thread,
};

use rustix::process::{Signal, getpid, kill_process};

/// Sends this process SIGTERM when its standard input ends.
///
/// # Errors
/// When no thread can be started.
pub fn end_with_stdin() -> io::Result<()> {
    let watch = || {
        wait_for_end(io::stdin().lock());
        tracing::info!("the standard input has ended, and so does this node");
        // To ourselves, which cannot fail.
        let _ = kill_process(getpid(), Signal::TERM);
    };
    thread::Builder::new().name("tether".into()).spawn(watch).map(drop)
}

/// Reads and forgets what comes.
fn wait_for_end(mut input: impl Read) {
    let mut scrap = [0; 256];
    loop {
        match input.read(&mut scrap) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_the_end_of_the_input_counts() {
        let (mut parent, child) = UnixStream::pair().unwrap();
        let waiting = thread::spawn(move || wait_for_end(child));
        io::Write::write_all(&mut parent, &[7; 1000]).unwrap();
        drop(parent);
        waiting.join().unwrap();
    }
}
