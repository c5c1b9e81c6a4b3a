//! Takes packets out of a byte stream that has no frames.
//!
//! A packet is handed out only when it is whole. No field may be larger than the limit, and no more bytes are kept
//! than arrived. After a SNAP the caller takes raw bytes ([`Decoder::raw`], [`Decoder::consume`]) until its snapshot
//! is complete, then goes on with packets.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::{JuteError, Reader};

use super::QuorumPacket;

/// Bytes of type, zxid and the length of the data.
const HEAD: usize = 16;

/// Bytes that the identities of one request may take: they are parsed again with every piece that arrives.
const MAX_AUTH: usize = 64 * 1024;

/// Why a quorum connection cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A payload larger than allowed.
    #[error("reading packet type {kind}: {length} bytes of data, at most {limit}")]
    TooLong {
        /// Type of the packet.
        kind: i32,
        /// Announced length.
        length: i32,
        /// What `jute.maxbuffer` and its extra size allow.
        limit: usize,
    },
    /// Identities larger than allowed.
    #[error("reading packet type {kind}: more than {MAX_AUTH} bytes of identities")]
    TooManyIdentities {
        /// Type of the packet.
        kind: i32,
    },
    /// A length that cannot be.
    #[error("reading packet type {kind}: {source}")]
    Jute {
        /// Type of the packet.
        kind: i32,
        /// What is wrong.
        source: JuteError,
    },
}

/// The receiving end of a quorum connection.
#[derive(Debug)]
pub struct Decoder {
    buf: Vec<u8>,
    /// Where the unread bytes begin.
    at: usize,
    /// Nothing can be whole before so many unread bytes are there.
    need: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder for packets whose data has at most `limit` bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder { buf: Vec::new(), at: 0, need: HEAD, limit }
    }

    /// From now on packets may have so many bytes of data.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes from the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.buf.drain(..self.at);
            self.at = 0;
        }
        self.buf.extend_from_slice(bytes);
    }

    /// The next packet, or `None` if it is not whole yet.
    ///
    /// # Errors
    /// When the stream is no sequence of packets; the connection must be closed.
    pub fn next_packet(&mut self) -> Result<Option<QuorumPacket<'_>>, StreamError> {
        let unread = &self.buf[self.at..];
        if unread.len() < self.need {
            return Ok(None);
        }
        match parse(unread, self.limit)? {
            Parsed::Missing { need } => {
                self.need = need;
                Ok(None)
            }
            Parsed::Whole { packet, used } => {
                self.at += used;
                self.need = HEAD;
                Ok(Some(packet))
            }
        }
    }

    /// The bytes that are there and belong to no packet taken so far.
    pub fn raw(&self) -> &[u8] {
        &self.buf[self.at..]
    }

    /// `count` of the [`raw`](Self::raw) bytes were used. More than there are is a bug of the caller.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.buf.len() - self.at, "consumed {count} bytes that never arrived");
        self.at += count;
        self.need = HEAD;
    }
}

enum Parsed<'a> {
    Missing { need: usize },
    Whole { packet: QuorumPacket<'a>, used: usize },
}

fn parse(bytes: &[u8], limit: usize) -> Result<Parsed<'_>, StreamError> {
    let reader = &mut Reader::new(bytes);
    let (Ok(kind), Ok(zxid)) = (reader.i32(), reader.i64()) else {
        return Ok(Parsed::Missing { need: HEAD });
    };
    let bad = |source| StreamError::Jute { kind, source };
    if let Some(length) = Reader::new(reader.rest()).i32().ok().filter(|&length| length >= 0)
        && usize::try_from(length).is_ok_and(|length| length > limit)
    {
        return Err(StreamError::TooLong { kind, length, limit });
    }
    let data = match reader.buffer() {
        Ok(data) => data,
        Err(JuteError::Truncated { at, need, .. }) => return Ok(Parsed::Missing { need: at + need }),
        Err(source) => return Err(bad(source)),
    };
    let start = reader.position();
    match skip_identities(reader) {
        Ok(()) if reader.position() - start > MAX_AUTH => Err(StreamError::TooManyIdentities { kind }),
        Ok(()) => {
            let packet = QuorumPacket { kind, zxid: Zxid::from_raw(zxid), data, auth: reader.since(start) };
            Ok(Parsed::Whole { packet, used: reader.position() })
        }
        Err(JuteError::Truncated { at, need, .. }) if at + need - start <= MAX_AUTH => {
            Ok(Parsed::Missing { need: at + need })
        }
        Err(JuteError::Truncated { .. }) => Err(StreamError::TooManyIdentities { kind }),
        Err(source) => Err(bad(source)),
    }
}

/// The count is only a bound here: what it announces need not have arrived, unlike in a whole frame.
fn skip_identities(reader: &mut Reader<'_>) -> Result<(), JuteError> {
    let at = reader.position();
    let count = reader.i32()?;
    if count < -1 || usize::try_from(count).is_ok_and(|count| count > MAX_AUTH / 8) {
        return Err(JuteError::ImpossibleCount { at, count, have: reader.remaining() });
    }
    for _ in 0..count {
        reader.ustring()?;
        reader.ustring()?;
    }
    Ok(())
}
