//! The one safe wrapper over io_uring: a core loop's sockets and disk writes in one ring.
//!
//! What the kernel may touch (buffers, descriptors) lives in slots owned by the ring from submission to
//! completion. Handles ([`SocketId`], [`ListenerId`], `FileId`) are plain numbers with a generation: dropping
//! or forgetting one abandons the result only, and a stale one finds nothing. A dropped ring cancels what can
//! be cancelled and waits for the rest; what does not end in time is leaked, never freed under the kernel.
//!
//! A ring belongs to the thread that made it. One turn of a loop:
//!
//! ```no_run
//! # use ringkeeper_engine::io::{Completion, Disk, Ring};
//! # fn turn(listener: std::net::TcpListener) -> Result<(), Box<dyn std::error::Error>> {
//! let mut ring = Ring::new()?;
//! ring.listen(listener)?;
//! let mut done = Vec::new();
//! loop {
//!     ring.submit_and_wait(None)?; // one system call; sleeps if there is nothing to do
//!     while let Some(completion) = ring.next_completion() {
//!         match completion {
//!             Completion::Accepted { socket, .. } => ring.resume_receive(socket),
//!             Completion::Received { socket, data } => {
//!                 let reply = data.to_vec(); // `data` is lent until the next call on the ring
//!                 ring.send(socket, reply, 0);
//!             }
//!             Completion::ReceiveEnded { socket, .. } => ring.close_when_sent(socket),
//!             Completion::Sent { buf, .. } => drop(buf), // or reuse it
//!             Completion::SentShared { .. } | Completion::SentFile { .. } => {}
//!             Completion::Connected { .. } | Completion::ConnectFailed { .. } => {} // after Ring::connect
//!             Completion::AcceptFailed { .. } => {}      // paused: resume_accept later
//!             Completion::Closed { .. } => {}            // its index may now be used again
//!             Completion::Woken => {}                    // look into the inboxes
//!         }
//!     }
//!     ring.reap(&mut done); // disk writes, set aside by next_completion
//! #   break;
//! }
//! # Ok(()) }
//! ```
//!
//! | concern | calls |
//! |---|---|
//! | turn | [`Ring::submit_and_wait`], [`Ring::next_completion`], `Disk::reap` |
//! | listeners | [`Ring::listen`], [`Ring::pause_accept`], [`Ring::resume_accept`], [`Ring::unlisten`] |
//! | sockets | [`Ring::connect`], [`Ring::adopt`], [`Ring::resume_receive`], [`Ring::pause_receive`], [`Ring::send`], [`Ring::send_shared`], [`Ring::send_file`], [`Ring::give_up_after`], [`Ring::shutdown_write`], [`Ring::close_when_sent`], [`Ring::close`] |
//! | disk | `Disk::{alloc, attach, detach, submit, reap}` |
//! | files to be sent | [`Ring::open_source`], [`Ring::close_source`] |
//! | other threads | [`Ring::waker`], [`Waker::wake`] |
//! | start line | [`Ring::features`] |
//!
//! Linux 6.0 is the minimum (multishot receive), refused with a clear message below; 6.1 gives the best mode.
#![allow(unsafe_code)]

mod buffers;
mod connecting;
mod files;
mod listeners;
mod multishot;
mod piece_buffers;
mod pieces;
mod queue;
mod sending;
mod setup;
mod slots;
mod sockets;
mod sources;
mod waker;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use super::probe::RingError;
use buffers::ReceiveBuffers;
use files::Files;
use listeners::Listener;
use multishot::Multishot;
use pieces::Pieces;
use queue::{Cqe, Kind, Queue, user_data};
use setup::Mode;
use slots::{Key, Slots};
use sockets::Socket;

pub use listeners::ListenerId;
pub use pieces::{FilePiece, PIECE, SendFileError};
pub use setup::{Features, RingOptions};
pub use sockets::SocketId;
pub use sources::SourceId;
pub use waker::Waker;

