//! A bounded byte ring that carries messages of any length.
//!
//! Message layout in the ring, native endianness (it never leaves the process):
//!
//! ```text
//! 0      4      8            12     16
//! | kind | slot | generation | body | body bytes ...
//! | u32  | u32  | u32        | len  |
//! ```

use rtrb::{Consumer, Producer, RingBuffer};

const HEADER: usize = 16;

/// A message as the reader sees it; `body` points into the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is; the meaning belongs to the two ends.
    pub kind: u32,
    /// The connection's slot in its front loop.
    pub slot: u32,
    /// The connection's generation, so that messages for a closed one can be told apart.
    pub generation: u32,
    /// The payload.
    pub body: &'a [u8],
}

/// The sending end.
#[derive(Debug)]
pub struct PipeWriter {
    ring: Producer<u8>,
    capacity: usize,
}

/// The receiving end.
#[derive(Debug)]
pub struct PipeReader {
    ring: Consumer<u8>,
    /// Holds a body that wraps around the end of the ring.
    wrapped: Vec<u8>,
}

/// A pipe of `capacity` bytes. The largest message it can ever carry is [`PipeWriter::max_body`].
pub fn pipe(capacity: usize) -> (PipeWriter, PipeReader) {
    let (producer, consumer) = RingBuffer::new(capacity);
    (PipeWriter { ring: producer, capacity }, PipeReader { ring: consumer, wrapped: Vec::new() })
}

impl PipeWriter {
    /// The longest body that fits into an empty pipe.
    pub fn max_body(&self) -> usize {
        self.capacity - HEADER
    }

    /// Bytes of body that fit right now.
    pub fn room(&self) -> usize {
        self.ring.slots().saturating_sub(HEADER)
    }

    /// Puts a message in, or returns `false` and changes nothing when it does not fit now.
    pub fn push(&mut self, kind: u32, slot: u32, generation: u32, body: &[u8]) -> bool {
        let Ok(mut chunk) = self.ring.write_chunk(HEADER + body.len()) else { return false };
        let mut header = [0; HEADER];
        let len = u32::try_from(body.len()).expect("a body that fits into the ring is below 4 GiB");
        for (field, value) in header.chunks_exact_mut(4).zip([kind, slot, generation, len]) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
        let (first, second) = chunk.as_mut_slices();
        let mut at = 0;
        for part in [&header[..], body] {
            // What does not fit before the end of the ring goes on at its beginning.
            let (head, rest) = part.split_at(part.len().min(first.len().saturating_sub(at)));
            if !head.is_empty() {
                first[at..at + head.len()].copy_from_slice(head);
            }
            if !rest.is_empty() {
                let start = at + head.len() - first.len();
                second[start..start + rest.len()].copy_from_slice(rest);
            }
            at += part.len();
        }
        chunk.commit_all();
        true
    }
}

impl PipeReader {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Hands the oldest message to `handle` and frees its space; `false` when there was none.
    pub fn pop(&mut self, handle: impl FnOnce(Message<'_>)) -> bool {
        let mut header = [0; HEADER];
        if self.ring.slots() < HEADER {
            return false;
        }
        self.ring.pop_entire_slice(&mut header).expect("the header is there");
        let mut fields =
            header.chunks_exact(4).map(|f| u32::from_ne_bytes(f.try_into().expect("four bytes")));
        let mut next = || fields.next().expect("four fields");
        let (kind, slot, generation, len) = (next(), next(), next(), next() as usize);
        let chunk = self.ring.read_chunk(len).expect("a message is committed whole");
        let (first, second) = chunk.as_slices();
        let body = if second.is_empty() {
            first
        } else {
            self.wrapped.clear();
            self.wrapped.extend_from_slice(first);
            self.wrapped.extend_from_slice(second);
            &self.wrapped
        };
        handle(Message { kind, slot, generation, body });
        chunk.commit_all();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_every_length_survive_every_wrap_position() {
        let (mut writer, mut reader) = pipe(100);
        let bytes: Vec<u8> = (0..84).collect();
        for round in 0..2000_u32 {
            let body = &bytes[..(round as usize * 7) % 85];
            assert!(writer.push(round, 1, 2, body), "round {round}");
            let mut seen = 0;
            assert!(reader.pop(|m| {
                assert_eq!(m, Message { kind: round, slot: 1, generation: 2, body });
                seen += 1;
            }));
            assert_eq!(seen, 1);
        }
        assert!(!reader.pop(|_| panic!("the pipe is empty")));
    }

    #[test]
    fn a_full_pipe_refuses_and_keeps_what_it_has() {
        let (mut writer, mut reader) = pipe(64);
        assert_eq!(writer.max_body(), 48);
        assert!(writer.push(1, 0, 0, &[7; 20]));
        assert_eq!(writer.room(), 12);
        assert!(!writer.push(2, 0, 0, &[8; 13]));
        assert!(writer.push(3, 0, 0, &[9; 12]));
        let mut kinds = Vec::new();
        while reader.pop(|m| kinds.push((m.kind, m.body.len()))) {}
        assert_eq!(kinds, [(1, 20), (3, 12)]);
    }

    #[test]
    fn two_threads_exchange_a_million_bytes_in_order() {
        let (mut writer, mut reader) = pipe(4096);
        let sender = std::thread::spawn(move || {
            for i in 0..20_000_u32 {
                let body = i.to_le_bytes();
                while !writer.push(i, i, i, &body[..(i % 5) as usize]) {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0_u32;
        while expected < 20_000 {
            let popped = reader.pop(|m| {
                assert_eq!((m.kind, m.body), (expected, &expected.to_le_bytes()[..(expected % 5) as usize]));
            });
            if popped {
                expected += 1;
            } else {
                std::thread::yield_now();
            }
        }
        sender.join().expect("the sender does not panic");
    }
}
