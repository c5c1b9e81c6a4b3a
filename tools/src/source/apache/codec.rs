//! Compression of snapshots: gzip as everybody writes it, and snappy in the framing of the Java library.
//!
//! ```text
//! 0      8         12           16
//! | magic | version | compatible | { length of the block (4) | raw snappy block } ...      all big-endian
//! ```
//!
//! A block holds up to 32 KiB. Only snapshots are compressed, and checksums are over the bytes before compression.

use std::io::{self, Read, Write};

use clap::ValueEnum;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// First bytes of a snappy stream of the Java library.
const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Version, and the oldest version that can read it.
const SNAPPY_VERSION: i32 = 1;
/// Bytes per block as the library writes them.
const SNAPPY_BLOCK: usize = 32 << 10;
/// Longest block that is read, before and after expansion. The library can be told to write up to 512 MiB, nobody does.
const SNAPPY_LONGEST: usize = 64 << 20;

/// How a snapshot is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Codec {
    /// Not at all.
    #[value(name = "none")]
    Plain,
    /// `.gz`.
    #[value(name = "gzip", alias = "gz")]
    Gzip,
    /// `.snappy`.
    Snappy,
}

impl Codec {
    /// What the name behind the zxid says.
    pub fn of_suffix(suffix: Option<&str>) -> Option<Codec> {
        match suffix {
            None => Some(Codec::Plain),
            Some("gz") => Some(Codec::Gzip),
            Some("snappy") => Some(Codec::Snappy),
            Some(_) => None,
        }
    }

    /// What the name has behind the zxid, the dot included.
    pub fn suffix(self) -> &'static str {
        match self {
            Codec::Plain => "",
            Codec::Gzip => ".gz",
            Codec::Snappy => ".snappy",
        }
    }

    /// The uncompressed bytes of `input`. What is wrong with compressed bytes comes as
    /// [`io::ErrorKind::InvalidData`] or [`io::ErrorKind::UnexpectedEof`].
    pub fn reader(self, input: impl Read + Send + 'static) -> Box<dyn Read + Send> {
        match self {
            Codec::Plain => Box::new(input),
            Codec::Gzip => Box::new(Gunzip(MultiGzDecoder::new(input))),
            Codec::Snappy => {
                Box::new(Unsnap { input, block: Vec::new(), at: 0, begun: false, packed: Vec::new() })
            }
        }
    }

    /// A writer that compresses into `output`; to be ended by [`Packing::finish`].
    pub fn writer<W: Write>(self, output: W) -> io::Result<Packing<W>> {
        Ok(match self {
            Codec::Plain => Packing::Plain(output),
            Codec::Gzip => Packing::Gzip(GzEncoder::new(output, Compression::default())),
            Codec::Snappy => Packing::Snappy(Snap::begin(output)?),
        })
    }
}

/// gzip; the library says "invalid input" of damaged bytes.
struct Gunzip<R: Read>(MultiGzDecoder<R>);

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => io::Error::new(io::ErrorKind::InvalidData, error),
            _ => error,
        })
    }
}

struct Unsnap<R> {
    input: R,
    /// The block that is being handed out, and how much of it was.
    block: Vec<u8>,
    at: usize,
    /// The header was read.
    begun: bool,
    packed: Vec<u8>,
}

impl<R: Read> Unsnap<R> {
    fn header(&mut self) -> io::Result<()> {
        let mut header = [0; 16];
        self.input.read_exact(&mut header)?;
        let number = |at: usize| i32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        // A reader of version 1 can read what says that version 1 can.
        if header[..8] != SNAPPY_MAGIC || number(12) > SNAPPY_VERSION {
            return Err(invalid("not a snappy stream of the Java library"));
        }
        self.begun = true;
        Ok(())
    }

