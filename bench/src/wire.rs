//! The few bytes of the ZooKeeper client protocol that a load generator needs.
//!
//! Everything is big-endian; a frame is `int length` and `length` bytes. Requests are encoded in place behind
//! whatever an output buffer already holds; [`Frames`] walks over the replies in a read buffer without copying.
//! Written apart from the node's codec on purpose: a generator that shares the server's codec would agree with
//! its mistakes.

use thiserror::Error;

/// Opcode of create.
pub const CREATE: i32 = 1;
/// Opcode of delete.
pub const DELETE: i32 = 2;
/// Opcode of exists.
pub const EXISTS: i32 = 3;
/// Opcode of getData.
pub const GET_DATA: i32 = 4;
/// Opcode of setData.
pub const SET_DATA: i32 = 5;
/// Opcode of getChildren.
pub const GET_CHILDREN: i32 = 8;
/// Opcode of ping.
pub const PING: i32 = 11;
/// Opcode of closeSession.
pub const CLOSE_SESSION: i32 = -11;

/// The xid of pings and of their replies.
pub const PING_XID: i32 = -2;
/// The xid of watch events.
pub const EVENT_XID: i32 = -1;

/// `NONODE`.
pub const NO_NODE: i32 = -101;
/// `NODEEXISTS`.
pub const NODE_EXISTS: i32 = -110;

/// Bytes of a Stat record.
pub const STAT_LEN: usize = 68;
/// Bytes of a reply header: `int xid, long zxid, int err`.
pub const REPLY_HEADER_LEN: usize = 16;
/// Bytes of a session password.
pub const PASSWORD_LEN: usize = 16;
/// Longest reply that is accepted, in bytes; a longer one ends the connection. Large enough for the children
/// of a node with a million of them.
pub const MAX_REPLY: usize = 64 << 20;

/// What a server sent that this side does not accept.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// A frame length that is negative or above [`MAX_REPLY`].
    #[error("a reply frame claims {0} bytes")]
    FrameLength(i32),
    /// A record that ends before its last field.
    #[error("a reply of {len} bytes ends inside its {field}")]
    Short {
        /// Bytes of the frame.
        len: usize,
        /// The field that was being read.
        field: &'static str,
    },
    /// The server answered a new session as if it had expired.
    #[error("the server refused the session (timeout 0)")]
    Refused,
    /// Replies must come in the order of the requests.
    #[error("reply with xid {got} where {expected} was next")]
    XidOutOfOrder {
        /// The xid of the oldest request without an answer.
        expected: i32,
        /// The xid of the reply.
        got: i32,
    },
    /// A reply to nothing.
    #[error("reply with xid {0} while no request was outstanding")]
    Unasked(i32),
    /// A getData reply whose data has another length than what was written.
    #[error("a get returned {got} bytes of data instead of {expected}")]
    DataLength {
        /// The length that every key was given.
        expected: usize,
        /// The length field of the reply.
        got: i32,
    },
}

/// Begins a frame; [`end_frame`] fills in its length.
pub fn begin_frame(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    at
}

/// Writes the length of the frame that began at `at`.
pub fn end_frame(out: &mut [u8], at: usize) {
    let len = u32::try_from(out.len() - at - 4).expect("a frame we build is below 4 GiB");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, v: i32) {
    out.extend_from_slice(&v.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_i32(out, i32::try_from(bytes.len()).expect("a field we build is below 2 GiB"));
    out.extend_from_slice(bytes);
}

fn begin_request(out: &mut Vec<u8>, xid: i32, op: i32) -> usize {
    let at = begin_frame(out);
    put_i32(out, xid);
    put_i32(out, op);
    at
}

/// What names a session to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// 0 asks for a new session.
    pub session: i64,
    /// Came with the id.
    pub password: [u8; PASSWORD_LEN],
}

/// A ConnectRequest for a new session, with the read-only flag that newer clients send.
pub fn connect(out: &mut Vec<u8>, last_zxid_seen: i64, timeout_ms: i32) {
    resume(out, last_zxid_seen, timeout_ms, &Credentials::default());
}