/// How long a dropped ring waits for what the kernel still holds, before it leaks the memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one wake-up poll of a ring.
const WAKE_KEY: Key = Key { index: 0, generation: 0 };

/// An io_uring with everything the kernel may touch on its behalf. See the module's documentation.
pub struct Ring {
    queue: Queue,
    mode: Mode,
    buffers: Option<ReceiveBuffers>,
    receive_buffer_len: usize,
    receive_buffer_count: u16,
    /// The receive buffer behind the last `Completion::Received`.
    lent: Option<u16>,
    listeners: Slots<Listener>,
    sockets: Slots<Socket>,
    files: Files,
    pieces: Pieces,
    waker: Waker,
    waking: Multishot,
    /// Completions that needed no kernel.
    ready: VecDeque<Completion<'static>>,
    /// SINGLE_ISSUER: only the thread that made the ring may enter it.
    _not_send: PhantomData<*const ()>,
}

/// What has happened, in the order in which the ring learnt of it.
#[derive(Debug)]
pub enum Completion<'a> {
    /// A connection; it does not receive before [`Ring::resume_receive`].
    Accepted {
        /// The listener it came through.
        listener: ListenerId,
        /// The new socket. Whoever does not want it closes it.
        socket: SocketId,
        /// Its other end.
        peer: SocketAddr,
    },
    /// Accepting failed and is paused: usually no descriptor is left (EMFILE, ENFILE). To go on, call
    /// [`Ring::resume_accept`] once some are closed or a moment has passed.
    AcceptFailed {
        /// The paused listener.
        listener: ListenerId,
        /// Why.
        error: io::Error,
    },
    /// Bytes, at least one and at most a receive buffer full.
    Received {
        /// Where from.
        socket: SocketId,
        /// The bytes, lent until the next call on the ring.
        data: &'a [u8],
    },
    /// Nothing more will be received. The caller closes the socket when it is done with it.
    ReceiveEnded {
        /// Where from.
        socket: SocketId,
        /// `Ok` if the peer ended its stream, an error (reset, timeout) if it broke.
        result: io::Result<()>,
    },
    /// A send is done with its buffer.
    Sent {
        /// Where to.
        socket: SocketId,
        /// As given to [`Ring::send`].
        user: u64,
        /// The buffer, unchanged, for reuse.
        buf: Vec<u8>,
        /// `Ok` if the kernel took every byte. After an error all later sends fail: the stream is broken.
        result: io::Result<()>,
    },
    /// As `Sent`, of a buffer given to [`Ring::send_shared`]: the ring has let go of it.
    SentShared {
        /// Where to.
        socket: SocketId,
        /// As given to [`Ring::send_shared`].
        user: u64,
        /// As in `Sent`.
        result: io::Result<()>,
    },
    /// As `Sent`, of a piece given to [`Ring::send_file`].
    SentFile {
        /// Where to.
        socket: SocketId,
        /// As given to [`Ring::send_file`].
        user: u64,
        /// `Ok` if the kernel took every byte. After an error all later sends fail, also if the connection is sound.
        result: Result<(), SendFileError>,
    },
    /// A connection asked for with [`Ring::connect`] stands; it does not receive before [`Ring::resume_receive`].
    Connected {
        /// The socket.
        socket: SocketId,
        /// As given to [`Ring::connect`].
        user: u64,
    },
    /// It could not be made. The socket is gone and its number free: the last that is said of it.
    ConnectFailed {
        /// What the socket was.
        socket: SocketId,
        /// As given to [`Ring::connect`].
        user: u64,
        /// Why.
        error: io::Error,
    },
    /// The socket is closed and its number free. The last that is said of it.
    Closed {
        /// Which.
        socket: SocketId,
    },
    /// [`Waker::wake`] was called since the last `Woken`.
    Woken,
}

