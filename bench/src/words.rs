//! Four-letter words: what a server says of itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::BenchError;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks one word and returns the whole answer.
pub fn ask(peer: SocketAddr, word: &str) -> Result<String, BenchError> {
    let socket = |doing| move |source| BenchError::Socket { doing, peer, source };
    let mut stream = TcpStream::connect_timeout(&peer, PATIENCE).map_err(socket("connecting to"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(socket("configuring the socket to"))?;
    stream.write_all(word.as_bytes()).map_err(socket("sending to"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(socket("receiving from"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The part a server plays, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `leader`, `follower`, `observer`, `standalone` or `read-only`.
    pub mode: String,
    /// Of the last transaction that it applied.
    pub zxid: u64,
}

/// Reads the answer to `srvr`; `None` from a server that does not serve.
pub fn parse_srvr(answer: &str) -> Option<Standing> {
    let field = |name| answer.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let zxid = u64::from_str_radix(field("Zxid: 0x")?, 16).ok()?;
    Some(Standing { mode: field("Mode: ")?.into(), zxid })
}

/// A figure in the answer to `mntr`.
pub fn parse_mntr(answer: &str, key: &str) -> Option<f64> {
    let value = answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_read_and_a_server_that_does_not_serve_has_none() {
        let answer = "Zookeeper version: 3.8.0\nLatency min/avg/max: 0/0.0/0\nOutstanding: 0\n\
                      Zxid: 0x10000001f\nMode: follower\nNode count: 5\n";
        let standing = Standing { mode: "follower".into(), zxid: 0x1_0000_001f };
        assert_eq!(parse_srvr(answer), Some(standing));
        assert_eq!(parse_srvr("This ZooKeeper instance is not currently serving requests\n"), None);
    }

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let answer = "zk_synced_followers_x\t7\nzk_synced_followers\t2\nzk_avg\t0.5\nzk_version\t3.8.0\n";
        assert_eq!(parse_mntr(answer, "zk_synced_followers"), Some(2.0));
        assert_eq!(parse_mntr(answer, "zk_avg"), Some(0.5));
        assert_eq!(parse_mntr(answer, "zk_version"), None);
        assert_eq!(parse_mntr(answer, "zk"), None);
    }
}