/// A ConnectRequest for a session that exists, with the same flag.
pub fn resume(out: &mut Vec<u8>, last_zxid_seen: i64, timeout_ms: i32, credentials: &Credentials) {
    let at = begin_frame(out);
    put_i32(out, 0);
    out.extend_from_slice(&last_zxid_seen.to_be_bytes());
    put_i32(out, timeout_ms);
    out.extend_from_slice(&credentials.session.to_be_bytes());
    put_bytes(out, &credentials.password);
    out.push(0);
    end_frame(out, at);
}

/// A create with the open ACL (world:anyone, all permissions). `flags`: 0 persistent, 2 persistent sequential.
pub fn create(out: &mut Vec<u8>, xid: i32, path: &str, data: &[u8], flags: i32) {
    let at = begin_request(out, xid, CREATE);
    put_bytes(out, path.as_bytes());
    put_bytes(out, data);
    put_i32(out, 1);
    put_i32(out, 31);
    put_bytes(out, b"world");
    put_bytes(out, b"anyone");
    put_i32(out, flags);
    end_frame(out, at);
}

/// A setData of any version.
pub fn set_data(out: &mut Vec<u8>, xid: i32, path: &str, data: &[u8]) {
    let at = begin_request(out, xid, SET_DATA);
    put_bytes(out, path.as_bytes());
    put_bytes(out, data);
    put_i32(out, -1);
    end_frame(out, at);
}

/// A delete of any version.
pub fn delete(out: &mut Vec<u8>, xid: i32, path: &str) {
    let at = begin_request(out, xid, DELETE);
    put_bytes(out, path.as_bytes());
    put_i32(out, -1);
    end_frame(out, at);
}

/// exists, getData or getChildren (`op`), without a watch.
pub fn read(out: &mut Vec<u8>, xid: i32, op: i32, path: &str) {
    let at = begin_request(out, xid, op);
    put_bytes(out, path.as_bytes());
    out.push(0);
    end_frame(out, at);
}

/// A request without a body: ping or closeSession.
pub fn bare(out: &mut Vec<u8>, xid: i32, op: i32) {
    let at = begin_request(out, xid, op);
    end_frame(out, at);
}

/// The big-endian int at `at`, if the bytes reach that far.
pub fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| i32::from_be_bytes(*b))
}

/// The big-endian long at `at`, if the bytes reach that far.
pub fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk::<8>().map(|b| i64::from_be_bytes(*b))
}

/// A reply header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Echo of the request's xid.
    pub xid: i32,
    /// The server's zxid for this reply; 0 or -1 in some refusals.
    pub zxid: i64,
    /// 0, or an error code of the protocol.
    pub err: i32,
}

impl ReplyHeader {
    /// Reads the first 16 bytes of a reply frame.
    pub fn parse(frame: &[u8]) -> Result<ReplyHeader, WireError> {
        let Some(bytes) = frame.first_chunk::<REPLY_HEADER_LEN>() else {
            return Err(WireError::Short { len: frame.len(), field: "header" });
        };
        let [x0, x1, x2, x3, z0, z1, z2, z3, z4, z5, z6, z7, e0, e1, e2, e3] = *bytes;
        Ok(ReplyHeader {
            xid: i32::from_be_bytes([x0, x1, x2, x3]),
            zxid: i64::from_be_bytes([z0, z1, z2, z3, z4, z5, z6, z7]),
            err: i32::from_be_bytes([e0, e1, e2, e3]),
        })
    }
}

/// The session timeout that a ConnectResponse grants, in milliseconds.
pub fn parse_connect_response(frame: &[u8]) -> Result<i32, WireError> {
    let timeout = i32_at(frame, 4).ok_or(WireError::Short { len: frame.len(), field: "timeout" })?;
    let session = i64_at(frame, 8).ok_or(WireError::Short { len: frame.len(), field: "session id" })?;
    if timeout <= 0 || session == 0 { Err(WireError::Refused) } else { Ok(timeout) }
}

