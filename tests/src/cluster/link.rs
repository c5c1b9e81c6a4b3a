//! Links between members that can be cut, held and healed: a relay in user space.
//!
//! Each member is told that the others listen at ports of this relay, one pair of ports (quorum, election) for each
//! ordered pair of members, so the relay knows who speaks to whom, whoever opened the connection. One thread owns
//! all sockets. A command is carried out before the call that gave it returns: what a test does next happens on the
//! other side of the fault.
//!
//! - *cut*: connections are reset at once, and new ones as soon as they come.
//! - *held*, one direction at a time: bytes stay where they are, as in a network that loses every packet. The
//!   connection looks alive from both ends. Nothing is lost: after the heal the bytes arrive, late.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::cluster::Sid;

/// Which of a member's two ports for other members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// Learners connect to their leader.
    Quorum,
    /// Everybody connects to everybody with a smaller sid.
    Election,
}

/// Most bytes of one direction that wait in the relay itself.
const CHUNK: usize = 128 * 1024;

enum Command {
    Cut(Sid, Sid),
    Hold(Sid, Sid),
    Heal(Sid, Sid),
    End,
}

/// The relay of one cluster. Ends on drop.
#[derive(Debug)]
pub struct Links {
    doors: HashMap<(Sid, Sid, Port), SocketAddr>,
    commands: Sender<(Command, Sender<()>)>,
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Links {
    /// Opens the ports. `targets` are the members' real addresses.
    pub fn open(targets: &[(Sid, Port, SocketAddr)]) -> Links {
        let sids: BTreeSet<Sid> = targets.iter().map(|t| t.0).collect();
        let mut doors = HashMap::new();
        let mut listeners = Vec::new();
        for &(to, port, target) in targets {
            for &from in sids.iter().filter(|from| **from != to) {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("opening a relay's port");
                listener.set_nonblocking(true).expect("making a socket non-blocking");
                doors.insert((from, to, port), listener.local_addr().expect("the address of a listener"));
                listeners.push(Door { from, to, listener, target });
            }
        }
        let (commands, inbox) = channel();
        let (bell, ear) = UnixStream::pair().expect("creating a pair of sockets");
        ear.set_nonblocking(true).expect("making a socket non-blocking");
        let relay = Relay {
            doors: listeners,
            connections: Vec::new(),
            cut: BTreeSet::new(),
            held: BTreeSet::new(),
            inbox,
            ear,
        };
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || relay.run())
            .expect("starting the relay");
        Links { doors, commands, bell, thread: Some(thread) }
    }

    /// Where `from` finds this port of `to`.
    pub fn door(&self, from: Sid, to: Sid, port: Port) -> SocketAddr {
        self.doors[&(from, to, port)]
    }

    /// Resets what the two have open, and all they open from now on.
    pub fn cut(&self, a: Sid, b: Sid) {
        self.command(Command::Cut(a, b));
    }

    /// Holds back the bytes that `from` sends to `to`, and all new connections between the two.
    pub fn hold(&self, from: Sid, to: Sid) {
        self.command(Command::Hold(from, to));
    }

    /// Ends every fault between the two. What was held arrives.
    pub fn heal(&self, a: Sid, b: Sid) {
        self.command(Command::Heal(a, b));
    }

