//! Asks a member what it is, with the word `srvr`.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::admin::Mode;

/// No answer is longer than this many bytes.
const LONGEST: u64 = 64 << 10;

/// The mode of the member at `address`; `None` while it does not serve. Every step takes at most `patience`.
///
/// # Errors
/// When nobody answers there.
pub(super) fn ask(address: SocketAddr, patience: Duration) -> io::Result<Option<Mode>> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(b"srvr")?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(mode(&String::from_utf8_lossy(&answer)))
}

/// The mode in the answer to `srvr`.
fn mode(answer: &str) -> Option<Mode> {
    use Mode::{Follower, Leader, Observer, ReadOnly, Standalone};
    let said = answer.lines().find_map(|line| line.strip_prefix("Mode: "))?.trim();
    [Standalone, Leader, Follower, Observer, ReadOnly].into_iter().find(|mode| mode.name() == said)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const LEADER: &str = "Zookeeper version: 3.9.3-ringkeeper-0.1.0, built on 2026-11-21 00:00 UTC\n\
                          Latency min/avg/max: 0/0.0/0\nReceived: 1\nSent: 0\nConnections: 1\nOutstanding: 0\n\
                          Zxid: 0x100000000\nMode: leader\nNode count: 5\nProposal sizes last/min/max: -1/-1/-1\n";

    #[test]
    fn the_mode_stands_in_its_line() {
        assert_eq!(mode(LEADER), Some(Mode::Leader));
        for other in [Mode::Follower, Mode::Observer, Mode::ReadOnly, Mode::Standalone] {
            assert_eq!(mode(&LEADER.replace("leader", other.name())), Some(other));
        }
    }

    #[test]
    fn an_answer_without_a_mode_is_of_a_member_that_does_not_serve() {
        for answer in [
            "This ZooKeeper instance is not currently serving requests\n",
            "srvr is not executed because it is not in the whitelist.\n",
            "Mode: \n",
            "Mode: lead\n",
            "",
        ] {
            assert_eq!(mode(answer), None, "{answer}");
        }
    }

    #[test]
    fn the_word_is_sent_and_the_answer_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"srvr");
            for piece in LEADER.as_bytes().chunks(100) {
                stream.write_all(piece).unwrap();
            }
        });
        assert_eq!(ask(address, Duration::from_secs(60)).unwrap(), Some(Mode::Leader));
        server.join().unwrap();
    }
}
