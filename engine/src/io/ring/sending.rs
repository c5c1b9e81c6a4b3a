//! The sending half of a socket: buffers leave in the order in which they were given, each reported when it is out.
//!
//! One operation per socket is in flight. What comes meanwhile queues up behind it and then leaves together, as one
//! vectored send. The slot keeps every buffer, and the vector that names them, until the completion. Pieces of files
//! stand in the same queue and leave alone; `pieces` keeps their memory.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{opcode, types};

use super::pieces::{FilePiece, SendFileError};
use super::queue::{Kind, user_data};
use super::slots::Key;
use super::{Completion, Ring, SocketId};

/// Most bytes of one send operation; the length of a queue entry is 32 bits wide.
const MAX_SEND: usize = 1 << 30;
/// Most buffers of one vectored send.
const MAX_VECTOR: usize = 64;
/// A vectored send takes no further buffer once it has this many bytes, so that the caller hears of progress.
const ENOUGH: usize = 256 << 10;

/// What a socket has to send.
#[derive(Default)]
pub(super) struct Sending {
    /// What is leaving: in the kernel's hands, unless it is a piece of a file that is not read yet.
    head: Option<Outgoing>,
    /// How many of the head's bytes are out.
    done: usize,
    /// What follows the head.
    queued: VecDeque<Outgoing>,
    /// How many of `queued`, from the front, are in the kernel's hands together with the head.
    along: usize,
    /// Names the head and what goes along with it. Kept for the next time.
    vector: Option<Box<Vector>>,
    /// The kernel copies what this socket sends even if asked not to.
    pub(super) copies: bool,
    /// What broke the outgoing stream: after a part of a send nothing else may follow it.
    broken: Option<i32>,
}

struct Outgoing {
    bytes: Bytes,
    user: u64,
}

enum Bytes {
    Own(Vec<u8>),
    Shared(Arc<Vec<u8>>),
    File(FilePiece, Content),
}

/// Where the bytes of a piece of a file are.
pub(super) enum Content {
    /// Not read yet.
    OnDisk,
    /// Being read, by this slot.
    Reading(Key),
    /// In the buffer of this slot, and checked.
    Here(Key),
    /// Never to be had: nothing behind it may be sent either.
    Unreadable(SendFileError),
}

/// What a vectored send reads: the header points to the entries, and they to the buffers.
struct Vector {
    header: libc::msghdr,
    entries: [libc::iovec; MAX_VECTOR],
}

impl Outgoing {
    fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Shared(bytes) => bytes.len(),
            Bytes::File(piece, _) => piece.len,
        }
    }

    /// The bytes, if they are not of a file.
    fn memory(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Own(bytes) => Some(bytes),
            Bytes::Shared(bytes) => Some(bytes),
            Bytes::File(..) => None,
        }
    }

    fn content(&self) -> Option<&Content> {
        match &self.bytes {
            Bytes::File(_, content) => Some(content),
            Bytes::Own(_) | Bytes::Shared(_) => None,
        }
    }

    /// Whether it can be given to the kernel.
    fn is_here(&self) -> bool {
        self.content().is_none_or(|content| matches!(content, Content::Here(_)))
    }
}

impl Vector {
    fn new() -> Box<Vector> {
        // SAFETY: both are plain C structures, for which null pointers and zero lengths are valid.
        unsafe { Box::new(std::mem::zeroed()) }
    }

    /// Names `first` and as many of `more` as one operation may take. Returns how many of `more` those are.
    fn fill<'a>(&mut self, first: &'a [u8], more: impl Iterator<Item = &'a [u8]>) -> usize {
        let (mut count, mut total) = (0, 0);
        for bytes in std::iter::once(first).chain(more).take(MAX_VECTOR) {
            if total >= ENOUGH {
                break;
            }
            self.entries[count] = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len().min(MAX_SEND),
            };
            count += 1;
            total += bytes.len();
        }
        self.header.msg_iov = self.entries.as_mut_ptr();
        self.header.msg_iovlen = count as _;
        count - 1
    }
}

impl Sending {
    /// Whether the kernel holds any of the buffers.
    pub(super) fn in_flight(&self) -> bool {
        self.head.as_ref().is_some_and(Outgoing::is_here)
    }

    /// Whether what is given now has to wait behind something.
    pub(super) fn is_busy(&self) -> bool {
        self.head.is_some()
    }

    /// What is in flight, as the kernel knows it.
    pub(super) fn operation(&self, socket: Key) -> Option<(Kind, Key)> {
        let head = self.head.as_ref()?;
        match head.content() {
            None => Some((Kind::Send, socket)),
            Some(Content::Here(piece)) => Some((Kind::Piece, *piece)),
            Some(_) => None,
        }
    }

