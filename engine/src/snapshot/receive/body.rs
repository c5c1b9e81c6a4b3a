//! A body on its way into a file: cut into pieces, each with its checksum, as steps for whoever writes.

use super::super::PIECE;
use super::super::steps::Step;
use crate::io::BLOCK;

/// What was written of a body: its length, and the crc32c of each piece.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub len: u64,
    pub crcs: Vec<u32>,
}

impl Sums {
    /// The bytes of the trailer, without its padding.
    pub fn trailer(&self) -> Vec<u8> {
        self.crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect()
    }
}

/// Holds one piece at most.
#[derive(Debug)]
pub(super) struct Body {
    written: Sums,
    piece: Vec<u8>,
    /// Of the piece so far.
    crc: u32,
}

impl Body {
    /// Begins the file of this working name.
    pub fn begin(name: &'static str, steps: &mut Vec<Step>) -> Body {
        steps.push(Step::Create(name));
        Body { written: Sums::default(), piece: Vec::with_capacity(PIECE), crc: 0 }
    }

    /// The next bytes.
    pub fn take(&mut self, mut bytes: &[u8], steps: &mut Vec<Step>) {
        while !bytes.is_empty() {
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(fits);
            self.crc = crc32c::crc32c_append(self.crc, fits);
            bytes = rest;
            if self.piece.len() == PIECE {
                self.hand_on(Vec::with_capacity(PIECE), steps);
            }
        }
    }

    /// The last piece may be a short one.
    pub fn end(mut self, steps: &mut Vec<Step>) -> Sums {
        if !self.piece.is_empty() {
            self.hand_on(Vec::new(), steps);
        }
        self.written
    }

    fn hand_on(&mut self, next: Vec<u8>, steps: &mut Vec<Step>) {
        let piece = std::mem::replace(&mut self.piece, next);
        let offset = BLOCK as u64 + self.written.len;
        self.written.len += piece.len() as u64;
        self.written.crcs.push(std::mem::take(&mut self.crc));
        steps.push(append(offset, piece));
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.written.len + self.piece.len() as u64
    }
}

/// Writes bytes padded with zeros to whole blocks.
pub(super) fn append(offset: u64, mut bytes: Vec<u8>) -> Step {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    Step::Write { offset, bytes }
}
