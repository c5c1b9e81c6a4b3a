//! What can be set.

use super::AuthOptions;

/// Settings of a [`super::Service`]. Times are in milliseconds.
#[derive(Debug, Clone)]
pub struct Options {
    /// The top byte of session ids: the server's number in its ensemble, 1 for a node that stands alone.
    pub server_id: u8,
    /// Width of the buckets in which sessions expire.
    pub tick_ms: u32,
    /// The shortest session timeout that is granted.
    pub min_session_timeout_ms: u32,
    /// The longest.
    pub max_session_timeout_ms: u32,
    /// How long a connection may take to send its ConnectRequest.
    pub handshake_timeout_ms: u32,
    /// Providers, super user, whether ACLs count.
    pub auth: AuthOptions,
    /// Whether transactions carry the digest of the tree after them.
    pub digest: bool,
    /// Whether clients may create nodes with a time to live.
    pub extended_types: bool,
    /// Whether clients that ask for no more may read while there is no leader.
    pub read_only: bool,
    /// Whether clients are taken while this server leads (`leaderServes`).
    pub leader_serves: bool,
    /// Bytes of unanswered requests above which a connection is asked to pause; below half of it, to go on.
    pub pause_bytes: usize,
    /// Bytes of unanswered requests above which a connection that did not pause is closed.
    pub max_unanswered_bytes: usize,
    /// The longest reply in bytes; a longer one becomes MARSHALLINGERROR. At most 2 GiB.
    pub max_reply_bytes: usize,
    /// The longest transaction that can be logged, in bytes. A request that might become longer is refused with
    /// MARSHALLINGERROR.
    pub max_txn_bytes: usize,
    /// How many sessions one [`super::Service::tick`] ends at most.
    pub max_expired_per_tick: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            server_id: 1,
            tick_ms: 3000,
            min_session_timeout_ms: 6000,
            max_session_timeout_ms: 60_000,
            handshake_timeout_ms: 10_000,
            auth: AuthOptions::default(),
            digest: true,
            extended_types: false,
            read_only: false,
            leader_serves: true,
            pause_bytes: 4 << 20,
            max_unanswered_bytes: 64 << 20,
            max_reply_bytes: 1 << 30,
            max_txn_bytes: 64 << 20,
            max_expired_per_tick: 256,
        }
    }
}

/// Bytes by which the ACLs of one request may grow when what they stand for is put in.
const MAX_ACL_GROWTH: usize = 64 << 10;

impl Options {
    /// Bytes that the ACLs of a request of `bytes` may come to so that its transaction can be logged; `None` if not
    /// even the request fits. A transaction is no longer than its request but for them, the numbers of sequential
    /// nodes (a fifth at most, in a multi of the shortest creates) and a header.
    pub(super) fn acl_room(&self, bytes: usize) -> Option<usize> {
        Some(self.max_txn_bytes.checked_sub(bytes + bytes / 5 + 256)?.min(bytes + MAX_ACL_GROWTH))
    }
}