    fn command(&self, command: Command) {
        let (done, wait) = channel();
        self.commands.send((command, done)).expect("the relay runs");
        (&self.bell).write_all(&[1]).expect("waking the relay");
        wait.recv().expect("the relay runs");
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let (done, _) = channel();
        let _ = self.commands.send((Command::End, done));
        let _ = (&self.bell).write_all(&[1]);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Door {
    from: Sid,
    to: Sid,
    listener: TcpListener,
    target: SocketAddr,
}

/// One direction of a connection.
#[derive(Default)]
struct Flow {
    /// Read, not yet written.
    bytes: Vec<u8>,
    /// The source has ended.
    ended: bool,
    /// And the other side knows.
    closed: bool,
}

/// A connection that `from` opened to `to`.
struct Connection {
    from: Sid,
    to: Sid,
    /// The side of `from`.
    near: TcpStream,
    /// The side of `to`; none while the relay would have to deliver into a held direction.
    far: Option<TcpStream>,
    target: SocketAddr,
    there: Flow,
    back: Flow,
    /// Broken: to be reset on both sides.
    dead: bool,
}

struct Relay {
    doors: Vec<Door>,
    connections: Vec<Connection>,
    /// Pairs, the smaller sid first.
    cut: BTreeSet<(Sid, Sid)>,
    /// Directions.
    held: BTreeSet<(Sid, Sid)>,
    inbox: Receiver<(Command, Sender<()>)>,
    ear: UnixStream,
}

fn pair(a: Sid, b: Sid) -> (Sid, Sid) {
    (a.min(b), a.max(b))
}

impl Relay {
    fn run(mut self) {
        loop {
            self.wait();
            let mut rest = [0; 64];
            while matches!((&self.ear).read(&mut rest), Ok(1..)) {}
            while let Ok((command, done)) = self.inbox.try_recv() {
                match command {
                    Command::Cut(a, b) => {
                        self.cut.insert(pair(a, b));
                    }
                    Command::Hold(from, to) => {
                        self.held.insert((from, to));
                    }
                    Command::Heal(a, b) => {
                        self.cut.remove(&pair(a, b));
                        self.held.retain(|held| pair(held.0, held.1) != pair(a, b));
                        self.reach_targets();
                    }
                    Command::End => return,
                }
                self.sweep();
                let _ = done.send(());
            }
            self.accept();
            for c in &mut self.connections {
                let open = |from, to| !self.held.contains(&(from, to));
                c.turn(open(c.from, c.to), open(c.to, c.from));
            }
            self.sweep();
        }
    }

    /// Sleeps until a socket that may do something can do it, or a command comes.
    fn wait(&self) {
        let mut fds = vec![PollFd::new(&self.ear, PollFlags::IN)];
        fds.extend(self.doors.iter().map(|d| PollFd::new(&d.listener, PollFlags::IN)));
        for c in &self.connections {
            let Some(far) = &c.far else { continue };
            let (there, back) = (self.open(c.from, c.to), self.open(c.to, c.from));
            let near = c.there.interest(there) | c.back.pressure(back);
            let far_flags = c.back.interest(back) | c.there.pressure(there);
            // A socket without any interest is left out: its end would be reported again and again.
            if !near.is_empty() {
                fds.push(PollFd::new(&c.near, near));
            }
            if !far_flags.is_empty() {
                fds.push(PollFd::new(far, far_flags));
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("the relay cannot wait: {e}"),
        }
    }

    fn open(&self, from: Sid, to: Sid) -> bool {
        !self.held.contains(&(from, to))
    }

    fn accept(&mut self) {
        for door in &self.doors {
            while let Ok((near, _)) = door.listener.accept() {
                let (from, to, target) = (door.from, door.to, door.target);
                near.set_nonblocking(true)
                    .and_then(|()| near.set_nodelay(true))
                    .expect("setting up a socket");
                let (there, back) = (Flow::default(), Flow::default());
                let dead = self.cut.contains(&pair(from, to));
                self.connections.push(Connection { from, to, near, far: None, target, there, back, dead });
            }
        }
        self.reach_targets();
    }

    /// Opens the far side of the connections that had to wait for it.
    fn reach_targets(&mut self) {
        let held = &self.held;
        for c in self.connections.iter_mut().filter(|c| c.far.is_none() && !c.dead) {
            if !held.contains(&(c.from, c.to)) && !held.contains(&(c.to, c.from)) {
                c.reach_target();
            }
        }
    }

    /// Forgets what is over.
    fn sweep(&mut self) {
        for c in &mut self.connections {
            c.dead |= self.cut.contains(&pair(c.from, c.to));
        }
        for c in self.connections.iter().filter(|c| c.dead) {
            for side in [Some(&c.near), c.far.as_ref()].into_iter().flatten() {
                // The close that follows is a reset instead of an orderly end.
                let _ = rustix::net::sockopt::set_socket_linger(side, Some(Duration::ZERO));
            }
        }
        self.connections.retain(|c| !(c.dead || c.there.closed && c.back.closed));
    }
}

impl Connection {
    fn reach_target(&mut self) {
        // Who gave up while the network was silent would not have reached anybody.
        if matches!(self.near.peek(&mut [0]), Ok(0)) {
            self.dead = true;
            return;
        }
        match TcpStream::connect_timeout(&self.target, Duration::from_millis(500)) {
            Ok(far) => {
                far.set_nonblocking(true).and_then(|()| far.set_nodelay(true)).expect("setting up a socket");
                self.far = Some(far);
            }
            Err(_) => self.dead = true,
        }
    }

    fn turn(&mut self, there: bool, back: bool) {
        let Some(far) = &self.far else { return };
        let mut result = Ok(());
        if there {
            result = self.there.carry(&self.near, far);
        }
        if back {
            result = result.and(self.back.carry(far, &self.near));
        }
        self.dead |= result.is_err();
    }
}

impl Flow {
    /// What to wait for at the source.
    fn interest(&self, open: bool) -> PollFlags {
        let wants = open && !self.ended && self.bytes.is_empty();
        if wants { PollFlags::IN } else { PollFlags::empty() }
    }

    /// What to wait for at the destination.
    fn pressure(&self, open: bool) -> PollFlags {
        if open && !self.bytes.is_empty() { PollFlags::OUT } else { PollFlags::empty() }
    }

    /// Moves what can be moved without waiting.
    fn carry(&mut self, mut source: &TcpStream, mut destination: &TcpStream) -> io::Result<()> {
        loop {
            if self.bytes.is_empty() && !self.ended {
                self.bytes.resize(CHUNK, 0);
                let read = source.read(&mut self.bytes);
                self.bytes.truncate(*read.as_ref().unwrap_or(&0));
                match read {
                    Ok(0) => self.ended = true,
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(e) => return Err(e),
                }
            }
            if self.ended && self.bytes.is_empty() {
                if !self.closed {
                    self.closed = true;
                    destination.shutdown(Shutdown::Write)?;
                }
                return Ok(());
            }
            match destination.write(&self.bytes) {
                Ok(n) => drop(self.bytes.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::{Links, Port};

    /// A connection from 1 to 2 through the relay: relay, the end of 1, the end of 2.
    fn connected() -> (Links, TcpStream, TcpStream) {
        let listeners = [1, 2].map(|_| TcpListener::bind("127.0.0.1:0").expect("binding"));
        let addr = |n: usize| listeners[n].local_addr().expect("address");
        let links = Links::open(&[(1, Port::Quorum, addr(0)), (2, Port::Quorum, addr(1))]);
        let near = TcpStream::connect(links.door(1, 2, Port::Quorum)).expect("connecting");
        let (far, _) = listeners[1].accept().expect("accepting");
        for side in [&near, &far] {
            side.set_read_timeout(Some(Duration::from_millis(100))).expect("setting a timeout");
        }
        (links, near, far)
    }

    fn hear(stream: &mut TcpStream) -> Option<u8> {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    #[test]
    fn held_bytes_arrive_after_the_heal_and_the_other_direction_is_open() {
        let (links, mut near, mut far) = connected();
        near.write_all(&[1]).expect("sending");
        assert_eq!(hear(&mut far), Some(1));
        links.hold(1, 2);
        near.write_all(&[2]).expect("sending into the silence");
        far.write_all(&[3]).expect("sending");
        assert_eq!(hear(&mut near), Some(3), "the way back is open");
        assert_eq!(hear(&mut far), None, "the way there is not");
        links.heal(1, 2);
        assert_eq!(hear(&mut far), Some(2));
    }

    #[test]
    fn cut_connections_are_reset_and_so_are_new_ones_until_the_heal() {
        let (links, mut near, mut far) = connected();
        links.cut(2, 1);
        for side in [&mut near, &mut far] {
            let error = side.read(&mut [0]).expect_err("reset");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        let mut again = TcpStream::connect(links.door(1, 2, Port::Quorum)).expect("connecting");
        again.read_exact(&mut [0]).expect_err("nobody is there");
        links.heal(1, 2);
        TcpStream::connect(links.door(1, 2, Port::Quorum)).expect("connecting");
    }

    #[test]
    fn ends_are_passed_on_in_each_direction() {
        let (_links, mut near, mut far) = connected();
        near.write_all(&[7]).expect("sending");
        near.shutdown(std::net::Shutdown::Write).expect("ending");
        assert_eq!(hear(&mut far), Some(7));
        assert_eq!(far.read(&mut [0]).expect("an orderly end"), 0);
        far.write_all(&[8]).expect("answering");
        assert_eq!(hear(&mut near), Some(8));
    }
}
