//! What a member gives to a connection to be sent: bytes, or where they are found.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ringkeeper_engine::io::{SendFileError, Volume};

/// Bytes to send, at least one.
#[derive(Debug)]
pub enum Chunk {
    /// For one connection.
    Own(Vec<u8>),
    /// For several.
    Shared(Arc<Vec<u8>>),
    /// Of a file; they never pass through the member.
    File(FileChunk),
}

/// A part of a file, sent by the ring as a `FilePiece`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChunk {
    /// The file.
    pub path: Arc<Path>,
    /// Where it begins, in bytes; whole blocks.
    pub offset: u64,
    /// Bytes, at most one MiB.
    pub len: usize,
    /// The crc32c of these bytes; nothing leaves before it was compared.
    pub crc: u32,
}

impl Chunk {
    /// How many bytes.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        match self {
            Chunk::Own(bytes) => bytes.len(),
            Chunk::Shared(bytes) => bytes.len(),
            Chunk::File(chunk) => chunk.len,
        }
    }

    /// The bytes, for those who have no ring that would send a file: simulators and tests.
    ///
    /// # Errors
    /// As [`FileChunk::read`].
    pub fn bytes(&self, volume: &dyn Volume) -> Result<Cow<'_, [u8]>, SendFileError> {
        match self {
            Chunk::Own(bytes) => Ok(Cow::Borrowed(bytes)),
            Chunk::Shared(bytes) => Ok(Cow::Borrowed(bytes)),
            Chunk::File(chunk) => chunk.read(volume).map(Cow::Owned),
        }
    }
}

impl FileChunk {
    /// Reads the bytes from the volume that has the file under the last component of its path. It blocks.
    ///
    /// # Errors
    /// As the ring's, when the file cannot be read, is too short or is damaged.
    pub fn read(&self, volume: &dyn Volume) -> Result<Vec<u8>, SendFileError> {
        let failed = |source| SendFileError::Read { offset: self.offset, source };
        let name = self.path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
        let bytes = volume.read_at(name, self.offset, self.len).map_err(failed)?;
        SendFileError::check(&bytes, self.offset, self.len, self.crc)?;
        Ok(bytes)
    }
}
