//! The bytes of one simulated file: what a power cut leaves for certain, and what it may or may not leave.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Unit in which the simulated medium is atomic, in bytes.
pub const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// One file. What a reader sees is `durable`, overlaid with `stuck`, overlaid with the newest of `pending`.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// What a power cut leaves whatever happens. Shared between forks of a disk until one of them writes.
    pub durable: Arc<Vec<u8>>,
    /// Written and not yet flushed, every version in order of writing: a cut may leave any one of them.
    pub pending: BTreeMap<u64, Vec<Sector>>,
    /// Was pending when a flush failed: still readable, and no later flush will save it. Real kernels mark
    /// such pages clean.
    pub stuck: BTreeMap<u64, Sector>,
}

impl Image {
    pub fn zeroed(len: usize) -> Image {
        Image { durable: Arc::new(vec![0; len]), ..Image::default() }
    }

    pub fn len(&self) -> usize {
        self.durable.len()
    }

    /// Up to `len` bytes at `offset` as a reader sees them now.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let end = start.saturating_add(len).min(self.len());
        let mut out = self.durable[start..end].to_vec();
        let first = (start / SECTOR) as u64;
        let last = end.div_ceil(SECTOR) as u64;
        for (&sector, bytes) in self.stuck.range(first..last) {
            overlay(&mut out, start, sector, bytes);
        }
        for (&sector, versions) in self.pending.range(first..last) {
            if let Some(bytes) = versions.last() {
                overlay(&mut out, start, sector, bytes);
            }
        }
        out
    }

    /// One sector of a write reaches the device's cache, or with `durable` the medium.
    pub fn write_sector(&mut self, sector: u64, bytes: &[u8], durable: bool) {
        self.stuck.remove(&sector);
        if durable {
            self.pending.remove(&sector);
            self.settle(sector, bytes);
        } else {
            let mut version = [0; SECTOR];
            version[..bytes.len()].copy_from_slice(bytes);
            self.pending.entry(sector).or_default().push(version);
        }
    }

    /// Puts a sector on the medium; the file grows where it has to.
    pub fn settle(&mut self, sector: u64, bytes: &[u8]) {
        let start = sector as usize * SECTOR;
        let durable = Arc::make_mut(&mut self.durable);
        if durable.len() < start + bytes.len() {
            durable.resize(start + bytes.len(), 0);
        }
        durable[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes the file `len` bytes long if it is shorter. The length survives a cut, what is written there need not.
    pub fn lengthen(&mut self, len: usize) {
        if self.len() < len {
            Arc::make_mut(&mut self.durable).resize(len, 0);
        }
    }

    /// A flush that worked.
    pub fn flush(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.pending) {
            if let Some(bytes) = versions.last() {
                self.settle(sector, bytes);
            }
        }
    }

    /// A flush that failed: what it should have saved never will be.
    pub fn fail_flush(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.pending) {
            if let Some(bytes) = versions.last() {
                self.stuck.insert(sector, *bytes);
            }
        }
    }

    /// Changes bytes everywhere, as rot or an outsider would.
    pub fn overwrite(&mut self, offset: usize, bytes: &[u8]) {
        self.flush();
        for (sector, kept) in std::mem::take(&mut self.stuck) {
            self.settle(sector, &kept);
        }
        let durable = Arc::make_mut(&mut self.durable);
        durable[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

fn overlay(out: &mut [u8], start: usize, sector: u64, bytes: &Sector) {
    let at = sector as usize * SECTOR;
    for (i, byte) in bytes.iter().enumerate() {
        if let Some(slot) = (at + i).checked_sub(start).and_then(|i| out.get_mut(i)) {
            *slot = *byte;
        }
    }
}