    /// The next block; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        let mut len = [0; 4];
        let got = self.input.read(&mut len)?;
        if got == 0 {
            return Ok(false);
        }
        self.input.read_exact(&mut len[got..])?;
        let len = usize::try_from(i32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len == 0 || len > SNAPPY_LONGEST {
            return Err(invalid("the length of a snappy block cannot be"));
        }
        self.packed.clear();
        if (&mut self.input).take(len as u64).read_to_end(&mut self.packed)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let expanded = snap::raw::decompress_len(&self.packed).map_err(invalid)?;
        if expanded > SNAPPY_LONGEST {
            return Err(invalid("a snappy block is too long"));
        }
        self.block.resize(expanded, 0);
        self.at = 0;
        let filled = snap::raw::Decoder::new().decompress(&self.packed, &mut self.block).map_err(invalid)?;
        self.block.truncate(filled);
        Ok(true)
    }
}

impl<R: Read> Read for Unsnap<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.begun {
            self.header()?;
        }
        while self.at == self.block.len() {
            if !self.next()? {
                return Ok(0);
            }
        }
        let len = out.len().min(self.block.len() - self.at);
        out[..len].copy_from_slice(&self.block[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A compressing writer.
pub enum Packing<W: Write> {
    /// Nothing to do.
    Plain(W),
    /// gzip.
    Gzip(GzEncoder<W>),
    /// snappy in blocks.
    Snappy(Snap<W>),
}

impl<W: Write> Packing<W> {
    /// Writes what is held back and returns what was written to.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Packing::Plain(output) => Ok(output),
            Packing::Gzip(encoder) => encoder.finish(),
            Packing::Snappy(mut snap) => {
                snap.block()?;
                Ok(snap.output)
            }
        }
    }
}

impl<W: Write> Write for Packing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Packing::Plain(output) => output.write(bytes),
            Packing::Gzip(encoder) => encoder.write(bytes),
            Packing::Snappy(snap) => snap.take(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gathers blocks and writes them.
pub struct Snap<W> {
    output: W,
    held: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> Snap<W> {
    fn begin(mut output: W) -> io::Result<Snap<W>> {
        output.write_all(&SNAPPY_MAGIC)?;
        output.write_all(&SNAPPY_VERSION.to_be_bytes())?;
        output.write_all(&SNAPPY_VERSION.to_be_bytes())?;
        let packed = vec![0; snap::raw::max_compress_len(SNAPPY_BLOCK)];
        Ok(Snap { output, held: Vec::with_capacity(SNAPPY_BLOCK), packed })
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(SNAPPY_BLOCK - self.held.len());
        self.held.extend_from_slice(&bytes[..len]);
        if self.held.len() == SNAPPY_BLOCK {
            self.block()?;
        }
        Ok(len)
    }

    fn block(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let len =
            snap::raw::Encoder::new().compress(&self.held, &mut self.packed).map_err(io::Error::other)?;
        self.held.clear();
        self.output.write_all(&(len as u32).to_be_bytes())?;
        self.output.write_all(&self.packed[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_a_cut_is_seen() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
        for codec in [Codec::Plain, Codec::Gzip, Codec::Snappy] {
            let mut writer = codec.writer(Vec::new()).unwrap();
            writer.write_all(&bytes).unwrap();
            let packed = writer.finish().unwrap();
            let mut read = Vec::new();
            codec.reader(io::Cursor::new(packed.clone())).read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{codec:?}");
            if codec != Codec::Plain {
                assert!(packed.len() < bytes.len() / 2, "{codec:?} packs {}", packed.len());
                let cut = io::Cursor::new(packed[..packed.len() - 1].to_vec());
                let error = codec.reader(cut).read_to_end(&mut Vec::new()).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{codec:?}");
            }
        }
    }

    #[test]
    fn snappy_is_framed_as_the_java_library_does() {
        let mut writer = Codec::Snappy.writer(Vec::new()).unwrap();
        writer.write_all(b"ZKSN").unwrap();
        let packed = writer.finish().unwrap();
        let expected = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x06\x04\x0cZKSN";
        assert_eq!(packed, expected);
    }
}
