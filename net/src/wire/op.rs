//! Numbers of the operations (client-protocol reference 4.1).

/// Create a node.
pub const CREATE: i32 = 1;
/// Delete a node.
pub const DELETE: i32 = 2;
/// Ask for a node's Stat; also where there is none.
pub const EXISTS: i32 = 3;
/// Read a node's data.
pub const GET_DATA: i32 = 4;
/// Write a node's data.
pub const SET_DATA: i32 = 5;
/// Read a node's ACL.
pub const GET_ACL: i32 = 6;
/// Replace a node's ACL.
pub const SET_ACL: i32 = 7;
/// List the names of a node's children.
pub const GET_CHILDREN: i32 = 8;
/// Wait for what was proposed before.
pub const SYNC: i32 = 9;
/// Keep the session alive.
pub const PING: i32 = 11;
/// As [`GET_CHILDREN`], with the node's Stat.
pub const GET_CHILDREN2: i32 = 12;
/// Compare a version; only inside [`MULTI`].
pub const CHECK: i32 = 13;
/// Several writes that happen together or not at all.
pub const MULTI: i32 = 14;
/// As [`CREATE`], answered with the Stat.
pub const CREATE2: i32 = 15;
/// Change the membership.
pub const RECONFIG: i32 = 16;
/// Ask whether a watch is set.
pub const CHECK_WATCHES: i32 = 17;
/// Take a watch away.
pub const REMOVE_WATCHES: i32 = 18;
/// Create a container node.
pub const CREATE_CONTAINER: i32 = 19;
/// Create a node that goes away when it is left alone.
pub const CREATE_TTL: i32 = 21;
/// Several reads in one request.
pub const MULTI_READ: i32 = 22;
/// Add an identity to the connection.
pub const AUTH: i32 = 100;
/// Set one-shot watches again after a reconnect.
pub const SET_WATCHES: i32 = 101;
/// Authenticate by SASL.
pub const SASL: i32 = 102;
/// List the session's ephemeral nodes.
pub const GET_EPHEMERALS: i32 = 103;
/// Count all descendants of a node.
pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
/// Set watches of every kind again after a reconnect.
pub const SET_WATCHES2: i32 = 105;
/// Set a persistent watch.
pub const ADD_WATCH: i32 = 106;
/// List the connection's identities.
pub const WHO_AM_I: i32 = 107;
/// Open a session; made by the server from a ConnectRequest.
pub const CREATE_SESSION: i32 = -10;
/// End the session.
pub const CLOSE_SESSION: i32 = -11;
/// Result type of a failed operation inside a multi, and type of the header that ends one.
pub const ERROR: i32 = -1;

/// Xid of watch notifications.
pub const XID_NOTIFICATION: i32 = -1;
/// Xid of every reply to a ping, whatever xid the ping had.
pub const XID_PING: i32 = -2;

/// Four letters for the `cons` word.
pub fn tag(op: i32) -> &'static str {
    match op {
        CREATE_SESSION => "SESS",
        PING => "PING",
        CREATE | CREATE2 | CREATE_CONTAINER | CREATE_TTL => "CREA",
        DELETE => "DELE",
        SET_DATA => "SETD",
        SET_ACL => "SETA",
        GET_DATA => "GETD",
        GET_CHILDREN | GET_CHILDREN2 => "GETC",
        GET_ALL_CHILDREN_NUMBER => "GETACN",
        GET_ACL => "GETA",
        GET_EPHEMERALS => "GETE",
        EXISTS => "EXIS",
        SYNC => "SYNC",
        CHECK => "CHEC",
        MULTI => "MULT",
        MULTI_READ => "MLTR",
        CLOSE_SESSION => "CLOS",
        RECONFIG => "RECO",
        SET_WATCHES => "SETW",
        SET_WATCHES2 => "STW2",
        ADD_WATCH => "ADDW",
        REMOVE_WATCHES => "REMW",
        CHECK_WATCHES => "CHKW",
        WHO_AM_I => "HOMI",
        _ => "NA",
    }
}
