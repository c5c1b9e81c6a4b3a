//! A listening port for peers: opened when wished for, tried again when it fails, and really closed in between.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use ringkeeper_engine::io::{ListenerId, Ring};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};

use super::resolve::{Found, Resolver};

/// Connections the kernel queues for us.
const BACKLOG: i32 = 128;
/// Milliseconds until accepting is tried again after it failed, usually for want of descriptors.
const ACCEPT_AGAIN_MS: u64 = 100;

/// A port, open or not.
#[derive(Debug)]
pub(super) struct Port {
    /// For the log.
    what: &'static str,
    host: String,
    port: u16,
    /// On all interfaces instead of the member's own address.
    everywhere: bool,
    /// Milliseconds between two attempts to open it.
    retry_ms: u64,
    wanted: bool,
    open: Option<Open>,
    /// What `Resolver::ask` said, while the name of the address is asked for.
    asked: Option<u64>,
    /// Not before this.
    try_at: u64,
    /// Attempts that failed since it was last open.
    failures: u32,
    accept_at: Option<u64>,
}

#[derive(Debug)]
struct Open {
    id: ListenerId,
    /// The ring's listening socket once more, for closing it at once.
    socket: TcpListener,
}

impl Port {
    pub fn new(what: &'static str, host: &str, port: u16, everywhere: bool, retry_ms: u64) -> Port {
        Port {
            what,
            host: host.to_owned(),
            port,
            everywhere,
            retry_ms,
            wanted: false,
            open: None,
            asked: None,
            try_at: 0,
            failures: 0,
            accept_at: None,
        }
    }

    /// Wishes it open or closed, from the next turn on.
    pub fn want(&mut self, wanted: bool) {
        if self.wanted != wanted {
            self.wanted = wanted;
            (self.asked, self.try_at, self.failures) = (None, 0, 0);
        }
    }

    /// Whether connections of this listener come through this port.
    pub fn owns(&self, listener: ListenerId) -> bool {
        self.open.as_ref().is_some_and(|open| open.id == listener)
    }

    /// Accepting failed: it is tried again in a moment. Connections that stand live on.
    pub fn accept_failed(&mut self, now_ms: u64, error: &io::Error) {
        tracing::warn!("accepting on the {}: {error}; trying again in {ACCEPT_AGAIN_MS} ms", self.what);
        self.accept_at = Some(now_ms + ACCEPT_AGAIN_MS);
    }

    /// Does what is due.
    ///
    /// # Errors
    /// When the port could not be opened this time, with the number of failures in a row. It is tried again.
    pub fn turn(
        &mut self,
        ring: &mut Ring,
        resolver: &mut Resolver,
        now_ms: u64,
    ) -> Result<(), (u32, io::Error)> {
        if let Some(open) = &self.open {
            if !self.wanted {
                self.close(ring);
            } else if self.accept_at.take_if(|at| *at <= now_ms).is_some() {
                ring.resume_accept(open.id);
            }
            return Ok(());
        }
        if !self.wanted || now_ms < self.try_at {
            return Ok(());
        }
        let opened = match self.addresses(resolver) {
            Found::Pending => return Ok(()),
            Found::Failed(error) => Err(error),
            Found::Addresses(addresses) => self.open(ring, &addresses),
        };
        self.asked = None;
        match opened {
            Ok(open) => {
                if self.failures > 0 {
                    tracing::info!("the {} is open after {} attempts", self.what, self.failures + 1);
                }
                (self.open, self.failures) = (Some(open), 0);
                Ok(())
            }
            Err(error) => {
                self.try_at = now_ms + self.retry_ms;
                self.failures += 1;
                Err((self.failures, error))
            }
        }
    }

    fn addresses(&mut self, resolver: &mut Resolver) -> Found {
        if self.everywhere {
            let any = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
            return Found::Addresses(any.to_vec());
        }
        let asked = *self.asked.get_or_insert_with(|| resolver.ask(&self.host));
        resolver.found(&self.host, asked, false)
    }

    fn open(&self, ring: &mut Ring, addresses: &[IpAddr]) -> io::Result<Open> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for &address in addresses {
            match bind(SocketAddr::new(address, self.port)) {
                Ok(socket) => {
                    let twin = socket.try_clone()?;
                    return Ok(Open { id: ring.listen(socket)?, socket: twin });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Closes it at once: nobody connects any more, and the port can be taken again before the ring has let go.
    pub fn close(&mut self, ring: &mut Ring) {
        if let Some(Open { id, socket }) = self.open.take() {
            if let Err(error) = rustix::net::shutdown(&socket, Shutdown::Both) {
                tracing::debug!("closing the {}: {error}", self.what);
            }
            ring.unlisten(id);
        }
        self.accept_at = None;
    }

    /// Where it is open.
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref().and_then(|open| open.socket.local_addr().ok())
    }

    /// When [`Port::turn`] has something to do, if nothing happens.
    pub fn next_deadline(&self) -> Option<u64> {
        match &self.open {
            Some(_) => self.accept_at,
            None => (self.wanted && self.asked.is_none()).then_some(self.try_at),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Taken back although old connections linger in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
