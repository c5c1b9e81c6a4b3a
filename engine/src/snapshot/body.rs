//! The body of a snapshot file on its way to the disk: pieces of one MiB with their checksums, then the rest of the
//! file, as steps.
//!
//! The order is that of durability: everything is flushed before the header is written, and the header before the file
//! gets its name. So a file that has a snapshot's name was whole once.

use super::format::{PIECE, Published};
use super::steps::Step;
use crate::io::BLOCK;
use crate::mutant::{Mutant, planted};

/// See the module. Behind [`Step::Create`].
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Bytes so far, those in `piece` included.
    len: u64,
    /// The end that makes no whole piece yet.
    piece: Vec<u8>,
    /// Of the pieces that went out, 4 bytes each.
    crcs: Vec<u8>,
}

impl Body {
    /// The next bytes. Pieces that are whole go out.
    pub fn take(&mut self, mut bytes: &[u8], steps: &mut impl Extend<Step>) {
        while !bytes.is_empty() {
            if self.piece.capacity() == 0 {
                self.piece.reserve_exact(PIECE);
            }
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(fits);
            self.len += fits.len() as u64;
            bytes = rest;
            if self.piece.len() == PIECE {
                self.flush(steps);
            }
        }
    }

    fn flush(&mut self, steps: &mut impl Extend<Step>) {
        if self.piece.is_empty() {
            return;
        }
        let offset = BLOCK as u64 + self.len - self.piece.len() as u64;
        self.crcs.extend_from_slice(&crc32c::crc32c(&self.piece).to_le_bytes());
        steps.extend([write(offset, std::mem::take(&mut self.piece))]);
    }

    /// Ends the body and the file. What the header says of the body is filled in; the result is what the file will be.
    pub fn publish(mut self, mut published: Published, steps: &mut impl Extend<Step>) -> Published {
        self.flush(steps);
        published.body_len = self.len;
        published.trailer_crc = crc32c::crc32c(&self.crcs);
        let mut header = vec![0; BLOCK];
        published.write(&mut header);
        steps.extend([write(published.trailer_at(), self.crcs)]);
        if !planted(Mutant::Zk2872SnapshotNotFlushed) {
            steps.extend([Step::Flush]);
        }
        steps.extend([Step::Write { offset: 0, bytes: header }, Step::Publish(published.file())]);
        published
    }
}

/// A write of these bytes and of zeros up to the end of a block.
fn write(offset: u64, mut bytes: Vec<u8>) -> Step {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    Step::Write { offset, bytes }
}