    /// Pieces of files: how many are not read yet, and how many have memory.
    pub(super) fn files(&self) -> (usize, usize) {
        let (mut unread, mut held) = (0, 0);
        for content in self.head.iter().chain(&self.queued).filter_map(Outgoing::content) {
            match content {
                Content::OnDisk => unread += 1,
                Content::Reading(_) | Content::Here(_) => held += 1,
                Content::Unreadable(_) => {}
            }
        }
        (unread, held)
    }

    /// The first piece of a file that is not read yet.
    pub(super) fn next_unread(&mut self) -> Option<(&FilePiece, &mut Content)> {
        let mut files = self.head.iter_mut().chain(&mut self.queued).filter_map(|out| match &mut out.bytes {
            Bytes::File(piece, content) => Some((&*piece, content)),
            Bytes::Own(_) | Bytes::Shared(_) => None,
        });
        files.find(|(_, content)| matches!(content, Content::OnDisk))
    }

    /// What the piece in this slot is the content of.
    fn content_in(&mut self, slot: Key) -> Option<&mut Content> {
        let mut files = self.head.iter_mut().chain(&mut self.queued).filter_map(|out| match &mut out.bytes {
            Bytes::File(_, content) => Some(content),
            Bytes::Own(_) | Bytes::Shared(_) => None,
        });
        files.find(|content| matches!(content, Content::Reading(key) if *key == slot))
    }
}

impl Ring {
    /// Sends all of `buf` after what was given to earlier calls. [`Completion::Sent`] gives the `Vec` back
    /// with `user`; nothing comes back for a socket that is closing or gone.
    ///
    /// The ring does not bound what a peer that reads nothing makes it hold: the caller counts what it has
    /// given and not got back.
    pub fn send(&mut self, socket: SocketId, buf: Vec<u8>, user: u64) {
        self.send_outgoing(socket, Outgoing { bytes: Bytes::Own(buf), user });
    }

    /// As [`Ring::send`], of bytes that others hold too: one copy serves several sockets. Reported as
    /// [`Completion::SentShared`].
    pub fn send_shared(&mut self, socket: SocketId, buf: Arc<Vec<u8>>, user: u64) {
        self.send_outgoing(socket, Outgoing { bytes: Bytes::Shared(buf), user });
    }

    /// Queues a piece of a file that is in order with what else the socket sends.
    pub(super) fn send_piece(&mut self, socket: SocketId, piece: FilePiece, content: Content, user: u64) {
        self.send_outgoing(socket, Outgoing { bytes: Bytes::File(piece, content), user });
    }