/// What the caller is told of one kernel completion.
enum Outcome {
    Nothing,
    Event(Completion<'static>),
    Data { socket: SocketId, buffer: u16, len: usize },
}

impl From<Option<Completion<'static>>> for Outcome {
    fn from(completion: Option<Completion<'static>>) -> Outcome {
        completion.map_or(Outcome::Nothing, Outcome::Event)
    }
}

impl Ring {
    /// A ring with the default [`RingOptions`], for the calling thread.
    pub fn new() -> Result<Ring, RingError> {
        Ring::with_options(&RingOptions::default())
    }

    /// A ring for the calling thread. Falls back by itself where the kernel grants less, see
    /// [`Ring::features`]; fails only where there is no usable io_uring at all.
    pub fn with_options(options: &RingOptions) -> Result<Ring, RingError> {
        let (ring, mode) = setup::create(options)?;
        let mut queue = Queue::new(ring);
        let waker = Waker::new().map_err(|source| RingError::Register { what: "the wake-up", source })?;
        let files = Files::new(&queue, options.registered_bytes, options.file_table);
        let pieces = Pieces::new(files.has_buffer_table(), options.zero_copy);
        let (count, len) = (options.receive_buffers, options.receive_buffer_len);
        let buffers = (count > 0).then(|| ReceiveBuffers::new(&mut queue, count, len, options.buffer_ring));
        let mut ring = Ring {
            queue,
            mode,
            buffers,
            receive_buffer_len: len,
            receive_buffer_count: count,
            lent: None,
            listeners: Slots::new(),
            sockets: Slots::new(),
            files,
            pieces,
            waker,
            waking: Multishot::default(),
            ready: VecDeque::new(),
            _not_send: PhantomData,
        };
        ring.await_wake_up();
        Ok(ring)
    }

    /// What this ring came to on this kernel; its `Display` is for the start line.
    pub fn features(&self) -> Features {
        let parameters = self.queue.ring().params();
        let (registered_bytes, overflowed) = self.files.buffer_bytes();
        Features {
            mode: self.mode,
            submission_entries: parameters.sq_entries(),
            completion_entries: parameters.cq_entries(),
            receive_buffers: self.receive_buffer_count,
            receive_buffer_len: self.receive_buffer_len,
            buffer_ring: self.buffers.as_ref().is_some_and(ReceiveBuffers::is_ring),
            file_table: self.files.has_file_table(),
            registered_bytes,
            all_registered: !overflowed,
            zero_copy: self.pieces.zero_copy(),
        }
    }

