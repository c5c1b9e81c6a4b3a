//! A second, deliberately naive encoder of the client protocol.
//!
//! Kept apart from `net::wire` and `engine::jute` on purpose: a mistake that the product's encoder and decoder
//! agree on would pass every test that uses the product's own encoder.

/// Operation numbers of the client protocol.
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub mod op {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const CLOSE_SESSION: i32 = -11;
}

/// Error codes of replies that tests look for.
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub mod code {
    pub const MARSHALLING_ERROR: i32 = -5;
    pub const UNIMPLEMENTED: i32 = -6;
    pub const BAD_ARGUMENTS: i32 = -8;
    pub const NO_NODE: i32 = -101;
    pub const NO_AUTH: i32 = -102;
    pub const BAD_VERSION: i32 = -103;
    pub const NODE_EXISTS: i32 = -110;
    pub const NOT_EMPTY: i32 = -111;
    pub const NOT_READ_ONLY: i32 = -119;
}

/// Builds the body of a message field by field, big-endian, without any check.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// An empty body.
    pub fn new() -> Body {
        Body(Vec::new())
    }

    /// Four bytes.
    pub fn int(mut self, v: i32) -> Body {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// Eight bytes.
    pub fn long(mut self, v: i64) -> Body {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// One byte.
    pub fn bool(mut self, v: bool) -> Body {
        self.0.push(u8::from(v));
        self
    }

    /// A length and the bytes.
    pub fn buffer(self, v: &[u8]) -> Body {
        self.int(v.len() as i32).raw(v)
    }

    /// A length and UTF-8 bytes.
    pub fn string(self, v: &str) -> Body {
        self.buffer(v.as_bytes())
    }

    /// Bytes as they are.
    pub fn raw(mut self, v: &[u8]) -> Body {
        self.0.extend_from_slice(v);
        self
    }

    /// A vector of one ACL: everything for everybody.
    pub fn open_acl(self) -> Body {
        self.int(1).int(31).string("world").string("anyone")
    }

    /// A CreateRequest with an open ACL.
    pub fn create(path: &str, data: &[u8], flags: i32) -> Body {
        Body::new().string(path).buffer(data).open_acl().int(flags)
    }

    /// The body with its length in front: a frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = (self.0.len() as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(&self.0);
        frame
    }
}

/// A ConnectRequest, to be framed.
pub fn connect_request(timeout_ms: i32, session_id: i64, passwd: &[u8]) -> Body {
    Body::new().int(0).long(0).int(timeout_ms).long(session_id).buffer(passwd).bool(false)
}

/// A request header and a body, to be framed.
pub fn request(xid: i32, op: i32, body: &Body) -> Body {
    Body::new().int(xid).int(op).raw(&body.0)
}

/// Reads fields of a reply from front to back. Panics on truncation: a server that sends less than it says is a
/// failed test.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `n` bytes.
    pub fn raw(&mut self, n: usize) -> &'a [u8] {
        assert!(n <= self.0.len(), "reply ends {} bytes early", n - self.0.len());
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }

    /// Four bytes.
    pub fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.raw(4).try_into().expect("four bytes"))
    }

    /// Eight bytes.
    pub fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.raw(8).try_into().expect("eight bytes"))
    }

    /// A length and as many bytes; -1 is `None`.
    pub fn buffer(&mut self) -> Option<&'a [u8]> {
        let len = self.int();
        (len >= 0).then(|| self.raw(len as usize))
    }

    /// A buffer that is text.
    pub fn string(&mut self) -> String {
        let bytes = self.buffer().expect("a string in a reply is never null");
        String::from_utf8(bytes.to_vec()).expect("a string in a reply is UTF-8")
    }

    /// A vector of strings.
    pub fn strings(&mut self) -> Vec<String> {
        (0..self.int()).map(|_| self.string()).collect()
    }

    /// The 68-byte Stat.
    pub fn stat(&mut self) -> Stat {
        Stat {
            czxid: self.long(),
            mzxid: self.long(),
            ctime: self.long(),
            mtime: self.long(),
            version: self.int(),
            cversion: self.int(),
            aversion: self.int(),
            ephemeral_owner: self.long(),
            data_length: self.int(),
            num_children: self.int(),
            pzxid: self.long(),
        }
    }
}

/// What every client sees of a node's bookkeeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}
