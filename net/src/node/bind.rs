//! The listening socket for clients.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::config::Config;

/// Connections the kernel queues for us where the configuration does not say: enough for a fleet of clients that
/// reconnects at once.
const BACKLOG: u32 = 1024;

/// The client port, taken and not yet open: clients are refused and try another server until [`Bound::listen`].
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    backlog: u32,
}

impl Bound {
    /// Where it is bound.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The same port for another loop.
    pub fn try_clone(&self) -> io::Result<Bound> {
        Ok(Bound { socket: self.socket.try_clone()?, backlog: self.backlog })
    }

    /// Opens the port. Loops that share it may each do so.
    pub fn listen(self) -> io::Result<TcpListener> {
        rustix::net::listen(&self.socket, self.backlog.min(i32::MAX as u32) as i32)?;
        Ok(self.socket)
    }
}

/// Binds the client port. With no address given, all interfaces of both families if the host has IPv6.
pub fn bind(config: &Config) -> io::Result<Bound> {
    let port = config.listen.port;
    match config.listen.ip {
        Some(ip) => bind_to(SocketAddr::new(ip, port), config),
        None => bind_to(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port), config).or_else(|error| {
            match error.raw_os_error() {
                Some(errno) if errno == rustix::io::Errno::AFNOSUPPORT.raw_os_error() => {
                    bind_to(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), config)
                }
                _ => Err(error),
            }
        }),
    }
}

fn bind_to(address: SocketAddr, config: &Config) -> io::Result<Bound> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A restarted node takes its port back although old connections linger in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if config.tcp_keep_alive {
        // Linux hands the option on to accepted sockets.
        sockopt::set_socket_keepalive(&socket, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(Bound { socket: TcpListener::from(socket), backlog: config.listen_backlog.unwrap_or(BACKLOG) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;
    use std::net::TcpStream;

    #[test]
    fn all_interfaces_take_both_families_and_a_taken_port_is_refused() {
        let config = Config { listen: Listen { ip: None, port: 0 }, ..Config::embedded() };
        let bound = bind(&config).expect("a free port");
        let port = bound.address().expect("bound").port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("the port is not open yet");
        let _listener = bound.listen().expect("opened");
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4 is served");
        let again = Config { listen: Listen { ip: None, port }, ..Config::embedded() };
        let error = bind(&again).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
