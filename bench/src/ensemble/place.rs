//! Ports and `zoo.cfg` of the members of an ensemble on this machine.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use crate::error::BenchError;

/// Ports are looked for here: below the range from which the kernel takes the ports of outgoing connections, one of
/// which could otherwise have a member's port while that member is killed and started again.
const RANGE: Range<u16> = 12_000..32_000;
/// How many ports may be found in use.
const TRIES: usize = 1000;

/// The ports of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub client: u16,
    pub quorum: u16,
    pub election: u16,
}

/// Ports that nobody listens on at the moment, all different, for as many members.
pub(crate) fn free_ports(members: usize) -> Result<Vec<Ports>, BenchError> {
    let mut held = Vec::new();
    let mut last = std::io::ErrorKind::AddrInUse.into();
    for _ in 0..TRIES {
        if held.len() == 3 * members {
            break;
        }
        match TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(RANGE))) {
            // Held until all are found, so that none is found twice.
            Ok(listener) => held.push(listener),
            Err(e) => last = e,
        }
    }
    let ports = held.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<Vec<u16>, _>>();
    match ports {
        Ok(ports) if ports.len() == 3 * members => {
            Ok(ports.chunks_exact(3).map(|p| Ports { client: p[0], quorum: p[1], election: p[2] }).collect())
        }
        Ok(_) => Err(BenchError::Os { doing: "looking for free ports", source: last }),
        Err(source) => Err(BenchError::Os { doing: "looking for free ports", source }),
    }
}

/// The `zoo.cfg` of member `n`, from 0, without its directory. `maxClientCnxns=0` because all connections come from one
/// address (the default is 60); `mntr` is not answered by default.
pub(super) fn config(n: usize, ports: &[Ports]) -> String {
    let mut text = format!(
        "tickTime=500\ninitLimit=10\nsyncLimit=5\nclientPortAddress=127.0.0.1\nclientPort={}\nmaxClientCnxns=0\n\
         4lw.commands.whitelist=srvr,mntr\n",
        ports[n].client
    );
    for (i, p) in ports.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "server.{}=127.0.0.1:{}:{}", i + 1, p.quorum, p.election);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let ports = free_ports(3).unwrap();
        let mut all: Vec<u16> = ports.iter().flat_map(|p| [p.client, p.quorum, p.election]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9);
        assert!(all.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn each_member_has_its_client_port_and_knows_all() {
        let ports = [1, 4, 7].map(|n| Ports { client: n, quorum: n + 1, election: n + 2 });
        let text = config(1, &ports);
        assert!(text.contains("\nclientPort=4\n"), "{text}");
        assert!(text.ends_with("server.1=127.0.0.1:2:3\nserver.2=127.0.0.1:5:6\nserver.3=127.0.0.1:8:9\n"));
    }
}
