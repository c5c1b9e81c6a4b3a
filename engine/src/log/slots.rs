//! A small value in a file of two checksummed slots, which neither a power cut nor rot of one slot can take.
//!
//! A write never touches the slot that holds the newest value, so that one of the two is sound at any time. The
//! slot with the higher counter wins. There is no rename to lose and no name to flush after the first time.

use std::path::PathBuf;

use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};

use super::error::LogError;
use super::files::{self, Files};
use super::format::{COUNTS, block_crc};
use crate::io::{BLOCK, Volume};

/// What can be kept in slots.
pub(super) trait SlotValue: Pod + PartialEq {
    /// Name of the file.
    const FILE: &'static str;
    /// First bytes of a slot.
    const MAGIC: [u8; 8];
    /// What an error says was being done.
    const WRITING: &'static str;

    /// Whether the numbers in it can be counted on from.
    fn is_possible(&self) -> bool {
        true
    }
}

/// Version of the format of slots.
const VERSION: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SlotHeader {
    magic: [u8; 8],
    version: u32,
    /// Of the whole block but itself.
    crc: u32,
    database: u64,
    /// One more than in the slot written before; 0 is never written.
    counter: u64,
}

const HEADER: usize = size_of::<SlotHeader>();
const _: () = assert!(HEADER == 32);

/// Bytes of the file.
const FILE_LEN: u64 = 2 * BLOCK as u64;

/// The value and where its next version goes.
#[derive(Debug)]
pub(super) struct Slots<V> {
    pub database: u64,
    value: V,
    counter: u64,
    /// 0 or 1: the slot that does not hold the newest value.
    next: usize,
    /// Whether both slots hold the newest value.
    both: bool,
}

/// One slot as read.
enum Slot<V> {
    Bad,
    Good { database: u64, counter: u64, value: V },
}

impl<V: SlotValue> Slots<V> {
    /// Reads the file. `None` if it is not there, or neither slot is sound.
    pub fn load(files: &Files<'_>) -> Result<Option<Slots<V>>, LogError> {
        if !files.exists(V::FILE) {
            return Ok(None);
        }
        let bytes = files.read(V::FILE, 0, FILE_LEN as usize)?;
        let slot = |i: usize| match bytes.get(i * BLOCK..(i + 1) * BLOCK) {
            Some(block) => read_slot::<V>(block, || files.path(V::FILE)),
            None => Ok(Slot::Bad),
        };
        Ok(match (slot(0)?, slot(1)?) {
            (Slot::Bad, Slot::Bad) => None,
            (Slot::Good { database, counter, value }, Slot::Bad) => {
                Some(Slots { database, value, counter, next: 1, both: false })
            }
            (Slot::Bad, Slot::Good { database, counter, value }) => {
                Some(Slots { database, value, counter, next: 0, both: false })
            }
            (Slot::Good { database, counter: a, value: va }, Slot::Good { counter: b, value: vb, .. }) => {
                let (value, next) = if a > b { (va, 1) } else { (vb, 0) };
                Some(Slots { database, value, counter: a.max(b), next, both: va == vb })
            }
        })
    }

    /// Makes the file if need be and writes `value` into both slots. The name is durable when this returns.
    pub fn create(files: &mut Files<'_>, database: u64, value: V) -> Result<Slots<V>, LogError> {
        if files.len_of(V::FILE) != Some(FILE_LEN) {
            if files.exists(V::FILE) {
                files.remove(V::FILE)?;
            }
            files.create(V::FILE, FILE_LEN)?;
        }
        let mut slots = Slots { database, value, counter: 0, next: 0, both: false };
        slots.write_both(files.volume(), value)?;
        files.sync_dir()?;
        Ok(slots)
    }

    /// The newest value.
    pub fn value(&self) -> V {
        self.value
    }

    /// Whether both slots hold it, so that rot of one cannot bring an older one back.
    pub fn in_both(&self) -> bool {
        self.both
    }

    /// Fills `block` with the next version and says at which offset of the file it goes. To be followed by
    /// [`Slots::written`] once it is durable.
    pub fn encode_next(&self, value: &V, block: &mut [u8]) -> u64 {
        self.encode(value, self.counter + 1, block);
        self.next_offset()
    }

    /// Where in the file the next version goes.
    pub fn next_offset(&self) -> u64 {
        (self.next * BLOCK) as u64
    }

    /// The block of [`Slots::encode_next`] is durable.
    pub fn written(&mut self, value: V) {
        self.both = self.value == value && self.counter > 0;
        self.value = value;
        self.counter += 1;
        self.next = 1 - self.next;
    }

    /// Writes the value into the next slot and waits for it.
    pub fn write(&mut self, vol: &dyn Volume, value: V) -> Result<(), LogError> {
        let mut block = vec![0; BLOCK];
        let offset = self.encode_next(&value, &mut block);
        files::write(vol, V::WRITING, V::FILE, offset, &block)?;
        self.written(value);
        Ok(())
    }

    /// Writes the value into both slots, one after the other.
    pub fn write_both(&mut self, vol: &dyn Volume, value: V) -> Result<(), LogError> {
        self.write(vol, value)?;
        self.write(vol, value)
    }

    fn encode(&self, value: &V, counter: u64, block: &mut [u8]) {
        let header =
            SlotHeader { magic: V::MAGIC, version: VERSION, crc: 0, database: self.database, counter };
        block[..BLOCK].fill(0);
        block[..HEADER].copy_from_slice(bytes_of(&header));
        block[HEADER..HEADER + size_of::<V>()].copy_from_slice(bytes_of(value));
        let crc = block_crc(0, &block[..BLOCK]);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Which of the slots of a file that is there are sound.
pub(super) fn sound_slots<V: SlotValue>(files: &Files<'_>) -> Result<[bool; 2], LogError> {
    let bytes = files.read(V::FILE, 0, FILE_LEN as usize)?;
    let mut sound = [false; 2];
    for (block, sound) in bytes.chunks_exact(BLOCK).zip(&mut sound) {
        *sound = matches!(read_slot::<V>(block, || files.path(V::FILE))?, Slot::Good { .. });
    }
    Ok(sound)
}

fn read_slot<V: SlotValue>(block: &[u8], path: impl Fn() -> PathBuf) -> Result<Slot<V>, LogError> {
    let header: SlotHeader = pod_read_unaligned(&block[..HEADER]);
    if header.magic != V::MAGIC || header.crc != block_crc(0, block) || header.counter == 0 {
        return Ok(Slot::Bad);
    }
    if header.version != VERSION {
        return Err(LogError::Version { path: path(), version: header.version, known: VERSION });
    }
    let value: V = pod_read_unaligned(&block[HEADER..HEADER + size_of::<V>()]);
    if header.counter >= COUNTS || !value.is_possible() {
        return Ok(Slot::Bad);
    }
    Ok(Slot::Good { database: header.database, counter: header.counter, value })
}
