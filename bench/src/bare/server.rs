//! The loop of the bare ring server, in the shape of a core loop: reap completions, feed the connections, seal a
//! batch, queue the sends, submit and wait.

use std::mem;
use std::net::{SocketAddr, TcpListener};

use ringkeeper_engine::io::{Completion, Features, Ring, SocketId};

use super::batch::{Batches, Waiting};
use super::frame::{Answers, Framer, Shape};
use super::{BareError, BareOptions};
use crate::wire;

#[derive(Debug)]
struct Conn {
    socket: SocketId,
    framer: Framer,
    connected: bool,
    closing: bool,
    /// Answers for the next send.
    out: Vec<u8>,
    /// The buffer of the last send, for reuse.
    spare: Vec<u8>,
    sending: bool,
    /// Whether it is in the list of connections that have something to send.
    dirty: bool,
    /// Number of the batch that holds its latest write.
    batch: Option<u64>,
}

/// The bare ring server. Belongs to the thread that made it.
#[derive(Debug)]
pub struct Server {
    ring: Ring,
    conns: Vec<Option<Conn>>,
    dirty: Vec<usize>,
    answers: Answers,
    batches: Option<Batches>,
}

impl Server {
    /// A server on `listener`.
    pub fn new(listener: TcpListener, options: &BareOptions) -> Result<Server, BareError> {
        let mut ring = Ring::new()?;
        let batches = match &options.durable {
            Some(dir) => Some(Batches::open(&mut ring, dir, options.in_flight.into())?),
            None => None,
        };
        let addr = listener.local_addr().map_or_else(|_| "the socket".into(), |a: SocketAddr| a.to_string());
        ring.listen(listener).map_err(BareError::io(format!("listening on {addr}")))?;
        Ok(Server {
            ring,
            conns: Vec::new(),
            dirty: Vec::new(),
            answers: Answers::new(options.size),
            batches,
        })
    }

    /// What the ring came to on this kernel.
    pub fn features(&self) -> Features {
        self.ring.features()
    }

    /// Sleeps until something has happened, then handles everything that has.
    pub fn turn(&mut self) -> Result<(), BareError> {
        self.ring.submit_and_wait(None).map_err(BareError::io("waiting in the ring"))?;
        loop {
            if let Some(batches) = &mut self.batches {
                batches.reserve(&mut self.ring);
            }
            let Some(completion) = self.ring.next_completion() else { break };
            match completion {
                Completion::Received { socket, data } => {
                    let Some(conn) = conn(&mut self.conns, socket) else { continue };
                    let shared = Shared { answers: &self.answers, batches: &mut self.batches };
                    if !receive(conn, data, shared) {
                        self.ring.close(socket);
                    } else if !conn.out.is_empty() && !conn.dirty {
                        conn.dirty = true;
                        self.dirty.push(socket.index());
                    }
                }
                Completion::Sent { socket, mut buf, .. } => {
                    let Some(conn) = conn(&mut self.conns, socket) else { continue };
                    buf.clear();
                    conn.spare = buf;
                    conn.sending = false;
                    if !conn.out.is_empty() && !conn.dirty {
                        conn.dirty = true;
                        self.dirty.push(socket.index());
                    }
                }
                Completion::Accepted { socket, .. } => self.accept(socket),
                Completion::ReceiveEnded { socket, .. } => self.ring.close(socket),
                Completion::Closed { socket } => {
                    if let Some(entry) = self.conns.get_mut(socket.index()) {
                        *entry = None;
                    }
                }
                Completion::AcceptFailed { listener, .. } => self.ring.resume_accept(listener),
                Completion::SentShared { .. }
                | Completion::SentFile { .. }
                | Completion::Connected { .. }
                | Completion::ConnectFailed { .. } => {}
                Completion::Woken => {}
            }
        }
        if let Some(batches) = &mut self.batches {
            batches.reap(&mut self.ring, |waiting| {
                let (index, generation) = waiting.conn;
                let Some(Some(conn)) = self.conns.get_mut(index) else { return };
                if conn.socket.generation() != generation {
                    return;
                }
                self.answers.push(&mut conn.out, waiting.shape, waiting.xid);
                if !conn.dirty {
                    conn.dirty = true;
                    self.dirty.push(index);
                }
            })?;
            batches.seal(&mut self.ring);
        }
        self.send();
        Ok(())
    }

    fn accept(&mut self, socket: SocketId) {
        let index = socket.index();
        if self.conns.len() <= index {
            self.conns.resize_with(index + 1, || None);
        }
        self.conns[index] = Some(Conn {
            socket,
            framer: Framer::default(),
            connected: false,
            closing: false,
            out: Vec::new(),
            spare: Vec::new(),
            sending: false,
            dirty: false,
            batch: None,
        });
        self.ring.resume_receive(socket);
    }

    /// One send in flight per connection; answers that come meanwhile gather for the next.
    fn send(&mut self) {
        for index in self.dirty.drain(..) {
            let Some(Some(conn)) = self.conns.get_mut(index) else { continue };
            conn.dirty = false;
            if conn.sending || conn.out.is_empty() {
                continue;
            }
            conn.sending = true;
            let out = mem::replace(&mut conn.out, mem::take(&mut conn.spare));
            self.ring.send(conn.socket, out, 0);
            if conn.closing {
                self.ring.close_when_sent(conn.socket);
            }
        }
    }
}

fn conn(conns: &mut [Option<Conn>], socket: SocketId) -> Option<&mut Conn> {
    conns.get_mut(socket.index())?.as_mut().filter(|c| c.socket == socket)
}

struct Shared<'a> {
    answers: &'a Answers,
    batches: &'a mut Option<Batches>,
}

/// Answers or batches every whole request in `data`. False if the connection is to be closed.
fn receive(conn: &mut Conn, data: &[u8], shared: Shared<'_>) -> bool {
    let Conn { framer, connected, closing, out, batch, socket, .. } = conn;
    let Shared { answers, batches } = shared;
    let fed = framer.feed(data, |frame| {
        if !*connected {
            *connected = true;
            answers.push_connected(out);
            return;
        }
        let xid = wire::i32_at(frame, 4).unwrap_or(0);
        let op = wire::i32_at(frame, 8).unwrap_or(0);
        let waiting = Waiting { conn: (socket.index(), socket.generation()), xid, shape: Shape::of(op) };
        *closing |= op == wire::CLOSE_SESSION;
        match batches {
            Some(batches) if op == wire::SET_DATA || op == wire::CREATE => {
                *batch = Some(batches.add(frame, waiting));
            }
            Some(batches) if batch.is_some() => {
                let behind = batch.map_or(Err(waiting), |number| batches.wait_for(number, waiting));
                if let Err(now) = behind {
                    *batch = None;
                    answers.push(out, now.shape, now.xid);
                }
            }
            _ => answers.push(out, waiting.shape, waiting.xid),
        }
    });
    fed.is_ok()
}
