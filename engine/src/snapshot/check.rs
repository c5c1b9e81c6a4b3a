//! Looks at snapshot files without believing them: for tools, and for those who must know what is sound.

use super::format::{FirstBlock, Published, SnapshotName, VERSION};
use crate::io::{BLOCK, Volume};
use crate::log::{LogError, files};

/// The header of a snapshot; `None` if it is damaged.
pub(crate) fn sound_header(vol: &dyn Volume, name: SnapshotName) -> Result<Option<Published>, LogError> {
    let file = name.to_string();
    match Published::read(name, &files::read(vol, &file, 0, BLOCK)?) {
        FirstBlock::Header(published) => Ok(Some(published)),
        FirstBlock::Damaged => Ok(None),
        FirstBlock::Unknown { version } => {
            Err(LogError::Version { path: vol.path(&file), version, known: VERSION })
        }
    }
}