/// The session that a ConnectResponse grants.
pub fn parse_credentials(frame: &[u8]) -> Result<Credentials, WireError> {
    parse_connect_response(frame)?;
    let short = WireError::Short { len: frame.len(), field: "password" };
    // Version, timeout, session id and the password's length come before it.
    let password = frame.get(20..).and_then(|rest| rest.first_chunk()).ok_or(short)?;
    Ok(Credentials { session: i64_at(frame, 8).unwrap_or(0), password: *password })
}

/// The data version in the Stat at the beginning of a reply's body (that of a setData).
pub fn body_version(frame: &[u8]) -> Result<i32, WireError> {
    // czxid, mzxid, ctime and mtime come before it.
    i32_at(frame, REPLY_HEADER_LEN + 32).ok_or(WireError::Short { len: frame.len(), field: "version" })
}

/// The ustring at the beginning of a reply's body (the path of a create), as bytes.
pub fn body_string(frame: &[u8]) -> Result<&[u8], WireError> {
    let short = WireError::Short { len: frame.len(), field: "string" };
    let Some(len) = i32_at(frame, REPLY_HEADER_LEN) else { return Err(short) };
    let len = usize::try_from(len).unwrap_or(0);
    frame.get(REPLY_HEADER_LEN + 4..).and_then(|rest| rest.get(..len)).ok_or(short)
}

/// The names in a getChildren reply.
pub fn body_names(frame: &[u8]) -> Result<Vec<String>, WireError> {
    let short = |field| WireError::Short { len: frame.len(), field };
    let count = i32_at(frame, REPLY_HEADER_LEN).ok_or(short("count"))?;
    let mut at = REPLY_HEADER_LEN + 4;
    let mut names = Vec::new();
    for _ in 0..count.max(0) {
        let len = i32_at(frame, at).ok_or(short("name length"))?;
        let len = usize::try_from(len).unwrap_or(0);
        let name = frame.get(at + 4..).and_then(|rest| rest.get(..len)).ok_or(short("name"))?;
        names.push(String::from_utf8_lossy(name).into_owned());
        at += 4 + len;
    }
    Ok(names)
}

