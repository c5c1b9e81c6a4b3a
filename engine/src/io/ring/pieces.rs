//! Pieces of files on their way from the disk to a socket: read, checked, sent from the same memory.
//!
//! A piece is read into a buffer of its own by direct I/O, its checksum is compared, and only then its bytes leave, in
//! operations of at most [`MOST_AT_ONCE`], so that the loop stays responsive. A socket has up to two pieces in memory: the next one is read
//! while one leaves. Buffers are few; who has none comes before who wants a second one, and among equals who has waited
//! longest.
//!
//! Where the buffer is registered the bytes leave without being copied (SEND_ZC). Then the kernel refers to the buffer
//! until the peer has acknowledged the bytes, and says so in a second completion, the notice. So the slot of a piece
//! outlives the socket's interest in it: it holds the buffer until nothing of it is in the kernel's hands. A socket
//! whose route has the kernel copy all the same (loopback) is served with plain sends after the first notice that
//! says so: measured over loopback, those cost the sender about two thirds of the processor time.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use io_uring::{cqueue, opcode, squeue, types};

use super::piece_buffers::{PieceBuffer, PieceBuffers};
use super::queue::{Cqe, Kind, Queue, user_data};
use super::sending::Content;
use super::slots::{Key, Slots};
use super::sources::{SourceId, Sources};
use super::{Completion, Ring, SocketId};
use crate::io::BLOCK;

pub use super::piece_buffers::PIECE;

