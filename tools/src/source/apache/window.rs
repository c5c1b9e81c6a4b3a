//! Reads a file or a decompressed stream from front to back in large pieces, on a thread of its own, and shows a
//! window of it that moves forward.
//!
//! While one piece is looked at, the next ones are read, so that checking costs no time of the disk. Memory is a few
//! pieces, and more only for an item that is longer than one. It knows nothing of what is in the bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::damage::io_error;
use crate::error::InspectError;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Room before a piece, for what is left of the one before: so that an item that spans two is in one place without
/// copying more than its beginning.
const HEAD: usize = 64 << 10;
/// Pieces that are read ahead.
const AHEAD: usize = 3;

/// A piece, its bytes from [`HEAD`] on.
struct Piece {
    buf: Vec<u8>,
    len: usize,
}

/// See the module.
pub(super) struct Window {
    pieces: Receiver<io::Result<Piece>>,
    used: Sender<Vec<u8>>,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the input of what is at `start`.
    offset: u64,
    ended: bool,
}

impl Window {
    /// Reads all of `input`, which has about `len` bytes.
    pub fn new(input: impl Read + Send + 'static, len: u64) -> Window {
        let (pieces_in, pieces) = sync_channel(AHEAD);
        let (used, used_out) = channel();
        // One byte more, so that the end is seen at once.
        let piece = PIECE.min(len.saturating_add(1) as usize);
        thread::spawn(move || read_all(input, piece, &pieces_in, &used_out));
        Window { pieces, used, buf: Vec::new(), start: 0, end: 0, offset: 0, ended: false }
    }

    /// Offset in the input of the window's first byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is in the window.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Sees to it that at least `n` bytes are in the window; false if the input ends before. An error is final.
    pub fn fill(&mut self, n: usize) -> io::Result<bool> {
        while self.end - self.start < n {
            if self.ended {
                return Ok(false);
            }
            match self.pieces.recv() {
                Ok(Ok(piece)) => self.add(piece),
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(_) => self.ended = true,
            }
        }
        Ok(true)
    }

    fn add(&mut self, mut piece: Piece) {
        let left = self.end - self.start;
        if left <= HEAD {
            piece.buf[HEAD - left..HEAD].copy_from_slice(&self.buf[self.start..self.end]);
            let old = std::mem::replace(&mut self.buf, piece.buf);
            (self.start, self.end) = (HEAD - left, HEAD + piece.len);
            // What grew beyond a piece is not worth keeping; the reader may have ended.
            if old.len() <= HEAD + PIECE {
                let _ = self.used.send(old);
            }
        } else {
            self.buf.copy_within(self.start..self.end, 0);
            self.buf.truncate(left);
            self.buf.extend_from_slice(&piece.buf[HEAD..HEAD + piece.len]);
            (self.start, self.end) = (0, self.buf.len());
            let _ = self.used.send(piece.buf);
        }
    }

    /// Moves forward over bytes that are in the window.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.end - self.start, "only what is in the window can be left behind");
        self.start += n;
        self.offset += n as u64;
    }

    /// Moves forward to this offset; false if the input ends before.
    pub fn advance_to(&mut self, offset: u64) -> io::Result<bool> {
        while self.offset < offset {
            if !self.fill(1)? {
                return Ok(false);
            }
            let step = (offset - self.offset).min((self.end - self.start) as u64);
            self.advance(step as usize);
        }
        Ok(true)
    }
}

fn read_all(
    mut input: impl Read,
    piece: usize,
    pieces: &SyncSender<io::Result<Piece>>,
    used: &Receiver<Vec<u8>>,
) {
    loop {
        let mut buf = used.try_recv().unwrap_or_default();
        buf.resize(HEAD + piece, 0);
        let read = read_piece(&mut input, &mut buf[HEAD..]);
        let more = match read {
            Ok(0) => return,
            Ok(len) => pieces.send(Ok(Piece { buf, len })).is_ok(),
            Err((len, error)) => {
                // What came before the error is as good as ever.
                let _ = pieces.send(Ok(Piece { buf, len }));
                let _ = pieces.send(Err(error));
                false
            }
        };
        if !more {
            return;
        }
    }
}

fn read_piece(input: &mut impl Read, out: &mut [u8]) -> Result<usize, (usize, io::Error)> {
    let mut len = 0;
    while len < out.len() {
        match input.read(&mut out[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((len, error)),
        }
    }
    Ok(len)
}

/// Opens a file that is read once from front to back, and returns its length too.
pub(super) fn open(path: &Path) -> Result<(File, u64), InspectError> {
    let file = File::open(path).map_err(io_error("opening", path))?;
    let len = file.metadata().map_err(io_error("reading the length of", path))?.len();
    // Only advice: what comes of it is the system's.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
    Ok((file, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes in odd portions.
    struct Dribble(u64, u64);

    impl Read for Dribble {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = (self.1 - self.0).min(out.len() as u64).min(77_777) as usize;
            for (i, byte) in out[..len].iter_mut().enumerate() {
                *byte = value(self.0 + i as u64);
            }
            self.0 += len as u64;
            Ok(len)
        }
    }

    fn value(at: u64) -> u8 {
        (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    #[test]
    fn window_shows_every_byte_once_whatever_is_asked_for() {
        let total = 9_000_001;
        let mut window = Window::new(Dribble(0, total), total);
        let mut wanted = [1, 40, 70_000, 3_000_000, 12, 1_100_000].into_iter().cycle();
        let mut at = 0;
        while window.fill(1).unwrap() {
            let n = wanted.next().unwrap();
            let whole = window.fill(n).unwrap();
            assert_eq!(whole, at + n as u64 <= total);
            let take = n.min(window.bytes().len());
            assert_eq!(window.offset(), at);
            assert!(window.bytes()[..take].iter().enumerate().all(|(i, &b)| b == value(at + i as u64)));
            window.advance(take);
            at += take as u64;
        }
        assert_eq!(at, total);
    }

    #[test]
    fn an_error_comes_behind_what_was_read_before_it() {
        struct Breaks(usize);
        impl Read for Breaks {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let len = out.len().min(self.0);
                self.0 -= len;
                Ok(len)
            }
        }
        let mut window = Window::new(Breaks(2_000_000), 2_000_000);
        assert!(window.advance_to(2_000_000).unwrap());
        assert_eq!(window.fill(1).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(!window.fill(1).unwrap());
    }
}
