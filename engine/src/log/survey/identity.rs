//! Which database each file says it belongs to: a directory is made of the files of one.

use crate::io::{BLOCK, Volume};
use crate::log::epochs::EpochSlot;
use crate::log::error::LogError;
use crate::log::files::Files;
use crate::log::format::{FirstBlock, SegmentHeader};
use crate::log::marks::Mark;
use crate::log::name::SegmentName;
use crate::log::slots::{SlotValue, Slots};
use crate::snapshot::Snapshots;

/// File names and the database ids in them, of files whose headers are sound: `marks` first, to which recovery compares
/// all others, then `epochs`, segments, and the snapshots that are not dead.
pub fn databases(vol: &dyn Volume) -> Result<Vec<(String, u64)>, LogError> {
    let files = Files::list(vol)?;
    let mut found = Vec::new();
    let marks = Slots::<Mark>::load(&files)?.map(|slots| (Mark::FILE, slots.database));
    let epochs = Slots::<EpochSlot>::load(&files)?.map(|slots| (EpochSlot::FILE, slots.database));
    found.extend([marks, epochs].into_iter().flatten().map(|(file, id)| (file.to_owned(), id)));
    for (file, _) in files.iter() {
        let Some(name) = SegmentName::parse(file) else { continue };
        if let FirstBlock::Header(header) = SegmentHeader::read(name, &files.read(file, 0, BLOCK)?) {
            found.push((file.to_owned(), header.database));
        }
    }
    let snapshots = Snapshots::list(vol)?;
    found.extend(snapshots.headers.iter().map(|header| (header.file(), header.database)));
    Ok(found)
}