/// Most bytes of one operation: a send over loopback copies them, and processes them on the receiving side, within the
/// system call; 256 KiB are about 0.1 ms, a whole piece up to 0.6 ms.
const MOST_AT_ONCE: usize = 256 << 10;
/// Most pieces of one socket in memory that have not left.
const AHEAD: usize = 2;
/// `IORING_SEND_ZC_REPORT_USAGE`: the notice says whether the bytes were copied (Linux 6.2).
const REPORT_USAGE: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`, the top bit of a notice's result.
const COPIED: i32 = i32::MIN;

/// A part of a file to be sent with [`Ring::send_file`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePiece {
    /// The file.
    pub source: SourceId,
    /// Where it begins, in bytes; whole blocks.
    pub offset: u64,
    /// Bytes, at least one and at most [`PIECE`].
    pub len: usize,
    /// The crc32c of these bytes.
    pub crc: u32,
}

/// Why a piece of a file was not sent, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum SendFileError {
    /// The connection broke. The file is not to blame.
    #[error("sending a piece of a file: {0}")]
    Send(#[source] io::Error),
    /// It cannot be read. Nothing of the piece was sent.
    #[error("reading at offset {offset}: {source}")]
    Read {
        /// Where, in bytes.
        offset: u64,
        /// The answer.
        source: io::Error,
    },
    /// The file ends before the piece does. Nothing of the piece was sent.
    #[error("reading {wanted} bytes at offset {offset}: the file has only {found}")]
    Short {
        /// Where the piece begins, in bytes.
        offset: u64,
        /// Its length.
        wanted: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The checksum differs. Nothing of the piece was sent.
    #[error("the {len} bytes at offset {offset} are damaged: their crc32c is {found:08x}, not {wanted:08x}")]
    Damaged {
        /// Where the piece begins, in bytes.
        offset: u64,
        /// Its length.
        len: usize,
        /// What it should be.
        wanted: u32,
        /// What it is.
        found: u32,
    },
}

impl SendFileError {
    /// Compares what was read at `offset`, padding included, with what it should be: `len` bytes of this crc32c.
    ///
    /// # Errors
    /// [`SendFileError::Short`] or [`SendFileError::Damaged`].
    pub fn check(bytes: &[u8], offset: u64, len: usize, crc: u32) -> Result<(), SendFileError> {
        let Some(bytes) = bytes.get(..len) else {
            return Err(SendFileError::Short { offset, wanted: len, found: bytes.len() });
        };
        match crc32c::crc32c(bytes) {
            found if found == crc => Ok(()),
            found => Err(SendFileError::Damaged { offset, len, wanted: crc, found }),
        }
    }
}

/// All pieces that have memory, and what is needed to read more.
pub(super) struct Pieces {
    pub(super) sources: Sources,
    slots: Slots<Piece>,
    buffers: PieceBuffers,
    /// Sockets that have unread pieces, those that have waited longest first.
    wanting: VecDeque<Key>,
    /// Whether SEND_ZC is to be used.
    zero_copy: bool,
}

struct Piece {
    what: FilePiece,
    buffer: PieceBuffer,
    socket: Key,
    /// The socket still needs it.
    wanted: bool,
    stage: Stage,
    /// A read or send is in flight.
    in_flight: bool,
    /// What is in flight is a SEND_ZC.
    zero_copy: bool,
    /// Notices still to come. They follow their results, but nothing here relies on that.
    notices: i32,
}

enum Stage {
    /// So many bytes have been read.
    Reading(usize),
    /// Read and checked.
    Whole,
}

impl Pieces {
    pub(super) fn new(table: bool, zero_copy: bool) -> Pieces {
        Pieces {
            sources: Sources::new(),
            slots: Slots::new(),
            buffers: PieceBuffers::new(table),
            wanting: VecDeque::new(),
            zero_copy,
        }
    }

    pub(super) fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// How many hold a buffer.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A send of the bytes from `done` on, or of as many of them as one operation takes.
    pub(super) fn send(
        &mut self,
        key: Key,
        socket: types::Fd,
        done: usize,
        flags: i32,
        copies: bool,
    ) -> Option<squeue::Entry> {
        let piece = self.slots.get_mut(key)?;
        let rest = &piece.buffer.memory[done..piece.what.len];
        let (address, len) = (rest.as_ptr(), rest.len().min(MOST_AT_ONCE) as u32);
        piece.in_flight = true;
        piece.zero_copy = self.zero_copy && !copies && piece.buffer.registered.is_some();
        let send = if piece.zero_copy {
            let send = opcode::SendZc::new(socket, address, len).flags(flags).zc_flags(REPORT_USAGE);
            send.buf_index(piece.buffer.registered).build()
        } else {
            opcode::Send::new(socket, address, len).flags(flags).build()
        };
        Some(send.user_data(user_data(Kind::Piece, key)))
    }

    /// Whether a kernel that has said no to a send may say yes to a plain one.
    pub(super) fn was_zero_copy(&self, key: Key) -> bool {
        self.slots.get(key).is_some_and(|piece| piece.zero_copy)
    }

    /// Whether the kernel refers to the memory of pieces for what this socket has sent or is sending.
    pub(super) fn lends_to(&self, socket: Key) -> bool {
        let lent = |piece: &Piece| piece.notices != 0 || (piece.in_flight && piece.zero_copy);
        self.slots
            .keys()
            .into_iter()
            .filter_map(|key| self.slots.get(key))
            .any(|p| p.socket == socket && lent(p))
    }

    /// The socket whose send of this piece is in flight.
    pub(super) fn leaves_through(&self, key: Key) -> Option<Key> {
        let piece = self.slots.get(key)?;
        (piece.in_flight && matches!(piece.stage, Stage::Whole)).then_some(piece.socket)
    }

    /// The socket has unread pieces.
    fn want(&mut self, socket: Key) {
        if !self.wanting.contains(&socket) {
            self.wanting.push_back(socket);
        }
    }

    /// Frees the slot and the buffer of a piece that neither the socket nor the kernel needs.
    fn settle(&mut self, queue: &Queue, key: Key) {
        let done = |piece: &Piece| !piece.wanted && !piece.in_flight && piece.notices == 0;
        if self.slots.get(key).is_some_and(done)
            && let Some(piece) = self.slots.remove(key)
        {
            self.buffers.give_back(piece.buffer);
            self.release_if_idle(queue);
        }
    }

    pub(super) fn release_if_idle(&mut self, queue: &Queue) {
        if self.sources.is_empty() {
            self.buffers.release(queue);
        }
    }

    /// Leaks the buffers that the kernel may still use, for a ring that cannot wait for it.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::replace(&mut self.slots, Slots::new()));
    }

    #[cfg(test)]
    pub(super) fn buffer_count(&self) -> (usize, usize) {
        self.buffers.count()
    }
}

impl Piece {
    /// Reads on behind what was read.
    fn read(&mut self, descriptor: RawFd, done: usize, key: Key) -> squeue::Entry {
        let (file, offset) = (types::Fd(descriptor), self.what.offset + done as u64);
        let rest = &mut self.buffer.memory[done..self.what.len.next_multiple_of(BLOCK)];
        let (address, len) = (rest.as_mut_ptr(), rest.len() as u32);
        self.in_flight = true;
        let read = match self.buffer.registered {
            Some(index) => opcode::ReadFixed::new(file, address, len, index).offset(offset).build(),
            None => opcode::Read::new(file, address, len).offset(offset).build(),
        };
        read.user_data(user_data(Kind::Piece, key))
    }
}

impl Ring {
    /// Sends a piece of a file after what was given to earlier calls. [`Completion::SentFile`] follows when the kernel
    /// took every byte, or when nothing of it could be sent because of the file; then all later sends fail.
    ///
    /// Files are read as memory allows, which is bounded whatever is given.
    pub fn send_file(&mut self, socket: SocketId, piece: FilePiece, user: u64) {
        if self.sockets.get(socket.0).is_none_or(|entry| entry.closing) {
            return;
        }
        let whole = (1..=PIECE).contains(&piece.len) && piece.offset.is_multiple_of(BLOCK as u64);
        let content = if !whole {
            let what = format!("{} bytes at offset {} are no piece of a file", piece.len, piece.offset);
            let source = io::Error::new(io::ErrorKind::InvalidInput, what);
            Content::Unreadable(SendFileError::Read { offset: piece.offset, source })
        } else if !self.pieces.sources.begin(piece.source) {
            let source = io::Error::from_raw_os_error(libc::EBADF);
            Content::Unreadable(SendFileError::Read { offset: piece.offset, source })
        } else {
            Content::OnDisk
        };
        self.send_piece(socket, piece, content, user);
        self.pieces.want(socket.0);
        self.read_pieces();
    }

    /// Begins to read as many pieces as there are buffers for.
    fn read_pieces(&mut self) {
        while self.pieces.buffers.has_some() && self.read_next_piece() {}
    }

    /// Reads the next piece of the socket whose turn it is. False if there is none.
    fn read_next_piece(&mut self) -> bool {
        let Ring { sockets, pieces, queue, .. } = self;
        let files = |socket: &Key| sockets.get(*socket).map_or((0, 0), |entry| entry.sending.files());
        pieces.wanting.retain(|socket| files(socket).0 > 0);
        let has = |held: usize| pieces.wanting.iter().position(|socket| files(socket).1 == held);
        let Some(socket) = (0..AHEAD).find_map(has).and_then(|at| pieces.wanting.remove(at)) else {
            return false;
        };
        pieces.wanting.push_back(socket);
        let Some((what, content)) = sockets.get_mut(socket).and_then(|entry| entry.sending.next_unread())
        else {
            return false;
        };
        let what = *what;
        let Some(descriptor) = pieces.sources.descriptor(what.source) else { return false };
        let Some(buffer) = pieces.buffers.take(queue) else { return false };
        let key = pieces.slots.insert(Piece {
            what,
            buffer,
            socket,
            wanted: true,
            stage: Stage::Reading(0),
            in_flight: false,
            zero_copy: false,
            notices: 0,
        });
        *content = Content::Reading(key);
        if let Some(piece) = pieces.slots.get_mut(key) {
            let read = piece.read(descriptor, 0, key);
            // SAFETY: the slot keeps the buffer, untouched, and the source counts the piece, so that the descriptor
            // stays open, until the completion.
            unsafe { queue.push(read) }
        }
        true
    }

    /// The socket does not need the piece any more: it was sent, or never will be.
    pub(super) fn let_go(&mut self, piece: &FilePiece, content: &Content) {
        match *content {
            Content::OnDisk => {
                self.pieces.sources.end(piece.source);
                self.pieces.release_if_idle(&self.queue);
            }
            Content::Reading(key) | Content::Here(key) => {
                if let Some(piece) = self.pieces.slots.get_mut(key) {
                    piece.wanted = false;
                }
                self.pieces.settle(&self.queue, key);
            }
            Content::Unreadable(_) => {}
        }
        // Its buffer, or its place among the two of its socket, is free.
        self.read_pieces();
    }

    pub(super) fn on_piece(&mut self, cqe: Cqe) -> Option<Completion<'static>> {
        let piece = self.pieces.slots.get_mut(cqe.key)?;
        if cqueue::notif(cqe.flags) {
            piece.notices -= 1;
            if cqe.result == COPIED
                && let Some(entry) = self.sockets.get_mut(piece.socket)
            {
                entry.sending.copies = true;
            }
            self.pieces.settle(&self.queue, cqe.key);
            self.read_pieces();
            return None;
        }
        piece.in_flight = false;
        match piece.stage {
            Stage::Reading(done) => self.on_read(cqe, done),
            Stage::Whole => {
                piece.notices += i32::from(cqe.more());
                let socket = piece.socket;
                self.on_sent(socket, cqe.checked())
            }
        }
    }

    fn on_read(&mut self, cqe: Cqe, done: usize) -> Option<Completion<'static>> {
        let piece = self.pieces.slots.get_mut(cqe.key)?;
        let (what, socket, wanted) = (piece.what, piece.socket, piece.wanted);
        let read = match cqe.checked() {
            Ok(0) => Some(Ok(())),
            Ok(count) => {
                piece.stage = Stage::Reading(done + count);
                // Less than was asked for is the end of the file, or what comes before an error: the next read says.
                let end = done + count >= what.len || !count.is_multiple_of(BLOCK);
                end.then_some(Ok(()))
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => None,
            Err(source) => Some(Err(SendFileError::Read { offset: what.offset + done as u64, source })),
        };
        let Stage::Reading(done) = piece.stage else { return None };
        let outcome = match read {
            None if wanted => {
                let read = piece.read(self.pieces.sources.descriptor(what.source)?, done, cqe.key);
                // SAFETY: as in `read_next_piece`.
                unsafe { self.queue.push(read) }
                return None;
            }
            Some(Ok(())) if wanted => {
                SendFileError::check(&piece.buffer.memory[..done], what.offset, what.len, what.crc)
            }
            Some(outcome) => outcome,
            None => Ok(()),
        };
        piece.stage = Stage::Whole;
        piece.wanted = wanted && outcome.is_ok();
        self.pieces.sources.end(what.source);
        self.pieces.settle(&self.queue, cqe.key);
        if wanted {
            self.piece_is_read(SocketId(socket), cqe.key, outcome);
        }
        self.read_pieces();
        self.ready.pop_front()
    }
}
