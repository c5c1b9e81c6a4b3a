//! Error codes of the client protocol.

use std::fmt;

/// What a reply header can say (client-protocol reference 6). Clients fail hard on codes they do not know, so
/// there are none of our own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum Code {
    /// Done; inside a failed multi: rolled back.
    Ok = 0,
    /// The server could not, for a reason of its own; the request had no effect.
    SystemError = -1,
    /// An operation of a multi behind the one that failed.
    RuntimeInconsistency = -2,
    /// The request could not be decoded.
    MarshallingError = -5,
    /// No such operation here.
    Unimplemented = -6,
    /// A path, flag or ttl against the rules.
    BadArguments = -8,
    /// The node, or the parent of a node to be made, is not there.
    NoNode = -101,
    /// The connection's identities do not grant the permission.
    NoAuth = -102,
    /// The node has another version than expected.
    BadVersion = -103,
    /// The parent is an ephemeral node.
    NoChildrenForEphemerals = -108,
    /// The node is there already.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session is unknown or ending.
    SessionExpired = -112,
    /// An ACL that is empty, malformed or of an unknown scheme.
    InvalidAcl = -114,
    /// An auth packet was refused; the connection closes.
    AuthFailed = -115,
    /// The session's client has turned to another server.
    SessionMoved = -118,
    /// A write on a server that only reads.
    NotReadOnly = -119,
    /// There is no such watch.
    NoWatcher = -121,
    /// Membership cannot be changed here.
    ReconfigDisabled = -123,
}

impl Code {
    /// The number for the wire and for error transactions.
    pub const fn raw(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.raw())
    }
}
