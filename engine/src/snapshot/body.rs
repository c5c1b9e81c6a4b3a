//! The body of a snapshot file on its way to the disk: pieces of one MiB with their checksums, then the rest of the
//! file, as steps for whoever writes.
//!
//! The order is that of durability: everything is flushed before the header is written, and the header before the file
//! gets its name. So a file that has a snapshot's name was whole once.

use super::format::{PIECE, Published, SnapshotName, trailer_at};
use super::steps::{MAKING, Step, perform};
use super::stream::try_write_stream;
use crate::id::SessionId;
use crate::io::{BLOCK, Volume};
use crate::log::LogError;
use crate::mutant::{Mutant, planted};
use crate::tree::Tree;

/// What was written of a body: its length, and the crc32c of each piece.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub len: u64,
    pub crcs: Vec<u32>,
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
    pub fn begin(name: &'static str, steps: &mut impl Extend<Step>) -> Body {
        steps.extend([Step::Create(name)]);
        Body { written: Sums::default(), piece: Vec::new(), crc: 0 }
    }

    /// The next bytes. Pieces that are whole go out.
    pub fn take(&mut self, mut bytes: &[u8], steps: &mut impl Extend<Step>) {
        while !bytes.is_empty() {
            if self.piece.capacity() == 0 {
                self.piece.reserve_exact(PIECE);
            }
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(fits);
            self.crc = crc32c::crc32c_append(self.crc, fits);
            bytes = rest;
            if self.piece.len() == PIECE {
                self.hand_on(steps);
            }
        }
    }

    /// The last piece may be a short one.
    pub fn end(mut self, steps: &mut impl Extend<Step>) -> Sums {
        if !self.piece.is_empty() {
            self.hand_on(steps);
        }
        self.written
    }

    fn hand_on(&mut self, steps: &mut impl Extend<Step>) {
        let piece = std::mem::take(&mut self.piece);
        let offset = BLOCK as u64 + self.written.len;
        self.written.len += piece.len() as u64;
        self.written.crcs.push(std::mem::take(&mut self.crc));
        steps.extend([padded(offset, piece)]);
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.written.len + self.piece.len() as u64
    }
}

impl Sums {
    /// Ends the file but for its header. The result is the crc32c of the checksums, for the header.
    pub fn end_file(&self, steps: &mut impl Extend<Step>) -> u32 {
        let trailer: Vec<u8> = self.crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect();
        let crc = crc32c::crc32c(&trailer);
        steps.extend([padded(trailer_at(self.len), trailer)]);
        if !planted(Mutant::Zk2872SnapshotNotFlushed) {
            steps.extend([Step::Flush]);
        }
        crc
    }

    /// Ends the file and publishes it. What the header says of the body is filled in; the result is what the file will
    /// be.
    pub fn publish(self, mut published: Published, steps: &mut impl Extend<Step>) -> Published {
        published.body_len = self.len;
        published.trailer_crc = self.end_file(steps);
        let mut header = vec![0; BLOCK];
        published.write(&mut header);
        steps.extend([Step::Write { offset: 0, bytes: header }, Step::Publish(published.file())]);
        published
    }
}

/// Writes a whole state as a snapshot and publishes it, blocking: for tests, fuzzing and tools. What the header says of the
/// state and the body is filled in.
pub(crate) fn publish_state(
    vol: &dyn Volume,
    published: Published,
    tree: &Tree,
    sessions: &[(SessionId, i32)],
) -> Result<Published, LogError> {
    let name = SnapshotName { zxid: tree.last_zxid(), ..published.name };
    let (digest, converging) = (tree.digest(), tree.is_converging());
    let published = Published { name, digest, converging, ..published };
    let mut steps = Vec::new();
    let mut body = Body::begin(MAKING, &mut steps);
    let perform_all =
        |steps: &mut Vec<Step>| steps.drain(..).try_for_each(|step| perform(&step, MAKING, vol));
    try_write_stream(tree, sessions, &mut |bytes| {
        body.take(bytes, &mut steps);
        perform_all(&mut steps)
    })?;
    let published = body.end(&mut steps).publish(published, &mut steps);
    perform_all(&mut steps)?;
    Ok(published)
}

/// A write of these bytes and of zeros up to the end of a block.
fn padded(offset: u64, mut bytes: Vec<u8>) -> Step {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    Step::Write { offset, bytes }
}