    /// A handle with which other threads make this ring report [`Completion::Woken`].
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Gives the kernel everything queued and, if nothing is there to be reaped, sleeps until something is or
    /// `timeout` has passed (`None`: without limit, zero: not at all). Returning early is no error.
    ///
    /// An error means that the ring is unusable.
    pub fn submit_and_wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.take_back();
        let idle = self.ready.is_empty() && !self.files.has_done();
        self.queue.turn(idle && timeout != Some(Duration::ZERO), timeout)
    }

    /// The next thing that has happened, without a system call. `None` when all is reaped; disk completions
    /// met on the way are set aside for `Disk::reap`.
    #[inline]
    pub fn next_completion(&mut self) -> Option<Completion<'_>> {
        self.take_back();
        if let Some(completion) = self.ready.pop_front() {
            return Some(completion);
        }
        while let Some(cqe) = self.queue.pop() {
            let outcome = match cqe.kind {
                _ if cqe.cancellation => {
                    self.on_failed_cancellation(cqe);
                    Outcome::Nothing
                }
                Kind::Receive => self.on_receive(cqe),
                Kind::Send => Outcome::from(self.on_sent(cqe.key, cqe.checked())),
                Kind::Piece => Outcome::from(self.on_piece(cqe)),
                Kind::Connect => Outcome::from(self.on_connect(cqe)),
                Kind::Accept => Outcome::from(self.on_accept(cqe)),
                Kind::Write => {
                    self.files.on_write(&self.queue, cqe);
                    Outcome::Nothing
                }
                Kind::Wake => {
                    self.waker.clear();
                    if !cqe.more() && self.waking.ended() {
                        self.await_wake_up();
                    }
                    if cqe.result < 0 { Outcome::Nothing } else { Outcome::Event(Completion::Woken) }
                }
                Kind::Ignored => Outcome::Nothing,
            };
            match outcome {
                Outcome::Nothing => {}
                Outcome::Event(completion) => return Some(completion),
                Outcome::Data { socket, buffer, len } => {
                    self.lent = Some(buffer);
                    let buffers = self.buffers.as_ref()?;
                    // SAFETY: the buffer came with this completion and is given back by `take_back`, which
                    // only calls on the ring reach: `data` borrows the ring.
                    let data = unsafe { buffers.filled(buffer, len) };
                    return Some(Completion::Received { socket, data });
                }
            }
        }
        None
    }

    /// Ends the loan of the last `Completion::Received`.
    #[inline]
    fn take_back(&mut self) {
        if let Some(id) = self.lent.take() {
            self.give_back(id);
        }
    }

    fn give_back(&mut self, id: u16) {
        if let Some(buffers) = &mut self.buffers {
            buffers.give_back(&mut self.queue, id);
        }
    }

    /// The kernel did not find what it was to cancel. Usually that has just ended. But it may be between two
    /// of its steps, out of sight for a moment, and then would go on: it is cancelled again.
    fn on_failed_cancellation(&mut self, cqe: Cqe) {
        let again = match cqe.kind {
            Kind::Accept => self.listener_still_waits(&cqe),
            Kind::Receive | Kind::Send | Kind::Piece | Kind::Connect => self.socket_still_waits(&cqe),
            Kind::Wake => self.waking.is_cancelling(),
            Kind::Write | Kind::Ignored => false,
        };
        if again {
            self.queue.cancel(cqe.kind, cqe.key);
        }
    }

    fn await_wake_up(&mut self) {
        if self.waking.start() {
            let poll = opcode::PollAdd::new(types::Fd(self.waker.raw_fd()), libc::POLLIN as u32)
                .multi(true)
                .build()
                .user_data(user_data(Kind::Wake, WAKE_KEY));
            // SAFETY: the entry points to nothing; the descriptor lives as long as the ring.
            unsafe { self.queue.push(poll) }
        }
    }

    /// Whether the kernel holds nothing of the ring's any more.
    fn nothing_in_flight(&self) -> bool {
        self.listeners.is_empty()
            && self.sockets.is_empty()
            && self.files.in_flight() == 0
            && self.pieces.len() == 0
            && !self.waking.in_flight()
    }

    /// Cancels and waits. False if the kernel still holds something when patience ends.
    fn wind_down(&mut self) -> bool {
        for key in self.listeners.keys() {
            self.unlisten(ListenerId(key));
        }
        for key in self.sockets.keys() {
            self.close(SocketId(key));
        }
        if self.waking.stop() {
            self.queue.cancel(Kind::Wake, WAKE_KEY);
        }
        let start = Instant::now();
        loop {
            while self.next_completion().is_some() {}
            if self.nothing_in_flight() {
                return true;
            }
            if start.elapsed() > PATIENCE || self.submit_and_wait(Some(Duration::from_millis(100))).is_err() {
                return false;
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.wind_down() {
            return;
        }
        tracing::error!("a ring is given up with operations in flight, leaking their memory");
        mem::forget(mem::replace(&mut self.sockets, Slots::new()));
        mem::forget(self.buffers.take());
        self.files.leak();
        self.pieces.leak();
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ring = f.debug_struct("Ring");
        ring.field("features", &self.features()).field("sockets", &self.sockets.len());
        ring.field("writes", &self.files.in_flight()).field("pieces", &self.pieces.len());
        ring.finish_non_exhaustive()
    }
}
