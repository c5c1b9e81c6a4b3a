//! The digest over the whole tree (version 2 of ZooKeeper's), by which replicas check each other on every
//! transaction.
//!
//! `D = sum of h(node) mod 2^64`, where h is the CRC-32 (zlib's polynomial) of
//!
//! ```text
//! path bytes | data bytes | czxid(8) mzxid(8) pzxid(8) ctime(8) mtime(8) version(4) cversion(4) aversion(4) owner(8)
//! ```
//!
//! The root's path is empty here, under whichever name it was addressed. The order of the 60-byte block is not
//! the order in which a snapshot stores the statistics. A CRC can be continued, so the tree keeps the CRC over
//! path and data per node ([`path_data_crc`]) and a change of statistics never touches path or data again.
//! Everything below `/zookeeper/` counts 0, because each server changes it on its own.

use super::crc32;
use super::stat::StatPersisted;
use crate::id::Zxid;
use std::collections::VecDeque;

/// The CRC-32 over path and data, to be continued by [`node_hash`]. The root's path is `""`; `"/"` is read so.
pub fn path_data_crc(path: &str, data: Option<&[u8]>) -> u32 {
    let path = if path == "/" { "" } else { path };
    crc32::append(crc32::append(0, path.as_bytes()), data.unwrap_or_default())
}

/// What a node contributes to the digest, given [`path_data_crc`]. Not for paths that are [`excluded`].
pub fn node_hash(path_data_crc: u32, stat: &StatPersisted) -> u64 {
    let mut block = [0; 60];
    block[0..8].copy_from_slice(&stat.czxid.raw().to_be_bytes());
    block[8..16].copy_from_slice(&stat.mzxid.raw().to_be_bytes());
    block[16..24].copy_from_slice(&stat.pzxid.raw().to_be_bytes());
    block[24..32].copy_from_slice(&stat.ctime.to_be_bytes());
    block[32..40].copy_from_slice(&stat.mtime.to_be_bytes());
    block[40..44].copy_from_slice(&stat.version.to_be_bytes());
    block[44..48].copy_from_slice(&stat.cversion.to_be_bytes());
    block[48..52].copy_from_slice(&stat.aversion.to_be_bytes());
    block[52..60].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    u64::from(crc32::append(path_data_crc, &block))
}

/// Whether the node at `path` counts 0.
pub fn excluded(path: &str) -> bool {
    path.starts_with("/zookeeper/")
}

/// The digests after every 128th transaction, for the word `hash`: at most the latest 1024.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<(Zxid, u64)>,
}

impl History {
    const EVERY: i64 = 128;
    const KEPT: usize = 1024;

    pub(super) fn record(&mut self, zxid: Zxid, digest: u64) {
        if zxid.raw() % History::EVERY != 0 {
            return;
        }
        if self.entries.len() == History::KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back((zxid, digest));
    }

    /// Oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Zxid, u64)> {
        self.entries.iter().copied()
    }
}
