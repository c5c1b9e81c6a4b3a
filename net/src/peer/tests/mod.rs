//! The connections of members over loopback.
