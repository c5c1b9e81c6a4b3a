//! The platter and the volatile cache behind [`crate::volume`].
//!
//! Pure state: blocks of 4096 bytes, the newest content of each (`live`) beside what a flush has made safe
//! (`safe`). A cut decides block by block; tearing inside a block and the loss of single sectors are the business
//! of the simulated disk in `engine::io`, because ext4's own superblock would not survive them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

const BLOCK: usize = 4096;

type Block = Arc<[u8; BLOCK]>;

/// What is left of the volatile blocks at a cut.
#[derive(Clone, Copy, Debug)]
pub enum Survivors {
    /// Nothing.
    None,
    /// Each block or not, by a coin thrown from this seed.
    Some(u64),
}

/// A block device with a volatile write cache.
pub struct Medium {
    size: u64,
    live: HashMap<u64, Block>,
    safe: HashMap<u64, Block>,
    volatile: BTreeSet<u64>,
    zeros: Block,
    powered: bool,
    /// Writes accepted.
    pub writes: u64,
    /// Flushes completed.
    pub flushes: u64,
}

impl Medium {
    /// All zeros.
    pub fn new(size: u64) -> Medium {
        Medium {
            size,
            live: HashMap::new(),
            safe: HashMap::new(),
            volatile: BTreeSet::new(),
            zeros: Arc::new([0; BLOCK]),
            powered: true,
            writes: 0,
            flushes: 0,
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The newest bytes, short at the end of the device; `None` without power.
    pub fn read(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        if !self.powered {
            return None;
        }
        let end = (offset + len as u64).min(self.size);
        let mut out = Vec::with_capacity(len);
        let mut at = offset;
        while at < end {
            let (block, from) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let upto = BLOCK.min(from + (end - at) as usize);
            out.extend_from_slice(&self.live.get(&block).unwrap_or(&self.zeros)[from..upto]);
            at += (upto - from) as u64;
        }
        Some(out)
    }

    /// Takes bytes into the volatile cache; `None` without power.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Option<()> {
        if !self.powered {
            return None;
        }
        self.writes += 1;
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (block, from) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let (now, later) = rest.split_at(rest.len().min(BLOCK - from));
            let content = self.live.entry(block).or_insert_with(|| self.zeros.clone());
            if now.len() == BLOCK && now == self.zeros.as_slice() {
                *content = self.zeros.clone();
            } else {
                Arc::make_mut(content)[from..from + now.len()].copy_from_slice(now);
            }
            self.volatile.insert(block);
            at += now.len() as u64;
            rest = later;
        }
        Some(())
    }

    /// Makes everything written so far safe; `None` without power.
    pub fn flush(&mut self) -> Option<()> {
        if !self.powered {
            return None;
        }
        self.flushes += 1;
        for block in std::mem::take(&mut self.volatile) {
            self.safe.insert(block, self.live[&block].clone());
        }
        Some(())
    }

    /// The power goes.
    pub fn cut(&mut self, survivors: Survivors) {
        let volatile = std::mem::take(&mut self.volatile);
        if let Survivors::Some(seed) = survivors {
            let mut coin = fastrand::Rng::with_seed(seed);
            for block in volatile.into_iter().filter(|_| coin.bool()) {
                self.safe.insert(block, self.live[&block].clone());
            }
        }
        self.live.clone_from(&self.safe);
        self.powered = false;
    }

    /// The power is back.
    pub fn restore(&mut self) {
        self.powered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_keeps_what_was_flushed_and_nothing_else() {
        let mut medium = Medium::new(1 << 20);
        medium.write(1000, &[1; 8000]).unwrap();
        medium.flush().unwrap();
        medium.write(0, &[2; 4096]).unwrap();
        assert_eq!(medium.read(0, 4).unwrap(), [2; 4], "before the cut reads see the newest bytes");
        medium.cut(Survivors::None);
        assert_eq!((medium.read(0, 1), medium.write(0, &[3])), (None, None), "no power, no service");
        medium.restore();
        assert_eq!(medium.read(998, 4).unwrap(), [0, 0, 1, 1]);
        assert_eq!(medium.read(8998, 4).unwrap(), [1, 1, 0, 0]);
    }

    #[test]
    fn partial_cut_keeps_some_blocks_and_loses_others() {
        let mut medium = Medium::new(1 << 20);
        medium.write(0, &[1; 100 * BLOCK]).unwrap();
        medium.cut(Survivors::Some(1));
        medium.restore();
        let kept = (0..100).filter(|b| medium.read(b * BLOCK as u64, 1).unwrap() == [1]).count();
        assert!((20..80).contains(&kept), "{kept} of 100 blocks survived");
    }
}