/// Walks over the whole frames at the beginning of a buffer.
#[derive(Debug)]
pub struct Frames<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// A walk from the beginning of `buf`, which starts at a frame's length field.
    pub fn new(buf: &'a [u8]) -> Frames<'a> {
        Frames { buf, at: 0 }
    }

    /// Bytes taken by the frames returned so far; what follows is the beginning of a frame that is not whole.
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// The next whole frame without its length field, or `None` if the rest is only a part of one.
    pub fn next_frame(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let rest = &self.buf[self.at..];
        let Some(len) = i32_at(rest, 0) else { return Ok(None) };
        let whole = match usize::try_from(len) {
            Ok(n) if n <= MAX_REPLY => n + 4,
            _ => return Err(WireError::FrameLength(len)),
        };
        let Some(frame) = rest.get(4..whole) else { return Ok(None) };
        self.at += whole;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    #[test]
    fn connect_request_has_the_bytes_of_a_real_client() {
        let mut out = Vec::new();
        connect(&mut out, 0, 10_000);
        let zeros = "00000000000000000000000000000000";
        let expected =
            format!("0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010 {zeros} 00");
        assert_eq!(out, hex(&expected));
    }

    #[test]
    fn requests_have_the_bytes_of_a_real_client() {
        let mut out = Vec::new();
        create(&mut out, 9, "/a", b"", 0);
        assert_eq!(
            out,
            hex("00000031 00000009 00000001 00000002 2f61 00000000 00000001 0000001f 00000005 776f726c64 \
                 00000006 616e796f6e65 00000000")
        );
        out.clear();
        bare(&mut out, PING_XID, PING);
        assert_eq!(out, hex("00000008 fffffffe 0000000b"));
        out.clear();
        set_data(&mut out, 3, "/a", b"xy");
        assert_eq!(out, hex("00000018 00000003 00000005 00000002 2f61 00000002 7879 ffffffff"));
        out.clear();
        read(&mut out, 4, GET_DATA, "/a");
        assert_eq!(out, hex("0000000f 00000004 00000004 00000002 2f61 00"));
        out.clear();
        delete(&mut out, 5, "/a");
        assert_eq!(out, hex("00000012 00000005 00000002 00000002 2f61 ffffffff"));
    }

    #[test]
    fn replies_are_read() {
        let frame = hex("0000000b 0000000000000004 ffffff9b");
        assert_eq!(ReplyHeader::parse(&frame), Ok(ReplyHeader { xid: 11, zxid: 4, err: NO_NODE }));
        assert_eq!(ReplyHeader::parse(&frame[..15]), Err(WireError::Short { len: 15, field: "header" }));
        let created = hex("00000009 0000000000000003 00000000 00000002 2f61");
        assert_eq!(body_string(&created), Ok(&b"/a"[..]));
        assert!(body_string(&created[..created.len() - 1]).is_err());
        let children = hex("00000009 0000000000000003 00000000 00000002 00000001 61 00000002 6263");
        assert_eq!(body_names(&children), Ok(vec!["a".to_string(), "bc".to_string()]));
        assert!(body_names(&children[..children.len() - 1]).is_err());
    }

    #[test]
    fn connect_response_is_read_and_a_refusal_recognised() {
        let body = "0100000e4e7a0000 00000010 d4769dc9d141d380d297c13902990e2d 00";
        assert_eq!(parse_connect_response(&hex(&format!("00000000 00002710 {body}"))), Ok(10_000));
        let refusal = hex("00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00");
        assert_eq!(parse_connect_response(&refusal), Err(WireError::Refused));
        assert!(matches!(parse_connect_response(&refusal[..11]), Err(WireError::Short { .. })));
    }

    #[test]
    fn a_session_is_resumed_with_what_its_response_said() {
        let password = "d4769dc9d141d380d297c13902990e2d";
        let response = hex(&format!("00000000 00002710 0100000e4e7a0000 00000010 {password} 00"));
        let credentials = parse_credentials(&response).unwrap();
        let mut out = Vec::new();
        resume(&mut out, 0x0001_0000_0007, 10_000, &credentials);
        let expected =
            format!("0000002d 00000000 0000000100000007 00002710 0100000e4e7a0000 00000010 {password} 00");
        assert_eq!(out, hex(&expected));
        assert!(matches!(parse_credentials(&response[..30]), Err(WireError::Short { .. })));
    }

    #[test]
    fn the_version_is_taken_from_the_stat() {
        let stat = "0000000000000002 0000000000000009 0000000000000000 0000000000000000 00000007 00000000";
        let reply = hex(&format!("00000009 0000000000000009 00000000 {stat}"));
        assert_eq!(body_version(&reply), Ok(7));
        assert!(body_version(&reply[..50]).is_err());
    }

    #[test]
    fn frames_are_found_wherever_a_read_was_split() {
        let mut stream = Vec::new();
        let bodies: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; usize::from(n) * 3]).collect();
        for body in &bodies {
            put_bytes(&mut stream, body);
        }
        for cut in 0..=stream.len() {
            let mut found: Vec<Vec<u8>> = Vec::new();
            let mut held: Vec<u8> = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                held.extend_from_slice(part);
                let mut frames = Frames::new(&held);
                while let Some(frame) = frames.next_frame().unwrap() {
                    found.push(frame.to_vec());
                }
                let consumed = frames.consumed();
                held.drain(..consumed);
            }
            assert_eq!(found, bodies, "cut at {cut}");
            assert!(held.is_empty());
        }
    }

    #[test]
    fn an_impossible_frame_length_is_an_error_and_not_an_allocation() {
        assert_eq!(Frames::new(&hex("ffffffff 00")).next_frame(), Err(WireError::FrameLength(-1)));
        assert_eq!(Frames::new(&hex("7fffffff 00")).next_frame(), Err(WireError::FrameLength(i32::MAX)));
    }
}
