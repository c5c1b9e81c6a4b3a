//! Ports for a new ensemble.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

use super::EnsembleError;

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that what is free
/// now is still free when a member binds it, and at the next start.
const FIRST: u16 = 10_000;
const BEHIND_LAST: u16 = 32_000;

/// `needed` consecutive ports from `base` on, free or not.
pub(super) fn from(base: u16, needed: usize) -> Result<Vec<u16>, EnsembleError> {
    let ports: Vec<u16> = (base..=u16::MAX).take(needed).collect();
    if ports.len() < needed { Err(EnsembleError::BasePort { base, needed }) } else { Ok(ports) }
}

/// `needed` different ports that can be bound on the loopback address, consecutive as far as possible.
pub(super) fn free(needed: usize) -> io::Result<Vec<u16>> {
    free_from(fastrand::u16(FIRST..BEHIND_LAST), needed)
}

fn free_from(start: u16, needed: usize) -> io::Result<Vec<u16>> {
    // Held until all are found, so that two who look at the same time find different ones.
    let mut held = Vec::new();
    let mut why_not = io::ErrorKind::AddrInUse.into();
    for port in (start..BEHIND_LAST).chain(FIRST..start) {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => held.push((port, listener)),
            Err(error) => why_not = error,
        }
        if held.len() == needed {
            return Ok(held.iter().map(|&(port, _)| port).collect());
        }
    }
    Err(why_not)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_different_and_can_be_bound() {
        let ports = free(30).unwrap();
        let different: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 30);
        assert!(ports.iter().all(|port| (FIRST..BEHIND_LAST).contains(port)));
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let bound = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        let (taken, _held) =
            (FIRST..BEHIND_LAST).find_map(|port| bound(port).map(|held| (port, held))).unwrap();
        assert!(!free_from(taken, 3).unwrap().contains(&taken));
        assert!(
            !free_from(BEHIND_LAST - 1, usize::from(taken - FIRST) + 3).unwrap().contains(&taken),
            "from the start"
        );
    }

    #[test]
    fn ports_from_a_base_end_at_the_last_port() {
        assert_eq!(from(2181, 3).unwrap(), [2181, 2182, 2183]);
        assert_eq!(from(65_533, 3).unwrap(), [65_533, 65_534, 65_535]);
        assert_eq!(
            from(65_534, 3).unwrap_err().to_string(),
            "--base-port 65534: 3 ports are needed, and there are none above 65535"
        );
    }
}
