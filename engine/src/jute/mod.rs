//! The big-endian record encoding ("jute") that transactions, requests, replies and peer messages share.
//!
//! [`Reader`] borrows from the bytes it reads and allocates nothing: what a length field claims is compared with
//! the bytes that are present before anything else happens, so a hostile length can never cost memory. Writing is
//! a handful of functions that append to a `Vec<u8>`. This module knows no record: those live with their users.
//!
//! | type | bytes |
//! |---|---|
//! | bool | 1; written 0 or 1, any other value reads as true |
//! | int, long | 4, 8; big-endian two's complement |
//! | buffer, ustring | int length, then the bytes; length -1 is null, which differs from empty |
//! | vector | int count, then the items; -1 is null, below -1 reads as empty like the reference does |

#[cfg(test)]
mod tests;

/// Why bytes are not the record they should be. Offsets count from the start of the bytes given to the [`Reader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JuteError {
    /// A field reaches past the end.
    #[error("{need} bytes needed at offset {at}, {have} left")]
    Truncated {
        /// Where the field starts.
        at: usize,
        /// Bytes the field needs.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// A buffer or string announces a length below -1.
    #[error("length {len} at offset {at} is below -1")]
    NegativeLength {
        /// Where the length field starts.
        at: usize,
        /// What it says.
        len: i32,
    },
    /// A vector announces more items than the bytes that are left can hold.
    #[error("{count} items announced at offset {at} cannot fit into the {have} bytes left")]
    ImpossibleCount {
        /// Where the count field starts.
        at: usize,
        /// What it says.
        count: i32,
        /// Bytes left behind the count.
        have: usize,
    },
}

/// Reads fields one after the other; the first error ends it (the position is then of no use).
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { all: bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.all.len() - self.at
    }

    /// What was not read yet; the position stays.
    pub fn rest(&self) -> &'a [u8] {
        &self.all[self.at..]
    }

    /// The bytes between an earlier [`position`](Self::position) and here.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.all[start..self.at]
    }

    /// The next `n` bytes as they are.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], JuteError> {
        let rest = &self.all[self.at..];
        match rest.split_at_checked(n) {
            Some((taken, _)) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(JuteError::Truncated { at: self.at, need: n, have: rest.len() }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], JuteError> {
        match self.all[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(JuteError::Truncated { at: self.at, need: N, have: self.remaining() }),
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, JuteError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A boolean: any non-zero byte is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, JuteError> {
        self.u8().map(|byte| byte != 0)
    }

    /// A 32-bit number.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, JuteError> {
        self.array().map(i32::from_be_bytes)
    }

    /// A 64-bit number.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, JuteError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A byte string; `None` is null.
    #[inline]
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, JuteError> {
        let at = self.at;
        match self.i32()? {
            -1 => Ok(None),
            len => match usize::try_from(len) {
                Ok(len) => self.take(len).map(Some),
                Err(_) => Err(JuteError::NegativeLength { at, len }),
            },
        }
    }

    /// The bytes of a string; `None` is null. They are not checked to be UTF-8: the reference writes characters
    /// above U+FFFF as two surrogates, and only the caller knows whether that matters for its field.
    #[inline]
    pub fn ustring(&mut self) -> Result<Option<&'a [u8]>, JuteError> {
        self.buffer()
    }

    /// The number of items of a vector whose items take at least `min_item_bytes` bytes each; `None` is null.
    ///
    /// A count that the bytes left cannot hold is an error, so the caller may loop (not: allocate, items in memory
    /// can be larger than on the wire) on what it gets.
    #[inline]
    pub fn count(&mut self, min_item_bytes: usize) -> Result<Option<usize>, JuteError> {
        let at = self.at;
        match self.i32()? {
            -1 => Ok(None),
            count => {
                let items = usize::try_from(count).unwrap_or(0);
                let have = self.remaining();
                if items.checked_mul(min_item_bytes).is_some_and(|need| need <= have) {
                    Ok(Some(items))
                } else {
                    Err(JuteError::ImpossibleCount { at, count, have })
                }
            }
        }
    }
}

/// Appends one byte, 0 or 1.
#[inline]
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Appends a 32-bit number.
#[inline]
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a 64-bit number.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a byte string, `None` as null. More than `i32::MAX` bytes cannot be written and are a bug of the caller.
#[inline]
pub fn put_buffer(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => put_i32(out, -1),
        Some(bytes) => {
            put_len(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends a string (never null).
#[inline]
pub fn put_ustring(out: &mut Vec<u8>, value: &str) {
    put_buffer(out, Some(value.as_bytes()));
}

/// Appends the length of a string or the count of a vector.
#[inline]
pub fn put_len(out: &mut Vec<u8>, len: usize) {
    put_i32(out, i32::try_from(len).expect("a jute length fits into 31 bits"));
}
