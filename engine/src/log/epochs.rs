//! The promises of this server: accepted and current epoch, and whether it may vote.
//!
//! They are in both slots of their file before anybody relies on them, so that neither a power cut nor rot of
//! one slot brings an older promise back. A value found in one slot only is written into the other before it is
//! used again.

use bytemuck::{Pod, Zeroable};

use super::durable::Durable;
use super::error::LogError;
use super::files::Files;
use super::slots::{SlotValue, Slots};
use crate::id::Epoch;
use crate::io::Volume;
use crate::mutant::{Mutant, planted};

/// What this server has promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Epochs {
    /// The highest epoch whose proposal was accepted.
    pub accepted: Epoch,
    /// The epoch of the last leader whose history was taken over; at most `accepted`.
    pub current: Epoch,
    /// The server must not help to elect: it may have forgotten what it acknowledged.
    pub nonvoting: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct EpochSlot {
    accepted: u32,
    current: u32,
    nonvoting: u32,
    zero: u32,
}

const _: () = assert!(size_of::<EpochSlot>() == 16);

impl SlotValue for EpochSlot {
    const FILE: &'static str = "epochs";
    const MAGIC: [u8; 8] = *b"RKEPOCHS";
    const WRITING: &'static str = "writing the epochs,";
}

impl EpochSlot {
    fn of(epochs: Epochs) -> EpochSlot {
        let Epochs { accepted, current, nonvoting } = epochs;
        EpochSlot { accepted: accepted.0, current: current.0, nonvoting: nonvoting.into(), zero: 0 }
    }

    fn epochs(self) -> Epochs {
        Epochs {
            accepted: Epoch(self.accepted),
            current: Epoch(self.current),
            nonvoting: self.nonvoting != 0,
        }
    }
}

/// What the server of this directory has promised, for a look from outside; `None` if it never was one, or if nothing of
/// the file is sound.
pub fn epochs_in(vol: &dyn Volume) -> Result<Option<Epochs>, LogError> {
    Ok(EpochFile::load(&Files::list(vol)?)?.map(|file| file.get()))
}

/// The file of the promises.
#[derive(Debug)]
pub(super) struct EpochFile {
    slots: Slots<EpochSlot>,
    /// Text of a failed write: what the slots hold is not known since.
    failed: Option<String>,
}

impl EpochFile {
    /// Its name.
    pub const NAME: &'static str = EpochSlot::FILE;

    /// Reads the file; `None` if there is none or no slot is sound. To be followed by [`EpochFile::repair`] before
    /// anybody relies on it.
    pub fn load(files: &Files<'_>) -> Result<Option<EpochFile>, LogError> {
        let slots = Slots::<EpochSlot>::load(files)?;
        Ok(slots.map(|slots| EpochFile { slots, failed: None }))
    }

    /// Writes a value that was found in one slot only into the other one.
    pub fn repair(&mut self, vol: &dyn Volume) -> Result<(), LogError> {
        if self.slots.in_both() { Ok(()) } else { self.slots.write(vol, self.slots.value()) }
    }

    /// Makes the file, with its name durable.
    pub fn create(files: &mut Files<'_>, database: u64, epochs: Epochs) -> Result<EpochFile, LogError> {
        let slots = Slots::create(files, database, EpochSlot::of(epochs))?;
        Ok(EpochFile { slots, failed: None })
    }

    pub fn database(&self) -> u64 {
        self.slots.database
    }

    pub fn get(&self) -> Epochs {
        self.slots.value().epochs()
    }

    pub fn set(&mut self, vol: &dyn Volume, epochs: Epochs) -> Result<Durable<Epochs>, LogError> {
        if let Some(first) = &self.failed {
            return Err(LogError::Poisoned { first: first.clone() });
        }
        let now = self.get();
        let goes_back = epochs.accepted < now.accepted || epochs.current < now.current;
        if goes_back || epochs.current > epochs.accepted {
            let (accepted, current) = (epochs.accepted.0, epochs.current.0);
            return Err(LogError::EpochOrder { accepted, current });
        }
        if epochs != now && !planted(Mutant::Zk2307EpochInMemory) {
            let written = self.slots.write_both(vol, EpochSlot::of(epochs));
            written.inspect_err(|error| self.failed = Some(error.to_string()))?;
        }
        Ok(Durable::mint(epochs))
    }
}
