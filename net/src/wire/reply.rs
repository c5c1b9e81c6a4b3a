//! Frames for clients, written into a buffer that is used again for every frame.
//!
//! A frame begins with its length, which is only known at the end: [`begin`], append the body, [`end`].

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::{put_bool, put_buffer, put_i32, put_i64, put_ustring};

use super::op;

/// Bytes of the length in front of a frame.
pub const LENGTH_LEN: usize = 4;

/// Bytes of length and reply header.
pub const HEADER_LEN: usize = LENGTH_LEN + 16;

/// Bytes of the longest frame, its length included.
pub const MAX_LEN: usize = i32::MAX as usize;

/// The events of which a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum EventType {
    /// The node came into being.
    NodeCreated = 1,
    /// The node is gone.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child of it came or went.
    NodeChildrenChanged = 4,
}

/// The state in every event: connected, also on servers that only read.
const SYNC_CONNECTED: i32 = 3;

/// Starts a frame with a reply header: int xid, long zxid, int err.
pub fn begin(frame: &mut Vec<u8>, xid: i32, zxid: Zxid, err: i32) {
    frame.clear();
    let mut header = [0; HEADER_LEN];
    header[4..8].copy_from_slice(&xid.to_be_bytes());
    header[8..16].copy_from_slice(&zxid.raw().to_be_bytes());
    header[16..20].copy_from_slice(&err.to_be_bytes());
    frame.extend_from_slice(&header);
}

/// Fills in the length. A frame above [`MAX_LEN`] is a bug of the caller, who bounds replies.
pub fn end(frame: &mut [u8]) {
    let length = i32::try_from(frame.len() - LENGTH_LEN).expect("replies are bounded below 2 GiB");
    frame[..LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
}

/// The answer to a ConnectRequest: int protocol 0, int timeout, long session, buffer password, and for clients that
/// sent theirs the flag that says whether this server only reads now.
///
/// `granted` is `None` for a session that is no more; each client looks at another field to learn it, so all are
/// zero.
pub fn connect(frame: &mut Vec<u8>, granted: Option<(u32, SessionId, [u8; 16])>, read_only: Option<bool>) {
    let (timeout_ms, session, password) = granted.unwrap_or_default();
    frame.clear();
    put_i32(frame, 0);
    put_i32(frame, 0);
    put_i32(frame, timeout_ms.cast_signed());
    put_i64(frame, session.0);
    put_buffer(frame, Some(&password));
    if let Some(read_only) = read_only {
        put_bool(frame, read_only);
    }
    end(frame);
}

/// A watch notification. `zxid` is that of the change, or -1 for one that setWatches makes up for.
pub fn event(frame: &mut Vec<u8>, zxid: Zxid, kind: EventType, path: &str) {
    begin(frame, op::XID_NOTIFICATION, zxid, 0);
    put_i32(frame, kind as i32);
    put_i32(frame, SYNC_CONNECTED);
    put_ustring(frame, path);
    end(frame);
}

/// The header of a result within a multi reply: int type, boolean done, int err.
pub fn multi_header(frame: &mut Vec<u8>, kind: i32, done: bool, err: i32) {
    put_i32(frame, kind);
    put_bool(frame, done);
    put_i32(frame, err);
}

/// A failed or rolled back operation within a multi reply.
pub fn multi_error(frame: &mut Vec<u8>, err: i32) {
    multi_header(frame, op::ERROR, false, err);
    put_i32(frame, err);
}

/// The end of a multi reply.
pub fn multi_end(frame: &mut Vec<u8>) {
    multi_header(frame, op::ERROR, true, -1);
}
