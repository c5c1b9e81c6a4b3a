//! Framing and the fixed answers of the bare ring server.

use crate::wire::{self, begin_frame, end_frame};

/// Longest request that is taken, in bytes; a longer one closes the connection. A batch holds at least one.
pub const MAX_REQUEST: usize = 64 << 10;

/// A request frame that cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

/// Cuts a byte stream into frames. Bytes are looked at where they were received; only the beginning of a frame
/// that is not whole yet is kept.
#[derive(Debug, Default)]
pub struct Framer {
    partial: Vec<u8>,
}

impl Framer {
    /// Hands every whole frame, with its length field, to `take`.
    pub fn feed(&mut self, data: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), BadFrame> {
        if self.partial.is_empty() {
            let consumed = cut(data, &mut take)?;
            self.partial.extend_from_slice(&data[consumed..]);
        } else {
            self.partial.extend_from_slice(data);
            let consumed = cut(&self.partial, &mut take)?;
            self.partial.drain(..consumed);
        }
        Ok(())
    }
}

fn cut(bytes: &[u8], take: &mut impl FnMut(&[u8])) -> Result<usize, BadFrame> {
    let mut at = 0;
    while let Some(len) = wire::i32_at(bytes, at) {
        let len = usize::try_from(len).ok().filter(|n| *n <= MAX_REQUEST).ok_or(BadFrame)?;
        let Some(frame) = bytes.get(at..at + 4 + len) else { break };
        take(frame);
        at += 4 + len;
    }
    Ok(at)
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Header and Stat: setData, exists.
    Stat,
    /// Header, data and Stat: getData.
    Data,
    /// Header and a path: create.
    Path,
    /// Header and an empty list: getChildren.
    Names,
    /// Header alone.
    Header,
}

impl Shape {
    /// The answer to this opcode.
    pub fn of(op: i32) -> Shape {
        match op {
            wire::SET_DATA | wire::EXISTS => Shape::Stat,
            wire::GET_DATA => Shape::Data,
            wire::CREATE => Shape::Path,
            wire::GET_CHILDREN => Shape::Names,
            _ => Shape::Header,
        }
    }
}

/// The encoded answers, their xid to be patched.
#[derive(Debug)]
pub struct Answers {
    shapes: [Vec<u8>; 5],
    /// The answer to a ConnectRequest.
    connected: Vec<u8>,
}

impl Answers {
    /// Answers with `size` bytes of data in those to getData.
    pub fn new(size: usize) -> Answers {
        let reply = |body: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            let at = begin_frame(&mut out);
            out.extend_from_slice(&0i32.to_be_bytes());
            out.extend_from_slice(&1i64.to_be_bytes());
            out.extend_from_slice(&0i32.to_be_bytes());
            body(&mut out);
            end_frame(&mut out, at);
            out
        };
        let stat = |out: &mut Vec<u8>| out.resize(out.len() + wire::STAT_LEN, 0);
        let length = i32::try_from(size).unwrap_or(i32::MAX);
        let path = b"/rkbench/s0-0000000000";
        let shapes = [
            reply(&stat),
            reply(&|out| {
                out.extend_from_slice(&length.to_be_bytes());
                out.resize(out.len() + length as usize, b'd');
                stat(out);
            }),
            reply(&|out| {
                out.extend_from_slice(&(path.len() as i32).to_be_bytes());
                out.extend_from_slice(path);
            }),
            reply(&|out| out.extend_from_slice(&0i32.to_be_bytes())),
            reply(&|_| {}),
        ];
        let mut connected = Vec::new();
        let at = begin_frame(&mut connected);
        // Protocol version, timeout, session id 1, password length; then the password and the read-only flag.
        for word in [0i32, 30_000, 0, 1, wire::PASSWORD_LEN as i32] {
            connected.extend_from_slice(&word.to_be_bytes());
        }
        connected.resize(connected.len() + wire::PASSWORD_LEN + 1, 0);
        end_frame(&mut connected, at);
        Answers { shapes, connected }
    }

    /// Appends an answer.
    #[inline]
    pub fn push(&self, out: &mut Vec<u8>, shape: Shape, xid: i32) {
        let at = out.len();
        out.extend_from_slice(&self.shapes[shape as usize]);
        out[at + 4..at + 8].copy_from_slice(&xid.to_be_bytes());
    }

    /// Appends the answer to a ConnectRequest.
    pub fn push_connected(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.connected);
    }
}