    fn send_outgoing(&mut self, socket: SocketId, out: Outgoing) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        if entry.closing {
            return;
        }
        if let Some(errno) = entry.sending.broken {
            self.end(socket, out, Err(errno));
        } else if entry.is_busy() {
            entry.sending.queued.push_back(out);
        } else {
            self.go_on_sending(socket, out);
        }
    }

    /// Gives the kernel the unsent rest of the head, and what has queued up behind it.
    fn push_send(&mut self, key: Key) {
        let Some(entry) = self.sockets.get_mut(key) else { return };
        let descriptor = types::Fd(entry.stream.as_raw_fd());
        let Sending { head: Some(head), done, queued, along, vector, copies, .. } = &mut entry.sending else {
            return;
        };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        *along = 0;
        if let Some(Content::Here(piece)) = head.content() {
            if let Some(send) = self.pieces.send(*piece, descriptor, *done, flags, *copies) {
                // SAFETY: the piece's slot keeps its buffer unchanged until the last completion, this one the descriptor
                // open until the first.
                unsafe { self.queue.push(send) }
            }
            return;
        }
        let Some(bytes) = head.memory() else { return };
        let rest = &bytes[*done..];
        let send = if queued.front().is_none_or(|next| next.memory().is_none()) || rest.len() >= ENOUGH {
            opcode::Send::new(descriptor, rest.as_ptr(), rest.len().min(MAX_SEND) as u32).flags(flags).build()
        } else {
            let vector = vector.get_or_insert_with(Vector::new);
            *along = vector.fill(rest, queued.iter().map_while(Outgoing::memory));
            opcode::SendMsg::new(descriptor, &vector.header).flags(flags as u32).build()
        };
        // SAFETY: the slot keeps the buffers unchanged, the vector in its box and the descriptor open until the
        // completion; `forget_unsent` spares what goes along.
        unsafe { self.queue.push(send.user_data(user_data(Kind::Send, key))) }
    }

    pub(super) fn on_sent(&mut self, key: Key, result: io::Result<usize>) -> Option<Completion<'static>> {
        let socket = SocketId(key);
        let entry = self.sockets.get_mut(key)?;
        let sending = &mut entry.sending;
        let head = sending.head.take()?;
        sending.along = 0;
        if entry.closing {
            self.discard(head);
            return self.finish_close(key);
        }
        let result = match result {
            Ok(0) => Err(libc::EPIPE),
            Ok(sent) => Ok(sent),
            Err(error) => match (error.raw_os_error(), head.content()) {
                (Some(libc::EINTR | libc::EAGAIN), _) => Ok(0),
                (Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOMEM), Some(Content::Here(piece)))
                    if self.pieces.was_zero_copy(*piece) =>
                {
                    sending.copies = true;
                    Ok(0)
                }
                (errno, _) => Err(errno.unwrap_or(libc::EPIPE)),
            },
        };
        match result {
            Ok(sent) => {
                sending.done += sent;
                self.go_on_sending(socket, head);
            }
            Err(errno) => {
                self.end(socket, head, Err(errno));
                self.break_off(socket, errno);
            }
        }
        self.ready.pop_front()
    }

    /// Reports what `sending.done` says is out, `head` first, and gives the kernel what is not.
    fn go_on_sending(&mut self, socket: SocketId, mut head: Outgoing) {
        loop {
            let Some(entry) = self.sockets.get_mut(socket.0) else { return };
            let sending = &mut entry.sending;
            let len = head.len();
            if matches!(head.content(), Some(Content::Unreadable(_))) {
                self.end(socket, head, Ok(()));
                return self.break_off(socket, libc::EIO);
            }
            if sending.done < len {
                let here = head.is_here();
                sending.head = Some(head);
                if here {
                    self.push_send(socket.0);
                }
                return;
            }
            sending.done -= len;
            self.end(socket, head, Ok(()));
            match self.sockets.get_mut(socket.0).and_then(|entry| entry.sending.queued.pop_front()) {
                Some(next) => head = next,
                None => return self.sends_are_out(socket),
            }
        }
    }

    /// A piece of a file was read, or cannot be: if it is the one that is to leave now it does.
    pub(super) fn piece_is_read(&mut self, socket: SocketId, slot: Key, outcome: Result<(), SendFileError>) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        let Some(content) = entry.sending.content_in(slot) else { return };
        *content = match outcome {
            Ok(()) => Content::Here(slot),
            Err(error) => Content::Unreadable(error),
        };
        let waited = |head: &mut Outgoing| match head.content() {
            Some(Content::Here(here)) => *here == slot,
            content => matches!(content, Some(Content::Unreadable(_))),
        };
        if let Some(head) = entry.sending.head.take_if(waited) {
            self.go_on_sending(socket, head);
        }
    }

    /// The outgoing stream is broken: what is queued fails, and so will what comes.
    fn break_off(&mut self, socket: SocketId, errno: i32) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        entry.sending.broken = Some(errno);
        for out in std::mem::take(&mut entry.sending.queued) {
            self.end(socket, out, Err(errno));
        }
        self.sends_are_out(socket);
    }

    /// Reports what was sent, or was not: for what reason it knows itself, or else with this error.
    fn end(&mut self, socket: SocketId, out: Outgoing, result: Result<(), i32>) {
        let user = out.user;
        let result = result.map_err(io::Error::from_raw_os_error);
        let completion = match out.bytes {
            Bytes::Own(buf) => Completion::Sent { socket, user, buf, result },
            Bytes::Shared(_) => Completion::SentShared { socket, user, result },
            Bytes::File(piece, content) => {
                self.let_go(&piece, &content);
                let result = match content {
                    Content::Unreadable(error) => Err(error),
                    _ => result.map_err(SendFileError::Send),
                };
                Completion::SentFile { socket, user, result }
            }
        };
        self.ready.push_back(completion);
    }

    /// Drops what the kernel has not been given.
    pub(super) fn forget_unsent(&mut self, socket: Key) {
        let Some(entry) = self.sockets.get_mut(socket) else { return };
        let sending = &mut entry.sending;
        let mut unsent = sending.queued.split_off(sending.along);
        if !sending.in_flight() {
            unsent.extend(sending.head.take());
        }
        unsent.into_iter().for_each(|out| self.discard(out));
    }

    fn discard(&mut self, out: Outgoing) {
        if let Bytes::File(piece, content) = &out.bytes {
            self.let_go(piece, content);
        }
    }

    /// The connection stands: sends what was given before.
    pub(super) fn start_queued_sends(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        match entry.sending.queued.pop_front() {
            Some(head) => self.go_on_sending(socket, head),
            None => self.sends_are_out(socket),
        }
    }
}
