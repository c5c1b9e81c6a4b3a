//! What the disk and the loopback can do, as plainly as possible: what moves a snapshot cannot be faster.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Instant;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::error::BenchError;
use crate::workload::data;

/// Bytes of one read or write.
const PIECE: usize = 1 << 20;
/// What O_DIRECT wants addresses and lengths to be multiples of.
const ALIGN: usize = 4096;
/// Reads or writes in flight in the second of two ways.
const IN_FLIGHT: u64 = 4;

/// Memory that O_DIRECT accepts.
struct Piece {
    bytes: Vec<u8>,
    skip: usize,
}

impl Piece {
    fn new() -> Piece {
        let bytes = data(PIECE + ALIGN);
        let skip = bytes.as_ptr().align_offset(ALIGN);
        Piece { bytes, skip }
    }

    fn get(&mut self) -> &mut [u8] {
        &mut self.bytes[self.skip..self.skip + PIECE]
    }
}

/// Bytes per second at which a file of `bytes`, rounded up to MiB, is written below `dir` with O_DIRECT and flushed: the
/// better of one writer that makes it grow and of four in a file that has its space.
pub fn disk_write(dir: &Path, bytes: u64) -> Result<f64, BenchError> {
    let pieces = bytes.div_ceil(PIECE as u64).max(1);
    let path = dir.join("ceiling");
    let error = |source| BenchError::File { doing: "writing with O_DIRECT to", path: path.clone(), source };
    let mut best: f64 = 0.0;
    for writers in [1, IN_FLIGHT] {
        let file = create_direct(&path).map_err(error)?;
        if writers > 1 {
            let len = pieces * PIECE as u64;
            fallocate(&file, FallocateFlags::empty(), 0, len).map_err(|e| error(e.into()))?;
        }
        let start = Instant::now();
        let write = |piece: &mut [u8], at| file.write_all_at(piece, at);
        in_turn(pieces, writers, write).and_then(|()| file.sync_data()).map_err(error)?;
        best = best.max(rate(pieces, start));
        fs::remove_file(&path).map_err(error)?;
    }
    Ok(best)
}

/// Bytes per second at which the whole MiB of a file are read with O_DIRECT, the better of one reader and four; `None`
/// if it is shorter than one.
pub fn disk_read(path: &Path) -> Result<Option<f64>, BenchError> {
    let error = |source| BenchError::File { doing: "reading with O_DIRECT from", path: path.into(), source };
    let file = OpenOptions::new().read(true).custom_flags(direct()).open(path).map_err(error)?;
    let pieces = file.metadata().map_err(error)?.len() / PIECE as u64;
    let mut best: Option<f64> = None;
    for readers in [1, IN_FLIGHT] {
        let start = Instant::now();
        in_turn(pieces, readers, |piece, at| file.read_exact_at(piece, at)).map_err(error)?;
        best = (pieces > 0).then(|| best.unwrap_or(0.0).max(rate(pieces, start)));
    }
    Ok(best)
}

/// Bytes per second that one thread sends to another over TCP on the loopback address.
pub fn loopback(bytes: u64) -> Result<f64, BenchError> {
    let error = |source| BenchError::Os { doing: "sending over the loopback", source };
    let pieces = bytes.div_ceil(PIECE as u64).max(1);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(error)?;
    let sender = TcpStream::connect(listener.local_addr().map_err(error)?).map_err(error)?;
    let (receiver, _) = listener.accept().map_err(error)?;
    let start = Instant::now();
    thread::scope(|scope| {
        let sending = scope.spawn(move || send(sender, pieces));
        receive(receiver)?;
        sending.join().expect("the sender does not panic")
    })
    .map_err(error)?;
    Ok(rate(pieces, start))
}

fn send(mut stream: TcpStream, pieces: u64) -> io::Result<()> {
    let bytes = data(PIECE);
    (0..pieces).try_for_each(|_| stream.write_all(&bytes))
}

fn receive(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; PIECE];
    while stream.read(&mut bytes)? > 0 {}
    Ok(())
}

/// Does something with each MiB of a file by so many threads, each of which has every so many-th.
fn in_turn(
    pieces: u64,
    threads: u64,
    each: impl Fn(&mut [u8], u64) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let one = |first: u64| {
        let mut piece = Piece::new();
        let mut own = (first..pieces).step_by(threads as usize);
        own.try_for_each(|n| each(piece.get(), n * PIECE as u64))
    };
    if threads == 1 {
        return one(0);
    }
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|first| scope.spawn(move || one(first))).collect();
        started.into_iter().try_for_each(|t| t.join().expect("a reader or writer does not panic"))
    })
}

fn direct() -> i32 {
    OFlags::DIRECT.bits() as i32
}

fn create_direct(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).custom_flags(direct()).open(path)
}

fn rate(pieces: u64, start: Instant) -> f64 {
    (pieces * PIECE as u64) as f64 / start.elapsed().as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_where_direct_access_wants_it() {
        let mut piece = Piece::new();
        assert_eq!((piece.get().as_ptr() as usize % ALIGN, piece.get().len()), (0, PIECE));
    }

    #[test]
    fn each_piece_is_done_once_and_none_is_left_out() {
        let file = tempfile::tempfile().unwrap();
        for threads in [1, 4] {
            file.set_len(0).unwrap();
            let write = |piece: &mut [u8], at: u64| {
                let mut old = [0; 1];
                // Behind the end nothing is read, and in a hole a zero.
                let _ = file.read_at(&mut old, at)?;
                assert_eq!(old, [0], "{at} for the second time");
                piece[0] = 1;
                file.write_all_at(piece, at)
            };
            in_turn(9, threads, write).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 9 * PIECE as u64);
            for n in 0..9 {
                let mut first = [0; 1];
                file.read_exact_at(&mut first, n * PIECE as u64).unwrap();
                assert_eq!(first, [1]);
            }
        }
    }

    #[test]
    fn the_loopback_has_a_rate() {
        assert!(loopback(3 << 20).unwrap() > 0.0);
    }
}
